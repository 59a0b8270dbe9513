"""The suites of other projects, from their source archives: isolated and not, the same outcome.

docs/pytest.md lists the tests that need the outside, and this reads it from there.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness import Python, Session
from harness.processes import Argument
from harness.session import PROJECT, default
from proof.conftest import Tally

PAGE = PROJECT / "docs" / "pytest.md"

RECORD = "tried.jsonl"
MORE = ("passed", "skipped")  # inside and outside
ATTEMPTS = 3  # at tests whose outcomes differ, before they count

# The newest one that compiled dependencies of these releases have wheels for.
NEWEST = (3, 13)


@dataclass(frozen=True)
class Suite:
    """A release, and the part of its tests that uses the network, on loopback mostly.

    Attributes:
        needs: what the tests import.
        arguments: of pytest.
        least: how many tests pass, at the least.
        visited: run it once more, with marked tests in the process itself.
        settings: environment variables that they want.
    """

    release: str
    needs: tuple[str, ...]
    arguments: tuple[str, ...]
    least: int
    visited: bool = False
    settings: tuple[tuple[str, str], ...] = ()


SUITES = [
    Suite(
        "requests==2.34.2",
        ("pytest-httpbin", "httpbin", "trustme", "pytest-mock", "pysocks"),
        (
            *("tests/test_lowlevel.py", "tests/test_testserver.py", "tests/test_requests.py"),
            # Those left out last long, or have little to do with the network.
            *("-k", "not TestRequests and not encoded_methods and not none_timeout or redirect"),
        ),
        least=100,
    ),
    Suite(
        "urllib3==2.8.0",
        (
            *("anyio[trio]", "h2", "httpx", "hypercorn", "pysocks", "pytest-socket", "quart"),
            *("quart-trio", "trio", "trustme", "cryptography", "pyopenssl", "idna"),
        ),
        tuple(
            f"test/with_dummyserver/test_{name}.py"
            for name in ("connection", "socketlevel", "chunked_transfer", "poolmanager")
        ),
        least=200,
    ),
    Suite(
        "werkzeug==3.1.9",
        ("cffi", "cryptography", "ephemeral-port-reserve", "watchdog"),
        # The reloader's tests wait for the file system.
        ("tests/test_serving.py", "tests/test_test.py", "tests/middleware", "-k", "not reloader"),
        least=90,
    ),
    Suite(
        "aiohttp==3.14.5",
        (
            *("pytest-mock", "re-assert", "time-machine", "proxy.py", "trustme", "blockbuster"),
            *("isal", "zlib_ng", "python-on-whales", "pytest-codspeed", "aiodns", "brotli"),
            "coverage",
        ),
        (
            *("tests/test_connector.py", "tests/test_resolver.py", "-o", "addopts="),
            "tests/test_client_ws_functional.py",
            "tests/test_client_functional.py::test_aiohttp_request_ctx_manager_not_found",
        ),
        least=280,
    ),
    Suite(
        "pytest-httpserver==1.2.0", ("requests", "werkzeug"), ("tests",), least=140, visited=True
    ),
    Suite(
        "pytest-django==4.14.0",
        ("django", "django-configurations", "pytest-xdist"),
        # Those left out look at all marks of a test, ours included.
        ("tests", "-k", "not TagsTo and not WithTags"),
        least=120,
        visited=True,
        settings=(
            ("DJANGO_SETTINGS_MODULE", "pytest_django_test.settings_sqlite_file"),
            ("WITHOUT", "django_pytester pytester"),  # pytest within pytest, once for each
        ),
    ),
    Suite("pytest-asyncio==1.5.0", (), ("docs",), least=30, visited=True),
]

# Every tenth test has the marker. In a child, what it tells a server that lives in a thread of
# pytest's own process stays in the child: docs/pytest.md.
TENTH = """
import os, pytest
LIST, WITHOUT = os.environ["MARKED"], {*os.environ["WITHOUT"].split()}

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if not WITHOUT & {*item.fixturenames}]
    with_memory = {"httpserver", "live_server"} if "user" in LIST else set()
    alone = [item for item in items if not with_memory & {*item.fixturenames}]
    for item in alone[4::10] if LIST else []:
        item.add_marker(pytest.mark.unshare(LIST))
