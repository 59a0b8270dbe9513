"""Making a tree of mounts read-only: mount_setattr(2), or one remount after the other."""

import os
import sys

from ..errors import UnshareError
from ..namespaces import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    O_PATH,
    call,
    mount,
)
from ..procfiles import Mount, mount_number, mounts_below
from .trees import AT_FDCWD, AT_RECURSIVE, attach, copy_tree, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SYS_MOUNT_SETATTR = 442  # the same on every architecture that Python runs on
MOUNT_ATTR_RDONLY = 0x1
MS_RDONLY = 0x1  # include/uapi/linux/mount.h
MS_REMOUNT = 0x20

# What a remount has to repeat, since a user namespace may not clear it (mount_namespaces(7),
# "Restrictions on mount namespaces"), by its word in proc_pid_mountinfo(5).
LOCKED = {
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "nosymfollow": 0x100,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "relatime": 0x200000,
}


def make_read_only(
    path: str, spared: "Sequence[str]" = (), alone: bool = False, within_reach: bool = False
) -> None:
    """Make the mount at ``path`` and all mounts below it read-only, by mount_setattr(2).

    Before Linux 5.12 there is no such call, and old seccomp profiles refuse it: then each mount
    that proc_pid_mountinfo(5) tells of is remounted, and what is hidden below another is not.

    Args:
        path: without symbolic links if anything is spared.
        spared: what below it stays as it is, none below another.
        alone: make them private as well, mount_namespaces(7): what is mounted outside later would
            come in writable.
        within_reach: leave out, where each is remounted, what this process may not get to. Only
            for a user namespace with one id, where nobody else can either; else that is refused.

    Raises:
        UnshareError: the kernel refuses, or ``path`` is not the root of a mount (EINVAL).
    """
    copies: list[int] = []
    try:
        try:
            copies += map(copy_tree, spared)
        except UnshareError as error:
            if not unavailable(error):
                raise
            for each in spared:
                mount(each, each, None, MS_BIND | MS_REC)
            _remount(path, alone, within_reach, spared)
            return
        _set_read_only(path, alone, within_reach)
        for copy, each in zip(copies, spared):  # which has the flags from before
            attach(copy, each)
    finally:
        for copy in copies:
            os.close(copy)


def _set_read_only(path: str, alone: bool, within_reach: bool) -> None:
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    fields = (MOUNT_ATTR_RDONLY, 0, MS_PRIVATE if alone else 0, 0)
    attributes = b"".join(each.to_bytes(8, sys.byteorder) for each in fields)
    try:
        call(
            "syscall",
            SYS_MOUNT_SETATTR,
            AT_FDCWD,
            os.fsencode(path),
            AT_RECURSIVE,
            attributes,
            len(attributes),
            name="mount_setattr",
            target=path,
        )
    except UnshareError as error:
        if not unavailable(error):
            raise
        _remount(os.path.realpath(path), alone, within_reach)


def _remount(path: str, alone: bool, within_reach: bool, spared: "Sequence[str]" = ()) -> None:
    tops = tuple(f"{each}/" for each in spared)
    for each in mounts_below(path):
        if f"{each.point}/".startswith(tops) or not _shows(each, within_reach):
            continue
        if alone:
            mount(None, each.point, None, MS_PRIVATE)
        locked = sum(LOCKED.get(word, 0) for word in each.options)
        mount(None, each.point, None, MS_REMOUNT | MS_BIND | MS_RDONLY | locked)


def _shows(each: Mount, within_reach: bool) -> bool:
    """Tell whether a mount is what its path leads to: another may have been put over it."""
    try:
        descriptor = os.open(each.point, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        if within_reach:
            return False
        raise
    try:
        return mount_number(descriptor) == each.number
    finally:
        os.close(descriptor)


WHOLE = True
