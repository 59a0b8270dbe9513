"""sockets=unix: no sockets but unix(7) and netlink(7) ones, for this process and its children.

A filter of seccomp(2) refuses socket(2) by its first argument. It takes no namespace and no
capability, and cannot be taken off again.
"""

import os
import sys
from errno import EINVAL, ENETUNREACH, ENOSYS, EPERM

from . import bpf
from .namespaces import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, Start, attempt, call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import UnshareError

    Family = tuple[tuple[int, int, int, int, int], ...]

AF_NETLINK = 16
SYS_SOCKET = 1  # of socketcall(2), include/uapi/linux/net.h
X32 = 0x40000000  # __X32_SYSCALL_BIT

PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h

# include/uapi/linux/seccomp.h
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 1  # for all threads
KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENT_AT = 0, 4, 16  # of struct seccomp_data

# What AUDIT_ARCH_… is made of, include/uapi/linux/audit.h: ELF's e_machine, and these.
BITS_64, LITTLE_ENDIAN, N32 = 0x80000000, 0x40000000, 0x20000000
EF_MIPS_ABI2 = 0x20
EM_MIPS = 8


# By the kernel's unistd.h of each architecture: AUDIT_ARCH_…, and the numbers of socket(2),
# socketcall(2) or -1, io_uring_setup(2) and seccomp(2). In a family what one kernel may run.
# Tuples, because a start makes nothing of constants, and would make objects of a class each time.
FAMILIES: "tuple[Family, ...]" = (
    (  # x86; to the kernel x32 is x86-64, with a bit set in its numbers
        (0xC000003E, 41, -1, 425, 317),
        (0x40000003, 359, 102, 425, 354),
        (0x4000003E, 41, -1, 425, 0x40000000 | 317),
    ),
    ((0xC00000B7, 198, -1, 425, 277), (0x40000028, 281, -1, 425, 383)),  # ARM
    (  # PowerPC
        (0xC0000015, 326, 102, 425, 358),
        (0x80000015, 326, 102, 425, 358),
        (0x00000014, 326, 102, 425, 358),
    ),
    ((0x80000016, 359, 102, 425, 348), (0x00000016, 359, 102, 425, 348)),  # S/390
    ((0xC00000F3, 198, -1, 425, 277), (0x400000F3, 198, -1, 425, 277)),  # RISC-V
    ((0xC0000102, 198, -1, 425, 277),),  # LoongArch
    (  # MIPS, little-endian: n64, n32, o32
        (0xC0000008, 5040, -1, 5425, 5312),
        (0xE0000008, 6040, -1, 6425, 6316),
        (0x40000008, 4183, 4102, 4425, 4352),
    ),
    (  # big-endian
        (0x80000008, 5040, -1, 5425, 5312),
        (0xA0000008, 6040, -1, 6425, 6316),
        (0x00000008, 4183, 4102, 4425, 4352),
    ),
    ((0x8000002B, 97, 206, 425, 346), (0x00000002, 97, 206, 425, 346)),  # SPARC
    ((0x00000004, 356, 102, 425, 380),),  # m68k
    ((0x0000000F, 17, -1, 425, 338),),  # HP PA-RISC
    ((0x4000002A, 340, 102, 425, 372),),  # SuperH
    ((0xC0009026, 97, -1, 535, 514),),  # Alpha
)


def refuse_sockets(_: Start) -> None:
    """Install the filter, for every thread there is.

    From then on socket(2) of another family is ENETUNREACH, which programs know how to handle;
    io_uring_setup(2), which can make sockets too, is ENOSYS, as on a kernel without it.

    Raises:
        UnshareError: this architecture is not in the table (ENOSYS), its C library makes sockets
            by socketcall(2) (ENOSYS), another thread has a filter that this one has not (EPERM), or
            the kernel refuses.
    """
    family, number = _numbers(architecture())
    program, kept = bpf.program(code(family))
    # Or it would take CAP_SYS_ADMIN.
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, target="PR_SET_NO_NEW_PRIVS")
    flags = SECCOMP_FILTER_FLAG_TSYNC
    other = call("syscall", number, SECCOMP_SET_MODE_FILTER, flags, program, name="seccomp")
    del kept  # not before
    if other:  # the id of a thread
        reason = f"thread {other} has a seccomp filter of its own"
        raise _refused(EPERM, reason, "seccomp", "TSYNC")
    _require_unix()


