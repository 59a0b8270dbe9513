"""Whatever goes wrong, no program runs without the isolation that was asked for."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import Finished, Python, Session, namespaces, require_tool
from harness.broken import (
    CALLED,
    HOT,
    NEEDED,
    ON_THE_WAY,
    REFUSED,
    SHORT,
    WHERE,
    assert_no_call,
    assert_no_start,
    changed,
    is_elsewhere,
    is_isolated,
    is_refused,
    modules,
)

# What the kernel refuses, and what the message says of it.

PRIVILEGED = {
    "net": "unshare(CLONE_NEWNET)",
    "mount": "unshare(CLONE_NEWNS)",
    "uts=x": "unshare(CLONE_NEWUTS)",
    "ipc": "unshare(CLONE_NEWIPC)",
    "cgroup": "unshare(CLONE_NEWCGROUP)",
    "time": "unshare(CLONE_NEWTIME)",
}


@pytest.mark.parametrize("unshare", PRIVILEGED)
def test_an_ordinary_user_needs_user(python: Python, unshare: str) -> None:
    done = python.run(WHERE, unshare=unshare)
    item = unshare.partition("=")[0]
    assert is_refused(done, f"{item}: {PRIVILEGED[unshare]}: Operation not permitted (EPERM)")
    assert "user" in done.stderr


def test_a_later_item_that_fails_takes_the_whole_list_with_it(python: Python) -> None:
    done = python.run(WHERE, unshare="user,net,mount,uts,time=-50000d")
    assert is_refused(done, "time: write(/proc/self/timens_offsets)")
    assert "(ERANGE)" in done.stderr


def test_no_user_namespace_left(newest: Python) -> None:
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", script, "sh", *newest.command(WHERE)]
    assert is_refused(newest.user.run(command, env={"PY_UNSHARE": "user"}), "(ENOSPC)")


def test_no_proc(newest: Python) -> None:
    script = 'mount -t tmpfs none /proc && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", *newest.command(WHERE)]
    done = newest.user.run(command, env={"PY_UNSHARE": "user,net"})
    assert is_refused(done, "/proc/self/setgroups")


def test_nothing_else_of_the_start_goes_on(fresh_python: Python, workdir: Path) -> None:
    """No other package's .pth, no sitecustomize, no script, module, standard input or prompt."""
    packages = fresh_python.site_packages
    touch = f"open({str(workdir / 'touched')!r}, 'a').close()"
    if fresh_python.kind == "pth":  # .start files come after all import lines (PEP 829)
        (packages / "zzz.pth").write_text(f"import os; {touch}\n")
    for name in ("sitecustomize", "usercustomize", "module"):
        (packages / f"{name}.py").write_text(touch)
    (workdir / "script.py").write_text(touch)
    ways = (["-c", touch], ["-m", "module"], [workdir / "script.py"], ["-"], ["-i"])
    for arguments in ways:
        done = fresh_python.run(arguments, unshare="net", stdin=f"{touch}\n")
        assert is_refused(done), arguments
        assert not (workdir / "touched").exists(), arguments
    # And they all do their part when nothing is refused, or the above would prove nothing.
    for arguments in ways:
        assert fresh_python.run(arguments, unshare="user", stdin=f"{touch}\n").status == 0
        (workdir / "touched").unlink()


# Broken installs.

BREAKS: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "syntax error": "def boot(:\n",
    "no text": "\0\0\0\0",
    "SystemExit": "raise SystemExit(0)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "MemoryError": "raise MemoryError",
    "RecursionError": "def f(): f()\nf()",
    "SIGINT": "import os\nos.kill(os.getpid(), 2)\nfor _ in range(10): pass",
    "GeneratorExit": "raise GeneratorExit",
    "an exception of its own": "class Odd(BaseException): pass\nraise Odd",
}


@pytest.fixture(scope="module")
def mended(python: Python, session: Session) -> Python:
    """An environment for this module, which is whole again after each test."""
    return session.fresh(session.variant(python), session.make_workdir() / "venv")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("how", BREAKS)
