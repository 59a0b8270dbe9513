"""rtnetlink(7), as much of it as two network namespaces and a veth(4) pair take."""

import sys
from errno import ETIMEDOUT

from ..errors import UnshareError
from ..namespaces import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

NLM_F_REQUEST = 0x1  # include/uapi/linux/netlink.h
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLMSG_ERROR = 2

RTM = {  # include/uapi/linux/rtnetlink.h
    "RTM_NEWLINK": 16,
    "RTM_NEWADDR": 20,
    "RTM_NEWROUTE": 24,
    "RTM_NEWNEIGH": 28,
}
RTM_GETLINK = 18
IFF_UP = 0x1
IFLA_ADDRESS = 1  # include/uapi/linux/if_link.h
IFLA_IFNAME = 3
IFLA_OPERSTATE = 16
IFLA_LINKINFO = 18
IFLA_NET_NS_PID = 19
IFLA_AF_SPEC = 26
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INET_CONF = 1
VETH_INFO_PEER = 1  # include/uapi/linux/veth.h
IPV4_DEVCONF_RP_FILTER = 8  # include/uapi/linux/ip.h
LOOSE = 2  # rp_filter: the source has to be reachable by any interface
IFA_ADDRESS = 1  # include/uapi/linux/if_addr.h
IFA_LOCAL = 2
IFA_F_NODAD = 0x2
RTA_DST = 1  # include/uapi/linux/rtnetlink.h
RTA_OIF = 4
RTA_GATEWAY = 5
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
RTPROT_BOOT = 3
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RT_SCOPE_HOST = 254
RTN_UNICAST = 1
RTN_LOCAL = 2
RTNH_F_ONLINK = 4
NDA_DST = 1  # include/uapi/linux/neighbour.h
NDA_LLADDR = 2
NUD_PERMANENT = 0x80
AF_INET = 2
IF_OPER_UP = 6  # include/uapi/linux/if.h
PATIENCE = 5  # seconds


def number(value: int, size: int) -> bytes:
    """Return a number as the kernel has it in its structs."""
    return value.to_bytes(size, sys.byteorder)


def attribute(kind: int, value: bytes) -> bytes:
    """Return a struct rtattr with its value, padded to four bytes."""
    return number(4 + len(value), 2) + number(kind, 2) + value + bytes(-len(value) % 4)


