"""What service managers, sudo and cron do to a program that they start."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Finished, Python, Session, namespace_inode, require_root, require_tool, until
from harness.processes import Argument
from proof.conftest import Tally, Watch
from proof.programs import CLIENT, DEADLINE, WHERE, equipped, kinds_of, running
from proof.programs import pytest_generate_tests as pytest_generate_tests

APP = f"""
import json
{WHERE}

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(where()).encode()]
"""

SAY = f"import json\n{WHERE}\nprint(json.dumps(where()))"


@pytest.fixture
def real(session: Session, which: str) -> Python:
    return equipped(session, which)


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    (workdir / "app.py").write_text(APP)
    session.give(workdir)
    return workdir


def isolated(place: dict[str, Any], unshare: str) -> bool:
    """Whether a program is, by what it has said of itself."""
    inside = place["namespaces"]
    return all(inside[kind] != namespace_inode("self", kind) for kind in kinds_of(unshare))


def test_notify(real: Python, place: Path, watch: Watch, tally: Tally) -> None:
    """sd_notify(3) by gunicorn, to a socket that has a path; with `pid` it is not the main PID."""
    argv = ["-m", "gunicorn", "-b", "127.0.0.1:{port}", "app:app"]
    for unshare in (None, "user,net,mount", "user,net,pid"):
        path = place / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            path.chmod(0o777)
            manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            manager.settimeout(DEADLINE)
            env = {"NOTIFY_SOCKET": str(path), "HOME": str(place)}
            with running(real, argv, unshare, watch, tally, cwd=place, env=env) as program:
                said, who = receive(manager)
                assert said.startswith("READY=1")
                main = program.program()
                assert who == (main, real.user.uid, real.user.gid)
                assert (main == program.child.pid) == ("pid" not in (unshare or ""))
                program.ask(1)
                assert program.end() == 0
        path.unlink()


def receive(manager: socket.socket) -> tuple[str, tuple[int, int, int]]:
    """A datagram, and the process, user and group that the kernel says it is from, unix(7)."""
    size = struct.calcsize("3i")
    data, ancillary, _, _ = manager.recvmsg(4096, socket.CMSG_SPACE(size))
    ((_, _, credentials),) = ancillary
    pid, uid, gid = struct.unpack("3i", credentials)
    return data.decode(), (pid, uid, gid)


def test_notify_by_an_abstract_socket(newest: Python, watch: Watch, tally: Tally) -> None:
    """Its name is in a network namespace, unix(7); that of systemd has a path."""
    name = f"\0notify-{os.getpid()}"
    code = f"""if True:
        import socket
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            try:
                client.sendto(b"READY=1", {name!r})
                print("sent")
            except ConnectionRefusedError:
                print("refused")
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        for unshare in (None, "user,mount,pid", "user,net"):
            expected = "refused\n" if unshare == "user,net" else "sent\n"
            assert newest.run(code, unshare=unshare, env=watch.env).ok() == expected
            tally.case()


