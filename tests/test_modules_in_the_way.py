"""A module of the user's with the name of one of Python's: found first, by PYTHONPATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Python

RESOURCE = "user,net=gate"  # takes it, in the process beside the program; it is built in nowhere


def test_it_is_named_and_the_program_does_not_start(either: Python, workdir: Path) -> None:
    file = workdir / "resource.py"
    file.touch()
    path = {"PYTHONPATH": str(workdir)}
    done = either.run("print('user code')", unshare=RESOURCE, env=path, cwd=workdir)
    assert (done.status, done.stdout) == (125, "")
    assert f"why:  {file} is in the place of Python's own module resource\n" in done.stderr
    assert f"cure: take {workdir} off PYTHONPATH" in done.stderr
    assert either.run("print('user code')", unshare=RESOURCE, cwd=workdir).ok() == "user code\n"


@pytest.mark.parametrize("name", ["json", "fcntl", "_json"])
def test_what_is_not_needed_is_in_nobodys_way(newest: Python, workdir: Path, name: str) -> None:
    (workdir / f"{name}.py").touch()
    path = {"PYTHONPATH": str(workdir)}
    unshare = f"user,net=gate,record={workdir}/record"
    code = "import socket; socket.socket().connect_ex(('192.0.2.1', 9))"
    newest.run(code, unshare=unshare, env=path).ok()
    assert '"port": 9,' in (workdir / "record").read_text()


def test_a_refusal_of_its_own(newest: Python, workdir: Path) -> None:
    """What is wrong with the list is told once the module is out of the way."""
    (workdir / "difflib.py").touch()
    path = {"PYTHONPATH": str(workdir)}
    done = newest.run("", unshare="usr", env=path)
    assert done.status == 125 and "in the place of Python's own module difflib\n" in done.stderr
    assert "user" in newest.run("", unshare="usr").stderr