def test_broken_modules(mended: Python, how: str) -> None:
    """The modules that every start loads; of the others each in some of these ways."""
    text = BREAKS[how]
    turn = [*BREAKS].index(how)
    wrong = []
    for number, (name, path) in enumerate(modules(mended).items()):
        if name not in HOT and number % len(BREAKS) not in (turn, (turn + 5) % len(BREAKS)):
            continue
        unshare, env = NEEDED.get(name, SHORT)
        with changed(path, None if text is None else text.encode()):
            done = mended.run(WHERE, unshare=unshare, env=env)
        right = is_refused(done) if name in NEEDED else is_isolated(done)
        if not right:
            wrong.append(f"{name}: {done}")
    assert not wrong, "\n".join(wrong)


def test_what_a_start_file_cannot_guard(fresh_python: Python) -> None:
    """PEP 829: site.py reports what is wrong with the module that it names, and goes on."""
    if fresh_python.kind == "pth":
        return
    guard = fresh_python.site_packages / "unshare_boot_start.py"
    lines = guard.read_bytes().splitlines(keepends=True)
    for content in (None, *(b"".join(lines[:end]) for end in range(len(lines)))):
        with changed(guard, content):
            done = fresh_python.run(WHERE, unshare="user,net")
        assert done.status == 0 and "unshare_boot_start" in done.stderr, (content, done)
    assert is_isolated(fresh_python.run(WHERE, unshare="user,net"))


# A sample of what proof/test_cut_short.py does after every line.


@pytest.fixture(scope="module")
def breakable(newest: Python, session: Session) -> Python:
    """An environment for this module, which is whole again after each test."""
    return session.fresh(session.variant(newest), session.make_workdir() / "venv")


@pytest.mark.parametrize("name", HOT)
def test_modules_cut_short(breakable: Python, name: str) -> None:
    assert_no_start(breakable, name, 30)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ON_THE_WAY)
def test_other_modules_cut_short(breakable: Python, name: str) -> None:
    assert_no_start(breakable, name, 7)


@pytest.mark.parametrize("name", CALLED)
def test_what_a_program_calls_cut_short(breakable: Python, name: str) -> None:
    assert_no_call(breakable, name, 20)


def test_every_module_says_that_it_is_whole(newest: Python) -> None:
    found = modules(newest)
    assert len(found) > 40 and "items.join" in found
    for name, path in found.items():
        if name not in ("__init__", "__main__"):
            assert path.read_text().endswith("\nWHOLE = True\n"), name


def test_what_the_broken_modules_were_needed_for_works_otherwise(newest: Python) -> None:
    for name, (unshare, env) in NEEDED.items():
        if unshare not in (*REFUSED, "user,net=pasta", "user,net=slirp4netns"):
            assert is_isolated(newest.run(WHERE, unshare=unshare, env=env)), name


def test_a_package_that_cannot_be_read(fresh_python: Python) -> None:
    package = fresh_python.site_packages / "unshare_boot"
    for mode in (0o000, 0o600 if os.getuid() == 0 else 0o000, 0o444):
        package.chmod(mode)
        try:
            done = fresh_python.run(WHERE, unshare="user,net")
        finally:
            package.chmod(0o755)
        assert is_refused(done)
    assert is_isolated(fresh_python.run(WHERE, unshare="user,net"))


def test_corrupt_bytecode(fresh_python: Python) -> None:
    """Its header says that it belongs to the source; what follows is cut off, or nonsense."""
    package = fresh_python.site_packages / "unshare_boot"
    assert fresh_python.run(WHERE, unshare="user=7:7,net").status == 0
    for name in ("__init__", "namespaces"):
        (cached,) = package.glob(f"__pycache__/{name}.*.pyc")
        whole = cached.read_bytes()
        for content in (b"", whole[:8], whole[:16], whole[:200], whole[:16] + b"N", whole[:-9]):
            cached.write_bytes(content)
            done = fresh_python.run(WHERE, unshare="user=7:7,net")
            assert is_refused(done) or is_isolated(done), (name, content[:20])
        cached.write_bytes(b"\0" * 16 + whole[16:])  # another Python's: compiled anew
        assert is_isolated(fresh_python.run(WHERE, unshare="user,net"))
        cached.write_bytes(whole)


def test_no_bytecode_and_nowhere_to_write_it(fresh_python: Python) -> None:
    shutil.rmtree(fresh_python.site_packages / "unshare_boot" / "__pycache__")
    assert is_isolated(fresh_python.run(WHERE, unshare="user,net"))


