"""Joining namespaces that exist already, by setns(2), as nsenter(1) does."""

import os
from errno import EINVAL, EPERM
from stat import S_ISDIR, S_ISREG

from .errors import UnshareError
from .namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    NAMESPACES,
    O_PATH,
    Plan,
    call,
    failed,
    unshare,
)

NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h, Linux 4.9; the one that owns it
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703  # Linux 4.11
OVERFLOW_ID = 65534  # what an id that is not mapped looks like
PR_GET_DUMPABLE = 3  # include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4

FLAGS = {
    "user": CLONE_NEWUSER,
    "net": CLONE_NEWNET,
    "mount": CLONE_NEWNS,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
    "pid": CLONE_NEWPID,
}
# The mount namespace comes last: it takes the working directory and the root with it.
ORDER = ("net", "uts", "ipc", "cgroup", "time", "pid", "mount")


def join(plan: Plan) -> None:
    """Join every namespace that the plan names by a path.

    All paths are opened and looked at first. Then everything that the present rights suffice for is
    joined; then the user namespace, which may take those rights away or give others; then the rest.
    For ``pid`` it is the children to come that live there.

    Raises:
        UnshareError: a path is not a namespace of that type, or the kernel refuses.
    """
    wanted = [name for name in NAMESPACES if (getattr(plan, name) or "")[:1] == "/"]
    try:
        start = os.getcwd()
    except FileNotFoundError:  # it was removed
        start = "."
    unshare(0, "CLONE_THREAD")  # fails in a process with threads: they would stay where they are
    opened: dict[str, int] = {}
    # The /proc of a mount namespace that is joined can be one that does not show this process.
    proc = os.open("/proc/self", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in wanted:
            opened[name] = _open(name, getattr(plan, name))
        todo = [name for name in ORDER if name in opened]
        if "user" in opened:
            user = os.fstat(opened["user"]).st_ino
            for name in list(todo):
                if _enter(plan, name, opened[name], proc, try_only=True):
                    todo.remove(name)
            if user != _own_user(proc):  # which setns(2) refuses to enter
                _enter_user(plan, opened["user"], proc)
        for name in todo:
            _enter(plan, name, opened[name], proc)
    finally:
        os.close(proc)
        for descriptor in opened.values():
            os.close(descriptor)
    if "mount" in opened:
        _stand_there(plan, start)


def _stand_there(plan: Plan, start: str) -> None:
    """Go to the working directory of a mount namespace that was joined; setns(2) went to ``/``."""
    item = _item(plan, "mount")
    try:
        os.chdir(start)
    except OSError as error:
        reason = f"the working directory, {start!r}, is not there: {error.strerror}"
        raise UnshareError(EINVAL, reason, item) from error
    if plan.pid is None and not os.path.exists("/proc/self"):
        reason = "its /proc is of another PID namespace, or missing: join pid=/proc/PID/ns/pid too"
        raise UnshareError(EINVAL, reason, item)


def _open(name: str, path: str) -> int:
    """Open a namespace; nothing else is opened, which for a device or a pipe can have effects."""
    item = f"{name}={path!r}"
    try:
        status = os.stat(path)
        if status.st_dev != os.stat("/proc/self/ns/user").st_dev:  # the file system nsfs
            kind = "something else"
            if S_ISDIR(status.st_mode):
                kind = "a directory"
            elif S_ISREG(status.st_mode):
                kind = "an ordinary file"
            raise UnshareError(EINVAL, f"not a namespace but {kind}", item)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except UnshareError:
        raise
    except OSError as error:
        raise UnshareError(error.errno or 0, error.strerror or "", item, f"open({path})") from error
    try:
        flag = call("ioctl", descriptor, NS_GET_NSTYPE, what="ioctl(NS_GET_NSTYPE)")
        if flag != FLAGS[name]:
            kind = next((each for each, value in FLAGS.items() if value == flag), "unknown")
            raise UnshareError(EINVAL, f"a namespace of the type {kind}, not {name}", item)
    except OSError as error:
        os.close(descriptor)
        raise error if isinstance(error, UnshareError) else failed(item, error) from error
    return descriptor


def _own_user(proc: int) -> int:
    """Return the inode of this process's user namespace; ``proc`` is /proc/self."""
    return os.stat("ns/user", dir_fd=proc).st_ino


def _enter(plan: Plan, name: str, descriptor: int, proc: int, try_only: bool = False) -> bool:
    """Return whether it was joined; not having the right to is no error if it is only tried."""
    try:
        call("setns", descriptor, FLAGS[name], what=f"setns({getattr(plan, name)})")
    except OSError as error:
        if error.errno != EPERM:
            raise failed(_item(plan, name), error) from error
        if not try_only:
            reason = _why_not(plan, name, descriptor, proc)
            raise UnshareError(EPERM, reason, _item(plan, name)) from error
        return False
    return True


def _why_not(plan: Plan, name: str, descriptor: int, proc: int) -> str:
    """Say whose right to join a namespace it is; the kernel wants CAP_SYS_ADMIN there."""
    owner = _related(descriptor, NS_GET_USERNS if name != "user" else NS_GET_PARENT)
    path = getattr(plan, name)
    if name == "user" or owner is None:
        return "only its owner, and root outside of it, may join this namespace"
    if owner == _own_user(proc):
        return "it belongs to the user namespace that this process is in: only root there may join"
    where = path.rpartition("/")[0] if path[:6] == "/proc/" else "/proc/PID/ns"
    return f"it belongs to another user namespace: join that with it, user={where}/user"


def _related(descriptor: int, request: int) -> "int | None":
    """Return the inode of what ioctl_ns(2) relates to a namespace; None outside of our scope."""
    try:
        related = call("ioctl", descriptor, request)
    except OSError:
        return None
    try:
        return os.fstat(related).st_ino
    finally:
        os.close(related)


def _enter_user(plan: Plan, descriptor: int, proc: int) -> None:
    """Join the user namespace, and become its root where it has no id for this process.

    The kernel makes a process that changes its credentials not dumpable until its next execve(2).
    There is none to come, so that is undone: files below /proc/self would not be the program's.
    """
    dumpable = call("prctl", PR_GET_DUMPABLE, 0, 0, 0, 0, what="prctl(PR_GET_DUMPABLE)")
    before = {"gid": os.getegid(), "uid": os.geteuid()}
    below = _related(descriptor, NS_GET_PARENT) == _own_user(proc)
    _enter(plan, "user", descriptor, proc)
    try:
        for kind, current in (("gid", os.getegid()), ("uid", os.geteuid())):
            ranges = _read_map(kind, proc)
            if below:  # the outer numbers of the map are the ones that were ours
                mapped = _has([(outer, count) for _, outer, count in ranges], before[kind])
            else:
                mapped = current != OVERFLOW_ID
            if mapped or not _has([(inner, count) for inner, _, count in ranges], 0):
                continue
            if kind == "gid":
                _leave_groups()
                os.setresgid(0, 0, 0)
            else:
                os.setresuid(0, 0, 0)
    except OSError as error:
        raise failed(_item(plan, "user"), error) from error
    if dumpable == 1:
        call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0, what="prctl(PR_SET_DUMPABLE)")


def _leave_groups() -> None:
    try:
        os.setgroups([])
    except PermissionError:
        return  # denied for good in that namespace: /proc/self/setgroups


def _has(ranges: "list[tuple[int, int]]", number: int) -> bool:
    return any(first <= number < first + count for first, count in ranges)


def _read_map(kind: str, proc: int) -> "list[tuple[int, int, int]]":
    descriptor = os.open(f"{kind}_map", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    with open(descriptor, encoding="ascii") as file:
        lines = [line.split() for line in file]
    return [(int(inner), int(outer), int(count)) for inner, outer, count in lines]


def _item(plan: Plan, name: str) -> str:
    return f"{name}={getattr(plan, name)!r}"


WHOLE = True
