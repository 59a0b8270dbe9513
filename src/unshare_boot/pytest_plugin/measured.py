"""What coverage.py and pytest-benchmark have measured in the child of a test, on its way home.

In a file it could be lost, with an overlay say.
"""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest


class Measured:
    """What is sent home: bytes, each empty where the plugin is not there."""

    def __init__(self, config: pytest.Config) -> None:
        """Take note of what there is before the fork."""
        self._config = config
        self._known = len(self._benchmarks())

    def _benchmarks(self) -> list[Any]:
        session = getattr(self._config, "_benchmarksession", None)
        return session.benchmarks if session else []

    def begin(self) -> None:
        """In the child: have coverage.py keep what it measures in memory, not in the parent's file.

        That file is open, and SQLite's connections are not to be used behind a fork.
        """
        current = _coverage()
        if current is not None:
            from coverage import CoverageData  # type: ignore[import-not-found]

            current._data = current._collector.covdata = CoverageData(no_disk=True)

    def take(self) -> tuple[bytes, bytes]:
        """In the child: stop measuring, and return what was measured."""
        new = self._benchmarks()[self._known :]
        for each in new:  # all that the table asks the fixture itself
            each.fixture = SimpleNamespace(has_error=each.has_error)
        try:
            benchmarks = pickle.dumps(new)
        except Exception as error:
            print(f"unshare-boot: pytest-benchmark will not know: {error}", file=sys.__stderr__)
            benchmarks = b""
        return _take_coverage(), benchmarks

    def add(self, coverage: bytes, benchmarks: bytes) -> None:
        """In the parent: add what `take` returned."""
        if coverage:
            _add_coverage(coverage)
        if benchmarks:
            self._benchmarks().extend(pickle.loads(benchmarks))


def _take_coverage() -> bytes:
    current = _coverage()
    if current is None:
        return b""
    current.stop()
    measured: bytes = current.get_data().dumps()
    return measured


def _add_coverage(measured: bytes) -> None:
    from coverage import CoverageData

    data = CoverageData(no_disk=True)
    data.loads(measured)
    _coverage().get_data().update(data)


def _coverage() -> Any:
    coverage = sys.modules.get("coverage")
    return coverage.Coverage.current() if coverage else None


WHOLE = True
