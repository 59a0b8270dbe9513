"""The two network namespaces of a gate, seen from the program that makes them.

First B, where every address is a local one (AnyIP: a route of the type RTN_LOCAL to everywhere),
and the sockets that the helper gets. Then A, the program's own, and the veth pair between them.
Both ends are made where they belong: to move one takes the kernel 10 to 20 ms (synchronize_net).
Hardware addresses are fixed and known to both sides, so nobody has to ask for one.
"""

import os
from errno import EACCES, EAFNOSUPPORT, EINVAL, EOPNOTSUPP

from ..errors import UnshareError
from ..namespaces import loopback_up, refused, unshare
from ..rtnetlink import AF_INET, AF_INET6, RTN_LOCAL
from . import (
    ADDRESS4,
    ADDRESS6,
    DNS_PORT,
    GATEWAY4,
    GATEWAY6,
    INNER,
    OUTER,
    RECORD_PORT,
)
from .filters import attach, attempts_filter, first_syn_filter
from .links import RT_TABLE_LOCAL, RT_TABLE_MAIN, RTN_UNICAST, Links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

EVERYWHERE = (bytes(4), 0), (bytes(16), 0)  # address and prefix length
FAMILIES = (ADDRESS4, GATEWAY4, EVERYWHERE[0]), (ADDRESS6, GATEWAY6, EVERYWHERE[1])
MAC_A = bytes.fromhex("02756e736801")  # locally administered
MAC_B = bytes.fromhex("02756e736802")

LO = 1  # the number of that interface
INDEX = 64  # of both ends: the kernel's own, such as sit0, have the first ones

ETH_P_ALL = 3  # include/uapi/linux/if_ether.h
IPV6_RECVPKTINFO = 49  # include/uapi/linux/in6.h
IPV6_FREEBIND = 78
IP_PKTINFO = 8  # include/uapi/linux/in.h
NETLINK_SOCK_DIAG = 4  # include/uapi/linux/netlink.h
BACKLOG = 4096
NO_IPV6 = (EACCES, EAFNOSUPPORT, EOPNOTSUPP)  # it is switched off, in the kernel or here


class Sockets:
    """What the helper gets of the two namespaces.

    Attributes:
        names: of each socket, what it is for: ``packets``, ``tcp:443``, ``udp:53``, …
        sockets: in the same order.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sockets: list[socket] = []

    def add(self, name: str, handle: "socket") -> None:
        """Add one."""
        self.names.append(name)
        self.sockets.append(handle)

    def close(self) -> None:
        """Close them here; the helper has its own."""
        for handle in self.sockets:
            handle.close()


def make(
    tcp_ports: "list[int]", udp_ports: "list[int]", sockets: Sockets, hold: bool = False
) -> None:
    """Make B, then A, in which this process is on return; ``lo`` is up in both.

    Args:
        tcp_ports: that anything is allowed at.
        udp_ports: the same of UDP.
        sockets: gets those of B, and one of A to ask about A's sockets.
        hold: leave it to the helper to refuse a connection, once it knows whose it is.

    Raises:
        UnshareError: the kernel refuses.
    """
    unshare("net")
    outer = Links()
    try:
        _set_up_b(outer)
        _open_b(tcp_ports, udp_ports, sockets)
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            unshare("net")
            inner = Links()
            try:
                inner.make_veth((INNER, MAC_A), (OUTER, MAC_B), INDEX, here)
                _connect_b(outer)
                if hold:
                    _hold_connections(outer, tcp_ports)
                _bind_packets(sockets)
                _set_up_a(inner, sockets)
            finally:
                inner.close()
        finally:
            os.close(here)
        outer.wait_until_up(INDEX)  # or the first answers would be lost
    finally:
        outer.close()


def _set_up_b(netlink: Links) -> None:
    """Have every address lead to B itself."""
    netlink.set_up(LO, loose=True)  # over which a first SYN comes a second time
    for everywhere in EVERYWHERE:
        try:
            netlink.add_route(LO, everywhere, RTN_LOCAL, RT_TABLE_LOCAL)
        except UnshareError as error:
            _raise_unless_missing(error, everywhere[0])


def _connect_b(netlink: Links) -> None:
    netlink.set_up(INDEX, loose=True)
    for address, gateway, _ in FAMILIES:
        bits = 8 * len(address)
        try:
            netlink.add_address(INDEX, gateway, bits)
            # In the table local as well, or the answers would find the route to everywhere.
            netlink.add_route(INDEX, (address, bits), RTN_UNICAST, RT_TABLE_LOCAL)
            netlink.add_neighbour(INDEX, address, MAC_A)
        except UnshareError as error:
            _raise_unless_missing(error, address)


def _raise_unless_missing(error: UnshareError, address: bytes) -> None:
    """Raise the error again, unless it is because there is no IPv6 here."""
    if len(address) == 4 or error.errno not in NO_IPV6:
        raise error


def _hold_connections(netlink: Links, tcp_ports: "list[int]") -> None:
    """Drop connections to other ports; where the kernel has no rules for that, it refuses them."""
    served = sorted({*tcp_ports, DNS_PORT, RECORD_PORT})
    try:
        for family in (AF_INET, AF_INET6):
            netlink.hold_connections(OUTER, served, family)
    except UnshareError as error:
        if error.errno not in (*NO_IPV6, EINVAL):
            raise


def _set_up_a(netlink: Links, sockets: Sockets) -> None:
    from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

    loopback_up()
    netlink.set_up(INDEX)
    for address, gateway, everywhere in FAMILIES:
        try:
            netlink.add_address(INDEX, address, 8 * len(address))
            netlink.add_neighbour(INDEX, gateway, MAC_B)
            netlink.add_route(INDEX, everywhere, RTN_UNICAST, RT_TABLE_MAIN, gateway)
        except UnshareError as error:
            _raise_unless_missing(error, address)
    sockets.add("diag", socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG))


def _open_b(tcp_ports: "list[int]", udp_ports: "list[int]", sockets: Sockets) -> None:
    from _socket import inet_ntop

    sockets.add("packets", _packet_socket())
    sockets.add("record", listen(RECORD_PORT, address=inet_ntop(AF_INET, GATEWAY4)))
    sockets.add("dns", listen(DNS_PORT))
    sockets.add("dns/udp", datagrams(DNS_PORT))
    for port in tcp_ports:
        if port != DNS_PORT:
            handle = listen(port, first_syn_filter(INDEX))
            sockets.add(f"tcp:{port}", handle)
    for port in udp_ports:
        if port != DNS_PORT:
            sockets.add(f"udp:{port}", datagrams(port))


def _packet_socket() -> "socket":
    """packet(7), with a filter from its first packet on: only attempts of the other end's."""
    from _socket import AF_PACKET, SO_RCVBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

    try:
        handle = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)  # 0: no packets before bind(2)
    except OSError as error:
        raise refused(error, "socket", "AF_PACKET") from None
    attach(handle, attempts_filter())
    handle.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 22)  # bytes; the kernel cuts it to rmem_max
    return handle


