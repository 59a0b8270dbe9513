"""The PID namespace: three processes where there was one. docs/pid.md has the picture.

No process can move into a PID namespace; only its children are born there (pid_namespaces(7)). So
the process that was started stays outside and becomes the *supervisor*. Its first child inside is
*init*, and its second is the *program*, in which `supervisor.go_on_in_child` returns:

    supervisor   starts the other two, passes signals on, stops and ends as the program does
    init         PID 1: reaps orphans, and knows which signals were sent to the whole group
    program      waits until the supervisor is ready, before any user code

The supervisor stands in for the program towards whoever started it. It is the program's parent, so
it sees how the program stops and ends without init's help. All three stay in one process group,
because that is the job which a shell and a terminal know: the kernel gives the program a Ctrl-C
directly, as it does for the other members of a pipeline.

Hence a signal that comes to the supervisor has to be passed on only if it was sent to the
supervisor alone. No signal says to whom it was sent; so init, which no signal from inside can harm,
is the witness. It blocks every signal and notes which ones come: what init has received was sent to
the whole group, and the program has received it, too.

Here are the two that live inside, and what all three need of signals; the supervisor has a file of
its own. Each file more would cost a start 0.1 ms.
"""

import os
import sys

from ..child import keep_only, prctl
from ..namespaces import REFUSED, attempt, call

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
    from signal import sigtimedwait as sigtimedwait
    from signal import sigwaitinfo as sigwaitinfo
    from typing import Any, NoReturn

    from ..namespaces import Start

    Place = tuple[int, int]  # in memory: the first byte's address, and that after the last
    Sender = tuple[int, int, int]  # si_code, si_pid and si_uid, sigaction(2)
else:
    import _signal as signal  # the same without enums, which cost more to make than all of this

    if hasattr(signal, "sigwaitinfo"):
        from _signal import sigtimedwait, sigwaitinfo
    else:  # PyPy has neither
        from .signalfd import sigtimedwait as sigtimedwait
        from .signalfd import sigwaitinfo as sigwaitinfo

EVERY_SIGNAL = signal.valid_signals()

# What a service manager tells the process that it starts, with that one's number: sd_listen_fds(3),
# sd_watchdog_enabled(3), systemd.exec(5). It is meant for the program, which has another.
ADDRESSED = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")

SI_QUEUE = -1  # what sigqueue(3) sends, which cannot address a group
SI_KERNEL = 0x80
VALID = 1.0  # seconds that a noted signal counts: the members of a group get one together
MOST = 255  # of one signal that init counts: its answer is a byte
HERE = b"!"
WORD = 8  # bytes of an address
QUESTION = signal.SIGRTMAX  # it queues, and is delivered after all others, signal(7)


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


def addressed() -> "list[str]":
    """Return the environment variables that name this process."""
    number = str(os.getpid())
    return [name for name in ADDRESSED if os.environ.get(name) == number]


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


class Init:
    """What the supervisor has of init: its process id out here, and two pipes.

    Attributes:
        pid: its process id.
        questions: where to write the number of a signal, to ask about it.
        answers: where to read how often it has come.
    """

    def __init__(self, pid: int, questions: int, answers: int) -> None:
        self.pid = pid
        self.questions = questions
        self.answers = answers
        self.still_owed: dict[int, int] = {}  # of a signal, how many that wait were init's as well
        self.last_sender: dict[int, Sender] = {}  # of one that waits, who sent the one before it

    def greet(self, place: "Place") -> None:
        """Let it see that the supervisor lives: it waits for that before it notes any signal.

        Args:
            place: of the command line, for init to show another; it is a copy of this process.
        """
        try:
            os.read(self.answers, 1)
            os.write(self.questions, b"".join(at.to_bytes(WORD, sys.byteorder) for at in place))
        except OSError:  # init is dead, and with it the program
            pass

    def also_received(self, number: int, sender: "Sender") -> bool:
        """Return whether init has received this signal as well, and so the program.

        If this process is behind, more than one of a kind waits here: then init's count is good for
        those, too. Real-time signals are counted; of the others, one that waits stands for any
        number (signal(7)). Init can be behind as well, and have one for two: so one more counts
        that comes from the same sender, or any number from the terminal, which knows only groups.

        Args:
            number: the signal.
            sender: whose it is.
        """
        answer = self._ask(number)
        if answer is None:
            return False
        one_more = self.last_sender.pop(number, None) == sender
        count = self.still_owed.pop(number, 0) + answer + one_more
        if count and number in signal.sigpending():
            if number >= signal.SIGRTMIN:
                self.still_owed[number] = count - 1
            elif count > 1:
                self.still_owed[number] = 1
            elif not one_more or sender[0] == SI_KERNEL:
                self.last_sender[number] = sender
        return count > 0

    def _ask(self, number: int) -> "int | None":
        """Return how often init has received a signal of late; None where it is dead."""
        try:
            os.write(self.questions, bytes((number,)))
            if attempt("sigqueue", self.pid, QUESTION, 0) < 0:
                return None
            answer = os.read(self.answers, 1)
        except OSError:
            return None
        return answer[0] if answer else None

    def end(self) -> None:
        """Kill it; the kernel ends all others inside first (pid_namespaces(7)).

        Its end waits for that of the program, and for somebody to take note of that: so any child
        is waited for.
        """
        os.kill(self.pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, 0)[0] != self.pid:
                pass
        except ChildProcessError:  # SIGCHLD is ignored, and the kernel has reaped it: waitpid(2)
            pass


