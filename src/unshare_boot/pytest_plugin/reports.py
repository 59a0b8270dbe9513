"""The reports of a test that a child runs: whatever is logged there is logged in the parent.

A test is more than its three reports: each subtest logs one of its own in the middle of it, by
unittest's ``subTest`` or the fixture ``subtests``, of pytest 9 or of pytest-subtests.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Generator
from typing import Any

import pytest

from .names import SHOWN


class Collector:
    """In a child: takes what is logged there, which nobody else is to hear of twice."""

    def __init__(self, item: pytest.Item) -> None:
        """Let nobody but the session, which counts failures for --maxfail, hear of reports."""
        self._item = item
        self._events: list[tuple[str, Any]] = []  # phase and report; "" for one of a subtest
        self._made: list[Any] = []
        self._raised: dict[str, BaseException] = {}
        self._last: tuple[Any, BaseException | None] = (None, None)
        for heard in item.config.hook.pytest_runtest_logreport.get_hookimpls():
            if heard.plugin is not item.session:
                wrapper = heard.hookwrapper or getattr(heard, "wrapper", False)
                heard.function = _pass_on if wrapper else _ignore  # type: ignore[misc]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take a subtest's report."""
        if not any(report is each for each in self._made):
            self._events.append(("", report))

    def keep(self, call: pytest.CallInfo[Any], report: Any) -> None:
        """Take a report of the test itself; those that subtests are made of come here as well."""
        self._made.append(report)
        self._last = report, call.excinfo.value if call.excinfo else None
        if call.when in ("setup", "teardown"):
            self._add(call.when)

    def end_call(self) -> None:
        """Take the last report as the test's own, unless that is of its setup."""
        if self._last[0] is not None and self._last[0].when == "call":
            self._foresee(self._last[0])
            self._add("call")

    def dump(self) -> tuple[list[Any], dict[str, BaseException]]:
        """Return everything as pytest serialises it, and what was raised in each phase."""
        config, dump = self._item.config, self._item.config.hook.pytest_report_to_serializable
        events = [(when, _fit(dump(config=config, report=each))) for when, each in self._events]
        return events, self._raised

    def _add(self, when: str) -> None:
        report, error = self._last
        self._events.append((when, report))
        if error is not None:
            self._raised[when] = error

    def _foresee(self, report: Any) -> None:
        """Note what a report becomes when it is shown, where that takes what only a child knows.

        pytest 9 counts the subtests that fail, and turns the test's own report to a failure then.
        """
        config, shown = self._item.config, copy.copy(report)
        config.hook.pytest_report_teststatus(report=shown, config=config)
        if shown.outcome != report.outcome:
            setattr(report, SHOWN, (shown.outcome, str(shown.longrepr)))


def load(item: pytest.Item, dumped: list[Any]) -> list[tuple[str, Any]]:
    """Return the reports that `Collector.dump` has serialised, with their phases."""
    load = item.config.hook.pytest_report_from_serializable
    return [(when, load(config=item.config, data=each)) for when, each in dumped]


def log(item: pytest.Item, reports: list[Any]) -> None:
    """Hand reports to the hooks, in order."""
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)


def _ignore(*_: Any) -> None:
    return None


def _pass_on(*_: Any) -> Generator[None, Any, Any]:
    return (yield)


def _fit(data: Any) -> Any:
    """Return what can be pickled: a subtest's parameters can be anything, in pytest-subtests."""
    try:
        pickle.dumps(data)
    except Exception:
        if isinstance(data, dict):
            return {_fit(key): _fit(value) for key, value in data.items()}
        if isinstance(data, (list, tuple)):
            return [_fit(each) for each in data]
        return repr(data)
    return data


WHOLE = True
