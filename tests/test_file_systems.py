"""The recipes for files on the file systems that people have: loop files, an overlay, read-only."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Finished, Python, require_root, require_tool

# What a file system takes: how to make it, in a file or otherwise, on the directory `disk`.
MAKE = {
    "ext4": "truncate -s 64M image; mkfs.ext4 -q image; mount -o loop image disk",
    "xfs": "truncate -s 400M image; mkfs.xfs -q image; mount -o loop image disk",
    "btrfs": "truncate -s 128M image; mkfs.btrfs -q image >notes; mount -o loop image disk",
    "tmpfs": "mount -t tmpfs tmpfs disk",
    "overlay": """
        mount -t tmpfs tmpfs disk; mkdir disk/lower disk/upper disk/work
        mount -t overlay -o lowerdir=disk/lower,upperdir=disk/upper,workdir=disk/work overlay disk
    """,
}
# Roots that a container has: what to make of the one here, and where something can be written.
ROOTS = {
    "overlay": """
        mkdir top; mount -t tmpfs tmpfs top; at=/
        mkdir top/upper top/work top/root top/upper/disk
        mount -t overlay -o lowerdir=/,upperdir=top/upper,workdir=top/work overlay top/root
        for each in /proc /sys /dev; do mount --rbind $each top/root$each; done
        [ -e "top/root$session/base" ] || {
            mkdir -p "top/root$session"; mount --rbind "$session" "top/root$session"
        }
    """,
    "read-only": """
        mkdir top top/root; mount --rbind / top/root; mount -o remount,bind,ro top/root
        at=$PWD; mount --rbind "$session" "top/root$session"
    """,
}
PIVOT = 'cd top/root; pivot_root . .; umount -l .; cd "$at"\n'
FILL = """
mkdir -p disk/home/project disk/home/.ssh
echo secret >disk/home/.ssh/id; echo text >disk/home/project/text
chown -R "$uid:$gid" disk/home
"""
STAND = """
home=$PWD/disk/home; cd disk/home/project
user() { setpriv --reuid "$uid" --regid "$gid" --clear-groups env HOME="$home" "$@"; }
run() { user PY_UNSHARE="$1" "$python" -c "$2"; }
"""
RECIPES = """
run ${user}ro=/,rw=.,caps=none,pid "
open('made', 'w').close()
try: open('../made', 'w')
except OSError as error: print(error.strerror)"
run ${user}hide=~/.ssh,caps=none "
try: open('../.ssh/id')
except OSError as error: print(error.strerror)"
run ${user}hide=~,rw=.,caps=none "
import os; open('made', 'w').close(); print(os.path.exists('../.ssh'))"
run ${user}tmpfs=~,rw=. "import os; print(os.listdir('..'))"
"""
CAUGHT = """
rm made
run ${user}overlay=. "import os; os.remove('text'); print(os.listdir())"
cat text
"""
KEPT = """
run ${user}overlay=.:../kept "import os; os.remove('text'); os.mkdir('new')"
run ${user}overlay=.:../kept "import os; os.rmdir('new'); print(os.listdir())"
user "$python" -m unshare_boot changes ../kept
"""
WRITES = "Read-only file system\nPermission denied\nFalse\n['project']\n"


def on(python: Python, workdir: Path, *scripts: str, as_root: bool = False) -> Finished:
    """Run scripts with a directory `disk`, in mounts of their own."""
    require_root()
    (workdir / "disk").mkdir()
    who = python.root if as_root else python.user
    user = "" if as_root else "user=current,"
    head = f"set -e\nuid={who.uid} gid={who.gid} user={user} python='{python.executable}'\n"
    head += f"session='{python.venv.parent.parent}'\n"
    new = ["unshare", "--mount", "--propagation", "private", "sh", "-c", head + "".join(scripts)]
    return python.root.run(new, cwd=workdir)


def require(kind: str) -> None:
    """Skip where such a file system cannot be made, or mounted from a file."""
    if "loop" in MAKE[kind]:
        require_tool(f"mkfs.{kind}")
        if not Path("/dev/loop-control").exists():
            pytest.skip("needs loop devices")


who = pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])


@who
@pytest.mark.parametrize("kind", MAKE)
def test_recipes(newest: Python, workdir: Path, kind: str, as_root: bool) -> None:
    require(kind)
    done = on(newest, workdir, MAKE[kind], FILL, STAND, RECIPES, CAUGHT, as_root=as_root)
    assert done.ok() == f"{WRITES}[]\ntext\n"


@who
@pytest.mark.parametrize("root", ROOTS)
def test_recipes_on_the_root_of_a_container(
    newest: Python, workdir: Path, root: str, as_root: bool
) -> None:
    scripts = [ROOTS[root], PIVOT, FILL, STAND, RECIPES, CAUGHT]
    check = "mount | grep -q ' on / type overlay'" if root == "overlay" else "! touch /new 2>&-"
    done = on(newest, workdir, *scripts, check, as_root=as_root)
    assert done.ok() == f"{WRITES}[]\ntext\n"


def test_a_tree_without_dev(newest: Python, workdir: Path) -> None:
    """Where the directories above a read-only one are kept in their places elsewhere."""
    without = ROOTS["overlay"].replace("/proc /sys /dev", "/proc /sys")
    rename = """
run user=current,ro=text,ro=../.ssh,caps=none "
import os
try: os.rename('../project', '../other')
except OSError as error: print(error.strerror, os.path.exists('/dev'))"
"""
    done = on(newest, workdir, without, "rm -r top/root/dev\n", PIVOT, FILL, STAND, rename)
    assert done.ok() == "Device or resource busy False\n"


@who
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_changes_are_kept(newest: Python, workdir: Path, kind: str, as_root: bool) -> None:
    require(kind)
    done = on(newest, workdir, MAKE[kind], FILL, STAND, KEPT, as_root=as_root)
    assert done.ok() == "[]\nremoved                     5  text\n"


def test_changes_are_not_kept_on_an_overlay(newest: Python, workdir: Path) -> None:
    done = on(newest, workdir, MAKE["overlay"], FILL, STAND, KEPT)
    assert done.status == 125 and "is on overlay, where overlayfs keeps no changes" in done.stderr


def test_a_read_only_root(newest: Python, workdir: Path) -> None:
    """As in ``docker run --read-only``: what cannot be written cannot be kept writable."""
    read_only = "mount -o remount,ro,bind disk 2>/dev/null || mount -o remount,ro disk\n"
    scripts = [MAKE["tmpfs"], "\n", FILL, read_only, STAND]
    done = on(newest, workdir, *scripts, "run user=current,ro=/,rw=. 'print(1)'\n")
    assert done.status == 125 and "'.' is read-only already" in done.stderr
    (workdir / "disk").rmdir()
    more = """
run user=current,hide=~/.ssh,caps=none "import os; print(os.listdir('..'))"
run user=current,tmpfs=. "open('made', 'w'); print('made')"
run user=current,overlay=. "open('made', 'w'); print('made')"
"""
    assert on(newest, workdir, *scripts, more).ok() == "['.ssh', 'project']\nmade\nmade\n"
