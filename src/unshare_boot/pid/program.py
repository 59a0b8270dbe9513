"""The program's side: it goes on once the supervisor is ready, and takes over all signals then."""

import os

from ..child import prctl
from ..errors import REFUSED
from . import EVERY_SIGNAL, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Start

# What a service manager tells the process that it starts, with that one's number: sd_listen_fds(3),
# sd_watchdog_enabled(3), systemd.exec(5). It is meant for the program, which has another.
ADDRESSED = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")


class Admission:
    """What the program waits for, and what it gets back then.

    Attributes:
        ready: a pipe's descriptor, where the supervisor writes once it is ready: 0, then the
            numbers of the signals that it has received so far.
        alarm: seconds until the timer rings and between two rings, getitimer(2).
        mask: the signals that are blocked, sigprocmask(2).
    """

    __slots__ = ("alarm", "mask", "ready")

    def __init__(self, ready: int, alarm: "tuple[float, float]", mask: "set[int]") -> None:
        self.ready = ready
        self.alarm = alarm
        self.mask = mask


def hold_signals() -> "tuple[tuple[float, float], set[int]]":
    """Block every signal and stop the timer; return what `release_signals` takes to undo that."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL)
    alarm = signal.setitimer(signal.ITIMER_REAL, 0)  # outlives execve(2), but not fork(2)
    return alarm, mask


def release_signals(alarm: "tuple[float, float]", mask: "set[int]") -> None:
    """Undo `hold_signals`, whose result these are."""
    signal.setitimer(signal.ITIMER_REAL, *alarm)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def take_over_number(supervisor: str) -> None:
    """Correct the environment variables that name the process that was started.

    Args:
        supervisor: its process id, which the supervisor keeps.
    """
    for name in ADDRESSED:
        if os.environ.get(name) == supervisor:
            os.environ[name] = str(os.getpid())


def wait_for_supervisor(start: "Start") -> None:
    """Let signals in again, once the supervisor can pass them on.

    The last step of all: until then the supervisor has time to get ready. Where it is dead, the
    process ends with status 125.

    Args:
        start: its ``admission`` is what `supervisor.go_on_in_child` left.
    """
    admission = start.admission
    assert admission is not None
    try:
        missed = _read_missed(admission.ready)
        if start.plan.pid:  # in a new namespace, init's end is the program's
            _end_with_supervisor(admission.ready)
    except BaseException:
        os._exit(REFUSED)
    os.close(admission.ready)
    for number in missed - signal.sigpending():
        os.kill(os.getpid(), number)
    release_signals(admission.alarm, admission.mask)


def _read_missed(ready: int) -> "set[int]":
    """Wait for the supervisor; return the signals that came before there was a program."""
    said = os.read(ready, 256)
    if not said:
        raise OSError("no supervisor")
    return set(said) - {0}


def _end_with_supervisor(ready: int) -> None:
    """Have the kernel kill this process when the supervisor ends, which is not dead yet.

    Its number says nothing here, where getppid(2) is 0; but it holds the pipe's other end.
    """
    prctl("PR_SET_PDEATHSIG", signal.SIGKILL)
    os.set_blocking(ready, False)
    try:
        os.read(ready, 1)
    except BlockingIOError:
        return
    raise OSError("no supervisor")


WHOLE = True
