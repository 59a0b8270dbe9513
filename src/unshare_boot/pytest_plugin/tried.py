"""Which test tried to reach what: the gate's record, taken apart by test.

What a test tried are the refused attempts, made while it ran, of the process that runs it and of
those that descend from it: so it is exact with pytest-xdist, whose workers share one gate. Reports
carry them to the main process, which tells of all at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Callable

import pytest

from ..errors import UnshareError
from ..gate.rules import NOT_ALLOWED
from ..inside import attempts
from ..namespaces import inode
from . import section
from .lines import Lines
from .names import WAY

PLUGIN = "unshare_boot_tried"  # the name that pytest knows this one by
ATTRIBUTE = "unshare_boot_tried"  # of a report; pytest-xdist passes it on
TITLE = "tried to reach out"

Attempt = dict[str, Any]
Explain = Callable[[Any, "pytest.CallInfo[Any]"], None]


def gate_answers() -> bool:
    """Tell whether this process is behind a gate."""
    try:
        attempts()
    except UnshareError:
        return False
    return True


class Tried:
    """The plugin of a run behind a gate: pytest's hooks."""

    def __init__(self, config: pytest.Config, marker: str, otherwise: Explain) -> None:
        """Begin to listen.

        Args:
            config: of the run.
            marker: of the tests that may try to reach out.
            otherwise: explains a failure for which nothing was tried.
        """
        self._otherwise = otherwise
        self.strict = bool(config.getini("unshare_strict"))
        self.file = config.getoption("unshare_record")
        self.marker = marker
        self._lines = Lines(config.rootpath)
        self._network = inode("net")
        self._seen = len(_recorded())
        self._told: list[tuple[str, Attempt]] = []  # of the whole run: test, attempt

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any]:
        """Begin with nothing that was tried before this test, or between two of them."""
        self._take()
        self._lines.forget()
        item.stash[TRIED] = []
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, Any]:
        """Say with a phase that failed what the test has tried; fail one that may not try."""
        outcome = yield
        report = outcome.get_result()
        new = self._take()
        if hasattr(report, WAY):  # of a child, which has told of its own
            return
        if new is None:
            if self.strict and report.passed:
                report.outcome = "failed"
                report.longrepr = "The gate has ended, so nobody knows what this test tried."
            return
        item.stash.setdefault(TRIED, []).extend(new)
        setattr(report, ATTRIBUTE, new)
        if report.failed and item.stash[TRIED]:
            section.add(report, "\n".join(lines(item.stash[TRIED])), TITLE)
        elif report.failed:
            self._otherwise(report, call)
        elif self.strict and report.passed and self._may_not(item, new):
            report.outcome = "failed"
            report.longrepr = "\n".join(
                [f"This test passed, but {TITLE} (unshare_strict):", *lines(new), *self._ways_out()]
            )

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, Any]:
        """The same for a module that cannot be imported."""
        self._take()
        outcome = yield
        report = outcome.get_result()
        new = self._take()
        if new and report.failed:
            section.add(report, "\n".join(lines(new)), TITLE)
        elif report.failed and getattr(report, "call", None):
            self._otherwise(report, report.call)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a report brings, also of a worker of pytest-xdist."""
        self._told += [(report.nodeid, each) for each in getattr(report, ATTRIBUTE, [])]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Tell of all that was tried, and write the file."""
        if self.file:
            text = "".join(json.dumps({"test": test, **each}) + "\n" for test, each in self._told)
            try:
                Path(self.file).write_text(text)
            except OSError as error:  # a full disk, say: the rest is told all the same
                terminalreporter.write_line(f"--unshare-record: {error}", red=True)
        if not self._told:
            return
        terminalreporter.write_sep("=", f"unshare: {TITLE}")
        for line in summary(self._told):
            terminalreporter.write_line(line)

    def _may_not(self, item: pytest.Item, new: list[Attempt]) -> bool:
        """Tell whether what a test has tried is against the list, not only without success.

        A question for a name is not, by itself: programs ask for that of their own host.
        """
        if item.get_closest_marker(self.marker):
            return False
        return any(each["reason"] == NOT_ALLOWED and each["protocol"] != "dns" for each in new)

    def _ways_out(self) -> list[str]:
        return [f"Name what may pass in allow, or mark the test: @pytest.mark.{self.marker}."]

    def _take(self) -> list[Attempt] | None:
        """Return what has been refused since the last time to this process and its descendants.

        None where the gate has ended.
        """
        try:
            every = _recorded()
        except UnshareError:
            return None if inode("net") == self._network else []  # a test that is elsewhere
        new, self._seen = every[self._seen :], len(every)
        own = os.getpid()
        return [
            {**each, "line": self._lines.of(each)}
            for each in new
            if each.get("verdict") == "refused" and own in (each["inner_pid"], *each["parents"])
        ]


TRIED = pytest.StashKey[list[Attempt]]()


def _recorded() -> list[Attempt]:
    """Return all attempts so far; those that the gate has forgotten count as empty."""
    found = attempts()
    forgotten = sum(int(str(each["lost"])) for each in found if "lost" in each)
    return [{}] * forgotten + [each for each in found if "lost" not in each]


def without_questions(tried: list[Attempt]) -> list[Attempt]:
    """Return attempts without the questions for names that a connection was then tried to."""
    connected = {each["name"] for each in tried if each["protocol"] != "dns"}
    return [each for each in tried if each["protocol"] != "dns" or each["name"] not in connected]


def target(attempt: Attempt) -> str:
    """Return what was tried as a line of a list has it: HOST:PORT, with /udp."""
    host = attempt["name"] or attempt["address"]
    if attempt["protocol"] == "dns":
        return f"{host} (its address)"
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{attempt['port']}{'/udp' if attempt['protocol'] == 'udp' else ''}"


def lines(tried: list[Attempt]) -> list[str]:
    """Return a line for each thing that was refused, and who tried it."""
    found = [
        f"tried {target(each)} ({each['command']}, pid {each['inner_pid']}"
        f"{', ' if each['line'] else ''}{each['line']}): refused ({each['reason']})"
        for each in without_questions(tried)
    ]
    return list(dict.fromkeys(found))


def summary(told: list[tuple[str, Attempt]]) -> list[str]:
    """Return the lines for the end of a run: what was refused, to which tests and programs.

    Args:
        told: tests, and what each has tried.
    """
    tests: dict[str, set[str]] = {}
    programs: dict[str, set[str]] = {}
    items: dict[str, None] = {}
    wanted = {id(each) for each in without_questions([attempt for _, attempt in told])}
    for test, each in told:
        if id(each) in wanted:
            name = target(each)
            tests.setdefault(name, set()).add(test)
            programs.setdefault(name, set()).add(str(each["command"]))
            if each["protocol"] != "dns" and each["reason"] == NOT_ALLOWED:
                items[f"allow={name}"] = None
    found = [
        f"{name} ({', '.join(sorted(programs[name]))}): {count(len(each), 'test')}"
        for name, each in tests.items()
    ]
    return [*found, "to let it pass: " + ",".join(items)] if items else found


def count(number: int, what: str) -> str:
    """Return "1 test", "2 tests"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


WHOLE = True
