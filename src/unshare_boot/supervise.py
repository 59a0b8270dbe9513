"""The PID namespace: three processes where there was one. docs/pid.md has the picture.

No process can move into a PID namespace, only its children are born there (pid_namespaces(7)). So
the process that was started stays outside and becomes the *supervisor*; its first child inside is
*init*, and its second is the *program*, in which `supervised` returns.

The supervisor stands for the program towards whoever started it: it passes signals on, stops and
goes on with the program, and ends the way that the program ends. It is the program's parent, so it
sees all of that without init's help. All three stay in one process group, because that is the job
which a shell and a terminal know: the kernel gives the program a Ctrl-C directly, as it does for
the other members of a pipeline.

Hence a signal that comes to the supervisor has to be passed on only if it was sent to the
supervisor alone. No signal says of itself to whom it was sent; so init, which no signal from inside
can harm, is the witness. It blocks every signal and notes which ones come: what init has had was
sent to the whole group, and the program has had it, too.
"""

import os

from . import REFUSED
from .namespaces import CLONE_NEWPID, call, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from signal import sigtimedwait, sigwaitinfo
    from typing import NoReturn

    from .namespaces import Plan

    Sender = tuple[int, int, int]  # si_code, si_pid and si_uid, sigaction(2)
else:
    import _signal as signal  # the same without enums, which cost more to make than all of this

    if hasattr(signal, "sigwaitinfo"):
        from _signal import sigtimedwait, sigwaitinfo
    else:  # PyPy has neither
        from .signalfd import sigtimedwait, sigwaitinfo

MADV_DONTNEED = 4  # include/uapi/asm-generic/mman-common.h
PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
SYS_CLOSE_RANGE = 436  # the same on every architecture that Python runs on; Linux 5.9
LAST_DESCRIPTOR = 2**31 - 1
SI_QUEUE = -1  # what sigqueue(3) sends, which cannot address a group
SI_KERNEL = 0x80
SI_USER = 0  # si_code is at most this where a process has sent the signal, sigaction(2)
FRESH = 1.0  # seconds that init's testimony holds: the members of a group get a signal together
MOST = 255  # of one signal that init knows: its answer is a byte
HERE = b"!"

# What a service manager tells the process that it starts, with that one's number: sd_listen_fds(3),
# sd_watchdog_enabled(3), systemd.exec(5). It is meant for the program, which has another.
ADDRESSED = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")

# What `supervised` leaves to `admit`: the gate's descriptor, the timer and the signal mask.
admission: "tuple[int, tuple[float, float], set[int]]"

EVERY = signal.valid_signals()
STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
QUESTION = signal.SIGRTMAX  # it queues, and is delivered after all others, signal(7)


def supervised(plan: "Plan") -> None:
    """Go on in a child that lives in a new PID namespace, or in the one that was joined.

    The process that calls this never returns from it: it supervises the child, and ends with it.

    Args:
        plan: where its ``pid`` is a path, join.join has been there already.

    Raises:
        OSError: unshare(CLONE_NEWPID) or fork fails; no process is left behind.
    """
    if not plan.pid:
        unshare(CLONE_NEWPID, "CLONE_NEWPID")
    number = str(os.getpid())
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, EVERY)
    alarm = signal.setitimer(signal.ITIMER_REAL, 0)  # outlives execve(2), but not fork(2)
    init = None
    try:
        init = Init()
        gate, opener = os.pipe()
        maps = own_maps()
        try:
            program = os.fork()
        except OSError as error:
            for descriptor in (gate, opener, maps):
                if descriptor >= 0:
                    os.close(descriptor)
            raise OSError(error.errno, error.strerror, "fork") from None
    except BaseException:
        if init:
            init.end()
            init.close()
        signal.setitimer(signal.ITIMER_REAL, *alarm)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if program:
        try:
            supervise(program, init, opener, maps)
        finally:
            os._exit(REFUSED)
    init.close()
    os.close(opener)
    if maps >= 0:
        os.close(maps)
    for name in ADDRESSED:
        if os.environ.get(name) == number:
            os.environ[name] = str(os.getpid())
    global admission
    admission = gate, alarm, mask


