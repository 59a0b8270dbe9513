"""Broken installations: which start needs which module, and modules that are cut short."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.outer import namespaces
from harness.processes import Finished, Python

# Short, and careful with memory and descriptors: it has to get through where hardly anything does.
WHERE = "import os; os.write(1, os.readlink('/proc/self/ns/user').encode())"


def is_refused(done: Finished, said: str = "not started") -> bool:
    return done.status == 125 and not done.stdout and said in done.stderr


def is_isolated(done: Finished) -> bool:
    return done.status == 0 and is_elsewhere(done)


def is_elsewhere(done: Finished) -> bool:
    """Whether the program ran in a user namespace of its own."""
    outside = f"user:[{namespaces('self')['user']}]"
    return done.stdout.startswith("user:[") and done.stdout != outside


SHORT: tuple[str, dict[str, str]] = ("user,net", {})
# A start that needs a module; those that are not here are not loaded by "user,net" either.
NEEDED: dict[str, tuple[str, dict[str, str]]] = {
    "__init__": SHORT,
    "namespaces": SHORT,
    "language.__init__": ("user,uts=x", {}),
    "language.readers": ("user,uts=x", {}),
    "errors": ("user,tmpfs=/mnt", {}),
    "inside": ("user", {"PY_UNSHARE_ACTIVE": "ipc=1"}),
    "child": ("user,caps=none", {}),
    "procfiles": ("user,caps=none", {}),
    "language.hosts": ("user,net,allow=x.test:1", {}),
    "rtnetlink": ("user,net,addr=10.0.0.1/8", {}),
    "lifetime": ("user,net=gate", {}),
    "resolv_conf": ("user,net=gate", {}),
    **{
        f"gate.{name}": ("user,net=gate", {})
        for name in (
            *("__init__", "program", "network", "links", "filters", "rules", "helper"),
            *(
                "served",
                "descriptors",
                "loop",
                "names",
                "answerer",
                "decisions",
                "packets",
                "pair",
                "tcp",
                "udp",
            ),
            *("who", "record", "search"),
        )
    },
    "items.__init__": ("user,tmpfs=/mnt", {}),
    "items.mounts": ("user,tmpfs=/mnt", {}),
    "items.read_only": ("user,ro=/mnt", {}),
    "items.overlay": ("user,overlay=/srv", {}),
    "items.idmap": ("user=7:7", {}),
    "items.id_ranges": ("user=7:7", {}),
    "items.set_aside": ("user=auto", {}),
    "items.clocks": ("user,time=+1", {}),
    "items.join": ("user,net=/proc/self/ns/net", {}),
    "items.addresses": ("user,net,addr=10.0.0.1/8", {}),
    "sockets": ("user,sockets=unix", {}),
    "bpf": ("user,net=gate", {}),
    "items.capabilities": ("user,caps=none", {}),
    "start.__init__": ("user", {"PY_UNSHARE_ONLY": "*"}),
    "start.program": ("user", {"PY_UNSHARE_ONLY": "*"}),
    "start.alternatives": ("user", {"PY_UNSHARE_ON_ERROR": "warn"}),
    "start.rehearsal": ("user", {"PY_UNSHARE_ON_ERROR": "warn"}),
    "start.threads": ("user", {"PY_UNSHARE_ON_ERROR": "warn"}),
    "start.verbose": ("user", {"PY_UNSHARE_VERBOSE": "1"}),
    "pid.__init__": ("user,pid", {}),
    "pid.supervisor": ("user,pid", {}),
    **{
        f"outbound.{name}": ("user,net=pasta", {})
        for name in (
            *("__init__", "driver", "pasta", "ports", "program", "relay"),
            *("resolver", "watcher"),
        )
    },
    "outbound.slirp4netns": ("user,net=slirp4netns", {}),
    # These are loaded once it is refused, and must not turn the refusal into anything else.
    "start.starting_over": ("user,time=-50000d", {}),
    "refusal.__init__": ("net", {}),
    "refusal.message": ("net", {}),
    "refusal.machine": ("net", {}),
    "refusal.engines": ("net", {}),
    **{
        f"refusal.causes.{name}": ("net", {})
        for name in ("__init__", "case", "further", "kernel", "limits", "mounts", "process")
    },
    "refusal.causes.programs": ("net", {}),
    "refusal.causes.rights": ("net", {}),
    "refusal.causes.seccomp_and_lsm": ("net", {}),
}

REFUSED = ("net", "user,time=-50000d", "user,net=/proc/self/ns/net", "user=auto")

# Each is loaded on the way to user code, by a list that works here or a variable beside it.
ON_THE_WAY = [
    name
    for name, (unshare, _) in NEEDED.items()
    if unshare not in (*REFUSED, *SHORT[:1]) and name[:9] != "outbound."
]

# What every start with a list loads, or every one that wants the language.
HOT = ["__init__", "namespaces", "language.__init__", "language.readers"]

# What a program calls, and the module that does it.
_CALL = "import unshare_boot; unshare_boot.unshare('user,net'); print('user code')"
_ASK = "import unshare_boot; unshare_boot.active(); print('user code')"
CALLED = {"__init__": _CALL, "start.rehearsal": _CALL, "inside": _ASK}


@contextlib.contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """Replace a module, or remove it, for a while; with the bytecode that belongs to it."""
    kept = path.read_bytes()
    for cached in path.parent.glob(f"__pycache__/{path.stem}.*"):
        cached.unlink()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


def modules(python: Python) -> dict[str, Path]:
    """The files of the installed package by their names: ``start.program``."""
    package = python.site_packages / "unshare_boot"
    return {
        ".".join(path.relative_to(package).with_suffix("").parts): path
        for path in sorted(package.rglob("*.py"))
    }


def positions(lines: Sequence[bytes], most: int) -> list[int]:
    """After which lines to cut a file: at most so many, the first and the last ones among them.

    Args:
        lines: of the file.
        most: how many; 0 for all.
    """
    every = range(len(lines))
    if not most or len(lines) <= most:
        return list(every)
    ends = [*every[:3], *every[-3:]]
    return sorted({*ends, *every[:: max(1, len(lines) // (most - len(ends)))]})


def assert_no_start(python: Python, name: str, most: int) -> None:
    """Cut a module short, as a full disk leaves it: no program starts for want of the last line.

    Python compiles most of what is left without complaint.

    Args:
        python: in an environment of the test's own.
        name: of the module.
        most: after how many lines; 0 for after each.
    """
    unshare, env = ("user,net,uts=inside", {}) if name in HOT else NEEDED[name]
    _cut(python, name, most, unshare=unshare, env=env)


def assert_no_call(python: Python, name: str, most: int) -> None:
    """The same where a program calls it: what ends with its docstring would do nothing, in silence.

    Args:
        python: in an environment of the test's own.
        name: of the module, one of CALLED.
        most: after how many lines; 0 for after each.
    """
    _cut(python, name, most, CALLED[name])
    python.run(CALLED[name]).ok()


def _cut(
    python: Python, name: str, most: int, code: str = "print('user code')", **options: Any
) -> None:
    path = modules(python)[name]
    lines = path.read_bytes().splitlines(keepends=True)
    for number in positions(lines, most):
        with changed(path, b"".join(lines[:number])):
            done = python.run(code, **options)
        assert done.status != 0 and "user code" not in done.stdout, (number, done)
        assert done.status == 125 or not options, (number, done)