"""

# By name: the marker's list, and the options of the run.
WAYS = {
    "isolated": ("user=current,uts", "--unshare=offline", f"--unshare-record={RECORD}"),
    "visited": ("uts", "--unshare=user=current,net,uts"),  # marked tests in the process itself
    "plain": ("", "--no-unshare"),
}


def listed(release: str) -> set[str]:
    """The tests that the page says need the outside."""
    name = release.partition("=")[0]
    return set(re.findall(rf"^\| {name} \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE))


# What these have, the others have too.
MORE_OF_THE_SAME = ("werkzeug", "pytest-django")


@pytest.fixture(
    params=[
        pytest.param(
            each, marks=[pytest.mark.only_full] * each.release.startswith(MORE_OF_THE_SAME)
        )
        for each in SUITES
    ],
    ids=lambda suite: suite.release,
)
def suite(request: pytest.FixtureRequest) -> Suite:
    """One suite after the other."""
    found: Suite = request.param
    return found


@pytest.fixture
def supplied(session: Session, suite: Suite, workdir: Path) -> Python:
    """An environment of the suite's own."""
    fitting = [each for each in default(session.found) if each.interpreter.version[:2] <= NEWEST]
    if not fitting or fitting[-1].interpreter.version[:2] < (3, 10):
        pytest.skip("needs a Python from 3.10 to 3.13")
    made = session.fresh(fitting[-1], workdir / "venv")
    needs = ["pip", "pytest", "pytest-timeout", *suite.needs, suite.release]
    session.uv("pip", "install", "--python", made.executable, *needs)
    return made


@pytest.fixture
def source(session: Session, suite: Suite, workdir: Path, supplied: Python) -> Path:
    """The unpacked source archive."""
    pip: list[Argument] = [supplied.executable, "-m", "pip", "download", "-q"]
    pip += ["--no-binary", suite.release.partition("=")[0], "--no-deps"]
    session.tool([*pip, "-d", workdir, suite.release])
    (archive,) = workdir.glob("*.tar.gz")
    session.tool(["tar", "-xf", archive, "-C", workdir])
    archive.unlink()
    (directory,) = workdir.glob(suite.release.partition("=")[0].replace("-", "?") + "-*")
    (directory / "tenth.py").write_text(TENTH)
    session.give(directory)
    return directory


def outcomes(supplied: Python, source: Path, suite: Suite, name: str) -> dict[str, str]:
    """Run a suite in one of the ways; returns the outcome of each test."""
    report = source / f"{name}.xml"
    marked, *options = WAYS[name]
    tail = ["--timeout=60", "-p", "no:cacheprovider", "-p", "tenth", f"--junit-xml={report}"]
    # The first for a directory of temporary files of its own.
    env = {"USER": name, "PYTHONPATH": str(source), "MARKED": marked, "WITHOUT": ""}
    env.update(suite.settings)
    command = ["-m", "pytest", "-q", *suite.arguments, *tail, *options]
    done = supplied.run(command, env=env, cwd=source, timeout=400)
    assert done.status in (0, 1) and report.exists(), done.stdout[-3000:] + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[f"{case.get('classname')}.{case.get('name')}"] = min(kinds, default="passed")
    return found


def both(supplied: Python, source: Path, suite: Suite, inside: str) -> list[dict[str, str]]:
    """The outcomes inside, which is one of the ways, and outside, side by side."""
    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(lambda name: outcomes(supplied, source, suite, name), [inside, "plain"])]


def told(source: Path) -> set[str]:
    """The tests that the record of the last run names, as JUnit's XML has them."""
    lines = (source / RECORD).read_text().splitlines()
    tests = {json.loads(line)["test"] for line in lines}
    return {test.replace(".py::", "::").replace("/", ".").replace("::", ".") for test in tests}


def test_the_same_tests_pass(supplied: Python, source: Path, suite: Suite, tally: Tally) -> None:
    """Under `offline`, and with marked tests in the process itself; attempts at what differs."""
    need = listed(suite.release)
    for inside in ("isolated", "visited") if suite.visited else ("isolated",):
        steady: set[str] | None = None
        for _ in range(ATTEMPTS):
            isolated, plain = both(supplied, source, suite, inside)
            assert {test: isolated[test] for test in need} == dict.fromkeys(need, "failure")
            assert inside != "isolated" or need <= told(source)
            assert isolated.keys() == plain.keys()
            different = differ(isolated, plain) - need
            steady = different if steady is None else steady & different
            if not steady:
                break
        assert not steady, {test: (isolated[test], plain[test]) for test in steady}
        assert [*plain.values()].count("passed") - len(need) >= suite.least
        tally.case(count=len(isolated))


def differ(isolated: dict[str, str], plain: dict[str, str]) -> set[str]:
    """The tests that have another outcome inside."""
    # One that is skipped for want of "localhost.", which the gate resolves, may pass.
    return {
        test
        for test in plain
        if isolated[test] != plain[test] and (isolated[test], plain[test]) != MORE
    }
