"""More addresses on the loopback interface, by rtnetlink(7)."""

import sys
from errno import EEXIST, EPROTO
from os import strerror

from ..errors import UnshareError, failed, named
from ..namespaces import Start

RTM_NEWADDR = 20  # include/uapi/linux/rtnetlink.h
NLM_F_REQUEST = 0x1  # include/uapi/linux/netlink.h
NLM_F_ACK = 0x4
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLMSG_ERROR = 2
IFA_ADDRESS = 1  # include/uapi/linux/if_addr.h
IFA_LOCAL = 2
IFA_F_NODAD = 0x2  # nobody else is there whose address it could be
LOOPBACK = 1  # the index of lo in every network namespace

# What the kernel gives lo by itself when it goes up.
GIVEN = ("127.0.0.1/8", "::1/128")


def add_addresses(start: Start) -> None:
    """Give the interface ``lo`` the addresses of the plan; each is usable on return.

    The kernel takes all of an IPv4 network on ``lo`` as local: with 10.0.0.1/8, 10.1.2.3 as well.

    Raises:
        UnshareError: the kernel refuses, as it does IPv6 addresses where IPv6 is switched off.
    """
    from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

    handle = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
    try:
        for address in start.plan.addr:
            try:
                handle.send(_request(address))
                error = _answer(handle.recv(4096))
            except OSError as reason:
                raise failed(named("addr", address), reason) from reason
            if error and not (error == EEXIST and address in GIVEN):
                item = named("addr", address)
                raise UnshareError(error, strerror(error), item, "netlink", "RTM_NEWADDR")
    finally:
        handle.close()


def _request(address: str) -> bytes:
    from _socket import AF_INET, AF_INET6, inet_pton

    text, _, prefix = address.partition("/")
    family = AF_INET6 if ":" in text else AF_INET
    packed = inet_pton(family, text)
    # struct ifaddrmsg: family, prefix length, flags, scope (0: everywhere), index
    body = bytes([family, int(prefix), IFA_F_NODAD, 0]) + _number(LOOPBACK, 4)
    for kind in (IFA_LOCAL, IFA_ADDRESS):
        body += _number(4 + len(packed), 2) + _number(kind, 2) + packed
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    # struct nlmsghdr: length, type, flags, sequence number, port
    header = _number(16 + len(body), 4) + _number(RTM_NEWADDR, 2) + _number(flags, 2) + bytes(8)
    return header + body


def _answer(message: bytes) -> int:
    """Return the errno(3) of an acknowledgement, 0 for success."""
    kind = int.from_bytes(message[4:6], sys.byteorder)
    if kind != NLMSG_ERROR:
        raise UnshareError(EPROTO, f"rtnetlink answered with a message of type {kind}")
    return -int.from_bytes(message[16:20], sys.byteorder, signed=True)


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, sys.byteorder)


WHOLE = True
