"""Every system call of the hook fails, with every error, and no program runs half-isolated."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import Finished, Python, Session
from proof.faults import Call, Injector, happenings, record
from proof.plugin import Tally, Watch
from proof.starts import STARTS, Judge, Setting, Start, either, prepared

__all__ = ["either"]


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
    with prepared(start, either, session, watch.env) as setting:
        judge = Judge(setting, filtered=True)
        traces = session.make_workdir()
        calls = [call for call in record(setting, traces) if injector.knows(call)]
        yield Trial(setting, judge, calls, injector, traces / "told")


def chosen(trial: Trial, full: bool) -> list[tuple[Call, str]]:
    """What is to happen at which call: everything; in the size for CI one thing, in turns.

    It is less, in full as well, for the calls that load a file, which all starts have in common;
    and where a start takes longer, since it makes a network with a way out or changes the machine's
    users, or has a thousand calls, since three interpreters start in turn.
    """
    found = []
    start = trial.setting.start
    first = STARTS.index(start)
    every = {"site": 12, "thread": 4, "users": 3}.get(start.place, 1)
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


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.name)
def test_every_call(trial: Trial, full: bool, tally: Tally) -> None:
    """User code runs with all of the list in force, or it does not run."""
    outcomes: Counter[str] = Counter()
    for call, happening in chosen(trial, full):
        outcome = trial.outcome(call, happening)
        outcomes[outcome.partition(":")[0]] += 1
        name = f"{trial.setting.python.name} {trial.setting.start.name}: {call} {happening}"
        tally.case(started_unisolated="WRONG" in outcome, what=f"{name}: {outcome}")
    # Both are sure to be among them, or nothing has happened at all. A call refuses by raising.
    no = "outside" if trial.setting.start.name == "called" else "refused"
    assert outcomes[no] and outcomes["isolated"], outcomes
    assert outcomes["not made"] <= sum(outcomes.values()) // 2, outcomes
    tally.left += [str(path) for path in (trial.setting.workdir / "tmp").iterdir()]


PASTA = [start for start in STARTS if start.name == "pasta"]


@pytest.mark.parametrize("start", PASTA, ids=lambda start: start.name)
def test_a_watcher_that_has_no_close_range(trial: Trial, tally: Tally) -> None:
    """Before Linux 5.9, or with an old seccomp profile; what stays open nobody may wait for."""
    closing = next(
        each for each in trial.calls if (each.process, each.name) == ("0.1.1", "close_range")
    )
    outcome = trial.outcome(closing, "ENOSYS")
    tally.case(started_unisolated=outcome != "isolated", what=f"{closing} ENOSYS: {outcome}")


RELAYED = [start for start in STARTS if start.name == "slirp4netns"]


@pytest.mark.parametrize("start", RELAYED, ids=lambda start: start.name)
def test_an_answer_that_the_watcher_cannot_read(trial: Trial, tally: Tally) -> None:
    """Whoever gave it is running, and must not be waited for; which read(2) it is varies."""
    reads = [each for each in trial.calls if (each.process, each.name) == ("0.1.1", "read")]
    for call in reads[-8:]:
        outcome = trial.outcome(call, "EBADF")
        tally.case(started_unisolated="WRONG" in outcome, what=f"{call} EBADF: {outcome}")


# What is said of a refusal, for the calls that the hook makes itself.

BOTH = [start for start in STARTS if start.name in ("net", "seven")]
ERRORS = ["EPERM", "EINVAL", "ENOSPC", "ENOMEM", "EACCES"]
SIGNS = [
    ("user", "NEWUSER|setgroups|[ug]id_map|deny|0 [0-9]+ 1|ns/user"),
    ("net", r"NEWNET|AF_INET|SIOCSIFFLAGS|ns/net"),
    ("mount", r"NEWNS|MS_REC|ns/mnt"),
    ("uts", "NEWUTS|sethostname|ns/uts"),
    ("ipc", "NEWIPC|ns/ipc"),
    ("cgroup", "NEWCGROUP|ns/cgroup"),
    ("time", "NEWTIME|timens_offsets|monotonic|setns|ns/time"),
    ("", "^close"),
]
NAMED = {
    "unshare": "unshare(CLONE_NEW",
    "read": "read(/proc/self/",
    "write": "write(/proc/self/",
    "openat": "/proc/self/",
    "socket": "socket(AF_INET",
    "ioctl": "ioctl(SIOCSIFFLAGS)",
    "mount": "mount(/)",
    "sethostname": "sethostname",
    "setns": "setns(",
    "newfstatat": "/proc/self/ns/",
    "stat": "/proc/self/ns/",
}


def own(calls: list[Call]) -> list[Call]:
    """The calls that the hook makes itself, and not importlib or the dynamic loader for it."""
    found: list[Call] = []
    descriptors: set[str] = set()
    for call in calls:
        ours = call.name in ("unshare", "setns", "mount", "sethostname", "socket")
        ours = ours or "SIOCSIFFLAGS" in call.arguments or '"/proc/self/' in call.arguments
        on = call.name in ("close", "read", "write") and call.arguments.split(",")[0] in descriptors
        if call.name in ("openat", "socket"):
            (descriptors.add if ours else descriptors.discard)(call.result)
        if ours or on:
            found.append(call)
    return found


def step(call: Call) -> tuple[str, str]:
    """The item that one of the hook's own calls is made for, and how a message names the call."""
    for item, sign in SIGNS:
        if re.search(sign, f"{call.name}({call.arguments})"):
            return item, NAMED.get(call.name, "")
    raise AssertionError(f"what is {call} for?")


