"""The first process of a ground: starts programs of all kinds, kills some, and looks what is left.

What it is told, beside what ground.settle() needs: `pythons` and `threaded`, interpreters by name,
the latter with a thread before the hook; `program`, the path of a copy of soak_program.py; `seed`,
`starts`, `batches`, `at_a_time`.
"""

from __future__ import annotations

import ast
import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.require import SEARCH_PATH
from proof import ground
from proof.grammar import DIRECTORIES, OPERATIONS
from proof.ground import HOME, KINDS, RUNTIME, WORK, Census, MemoryGroup

HANGS = 120.0  # seconds
KILLED = 0.4  # of all starts, at the most: some have ended before
LATEST = 0.5  # seconds after a start, for what is to happen to it
MARK = "UNSHARE_BOOT_SOAK"
UNDER = WORK / "under"  # where programs write to
KEPT = WORK / "kept"  # and what overlays keep of that, each of its own: NUMBER

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Whom they hit, and the item that brings such a process.
ROLES = (
    ("process", ""),
    ("group", ""),
    ("any", ""),
    ("init", "pid"),
    ("watcher", "net="),
    ("driver", "net="),
    ("relay", "/udp"),
    ("gate", "net=gate"),
)
NAMES = {
    "init": ("unshare-init",),
    "watcher": ("unshare-net",),
    "relay": ("unshare-udp",),
    "gate": ("unshare-gate",),
    "driver": ("pasta", "pasta.avx2", "passt", "passt.avx2", "slirp4netns"),
}
FILES = {"mount": "mnt"}  # the kinds of namespaces that the language calls otherwise

USERS = ("user", "user", "user=current", "user=1000:1001", "user=auto", "user,setgroups=deny")
# Items that go with any of those, and with each other; and what each makes new beside its own.
ITEMS = (
    "net",
    "net=down",
    "net,addr=10.0.0.1/8,addr=fd00::1/64",
    "net,sys",
    "net=gate,record",
    "net=gate,allow=192.0.2.1:80,allow=localhost:5432",
    "mount",
    "mount=slave",
    "mount=shared",
    "mount=unchanged",
    "uts",
    "uts=inside",
    "ipc",
    "cgroup",
    "time",
    "time=+1d",
    "monotonic=+1h,boottime=+2h",
    "pid",
    "pid,proc=keep",
    f"tmpfs={UNDER}",
    f"bind=/etc:{UNDER}",
    f"ro={UNDER}",
    f"overlay={UNDER}",
    f"overlay={UNDER}:{KEPT}/NUMBER",
    f"hide={UNDER}",
    f"ro={WORK},rw={UNDER},rw={KEPT}",
    "caps=keep",
    "caps=none",
)
# Of these only one can be had.
APART = ({"time", "monotonic", "boottime"}, DIRECTORIES)
# What takes root, with no user namespace or with another map.
ROOT = (
    "net",
    "mount",
    "mount=shared",
    "mount=unchanged,uts=inside",
    "net,ipc,cgroup,time=+1d",
    "pid",
    "net,pid,sys",
    f"pid,tmpfs={UNDER}",
    f"overlay={UNDER}",
    f"overlay={UNDER}:{KEPT}/NUMBER,hide={HOME}",
    f"ro={UNDER},caps=none",
    "user=all,net,mount",
    "user=all,setgroups=allow,pid",
    "user,map-users=1:1:1000,map-groups=1:1:1000,net",
)
# Each is refused: some by the parser, some by the kernel after a part of it has been entered.
REFUSED = (
    "usr,net",
    "user,net,net",
    "net",
    "user,tmpfs=/no/such/directory",
    "user,pid,tmpfs=/no/such/directory",
    "user,net,uts=no_hostname",
    "user,time=-99999d",
    "user,pid,net,time=-99999d",
    "user,net=/proc/1/ns/net",
    "user,bind=/etc/passwd:/tmp",
    "user,proc",
    "user=all,net",
    "user=auto,pid,ipc,sys",
    "user,net=pasta,publish=1:1",
    "user,net=slirp4netns,publish=[::1]:{port}:80",
    "user,net=pasta,publish={port}:80/udp,tmpfs=/no/such/directory",
    "user,pid,net=slirp4netns,publish={port}:80,tmpfs=/no/such/directory",
)
OUTBOUND = (
    "net=pasta",
    "net=pasta,publish={port}:80",
    "net=pasta,publish={port}:80,publish={port}:81/udp,pid",
    "net=slirp4netns",
    "net=slirp4netns,publish={port}:80,mount",
    "net=slirp4netns,publish={port}:80/udp,pid",
)
# Lists for a start within one; the first are for a program that is its own root.
WITHIN = ("net", "mount,uts=within", "pid", "time=+1h,ipc", "user,net,mount", "user=current,pid")


