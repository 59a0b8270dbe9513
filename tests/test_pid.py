"""`pid`: what whoever started the program sees of it, and what the program sees inside."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import (
    Python,
    User,
    lasting_inode,
    members,
    namespace_inode,
    require_root,
    require_tool,
    until,
)
from harness.outer import open_files

HERE = Path(__file__).resolve().parent
SECONDS = 30  # until a test gives up waiting for something to happen

CATCHABLE = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
REAL_TIME = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
DEADLY = sorted(
    set(CATCHABLE)
    - {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
    - {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    | {signal.SIGKILL}
)

# Says the number of each signal that it gets, as often as the kernel delivers it.
LISTENER = """
import os, signal
reader, writer = os.pipe()
os.set_blocking(writer, False)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, lambda *_: None)
signal.set_wakeup_fd(writer)
print("ready", flush=True)
while True:
    os.write(1, b"%d\\n" % os.read(reader, 1)[0])
"""

WAITER = "import signal; print('ready', flush=True); signal.pause()"

# Leaves a process behind that is nobody's child, in a session of its own, as daemons do.
DAEMON = """
import os, signal, sys
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(0); os.close(1); os.close(2)
            while True:
                signal.pause()
        os._exit(0)
    os.wait()
daemon()
"""


def inside(supervisor: int) -> tuple[int, int]:
    """The process ids of init and of the program, out here."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    init, program = map(int, children)
    return init, program


def proc_status(pid: int, name: str) -> str:
    """The first word of a line of proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def takes(pid: int, number: int) -> bool:
    """Whether a signal does not wait any more for a process that blocks it."""
    return not int(proc_status(pid, "ShdPnd"), 16) >> (number - 1) & 1


def with_argument(text: str) -> list[int]:
    """The processes, zombies apart, that have this text in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(text in argument for argument in process.cmdline()):
                found.append(process.pid)
    return found


