"""One row a namespace, the plan of a list, the plain steps, and the system calls they are made of.

The order of the steps is in the package's ``__init__``. All that a list of plain words needs is in
these two files, because each file more costs a start 0.1 ms.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Union

    from .errors import UnshareError
    from .gate.program import Helper
    from .outbound.program import Watcher
    from .pid import Admission

    Argument = Union[int, bytes, None]
    Report = Optional[Callable[[str], None]]
    Hold = Optional[Callable[[str, int, int], None]]
    Step = Callable[["Start"], None]
    Denied = Optional[Callable[[str, OSError], int]]

REFUSED = 125  # as with env(1), timeout(1) and chroot(1) where the launcher itself failed
OFF = ("", "0", "off", "no", "false")
OUTBOUND = ("pasta", "slirp4netns")  # the words of net that bring a way out

MS_NOSUID = 0x2  # include/uapi/linux/mount.h
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

AF_UNIX = 1
SOCK_DGRAM = 2
SOCK_CLOEXEC = 0o2000000
O_PATH = getattr(os, "O_PATH", 0o10000000)  # PyPy has no name for it; asm-generic/fcntl.h
SIOCSIFFLAGS = 0x8914  # include/uapi/linux/sockios.h
IFF_UP = 0x1

EINTR = 4

BROUGHT = "slave"  # the word of a mount that another item brings along: the host's come and go
FRESH_PROC = (("proc",),)  # the operation that comes with pid

PROPAGATION = {"private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}


class Namespace:
    """One kind of namespace, namespaces(7): a row of `NAMESPACES`.

    Attributes:
        flag: for unshare(2) and setns(2); ``flag_name`` is what sched.h calls it.
        file: its name in /proc/self/ns.
        words: that the item takes; the first is what the name alone means.
    """

    def __init__(self, flag: int, flag_name: str, file: str, *words: str) -> None:
        self.flag, self.flag_name, self.file, self.words = flag, flag_name, file, words


# In the order in which they are entered; the flags are those of sched.h.
NAMESPACES = {
    "user": Namespace(
        0x10000000, "CLONE_NEWUSER", "user", "root", "current", "auto", "all", "none"
    ),
    "net": Namespace(
        0x40000000, "CLONE_NEWNET", "net", "lo", "down", "gate", "pasta", "slirp4netns"
    ),
    "mount": Namespace(0x00020000, "CLONE_NEWNS", "mnt", "private", "slave", "shared", "unchanged"),
    "uts": Namespace(0x04000000, "CLONE_NEWUTS", "uts", ""),
    "ipc": Namespace(0x08000000, "CLONE_NEWIPC", "ipc", ""),
    "cgroup": Namespace(0x02000000, "CLONE_NEWCGROUP", "cgroup", ""),
    "time": Namespace(0x00000080, "CLONE_NEWTIME", "time", ""),
    "pid": Namespace(0x20000000, "CLONE_NEWPID", "pid", ""),
}
CLONE_THREAD = 0x00010000


class Plan:
    """What one list asks for, checked and complete.

    A namespace that is not asked for is None; ``/…`` is the path of one to join.
    """

    user: "str | None" = None  # a word, UID or UID:GID
    net: "str | None" = None
    mount: "str | None" = None
    uts: "str | None" = None  # "" or a hostname
    ipc: "str | None" = None
    cgroup: "str | None" = None
    time: "str | None" = None
    pid: "str | None" = None
    map_users: "tuple[tuple[str, str, int], ...]" = ()  # inner, outer, count
    map_groups: "tuple[tuple[str, str, int], ...]" = ()
    setgroups: "str | None" = None  # allow, deny
    monotonic: "int | None" = None  # nanoseconds
    boottime: "int | None" = None  # nanoseconds
    publish: "tuple[tuple[str, int, int, str], ...]" = ()  # address, host, inside, tcp or udp
    addr: "tuple[str, ...]" = ()  # ADDRESS/PREFIX
    allow: "tuple[tuple[str, int, int, str], ...]" = ()  # host, first port, last, tcp or udp
    record: "str | None" = None  # a file, or "" for standard error
    operations: "tuple[tuple[str, ...], ...]" = ()  # (proc,), (sys,), (tmpfs, DIR), …, in order
    keep_proc: bool = False
    caps: "str | None" = None  # keep, none
    sockets: "str | None" = None  # unix

    def asked(self) -> "list[str]":
        """Return the names of the namespaces that are asked for, in the fixed order."""
        return [name for name in NAMESPACES if getattr(self, name) is not None]

    def needs_single_thread(self) -> bool:
        """Tell whether other threads are in the way, as of all but a seccomp filter."""
        return bool(self.asked() or self.caps)

    def joined(self) -> "list[str]":
        """Return the names of the namespaces that exist already and are joined."""
        return [name for name in self.asked() if getattr(self, name)[:1] == "/"]


class Start:
    """One start on its way: what its steps share, and what nobody else sees.

    Attributes:
        plan: what is to be entered.
        report: called with the item of each step that is done; None where nobody listens.
        keep_open: a descriptor that helper processes hold as long as they live, or -1; by that
            a rehearsal knows when the ports that they took are free again.
        done: the items of the steps that are done.
        ids: the uid and gid from before ``user=none``, which no map can tell.
        open_denied: opens a file of /proc for a process that is not dumpable.
        check_whole: raises ImportError if a module that was loaded is cut short.
        hold_overlay: called with the path of each overlay, and with descriptors of the directory
            that has its upper one and of what is below; None where nobody looks into it later.
        watcher, helper, admission: what the steps of ``outbound``, ``gate`` and ``pid`` keep.
    """

    ids: "tuple[int, int] | None" = None
    open_denied: "Denied" = None
    check_whole: "Callable[[], None] | None" = None
    hold_overlay: "Hold" = None
    watcher: "Watcher | None" = None
    helper: "Helper | None" = None
    admission: "Admission | None" = None

    def __init__(self, plan: Plan, report: "Report" = None, keep_open: int = -1) -> None:
        self.plan = plan
        self.report = report
        self.keep_open = keep_open
        self.done: list[str] = []


def plain_plan(text: str) -> "Plan | None":
    """Return the plan of a list of plain words, as most are; None where it takes ``language``."""
    plan = Plan()
    for item in text.split(","):
        if item == "sockets=unix" and plan.sockets is None:
            plan.sockets = "unix"
            continue
        name, equals, word = item.partition("=")
        row = NAMESPACES.get(name)
        if row is None or getattr(plan, name) is not None:
            return None
        if equals and (not word or word not in row.words):
            return None
        setattr(plan, name, word or row.words[0])
    if plan.sockets and plan.net in ("gate", *OUTBOUND):
        return None
    if plan.pid is not None:
        plan.operations, plan.mount = FRESH_PROC, plan.mount or BROUGHT
    return plan


# One step a namespace.


def enter_user(start: Start) -> None:
    """user_namespaces(7): without a capability outside one may map one's own two ids, no more."""
    uid, gid = os.geteuid(), os.getegid()
    unshare("user")
    if start.plan.user == "none":
        start.ids = uid, gid
        return
    inner_uid, inner_gid = (0, 0) if start.plan.user == "root" else (uid, gid)
    for path, text in (
        ("/proc/self/setgroups", "deny"),  # else gid_map may not be written
        ("/proc/self/uid_map", f"{inner_uid} {uid} 1"),
        ("/proc/self/gid_map", f"{inner_gid} {gid} 1"),
    ):
        write_file(path, text, start.open_denied)