def show_as(name: bytes, place: "Place") -> None:
    """Show another command line, so that pkill(1) finds the program alone.

    Args:
        name: what to show, cut to the length of the one that there was.
        place: where that is in memory.
    """
    first, end = place
    room = end - first - 1  # the last byte stays 0: else it goes on, proc_pid_cmdline(5)
    if room > 0:
        attempt("memcpy", pointer_to(first), name[:room].ljust(room, b"\0"), room)


def pointer_to(address: int) -> "Any":
    """Return what a function of the C library takes for a pointer to this address."""
    from _ctypes import _SimpleCData  # loaded long since, by `attempt`

    class Pointer(_SimpleCData):  # type: ignore[type-arg]
        _type_ = "P"

    return Pointer(address)


def start_init(questions: int, answers: int) -> int:
    """Fork init; return its process id out here.

    By the C library's fork, not Python's: init runs no code of the program's, so none of its
    fork handlers either.

    Args:
        questions, answers: as for `be_init`.

    Raises:
        UnshareError: there is no process for it.
    """
    pid = call("fork")
    if not pid:
        try:
            be_init(questions, answers)
        finally:
            os._exit(REFUSED)
    return pid


def be_init(questions: int, answers: int) -> "NoReturn":
    """Be PID 1: reap orphans, end with the supervisor, and note which signals the group gets.

    The kernel reaps by itself for a parent that ignores SIGCHLD (wait(2), NOTES), but not who has
    ended before. In a namespace that was joined this is no PID 1, and only a witness.

    Args:
        questions: where the supervisor writes the number of a signal, to ask about it.
        answers: where to write how often it has come since the last such question.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _reap_the_early()
    prctl("PR_SET_NAME", b"unshare-init")
    keep_only(questions, answers)
    os.chdir("/")
    prctl("PR_SET_PDEATHSIG", signal.SIGKILL)
    # Had the supervisor died before that call, this would go on for ever: so it has to answer.
    os.write(answers, HERE)
    place = os.read(questions, 2 * WORD)
    if not place:
        os._exit(REFUSED)
    first, end = (int.from_bytes(place[at:][:WORD], sys.byteorder) for at in (0, WORD))
    show_as(b"unshare-boot: init", (first, end))
    os.set_blocking(questions, False)
    from time import monotonic

    times: dict[int, list[float]] = {}  # of each signal, when it came
    while True:
        info = sigwaitinfo(EVERY_SIGNAL)
        if info.si_code != SI_QUEUE:
            came = times.setdefault(info.si_signo, [])
            came.append(monotonic())
            del came[:-MOST]  # nobody asks for those that were sent to init alone
            continue
        try:
            asked = os.read(questions, 1)[0]
        except BlockingIOError:  # not from the supervisor
            continue
        since = monotonic() - VALID
        recent = [when for when in times.pop(asked, ()) if when > since]
        os.write(answers, bytes((len(recent),)))


def _reap_the_early() -> None:
    """Reap those that became orphans, and ended, before this process first ran."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:  # there is nobody
        pass


WHOLE = True
