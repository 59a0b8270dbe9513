"""The pytest plugin, in environments that have the wheel and pytest, run as an ordinary user.

pytest's own pytester runs inside such an environment, as another run of pytest's, to see what it
sees: reports, outcomes, and a run within a run.
"""

from __future__ import annotations

import ast
import os
import re
import socket
from pathlib import Path

import pexpect
import pytest

from harness import Finished, Python, Session
from harness.pytest_runs import NEWEST, Run, run, runner, tested, with_packages

# Of the oldest Python, but for pytest 9, which has subtests itself.
WITH_SUBTESTS = {
    "7.0": ["pytest==7.0.*", "pytest-subtests<0.12", "pytest-xdist"],
    "8.4": ["pytest==8.4.*", "pytest-subtests", "pytest-xdist"],
    "newest": [*NEWEST, "pytest-subtests; python_version < '3.10'", "pytest-xdist"],
}

__all__ = ["run", "tested"]

ISOLATED = """
import os, unshare_boot
def test_isolated():
    assert unshare_boot.active() == ("user", "net")
    assert "PY_UNSHARE_PYTEST" not in os.environ
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All those versions of pytest with all interpreters, else the newest."""
    if "run_subtests" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-pythons")
        versions = [*WITH_SUBTESTS] if every else [*WITH_SUBTESTS][-1:]
        metafunc.parametrize("run_subtests", versions, indirect=True)


@pytest.fixture
def run_subtests(request: pytest.FixtureRequest, workdir: Path, session: Session) -> Run:
    """The same by versions of pytest that know subtests, of themselves or by a plugin."""
    which = "newest" if request.param == "newest" else "oldest"
    name = f"subtests-{request.param}"
    tested = with_packages(session, which, name, WITH_SUBTESTS[request.param])
    return runner(tested, workdir, session)


def test_ini_option(run: Run, workdir: Path) -> None:
    """Once, before conftest.py, with the same command line and output."""
    done = run(
        ini='unshare = "user,net"',
        conftest="import unshare_boot; print(unshare_boot.active(), file=open('log', 'a'))",
        test_it=ISOLATED,
    )
    assert "1 passed" in done.ok()
    assert re.search(r"^unshare: user,net \(no route out of this run\)$", done.stdout, re.M)
    assert (workdir / "log").read_text() == "('user', 'net')\n"
    assert done.stdout.count("test session starts") == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        (["--unshare=user,net"], "1 passed"),
        (["--unshare", "user,net", "-n2"], "1 passed"),
        (["--unshare=user,net", "-p", "no:cacheprovider", "-p", "unshare_boot"], "1 passed"),
        (["--unshare=user,net", "--cov=.", "--cov-report=term"], "1 passed"),
        (["--unshare=user,net", "-s", "-W", "error"], "1 passed"),
        ([], "1 failed"),
        (["--unshare=user,net", "--no-unshare"], "1 failed"),
    ],
)
def test_command_line(run: Run, arguments: list[str], outcome: str) -> None:
    done = run(*arguments, test_it=ISOLATED)
    assert outcome in done.stdout, done.stdout + done.stderr
    assert done.status == (0 if outcome == "1 passed" else 1)
    if "--cov=." in arguments:
        assert re.search(r"^test_it.py +\d+ +0 +100%$", done.stdout, re.M), done.stdout


def test_the_command_pytest(tested: Python, run: Run, workdir: Path) -> None:
    """Started by its own name, with what the shell gave it: arguments, environment, input."""
    text = """
def test_it():
    import os, sys
    print(sys.argv[1:], os.environb[b"A"], sys.stdin.read())
"""
    run("--collect-only", test_it=text)
    options = ["--unshare=user,net", "-s", "-q", "-k", "it and not other", "-p", "no:cacheprovider"]
    done = tested.user.run(
        [tested.executable.parent / "pytest", *options],
        env={"A": "\udcff b"},
        stdin="hello",
        cwd=workdir,
    )
    assert f"{options} b'\\xff b' hello" in done.ok()


def test_forked(run: Run, tested: Python) -> None:
    if tested.run(["-c", "import pytest_forked"]).status:
        pytest.skip("pytest-forked cannot serialise the reports of pytest 9")
    own = "import pytest\n@pytest.mark.unshare('user,uts')\ndef test_own(): pass\n"
    done = run("--unshare=user,net", "--forked", "-v", test_it=ISOLATED, test_own=own)
    assert "test_it.py::test_isolated PASSED" in done.stdout
    # Whichever plugin has the word: it either runs in namespaces of its own, or not at all.
    assert "test_own.py::test_own PASSED" in done.stdout or "another plugin runs" in done.stdout


