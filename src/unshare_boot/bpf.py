"""Classic BPF: the language of filters for sockets, socket(7), and system calls, seccomp(2)."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    Line = tuple[str, int, int, str, str]

# include/uapi/linux/filter.h, bpf_common.h: what to do, with which size, on what.
LD_BYTE, LD_HALF, LD_WORD = 0x30, 0x28, 0x20
LD_BYTE_AT_X = 0x50  # from the index register on
LD_HALF_AT_X = 0x48
LDX_HEADER_LENGTH = 0xB1  # four times the low half of a byte: the length of an IPv4 header
AND, EQUAL, ANY_SET, RETURN = 0x54, 0x15, 0x45, 0x06


def assemble(lines: "list[Line]") -> bytes:
    """Return struct sock_filter after sock_filter.

    Args:
        lines: of each instruction its label, its code and operand, and where to go if it is true
            and if not; an empty label means the next instruction.
    """
    places = {label: place for place, (label, *_) in enumerate(lines) if label}
    code = b""
    for place, (_, operation, operand, if_true, if_false) in enumerate(lines):
        jumps = [places[to] - place - 1 if to else 0 for to in (if_true, if_false)]
        code += operation.to_bytes(2, sys.byteorder) + bytes(jumps)
        code += operand.to_bytes(4, sys.byteorder)
    return code


def program(code: bytes) -> "tuple[bytes, object]":
    """Return struct sock_fprog, and what it points to, which has to stay as long as it is used."""
    try:  # as in namespaces._load; the module array would import collections, for 2 ms
        from _ctypes import _SimpleCData
    except ImportError:  # PyPy
        from ctypes import c_char_p as pointer
    else:

        class pointer(_SimpleCData):  # type: ignore[no-redef, type-arg]  # noqa: N801
            _type_ = "z"

    kept = pointer(code)
    address = bytes(memoryview(kept))
    return (len(code) // 8).to_bytes(2, sys.byteorder).ljust(len(address), b"\0") + address, kept


WHOLE = True
