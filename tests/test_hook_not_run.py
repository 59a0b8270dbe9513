"""Where site.py passes over our file in silence (docs/security.md), and no code of ours runs.

What is worth as much: nothing else makes it start outside. In each case the environment is one of
the test's own, and the program an ordinary user's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import Finished, Python, Session, require_root, require_tool

TELL = "import os; print('isolated' if 'PY_UNSHARE_ACTIVE' in os.environ else 'outside')"


@pytest.fixture(params=["oldest", "newest"])
def own(request: pytest.FixtureRequest, session: Session, workdir: Path) -> Python:
    shared: Python = request.getfixturevalue(request.param)
    return session.fresh(session.variant(shared), workdir / "venv")


def hook(python: Python) -> Path:
    return python.site_packages / f"unshare_boot.{python.kind}"


def start(python: Python, *options: str) -> Finished:
    return python.run([*options, "-c", TELL], unshare="user,net")


def make_empty(file: Path) -> None:
    file.write_text("")


def make_dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("/no/such/file")


def make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_unreadable(file: Path) -> None:
    file.chmod(0)


def make_unlistable(file: Path) -> None:
    file.parent.chmod(0o311)


@pytest.mark.parametrize(
    "damage",
    [make_empty, make_dangling, make_directory, make_unreadable, make_unlistable, Path.unlink],
)
def test_a_file_that_says_nothing(own: Python, damage: Callable[[Path], None]) -> None:
    require_root()  # so that the file is another user's
    assert start(own).ok() == "isolated\n"
    damage(hook(own))
    done = start(own)
    assert (done.ok(), done.stderr) == ("outside\n", "")


def test_no_site(own: Python) -> None:
    for options, found in (
        (["-S"], "outside\n"),
        (["-I", "-S"], "outside\n"),
        (["-I"], "isolated\n"),
    ):
        done = start(own, *options)
        assert (done.ok(), done.stderr) == (found, "")


def test_packages_of_the_user(either: Python, workdir: Path, session: Session) -> None:
    """-I, -s, PYTHONNOUSERSITE, and an environment, leave out what is in ~/.local."""
    major, minor = either.version
    target = workdir / ".local" / "lib" / f"python{major}.{minor}" / "site-packages"
    target.mkdir(parents=True)
    shutil.copytree(either.site_packages / "unshare_boot", target / "unshare_boot")
    for file in either.site_packages.glob("unshare_boot*.p*"):
        shutil.copy(file, target)
    session.give(workdir)
    env = {"HOME": str(workdir), "PY_UNSHARE": "user,net"}
    for options, more, found in (
        ([], {}, "isolated\n"),
        (["-s"], {}, "outside\n"),
        (["-I"], {}, "outside\n"),
        ([], {"PYTHONNOUSERSITE": "1"}, "outside\n"),
    ):
        done = either.user.run([either.base, *options, "-c", TELL], env={**env, **more})
        assert (done.ok(), done.stderr) == (found, "")


@pytest.fixture(params=["oldest", "newest"])
def either(request: pytest.FixtureRequest) -> Python:
    python: Python = request.getfixturevalue(request.param)
    if python.kind != "pth":
        pytest.skip("the user's packages are tried with the .pth file")
    return python


def test_a_name_with_a_dot(own: Python) -> None:
    """Which ours has not; those are passed over from 3.13 on."""
    hook(own).rename(hook(own).with_name(f".{hook(own).name}"))
    done = start(own)
    assert done.stderr == ""
    assert done.ok() == ("outside\n" if own.version >= (3, 13) else "isolated\n")


OTHERS = {
    "cannot be decoded": b"\xff\xfe\n",
    "ends the interpreter": b"import sys; sys.exit()\n",
    "raises": b"import no_such_module\n",
    "names no directory": b"/no/such/directory\n",
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_of_somebody_elses_comes_first(own: Python, what: str) -> None:
    """It ends the start, or is ended itself: ours is not passed over for it."""
    (own.site_packages / "aaa.pth").write_bytes(OTHERS[what])
    done = start(own)
    assert done.stdout == ("isolated\n" if done.status == 0 else ""), done


@pytest.mark.parametrize("where", ["before", "after"])
def test_ours_cannot_be_decoded(own: Python, where: str) -> None:
    text = hook(own).read_bytes()
    hook(own).write_bytes(b"# \xff\xfe\n" + text if where == "before" else text + b"# \xff\xfe\n")
    done = start(own)
    assert done.stdout == ("isolated\n" if done.status == 0 else ""), done


def test_few_descriptors(own: Python) -> None:
    """With four some builds cannot open the file, and start outside; from five on none does."""
    prlimit = require_tool("prlimit")
    for number in range(12):
        command = [prlimit, f"--nofile={number}", *own.command(TELL)]
        done = own.user.run(command, env={"PY_UNSHARE": "user,net"})
        allowed = ("", "isolated\n") if number != 4 else ("", "isolated\n", "outside\n")
        assert done.stdout in allowed, (number, done)
        assert (done.status == 0) == bool(done.stdout), (number, done)
        if done.stdout == "outside\n":
            assert done.stderr == ""
    assert done.stdout == "isolated\n"
