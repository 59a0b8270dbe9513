"""tox and nox, the real ones: they install from an index outside, and pytest runs inside.

The recipes are those of docs/ci-tools.md, read from there.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import Finished, Session
from harness.session import PROJECT
from proof.conftest import Tally

PAGE = PROJECT / "docs" / "ci-tools.md"

# Passes inside only: the index that pip has just installed from is not to be reached.
TEST = """
import os, socket, subprocess, sys

import pytest
import unshare_boot

ADDRESS = ("127.0.0.1", {port})


def test_isolated():
    assert unshare_boot.active() == ("user", "net")
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(ADDRESS)


def test_children_are_isolated():
    code = "import socket; socket.create_connection(%r)" % (ADDRESS,)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ConnectionRefusedError" in child.stderr
"""

# A server of packages that says on which port it is.
SERVER = """
import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
"""


@dataclass(frozen=True)
class Index:
    """A package index on the loopback interface outside."""

    port: int
    log: Path

    @property
    def env(self) -> dict[str, str]:
        """Lets pip know of this index, and of no other."""
        return {"PIP_INDEX_URL": f"http://127.0.0.1:{self.port}/", "PIP_CONFIG_FILE": "/dev/null"}

    def served(self, name: str) -> int:
        """How often a file of that project was asked for."""
        return len(re.findall(rf'"GET /{name}/[^"]+\.whl HTTP', self.log.read_text()))


@pytest.fixture(scope="session")
def tools(session: Session) -> Path:
    """The directory of the commands tox, nox and pip; unshare-boot is there as well."""
    directory = session.directory / "tools"
    needs = ["tox", "nox", "pip"]

    def make() -> None:
        session.uv("venv", "--python", session.readable_interpreter(), directory)
        executable = directory / "bin" / "python"
        session.uv("pip", "install", "--python", executable, *needs)
        session.uv("pip", "install", "--python", executable, "--no-index", session.wheel("pth"))

    session.once("tools", make)
    return directory / "bin"


@pytest.fixture(scope="session")
def packages(session: Session, tools: Path) -> Path:
    """What the index serves (PEP 503): ours, and pytest with all that it needs."""
    directory = session.directory / "packages"

    def make() -> None:
        wheels = session.directory / "wheels"
        session.tool([tools / "python", "-m", "pip", "download", "-d", wheels, "pytest"])
        for kind in ("pth", "start"):
            shutil.copy(session.wheel(kind), wheels)
        for wheel in wheels.glob("*.whl"):
            project = directory / wheel.name.partition("-")[0].replace("_", "-").lower()
            project.mkdir(parents=True, exist_ok=True)
            shutil.copy(wheel, project)

    session.once("packages", make)
    return directory


@pytest.fixture
def index(packages: Path, tmp_path: Path) -> Iterator[Index]:
    log = tmp_path / "log"
    with (
        open(log, "w") as file,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, packages], stdout=subprocess.PIPE, stderr=file, text=True
        ) as server,
    ):
        try:
            assert server.stdout is not None
            yield Index(int(server.stdout.readline()), log)
        finally:
            server.kill()


@pytest.fixture
def project(index: Index, workdir: Path, session: Session) -> Path:
    """A project with the files of the page and one test."""
    for name, text in recipes().items():
        if not name.startswith("$"):
            (workdir / name).write_text(text)
    (workdir / "test_network.py").write_text(TEST.format(port=index.port))
    session.give(workdir)
    return workdir


def recipes() -> dict[str, str]:
    """The code blocks of the page: files by their name, command lines by `$ ` and the command."""
    found = {}
    text = PAGE.read_text()
    for name, block in re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", text, re.M | re.S):
        found[name] = block
    for line in re.findall(r"^\$ (.+)$", text, re.M):
        found[f"$ {line}"] = line
    return found


def run_recipe(
    session: Session, tools: Path, index: Index, project: Path, command: str
) -> Finished:
    assert f"$ {command}" in recipes(), f"{PAGE.name} has no line '$ {command}'"
    return run(session, tools, index, project, command)


def run(session: Session, tools: Path, index: Index, project: Path, command: str) -> Finished:
    env = {**index.env, "PATH": f"{tools}:/usr/bin:/bin", "HOME": str(project)}
    return session.user.run(["sh", "-c", command], env=env, cwd=project, timeout=300)


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("PY_UNSHARE=user,net PY_UNSHARE_ONLY=pytest nox", "nox"),
        ("nox -s offline", None),
        ("PY_UNSHARE=user,net PY_UNSHARE_ONLY=pytest tox run -e tests", "tox run -e tests"),
        ("tox run -e offline", None),
    ],
)
def test_installs_outside_and_tests_inside(
    session: Session,
    tools: Path,
    index: Index,
    project: Path,
    command: str,
    without: str | None,
    tally: Tally,
) -> None:
    done = run_recipe(session, tools, index, project, command)
    assert done.status == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert index.served("pytest") and index.served("unshare-boot")
    tally.case(count=2)
    if without:
        # The tests do see where they are: with no toggle they fail, and nothing else does.
        assert "2 failed" in run(session, tools, index, project, without).stdout


def test_without_names_the_installation_is_inside_as_well(
    session: Session, tools: Path, index: Index, project: Path, tally: Tally
) -> None:
    """Why the recipes have PY_UNSHARE_ONLY."""
    done = run(session, tools, index, project, "PY_UNSHARE=user,net nox")
    assert done.status != 0
    assert index.served("pytest") == 0
    tally.case()
    with contextlib.closing(socket.create_connection(("127.0.0.1", index.port))):
        pass
