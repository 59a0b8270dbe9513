"""The option and the figures of the proof; the fixtures are those of harness.plugin, and more."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness import Session
from harness.watch import Watch

__all__ = ["Tally", "Watch"]

HERE = Path(__file__).parent
KEY = "unshare_boot_proof"
HANGS = 900  # seconds, for a test in the size for CI


# A test that was skipped, or has failed already, need not have tried anything.
STOPPED = pytest.StashKey[bool]()


@dataclass
class Tally:
    """The figures of one test, or the sum of several.

    Attributes:
        cases: how many were tried.
        unisolated: those that started without the isolation asked for.
        left: what was there when nothing should be: a process, a mount, a file, a namespace.
        notes: other figures, by name.
    """

    cases: int = 0
    unisolated: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def case(self, *, started_unisolated: bool = False, what: str = "", count: int = 1) -> None:
        """Count one case (or several that went well)."""
        self.cases += count
        if started_unisolated:
            self.unisolated.append(what)

    def add(self, other: Tally) -> None:
        """Add the figures of another test."""
        self.cases += other.cases
        self.unisolated += other.unisolated
        self.left += other.left
        self.notes.update(other.notes)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full", action="store_true", help="run the proof in full, not in the size for CI"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_full: takes too long for CI; --full runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A bound for each test, after which it shows where it hangs; in full there is none."""
    whole = config.getoption("--full")
    seconds = 0 if whole else HANGS
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(seconds))
    left_out = [item for item in items if not whole and item.get_closest_marker("only_full")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if not report.passed:
        item.stash[STOPPED] = True
    return report


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether the proof is run in full."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """The figures of this test; what must be nothing is asserted to be."""
    found = Tally()
    yield found
    module = request.node.path.stem.removeprefix("test_")
    request.node.user_properties.append((KEY, (module, vars(found))))
    assert found.cases or STOPPED in request.node.stash, "a proof that has tried nothing"
    assert not found.unisolated, "\n".join(found.unisolated)
    assert not found.left, "\n".join(found.left)


@pytest.fixture
def watch(tally: Tally, session: Session) -> Iterator[Watch]:
    """Looks for what the test's processes have left."""
    found = Watch(session.directory)
    yield found
    tally.left += found.left()


# What the reports have brought; they come with no config to keep it in.
_found: list[Any] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        _found.extend(value for name, value in report.user_properties if name == KEY)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    sums: dict[str, Tally] = {}
    for part, figures in _found:
        sums.setdefault(part, Tally()).add(Tally(**figures))
    if not sums:
        return
    total = Tally()
    size = "in full" if config.getoption("--full") else "in the size for CI; --full runs all"
    terminalreporter.section(f"proof ({size})")
    heads = ("part", "cases tried", "started un-isolated", "left over")
    rows = []
    for part, found in sorted(sums.items()):
        total.add(found)
        rows.append((part, found))
    rows.append(("total", total))
    terminalreporter.line("| " + " | ".join(heads) + " |")
    terminalreporter.line("|---|---:|---:|---:|")
    for part, found in rows:
        figures = (f"{found.cases:,}", len(found.unisolated), len(found.left))
        terminalreporter.line(f"| {part} | " + " | ".join(map(str, figures)) + " |")
    for name, value in sorted(total.notes.items()):
        terminalreporter.line(f"{name}: {value}")
    terminalreporter.line(f"on {os.uname().release}, {os.cpu_count()} processors")
