"""The mounts of a list: proc, sys, tmpfs, bind, ro, rw, hide and overlay, in the order written.

They are made in the mount namespace just entered, where nobody outside sees them. Paths may
have any byte in them: none is ever put into a file system's options, whose separators would want
escaping.
"""

import os
from errno import EBUSY, EINVAL, ENOENT
from stat import S_ISDIR

from ..errors import UnshareError, failed, named
from ..namespaces import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    Plan,
    Start,
    mount,
)
from ..procfiles import is_below

ST_RDONLY = 1  # statvfs(3)
PINNED = ("ro", "overlay")  # whose name nothing else may take that is written for good
NO_ID = "with user=none there is no id yet that could own a file"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def run_operations(start: Start) -> None:
    """Mount what the plan asks for, then go to the working directory of that view.

    Relative paths are taken from where the process started, symbolic links are followed when it is
    an operation's turn, and nothing is created: what is to be covered has to be there.

    Raises:
        UnshareError: a path is not there, or the kernel refuses; ``item`` is the operation.
    """
    directory = working_directory()
    covers = ""
    pinned = []
    for name, *paths in start.plan.operations:
        item = named(name, ":".join(paths)) if paths else name
        try:
            covered = OPERATIONS[name](start, directory, *paths)
        except OSError as error:
            raise failed(item, error) from error
        if covered and is_below(f"{directory}/", covered):
            covers = item
        if name in PINNED and covered == existing(directory, paths[0]):
            pinned.append((item, covered))
    if pinned:
        covers = _pin(directory, dict(pinned)) or covers
    if covers:
        try:
            os.chdir(directory)
        except OSError as error:
            raise covers_it(directory, covers, error.errno or 0, "chdir") from error


def _pin(directory: str, targets: "dict[str, str]") -> str:
    """Keep what is above some paths in its place; return the item if one covers `directory`."""
    from .pinned import pin

    item = next(iter(targets))
    try:
        covered = pin(list(targets.values()))
    except OSError as error:
        raise failed(item, error) from error
    return item if covered and is_below(f"{directory}/", covered) else ""


# One function an operation; each returns the path that it has covered, "" for none.


def _proc(start: Start, directory: str) -> str:
    """proc(5) shows the PID namespace of the process that mounts it."""
    return _mount_fresh(start.plan, "proc", "/proc", start.plan.pid)


def _sys(start: Start, directory: str) -> str:
    """sysfs(5) shows the network namespace of the process that mounts it."""
    return _mount_fresh(start.plan, "sysfs", "/sys", start.plan.net)


