"""PY_UNSHARE_VERBOSE: one line a step on standard error, with its time."""

import os
from time import perf_counter_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


def reporter() -> "Callable[[str], None]":
    """Return a function to call after each step with what was done; it writes how long that took.

    Returns:
        The function; the time of its first call counts from now.
    """
    last = perf_counter_ns()

    def report(done: str) -> None:
        nonlocal last
        now = perf_counter_ns()
        line = f"unshare-boot: {(now - last) / 1e6:7.3f} ms  {done}\n"
        try:
            os.write(2, line.encode("utf-8", "backslashreplace"))
        except OSError:  # nobody reads standard error: the program is isolated all the same
            pass
        last = perf_counter_ns()

    return report


WHOLE = True
