"""The fixtures of tests/ and proof/; harness/__init__.py shows how a test looks."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest

from harness import Python, Session, User, require_root, require_tool
from harness.internet import Site, internet
from harness.interpreters import Unusable
from harness.require import NEEDS_ROOT
from harness.session import Variant, default, variants
from harness.watch import Watch

MOST_REASONS = 4  # in the line that says what was skipped

# Fixtures whose tests take seconds each: the newest interpreter, with --all-pythons the oldest too.
COSTLY = {"tested", "doctor"}

NO_CASE = SimpleNamespace(params={})  # what a test without parameters has for pytest's CallSpec2

SESSION = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-pythons",
        action="store_true",
        help="test every interpreter that is found, with both wheels where both work, and every "
        "case of each test; without it the one that runs the suite, with the wheel that pip "
        "installs, and of tests marked `sampled(N)` one case in N",
    )
    parser.addoption(
        "--sampled",
        action="store_true",
        help="with --all-pythons: nevertheless one case in N of what is marked so, and every other "
        "one with the interpreters between the oldest and the newest",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sampled(N): by default one case in N; see --all-pythons")
    # A shell's background jobs ignore these, and so would all that is started here.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            mine = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, mine)
    # A worker of pytest-xdist is told by the process that started it; all others begin themselves.
    told = getattr(config, "workerinput", {}).get("unshare_boot_session")
    try:
        config.stash[SESSION] = pickle.loads(told) if told else _start(config)
    except Unusable as error:
        raise pytest.UsageError(str(error)) from error


def _start(config: pytest.Config) -> Session:
    return Session.start(every=config.getoption("--all-pythons"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["unshare_boot_session"] = pickle.dumps(node.config.stash[SESSION])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three workers on two processors: tests wait for processes for a part of their time."""
    return len(os.sched_getaffinity(0)) * 3 // 2 or 1


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and SESSION in config.stash:
        config.stash[SESSION].end()


def pytest_report_header(config: pytest.Config) -> list[str]:
    session = config.stash[SESSION]
    found = [f"{each.name} ({each.executable})" for each in session.found]
    return [f"processes under test: uid {session.user.uid}, {', '.join(found)}"]


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.collectonly or hasattr(session.config, "workerinput"):
        return
    refusal = session.config.stash[SESSION].refusal()
    if refusal:
        pytest.exit(
            "nothing can be tested here, since the kernel gives an ordinary user no user and "
            f"network namespace ({refusal}): see kernel.apparmor_restrict_unprivileged_userns, "
            "kernel.unprivileged_userns_clone, user.max_user_namespaces, and the container's "
            "seccomp profile",
            returncode=1,
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all that was skipped, and how to run it."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports]
    counts = Counter(reasons)
    root = counts.pop(NEEDS_ROOT, 0)
    said = [f"{root} need root: sudo {sys.executable} -m pytest"] if root else []
    said += [f"{count} {reason}" for reason, count in counts.most_common(MOST_REASONS)]
    other = len(reasons) - root - sum(count for _, count in counts.most_common(MOST_REASONS))
    said += [f"{other} for other reasons: -rs shows them"] if other else []
    if said:
        terminalreporter.line(f"skipped: {'; '.join(said)}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    found = metafunc.config.stash[SESSION].found
    every = metafunc.config.getoption("--all-pythons")
    for name in COSTLY & {*metafunc.fixturenames}:
        which = ["oldest", "newest"] if every else ["newest"]
        metafunc.parametrize(name, which, indirect=True, scope="session")
    if "python" in metafunc.fixturenames:
        each = variants(found) if every else default(found)
        names = [variant.name for variant in each]
        metafunc.parametrize("python", each, ids=names, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is the same test once more, and by default what is not sampled."""
    sampled = config.getoption("--sampled") or not config.getoption("--all-pythons")
    found = config.stash[SESSION].found
    ends = {each.version for each in (found[:1] + found[-1:])}
    alone = len(found) == 1  # the oldest interpreter and the newest one
    cases: Counter[tuple[str, bool]] = Counter()
    left_out = []
    for item in items:
        given = getattr(item, "callspec", NO_CASE).params
        if alone and "oldest" in given.values():
            left_out.append(item)
            continue
        mark = item.get_closest_marker("sampled")
        step = mark.args[0] if mark else 1
        variant = given.get("python")
        middle = isinstance(variant, Variant) and variant.interpreter.version not in ends
        test = item.nodeid.partition("[")[0], middle
        number = cases[test] + (crc32(test[0].encode()) if middle else 0)  # each with some of them
        if sampled and number % (max(2, step) if middle else step):
            left_out.append(item)
        cases[test] += 1
    items[:] = [item for item in items if item not in {*left_out}]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config) -> Session:
    """The wheels and environments of this run."""
    return pytestconfig.stash[SESSION]


@pytest.fixture(scope="session")
def python(request: pytest.FixtureRequest, session: Session) -> Python:
    """Every interpreter found, one after the other."""
    variant: Variant = request.param
    return session.python(variant)


@pytest.fixture(scope="session")
def newest(session: Session) -> Python:
    """The newest interpreter found."""
    return session.python(default(session.found)[-1])


@pytest.fixture(scope="session")
def oldest(session: Session) -> Python:
    """The oldest interpreter found."""
    return session.python(default(session.found)[0])


@pytest.fixture(params=["oldest", "newest"])
def either(request: pytest.FixtureRequest) -> Python:
    """The oldest and the newest interpreter found, one after the other."""
    python: Python = request.getfixturevalue(request.param)
    return python


@pytest.fixture
def fresh_python(python: Python, session: Session, workdir: Path) -> Python:
    """Like `python`, in an environment of the test's own, which it may break."""
    return session.fresh(session.variant(python), workdir / "venv")


@pytest.fixture(scope="session")
def user(session: Session) -> User:
    """The ordinary user, to run other programs as."""
    return session.user


@pytest.fixture
def workdir(session: Session) -> Path:
    """An empty directory that the ordinary user owns and everybody can enter."""
    return session.make_workdir()


@pytest.fixture(scope="module")
def site(session: Session) -> Iterator[Site]:
    """A place with a way out to a server that is far away, in namespaces of the test's own."""
    require_root()
    for tool in ("ip", "nsenter", "unshare", "setpriv", "mount"):
        require_tool(tool)
    with internet(session.make_workdir()) as made:
        yield made


@pytest.fixture
def watch(session: Session) -> Iterator[Watch]:
    """Tells what the test's processes have left, which must be nothing."""
    found = Watch(session.directory)
    yield found
    left = found.left()
    assert not left, "\n".join(left)
