"""Run in a machine, as root: each scenario, each list, and each cure as printed; JSON, a line each.

It has a directory with cures.py beside it, and the wheel installed; Python 3.9 or later.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from cures import Taken, ways  # type: ignore[import-not-found,unused-ignore]

CODE = "import unshare_boot; print(*unshare_boot.active())"
AS_USER = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")
GROUP = "/sys/fs/cgroup/few"
COMMANDS: Taken = ((r"sudo (.+?)(?= \(|; |, |$)", (r"\1",)),)
MORE_PROCESSES: Taken = ((r"raise TasksMax= of the unit", (f"echo 100 > {GROUP}/pids.max",)),)
SETTINGS = {"mnt": "mount"}  # where a limit's name is not that of the item


class Scenario(NamedTuple):
    """What forbids something.

    Attributes:
        name: as the page has it.
        lists: what is started under it.
        setup: for sh(1).
        undo: the same, afterwards.
        within: a script that ends with the start, for what is to hold there only.
        root: root starts it, not an ordinary user.
        taken: what the cures say.
    """

    name: str
    lists: tuple[str, ...]
    setup: str = ":"
    undo: str = ":"
    within: str = ""
    root: bool = False
    taken: Taken = COMMANDS


ORDINARY = (
    *("user,net", "user,mount", "user,uts=box", "user,ipc", "user,cgroup", "user,time=+1d"),
    *("user,pid", "user,net,sys", "user,ro=/usr", "user,tmpfs=/mnt:1m", "user,bind=/etc:/mnt"),
    *("user,overlay=/usr", "user,net=gate", "user,net,addr=fd00::1/64", "offline", "user=auto,pid"),
    *("sockets=unix", "offline|sockets=unix"),
)
ROOT = ("net", "mount", "uts=box", "pid", "time=+1d", "net=gate", "ro=/usr", "overlay=/usr")


def _limits() -> list[Scenario]:
    found = []
    for kind in ("user", "net", "mnt", "uts", "ipc", "cgroup", "pid", "time"):
        item, setting = SETTINGS.get(kind, kind), f"user.max_{kind}_namespaces"
        lists = ("user",) if kind == "user" else (f"user,{item}",)
        undo = f"sysctl -qw {setting}=10000"
        found.append(Scenario(f"{setting}=0", lists, f"sysctl -qw {setting}=0", undo))
    return found


def _switch(setting: str, off: str, on: str, *lists: str) -> Scenario:
    return Scenario(
        f"{setting}={off}", lists, f"sysctl -qw {setting}={off}", f"sysctl -qw {setting}={on}"
    )


def _mounts(more: int, root: bool, *lists: str) -> Scenario:
    setup = f"sysctl -qw fs.mount-max=$(($(wc -l </proc/self/mountinfo) + {more}))"
    name = f"fs.mount-max: {more} more than there are" + (", as root" if root else "")
    return Scenario(name, lists, setup, "sysctl -qw fs.mount-max=100000", root=root)


def _processes(most: int, root: bool, item: str) -> Scenario:
    setup = f"mkdir -p {GROUP}; echo {most} >{GROUP}/pids.max"
    name = f"pids.max={most}" + (", as root" if root else "")
    within = f"echo $$ >{GROUP}/cgroup.procs"
    return Scenario(name, (item,), setup, within=within, root=root, taken=MORE_PROCESSES)


def _module(name: str, root: bool, item: str) -> Scenario:
    """One that the kernel may not load by itself."""
    setup = f"echo /bin/false >/proc/sys/kernel/modprobe; rmmod {name}"
    undo = "echo /sbin/modprobe >/proc/sys/kernel/modprobe"
    title = f"{name} not loaded" + (", as root" if root else "")
    return Scenario(title, (item if root else f"user,{item}",), setup, undo, root=root)


SCENARIOS = [
    Scenario("an ordinary user", ORDINARY),
    Scenario("root", ROOT, root=True),
    _switch("kernel.unprivileged_userns_clone", "0", "1", "user,net", "net", "user,pid"),
    *_limits(),
    _mounts(0, False, "user,mount"),
    _mounts(1, False, "user,tmpfs=/mnt,bind=/etc:/mnt,bind=/usr:/mnt"),
    _mounts(0, True, "mount"),
    _processes(2, False, "user,pid"),
    _processes(1, True, "pid"),
    Scenario(
        "hidepid=2",
        ("net=/proc/1/ns/net", "user,pid", "user,net"),
        "mount -o remount,hidepid=2 /proc",
        "mount -o remount,hidepid=0 /proc",
    ),
    Scenario(
        "subset=pid", ("user,pid", "user,net"), within="mount -t proc -o subset=pid proc /proc"
    ),
    _switch("kernel.yama.ptrace_scope", "2", "0", "user,net", "user=auto", "user,net=gate"),
    *(_module("overlay", root, "overlay=/usr") for root in (False, True)),
    *(_module("veth", root, "net=gate") for root in (False, True)),
    Scenario("no /etc/resolv.conf", ("user,net=gate",), "rm -f /etc/resolv.conf"),
    Scenario(
        "newuidmap is not setuid",
        ("user=auto",),
        "chmod u-s /usr/bin/newuidmap; setcap -r /usr/bin/newuidmap",
    ),
]


def start(scenario: Scenario, unshare: str) -> dict[str, object]:
    """Start a list, and return what came of it."""
    command = [*(() if scenario.root else AS_USER), "/usr/bin/python3", "-c", CODE]
    if scenario.within:
        script = f'{scenario.within}\nexec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    env = {"PATH": os.environ["PATH"], "HOME": "/tmp", "PY_UNSHARE": unshare}
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd="/tmp")
    told = dict(re.findall(r"^  (what|why|cure|more): +(.*)$", done.stderr, re.MULTILINE))
    return {"status": done.returncode, "active": done.stdout.split(), "told": told}


def tried(scenario: Scenario, unshare: str) -> dict[str, object]:
    """Start a list, and by every way out that the cure names."""
    _shell(scenario.setup)
    found = start(scenario, unshare)
    after = []
    told = found["told"]
    cure = told.get("cure", "") if isinstance(told, dict) else ""
    for way in ways(cure, unshare, scenario.taken) if found["status"] else ():
        _shell(scenario.setup)
        for command in way.options:
            _shell(command)
        after.append({"commands": way.options, "list": way.unshare, **start(scenario, way.unshare)})
    _shell(scenario.undo)
    return {"scenario": scenario.name, "list": unshare, **found, "after": after}


def _shell(script: str) -> None:
    subprocess.run(["sh", "-c", script], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main(names: Sequence[str]) -> None:
    """Try them all, or those that are named."""
    _shell("echo +pids >/sys/fs/cgroup/cgroup.subtree_control")
    for scenario in SCENARIOS:
        if not names or scenario.name in names:
            for unshare in scenario.lists:
                print(json.dumps(tried(scenario, unshare)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
