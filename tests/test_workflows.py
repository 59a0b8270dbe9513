"""What GitHub runs: pinned, with few rights, and nothing but scripts that are here.

.ci/lint has zizmor look at them, and proof/test_workflows.py runs the steps.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.session import PROJECT
from scripts.release_notes import notes, package_version

GITHUB = PROJECT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
TEXTS = {path.stem: path.read_text() for path in WORKFLOWS}
PARSED: dict[str, Any] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [
    pytest.param(name, job, id=f"{name}-{key}")
    for name, workflow in PARSED.items()
    for key, job in workflow["jobs"].items()
]
# One job may prove to PyPI who it is, another make a release on GitHub.
RIGHTS = {"publish": {"id-token": "write"}, "announce": {"contents": "write"}}
CHANGELOG = """\
## [Unreleased]

## [1.0.0] - 2027-01-31

### Added

- All.

## [0.9.0] - 2027-01-01
"""


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_actions_are_pinned_by_commit(text: str) -> None:
    for line in text.splitlines():
        if "uses:" in line:
            assert re.fullmatch(r" +(- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_pin() -> None:
    used = set(re.findall(r"uses: (\S+) # (\S+)", "".join(TEXTS.values())))
    assert len({pin.partition("@")[0] for pin, _ in used}) == len(used)


@pytest.mark.parametrize("workflow", PARSED.values(), ids=PARSED)
def test_a_workflow_begins_with_no_rights(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_a_job_has_few_rights_and_an_end(
    workflow: str, job: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    key = request.node.callspec.id.partition("-")[2]
    assert job["permissions"] == RIGHTS.get(key, {"contents": "read"})
    assert job["timeout-minutes"] <= 40
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(("workflow", "job"), JOBS)
def test_steps_run_what_is_here(workflow: str, job: dict[str, Any]) -> None:
    """No program text in the file that is found nowhere else, and none that GitHub fills in."""
    for step in job["steps"]:
        commands = step.get("run", "")
        assert "${{" not in commands, "a title or a branch's name would become a command"
        assert len(commands.splitlines()) <= 2
        for name in re.findall(r"(?:\.ci|scripts)/[\w.-]+", commands):
            path = PROJECT / name
            assert path.exists(), name
            assert path.suffix == ".py" or os.access(path, os.X_OK), name


def test_what_is_published_was_checked() -> None:
    jobs = PARSED["release"]["jobs"]
    assert set(jobs["publish"]["needs"]) == {"build", "check", "try"}
    assert jobs["announce"]["needs"] == "publish"
    # Nothing of ours is run where the index can be written to.
    assert [set(step) & {"run"} for step in jobs["publish"]["steps"]] == [set(), set()]
    assert not any("pip install" in step.get("run", "") for step in jobs["build"]["steps"])


def test_pins_are_renewed() -> None:
    """Where the pins are, dependabot looks."""
    told = yaml.safe_load((GITHUB / "dependabot.yml").read_text())
    places = {
        (each["package-ecosystem"], place)
        for each in told["updates"]
        for place in each.get("directories", [each.get("directory")])
    }
    assert places == {("github-actions", "/"), ("pip", "/"), ("pip", "/scripts")}


@pytest.mark.parametrize("path", sorted((PROJECT / ".ci").iterdir()), ids=lambda path: path.name)
def test_a_script_can_be_read_by_the_shell(path: Path) -> None:
    if os.access(path, os.X_OK):
        assert path.read_text().startswith("#!/bin/bash\n")
        subprocess.run(["bash", "-n", path], check=True)


def test_the_notes_of_a_release() -> None:
    assert notes("v1.0.0", CHANGELOG, "1.0.0") == "### Added\n\n- All.\n"


@pytest.mark.parametrize(
    ("tag", "version", "said"),
    [
        ("v1.0.1", "1.0.0", "the tag is v1.0.1, and the version of the package 1.0.0"),
        ("1.0.0", "1.0.0", "the tag is 1.0.0"),
        ("v1.1.0", "1.1.0", r"no section with a date: ## \[1.1.0\] - YYYY-MM-DD"),
    ],
)
def test_what_is_not_ready_is_not_released(tag: str, version: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        notes(tag, CHANGELOG, version)


def test_the_version_is_that_of_the_package() -> None:
    from unshare_boot import __version__

    assert package_version() == __version__
