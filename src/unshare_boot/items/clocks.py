"""Clocks that a time namespace moves: time_namespaces(7)."""

import os

from ..child import make_dumpable, restore_dumpable
from ..namespaces import Plan, Start, refused, setns, unshare, write_file

OFFSETS = "/proc/self/timens_offsets"


def enter_moved(start: Start) -> None:
    """Enter a new time namespace with its clocks moved, as long as it has no member.

    Raises:
        UnshareError: the kernel refuses, as where a clock would be put back below zero (ERANGE).
    """
    unshare("time")
    lines = _lines(start.plan, _offsets())
    before = make_dumpable()
    try:
        write_file(OFFSETS, lines)
    finally:
        restore_dumpable(before)
    setns("/proc/self/ns/time_for_children", "time")


def _lines(plan: Plan, present: "dict[str, int]") -> str:
    """Return the file's new contents.

    The kernel counts offsets from the clocks of the machine, and a new namespace begins with those
    of the one around it. So what moves a clock from where it is here is their sum.
    """
    lines = []
    for clock, nanoseconds in (("monotonic", plan.monotonic), ("boottime", plan.boottime)):
        if nanoseconds is not None:
            seconds, rest = divmod(present[clock] + nanoseconds, 10**9)
            lines.append(f"{clock} {seconds} {rest}\n")
    return "".join(lines)


def _offsets() -> "dict[str, int]":
    """Return the nanoseconds that each clock is ahead of the machine's."""
    try:
        descriptor = os.open(OFFSETS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(descriptor, 4096).decode().splitlines()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise refused(error, "read", OFFSETS) from None
    found = {}
    for line in lines:
        clock, seconds, rest = line.split()
        found[clock] = int(seconds) * 10**9 + int(rest)
    return found


WHOLE = True
