"""@pytest.mark.unshare with the plugins people have: in this process, in a child, or refused."""

from __future__ import annotations

import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest

from harness import Finished, Session, until
from harness.pytest_runs import NEWEST, Run, runner, with_packages

OLD = ["pytest-rerunfailures", "pytest-timeout", "pytest-dependency", "pytest-cov", "pytest-xdist"]
NEW = [*OLD, "pytest-asyncio", "anyio", "pytest-django", "django", "pytest-randomly"]
VERSIONS = {
    "7.0": ["pytest==7.0.1", *OLD],
    "7.4": ["pytest==7.4.4", *OLD],
    "8.0": ["pytest==8.0.2", *OLD],
    "8.4": ["pytest==8.4.*", *OLD],
    "newest": [*NEWEST, "pytest-benchmark", *NEW],
}
QUIET = ["-p", "no:randomly", "-p", "no:django", "-W", "ignore::pytest.PytestConfigWarning"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All those versions of pytest with all interpreters, else the newest."""
    if "version" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-pythons")
        versions = ["7.0", "8.4", "newest"] if every else ["newest"]
        if every and metafunc.function.__name__ == "test_in_a_child":  # unittest's differ most
            versions = [*VERSIONS]
        metafunc.parametrize("version", versions, scope="session")


@pytest.fixture
def versions(version: str, workdir: Path, session: Session) -> Run:
    """Of the oldest Python that has them."""
    return _with(version, workdir, session)


@pytest.fixture
def newest_pytest(workdir: Path, session: Session) -> Run:
    """The newest pytest, with all the plugins."""
    return _with("newest", workdir, session)


def _with(version: str, workdir: Path, session: Session) -> Run:
    which = "newest" if version == "newest" else "oldest"
    tested = with_packages(session, which, f"marker-{version}", VERSIONS[version])
    return runner(tested, workdir, session)


def told(done: Finished) -> dict[str, str]:
    """What ``-v`` says of each test, without the percentage; the last word counts."""
    found = re.findall(r"^\S+\.py::(\S+) (.*?) +\[ *\d+%\]$", done.stdout, re.M)
    assert found, done.stdout + done.stderr
    return dict(found)


# In this process.

INSIDE = """
import os, socket, subprocess, sys, threading
import pytest, unshare_boot

PID = os.getpid()
CODE = "import os; print(os.readlink('/proc/self/ns/net'))"

def namespaces():
    directory = "/proc/thread-self/ns"
    return {name: os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}

@pytest.fixture(scope="session")
def run(): return namespaces()
@pytest.fixture(scope="module")
def wide(run):
    assert namespaces() == run
    yield
    assert namespaces() == run
@pytest.fixture(scope="module", params=[1, 2])
def many(request, run):
    assert namespaces() == run
    yield request.param
    assert namespaces() == run
@pytest.fixture(scope="session")
def late(run):
    assert namespaces() == run and not os.path.exists("scratch")
    yield
    assert namespaces() == run
@pytest.fixture
def own(run):
    assert namespaces() != run
    yield
    assert namespaces() != run

@pytest.mark.unshare("net")
def test_net(wide, own, many, run, request):
    here = namespaces()
    assert os.getpid() == PID
    assert {name for name in here if here[name] != run[name]} == {"net"}
    request.getfixturevalue("late")
    assert namespaces() == here
    with socket.create_server(("127.0.0.1", 8080)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello"))
        thread.start()
        assert socket.create_connection(("127.0.0.1", 8080)).recv(9) == b"hello"
        thread.join()
    printed = subprocess.check_output([sys.executable, "-c", CODE], text=True)
    assert printed.strip() == here["net"]

@pytest.mark.unshare("net,mount,overlay=.")
def test_files(wide, own, run, request):
    assert os.getpid() == PID and unshare_boot.active() == ("user", "net", "mount")
    open("scratch", "w").close()
    request.getfixturevalue("late")
    assert os.path.exists("scratch")
    os.chdir("/tmp")
    request.getfixturevalue("late")
    assert os.getcwd() == "/tmp"

@pytest.mark.unshare("uts=x,ipc")
class TestNames:
    def test_method(self, run):
        assert os.getpid() == PID and os.uname().nodename == "x"
        assert unshare_boot.active() == ("user", "net", "mount", "uts", "ipc")
    def test_other(self): assert os.uname().nodename == "x"

def test_after(run):
    assert namespaces() == run and os.uname().nodename != "x"
    assert not os.path.exists("scratch") and os.getcwd() == os.path.dirname(__file__)
    assert unshare_boot.active() == ("user", "net", "mount")

@pytest.mark.unshare("net,user")
def test_user(): assert os.getpid() != PID
@pytest.mark.unshare("pid")
def test_pid(): assert os.getpid() == 2
@pytest.mark.unshare("mount,bind=/nowhere:/mnt")
def test_refused(own): pass
@pytest.mark.unshare("net,mount,tmpfs=/mnt")
def test_hidden(): assert not os.listdir("/mnt")
@pytest.mark.unshare("net")
def test_network(): socket.create_connection(("192.0.2.1", 80))
def test_end(run): assert namespaces() == run
"""


@pytest.mark.parametrize("more", [[], ["-n1"]], ids=["alone", "xdist"])
def test_in_the_process_itself(versions: Run, more: list[str]) -> None:
    ini = 'unshare = "user=current,net,mount"'
    done = versions("-v", *QUIET, *more, ini=ini, test_it=INSIDE)
    here, child = "PASSED in this process", "PASSED in a child"
    if more:
        lines = re.findall(r"^\[gw0\] \[ *\d+%\] (.*?) test_it\.py::(\S+) *$", done.stdout, re.M)
        found = {name: word for word, name in lines}
    else:
        found = told(done)
    assert found == {
        "test_net[1]": here,
        "test_net[2]": here,
        "test_files": here,
        "TestNames::test_method": here,
        "TestNames::test_other": here,
        "test_after": "PASSED",
        "test_user": child,
        "test_pid": child,
        "test_refused": "ERROR",
        "test_hidden": here,
        "test_network": "FAILED in this process",
        "test_end": "PASSED",
    }, done.stdout
    assert "bind='/nowhere:/mnt': stat" in done.stdout
    assert "isolated by unshare-boot" in done.stdout
    assert re.search(r"^FAILED test_it.py::test_network", done.stdout, re.M)


def test_a_section_for_a_run_that_is_not_closed(newest_pytest: Run) -> None:
    """Where the run has a network, and the test has none of its own in this process."""
    text = """
import os, pytest, socket
PID = os.getpid()
@pytest.mark.unshare("net")
def test_network():
    assert os.getpid() == PID
    socket.create_connection(("192.0.2.1", 80))
"""
    done = newest_pytest(*QUIET, test_it=text, unshare="user,uts,net=gate,allow=192.0.2.1:80")
    assert "by @pytest.mark.unshare('net')" in done.stdout and done.status == 1


# In a child, with the plugins that people have.

CHILD = """
import os, unittest
import pytest

def count(name):
    with open(name, "a") as file: file.write("x")
    return os.path.getsize(name)

@pytest.mark.flaky(reruns=2)
@pytest.mark.unshare("user")
def test_flaky(): assert count("flaky") > 2
@pytest.mark.flaky(reruns=2, only_rerun="KeyError")
@pytest.mark.unshare("user")
def test_only():
    count("only")
    raise ValueError(1)
@pytest.mark.unshare("net")
def test_refused(): pass
@pytest.mark.unshare("user")
def test_death(): os._exit(3)

@pytest.mark.unshare("user")
class TestUnit(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.shared = 1
    def setUp(self): self.process = os.getpid()
    def tearDown(self): assert self.process == os.getpid()
    def test_good(self): assert self.shared == 1
    def test_skipped(self): self.skipTest("not today")
    @unittest.expectedFailure
    def test_expected(self): assert 0

@pytest.fixture(autouse=True, scope="class")
def of_class():
    yield os.getpid()
@pytest.mark.unshare("user")
def test_function(of_class): assert of_class == os.getpid()
@pytest.mark.unshare("user")
class TestClass:
    def test_method(self, of_class): assert of_class != os.getpid()

@pytest.mark.dependency()
@pytest.mark.unshare("user")
def test_first(): pass
@pytest.mark.dependency(depends=["test_first"])
@pytest.mark.unshare("user")
def test_second(): pass
@pytest.mark.dependency(depends=["test_refused"])
@pytest.mark.unshare("user")
def test_never(): pass

@pytest.mark.xfail(strict=True)
@pytest.mark.unshare("user")
def test_too_good(): pass
@pytest.mark.xfail(run=False)
@pytest.mark.unshare("user")
def test_not_run(): os._exit(0)
@pytest.mark.unshare("user")
def test_marked_late(request):
    request.node.add_marker(pytest.mark.xfail)
    assert 0
@pytest.mark.unshare("user")
def test_asks_in_the_end(asks): pass
@pytest.fixture
def asks(request):
    yield Asks()
    request.getfixturevalue("tmp_path_factory")

class Asks:
    def screenshot(self): return self
    def save(self, name): open(name, "w").close()

@pytest.fixture
def bad_end():
    yield
    assert 0, "own"
@pytest.mark.unshare("user")
def test_bad_end(bad_end): pass
@pytest.fixture(scope="module")
def bad_wide_end():
    yield
    assert 0, "wide"
@pytest.mark.unshare("user")
def test_bad_wide_end(bad_wide_end): pass
"""

HOOKS = """
import os, pytest
PID = os.getpid()
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.sections.append(("of a hook", "once"))
    if os.getpid() == PID and report.when == "call":
        with open("heard", "a") as file: print(item.name, report.outcome, call.excinfo, file=file)
    if "asks" in item.fixturenames: item.funcargs["asks"].screenshot().save(item.name)
"""


def test_in_a_child(versions: Run, workdir: Path, version: str) -> None:
    arguments = ["-v", "-W", "error", *QUIET, "-p", "no:asyncio"]
    done = versions(*arguments, ini="", conftest=HOOKS, test_it=CHILD)
    found = {name: re.sub(r" \(.*", "", word) for name, word in told(done).items()}
    passed, failed = "PASSED in a child", "FAILED in a child"
    expected = {
        "test_flaky": passed,
        "test_only": failed,
        "test_refused": failed,
        "test_death": failed,
        "TestUnit::test_good": passed,
        "TestUnit::test_skipped": "SKIPPED in a child",
        "TestUnit::test_expected": "XFAIL in a child",
        "test_function": passed,
        "TestClass::test_method": passed,
        "test_first": passed,
        "test_second": passed,
        "test_never": "SKIPPED",
        "test_too_good": failed,
        "test_not_run": "XFAIL",
        "test_marked_late": "XFAIL in a child",
        "test_asks_in_the_end": passed,
        "test_bad_end": "ERROR in a child",
        "test_bad_wide_end": "ERROR",
    }
    if not re.search(r"pytest-[78]\.", done.stdout):  # deprecated in the end, marker or not
        expected["test_asks_in_the_end"] = "ERROR in a child"
    assert found == expected, done.stdout
    assert (workdir / "flaky").read_text() == "xxx" and (workdir / "only").read_text() == "x"
    assert (workdir / "test_asks_in_the_end").exists()
    heard = (workdir / "heard").read_text()
    assert re.search(r"^test_only failed <ExceptionInfo ValueError\(", heard, re.M), heard
    assert "test_second passed None" in heard and "test_refused failed" in heard
    for count in re.findall(r"(?:^-+ of a hook -+$\n^once$\n)+", done.stdout, re.M):
        assert count.count("of a hook") <= 3  # one of each phase


def test_the_child_ends_with_pytest(newest_pytest: Run, workdir: Path, session: Session) -> None:
    text = """
import os, pytest, time
@pytest.mark.unshare("LIST")
def test_it():
    with open("started", "w") as file: file.write(os.readlink("/proc/self/ns/user"))
    time.sleep(1000)
"""
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
    for what in ("user", "user,pid"):
        for number in numbers if what == "user" else numbers[:1]:
            (workdir / "started").unlink(missing_ok=True)
            code = KILLER.format(number=int(number))
            done = newest_pytest("-c", code, own=True, test_it=text.replace("LIST", what))
            assert done.ok() == ""
            inside = (workdir / "started").read_text()
            until(partial(_is_left, inside), "its processes to end")


KILLER = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup(1) has it ignored
command = [sys.executable, "-m", "pytest", "-q", "test_it.py"]
child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
while not (os.path.exists("started") and os.path.getsize("started")):
    time.sleep(0.02)
child.send_signal({number})
child.wait()
"""


def _is_left(namespace: str) -> bool:
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                if os.readlink(f"/proc/{entry}/ns/user") == namespace:
                    return False
            except OSError:  # it has ended, or is somebody else's
                continue
    return True


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timeout=1", "--timeout-method=signal"], "Timeout (>1.0s)"),
        (["--timeout=1", "--timeout-method=thread"], "exited with status 1"),
        (["-o", "faulthandler_timeout=1"], "2 passed"),
    ],
)
def test_a_timeout_shows_the_line_that_hangs(
    newest_pytest: Run, options: list[str], words: str
) -> None:
    text = """
import pytest, time
@pytest.mark.unshare("user,pid")
def test_it():
    time.sleep(4)  # the line
def test_after(): pass
"""
    done = newest_pytest(*QUIET, *options, test_it=text)
    printed = done.stdout + done.stderr
    assert words in printed and "_receive" not in printed
    assert 'test_it.py", line 5' in printed or "test_it.py:5" in printed, printed


def test_async_tests_and_their_fixtures(newest_pytest: Run) -> None:
    text = """
import asyncio, os, pytest, pytest_asyncio
@pytest_asyncio.fixture
async def own():
    await asyncio.sleep(0)
    yield os.getpid()
@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def shared():
    await asyncio.sleep(0)
    yield os.getpid()
@pytest.mark.unshare("user,net")
async def test_own(own):
    assert own == os.getpid()
    await asyncio.sleep(0)
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.unshare("user,net")
async def test_shared(shared): await asyncio.sleep(0)
@pytest.mark.anyio
@pytest.mark.unshare("user,net")
async def test_anyio(anyio_backend_name): assert anyio_backend_name == "asyncio"
@pytest.mark.unshare("user,net")
async def test_bad(): assert 0, "as it should"
async def test_plain(own): pass
@pytest.mark.unshare("uts")
async def test_here(own):
    assert own == os.getpid()
    await asyncio.sleep(0)
"""
    conftest = "import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"
    auto = 'asyncio_mode = "auto"\nasyncio_default_fixture_loop_scope = "function"'
    for ini in (auto, f'{auto}\nunshare = "user,uts"'):
        done = newest_pytest(
            "-v", "-W", "error", *QUIET[:4], ini=ini, conftest=conftest, test_it=text
        )
        words = {name: word.split()[0] for name, word in told(done).items()}
        expected = dict.fromkeys(words, "PASSED")
        if "unshare" not in ini:
            expected["test_here"] = "FAILED"  # an ordinary user may not
        assert words == {**expected, "test_bad": "FAILED"}, done.stdout
        assert "as it should" in done.stdout


def test_what_is_measured_comes_home(newest_pytest: Run, workdir: Path) -> None:
    (workdir / "module.py").write_text("def f(x):\n    if x:\n        return 1\n    return 2\n")
    text = """
import module, pytest
@pytest.mark.unshare("user")
def test_one(): module.f(1)
@pytest.mark.unshare("user")
def test_two(benchmark): benchmark(module.f, 0)
"""
    options = ["--cov=module", "--cov-context=test", "--cov-branch", "--benchmark-max-time=0.01"]
    done = newest_pytest(*QUIET, *options, test_it=text)
    assert re.search(r"^test_two +\d", done.ok(), re.M), done.stdout
    code = "import coverage; d = coverage.CoverageData(); d.read(); print(d.measured_contexts())"
    printed = newest_pytest("-c", code, own=True).ok()
    assert "test_it.py::test_one|run" in printed and "test_it.py::test_two|run" in printed


EVERYTHING = """
import asyncio, os, random, unittest
import pytest
mark = pytest.mark.unshare(os.environ["LIST"]) if os.environ["LIST"] else lambda test: test

@pytest.fixture(scope="module")
def shared(): return [1]
@mark
def test_plain(tmp_path, shared): (tmp_path / "x").touch()
@mark
@pytest.mark.parametrize("n", range(4))
def test_many(n, shared): assert n % 2 == 0
@mark
def test_subtests(subtests):
    for n in range(3):
        with subtests.test(n=n): assert n != 1
@mark
@pytest.mark.asyncio
async def test_async(): await asyncio.sleep(0)
@mark
@pytest.mark.flaky(reruns=1)
def test_flaky(): assert 0
@mark
@pytest.mark.timeout(1)
def test_slow():
    import time
    time.sleep(3)
@mark
@pytest.mark.django_db
def test_django():
    from django.contrib.auth.models import User
    User.objects.create(username="x")
    assert User.objects.count() == 1
@mark
class TestUnit(unittest.TestCase):
    def test_unit(self):
        for n in range(3):
            with self.subTest(n=n): assert n != 1
    @unittest.skip("not today")
    def test_skipped(self): pass
@mark
@pytest.mark.xfail
def test_expected(): assert random.random() > 1
"""

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
"""


@pytest.mark.sampled(2)
@pytest.mark.parametrize("more", [["-n2"], []], ids=["xdist", "alone"])
def test_with_all_plugins_as_without_the_marker(
    newest_pytest: Run, workdir: Path, more: list[str]
) -> None:
    (workdir / "settings.py").write_text(SETTINGS)
    options = ["--ds=settings", "--cov=settings", "-p", "randomly", "-p", "no:benchmark", "-rA"]
    found = []
    for what, run in (("", ""), ("user,net", ""), ("net,uts", 'unshare = "user=current,net,uts"')):
        env = {"LIST": what, "PYTHONPATH": str(workdir)}
        done = newest_pytest(*options, *more, ini=run, test_it=EVERYTHING, env=env)
        words = re.findall(r"^([A-Z]+)\S* (?:\(.*?\) )?test_it\.py::(\S+)", done.stdout, re.M)
        assert len(words) > 10, done.stdout + done.stderr
        found.append((done.status, sorted(words)))
    assert found[0] == found[1] == found[2]


def test_items_of_every_kind(versions: Run, workdir: Path, version: str) -> None:
    """Doctests and other plugins' items, with the marker of their module, or a method of theirs."""
    conftest = """
import os, pytest
class Item(pytest.Item):
    def runtest(self): assert (os.getpid() != PID) == self.inside
    inside = True
class File(pytest.File):
    def collect(self):
        item = Item.from_parent(self, name="whole")
        item.add_marker(pytest.mark.unshare("user"))
        yield item
PID = os.getpid()
def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".check": return File.from_parent(parent, path=file_path)
def pytest_collection_modifyitems(items):
    for item in items:
        if "patched" in item.name:
            own = item.runtest
            item.runtest = lambda: (own(), open("patched", "w").close())
"""
    text = """
import os, pytest
pytestmark = pytest.mark.unshare("user")
def function():
    '''
    >>> import unshare_boot; unshare_boot.active()
    ('user',)
    >>> 1 + 1
    2
    '''
def test_patched(): pass
def test_again(): assert os.path.exists("patched")
"""
    options = ["-v", "-p", "no:faulthandler", *QUIET]
    with_marks = version[:1] != "7"  # a doctest has those of its module from pytest 8 on
    options += ["--doctest-modules"] if with_marks else []
    (workdir / "it.check").touch()
    done = versions(*options, "it.check", "test_it.py", conftest=conftest, test_it=text)
    assert set(told(done).values()) == {"PASSED in a child"}
    assert f"{3 + with_marks} passed" in done.ok()


# pytest-xdist's workers.

PORTS = """
import os, socket, time
import pytest, unshare_boot

@pytest.mark.parametrize("number", range(6))
def test_port(number):
    with socket.create_server(("127.0.0.1", 8080)): time.sleep(0.3)

def test_no_child_has_what_a_worker_has():
    import subprocess
    done = subprocess.run(["grep", "-q", "^CapEff:.0*$", "/proc/self/status"])
    assert done.returncode == 0 or os.getuid() == 0
"""


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("run", "workers"), [("", "user,net"), ("user=current,net", "net"), ("user,net", "net,ipc")]
)
def test_workers_with_namespaces_of_their_own(newest_pytest: Run, run: str, workers: str) -> None:
    ini = f'unshare = "{run}"\nunshare_workers = "{workers}"'
    # The workers of pytest-rerunfailures connect to the main process before anything else.
    more = ["-p", "no:rerunfailures"] if workers.startswith("user") else []
    done = newest_pytest(*QUIET, *more, "-n3", "--dist=each", ini=ini, test_it=PORTS)
    assert "21 passed" in done.ok(), done.stdout


