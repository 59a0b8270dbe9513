"""Starts in which something else happens at one system call, and what comes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from harness import Finished, Python, Session
from harness.faults.injection import Call, Injector, happenings, record
from harness.faults.starts import STARTS, Judge, Setting, Start, prepared
from harness.watch import Watch


@pytest.fixture(scope="session")
def injector(session: Session) -> Injector:
    """The compiled injector."""
    return Injector(session.make_workdir())


@dataclass
class Trial:
    """A start whose system calls are known.

    Attributes:
        setting: the start.
        judge: of what comes of it.
        calls: those of the hook.
    """

    setting: Setting
    judge: Judge
    calls: list[Call]
    injector: Injector
    told: Path

    def start(self, call: Call, happening: str) -> Finished | None:
        """Start with something else at a call; None where it was not made this time."""
        return self.injector.start(self.setting, call, happening, self.told)

    def outcome(self, call: Call, happening: str) -> str:
        """What came of that, as Judge.outcome() has it."""
        try:
            done = self.start(call, happening)
        except AssertionError as error:  # it takes too long
            return f"WRONG: {str(error)[:200]}"
        return self.judge.outcome(done) if done else "not made"


@pytest.fixture
def trial(
    either: Python, start: Start, session: Session, injector: Injector, watch: Watch
) -> Iterator[Trial]:
    """One kind of start, its system calls recorded; the test is parametrised by `start`."""
    with prepared(start, either, session, watch.env) as setting:
        judge = Judge(setting, filtered=True)
        traces = session.make_workdir()
        calls = [call for call in record(setting, traces) if injector.knows(call)]
        yield Trial(setting, judge, calls, injector, traces / "told")


def chosen(trial: Trial, full: bool, thin: int = 1) -> list[tuple[Call, str]]:
    """What is to happen at which call: everything; in the size for CI one thing, in turns.

    It is less, in full as well, for the calls that load a file, which all starts have in common;
    and where a start takes longer, since it makes a network with a way out or changes the machine's
    users, or has a thousand calls, since three interpreters start in turn.
    """
    found = []
    start = trial.setting.start
    first = STARTS.index(start)
    if "pid" in start.unshare and not full:  # three processes, whose calls are many
        thin *= 2
    every = thin * {"site": 12, "gate": 12, "thread": 4, "users": 3}.get(start.place, 1)
    for at, call in enumerate(trial.calls):
        everything = happenings(call)
        turn = first + at
        if not full:
            each = 3 * every if loads(call) else every
            wanted = at % each == first % each
            everything = [everything[turn % len(everything)]] if wanted else []
        elif every > 1 or loads(call):
            everything = everything[turn % 5 :: 5]
        found += [(call, happening) for happening in everything]
    return found


def loads(call: Call) -> bool:
    """Whether it is one of those with which importlib or the dynamic loader loads a file."""
    return call.process == "0" and call.name in LOADING and "/proc/" not in call.arguments


LOADING = {
    *("brk", "close", "fstat", "getdents64", "ioctl", "lseek", "mmap", "mprotect", "mremap"),
    *("munmap", "newfstatat", "openat", "pread64", "read", "stat"),
}


def tried(trial: Trial, full: bool, thin: int = 1) -> Iterator[tuple[str, str]]:
    """Try things at the calls of a start; yield what it was, and what came of it.

    Args:
        trial: the start.
        full: try everything at every call, not one thing.
        thin: try only every such call.
    """
    outcomes: Counter[str] = Counter()
    # Both are sure to be among them, or nothing has happened at all. A call refuses by raising.
    both = {"outside" if trial.setting.start.name == "called" else "refused", "isolated"}
    sample = chosen(trial, full, thin)
    more = (each for each in chosen(trial, full) if each not in sample)
    for call, happening in chain(sample, more):
        if sum(outcomes.values()) >= len(sample) and both <= {*outcomes}:
            break
        outcome = trial.outcome(call, happening)
        outcomes[outcome.partition(":")[0]] += 1
        yield f"{trial.setting.python.name} {trial.setting.start.name}: {call} {happening}", outcome
    assert both <= {*outcomes}, outcomes
    assert outcomes["not made"] <= sum(outcomes.values()) // 2, outcomes
