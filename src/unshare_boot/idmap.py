"""Id maps of more than one's own two ids, user_namespaces(7).

Whoever is inside a new user namespace may map its own two ids and no more. The rest is written
from outside: by a child that stays there, directly where it has CAP_SETUID and CAP_SETGID, else by
newuidmap(1) and newgidmap(1), which grant what /etc/subuid and /etc/subgid say. All that can be
known to be wrong is refused before anything is entered.
"""

import os
from errno import EACCES, EINVAL, ENOENT, EPERM

from .errors import UnshareError
from .namespaces import CLONE_NEWUSER, WORDS, Plan, call, unshare, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Optional

    Range = tuple[int, int, int]  # inner, outer, count
    # The kind of ids, their map, and what writes that from outside ([]: a plain write(2)) or None.
    Job = tuple[str, list[Range], Optional[list[str]]]

CAP_SETGID = 6  # include/uapi/linux/capability.h
CAP_SETUID = 7
PR_GET_DUMPABLE = 3  # include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4
MAX_RANGES = 340  # UID_GID_MAP_MAX_EXTENTS, since Linux 4.15
FIRST_SUBORDINATE = 100000  # SUB_UID_MIN, login.defs(5)
SUBORDINATES = 65536  # SUB_UID_COUNT

SUBORDINATE_FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
PROGRAMS = {"uid": "newuidmap", "gid": "newgidmap"}
ITEMS = {"uid": "map-users", "gid": "map-groups"}


def enter_mapped(plan: Plan) -> None:
    """Enter a new user namespace with the id maps that the plan asks for.

    With ``user=UID`` alone the group keeps its number, as with chown(1). setgroups(2) is denied
    where the group map has one's own group only, unless the plan says otherwise.

    Raises:
        UnshareError: a name is unknown, ranges overlap or have no id outside, /etc/subuid grants
            none, or the kernel refuses.
        OSError: a system call failed.
    """
    own = {"uid": os.geteuid(), "gid": os.getegid()}
    maps = _wanted(plan, own)
    for kind, ranges in maps.items():
        _check(plan, kind, ranges)
    alone = {kind: len(maps[kind]) == 1 and maps[kind][0][1:] == (own[kind], 1) for kind in maps}
    deny = plan.setgroups == "deny" or (alone["gid"] and plan.setgroups is None)
    jobs: list[Job] = []
    for kind, ranges in maps.items():
        by_itself = alone[kind] and (kind == "uid" or deny)
        jobs.append((kind, ranges, None if by_itself else _writer(plan, kind, alone[kind])))
    target = os.readlink("/proc/self")  # the process id as /proc, and so newuidmap, has it
    outside = Outside(target, [job for job in jobs if job[2] is not None])
    try:
        unshare(CLONE_NEWUSER, "CLONE_NEWUSER")
        before = _make_dumpable()
        try:
            if deny:
                write_file("/proc/self/setgroups", "deny")
            for kind, ranges, writer in jobs:
                if writer is None:
                    write_file(f"/proc/self/{kind}_map", _lines(ranges))
            said = outside.write()
        finally:
            _restore_dumpable(before)
    finally:
        outside.end()
    for kind, _, writer in jobs:
        if writer is not None and not _read_map(kind):
            raise UnshareError(EPERM, said or f"{kind}_map was not written", _item(plan, kind))


def open_as_dumpable(path: str, error: OSError) -> int:
    """Open a file of /proc/self for writing in a process that is not dumpable.

    That is one whose program file is unreadable or has capabilities: its files there are root's,
    prctl(2), PR_SET_DUMPABLE.

    Args:
        path: the file.
        error: what the first try gave; raised again where that was not the cause.
    """
    before = _make_dumpable() if error.errno == EACCES else 1
    if before == 1:
        raise error
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    finally:
        _restore_dumpable(before)