def _mount_fresh(plan: Plan, kind: str, target: str, namespace: "str | None") -> str:
    if plan.mount in ("shared", "unchanged"):
        mount(None, target, None, MS_PRIVATE)  # or root's would appear outside as well
    try:
        mount(kind, target, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except UnshareError as error:
        # The one that is there shows this very namespace, which it cannot if that is a new one.
        if error.errno != EBUSY or (namespace is not None and namespace[:1] != "/"):
            raise
    return target


def _tmpfs(start: Start, directory: str, path: str, size: str = "") -> str:
    from .covers import empty

    target = _directory(start.plan, directory, path)
    empty(target, kept_below(start.plan, directory, target), size)
    return target


def _bind(start: Start, directory: str, source: str, path: str) -> str:
    origin, target = existing(directory, source), _covered(start.plan, directory, path)
    if S_ISDIR(os.stat(origin).st_mode) != S_ISDIR(os.stat(target).st_mode):
        raise UnshareError(EINVAL, f"of {source!r} and {path!r} only one is a directory")
    mount(origin, target, None, MS_BIND | MS_REC)
    return target


def _ro(start: Start, directory: str, path: str) -> str:
    from .read_only import make_read_only

    target = existing(directory, path)
    kept = kept_below(start.plan, directory, target, covers=named("ro", path))
    how = {"alone": start.plan.mount in ("private", "slave"), "within_reach": _is_one(start.plan)}
    if kept:
        _covered(start.plan, directory, kept[0])
    if target == "/":  # the root of a mount anyhow, and nothing can be put over it
        make_read_only(target, kept, **how)
        return next((each for each in kept if is_below(f"{directory}/", each)), "")
    target = _covered(start.plan, directory, path)
    mount(target, target, None, MS_BIND | MS_REC)
    make_read_only(target, kept, **how)
    return target


def _is_one(plan: Plan) -> bool:
    """Tell whether nobody inside can become somebody else: there is a single id."""
    user = plan.user or ""
    return (user in ("root", "current") or user[:1].isdigit()) and not (
        plan.map_users or plan.map_groups
    )


def _rw(start: Start, directory: str, path: str) -> str:
    """It is the others that spare it; here is only seen to it that there is something to spare."""
    target = existing(directory, path)
    if not S_ISDIR(os.stat(target).st_mode):
        raise UnshareError(EINVAL, f"{path!r} is no directory")
    if os.statvfs(target).f_flag & ST_RDONLY:
        reason = f"{path!r} is read-only already, and rw makes nothing writable that was not"
        raise UnshareError(EINVAL, reason)
    return ""


def _hide(start: Start, directory: str, path: str) -> str:
    from .covers import hide

    target = _covered(start.plan, directory, path)
    kept = kept_below(start.plan, directory, target, names=("rw", "ro"), covers=named("hide", path))
    if start.plan.user == "none" and (kept or not S_ISDIR(os.stat(target).st_mode)):
        raise UnshareError(EINVAL, NO_ID)
    hide(target, kept)
    return target


def _overlay(start: Start, directory: str, path: str, changes: str = "") -> str:
    from .overlay import mount_overlay, over_tmpfs

    target = _directory(start.plan, directory, path)
    if start.plan.user == "none":
        raise UnshareError(EINVAL, NO_ID)
    stays = kept_below(start.plan, directory, target, names=("ro", "hide", "tmpfs", "overlay"))
    if not changes:
        mount_overlay(target, over_tmpfs(start.hold_overlay), stays)
        return target
    from .kept import keeping_in

    existing(directory, os.path.dirname(changes) or ".")
    path = os.path.realpath(os.path.join(directory, changes))
    mount_overlay(target, keeping_in(path, target, start.hold_overlay), stays)
    return target


OPERATIONS: "dict[str, Callable[..., str]]" = {
    "proc": _proc,
    "sys": _sys,
    "tmpfs": _tmpfs,
    "bind": _bind,
    "ro": _ro,
    "rw": _rw,
    "hide": _hide,
    "overlay": _overlay,
}


def kept_below(
    plan: Plan, directory: str, target: str, names: "tuple[str, ...]" = ("rw",), covers: str = ""
) -> "list[str]":
    """Return what is to stay as it is below a path that an item covers.

    Args:
        plan: of which these items say so, wherever in the list they are.
        directory: that relative paths are taken from.
        target: the path that is covered.
        names: of the items that say so.
        covers: the name of the item that covers it, where that leaves nothing as it is.

    Returns:
        Paths without symbolic links, sorted, none below another. What is not there yet is left
        out: it is missed when it is its item's turn.

    Raises:
        UnshareError: ``target`` itself is to stay as it is (EINVAL).
    """
    found: set[str] = set()
    for name, *paths in plan.operations:
        if name in names:
            try:
                real = existing(directory, paths[0])
            except UnshareError:
                continue
            if real == target and covers:
                raise UnshareError(EINVAL, f"contradicts {covers}", named(name, paths[0]))
            if is_below(real, target):
                found.add(real)
    return [each for each in sorted(found) if not any(is_below(each, other) for other in found)]


def working_directory() -> str:
    """Return its path; empty where it was removed, or lies outside of a chroot."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def covers_it(directory: str, item: str, errno: int, call: str = "") -> UnshareError:
    """Return the refusal of an item that leaves nothing of the working directory."""
    reason = f"covers the working directory, {directory!r}, and has none of that name itself"
    return UnshareError(errno, reason, item, call)


def existing(directory: str, path: str) -> str:
    """Return the path without symbolic links.

    Raises:
        UnshareError: nothing is there.
    """
    if not directory and path[:1] != "/":
        raise UnshareError(ENOENT, f"{path!r} is relative, and the working directory was removed")
    real = os.path.realpath(os.path.join(directory, path))
    try:
        os.stat(real)
    except OSError as error:
        raise UnshareError(error.errno or 0, f"{path!r}: {error.strerror}", "", "stat") from error
    return real


def _covered(plan: Plan, directory: str, path: str) -> str:
    """Return the path of what is to be covered."""
    target = existing(directory, path)
    if target == "/":
        raise UnshareError(EINVAL, "the root directory cannot be covered: name those below it")
    if plan.mount in ("shared", "unchanged") and (plan.user is None or plan.user[:1] == "/"):
        # In a new user namespace shared mounts have turned into slaves: nothing gets out. One that
        # was joined can be the one that the mounts outside belong to.
        reason = f"with mount={plan.mount} this could appear outside: write mount or mount=slave"
        raise UnshareError(EINVAL, reason)
    return target


def _directory(plan: Plan, directory: str, path: str) -> str:
    target = _covered(plan, directory, path)
    if not S_ISDIR(os.stat(target).st_mode):
        raise UnshareError(EINVAL, f"{path!r} is no directory")
    return target


WHOLE = True
