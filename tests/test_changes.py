"""overlay=DIR:CHANGES, and what the command `unshare-boot changes` tells and does."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from harness import Finished, Python, Session, User, require_root, require_tool

WORK = """
import os, shutil
os.chdir("top")
os.remove("gone")
shutil.rmtree("dropped")
shutil.rmtree("anew"); os.mkdir("anew"); open("anew/other", "w").close()
open("text", "a").write("more\\n")
open("made", "w").write("made"); os.link("made", "linked"); os.symlink("made", "symbolic")
os.mkdir("directory", 0o750); open("directory/in", "w").write("in")
os.remove("file"); os.mkdir("file"); open("file/in", "w").close()
shutil.rmtree("tree"); os.symlink("text", "tree")
os.chmod("script", 0o755)
open("opened", "r+").close()
os.utime("touched", (1, 1))
open("a b\\n", "w").close()
"""
EXPECTED = [
    ("added", "a b\n", 0, None),
    ("removed", "anew/deep/", 3, None),
    ("added", "anew/other", 0, None),
    ("removed", "anew/two", 3, None),
    ("added", "directory/", None, None),
    ("added", "directory/in", 2, None),
    ("removed", "dropped/", 8, None),
    ("removed", "file", 4, None),
    ("added", "file/", None, None),
    ("added", "file/in", 0, None),
    ("removed", "gone", 4, None),
    ("added", "linked", 4, None),
    ("added", "made", 4, None),
    ("changed", "script", 6, 6),
    ("added", "symbolic", None, None),
    ("changed", "text", 9, 4),
    ("changed", "touched", 7, 7),
    ("removed", "tree/", 2, None),
    ("added", "tree", None, None),
]


@pytest.fixture
def top(workdir: Path, user: User) -> Path:
    """A directory with something of every kind in it, of the user's."""
    found = workdir / "top"
    for name in ("dropped/sub", "anew/deep", "tree"):
        (found / name).mkdir(parents=True)
    for name in ("gone", "text", "file", "script", "opened", "touched"):
        (found / name).write_text(name)
    for name in ("dropped/one", "dropped/sub/three", "anew/two", "anew/deep/six", "tree/in"):
        (found / name).write_text(name.rpartition("/")[2])
    give(found, user)
    return found


def give(top: Path, user: User) -> None:
    if os.getuid() == 0:
        for path in [top, *top.rglob("*")]:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)


def told(python: Python, *arguments: str, as_root: bool = False, cwd: Path) -> Finished:
    return python.run(["-m", "unshare_boot", "changes", *arguments], cwd=cwd, as_root=as_root)


def tree(top: Path) -> dict[str, object]:
    """All of a tree but its times and numbers."""
    found: dict[str, object] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        what: object = os.readlink(path) if path.is_symlink() else None
        if stat.S_ISREG(status.st_mode):
            what = path.read_bytes() if path.suffix != ".pyc" else b""
        found[str(path.relative_to(top))] = (oct(status.st_mode), what, status.st_nlink)
    return found


@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_what_was_written_is_kept_shown_and_applied(
    either: Python, top: Path, as_root: bool
) -> None:
    if as_root:
        require_root()
        for path in [top, *top.rglob("*")]:
            os.chown(path, 0, 0)
    before = tree(top)
    listing = "overlay=top:kept" if as_root else "user,overlay=top:kept"
    at = top.parent
    either.run(WORK, unshare=listing, cwd=at, as_root=as_root).ok()
    assert tree(top) == before
    shown = json.loads(told(either, "--json", "kept", as_root=as_root, cwd=at).ok())
    assert [tuple(each.values()) for each in shown] == EXPECTED

    inside = "import json, os; print(json.dumps(sorted(os.listdir('top'))))"
    names = json.loads(either.run(inside, unshare=listing, cwd=at, as_root=as_root).ok())

    other = at / "other"
    shutil.copytree(top, other, symlinks=True)
    give(other, either.root if as_root else either.user)
    told(either, "kept", "--apply", "other", as_root=as_root, cwd=at).ok()
    applied = tree(other)
    assert sorted(os.listdir(other)) == names
    assert (other / "touched").stat().st_mtime == 1
    assert (other / "made").stat().st_ino == (other / "linked").stat().st_ino

    # The same without an overlay.
    either.run(WORK, cwd=at, as_root=as_root).ok()
    assert applied == tree(top)
    told(either, "kept", "--apply", "other", as_root=as_root, cwd=at).ok()
    assert applied == tree(other)


