"""The steps of the workflows, run as GitHub would, as far as a machine without GitHub can.

A job gets what the actions would give it: a shallow clone with a detached HEAD and the tag, a
`python` on PATH, the directory that an earlier job has uploaded. Its `run:` steps are taken from
the workflow, and run by the same shell with the same options. Nothing is published.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import Session, require_root, require_tool
from harness.interpreters import Interpreter
from harness.processes import Argument
from harness.session import PROJECT
from proof.conftest import Tally

WORKFLOWS = PROJECT / ".github" / "workflows"
TAG = "v9.9.9"
SECTION = f"## [{TAG[1:]}] - 2027-01-31\n\n### Added\n\n- Everything.\n"

# What is not run here, by what it begins with: it would publish, or fetch an interpreter.
LEFT_OUT = ("gh release create", ".venv/bin/uv python install")


@pytest.fixture(scope="module")
def origin(session: Session) -> Path:
    """A repository with this checkout in it, made ready to be released, and a tag."""
    directory = session.directory / "origin"
    session.once("origin", lambda: make_origin(session, directory))
    return directory


def make_origin(session: Session, directory: Path) -> None:
    listed = ["-z", "--cached", "--others", "--exclude-standard"]
    names = git(session, PROJECT, "ls-files", *listed).split("\0")
    for name in names:
        if name and (PROJECT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes((PROJECT / name).read_bytes())
            (directory / name).chmod((PROJECT / name).stat().st_mode)
    package = directory / "src" / "unshare_boot" / "__init__.py"
    version = re.compile(r'^__version__ = ".*"$', re.MULTILINE)
    text = version.sub(f'__version__ = "{TAG[1:]}"', package.read_text())
    package.write_text(text)
    changelog = directory / "CHANGELOG.md"
    changelog.write_text(changelog.read_text() + f"\n{SECTION}")
    git(session, directory, "init", "--quiet")
    git(session, directory, "add", "--all", "--force")
    git(session, directory, "commit", "--quiet", "--message", "release")
    git(session, directory, "tag", TAG)


def git(session: Session, directory: Path, *arguments: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "commit.gpgsign=false"]
    return session.tool([require_tool("git"), "-C", directory, *who, *arguments])


@pytest.fixture
def place(session: Session, origin: Path, tmp_path: Path) -> Path:
    """What actions/checkout leaves."""
    directory = tmp_path / "unshare-boot"
    branch: list[Argument] = ["--branch", TAG, "--depth", "1", f"file://{origin}", directory]
    session.tool([require_tool("git"), "clone", "--quiet", *branch])
    return directory


def run_job(
    place: Path,
    workflow: str,
    name: str,
    python: Path,
    matrix: Mapping[str, str] | None = None,
    **variables: str,
) -> list[str]:
    """Run the steps of a job; returns what each has printed."""
    job = yaml.safe_load((WORKFLOWS / f"{workflow}.yml").read_text())["jobs"][name]
    tools = Path(tempfile.mkdtemp(prefix="bin-", dir=place.parent))
    for each in ("python", "python3"):
        # Not a link: an environment's interpreter knows by its path which one it is.
        (tools / each).write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
        (tools / each).chmod(0o755)
    environment = {
        **{
            key: value for key, value in os.environ.items() if not key.startswith(("PY", "UNSHARE"))
        },
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CI": "true",
        "GITHUB_REF_NAME": TAG,
        "PIP_ROOT_USER_ACTION": "ignore",
        **filled_in(job.get("env", {}), matrix or {}),
        **variables,
    }
    return [
        run_step(step, place, {**environment, **filled_in(step.get("env", {}), matrix or {})})
        for step in job["steps"]
        if "run" in step and not step["run"].startswith(LEFT_OUT)
    ]


def filled_in(values: Mapping[str, str], matrix: Mapping[str, str]) -> dict[str, str]:
    """Expressions of the matrix with their value."""
    found = {}
    for key, value in values.items():
        for name, chosen in matrix.items():
            value = value.replace(f"${{{{ matrix.{name} }}}}", chosen)
        found[key] = value
    return found


def run_step(step: dict[str, Any], place: Path, environment: Mapping[str, str]) -> str:
    """As `bash -e` runs it, which is the default on GitHub."""
    script = place.parent / "step.sh"
    script.write_text(step["run"])
    done = subprocess.run(
        ["bash", "-e", script],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0, f"{step.get('name')}\n{done.stdout}"
    return done.stdout


def with_pip(session: Session, interpreter: Interpreter) -> Path:
    """As actions/setup-python gives it: with pip, also where Debian keeps that apart."""
    directory = session.directory / f"set-up-{interpreter.name}"
    session.once(directory.name, lambda: session.make_venv(interpreter, directory, "--seed"))
    return directory / "bin" / "python"


def builder(session: Session) -> Path:
    """The newest Python that can make environments, from 3.11 on."""
    for interpreter in reversed(session.available):
        command = [str(interpreter.executable), "-c", "import ensurepip"]
        able = subprocess.run(command, capture_output=True).returncode == 0
        if able and interpreter.version >= (3, 11):
            return interpreter.executable
    pytest.skip("needs Python 3.11 or later with ensurepip")


def test_a_release(session: Session, place: Path, full: bool, tally: Tally) -> None:
    """Every job but the one that publishes, in order; what `build` uploads, the others get."""
    python = builder(session)
    printed = run_job(place, "release", "build", python)
    assert printed[0] == "### Added\n\n- Everything.\n"
    assert printed[1].count("as it should be") == 3
    assert {path.name.split("-")[1] for path in (place / "dist").glob("*.whl")} == {TAG[1:]}

    run_job(place, "release", "check", python)
    found = session.found
    for interpreter in found if full else found[:: max(1, len(found) - 1)]:
        said = run_job(place, "release", "try", with_pip(session, interpreter))
        assert said[-1].count("is at work") == 1 + (interpreter.version >= (3, 15)), said
        tally.case(what=interpreter.name)
    run_job(place, "release", "announce", python)
    sums = (place / "SHA256SUMS").read_text()
    assert sums.count(TAG[1:]) == 3 and "/" not in sums
    assert (place / "notes.md").read_text() == printed[0]


@pytest.mark.only_full  # a release does the same
def test_a_pull_request_that_would_be_released(session: Session, place: Path, tally: Tally) -> None:
    run_job(place, "ci", "dist", builder(session))
    tally.case()


@pytest.mark.only_full
@pytest.mark.parametrize("job", ["lint", "test", "others"])
def test_a_pull_request(session: Session, place: Path, tally: Tally, job: str) -> None:
    """The suite is collected and not run: that is what happens around this."""
    require_root()
    require_tool("sudo")
    python = builder(session)
    # In the file, since sudo(8) keeps variables from what it starts.
    options = place / "pyproject.toml"
    text = options.read_text()
    options.write_text(text.replace("addopts = [", 'addopts = ["--collect-only", "-q", ', 1))
    run_job(place, "ci", job, python, {"os": "ubuntu-24.04", "python": str(python)})
    tally.case()