@contextlib.contextmanager
def started(
    python: Python, code: str, unshare: str = "user,pid", **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a program that says that it is ready."""
    with python.popen(code, unshare=unshare, **options) as child:
        assert child.stdout and child.stderr
        line = child.stdout.readline()
        assert line == "ready\n", f"{line}{child.stderr.read()}"
        yield child


def heard(child: subprocess.Popen[str]) -> int:
    """The next signal that a LISTENER has got."""
    assert child.stdout
    return int(child.stdout.readline())


# How it ends


def test_exit_statuses_are_passed_on(oldest: Python, newest: Python) -> None:
    for python in (oldest, newest):
        code = "import os, sys; os._exit(int(sys.argv[1]))"
        for status in sorted({*range(0, 256, 8), 1, 2, *range(124, 130), 255}):
            done = python.run(["-c", code, str(status)], unshare="user,pid")
            assert (done.status, done.stdout, done.stderr) == (status, "", "")


def test_the_program_ends_as_ever(python: Python) -> None:
    for code, status in (("", 0), ("import sys; sys.exit(3)", 3), ("1 / 0", 1)):
        assert python.run(code, unshare="user,pid").status == status
    code = "import atexit; atexit.register(print, 'at exit'); print('buffered', end=' ')"
    assert python.run(code, unshare="user,pid").ok() == "buffered at exit\n"


def test_death_by_a_signal_is_death_by_that_signal(oldest: Python, newest: Python) -> None:
    code = (
        "import os, signal, sys; number = int(sys.argv[1])\n"
        "if number != signal.SIGKILL: signal.signal(number, signal.SIG_DFL)\n"
        "os.kill(os.getpid(), number)"
    )
    for python in (oldest, newest):
        for number in DEADLY:
            done = python.run(["-c", code, str(int(number))], unshare="user,pid")
            assert (done.status, done.stderr) == (-number, "")


def test_the_supervisor_dumps_no_core_of_its_own(newest: Python, workdir: Path) -> None:
    def dumped(unshare: str | None) -> bool:
        def allow() -> None:
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

        code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
        with newest.popen(code, unshare=unshare, preexec_fn=allow, cwd=workdir) as child:
            _, status = os.waitpid(child.pid, 0)
        assert os.WTERMSIG(status) == signal.SIGSEGV
        return os.WCOREDUMP(status)

    if not dumped(None):
        pytest.skip("this machine writes no core files")
    assert not dumped("user,pid")


# What it is told by number.


def test_what_a_service_manager_tells_is_for_the_program(oldest: Python, newest: Python) -> None:
    """LISTEN_PID and the like name the process that was started; another's number stays."""
    code = (
        "import os; print(os.getpid(), *map(os.environ.get, ('LISTEN_PID', 'WATCHDOG_PID', 'X')))"
    )
    script = 'LISTEN_PID=$$ WATCHDOG_PID=1$$ X=$$; export LISTEN_PID WATCHDOG_PID X; exec "$@"'
    for python in (oldest, newest):
        for unshare in ("user", "user,pid"):
            argv = ["sh", "-c", script, "sh", *python.command(code)]
            told = python.user.run(argv, env={"PY_UNSHARE": unshare}).ok().split()
            own, listen, watchdog, other = told
            assert listen == own and watchdog == f"1{other}"
            assert (own == "2") == ("pid" in unshare)


# Signals


def test_each_signal_arrives_once(oldest: Python, newest: Python) -> None:
    choice = random.Random(3)
    for python in (oldest, newest):
        sent = CATCHABLE + [choice.choice(CATCHABLE) for _ in range(200)]
        with started(python, LISTENER) as child:
            for number in sent:
                child.send_signal(number)
                assert heard(child) == number
            child.send_signal(signal.SIGRTMAX)  # the last to be delivered, had one come twice
            assert heard(child) == signal.SIGRTMAX


def test_each_signal_to_the_process_group_arrives_once(oldest: Python, newest: Python) -> None:
    choice = random.Random(4)
    # SIGCONT revokes the stop signals that are still on their way, and they revoke it, signal(7).
    numbers = sorted(set(CATCHABLE) - {signal.SIGUSR1, signal.SIGCONT})
    for python in (oldest, newest):
        sent = [choice.choice(numbers) for _ in range(200)] + numbers + 20 * [signal.SIGCONT]
        with started(python, LISTENER) as child:
            for number in sent:
                os.killpg(child.pid, number)
                assert heard(child) == number
                if number % 3 == 0:  # what was sent to the group does not hide what is not
                    child.send_signal(signal.SIGUSR1)
                    assert heard(child) == signal.SIGUSR1
            child.send_signal(signal.SIGRTMAX)
            assert heard(child) == signal.SIGRTMAX


@pytest.mark.parametrize("which", ["oldest", "newest"])
@pytest.mark.parametrize("alone", [False, True])
def test_two_signals_while_init_is_behind(
    request: pytest.FixtureRequest, which: str, alone: bool
) -> None:
    """It has one for two then; of another sender's the second may be for the program alone."""
    with started(request.getfixturevalue(which), LISTENER) as child:
        init, _ = inside(child.pid)
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGILL):
            os.kill(init, signal.SIGSTOP)
            until(lambda: proc_status(init, "State") == "T", "init does not stop")
            os.killpg(child.pid, number)
            assert heard(child) == number
            until(partial(takes, child.pid, number), "the supervisor does not take it")
            if alone:
                subprocess.check_call(["kill", f"-{int(number)}", str(child.pid)])
            else:
                os.killpg(child.pid, number)
                assert heard(child) == number
            os.kill(init, signal.SIGCONT)
            if alone:
                assert heard(child) == number
            child.send_signal(signal.SIGRTMAX)
            assert heard(child) == signal.SIGRTMAX


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")


def test_a_signal_by_the_command_line(newest: Python, workdir: Path) -> None:
    """pkill(1) finds the program alone: the other two have taken names of their own."""
    require_tool("pkill")
    name = f"app-{workdir.name}"
    with newest.popen(["-c", LISTENER, name], unshare="user,pid") as child:
        assert child.stdout and child.stdout.readline() == "ready\n"
        init, program = (process.pid for process in psutil.Process(child.pid).children())
        until(lambda: command_line(init) == "unshare-boot: init", "not yet")
        until(lambda: command_line(child.pid) == "unshare-boot: supervisor", "not yet")
        found = subprocess.run(["pgrep", "-f", name], check=True, capture_output=True)
        assert found.stdout == b"%d\n" % program
        for number in (signal.SIGHUP, signal.SIGUSR1) * 5:
            subprocess.run(["pkill", f"-{number}", "-f", name], check=True)
            assert int(child.stdout.readline()) == number
        child.kill()
        assert child.stdout.read() == ""


