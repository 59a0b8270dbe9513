"""The ranges of a list's id maps: what is wanted, and what would be wrong with it."""

import os
from errno import EINVAL, ENOENT, EPERM

from ..errors import UnshareError, named
from ..namespaces import NAMESPACES, Plan
from ..procfiles import (
    SUBORDINATE_FILES,
    names_of_user,
    read_id_map,
    read_subordinates,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    Range = tuple[int, int, int]  # inner, outer, count

MAX_RANGES = 340  # UID_GID_MAP_MAX_EXTENTS, since Linux 4.15
FIRST_SUBORDINATE = 100000  # SUB_UID_MIN, login.defs(5)
SUBORDINATES = 65536  # SUB_UID_COUNT

ITEMS = {"uid": "map-users", "gid": "map-groups"}


def wanted(plan: Plan, own: "dict[str, int]") -> "dict[str, list[Range]]":
    """Return the ranges that a plan asks for, of "uid" and of "gid".

    Args:
        plan: what is to be entered.
        own: this process's ids of both kinds.

    Raises:
        UnshareError: a name is unknown, or /etc/subuid or /etc/subgid grants nothing.
    """
    word = plan.user or ""
    maps: dict[str, list[Range]] = {"uid": [], "gid": []}
    if word == "all":
        for kind, ranges in maps.items():
            ranges += [(inner, inner, count) for inner, _, count in read_id_map(kind)]
        return maps
    names = dict(zip(("uid", "gid"), word.split(":")))
    for kind, ranges in maps.items():
        if word in ("root", "auto"):
            inner = 0
        elif word == "current" or kind not in names:
            inner = own[kind]
        else:
            inner = _id(kind, names[kind], named("user", word))
        ranges.append((inner, own[kind], 1))
    if word == "auto":
        from .set_aside import ids_set_aside

        granted = {kind: ids_set_aside(kind) for kind in maps}
        if not all(granted.values()):
            raise _not_granted(granted)
        for kind, ranges in maps.items():
            following = 1
            for first, count in granted[kind]:
                ranges.append((following, first, count))
                following += count
    for kind, extra in (("uid", plan.map_users), ("gid", plan.map_groups)):
        for inner_name, outer_name, count in extra:
            item = named(ITEMS[kind], f"{inner_name}:{outer_name}:{count}")
            inner, outer = _id(kind, inner_name, item), _id(kind, outer_name, item)
            maps[kind].append((inner, outer, count))
    return maps


def _id(kind: str, text: str, item: str) -> int:
    """Return the number of a user or group."""
    if text.isdigit():
        return int(text)
    try:
        if kind == "uid":
            from pwd import getpwnam

            return getpwnam(text).pw_uid
        from grp import getgrnam

        return getgrnam(text).gr_gid
    except KeyError:
        from ..language.readers import nearest

        near = nearest(text, NAMESPACES["user"].words) if item[:5] == "user=" else ""
        what = "user" if kind == "uid" else "group"
        raise UnshareError(EINVAL, f"there is no {what} {text!r}{near}", item) from None


def _not_granted(granted: "dict[str, list[tuple[int, int]]]") -> UnshareError:
    from .set_aside import FILES, LISTER, SWITCH, lister, service

    owner, by = names_of_user()[0], service()
    reason = f"no ids are set aside for {owner}"
    if by != FILES and not lister():
        reason += (
            f" in files, and what {by} sets aside ({SWITCH}, subid) is listed by {LISTER}, which "
            "is not installed: Debian and Ubuntu have it in the package uidmap"
        )
        return UnshareError(ENOENT, reason, named("user", "auto"))
    if by != FILES:
        reason += f" by {by} ({SWITCH}, subid)"
    first, count = _not_taken()
    if count:
        kinds = [kind for kind in granted if not granted[kind] or by != FILES]
        files = " and to ".join(SUBORDINATE_FILES[kind] for kind in kinds)
        reason += f": as root, add the line {owner}:{first}:{count} to {files}"
        reason += f", and have subid: {FILES} in {SWITCH}" if by != FILES else ""
    else:
        reason += ", and there are none here (/proc/self/uid_map)"
    return UnshareError(ENOENT, reason, named("user", "auto"))


def _not_taken() -> "tuple[int, int]":
    """Return a range that nobody has been given, first and count; of the ids that there are here.

    In a container these may be few: user_namespaces(7).
    """
    kinds = tuple(SUBORDINATE_FILES)
    ends = [first + count for kind in kinds for _, first, count in read_subordinates(kind)]
    own = max(os.getuid(), os.getgid())
    shared = None
    for start in (max([FIRST_SUBORDINATE, *ends]), max([own + 1, *ends]), own + 1):
        counts = [_run(read_id_map(kind), start) for kind in kinds]
        if min(counts) >= SUBORDINATES:
            return start, SUBORDINATES
        shared = shared or ((start, min(counts)) if min(counts) else None)
    return shared or (0, 0)


def _run(ranges: "list[Range]", start: int) -> int:
    """Return how many ids an id map has from one on, without a gap."""
    end = start
    for inner, _, count in sorted(ranges):
        if inner <= end < inner + count:
            end = inner + count
    return end - start


def require_known_user(item: str, program: str) -> None:
    """Refuse what newuidmap(1) refuses to whom it does not know.

    Raises:
        UnshareError: the user is not in passwd(5), or has another group there.
    """
    from pwd import getpwuid

    uid, gid = os.getuid(), os.getgid()
    try:
        entry = getpwuid(uid)
    except KeyError:
        line = f"NAME:x:{uid}:{gid}::/:/bin/sh"
        reason = f"{program} is for users with a name: as root, add the line {line} to /etc/passwd"
        raise UnshareError(ENOENT, reason, item) from None
    if entry.pw_gid != gid and not _grants_to_other_groups():
        reason = (
            f"{program} is for users in their own group, which is {entry.pw_gid} in /etc/passwd "
            f"and not {gid}: sg, newgrp or, for a container, --user={uid}:{entry.pw_gid}"
        )
        raise UnshareError(EPERM, reason, item)


def _grants_to_other_groups() -> bool:
    """Tell whether login.defs(5) has newuidmap(1) serve users in another group than their own."""
    try:
        with open("/etc/login.defs", encoding="utf-8", errors="replace") as file:
            return any(line.split() == ["GRANT_AUX_GROUP_SUBIDS", "yes"] for line in file)
    except OSError:
        return False


def check(plan: Plan, kind: str, ranges: "list[Range]") -> None:
    """Refuse what the kernel would refuse with EINVAL or EPERM and no word of explanation."""
    item = item_of(plan, kind)
    if len(ranges) > MAX_RANGES:
        raise UnshareError(EINVAL, f"{len(ranges)} ranges, and a map has {MAX_RANGES}", item)
    for side, where in ((0, "inside"), (1, "outside")):
        spans = sorted((each[side], each[side] + each[2] - 1) for each in ranges)
        for (_, last), (following, end) in zip(spans, spans[1:]):
            if following <= last:
                both = _span(following, min(last, end))
                raise UnshareError(EINVAL, f"{kind} {both} {where} is mapped twice", item)
    if plan.user == "all":
        return
    existing = sorted((inner, inner + count - 1) for inner, _, count in read_id_map(kind))
    for _, outer, count in ranges:
        first, last = outer, outer + count - 1
        for start, end in existing:
            if start <= first <= end:
                first = end + 1
        if first <= last:
            reason = f"there is no {kind} {_span(first, last)} outside, see /proc/self/{kind}_map"
            if plan.user == "auto":
                from .set_aside import FILES, SWITCH, service

                start, length = _not_taken()
                line = f"{names_of_user()[0]}:{start}:{length}"
                reason += f": as root, have {line} in {SUBORDINATE_FILES[kind]} instead"
                if service() != FILES:
                    reason += f", and subid: {FILES} in {SWITCH}"
            raise UnshareError(EINVAL, reason, item)


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def item_of(plan: Plan, kind: str) -> str:
    """Return the item that a map of this kind is for."""
    return (
        ITEMS[kind]
        if (plan.map_users, plan.map_groups)[kind == "gid"]
        else named("user", plan.user)
    )


WHOLE = True