def _require_unix() -> None:
    """Refuse where unix(7) sockets are gone as well: what socketcall(2) is given, nobody can see.

    Whether a C library takes it can only be tried. glibc does, where it is built for kernels before
    4.3, as Debian's for i386 and s390x.
    """
    made = attempt("socket", AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if made == -ENETUNREACH:
        reason = "no unix(7) sockets would be left either"
        raise _refused(ENOSYS, reason, "socketcall", "AF_UNIX")
    if made >= 0:
        os.close(made)


def _numbers(native: int) -> "tuple[Family, int]":
    """Return the family of an architecture, and the number of its own seccomp(2)."""
    for family in FAMILIES:
        for architecture, *_, seccomp in family:
            if architecture == native:
                return family, seccomp
    reason = f"the numbers of its system calls are not known here (AUDIT_ARCH {native:#x})"
    raise _refused(ENOSYS, reason)


def _refused(errno: int, reason: str, name: str = "", target: str = "") -> "UnshareError":
    from .errors import UnshareError, named

    return UnshareError(errno, reason, named("sockets", "unix"), name, target)


def architecture() -> int:
    """Return the AUDIT_ARCH_… of this process, by the header of its program, elf(5).

    uname(2) would not do: personality(2) changes what it says.

    Raises:
        OSError: there is no /proc.
        UnshareError: the header is none (EINVAL).
    """
    with open("/proc/self/exe", "rb") as file:
        header = file.read(64)
    if header[:4] != b"\x7fELF" or len(header) < 52:
        raise _refused(EINVAL, "it is no ELF file", "read", "/proc/self/exe")
    is_64, order = header[4] == 2, "little" if header[5] == 1 else "big"
    machine = int.from_bytes(header[18:20], order)  # type: ignore[arg-type]
    found = machine | (BITS_64 if is_64 else 0) | (LITTLE_ENDIAN if order == "little" else 0)
    if machine == EM_MIPS and not is_64:
        flags = int.from_bytes(header[36:40], order)  # type: ignore[arg-type]
        found |= BITS_64 | N32 if flags & EF_MIPS_ABI2 else 0
    return found


def code(family: "Family") -> bytes:
    """Return the filter for all architectures of a family; a call of any other ends the process."""
    argument_at = ARGUMENT_AT + (0 if sys.byteorder == "little" else 4)  # the lower half
    lines: list[bpf.Line] = [("", bpf.LD_WORD, ARCHITECTURE_AT, "", "")]
    lines += [("", bpf.EQUAL, row[0], f"of {row[0]}", "") for row in family]
    lines += [("", bpf.RETURN, KILL_PROCESS, "", "")]
    for each, socket, socketcall, io_uring_setup, _ in family:
        lines += [
            (f"of {each}", bpf.LD_WORD, NUMBER_AT, "", ""),
            ("", bpf.AND, ~X32 & 0xFFFFFFFF, "", ""),
            ("", bpf.EQUAL, socket, "socket", ""),
            ("", bpf.EQUAL, io_uring_setup, "io_uring", ""),
        ]
        if socketcall >= 0:
            lines += [("", bpf.EQUAL, socketcall, "socketcall", "")]
        lines += [("", bpf.RETURN, ALLOW, "", "")]
    lines += [
        ("socket", bpf.LD_WORD, argument_at, "", ""),
        ("", bpf.EQUAL, AF_UNIX, "allow", ""),
        ("", bpf.EQUAL, AF_NETLINK, "allow", "refuse"),
        ("socketcall", bpf.LD_WORD, argument_at, "", ""),  # its arguments are in memory, unseen
        ("", bpf.EQUAL, SYS_SOCKET, "refuse", "allow"),
        ("io_uring", bpf.RETURN, ERRNO | ENOSYS, "", ""),
        ("refuse", bpf.RETURN, ERRNO | ENETUNREACH, "", ""),
        ("allow", bpf.RETURN, ALLOW, "", ""),
    ]
    return bpf.assemble(lines)


WHOLE = True
