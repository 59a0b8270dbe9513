"""What the README says of the others, in its table: as they are, each with a real process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import Python, Session, require_tool
from harness.processes import Argument
from harness.session import fitting

# What a process finds itself in.
LOOK = """
import json, os, socket
with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    try:
        server.listen()
        socket.create_connection(server.getsockname(), timeout=5).close()
        loopback = True
    except OSError:
        loopback = False
with open("/proc/self/status") as file:
    capabilities = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff"))
kinds = ("user", "net", "mnt", "uts", "ipc", "cgroup", "time", "pid")
print(json.dumps({
    "namespaces": {kind: os.readlink("/proc/self/ns/" + kind) for kind in kinds},
    "loopback": loopback,
    "capabilities": capabilities,
}))
"""

UNSHARE = ["unshare", "-rnmuiCT", "-pf"]
BWRAP = ["bwrap", "--dev-bind", "/", "/", "--unshare-all"]
OURS = "user,net,mount,uts,ipc,cgroup,time,pid"

# Fails in a run that pytest-socket keeps off the network, but not in the child process.
PATCHED = """
import os, socket, subprocess, sys

import pytest

CODE = "import socket; socket.create_connection(('127.0.0.1', %d)); print('got through')"


@pytest.fixture
def port():
    return int(os.environ["PORT"])


def test_itself(port):
    socket.create_connection(("127.0.0.1", port))


def test_a_child_of_it(port):
    child = subprocess.run([sys.executable, "-c", CODE % port], capture_output=True, text=True)
    assert child.stdout == "got through\\n"
"""

# A server that is outside: started before pytest-socket, or namespaces, are.
SERVED = """
import os, socket, subprocess, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    os.environ["PORT"] = str(server.getsockname()[1])
    print(subprocess.run([sys.executable, "-m", "pytest", "-q", "--tb=line", *sys.argv[1:]],
                         stdout=subprocess.PIPE, text=True).stdout)
"""


def look(python: Python, prefix: list[Argument], unshare: str = "") -> dict[str, object]:
    env = {"PY_UNSHARE": unshare} if unshare else {}
    done = python.user.run([*prefix, *python.command(LOOK)], env=env)
    found = json.loads(done.ok())
    assert isinstance(found, dict)
    return found


def fresh(python: Python, prefix: list[Argument], unshare: str = "") -> set[str]:
    """The namespaces in which this start differs from a bare one."""
    bare, seen = look(python, [])["namespaces"], look(python, prefix, unshare)["namespaces"]
    assert isinstance(bare, dict) and isinstance(seen, dict)
    return {kind for kind in bare if bare[kind] != seen[kind]}


def test_all_eight(newest: Python) -> None:
    every = {"user", "net", "mnt", "uts", "ipc", "cgroup", "time", "pid"}
    require_tool("bwrap")
    assert fresh(newest, [], OURS) == every
    assert fresh(newest, [*UNSHARE]) == every
    assert fresh(newest, [*BWRAP]) == every - {"time"}


@pytest.mark.parametrize(
    ("prefix", "unshare", "up"), [([], "user,net", True), (UNSHARE, "", False), (BWRAP, "", True)]
)
def test_loopback(newest: Python, prefix: list[Argument], unshare: str, up: bool) -> None:
    if prefix:
        require_tool(str(prefix[0]))
    assert look(newest, prefix, unshare)["loopback"] is up


def test_bwrap_drops_all_capabilities(newest: Python) -> None:
    require_tool("bwrap")
    assert look(newest, [*BWRAP])["capabilities"] == 0
    assert look(newest, [*UNSHARE])["capabilities"] != 0
    assert look(newest, [], "user,caps=none")["capabilities"] == 0


def test_pytest_socket_does_not_reach_a_child(session: Session, workdir: Path) -> None:
    directory = session.directory / "pytest-socket"

    def make() -> None:
        interpreter = session.found[-1]
        python = session.make_venv(interpreter, directory)
        wheel = session.wheel(fitting(interpreter))
        session.uv("pip", "install", "--python", python, "pytest", "pytest-socket")
        session.uv("pip", "install", "--python", python, "--no-index", wheel)

    session.once("pytest-socket", make)
    (workdir / "test_it.py").write_text(PATCHED)
    session.give(workdir)
    serve: list[Argument] = [directory / "bin" / "python", "-c", SERVED]
    assert "2 passed" in session.user.run(serve, cwd=workdir).ok()
    patched = session.user.run([*serve, "--disable-socket"], cwd=workdir).ok()
    assert "SocketBlockedError" in patched and "1 failed, 1 passed" in patched
    ours = session.user.run([*serve, "--unshare=user,net"], cwd=workdir).ok()
    assert "2 failed" in ours
