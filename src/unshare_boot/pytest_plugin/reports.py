"""The reports of a test that a child runs: whatever is logged there is logged in the parent.

A test is more than its three reports: each subtest logs one of its own in the middle of it, by
unittest's ``subTest`` or the fixture ``subtests``, of pytest 9 or of pytest-subtests.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Generator, Iterator
from typing import Any

import pytest

SHOWN = "unshare_boot_shown"  # an attribute of a report, and the name of the plugin that reads it


class Collector:
    """In a child: takes what is logged there, which nobody else is to hear of twice."""

    def __init__(self, item: pytest.Item) -> None:
        """Let nobody but the session, which counts failures for --maxfail, hear of reports."""
        self._item = item
        self._logged: list[Any] = []  # None stands for a report of the test itself
        self._made: Any = None
        for heard in item.config.hook.pytest_runtest_logreport.get_hookimpls():
            if heard.plugin is not item.session:
                wrapper = heard.hookwrapper or getattr(heard, "wrapper", False)
                heard.function = _pass_on if wrapper else _ignore  # type: ignore[misc]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take a subtest's report."""
        self._logged.append(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        """Take note that the setup is over."""
        self._logged.append(None)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, None]:
        """Remember the last report: once the teardown begins, that is the test's own."""
        outcome = yield
        self._made = outcome.get_result()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Take note that the call is over, or the setup if there was no call."""
        if self._made is not None and self._made.when == "call":
            self._foresee(self._made)
        self._logged.append(None)

    def dump(self, own: list[Any]) -> list[Any]:
        """Return everything as pytest serialises it.

        Args:
            own: the reports of the test itself; none where it was broken off.
        """
        rest: Iterator[Any] = iter(own)
        found = [next(rest, None) if report is None else report for report in self._logged]
        config, dump = self._item.config, self._item.config.hook.pytest_report_to_serializable
        return [_fit(dump(config=config, report=r)) for r in (*found, *rest) if r is not None]

    def _foresee(self, report: Any) -> None:
        """Note what a report becomes when it is shown, where that takes what only a child knows.

        pytest 9 counts the subtests that fail, and turns the test's own report to a failure then.
        """
        config, shown = self._item.config, copy.copy(report)
        config.hook.pytest_report_teststatus(report=shown, config=config)
        if shown.outcome != report.outcome:
            setattr(report, SHOWN, (shown.outcome, str(shown.longrepr)))


class Shown:
    """In the parent: turns a report into what it would have become."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> None:
        """Do what was foreseen."""
        if hasattr(report, SHOWN):
            report.outcome, report.longrepr = getattr(report, SHOWN)


def load(item: pytest.Item, dumped: list[Any]) -> list[Any]:
    """Return the reports that `Collector.dump` has serialised."""
    manager = item.config.pluginmanager
    if not manager.has_plugin(SHOWN):
        manager.register(Shown(), SHOWN)
    load = item.config.hook.pytest_report_from_serializable
    return [load(config=item.config, data=each) for each in dumped]


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
