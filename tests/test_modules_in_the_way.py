"""A module of the user's with the name of one of Python's: found first, by PYTHONPATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Python

# What is in the way, and a list that takes the one of Python's; none of them is built in anywhere.
CASES = {
    "resource": "user,net=gate",  # which the process beside the program takes
    "json": "user,net=gate,record=record",
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_named_and_the_program_does_not_start(
    either: Python, name: str, workdir: Path
) -> None:
    file = workdir / f"{name}.py"
    file.touch()
    path = {"PYTHONPATH": str(workdir)}
    done = either.run("print('user code')", unshare=CASES[name], env=path, cwd=workdir)
    assert (done.status, done.stdout) == (125, "")
    assert f"why:  {file} is in the place of Python's own module {name}\n" in done.stderr
    assert f"cure: take {workdir} off PYTHONPATH" in done.stderr
    assert either.run("print('user code')", unshare=CASES[name], cwd=workdir).ok() == "user code\n"


def test_a_refusal_of_its_own(newest: Python, workdir: Path) -> None:
    """What is wrong with the list is told once the module is out of the way."""
    (workdir / "difflib.py").touch()
    path = {"PYTHONPATH": str(workdir)}
    done = newest.run("", unshare="usr", env=path)
    assert done.status == 125 and "in the place of Python's own module difflib\n" in done.stderr
    assert "user" in newest.run("", unshare="usr").stderr
