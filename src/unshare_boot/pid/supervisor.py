"""The supervisor: the process that was started, which stands in for the program until it ends."""

import os

from ..child import fork, heed_children, keep_only, pipe, prctl
from ..namespaces import REFUSED, attempt, unshare
from . import (
    EVERY_SIGNAL,
    Admission,
    Init,
    addressed,
    hold_signals,
    pointer_to,
    release_signals,
    show_as,
    signal,
    sigtimedwait,
    sigwaitinfo,
    start_init,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import struct_siginfo
    from typing import NoReturn

    from ..namespaces import Start
    from . import Place

MADV_DONTNEED = 4  # include/uapi/asm-generic/mman-common.h
SI_USER = 0  # si_code is at most this where a process has sent the signal, sigaction(2)
STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
BRIEF = 0.05  # seconds: a program that ends sooner does not wait for what can be done later


def go_on_in_child(start: "Start") -> None:
    """Go on in a child that lives in a new PID namespace, or in the one that was joined.

    The process that calls this never returns from it: it supervises the child, and ends with it.

    Args:
        start: where ``pid`` of its plan is a path, items.join has been there already. In the
            child, its ``admission`` is what `wait_for_supervisor` takes.

    Raises:
        UnshareError: unshare(CLONE_NEWPID) or fork fails; no process is left behind.
    """
    if not start.plan.pid:
        unshare("pid")
    names = addressed()
    alarm, mask = hold_signals()
    init = None
    try:
        ready, writer = pipe()
        question_reader, questions = pipe()
        answers, answer_writer = pipe()
        own = open_own_files()
        # One fork right after the other: a page that is written to in between is copied twice.
        init = Init(start_init(question_reader, answer_writer), questions, answers)
        program = fork(alone=not start.plan.pid)
    except BaseException:
        if init:
            init.end()
        release_signals(alarm, mask)
        raise
    if program:
        try:
            supervise(program, init, writer, own)
        finally:
            os._exit(REFUSED)
    for descriptor in (writer, question_reader, questions, answers, answer_writer, own):
        if descriptor >= 0:
            os.close(descriptor)
    for name in names:
        os.environ[name] = str(os.getpid())
    start.admission = Admission(ready, alarm, mask)


def supervise(program: int, init: "Init", writer: int, own: int) -> "NoReturn":
    """Stand in for the program until it ends, then end likewise.

    Args:
        program: its process id out here.
        init: what tells whether a signal was sent to the whole group.
        writer: of the pipe where the program waits.
        own: of `open_own_files`.
    """
    heed_children()  # ignored, there would be no status to wait for
    missed = take_waiting()
    # This is outside of the PID namespace, but in the program's user namespace, whose root could
    # take the fresh /proc away, find this process in the one below, and take it over. One that is
    # not dumpable is left to the root of where it was started, ptrace(2); and dumps no core.
    prctl("PR_SET_DUMPABLE", 0)
    os.write(writer, bytes((0, *missed))[:256])

    # From here on nothing is imported from a file: the program can have put another in its place.
    keep_only(init.questions, init.answers, writer, own)
    status = accompany(program, init, missed, own)
    init.end()
    end_like(status)


def take_waiting() -> "list[int]":
    """Take the signals that have come already; return their numbers."""
    taken = []
    while (info := sigtimedwait(EVERY_SIGNAL, 0)) is not None:
        if not is_from_kernel_about_child(info):
            taken.append(info.si_signo)
    return taken


def is_from_kernel_about_child(info: "struct_siginfo") -> bool:
    """Tell whether a signal says that a child has stopped, continued or ended."""
    return info.si_signo == signal.SIGCHLD and info.si_code > SI_USER


def accompany(program: int, init: "Init", missed: "list[int]", own: int) -> int:
    """Pass signals on to the program, stop and continue with it; return its wait status.

    Whatever can be done later is done once the program has lived for a while, or with the first
    signal: one that ends at once does not wait for it.

    Args:
        program: its process id out here.
        init: it has not been greeted yet.
        missed: the signals that the program knows of by the pipe.
        own: of `open_own_files`; it is closed.
    """
    late = False
    while (status := follow(program)) is None:
        info = sigwaitinfo(EVERY_SIGNAL) if late else sigtimedwait(EVERY_SIGNAL, BRIEF)
        if info is not None and is_from_kernel_about_child(info):
            continue
        if not late:
            late = True
            settle(init, own)
            for number in missed:  # so that none of them stands for the next of its kind
                init.also_received(number, (SI_USER, 0, 0))
        if info is not None:
            pass_on(info, program, init)
    return status


def settle(init: Init, own: int) -> None:
    """Do what could wait: greet init, take another name, give memory back.

    Args:
        init: it has not been greeted yet.
        own: of `open_own_files`; it is closed.
    """
    place = find_command_line(own)
    init.greet(place)
    show_as(b"unshare-boot: supervisor", place)
    release_memory(own)
    if own >= 0:
        os.close(own)


def pass_on(info: "struct_siginfo", program: int, init: "Init") -> None:
    """Send a signal to the program unless it has received it: see the package's docstring."""
    number = info.si_signo
    sender = info.si_code, info.si_pid, info.si_uid
    if init.also_received(number, sender) or is_revoked(number) or info.si_pid == os.getpid():
        return
    os.kill(program, number)


def is_revoked(number: int) -> bool:
    """Tell whether a signal has come that takes this one back, signal(7).

    SIGCONT clears the stop signals that wait for a process, and they clear it; in init's memory,
    too, so that init does not know of one that was sent to the whole group.
    """
    if number == signal.SIGCONT:
        return not STOPS.isdisjoint(signal.sigpending())
    return number in STOPS and signal.SIGCONT in signal.sigpending()


def follow(program: int) -> "int | None":
    """Stop and continue with the program; return its wait status once it has ended."""
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


def open_own_files() -> int:
    """Return a descriptor of this process's directory in /proc, or -1 where there is none.

    Opened before the program is there, because that can mount another /proc, which lacks this one.
    """
    try:
        return os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def read_own(own: int, name: str) -> bytes:
    """Return what is in a file of `open_own_files`, and nothing where it cannot be read."""
    try:
        with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=own), "rb") as file:
            return file.read()
    except OSError:
        return b""


def find_command_line(own: int) -> "Place":
    """Return where in memory the command line is that others see; twice 0 where nobody knows."""
    fields = read_own(own, "stat").rpartition(b")")[2].split()  # from state on, which is the third
    return (int(fields[45]), int(fields[46])) if fields[46:] else (0, 0)  # proc_pid_stat(5)


def release_memory(own: int) -> None:
    """Give memory back: keep from copying what is shared, and from holding program text."""
    import gc  # built in

    gc.disable()  # a collection writes to every object
    for line in read_own(own, "maps").splitlines():  # proc_pid_maps(5)
        span, access, _, _, _, *path = line.split(None, 5)
        if access == b"r-xp" and path and path[0][:1] == b"/":  # comes back when it is used
            first, end = (int(number, 16) for number in span.split(b"-"))
            attempt("madvise", pointer_to(first), end - first, MADV_DONTNEED)


WHOLE = True
