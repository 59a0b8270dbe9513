"""Threads that are in the way: the kernel lets no process with threads into a user namespace."""

import sys
from errno import EINVAL

from ..child import count_threads
from ..errors import UnshareError
from .program import host

RUNS = "the program is running already"


def require_no_threads(obstacle: str = RUNS) -> None:
    """Raise if threads would make the kernel refuse, and if nothing can be done about that.

    Args:
        obstacle: why this process cannot start over without them; empty if it can.

    Raises:
        UnshareError: they would (EINVAL).
    """
    if count_threads() > 1 and obstacle and not _end_soon():
        raise threads_error(obstacle)


def _end_soon() -> bool:
    """Wait for threads that are ending: the kernel has one a little longer than join() waits."""
    from time import sleep

    for _ in range(50):
        if count_threads() < 2:
            return True
        sleep(0.002)
    return False


def why_not_start_over() -> str:
    """Return why this process cannot start over; empty if it can."""
    name = host()
    if name:
        return f"{name} is no Python interpreter, but a program that has one inside"
    # The interpreter itself imports site, from no frame of Python, and the program comes after it.
    spec = getattr(sys.modules.get("site"), "__spec__", None)
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
    by_interpreter = frame.f_code.co_filename == "<frozen importlib._bootstrap>"
    if not by_interpreter or not getattr(spec, "_initializing", False):
        return RUNS
    return ""


def threads_error(obstacle: str) -> UnshareError:
    """Return the error of a process that has threads, and cannot start over without them."""
    reason = (
        f"this process has {count_threads()} threads, and cannot start over without: {obstacle}"
    )
    return UnshareError(EINVAL, reason, "", "unshare", "CLONE_THREAD")


WHOLE = True
