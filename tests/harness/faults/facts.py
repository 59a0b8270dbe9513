"""What a program finds of its isolation, so that half of a list is not taken for all of it."""

from __future__ import annotations

import ast
import errno
import os
import time
from collections.abc import Mapping
from typing import Any

from harness import Finished
from harness.mounts import PLACES

# Looks around and says it in one write; imports next to nothing, because it is run very often.
LOOK = (
    f"PLACES = {PLACES}\n"
    + r"""
import os, time
from _socket import socket
def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return error.strerror
def link(path):
    try:
        return os.readlink(path)
    except OSError as error:
        return error.strerror
def can(act, *words):
    try:
        return act(*words) is not None or True
    except OSError as error:
        return error.strerror
def held(number):  # not by listdir(), nor by libffi: its own file, or one to execute from
    target = link("/proc/self/fd/" + number)
    return target != os.strerror(2) and "ffi" not in target.rpartition("/")[2]
def bind(address):
    socket(2 if "." in address else 10, 2).bind((address, 0))
names = "user net mnt uts ipc cgroup time time_for_children pid pid_for_children".split()
status = dict(line.split(":\t", 1) for line in read("/proc/thread-self/status").splitlines()
              if ":\t" in line)
wanted = "Groups Threads SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs"
here = link("/proc/self/cwd")
def ours(line):  # what this start may have mounted; the rest of the machine's mounts come and go
    place = line.split()[4]
    return place in PLACES or place.startswith(here)
lines = [line for line in read("/proc/self/mountinfo").splitlines() if ours(line)]
covered = {tuple(line.split()[1:5:3]) for line in lines}  # parent and place of each
tops = [line.split(" - ") for line in lines if tuple(line.split()[0:5:4]) not in covered]
told = {
    "namespaces": {name: link("/proc/self/ns/" + name) for name in names},
    "ids": [os.getresuid(), os.getresgid()],
    "maps": [read("/proc/self/" + name).split() for name in ("uid_map", "gid_map", "setgroups")],
    "interfaces": sorted(line.split()[0] for line in read("/proc/self/net/dev").splitlines()[2:]),
    "addresses": {each: can(bind, each) for each in ("127.0.0.1", "::1", "10.0.0.1", "10.1.2.3")},
    "hostname": os.uname().nodename,
    "clocks": {name: time.clock_gettime(getattr(time, "CLOCK_" + name.upper()))
               for name in ("monotonic", "boottime")},
    "status": {name: status.get(name, "").strip() for name in wanted.split()},
    "mounts": sorted([before.split()[4:6] + [word.split(":")[0] for word in before.split()[6:]]
                      + after.split()[:1] for before, after in tops]),
    "two": os.getpid() == 2,
    "proc": link("/proc/self") == str(os.getpid()),
    "cwd": link("/proc/self/cwd") if os.getcwd() else "",
    "files": {name: can(os.listdir, name) is True and os.listdir(name) for name in ("a", "b")},
    "write": {name: can(os.utime, name) for name in ("a", "b")},
    "descriptors": sorted(int(number) for number in os.listdir("/proc/self/fd") if held(number)),
    "variables": {name: value for name, value in os.environ.items() if name[:10] == "PY_UNSHARE"},
}
"""
)
SAY = """
where = os.environ.get("FACTS")
os.write(os.open(where, os.O_WRONLY) if where else 1, ascii(told).encode() + b"\\n")
"""
PROGRAM = LOOK + SAY

# The same from a program's own first line; what a refusal leaves has to be what there was.
CALLS = (
    "import sys, unshare_boot\ntry: unshare_boot.unshare(sys.argv[1])\n"
    "except unshare_boot.UnshareError as no: print('unshare-boot:', no, file=sys.stderr)\n"
    + PROGRAM
)

STEP = 1000  # seconds: by which clocks differ that are not the same
KINDS = {"mnt": "mount"}


def tell(done: Finished) -> dict[str, Any]:
    """What a program has said.

    Raises:
        ValueError, SyntaxError: it did not get to an end.
    """
    told = ast.literal_eval(done.stdout)
    assert isinstance(told, dict)
    return told


def facts(done: Finished, known: Mapping[str, str]) -> dict[str, Any]:
    """What a program has said, without what differs from start to start.

    Args:
        done: a run of PROGRAM.
        known: of near().
    """
    told = tell(done)
    inside: dict[str, str] = told["namespaces"]
    told["namespaces"] = {kind: known.get(link, "new") for kind, link in inside.items()}
    told["same"] = [inside[kind] == inside[f"{kind}_for_children"] for kind in ("time", "pid")]
    for name, clock in told["clocks"].items():
        now = time.clock_gettime(getattr(time, f"CLOCK_{name.upper()}"))
        told["clocks"][name] = round((clock - now) / STEP)
    variables = told["variables"]
    active = [each.split("=") for each in variables.get("PY_UNSHARE_ACTIVE", "").split(",") if each]
    files = {KINDS.get(kind, kind): link for kind, link in inside.items()}
    if "PY_UNSHARE_ACTIVE" in variables:
        right = [what == _what_holds(name, files, told) for name, what in active]
        variables["PY_UNSHARE_ACTIVE"] = [[name for name, _ in active], all(right)]
    return dict(told)


def _what_holds(name: str, files: Mapping[str, str], told: Mapping[str, Any]) -> str:
    """What PY_UNSHARE_ACTIVE has to say of an item."""
    if name == "sockets":
        refused = {os.strerror(errno.ENETUNREACH)}
        return "unix" if set(told["addresses"].values()) == refused else "none"
    return files[name].removeprefix(f"{link_kind(name)}:[").rstrip("]")


def link_kind(name: str) -> str:
    """How a link in /proc/PID/ns calls the namespace that the language calls `name`."""
    return "mnt" if name == "mount" else name


def near(outside: Mapping[str, str], joined: int = 0) -> dict[str, str]:
    """The namespaces that facts() is to know.

    Args:
        outside: those of a program that is not isolated, as it has told.
        joined: a process whose namespaces are joined, or 0.
    """
    found = dict.fromkeys(outside.values(), "outside")
    if joined:
        for kind in os.listdir(f"/proc/{joined}/ns"):
            found.setdefault(os.readlink(f"/proc/{joined}/ns/{kind}"), "joined")
    return found


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """The names of the facts in which two programs differ."""
    return {name for name in {*one, *other} if one.get(name) != other.get(name)}
