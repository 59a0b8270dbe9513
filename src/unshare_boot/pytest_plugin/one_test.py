"""A test with @pytest.mark.unshare: a forked child runs it, in namespaces of its own.

    parent    fixtures of a wider scope than the test ──fork──►         ◄── reports ──    teardown
    child                                     enter, setup, call, teardown

What is set up for one test alone is set up in the child, inside: a server that a fixture starts
listens where the test connects. What tests share stays the parent's, and the child has a copy.
This file is the parent's part, and ``in_child`` the child's.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
import warnings
from typing import Any, Callable, NoReturn

import pytest

from ..child import fork, kill_and_reap, open_process, reap
from ..errors import UnshareError
from ..namespaces import Plan
from . import coverage_data
from .in_child import LENGTH, TEST, run_and_answer
from .names import MARKER
from .reports import load, log


def protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test that has the marker, and report it: pytest_runtest_protocol.

    Returns:
        True, or None if the test is skipped, or the marker says to do nothing.
    """
    if _is_skipped(item):
        return None
    call = pytest.CallInfo.from_call(lambda: _plan(item), "setup")
    if call.excinfo is None and call.result is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    if call.excinfo is None and call.result is not None:
        _run(item, nextitem, call.result)
    else:
        log(item, [_report(item, call)])
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def require_child(item: pytest.Item) -> None:
    """Fail a test that has the marker, unless it runs in a child of ours."""
    if item.config.stash.get(TEST, None) is item or _is_skipped(item):
        return
    if _plan(item) is not None:
        pytest.fail(
            f"the marker {MARKER} has no effect here, since another plugin runs the test "
            "(pytest-forked or a plugin that runs tests again): run it without that plugin",
            pytrace=False,
        )


def _plan(item: pytest.Item) -> Plan | None:
    from .. import plan_of

    marker = item.get_closest_marker(MARKER)
    assert marker is not None
    if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str):
        pytest.fail(
            f'@pytest.mark.{MARKER} takes one list, such as "user,net", '
            f"not {marker.args!r} {marker.kwargs!r}",
            pytrace=False,
        )
    try:
        return plan_of(marker.args[0])
    except UnshareError as error:
        refusal = error
    pytest.fail(f"@pytest.mark.{MARKER}({marker.args[0]!r}): {refusal}", pytrace=False)


def _is_skipped(item: pytest.Item) -> bool:
    from _pytest.skipping import evaluate_skip_marks

    return evaluate_skip_marks(item) is not None


def _run(item: pytest.Item, nextitem: pytest.Item | None, plan: Plan) -> None:
    reports: list[Any] = []
    call = _phase(item, "setup", lambda: _set_up_shared(item))
    if call.excinfo is None:
        call = _phase(item, "call", lambda: _in_child(item, plan))
        if call.excinfo is None:
            reports = call.result
    if call.excinfo is not None:
        reports = [_report(item, call)]
    inner = reports.pop() if reports[-1].when == "teardown" else None
    log(item, reports)
    if item.session.shouldfail or item.session.shouldstop:
        nextitem = None
    _tear_down_shared(item, nextitem, inner)
    if hasattr(item, "_request"):  # as pytest's own protocol does, to let go of what they hold
        item._request = False
        item.funcargs = None  # type: ignore[attr-defined]


def _tear_down_shared(item: pytest.Item, nextitem: pytest.Item | None, inner: Any) -> None:
    """Tear down what the next test does not use; ``inner`` is the child's report of its own."""
    setupstate = item.session._setupstate
    known = len(item._report_sections)
    call = _phase(item, "teardown", lambda: setupstate.teardown_exact(nextitem))
    if call.excinfo is None and inner is not None:
        captured = item._report_sections[known:]
        inner.sections += [(f"Captured {key} {when}", text) for when, key, text in captured]
        log(item, [inner])
    else:
        log(item, [inner] if inner is not None and inner.failed else [])
        log(item, [_report(item, call)])


def _phase(item: pytest.Item, when: Any, do: Callable[[], Any]) -> pytest.CallInfo[Any]:
    capture = item.config.pluginmanager.getplugin("capturemanager")
    capturing = capture.item_capture(when, item) if capture else contextlib.nullcontext()
    with capturing:
        reraise = (pytest.exit.Exception, KeyboardInterrupt)
        return pytest.CallInfo.from_call(do, when, reraise=reraise)


def _report(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    return item.ihook.pytest_runtest_makereport(item=item, call=call)


def _set_up_shared(item: pytest.Item) -> None:
    """Set up, in this process, the fixtures that other tests may use as well."""
    if getattr(item, "_request", None) is False:  # run before, and now again
        item._initrequest()  # type: ignore[attr-defined]
    item.session._setupstate.setup(item.parent)  # type: ignore[arg-type]
    if hasattr(item, "_testcase") and pytest.version_tuple < (8, 2):
        # A test of unittest's, whose setUpClass is a fixture that asks for an instance.
        item._testcase = item.parent.obj(item.name)  # type: ignore[union-attr]
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    for name in getattr(item, "fixturenames", ()):
        definitions = known.get(name)
        if definitions and definitions[-1].scope != "function":
            # getfixturevalue() does the same, but takes a test not yet set up for one torn down;
            # so does pytest 9.2, which only warns of it.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"Calling request\.getfixturevalue\(")
                item._request._get_active_fixturedef(name)  # type: ignore[attr-defined]
            if name == "tmp_path_factory":  # its directory is made on demand, and is shared, too
                definitions[-1].cached_result[0].getbasetemp()


def _in_child(item: pytest.Item, plan: Plan) -> list[Any]:
    """Fork, and return the reports of the child.

    Raises:
        pytest.fail.Exception: the child has none.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        try:
            os.close(reader)
            run_and_answer(item, plan, writer)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        answer = _receive(reader, child)
        status = reap(child)
    except BaseException:  # Ctrl-C, or the alarm of pytest-timeout
        with contextlib.suppress(ProcessLookupError):
            kill_and_reap(child)
        raise
    finally:
        os.close(reader)
    if answer is None:
        how = _ending(status)
        pytest.fail(f"the process that ran this test {how} before the test's end", pytrace=False)
    return _understand(item, *answer)


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


def _understand(item: pytest.Item, kind: str, *what: Any) -> list[Any]:
    if kind == "exit":
        log(item, load(item, what[0]))
        pytest.exit(what[1], returncode=what[2])
    if kind == "interrupted":
        log(item, load(item, what[0]))
        raise KeyboardInterrupt
    if kind == "failed":
        pytest.fail(what[0], pytrace=False)
    if kind == "refused":
        _refuse(item, UnshareError(*what))
    dumped, recorded, measured = what
    coverage_data.add(measured)
    for message, category, filename, lineno in recorded:
        warnings.warn_explicit(message, category, filename, lineno)
    return load(item, dumped)


def _refuse(item: pytest.Item, error: UnshareError) -> NoReturn:
    from .whole_run import why

    text = item.get_closest_marker(MARKER).args[0]  # type: ignore[union-attr]
    if item.config.getini("unshare_on_error") == "fail":
        reason = f"@pytest.mark.{MARKER}({text!r}): refused, the test was not run"
        pytest.fail(f"{reason}\n{why(text, error)}", pytrace=False)
    pytest.skip(f"{text}: {error}")


WHOLE = True
