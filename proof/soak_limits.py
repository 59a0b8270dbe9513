"""The first process of a ground that grants few namespaces: starts that must all fit in.

What it is told, beside what ground.settle() needs: `pythons`, interpreters by name; `program`, the
path of a copy of soak_program.py; `limit`, how many namespaces of each kind there may be; `starts`,
how many one after another; `chains`, how many of starts within starts.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from harness.require import SEARCH_PATH
from proof import ground
from proof.ground import HOME, KINDS, Census

# Two that take one of each kind, but for the last.
LISTS = ("user,net,mount,uts,ipc,cgroup,time=+1h", "user,net,mount,uts,ipc,cgroup,time=+1h,pid")
NAMES = {"mnt": "mount"}  # what the language calls the kinds
FLAGS = {"mnt": "CLONE_NEWNS"}
DEEPEST = 32  # levels below the first that the kernel allows, of user and of PID namespaces


@dataclass
class Ended:
    """What came of a start, and of those within it."""

    status: int
    lines: list[dict[str, Any]]
    errors: str

    @property
    def no_more(self) -> bool:
        """Whether one was refused for there being too many namespaces."""
        return self.status == 125 and "(ENOSPC)" in self.errors


class Limits:
    """All of it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.pythons = cycle(sorted(told["pythons"].items()))
        self.counts: Counter[str] = Counter()
        self.unisolated: list[str] = []
        self.wrong: list[str] = []
        self.outside = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}

    def prove(self) -> dict[str, Any]:
        """One start after another; starts within starts; and what is said at the limit."""
        told = self.told
        before = Census.take()
        ground.limit_namespaces(told["limit"])
        for number in range(told["starts"]):
            self.runs(LISTS[number % 2], 1)
        for number in range(told["chains"]):
            self.runs(LISTS[number % 2], told["limit"])
        further_out = "the user namespace that this one lies in, or one further out"
        self.refused(LISTS[0], told["limit"], "user: unshare(CLONE_NEWUSER): ", further_out)
        ground.limit_namespaces(ground.ENDLESS)
        # The ground itself is one level of each.
        self.runs("user", DEEPEST)
        self.refused("user", DEEPEST, "user namespaces are nested too deep (32 levels), or the")
        self.runs("user,pid", DEEPEST - 1)
        self.refused("user,pid", DEEPEST - 1, "PID namespaces are nested too deep (32 levels), or")
        for kind in KINDS:
            for as_root in (False, True):
                self.at_the_limit(kind, as_root)
        left = ground.until_alone(told["patience"])
        left += Census.take().more_than(before)
        for uid in (told["uid"], 0):
            left += ground.namespaces_in_use(uid, told["patience"])
        return {
            "counts": self.counts,
            "unisolated": self.unisolated,
            "wrong": self.wrong,
            "left": left,
        }

    def runs(self, listing: str, deep: int, as_root: bool = False) -> None:
        """Start a program that starts itself, and so on, so many deep; all of them have to run.

        The kernel takes namespaces apart after their last process has ended. So what is refused for
        the limit is started again, until patience has an end.
        """
        end = time.monotonic() + self.told["patience"]
        ended = self.run(listing, deep, as_root)
        while ended.no_more and time.monotonic() < end:
            self.counts["started again"] += 1
            ground.reap(0.02)
            ended = self.run(listing, deep, as_root)
        self.counts["starts"] += deep
        if (ended.status, len(ended.lines), ended.errors) != (0, deep, ""):
            self.wrong.append(f"{listing}, {deep} deep: {ended}")

    def refused(self, listing: str, most: int, *words: str, as_root: bool = False) -> Ended:
        """Start one more than there can be; that one has to be refused, in these words."""
        end = time.monotonic() + self.told["patience"]
        ended = self.run(listing, most + 1, as_root)
        while len(ended.lines) < most and time.monotonic() < end:
            self.counts["started again"] += 1
            ground.reap(0.02)
            ended = self.run(listing, most + 1, as_root)
        self.counts["starts"] += most
        self.counts["refused"] += 1
        said = all(word in ended.errors for word in words)
        if not (ended.no_more and len(ended.lines) == most and said):
            self.wrong.append(f"{listing}, refused at {most}, {words}: {ended}")
        return ended

    def at_the_limit(self, kind: str, as_root: bool) -> None:
        """Use up what there is of one kind, have one more refused, and do what its cure says."""
        name, setting = NAMES.get(kind, kind), f"user.max_{kind}_namespaces"
        listing = name if as_root or kind == "user" else f"user,{name}"
        path = Path(f"/proc/sys/user/max_{kind}_namespaces")
        with self.held(listing, as_root), self.held(listing, as_root):
            path.write_text("2")
            # Whoever is in a new user namespace by then sees the limits of that one.
            known = as_root or kind == "user"
            why = "allows 2 to a user, and all are in use" if known else "is used up or 0"
            call = f"{name}: unshare({FLAGS.get(kind, f'CLONE_NEW{kind.upper()}')}): "
            ended = self.refused(listing, 0, call, f"{setting} {why}", as_root=as_root)
            cure = re.search(rf"cure: .*sudo sysctl -w {setting}=(\d+)", ended.errors)
            if cure:
                path.write_text(cure[1])
                self.runs(listing, 1, as_root)
            else:
                self.wrong.append(f"{listing}, no cure: {ended}")
        path.write_text("1")
        self.runs(listing, 1, as_root)
        path.write_text(str(ground.ENDLESS))

    @contextlib.contextmanager
    def held(self, listing: str, as_root: bool) -> Iterator[None]:
        """Have a program wait in a list."""
        reader, writer = os.pipe()
        output = os.memfd_create("output")
        pid = self.begin(listing, ["report", "wait"], (reader, output, output), as_root)
        os.close(reader)
        while not _read(output):
            assert pid not in ground.reap(0.02), _read(output)
        yield
        os.close(writer)
        os.close(output)

    def begin(
        self, listing: str, arguments: Sequence[str], streams: Sequence[int], as_root: bool
    ) -> int:
        """Start the program on the interpreter whose turn it is; returns its process id."""
        _, command = next(self.pythons)
        env = {"PATH": SEARCH_PATH, "HOME": str(HOME), "LANG": "C.UTF-8", "PY_UNSHARE": listing}
        argv = [command, self.told["program"], *arguments]
        return ground.start(argv, env, self.told, streams, as_root)

    def run(self, listing: str, deep: int, as_root: bool) -> Ended:
        """Start it so many deep, to the end."""
        output, errors = os.memfd_create("output"), os.memfd_create("errors")
        null = os.open(os.devnull, os.O_RDONLY)
        arguments = ["report", f"chain={deep - 1}:{listing}"]
        pid = self.begin(listing, arguments, (null, output, errors), as_root)
        statuses: dict[int, int] = {}
        while pid not in statuses:
            statuses.update(ground.reap(60))
        lines = [ast.literal_eval(line) for line in _read(output).splitlines()]
        ended = Ended(statuses[pid], lines, _read(errors))
        for descriptor in (null, output, errors):
            os.close(descriptor)
        names = {item.partition("=")[0] for item in listing.split(",")}
        wanted = {kind for kind in KINDS if NAMES.get(kind, kind) in names}
        around = self.outside
        for line in ended.lines:
            if any(line[kind] == around[kind] for kind in wanted):
                self.unisolated.append(f"{listing}: {line} in {around}\n{ended.errors}")
            around = line
        return ended


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 20, 0).decode(errors="replace")


if __name__ == "__main__":
    ground.main(lambda told: Limits(told).prove())
