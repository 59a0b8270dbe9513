"""PY_UNSHARE_ONLY: which programs are isolated, and what becomes of the others."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness import Python, Session, namespace_inode
from harness.processes import Argument

WHO = """
import json, os, sys
print(json.dumps({
    "net": os.stat("/proc/self/ns/net").st_ino,
    "left": os.environ.get("PY_UNSHARE"),
    "loaded": sorted(name for name in sys.modules if name.startswith("unshare_boot")),
}))
"""


# Of ours, where the list is not meant for the program: the package, and what has read the names.
LOADED = ["unshare_boot", "unshare_boot.start", "unshare_boot.start.program"]


@pytest.fixture
def place(workdir: Path, session: Session) -> Path:
    """A working directory with one program in every form."""
    (workdir / "manage.py").write_text(WHO)
    (workdir / "a module").mkdir()
    (workdir / "a module" / "__main__.py").write_text(WHO)
    (workdir / "package").mkdir()
    (workdir / "package" / "__init__.py").touch()
    (workdir / "link").symlink_to("package")
    (workdir / "package" / "__main__.py").write_text(WHO)
    (workdir / "package" / "part.py").write_text(WHO)
    with zipfile.ZipFile(workdir / "program.pyz", "w") as archive:
        archive.writestr("__main__.py", WHO)
    session.give(workdir)
    return workdir


def look(python: Python, argv: list[Argument], only: str, **options: Any) -> bool:
    """Run a program; return whether it is inside, once all else is as it has to be."""
    env = {"PY_UNSHARE_ONLY": only, **options.pop("env", {})}
    seen = json.loads(python.run(argv, unshare="user,net", env=env, **options).ok())
    inside: bool = seen["net"] != namespace_inode("self", "net")
    assert seen["left"] == (None if inside else "user,net")
    if not inside:
        assert seen["loaded"] == LOADED
    return inside


NAMED: list[tuple[list[str], str]] = [
    (["manage.py"], "manage.py"),
    (["./manage.py", "-m", "pytest"], "manage.py"),
    (["-B", "-W", "ignore", "-X", "dev", "manage.py"], "manage.py"),
    (["-W", "ignore::DeprecationWarning:m", "manage.py", "-m", "x"], "manage.py"),
    (["package"], "package"),
    (["package/"], "package"),
    (["./package//"], "package"),
    (["a module"], "a module"),
    (["program.pyz"], "program.pyz"),
    (["-m", "manage"], "manage"),
    (["-mmanage"], "manage"),
    (["-qm", "manage"], "manage"),
    (["-Bqmmanage"], "manage"),
    (["-X", "dev", "-m", "manage"], "manage"),
    (["-Xdev", "-Wignore", "-m", "manage", "-m", "x"], "manage"),
    (["-W", "m", "-X", "m", "-Esm", "manage"], "manage"),
    (["-BWm", "-mmanage"], "manage"),
    (["-Xmm", "-X", "-mx", "-W", "ignore:-mx", "-m", "manage"], "manage"),
    (["link/"], "link"),
    (["--check-hash-based-pycs", "always", "-m", "manage"], "manage"),
    (["-m", "package"], "package"),
    (["-m", "package.part"], "package.part"),
    (["-c", WHO], "-c"),
    (["-cimport sys\n" + WHO, "manage.py"], "-c"),
    (["-"], "-"),
    (["-", "manage.py"], "-"),
    ([], "-"),
    (["-q"], "-"),
]


@pytest.mark.parametrize(("argv", "name"), NAMED, ids=[f"{a[:4]}"[:40] for a, _ in NAMED])
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_the_name_of_a_program(
    request: pytest.FixtureRequest, place: Path, which: str, argv: list[Argument], name: str
) -> None:
    python: Python = request.getfixturevalue(which)
    assert look(python, argv, name, cwd=place, stdin=WHO)
    others = {"manage.py", "manage", "package", "part", "-c", "-", "x", "m", "always"} - {name}
    assert not look(python, argv, ",".join(sorted(others)), cwd=place, stdin=WHO)


def test_an_isolated_mode_module(python: Python, place: Path) -> None:
    """-I leaves out the working directory, so the module has to be an installed one."""
    code = (
        "import json, os; print(json.dumps({'net': os.stat('/proc/self/ns/net').st_ino, "
        f"'left': os.environ.get('PY_UNSHARE'), 'loaded': {LOADED}}}))"
    )
    argv: list[Argument] = ["-Im", "timeit", "-n", "1", "-r", "1", "-s", code]
    for only, inside in (("timeit", True), ("-s,1,json", False)):
        env = {"PY_UNSHARE_ONLY": only}
        told = python.run(argv, unshare="user,net", env=env).ok()
        assert (json.loads(told.splitlines()[0])["left"] is None) == inside


def test_a_directory_named_by_dots(newest: Python, place: Path) -> None:
    assert look(newest, ["."], "package", cwd=place / "package")
    assert look(newest, ["package/."], "package", cwd=place)


def test_a_command_of_an_environment(python: Python, place: Path) -> None:
    """What pip and uv make of an entry point: a script with the interpreter in its first line."""
    command = place / "my-tool"
    command.write_text(f"#!{python.executable}\n{WHO}")
    # The form for a path that is too long, or has a blank, for a line with #!.
    other = place / "other-tool"
    other.write_text(f"#!/bin/sh\n'''exec' \"{python.executable}\" \"$0\" \"$@\"\n' '''\n{WHO}")
    for path in (command, other):
        path.chmod(0o755)
        for only, inside in ((path.name, True), ("python", False), ("tool", False)):
            env = {"PY_UNSHARE": "user,net", "PY_UNSHARE_ONLY": only}
            seen = json.loads(python.user.run([path], env=env).ok())
            assert (seen["left"] is None) == inside


@pytest.mark.parametrize(
    ("only", "inside"),
    [
        ("manage.py", True),
        ("manage.p", False),
        ("MANAGE.PY", False),
        ("anage.py", False),
        ("manage?py", True),
        ("man*", True),
        ("*.py", True),
        ("*", True),
        ("[lmn]anage.py", True),
        ("[!m]anage.py", False),
        ("*.pyc", False),
        ("m.nage.py", False),
        ("manage[.]py", True),
        ("pytest,manage.py", True),
        ("  pytest ,\tmanage.py  ", True),
        ("pytest,tox*,m?nage.py", True),
        ("pytest,tox*", False),
        ("*/manage.py", False),
    ],
)
def test_patterns(newest: Python, place: Path, only: str, inside: bool) -> None:
    assert look(newest, [place / "manage.py"], only) is inside


@pytest.mark.parametrize(
    "only", ["", " ", ",", "pytest,", ",pytest", "pytest,,tox", "pytest, ,tox"]
)
def test_an_empty_name_is_refused(newest: Python, only: str) -> None:
    done = newest.run("print('user code')", unshare="user", env={"PY_UNSHARE_ONLY": only})
    assert (done.status, done.stdout) == (125, "")
    assert "PY_UNSHARE_ONLY" in done.stderr and "empty name" in done.stderr


def test_a_pattern_that_this_python_cannot_read_is_refused(oldest: Python) -> None:
    """fnmatch of Python 3.9 raises over a range that goes backwards; later ones match nothing."""
    env = {"PY_UNSHARE_ONLY": "[z-a]"}
    done = oldest.run("print('user code')", unshare="user", env=env)
    if oldest.version >= (3, 10):
        assert done.ok() == "user code\n"
    else:
        assert (done.status, done.stdout) == (125, "")
        assert "what: PY_UNSHARE_ONLY: '[z-a]' is no glob pattern: bad character" in done.stderr


def test_without_the_list_it_means_nothing(newest: Python) -> None:
    code = "import sys; print([name for name in sys.modules if 'unshare' in name])"
    told = newest.run(code, env={"PY_UNSHARE_ONLY": ""}).ok()
    assert told == ("['unshare_boot_start']\n" if newest.kind == "start" else "[]\n")


def test_a_mistake_in_the_list_is_told_to_whom_it_is_meant_for(newest: Python) -> None:
    code = "print('user code')"
    assert newest.run(code, unshare="usr", env={"PY_UNSHARE_ONLY": "-c"}).status == 125
    assert newest.run(code, unshare="usr", env={"PY_UNSHARE_ONLY": "x"}).ok() == "user code\n"


def test_a_child_of_a_program_that_is_left_alone(newest: Python, place: Path) -> None:
    """A job-wide toggle reaches the program that it means through all that are in between."""
    inner = (
        f"import subprocess, sys; subprocess.run([sys.executable, {str(place / 'manage.py')!r}])"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    for only, inside in (("manage.py", True), ("other.py", False)):
        env = {"PY_UNSHARE_ONLY": only}
        seen = json.loads(newest.run(code, unshare="user,net", env=env).ok())
        assert (seen["net"] != namespace_inode("self", "net")) is inside


def test_a_child_of_the_program_lives_with_it(newest: Python, place: Path) -> None:
    code = (
        "import os, subprocess, sys; print(os.stat('/proc/self/ns/net').st_ino, flush=True);"
        "subprocess.run([sys.executable, 'manage.py'])"
    )
    env = {"PY_UNSHARE_ONLY": "-c,manage.py"}
    own, child = newest.run(code, unshare="user,net", env=env, cwd=place).ok().splitlines()
    assert json.loads(child)["net"] == int(own) != namespace_inode("self", "net")


def test_names_that_are_not_utf_8(newest: Python, place: Path) -> None:
    script = place / "\udcff.py"
    script.write_text(WHO)
    assert look(newest, [script], "\udcff.py")
    assert look(newest, [script], "?.py")
    assert not look(newest, [script], "\udcfe.py")


def test_a_program_that_calls_boot_itself(newest: Python, place: Path) -> None:
    site = str(newest.site_packages)
    text = f"import sys; sys.path.append({site!r}); import unshare_boot; unshare_boot.boot()\n{WHO}"
    (place / "late.py").write_text(text)
    for only, inside in (("late.py", True), ("other.py", False)):
        env = {"PY_UNSHARE_ONLY": only}
        argv: list[Argument] = ["-S", "late.py"]
        seen = json.loads(newest.run(argv, unshare="user,net", env=env, cwd=place).ok())
        assert (seen["net"] != namespace_inode("self", "net")) is inside
