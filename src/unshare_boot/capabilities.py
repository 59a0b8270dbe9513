"""What capabilities are left once everything is set up: capabilities(7)."""

import sys
from errno import EINVAL, EPERM

from .errors import UnshareError
from .namespaces import Plan, call, unshare

CAPABILITY_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h
PR_CAPBSET_DROP = 24  # include/uapi/linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4


def settle(plan: Plan) -> None:
    """Keep every capability across execve(2), or give all of them up for good.

    Raises:
        UnshareError: the bounding set cannot be emptied, which needs CAP_SETPCAP.
        OSError: the kernel refuses.
    """
    unshare(0, "CLONE_THREAD")  # fails in a process with threads: they would keep their own
    if plan.caps == "keep":
        carry_over()
    else:
        _drop()


def carry_over() -> None:
    """Make ambient what is permitted: it outlives execve(2), whatever the uid."""
    permitted = _read_set("CapPrm")
    _set(permitted, permitted)  # only what is inheritable can be made ambient
    for capability in range(permitted.bit_length()):
        if permitted >> capability & 1:
            _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, "PR_CAP_AMBIENT_RAISE")


def set_down() -> None:
    """Undo `carry_over`: the program keeps what is permitted, its children will not have it."""
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, "PR_CAP_AMBIENT_CLEAR_ALL")
    _set(_read_set("CapPrm"), 0)


def _drop() -> None:
    """Empty all sets. An empty bounding set is what keeps uid 0 from regaining them by execve."""
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, "PR_CAP_AMBIENT_CLEAR_ALL")
    capability = 0
    try:
        while True:
            _prctl(PR_CAPBSET_DROP, capability, 0, "PR_CAPBSET_DROP")
            capability += 1
    except OSError as error:
        if error.errno == EPERM:
            reason = "the bounding set can be emptied with CAP_SETPCAP only: add user"
            raise UnshareError(EPERM, reason, "caps=none", "prctl(PR_CAPBSET_DROP)") from error
        if error.errno != EINVAL:  # after the last that there is
            raise
    if _read_set("CapBnd"):
        raise UnshareError(EINVAL, "the bounding set has not become empty", "caps=none")
    _set(0, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0, "PR_SET_NO_NEW_PRIVS")


def _set(permitted: int, inheritable: int) -> None:
    """capset(2): what is permitted is also effective."""
    header = CAPABILITY_VERSION_3.to_bytes(4, sys.byteorder) + bytes(4)
    data = b""
    for shift in (0, 32):
        for bits in (permitted, permitted, inheritable):
            data += (bits >> shift & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    call("capset", header, data)


def _read_set(name: str) -> int:
    with open("/proc/thread-self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1], 16)
    raise UnshareError(EINVAL, f"/proc/thread-self/status has no {name}", "caps")


def _prctl(option: int, first: int, second: int, name: str) -> None:
    call("prctl", option, first, second, 0, 0, what=f"prctl({name})")


WHOLE = True