def test_a_signal_in_every_interpreter(python: Python) -> None:
    with started(python, LISTENER) as child:
        for _ in range(5):
            for number in (signal.SIGINT, signal.SIGCHLD, signal.SIGRTMIN):
                child.send_signal(number)
                assert heard(child) == number
                os.killpg(child.pid, number)
                assert heard(child) == number


@pytest.mark.parametrize("to_group", [False, True])
def test_real_time_signals_queue(newest: Python, to_group: bool) -> None:
    code = """
import os, signal
numbers = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while True:
    print(int(signal.sigwait(numbers)), flush=True)
"""
    with started(newest, code) as child:
        for _ in range(200):
            (os.killpg if to_group else os.kill)(child.pid, signal.SIGRTMIN + 3)
        assert [heard(child) for _ in range(200)] == [signal.SIGRTMIN + 3] * 200
        child.send_signal(signal.SIGRTMAX)
        assert heard(child) == signal.SIGRTMAX


def test_the_program_can_signal_its_own_group(newest: Python) -> None:
    own_group = "os.killpg(os.getpgrp(), signal.SIGUSR2)\nwhile True:"
    code = LISTENER.replace("while True:", own_group)
    with started(newest, code) as child:
        assert heard(child) == signal.SIGUSR2
        child.send_signal(signal.SIGRTMAX)
        assert heard(child) == signal.SIGRTMAX


def test_a_signal_sent_to_init_does_nothing(newest: Python) -> None:
    with started(newest, LISTENER) as child:
        init, _ = inside(child.pid)
        for number in CATCHABLE:
            os.kill(init, number)
        time.sleep(1.2)  # after a second, these do not count as sent to the group any more
        for number in CATCHABLE:
            child.send_signal(number)
            assert heard(child) == number


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_what_kills_a_program_kills_it(python: Python, name: str) -> None:
    number = getattr(signal, name)
    code = f"import signal; signal.signal({int(number)}, signal.SIG_DFL)\n{WAITER}"
    with started(python, code) as child:
        inode = lasting_inode(inside(child.pid)[1], "pid")
        child.send_signal(number)
        assert child.wait(SECONDS) == -number
        assert not members(inode)


def test_a_signal_during_the_start_is_not_lost(newest: Python) -> None:
    """However early it comes, the program dies of it; or of what Python makes of it (SIGINT)."""
    choice = random.Random(5)
    usual = 0.04
    for turn in range(60):
        send = os.killpg if turn % 2 else os.kill
        with newest.popen("import signal; signal.pause()", unshare="user,pid") as child:
            time.sleep(choice.uniform(0, usual))
            send(child.pid, signal.SIGTERM)
            assert child.wait(SECONDS) == -signal.SIGTERM


def test_the_start_itself_loses_no_signal(newest: Python) -> None:
    """A signal that is pending when the supervisor starts is the program's."""

    def block_and_raise() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGRTMIN})
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGRTMIN)

    code = "import signal; print(*sorted(map(int, signal.sigpending())))"
    done = newest.run(code, unshare="user,pid", preexec_fn=block_and_raise)
    assert done.ok().split() == [str(int(signal.SIGUSR1)), str(int(signal.SIGRTMIN))]


def test_signal_mask_and_dispositions_are_untouched(python: Python) -> None:
    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGRTMIN + 3})
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    code = (
        "import sys; lines = open('/proc/self/status').read().splitlines(); "
        "print(*[line for line in lines if line[:4] in ('SigP', 'ShdP', 'SigB', 'SigI', 'SigC')]); "
        "sys.exit(7)"
    )
    changed: dict[str, Any] = {"preexec_fn": prepare, "restore_signals": False}
    for options in ({}, changed):
        bare = python.run(code, **options)
        done = python.run(code, unshare="user,pid", **options)
        assert (bare.status, done.status, done.stdout) == (7, 7, bare.stdout)
        assert "SigCgt" in done.stdout


def test_an_alarm_set_before_the_start_rings_in_the_program(newest: Python) -> None:
    code = "import signal; print(*signal.getitimer(signal.ITIMER_REAL))"

    def prepare() -> None:
        signal.setitimer(signal.ITIMER_REAL, 500, 7)

    done = newest.run(code, unshare="user,pid", preexec_fn=prepare)
    value, interval = map(float, done.ok().split())
    assert 400 < value <= 500 and interval == 7


