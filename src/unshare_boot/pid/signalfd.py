"""sigwaitinfo(2) and sigtimedwait(2) where Python has neither, as in PyPy: by signalfd(2)."""

import os
import sys
from select import POLLIN, poll

from ..namespaces import attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SFD_CLOEXEC = 0o2000000  # bits/signalfd.h; these two are those of open(2)
SFD_NONBLOCK = 0o4000
SIGSET_SIZE = 128  # bytes of a sigset_t, in glibc and in musl
INFO_SIZE = 128  # of a struct signalfd_siginfo


class SigInfo:
    """What is known of a signal, under the names that Python's struct_siginfo has."""

    def __init__(self, info: bytes) -> None:
        """Read a struct signalfd_siginfo: signal, errno, code, sender's ids, …"""
        self.si_signo, self.si_code, self.si_pid, self.si_uid = (
            int.from_bytes(info[at : at + 4], sys.byteorder, signed=True) for at in (0, 8, 12, 16)
        )


_kept = -1  # the descriptor that sigwaitinfo() reads from


def sigwaitinfo(signals: "Iterable[int]") -> SigInfo:
    """Wait for one of these signals, which have to be blocked, and take it.

    Args:
        signals: always the same ones. The descriptor for them is opened by the first call, and
            stays open, since PyPy is slow to open one.
    """
    global _kept
    if _kept < 0:
        _kept = _open(signals, 0)
    return SigInfo(os.read(_kept, INFO_SIZE))


def sigtimedwait(signals: "Iterable[int]", timeout: float) -> "SigInfo | None":
    """Wait for one of these signals, and take it.

    Args:
        signals: they have to be blocked.
        timeout: how long to wait at most, in seconds; 0: take one that is there already.

    Returns:
        The signal, or None if none has come.
    """
    descriptor = _open(signals, SFD_NONBLOCK)
    try:
        waiting = poll()
        waiting.register(descriptor, POLLIN)
        waiting.poll(timeout * 1000)
        return SigInfo(os.read(descriptor, INFO_SIZE))
    except BlockingIOError:
        return None
    finally:
        os.close(descriptor)


def _open(signals: "Iterable[int]", flags: int) -> int:
    bits = sum(1 << number - 1 for number in signals)
    mask = bits.to_bytes(8, sys.byteorder).ljust(SIGSET_SIZE, b"\0")
    descriptor = attempt("signalfd", -1, mask, SFD_CLOEXEC | flags)
    if descriptor < 0:
        raise OSError(-descriptor, os.strerror(-descriptor))
    return descriptor


WHOLE = True
