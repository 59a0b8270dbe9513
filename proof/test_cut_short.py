"""Modules that are cut short after a line, or any line: no program starts half-isolated."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Python, Session
from harness.broken import CALLED, HOT, ON_THE_WAY, assert_no_call, assert_no_start
from proof.conftest import Tally

SOME = 40  # lines of a file, in the size for CI


@pytest.fixture
def own(either: Python, session: Session, workdir: Path) -> Python:
    """An environment to break."""
    return session.fresh(session.variant(either), workdir / "venv")


@pytest.mark.parametrize("name", dict.fromkeys([*HOT, *ON_THE_WAY]))
def test_no_start(own: Python, name: str, full: bool, tally: Tally) -> None:
    assert_no_start(own, name, 0 if full else SOME)
    tally.case()


@pytest.mark.parametrize("name", CALLED)
def test_no_call(own: Python, name: str, full: bool, tally: Tally) -> None:
    assert_no_call(own, name, 0 if full else SOME)
    tally.case()
