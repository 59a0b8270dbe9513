"""A test that a child runs, forked in the middle of its setup.

    parent   wider fixtures ──fork──► waits ◄── answer ──  setup, call, teardown: replayed
    child                     enters, own fixtures, call, teardown, answer, _exit

Both go on in the same stack of calls, with whatever plugins have put there. The child ends with
the last report of the test, the parent raises in each phase what was raised in the child's.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
import warnings
from typing import Any

import pytest

from ..child import end_with, fork, kill_and_reap, open_process, reap
from ..errors import UnshareError, failed
from ..namespaces import Plan, Start
from .isolation import register
from .marker import refuse, run_of, text_of
from .measured import Measured
from .names import IN_CHILD, WAY
from .raised import pack, unpack
from .reports import Collector, load, log
from .written import Written

LENGTH = 8  # bytes of the number before an answer, which tells a whole one from a torn one

TIMER = pytest.StashKey[Any]()  # the settings of pytest-timeout, while its timer runs


class Elsewhere(BaseException):
    """In a parent: the rest of the setup is a child's."""


class OfChild:
    """Stands for the value of a fixture that only the child has, where a hook looks for it."""

    def __getattr__(self, name: str) -> OfChild:
        """Any attribute, of which nothing comes."""
        return self

    def __call__(self, *_: Any, **__: Any) -> OfChild:
        """Any call, likewise: the hook has been called in the child as well."""
        return self


class Forked:
    """One test that is run by a child, seen from both processes.

    Attributes:
        is_child: this is the child.
        written: what that writes below overlays.
    """

    def __init__(self, item: pytest.Item) -> None:
        """Nothing has happened yet."""
        self.is_child = False
        self._item = item
        # The parent's: reports with the phase that each is of, and what was raised in it.
        self._events: list[tuple[str, Any]] = []
        self._raised: dict[str, BaseException] = {}
        self._reported: Any = None
        # The child's.
        self.written = Written()
        self._writer = -1
        self._borrowed: list[tuple[Any, Any]] = []

    def begin(self, plan: Plan) -> None:
        """Fork. In the child this returns inside.

        Raises:
            Elsewhere: in the parent, when the child has ended.
        """
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        timers = _Timers(self._item)
        self._measured = Measured(self._item.config)
        parent = os.getpid()
        reader, writer = os.pipe()
        child = fork()
        if child == 0:
            self.is_child, self._writer = True, writer
            try:
                os.close(reader)
                end_with(parent)
                self._measured.begin()
                self._go_inside(plan, timers)
            except BaseException as error:
                self._answer("failed", f"{type(error).__name__}: {error}")
            return
        os.close(writer)
        try:
            self._understand(*_wait(reader, child))
        finally:
            os.close(reader)
            timers.start()
        arguments = getattr(self._item, "funcargs", {})
        for name in getattr(self._item, "fixturenames", ()):
            arguments.setdefault(name, OfChild())
        raise Elsewhere

    # The parent's part.

    def replay(self, when: str) -> None:
        """Raise what was raised in the child in a phase: "setup", "call" or "teardown"."""
        error = self._raised.get(when)
        if isinstance(error, UnshareError):
            try:
                refuse(self._item, [(text_of(self._item), error)])
            except BaseException as what:
                self._raised[when] = what
                raise
        if error is not None:
            raise error

    def report(self, call: pytest.CallInfo[Any]) -> Any:
        """Return the child's report of a phase, and log those of subtests before it.

        None where there is none, or where a wider fixture has failed in this process.
        """
        when: Any = call.when
        error = call.excinfo.value if call.excinfo else None
        if error is not self._raised.get(when):
            left = [report for of, report in self._events if of != when or report.failed]
            log(self._item, left)
            return None
        while self._events:
            of, report = self._events.pop(0)
            if of == when:
                return self._with_captured(report)
            log(self._item, [report])
        return None

    def settle(self, call: pytest.CallInfo[Any], outcome: Any) -> None:
        """Bring home a report that plugins have seen here as well as in the child.

        One of them may have looked for what only the child has, such as a fixture's value; its
        failure says nothing. And the debugger has been in the child.
        """
        report, self._reported = self._reported, None
        if outcome.excinfo is not None:
            made = report or pytest.TestReport.from_item_and_call(self._item, call)
            outcome.force_result(made)
        if report is None:
            if call.when == "call":  # it was refused, or has died
                setattr(outcome.get_result(), WAY, IN_CHILD)
            return
        report.sections[:] = dict.fromkeys(report.sections)  # that both have added
        call.excinfo = None

    def _with_captured(self, report: Any) -> Any:
        """Add what was captured here, where wider fixtures were torn down."""
        setattr(report, WAY, IN_CHILD)
        self._reported = report
        if report.when == "teardown":
            sections = self._item._report_sections
            report.sections += [(f"Captured {key} {when}", text) for when, key, text in sections]
        return report

    def _understand(self, kind: str, *what: Any) -> None:
        if kind == "failed":
            self._raised["call"] = pytest.fail.Exception(what[0], pytrace=False)
        elif kind == "refused":
            self._raised["call"] = UnshareError(*what)
        else:
            events, raised, recorded, measured, end = what
            self._events = load(self._item, events)
            self._raised = {when: unpack(error) for when, error in raised.items()}
            self._measured.add(*measured)
            _warn_again(recorded)
            if end:
                log(self._item, [report for _, report in self._events])
                raise unpack(end)

    # The child's part.

    def _go_inside(self, plan: Plan, timers: _Timers) -> None:
        from .. import enter

        try:
            start = Start(plan)
            start.hold_overlay = self.written.hold
            enter(start)
        except OSError as error:
            self._answer("refused", *failed("", error).facts())
        config = self._item.config
        register(config, run_of(self._item))
        self._collector = Collector(self._item)
        config.pluginmanager.register(self._collector, "unshare_boot_collector")
        self._warnings: Any = warnings.catch_warnings(record=True).__enter__()
        # All that is torn down is the test's own, also where a subtest's failure was one too many.
        state: Any = self._item.session._setupstate
        self._tear_down = state.teardown_exact
        state.teardown_exact = self._tear_down_own
        timers.start()

    def _tear_down_own(self, _: pytest.Item | None) -> None:
        try:
            self._tear_down(self._item.parent)
        finally:
            while self._borrowed:
                fixturedef, request = self._borrowed.pop()
                fixturedef.finish(request)

    def finish_later(self, fixturedef: Any, request: Any) -> None:
        """Take note of a wider fixture that was set up for this test alone, in its child."""
        self._borrowed.append((fixturedef, request))

    def end_call(self) -> None:
        """Take note that the call is over, or the setup if there was no call."""
        if self.is_child:
            self._collector.end_call()

    def keep(self, call: pytest.CallInfo[Any], report: Any) -> None:
        """Keep a report; with that of the teardown the child has done its work."""
        self._collector.keep(call, report)
        if call.when == "teardown":
            if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
                # What pytest would do next: pytest --pdb.
                hook = self._item.ihook.pytest_exception_interact
                hook(node=self._item, call=call, report=report)
            self._answer_reports(None)

    def break_off(self, excinfo: Any) -> None:
        """End the child before the test's end, for pytest.exit() say."""
        self._answer_reports(excinfo[1] if excinfo else None)

    def _answer_reports(self, end: BaseException | None) -> None:
        try:
            events, raised = self._collector.dump()
            told = [(str(w.message), w.category, w.filename, w.lineno) for w in self._warnings]
            packed = {when: pack(error) for when, error in raised.items()}
            measured = self._measured.take()
            self._answer("reports", events, packed, told, measured, pack(end) if end else None)
        except BaseException as error:
            self._answer("failed", f"{type(error).__name__}: {error}")

    def _answer(self, *answer: Any) -> None:
        """Write what came of the test, and end the process."""
        try:
            try:
                data = pickle.dumps(answer)
            except Exception as error:
                reason = f"the test's report cannot leave its process: {error}"
                data = pickle.dumps(("failed", reason))
            with open(self._writer, "wb") as file:
                file.write(len(data).to_bytes(LENGTH, "big") + data)
            for stream in (sys.stdout, sys.stderr):  # under --capture=no they are the real ones
                with contextlib.suppress(Exception):
                    stream.flush()
        finally:
            os._exit(0)


