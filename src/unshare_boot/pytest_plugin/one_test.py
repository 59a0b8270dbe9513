"""A test with @pytest.mark.unshare: inside go its setup, its call and its teardown, and no more.

    fixtures of a wider scope   the test's own setup   call   teardown   teardown of wider ones
    outside                     ──────────────── inside ────────────     outside

Where the kernel lets this process come back, it enters the namespaces itself (``visit``). Else it
forks at the same place (``fork``): the child goes on inside, and the parent goes through the
test's phases again with what came of them there, so that every plugin sees what it is used to.
This file is the hooks of pytest that both are hung upon.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import Any

import pytest

from ..errors import UnshareError
from ..namespaces import Plan
from .fork import TIMER, Elsewhere, Forked
from .isolation import PLUGIN, Isolation
from .marker import plans_of_marker, refuse, run_of
from .names import IN_PROCESS, MARKER, WAY
from .visit import Visit, can_come_back, prepare
from .whole_run import try_in_child


class Phases:
    """One test's setup, call and teardown, which pytest calls as the item's methods.

    A plugin that runs a test again calls them again: each setup begins anew.
    """

    def __init__(self, item: pytest.Item) -> None:
        """Put ours in the place of the item's, until `restore`."""
        self.item = item
        self.way: Forked | Visit | None = None
        self._asked: list[tuple[str, Plan | None]] = []
        names = ("setup", "runtest", "teardown")
        self._own = {name: getattr(item, name) for name in names}
        self._patched = {name: vars(item)[name] for name in names if name in vars(item)}
        for name in names:
            setattr(item, name, getattr(self, name))

    def restore(self) -> None:
        """Let the item have its own methods again, or those that a plugin has put there."""
        for name in self._own:
            delattr(self.item, name)
        vars(self.item).update(self._patched)

    def setup(self) -> None:
        """Begin the test where its own first fixture is set up, or else behind its setup."""
        self.way, self._asked = None, plans_of_marker(self.item)
        try:
            self._own["setup"]()
            self.begin()
        except Elsewhere:
            assert isinstance(self.way, Forked)
            self.way.replay("setup")

    def begin(self) -> None:
        """Go inside, in this process or in a child, unless that has happened."""
        if self.way is not None:
            return
        refused: list[tuple[str, UnshareError]] = []
        for text, plan in self._asked:
            if plan is None:
                return
            refusal = self._try(plan, rehearse=len(self._asked) > 1)
            if refusal is None:
                return
            refused.append((text, refusal))
        refuse(self.item, refused)

    def _try(self, plan: Plan, rehearse: bool) -> UnshareError | None:
        """Go inside; return why not."""
        if can_come_back(plan):
            visit = Visit(plan)
            refusal = visit.enter()
            self.way = None if refusal else visit
            return refusal
        refusal = try_in_child(plan) if rehearse else None
        if refusal is None:
            self.way = Forked(self.item)
            self.way.begin(plan)
        return refusal

    def runtest(self) -> None:
        """Run the test, or have it fail as it did in the child."""
        if self.is_elsewhere():
            self.way.replay("call")  # type: ignore[union-attr]
        else:
            self._own["runtest"]()

    def teardown(self) -> None:
        """Come back: pytest calls this after everything else that is torn down of the test."""
        try:
            self._own["teardown"]()
        finally:
            if isinstance(self.way, Visit):
                self.way.leave()
        if self.is_elsewhere():
            self.way.replay("teardown")  # type: ignore[union-attr]

    def is_elsewhere(self) -> bool:
        """Tell whether a child runs the test, and this is its parent."""
        return isinstance(self.way, Forked) and not self.way.is_child

    def is_own(self, fixturedef: Any) -> bool:
        """Tell whether a fixture is set up for this test alone."""
        of_class = self.item.getparent(pytest.Class) is not None
        return fixturedef.scope == "function" or (fixturedef.scope == "class" and not of_class)


