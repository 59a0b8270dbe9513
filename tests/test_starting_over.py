"""Threads that are there before the hook: the process starts over, and nobody sees a difference."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import Python, Session, User, namespace_inode, namespaces, require_root, require_tool
from harness.processes import Argument

PROGRAMS = Path(__file__).parent / "programs"
REPORT = (PROGRAMS / "report.py").read_text()

# A name that comes before ours, and a thread like that of any agent or profiler.
EARLY = "a_thread.pth"
STARTS_A_THREAD = (
    "import threading; threading.Thread(target=threading.Event().wait, name='early', daemon=True)"
    ".start()\n"
)

INODES = "import os; print(*(os.stat('/proc/self/ns/' + n).st_ino for n in ('user', 'net')))"


def with_thread(python: Python, session: Session) -> Python:
    """The same interpreter in an environment where a .pth file starts a thread before ours runs."""
    directory = session.directory / "threaded" / python.name

    def make() -> None:
        made = session.fresh(session.variant(python), directory)
        (made.site_packages / EARLY).write_text(STARTS_A_THREAD)

    session.once(f"threaded-{python.name}", make)
    return replace(python, venv=directory)


@pytest.fixture(scope="session")
def threaded(python: Python, session: Session) -> Python:
    """Every interpreter, with a thread."""
    return with_thread(python, session)


@pytest.fixture(scope="session")
def threaded_newest(newest: Python, session: Session) -> Python:
    """The newest interpreter, with a thread."""
    return with_thread(newest, session)


@pytest.fixture(scope="session", params=["oldest", "newest"])
def threaded_ends(request: pytest.FixtureRequest, session: Session) -> Python:
    """The oldest and the newest interpreter, with a thread."""
    return with_thread(request.getfixturevalue(request.param), session)


@pytest.fixture
def own(newest: Python, session: Session, workdir: Path) -> Python:
    """The newest interpreter with a thread, in an environment of the test's own."""
    made = session.fresh(session.variant(newest), workdir / "venv")
    (made.site_packages / EARLY).write_text(STARTS_A_THREAD)
    return made


def compiled(session: Session, name: str, *options: str) -> Path:
    """A C program or library of tests/programs."""
    compiler = require_tool("cc")
    target = session.directory / name
    source = PROGRAMS / f"{name}.c"
    session.once(
        name, lambda: session.tool([compiler, "-Wall", *options, "-o", target, source, "-ldl"])
    )
    return target


@pytest.fixture(scope="session")
def preload(session: Session) -> Path:
    """A library whose constructor starts a thread."""
    return compiled(session, "threads", "-shared", "-fPIC", "-pthread")


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    """A working directory with the report as a script, module, directory and archive."""
    (workdir / "report.py").write_text(REPORT)
    (workdir / "directory").mkdir()
    (workdir / "directory" / "__main__.py").write_text(REPORT)
    with zipfile.ZipFile(workdir / "archive.pyz", "w") as archive:
        archive.writestr("__main__.py", REPORT)
    session.give(workdir)
    return workdir


def base_prefix(python: Python) -> str:
    return python.run(["-I", "-c", "import sys; print(sys.base_prefix)"]).ok().strip()


def report(
    user: User, argv: list[Argument], *, env: Mapping[str, str], **options: Any
) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(user.run(argv, env=env, **options).ok())
    return told


