"""The pytest plugin, as much of it as every run of pytest loads: the options and markers.

The story of a run that is to be isolated, in the order of the rooms:

    pytest_plugin    reads the list, before anything of the project is imported
    pytest_run       starts pytest over inside the namespaces, or says why not; in the second run,
                     and wherever a run is isolated, tells what holds and what that does to tests
    pytest_child     runs one test with @pytest.mark.unshare in namespaces of its own

A run with neither a list nor the marker loads none of the other rooms.
"""

from __future__ import annotations

import os

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

# Set for the run that has been started over, by the one that did it.
STARTED_OVER = "PY_UNSHARE_PYTEST"

MARKER = "unshare"


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
    parser.addini("unshare", "namespaces to run inside, such as user,net", default="")
    parser.addini(
        "unshare_on_error",
        "where they cannot be had: fail (default), skip every test, or warn and run without",
        default="fail",
    )
    parser.addini(
        "unshare_network_marker",
        "marker of the tests that an isolated run skips (default: needs_network)",
        default="needs_network",
    )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Start over, if that is asked for, before conftest.py files, coverage and capture begin.

    Capture is a wrapper, which only a wrapper can precede.
    """
    started_over = os.environ.pop(STARTED_OVER, None) is not None
    known = early_config.known_args_namespace
    asked = known.unshare is not None or early_config.getini("unshare")
    if asked and not (known.help or known.version):
        from .pytest_run import settle

        settle(early_config, started_over)
    yield


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and have an isolated run looked after."""
    network = config.getini("unshare_network_marker")
    config.addinivalue_line("markers", f"{network}: skipped in a run that has no way out")
    config.addinivalue_line(
        "markers",
        f"{MARKER}(list): run the test in a process and namespaces of its own, such as "
        "user,net,mount,overlay=. (unshare-boot)",
    )
    asked = config.getoption("unshare") is not None or config.getini("unshare")
    if asked or "PY_UNSHARE_ACTIVE" in os.environ:
        from .pytest_run import look_after

        look_after(config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test that has the marker."""
    if item.get_closest_marker(MARKER) is None:
        return None
    from .pytest_child import protocol

    return protocol(item, nextitem)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stop a test that has the marker if another plugin runs it, and so runs it outside."""
    if item.get_closest_marker(MARKER) is not None:
        from .pytest_child import make_sure

        make_sure(item)


WHOLE = True
