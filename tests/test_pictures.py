"""The pictures are what their scripts draw, and the session in the terminal is a real one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness import Python, require_module, require_tool
from harness.session import PROJECT

PICTURES = PROJECT / "docs" / "pictures"
SVGS = sorted(PICTURES.glob("*.svg"))
STARTUP_JSON = PROJECT / "benchmarks" / "results" / "startup.json"


@pytest.mark.parametrize("svg", SVGS, ids=lambda path: path.stem)
def test_it_stands_alone(svg: Path) -> None:
    """It has a script, and shows in a page without fetching anything or running anything."""
    assert svg.with_suffix(".py").exists()
    root = ElementTree.fromstring(svg.read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for element in root.iter():
        assert not element.tag.endswith(("}script", "}image", "}foreignObject"))
        for name, value in element.attrib.items():
            assert not name.endswith("href") or value.startswith("#")
            assert not name.startswith("on")


@pytest.mark.parametrize(
    "svg",
    [svg for svg in SVGS if svg.stem not in ("terminal", "startup")],
    ids=lambda svg: svg.stem,
)
def test_a_drawing_is_what_its_script_draws(svg: Path, tmp_path: Path) -> None:
    for script in PICTURES.glob("*.py"):
        shutil.copy(script, tmp_path)
    subprocess.run([sys.executable, tmp_path / f"{svg.stem}.py"], check=True)
    assert (tmp_path / svg.name).read_text() == svg.read_text()


def test_the_terminal_shows_what_the_commands_print(newest: Python, workdir: Path) -> None:
    require_tool("git")
    (workdir / "docs" / "pictures").mkdir(parents=True)
    script = shutil.copy(PICTURES / "terminal.py", workdir / "docs" / "pictures")
    shutil.copytree(PROJECT / "examples", workdir / "examples")
    assert newest.run([script, "-"]).ok() == (PICTURES / "terminal.svg").read_text()


def test_the_terminal_is_not_root_s(newest: Python, workdir: Path) -> None:
    script = shutil.copy(PICTURES / "terminal.py", workdir)
    done = newest.run([script, "-"], as_root=True)
    assert (done.status, done.stdout) == (1, "")


def test_the_chart_shows_the_results(tmp_path: Path) -> None:
    require_module("matplotlib")
    chart = PICTURES / "startup.svg"
    drawn = tmp_path / "startup.svg"
    subprocess.run([sys.executable, PICTURES / "startup.py", drawn], check=True)
    if version(drawn) == version(chart):
        assert drawn.read_bytes() == chart.read_bytes()
    else:  # another matplotlib draws the same with other digits
        assert labels(drawn) == labels(chart)


def test_the_chart_has_every_figure() -> None:
    rows = json.loads(STARTUP_JSON.read_text())["interpreters"][0]["rows"]
    shown = labels(PICTURES / "startup.svg")
    names = {label for label in shown if not re.fullmatch(r"[\d.]+", label)}
    for row in rows:
        if row["group"] in names and "added_ms" in row:
            assert f"{row['added_ms']['median']:.1f}" in shown, row["name"]
            assert row["name"] in names or row["name"] == f"PY_UNSHARE={row['group']}"
    assert {"user,net", "user,net,mount", "user,pid", "unshare-boot"} <= names


def version(svg: Path) -> str:
    found = re.search(r"Matplotlib v([\d.]+)", svg.read_text())
    assert found
    return found[1]


def labels(svg: Path) -> list[str]:
    """All that is written in it: matplotlib has each text as a comment beside its outlines."""
    return [
        text.strip().replace("- -", "--") for text in re.findall(r"<!-- (.*?) -->", svg.read_text())
    ]
