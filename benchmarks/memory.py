"""Private memory of the two processes that `user,pid` adds: the supervisor and init.

Private is Private_Clean plus Private_Dirty of /proc/PID/smaps_rollup (proc_pid_smaps(5)): what
would be free again if the process went away. Pages that a fork left shared count for nobody, so
it is read twice: while the program runs, and after the program has replaced itself by another
one, when every page it had shared is the supervisor's and init's alone. The second is the figure.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from typing import Any

import lab

ROW = "PY_UNSHARE=user,pid"
LIMIT_KIB = 4096

#: Touches what a collection touches, says so, and becomes cat(1) on the first byte of input.
_PROGRAM = """
import gc, os, sys
gc.collect()
os.write(1, b"r")
if os.read(0, 1):
    os.execvp("cat", ["cat"])
"""


def measure(plain: pathlib.Path, ours: pathlib.Path, not_available: str | None) -> dict[str, Any]:
    """Return KiB of private and of proportional memory for each process, before and after exec.

    Where `user,pid` does not start, the result has the reason not_available instead. What /proc
    says of the supervisor is for root to read, who starts the programs as somebody else.
    """
    bare = _look(plain, None)
    if not_available is None and os.geteuid():
        not_available = "the supervisor's memory is for root to read: run this as root"
    if not_available is not None:
        return {"bare python": bare, "not_available": not_available}
    found = _look(ours, "user,pid")
    if not {"supervisor", "init"} <= found.keys():
        raise lab.BenchmarkError(f"user,pid: found only these processes: {', '.join(found)}")
    private = [found[role]["exec"]["private_kib"] for role in ("supervisor", "init")]
    return {
        "bare python": bare,
        **found,
        "limit_kib": LIMIT_KIB,
        "met": max(private) < LIMIT_KIB,
    }


def _look(python: pathlib.Path, variable: str | None) -> dict[str, Any]:
    """Start the program and read the memory of every process that belongs to it."""
    more = {} if variable is None else {"PY_UNSHARE": variable}
    with subprocess.Popen(
        [str(python), "-c", _PROGRAM],
        env=lab.environment_variables(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        **lab.ordinary_user(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.read(1) != b"r":
            raise lab.BenchmarkError("the program for the memory figures did not start")
        roles = _roles(process.pid) if variable else {"program": process.pid}
        running = {role: _memory(pid) for role, pid in roles.items()}
        process.stdin.write(b"xe")  # the first byte is the word to go, cat(1) echoes the second
        if process.stdout.read(1) != b"e":
            raise lab.BenchmarkError("the program for the memory figures did not become cat")
        after = {role: _memory(pid) for role, pid in roles.items()}
        process.stdin.close()
        process.stdout.read()
    if variable is None:
        return {"running": running["program"]}
    return {
        role: {"running": running[role], "exec": after[role]} for role in roles if role != "program"
    }


def _roles(supervisor: int) -> dict[str, int]:
    """Find init and the program below the supervisor, by their numbers inside the namespace."""
    roles = {"supervisor": supervisor}
    below = [supervisor]
    while below:
        pid = below.pop()
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
        below += children
        for child in children:
            status = pathlib.Path(f"/proc/{child}/status").read_text().splitlines()
            inside = next(line for line in status if line.startswith("NSpid:")).split()[-1]
            roles["init" if inside == "1" else "program"] = child
    return roles


def _memory(pid: int) -> dict[str, int]:
    """Return private and proportional memory of a process in KiB."""
    sizes: dict[str, int] = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0])
    return {
        "private_kib": sizes["Private_Clean"] + sizes["Private_Dirty"],
        "pss_kib": sizes["Pss"],
        "rss_kib": sizes["Rss"],
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'private memory, KiB':<46}{'running':>12}{'after exec':>12}")
    for role in ("bare python", "supervisor", "init"):
        if role in result:
            after = result[role].get("exec", {}).get("private_kib", "")
            print(f"  {role:<44}{result[role]['running']['private_kib']:>12}{after:>12}")
    if "not_available" in result:
        print(f"  supervisor and init: not available\n      {result['not_available'][:72]}")
    else:
        print(
            f"  held to: under {result['limit_kib']} each: {'met' if result['met'] else 'MISSED'}"
        )
