"""A tmpfs over a directory: an empty one for ``tmpfs``, one that nobody can use for ``hide``.

What is to stay there is bound into it, from a descriptor that was opened before; the directories on
the way to it are made.
"""

import os
from stat import S_ISDIR

from ..namespaces import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    O_PATH,
    call,
    mount,
    refused,
)

MS_RDONLY = 0x1  # include/uapi/linux/mount.h
MS_REMOUNT = 0x20
MNT_DETACH = 0x2  # include/linux/fs.h
SEALED = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY
THROUGH = 0o111  # the mode of a directory that leads to what stays, and shows nothing
SMALLEST = "size=4k"


def empty(target: str, kept: "list[str]", size: str = "") -> None:
    """Cover a directory with a tmpfs, as private or as public as what it covers.

    So /tmp stays everybody's, and ~/.ssh one's own.

    Args:
        target: its path, without symbolic links.
        kept: the same of what stays below it, none below another.
        size: as tmpfs(5) has it; empty for half of the memory.

    Raises:
        UnshareError: the kernel refuses.
    """
    mode = os.stat(target).st_mode & 0o7777
    options = f"mode={mode:o},size={size}" if size else f"mode={mode:o}"
    modes = {each: os.stat(each).st_mode & 0o7777 for each in _between(target, kept)}
    _mount_around(target, kept, MS_NOSUID | MS_NODEV, options, modes)


def hide(target: str, kept: "list[str]") -> None:
    """Have nothing at a path that anybody could read or write.

    Args:
        target: of a directory or anything else, without symbolic links.
        kept: the same of what stays below it, none below another.

    Raises:
        UnshareError: the kernel refuses.
    """
    if not S_ISDIR(os.stat(target).st_mode):
        _hide_file(target)
    elif not kept:
        mount("tmpfs", target, "tmpfs", SEALED, f"mode=0,{SMALLEST}")
    else:
        modes = dict.fromkeys([target, *_between(target, kept)], THROUGH)
        _mount_around(target, kept, SEALED & ~MS_RDONLY, f"mode=700,{SMALLEST}", modes)
        mount(None, target, None, MS_REMOUNT | MS_BIND | SEALED)


def _between(target: str, kept: "list[str]") -> "list[str]":
    """Return the directories on the way from one to what is below it, the uppermost first."""
    found: dict[str, None] = {}
    for each in kept:
        while (each := os.path.dirname(each)) != target:
            found[each] = None
    return sorted(found)


def _mount_around(
    target: str, kept: "list[str]", flags: int, options: str, modes: "dict[str, int]"
) -> None:
    """Mount a tmpfs, with what stays and the directories on the way, which then get their modes."""
    sources = [os.open(each, O_PATH | os.O_CLOEXEC) for each in kept]
    try:
        mount("tmpfs", target, "tmpfs", flags, options)
        for each in _between(target, kept):
            _make_directory(each)
        for source, each in zip(sources, kept):
            is_directory = S_ISDIR(os.fstat(source).st_mode)
            (_make_directory if is_directory else _make_file)(each)
            mount(f"/proc/self/fd/{source}", each, None, MS_BIND | MS_REC)
        for each, mode in modes.items():
            os.chmod(each, mode)
    finally:
        for source in sources:
            os.close(source)


def _hide_file(target: str) -> None:
    """Bind an empty file over it, of a tmpfs that is then nowhere else."""
    directory = os.path.dirname(target)
    if directory == "/":  # over which nothing can be mounted
        directory = "/dev"
    covered = os.open(target, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mount("tmpfs", directory, "tmpfs", SEALED & ~MS_RDONLY, f"mode=700,{SMALLEST}")
        try:
            file = os.path.join(directory, "hidden")
            _make_file(file)
            mount(None, directory, None, MS_REMOUNT | MS_BIND | SEALED)  # as the file will be
            mount(file, f"/proc/self/fd/{covered}", None, MS_BIND)
        finally:
            call("umount2", os.fsencode(directory), MNT_DETACH, target=directory)
    finally:
        os.close(covered)


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path)
    except OSError as error:
        raise refused(error, "mkdir", path) from None


def _make_file(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode=0))
    except OSError as error:
        raise refused(error, "open", path) from None


WHOLE = True