def assert_same(
    python: Python,
    argv: list[Argument],
    *,
    unshare: str = "user=current,net",
    env: Mapping[str, str] | None = None,
    but: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Run a report with and without isolation; all it tells must be the same, but one thing."""
    env = env or {}
    plain = report(python.user, argv, env=env, **options)
    isolated = report(python.user, argv, env={**env, "PY_UNSHARE": unshare}, **options)
    assert "early" in plain["python_threads"], "no thread was there, so this shows nothing"
    assert plain.pop("ours") == [name for name in sorted(env) if name.startswith("PY_UNSHARE")]
    assert "PY_UNSHARE_ACTIVE" in isolated["ours"] and "PY_UNSHARE" not in isolated.pop("ours")
    differing = {
        name: (plain[name], isolated[name])
        for name in plain
        if isolated[name] != plain[name] and name != but
    }
    assert not differing
    return isolated


def test_a_thread_of_another_pth_file(threaded: Python) -> None:
    user, net = threaded.run(INODES, unshare="user,net").ok().split()
    assert int(user) != namespace_inode("self", "user")
    assert int(net) != namespace_inode("self", "net")


def test_what_a_service_manager_tells(threaded_newest: Python) -> None:
    """With `pid` the program has another number than the process that was started."""
    script = 'LISTEN_PID=$$; export LISTEN_PID; exec "$@"'
    code = "import os; print(os.getpid(), os.environ['LISTEN_PID'])"
    for unshare in ("user", "user,pid"):
        argv = ["sh", "-c", script, "sh", *threaded_newest.command(code)]
        told = threaded_newest.user.run(argv, env={"PY_UNSHARE": unshare}).ok().split()
        assert told[0] == told[1] and (told[0] == "2") == ("pid" in unshare)


def test_what_the_program_sees(threaded: Python, place: Path) -> None:
    arguments = ["report.py", "a", "b c", "", "--", "-c", "\udcff", "é"]
    assert_same(threaded, [threaded.executable, *arguments], cwd=place)


@pytest.mark.parametrize(
    "options",
    [
        ["-X", "dev", "-W", "error::SyntaxWarning", "-Wdefault::ImportWarning"],
        ["-I"],
        ["-E", "-s"],
        ["-OO", "-B", "-b", "-u", "-q"],
        ["-X", "utf8=0", "-X", "importtime"],
        ["-Xtracemalloc=3", "-v", "-dR"],
    ],
    ids=" ".join,
)
def test_options(threaded_ends: Python, place: Path, options: list[str]) -> None:
    argv: list[Argument] = [threaded_ends.executable, *options, "report.py", "x"]
    assert_same(threaded_ends, argv, cwd=place)


def test_safe_path(threaded_newest: Python, place: Path) -> None:
    if threaded_newest.version < (3, 11):
        pytest.skip("-P is an option since 3.11")
    assert_same(threaded_newest, [threaded_newest.executable, "-P", "report.py"], cwd=place)
    seen = assert_same(
        threaded_newest,
        [threaded_newest.executable, "report.py"],
        cwd=place,
        env={"PYTHONSAFEPATH": "1"},
    )
    assert str(place) not in seen["path"]


@pytest.mark.parametrize(
    "program",
    [
        ["-c", REPORT, "x", "-m"],
        ["-m", "report", "x"],
        ["-mreport", "-x"],
        ["-qsm", "report"],
        ["-X", "dev", "-W", "ignore", "-m", "report"],
        ["directory", "x"],
        ["directory/", "x"],
        ["archive.pyz"],
        ["./report.py"],
    ],
    ids=lambda program: " ".join(program[:2])[:12],
)
def test_every_kind_of_program(threaded_ends: Python, place: Path, program: list[str]) -> None:
    assert_same(threaded_ends, [threaded_ends.executable, *program], cwd=place)


def test_script_by_absolute_path(threaded_ends: Python, place: Path) -> None:
    assert_same(threaded_ends, [threaded_ends.executable, place / "report.py"])


@pytest.mark.parametrize("dash", [["-", "x"], []])
def test_program_from_standard_input(threaded_ends: Python, dash: list[str]) -> None:
    # A program that is read from a pipe would be lost if the first interpreter had begun with it.
    assert_same(threaded_ends, [threaded_ends.executable, *dash], stdin=REPORT)


def test_the_position_of_standard_input(threaded_ends: Python, place: Path) -> None:
    assert_same(threaded_ends, [threaded_ends.executable, "report.py"], cwd=place, stdin="a\nb\n")
    argv: list[Argument] = ["sh", "-c", f"read -r line; exec {threaded_ends.executable} -"]
    code = "import os; print(os.environ['PY_UNSHARE_ACTIVE'] != '', __name__)"
    (place / "input").write_text(f"one line for the shell\n{code}\n")
    with (
        open(place / "input") as program,
        threaded_ends.user.popen(argv, env={"PY_UNSHARE": "user,net"}, stdin=program) as child,
    ):
        assert child.communicate()[0] == "True __main__\n"


def test_script_with_an_interpreter_line(threaded_ends: Python, place: Path) -> None:
    script = place / "named-in-ps"
    script.write_text(f"#!{threaded_ends.executable} -Wignore\n{REPORT}")
    script.chmod(0o755)
    # A thread has the name that its process had when it began.
    seen = assert_same(threaded_ends, [script, "x"], but="threads")
    assert seen["name"] == "named-in-ps\n"


def test_bare_python_found_on_path(threaded_ends: Python, place: Path) -> None:
    # Popen would look for it in the suite's PATH; sh looks in its own.
    path = f"{threaded_ends.venv / 'bin'}:/usr/bin:/bin"
    argv: list[Argument] = ["sh", "-c", 'exec python "$@"', "sh", "report.py", "x"]
    seen = assert_same(threaded_ends, argv, cwd=place, env={"PATH": path})
    assert seen["executable"] == str(threaded_ends.executable)
    assert seen["prefixes"][0] == str(threaded_ends.venv)


def test_interpreter_by_relative_path_and_other_name(threaded_ends: Python, place: Path) -> None:
    (place / "env").symlink_to(threaded_ends.venv)
    assert_same(threaded_ends, ["env/bin/python3", "report.py"], cwd=place)


def test_an_argv0_that_is_no_path(threaded_ends: Python, place: Path) -> None:
    """It finds no environment by itself, and does not know its own path."""
    add = f"import site; site.addsitedir({str(threaded_ends.site_packages)!r})\n"
    (place / "sitecustomize.py").write_text(add)
    (place / "elsewhere").mkdir()
    bash = require_tool("bash")
    argv: list[Argument] = [bash, "-c", 'exec -a whatever "$@"', "sh", threaded_ends.executable]
    env = {"PYTHONPATH": str(place), "PYTHONHOME": base_prefix(threaded_ends)}
    seen = assert_same(threaded_ends, [*argv, place / "report.py", "x"], env=env, but="threads")
    assert seen["executable"] == ""


def test_pythonpath_and_pythonhome(threaded_ends: Python, place: Path) -> None:
    """A user's site-packages, and an interpreter that has to be told where its library is."""
    major, minor = threaded_ends.version
    site = place / f"home/lib/python{major}.{minor}/site-packages"
    shutil.copytree(threaded_ends.site_packages, site)
    # A module of the working directory must not get into the clean interpreter.
    (place / "unshare_boot.py").write_text("raise SystemExit('the wrong module')")
    env = {
        "PYTHONUSERBASE": str(place / "home"),
        "PYTHONPATH": str(place / "directory"),
        "PYTHONHOME": base_prefix(threaded_ends),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONVERBOSE": "1",
    }
    assert_same(threaded_ends, [threaded_ends.base, "report.py"], cwd=place, env=env)


def test_a_wrong_pythonhome_that_is_ignored(threaded_newest: Python, place: Path) -> None:
    argv: list[Argument] = [threaded_newest.executable, "-E", "report.py"]
    assert_same(threaded_newest, argv, cwd=place, env={"PYTHONHOME": "/nonexistent"})


def test_the_environment(threaded_ends: Python, place: Path) -> None:
    env = {
        "BYTES": "\udcff\udc80 é",
        "EMPTY": "",
        "LANG": "C",
        "LINES": "a\nb",
        "PYTHONPATH": "/nonexistent",
        "PY_UNSHARE_VERBOSE": "0",
        "PY_UNSHARE_ON_ERROR": "abort",
        "PY_UNSHARE_ONLY": "report.py",
    }
    argv: list[Argument] = [threaded_ends.executable, "report.py", "\udcff"]
    seen = assert_same(threaded_ends, argv, cwd=place, env=env)
    assert seen["environment"]["BYTES"] == "\udcff\udc80 é"


def test_the_environment_is_the_one_it_started_with(own: Python) -> None:
    """What a .pth file changes it changes once, not twice."""
    change = "import os; os.environ['COUNT'] = os.environ.get('COUNT', '') + 'x'\n"
    (own.site_packages / "a_count.pth").write_text(change)
    code = "import os; print(os.environ['COUNT'])"
    assert own.run(code, unshare="user").ok() == own.run(code).ok()


def test_descriptors_and_no_more(threaded_ends: Python, place: Path) -> None:
    with open(place / "inherited", "w+") as file, open("/dev/null") as null:
        seen = assert_same(
            threaded_ends,
            [threaded_ends.executable, "report.py"],
            cwd=place,
            pass_fds=[file.fileno(), null.fileno()],
        )
        assert seen["descriptors"][str(file.fileno())] == str(place / "inherited")


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_standard_streams(threaded_ends: Python, place: Path, closed: list[int]) -> None:
    code = (
        "import json, os; open('seen', 'w').write(json.dumps("
        "[os.path.exists('/proc/self/fd/%d' % n) for n in range(4, 10)]"
        " + [os.environ.get('PY_UNSHARE_ACTIVE', '') != '']))"
    )
    shut = " ".join(f"{number}>&-" for number in closed)
    argv: list[Argument] = ["sh", "-c", f'exec "$0" -c "$1" {shut}', threaded_ends.executable, code]
    assert threaded_ends.user.run(argv, cwd=place).status == 0
    plain = json.loads((place / "seen").read_text())
    assert threaded_ends.user.run(argv, cwd=place, env={"PY_UNSHARE": "user,net"}).status == 0
    isolated = json.loads((place / "seen").read_text())
    assert isolated == [*plain[:-1], True]


def test_signals_and_umask(threaded_ends: Python, place: Path) -> None:
    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        os.umask(0o137)
        os.nice(3)

    argv: list[Argument] = [threaded_ends.executable, "report.py"]
    seen = assert_same(threaded_ends, argv, cwd=place, umask=-1, preexec_fn=prepare)
    assert seen["umask"] == 0o137
    assert seen["blocked"] == [signal.SIGUSR1, signal.SIGTERM]
    assert int(seen["ignored"], 16) & 1 << signal.SIGHUP - 1


def test_the_process_id(threaded_ends: Python) -> None:
    code = "import os; print(os.getpid(), flush=True)"
    with threaded_ends.popen(code, unshare="user,net") as child:
        assert child.communicate()[0] == f"{child.pid}\n"


LISTS = [
    "user",
    "user=root,net",
    "user=current,net,mount",
    "user=4711:4712,net",
    "user=none",
    "user,uts=inside,ipc,cgroup,time=+1d",
    "user,pid",
    "user=current,pid,net",
    "user=current,tmpfs=/mnt,ro=/etc",
    "user,caps=keep",
    "user=current,net,caps=keep",
    "user,caps=none",
    "user=current,net,mount,caps=none",
]


@pytest.mark.parametrize("unshare", LISTS)
def test_every_list_gives_the_same_as_without_threads(
    newest: Python, threaded_newest: Python, place: Path, unshare: str
) -> None:
    """Capabilities above all, which execve(2) takes from an id that is not 0."""
    seen = []
    for python in (newest, threaded_newest):
        argv: list[Argument] = [python.executable, "report.py", "capabilities"]
        told = report(python.user, argv, env={"PY_UNSHARE": unshare}, cwd=place)
        seen.append({name: told[name] for name in ("capabilities", "privileges", "child", "ours")})
        # To the kernel all threads are of one process, whose name pid= does not change.
        assert told["name"] == "python\n"
    assert seen[0] == seen[1]


def test_the_map_can_be_written_after_starting_over(threaded_newest: Python) -> None:
    code = (
        "import os, unshare_boot; "
        f"unshare_boot.write_user_map({{{threaded_newest.user.uid}: 7}}); "
        f"unshare_boot.write_group_map({{{threaded_newest.user.gid}: 8}}); "
        "print(os.getuid(), os.getgid(), unshare_boot.active())"
    )
    assert threaded_newest.run(code, unshare="user=none").ok() == "7 8 ('user',)\n"


def test_root_without_a_user_namespace(threaded_newest: Python, newest: Python) -> None:
    code = (
        "import os, unshare_boot; "
        "print(unshare_boot.active(), [l for l in open('/proc/thread-self/status') if 'Cap' in l])"
    )
    plain, threaded = (
        each.run(code, unshare="net,mount,uts=x", as_root=True).ok()
        for each in (newest, threaded_newest)
    )
    assert plain == threaded
    assert plain.startswith("('net', 'mount', 'uts')")


@pytest.mark.parametrize("unshare", ["user=all", "user=all,net,caps=keep", "net,caps=none", "pid"])
def test_lists_of_root(newest: Python, threaded_newest: Python, place: Path, unshare: str) -> None:
    require_root()
    seen = []
    for python in (newest, threaded_newest):
        argv: list[Argument] = [python.executable, "report.py", "capabilities"]
        told = report(python.root, argv, env={"PY_UNSHARE": unshare}, cwd=place)
        seen.append({name: told[name] for name in ("capabilities", "privileges", "child", "ours")})
    assert seen[0] == seen[1]


def test_root_gives_up_capabilities_alone(threaded_newest: Python) -> None:
    code = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('CapPrm')])"
    told = threaded_newest.run(code, unshare="caps=none", as_root=True).ok()
    assert told == "['0000000000000000']\n"