class OneTest:
    """pytest's hooks, in a run that has such tests."""

    def __init__(self) -> None:
        """No test runs yet."""
        self._phases: Phases | None = None

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any]:
        """Watch over all that plugins make of a test; a child ends here at the latest."""
        if item.get_closest_marker(MARKER) is None:
            yield
            return
        self._phases = phases = Phases(item)
        try:
            outcome = yield
            if isinstance(phases.way, Forked) and phases.way.is_child:
                phases.way.break_off(outcome.excinfo)
        finally:
            self._phases = None
            phases.restore()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None]:
        """Begin before the first fixture of the test's own; keep wider ones outside."""
        phases = self._phases
        if phases is None:
            yield
        elif phases.is_own(fixturedef):
            try:
                phases.begin()
            except BaseException:  # as if the fixture had failed, or its end would not come
                fixturedef.cached_result = (None, fixturedef.cache_key(request), None)
                raise
            yield
        elif isinstance(phases.way, Visit):
            with phases.way.outside():
                yield
        else:
            yield
            if phases.way is not None:  # a child, in which it cannot be kept for other tests
                phases.way.finish_later(fixturedef, request)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None]:
        """Tell a child that the call is over, whose last report is the test's own."""
        if self._phases and isinstance(self._phases.way, Forked):
            self._phases.way.end_call()
        yield

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> None:
        """Know the settings of pytest-timeout, whose timer a child does not inherit."""
        item.stash[TIMER] = settings

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item) -> None:
        """Forget them."""
        item.stash[TIMER] = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[Any]) -> Any:
        """In a parent, give the child's report to the plugins that change it or learn from it."""
        phases = self._phases
        if phases is None or not phases.is_elsewhere():
            return None
        return phases.way.report(call)  # type: ignore[union-attr]


class LastWord:
    """The outermost wrapper of a report; registered after `OneTest`, whose test it looks at."""

    def __init__(self, hooks: OneTest) -> None:
        """Look at the test of these hooks."""
        self._hooks = hooks

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, Any]:
        """Send home what a child has, and explain what failed inside."""
        phases = self._hooks._phases
        if phases and phases.is_elsewhere():
            with warnings.catch_warnings():  # of a plugin that lacks here what only the child has
                warnings.filterwarnings("ignore", r"A plugin raised an exception")
                outcome = yield
        else:
            outcome = yield
        way = phases.way if phases else None
        if isinstance(way, Visit):
            report = outcome.get_result()
            if way.is_inside:
                _explain(item, call, report)
            way.written.explain(report)
            if call.when == "teardown":
                way.written.close()
            setattr(report, WAY, IN_PROCESS)
        elif way is not None and way.is_child:
            way.written.explain(outcome.get_result())
            way.keep(call, outcome.get_result())
        elif way is not None:
            way.settle(call, outcome)


def _understood(item: pytest.Item) -> list[tuple[str, Plan | None]]:
    """Return what a test's marker asks for; nothing where it is not understood."""
    try:
        return plans_of_marker(item)
    except pytest.fail.Exception:  # the test will say so
        return []


def _explain(item: pytest.Item, call: pytest.CallInfo[Any], report: Any) -> None:
    """Tell of the test's own isolation, unless the run's has been told of."""
    run = item.config.pluginmanager.get_plugin(PLUGIN)
    if report.failed and not (run and run.closed and not run.gate):
        from ..inside import active

        isolation = Isolation(item.config, run_of(item), active())
        isolation.explain(report, call)


def register(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have tests with the marker run as it says.

    Args:
        config: of the run.
        items: those tests.
    """
    prepare([plan for item in items for _, plan in _understood(item) if plan])
    hooks = OneTest()
    config.pluginmanager.register(hooks, "unshare_boot_one_test")
    config.pluginmanager.register(LastWord(hooks), "unshare_boot_last_word")


WHOLE = True
