"""pytest behind a gate: which test tried to reach what, by the record, also of its subprocesses."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from harness import Finished, Python, Session, require_tool
from harness.pytest_runs import Run, run, with_pytest

__all__ = ["run"]

TESTS = """
import socket, subprocess, sys
import pytest

def reach(host, port):
    try:
        socket.create_connection((host, port))
    except OSError:
        pass

def test_fails():
    reach("fails.test", 443)
    assert False

def test_of_a_child():
    code = "import socket, sys; socket.create_connection((sys.argv[1], 81))"
    subprocess.run([sys.executable, "-c", code, "child.test"], check=True)

def test_passes():
    reach("192.0.2.7", 80)

@pytest.mark.parametrize("number", range(6))
def test_many(number):
    subprocess.run([sys.executable, "-c", "import os, socket\\n"
        "if os.fork() == 0:\\n"
        f"    socket.create_connection(('many{number}.test', 1000))\\n"
        "os.wait()"])
    assert number % 2

def test_of_loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname())

@pytest.fixture
def reaches_at_the_end():
    yield
    reach("teardown.test", 443)

def test_with_a_fixture(reaches_at_the_end):
    pass

@pytest.mark.needs_network
def test_of_the_outside():
    reach("marked.test", 443)
"""
LINE = "test_it.py:7"  # of reach(), in the process of pytest itself
GATE = 'unshare = "offline,allow=allowed.test:443"'


@pytest.fixture(scope="session")
def tested(request: pytest.FixtureRequest, session: Session) -> Python:
    return with_pytest(session, request.param)


def sections(done: Finished) -> dict[str, list[str]]:
    """What each test that failed is told to have tried."""
    found: dict[str, list[str]] = {}
    test = ""
    for line in done.stdout.partition("= unshare: ")[0].splitlines():
        heading = re.fullmatch(r"_{3,} (?:ERROR at teardown of )?(\S+) _{3,}", line)
        if heading:
            test = heading[1]
        elif line.startswith("tried "):
            found.setdefault(test, []).append(re.sub(r", pid \d+", "", line))
    return found


def expected(python: str) -> dict[str, list[str]]:
    """The same, as it should be."""
    many = {f"test_many[{number}]": f"many{number}.test:1000" for number in range(0, 6, 2)}
    targets = {"test_of_a_child": "child.test:81", **many}
    told = {
        test: [f"tried {where} ({python}): refused (not in allow)"]
        for test, where in targets.items()
    }
    here = f"{python}, {LINE}"
    return {"test_fails": [f"tried fails.test:443 ({here}): refused (not in allow)"], **told}


def test_a_failure_tells_what_the_test_tried(run: Run, tested: Python) -> None:
    """And nothing of what another one has, with and without pytest-xdist."""
    for options in ([], ["-n", "3"]):
        done = run("-q", *options, ini=GATE, test_it=TESTS)
        assert "5 failed, 6 passed, 1 skipped" in done.stdout, done
        assert sections(done) == expected(tested.executable.name)
        assert "marked.test" not in done.stdout


def test_a_test_that_passed_may_not_try(run: Run, tested: Python) -> None:
    """unshare_strict, which brings a gate along where the list has none."""
    for text in (GATE, 'unshare = "offline"', 'unshare = "user,net"'):
        done = run("-q", ini=f"{text}\nunshare_strict = true", test_it=TESTS)
        assert "9 failed, 2 passed, 1 skipped, 1 error" in done.stdout, done
        found = sections(done)
        for test, where, line in (
            ("test_passes", "192.0.2.7:80", f", {LINE}"),
            ("test_many[3]", "many3.test:1000", ""),
            ("test_with_a_fixture", "teardown.test:443", f", {LINE}"),
        ):
            assert found[test] == [
                f"tried {where} ({tested.executable.name}{line}): refused (not in allow)"
            ]
        assert "This test passed, but tried to reach out (unshare_strict)" in done.stdout


def test_what_may_pass_is_no_fault(run: Run) -> None:
    """A server of the host's that the list allows, and one that is allowed and not there."""
    text = """
import socket
def test_it():
    socket.create_connection(("127.0.0.1", {port}))
    try:
        socket.create_connection(("198.51.100.9", 7), 20)
    except OSError:
        pass
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        listed = f"offline,allow=localhost:{port},allow=198.51.100.9:7"
        ini = f'unshare = "{listed}"\nunshare_strict = true'
        done = run("-q", ini=ini, test_it=text.format(port=port))
    assert "1 passed" in done.ok()


def test_the_end_of_a_run_sums_it_up(run: Run, workdir: Path) -> None:
    done = run("-q", "--unshare-record=told.jsonl", "-n2", ini=GATE, test_it=TESTS)
    end = done.stdout.partition("= unshare: tried to reach out =")[2]
    for name in ("fails.test:443", "child.test:81", "192.0.2.7:80", "many5.test:1000"):
        assert re.search(rf"^{re.escape(name)} \(python\): 1 test$", end, re.M), end
        assert f"allow={name}" in end
    assert "allowed.test" not in end
    told = [json.loads(line) for line in (workdir / "told.jsonl").read_text().splitlines()]
    by_test = {(each["test"].rpartition("::")[2], each["name"]) for each in told}
    assert ("test_many[1]", "many1.test") in by_test and ("test_passes", None) in by_test
    # What it proposes is understood.
    (items,) = re.findall(r"^to let it pass: (\S+)$", end, re.M)
    again = run("-q", "-k", "loopback", ini=f'unshare = "offline,{items}"', test_it=TESTS)
    assert "1 passed" in again.ok()


@pytest.mark.parametrize(
    ("ini", "outer", "option"),
    [
        ("unshare_strict = true", "user,net", ""),
        ('unshare_strict = true\nunshare = "user,net=down"', None, ""),
        ("", None, "--unshare-record=told.jsonl"),
        ('unshare = "user,uts"', None, "--unshare-record=told.jsonl"),
    ],
)
def test_without_a_record_it_is_an_error(
    run: Run, ini: str, outer: str | None, option: str
) -> None:
    """And the cure that is printed is one."""
    options = ["-q", "-k", "loopback", *([option] if option else [])]
    done = run(*options, ini=ini, test_it=TESTS, unshare=outer)
    said = done.stderr + done.stdout
    assert done.status == 4
    assert f"{option.partition('=')[0] or 'unshare_strict'}: this run has no gate" in said
    (cure,) = re.findall(r"such as (--unshare=\S+)", said)
    assert "1 passed" in run(*options, cure, ini=ini, test_it=TESTS, unshare=outer).ok()


def test_a_test_elsewhere_is_not_watched(run: Run) -> None:
    """With the marker it is in a network of its own, where there is no gate."""
    text = """
import pytest, socket
@pytest.mark.unshare("user,net")
def test_elsewhere():
    with pytest.raises(OSError):
        socket.create_connection(("192.0.2.7", 80))
def test_after_it():
    pass
"""
    done = run("-q", ini='unshare = "user,net"\nunshare_strict = true', test_it=text)
    assert "2 passed" in done.ok()


def test_strict_after_the_end_of_the_gate(run: Run) -> None:
    """Nothing can be reached then, and nobody knows what was tried."""
    require_tool("ip")
    text = """
import subprocess
def test_ends_it():
    subprocess.run(["ip", "link", "delete", "gate0"], check=True)
"""
    done = run("-q", ini='unshare = "user,net"\nunshare_strict = true', test_it=text)
    assert "1 failed" in done.stdout and "The gate has ended" in done.stdout, done


def test_an_outer_start_with_a_gate_is_enough(run: Run) -> None:
    done = run("-q", test_it=TESTS, unshare="offline,record=/dev/null")
    assert "5 failed, 6 passed, 1 skipped" in done.stdout, done
    assert "tried fails.test:443" in done.stdout
