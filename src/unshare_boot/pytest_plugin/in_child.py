"""The child of one test: it enters the namespaces, runs the test, and answers with its reports."""

from __future__ import annotations

import contextlib
import pickle
import sys
import warnings
from collections.abc import Generator
from typing import Any

import pytest

from ..errors import failed
from ..namespaces import Plan, Start
from . import coverage_data
from .isolation import Run, register
from .names import MARKER
from .reports import Collector

LENGTH = 8  # bytes of the number before an answer, which tells a whole one from a torn one

TEST = pytest.StashKey[pytest.Item]()  # in a child, the test that it is for


def run_and_answer(item: pytest.Item, plan: Plan, writer: int) -> None:
    """Run a test inside, and write what came of it; the process is to end then.

    Args:
        item: the test.
        plan: what to enter; with ``pid``, the rest happens in a child of this process.
        writer: of the pipe that the parent reads: a length, then a kind and its details, pickled.
    """
    answer = _answer(item, plan)
    try:
        data = pickle.dumps(answer)
    except Exception as error:
        data = pickle.dumps(("failed", f"the test's report cannot leave its process: {error}"))
    with open(writer, "wb") as file:
        file.write(len(data).to_bytes(LENGTH, "big") + data)
    for stream in (sys.stdout, sys.stderr):  # under --capture=no they are the real ones
        with contextlib.suppress(Exception):
            stream.flush()


def _answer(item: pytest.Item, plan: Plan) -> tuple[Any, ...]:
    from .. import enter

    try:
        try:
            enter(Start(plan))
        except OSError as error:
            return ("refused", *failed("", error).facts())
        item.config.stash[TEST] = item
        return _run(item)
    except KeyboardInterrupt:
        return "interrupted", []
    except BaseException as error:
        return "failed", f"{type(error).__name__}: {error}"


def _run(item: pytest.Item) -> tuple[Any, ...]:
    from _pytest.runner import runtestprotocol

    text = item.get_closest_marker(MARKER).args[0]  # type: ignore[union-attr]
    register(item.config, Run(f"@pytest.mark.{MARKER}({text!r})", compare="take the marker away"))
    item.config.pluginmanager.register(Fixtures(), "unshare_boot_fixtures")
    collector = Collector(item)
    item.config.pluginmanager.register(collector, "unshare_boot_collector")
    # All that is torn down is the test's own, also where a subtest's failure was one too many.
    state: Any = item.session._setupstate
    tear_down = state.teardown_exact
    state.teardown_exact = lambda _: tear_down(item.parent)
    try:
        with warnings.catch_warnings(record=True) as recorded:
            reports = runtestprotocol(item, log=False, nextitem=item.parent)  # type: ignore[arg-type]
    except pytest.exit.Exception as error:
        return "exit", collector.dump([]), error.msg, error.returncode
    except KeyboardInterrupt:
        return "interrupted", collector.dump([])
    told = [(str(w.message), w.category, w.filename, w.lineno) for w in recorded or ()]
    return "reports", collector.dump(reports), told, coverage_data.take()


class Fixtures:
    """pytest's hook for the fixtures that are set up in a child."""

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None]:
        """Refuse what would be set up for other tests, in a process that they never see."""
        if fixturedef.scope != "function":
            pytest.fail(
                f"the fixture {fixturedef.argname!r} has the scope {fixturedef.scope}, and is "
                "asked for in the test's own namespaces, where no other test could use it: let "
                "the test name it as an argument, so that it is set up before",
                pytrace=False,
            )
        yield


WHOLE = True