@dataclass
class Case:
    """One start: what is asked for, what has to come of it, and what happens to it.

    Attributes:
        listing: the value of PY_UNSHARE, or what the program calls unshare() with.
        arguments: of soak_program.py.
        outcome: "runs", "refused" or "warns".
        within: the list of a start in this one.
        joins: it joins the holder's namespaces.
        descriptors: how many are open, from 0.
        kill: when, after the start, which signal, and whom it hits.
        lease: how long standard input stays open.
    """

    number: int
    python: str
    listing: str
    arguments: list[str]
    outcome: str = "runs"
    within: str = ""
    joins: bool = False
    as_root: bool = False
    descriptors: int = 3
    env: dict[str, str] = field(default_factory=dict)
    kill: tuple[float, signal.Signals, str] | None = None
    lease: float = LATEST

    def __str__(self) -> str:
        who = "root, " if self.as_root else ""
        words = f"{who}{self.python}, {self.listing!r} {self.outcome}: {' '.join(self.arguments)}"
        return f"start {self.number}: {words} {self.env} {self.kill or ''}"


@dataclass
class Running:
    """A start that has begun."""

    case: Case
    output: int
    errors: int
    stdin: int
    begun: float
    killed: bool = False

    def until(self) -> float:
        """When something is to be done next."""
        case = self.case
        times = [self.begun + HANGS]
        if self.stdin >= 0:
            times.append(self.begun + case.lease)
        if case.kill and not self.killed:
            times.append(self.begun + case.kill[0])
        return min(times)

    def end_lease(self) -> None:
        """Let standard input end, for all who have it."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1


def kinds(listing: str) -> set[str]:
    """The kinds of namespaces that a list makes new."""
    items = [item for item in listing.split(",") if item != "proc=keep"]
    names = {item.partition("=")[0] for item in items}
    found = {FILES.get(name, name) for name in names} & set(KINDS)
    brings_proc = "pid" in names and "proc=keep" not in listing
    if brings_proc or OPERATIONS & names:
        found.add("mnt")
    if {"monotonic", "boottime"} & names:
        found.add("time")
    return found


class Soak:
    """All of it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.random = random.Random(told["seed"])
        self.outside = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
        self.running: dict[int, Running] = {}
        self.counts: Counter[str] = Counter()
        self.unisolated: list[str] = []
        self.wrong: list[str] = []
        self.holder: dict[str, str] = {}  # the namespaces that are joined
        self.holder_pid = 0

    def prove(self) -> dict[str, Any]:
        """Start everything, batch by batch."""
        told = self.told
        left: list[str] = []
        memory = []
        for path in (UNDER, KEPT):
            path.mkdir()
            os.chown(path, told["uid"], told["gid"])
        group = MemoryGroup(Path(told["group"])) if told["group"] else None
        before = Census.take()
        begun = time.monotonic()
        for batch in range(told["batches"]):
            with self.held():
                for _ in range(
                    told["starts"] * batch // told["batches"],
                    told["starts"] * (batch + 1) // told["batches"],
                ):
                    while len(self.running) >= told["at_a_time"]:
                        self.turn()
                    self.begin(self.invent())
                while self.running:
                    self.turn()
            left += ground.until_alone(told["patience"])
            for each in KEPT.iterdir():
                shutil.rmtree(each)
            left += Census.take().more_than(before)
            if left:
                break
            if group:
                memory.append(group.used())
        seconds = time.monotonic() - begun
        for uid in (told["uid"], 0):
            left += ground.namespaces_in_use(uid, told["patience"])
        return {
            "counts": self.counts,
            "unisolated": self.unisolated,
            "wrong": self.wrong,
            "left": left,
            "memory": memory,
            "seconds": seconds,
        }

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have a process whose namespaces others join."""
        case = Case(0, min(self.told["pythons"]), "user,net,uts,ipc", ["report", "wait"])
        self.holder_pid = self.begin(case)
        holder = self.running.pop(self.holder_pid)
        end = time.monotonic() + HANGS
        while not (lines := self.lines(holder)):
            assert time.monotonic() < end and not self.turn(0.01), _read(holder.errors)
        self.holder = {kind: lines[0][kind] for kind in kinds(case.listing)}
        yield
        holder.end_lease()
        for descriptor in (holder.output, holder.errors):
            os.close(descriptor)

    # What is started.

    def invent(self) -> Case:
        """The next start."""
        self.counts["starts"] += 1
        pick = self.random
        case = Case(self.counts["starts"], pick.choice(sorted(self.told["pythons"])), "", [])
        kind = pick.choices(*zip(*self.mixture()))[0]
        self.counts[kind] += 1
        getattr(self, f"_{kind}")(case)
        case.listing = case.listing.replace("NUMBER", str(case.number))
        case.arguments = [each.replace("NUMBER", str(case.number)) for each in case.arguments]
        if "/run" not in case.env.values() and pick.random() < 0.5:
            case.env["XDG_RUNTIME_DIR"] = str(RUNTIME)
        if pick.random() < 0.2:
            case.descriptors = 4
        if pick.random() < KILLED:
            roles = [role for role, item in ROLES if item in case.listing]
            case.kill = (pick.uniform(0, LATEST), pick.choice(SIGNALS), pick.choice(roles))
        if case.outcome == "runs" and case.arguments[-1] == "report":
            case.arguments.append(pick.choice(("wait", f"status={case.number % 120}", "wait")))
        return case

    def mixture(self) -> list[tuple[str, int]]:
        """The kinds of starts, and how often each comes up."""
        return [
            ("mixed", 30),
            ("as_root", 8),
            ("refused", 10),
            ("warned", 6),
            ("threaded", 6),
            ("nested", 8),
            ("called", 6),
            ("daemons", 6),
            ("storm", 5),
            ("joined", 5),
            ("outbound", 18),
        ]

    def listing(self, *fixed: str, most: int = 5) -> str:
        """A list of items that can be had together, in any order."""
        items = [self.random.choice(USERS), *fixed]
        chosen = self.random.sample(ITEMS, self.random.randint(1, most))
        for item in chosen:
            names, have = _names([item]), _names(items)
            if not any(names & each and have & each for each in (*APART, names)):
                items.append(item)
        self.random.shuffle(items)
        return ",".join(items)

    def _mixed(self, case: Case) -> None:
        case.listing, case.arguments = self.listing(), ["report"]
        if f"tmpfs={UNDER}" in case.listing or f"overlay={UNDER}" in case.listing:
            case.arguments.append(f"files={UNDER}")
        if "ipc" in kinds(case.listing):
            case.arguments.append("ipc")

    def _as_root(self, case: Case) -> None:
        case.as_root = True
        case.listing, case.arguments = self.random.choice(ROOT), ["report"]

    def _refused(self, case: Case) -> None:
        case.listing = self.random.choice(REFUSED).format(port=20000 + case.number)
        case.arguments, case.outcome = ["report"], "refused"

    def _warned(self, case: Case) -> None:
        self._refused(case)
        case.outcome = "warns"
        if self.random.random() < 0.3:
            self._mixed(case)
            case.outcome = "runs"
        case.env["PY_UNSHARE_ON_ERROR"] = "warn"

    def _threaded(self, case: Case) -> None:
        self._mixed(case)
        case.python = self.random.choice(sorted(self.told["threaded"]))

    def _nested(self, case: Case) -> None:
        case.within = self.random.choice(WITHIN)
        case.listing = self.random.choice(("user,net", "user,mount", "user,pid,ipc", "user,time"))
        case.arguments = ["report", f"within={case.within}"]

    def _called(self, case: Case) -> None:
        case.listing = self.listing()
        case.arguments = [f"call={case.listing}", "report"]

    def _daemons(self, case: Case) -> None:
        case.listing, case.arguments = self.listing(most=2), ["report", "daemons=3"]

    def _storm(self, case: Case) -> None:
        case.listing, case.arguments = self.listing("pid", most=2), ["report", "storm=12"]

    def _joined(self, case: Case) -> None:
        place = f"/proc/{self.holder_pid}/ns"
        names = ["user", *self.random.sample(["net", "uts", "ipc"], self.random.randint(0, 3))]
        case.listing = ",".join(f"{name}={place}/{name}" for name in names)
        case.arguments, case.joins = ["report"], True

    def _outbound(self, case: Case) -> None:
        listing = self.random.choice(OUTBOUND).format(port=20000 + case.number)
        case.listing = f"{self.random.choice(('user', 'user=current'))},{listing}"
        case.arguments = ["report", "wait"]

    # What comes of it.

    def begin(self, case: Case) -> int:
        """Start it; returns the process id."""
        told = self.told
        output, errors = os.memfd_create("output"), os.memfd_create("errors")
        reader, writer = os.pipe()
        extra = [errors] * (case.descriptors - 3)
        env = {"PATH": SEARCH_PATH, "HOME": str(HOME), "LANG": "C.UTF-8", MARK: str(case.number)}
        env.update(case.env)
        if not any(word.startswith("call=") for word in case.arguments):
            env["PY_UNSHARE"] = case.listing
        command = {**told["pythons"], **told["threaded"]}[case.python]
        argv = [command, told["program"], *case.arguments]
        pid = ground.start(argv, env, told, [reader, output, errors, *extra], case.as_root)
        os.close(reader)
        self.running[pid] = Running(case, output, errors, writer, time.monotonic())
        return pid

    def turn(self, timeout: float = HANGS) -> bool:
        """Wait for the next thing to happen, and deal with it; returns whether one has ended."""
        now = time.monotonic()
        due = min([running.until() for running in self.running.values()], default=now + timeout)
        found = False
        for pid, status in ground.reap(min(due - now, timeout)).items():
            if pid in self.running:
                found = True
                self.judge(self.running.pop(pid), status)
        now = time.monotonic()
        for pid, running in self.running.items():
            case = running.case
            if now >= running.begun + HANGS:
                self.wrong.append(f"{case}: hangs")
                self.kill(pid, running, signal.SIGKILL, "group")
            elif case.kill and not running.killed and now >= running.begun + case.kill[0]:
                self.kill(pid, running, *case.kill[1:])
            if now >= running.begun + case.lease:
                running.end_lease()
        return found

    def kill(self, pid: int, running: Running, number: signal.Signals, role: str) -> None:
        """Send a signal to a process that a start consists of, if there is such a one."""
        running.killed = True
        with contextlib.suppress(ProcessLookupError):
            if role == "group":
                os.killpg(pid, number)
            elif role == "process":
                os.kill(pid, number)
            else:
                found = _belonging(running.case.number, NAMES.get(role, ()))
                if not found:
                    return
                os.kill(self.random.choice(found), number)
            self.counts[f"{number.name} to {role}"] += 1
            self.counts["killed"] += 1

    def judge(self, running: Running, status: int) -> None:
        """Look at what a start has said, and at how it has ended."""
        running.end_lease()
        case, lines = running.case, self.lines(running)
        said = _read(running.errors)
        for descriptor in (running.output, running.errors):
            os.close(descriptor)
        about = f"{case}: status {status}, {lines}\n{said}"
        if lines:
            self.look(case, lines, about)
        if running.killed:
            return
        expected = [int(word[7:]) for word in case.arguments if word.startswith("status=")] or [0]
        if case.outcome == "refused":
            right = status == 125 and not lines and "was not started" in said
        elif case.outcome == "warns":
            right = status == 0 and len(lines) == 1 and "unshare-boot" in said
        else:
            right = status == expected[0] and len(lines) == 1 + bool(case.within) and not said
        if not right:
            self.wrong.append(about)

    def look(self, case: Case, lines: Sequence[dict[str, Any]], about: str) -> None:
        """Compare what the program finds itself in with what was asked for."""
        first = lines[0]
        new = {kind for kind in KINDS if first[kind] != self.outside[kind]}
        wanted = set() if case.outcome == "warns" else kinds(case.listing)
        if case.outcome == "refused" or not wanted <= new:
            self.unisolated.append(about)
        elif new != wanted:
            self.wrong.append(f"in {sorted(new)}\n{about}")
        if case.joins and any(first[kind] != self.holder[kind] for kind in wanted):
            self.unisolated.append(f"not in the holder's namespaces\n{about}")
        if case.within and len(lines) > 1:
            new = {kind for kind in KINDS if lines[1][kind] != first[kind]}
            if not kinds(case.within) <= new:
                self.unisolated.append(f"the start within\n{about}")
        for line in lines:
            if line["descriptors"] != list(range(case.descriptors)) or line["variable"] is not None:
                self.wrong.append(about)

    def lines(self, running: Running) -> list[dict[str, Any]]:
        """What the program has said so far."""
        return [ast.literal_eval(line) for line in _read(running.output).splitlines()]


def _names(items: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for item in items for word in item.split(",")}


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 20, 0).decode(errors="replace")


def _belonging(number: int, names: Sequence[str]) -> list[int]:
    """The processes of a start, with one of these names if there are any."""
    found = []
    word = f"{MARK}={number}".encode()
    for pid in ground.processes():
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if not names or name in names:
                    found.append(pid)
    return found


if __name__ == "__main__":
    ground.main(lambda told: Soak(told).prove())