def test_a_second_start_goes_on(newest: Python, top: Path) -> None:
    for number in range(3):
        code = f"open('top/log', 'a').write('{number}'); print(open('top/log').read())"
        done = newest.run(code, unshare="user=current,overlay=top:kept", cwd=top.parent)
        assert done.ok() == "012"[: number + 1] + "\n"
    assert not (top / "log").exists()
    shutil.rmtree(top.parent / "kept")  # nothing in it is in the way of its owner


@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_two_at_once_are_refused(newest: Python, top: Path, as_root: bool) -> None:
    if as_root:
        require_root()
    listing = "overlay=top:kept" if as_root else "user,overlay=top:kept"
    with newest.hold(listing, cwd=top.parent, as_root=as_root):
        done = newest.run("print('user code')", unshare=listing, cwd=top.parent, as_root=as_root)
        assert (done.status, done.stdout) == (125, "")
        assert "kept' is in use: a program that was started with it still runs" in done.stderr
        done = told(newest, "kept", "--apply", "top", as_root=as_root, cwd=top.parent)
        assert done.status == 2 and "is in use" in done.stderr
        assert told(newest, "kept", as_root=as_root, cwd=top.parent).status == 0
    newest.run("print('user code')", unshare=listing, cwd=top.parent, as_root=as_root).ok()


def test_with_everything_else_read_only(newest: Python, top: Path) -> None:
    code = "open('new', 'w').close(); open('../kept/new', 'w')"
    done = newest.run(code, unshare="user,pid,overlay=.:../kept,ro=/,rw=.,caps=none", cwd=top)
    assert "Read-only file system: '../kept/new'" in done.stderr
    assert told(newest, "kept", cwd=top.parent).ok().split() == ["added", "0", "new"]


def test_what_is_mounted_below_has_its_own(newest: Python, top: Path) -> None:
    """Of a bind, whose files are another place's; a tmpfs was asked for to forget."""
    at = top.parent
    other = at / "other"
    other.mkdir()
    (other / "was").write_text("was\n")
    give(other, newest.user)
    listing = "user,bind=other:top/dropped/sub,tmpfs=top/tree,overlay=top:kept"
    code = """
for path in ("dropped/sub/was", "dropped/sub/new", "tree/in", "text"):
    open("top/" + path, "a").write("more\\n")
"""
    for count in (1, 2):
        newest.run(code, unshare=listing, cwd=at).ok()
        shown = json.loads(told(newest, "--json", "kept", cwd=at).ok())
        assert [(each["path"], each["size"]) for each in shown] == [
            ("text", 4 + 5 * count),
            ("dropped/sub/new", 5 * count),
            ("dropped/sub/was", 4 + 5 * count),
        ]
    diff = told(newest, "kept", "--diff", cwd=at).ok()
    assert "--- /dev/null\n+++ b/dropped/sub/new\n" in diff
    assert "+++ b/dropped/sub/was\n@@ -0,0 +1,3 @@\n+was\n+more\n" in diff
    assert (other / "was").read_text() == "was\n" and os.listdir(other) == ["was"]
    told(newest, "kept", "--apply", "top", cwd=at).ok()
    assert (top / "dropped/sub/new").read_text() == "more\n" * 2
    assert (top / "dropped/sub/was").read_text() == "was\n" + "more\n" * 2


