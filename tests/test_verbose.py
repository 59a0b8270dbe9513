"""PY_UNSHARE_VERBOSE: a line a step on standard error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import Python, Session
from harness.processes import Argument

STEP = re.compile(r"unshare-boot: +(\d+\.\d{3}) ms  (.+)")

ALL = "user,net,mount,uts=inside,ipc,cgroup,time,tmpfs=/mnt,caps=keep"
STEPS = ["user", "net", "mount", "uts", "ipc", "cgroup", "time", "mount", "caps"]


def items(text: str) -> list[str]:
    """What each line says was done; every line has to be one of ours."""
    found = []
    for line in text.splitlines():
        step = STEP.fullmatch(line)
        assert step, f"{line!r} is no step"
        assert float(step[1]) >= 0
        found.append(step[2])
    return found


def test_a_line_a_step(python: Python) -> None:
    done = python.run("print('out')", unshare=ALL, env={"PY_UNSHARE_VERBOSE": "1"})
    assert done.ok() == "out\n"
    assert items(done.stderr) == STEPS


def test_the_steps_before_the_one_that_fails(newest: Python) -> None:
    unshare = "user,net,tmpfs=/nonexistent"
    done = newest.run("print('out')", unshare=unshare, env={"PY_UNSHARE_VERBOSE": "1"})
    assert (done.status, done.stdout) == (125, "")
    lines = done.stderr.splitlines(keepends=True)
    assert items("".join(lines[:3])) == ["user", "net", "mount"]
    assert "refused" in lines[3]


@pytest.mark.parametrize("value", ["0", ""])
def test_off(newest: Python, value: str) -> None:
    done = newest.run("pass", unshare="user,net", env={"PY_UNSHARE_VERBOSE": value})
    assert (done.ok(), done.stderr) == ("", "")


def test_nothing_is_said_where_nothing_is_done(newest: Python) -> None:
    env = {"PY_UNSHARE_VERBOSE": "1"}
    for unshare in (None, "", "0", "off"):
        assert newest.run("pass", unshare=unshare, env=env).stderr == ""
    done = newest.run("pass", unshare="user", env={**env, "PY_UNSHARE_ONLY": "other"})
    assert done.stderr == ""


def test_a_rehearsal_is_not_told(newest: Python) -> None:
    env = {"PY_UNSHARE_VERBOSE": "1", "PY_UNSHARE_ON_ERROR": "warn"}
    assert items(newest.run("pass", unshare="user,net", env=env).stderr) == ["user", "net"]


@pytest.mark.parametrize(
    "redirection", ["2>&-", "2>/dev/full", "2>&1 | true", "2>out; cat out >&2"]
)
def test_a_standard_error_that_takes_nothing(
    newest: Python, workdir: Path, redirection: str
) -> None:
    code = "import unshare_boot; open('seen', 'w').write(repr(unshare_boot.active()))"
    argv: list[Argument] = ["sh", "-c", f'"$0" -c "$1" {redirection}', newest.executable, code]
    env = {"PY_UNSHARE": ALL, "PY_UNSHARE_VERBOSE": "1"}
    done = newest.user.run(argv, env=env, cwd=workdir)
    assert done.status == 0
    assert (workdir / "seen").read_text().startswith("('user', 'net', 'mount'")
    if "cat" in redirection:
        assert items(done.stderr) == STEPS


def test_in_a_start_over(newest: Python, session: Session, workdir: Path) -> None:
    python = session.fresh(session.variant(newest), workdir / "venv")
    (python.site_packages / "a_thread.pth").write_text(
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    done = python.run("print('out')", unshare=ALL, env={"PY_UNSHARE_VERBOSE": "1"})
    assert done.ok() == "out\n"
    first, *rest = items(done.stderr)
    assert first == "2 threads: starting over without them"
    assert rest == STEPS


def test_from_a_program(newest: Python) -> None:
    code = "import unshare_boot; unshare_boot.unshare('user,net'); print(unshare_boot.active())"
    done = newest.run(code, env={"PY_UNSHARE_VERBOSE": "1"})
    assert done.ok() == "('user', 'net')\n"
    assert items(done.stderr) == ["user", "net"]