class Outside:
    """A child that stays outside the new user namespace and writes maps when it is told to.

    It ends when it has, when `end` is called, and when this process dies.
    """

    def __init__(self, target: str, jobs: "list[Job]") -> None:
        """Fork it, unless there are no jobs; ``target`` is the process id to write maps for."""
        self._pid = 0
        if not jobs:
            return
        wait, self._go = os.pipe()
        self._said, say = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._go)
                os.close(self._said)
                _write_when_told(wait, say, target, jobs)
            finally:
                os._exit(0)
        os.close(wait)
        os.close(say)

    def write(self) -> str:
        """Have the maps written, and return what went wrong in words, empty for nothing."""
        if not self._pid:
            return ""
        os.write(self._go, b"!")
        said = b""
        while piece := os.read(self._said, 4096):
            said += piece
        return " ".join(said.decode("utf-8", "backslashreplace").split())

    def end(self) -> None:
        """Wait until it is gone."""
        if self._pid:
            os.close(self._go)
            os.close(self._said)
            try:
                os.waitpid(self._pid, 0)
            except ChildProcessError:  # SIGCHLD is ignored: the kernel has reaped it
                return


def _write_when_told(wait: int, say: int, target: str, jobs: "list[Job]") -> "NoReturn":
    """Be the child of `Outside`; never return."""
    from _signal import SIG_DFL, SIGCHLD, signal  # type: ignore[import-not-found]

    try:
        if os.read(wait, 1):
            signal(SIGCHLD, SIG_DFL)  # or the programs could not be waited for
            os.dup2(say, 1)
            os.dup2(say, 2)
            for kind, ranges, writer in jobs:
                if writer:
                    numbers = [str(number) for each in ranges for number in each]
                    argv = [*writer, target, *numbers]
                    child = os.fork()
                    if child == 0:
                        os.execv(writer[0], argv)
                    os.waitpid(child, 0)
                else:
                    write_file(f"/proc/{target}/{kind}_map", _lines(ranges))
    except BaseException as error:
        os.write(say, str(error).encode("utf-8", "backslashreplace"))
    os._exit(0)


# What is wanted.


def _wanted(plan: Plan, own: "dict[str, int]") -> "dict[str, list[Range]]":
    word = plan.user or ""
    maps: dict[str, list[Range]] = {"uid": [], "gid": []}
    if word == "all":
        for kind, ranges in maps.items():
            ranges += [(inner, inner, count) for inner, _, count in _read_map(kind)]
        return maps
    names = dict(zip(("uid", "gid"), word.split(":")))
    for kind, ranges in maps.items():
        if word in ("root", "auto"):
            inner = 0
        elif word == "current" or kind not in names:
            inner = own[kind]
        else:
            inner = _id(kind, names[kind], f"user={word}")
        ranges.append((inner, own[kind], 1))
    if word == "auto":
        granted = {kind: _subordinates(kind) for kind in maps}
        if not all(granted.values()):
            raise _not_granted(granted)
        for kind, ranges in maps.items():
            following = 1
            for first, count in granted[kind]:
                ranges.append((following, first, count))
                following += count
    for kind, extra in (("uid", plan.map_users), ("gid", plan.map_groups)):
        for inner_name, outer_name, count in extra:
            item = f"{ITEMS[kind]}={inner_name}:{outer_name}:{count}"
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
        from .spec import _nearest

        near = _nearest(text, WORDS["user"]) if item[:5] == "user=" else ""
        what = "user" if kind == "uid" else "group"
        raise UnshareError(EINVAL, f"there is no {what} {text!r}{near}", item) from None


def _subordinates(kind: str) -> "list[tuple[int, int]]":
    """Return what subuid(5) or subgid(5) grants: both are by user, as a name or a number."""
    keys = _owner()
    return [(first, count) for owner, first, count in _read_subordinates(kind) if owner in keys]