def test_a_diff(newest: Python, top: Path) -> None:
    (top / "text").write_text("one\ntwo\n")
    code = """
open("top/text", "a").write("three")
open("top/binary", "wb").write(bytes(9))
import os; os.remove("top/gone")
"""
    newest.run(code, unshare="user,overlay=top:kept", cwd=top.parent).ok()
    assert told(newest, "kept", "--diff", cwd=top.parent).ok() == (
        "added                       9  binary\n"
        "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n\\ No newline at end of file\n"
        "--- a/text\n+++ b/text\n@@ -1,2 +1,3 @@\n one\n two\n+three\n"
        "\\ No newline at end of file\n"
    )


def test_whiteouts_as_attributes(newest: Python, top: Path) -> None:
    """As tools make them that cannot make devices; the kernel reads them since 6.7."""
    newest.run("", unshare="user,overlay=top:kept", cwd=top.parent).ok()
    marks = """
import os
open("kept/upper/gone", "w").close()
os.setxattr("kept/upper/gone", "user.overlay.whiteout", b"y")
"""
    newest.run(marks, cwd=top.parent).ok()
    assert told(newest, "kept", cwd=top.parent).ok().split() == ["removed", "4", "gone"]
    told(newest, "kept", "--apply", "top", cwd=top.parent).ok()
    assert not (top / "gone").exists()


def test_what_may_not_be_given_to_a_file_is_left_out(newest: Python, top: Path) -> None:
    """The rest is there, and it is said what is not."""
    setcap = f'''
import subprocess
open("top/made", "w").write("made")
subprocess.run(["{require_tool("setcap")}", "cap_net_raw+ep", "top/made"], check=True)
open("top/text", "w").write("new")
'''
    newest.run(setcap, unshare="user,overlay=top:kept", cwd=top.parent).ok()
    done = told(newest, "kept", "--apply", "top", cwd=top.parent)
    assert done.status == 1
    line = "unshare-boot: 'top/made': without its security.capability: Operation not permitted\n"
    assert done.stderr == line
    assert ((top / "made").read_text(), (top / "text").read_text()) == ("made", "new")


def test_where_it_stops(newest: Python, top: Path) -> None:
    """At what cannot be written; with that out of the way it goes on."""
    code = "open('top/gone', 'a').write('1'); open('top/tree/in', 'a').write('2')"
    newest.run(code, unshare="user,overlay=top:kept", cwd=top.parent).ok()
    (top / "tree").chmod(0o555)
    done = told(newest, "kept", "--apply", "top", cwd=top.parent)
    assert done.status == 2
    assert (
        "Permission denied" in done.stderr and "what was applied before that stays" in done.stderr
    )
    (top / "tree").chmod(0o755)
    told(newest, "kept", "--apply", "top", cwd=top.parent).ok()
    assert ((top / "gone").read_text(), (top / "tree/in").read_text()) == ("gone1", "in2")


def test_nothing_is_written_through_a_link(newest: Python, top: Path) -> None:
    """What was a directory inside is made one, whatever leads elsewhere there now."""
    code = "open('top/anew/evil', 'w').close(); open('top/text', 'w').close()"
    newest.run(code, unshare="user,overlay=top:kept", cwd=top.parent).ok()
    outside = top.parent / "outside"
    outside.mkdir()
    (outside / "text").write_text("kept")
    give(outside, newest.user)
    shutil.rmtree(top / "anew")
    (top / "anew").symlink_to(outside)
    (top / "text").unlink()
    (top / "text").symlink_to(outside / "text")
    told(newest, "kept", "--apply", "top", cwd=top.parent).ok()
    assert os.listdir(outside) == ["text"] and (outside / "text").read_text() == "kept"
    assert os.listdir(top / "anew") == ["evil"]


