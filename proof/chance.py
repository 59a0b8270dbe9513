"""Run a check on many examples of hypothesis, with a seed that is told when one fails."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

CHUNK = 10_000  # examples a run; hypothesis remembers all of a run, to try none of them twice


def examples(
    check: Callable[[Any], None],
    strategy: SearchStrategy[Any],
    count: int,
    config: pytest.Config,
    explain: bool = True,
) -> None:
    """Call a function with examples, others every time unless --hypothesis-seed says which.

    Args:
        check: fails by an exception; then the smallest example found that makes it fail is shown.
        strategy: what to draw examples from.
        count: how many.
        config: where --hypothesis-seed is to be found.
        explain: try to find out which parts of the example matter; it takes many more calls.
    """
    given_seed = config.getoption("--hypothesis-seed")
    first = int(given_seed) if given_seed else random.getrandbits(32)
    phases = [phase for phase in Phase if explain or phase != Phase.explain]
    for number, done in enumerate(range(0, count, CHUNK)):
        print(f"to have these examples again: --hypothesis-seed={first + number}")
        how = settings(
            max_examples=min(CHUNK, count - done),
            derandomize=False,
            database=None,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        seed(first + number)(how(given(strategy)(_named(check))))()


def _named(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """A function of its own, since hypothesis keeps what it knows of a test with the function."""

    def test(example: Any) -> None:
        check(example)

    return test