@pytest.mark.parametrize(
    ("asked", "starts"),
    [
        ("user,net", 1),
        ("net", 1),
        ("user,net,uts", 2),
        ("user,net,addr=10.9.8.7/8", 2),  # nothing tells whether that is so already
    ],
)
def test_an_outer_start_is_enough(run: Run, workdir: Path, asked: str, starts: int) -> None:
    early = 'import os\nprint("net", os.stat("/proc/self/ns/net").st_ino, flush=True)\n'
    (workdir / "early.py").write_text(early)
    options = ["-p", "early", f"--unshare={asked}"]
    done = run(*options, unshare="user,net", test_it="def test_it(): pass")
    assert len(set(re.findall(r"^net (\d+)$", done.stdout, re.M))) == starts, done.stdout
    assert done.stdout.count("1 passed") == 1


def test_a_name_that_is_not_meant_is_no_obstacle(run: Run) -> None:
    env = {"PY_UNSHARE_ONLY": "manage.py"}
    done = run("--unshare=user,net", unshare="user,uts", env=env, test_it=ISOLATED)
    assert "1 passed" in done.ok()


def test_threads_of_an_early_plugin_are_no_obstacle(run: Run, workdir: Path) -> None:
    (workdir / "early.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    done = run("-p", "early", "--unshare=user,net", test_it=ISOLATED)
    assert "1 passed" in done.ok()


def test_pytest_main_is_told_how(run: Run) -> None:
    code = "import sys, pytest; sys.exit(pytest.main(['--unshare=user,net', '-q']))"
    done = run("-c", code, own=True, test_it=ISOLATED)
    assert done.status == 4
    assert "pytest was called by a program" in done.stderr
    assert "PY_UNSHARE=user,net" in done.stderr and "--no-unshare" in done.stderr
    # Each of the three ways that it tells of.
    assert "1 passed" in run("-c", code, own=True, unshare="user,net").ok()
    first = f"import unshare_boot; unshare_boot.unshare('user,net'); {code}"
    assert "1 passed" in run("-c", first, own=True).ok()
    assert run("-c", code.replace("'-q'", "'-q', '--no-unshare'"), own=True).status == 1


@pytest.mark.parametrize("options", [["-i", "-q"], ["-c", "exec(open('code').read())"]])
def test_a_session_is_not_replaced(run: Run, workdir: Path, options: list[str]) -> None:
    """Whatever runs pytest in it: a prompt, IPython's %run -m pytest, a profiler of its own."""
    lines = ["import runpy, sys", "sys.argv = ['pytest', '--unshare=user,net', '-q']"]
    lines += ["try: runpy.run_module('pytest', run_name='__main__', alter_sys=True)"]
    lines += [
        "except SystemExit as error: print('status', int(error.code))",
        "",
        "print('still here')",
    ]
    text = "\n".join(lines) + "\n"
    (workdir / "code").write_text(text)
    done = run(*options, own=True, test_it=ISOLATED, stdin=text)
    assert "pytest was called by a program" in done.stderr
    assert "status 4" in done.stdout and "still here" in done.stdout


def test_what_begins_anew_is_replaced(run: Run, workdir: Path) -> None:
    """With the data of marked tests in one file, however many there are."""
    (workdir / "module.py").write_text("def f(x):\n    if x:\n        return 1\n    return 2\n")
    text = """
import module, pytest
@pytest.mark.unshare("user,uts")
@pytest.mark.parametrize("x", range(2))
def test_it(x): module.f(x)
"""
    options = ["-m", "pytest", "-p", "no:cacheprovider", "--unshare=user,net"]
    launcher = ["-m", "coverage", "run", "--include=module.py"]
    done = run(*launcher, *options, own=True, test_it=text)
    assert "2 passed" in done.ok() and done.stderr == ""
    assert "100%" in run("-m", "coverage", "report", own=True).ok()


def test_a_start_that_does_not_isolate_is_no_loop(run: Run) -> None:
    """-S leaves out .pth files, so that starting over has no effect."""
    path = run("-c", "import sys; print([p for p in sys.path if 'site' in p])", own=True).ok()
    env = {"PYTHONPATH": ":".join(ast.literal_eval(path))}
    done = run("-S", "-m", "pytest", "--unshare=user,net", own=True, test_it=ISOLATED, env=env)
    assert done.status == 4
    assert "still not isolated" in done.stderr


@pytest.mark.parametrize(
    ("on_error", "status", "words"),
    [
        ("fail", 4, "refused, no test was run"),
        ("skip", 0, "1 skipped"),
        ("warn", 1, "the tests ran without"),
        ("never", 4, "expected fail, skip or warn"),
    ],
)
def test_refused(run: Run, on_error: str, status: int, words: str) -> None:
    """An ordinary user gets no network namespace alone."""
    ini = f'unshare = "net"\nunshare_on_error = "{on_error}"'
    done = run(ini=ini, test_it=ISOLATED)
    assert done.status == status
    assert words in done.stdout + done.stderr
    if on_error in ("fail", "skip", "warn"):
        assert "unshare(CLONE_NEWNET): Operation not permitted" in done.stdout + done.stderr
        assert "pyproject.toml" in done.stdout + done.stderr
    if on_error == "fail":
        assert "cure: add user to the list" in done.stderr
    if on_error == "skip":
        assert "1 skipped" in run("-n2").stdout


def test_a_list_that_is_not_understood(run: Run) -> None:
    done = run("--unshare=user,nett", test_it=ISOLATED)
    assert done.status == 4 and "did you mean net?" in done.stderr
    assert "1.0" not in done.stderr and done.stdout == ""


NETWORK = """
import socket, subprocess, sys
import pytest
ADDRESS = ("127.0.0.1", {port})
def test_route(): socket.create_connection(("192.0.2.1", 80))
def test_name(): socket.getaddrinfo("example.org", 80)
def test_loopback(): socket.create_connection(ADDRESS)
def test_wrapped():
    try: socket.create_connection(ADDRESS)
    except OSError: raise ValueError("no") from None
def test_child():
    code = "import socket; socket.create_connection(%r)" % (ADDRESS,)
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
@pytest.fixture
def connected(): socket.create_connection(ADDRESS)
def test_fixture(connected): pass
def test_arithmetic(): assert 1 + 1 == 3
@pytest.mark.needs_network
def test_outside(): socket.create_connection(ADDRESS)
"""


def test_network_errors_tell_of_the_isolation(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = NETWORK.replace("{port}", str(server.getsockname()[1]))
        ini = 'unshare = "user,net"'
        done = run("--show-capture=no", "-rs", ini=ini, test_it=text)
        assert "5 failed, 1 passed, 1 skipped, 1 error" in done.stdout  # a name has an address
        failures = done.stdout.partition("= unshare: tried")[0]
        sections = re.split(r"^_{3,} (.*) _{3,}$", failures, flags=re.M)
        each = zip(sections[1::2], sections[2::2])
        titles = ("isolated by unshare-boot", "tried to reach out")
        told = {name: [title in text for title in titles] for name, text in each}
        assert told == {
            "ERROR at setup of test_fixture": [True, False],
            "test_route": [False, True],
            "test_loopback": [True, False],
            "test_wrapped": [True, False],
            "test_child": [True, False],
            "test_arithmetic": [False, False],
        }
        where = r"isolated from the network, by unshare = 'user,net' \(.*/pyproject\.toml\)"
        assert len(re.findall(where, done.stdout)) == 4
        assert re.search(r"^SKIPPED \[1\] .*: isolated by unshare = ", done.stdout, re.M)
        shared = run("-n2", "-k", "loopback or outside").stdout
        assert len(re.findall(where, shared)) == 1 and "1 failed, 1 skipped" in shared
        # Outside, they get there, or at least nobody speaks of isolation.
        plain = run("--no-unshare", "-k", "loopback or child or outside or arithmetic").stdout
        assert "1 failed, 3 passed" in plain and "isolated" not in plain
        outer = run("--no-unshare", "-k", "loopback", unshare="user,net").stdout
        assert "by PY_UNSHARE, set where pytest was started" in outer


def test_the_marker_has_the_name_that_one_gives_it(run: Run) -> None:
    ini = 'unshare = "user,net"\nunshare_network_marker = "internet"\naddopts = "--strict-markers"'
    done = run(ini=ini, test_it="import pytest\n@pytest.mark.internet\ndef test_it(): assert 0\n")
    assert "1 skipped" in done.ok()


def test_a_module_that_cannot_be_imported(run: Run) -> None:
    text = "import socket\nsocket.getaddrinfo('example.org', 80)\n"
    text += "socket.create_connection(('example.org', 80))\n"
    done = run("--unshare=user,net", test_it=text)
    assert done.status == 2 and "tried example.org:80" in done.stdout
    done = run("--unshare=user,net", test_it="import socket\nsocket.create_connection(('::1', 9))")
    assert "isolated from the network, by --unshare=user,net (command line)" in done.stdout
    done = run(unshare="user,net", test_it=text)
    assert "isolated from the network, by PY_UNSHARE" in done.stdout


OWN = """
import os, signal, socket, threading, warnings
import pytest, unshare_boot

@pytest.fixture(scope="module")
def shared():
    yield os.getpid()
    print("torn down", os.getpid() == PARENT, file=open("log", "a"))
    print("captured in the end")

PARENT = os.getpid()
WAIT, LIFE = os.pipe()

def leave_a_process():
    # It ends with pytest, and has everything open that the test's process has.
    if os.fork() == 0:
        os.close(LIFE)
        os.read(WAIT, 1)
        os._exit(0)

@pytest.fixture(scope="session")
def unasked(): pass

@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"), daemon=True).start()
        yield server.getsockname()

@pytest.mark.unshare("user,net,mount,overlay=.")
def test_introspection(shared, server, tmp_path, monkeypatch):
    assert unshare_boot.active() == ("user", "net", "mount")
    assert shared == PARENT != os.getpid()
    assert socket.create_connection(server).recv(9) == b"hello"
    monkeypatch.setenv("X", "1")
    open("scratch", "w").close()
    (tmp_path / "kept").touch()
    print("captured words")
    warnings.warn("careful")
    left = {"a": 1}
    assert left == {"a": 2}

@pytest.mark.unshare("user,pid")
def test_pid(capsys):
    assert os.getpid() == 2
    print("x")
    assert capsys.readouterr().out == "x\\n"

def test_outside(shared):
    assert unshare_boot.active() == () and "X" not in os.environ
    assert shared == os.getpid() and not os.path.exists("scratch")

@pytest.mark.unshare("user")
def test_crash():
    leave_a_process()
    os.write(1, b"last words")
    os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.unshare("user")
def test_dynamic(request): request.getfixturevalue("unasked")

@pytest.mark.unshare("user,nett")
def test_mistake(): pass

@pytest.mark.unshare("user", "net")
def test_arguments(): pass

@pytest.mark.unshare("net")
def test_refused(): pass

@pytest.mark.skip(reason="not today")
@pytest.mark.unshare("user")
def test_skipped(): pass

@pytest.mark.xfail(strict=True)
@pytest.mark.unshare("user")
def test_expected(): assert 0

@pytest.mark.unshare("user,net")
def test_network(): socket.create_connection(("192.0.2.1", 80))

@pytest.mark.unshare("user")
def test_left_behind(): leave_a_process()
"""


@pytest.mark.parametrize("options", [[], ["-n2"]], ids=["alone", "xdist"])
def test_namespaces_of_its_own(run: Run, workdir: Path, options: list[str]) -> None:
    done = run("-rA", *options, test_it=OWN)
    found = re.findall(r"^([A-Z]+) test_it\.py::(\w+)", done.stdout, re.M)
    assert {name: outcome for outcome, name in found} == {
        "test_introspection": "FAILED",
        "test_pid": "PASSED",
        "test_outside": "PASSED",
        "test_crash": "FAILED",
        "test_dynamic": "PASSED",
        "test_mistake": "ERROR",
        "test_arguments": "ERROR",
        "test_refused": "FAILED",
        "test_expected": "XFAIL",
        "test_network": "FAILED",
        "test_left_behind": "PASSED",
    }, done.stdout
    for words in (
        "assert {'a': 1} == {'a': 2}",
        "captured words",
        "UserWarning: careful",
        "was killed by SIGKILL before the test's end",
        "last words",
        "did you mean net?",
        "takes one list",
        "unshare(CLONE_NEWNET): Operation not permitted",
        "cure: add user to the list",
        "by @pytest.mark.unshare('user,net')",
        "1 skipped",
        "captured in the end",
    ):
        assert words in done.stdout, words
    told = (workdir / "log").read_text().splitlines()
    assert set(told) == {"torn down True"} and (options or len(told) == 1)


def test_coverage_of_a_test_that_leaves_nothing(run: Run, workdir: Path) -> None:
    (workdir / "module.py").write_text("def f(x):\n    if x:\n        return 1\n    return 2\n")
    text = """
import module, pytest
def test_one(): assert module.f(1) == 1
@pytest.mark.unshare("user,mount,overlay=.")
def test_two(): assert module.f(0) == 2
"""
    for options in ([], ["--cov-branch"], ["--unshare=user,net"]):
        done = run("--cov=module", "--cov-report=term", *options, test_it=text)
        assert re.search(r"^module.py .* 100%$", done.ok(), re.M), done.stdout
        assert [path.name for path in workdir.glob(".coverage*")] == [".coverage"]


SUBTESTS = """
import os, unittest
import pytest
mark = pytest.mark.unshare("user,net") if os.environ["MARKED"] else lambda test: test

class Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.shared = 1
    @mark
    def test_unit(self):
        for number in range(5):
            with self.subTest("numbers", number=number):
                if number == 4: self.skipTest("four")
                assert number % 2 == 0
    @mark
    def test_unit_and_itself(self):
        with self.subTest(case=lambda: 1): raise ValueError("sub")
        raise ValueError("itself")
    @mark
    def test_unit_good(self):
        with self.subTest(case=lambda: 1): assert self.shared

@pytest.fixture(scope="module")
def shared():
    yield
    print("torn down", file=open("log", "a"))

@mark
def test_fixture(subtests, shared):
    for number in range(4):
        with subtests.test(msg="number", number=number):
            if number == 3: pytest.skip("three")
            assert number % 2 == 0
@mark
def test_fixture_good(subtests):
    with subtests.test(case=lambda: 1): pass
@mark
def test_fixture_and_itself(subtests):
    with subtests.test(): assert 0, "sub"
    assert 0, "itself"

@pytest.fixture
def around(subtests):
    with subtests.test("before"): assert 0, "early"
    yield
    with subtests.test("after"): assert 0, "late"
@mark
def test_in_fixtures(around): pass
@pytest.fixture
def late(subtests):
    yield
    with subtests.test("after"): assert 0, "late"
@mark
def test_in_the_end(late): pass
@mark
def test_expected(subtests):
    with subtests.test(): pytest.xfail("known")
@mark
def test_exit(subtests):
    with subtests.test(): assert 0, "before the exit"
    pytest.exit("enough")
"""


def outcomes(done: Finished) -> tuple[int, str, list[str]]:
    """The status, the summary, and each failure in order."""
    *_, summary = done.stdout.splitlines()
    told = re.findall(r"^E +(?:\w+Error|assert)\b.*", done.stdout, re.M)
    return done.status, re.sub(r" in [\d.]+s.*", "", summary), told


@pytest.mark.parametrize("options", [[], ["-x"], ["--maxfail=3"], ["-v"]])
def test_subtests_count_as_they_do_without_the_marker(
    run_subtests: Run, workdir: Path, options: list[str]
) -> None:
    """Each that fails comes home, in order, and fails the run; none is told of twice."""
    found = []
    for marked in ("", "yes"):
        (workdir / "log").write_text("")
        done = run_subtests("-q", *options, ini="", test_it=SUBTESTS, env={"MARKED": marked})
        found.append((*outcomes(done), (workdir / "log").read_text()))
    assert found[0] == found[1]
    assert found[1][0] != 0 and len(found[1][2]) >= (1 if options[:1] == ["-x"] else 3)


def test_subtests_count_the_same_with_xdist(run_subtests: Run) -> None:
    """Whose workers send each report once."""
    arguments = ["-q", "-k", "not exit", "-W", "error"]
    found = [
        outcomes(run_subtests(*arguments, *more, ini="", test_it=SUBTESTS, env={"MARKED": "yes"}))
        for more in ([], ["-n1"])
    ]
    # What a test's own report becomes by its subtests (pytest 9), the workers do not tell.
    assert found[0][0] == found[1][0] == 1
    assert found[0][2] == found[1][2]


PYTESTER = """
import pytest, unshare_boot

def test_subprocess(pytester):
    pytester.makeini("[pytest]\\nunshare = user,net\\n")
    pytester.makepyfile('import unshare_boot; assert "net" in unshare_boot.active()\\n'
                        'def test_it(): pass')
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["unshare: user,net (no route out of this run)"])

def test_inline(pytester):
    pytester.makeini("[pytest]\\nunshare = user,net\\n")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_inprocess()
    if unshare_boot.active():
        result.assert_outcomes(passed=1)
    else:
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*pytest was called by a program*"])

def test_parseconfig(pytester):
    pytester.makeini("[pytest]\\nunshare = user,net\\n")
    if unshare_boot.active():
        pytester.parseconfig()
    else:
        with pytest.raises(pytest.UsageError, match="called by a program"):
            pytester.parseconfig()

def test_reports(pytester):
    pytester.makepyfile('''
        import pytest
        @pytest.fixture
        def broken():
            yield
            assert 0, "teardown"
        @pytest.mark.unshare("user")
        def test_it(broken): assert 0, "call"
        @pytest.mark.unshare("user")
        def test_exit(): pytest.exit("enough", returncode=7)
    ''')
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1, errors=1)
    assert result.ret == 7
    pytester.makepyfile(test_unit='''
        import unittest, pytest
        class Test(unittest.TestCase):
            @classmethod
            def setUpClass(cls): cls.shared = []
            @pytest.mark.unshare("user")
            def test_it(self): self.shared.append(1)
            @pytest.mark.unshare("user")
            def test_other(self): assert self.shared == []
    ''')
    pytester.runpytest_subprocess("test_unit.py").assert_outcomes(passed=2)
"""


def test_a_run_within_a_run(run: Run) -> None:
    assert "4 passed" in run("-p", "pytester", test_it=PYTESTER).ok()
    assert "4 passed" in run("-p", "pytester", "--unshare=user,net").ok()


def test_a_test_that_takes_too_long(run: Run) -> None:
    text = "import pytest, signal\n@pytest.mark.unshare('user')\ndef test_it(): signal.pause()\n"
    done = run("--timeout=1", "--timeout-method=signal", test_it=text)
    assert done.status == 1
    assert "Timeout" in done.stdout and "1 failed" in done.stdout


def test_nothing_is_loaded_for_nothing(run: Run) -> None:
    text = """
import sys
def test_it():
    loaded = {name for name in sys.modules if name.startswith("unshare_boot")}
    plugin = {"unshare_boot.pytest_plugin", "unshare_boot.pytest_plugin.names"}
    assert loaded == {"unshare_boot", *plugin}
"""
    assert "1 passed" in run(test_it=text).ok()


def test_help_needs_no_namespaces(run: Run) -> None:
    done = run("--help", ini='unshare = "net"')
    assert "--no-unshare" in done.ok()


def test_the_debugger(run: Run, tested: Python, workdir: Path) -> None:
    """In a terminal, in a run that was started over and in a child of its own."""
    own = """
import pytest
@pytest.mark.unshare("user,pid")
def test_own():
    value = 43
    assert value == 42
"""
    text = ISOLATED + "    value = 41\n    assert value == 42\n"
    run("--collect-only", test_it=text, test_own=own)
    user = tested.user

    def become_user() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)

    options = ["-m", "pytest", "-p", "no:cacheprovider", "--pdb", "--unshare=user,net"]
    for name, value in (("test_it.py", 41), ("test_own.py", 43)):
        child = pexpect.spawn(
            str(tested.executable),
            [*options, name],
            cwd=str(workdir),
            env={"PATH": os.environ["PATH"], "HOME": str(user.home), "USER": "tester"},
            encoding="utf-8",
            timeout=30,
            preexec_fn=become_user,
        )
        child.expect(r"\(Pdb\) ")
        child.sendline("print('it is', value)")
        child.expect(f"it is {value}")
        child.expect(r"\(Pdb\) ")
        child.sendline("c")
        child.expect("1 failed")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 1


def test_a_debugger_on_the_network_is_not_lost(run: Run, workdir: Path) -> None:
    (workdir / "pydevd.py").write_text("")
    done = run("-p", "pydevd", "--unshare=user,net", test_it=ISOLATED)
    assert done.status == 4 and "a debugger is attached by network" in done.stderr


def test_reports_come_home_where_sigchld_is_ignored(run: Run) -> None:
    """The kernel reaps then, and there is no status: waitpid(2)."""
    done = run(
        "-v",
        ini="",
        conftest="import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        test_it="""
import os, pytest
@pytest.mark.unshare("user")
def test_good(): pass
@pytest.mark.unshare("user")
def test_bad(): assert 1 == 2
@pytest.mark.unshare("user")
def test_crash(): os._exit(0)
""",
    )
    assert done.status == 1
    assert "1 == 2" in done.stdout and "::test_good PASSED" in done.stdout
    assert "the process that ran this test ended before the test's end" in done.stdout
    assert "2 failed, 1 passed" in done.stdout


@pytest.mark.sampled(3)
@pytest.mark.parametrize("options", [[], ["-n2"]])
@pytest.mark.parametrize("taken", [False, True])
def test_where_temporary_files_lie(
    run: Run, workdir: Path, options: list[str], taken: bool
) -> None:
    """Not where those of real root do, nor where somebody else might have made the directory."""
    test = "def test(tmp_path): open('where', 'w').write(str(tmp_path))"
    env = {"PYTEST_DEBUG_TEMPROOT": "", "TMPDIR": str(workdir)}
    if taken:
        (workdir / f"pytest-of-uid-{workdir.stat().st_uid}").mkdir(mode=0o755)
    done = run("--unshare=user,net", *options, test_it=test, env=env)
    assert done.status == 0, done.stdout
    where = Path((workdir / "where").read_text())
    top = workdir / where.relative_to(workdir).parts[0]
    assert top.name.startswith(f"pytest-of-uid-{workdir.stat().st_uid}")
    assert (top.stat().st_uid, top.stat().st_mode & 0o777) == (workdir.stat().st_uid, 0o700)
    assert not (workdir / "pytest-of-root").exists()
    plain = run("--unshare=user=current,net", *options, test_it=test, env=env)
    assert plain.status == 0
    assert "pytest-of-uid" not in (workdir / "where").read_text()


def test_a_hint_where_uid_0_is_the_reason(run: Run) -> None:
    text = """
import errno, os, subprocess, pytest
WORDS = [
    "initdb: error: cannot be run as root",
    '"root" execution of the PostgreSQL server is not permitted.',
    "[ERROR] Fatal error: Please consult the manual to find out how to run mysqld as root!",
    "can't run as root without the -u switch",
    "Running as root without --no-sandbox is not supported. See https://crbug.com/638180.",
]
@pytest.mark.parametrize("words", WORDS)
def test_root(words):
    print(words)
    assert 0
def test_raised(): raise RuntimeError("this program should not be run as root")
def test_overlay(): raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
def test_other(): raise RuntimeError("the root of the tree is not a run")
"""
    hint, of_overlay = "user=current keeps your own uid", "EOVERFLOW in an overlay"
    inside = run("--unshare=user,mount", test_it=text)
    assert (inside.stdout.count(hint), inside.stdout.count(of_overlay)) == (6, 1), inside.stdout
    for more in (["--unshare=user=current,uts"], []):
        outside = run(*more, test_it=text)
        assert outside.status == 1 and hint not in outside.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--junitxml=x.xml"], "--junitxml writes x.xml, which lies below overlay=."),
        (["--junitxml={tmp}/x.xml"], ""),
        (["--cov=.", "--cov-report=xml"], "--cov-report=xml writes coverage.xml"),
        (["--cov=.", "--cov-report=xml:{tmp}/c.xml", "--cov-report=term"], ""),
        (["--unshare-record=tried.json"], "--unshare-record writes tried.json"),
    ],
)
def test_reports_are_not_lost_in_an_overlay(
    run: Run, tested: Python, options: list[str], words: str
) -> None:
    filled = [option.format(tmp=tested.user.home) for option in options]
    done = run("--unshare=user=current,net,overlay=.", *filled, test_it="def test(): pass")
    if words:
        assert done.status == 4 and words in done.stderr
    else:
        assert "1 passed" in done.ok()
        assert (tested.user.home / ("x.xml" if len(options) == 1 else "c.xml")).exists()


def test_reports_are_not_lost_where_rw_keeps_them(run: Run, tested: Python) -> None:
    """Below a tmpfs; what is beside that directory would be gone."""
    options = ["--unshare=user=current,tmpfs=..,rw=.", "--junitxml=x.xml"]
    assert "1 passed" in run(*options, test_it="def test(): pass").ok()
    done = run(*options[:1], "--junitxml=../x.xml", test_it="def test(): pass")
    assert done.status == 4 and "lies below tmpfs=.." in done.stderr
