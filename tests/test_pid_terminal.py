"""`pid` at a terminal: on a real pseudo-terminal, under a real shell with job control."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from harness import Python, User, lasting_inode, members, until
from harness.terminal import PROMPT, run, shell, terminal

# Says what signals it gets and what lines it reads.
PROGRAM = """
import os, signal, sys
reader, writer = os.pipe()
os.set_blocking(writer, False)
names = sys.argv[1:]
for name in names:
    signal.signal(getattr(signal, name), lambda *_: None)
signal.set_wakeup_fd(writer)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
if os.fork() == 0:
    while True:
        number = os.read(reader, 1)[0]
        print('got', signal.Signals(number).name, flush=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
print('ready', flush=True)
for line in sys.stdin:
    print('read', line.strip(), flush=True)
"""


@pytest.fixture
def program(newest: Python, workdir: Path) -> Callable[..., str]:
    """A shell's words to start PROGRAM with handlers for these signals."""
    path = workdir / "program.py"
    path.write_text(PROGRAM)

    def words(*names: str, unshare: str = "user,pid") -> str:
        return f"PY_UNSHARE={unshare} {newest.executable} {path} {' '.join(names)}"

    return words


def namespace_of_job(leader: int) -> int:
    """The PID namespace that the supervisor's children live in."""
    init, *_ = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    return lasting_inode(init, "pid")


def test_keys_send_their_signals_once(user: User, program: Callable[..., str]) -> None:
    with shell(user) as child:
        child.sendline(program("SIGINT", "SIGQUIT", "SIGWINCH"))
        child.expect_exact("ready\r\n")
        for turn in range(70):
            child.sendcontrol("c")
            child.expect("[^\r\n]+\r\n")
            assert child.after == "got SIGINT\r\n", turn
            child.sendcontrol("\\")
            child.expect("[^\r\n]+\r\n")
            assert child.after == "got SIGQUIT\r\n", turn
            child.setwinsize(30 + turn, 100)
            child.expect("[^\r\n]+\r\n")
            assert child.after == "got SIGWINCH\r\n"
        child.sendline("last")
        child.expect("[^\r\n]+\r\n")
        assert child.after == "read last\r\n"
        child.sendeof()
        child.expect_exact(PROMPT)
        assert "got" not in str(child.before)
        assert run(child, "echo $?") == "0"


@pytest.mark.parametrize(("key", "status"), [("c", "130"), ("\\", "131")])
def test_keys_kill(user: User, newest: Python, key: str, status: str) -> None:
    with shell(user) as child:
        child.sendline(f'PY_UNSHARE=user,pid {newest.executable} -c "{WAIT}"')
        child.expect_exact("ready\r\n")
        child.sendcontrol(key)
        child.expect_exact(PROMPT)
        assert run(child, "echo $?") == status


WAIT = "import signal; print('ready', flush=True); signal.pause()"


def test_stop_foreground_background(user: User, program: Callable[..., str]) -> None:
    with shell(user) as child:
        child.sendline(program("SIGCONT"))
        child.expect_exact("ready\r\n")
        for _ in range(5):
            child.sendcontrol("z")
            child.expect_exact("Stopped")
            child.expect_exact(PROMPT)
            assert "Stopped" in run(child, "jobs -s")
            child.sendline("fg")
            child.expect_exact("got SIGCONT\r\n")
            child.sendline("a line")
            child.expect("[^\r\n]+\r\n")
            assert child.after == "read a line\r\n"
        child.sendcontrol("z")
        child.expect_exact(PROMPT)
        child.sendline("bg")
        child.expect_exact("got SIGCONT\r\n")
        # It reads from the terminal, which stops it in the background.
        until(lambda: "Stopped" in run(child, "jobs"), "the job does not stop")
        child.sendline("fg")
        child.expect_exact("got SIGCONT\r\n")
        child.sendline("again")
        child.expect_exact("read again\r\n")
        child.sendcontrol("c")
        child.expect_exact(PROMPT)
        assert run(child, "echo $?") == "130"


def test_background_runs_on(user: User, newest: Python, workdir: Path) -> None:
    path = workdir / "program.py"
    path.write_text(
        "import signal\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('here', flush=True))\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    with shell(user) as child:
        child.sendline(f"PY_UNSHARE=user,pid {newest.executable} {path}")
        child.expect_exact("ready\r\n")
        child.sendcontrol("z")
        child.expect_exact(PROMPT)
        run(child, "bg")
        for _ in range(5):
            child.sendline("kill -USR1 %1")
            child.expect_exact("here\r\n")
        run(child, "kill %1")
        until(lambda: "Terminated" in run(child, "jobs"), "the job does not end")


def test_a_stopped_job_can_be_killed(user: User, program: Callable[..., str]) -> None:
    with shell(user) as child:
        child.sendline(program())
        child.expect_exact("ready\r\n")
        child.sendcontrol("z")
        child.expect_exact(PROMPT)
        leader = int(run(child, "jobs -p"))
        inode = namespace_of_job(leader)
        assert members(inode)
        run(child, "kill %1")
        until(lambda: not members(inode), "something survives")
        until(lambda: "Terminated" in run(child, "jobs"), "the job does not end")


def test_a_pipeline_stays_in_the_foreground(user: User, program: Callable[..., str]) -> None:
    """Like `… | less`: the last member reads the terminal while the first one runs."""
    with shell(user) as child:
        pager = "sh -c 'read word; read line </dev/tty; echo pager: $word $line; cat'"
        child.sendline(f"{program('SIGINT')} </dev/tty | {pager}")
        # The pager says nothing before it has read a line; which of the two gets it, is chance.
        for _ in range(100):
            child.sendline("line")
            if child.expect_exact(["pager: ready line\r\n", pexpect.TIMEOUT], timeout=0.2) == 0:
                break
        child.sendcontrol("c")  # kills the pager; the program goes on and reads the end of input
        child.sendeof()
        child.expect_exact(PROMPT)
        assert "Stopped" not in run(child, "jobs")


def test_a_stopped_pipeline_goes_on(user: User, program: Callable[..., str]) -> None:
    with shell(user) as child:
        child.sendline(f"{program()} | cat")
        child.expect_exact("ready\r\n")
        for _ in range(3):
            child.sendcontrol("z")
            child.expect_exact("Stopped")
            child.expect_exact(PROMPT)
            child.sendline("fg")
            child.sendline("hello")
            child.expect_exact("read hello\r\n")
        child.sendeof()
        child.expect_exact(PROMPT)
        assert run(child, "echo $?") == "0"


@pytest.mark.parametrize("leader", [False, True])
def test_the_terminal_goes_away(user: User, newest: Python, leader: bool) -> None:
    """A program that leads the session is alone in getting the hangup (tty_ioctl(4))."""
    if leader:
        start = terminal(user, [str(newest.executable), "-c", WAIT], unshare="user,pid")
    else:
        start = shell(user)
    with start as child:
        if not leader:
            child.sendline(f'PY_UNSHARE=user,pid {newest.executable} -c "{WAIT}"')
        child.expect_exact("ready\r\n")
        supervisor = os.tcgetpgrp(child.child_fd)
        inode = namespace_of_job(supervisor)
        assert len(members(inode)) == 2
        child.ptyproc.fileobj.close()  # type: ignore[attr-defined]
        until(lambda: not members(inode), "something survives")
        if leader:
            child.wait()
            assert child.signalstatus == signal.SIGHUP


def test_a_program_that_leads_the_session(newest: Python, workdir: Path, user: User) -> None:
    """As pexpect and terminal emulators start it."""
    path = workdir / "program.py"
    path.write_text(PROGRAM)
    argv = [str(newest.executable), str(path), "SIGINT", "SIGTSTP"]
    with terminal(user, argv, unshare="user,pid") as child:
        child.expect_exact("ready\r\n")
        for _ in range(20):
            for key, name in (("c", "SIGINT"), ("z", "SIGTSTP")):
                child.sendcontrol(key)
                child.expect("[^\r\n]+\r\n")
                assert child.after == f"got {name}\r\n"
        child.sendline("line")
        child.expect_exact("read line\r\n")
        child.sendeof()
        child.expect(pexpect.EOF)
        assert "got" not in str(child.before)
        child.wait()
        assert child.exitstatus == 0


def test_an_interactive_shell_inside(user: User, newest: Python, workdir: Path) -> None:
    """It takes the terminal for its jobs, and the program has it again afterwards."""
    path = workdir / "program.py"
    path.write_text(
        "import subprocess\n"
        "for _ in range(2):\n"
        "    print('status', subprocess.call(['bash', '--norc', '--noprofile', '-i']))\n"
        "    print('read', input('line: '), flush=True)\n"
    )
    with shell(user) as child:
        child.sendline(f"PS1='inner''> ' PY_UNSHARE=user,pid {newest.executable} {path}")
        for _ in range(2):
            child.expect_exact("inner> ")
            child.sendline("cat")
            child.sendline("echoed")
            child.expect_exact("echoed\r\n")
            child.sendcontrol("z")
            child.expect_exact("Stopped")
            child.expect_exact("inner> ")
            child.sendline("fg")
            child.sendline("once more")
            child.expect_exact("once more\r\n")
            child.sendcontrol("c")
            child.expect_exact("inner> ")
            assert "job control" not in str(child.before)
            child.sendline("exit 3")
            child.expect_exact("status 3\r\n")
            child.sendline("hello")
            child.expect_exact("read hello\r\n")
        child.expect_exact(PROMPT)
        assert run(child, "echo $?") == "0"


def test_script_and_pexpect_inside(newest: Python, user: User) -> None:
    """A new session on a pseudo-terminal of its own, in the program."""
    code = """
import os, pty
pid, terminal = pty.fork()
if pid == 0:
    os.execvp('sh', ['sh', '-ic', 'echo $$; exit 4'])
output = b''
try:
    while data := os.read(terminal, 1024):
        output += data
except OSError:
    pass
_, status = os.waitpid(pid, 0)
print(str(pid).encode() in output, status >> 8, os.getsid(0))
"""
    with terminal(user, [str(newest.executable), "-c", code], unshare="user,pid") as child:
        child.expect_exact("True 4 0\r\n")
        child.expect(pexpect.EOF)
