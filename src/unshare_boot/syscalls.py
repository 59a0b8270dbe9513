"""The system calls that Python has no function for, each a plain function.

Every function raises OSError with ``errno`` set and the call as ``filename``, which is where
Python shows what an error is about: ``[Errno 1] Operation not permitted: 'unshare(CLONE_NEWNET)'``.

This is the only place that knows ctypes. It takes the C module underneath, because importing the
package ``ctypes`` costs 4 ms of a 12 ms start (it defines a class for every C type); what is used
here of ``_ctypes`` is what ``ctypes`` itself is written with, unchanged from CPython 3.9 to 3.15.
Even that costs 0.5 ms, so it is loaded by the first call that Python really has no function for.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Union

    Argument = Union[int, bytes, None]

CLONE_THREAD = 0x00010000  # include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1  # include/uapi/linux/mount.h
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

AF_INET = 2
SOCK_DGRAM = 2
SOCK_CLOEXEC = 0o2000000
SIOCSIFFLAGS = 0x8914  # include/uapi/linux/sockios.h
IFF_UP = 0x1

EINTR = 4


_function: "Callable[[str], Callable[..., int]] | None" = None
_errno: "Callable[[], int]"


def _load() -> "Callable[[str], Callable[..., int]]":
    """Load _ctypes; return what gives a function of the C library by its name."""
    global _function, _errno
    from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, dlopen, dlsym, get_errno

    class Function(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO  # and, with no _restype_, returns an int

    library = dlopen(None, 0)  # type: ignore[arg-type]  # null: what is loaded already
    _errno = get_errno

    def function(name: str) -> "Callable[..., int]":
        return Function(dlsym(library, name))

    _function = function
    return function


def call(function: str, *arguments: "Argument", what: str = "") -> int:
    """Call a function of the C library.

    Args:
        function: its name.
        arguments: numbers, zero-terminated bytes, or None for a null pointer.
        what: how to name the call in an error; the function's name if not given.

    Returns:
        What the function returns, 0 or more.

    Raises:
        OSError: it returned -1; interrupted calls (EINTR) are made again (PEP 475).
    """
    pointer = (_function or _load())(function)
    while (result := pointer(*arguments)) == -1:
        errno = _errno()
        if errno != EINTR:
            raise OSError(errno, os.strerror(errno), what or function)
    return result


def unshare(flag: int, name: str) -> None:
    """unshare(2): move the process into one new namespace; ``name`` is that of the flag.

    CLONE_THREAD makes the kernel refuse, with EINVAL, in a process with threads, where any
    namespace but a user namespace would otherwise be entered by the calling thread alone.
    """
    if sys.version_info >= (3, 12):
        try:
            os.unshare(flag | CLONE_THREAD)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"unshare({name})") from None
    else:
        call("unshare", flag | CLONE_THREAD, what=f"unshare({name})")


def setns(path: str, flag: int) -> None:
    """setns(2): join the namespace that the file ``path`` stands for, of the type ``flag``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        call("setns", descriptor, flag, what=f"setns({path})")
    finally:
        os.close(descriptor)


def mount(
    source: "str | None", target: str, kind: "str | None", flags: int, data: str = ""
) -> None:
    """mount(2): ``kind`` is the file system's type and ``data`` its options."""
    call(
        "mount",
        os.fsencode(source) if source is not None else None,
        os.fsencode(target),
        os.fsencode(kind) if kind is not None else None,
        flags,
        os.fsencode(data) if data else None,
        what=f"mount({target})",
    )


def sethostname(name: str) -> None:
    """sethostname(2)."""
    call("sethostname", name.encode(), len(name), what="sethostname")


def loopback_up(use_libc: bool = False) -> None:
    """Bring the interface ``lo`` up, as netdevice(7) tells: the kernel gives it its addresses.

    Args:
        use_libc: true where another call needs the C library anyway; Python's own functions for
            this one cost less where they are built in (Debian, Ubuntu, uv): 0.25 ms, not 0.5.
    """
    request = b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, sys.byteorder) + bytes(22)  # struct ifreq
    if _function is None and not use_libc and "fcntl" in sys.builtin_module_names:
        from _socket import socket
        from fcntl import ioctl

        try:
            handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "socket(AF_INET)") from None
        try:
            ioctl(handle.fileno(), SIOCSIFFLAGS, request)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "ioctl(SIOCSIFFLAGS)") from None
        finally:
            handle.close()
        return
    descriptor = call("socket", AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0, what="socket(AF_INET)")
    try:
        call("ioctl", descriptor, SIOCSIFFLAGS, request, what="ioctl(SIOCSIFFLAGS)")
    finally:
        os.close(descriptor)


def write_file(path: str, text: str) -> None:
    """Write a file of /proc in one write(2), which is what id maps and time offsets ask for."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except PermissionError as error:
        from .idmap import open_as_dumpable

        descriptor = open_as_dumpable(path, error)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"write({path})") from None
    finally:
        os.close(descriptor)
