"""Every system call of the hook fails, with every error, and no program runs half-isolated."""

from __future__ import annotations

import pytest

from harness.faults.starts import STARTS
from harness.faults.trial import Trial, tried
from proof.conftest import Tally


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.name)
def test_every_call(trial: Trial, full: bool, tally: Tally) -> None:
    """User code runs with all of the list in force, or it does not run."""
    for what, outcome in tried(trial, full, thin=1 if full else 4):
        tally.case(started_unisolated="WRONG" in outcome, what=f"{what}: {outcome}")
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


TOLD = [start for start in STARTS if start.name in ("pasta", "slirp4netns", "gate")]


@pytest.mark.parametrize("start", TOLD, ids=lambda start: start.name)
def test_a_word_that_cannot_be_written(trial: Trial, tally: Tally) -> None:
    """EPIPE where the other end is alive: it must not be waited for while it waits itself."""
    writes = [each for each in trial.calls if each.name in ("write", "sendmsg")]
    for call in writes:
        outcome = trial.outcome(call, "EPIPE")
        tally.case(started_unisolated="WRONG" in outcome, what=f"{call} EPIPE: {outcome}")