def admit(plan: "Plan") -> None:
    """Let the program hear signals, last of all: till then the supervisor had time to get ready.

    Args:
        plan: the one that `supervised` has had.
    """
    gate, alarm, mask = admission
    try:
        pass_gate(gate, lifeline=bool(plan.pid))
    except BaseException:
        os._exit(REFUSED)  # the supervisor is dead
    signal.setitimer(signal.ITIMER_REAL, *alarm)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Init:
    """What the supervisor has of init: its process id out here, and two pipes."""

    def __init__(self) -> None:
        """Start it.

        By the C library's fork, not Python's: init runs no code of the program's, so none of its
        fork handlers either.
        """
        self.credit: dict[int, int] = {}  # of a signal, how many that wait were init's as well
        self.alike: dict[int, Sender] = {}  # of one that waits, who sent the one before it
        questions, self.questions = os.pipe()
        self.answers, answers = os.pipe()
        try:
            self.pid = call("fork")
            if not self.pid:
                try:
                    be_init(questions, answers)
                finally:
                    os._exit(REFUSED)
        except OSError:
            self.close()
            raise
        finally:
            os.close(questions)
            os.close(answers)

    def greet(self) -> None:
        """Let it see that the supervisor lives, which it waits for once."""
        try:
            os.read(self.answers, 1)
            os.write(self.questions, HERE)
        except OSError:  # init is dead, and with it the program
            pass

    def had(self, number: int, sender: "Sender") -> bool:
        """Return whether init has had this signal as well, and so the program.

        If this process is behind, more than one of a kind waits here: then init's count is good for
        those, too. Real-time signals are counted; of the others, one that waits stands for any
        number (signal(7)). Init can be behind as well, and have one for two: so one more counts
        that comes from the same sender, or any number from the terminal, which knows only groups.

        Args:
            number: the signal.
            sender: whose it is.
        """
        try:
            os.write(self.questions, bytes((number,)))
            call("sigqueue", self.pid, QUESTION, 0)
            count = self.credit.pop(number, 0) + ord(os.read(self.answers, 1))
        except (OSError, TypeError):  # init is dead, and with it the program
            return False
        one_more = self.alike.pop(number, None) == sender
        count += one_more
        if count and number in signal.sigpending():
            if number >= signal.SIGRTMIN or count > 1:
                self.credit[number] = count - 1 if number >= signal.SIGRTMIN else 1
            elif not one_more or sender[0] == SI_KERNEL:
                self.alike[number] = sender
        return count > 0

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

    def close(self) -> None:
        """Close the pipes that lead to it."""
        os.close(self.questions)
        os.close(self.answers)


def be_init(questions: int, answers: int) -> "NoReturn":
    """Be PID 1: reap orphans, end with the supervisor, and witness what signals the group gets.

    The kernel reaps by itself for a parent that ignores SIGCHLD (wait(2), NOTES). In a namespace
    that was joined this is no PID 1, and only a witness.

    Args:
        questions: where the supervisor writes the number of a signal, to ask about it.
        answers: where to write how often it has come since the last such question.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    call("prctl", PR_SET_NAME, b"unshare-init")
    keep_only(questions, answers)
    os.chdir("/")
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    # Had the supervisor died before that call, this would go on for ever: so it has to answer.
    os.write(answers, HERE)
    if not os.read(questions, 1):
        os._exit(REFUSED)
    os.set_blocking(questions, False)
    from time import monotonic

    times: dict[int, list[float]] = {}  # of each signal, when it came
    while True:
        info = sigwaitinfo(EVERY)
        if info.si_code != SI_QUEUE:
            came = times.setdefault(info.si_signo, [])
            came.append(monotonic())
            del came[:-MOST]  # nobody asks for those that were sent to init alone
            continue
        try:
            asked = os.read(questions, 1)[0]
        except BlockingIOError:  # not from the supervisor
            continue
        since = monotonic() - FRESH
        fresh = [when for when in times.pop(asked, ()) if when > since]
        os.write(answers, bytes((len(fresh),)))


def pass_gate(gate: int, lifeline: bool) -> None:
    """In the program: wait for the supervisor, and take over what came before there was a program.

    Args:
        gate: where the supervisor writes 0 and the signals that it has got so far.
        lifeline: arrange to be killed if the supervisor dies; in a new namespace, init's death
            sees to that.

    Raises:
        OSError: the supervisor is dead.
    """
    missed = os.read(gate, 256)
    if not missed:
        raise OSError("no supervisor")
    if lifeline:
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        os.set_blocking(gate, False)
        try:
            os.read(gate, 1)
            raise OSError("no supervisor")
        except BlockingIOError:  # it holds the other end
            pass
    os.close(gate)
    for number in set(missed) - {0} - signal.sigpending():
        os.kill(os.getpid(), number)


def supervise(program: int, init: Init, opener: int, maps: int) -> "NoReturn":
    """Stand for the program until it ends, then end likewise.

    Args:
        program: its process id out here.
        init: what tells whether a signal was sent to the whole group.
        opener: where the program waits to hear what signals it has missed.
        maps: of `own_maps`.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, there would be no status to wait for
    missed = [0]
    while (info := sigtimedwait(EVERY, 0)) is not None:
        if info.si_signo != signal.SIGCHLD or info.si_code <= SI_USER:
            missed.append(info.si_signo)
    # This is outside of the PID namespace, but in the program's user namespace, whose root could
    # take the fresh /proc away, find this process in the one below, and take it over. One that is
    # not dumpable is left to the root of where it was started, ptrace(2); and dumps no core.
    call("prctl", PR_SET_DUMPABLE, 0)
    os.write(opener, bytes(missed[:256]))

    keep_only(init.questions, init.answers, opener, maps)
    init.greet()
    slim(maps)
    for number in missed[1:]:
        init.had(number, (SI_USER, 0, 0))  # so that it does not stand for the next of its kind
    own = os.getpid()
    while (status := look(program)) is None:
        info = sigwaitinfo(EVERY)
        number = info.si_signo
        if number == signal.SIGCHLD and info.si_code > SI_USER:
            continue  # the program has stopped, gone on or ended
        sender = info.si_code, info.si_pid, info.si_uid
        if not init.had(number, sender) and not revoked(number) and info.si_pid != own:
            os.kill(program, number)
    init.end()
    end_like(status)


