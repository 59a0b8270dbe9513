"""How many descriptors a process may have: RLIMIT_NOFILE, getrlimit(2)."""

from resource import RLIMIT_NOFILE, getrlimit, setrlimit


def raise_limit() -> "tuple[int, int]":
    """Have as many as the kernel gives; return what it was, for `restore_limit`."""
    before = getrlimit(RLIMIT_NOFILE)
    try:
        setrlimit(RLIMIT_NOFILE, (before[1], before[1]))
    except (OSError, ValueError):
        pass
    return before


def restore_limit(before: "tuple[int, int]") -> None:
    """Undo `raise_limit`."""
    setrlimit(RLIMIT_NOFILE, before)


WHOLE = True
