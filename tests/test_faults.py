"""System calls of the hook fail, one at a time: all of the list is in force, or no program runs.

A sample: one thing at some calls of the commonest kinds of start. proof/test_faults.py tries all
kinds of start, with `--full` every error of every call.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter

import pytest

from harness.faults.injection import Call
from harness.faults.starts import STARTS
from harness.faults.trial import Trial, tried

# Of how many calls one is tried.
THIN = {"net": 2, "sockets": 2, "seven": 4, "pid": 6, "pasta": 8, "gate": 8}
SAMPLE = [start for start in STARTS if start.name in THIN]


@pytest.mark.parametrize("start", SAMPLE, ids=lambda start: start.name)
def test_every_call(trial: Trial) -> None:
    """User code runs with all of the list in force, or it does not run."""
    outcomes = tried(trial, full=False, thin=THIN[trial.setting.start.name])
    wrong = [f"{what}: {outcome}" for what, outcome in outcomes if "WRONG" in outcome]
    assert not wrong, "\n".join(wrong)
    assert not [*(trial.setting.workdir / "tmp").iterdir()]


# What is said of a refusal, for the calls that the hook makes itself.

BOTH = [start for start in STARTS if start.name in ("net", "seven")]
ERRORS = ["EPERM", "EINVAL", "ENOSPC", "ENOMEM", "EACCES"]
SIGNS = [
    ("user", "NEWUSER|setgroups|[ug]id_map|deny|0 [0-9]+ 1|ns/user"),
    ("net", r"NEWNET|AF_UNIX|SIOCSIFFLAGS|ns/net"),
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
    "socket": "socket(AF_UNIX",
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
def test_what_is_recorded_is_the_whole_hook(trial: Trial) -> None:
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


@pytest.mark.sampled(2)
@pytest.mark.parametrize("start", BOTH[1:], ids=lambda start: start.name)
@pytest.mark.parametrize("error", ERRORS)
def test_what_a_refusal_says(trial: Trial, error: str) -> None:
    """The item that a call was for, its name, and the error."""
    wrong = []
    for call in own(trial.calls):
        done = trial.start(call, error)
        assert done
        outcome = trial.judge.outcome(done)
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
def test_interrupted_calls(trial: Trial) -> None:
    """EINTR: made again, where the call can be interrupted at all; else refused."""
    wrong = []
    for call in own(trial.calls):
        outcome = trial.outcome(call, "EINTR")
        again = call.name in ("openat", "write", "mount", "setns")
        if outcome != "isolated" and (outcome != "refused" or again):
            wrong.append(f"{call}: {outcome}")
    assert not wrong, "\n".join(wrong)
