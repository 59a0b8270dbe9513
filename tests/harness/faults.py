"""Let one system call of a start fail, by strace(1), and look at what the start makes of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.processes import Argument, Finished, Python
from harness.require import require_tool

# What the program sees of itself; the two ends of its loopback connection included.
PROGRAM = """
import json, os, socket, time
def read(path):
    with open(path) as file:
        return file.read()
server = socket.socket()
try:
    server.bind(("127.0.0.1", 0))
    server.listen()
    socket.create_connection(server.getsockname()).close()
    loopback = True
except OSError:
    loopback = False
kinds = os.listdir("/proc/self/ns")
print(json.dumps({
    "namespaces": {kind: os.stat("/proc/self/ns/" + kind).st_ino for kind in kinds},
    "interfaces": [name for _, name in socket.if_nameindex()],
    "loopback": loopback,
    "uid_map": read("/proc/self/uid_map").split(),
    "gid_map": read("/proc/self/gid_map").split(),
    "setgroups": read("/proc/self/setgroups").strip(),
    "propagation": [field for field in read("/proc/self/mountinfo").split() if ":" in field
                    and field.split(":")[0] in ("shared", "master")],
    "hostname": socket.gethostname(),
    "monotonic": time.clock_gettime(time.CLOCK_MONOTONIC),
    "boottime": time.clock_gettime(time.CLOCK_BOOTTIME),
    "variable": os.environ.get("PY_UNSHARE"),
    "active": os.environ.get("PY_UNSHARE_ACTIVE"),
}))
"""

_NS = '"/proc/self/ns/'
_LINE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>\S+)")


@dataclass(frozen=True)
class Call:
    """One system call of a recorded start.

    Attributes:
        name: of the call, such as "openat".
        number: which one of this name it is since the process's start, from 1.
        arguments: as strace shows them.
        result: what it returned.
    """

    name: str
    number: int
    arguments: str
    result: str

    def __str__(self) -> str:
        return f"{self.name}#{self.number}({self.arguments})"


def record(python: Python, unshare: str, trace: Path) -> list[Call]:
    """The calls that the hook makes in a start that succeeds, those of its imports included.

    From the moment when site.py runs our line, and importlib looks for the package, to the last
    look at /proc/self/ns; after that only the environment changes, for which no call is made.

    Args:
        python: an environment.
        unshare: the list.
        trace: a file to write, in a directory of the user under test.
    """
    strace: list[Argument] = [require_tool("strace"), "-f", "-qq", "-s", "300", "-e", "signal=none"]
    report(
        python.user.run(
            [*strace, "-o", trace, *python.command(PROGRAM)], env={"PY_UNSHARE": unshare}
        )
    )
    counts: Counter[str] = Counter()
    calls = []
    for line in trace.read_text(errors="replace").splitlines():
        found = _LINE.match(line)
        if found:
            counts[found["name"]] += 1
            calls.append(
                Call(found["name"], counts[found["name"]], found["arguments"], found["result"])
            )
    package = next(
        at for at, call in enumerate(calls) if "/unshare_boot/__init__." in call.arguments
    )
    # What was read last is our .pth file, or the codec to decode it with.
    read = max(at for at in range(package) if calls[at].name == "read")
    first = next(at for at in range(read, package + 1) if "stat" in calls[at].name)
    looks = [at for at, call in enumerate(calls) if "stat" in call.name and _NS in call.arguments]
    last = next(at for at in looks if at + 1 not in looks)
    return calls[first : last + 1]


def fail(python: Python, unshare: str, call: Call, how: str) -> Finished:
    """Start once more, with something else happening at one call.

    Args:
        python: an environment.
        unshare: the list.
        call: of record() for the same two.
        how: as strace has it: "error=EPERM", "signal=SIGINT", …
    """
    tamper = f"inject={call.name}:{how}:when={call.number}"
    strace = [require_tool("strace"), "-f", "-qq", "--seccomp-bpf", "-e", f"trace={call.name}"]
    trace = python.user.home / f"{python.name}-{call.name}-{call.number}-{how}"
    command = [*strace, "-e", "signal=none", "-e", tamper, "-o", trace, *python.command(PROGRAM)]
    done = python.user.run(command, env={"PY_UNSHARE": unshare})
    happened = trace.read_text(errors="replace")
    trace.unlink()
    if how.startswith("error=") and "(INJECTED)" not in happened:
        raise AssertionError(f"{call} was not made this time\n{happened}")
    return done


def report(done: Finished) -> dict[str, Any]:
    """What the program of a start said, which has to have succeeded."""
    told = json.loads(done.ok())
    assert isinstance(told, dict)
    return told
