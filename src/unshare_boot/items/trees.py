"""Trees of mounts that are not mounted anywhere: open_tree(2) makes them, move_mount(2) puts them.

Both are system calls of Linux 5.2; those who have no other way say so by `unavailable`.
"""

import os
from errno import ENOSYS, EPERM

from ..namespaces import call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import UnshareError

SYS_OPEN_TREE = 428  # the same on every architecture that Python runs on
SYS_MOVE_MOUNT = 429
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 0x1  # include/uapi/linux/mount.h
MOVE_MOUNT_F_EMPTY_PATH = 0x4


def copy_tree(path: str, recursive: bool = True) -> int:
    """Return a descriptor of a copy of what is at ``path``, with all that is mounted below it.

    Or without, which the kernel refuses where that would show what is under a mount of others
    (EINVAL). Each mount of the copy has the flags of its original.

    Raises:
        UnshareError: the kernel refuses.
    """
    return call(
        "syscall",
        SYS_OPEN_TREE,
        AT_FDCWD,
        os.fsencode(path),
        OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0),
        name="open_tree",
        target=path,
    )


def attach(descriptor: int, target: str) -> None:
    """Mount a detached tree, or a new mount of fsmount(2).

    Args:
        descriptor: of its root.
        target: the path to put it on.

    Raises:
        UnshareError: the kernel refuses.
    """
    call(
        "syscall",
        SYS_MOVE_MOUNT,
        descriptor,
        b"",
        AT_FDCWD,
        os.fsencode(target),
        MOVE_MOUNT_F_EMPTY_PATH,
        name="move_mount",
        target=target,
    )


def unavailable(error: "UnshareError") -> bool:
    """Tell whether a call was refused since the kernel lacks it, or an old seccomp profile does."""
    return error.errno in (ENOSYS, EPERM)


WHOLE = True
