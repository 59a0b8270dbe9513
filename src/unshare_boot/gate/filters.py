"""Two socket filters in classic BPF, socket(7), SO_ATTACH_FILTER."""

from ..bpf import (
    AND,
    ANY_SET,
    EQUAL,
    LD_BYTE,
    LD_BYTE_AT_X,
    LD_HALF,
    LD_HALF_AT_X,
    LD_WORD,
    LDX_HEADER_LENGTH,
    RETURN,
    assemble,
    program,
)
from ..namespaces import refused
from . import KEPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h

PACKET_TYPE, INTERFACE = 0xFFFFF000 + 4, 0xFFFFF000 + 8  # SKF_AD_PKTTYPE, SKF_AD_IFINDEX

PACKET_OUTGOING = 4  # include/uapi/linux/if_packet.h
IPV4, IPV6 = 0x0800, 0x86DD  # include/uapi/linux/if_ether.h
TCP, UDP = 6, 17
SYN, SYN_ACK = 0x02, 0x12
DNS = 53
ALL = 0xFFFFFFFF


def attempts_filter() -> bytes:
    """Return the filter of the packet socket: a connection's first packet, and datagrams.

    Not those to port 53, which the answerer tells of by the name that is asked for. What comes in
    fragments or behind IPv6 extension headers is let through to nobody, so it needs no record.
    """
    return assemble(
        [
            ("", LD_WORD, PACKET_TYPE, "", ""),
            ("", EQUAL, PACKET_OUTGOING, "drop", ""),
            ("", LD_HALF, 12, "", ""),
            ("", EQUAL, IPV6, "six", ""),
            ("", EQUAL, IPV4, "", "drop"),
            ("", LD_HALF, 20, "", ""),
            ("", ANY_SET, 0x1FFF, "drop", ""),  # a fragment that is not the first
            ("", LDX_HEADER_LENGTH, 14, "", ""),
            ("", LD_HALF_AT_X, 14 + 2, "", ""),
            ("", EQUAL, DNS, "drop", ""),
            ("", LD_BYTE, 23, "", ""),
            ("", EQUAL, UDP, "keep", ""),
            ("", EQUAL, TCP, "", "drop"),
            ("", LD_BYTE_AT_X, 14 + 13, "", ""),
            ("", AND, SYN_ACK, "", ""),
            ("", EQUAL, SYN, "keep", "drop"),
            ("six", LD_HALF, 14 + 40 + 2, "", ""),
            ("", EQUAL, DNS, "drop", ""),
            ("", LD_BYTE, 20, "", ""),
            ("", EQUAL, UDP, "keep", ""),
            ("", EQUAL, TCP, "", "drop"),
            ("", LD_BYTE, 14 + 40 + 13, "", ""),
            ("", AND, SYN_ACK, "", ""),
            ("", EQUAL, SYN, "keep", "drop"),
            ("keep", RETURN, KEPT, "", ""),
            ("drop", RETURN, 0, "", ""),
        ]
    )


def first_syn_filter(index: int) -> bytes:
    """Return the filter of a listener: no SYN by this interface, but those that the helper sends.

    So the kernel answers a connection only once the helper has one to the far side.
    """
    return assemble(
        [
            ("", LD_BYTE, 13, "", ""),
            ("", AND, SYN_ACK, "", ""),
            ("", EQUAL, SYN, "", "keep"),
            ("", LD_WORD, INTERFACE, "", ""),
            ("", EQUAL, index, "drop", "keep"),
            ("keep", RETURN, ALL, "", ""),
            ("drop", RETURN, 0, "", ""),
        ]
    )


def attach(handle: "socket", code: bytes) -> None:
    """Attach a filter to a socket.

    Raises:
        UnshareError: the kernel refuses.
    """
    from _socket import SOL_SOCKET

    argument, kept = program(code)
    try:
        handle.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, argument)
    except OSError as error:
        raise refused(error, "setsockopt", "SO_ATTACH_FILTER") from None
    del kept  # not before


WHOLE = True
