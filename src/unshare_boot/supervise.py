"""The PID namespace: three processes where there was one. docs/pid.md shows them.

No process can move into a PID namespace, only its children are born there (pid_namespaces(7)). So
the process that was started stays outside and becomes the *supervisor*; its first child inside is
*init*, and its second is the *program*, in which `enter_pid` returns.

The supervisor stands for the program towards whoever started it: it passes signals on, stops and
goes on with the program, and ends the way that the program ends. It is the program's parent, so it
sees all of that without init's help. All three stay in one process group, because that is the job
which a shell and a terminal know: the kernel gives the program a Ctrl-C directly, as it gives it to
the other members of a pipeline.

Hence a signal that comes to the supervisor has to be passed on only if it was sent to the
supervisor alone. No signal says of itself to whom it was sent; so init, which nothing can harm
inside, is the witness. It blocks every signal and notes which ones it gets: what init has had went
to the whole group, and the program has had it, too.
"""

import os
from _signal import (  # what `signal` wraps in enums, which cost more to make than all of this
    ITIMER_REAL,
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGCHLD,
    SIGCONT,
    SIGKILL,
    SIGRTMIN,
    SIGSTOP,
    SIGTTIN,
    SIGTTOU,
    pthread_sigmask,
    setitimer,
    signal,
    sigpending,
    sigtimedwait,
    sigwaitinfo,
    valid_signals,
)

from . import REFUSED
from .syscalls import CLONE_NEWPID, call, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .spec import Plan

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
SYS_CLOSE_RANGE = 436  # the same on every architecture that Python runs on; Linux 5.9
LAST_DESCRIPTOR = 2**31 - 1
SI_USER = 0  # si_code is at most this where a process sent the signal, sigaction(2)
FRESH = 1.0  # seconds for which init's testimony holds: a group's members get a signal at once
YES, NO = b"y", b"n"

EVERY = valid_signals()


def enter_pid(plan: "Plan") -> None:
    """Go on in a child that lives in a new PID namespace, or in the one that was joined.

    The process that calls this never returns from it: it supervises the child, and ends with it.

    Args:
        plan: with ``pid`` a path, join.join has been there already.

    Raises:
        OSError: unshare(CLONE_NEWPID) or fork fails; no process is left behind.
    """
    if not plan.pid:
        unshare(CLONE_NEWPID, "CLONE_NEWPID")
    mask = pthread_sigmask(SIG_BLOCK, EVERY)
    alarm = setitimer(ITIMER_REAL, 0)  # outlives execve(2), but is not inherited over fork(2)
    first = None
    try:
        first = Init()
        gate, opener = os.pipe()
        try:
            program = os.fork()
        except OSError as error:
            os.close(gate)
            os.close(opener)
            raise OSError(error.errno, error.strerror, "fork") from None
    except BaseException:
        if first:
            first.end()
            first.close()
        setitimer(ITIMER_REAL, *alarm)
        pthread_sigmask(SIG_SETMASK, mask)
        raise
    if program:
        try:
            supervise(program, first, opener)
        finally:
            os._exit(REFUSED)
    try:
        first.close()
        os.close(opener)
        pass_gate(gate, lifeline=bool(plan.pid))
    except BaseException:
        os._exit(REFUSED)  # the supervisor is dead
    setitimer(ITIMER_REAL, *alarm)
    pthread_sigmask(SIG_SETMASK, mask)


