"""The pytest plugin, as much of it as every run of pytest loads: the options and the hooks.

The story of a run that is to be isolated, and who tells it:

    this file         reads the list, before anything of the project is imported
    whole_run         runs pytest again inside the namespaces, or says why not
    isolation         in a run that is isolated: says what holds, and skips what needs the network
    section           tells a test that failed of it
    tried, lines      which test tried to reach what, by the record of a gate, and in which line
    outputs           what a run would write where it would be gone at its end
    one_test          a test with @pytest.mark.unshare: where it begins and ends
    visit             in this process, which enters its namespaces and comes back
    written           what such a test has written below an overlay, where it fails
    fork, reports     in a child, whose reports and exceptions (raised) come home
    workers           pytest-xdist's workers, each in namespaces of its own
    measured          as does what coverage.py and pytest-benchmark have measured there

A run with neither a list nor the marker loads none of them.
"""

from __future__ import annotations

import os

import pytest

from .names import LOOPBACK_MARKER, MARKER, SECOND_RUN, SHOWN, WAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any


SUMMARY = pytest.StashKey[bool]()  # the tests are over


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, in pytest's own words."""
    group = parser.getgroup("unshare", "isolation by Linux namespaces (unshare-boot)")
    group.addoption(
        "--unshare",
        metavar="LIST",
        default=None,
        help="run inside these namespaces, such as user,net; instead of the ini option",
    )
    group.addoption(
        "--no-unshare",
        action="store_const",
        const="off",
        dest="unshare",
        help="start no namespaces, whatever the ini option says",
    )
    group.addoption(
        "--unshare-record",
        metavar="FILE",
        default=None,
        help="write what each test tried to reach, and was refused, as JSON Lines",
    )
    parser.addini(
        "unshare_strict",
        "fail a test that passed but tried to reach out, in a run without a way out",
        type="bool",
        default=False,
    )
    parser.addini("unshare", "namespaces to run inside, such as user,net", default="")
    parser.addini(
        "unshare_on_error",
        "where they are not available: fail (default), skip every test, or warn and run without",
        default="fail",
    )
    parser.addini(
        "unshare_workers",
        "namespaces that each worker of pytest-xdist gets for itself, such as net",
        default="",
    )
    parser.addini(
        "unshare_network_marker",
        "marker of the tests that an isolated run skips (default: needs_network)",
        default="needs_network",
    )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Run pytest again, if that is asked for, before conftest.py, coverage and capture begin.

    Capture is a wrapper, which only a wrapper can precede.
    """
    second = os.environ.pop(SECOND_RUN, None) is not None
    known = early_config.known_args_namespace
    asked = known.unshare is not None or early_config.getini("unshare")
    if asked and not (known.help or known.version):
        from .whole_run import isolate

        isolate(early_config, second)
    yield


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and have an isolated run say that it is one."""
    network = config.getini("unshare_network_marker")
    config.addinivalue_line("markers", f"{network}: skipped in a run that has no way out")
    config.addinivalue_line("markers", f"{LOOPBACK_MARKER}: skipped in a run with sockets=unix")
    config.addinivalue_line(
        "markers",
        f"{MARKER}(list): run the test in namespaces of its own, such as "
        "user,net,mount,overlay=. (unshare-boot)",
    )
    if hasattr(config, "workerinput"):
        from .workers import begin

        begin(config)
    elif config.getoption("dist", "no") != "no":
        from .workers import register

        register(config)
    asked = config.getoption("unshare") is not None or config.getini("unshare")
    asked = asked or config.getoption("unshare_record")
    if asked or "PY_UNSHARE_ACTIVE" in os.environ:
        from .whole_run import report_isolation

        report_isolation(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Load what runs tests that have the marker, if there are any."""
    marked = [item for item in session.items if item.get_closest_marker(MARKER)]
    if marked:
        from .one_test import register

        register(session.config, marked)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take note that what follows is the summary, whose lines begin with a word and a test."""
    session.config.stash[SUMMARY] = True


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_report_teststatus(report: Any, config: pytest.Config) -> Generator[None, Any]:
    """Say with -v where such a test ran; the main process of pytest-xdist has no other hook."""
    if hasattr(report, SHOWN):
        report.outcome, report.longrepr = getattr(report, SHOWN)
    outcome = yield
    if hasattr(report, WAY) and config.option.verbose > 0 and SUMMARY not in config.stash:
        category, letter, word = outcome.get_result()
        if isinstance(word, tuple):
            word = (f"{word[0]} {getattr(report, WAY)}", *word[1:])
        elif word:
            word = f"{word} {getattr(report, WAY)}"
        outcome.force_result((category, letter, word))


WHOLE = True
