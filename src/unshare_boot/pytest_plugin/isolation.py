"""A run that is isolated, or should have been: what its user is told, and what it skips."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import astuple, dataclass
from typing import Any

import pytest

from ..inside import active
from ..namespaces import inode
from . import section, tried
from .names import CLOSED, LOOPBACK_MARKER, WAY

PLUGIN = "unshare_boot_isolation"  # the name that pytest knows this one by


@dataclass(frozen=True)
class Run:
    """What was decided about a run.

    Attributes:
        source: who asked for namespaces, in words: an option and where it is set.
        refusal: why they are not available; empty where they hold.
        skip: where they are not available, skip every test instead of running it outside.
        compare: how to run a test without them, in words.
        instead: which alternatives that were asked for first are not available, and why.
    """

    source: str
    refusal: str = ""
    skip: bool = False
    compare: str = "run the test with --no-unshare"
    instead: str = ""


def register(config: pytest.Config, run: Run) -> Isolation:
    """Have the tests that follow told of the isolation that holds now, and of no other."""
    manager = config.pluginmanager
    if manager.get_plugin(PLUGIN) is not None:
        manager.unregister(name=PLUGIN)
    if manager.get_plugin(tried.PLUGIN) is not None:
        manager.unregister(name=tried.PLUGIN)
    isolation = Isolation(config, run, active())
    manager.register(isolation, PLUGIN)
    if isolation.gate:
        plugin = tried.Tried(config, isolation.marker, isolation.explain_network)
        manager.register(plugin, tried.PLUGIN)
    return isolation


def has_way_out() -> bool:
    """Tell whether any address but those of loopback can be reached, by the routing tables.

    They lead to a gate as well; one that is there for its record alone lets nothing pass.
    """
    if os.environ.get(CLOSED) == str(inode("net")):
        return False
    for path, column in (("/proc/self/net/route", 0), ("/proc/self/net/ipv6_route", -1)):
        try:
            with open(path, encoding="ascii") as file:
                devices = {line.split()[column] for line in file}
        except OSError:  # no such protocol in this kernel
            continue
        if devices - {"lo", "Iface"}:
            return True
    return False


class Isolation:
    """The plugin of such a run: pytest's hooks."""

    def __init__(self, config: pytest.Config, run: Run, names: tuple[str, ...]) -> None:
        """Look at what holds: `names` are those of the namespaces."""
        self.run = run
        self.names = names
        self.gate = "net" in names and tried.gate_answers()
        self.unix_only = "sockets" in names
        self.closed = self.unix_only or ("net" in names and (self.gate or not has_way_out()))
        self.marker = config.getini("unshare_network_marker")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist what was decided."""
        node.workerinput["unshare_boot"] = astuple(self.run)

    def pytest_report_header(self) -> str:
        """Say what holds."""
        if self.run.refusal:
            return f"unshare: NOT isolated: {self.run.refusal}"
        where = " (no route out of this run)" if self.closed else ""
        if self.gate and has_way_out():
            where = " (a gate: what is not in allow is refused, and told with the test)"
        if self.unix_only:
            where = " (sockets=unix: no internet sockets, not even for loopback)"
        instead = f"\nunshare: {self.run.instead}" if self.run.instead else ""
        return f"unshare: {','.join(self.names)}{where}{instead}"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what does not hold, for nobody may overlook that."""
        if self.run.refusal:
            what = "every test was skipped" if self.run.skip else "the tests ran without"
            terminalreporter.write_sep("=", "unshare: not isolated", yellow=True, bold=True)
            terminalreporter.write_line(f"{self.run.refusal}: {what}")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the tests that are to be skipped."""
        for item in items:
            if self.run.refusal and self.run.skip:
                item.add_marker(pytest.mark.skip(reason=self.run.refusal))
            elif self.closed and item.get_closest_marker(self.marker):
                item.add_marker(pytest.mark.skip(reason=f"isolated by {self.run.source}"))
            elif self.unix_only and item.get_closest_marker(LOOPBACK_MARKER):
                item.add_marker(pytest.mark.skip(reason=f"sockets=unix by {self.run.source}"))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[Any]) -> Generator[None, Any]:
        """Tell of the isolation where it may be why a test failed."""
        outcome = yield
        self.explain(outcome.get_result(), call)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, Any]:
        """The same for a module that cannot be imported."""
        outcome = yield
        report = outcome.get_result()
        self.explain(report, getattr(report, "call", None))

    def explain(self, report: Any, call: pytest.CallInfo[Any] | None) -> None:
        """Add our section to a report where the isolation may be why it is of a failure."""
        if hasattr(report, WAY):  # of a child, which has told of its own
            return
        if not report.failed:
            return
        lines = section.hints(report, call, self.names)
        if self.closed and not self.gate and section.is_of_network(report, call):
            lines = self._explanation() + lines
        if lines:
            section.add(report, "\n".join(lines))

    def explain_network(self, report: Any, call: pytest.CallInfo[Any]) -> None:
        """Behind a gate: tell of a failure for which nothing was tried but loopback, say."""
        if section.is_of_network(report, call):
            section.add(report, "\n".join(self._explanation()))

    def _explanation(self) -> list[str]:
        if self.unix_only:
            lines = [
                f"This ran without internet sockets (sockets=unix), by {self.run.source}.",
                "Nothing can be connected to but unix sockets: there is no loopback either.",
            ]
            lines += [f"That ran since {self.run.instead}."] if self.run.instead else []
            marks = f"@pytest.mark.{LOOPBACK_MARKER} or @pytest.mark.{self.marker}"
            return [
                *lines,
                f"To compare, {self.run.compare}. A test that needs it is marked {marks}.",
            ]
        but = " but what allow names" if self.gate and has_way_out() else ""
        return [
            f"This ran isolated from the network, by {self.run.source}.",
            f"Nothing outside can be reached from here{but}, nor what listens on loopback outside.",
            f"To compare, {self.run.compare}. A test that has to reach out is marked "
            f"@pytest.mark.{self.marker}.",
        ]


WHOLE = True
