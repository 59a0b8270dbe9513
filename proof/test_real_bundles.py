"""zipapp, PyInstaller and Nuitka: programs that bring the package with them, and call boot()."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import Session, User, namespace_inode, require_tool, until
from harness.processes import Argument
from harness.session import default
from proof.conftest import Tally, Watch
from proof.programs import DEADLINE, FILES, WHERE

# Says where it and its workers are, or waits for a signal; with a status of its own.
PROGRAM = f"""
import unshare_boot

unshare_boot.boot()

import concurrent.futures
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
{WHERE}

def job(number):
    return where()

def main():
    if sys.argv[1:] == ["wait"]:
        print(json.dumps(where()), flush=True)
        while True:
            time.sleep(0.05)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        worker = executor.submit(job, 1).result()
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()):
            server.accept()
    print(json.dumps([where(), worker, unshare_boot.active(), sys.argv[1:]]))
    raise SystemExit(7)

if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
"""

MAIN = """
import unshare_boot

unshare_boot.boot()

import program

if __name__ == "__main__":
    program.main()
"""

LISTS = ["user,net,mount", "user,net,pid"]
MORE_LISTS = ["user=current,net,uts=inside,ipc", "user,overlay=.,ro=/usr", "user,pid,caps=none"]


@dataclass(frozen=True)
class Bundle:
    """A command that starts one, and who starts it."""

    command: Sequence[Argument]
    user: User
    variables: dict[str, str]

    def check(self, watch: Watch, tally: Tally, lists: Sequence[str], cwd: Path) -> None:
        """Start it un-isolated, with each list, and with one that is refused."""
        found = {}
        for unshare in (None, *lists):
            env = {**watch.env, **self.variables}
            if unshare:
                env["PY_UNSHARE"] = unshare
            done = self.user.run([*self.command, "x y"], env=env, cwd=cwd, timeout=DEADLINE)
            assert done.stdout, done
            *places, active, arguments = json.loads(done.stdout)
            kinds = self._kinds(unshare)
            for place in places:
                wrong = [
                    kind
                    for kind in kinds
                    if place["namespaces"][kind] == namespace_inode("self", kind)
                ]
                tally.case(started_unisolated=bool(wrong), what=f"{self.command}, {unshare}")
                assert place["left"] is None
            assert [FILES[name] for name in active if name in FILES] == sorted(
                kinds, key=[FILES[name] for name in FILES].index
            )
            stopped = self._stop(watch, unshare, env, cwd)
            found[unshare] = done.status, done.stderr, arguments, stopped
        assert all(outcome == found[None] for outcome in found.values()), found
        assert found[None] == (7, "", ["x y"], -signal.SIGTERM)
        for refused in ("usr", "net", "user,tmpfs=/nowhere"):
            env = {**watch.env, **self.variables, "PY_UNSHARE": refused}
            done = self.user.run([*self.command, "x"], env=env, cwd=cwd, timeout=DEADLINE)
            tally.case(started_unisolated=done.stdout != "", what=f"{self.command}, {refused}")
            assert done.status == 125 and "unshare-boot: PY_UNSHARE=" in done.stderr, done

    def _stop(self, watch: Watch, unshare: str | None, env: dict[str, str], cwd: Path) -> int:
        """The status after a SIGTERM; nothing of it may be left."""
        argv = [*self.command, "wait"]
        with self.user.popen(argv, env=env, cwd=cwd, timeout=DEADLINE) as child:
            assert child.stdout and child.stderr
            line = child.stdout.readline()
            assert line, child.stderr.read()
            child.terminate()
            status = child.wait()
        until(lambda: not watch.processes(), f"the end of {self.command}, {unshare}")
        return status

    @staticmethod
    def _kinds(unshare: str | None) -> set[str]:
        names = [item.partition("=")[0] for item in (unshare or "").split(",")]
        kinds = {FILES[name] for name in names if name in FILES}
        return kinds | ({"mnt"} if {"pid", "overlay", "ro"} & set(names) else set())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In the size for CI only what does not take minutes."""
    if "kind" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        metafunc.parametrize("kind", ["onedir", "onefile", "nuitka"] if full else ["onedir"])


