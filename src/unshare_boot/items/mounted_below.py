"""What is mounted below a directory that gets an overlay: each gets one of its own, or stays.

The kernel refuses an overlay over what somebody else has mounted something upon, for that would
show what is under it: in a new user namespace these are all mounts but its own.
"""

import os
from errno import EINVAL
from stat import S_ISDIR

from ..errors import UnshareError
from ..language.readers import escaped
from ..namespaces import O_PATH
from ..procfiles import is_below, mount_number, mounts_below
from .read_only import make_read_only
from .trees import attach, copy_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Callable

    Over = Callable[[str, int], int]
    Taken = tuple[str, int, str]  # path, descriptor, and what becomes of it

OVERLAY, STAYS, READ_ONLY = "overlay", "stays", "read-only"


def take(target: str, stays: "Sequence[str]", descriptors: "list[int]") -> "list[Taken]":
    """Open all that is mounted below a directory, while it can be seen.

    Args:
        target: the directory.
        stays: paths; what is mounted there or below stays as it is.
        descriptors: gets those that are to be closed.

    Returns:
        Each with what it is to be: a file cannot have an overlay, and is read-only.

    Raises:
        UnshareError: the kernel allows no overlay of ``target``.
    """
    _require_own(target)
    found: list[Taken] = []
    on = os.open(target, O_PATH | os.O_CLOEXEC)
    descriptors.append(on)
    for point in _points(target, mount_number(on)):
        if any(is_below(f"{point}/", each) for each in stays):
            how, descriptor = STAYS, copy_tree(point)
        elif S_ISDIR(os.stat(point).st_mode):
            how, descriptor = OVERLAY, os.open(point, O_PATH | os.O_CLOEXEC)
        else:
            how, descriptor = READ_ONLY, copy_tree(point)
        descriptors.append(descriptor)
        found.append((point, descriptor, how))
        if how == OVERLAY:
            found += take(point, stays, descriptors)
    return found


def cover_again(taken: "list[Taken]", over: "Over") -> None:
    """Put all that was taken where it was, into the overlay that covers it now.

    Raises:
        UnshareError: the kernel refuses.
    """
    for point, descriptor, how in taken:
        if how != OVERLAY:
            attach(descriptor, point)
            if how == READ_ONLY:
                make_read_only(point)
            continue
        try:
            made = over(point, descriptor)
        except UnshareError as error:
            if error.errno != EINVAL or not error.system_call:
                raise
            reason = f"{point!r} is mounted below it, and can have no overlay of its own"
            cure = f"add ro={escaped(point)} to have it read-only"
            raise UnshareError(EINVAL, f"{reason}: {cure}") from error
        try:
            attach(made, point)
        finally:
            os.close(made)


def _points(target: str, on: int) -> "list[str]":
    """Return where something is mounted upon one mount, below a path, and is to be seen."""
    points = sorted({each.point for each in mounts_below(target, on=on)} - {target})
    return [each for each in points if not any(is_below(each, other) for other in points)]


def _require_own(target: str) -> None:
    try:
        os.close(copy_tree(target, recursive=False))
    except UnshareError as error:
        if error.errno != EINVAL:
            raise
        points = [each.point for each in mounts_below(target) if each.point != target]
        point = points[0] if points else target
        reason = (
            f"{point!r} is mounted below it from outside, and only root may have an overlay over "
            "that: name the directories beside it, each with an overlay of its own"
        )
        raise UnshareError(EINVAL, reason) from error


WHOLE = True
