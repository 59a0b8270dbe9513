"""What Python has no function for, or not all of 3.9 to 3.15."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)

# Those that do not have the same number everywhere (the ones from 403 on have).
NUMBERS = {
    "x86_64": {
        "init_module": 175,
        "mq_open": 240,
        "mq_unlink": 241,
        "kexec_load": 246,
        "add_key": 248,
        "keyctl": 250,
        "ioprio_set": 251,
        "perf_event_open": 298,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "bpf": 321,
    },
    "aarch64": {
        "ioprio_set": 30,
        "kexec_load": 104,
        "init_module": 105,
        "mq_open": 180,
        "mq_unlink": 181,
        "add_key": 217,
        "keyctl": 219,
        "perf_event_open": 241,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "bpf": 280,
    },
}.get(platform.machine(), {})
NUMBERS.update(
    pidfd_send_signal=424,
    io_uring_setup=425,
    io_uring_enter=426,
    open_tree=428,
    pidfd_open=434,
    pidfd_getfd=438,
    mount_setattr=442,
)

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_RDONLY = 0x1
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MNT_DETACH = 0x2
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
PTRACE_SEIZE = 0x4206
NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
PIDFD_GET_NET_NAMESPACE = 0xFF04
TIOCSTI = 0x5412
TIOCSCTTY = 0x540E


def check(result: int) -> int:
    """Raise OSError where a function of the C library has returned -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name: str, *arguments: Any) -> int:
    """Make a system call by its number."""
    if name not in NUMBERS:
        raise OSError(errno.ENOSYS, f"no number for {name} on {platform.machine()}")
    libc.syscall.restype = ctypes.c_long
    return check(libc.syscall(ctypes.c_long(NUMBERS[name]), *map(_long, arguments)))


def _long(argument: Any) -> Any:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def setns(descriptor: int, kind: int = 0) -> None:
    check(libc.setns(descriptor, kind))


def unshare(flags: int) -> None:
    check(libc.unshare(flags))


def mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    names = [None if name is None else os.fsencode(name) for name in (source, target, kind)]
    check(libc.mount(*names, ctypes.c_ulong(flags), None))


def umount(target: str) -> None:
    check(libc.umount2(os.fsencode(target), MNT_DETACH))


def seize(pid: int) -> None:
    check(libc.ptrace(PTRACE_SEIZE, pid, None, None))


def read(path: str | int) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def may_write(path: str) -> None:
    """Open a file for writing, and write nothing."""
    os.close(os.open(path, os.O_WRONLY))


def nested(function: Callable[[], object], flags: int = 0) -> object:
    """Call a function in a new user namespace, with every capability there."""
    unshare(CLONE_NEWUSER | flags)
    assert "CapEff:\t0000000000000000" not in read("/proc/self/status")
    return function()


def file_handle_of(directory: int, path: str, flags: int = 0) -> bytes:
    """The struct file_handle of name_to_handle_at(2)."""
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    call(
        "name_to_handle_at",
        directory,
        path.encode(),
        handle,
        ctypes.byref(ctypes.c_int()),
        flags,
    )
    (length,) = struct.unpack("=I", handle.raw[:4])
    return bytes(handle.raw[: 8 + length])


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))