def test_boot_called_by_sitecustomize(own: Python, place: Path) -> None:
    for name in ("unshare_boot.pth", "unshare_boot.start"):
        (own.site_packages / name).unlink(missing_ok=True)
    text = "import unshare_boot; unshare_boot.boot()\n"
    # PYTHONPATH comes before Debian's own sitecustomize.py.
    (place / "sitecustomize.py").write_text(text)
    env = {"PYTHONPATH": str(place)}
    assert_same(own, [own.executable, "report.py", "x"], cwd=place, env=env)


def test_long_values(threaded_newest: Python) -> None:
    """The longest list that a variable can hold, and as much environment as comes with it."""
    unshare = "user,net".ljust(131072 - len("PY_UNSHARE=") - 1)
    env = {f"LONG{number}": "x" * 131000 for number in range(8)}
    code = "import os, unshare_boot; print(unshare_boot.active(), len(os.environ['LONG7']))"
    assert threaded_newest.run(code, unshare=unshare, env=env).ok() == "('user', 'net') 131000\n"


def test_an_interpreter_that_may_not_be_read(own: Python, place: Path) -> None:
    """Its process is not dumpable, so that files of /proc/self are root's."""
    require_root()
    unreadable = own.executable.parent / "python-unreadable"
    shutil.copy(own.executable.resolve(), unreadable)
    unreadable.chmod(0o711)
    os.chown(unreadable, 0, 0)
    argv: list[Argument] = [unreadable, "-c", "open('/proc/self/environ')"]
    assert "PermissionError" in own.user.run(argv).stderr
    argv = [unreadable, "report.py", "\udcff"]
    own_choice = {"LC_CTYPE": "C.UTF-8"}
    for locale in ({"LANG": "C"}, own_choice, {"LANG": "C", **own_choice}, {"LC_ALL": "C"}):
        assert_same(own, argv, cwd=place, env={"BYTES": "\udcff", **locale}, but="threads")
        env = {"PYTHONUTF8": "0", **locale}
        assert_same(own, argv, cwd=place, env=env, but="threads")


