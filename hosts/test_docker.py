"""Docker's and containerd's own default profiles, which forbid unshare(2)."""

from __future__ import annotations

import subprocess

import pytest

from harness import Python
from hosts.engines import Docker

CODE = """
import ctypes, errno, os, socket, subprocess, unshare_boot
libc = ctypes.CDLL(None, use_errno=True)

def outcome(number, kind):
    try:
        socket.socket(number, kind).close()
        return "made"
    except OSError as error:
        return errno.errorcode[error.errno]

kinds = {16: socket.SOCK_RAW, 17: socket.SOCK_RAW}
families = (1, 16, 2, 10, 17, 40)
print(*unshare_boot.active())
print(*(outcome(number, kinds.get(number, socket.SOCK_STREAM)) for number in families))
ring = libc.syscall(425, 8, ctypes.create_string_buffer(120))
print("a ring" if ring >= 0 else errno.errorcode[ctypes.get_errno()])
for command in ("curl -sS http://192.0.2.1/", "git ls-remote http://192.0.2.1/x"):
    done = subprocess.run(command.split(), stderr=subprocess.PIPE, text=True)
    print("Couldn't connect to server" in done.stderr or done.stderr)
"""
UNIX_ONLY = ["sockets", "made made" + 4 * " ENETUNREACH", "ENOSYS", "True", "True"]

OPTIONS = [
    [],
    ["--user=1000"],
    ["--read-only"],
    ["--cap-drop=ALL"],
    ["--cap-drop=ALL", "--user=1000", "--security-opt=no-new-privileges"],
    ["--read-only", "--network=none", "--user=1000:1000"],
]


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("unshare", ["sockets=unix", "offline|sockets=unix"])
def test_sockets_by_docker(
    docker: Docker, oldest: Python, unshare: str, options: list[str]
) -> None:
    command = oldest.command(CODE)
    assert lines(docker.run(command, *options, f"--env=PY_UNSHARE={unshare}")) == UNIX_ONLY


@pytest.mark.parametrize("drop", [[], ["--reuid=1000", "--clear-groups", "--no-new-privs"]])
@pytest.mark.parametrize("unshare", ["sockets=unix", "offline|sockets=unix"])
def test_sockets_by_containerd(
    docker: Docker, oldest: Python, unshare: str, drop: list[str]
) -> None:
    before = ["setpriv", *drop, "--bounding-set=-all"] if drop else []
    command = [*before, *oldest.command(CODE)]
    assert lines(docker.run_by_containerd(command, f"--env=PY_UNSHARE={unshare}")) == UNIX_ONLY


def test_without_it_there_are_sockets(docker: Docker, oldest: Python) -> None:
    made = lines(docker.run(oldest.command(CODE)))[1]
    assert made.startswith("made made made made")


@pytest.mark.parametrize("user", ["--user=0", "--user=1000"])
def test_the_cure_for_namespaces(docker: Docker, oldest: Python, user: str) -> None:
    """The refusal names the profile, and the option that it prints does lift it."""
    command = oldest.command("import unshare_boot; print(*unshare_boot.active())")
    refused = docker.run(command, user, "--env=PY_UNSHARE=user,net")
    assert (refused.returncode, refused.stdout) == (125, "")
    said = dict(line.strip().split(": ", 1) for line in refused.stderr.splitlines()[1:])
    assert "seccomp filter forbids unshare(2)" in said["why"]
    option = "--security-opt seccomp=unconfined"
    assert option in said["cure"]
    done = docker.run(command, user, *option.split(), "--env=PY_UNSHARE=user,net")
    assert lines(done) == ["user net"]


def test_its_own_socket_works_under_the_filter(docker: Docker, newest: Python) -> None:
    client = ["docker", "--host", f"unix://{docker.directory}/docker.sock", "version"]
    command = ["-m", "unshare_boot", "run", "sockets=unix", "--", *client]
    assert "Server:" in newest.run(command, as_root=True).ok()
