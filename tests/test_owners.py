"""`check` tells which files an overlay shows and cannot change, and a cure that works."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from harness import Python, require_root, require_tool


def acl(tag: int, number: int) -> bytes:
    """One as acl(5) has it, with somebody named: struct posix_acl_xattr_header, and entries."""
    nobody = 0xFFFFFFFF
    entries = [(1, 7, nobody), (4, 4, nobody), (0x10, 7, nobody), (0x20, 4, nobody)]
    entries = sorted([*entries, (tag, 4, number)])
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


# What is the matter with a file, the list that has it changed, what comes of that, and the cure.
ATTRIBUTES = [
    (
        "system.posix_acl_access",
        acl(2, 4711),
        "user,overlay=top",
        "EINVAL",
        "user,overlay=top:kept",
    ),
    (
        "system.posix_acl_access",
        acl(8, 4711),
        "user,overlay=top",
        "EINVAL",
        "user,overlay=top:kept",
    ),
    (
        "setcap",
        b"cap_net_raw+ep",
        "user=current,overlay=top:kept",
        "EINVAL",
        "user,overlay=top:kept",
    ),
    ("setcap -n 4711", b"cap_net_raw+ep", "user,overlay=top", "EOVERFLOW", ""),
]


@pytest.mark.parametrize(("name", "value", "listed", "error", "cured"), ATTRIBUTES, ids=range(4))
def test_files_with_attributes_that_cannot_be_copied(
    newest: Python, workdir: Path, name: str, value: bytes, listed: str, error: str, cured: str
) -> None:
    require_root()
    (workdir / "top").mkdir()
    (workdir / "top/file").touch()
    for path in (workdir / "top", workdir / "top/file"):
        os.chown(path, newest.user.uid, newest.user.gid)
    setcap, *options = name.split()
    if setcap == "setcap":
        subprocess.run([require_tool("setcap"), *options, value, workdir / "top/file"], check=True)
    else:
        os.setxattr(workdir / "top/file", name, value)
    change = """
import errno, os
try: os.chmod("top/file", 0o640); print("changed")
except OSError as error: print(errno.errorcode[error.errno])
"""

    def check(unshare: str) -> str:
        done = newest.run(["-m", "unshare_boot", "check", unshare], cwd=workdir)
        return " ".join(done.ok().split())

    assert newest.run(change, unshare=listed, cwd=workdir).ok() == f"{error}\n"
    told = check(listed)
    assert f"but: overlay: '{workdir}/top/file' and perhaps more has " in told and error in told
    assert told.endswith("#files-with-an-acl-or-capabilities")
    if cured:
        assert check(cured) == f"yes PY_UNSHARE='{cured}'"
        assert newest.run(change, unshare=cured, cwd=workdir).ok() == "changed\n"


def test_an_acl_of_ones_own_is_no_matter(newest: Python, workdir: Path) -> None:
    require_root()
    (workdir / "file").touch()
    os.chown(workdir / "file", newest.user.uid, newest.user.gid)
    os.setxattr(workdir / "file", "system.posix_acl_access", acl(2, newest.user.uid))
    told = newest.run(["-m", "unshare_boot", "check", "user,overlay=."], cwd=workdir).ok()
    assert told.split() == ["yes", "PY_UNSHARE='user,overlay=.'"]
