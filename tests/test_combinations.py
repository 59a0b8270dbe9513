"""Every item with every other: all the effects of a list hold at once.

The lists are generated so that each value of each item meets each value of every other item at
least once. What holds is told by the program from inside, and looked at from outside.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from allpairspy import AllPairs  # type: ignore[import-untyped]

from harness import FILES, Python, id_map, namespaces, ours, require_root

DAY = 86400
Parts = dict[str, str]  # the part of a list that stands for each group of items; may be empty

# Items that need each other are in one group: any value can be had with any of another group.
ITEMS = {
    "user": ["user", "user=current", "user=1000:1001", "setgroups=deny,user"],
    "operation": ["", "tmpfs=a", "bind=b:a", "ro=.", "overlay=.", "rw=a,ro=.", "hide=a"],
    "mount": ["", "mount", "mount=slave", "mount=shared"],
    "net": ["", "net", "net=down", "sys,net", "net,addr=10.0.0.1/8", "addr=fd00::1/64,net,sys"],
    "time": ["", "time", "time=+2d", "monotonic=+1d", "monotonic=-5,boottime=+3d"],
    "pid": ["", "pid", "proc=fresh,pid", "pid,proc=keep", "proc=keep"],
    "caps": ["", "caps=keep", "caps=none"],
    "uts": ["", "uts", "uts=inside"],
    "ipc": ["", "ipc"],
    "cgroup": ["", "cgroup"],
}
ITEMS_OF_ROOT = {
    **ITEMS,
    "user": ["", "user", "user=all", "setgroups=allow,user", "user,map-users=1:100:5"],
    # Shared with everybody, without a user namespace: operations are refused then.
    "mount": ["", "mount", "mount=slave"],
}
OFFSETS = {  # of the two clocks, in seconds
    "time=+2d": (2 * DAY, 2 * DAY),
    "monotonic=+1d": (DAY, 0),
    "monotonic=-5,boottime=+3d": (-5, 3 * DAY),
}


def lists(items: dict[str, list[str]]) -> list[Parts]:
    """Lists of which, for any two groups, each pair of their values stands in one at least."""
    return [dict(zip(items, row)) for row in AllPairs(list(items.values()))]


def spell(parts: Parts) -> str:
    """The list, in an order that is not the one that things are entered in."""
    return ",".join(part for part in reversed(parts.values()) if part)


PROGRAM = """
import errno, json, os, re, socket, subprocess, sys, time
import unshare_boot

def attempt(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def serve(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2], 10):
            return True

def write():
    with open("written", "w") as file:
        return file.write("x") == 1

def inodes():
    return {name: os.stat("/proc/self/ns/" + name).st_ino for name in os.listdir("/proc/self/ns")}