def enter_net(start: Start) -> None:
    """network_namespaces(7): a new one has a loopback interface, and that is down."""
    unshare("net")
    if start.plan.net != "down":
        loopback_up(use_libc=start.plan.mount is not None)


def enter_mount(start: Start) -> None:
    """mount_namespaces(7): a copy of the mounts, the shared ones of which still follow the host."""
    unshare("mount")
    if start.plan.mount in PROPAGATION:
        mount(None, "/", None, MS_REC | PROPAGATION[start.plan.mount])


def enter_uts(start: Start) -> None:
    """uts_namespaces(7)."""
    unshare("uts")
    if start.plan.uts:
        call("sethostname", start.plan.uts.encode(), len(start.plan.uts))


def enter_ipc(_: Start) -> None:
    """ipc_namespaces(7)."""
    unshare("ipc")


def enter_cgroup(_: Start) -> None:
    """cgroup_namespaces(7)."""
    unshare("cgroup")


def enter_time(_: Start) -> None:
    """time_namespaces(7): a new one has no member yet, and its clocks can be moved till then."""
    unshare("time")
    setns("/proc/self/ns/time_for_children", "time")


def mount_proc(_: Start) -> None:
    """proc(5) shows the PID namespace of the process that mounts it: what ``pid`` brings along."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def inode(name: str) -> int:
    """Return the inode number of the process's namespace of that name."""
    path = f"/proc/self/ns/{NAMESPACES[name].file}"
    try:
        return os.stat(path).st_ino
    except OSError as error:
        raise refused(error, "stat", path) from None


def refused(error: OSError, call: str, target: str = "") -> "UnshareError":
    """Return the error of a system call, with the call and what it was made for apart."""
    from .errors import UnshareError

    return UnshareError(error.errno or 0, error.strerror or "", "", call, target)


# System calls. Those that Python has no function for go through the C module below ``ctypes``: the
# package itself costs 4 ms of a 12 ms start (it defines a class for every C type), and what is used
# of ``_ctypes`` is what ``ctypes`` is written with, unchanged from CPython 3.9 to 3.15. Even that
# costs 0.5 ms, so the first such call loads it.

_function: "Callable[[str], Callable[..., int]] | None" = None
_errno: "Callable[[], int]"
_all_threads = CLONE_THREAD  # or 0