def test_an_interpreter_that_is_out_of_sight_inside(own: Python) -> None:
    """It could not be executed once more then: refused, and nothing of the program runs."""
    unshare = f"user,tmpfs={own.venv}"
    done = own.run("print('user code')", unshare=unshare)
    assert (done.status, done.stdout) == (125, "")
    assert f"covers '{own.venv}'" in done.stderr


def test_joining(threaded_newest: Python, newest: Python) -> None:
    with newest.hold("user,net") as pid:
        unshare = f"user=/proc/{pid}/ns/user,net=/proc/{pid}/ns/net"
        inside = threaded_newest.run(INODES, unshare=unshare).ok()
        assert inside == f"{namespace_inode(pid, 'user')} {namespace_inode(pid, 'net')}\n"


def test_joining_as_root_with_threads(threaded_newest: Python, newest: Python) -> None:
    """Without `user` the kernel would let the calling thread in, and leave the others outside."""
    require_root()
    with (
        newest.hold("user,net") as pid,
        threaded_newest.hold(f"net=/proc/{pid}/ns/net", as_root=True) as joined,
    ):
        tasks = [f"{joined}/task/{task}" for task in os.listdir(f"/proc/{joined}/task")]
        assert len(tasks) > 1
        assert {namespace_inode(task, "net") for task in tasks} == {namespace_inode(pid, "net")}