class _Timers:
    """What watches the time of a test: it is to look at the process that runs it."""

    def __init__(self, item: pytest.Item) -> None:
        """Stop it."""
        import faulthandler

        self._item = item
        self._settings = item.stash.get(TIMER, None)
        if self._settings is not None:
            item.ihook.pytest_timeout_cancel_timer(item=item)
        self._patience = 0.0  # seconds
        with contextlib.suppress(ValueError):  # pytest -p no:faulthandler
            self._patience = float(item.config.getini("faulthandler_timeout") or 0)
        if self._patience > 0:
            faulthandler.cancel_dump_traceback_later()

    def start(self) -> None:
        """Start it, in the process that this is."""
        if self._settings is not None:
            hook = self._item.ihook.pytest_timeout_set_timer
            hook(item=self._item, settings=self._settings)
        if self._patience > 0:
            self._dump_later()

    def _dump_later(self) -> None:
        """Do what pytest does at the beginning of each test, with its ini options."""
        import faulthandler

        from _pytest import faulthandler as plugin

        config = self._item.config
        names = ("fault_handler_stderr_fd_key", "fault_handler_stderr_key")  # since 7.3, before
        keys = [getattr(plugin, name) for name in names if hasattr(plugin, name)]
        stderr = [config.stash[key] for key in keys if key in config.stash]
        try:
            ends = bool(config.getini("faulthandler_exit_on_timeout"))  # pytest 8.4
        except ValueError:
            ends = False
        if stderr:
            faulthandler.dump_traceback_later(self._patience, file=stderr[0], exit=ends)


def _wait(reader: int, child: int) -> Any:
    """Return the child's answer, or what became of it."""
    try:
        answer = _receive(reader, child)
        status = reap(child)
    except BaseException:  # Ctrl-C, say
        with contextlib.suppress(ProcessLookupError):
            kill_and_reap(child)
        raise
    how = f"the process that ran this test {_ending(status)} before the test's end"
    return answer or ("failed", how)


def _receive(reader: int, child: int) -> Any:
    """Read the child's answer; None if the child ends without one.

    The end of the pipe does not tell: processes that the test has left running have it open.
    """
    data = b""
    try:
        ended = open_process(child)
    except ProcessLookupError:  # it has ended, and SIGCHLD is ignored: there is no zombie
        ended = os.open(os.devnull, os.O_RDONLY)  # which can always be read
    try:
        while len(data) < LENGTH or len(data) < LENGTH + int.from_bytes(data[:LENGTH], "big"):
            ready, _, _ = select.select([reader, ended], [], [])
            chunk = os.read(reader, 1 << 16) if reader in ready else b""
            if not chunk:
                return None
            data += chunk
    finally:
        os.close(ended)
    return pickle.loads(data[LENGTH:])


def _ending(status: int | None) -> str:
    if status is None:  # SIGCHLD is ignored, and nobody knows
        return "ended"
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with status {os.WEXITSTATUS(status)}"


def _warn_again(recorded: list[Any]) -> None:
    """Have pytest hear of the child's warnings, those that filters have let through there."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for message, category, filename, lineno in recorded:
            warnings.warn_explicit(message, category, filename, lineno)


WHOLE = True