def test_workers_that_cannot_have_them(newest_pytest: Run) -> None:
    done = newest_pytest(*QUIET, "-n2", ini='unshare_workers = "net"', test_it=PORTS)
    assert done.status == 4 and "cure: add user to the list" in done.stderr
    assert newest_pytest(*QUIET, ini='unshare_workers = "net"', test_it=PORTS).status == 0


def test_alternatives(newest_pytest: Run) -> None:
    text = """
import os, pytest, socket, unshare_boot
@pytest.mark.unshare("net | user,net")
def test_second(): assert unshare_boot.active() == ("user", "net")
@pytest.mark.unshare("net|uts|off")
def test_last(): assert unshare_boot.active() == ()
@pytest.mark.unshare("net|sockets=unix")
def test_sockets():
    with pytest.raises(OSError): socket.socket()
@pytest.mark.unshare("net|uts")
def test_none(): pass
@pytest.mark.unshare("net|nett")
def test_mistake(): pass
"""
    done = newest_pytest("-v", *QUIET, test_it=text)
    assert told(done) == {
        "test_second": "PASSED in a child",
        "test_last": "PASSED",
        "test_sockets": "PASSED in a child",
        "test_none": "ERROR",
        "test_mistake": "ERROR",
    }, done.stdout
    assert "CLONE_NEWNET" in done.stdout and "CLONE_NEWUTS" in done.stdout
