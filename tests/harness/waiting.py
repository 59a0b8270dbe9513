"""Wait for a state that the kernel or a log shows, and say what did not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SECONDS = 60.0  # for what takes a moment, on a machine that is busy with other things


def until(
    condition: Callable[[], T], what: str, log: Path | None = None, seconds: float = SECONDS
) -> T:
    """Wait until a condition is true, and return what it gave.

    Args:
        condition: called again and again.
        what: what is waited for, or what is wrong until then.
        log: a file to show where it does not come.
        seconds: how long to wait.

    Raises:
        AssertionError: it did not come.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            said = log.read_text(errors="replace") if log and log.exists() else ""
            raise AssertionError(f"waited {seconds:.0f} s: {what}\n{said}")
        time.sleep(0.005)
    return found
