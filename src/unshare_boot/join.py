"""Joining namespaces that exist already, by setns(2), as nsenter(1) does."""

import os
from errno import EINVAL, EPERM
from stat import S_ISDIR, S_ISREG

from . import UnshareError
from .namespaces import failed
from .spec import NAMESPACES, Plan
from .syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    call,
    unshare,
)

NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h, Linux 4.11
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
    except OSError:  # it was removed
        start = ""
    unshare(0, "CLONE_THREAD")  # fails in a process with threads: they would stay where they are
    opened: dict[str, int] = {}
    try:
        for name in wanted:
            opened[name] = _open(name, getattr(plan, name))
        todo = [name for name in ORDER if name in opened]
        if "user" in opened:
            todo = [name for name in todo if not _enter(plan, name, opened[name], try_only=True)]
            _enter_user(plan, opened["user"])
        for name in todo:
            _enter(plan, name, opened[name])
    finally:
        for descriptor in opened.values():
            os.close(descriptor)
    if "mount" in opened:
        try:
            os.chdir(start or ".")
        except OSError as error:
            reason = f"the working directory, {start!r}, is not there in that mount namespace"
            raise UnshareError(error.errno or 0, reason, _item(plan, "mount"), "chdir") from error


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
            article = "an" if kind[0] in "aeiou" and kind[:2] not in ("ut", "us") else "a"
            raise UnshareError(EINVAL, f"{article} {kind} namespace, not a {name} namespace", item)
    except OSError as error:
        os.close(descriptor)
        raise error if isinstance(error, UnshareError) else failed(item, error) from error
    return descriptor


def _enter(plan: Plan, name: str, descriptor: int, try_only: bool = False) -> bool:
    """Return whether it was joined; not having the right to is no error if it is only tried."""
    try:
        call("setns", descriptor, FLAGS[name], what=f"setns({getattr(plan, name)})")
    except OSError as error:
        if try_only and error.errno == EPERM:
            return False
        raise failed(_item(plan, name), error) from error
    return True


def _enter_user(plan: Plan, descriptor: int) -> None:
    """Join the user namespace, and become its root where it has no id for this process.

    The kernel makes a process that changes its credentials not dumpable until its next execve(2).
    There is none to come, so that is undone: files below /proc/self would not be the program's.
    """
    dumpable = call("prctl", PR_GET_DUMPABLE, 0, 0, 0, 0, what="prctl(PR_GET_DUMPABLE)")
    _enter(plan, "user", descriptor)
    try:
        for kind, current in (("gid", os.getegid()), ("uid", os.geteuid())):
            ranges = _read_map(kind)
            if _inside(ranges, current) or not _inside(ranges, 0):
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


def _inside(ranges: "list[tuple[int, int]]", number: int) -> bool:
    return any(first <= number < first + count for first, count in ranges)


def _read_map(kind: str) -> "list[tuple[int, int]]":
    with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return [(int(inner), int(count)) for inner, _, count in lines]


def _item(plan: Plan, name: str) -> str:
    return f"{name}={getattr(plan, name)!r}"
