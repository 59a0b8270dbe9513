"""Whose files an overlay shows and cannot change: the doctor tells before a program finds out.

To change a file of below, overlayfs makes a copy of it with the same owner and group, and there has
to be an id inside for both: else the program gets EOVERFLOW.
"""

from __future__ import annotations

import grp
import os
import shlex
from typing import TYPE_CHECKING

from .errors import shown
from .items.id_ranges import wanted
from .procfiles import names_of_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .namespaces import Plan

MOST_LOOKED_AT = 20_000  # files


def unmapped_group(plan: Plan) -> tuple[str, str] | None:
    """Find a file below an overlay that is the user's, but of a group without an id inside.

    As in a directory that a team shares: the group is another one of the user's, and mode g+s gives
    it to all that is made there.

    Args:
        plan: the list.

    Returns:
        What would go wrong, and the cure; None where nothing would.
    """
    if plan.user is None or plan.user in ("all", "none") or plan.user[:1] == "/":
        return None
    maps = wanted(plan, {"uid": os.geteuid(), "gid": os.getegid()})
    groups = os.getgroups()

    def has_id(kind: str, number: int) -> bool:
        return any(first <= number < first + count for _, first, count in maps[kind])

    for name, directory, *_ in (each for each in plan.operations if each[0] == "overlay"):
        for path, status in _below(os.path.realpath(directory)):
            gid = status.st_gid
            if gid in groups and has_id("uid", status.st_uid) and not has_id("gid", gid):
                return _what(name, path, gid), _cure(plan, gid)
    return None


def _below(top: str) -> Iterator[tuple[str, os.stat_result]]:
    yield top, os.lstat(top)
    left = MOST_LOOKED_AT
    for directory, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            try:
                yield path, os.lstat(path)
            except OSError:  # it is gone, or may not be looked at, so not changed either
                continue
            left -= 1
            if not left:
                return


def _what(item: str, path: str, gid: int) -> str:
    try:
        group = f"{grp.getgrgid(gid).gr_name} ({gid})"
    except KeyError:
        group = str(gid)
    return (
        f"{item}: {shown(path)} and perhaps more is of the group {group}, which has no id inside: "
        "to change it will be EOVERFLOW"
    )


def _cure(plan: Plan, gid: int) -> str:
    line = shlex.quote(f"{names_of_user()[0]}:{gid}:1")
    granted = f"echo {line} | sudo tee -a /etc/subgid"
    if plan.user == "auto":
        return granted
    return f"{granted}; then add map-groups={gid}:{gid}:1 to the list"


WHOLE = True
