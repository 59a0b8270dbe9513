"""Id maps of more than one's own two ids, user_namespaces(7).

Whoever is inside a new user namespace may map its own two ids and no more. The rest is written
from outside: by a child that stays there, directly where it has CAP_SETUID and CAP_SETGID, else by
newuidmap(1) and newgidmap(1), which grant what /etc/subuid and /etc/subgid say. All that can be
known to be wrong is refused before anything is entered.
"""

import os
from errno import ENOENT, EPERM

from ..child import (
    fork,
    heed_children,
    make_dumpable,
    pipe,
    read_all,
    reap,
    restore_dumpable,
)
from ..errors import UnshareError, named
from ..namespaces import Plan, Start, unshare, write_file
from ..procfiles import read_id_map, status_field
from .id_ranges import check, item_of, require_known_user, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Optional

    Range = tuple[int, int, int]  # inner, outer, count
    # The kind of ids, their map, and what writes that from outside ([]: a plain write(2)) or None.
    Job = tuple[str, list[Range], Optional[list[str]]]

CAP_SETGID = 6  # include/uapi/linux/capability.h
CAP_SETUID = 7

PROGRAMS = {"uid": "newuidmap", "gid": "newgidmap"}


def enter_mapped(start: Start) -> None:
    """Enter a new user namespace with the id maps that the plan asks for.

    With ``user=UID`` alone the group keeps its number, as with chown(1). setgroups(2) is denied
    where the group map has one's own group only, unless the plan says otherwise.

    Raises:
        UnshareError: a name is unknown, ranges overlap or have no id outside, /etc/subuid grants
            none, or the kernel refuses.
        OSError: a system call failed.
    """
    plan = start.plan
    own = {"uid": os.geteuid(), "gid": os.getegid()}
    maps = wanted(plan, own)
    for kind, ranges in maps.items():
        check(plan, kind, ranges)
    alone = {kind: len(maps[kind]) == 1 and maps[kind][0][1:] == (own[kind], 1) for kind in maps}
    deny = plan.setgroups == "deny" or (alone["gid"] and plan.setgroups is None)
    jobs: list[Job] = []
    for kind, ranges in maps.items():
        by_itself = alone[kind] and (kind == "uid" or deny)
        jobs.append((kind, ranges, None if by_itself else _writer(plan, kind, alone[kind])))
    bounding = status_field("CapBnd")
    said = _enter_and_map(jobs, deny)
    for kind, _, writer in jobs:
        if writer is not None and not read_id_map(kind):
            reason = said or f"{kind}_map was not written"
            # The bounding set is to be known: inside, that of the outside does not show.
            target = f"{writer[0]} {bounding}" if writer else ""
            raise UnshareError(EPERM, reason, item_of(plan, kind), target=target)


def _enter_and_map(jobs: "list[Job]", deny: bool) -> str:
    """Enter the namespace and have its maps written; return what went wrong outside, in words."""
    target = os.readlink("/proc/self")  # the process id as /proc, and so newuidmap, has it
    outside = Outside(target, [job for job in jobs if job[2] is not None])
    try:
        unshare("user")
        before = make_dumpable()
        try:
            if deny:
                write_file("/proc/self/setgroups", "deny")
            for kind, ranges, writer in jobs:
                if writer is None:
                    write_file(f"/proc/self/{kind}_map", _lines(ranges))
            return outside.write()
        finally:
            restore_dumpable(before)
    finally:
        outside.end()


class Outside:
    """A child that stays outside the new user namespace and writes maps when it is told to.

    It ends when it has, when `end` is called, and when this process dies.
    """

    def __init__(self, target: str, jobs: "list[Job]") -> None:
        """Fork it, unless there are no jobs; ``target`` is the process id to write maps for."""
        self._pid = 0
        if not jobs:
            return
        wait, self._go = pipe()
        self._said, say = pipe()
        self._pid = fork()
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
        said = read_all(self._said).decode("utf-8", "backslashreplace")
        return " ".join(said.split())

    def end(self) -> None:
        """Wait until it is gone."""
        if self._pid:
            os.close(self._go)
            os.close(self._said)
            reap(self._pid)


def _write_when_told(wait: int, say: int, target: str, jobs: "list[Job]") -> "NoReturn":
    """Be the child of `Outside`; never return."""
    try:
        if os.read(wait, 1):
            heed_children()
            os.dup2(say, 1)
            os.dup2(say, 2)
            for kind, ranges, writer in jobs:
                if writer:
                    numbers = [str(number) for each in ranges for number in each]
                    argv = [*writer, target, *numbers]
                    child = fork()
                    if child == 0:
                        os.execv(writer[0], argv)
                    reap(child)
                else:
                    write_file(f"/proc/{target}/{kind}_map", _lines(ranges))
    except BaseException as error:
        os.write(say, str(error).encode("utf-8", "backslashreplace"))
    os._exit(0)


def _writer(plan: Plan, kind: str, alone: bool) -> "list[str]":
    """Return the program that writes a map from outside, [] where a child of ours may itself."""
    if int(status_field("CapEff") or "0", 16) >> (CAP_SETUID if kind == "uid" else CAP_SETGID) & 1:
        return []
    if alone:
        reason = (
            "without CAP_SETGID outside, a group map of one's own group requires setgroups=deny"
        )
        raise UnshareError(EPERM, reason, named("setgroups", "allow"))
    if plan.user == "all":
        reason = (
            "mapping every id is for root (CAP_SETUID and CAP_SETGID); user=auto is for everybody"
        )
        raise UnshareError(EPERM, reason, named("user", "all"))
    for directory in os.get_exec_path():
        path = os.path.join(directory, PROGRAMS[kind])
        if os.access(path, os.X_OK):
            require_known_user(item_of(plan, kind), PROGRAMS[kind])
            return [path]
    reason = f"{PROGRAMS[kind]} is not installed: Debian and Ubuntu have it in the package uidmap"
    raise UnshareError(ENOENT, reason, item_of(plan, kind), target=PROGRAMS[kind])


def _lines(ranges: "list[Range]") -> str:
    return "".join(f"{inner} {outer} {count}\n" for inner, outer, count in ranges)


WHOLE = True
