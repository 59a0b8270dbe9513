"""CPython's own regression tests: isolated and not, the same outcomes.

docs/cpython-tests.md lists the differences and the reason of each, and this reads it from there: a
difference that is not on the page fails, and so does a line of the page that is none any more.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from errno import ENETUNREACH

import pytest

from harness import Interpreter, Session, namespaces
from harness.plugin import SESSION
from harness.session import PROJECT
from proof import cpython
from proof.conftest import Tally, Watch
from proof.cpython import Result, Row

LISTS = ("user=current,net", "user,net,mount", "user,pid")
ATTEMPTS = 3  # at tests whose outcomes differ, before they count

# Those that have to do with processes, signals, terminals, sockets, files, users, the start of an
# interpreter; in the order of their time, so that no worker waits for another one at the end.
NAMES = """
test_multiprocessing_spawn test_multiprocessing_forkserver test_multiprocessing_fork test_asyncio
test_concurrent_futures test_regrtest test_compileall test_venv test_interpreters test_socket
test_ssl test_zipimport test_pathlib test_subprocess test_io test_threading test_signal test_pdb
test_multiprocessing_main_handling test_selectors test_logging test_os test_faulthandler
test_tarfile test_unittest test_ftplib test_imaplib test_cmd_line test_cmd_line_script test_ctypes
test_mailbox test_poplib test_support test_audit test_builtin test_import test_sys test_fork1
test_c_locale_coercion test_threadsignals test_wait3 test_wait4 test_httpservers test_shutil
test_urllib2_localnet test_tracemalloc test_asyncore test_asynchat test_tempfile test_utf8_mode
test_urllib test_urllib2 test_warnings test_file_eintr test_glob test_runpy test_perf_profiler
test_profiling test_remote_pdb test_httplib test_readline test_fcntl test_smtplib test_smtpd
test_nntplib test_telnetlib test_thread test_time test_site test_select test_py_compile test_poll
test_posix test_curses test_threading_local test_xmlrpc test_docxmlrpc test_script_helper
test_wsgiref test_robotparser test_epoll test_termios test_tty test_ioctl test_atexit test_mmap
test_platform test_posixpath test_external_inspection test_ensurepip test_embed test_uuid
test_popen test_openpty test_sysconfig test_syslog test_resource test_getpass test_file test_fileio
test_pty test_genericpath test_socketserver test_timeout test_eintr test_pwd test_grp test_crypt
test_netrc test_spwd test_stat test_gdb test_repl test_pyrepl test__xxsubinterpreters
"""
FILES = NAMES.split()

# Those that CI runs: telling, and quick.
QUICK = ["test_posix"]

# Those that see whether a file's permissions hold.
PERMISSIONS = ["test_shutil", "test_tempfile", "test_import", "test_py_compile"]

# Where sockets=unix makes no difference to any test.
UNIX_ONLY = ["test_fcntl"]

# The first waits for ever for a thread of its own, which could have no socket; the other one wants
# to see what a port that is too large comes to.
WITHOUT = {"test_asyncio": ("test_drain_raises",), "test_logging": ("test_listen_server_error",)}

# These end at the first socket that they cannot have, before any test or that of a class; the last
# two wait for ever for a server that could have none.
AT_ONCE = (
    *("test_external_inspection", "test_profiling", "test_robotparser", "test_socket"),
    *("test_httpservers", "test_xmlrpc"),
)

# What a test says that could open no internet socket, or whose thread or child could not.
NO_SOCKET = (
    *(os.strerror(ENETUNREACH), "could not bind on any address", "Can not create socket"),
    *("IPv6 support", "server took too long", "EOFError"),
)

ROWS = cpython.explained(PROJECT / "docs" / "cpython-tests.md")


@dataclass(frozen=True)
class Part:
    """A file of tests, but for some, and the interpreter that it came with."""

    file: str
    interpreter: Interpreter
    but: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}-{self.interpreter.name}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--full")
    found = [each for each in metafunc.config.stash[SESSION].found if cpython.suite(each)]
    ends = sorted({0, len(found) - 1}) if found else []
    wanted = {
        "part": (FILES, found) if full else (QUICK, found[-1:]),
        "permissions": (PERMISSIONS, [found[each] for each in ends] if full else found[-1:]),
        "unix_only": (
            [f for f in FILES if f not in AT_ONCE] if full else UNIX_ONLY,
            found[-1:],
        ),
    }
    for name, (files, interpreters) in wanted.items():
        if name in metafunc.fixturenames:
            parts = [
                Part(file, interpreter, WITHOUT.get(file, ()) if name == "unix_only" else ())
                for file in files
                for interpreter in interpreters
                if cpython.has(interpreter, file)
            ]
            metafunc.parametrize(name, parts, ids=str)


def test_the_same_outcomes(part: Part, session: Session, tally: Tally, watch: Watch) -> None:
    plain = ran(part, session)
    problems = []
    for unshare in LISTS:
        # With pid nothing may be left; otherwise that is the tests' own affair.
        env = watch.env if "pid" in unshare else {}
        problems += compared(part, session, plain, unshare, ROWS, tally, env)
    assert not problems, "\n\n".join(problems)


def test_only_capabilities_make_files_accessible(
    permissions: Part, session: Session, tally: Tally
) -> None:
    plain = ran(permissions, session)
    problems = compared(permissions, session, plain, "user=current,caps=none", [], tally, {})
    assert not problems, "\n\n".join(problems)


def test_unix_sockets_are_enough(
    unix_only: Part, session: Session, tally: Tally, watch: Watch
) -> None:
    """But for tests that open an internet socket, and say so."""
    plain = ran(unix_only, session)
    problems = compared(unix_only, session, plain, "sockets=unix", [], tally, {})
    unexplained = [each for each in problems if not any(sign in each for sign in NO_SOCKET)]
    assert not unexplained, "\n\n".join(unexplained)


def ran(part: Part, session: Session, only: Collection[str] = ()) -> Result:
    """What a file comes to outside."""
    python = cpython.supplied(session, part.interpreter)
    plain = cpython.run(session, python, part.file, only=only, but=part.but)
    assert plain.namespaces == namespaces("self"), plain.finished
    return plain


def compared(
    part: Part,
    session: Session,
    plain: Result,
    unshare: str,
    known: Sequence[Row],
    tally: Tally,
    env: Mapping[str, str],
) -> list[str]:
    """What is wrong: the differences that the page does not explain, and what it explains amiss."""
    python = cpython.supplied(session, part.interpreter)
    inside = cpython.run(session, python, part.file, unshare, env=env, but=part.but)
    assert inside.namespaces, inside.finished
    kinds = [cpython.kind(item) for item in unshare.split(",")]
    held = all(inside.namespaces[kind] != plain.namespaces[kind] for kind in kinds if kind)
    tally.case(started_unisolated=not held, what=f"{part} {unshare}", count=len(inside.outcomes))

    where = f"with {unshare} on {python.name}"
    rows = [row for row in known if row.applies(python.version, unshare)]
    if has_name(python.user.uid):
        rows = [row for row in rows if row.reason != "C"]
    unexplained, used = set(), set()
    for test in differing(plain, inside):
        row = next((row for row in rows if fits(row, test, inside)), None)
        if row:
            used.add(row)
        else:
            unexplained.add(test)
    problems = [
        f"docs/cpython-tests.md has a difference that is none {where}: {row}"
        for row in rows
        if row not in used and any(map(row.names, inside.outcomes))
    ]
    for _ in range(ATTEMPTS):
        if not unexplained:
            break
        # What is about the whole file, or about a class, takes the whole file.
        only = sorted(unexplained) if all(map(is_one, unexplained)) else ()
        plain = ran(part, session, only)
        inside = cpython.run(session, python, part.file, unshare, only=only, but=part.but)
        steady = unexplained & differing(plain, inside)
        for test in unexplained - steady:
            tally.notes[f"{test} {where}"] = "the same when it was run again"
        unexplained = steady
    for test in sorted(unexplained):
        outcomes = [side.outcomes.get(test, "none") for side in (plain, inside)]
        said = [side.details(test) for side in (plain, inside) if not fine(side, test)]
        problems.append("\n".join([f"{test} {where}: {' -> '.join(outcomes)}", *said]))
    return problems


def differing(plain: Result, inside: Result) -> set[str]:
    """The tests that have not the same outcome on both sides."""
    return {
        test
        for test in plain.outcomes.keys() | inside.outcomes.keys()
        if plain.outcomes.get(test) != inside.outcomes.get(test)
    }


def fits(row: Row, test: str, inside: Result) -> bool:
    """Whether a row explains what became of a test."""
    return row.names(test) and row.inside == inside.outcomes.get(test, "none").partition(":")[0]


def has_name(uid: int) -> bool:
    """Whether a user has an entry in passwd(5); reason C of the page is that there is none."""
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


def is_one(test: str) -> bool:
    """Whether it is a test that can be run alone, and no file or class."""
    return " " not in test and "." in test


def fine(side: Result, test: str) -> bool:
    """Whether there is nothing to tell of it."""
    return side.outcomes.get(test, "none").partition(":")[0] in ("passed", "skipped", "ran", "none")
