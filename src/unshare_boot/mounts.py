"""The mounts of a list: proc, sys, tmpfs, bind, ro and overlay, in the order written.

Each is one mount(2) in the mount namespace just entered, where nobody outside sees it. Paths may
have any byte in them: none is ever put into a file system's options, whose separators would want
escaping; where overlayfs(5) wants directories there, it gets ``/proc/self/fd/N``.
"""

import os
import sys
from errno import EBUSY, EINVAL, ENOENT, ENOSYS, EPERM
from stat import S_ISDIR

from .errors import UnshareError
from .namespaces import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    O_PATH,
    Plan,
    call,
    failed,
    mount,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

MNT_DETACH = 0x2
# What a remount has to repeat, since a user namespace may not clear it (mount_namespaces(7),
# "Restrictions on mount namespaces"), by its word in proc_pid_mountinfo(5).
LOCKED = {
    b"nosuid": MS_NOSUID,
    b"nodev": MS_NODEV,
    b"noexec": MS_NOEXEC,
    b"nosymfollow": 0x100,
    b"noatime": 0x400,
    b"nodiratime": 0x800,
    b"relatime": 0x200000,
}

SYS_MOVE_MOUNT = 429  # the same on every architecture that Python runs on
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_MOUNT_SETATTR = 442
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
CLOEXEC = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOUNT_ATTR_RDONLY = 0x1  # this one and the next three have the values of MS_ and of ST_
MOUNT_ATTR_INHERITED = MS_NOSUID | MS_NODEV | MS_NOEXEC

FIRST_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h


def operate(plan: Plan) -> None:
    """Mount what the plan asks for, then stand in the working directory of that view.

    Relative paths are taken from where the process started, symbolic links are followed when it is
    an operation's turn, and nothing is created: what is to be covered has to be there.

    Raises:
        UnshareError: a path is not there, or the kernel refuses; ``item`` is the operation.
    """
    try:
        start = os.getcwd()
    except FileNotFoundError:  # it was removed, or lies outside of a chroot
        start = ""
    covers = ""
    for operation in plan.operations:
        item = _item(operation)
        try:
            covered = OPERATIONS[operation[0]](plan, start, *operation[1:])
        except UnshareError as error:
            raise UnshareError(error.errno or 0, error.strerror or "", item, error.call) from error
        except OSError as error:
            raise failed(item, error) from error
        if covered and (start == covered or start.startswith(covered + "/")):
            covers = item
    if covers:
        try:
            os.chdir(start)
        except OSError as error:
            reason = f"covers the working directory, {start!r}, and has none of that name itself"
            raise UnshareError(error.errno or 0, reason, covers, "chdir") from error


