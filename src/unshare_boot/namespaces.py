"""How each namespace is entered: plan to kernel. Knows nothing of the environment.

Top-down: the plan; `enter`, which carries it out; one function a namespace, in the fixed order;
and the system calls that Python has no function for, each a plain function that raises OSError
with the call as ``filename``, which is where Python shows what an error is about:
``[Errno 1] Operation not permitted: 'unshare(CLONE_NEWNET)'``.

All that a list of plain words needs is in this one file, because each file more costs a start
0.1 ms. What fewer lists ask for lives in a room of its own, loaded by the line that needs it.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Union

    from .errors import UnshareError

    Argument = Union[int, bytes, None]
    Report = Optional[Callable[[str], None]]
    Step = Callable[["Plan"], None]

OFF = ("", "0", "off", "no", "false")

# The namespaces in the fixed order in which they are entered, each with the words that it takes;
# the first is what the name alone means.
WORDS: "dict[str, tuple[str, ...]]" = {
    "user": ("root", "current", "auto", "all", "none"),
    "net": ("lo", "down", "pasta", "slirp4netns"),
    "mount": ("private", "slave", "shared", "unchanged"),
    "uts": ("",),
    "ipc": ("",),
    "cgroup": ("",),
    "time": ("",),
    "pid": ("",),
}
NAMESPACES = tuple(WORDS)

# The names of the files in /proc/self/ns.
FILES = {name: "mnt" if name == "mount" else name for name in NAMESPACES}

# The ids that this process had before user=none, while no map can tell.
unmapped: "tuple[int, int] | None" = None

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
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000

AF_INET = 2
SOCK_DGRAM = 2
SOCK_CLOEXEC = 0o2000000
O_PATH = getattr(os, "O_PATH", 0o10000000)  # PyPy has no name for it; asm-generic/fcntl.h
SIOCSIFFLAGS = 0x8914  # include/uapi/linux/sockios.h
IFF_UP = 0x1

EINTR = 4

FRESH_PROC = (("proc",),)  # the operation that comes with pid

PROPAGATION = {"private": MS_PRIVATE, "slave": MS_SLAVE, "shared": MS_SHARED}


class Plan:
    """What one list asks for, checked and complete. ``str`` gives it back as a list.

    A namespace is None when it is not asked for; a value that starts with ``/`` is the path of
    one to join; any other value is a word of the language.
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
    operations: "tuple[tuple[str, ...], ...]" = ()  # (proc,), (sys,), (tmpfs, DIR), …, in order
    keep_proc: bool = False
    caps: "str | None" = None  # keep, none

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and vars(self) == vars(other)

    def __str__(self) -> str:
        from .spec import unparse

        return unparse(self)


def plain_plan(text: str) -> "Plan | None":
    """Return the plan of a list of plain words, which is what most lists are.

    Args:
        text: the value of PY_UNSHARE.

    Returns:
        The plan that ``spec.parse`` would return; or None where it takes that to tell.
    """
    plan = Plan()
    for item in text.split(","):
        name, equals, word = item.partition("=")
        words = WORDS.get(name)
        if not words or getattr(plan, name) is not None:
            return None
        if equals and (not word or word not in words):
            return None
        setattr(plan, name, word or words[0])
    if plan.pid is not None:
        plan.operations = FRESH_PROC
        plan.mount = plan.mount or "private"
    return plan


def enter(plan: Plan, report: "Report" = None) -> "dict[str, int]":
    """Enter everything that the plan asks for, in the fixed order.

    With ``pid`` this returns in a child, which is the program; the process it was called in stays
    behind and supervises that.

    Args:
        plan: what to enter.
        report: called after each step with the item that the step was for.

    Returns:
        The names of the namespaces entered, each with its inode number.

    Raises:
        UnshareError: the first step that failed; those before it hold.
    """
    for item, step in steps(plan):
        try:
            step(plan)
        except OSError as error:
            raise failed(item, error) from None
        if report:
            report(item)
    entered = {}
    for name in NAMESPACES:
        if getattr(plan, name) is not None:
            try:
                entered[name] = inode(name)
            except OSError as error:
                raise failed(name, error) from None
    return entered


def steps(plan: Plan) -> "list[tuple[str, Step]]":
    """Return what is to be done for a plan, in order, each step with the item that it is for."""
    wanted = [name for name in NAMESPACES if getattr(plan, name) is not None]
    joined = [name for name in wanted if getattr(plan, name)[:1] == "/"]
    todo = [(name, STEPS[name]) for name in wanted if name not in joined or name == "pid"]
    if joined:
        from .join import join

        todo.insert(0, ("join", join))
    if plan.net in ("pasta", "slirp4netns"):
        from .outbound import prepare, resolve

        todo.insert(0, ("net", prepare))
        todo.append(("net", resolve))
    if plan.operations == FRESH_PROC and plan.mount == "private":
        todo.append(("proc", mount_proc))
    elif plan.operations:
        from .mounts import operate

        todo.append(("mount", operate))
    if plan.caps:
        from .capabilities import settle

        todo.append(("caps", settle))
    if plan.pid is not None:
        from .supervise import admit

        todo.append(("pid", admit))
    return todo