def _owner() -> "list[str]":
    uid = os.getuid()  # newuidmap(1) goes by the real one
    try:
        from pwd import getpwuid

        return [getpwuid(uid).pw_name, str(uid)]
    except KeyError:
        return [str(uid)]


def _read_subordinates(kind: str) -> "list[tuple[str, int, int]]":
    found = []
    try:
        with open(SUBORDINATE_FILES[kind], encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                owner, *numbers = line.strip().split(":")
                if len(numbers) == 2 and numbers[0].isdigit() and numbers[1].isdigit():
                    found.append((owner, int(numbers[0]), int(numbers[1])))
    except FileNotFoundError:
        return []
    return [(owner, first, count) for owner, first, count in found if count]


def _not_granted(granted: "dict[str, list[tuple[int, int]]]") -> UnshareError:
    owner = _owner()[0]
    ends = [first + count for kind in granted for _, first, count in _read_subordinates(kind)]
    line = f"{owner}:{max([FIRST_SUBORDINATE, *ends])}:{SUBORDINATES}"
    files = " and to ".join(SUBORDINATE_FILES[kind] for kind in granted if not granted[kind])
    reason = f"no ids are set aside for {owner}: as root, add the line {line} to {files}"
    return UnshareError(ENOENT, reason, "user=auto")


def _read_map(kind: str) -> "list[Range]":
    with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return [(int(inner), int(outer), int(count)) for inner, outer, count in lines]


# What would be wrong.


def _check(plan: Plan, kind: str, ranges: "list[Range]") -> None:
    """Refuse what the kernel would refuse with EINVAL or EPERM and no word of explanation."""
    item = _item(plan, kind)
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
    existing = sorted((inner, inner + count - 1) for inner, _, count in _read_map(kind))
    for _, outer, count in ranges:
        first, last = outer, outer + count - 1
        for start, end in existing:
            if start <= first <= end:
                first = end + 1
        if first <= last:
            reason = f"there is no {kind} {_span(first, last)} outside, see /proc/self/{kind}_map"
            raise UnshareError(EINVAL, reason, item)


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _item(plan: Plan, kind: str) -> str:
    return ITEMS[kind] if (plan.map_users, plan.map_groups)[kind == "gid"] else f"user={plan.user}"


# Who writes it.


def _writer(plan: Plan, kind: str, alone: bool) -> "list[str]":
    """Return the program that writes a map from outside, [] where a child of ours may itself."""
    if _effective() >> (CAP_SETUID if kind == "uid" else CAP_SETGID) & 1:
        return []
    if alone:
        reason = (
            "without CAP_SETGID outside, a group map of one's own group goes with setgroups=deny"
        )
        raise UnshareError(EPERM, reason, "setgroups=allow")
    if plan.user == "all":
        reason = "mapping every id is for root (CAP_SETUID and CAP_SETGID); user=auto is for all"
        raise UnshareError(EPERM, reason, "user=all")
    for directory in os.get_exec_path():
        path = os.path.join(directory, PROGRAMS[kind])
        if os.access(path, os.X_OK):
            return [path]
    reason = f"{PROGRAMS[kind]} is not installed: Debian and Ubuntu have it in the package uidmap"
    raise UnshareError(ENOENT, reason, _item(plan, kind))


def _effective() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def _lines(ranges: "list[Range]") -> str:
    return "".join(f"{inner} {outer} {count}\n" for inner, outer, count in ranges)


def _make_dumpable() -> int:
    """Return what PR_GET_DUMPABLE was, and have it 1."""
    before = call("prctl", PR_GET_DUMPABLE, 0, 0, 0, 0, what="prctl(PR_GET_DUMPABLE)")
    if before != 1:
        call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0, what="prctl(PR_SET_DUMPABLE)")
    return before


def _restore_dumpable(before: int) -> None:
    if before != 1:  # 2 can only be had by execve(2), and is no laxer than 0
        call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0, what="prctl(PR_SET_DUMPABLE)")


WHOLE = True
