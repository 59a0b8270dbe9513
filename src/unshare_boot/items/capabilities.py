"""What capabilities are left once everything is set up: capabilities(7)."""

import sys
from errno import EINVAL, EPERM

from ..child import prctl
from ..errors import UnshareError, named
from ..namespaces import Start, call, require_single_thread
from ..procfiles import status_field

CAPABILITY_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h
PR_CAP_AMBIENT_RAISE = 2  # include/uapi/linux/prctl.h
PR_CAP_AMBIENT_CLEAR_ALL = 4


def apply_caps(start: Start) -> None:
    """Keep every capability across execve(2), or give all of them up, which cannot be undone.

    Raises:
        UnshareError: the bounding set cannot be emptied, which needs CAP_SETPCAP; or the kernel
            refuses.
    """
    require_single_thread()  # other threads would keep their own
    if start.plan.caps == "keep":
        carry_over()
    else:
        _drop()


def carry_over() -> None:
    """Make ambient what is permitted: it outlives execve(2), whatever the uid."""
    permitted = _read_set("CapPrm")
    _set(permitted, permitted)  # only what is inheritable can be made ambient
    for capability in range(permitted.bit_length()):
        if permitted >> capability & 1:
            prctl("PR_CAP_AMBIENT", PR_CAP_AMBIENT_RAISE, capability, "PR_CAP_AMBIENT_RAISE")


def undo_carry_over() -> None:
    """Leave the program what is permitted, and keep its children from having it."""
    _clear_ambient()
    _set(_read_set("CapPrm"), 0)


def _drop() -> None:
    """Empty all sets. An empty bounding set is what keeps uid 0 from regaining them by execve."""
    _clear_ambient()
    capability = 0
    try:
        while True:
            prctl("PR_CAPBSET_DROP", capability)
            capability += 1
    except UnshareError as error:
        if error.errno == EPERM:
            error.strerror = "the bounding set can be emptied with CAP_SETPCAP only: add user"
            error.item = named("caps", "none")
            raise
        if error.errno != EINVAL:  # after the last that there is
            raise
    if _read_set("CapBnd"):
        reason = "the bounding set has not become empty"
        raise UnshareError(EINVAL, reason, named("caps", "none"))
    _set(0, 0)
    prctl("PR_SET_NO_NEW_PRIVS", 1)


def _clear_ambient() -> None:
    prctl("PR_CAP_AMBIENT", PR_CAP_AMBIENT_CLEAR_ALL, 0, "PR_CAP_AMBIENT_CLEAR_ALL")


def _set(permitted: int, inheritable: int) -> None:
    """capset(2): what is permitted is also effective."""
    header = CAPABILITY_VERSION_3.to_bytes(4, sys.byteorder) + bytes(4)
    data = b""
    for shift in (0, 32):
        for bits in (permitted, permitted, inheritable):
            data += (bits >> shift & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
    call("capset", header, data)


def _read_set(name: str) -> int:
    return int(status_field(name, "/proc/thread-self/status"), 16)


WHOLE = True
