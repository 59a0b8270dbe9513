"""Clocks that a time namespace moves: time_namespaces(7)."""

import os

from .namespaces import Plan, write_file

OFFSETS = "/proc/self/timens_offsets"


def move(plan: Plan) -> None:
    """Move the clocks of the new time namespace, which has no member yet.

    The kernel counts offsets from the clocks of the machine, and a new namespace begins with those
    of the one around it. So what moves a clock from where it stands here is their sum.

    Raises:
        OSError: the kernel refuses, as where a clock would be put back below zero (ERANGE).
    """
    standing = _offsets()
    lines = []
    for clock, nanoseconds in (("monotonic", plan.monotonic), ("boottime", plan.boottime)):
        if nanoseconds is not None:
            seconds, rest = divmod(standing[clock] + nanoseconds, 10**9)
            lines.append(f"{clock} {seconds} {rest}\n")
    write_file(OFFSETS, "".join(lines))


def _offsets() -> "dict[str, int]":
    """Return the nanoseconds that each clock is ahead of the machine's."""
    try:
        descriptor = os.open(OFFSETS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            lines = os.read(descriptor, 4096).decode().splitlines()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"read({OFFSETS})") from None
    found = {}
    for line in lines:
        clock, seconds, rest = line.split()
        found[clock] = int(seconds) * 10**9 + int(rest)
    return found


WHOLE = True