def test_a_module_of_the_same_name_elsewhere_is_not_taken_for_ours(
    newest: Python, workdir: Path
) -> None:
    (workdir / "unshare_boot.py").write_text("def boot(): pass\n")
    (workdir / "script.py").write_text(WHERE)
    assert is_isolated(newest.run(["script.py"], unshare="user", cwd=workdir))
    assert is_isolated(newest.run(WHERE, unshare="user", cwd=workdir))
    # PYTHONPATH comes first, as for every other module; such a package has no boot() of ours.
    (workdir / "unshare_boot.py").write_text("")
    assert is_refused(newest.run(WHERE, unshare="user", env={"PYTHONPATH": str(workdir)}))


# Where the message goes.


def through_shell(python: Python, redirection: str, unshare: str) -> Finished:
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *python.command(WHERE)]
    return python.user.run(command, env={"PY_UNSHARE": unshare})


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-", "2</dev/null"])
def test_nobody_reads_standard_error(python: Python, redirection: str) -> None:
    for unshare in ("net", "usr", "user,time=-50000d"):
        done = through_shell(python, redirection, unshare)
        assert (done.status, done.stdout, done.stderr) == (125, "", "")
    assert is_isolated(through_shell(python, redirection, "user,net,mount"))


def test_all_three_streams_are_closed(python: Python, workdir: Path) -> None:
    code = (
        f"import os; open({str(workdir / 'where')!r}, 'w').write(os.readlink('/proc/self/ns/net'))"
    )
    for unshare, status in (("net", 125), ("user,net", 0)):
        command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *python.command(code)]
        assert python.user.run(command, env={"PY_UNSHARE": unshare}).status == status
        assert (workdir / "where").exists() == (status == 0)
    assert (workdir / "where").read_text() != f"net:[{namespaces('self')['net']}]"


def test_standard_error_is_full(python: Python) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(65536))
    try:
        done = python.run(WHERE, unshare="net", stderr=writer)
        assert (done.status, done.stdout) == (125, "")
        assert is_isolated(python.run(WHERE, unshare="user,net", stderr=writer))
    finally:
        os.close(reader)
        os.close(writer)


def test_nobody_is_at_the_other_end_of_standard_error(python: Python) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = python.run(WHERE, unshare="net", stderr=writer)
        assert (done.status, done.stdout) == (125, "")
    finally:
        os.close(writer)


# Not enough of something.


@pytest.fixture(scope="module")
def limited() -> Callable[[Python, str, str], Finished]:
    prlimit = require_tool("prlimit")

    def run(python: Python, limit: str, unshare: str) -> Finished:
        command = [prlimit, limit, *python.command(WHERE)]
        return python.user.run(command, env={"PY_UNSHARE": unshare})

    return run


def test_few_descriptors(python: Python, limited: Callable[[Python, str, str], Finished]) -> None:
    """With four, site.py of 3.9 cannot read a .pth file, of which it says nothing."""
    outcomes = {}
    for number in range(5 if python.version == (3, 9) else 1, 10):
        done = limited(python, f"--nofile={number}", "user,net,mount,uts=x,time=+1d")
        assert is_isolated(done) or (done.status != 0 and not done.stdout), (number, done)
        outcomes[number] = done.status
    assert outcomes[9] == 0


def test_little_memory(python: Python, limited: Callable[[Python, str, str], Finished]) -> None:
    """From what this Python needs for itself, up to where there is enough for us as well."""
    code = "print(next(line.split()[1] for line in open('/proc/self/status') if 'VmPeak' in line))"
    kilobytes = int(python.run(code).ok())
    outcomes = set()
    for size in range(kilobytes, kilobytes + 8192, 256):
        done = limited(python, f"--as={size * 1024}", "user,net,uts=x")
        assert is_elsewhere(done) or (done.status != 0 and not done.stdout), (size, done)
        outcomes.add(done.status)
    assert 0 in outcomes and len(outcomes) > 1


@pytest.mark.parametrize("limit", ["--nproc=0", "--fsize=0", "--stack=131072", "--data=8000000"])
def test_other_limits(
    newest: Python, limited: Callable[[Python, str, str], Finished], limit: str
) -> None:
    done = limited(newest, limit, "user,net,mount,uts=x,time=+1d")
    assert is_isolated(done) or (done.status != 0 and not done.stdout)