@pytest.mark.parametrize(
    ("unshare", "said"),
    [
        ("overlay=top:top/kept", "may not lie within each other"),
        ("overlay=top/anew:top", "may not lie within each other"),
        ("overlay=top:top/../top", "may not lie within each other"),
        ("overlay=anew:top/dropped", "No such file"),
        ("overlay=top:full", "is not empty, and holds no changes of an overlay"),
        ("overlay=top/anew:kept", "holds the changes of"),
        ("overlay=top:text", "/text): Not a directory"),
        ("overlay=top:no/kept", "No such file"),
        ("overlay=top:a:b", "expected overlay=DIR or overlay=DIR:CHANGES"),
        ("overlay=top:", "expected overlay=DIR or overlay=DIR:CHANGES"),
        ("ro=/,overlay=top:new", "Read-only file system"),
    ],
)
def test_what_is_refused(newest: Python, top: Path, unshare: str, said: str) -> None:
    at = top.parent
    (at / "full").mkdir()
    (at / "full/file").touch()
    (at / "text").touch()
    newest.run("", unshare="user,overlay=top:kept", cwd=at).ok()
    before = sorted(os.listdir(at))
    done = newest.run("print('user code')", unshare=f"user,{unshare}", cwd=at)
    assert (done.status, done.stdout) == (125, "")
    assert said in done.stderr
    assert sorted(os.listdir(at)) == before


def test_root_s_are_for_root(newest: Python, top: Path) -> None:
    newest.run("", unshare="overlay=top:kept", cwd=top.parent, as_root=True).ok()
    done = told(newest, "kept", cwd=top.parent)
    assert done.status == 2 and "was made by root" in done.stderr
    newest.run("", unshare="user,overlay=top:mine", cwd=top.parent).ok()
    done = newest.run("", unshare="overlay=top:mine", cwd=top.parent, as_root=True)
    assert done.status == 125 and "in a user namespace, and is of no use" in done.stderr
    top.rename(top.parent / "was")
    top.mkdir()
    done = newest.run("", unshare="overlay=top:kept", cwd=top.parent, as_root=True)
    assert done.status == 125 and "was replaced since" in done.stderr


def test_changes_on_an_overlay(newest: Python, top: Path) -> None:
    """As on the root of a container."""
    at = top.parent
    (at / "root").mkdir()
    give(at / "root", newest.user)
    done = newest.run("", unshare="user,overlay=root,overlay=top:root/kept", cwd=at)
    assert done.status == 125
    assert "root/kept' is on overlay, where overlayfs keeps no changes" in done.stderr


def test_the_command_refuses_other_directories(newest: Python, top: Path) -> None:
    for name in ("top", "no", "top/text"):
        done = told(newest, name, cwd=top.parent)
        assert done.status == 2 and "holds no changes of an overlay" in done.stderr


def wheel(directory: Path) -> Path:
    """A package with a module, a script and data, as a wheel."""
    path = directory / "parcel-1.0-py3-none-any.whl"
    info = "parcel-1.0.dist-info"
    files = {
        "parcel/__init__.py": "def main(): print('parcel')\n",
        "parcel/data/file.txt": "data\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nparcel = parcel:main\n",
    }
    record = "".join(f"{name},,\n" for name in files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return path


def test_an_installation_that_is_looked_at_first(
    session: Session, oldest: Python, workdir: Path
) -> None:
    """With pip, into an environment: the same tree as without."""
    pip = workdir / "pip"
    session.uv("pip", "install", "--python", oldest.executable, "--target", pip, "pip")
    package = wheel(workdir)
    venv = workdir / ".venv"
    python = venv / "bin/python"
    install: list[Path | str] = [python, pip / "pip", "install", "-q", "--no-index", package]

    def fresh() -> None:
        shutil.rmtree(venv, ignore_errors=True)
        shutil.copytree(oldest.venv, venv, symlinks=True)
        give(venv, oldest.user)

    fresh()
    before = tree(venv)
    env = {"PY_UNSHARE": "user,overlay=.venv:changes"}
    oldest.user.run(install, env=env, cwd=workdir).ok()
    assert tree(venv) == before
    shown = told(oldest, "changes", cwd=workdir).ok()
    assert " bin/parcel\n" in shown and "/parcel/data/file.txt\n" in shown
    told(oldest, "changes", "--apply", ".venv", cwd=workdir).ok()
    assert oldest.user.run([venv / "bin/parcel"]).ok() == "parcel\n"
    applied = tree(venv)
    fresh()
    oldest.user.run(install, cwd=workdir).ok()
    assert applied == tree(venv)
