"""What the kernel says of a process, seen from outside (namespaces(7), user_namespaces(7))."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path

from unshare_boot.namespaces import NAMESPACES

# What the language calls a namespace -> its name in /proc/PID/ns.
FILES = {name: row.file for name, row in NAMESPACES.items()}

_kept: deque[int] = deque()


def namespace_inode(pid: int | str, kind: str) -> int:
    """The inode that identifies a namespace of a process.

    Args:
        pid: a process id, or "self".
        kind: a name in /proc/PID/ns, such as "net" or "mnt".
    """
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def members(inode: int, kind: str = "pid") -> set[int]:
    """The processes in a namespace; what is a zombie is in none but its PID namespace.

    Args:
        inode: of namespace_inode().
        kind: a name in /proc/PID/ns.
    """
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended
            if namespace_inode(name, kind) == inode:
                found.add(int(name))
    return found


def open_files(pid: int) -> set[str]:
    """What the descriptors of a process lead to; what it closes meanwhile is left out."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return found


def lasting_inode(pid: int | str, kind: str) -> int:
    """The same, of a namespace that will be gone: its number is not used again for a while.

    Otherwise the kernel gives it to the next namespace that anybody on the machine makes.
    """
    _kept.append(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
    if len(_kept) > 32:
        os.close(_kept.popleft())
    return os.fstat(_kept[-1]).st_ino


def namespaces(pid: int | str) -> dict[str, int]:
    """All namespaces of a process: name in /proc/PID/ns to inode."""
    return {kind: namespace_inode(pid, kind) for kind in sorted(os.listdir(f"/proc/{pid}/ns"))}


def id_map(pid: int | str, kind: str) -> list[tuple[int, int, int]]:
    """The ranges of a process's user namespace, as (inside, outside, count).

    Args:
        pid: a process id, or "self".
        kind: "uid" or "gid".
    """
    ranges = []
    for line in Path(f"/proc/{pid}/{kind}_map").read_text().splitlines():
        inside, outside, count = map(int, line.split())
        ranges.append((inside, outside, count))
    return ranges