def revoked(number: int) -> bool:
    """Return whether a signal has come that takes this one back, signal(7).

    SIGCONT clears the stop signals that wait for a process, and they clear it; in init's memory,
    too, so that init does not know of one that was sent to the whole group.
    """
    if number == signal.SIGCONT:
        return not STOPS.isdisjoint(signal.sigpending())
    return number in STOPS and signal.SIGCONT in signal.sigpending()


def own_maps() -> int:
    """Return a descriptor of /proc/self/maps, or -1 where there is none.

    Opened before the program is there: once that has mounted /proc afresh, it is not to be found.
    """
    try:
        return os.open("/proc/self/maps", os.O_RDONLY)
    except OSError:
        return -1


def slim(maps: int) -> None:
    """Let go of memory: keep from copying what is shared, and from holding program text.

    Args:
        maps: of `own_maps`; it is closed.
    """
    import gc

    gc.disable()  # a collection writes to every object
    if maps < 0:
        return
    from _ctypes import _SimpleCData

    class Address(_SimpleCData):  # type: ignore[type-arg]
        _type_ = "P"

    with open(maps, "rb") as file:
        for line in file.read().splitlines():  # proc_pid_maps(5)
            span, access, _, _, _, *path = line.split(None, 5)
            if access == b"r-xp" and path and path[0][:1] == b"/":  # comes back when it is used
                first, end = (int(number, 16) for number in span.split(b"-"))
                call("madvise", Address(first), end - first, MADV_DONTNEED)  # type: ignore[arg-type]


def look(program: int) -> "int | None":
    """Stop and go on with the program; return its wait status once it has ended."""
    while True:
        try:
            pid, status = os.waitpid(program, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        except ChildProcessError:  # killed while SIGCHLD was still ignored, as inherited
            return signal.SIGKILL
        if not pid:
            return None
        if os.WIFSTOPPED(status):
            stop_like(os.WSTOPSIG(status))
        elif not os.WIFCONTINUED(status):
            return int(status)


def stop_like(number: int) -> None:
    """Stop by the signal that has stopped the program, so that a shell sees its job stopped."""
    if number in (signal.SIGTTIN, signal.SIGTTOU) and regain_terminal():
        os.killpg(0, signal.SIGCONT)
    elif number == signal.SIGSTOP:
        os.kill(os.getpid(), number)
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))  # this is where it stops
        signal.pthread_sigmask(signal.SIG_BLOCK, (number,))


def regain_terminal() -> bool:
    """Make this the terminal's foreground group again if the one that is has no member any more.

    A shell with job control that the program has started takes the terminal, and cannot give it
    back at its end: the program's group has no number in there.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        holder = os.tcgetpgrp(terminal)
        if holder > 0:
            os.killpg(holder, 0)
    except ProcessLookupError:
        os.tcsetpgrp(terminal, os.getpgrp())
        return True
    except OSError:
        pass
    finally:
        os.close(terminal)
    return False


def end_like(status: int) -> "NoReturn":
    """End with the exit status, or by the signal, of a wait status (wait(2))."""
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    try:
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))  # this is where it dies
    finally:
        os._exit(128 + number)  # where it does not: PID 1 of a container is immune to its own


def keep_only(*descriptors: int) -> None:
    """Close all other descriptors: a reader waits for the end of a pipe until nobody holds it."""
    first = 0
    for kept in (*sorted(descriptors), LAST_DESCRIPTOR):
        if first < kept:
            try:
                call("syscall", SYS_CLOSE_RANGE, first, kept - 1, 0)
            except OSError:  # before Linux 5.9, or a seccomp profile of that time
                os.closerange(first, min(kept, os.sysconf("SC_OPEN_MAX")))
        first = kept + 1


WHOLE = True