def _bind_packets(sockets: Sockets) -> None:
    """Have the packet socket get what comes by B's end."""
    handle = sockets.sockets[sockets.names.index("packets")]
    try:
        handle.bind((OUTER, ETH_P_ALL))  # the name is looked up where the socket was opened
    except OSError as error:
        raise refused(error, "bind", "AF_PACKET") from None


def listen(port: int, code: bytes = b"", address: str = "") -> "socket":
    """Return a listener at a port of every address, or of one, of the present namespace.

    Args:
        port: the port.
        code: a socket filter, bpf(2).
        address: instead of every one.

    Raises:
        UnshareError: the kernel refuses.
    """
    from _socket import SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET

    handle = _socket(SOCK_STREAM, address)
    try:
        # The record's port may be allowed as well: there are two listeners then.
        option = SO_REUSEPORT if port == RECORD_PORT else SO_REUSEADDR
        handle.setsockopt(SOL_SOCKET, option, 1)
        if code:
            attach(handle, code)
        handle.bind((address or ("::" if _is_6(handle) else "0.0.0.0"), port))
        handle.listen(BACKLOG)
    except OSError as error:
        handle.close()
        raise refused(error, "bind", f"{address or 'gate'}:{port}") from None
    handle.setblocking(False)
    return handle


def datagrams(port: int, address: str = "") -> "socket":
    """Return a UDP socket that tells which address a datagram was sent to."""
    from _socket import IPPROTO_IP, IPPROTO_IPV6, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET

    handle = _socket(SOCK_DGRAM, address)
    try:
        handle.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)  # bytes
        if _is_6(handle):
            handle.setsockopt(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
            handle.setsockopt(IPPROTO_IPV6, IPV6_FREEBIND, 1)  # to answer from any address
        else:
            handle.setsockopt(IPPROTO_IP, IP_PKTINFO, 1)
        handle.bind((address or ("::" if _is_6(handle) else "0.0.0.0"), port))
    except OSError as error:
        handle.close()
        raise refused(error, "bind", f"{address or 'gate'}:{port}/udp") from None
    handle.setblocking(False)
    return handle


def _socket(kind: int, address: str) -> "socket":
    """Return a socket for IPv6 and IPv4 alike, or for IPv4 alone where the other is missing."""
    from _socket import IPPROTO_IPV6, IPV6_V6ONLY, SOCK_CLOEXEC, socket

    if address and ":" not in address:
        return socket(AF_INET, kind | SOCK_CLOEXEC)
    try:
        handle = socket(AF_INET6, kind | SOCK_CLOEXEC)
    except OSError as error:
        if error.errno not in NO_IPV6 or address:
            raise refused(error, "socket", "AF_INET6") from None
        return socket(AF_INET, kind | SOCK_CLOEXEC)
    handle.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1 if address else 0)
    return handle


def _is_6(handle: "socket") -> bool:
    return handle.family == AF_INET6


WHOLE = True
