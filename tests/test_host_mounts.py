"""No start takes a mount away from the host, or leaves one there: where all mounts are shared.

That is how systemd has them on every machine. Each start has a host of its own: a mount namespace
that is private to begin with, so that nothing gets to the machine that runs the tests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness import Python, Session, User, own_shared_mounts, require_root, require_tool
from harness.faults.starts import STARTS, Start, prepared
from harness.internet import Site
from harness.processes import Argument

HOST = """
    dir=$1 tmp=$2; shift 2
    if [ "$tmp" = tmpfs ]; then
        mount --bind "$dir" /mnt && mount -t tmpfs -o mode=1777 tmpfs /tmp || exit
        mkdir -p "$dir" && mount --move /mnt "$dir" || exit
    fi
    mount --make-rshared / || exit
    before=$(cat /proc/self/mountinfo)
    "$@"
    status=$?
    after=$(cat /proc/self/mountinfo)
    [ "$before" = "$after" ] && exit $status
    printf '%s\\n\\n%s\\n' "$before" "$after" >&2
    exit 99
"""

# STARTS has them by an ordinary user only, who has no power over the mounts of the host.
PUBLISHED = "publish=8080:80,publish=8081:81/udp"
BY_ROOT = [
    Start(f"root-{name}", listed, "net", as_root=True, place="site")
    for name, listed in (
        ("pasta", f"net=pasta,{PUBLISHED}"),
        ("slirp4netns", f"net=slirp4netns,{PUBLISHED}"),
        ("mount-slirp4netns", "net=slirp4netns,mount"),
        ("pid-slirp4netns", "net=slirp4netns,pid"),
        ("user-pasta", "user,net=pasta"),
        ("user-slirp4netns", "user,net=slirp4netns"),
    )
]


def on_a_host(session: Session, tmp: str) -> list[Argument]:
    """The command that runs what follows on a host of its own; it ends with 99 for a change."""
    require_root()
    unshare = [require_tool("unshare"), "--mount", "--propagation", "private"]
    return [*unshare, "sh", "-c", HOST, "sh", session.directory, tmp]


WHERE = [
    pytest.param(start, tmp, id=f"{start.name}-{tmp}")
    for start in [*STARTS, *BY_ROOT]
    for tmp in (("directory", "tmpfs") if start.place == "site" else ("directory",))
]


@pytest.mark.parametrize(("start", "tmp"), WHERE)
def test_a_start_leaves_the_mounts_of_the_host_alone(
    either: Python, start: Start, tmp: str, session: Session
) -> None:
    with prepared(start, either, session, {}) as setting:
        host = on_a_host(session, tmp)
        assert replace(setting, wrapper=[*setting.wrapper, *host]).run().ok()


def on_a_sites_host(
    python: Python, who: User, site: Site, host: Sequence[Argument], *arguments: str
) -> str:
    change = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
    command = [*site.enter(*host), *change, python.executable, *arguments]
    done = python.root.run(command, cwd=who.home, timeout=300, env={"HOME": str(who.home)})
    return done.ok()


@pytest.mark.parametrize("tmp", ["directory", "tmpfs"])
@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_the_doctor_does_not_either_and_says_the_same_again(
    either: Python, session: Session, site: Site, tmp: str, as_root: bool
) -> None:
    for tool in ("pasta", "slirp4netns"):
        require_tool(tool)
    who = either.root if as_root else either.user
    host = on_a_host(session, tmp)
    doctor = ["-m", "unshare_boot"]
    first, again = (
        re.sub(r"publish=\d+:", "publish=PORT:", on_a_sites_host(either, who, site, host, *doctor))
        for _ in range(2)
    )
    assert first == again
    assert re.search(r"\n  yes  net=slirp4netns", first), first
    for listed in ("net=slirp4netns", "net=pasta"):
        listed = listed if as_root else f"user,{listed}"
        check = on_a_sites_host(either, who, site, host, *doctor, "check", listed)
        assert check.startswith("yes "), check


# What the host mounts and unmounts while a program runs. An automount is one such.
LATER = """
import os, subprocess, sys
def mounts(pid): return {line.split()[4] for line in open(f"/proc/{pid}/mountinfo")}
def host(*command): subprocess.check_call(command)
host("mount", "-t", "tmpfs", "tmpfs", "disk")
host("mount", "--make-shared", "disk")
child = subprocess.Popen(
    sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
)
pid = int(child.stdout.readline())
here = os.getcwd()
host("umount", "disk")
for name in ("home", "closed", "secret"):
    host("mount", "-t", "tmpfs", "tmpfs", name)
    open(f"{name}/file", "w").close()
    os.chmod(name, 0o777)
seen = {os.path.basename(each) for each in mounts(child.pid) if each.startswith(here)}
print("disk" in seen, "home" in seen)
child.stdin.close()
print(child.stdout.read(), end="")
sys.exit(child.wait())
"""
TELLS = """
import errno, os, sys
print(os.getpid(), flush=True)
sys.stdin.read()
for name in ("home", "closed", "secret"):
    try: print(name, os.listdir(name), open(f"{name}/new", "w").name)
    except OSError as error: print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(
    ("unshare", "follows"),
    [
        ("pid", True),
        ("tmpfs=other", True),
        ("bind=other:/mnt", True),
        ("mount=slave", True),
        ("mount", False),
        ("mount,pid", False),
    ],
)
@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_what_the_host_mounts_later(
    newest: Python, workdir: Path, unshare: str, follows: bool, as_root: bool
) -> None:
    printed = later(newest, workdir, unshare, as_root).splitlines()
    assert printed[0] == f"{not follows} {follows}"
    assert printed[1] == ("home ['file'] home/new" if follows else "home [] home/new")


@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_what_is_read_only_or_hidden_stays_so(newest: Python, workdir: Path, as_root: bool) -> None:
    """Also where the host mounts something later, below it or on it."""
    listing = "ro=closed,hide=secret"
    (workdir / "closed").mkdir()
    printed = later(newest, workdir, listing, as_root)
    assert printed == "False True\nhome ['file'] home/new\nEROFS\nEROFS\n"


@pytest.mark.parametrize(
    ("others", "hidden"), [("ro=/", True), ("mount", True), ("tmpfs=other", False)]
)
def test_what_the_host_mounts_above_what_is_hidden(
    newest: Python, workdir: Path, others: str, hidden: bool
) -> None:
    """Takes it out of the way, as the page says, unless nothing comes in at all."""
    (workdir / "secret/in").mkdir(parents=True)
    printed = later(newest, workdir, f"hide=secret/in,{others}", as_root=False)
    seen, _, _, secret = printed.splitlines()
    assert seen == ("True False" if hidden else "False True")
    expected = "EROFS" if others == "ro=/" else "secret ['in'] secret/new"
    assert secret == (expected if hidden else "secret ['file'] secret/new")


def later(python: Python, workdir: Path, unshare: str, as_root: bool) -> str:
    """What a program tells that the host has mounted something under."""
    for name in ("disk", "home", "closed", "secret", "other"):
        (workdir / name).mkdir(exist_ok=True)
        os.chown(workdir / name, python.user.uid, python.user.gid)
    who = python.user
    change = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
    command = [*([] if as_root else change), *python.command(TELLS)]
    done = python.root.run(
        [*own_shared_mounts(), python.base, "-c", LATER, *command],
        env={"PY_UNSHARE": unshare if as_root else f"user,{unshare}", "PYTHONNOUSERSITE": "1"},
        cwd=workdir,
    )
    return done.ok()
