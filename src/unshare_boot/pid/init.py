"""init, which is PID 1 inside: what runs in it, and what the supervisor knows of it."""

import os

from ..child import keep_only, pipe, prctl
from ..errors import REFUSED
from ..namespaces import call
from . import EVERY_SIGNAL, signal, sigwaitinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    Sender = tuple[int, int, int]  # si_code, si_pid and si_uid, sigaction(2)

SI_QUEUE = -1  # what sigqueue(3) sends, which cannot address a group
SI_KERNEL = 0x80
VALID = 1.0  # seconds that a noted signal counts: the members of a group get one together
MOST = 255  # of one signal that init counts: its answer is a byte
HERE = b"!"
QUESTION = signal.SIGRTMAX  # it queues, and is delivered after all others, signal(7)


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

    def greet(self) -> None:
        """Let it see that the supervisor lives: it waits for that before it notes any signal."""
        try:
            os.read(self.answers, 1)
            os.write(self.questions, HERE)
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
            call("sigqueue", self.pid, QUESTION, 0)
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

    def close(self) -> None:
        """Close the pipes that lead to it."""
        os.close(self.questions)
        os.close(self.answers)


def start_init() -> Init:
    """Fork init.

    By the C library's fork, not Python's: init runs no code of the program's, so none of its
    fork handlers either.

    Raises:
        UnshareError: there is no process, or no descriptor, for it.
    """
    question_reader, questions = pipe()
    answers, answer_writer = pipe()
    pid = call("fork")
    if not pid:
        try:
            be_init(question_reader, answer_writer)
        finally:
            os._exit(REFUSED)
    os.close(question_reader)
    os.close(answer_writer)
    return Init(pid, questions, answers)


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
    if not os.read(questions, 1):
        os._exit(REFUSED)
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