@contextlib.contextmanager
def activated(
    real: Python, place: Path, unshare: str | None, listener: socket.socket, watch: Watch
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start gunicorn as systemd does: with a socket that listens as descriptor 3."""
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$; export LISTEN_PID; exec "$@"'
    argv: list[Argument] = ["bash", "-c", script, "bash"]
    argv += real.command(["-m", "gunicorn", "--worker-class", "sync", "app:app"])
    env = {**watch.env, "LISTEN_FDS": "1", "HOME": str(place)}
    if unshare:
        env["PY_UNSHARE"] = unshare
    log = place / "log"
    with (
        open(log, "w") as file,
        real.user.popen(
            argv,
            env=env,
            cwd=place,
            pass_fds=(listener.fileno(),),
            stdout=file,
            stderr=file,
            timeout=4 * DEADLINE,
        ) as child,
    ):
        yield child, log


def test_socket_activation(real: Python, place: Path, watch: Watch, tally: Tally) -> None:
    """The socket was made outside, and is asked from there; the worker that answers is inside."""
    for unshare in (None, "user,net,mount", "user,net,pid"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            with activated(real, place, unshare, listener, watch) as (child, log):
                asked = json.dumps([address, 1, [], DEADLINE])
                done = real.run(["-c", CLIENT, asked], timeout=2 * DEADLINE)
                assert done.status == 0, (done, log.read_text())
                (answer,) = json.loads(done.stdout)
                assert (answer["pid"] < 10) == ("pid" in (unshare or ""))
                if unshare:
                    tally.case(started_unisolated=not isolated(answer, unshare), what=str(answer))
                child.send_signal(signal.SIGTERM)
                assert child.wait(DEADLINE) == 0
                until(lambda: not watch.processes(), "its end", log)


# Starts a program as sudo(8) is asked to, in a mount namespace with a configuration of the test's.
SUDO = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /etc/sudoers.d
printf '%s\\n' "$1" >/etc/sudoers.d/test
chmod 0440 /etc/sudoers.d/test
shift
for file in passwd shadow; do
    cp /etc/$file /etc/sudoers.d/$file
    if [ $file = passwd ]; then line=tester:x:54399:54399::/:/bin/sh; else line=tester:*:1::::::; fi
    echo "$line" >>/etc/sudoers.d/$file
    mount --bind /etc/sudoers.d/$file /etc/$file
done
rm /etc/sudoers.d/passwd /etc/sudoers.d/shadow
exec "$@"
"""


def test_sudo(newest: Python, watch: Watch, tally: Tally, session: Session) -> None:
    """By root, and by somebody else, whose variables sudo keeps only where it is told to."""
    require_root()
    require_tool("sudo")
    program = newest.command(SAY)
    somebody: list[Argument] = ["setpriv", "--reuid=54399", "--regid=54399", "--clear-groups"]
    variable = "PY_UNSHARE=user,net"
    plain = "tester ALL=(ALL) NOPASSWD: ALL"
    setenv = "tester ALL=(ALL) NOPASSWD: SETENV: ALL"
    keep = f'{plain}\nDefaults env_keep += "PY_UNSHARE*"'

    def run(configuration: str, *argv: Argument) -> Finished:
        command = ["unshare", "--mount", "sh", "-c", SUDO, "sh", configuration, *argv]
        return session.root.run(command, env=watch.env)

    for configuration, argv, isolates in (
        (plain, ["env", variable, "sudo", "-u", "nobody"], False),  # the variable is dropped
        (plain, ["env", variable, "sudo", "-E", "-u", "nobody"], True),
        (plain, ["sudo", "-u", "nobody", variable], True),
        (keep, ["env", variable, "sudo", "-u", "nobody"], True),
        (setenv, [*somebody, "env", variable, "sudo", "-n"], False),
        (setenv, [*somebody, "env", variable, "sudo", "-n", "-E"], True),
        (setenv, [*somebody, "env", "PY_UNSHARE=net,mount,pid", "sudo", "-nE"], True),
        (keep, [*somebody, "env", variable, "sudo", "-n"], True),
    ):
        found = json.loads(run(configuration, *argv, *program).ok())
        assert found["left"] is None
        wanted = next(str(each) for each in argv if str(each).startswith("PY_UNSHARE="))
        if isolates:
            unshare = wanted.partition("=")[2]
            tally.case(started_unisolated=not isolated(found, unshare), what=f"{argv}")
        else:
            tally.case()
            assert not isolated(found, "user")
    # Whoever may start this program, but not choose its environment, does not start it then.
    only = f"tester ALL=(ALL) NOPASSWD: {newest.executable}"
    for option in ("-nE", variable):
        argv = [*somebody, "env", variable, "sudo", "-n", option, *program]
        refused = run(only, *argv)
        assert (refused.status, refused.stdout) == (1, "") and "not allowed" in refused.stderr
        tally.case()


def test_sudo_inside(newest: Python, watch: Watch, tally: Tally) -> None:
    """A program with the setuid bit changes nothing where root's number is not mapped."""
    require_tool("sudo")
    for unshare in ("user", "user=current"):
        code = "import os; os.execvp('sudo', ['sudo', '-n', 'true'])"
        done = newest.run(code, unshare=unshare, env=watch.env)
        assert done.status == 1 and done.stderr.startswith("sudo: "), done
        tally.case()


# All that a program can see of an environment like cron's.
SURROUNDINGS = f"""
import os, sys
{WHERE}
own = {{name: value for name, value in os.environ.items() if not name.startswith("PY_UNSHARE")}}
encoding = sys.flags.utf8_mode, sys.getfilesystemencoding()
first = sorted(os.listdir("/proc/self/fd"))[:3]
print((where(), own, os.getcwd(), sys.stdin.read(), encoding, sys.path, os.umask(0), first))
"""


def test_an_empty_environment(
    newest: Python, oldest: Python, watch: Watch, tally: Tally, full: bool
) -> None:
    """As from cron(8), or less: no HOME, no PATH, no LANG, in the root directory, with no stdin."""
    lists = ["user,net,mount", "user,pid"]
    more = ["user=current,net,pid", "user,net,uts=inside,ipc", "user,mount,ipc,uts,pid"]
    for python in (newest, oldest):
        found = {}
        for unshare in (None, *lists, *(more if full else [])):
            variables = [f"{name}={value}" for name, value in watch.env.items()]
            variables += [f"PY_UNSHARE={unshare}"] if unshare else []
            argv = ["sh", "-c", 'exec "$@" </dev/null', "sh", "env", "-i", *variables]
            done = python.user.run([*argv, *python.command(SURROUNDINGS)], cwd=Path("/"))
            assert (done.status, done.stderr) == (0, ""), done
            place, *found[unshare] = ast.literal_eval(done.stdout)
            if unshare:
                tally.case(started_unisolated=not isolated(place, unshare), what=f"cron, {unshare}")
            else:
                tally.case()
        assert all(outcome == found[None] for outcome in found.values()), found