def test_all_threads_are_inside(threaded: Python) -> None:
    with threaded.hold("user,net,uts,ipc") as pid:
        tasks = os.listdir(f"/proc/{pid}/task")
        assert len(tasks) > 1
        ours = namespaces("self")
        for task in tasks:
            found = namespaces(f"{pid}/task/{task}")
            assert {name for name in found if found[name] != ours[name]} == {
                "ipc",
                "net",
                "user",
                "uts",
            }


def test_a_nested_start(threaded_newest: Python) -> None:
    code = (
        "import os, subprocess, sys; os.environ['PY_UNSHARE'] = 'user,uts'; "
        "code = 'import unshare_boot; print(unshare_boot.active())'; "
        "subprocess.run([sys.executable, '-c', code])"
    )
    assert threaded_newest.run(code, unshare="user,net").ok() == "('user', 'net', 'uts')\n"


@pytest.mark.parametrize("unshare", ["user,net", "user=4711,net", "user,mount", "user,pid"])
def test_threads_that_have_ended_meanwhile(newest: Python, unshare: str) -> None:
    """The kernel has refused for a thread that /proc does not show any more: tried again."""
    strace = require_tool("strace")
    code = "import unshare_boot; print(unshare_boot.active())"
    for number, again in ((1, True), (2, False)):
        command: list[Argument] = [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=unshare"]
        command += ["-e", f"inject=unshare:error=EINVAL:when={number}", *newest.command(code)]
        done = newest.user.run(command, env={"PY_UNSHARE": unshare})
        assert (done.status, done.stderr.count("refused")) == ((0, 0) if again else (125, 1))
        if again:
            assert done.stdout == newest.run(code, unshare=unshare).ok()


# A thread of a preloaded library.


def test_a_preloaded_library(python: Python, preload: Path, place: Path) -> None:
    env = {"LD_PRELOAD": str(preload)}
    with python.hold("user,net", env=env) as pid:
        tasks = os.listdir(f"/proc/{pid}/task")
        names = {Path(f"/proc/{pid}/task/{task}/comm").read_text() for task in tasks}
        assert "preloaded\n" in names
        for task in tasks:
            assert namespace_inode(f"{pid}/task/{task}", "net") != namespace_inode("self", "net")
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert f"LD_PRELOAD={preload}".encode() in environ


def test_a_preloaded_library_and_a_pth_file(
    threaded_ends: Python, preload: Path, place: Path
) -> None:
    argv: list[Argument] = [threaded_ends.executable, "report.py", "x"]
    env = {"LD_PRELOAD": str(preload)}
    seen = assert_same(threaded_ends, argv, cwd=place, env=env)
    assert seen["threads"].count("preloaded") == 1
    assert seen["environment"]["LD_PRELOAD"] == str(preload)


def test_threads_that_come_back_are_refused(
    newest: Python, preload: Path, session: Session, workdir: Path
) -> None:
    """A library that no variable names, by /etc/ld.so.preload in a mount namespace of the test's"""
    require_root()
    (workdir / "etc").mkdir()
    script = (
        'set -e; cp -a /etc/. "$0/etc"; echo "$1" > "$0/etc/ld.so.preload"; '
        'mount --bind "$0/etc" /etc; shift; exec "$@"'
    )
    outer: list[Argument] = ["unshare", "-m", "sh", "-c", script, workdir, preload]
    command: list[Argument] = [*outer, *newest.command("print('user code')")]

    assert session.root.run(command).ok() == "user code\n"
    refused = session.root.run(command, env={"PY_UNSHARE": "net,uts"})
    assert (refused.status, refused.stdout) == (125, "")
    assert "it has started over, and something has started them again" in refused.stderr

    env = {"PY_UNSHARE": "net,uts", "PY_UNSHARE_ON_ERROR": "warn"}
    code = "import os; print(os.stat('/proc/self/ns/net').st_ino, 'PY_UNSHARE' in os.environ)"
    warned = session.root.run([*outer, *newest.command(code)], env=env)
    assert warned.ok() == f"{namespace_inode('self', 'net')} False\n"
    assert warned.stderr.count("un-isolated") == 1


def test_an_interpreter_whose_library_starts_a_thread(
    own: Python, session: Session, workdir: Path
) -> None:
    """The clean interpreter has it as well."""
    major, minor = own.version
    library = workdir / "prefix" / "lib" / f"python{major}.{minor}"
    code = "import os; print(os.path.dirname(os.__file__))"
    stdlib = Path(own.run(code).ok().strip())
    ignored = shutil.ignore_patterns("test", "site-packages", "dist-packages", "__pycache__")
    shutil.copytree(stdlib, library, ignore=ignored, ignore_dangling_symlinks=True)
    shutil.copytree(own.site_packages, library / "site-packages")
    with open(library / "encodings" / "__init__.py", "a") as file:
        file.write("\nimport _thread\n_thread.start_new_thread(__import__('time').sleep, (60,))\n")
    session.give(workdir)
    env = {
        "PYTHONHOME": str(workdir / "prefix"),
        "PYTHONUSERBASE": str(workdir / "prefix"),
    }
    argv: list[Argument] = [own.base, "-c", "print('user code')"]
    assert session.user.run(argv, env=env).ok() == "user code\n"
    refused = session.user.run(argv, env={**env, "PY_UNSHARE": "user"})
    assert (refused.status, refused.stdout) == (125, "")
    assert "threads" in refused.stderr


# Where starting over is impossible.


LATE = """
import os, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("user code", flush=True)
os.environ["PY_UNSHARE"] = "user,net"
import unshare_boot
unshare_boot.boot()
print("not reached")
"""


@pytest.mark.parametrize(
    "how", ["-c", "-m", "script", "directory", "stdin", "thread", "atexit", "site"]
)
def test_a_program_that_runs_is_never_started_again(
    newest: Python, workdir: Path, how: str
) -> None:
    text = LATE
    if how == "thread":
        body = "\n".join("    " + line for line in LATE.splitlines())
        text = f"import threading\ndef body():\n{body}\nt = threading.Thread(target=body)\n"
        text += "t.start()\nt.join()\n"
    elif how == "atexit":
        body = "\n".join("    " + line for line in LATE.splitlines())
        text = f"import atexit, os, threading\ndef body():\n{body}\natexit.register(body)\n"
    elif how == "site":  # which runs the .pth files again, now for a program that has begun
        text = text.replace(
            "import unshare_boot\nunshare_boot.boot()", "del sys.modules['site']; import site"
        )
        assert "import site" in text
    (workdir / "late.py").write_text(text)
    (workdir / "late").mkdir()
    (workdir / "late" / "__main__.py").write_text(text)
    argv: dict[str, list[Argument]] = {
        "-c": ["-c", text],
        "-m": ["-m", "late"],
        "directory": ["late"],
        "stdin": ["-"],
    }
    if how == "-m":
        shutil.rmtree(workdir / "late")
    done = newest.run(argv.get(how, ["late.py"]), cwd=workdir, stdin=text)
    assert (done.status, done.stdout) == (125, "user code\n")
    assert "the program is running already" in done.stderr


def test_the_late_unshare_raises_and_changes_nothing(newest: Python) -> None:
    code = """
import os, threading, unshare_boot
def state():
    return [os.stat('/proc/self/ns/' + n).st_ino for n in sorted(os.listdir('/proc/self/ns'))] + [
        os.getuid(), dict(os.environ), sorted(os.listdir('/proc/self/fd'))]
threading.Thread(target=threading.Event().wait, daemon=True).start()
before = state()
try:
    unshare_boot.unshare('user,net')
except unshare_boot.UnshareError as error:
    print(error.errno, error)
print(state() == before)
"""
    told = newest.run(code).ok().splitlines()
    assert told[0].startswith("22 ") and "2 threads" in told[0]
    assert told[1] == "True"


def shared_library(python: Python) -> Path:
    """The interpreter's shared library, for a C program to load."""
    names = "import json, sysconfig as s; print(json.dumps([s.get_config_var(n) for n in "
    names += "('LIBDIR', 'INSTSONAME', 'MULTIARCH')]))"
    libdir: str
    name: str
    libdir, name, multiarch = json.loads(python.run(names).ok())
    prefix = python.base.parent.parent
    for directory in (prefix / "lib", Path(libdir), Path("/usr/lib") / (multiarch or "")):
        if (directory / name).is_file() and ".so" in name:
            return directory / name
    pytest.skip(f"{python.base} has no shared library")


@pytest.fixture(scope="session")
def embedding(session: Session) -> Path:
    return compiled(session, "embedding", "-pthread")


def run_embedded(
    python: Python, program: Path, threads: int, code: str, **env: str
) -> subprocess.CompletedProcess[str]:
    library = shared_library(python)
    done = python.user.run([program, library, python.venv, str(threads), code], env=env)
    if "Py_SetProgramName" in done.stderr:
        pytest.skip("this Python has no Py_SetProgramName any more")
    return subprocess.CompletedProcess([], done.status, done.stdout, done.stderr)


def test_an_embedding_program(python: Python, embedding: Path) -> None:
    done = run_embedded(python, embedding, 0, INODES)
    assert done.returncode == 0 and int(done.stdout.split()[1]) == namespace_inode("self", "net")
    done = run_embedded(python, embedding, 0, INODES, PY_UNSHARE="user,net")
    assert done.returncode == 0 and int(done.stdout.split()[1]) != namespace_inode("self", "net")


@pytest.mark.parametrize("name", ["embedding", "python-with-plugins"])
def test_an_embedding_program_with_threads(
    python: Python, embedding: Path, workdir: Path, name: str
) -> None:
    program = workdir / name
    shutil.copy(embedding, program)
    done = run_embedded(python, program, 2, "print('user code', flush=True)")
    assert (done.returncode, done.stdout) == (0, "user code\n")

    done = run_embedded(python, program, 2, "print('user code')", PY_UNSHARE="user,net")
    assert (done.returncode, done.stdout) == (125, "")
    assert f"{name} is no Python interpreter, but a program that has one inside" in done.stderr
    assert "3 threads" in done.stderr
    for way_out in ("boot()", "unshare()", "unshare --"):
        assert way_out in done.stderr


def test_an_embedding_program_with_threads_that_may_go_on(
    newest_shared: Python, embedding: Path
) -> None:
    env = {"PY_UNSHARE": "user,net", "PY_UNSHARE_ON_ERROR": "warn"}
    code = "import os; print('PY_UNSHARE' in os.environ, 'PY_UNSHARE_ACTIVE' in os.environ)\n"
    done = run_embedded(newest_shared, embedding, 2, code + INODES, **env)
    ours = f"{namespace_inode('self', 'user')} {namespace_inode('self', 'net')}"
    assert (done.returncode, done.stdout) == (0, f"False False\n{ours}\n")
    assert done.stderr.count("un-isolated") == 1


def test_only_names_the_embedding_program(newest_shared: Python, embedding: Path) -> None:
    for only, inside in (("embedding", True), ("python*,-", False)):
        done = run_embedded(
            newest_shared, embedding, 0, INODES, PY_UNSHARE="user,net", PY_UNSHARE_ONLY=only
        )
        inode = int(done.stdout.split()[1])
        assert (inode != namespace_inode("self", "net")) == inside


@pytest.fixture(scope="session")
def newest_shared(session: Session) -> Python:
    """The newest interpreter that has a shared library and all that the program calls."""
    from harness.session import default

    for variant in reversed(default(session.found)):
        python = session.python(variant)
        try:
            shared_library(python)
        except pytest.skip.Exception:
            continue
        if python.version < (3, 14):
            return python
    pytest.skip("no interpreter has a shared library")


def test_what_unshare_boot_writes_for_itself_is_no_list(newest: Python) -> None:
    done = newest.run("print('user code')", unshare="=started-over 1 0 python")
    assert (done.status, done.stdout) == (125, "")
    assert newest.run("print('user code')", unshare="=started-over").status == 125
    assert newest.run("print('user code')", unshare="=started-over x").status == 125


@pytest.mark.parametrize("pid", ["²", 5000 * "9"])
def test_nor_is_it_inside_with_a_number_that_is_no_process(newest: Python, pid: str) -> None:
    """Both are digits, and of neither int() makes a number."""
    code = f"""
import os, subprocess, sys
env = {{**os.environ, "PY_UNSHARE": "=started-over {pid} 0 python"}}
print(subprocess.run([sys.executable, "-c", ""], env=env).returncode)
"""
    done = newest.run(code, unshare="user")
    assert "fault of unshare-boot" not in done.stderr
    assert done.ok() == "0\n"


def test_a_child_of_an_early_pth_file(own: Python) -> None:
    """It is started once more in the last interpreter: inside, and left as it is."""
    (own.site_packages / "a_child.pth").write_text(
        "import os, subprocess, sys; os.environ.pop('FIRST', None) and print(subprocess.run("
        "[sys.executable + '3', '-c', 'import os; print(os.environ.get(\"PY_UNSHARE\"), "
        'open("/proc/self/comm").read(), os.stat("/proc/self/ns/net").st_ino)\'],'
        "capture_output=True, text=True).stdout, flush=True)\n"
    )
    told = own.run("pass", unshare="user,net", env={"FIRST": "1"}).ok().split()
    # Twice: beside the interpreter that starts over, the child isolates itself.
    assert told[0::3] == ["None", "None"]
    assert told[1::3] == ["python3", "python3"]
    assert all(int(inode) != namespace_inode("self", "net") for inode in told[2::3])