@pytest.fixture
def lists(full: bool) -> list[str]:
    return [*LISTS, *(MORE_LISTS if full else [])]


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    (workdir / "program.py").write_text(PROGRAM)
    session.give(workdir)
    return workdir


def builder(session: Session, tool: str) -> Path:
    """An environment with PyInstaller or Nuitka: its directory of programs.

    Of an interpreter that has a shared library, and for Nuitka its headers.
    """
    directory = session.directory / f"builder-{tool}"
    code = """
import os, sys, sysconfig
known = sysconfig.get_config_vars()
places = [known["LIBDIR"], os.path.join(known["LIBDIR"], known.get("MULTIARCH") or "")]
library = any(os.path.isfile(os.path.join(place, known["INSTSONAME"])) for place in places)
header = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
sys.exit(not (known.get("Py_ENABLE_SHARED") and library and (header or sys.argv[1] != "nuitka")))
"""

    def make() -> None:
        reasons = [f"no interpreter here is one for {tool} (Debian: libpython3.11)"]
        for variant in reversed(default(session.found)):
            able = subprocess.run([variant.interpreter.executable, "-c", code, tool])
            if able.returncode != 0:
                continue
            shutil.rmtree(directory, ignore_errors=True)
            python = session.fresh(variant, directory)
            try:
                session.uv("pip", "install", "--python", python.executable, tool)
            except RuntimeError as error:  # not yet for this version
                reasons.append(str(error))
                continue
            return
        raise RuntimeError("\n".join(reasons))

    session.once(f"builder-{tool}", make)
    return directory / "bin"


def test_zipapp(
    session: Session, place: Path, watch: Watch, tally: Tally, lists: list[str], full: bool
) -> None:
    """By interpreters that do not have the package themselves."""
    directory = place / "application"
    directory.mkdir()
    options: list[Argument] = ["--no-deps", "--no-index", "--target", directory]
    every = default(session.found)
    executable = session.python(every[-1]).executable
    session.uv("pip", "install", "--python", executable, *options, session.wheel("pth"))
    (directory / "program.py").write_text(PROGRAM)
    (directory / "__main__.py").write_text(MAIN)
    archive = place / "program.pyz"
    session.tool([executable, "-m", "zipapp", directory, "-o", archive])
    for variant in every if full else (every[0], every[-1]):
        command = [session.base(variant.interpreter), archive]
        Bundle(command, session.user, {}).check(watch, tally, lists, place)


def test_frozen(
    session: Session, place: Path, watch: Watch, tally: Tally, lists: list[str], kind: str
) -> None:
    """The tools find all modules of the package by themselves."""
    source = place / "program.py"
    out = place / "out"
    if kind == "nuitka":
        require_tool("gcc")
        require_tool("patchelf")
        argv: list[Argument] = [builder(session, "nuitka") / "python", "-m", "nuitka"]
        argv += ["--standalone", "--assume-yes-for-downloads", f"--output-dir={out}", source]
        made = out / "program.dist" / "program.bin"
    else:
        require_tool("objdump")
        argv = [builder(session, "pyinstaller") / "pyinstaller", f"--{kind}"]
        argv += ["--distpath", out, "--workpath", place / "work", "--specpath", place, source]
        made = out / "program" / "program" if kind == "onedir" else out / "program"
    session.tool(argv)
    session.give(place)
    (place / "tmp").mkdir(mode=0o777)
    session.give(place / "tmp")
    Bundle([made], session.user, {"TMPDIR": str(place / "tmp")}).check(watch, tally, lists, place)
    assert list((place / "tmp").iterdir()) == []  # what a single file has unpacked there
