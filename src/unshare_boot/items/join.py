"""Joining namespaces that exist already, by setns(2), as nsenter(1) does."""

import os
from errno import EINVAL, ENOTTY, EPERM
from stat import S_ISDIR, S_ISREG

from ..child import prctl
from ..errors import UnshareError, failed, named
from ..namespaces import NAMESPACES, O_PATH, Plan, Start, call, require_single_thread
from ..procfiles import read_id_map

NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h, Linux 4.9; the one that owns it
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703  # Linux 4.11
OVERFLOW_ID = 65534  # what an id that is not mapped looks like

# The mount namespace comes last: it takes the working directory and the root with it.
ORDER = ("net", "uts", "ipc", "cgroup", "time", "pid", "mount")


def join(start: Start) -> None:
    """Join every namespace that the plan names by a path.

    All paths are opened and looked at first. Then everything that the present rights suffice for is
    joined; then the user namespace, which may take those rights away or give others; then the rest.
    For ``pid`` it is the children to come that live there.

    Raises:
        UnshareError: a path is not a namespace of that type, or the kernel refuses.
    """
    plan = start.plan
    try:
        directory = os.getcwd()
    except FileNotFoundError:  # it was removed
        directory = "."
    require_single_thread()  # other threads would stay where they are
    opened: dict[str, int] = {}
    try:
        # The /proc of a mount namespace that is joined can be one that does not show this process.
        proc = os.open("/proc/self", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise failed(_item(plan, plan.joined()[0]), error) from error
    try:
        for name in plan.joined():
            opened[name] = _open(plan, name)
        _join_all(plan, opened, proc)
    finally:
        os.close(proc)
        for descriptor in opened.values():
            os.close(descriptor)
    if "mount" in opened:
        _change_directory(plan, directory)


def _join_all(plan: Plan, opened: "dict[str, int]", proc: int) -> None:
    todo = [name for name in ORDER if name in opened]
    if "user" in opened:
        todo = [name for name in todo if not _join_if_allowed(plan, name, opened[name])]
        if os.fstat(opened["user"]).st_ino != _own_user(proc):  # which setns(2) refuses to enter
            _join_user(plan, opened["user"], proc)
    for name in todo:
        _join(plan, name, opened[name], proc)


def _change_directory(plan: Plan, directory: str) -> None:
    """Go to the working directory of a mount namespace that was joined; setns(2) went to ``/``."""
    item = _item(plan, "mount")
    try:
        os.chdir(directory)
    except OSError as error:
        reason = f"the working directory, {directory!r}, is not there: {error.strerror}"
        raise UnshareError(EINVAL, reason, item) from error
    if plan.pid is None and not os.path.exists("/proc/self"):
        reason = "its /proc is of another PID namespace, or missing: join pid=/proc/PID/ns/pid too"
        raise UnshareError(EINVAL, reason, item)


def _open(plan: Plan, name: str) -> int:
    """Open a namespace; nothing else is opened, which for a device or a pipe can have effects."""
    item, path = _item(plan, name), getattr(plan, name)
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
    except OSError as error:
        if isinstance(error, UnshareError):
            raise
        raise UnshareError(error.errno or 0, error.strerror or "", item, "open", path) from error
    try:
        flag = call("ioctl", descriptor, NS_GET_NSTYPE, target="NS_GET_NSTYPE")
        if flag != NAMESPACES[name].flag:
            kind = next((each for each, row in NAMESPACES.items() if row.flag == flag), "unknown")
            raise UnshareError(EINVAL, f"a namespace of the type {kind}, not {name}", item)
    except UnshareError as error:
        if (
            error.errno != ENOTTY
        ):  # else setns(2) alone has to tell: in 32-bit programs on Linux 6.1
            os.close(descriptor)
            raise failed(item, error) from error
    return descriptor


def _own_user(proc: int) -> int:
    """Return the inode of this process's user namespace; ``proc`` is /proc/self."""
    return os.stat("ns/user", dir_fd=proc).st_ino


def _join(plan: Plan, name: str, descriptor: int, proc: int) -> None:
    if not _join_if_allowed(plan, name, descriptor):
        reason = _why_not(plan, name, descriptor, proc)
        raise UnshareError(EPERM, reason, _item(plan, name))


def _join_if_allowed(plan: Plan, name: str, descriptor: int) -> bool:
    """Join a namespace; return false where this process does not have the right to."""
    try:
        call("setns", descriptor, NAMESPACES[name].flag, target=getattr(plan, name))
    except UnshareError as error:
        if error.errno != EPERM:
            raise failed(_item(plan, name), error) from error
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


def _join_user(plan: Plan, descriptor: int, proc: int) -> None:
    """Join the user namespace, and become its root where it has no id for this process.

    The kernel makes a process that changes its credentials not dumpable until its next execve(2).
    There is none to come, so that is undone: files below /proc/self would not be the program's.
    """
    dumpable = prctl("PR_GET_DUMPABLE")
    before = {"gid": os.getegid(), "uid": os.geteuid()}
    below = _related(descriptor, NS_GET_PARENT) == _own_user(proc)
    _join(plan, "user", descriptor, proc)
    try:
        for kind, current in (("gid", os.getegid()), ("uid", os.geteuid())):
            ranges = read_id_map(kind, proc)
            if below:  # the outer numbers of the map are the ones that were ours
                mapped = _has([(outer, count) for _, outer, count in ranges], before[kind])
            else:
                mapped = current != OVERFLOW_ID
            if not mapped and _has([(inner, count) for inner, _, count in ranges], 0):
                _become_root(kind)
    except OSError as error:
        raise failed(_item(plan, "user"), error) from error
    if dumpable == 1:
        prctl("PR_SET_DUMPABLE", 1)


def _become_root(kind: str) -> None:
    if kind == "uid":
        os.setresuid(0, 0, 0)
        return
    try:
        os.setgroups([])
    except PermissionError:  # setgroups(2) is denied in that namespace: /proc/self/setgroups
        pass
    os.setresgid(0, 0, 0)


def _has(ranges: "list[tuple[int, int]]", number: int) -> bool:
    return any(first <= number < first + count for first, count in ranges)


def _item(plan: Plan, name: str) -> str:
    return named(name, getattr(plan, name))


WHOLE = True
