"""Which files an overlay shows and cannot change: the doctor tells before a program finds out.

To change a file of below, overlayfs makes a copy of it with the same owner, group and attributes,
and there have to be ids inside for all that they name: else the program gets an error.
"""

from __future__ import annotations

import grp
import os
import shlex
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .errors import shown
from .items.id_ranges import wanted
from .language.readers import escaped
from .procfiles import names_of_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .namespaces import Plan

    Range = tuple[int, int, int]  # inner, outer, count

MOST_LOOKED_AT = 20_000  # files

# Headings of docs/troubleshooting.md.
GROUPS = "files-of-a-group-without-an-id"
ATTRIBUTES = "files-with-an-acl-or-capabilities"

ACLS = ("system.posix_acl_access", "system.posix_acl_default")  # acl(5)
ACL_ENTRY = "<HHI"  # tag, permissions, id: struct posix_acl_xattr_entry
ACL_USER, ACL_GROUP = 0x02, 0x08
CAPABILITY = "security.capability"
VFS_CAP_REVISION_3 = 0x03000000  # whose last number is the uid of a user namespace's root


class Unchangeable(NamedTuple):
    """What would go wrong: as data for a `Verdict`.

    Attributes:
        what: the file, and what is the matter with it.
        cure: what to do about it.
        cause: the heading that tells more.
    """

    what: str
    cure: str
    cause: str


def unchangeable(plan: Plan) -> Unchangeable | None:
    """Find a file below an overlay that is the user's, and cannot be changed all the same.

    As in a directory that a team shares: the group is another one of the user's, and mode g+s gives
    it to all that is made there; or an ACL names the others.

    Args:
        plan: the list.
    """
    if plan.user is None or plan.user in ("all", "none") or plan.user[:1] == "/":
        return None
    ids = Ids(wanted(plan, {"uid": os.geteuid(), "gid": os.getegid()}))
    groups = os.getgroups()
    for _, directory, *kept in (each for each in plan.operations if each[0] == "overlay"):
        for path, status in _below(os.path.realpath(directory)):
            if not ids.have("uid", status.st_uid):
                continue
            gid = status.st_gid
            if not ids.have("gid", gid):
                if gid in groups:
                    return _of_group(plan, path, gid)
                continue
            if not kept and _has_strange_acl(path, ids):
                return _of_acl(directory, path)
            if _has_strange_capabilities(path, ids, bool(kept)):
                return _of_capabilities(path)
    return None


class Ids:
    """The ids outside that have one inside."""

    def __init__(self, maps: dict[str, list[Range]]) -> None:
        """By the maps of uid and gid."""
        self._maps = maps

    def have(self, kind: str, number: int) -> bool:
        """Tell whether one of a kind has one."""
        return any(first <= number < first + count for _, first, count in self._maps[kind])

    def have_root(self) -> bool:
        """Tell whether somebody is uid 0 inside."""
        return any(inner == 0 for inner, _, _ in self._maps["uid"])


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


def _attribute(path: str, name: str) -> bytes:
    with suppress(OSError):  # there is none, or none on this file system
        return os.getxattr(path, name, follow_symlinks=False)
    return b""


def _has_strange_acl(path: str, ids: Ids) -> bool:
    """Tell whether an ACL names somebody without an id; memory that is mounted inside has none."""
    for name in ACLS:
        value = _attribute(path, name)[4:]
        for tag, _, number in struct.iter_unpack(ACL_ENTRY, value[: len(value) // 8 * 8]):
            kind = {ACL_USER: "uid", ACL_GROUP: "gid"}.get(tag)
            if kind and not ids.have(kind, number):
                return True
    return False


def _has_strange_capabilities(path: str, ids: Ids, on_disk: bool) -> bool:
    """Tell whether a file has capabilities(7) that only root outside may give."""
    value = _attribute(path, CAPABILITY)
    if not value:
        return False
    if int.from_bytes(value[:4], "little") & 0xFF000000 == VFS_CAP_REVISION_3:
        return not ids.have("uid", int.from_bytes(value[20:24], "little"))
    return on_disk and not ids.have_root()  # else they become those of the root inside


def _of_group(plan: Plan, path: str, gid: int) -> Unchangeable:
    try:
        group = f"{grp.getgrgid(gid).gr_name} ({gid})"
    except KeyError:
        group = str(gid)
    what = (
        f"overlay: {shown(path)} and perhaps more is of the group {group}, which has no id inside: "
        "to change it will be EOVERFLOW"
    )
    line = shlex.quote(f"{names_of_user()[0]}:{gid}:1")
    cure = f"echo {line} | sudo tee -a /etc/subgid"
    if plan.user != "auto":
        cure += f"; then add map-groups={gid}:{gid}:1 to the list"
    return Unchangeable(what, cure, GROUPS)


def _of_acl(directory: str, path: str) -> Unchangeable:
    what = (
        f"overlay: {shown(path)} and perhaps more has an ACL that names somebody without an id "
        "inside: to change it, or to make something in it, will be EINVAL"
    )
    cure = f"keep the changes on a disk, which can have it: overlay={escaped(directory)}:CHANGES"
    return Unchangeable(what, cure, ATTRIBUTES)


def _of_capabilities(path: str) -> Unchangeable:
    what = (
        f"overlay: {shown(path)} and perhaps more has capabilities that only root outside may give "
        "a file: to change it will be EINVAL or EOVERFLOW"
    )
    cure = f"sudo setcap -r {shlex.quote(path)}, or have the program replace the file"
    return Unchangeable(what, cure, ATTRIBUTES)


WHOLE = True