class Init:
    """The supervisor's handle of init, which see `init`."""

    def __init__(self) -> None:
        """Start it.

        The C library's fork, not Python's: init runs no code of the program's, so none of its
        fork handlers either.
        """
        questions, self.questions = os.pipe()
        self.answers, answers = os.pipe()
        try:
            self.pid = call("fork")
            if not self.pid:
                try:
                    init(questions, answers)
                finally:
                    os._exit(REFUSED)
        except OSError:
            self.close()
            raise
        finally:
            os.close(questions)
            os.close(answers)

    def had(self, number: int) -> bool:
        """Return whether init has just had this signal as well, and so the program."""
        try:
            os.write(self.questions, bytes((number,)))
            os.kill(self.pid, SIGCHLD)
            return os.read(self.answers, 1) == YES
        except OSError:  # init is dead, and with it the program
            return False

    def end(self) -> None:
        """Kill it; the kernel ends all others first (pid_namespaces(7)), so nothing remains."""
        os.kill(self.pid, SIGKILL)
        os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Close the pipes that lead to it."""
        os.close(self.questions)
        os.close(self.answers)


def init(questions: int, answers: int) -> "NoReturn":
    """Be PID 1: reap orphans, end with the supervisor, and witness what signals the group gets.

    The kernel reaps by itself for a parent that ignores SIGCHLD (wait(2), NOTES), which leaves that
    signal free to mean here: the supervisor has a question. In a namespace that was joined this is
    no PID 1, and only a witness.
    """
    signal(SIGCHLD, SIG_IGN)
    call("prctl", PR_SET_NAME, b"unshare-init")
    keep_only(questions, answers)
    os.chdir("/")
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    # Had the supervisor died before that call, this would wait for nobody: so it has to answer.
    os.write(answers, YES)
    if not os.read(questions, 1):
        os._exit(REFUSED)
    os.set_blocking(questions, False)
    from time import monotonic

    times: "dict[int, list[float]]" = {}
    while True:
        number = sigwaitinfo(EVERY).si_signo
        asked = b""
        if number == SIGCHLD:
            try:
                asked = os.read(questions, 1)
            except BlockingIOError:  # somebody else's SIGCHLD
                pass
        if not asked:
            times.setdefault(number, []).append(monotonic())
            continue
        while (other := sigtimedwait(EVERY, 0)) is not None:  # those that came before the question
            times.setdefault(other.si_signo, []).append(monotonic())
        fresh = [when for when in times.get(asked[0], ()) if monotonic() - when < FRESH]
        # Real-time signals queue and are counted; the others are one, however many were sent.
        times[asked[0]] = fresh[1:] if asked[0] >= SIGRTMIN else []
        os.write(answers, YES if fresh else NO)


def pass_gate(gate: int, lifeline: bool) -> None:
    """In the program: wait for the supervisor, and take over what was on its way to the process.

    Args:
        gate: where the supervisor writes the signals that it got before the program was there.
        lifeline: arrange to be killed if the supervisor dies; in a new namespace, init's death
            sees to that.

    Raises:
        OSError: the supervisor is dead.
    """
    data = os.read(gate, 256)
    if not data:
        raise OSError("no supervisor")
    if lifeline:
        call("prctl", PR_SET_PDEATHSIG, SIGKILL)
        os.set_blocking(gate, False)
        try:
            os.read(gate, 1)
            raise OSError("no supervisor")
        except BlockingIOError:  # it is there, and holds the other end
            pass
    os.close(gate)
    for number in set(data) - {0} - sigpending():
        os.kill(os.getpid(), number)


def supervise(program: int, witness: Init, opener: int) -> "NoReturn":
    """Stand for the program until it ends, then end likewise.

    Args:
        program: its process id out here.
        witness: init.
        opener: where the program waits for the signals that it has missed.
    """
    import gc

    gc.disable()  # a collection would write to every object, and so copy what is still shared
    signal(SIGCHLD, SIG_DFL)  # if it was ignored, there would be no status to wait for
    missed = []
    while (info := sigtimedwait(EVERY, 0)) is not None:
        if info.si_signo != SIGCHLD or info.si_code <= SI_USER:
            witness.had(info.si_signo)
            missed.append(info.si_signo)
    keep_only(witness.questions, witness.answers, opener)
    os.write(opener, bytes([0, *missed[:255]]))
    os.read(witness.answers, 1)
    os.write(witness.questions, YES)

    own = os.getpid()
    while True:
        info = sigwaitinfo(EVERY)
        number = info.si_signo
        if number == SIGCHLD:
            status = look(program)
            if status is not None:
                break
            if info.si_code > SI_USER:
                continue
        if info.si_pid != own and not witness.had(number):
            os.kill(program, number)
    witness.end()
    end_like(status)


def look(program: int) -> "int | None":
    """Stop if the program has stopped, and go on with it; return its wait status if it has ended."""
    while True:
        try:
            pid, status = os.waitpid(program, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        except ChildProcessError:  # killed while SIGCHLD was still ignored, as it was inherited
            return SIGKILL
        if not pid:
            return None
        if os.WIFSTOPPED(status):
            stop_like(os.WSTOPSIG(status))
        elif not os.WIFCONTINUED(status):
            return status


def stop_like(number: int) -> None:
    """Stop by the signal that has stopped the program, so that a shell sees its job stopped."""
    if number in (SIGTTIN, SIGTTOU) and regain_terminal():
        os.killpg(0, SIGCONT)
    elif number == SIGSTOP:
        os.kill(os.getpid(), SIGSTOP)
    else:
        signal(number, SIG_DFL)
        os.kill(os.getpid(), number)
        pthread_sigmask(SIG_UNBLOCK, (number,))  # this is where it stops
        pthread_sigmask(SIG_BLOCK, (number,))


def regain_terminal() -> bool:
    """Make this the terminal's foreground group again if the one that is has no member any more.

    A shell with job control that the program has started takes the terminal, and cannot give it
    back at its end: the program's group has no number in there (pid_namespaces(7)).
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        holder = os.tcgetpgrp(terminal)
        if holder <= 0:
            return False
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
        call("prctl", PR_SET_DUMPABLE, 0)  # no second core file
        if number != SIGKILL:
            signal(number, SIG_DFL)
        os.kill(os.getpid(), number)
        pthread_sigmask(SIG_UNBLOCK, (number,))  # this is where it dies
    finally:
        os._exit(128 + number)  # PID 1 of a container does not die by its own signals


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