# Stopping and going on, without a terminal


def state(pid: int) -> str:
    """The state letter of proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("how", ["supervisor", "group", "itself"])
def test_stop_and_go_on(newest: Python, how: str) -> None:
    code = "import os, signal, sys\nsignal.signal(signal.SIGTSTP, signal.SIG_DFL)\n"
    code += "print('ready', flush=True)\n"
    code += "for line in sys.stdin:\n if line == 'stop\\n': os.kill(os.getpid(), signal.SIGSTOP)\n"
    code += " print(line, end='', flush=True)\n"
    # Not a session leader's group: the kernel stops no orphaned group by SIGTSTP.
    with job(newest, code) as child:
        assert child.stdin and child.stdout
        _, program = inside(child.pid)
        for _ in range(10):
            if how == "supervisor":
                child.send_signal(signal.SIGTSTP)
                number = signal.SIGTSTP
            elif how == "group":
                os.killpg(child.pid, signal.SIGTSTP)
                number = signal.SIGTSTP
            else:
                print("stop", file=child.stdin, flush=True)
                number = signal.SIGSTOP
            _, status = os.waitpid(child.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == number
            until(lambda: state(program) == "T", "the program does not stop")
            (os.killpg if how == "group" else os.kill)(child.pid, signal.SIGCONT)
            if how == "itself":
                assert child.stdout.readline() == "stop\n"
            print("hello", file=child.stdin, flush=True)
            assert child.stdout.readline() == "hello\n"


@contextlib.contextmanager
def job(python: Python, code: str) -> Iterator[subprocess.Popen[str]]:
    """As a shell with job control starts it: a group of its own, in the shell's session."""
    with started(python, code, start_new_session=False, preexec_fn=os.setpgrp) as child:
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


# Nothing is left behind


def test_kill_9_of_the_supervisor_ends_all(python: Python) -> None:
    with started(python, DAEMON + WAITER) as child:
        inode = lasting_inode(inside(child.pid)[1], "pid")
        assert len(members(inode)) == 3
        child.kill()
        assert child.wait(SECONDS) == -signal.SIGKILL
        until(lambda: not members(inode), "something survives the supervisor")


def test_kill_9_of_the_supervisor_ends_what_is_stopped(newest: Python) -> None:
    with started(newest, DAEMON + WAITER) as child:
        init, program = inside(child.pid)
        inode = lasting_inode(program, "pid")
        os.kill(program, signal.SIGSTOP)
        until(lambda: state(child.pid) == "T", "the supervisor does not stop")
        os.kill(init, signal.SIGSTOP)
        child.kill()
        until(lambda: not members(inode), "something survives the supervisor")


def test_kill_9_of_init_ends_all(python: Python) -> None:
    with started(python, DAEMON + WAITER) as child:
        init, program = inside(child.pid)
        inode = lasting_inode(program, "pid")
        os.kill(init, signal.SIGKILL)
        assert child.wait(SECONDS) == -signal.SIGKILL
        assert not members(inode)


def test_nothing_outlives_the_program(python: Python) -> None:
    code = DAEMON * 3 + "import sys; print('ready', flush=True); sys.stdin.read(); sys.exit(5)"
    with started(python, code) as child:
        assert child.stdin
        inode = lasting_inode(inside(child.pid)[1], "pid")
        assert len(members(inode)) == 5
        child.stdin.close()
        assert child.wait(SECONDS) == 5
        assert not members(inode)


def test_no_moment_of_the_start_lets_kill_9_leave_anything(newest: Python, workdir: Path) -> None:
    choice = random.Random(6)
    token = f"token-{workdir.name}"
    for _ in range(80):
        command = ["-c", "import signal; signal.pause()", token]
        with newest.popen(command, unshare="user,pid") as child:
            time.sleep(choice.uniform(0, 0.04))
            child.kill()
            child.wait(SECONDS)
    until(lambda: not with_argument(token), "a process survives")


