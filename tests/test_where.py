"""`unshare-boot where`: in which Pythons the hook takes effect."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness import Python, Session

WHERE = ["-m", "unshare_boot", "where"]


def ask(python: Python, *arguments: str, **variables: str) -> tuple[int, list[dict[str, Any]]]:
    done = python.run([*WHERE, "--json", *arguments], env=variables)
    return done.status, json.loads(done.stdout)


def test_those_on_path(newest: Python, session: Session, workdir: Path) -> None:
    bare = session.make_venv(session.found[-1], workdir / "bare").parent
    path = os.pathsep.join(map(str, (bare, newest.executable.parent, "/nowhere")))
    status, found = ask(newest, PATH=path)
    assert status == 0
    assert [(each["python"], each["takes_effect"]) for each in found] == [
        (f"{bare}/python", False),
        (f"{newest.executable.parent}/python", True),
    ]
    assert found[0]["why"] == f"unshare-boot is not installed in {workdir}/bare"
    assert found[1]["prefix"] == str(newest.venv)
    assert found[1]["version"].startswith(".".join(map(str, newest.version)))


def test_none_on_path(newest: Python) -> None:
    done = newest.run(WHERE, env={"PATH": "/nowhere"})
    assert (done.status, done.stdout) == (1, "no Python is on PATH\n")


def test_all_that_are_named(newest: Python, session: Session, workdir: Path) -> None:
    bare = session.make_venv(session.found[-1], workdir / "bare")
    assert ask(newest, str(newest.executable))[0] == 0
    status, found = ask(newest, str(newest.executable), str(bare))
    assert (status, [each["takes_effect"] for each in found]) == (1, [True, False])


@pytest.mark.parametrize("line", ["#!{python}", "#!/usr/bin/env python", "#! {python} -s"])
def test_a_script_stands_for_its_interpreter(newest: Python, workdir: Path, line: str) -> None:
    script = workdir / "program"
    script.write_text(line.format(python=newest.executable) + "\n")
    script.chmod(0o755)
    path = f"{newest.executable.parent}:/usr/bin"
    status, found = ask(newest, str(script), PATH=path)
    assert status == 0
    assert [each["python"] for each in found] == [str(newest.executable)]


def test_a_script_of_the_shell_is_started(newest: Python, workdir: Path) -> None:
    """As pyenv has them; two names for one Python are one on PATH."""
    for name in ("python", "python3"):
        (workdir / name).write_text(f'#!/bin/sh\nexec "{newest.executable}" "$@"\n')
        (workdir / name).chmod(0o755)
    status, found = ask(newest, PATH=f"{workdir}:/nowhere")
    assert (status, [each["python"] for each in found]) == (0, [f"{workdir}/python"])


def test_what_does_not_start(newest: Python, workdir: Path) -> None:
    broken = workdir / "python3"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    status, (found,) = ask(newest, str(broken))
    assert (status, found["why"]) == (1, "it does not start: status 3")
    assert ask(newest, PATH=str(workdir)) == (1, [])


def test_the_reason_is_that_pythons_own(newest: Python, workdir: Path) -> None:
    """Where it can import the package, and its start does not run the hook."""
    script = workdir / "python3"
    script.write_text(f'#!/bin/sh\nexec "{newest.base}" "$@"\n')
    script.chmod(0o755)
    status, (found,) = ask(newest, str(script), PYTHONPATH=str(newest.site_packages))
    assert status == 1
    assert "neither unshare_boot.pth nor unshare_boot.start is in" in found["why"]


def test_it_does_not_matter_that_it_is_isolated_itself(newest: Python) -> None:
    done = newest.run([*WHERE, str(newest.executable)], unshare="user,net")
    assert (done.status, done.stdout[:3]) == (0, "yes")