class Netlink:
    """A netlink socket of the present network namespace; it stays that one's wherever we go."""

    def __init__(self) -> None:
        from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

        try:
            self.socket: socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
        except OSError as error:
            raise refused(error, "socket", "AF_NETLINK") from None

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def ask(self, kind: str, body: bytes, flags: int = 0, what: str = "") -> None:
        """Send a request and wait for the answer.

        Args:
            kind: of message, a name of `RTM`.
            body: of it.
            flags: beside NLM_F_REQUEST and NLM_F_ACK.
            what: it is for, in an error: ``veth``.

        Raises:
            UnshareError: the kernel says no.
        """
        flags |= NLM_F_REQUEST | NLM_F_ACK
        header = number(16 + len(body), 4) + number(RTM[kind], 2) + number(flags, 2) + bytes(8)
        target = f"{kind}, {what}" if what else kind
        try:
            self.socket.send(header + body)
            answer = self.socket.recv(65536)
        except OSError as error:
            raise refused(error, "netlink", target) from None
        failure = -int.from_bytes(answer[16:20], sys.byteorder, signed=True)
        if int.from_bytes(answer[4:6], sys.byteorder) != NLMSG_ERROR or failure:
            from errno import EPROTO
            from os import strerror

            failure = failure or EPROTO
            raise UnshareError(failure, strerror(failure), "", "netlink", target)

    def make_veth(self, name: str, mac: bytes, peer: str, peer_mac: bytes) -> None:
        """Make a veth(4) pair, both ends here."""
        end = link(0) + attribute(IFLA_IFNAME, peer.encode()) + attribute(IFLA_ADDRESS, peer_mac)
        data = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, end))
        info = attribute(IFLA_INFO_KIND, b"veth") + data
        body = link(0) + attribute(IFLA_IFNAME, name.encode()) + attribute(IFLA_ADDRESS, mac)
        body += attribute(IFLA_LINKINFO, info)
        self.ask("RTM_NEWLINK", body, NLM_F_CREATE | NLM_F_EXCL, "veth")

    def set_up(self, index: int, loose: bool = False) -> None:
        """Bring an interface up.

        Args:
            index: of the interface.
            loose: take packets whose sources are reached by another one (rp_filter).
        """
        body = link(index, up=True)
        if loose:
            setting = attribute(IPV4_DEVCONF_RP_FILTER, number(LOOSE, 4))
            inet = attribute(AF_INET, attribute(IFLA_INET_CONF, setting))
            body += attribute(IFLA_AF_SPEC, inet)
        self.ask("RTM_NEWLINK", body, what="up")

    def wait_until_up(self, index: int) -> None:
        """Wait until an interface sends: the kernel sets its queue up a moment after its carrier.

        Raises:
            UnshareError: that took longer than `PATIENCE`.
        """
        from time import monotonic, sleep

        end = monotonic() + PATIENCE
        while not self._is_up(index):
            if monotonic() > end:
                raise UnshareError(ETIMEDOUT, "the interface did not come up", "", "netlink")
            sleep(0.0005)

    def _is_up(self, index: int) -> bool:
        body = link(index)
        header = number(16 + len(body), 4) + number(RTM_GETLINK, 2) + number(NLM_F_REQUEST, 2)
        try:
            self.socket.send(header + bytes(8) + body)
            answer = self.socket.recv(65536)
        except OSError as error:
            raise refused(error, "netlink", "RTM_GETLINK") from None
        at = 32  # behind the header and struct ifinfomsg
        while at + 4 <= len(answer):
            length = int.from_bytes(answer[at : at + 2], sys.byteorder)
            if int.from_bytes(answer[at + 2 : at + 4], sys.byteorder) == IFLA_OPERSTATE:
                return answer[at + 4] == IF_OPER_UP
            at += max(4, length + -length % 4)
        return True  # a kernel that does not say

    def move_to(self, index: int, pid: int) -> None:
        """Move an interface to the network namespace of a process."""
        self.ask(
            "RTM_NEWLINK", link(index) + attribute(IFLA_NET_NS_PID, number(pid, 4)), what="move"
        )

    def add_address(self, index: int, address: bytes, prefix: int) -> None:
        """Give an interface an address, IPv4 or IPv6, that is usable at once."""
        body = bytes([family_of(address), prefix, IFA_F_NODAD, RT_SCOPE_UNIVERSE])
        body += number(index, 4)
        body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
        self.ask("RTM_NEWADDR", body, NLM_F_CREATE | NLM_F_EXCL)

    def add_route(
        self, index: int, to: "tuple[bytes, int]", kind: int, table: int, gateway: bytes = b""
    ) -> None:
        """Add a route.

        Args:
            index: of the interface.
            to: address and prefix length; the address tells IPv4 from IPv6.
            kind: RTN_UNICAST or RTN_LOCAL.
            table: RT_TABLE_MAIN or RT_TABLE_LOCAL.
            gateway: on the link, or none.
        """
        address, prefix = to
        scope = RT_SCOPE_HOST if kind == RTN_LOCAL else RT_SCOPE_LINK
        if gateway or len(address) == 16:
            scope = RT_SCOPE_UNIVERSE
        flags = RTNH_F_ONLINK if gateway else 0
        body = bytes([family_of(address), prefix, 0, 0, table, RTPROT_BOOT, scope, kind])
        body += number(flags, 4)
        if prefix:
            body += attribute(RTA_DST, address)
        body += attribute(RTA_OIF, number(index, 4))
        if gateway:
            body += attribute(RTA_GATEWAY, gateway)
        self.ask("RTM_NEWROUTE", body, NLM_F_CREATE | NLM_F_EXCL)

    def add_neighbour(self, index: int, address: bytes, mac: bytes) -> None:
        """Say which hardware address a neighbour has, so that nobody has to be asked."""
        body = bytes([family_of(address), 0, 0, 0]) + number(index, 4)
        body += number(NUD_PERMANENT, 2) + bytes([0, RTN_UNICAST])
        body += attribute(NDA_DST, address) + attribute(NDA_LLADDR, mac)
        self.ask("RTM_NEWNEIGH", body, NLM_F_CREATE | NLM_F_EXCL)


def link(index: int, up: bool = False) -> bytes:
    """Return a struct ifinfomsg."""
    flags = number(IFF_UP, 4) if up else bytes(4)
    return bytes(4) + number(index, 4) + flags + flags


def family_of(address: bytes) -> int:
    """Return AF_INET or AF_INET6."""
    return AF_INET if len(address) == 4 else 10


WHOLE = True