def test_init_does_not_miss_that_the_supervisor_is_dead(newest: Python, workdir: Path) -> None:
    """Killed before init has asked the kernel to be told (by its second prctl(2))."""
    strace = require_tool("strace")
    token = f"token-{workdir.name}"
    slow = ["-e", "trace=prctl", "-e", "inject=prctl:delay_enter=3000000:when=2"]
    command = newest.command(["-c", WAITER, token])
    with newest.user.popen(
        [strace, "-f", "-qq", "-o", "/dev/null", *slow, *command], env={"PY_UNSHARE": "user,pid"}
    ) as tracer:
        assert tracer.stdout
        assert tracer.stdout.readline() == "ready\n"
        supervisor = psutil.Process(tracer.pid).children()[0].pid
        inode = lasting_inode(inside(supervisor)[1], "pid")
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: not members(inode), "something survives the supervisor")


ORPHANS = """
import os, time
for _ in range(NUMBER):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
def others():
    return [name for name in os.listdir('/proc') if name.isdigit() and int(name) > 2]
deadline = time.monotonic() + 20
while others() and time.monotonic() < deadline:
    time.sleep(0.01)
print(others())
"""


def test_a_thousand_orphans_are_reaped(oldest: Python, newest: Python) -> None:
    for python in (oldest, newest):
        assert python.run(ORPHANS.replace("NUMBER", "1000"), unshare="user,pid").ok() == "[]\n"


def test_orphans_that_end_before_init_runs(newest: Python, user: User) -> None:
    """As on a busy machine; what init calls first, and the program only in the end, waits."""
    late = ["inject=rt_sigaction:delay_enter=700000:when=1", "-e", "trace=rt_sigaction"]
    strace = [require_tool("strace"), "-f", "-qq", "-o", "/dev/null", "-e", *late]
    command = newest.command(ORPHANS.replace("NUMBER", "9"))
    assert user.run([*strace, *command], env={"PY_UNSHARE": "user,pid"}).ok() == "[]\n"


# What other programs see


def test_timeout_and_its_status(newest: Python, user: User, workdir: Path) -> None:
    require_tool("timeout")
    token = f"token-{workdir.name}"
    command = newest.command(["-c", "import signal; signal.pause()", token])
    done = user.run(["timeout", "1", *command], env={"PY_UNSHARE": "user,pid"})
    assert done.status == 124
    done = user.run(["timeout", "-s", "KILL", "1", *command], env={"PY_UNSHARE": "user,pid"})
    assert done.status in (137, -9)
    until(lambda: not with_argument(token), "a process survives")


def test_popen_terminate_and_send_signal(newest: Python) -> None:
    with started(newest, LISTENER) as child:
        child.terminate()
        assert heard(child) == signal.SIGTERM
        child.send_signal(signal.SIGUSR1)
        assert heard(child) == signal.SIGUSR1
    with started(newest, WAITER) as child:
        child.terminate()
        assert child.wait(SECONDS) == -signal.SIGTERM


def test_a_shell_pipeline(newest: Python, user: User) -> None:
    bash = require_tool("bash")
    script = f"""
set -o pipefail
export PY_UNSHARE=user,pid
python={newest.executable}
$python -c 'import sys; print("out"); sys.exit(7)' | cat; echo $?
echo in | $python -c 'import sys; print(sys.stdin.read(), end="")' | cat; echo $?
$python -c '
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
while True: print("y")' | head -n 1; echo $?
$python -c 'import os; os.kill(os.getpid(), 15)' | cat; echo $?
"""
    done = user.run([bash, "-c", script])
    assert done.ok().split() == ["out", "7", "in", "0", "y", "141", "143"]


def test_a_reader_sees_the_end_of_a_pipe_that_the_program_closes(python: Python) -> None:
    reader, writer = os.pipe()
    code = f"import os, sys; os.close({writer}); os.close(1); os.close(2); sys.stdin.read()"
    with python.popen(code, unshare="user,pid", pass_fds=[writer]) as child:
        os.close(writer)
        assert child.stdin and child.stdout and child.stderr
        assert os.read(reader, 1) == b""
        assert (child.stdout.read(), child.stderr.read()) == ("", "")
        assert child.poll() is None
        child.stdin.close()
        child.wait(SECONDS)
    os.close(reader)


