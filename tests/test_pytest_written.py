"""A test with the marker and an overlay says on failure what it wrote, with its subprocesses."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness import Finished, Python, Session
from harness.pytest_runs import Run, run, with_pytest

__all__ = ["run"]

TESTS = """
import os, shutil, subprocess, sys
import pytest

overlaid = pytest.mark.unshare("LIST")

def link(number):
    try: return os.readlink("/proc/self/fd/" + number)
    except OSError: return ""

def write():
    open("made", "w").write("12345")
    subprocess.run([sys.executable, "-c", "import os; os.remove('data/old'); import data.module"])
    subprocess.run(["sh", "-c", "echo more >>data/text; mkdir -p new/deep; touch new/deep/file"])

@overlaid
def test_fails():
    write()
    assert False

@overlaid
def test_passes():
    write()

@overlaid
def test_writes_nothing():
    assert False

@pytest.fixture
def fails():
    write()
    assert False

@overlaid
def test_in_setup(fails):
    pass

@pytest.fixture
def fails_later():
    yield
    write()
    assert False

@overlaid
def test_in_teardown(fails_later):
    pass

@overlaid
def test_writes_much():
    for number in range(80):
        open(f"file{number}", "w").close()
    assert False

@pytest.mark.unshare("user=current,overlay=data,overlay=other:kept")
def test_two():
    open("data/text", "w").close()
    open("other/file", "w").close()
    assert False

def test_nothing_happened():
    assert os.path.exists("data/old") and not os.path.exists("made")
    assert "/" not in map(link, os.listdir("/proc/self/fd"))  # where what is not mounted begins
"""
WROTE = [
    "removed 5 data/old",
    "changed 4 -> 9 data/text",
    "added 5 made",
    "added new/",
    "added new/deep/",
    "added 0 new/deep/file",
]
CHILD = [
    "user=current,overlay=.",
    "user,overlay=.,caps=none",
    "user=current,pid,overlay=.,ro=/,rw=.,caps=none",
]
HERE = "mount,overlay=."


@pytest.fixture(scope="session")
def tested(request: pytest.FixtureRequest, session: Session) -> Python:
    return with_pytest(session, request.param)


@pytest.fixture
def data(workdir: Path) -> None:
    """Something to change, and something to remove."""
    (workdir / "other").mkdir()
    (workdir / "data").mkdir()
    for name, text in (("text", "text"), ("old", "older"), ("module.py", "")):
        (workdir / "data" / name).write_text(text)


def sections(done: Finished) -> dict[str, list[str]]:
    """What each test that failed is told to have written."""
    found: dict[str, list[str]] = {}
    test, within = "", False
    for line in done.stdout.splitlines():
        heading = re.fullmatch(r"_{3,} (?:ERROR at (?:teardown|setup) of )?(\S+) _{3,}", line)
        test = heading[1] if heading else test
        if re.match("[-=_]{3}", line):
            within = "written below an overlay" in line
        elif within:
            found.setdefault(test, []).append(" ".join(line.split()))
    return found


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("listing", [*CHILD, HERE])
def test_what_a_test_wrote(run: Run, workdir: Path, listing: str) -> None:
    ini = 'unshare = "user=current,mount"' if listing == HERE else ""
    before = sorted(os.listdir(workdir))
    for options in ([], ["-n2"]) if listing == CHILD[0] else ([],):
        done = run("-v", *options, ini=ini, test_it=TESTS.replace("LIST", listing))
        assert "4 failed, 3 passed, 2 errors" in done.stdout, done
        where = "in this process" if listing == HERE else "in a child"
        assert f"FAILED {where}" in done.stdout
        found = sections(done)
        for test in ("test_fails", "test_in_setup", "test_in_teardown"):
            assert found.pop(test) == WROTE
        much = found.pop("test_writes_much")
        assert much[0] == "added 0 file0" and much[-1] == "... and 30 more"
        assert found == {"test_two": ["changed 4 -> 0 data/text", "added 0 other/file"]}
        new = {*os.listdir(workdir)} - {*before}
        assert new <= {"kept", "pyproject.toml", "test_it.py", "__pycache__"}


@pytest.mark.usefixtures("data")
def test_root_in_this_process(run: Run) -> None:
    """Its overlays have other attributes."""
    text = TESTS.replace("LIST", HERE)
    done = run("-v", "-k", "test_fails", test_it=text, as_root=True)
    assert "FAILED in this process" in done.stdout
    assert sections(done) == {"test_fails": WROTE}
