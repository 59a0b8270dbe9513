"""What keeps directories from being renamed: DIR of ``ro`` or ``overlay`` would go along.

rename(2) refuses a directory that something is mounted on, wherever in the mount namespace that is
to be seen. So each of them is mounted once more, on a place where the next one covers it and in
the end what was there before: the program finds everything as it was, and no new borders.
"""

import os
from errno import EINVAL

from ..errors import UnshareError
from ..namespaces import MS_BIND, MS_PRIVATE, MS_REC, mount
from .trees import attach, copy_tree, unavailable

ST_RDONLY = 1  # statvfs(3); PyPy has no name for it
PLACE = "/dev"  # nothing is moved in or out there


def pin(targets: "list[str]") -> str:
    """Keep all directories above some paths where they are.

    Before Linux 5.2, and where open_tree(2) is forbidden, nothing is done.

    Args:
        targets: without symbolic links.

    Returns:
        The path that was covered with itself; empty for none.

    Raises:
        UnshareError: the kernel refuses.
    """
    targets = [each for each in targets if os.path.lexists(each)]  # a later item may cover it
    above = _above(targets)
    if not above:
        return ""
    place = next((each for each in (PLACE, *targets) if os.path.isdir(each)), "")
    if not place:
        return ""
    try:
        copy = copy_tree(place)
    except UnshareError as error:
        if not unavailable(error):
            raise
        return ""
    try:
        for each in above:
            _mount_once_more(each, place)
        attach(copy, place)
    finally:
        os.close(copy)
    return place


def _above(targets: "list[str]") -> "list[str]":
    """Return the directories above that somebody in here could rename, none twice."""
    found: dict[str, None] = {}
    for each in targets:
        while (each := os.path.dirname(each)) != "/" and each not in found:
            if _may_change(os.path.dirname(each)):
                found[each] = None
    return list(found)


def _may_change(directory: str) -> bool:
    if os.statvfs(directory).f_flag & ST_RDONLY:
        return False
    effective = os.access in os.supports_effective_ids
    if os.access(directory, os.W_OK, effective_ids=effective):
        return True
    return os.stat(directory).st_uid == os.geteuid()  # and may give itself the right


def _mount_once_more(directory: str, place: str) -> None:
    """Without what is mounted below, unless the kernel shows it in one piece only.

    And private: of shared mounts, the next one on the same place would be seen at the directory.
    """
    try:
        mount(directory, place, None, MS_BIND)
    except UnshareError as error:
        if error.errno != EINVAL:
            raise
        mount(directory, place, None, MS_BIND | MS_REC)
    mount(None, place, None, MS_PRIVATE | MS_REC)


WHOLE = True
