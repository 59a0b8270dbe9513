"""rtnetlink(7): requests to the kernel about the present network namespace, and addresses."""

import sys
from errno import EPROTO, ETIMEDOUT
from os import strerror

from .errors import UnshareError
from .namespaces import refused

NLM_F_REQUEST = 0x1  # include/uapi/linux/netlink.h
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLMSG_ERROR = 2

KINDS = {  # include/uapi/linux/rtnetlink.h
    "RTM_NEWLINK": 16,
    "RTM_GETLINK": 18,
    "RTM_NEWADDR": 20,
    "RTM_NEWROUTE": 24,
    "RTM_GETROUTE": 26,
    "RTM_NEWNEIGH": 28,
    "RTM_NEWRULE": 32,
    "RTM_DELRULE": 33,
}
IFA_ADDRESS = 1  # include/uapi/linux/if_addr.h
IFA_LOCAL = 2
IFA_F_NODAD = 0x2  # nobody else is there whose address it could be
RTA_DST = 1  # include/uapi/linux/rtnetlink.h
RTN_LOCAL = 2
RT_SCOPE_UNIVERSE = 0
AF_INET, AF_INET6 = 2, 10
PATIENCE = 5  # seconds, for what the kernel does a moment later by itself
PAUSE = 0.0005

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


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
        """Send a request and wait until it is done.

        Args:
            kind: of message, a name of `KINDS`.
            body: of it.
            flags: beside NLM_F_REQUEST and NLM_F_ACK.
            what: it is for, in an error: ``veth``.

        Raises:
            UnshareError: the kernel says no.
        """
        answer = self.exchange(kind, body, flags | NLM_F_ACK, what)
        failure = -int.from_bytes(answer[16:20], sys.byteorder, signed=True)
        if int.from_bytes(answer[4:6], sys.byteorder) != NLMSG_ERROR:
            failure = EPROTO
        if failure:
            raise UnshareError(failure, strerror(failure), "", "netlink", _target(kind, what))

    def exchange(self, kind: str, body: bytes, flags: int = 0, what: str = "") -> bytes:
        """Send a request and return the answer, its header included; arguments as for `ask`.

        Raises:
            UnshareError: there is none.
        """
        flags |= NLM_F_REQUEST
        header = number(16 + len(body), 4) + number(KINDS[kind], 2) + number(flags, 2) + bytes(8)
        try:
            self.socket.send(header + body)
            return self.socket.recv(65536)
        except OSError as error:
            raise refused(error, "netlink", _target(kind, what)) from None

    def add_address(self, index: int, address: bytes, prefix: int) -> None:
        """Give an interface an address; one of IPv6 is usable a moment later: `wait_until_local`.

        Args:
            index: of the interface.
            address: four bytes for IPv4, sixteen for IPv6.
            prefix: length of the network's part, in bits.

        Raises:
            UnshareError: the kernel refuses.
        """
        body = bytes([family_of(address), prefix, IFA_F_NODAD, RT_SCOPE_UNIVERSE])
        body += number(index, 4)
        body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
        self.ask("RTM_NEWADDR", body, NLM_F_CREATE | NLM_F_EXCL)

    def wait_until_local(self, address: bytes) -> None:
        """Wait until packets to an IPv6 address of an interface that is up find their way.

        A worker of the kernel adds that route (net/ipv6/addrconf.c, addrconf_dad_work).

        Raises:
            UnshareError: that took longer than `PATIENCE`.
        """
        wait_until(lambda: self._is_local(address), "the address did not become usable")

    def _is_local(self, address: bytes) -> bool:
        body = bytes([AF_INET6, 128]) + bytes(10) + attribute(RTA_DST, address)
        answer = self.exchange("RTM_GETROUTE", body)
        found = int.from_bytes(answer[4:6], sys.byteorder) == KINDS["RTM_NEWROUTE"]
        return found and answer[16 + 7] == RTN_LOCAL  # struct rtmsg, rtm_type


def wait_until(done: "Callable[[], bool]", otherwise: str) -> None:
    """Wait until the kernel has done something.

    Args:
        done: asks it.
        otherwise: what is wrong where that takes longer than `PATIENCE`.

    Raises:
        UnshareError: it does.
    """
    from time import monotonic, sleep

    end = monotonic() + PATIENCE
    while not done():
        if monotonic() > end:
            raise UnshareError(ETIMEDOUT, otherwise, "", "netlink")
        sleep(PAUSE)


def family_of(address: bytes) -> int:
    """Return AF_INET or AF_INET6."""
    return AF_INET if len(address) == 4 else AF_INET6


def _target(kind: str, what: str) -> str:
    return f"{kind}, {what}" if what else kind


WHOLE = True