def test_supervisor_and_init_hold_nothing_of_the_program(newest: Python, workdir: Path) -> None:
    require_root()  # to look into the supervisor
    path = workdir / "file"
    path.touch()
    with open(path) as file, newest.hold("user,pid", pass_fds=[file.fileno()]) as supervisor:
        init, program = inside(supervisor)

        def nothing_shared(pid: int) -> bool:
            return not open_files(pid) & theirs

        theirs = open_files(program)
        assert str(path) in theirs
        for pid in (supervisor, init):
            until(partial(nothing_shared, pid), "a descriptor is held open")


@pytest.mark.parametrize("as_root", [False, True])
def test_root_inside_does_not_get_hold_of_the_supervisor(oldest: Python, as_root: bool) -> None:
    """It is outside of the PID namespace, but in the program's user namespace."""
    code = """
import ctypes, os
print(ctypes.CDLL(None).umount2(b"/proc", 0))
def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.split(":", 1) for line in file)
parent = status("self")["PPid"].strip()
print(status(parent)["NSpid"].split() == [parent])
def tried(path, call, *arguments):
    try:
        call(f"/proc/{parent}/{path}", *arguments)
    except PermissionError as error:
        return error.strerror
print({tried("mem", os.open, os.O_RDWR), tried("environ", open)}
      | {tried(path, os.listdir) for path in ("root", "cwd")}
      | {tried("ns/" + kind, os.readlink) for kind in ("pid", "user", "mnt")})
"""
    done = oldest.run(code, unshare="user,pid", as_root=as_root)
    assert done.ok().splitlines() == ["0", "True", "{'Permission denied'}"]


def test_supervisor_and_init_are_light(python: Python) -> None:
    """Under 4 MiB that would be free without them, when the program shares no page any more."""
    require_root()  # to look into the supervisor
    code = "import os; print('ready', flush=True); os.execvp('cat', ['cat'])"
    with started(python, code) as child:
        init, program = inside(child.pid)
        until(lambda: Path(f"/proc/{program}/comm").read_text() == "cat\n", "no exec")
        # The supervisor lets go of what it can while the program goes on.
        until(lambda: private(child.pid) < 4096, "the supervisor is heavy")
        assert 0 < private(init) < 4096


def private(pid: int) -> int:
    """KiB that no other process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = [line for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:"))]
    return sum(int(line.split()[1]) for line in own)


# What the program sees


def test_init_forgets_signals_that_nobody_asks_for(newest: Python) -> None:
    with started(newest, WAITER) as child:
        init, _ = inside(child.pid)

        def send(count: int) -> None:
            for number in range(count):
                os.kill(init, signal.SIGRTMIN)
                if number % 1000 == 999:
                    until(lambda: takes(init, signal.SIGRTMIN), "init takes no signals")

        send(1000)
        before = int(proc_status(init, "RssAnon"))
        send(20_000)
        assert int(proc_status(init, "RssAnon")) < before + 256  # KiB


def test_process_ids(python: Python) -> None:
    code = """
import os, subprocess, sys
print(os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0))
print(sorted(name for name in os.listdir('/proc') if name.isdigit()))
print(os.readlink('/proc/self'), open('/proc/1/comm').read().strip())
sys.stdout.flush()
os.execv(sys.executable, [sys.executable, '-c', 'import os; print(os.getpid())'])
"""
    done = python.run(code, unshare="user,pid")
    assert done.ok() == "2 0 0 0\n['1', '2']\n2 unshare-init\n2\n"


def test_a_working_directory_that_the_fresh_proc_covers(newest: Python) -> None:
    code = "import os; print(os.path.samefile('.', '/proc/sys'), os.path.exists('/proc/2'))"
    done = newest.run(code, unshare="user,pid", cwd="/proc/sys")
    assert done.ok() == "True True\n"


def test_active_with_either_proc(python: Python) -> None:
    code = "import os, unshare_boot; print(*unshare_boot.active(), os.path.exists('/proc/1/comm'))"
    assert python.run(code, unshare="user,pid").ok() == "user mount pid True\n"
    assert python.run(code, unshare="user,pid,proc=keep").ok() == "user pid True\n"
    code = "import os; print(os.getpid(), os.readlink('/proc/self') != '2')"
    assert python.run(code, unshare="user,pid,proc=keep").ok() == "2 True\n"


def test_ps_and_psutil_see_this_namespace_only(newest: Python, workdir: Path) -> None:
    require_tool("ps")
    assert psutil.__file__
    shutil.copytree(Path(psutil.__file__).parent, workdir / "psutil")
    code = """