@pytest.mark.parametrize("start", BOTH, ids=lambda start: start.name)
def test_what_is_recorded_is_the_whole_hook(trial: Trial, tally: Tally) -> None:
    counts = Counter("stat" if "stat" in call.name else call.name for call in own(trial.calls))
    expected = {"unshare": 2, "socket": 1, "ioctl": 1, "openat": 3, "write": 3, "close": 4}
    modules = ["namespaces"]
    if trial.setting.start.name == "seven":
        expected.update(unshare=7, mount=1, sethostname=1, setns=1)
        expected.update(openat=6, read=1, write=4, close=7)
        modules = ["__init__", "namespaces", "language/__init__", "items/clocks"]
    assert counts == {**expected, "stat": expected["unshare"]}
    read = " ".join(call.arguments for call in trial.calls)
    for module in modules:
        assert f"/unshare_boot/{module}.py" in read
    tally.case(count=len(trial.calls))


@pytest.mark.parametrize("start", BOTH, ids=lambda start: start.name)
@pytest.mark.parametrize("error", ERRORS)
def test_what_a_refusal_says(trial: Trial, error: str, tally: Tally) -> None:
    """The item that a call was for, its name, and the error."""
    wrong = []
    for call in own(trial.calls):
        done = trial.start(call, error)
        assert done
        outcome = trial.judge.outcome(done)
        tally.case(started_unisolated="WRONG" in outcome, what=f"{call} {error}: {outcome}")
        # EINVAL says that there are threads. There are none any more: tried again. And Python's own
        # socket() tries again without SOCK_CLOEXEC, for kernels before 2.6.27.
        again = error == "EINVAL" and (
            (call.name, call.number) == ("unshare", 1) or call.name == "socket"
        )
        item, named = step(call)
        said = rf" {item}.*{re.escape(named)}.*{os.strerror(getattr(errno, error))}"
        refused = outcome == "refused" and re.search(said, done.stderr)
        if not (refused or (again and outcome == "isolated")):
            wrong.append(f"{call}: {done}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("start", BOTH, ids=lambda start: start.name)
def test_interrupted_calls(trial: Trial, tally: Tally) -> None:
    """EINTR: made again, where the call can be interrupted at all; else refused."""
    wrong = []
    for call in own(trial.calls):
        outcome = trial.outcome(call, "EINTR")
        tally.case(started_unisolated="WRONG" in outcome, what=f"{call} EINTR: {outcome}")
        again = call.name in ("openat", "write", "mount", "setns")
        if outcome != "isolated" and (outcome != "refused" or again):
            wrong.append(f"{call}: {outcome}")
    assert not wrong, "\n".join(wrong)
