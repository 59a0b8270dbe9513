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
    """

    release: str
    needs: tuple[str, ...]
    arguments: tuple[str, ...]
    least: int


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
]

# Every tenth test has the marker, and is run by a child.
TENTH = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    for item in items[::10]:
        item.add_marker(pytest.mark.unshare("user=current,uts"))
"""


def listed(release: str) -> set[str]:
    """The tests that the page says need the outside."""
    name = release.partition("=")[0]
    return set(re.findall(rf"^\| {name} \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE))


@pytest.fixture(params=SUITES, ids=lambda suite: suite.release)
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
    pip += ["--no-binary", ":all:", "--no-deps"]
    session.tool([*pip, "-d", workdir, suite.release])
    (archive,) = workdir.glob("*.tar.gz")
    session.tool(["tar", "-xf", archive, "-C", workdir])
    archive.unlink()
    (directory,) = workdir.glob(suite.release.partition("=")[0] + "-*")
    (directory / "tenth.py").write_text(TENTH)
    session.give(directory)
    return directory


def outcomes(
    supplied: Python, source: Path, suite: Suite, name: str, *options: str
) -> dict[str, str]:
    """Run a suite; returns the outcome of each test."""
    report = source / f"{name}.xml"
    tail = ["--timeout=60", "-p", "no:cacheprovider", f"--junit-xml={report}", *options]
    env = {
        "USER": name,
        "PYTHONPATH": str(source),
    }  # the first for a directory of temporary files of its own
    command = ["-m", "pytest", "-q", *suite.arguments, *tail]
    done = supplied.run(command, env=env, cwd=source, timeout=400)
    assert done.status in (0, 1) and report.exists(), done.stdout[-3000:] + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[f"{case.get('classname')}.{case.get('name')}"] = min(kinds, default="passed")
    return found


def both(supplied: Python, source: Path, suite: Suite) -> tuple[dict[str, str], dict[str, str]]:
    """The outcomes inside and outside, side by side."""
    offline = ("--unshare=offline", f"--unshare-record={source / RECORD}", "-p", "tenth")
    with ThreadPoolExecutor(2) as pool:
        isolated, plain = pool.map(
            lambda how: outcomes(supplied, source, suite, *how),
            [("isolated", *offline), ("plain", "--no-unshare")],
        )
    return isolated, plain


def told(source: Path) -> set[str]:
    """The tests that the record of the last run names, as JUnit's XML has them."""
    lines = (source / RECORD).read_text().splitlines()
    tests = {json.loads(line)["test"] for line in lines}
    return {test.replace(".py::", "::").replace("/", ".").replace("::", ".") for test in tests}


def test_the_same_tests_pass(supplied: Python, source: Path, suite: Suite, tally: Tally) -> None:
    need = listed(suite.release)
    steady: set[str] | None = None
    for _ in range(ATTEMPTS):
        isolated, plain = both(supplied, source, suite)
        assert {test: isolated[test] for test in need} == dict.fromkeys(need, "failure")
        assert need <= told(source)
        assert isolated.keys() == plain.keys()
        others = plain.keys() - need
        # One that is skipped for want of "localhost.", which the gate resolves, may pass.
        different = {
            test
            for test in others
            if isolated[test] != plain[test] and (isolated[test], plain[test]) != MORE
        }
        steady = different if steady is None else steady & different
        if not steady:
            break
    assert not steady, {test: (isolated[test], plain[test]) for test in steady}
    assert [plain[test] for test in others].count("passed") >= suite.least
    tally.case(count=len(isolated))