import os, psutil, subprocess
print([process.pid for process in psutil.process_iter()], psutil.Process().parent())
print(subprocess.run(['ps', '-e', '-o', 'pid='], capture_output=True).stdout.split())
"""
    done = newest.run(code, unshare="user,pid", env={"PYTHONPATH": str(workdir)})
    assert done.ok() == "[1, 2] None\n[b'1', b'2', b'3']\n"


def test_what_starts_processes_works(python: Python, workdir: Path) -> None:
    script = workdir / "script.py"
    script.write_text("""
import asyncio, concurrent.futures, multiprocessing, os, signal, subprocess, sys, threading

def double(number):
    return 2 * number

async def child():
    process = await asyncio.create_subprocess_exec(
        sys.executable, '-c', 'print(5)', stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return process.returncode, output

if __name__ == '__main__':
    for method in ('fork', 'spawn', 'forkserver'):
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            print(list(pool.map(double, range(3))))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        print(list(pool.map(double, range(3))))
    print(asyncio.run(child()))
    thread = threading.Thread(target=print, args=('thread',))
    thread.start(); thread.join()
    print(threading.main_thread() is threading.current_thread())
    with subprocess.Popen(['sleep', '1000'], start_new_session=True) as process:
        os.killpg(process.pid, signal.SIGTERM)
    print(process.returncode)
""")
    done = python.run([script], unshare="user,pid")
    pools = "[0, 2, 4]\n" * 4
    assert done.ok() == f"{pools}(0, b'5\\n')\nthread\nTrue\n-15\n"
    assert done.stderr == ""


def test_pytest_xdist_inside(workdir: Path, tmp_path: Path) -> None:
    """By `unshare()`, in the interpreter that runs this suite, since that has pytest-xdist."""
    (workdir / "test_it.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.parametrize('number', range(8))\n"
        "def test_it(number): assert os.getppid() == 2\n"
    )
    # A directory of its own: whoever is root inside must not share /tmp/pytest-of-root with root.
    options = [
        "-q",
        "-n2",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        f"--basetemp={tmp_path}/of",
    ]
    code = (
        "import unshare_boot; unshare_boot.unshare('user,pid'); import pytest, sys; "
        f"sys.exit(pytest.main([*{options}, '.']))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workdir,
        env={**env, "PYTHONPATH": str(HERE.parent / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_nested(newest: Python) -> None:
    code = """
import os, subprocess, sys
inner = subprocess.run(
    [sys.executable, '-c',
     'import os; print(os.getpid(), os.getppid(), flush=True); os.kill(2, 9)'],
    env={**os.environ, 'PY_UNSHARE': 'user,pid'}, stdout=subprocess.PIPE)
print(os.getpid(), inner.stdout, inner.returncode)
"""
    assert newest.run(code, unshare="user,pid").ok() == "2 b'2 0\\n' -9\n"


def test_with_everything_else(python: Python, workdir: Path) -> None:
    everything = f"user,net,mount,uts=box,ipc,cgroup,time=+90,pid,sys,tmpfs={workdir},caps=none"
    code = (
        "import os, unshare_boot; "
        "print(*unshare_boot.active(), os.getpid(), os.listdir('/sys/class/net'))"
    )
    done = python.run(code, unshare=everything, cwd=workdir)
    assert done.ok() == "user net mount uts ipc cgroup time pid 2 ['lo']\n"


def test_from_the_programs_first_line(python: Python) -> None:
    code = """
import atexit, os, sys
sys.stdout.write('written once\\n')
atexit.register(lambda: os.write(1, b'at exit\\n'))
os.register_at_fork(after_in_child=lambda: os.write(1, b'child %d\\n' % os.getpid()))
import unshare_boot
before = os.getpid()
unshare_boot.unshare('user,pid')
print(os.getpid() != before, unshare_boot.active())
sys.exit(9)
"""
    done = python.run(code)
    lines = done.stdout.splitlines()
    assert done.status == 9, done.stderr
    assert lines.count("written once") == lines.count("at exit") == 1
    assert "True ('user', 'mount', 'pid')" in lines
    assert "child 1" not in lines and "child 2" in lines


# Joining


def test_join(python: Python) -> None:
    with python.hold("user,pid") as supervisor:
        init, program = inside(supervisor)
        paths = ",".join(f"{kind}=/proc/{init}/ns/{file}" for kind, file in NAMES)
        code = (
            "import os, sys; print(os.getpid() > 2, os.stat('/proc/self/ns/pid').st_ino)\n"
            "sys.exit(77)"
        )
        done = python.run(code, unshare=paths)
        assert (done.status, done.stderr) == (77, "")
        assert done.stdout == f"True {namespace_inode(init, 'pid')}\n"
        inode = lasting_inode(init, "pid")
        assert members(inode) == {init, program}
        with started(python, LISTENER, unshare=paths) as child:
            for number in (signal.SIGUSR1, signal.SIGRTMIN):
                child.send_signal(number)
                assert heard(child) == number
                os.killpg(child.pid, number)
                assert heard(child) == number
            child.kill()
            child.wait(SECONDS)
            until(lambda: members(inode) == {init, program}, "the program survives")
        with started(python, LISTENER, unshare=paths) as child:
            os.kill(init, signal.SIGKILL)
            assert child.wait(SECONDS) == -signal.SIGKILL


NAMES = (("user", "user"), ("mount", "mnt"), ("pid", "pid"))


# Refusals


def test_a_process_limit(newest: Python, workdir: Path) -> None:
    """Of a user that has no other process, so that each fork in turn is the one too many."""
    require_root()
    nobody = User(newest.user.uid + 1, newest.user.gid + 1, workdir)
    os.chown(workdir, nobody.uid, nobody.gid)
    token = f"token-{workdir.name}"
    for most, status in ((1, 125), (2, 125), (3, 0)):

        def limit(most: int = most) -> None:
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))

        done = nobody.run(
            newest.command(["-c", "print('user code')", token]),
            env={"PY_UNSHARE": "user,pid"},
            preexec_fn=limit,
        )
        assert (done.status, done.stdout) == (status, "" if status else "user code\n")
        if status:
            assert done.stderr.count("refused") == 1
            assert "fork" in done.stderr
        until(lambda: not with_argument(token), "a process survives")


def test_a_masked_proc_names_the_cure(python: Python, user: User, workdir: Path) -> None:
    require_tool("unshare")
    script = 'mount -t tmpfs none /proc/sys && exec "$0" "$@"'
    token = f"token-{workdir.name}"
    command = python.command(["-c", "print('user code')", token])
    masked = ["unshare", "-Urm", "sh", "-c", script, *command]
    done = user.run(masked, env={"PY_UNSHARE": "user,pid"})
    assert (done.status, done.stdout) == (125, "")
    assert done.stderr.count("refused") == 1 and "proc=keep" in done.stderr
    until(lambda: not with_argument(token), "a process survives")
    done = user.run(masked, env={"PY_UNSHARE": "user,pid,proc=keep"})
    assert done.ok() == "user code\n"


def test_a_namespace_limit(newest: Python, user: User) -> None:
    require_tool("unshare")
    script = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$0" "$@"'
    command = newest.command("print('user code')")
    done = user.run(["unshare", "-Ur", "sh", "-c", script, *command], env={"PY_UNSHARE": "pid"})
    assert (done.status, done.stdout) == (125, "")
    assert "max_pid_namespaces" in done.stderr


def test_without_user_it_is_refused(newest: Python) -> None:
    done = newest.run("print('user code')", unshare="pid")
    assert (done.status, done.stdout) == (125, "")
    assert "user,pid" in done.stderr


MASKED = """
touch mask; echo masked >mask; mount --bind mask /proc/uptime && exec "$@"
"""


def test_a_masked_proc_and_real_root(newest: Python, workdir: Path) -> None:
    """Who may mount is held back by nothing; a user namespace is."""
    require_root()
    code = "print(open('/proc/uptime').read() == 'masked\\n')"
    outer = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", MASKED, "sh"]
    command = [*outer, *newest.command(code)]
    for listing, masked in (("mount", True), ("pid", False), ("pid,proc=keep", True)):
        done = newest.root.run(command, env={"PY_UNSHARE": listing}, cwd=workdir)
        assert done.ok() == f"{masked}\n", listing
    done = newest.root.run(command, env={"PY_UNSHARE": "user,pid"}, cwd=workdir)
    assert done.status == 125 and "parts of /proc are masked" in done.stderr
