"""What docs/stability.md promises is what there is: names, parameters, keys, options."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import unshare_boot
from harness import Python
from harness.session import PROJECT
from unshare_boot import pytest_plugin
from unshare_boot.report import Hook, Report, Verdict
from unshare_boot.where import Found

PAGE = (PROJECT / "docs" / "stability.md").read_text()


def rows(heading: str) -> dict[str, set[str]]:
    """The table of a section: of each row its first cell, and what the second has as code."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (.*?) \| (.*) \|$", section, re.MULTILINE)
    return {first: set(re.findall(r"`([^`]*)`", second)) for first, second in cells}


def keys(of: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(of)}


def test_the_keys_of_the_doctor() -> None:
    told = rows("JSON")
    assert told["`unshare-boot --json`"] == keys(Report)
    assert told["its `hook`"] == keys(Hook)
    assert told["each of its `items`, and `unshare-boot check LIST --json`"] == keys(Verdict)
    assert told["each of the list of `unshare-boot where --json`"] == keys(Found)


def test_the_keys_of_the_record(newest: Python, workdir: Path) -> None:
    code = """
import socket
try:
    socket.create_connection(("192.0.2.1", 9))
except OSError:
    pass
"""
    newest.run(code, unshare="user,net=gate,record=told", cwd=workdir).ok()
    (line,) = (workdir / "told").read_text().splitlines()
    told = rows("JSON")["`record=FILE`, a line, and `attempts()`"]
    assert set(json.loads(line)) == told - {"lost"}


def test_the_names_of_the_package() -> None:
    section = PAGE.partition("\n## Python\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*`) \|", section, re.MULTILINE)
    promised = dict(re.findall(r"`(\w+)(\(.*?\))?`", " ".join(cells)))
    assert set(promised) >= set(unshare_boot.__all__)
    for name in unshare_boot.__all__:
        found = getattr(unshare_boot, name)
        if inspect.isfunction(found):
            parameters = [
                each.replace(annotation=inspect.Parameter.empty)
                for each in inspect.signature(found).parameters.values()
            ]
            assert str(inspect.Signature(parameters)) == promised[name]
    for attribute in re.findall(r"`(\w+)`", section.partition("an `OSError` with")[2]):
        assert hasattr(unshare_boot.UnshareError(1, "reason"), attribute)


class Recorder:
    """Stands for pytest's parser and configuration, and keeps the names."""

    def __init__(self) -> None:
        self.options: set[str] = set()
        self.ini: set[str] = set()

    def getgroup(self, *_: object) -> Recorder:
        return self

    def addoption(self, *names: str, **_: object) -> None:
        self.options.update(names)

    def addini(self, name: str, *_: object, **__: object) -> None:
        self.ini.add(name)


def test_the_options_of_pytest() -> None:
    found: Any = Recorder()
    pytest_plugin.pytest_addoption(found)
    told = rows("pytest")
    assert told["options"] == found.options
    assert told["ini options"] == found.ini


@pytest.mark.parametrize("marker", sorted(rows("pytest")["markers"]))
def test_the_markers_of_pytest(marker: str) -> None:
    assert f"mark.{marker}" in (PROJECT / "docs" / "pytest.md").read_text()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["-m", "unshare_boot", "check", "user,net"], 0),
        (["-m", "unshare_boot", "check", "net"], 1),
        (["-m", "unshare_boot", "chek"], 2),
        (["-m", "unshare_boot", "run", "user", "--", "/"], 126),
        (["-m", "unshare_boot", "run", "user", "--", "no-such-command"], 127),
        (["-m", "unshare_boot", "run", "nett", "--", "true"], 125),
        (["-m", "unshare_boot", "run", "user,pid", "--", "sh", "-c", "kill -9 $$"], -9),
    ],
)
def test_the_exit_status(newest: Python, command: list[str], status: int) -> None:
    # A directory on PATH that cannot be searched would make it 126: execvp(3).
    assert newest.run(command, env={"PATH": os.defpath}).status == status