status = open("/proc/self/status").read()
child = "import os; d = '/proc/self/ns/'; print({n: os.stat(d + n).st_ino for n in os.listdir(d)})"
print(json.dumps({
    "inodes": inodes(),
    "child": eval(subprocess.check_output([sys.executable, "-c", child])),
    "active": unshare_boot.active(),
    "variables": sorted(name for name in os.environ if name.startswith("PY_UNSHARE")),
    "ids": [os.getuid(), os.getgid(), unshare_boot.original_uid(), unshare_boot.original_gid()],
    "setgroups": open("/proc/self/setgroups").read().strip(),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "sys": sorted(os.listdir("/sys/class/net")),
    "loopback": attempt(serve, "127.0.0.1"),
    "10.0.0.1/8": attempt(serve, "10.0.0.1"),
    "fd00::1/64": attempt(serve, "fd00::1"),
    "hostname": socket.gethostname(),
    "clocks": [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)],
    "pid": os.getpid(),
    "proc": int(os.readlink("/proc/self")),
    "cwd": os.getcwd(),
    "a": attempt(os.listdir, "a"),
    "write": attempt(write),
    "capabilities": [int(word, 16) for word in re.findall(r"^Cap...:\\t(\\w+)$", status, re.M)],
    "no_new_privs": int(re.findall(r"^NoNewPrivs:\\t(\\d)$", status, re.M)[0]),
}), flush=True)
sys.stdin.read()
"""

NAMESPACES = ("user", "net", "mount", "uts", "ipc", "cgroup", "time", "pid")


def clocks() -> list[float]:
    return [time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]


def expected_namespaces(parts: Parts) -> set[str]:
    """The namespaces that a list enters, those that it implies included."""
    found = {name for name in NAMESPACES if name != "time" and parts[name]}
    if parts["time"]:
        found.add("time")
    if parts["pid"] == "proc=keep":
        found.remove("pid")
    elif parts["pid"] in ("pid", "proc=fresh,pid"):
        found.add("mount")
    if parts["operation"] or "sys" in parts["net"]:
        found.add("mount")
    return found


def check(python: Python, parts: Parts, directory: Path, as_root: bool) -> None:
    """Start a program with a list, and compare all that can be seen with what was asked for."""
    user = python.root if as_root else python.user
    inside = expected_namespaces(parts)
    own_setgroups = Path("/proc/self/setgroups").read_text().strip()
    before, own = clocks(), namespaces("self")
    mounts = ours(Path("/proc/self/mountinfo").read_text(), directory)
    with python.popen(PROGRAM, unshare=spell(parts), cwd=directory, as_root=as_root) as child:
        assert child.stdin and child.stdout and child.stderr
        line = child.stdout.readline()
        assert line, child.stderr.read()
        seen: dict[str, Any] = json.loads(line)
        after = clocks()
        pid = child.pid
        if "pid" in inside:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1])
        outside = namespaces(pid)
        uid_map, gid_map = id_map(pid, "uid"), id_map(pid, "gid")
        assert ours(Path("/proc/self/mountinfo").read_text(), directory) == mounts
        child.stdin.close()
        assert child.wait(60) == 0

    assert set(seen["active"]) == inside
    assert seen["variables"] == ["PY_UNSHARE_ACTIVE"]
    assert {name: outside[name] for name in seen["inodes"]} == seen["inodes"]
    assert seen["child"] == seen["inodes"]
    for name in NAMESPACES:
        file = FILES[name]
        assert (outside[file] != own[file]) == (name in inside), name

    ids = (user.uid, user.gid)
    if parts["user"] == "user=1000:1001":
        ids = (1000, 1001)
    elif parts["user"] and "user=" not in parts["user"]:
        ids = (0, 0)
    assert seen["ids"] == [*ids, user.uid, user.gid]
    if parts["user"] and "user=all" not in parts["user"]:
        more = [(1, 100, 5)] if "map-users" in parts["user"] else []
        assert (uid_map, gid_map) == ([(ids[0], user.uid, 1), *more], [(ids[1], user.gid, 1)])
    denied = parts["user"] and parts["user"] not in ("user=all", "setgroups=allow,user")
    assert seen["setgroups"] == ("deny" if denied else own_setgroups)

    interfaces = ["lo"] if parts["net"] else sorted(name for _, name in socket.if_nameindex())
    assert sorted(seen["interfaces"]) == interfaces
    fresh = "sys" in parts["net"]
    assert seen["sys"] == (["lo"] if fresh else sorted(os.listdir("/sys/class/net")))
    assert (seen["loopback"] is True) == (parts["net"] != "net=down")
    for address in ("10.0.0.1/8", "fd00::1/64"):
        if parts["net"]:
            assert (seen[address] is True) == (f"addr={address}" in parts["net"])

    assert seen["hostname"] == ("inside" if parts["uts"] == "uts=inside" else socket.gethostname())
    offsets = OFFSETS.get(parts["time"], (0, 0))
    for low, reading, high, offset in zip(before, seen["clocks"], after, offsets):
        assert low <= reading - offset <= high

    assert (seen["pid"] == pid) == ("pid" not in inside)
    assert seen["proc"] == (pid if parts["pid"] == "pid,proc=keep" else seen["pid"])

    assert seen["cwd"] == str(directory)
    operation = parts["operation"]
    hidden = "EACCES" if parts["caps"] == "caps=none" else []
    listings = {"tmpfs=a": [], "bind=b:a": ["in-b"], "hide=a": hidden}
    assert seen["a"] == listings.get(operation, ["in-a"])
    read_only = operation in ("ro=.", "rw=a,ro=.")
    assert seen["write"] == ("EROFS" if read_only else True)
    assert (directory / "written").exists() == (not read_only and operation != "overlay=.")

    inheritable, permitted, effective, bounding, ambient = seen["capabilities"]
    whole = 2 ** (int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1) - 1
    if parts["caps"] == "caps=none":
        assert seen["capabilities"] == [0, 0, 0, 0, 0]
    elif parts["user"]:
        assert (permitted, effective, bounding) == (whole, whole, whole)
    if parts["caps"] == "caps=keep":
        assert permitted and inheritable == ambient == permitted
    elif not parts["caps"]:
        assert inheritable == ambient == 0
    assert seen["no_new_privs"] == (parts["caps"] == "caps=none")


@pytest.fixture
def directory(workdir: Path) -> Path:
    """A directory with two others in it that have a file each."""
    for name in ("a", "b"):
        (workdir / name).mkdir()
        (workdir / name / f"in-{name}").touch()
    return workdir


@pytest.mark.parametrize("parts", lists(ITEMS), ids=spell)
def test_as_an_ordinary_user(either: Python, parts: Parts, directory: Path) -> None:
    check(either, parts, directory, as_root=False)


@pytest.mark.parametrize("parts", [each for each in lists(ITEMS_OF_ROOT) if spell(each)], ids=spell)
def test_as_root(newest: Python, parts: Parts, directory: Path) -> None:
    require_root()
    os.chown(directory, 0, 0)  # in a user namespace root has no power over others' files
    check(newest, parts, directory, as_root=True)


@pytest.mark.parametrize("items", [ITEMS, ITEMS_OF_ROOT], ids=["user", "root"])
def test_every_pair_is_there(items: dict[str, list[str]]) -> None:
    """Counted, so that it is not only the generator's word."""
    found = lists(items)
    for first, second in itertools.combinations(items, 2):
        for pair in itertools.product(items[first], items[second]):
            assert any((parts[first], parts[second]) == pair for parts in found), pair