def enter_user(plan: Plan) -> None:
    """user_namespaces(7): without a capability outside one may map one's own two ids, no more."""
    more = plan.map_users or plan.map_groups or plan.setgroups
    if more or plan.user not in ("root", "current", "none"):
        from .idmap import enter_mapped

        enter_mapped(plan)
        return
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER, "CLONE_NEWUSER")
    if plan.user == "none":
        global unmapped
        unmapped = uid, gid
    else:
        inner_uid, inner_gid = (0, 0) if plan.user == "root" else (uid, gid)
        write_file("/proc/self/setgroups", "deny")  # else gid_map may not be written
        write_file("/proc/self/uid_map", f"{inner_uid} {uid} 1")
        write_file("/proc/self/gid_map", f"{inner_gid} {gid} 1")


def enter_net(plan: Plan) -> None:
    """network_namespaces(7): a new one has a loopback interface, and that is down."""
    unshare(CLONE_NEWNET, "CLONE_NEWNET")
    if plan.net != "down":
        loopback_up(use_libc=plan.mount is not None)
    if plan.addr:
        from .addresses import add

        add(plan.addr)
    if plan.net in ("pasta", "slirp4netns"):
        from .outbound import connect

        connect(plan)


def enter_mount(plan: Plan) -> None:
    """mount_namespaces(7): a copy of the mounts, the shared ones of which still follow the host."""
    unshare(CLONE_NEWNS, "CLONE_NEWNS")
    if plan.mount in PROPAGATION:
        mount(None, "/", None, MS_REC | PROPAGATION[plan.mount])


def enter_uts(plan: Plan) -> None:
    """uts_namespaces(7)."""
    unshare(CLONE_NEWUTS, "CLONE_NEWUTS")
    if plan.uts:
        sethostname(plan.uts)


def enter_ipc(plan: Plan) -> None:
    """ipc_namespaces(7)."""
    unshare(CLONE_NEWIPC, "CLONE_NEWIPC")


def enter_cgroup(plan: Plan) -> None:
    """cgroup_namespaces(7)."""
    unshare(CLONE_NEWCGROUP, "CLONE_NEWCGROUP")


def enter_time(plan: Plan) -> None:
    """time_namespaces(7): the clocks of a new one are set until it has a member."""
    unshare(CLONE_NEWTIME, "CLONE_NEWTIME")
    if plan.monotonic is not None or plan.boottime is not None:
        from .clocks import move

        move(plan)
    setns("/proc/self/ns/time_for_children", CLONE_NEWTIME)


def enter_pid(plan: Plan) -> None:
    """pid_namespaces(7): it is the children to come that live in a new one."""
    from .supervise import supervised

    supervised(plan)


def mount_proc(plan: Plan) -> None:
    """proc(5) shows the PID namespace of the process that mounts it: what ``pid`` brings along."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed, or lies outside of a chroot
        here = ""
    if here.startswith("/proc"):  # to stand in the new one takes more
        from .mounts import operate

        operate(plan)
        return
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def inode(name: str) -> int:
    """Return the inode number of the process's namespace of that name."""
    path = f"/proc/self/ns/{FILES[name]}"
    try:
        return os.stat(path).st_ino
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"stat({path})") from None


def failed(item: str, error: OSError) -> "UnshareError":
    """Return the error of an item: what the kernel said of a system call made for it."""
    from .errors import UnshareError

    if isinstance(error, UnshareError):
        return error
    return UnshareError(error.errno or 0, error.strerror or "", item, str(error.filename or ""))


# This is the only place that knows ctypes. It takes the C module underneath, because importing the
# package ``ctypes`` costs 4 ms of a 12 ms start (it defines a class for every C type); what is used
# here of ``_ctypes`` is what ``ctypes`` itself is written with, unchanged from CPython 3.9 to 3.15.
# Even that costs 0.5 ms, so it is loaded by the first call that Python really has no function for.

_function: "Callable[[str], Callable[..., int]] | None" = None
_errno: "Callable[[], int]"


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
    if sys.version_info >= (3, 12) and hasattr(os, "unshare"):
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


STEPS: "dict[str, Step]" = {
    "user": enter_user,
    "net": enter_net,
    "mount": enter_mount,
    "uts": enter_uts,
    "ipc": enter_ipc,
    "cgroup": enter_cgroup,
    "time": enter_time,
    "pid": enter_pid,
}

WHOLE = True