def _load() -> "Callable[[str], Callable[..., int]]":
    """Load _ctypes; return what gives a function of the C library by its name."""
    global _function, _errno
    try:
        from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, dlopen, dlsym, get_errno
    except ImportError:  # PyPy's is another one, and loading it costs as much as the package
        from ctypes import CDLL, get_errno

        loaded = CDLL(None, use_errno=True)

        def function(name: str) -> "Callable[..., int]":
            return getattr(loaded, name)  # type: ignore[no-any-return]
    else:

        class Function(CFuncPtr):
            _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO  # and, with no _restype_, returns an int

        library = dlopen(None, 0)  # type: ignore[arg-type]  # null: what is loaded already

        def function(name: str) -> "Callable[..., int]":
            return Function(dlsym(library, name))

    _function, _errno = function, get_errno
    return function


def call(function: str, *arguments: "Argument", name: str = "", target: str = "") -> int:
    """Call a function of the C library.

    Args:
        function: its name.
        arguments: numbers, zero-terminated bytes, or None for a null pointer.
        name: the system call's, for an error, where ``function`` is ``syscall``.
        target: what it is made for, for an error: a path, a flag's name.

    Returns:
        What the function returns, 0 or more.

    Raises:
        UnshareError: it returned -1; interrupted calls (EINTR) are made again (PEP 475).
    """
    result = attempt(function, *arguments)
    if result < 0:
        raise refused(OSError(-result, os.strerror(-result)), name or function, target)
    return result


def attempt(function: str, *arguments: "Argument") -> int:
    """Call a function of the C library, and load nothing where that fails.

    Returns:
        What the function returns, 0 or more; where that is -1, the negative errno.
    """
    pointer = (_function or _load())(function)
    while (result := pointer(*arguments)) == -1:
        errno = _errno()
        if errno != EINTR:
            return -errno
    return result


def unshare(name: str) -> None:
    """unshare(2): move the process into a new namespace.

    Args:
        name: of the namespace, such as ``net``.

    Raises:
        UnshareError: the kernel refuses, as it does any namespace in a process with threads.
    """
    row = NAMESPACES[name]
    _unshare(row.flag, row.flag_name)


def move_thread_alone(alone: bool) -> None:
    """Say whether the calling thread enters namespaces alone from here on, or as a process does."""
    global _all_threads
    _all_threads = 0 if alone else CLONE_THREAD


def require_single_thread() -> None:
    """Raise UnshareError (EINVAL) in a process with threads, and change nothing in any other."""
    _unshare(0, "CLONE_THREAD")


def _unshare(flag: int, flag_name: str) -> None:
    """Add CLONE_THREAD, with which the kernel answers EINVAL to a process with threads.

    Any namespace but a user namespace would otherwise be entered by the calling thread alone.
    """
    if sys.version_info >= (3, 12) and hasattr(os, "unshare"):
        try:
            os.unshare(flag | _all_threads)
        except OSError as error:
            raise refused(error, "unshare", flag_name) from None
    else:
        call("unshare", flag | _all_threads, target=flag_name)


def setns(path: str, name: str) -> None:
    """setns(2): join the namespace of the kind ``name`` that a file stands for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        call("setns", descriptor, NAMESPACES[name].flag, target=path)
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
        target=target,
    )


def loopback_up(use_libc: bool = False) -> None:
    """Bring the interface ``lo`` up, as netdevice(7) tells: the kernel gives it its addresses.

    By a unix socket, which an outer ``sockets=unix`` leaves.
    Python's own functions cost less where they are built in (Debian, Ubuntu, uv), 0.25 ms, not 0.5;
    but not where another call needs the C library anyway, ``use_libc``.
    """
    request = b"lo".ljust(16, b"\0") + IFF_UP.to_bytes(2, sys.byteorder) + bytes(22)  # struct ifreq
    if _function is None and not use_libc and "fcntl" in sys.builtin_module_names:
        from _socket import socket
        from fcntl import ioctl

        try:
            handle = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        except OSError as error:
            raise refused(error, "socket", "AF_UNIX") from None
        try:
            ioctl(handle.fileno(), SIOCSIFFLAGS, request)
        except OSError as error:
            raise refused(error, "ioctl", "SIOCSIFFLAGS") from None
        finally:
            handle.close()
        return
    descriptor = call("socket", AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, target="AF_UNIX")
    try:
        call("ioctl", descriptor, SIOCSIFFLAGS, request, target="SIOCSIFFLAGS")
    finally:
        os.close(descriptor)


def write_file(path: str, text: str, denied: "Denied" = None) -> None:
    """Write a file of /proc in one write(2), as id maps ask for; ``denied`` opens it on EACCES."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except PermissionError as error:
        if denied is None:
            raise
        descriptor = denied(path, error)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise refused(error, "write", path) from None
    finally:
        os.close(descriptor)


WHOLE = True
