"""Two socket filters in classic BPF, socket(7), SO_ATTACH_FILTER."""

import sys

from ..namespaces import refused
from ..rtnetlink import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h

# include/uapi/linux/filter.h, bpf_common.h: what to do, with which size, on what.
LD_BYTE, LD_HALF, LD_WORD = 0x30, 0x28, 0x20
LD_BYTE_AT_X = 0x50  # from the index register on
LD_HALF_AT_X = 0x48
LDX_HEADER_LENGTH = 0xB1  # four times the low half of a byte: the length of an IPv4 header
AND, EQUAL, ANY_SET, GO, RETURN = 0x54, 0x15, 0x45, 0x05, 0x06
PACKET_TYPE, INTERFACE = 0xFFFFF000 + 4, 0xFFFFF000 + 8  # SKF_AD_PKTTYPE, SKF_AD_IFINDEX

PACKET_OUTGOING = 4  # include/uapi/linux/if_packet.h
IPV4, IPV6 = 0x0800, 0x86DD  # include/uapi/linux/if_ether.h
TCP, UDP = 6, 17
SYN, SYN_ACK = 0x02, 0x12
DNS = 53
KEPT = 256  # bytes of each packet: headers, and what an ICMP message quotes
ALL = 0xFFFFFFFF


def attempts_filter() -> bytes:
    """Return the filter of the packet socket: a connection's first packet, and datagrams.

    Not those to port 53, which the answerer tells of by the name that is asked for. What comes in
    fragments or behind IPv6 extension headers is let through to nobody, so it needs no record.
    """
    return _assemble(
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
    return _assemble(
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
    from array import array

    kept = array("B", code)  # whose address is known, and which is there for the call
    size = 8 if sys.maxsize > 1 << 32 else 4
    # struct sock_fprog: the count of instructions, and a pointer to them
    program = number(len(code) // 8, 2).ljust(size, b"\0") + number(kept.buffer_info()[0], size)
    try:
        handle.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError as error:
        raise refused(error, "setsockopt", "SO_ATTACH_FILTER") from None


def _assemble(lines: "list[tuple[str, int, int, str, str]]") -> bytes:
    """Return struct sock_filter after sock_filter.

    Args:
        lines: of each instruction its label, its code and operand, and where to go if it is true
            and if not; an empty label means the next instruction.
    """
    places = {label: place for place, (label, *_) in enumerate(lines) if label}
    code = b""
    for place, (_, operation, operand, if_true, if_false) in enumerate(lines):
        jumps = [places[to] - place - 1 if to else 0 for to in (if_true, if_false)]
        code += number(operation, 2) + bytes(jumps) + number(operand, 4)
    return code


WHOLE = True
