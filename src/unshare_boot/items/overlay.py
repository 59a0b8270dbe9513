"""overlayfs: a directory below, above it a tmpfs that is detached once the overlay holds it.

Or above it the directory that is to keep what is written: ``kept``.

No path is put into the file system's options, where it would want escaping: overlayfs(5) gets its
directories as ``/proc/self/fd/N``.
"""

import os
from errno import EINVAL, EPERM

from ..namespaces import MS_NODEV, MS_NOEXEC, MS_NOSUID, O_PATH, call, mount
from ..procfiles import mount_number, mounts_below
from .trees import attach

MNT_DETACH = 0x2  # include/linux/fs.h
SYS_FSOPEN = 430  # the same on every architecture that Python runs on
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
CLOEXEC = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
INHERITED = MS_NOSUID | MS_NODEV | MS_NOEXEC  # MOUNT_ATTR_ and ST_ have the same values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Callable

    from ..namespaces import Hold

    Over = Callable[[str, int], int]
    Option = tuple[str, str]

FIRST_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h


def mount_overlay(target: str, over: "Over", stays: "Sequence[str]" = ()) -> None:
    """Cover a directory with a copy-on-write view of itself, and of what is mounted below it.

    Args:
        target: its path, without symbolic links.
        over: makes each overlay: that of `over_tmpfs` throws away what is written.
        stays: paths below it; what is mounted there stays as it is.

    Raises:
        UnshareError: the kernel refuses, as it does an overlay over what others have covered.
    """
    lower = os.open(target, O_PATH | os.O_CLOEXEC)
    descriptors = [lower]
    try:
        below = mounts_below(target, on=mount_number(lower))
        if below:
            from .mounted_below import cover_again, take

            taken = take(target, stays, descriptors)
        descriptors.append(over(target, lower))
        attach(descriptors[-1], target)
        if below:
            cover_again(taken, over)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def over_tmpfs(hold: "Hold") -> "Over":
    """Return what makes overlays whose upper directory is on a tmpfs without a name.

    Args:
        hold: as in a `Start`.
    """

    def throw_away(target: str, lower: int) -> int:
        mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700")
        try:
            top = os.open(target, O_PATH | os.O_CLOEXEC)
            try:
                upper = os.path.join(target, "upper")
                os.mkdir(upper)
                os.mkdir(os.path.join(target, "work"))
                owned_as(upper, os.fstat(lower))
                made = make(lower, top)
                if hold:
                    hold(target, top, lower)
                return made
            finally:
                os.close(top)
        finally:
            call("umount2", os.fsencode(target), MNT_DETACH, target=target)

    return throw_away


def attributes() -> str:
    """Return the kind of extended attributes that an overlay made here has.

    trusted.* attributes are for the first user namespace's root (overlayfs, Linux 5.11).
    """
    first = os.stat("/proc/self/ns/user").st_ino == FIRST_USER_NAMESPACE
    return "trusted" if first else "user"


def make(lower: int, top: int, options: "Sequence[Option]" = ()) -> int:
    """Return a descriptor of an overlay that is not mounted anywhere yet.

    Args:
        lower: a descriptor of the directory below.
        top: the same of one that has the directories upper and work.
        options: more, overlayfs(5).

    Raises:
        UnshareError: the kernel refuses.
    """
    context = call("syscall", SYS_FSOPEN, b"overlay", CLOEXEC, name="fsopen", target="overlay")
    try:
        for key, value in (
            ("source", "overlay"),
            ("lowerdir", f"/proc/self/fd/{lower}"),
            ("upperdir", f"/proc/self/fd/{top}/upper"),
            ("workdir", f"/proc/self/fd/{top}/work"),
            *options,
        ):
            _configure(context, FSCONFIG_SET_STRING, key, value)
        if attributes() == "user":
            _configure(context, FSCONFIG_SET_FLAG, "userxattr")
        _configure(context, FSCONFIG_CMD_CREATE)
        flags = os.fstatvfs(lower).f_flag & INHERITED
        return call(
            "syscall", SYS_FSMOUNT, context, CLOEXEC, flags, name="fsmount", target="overlay"
        )
    finally:
        os.close(context)


def _configure(context: int, command: int, key: str = "", value: str = "") -> None:
    """fsconfig(2)."""
    name = key.encode() if key else None
    setting = value.encode() if value else None
    what = f"overlay, {key or 'create'}"
    call("syscall", SYS_FSCONFIG, context, command, name, setting, 0, name="fsconfig", target=what)


def owned_as(path: str, below: os.stat_result) -> None:
    """Give the upper directory the owner and mode of what is below it."""
    if (below.st_uid, below.st_gid) != (os.geteuid(), os.getegid()):
        try:
            os.chown(path, below.st_uid, below.st_gid)
        except OSError as error:
            if error.errno not in (EINVAL, EPERM):
                raise  # else an id that is not mapped here: nothing in this namespace can have it
    os.chmod(path, below.st_mode & 0o7777)


WHOLE = True