def make_read_only(path: str) -> None:
    """Make the mount at ``path`` and all mounts below it read-only, by mount_setattr(2).

    Before Linux 5.12 there is no such call, and old seccomp profiles refuse it: then each mount
    that proc_pid_mountinfo(5) tells of is remounted.

    Raises:
        OSError: the kernel refuses, or ``path`` is not the root of a mount (EINVAL).
    """
    attributes = MOUNT_ATTR_RDONLY.to_bytes(8, sys.byteorder) + bytes(24)
    try:
        call(
            "syscall",
            SYS_MOUNT_SETATTR,
            AT_FDCWD,
            os.fsencode(path),
            AT_RECURSIVE,
            attributes,  # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
            len(attributes),
            what=f"mount_setattr({path})",
        )
    except OSError as error:
        if error.errno not in (ENOSYS, EPERM):
            raise
        for point, flags in _mounts_below(os.path.realpath(path)):
            mount(None, point, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


# One function an operation; each returns the path that it has covered, "" for none.


def _proc(plan: Plan, start: str) -> str:
    """proc(5) shows the PID namespace of the process that mounts it."""
    return _mount_fresh(plan, "proc", "/proc", plan.pid)


def _sys(plan: Plan, start: str) -> str:
    """sysfs(5) shows the network namespace of the process that mounts it."""
    return _mount_fresh(plan, "sysfs", "/sys", plan.net)


def _mount_fresh(plan: Plan, kind: str, target: str, shown: "str | None") -> str:
    if plan.mount in ("shared", "unchanged"):
        mount(None, target, None, MS_PRIVATE)  # or root's would appear outside as well
    try:
        mount(kind, target, kind, MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        # The one that is there shows this very namespace, which it cannot if that is a new one.
        if error.errno != EBUSY or (shown is not None and shown[:1] != "/"):
            raise
    return target


def _tmpfs(plan: Plan, start: str, path: str) -> str:
    target = _directory(plan, start, path)
    # As private, or as public, as what it covers: /tmp stays everybody's, ~/.ssh one's own.
    mode = os.stat(target).st_mode & 0o7777
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}")
    return target


def _bind(plan: Plan, start: str, source: str, path: str) -> str:
    origin, target = _existing(start, source), _covered(plan, start, path)
    if S_ISDIR(os.stat(origin).st_mode) != S_ISDIR(os.stat(target).st_mode):
        raise UnshareError(EINVAL, f"of {source!r} and {path!r} only one is a directory")
    mount(origin, target, None, MS_BIND | MS_REC)
    return target


def _ro(plan: Plan, start: str, path: str) -> str:
    target = _existing(start, path)
    if target == "/":  # the root of a mount anyhow, and nothing can be put over it
        make_read_only(target)
        return ""
    target = _covered(plan, start, path)
    mount(target, target, None, MS_BIND | MS_REC)
    make_read_only(target)
    return target


def _overlay(plan: Plan, start: str, path: str) -> str:
    """overlayfs: DIR below, above it a tmpfs that is detached once the overlay holds it."""
    target = _directory(plan, start, path)
    if plan.user == "none":
        raise UnshareError(EINVAL, "with user=none there is no id yet that could own a change")
    lower = os.stat(target)
    inherited = os.statvfs(target).f_flag & MOUNT_ATTR_INHERITED
    bottom = os.open(target, O_PATH | os.O_CLOEXEC)
    descriptors = [bottom]
    try:
        below = _mounts_below(target, _mount_of(bottom))
        if below:
            point = below[0][0]
            reason = f"{point!r} is mounted below it, and an overlay has one file system underneath"
            raise UnshareError(EINVAL, reason)
        mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700")
        try:
            top = os.open(target, O_PATH | os.O_CLOEXEC)
            descriptors.append(top)
            upper = os.path.join(target, "upper")
            os.mkdir(upper)
            os.mkdir(os.path.join(target, "work"))
            if (lower.st_uid, lower.st_gid) != (os.geteuid(), os.getegid()):
                _give(upper, lower.st_uid, lower.st_gid)
            os.chmod(upper, lower.st_mode & 0o7777)
            descriptors.append(_overlay_mount(bottom, top, inherited))
        finally:
            call("umount2", os.fsencode(target), MNT_DETACH, what=f"umount2({target})")
        call(
            "syscall",
            SYS_MOVE_MOUNT,
            descriptors[-1],
            b"",
            AT_FDCWD,
            os.fsencode(target),
            MOVE_MOUNT_F_EMPTY_PATH,
            what=f"move_mount({target})",
        )
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return target


def _overlay_mount(lower: int, top: int, flags: int) -> int:
    """Return a descriptor of an overlay that is not mounted anywhere yet."""
    context = call("syscall", SYS_FSOPEN, b"overlay", CLOEXEC, what="fsopen(overlay)")

    def configure(command: int, key: "bytes | None", value: "bytes | None", what: str) -> None:
        what = f"fsconfig(overlay, {what})"
        call("syscall", SYS_FSCONFIG, context, command, key, value, 0, what=what)

    try:
        for key, value in (
            ("source", "overlay"),
            ("lowerdir", f"/proc/self/fd/{lower}"),
            ("upperdir", f"/proc/self/fd/{top}/upper"),
            ("workdir", f"/proc/self/fd/{top}/work"),
        ):
            configure(FSCONFIG_SET_STRING, key.encode(), value.encode(), key)
        if os.stat("/proc/self/ns/user").st_ino != FIRST_USER_NAMESPACE:
            # trusted.* attributes are for the first user namespace's root (overlayfs, Linux 5.11).
            configure(FSCONFIG_SET_FLAG, b"userxattr", None, "userxattr")
        configure(FSCONFIG_CMD_CREATE, None, None, "create")
        return call("syscall", SYS_FSMOUNT, context, CLOEXEC, flags, what="fsmount(overlay)")
    finally:
        os.close(context)


OPERATIONS: "dict[str, Callable[..., str]]" = {
    "proc": _proc,
    "sys": _sys,
    "tmpfs": _tmpfs,
    "bind": _bind,
    "ro": _ro,
    "overlay": _overlay,
}


def _existing(start: str, path: str) -> str:
    """Return the path without symbolic links.

    Raises:
        UnshareError: nothing is there.
    """
    if not start and path[:1] != "/":
        raise UnshareError(ENOENT, f"{path!r} is relative, and the working directory was removed")
    real = os.path.realpath(os.path.join(start, path))
    try:
        os.stat(real)
    except OSError as error:
        raise UnshareError(error.errno or 0, f"{path!r}: {error.strerror}", "", "stat") from error
    return real


def _covered(plan: Plan, start: str, path: str) -> str:
    """Return the path of what is to be covered."""
    target = _existing(start, path)
    if target == "/":
        raise UnshareError(EINVAL, "the root directory cannot be covered: name those below it")
    if plan.mount in ("shared", "unchanged") and (plan.user is None or plan.user[:1] == "/"):
        # In a new user namespace shared mounts have turned into slaves: nothing gets out. One that
        # was joined can be the one that the mounts outside belong to.
        reason = f"with mount={plan.mount} this could appear outside: write mount or mount=slave"
        raise UnshareError(EINVAL, reason)
    return target


def _directory(plan: Plan, start: str, path: str) -> str:
    target = _covered(plan, start, path)
    if not S_ISDIR(os.stat(target).st_mode):
        raise UnshareError(EINVAL, f"{path!r} is no directory")
    return target


def _mount_of(descriptor: int) -> bytes:
    """Return the number that mountinfo has for the mount that an open file is in."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        return next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))


def _mounts_below(top: str, on: bytes = b"") -> "list[tuple[str, int]]":
    """Return the mount points at and below a directory, each with its flags that are locked.

    Args:
        top: the directory.
        on: the number of a mount: leave out what is not mounted on that one itself, such as what
            was below the directory until something covered it.
    """
    found = []
    prefix = os.fsencode(top.rstrip("/") + "/")
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split(b" ")
            point = fields[4]
            for code, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n")):
                point = point.replace(code, plain)
            point = point.replace(b"\\134", b"\\")
            if (point + b"/").startswith(prefix) and on in (b"", fields[1]):
                flags = sum(LOCKED.get(word, 0) for word in fields[5].split(b","))
                found.append((os.fsdecode(point), flags))
    return found


def _give(path: str, uid: int, gid: int) -> None:
    try:
        os.chown(path, uid, gid)
    except OSError as error:
        if error.errno not in (EINVAL, EPERM):
            raise  # else an id that is not mapped here: nothing in this namespace can have it


def _item(operation: "tuple[str, ...]") -> str:
    return f"{operation[0]}={':'.join(operation[1:])!r}" if operation[1:] else operation[0]


WHOLE = True
