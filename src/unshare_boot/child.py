"""Child processes: fork, tell, listen, reap, and close what is not theirs. Written here once.

Every process of this package that is not the program is made and ended by these.
"""

import os

from .namespaces import attempt, call, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

PRCTL = {  # include/uapi/linux/prctl.h
    "PR_SET_PDEATHSIG": 1,
    "PR_GET_DUMPABLE": 3,
    "PR_SET_DUMPABLE": 4,
    "PR_SET_NAME": 15,
    "PR_CAPBSET_DROP": 24,
    "PR_SET_NO_NEW_PRIVS": 38,
    "PR_CAP_AMBIENT": 47,
}

SYS_CLOSE_RANGE = 436  # the same on every architecture that Python runs on; Linux 5.9
SYS_PIDFD_OPEN = 434
LAST_DESCRIPTOR = 2**31 - 1
SIGKILL = 9

REFUSAL, IMPORT, FAULT = range(3)  # what a child tells of: an error of this kind
DONE = b"done"  # what a child tells where nothing went wrong


def count_threads() -> int:
    """Return how many threads this process has, those that Python does not know of included.

    Returns:
        The number, or 0 where there is no /proc to tell.
    """
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def fork(alone: bool = False) -> int:
    """Fork, without the warning of Python 3.12 and later where there are threads.

    It warns of locks that those threads may hold in the child; a child of ours takes none.

    Args:
        alone: there are none, as is known already.

    Raises:
        UnshareError: the kernel refuses.
    """
    try:
        if alone or count_threads() < 2:
            return os.fork()
        from warnings import catch_warnings, simplefilter

        with catch_warnings():
            simplefilter("ignore")
            return os.fork()
    except OSError as error:
        raise refused(error, "fork") from None


def pipe() -> "tuple[int, int]":
    """Return the descriptors of a new pipe, to read from and to write to.

    Raises:
        UnshareError: there are no descriptors left.
    """
    try:
        return os.pipe()
    except OSError as error:
        raise refused(error, "pipe") from None


def reap(child: int) -> "int | None":
    """Wait for a child to end.

    Returns:
        Its wait status; None where SIGCHLD is ignored, as inherited, and the kernel has reaped it
        already: waitpid(2).
    """
    try:
        return os.waitpid(child, 0)[1]
    except ChildProcessError:
        return None


def heed_children() -> None:
    """Take SIGCHLD as usual, in a process of this package: it may be ignored, as inherited.

    Then its children could not be waited for, and why one ended would be lost: waitpid(2).
    """
    from _signal import SIG_DFL, SIGCHLD, signal  # type: ignore[import-not-found]

    signal(SIGCHLD, SIG_DFL)


def kill_and_reap(child: int) -> None:
    """End a child, whatever it does."""
    os.kill(child, SIGKILL)
    reap(child)


def tell(writer: int, error: "BaseException | None" = None) -> None:
    """In a child: write what it came to, for `listen`.

    Args:
        writer: of a pipe.
        error: what went wrong; None where nothing did.
    """
    if error is None:
        os.write(writer, DONE)
        return
    from marshal import dumps

    if isinstance(error, OSError):
        from .errors import failed

        message = dumps((REFUSAL, *failed("", error).facts()))
    elif isinstance(error, ImportError):  # a broken installation, or another module of that name
        message = dumps((IMPORT, str(error), error.name, error.path))
    else:
        message = dumps((FAULT, repr(error)))
    os.write(writer, message)


def listen(reader: int) -> bool:
    """Read what a child tells, to the end.

    Returns:
        True where nothing went wrong; false where it ended without a word.

    Raises:
        UnshareError: what went wrong with it.
        ImportError: it could not load a module.
        RuntimeError: something else.
    """
    said = read_all(reader)
    if said in (DONE, b""):
        return said == DONE
    from marshal import loads

    kind, *what = loads(said)
    if kind == REFUSAL:
        from .errors import UnshareError

        raise UnshareError(*what)
    if kind == IMPORT:
        text, name, path = what
        raise ImportError(text, name=name, path=path)
    raise RuntimeError(*what)


def read_all(reader: int) -> bytes:
    """Return all that can be read until the other end is closed; the descriptor stays open."""
    said = b""
    while piece := os.read(reader, 65536):
        said += piece
    return said


def try_in_child(attempt: "Callable[[int], None]") -> None:
    """Do something in a child, which then ends, and return once it has.

    Threads of this process are no obstacle: the child has one, whatever they are.

    Args:
        attempt: what to do; it gets the descriptor that the parent reads to the end.

    Raises:
        UnshareError: there can be no child, it was killed, or what ``attempt`` raised.
        RuntimeError: ``attempt`` raised something other than a refusal, or ended the child.
    """
    reader, writer = pipe()
    try:
        child = fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if child == 0:
        try:
            _try(attempt, writer)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        told = listen(reader)
    finally:
        os.close(reader)
        status = reap(child)
    if told:
        return
    if status is not None and os.WIFSIGNALED(status):
        from errno import ECHILD

        from .errors import UnshareError

        reason = f"the child that tried the list was killed by signal {os.WTERMSIG(status)}"
        raise UnshareError(ECHILD, reason)
    raise RuntimeError("the child that tried the list ended without an answer")


def _try(attempt: "Callable[[int], None]", writer: int) -> None:
    try:
        attempt(writer)
    except BaseException as error:
        tell(writer, error)
    else:
        tell(writer)


def keep_only(*descriptors: int) -> None:
    """Close all other descriptors: a reader waits for the end of a pipe until nobody holds it."""
    first = 0
    for kept in (*sorted(descriptors), LAST_DESCRIPTOR):
        if first < kept and attempt("syscall", SYS_CLOSE_RANGE, first, kept - 1, 0) < 0:
            # before Linux 5.9, or a seccomp profile of that time
            os.closerange(first, min(kept, os.sysconf("SC_OPEN_MAX")))
        first = kept + 1


def open_process(pid: int) -> int:
    """Return a pidfd of a process, pidfd_open(2), Linux 5.3."""
    if hasattr(os, "pidfd_open"):  # not where Python was built with old headers
        return os.pidfd_open(pid)
    return call("syscall", SYS_PIDFD_OPEN, pid, 0, name="pidfd_open")


def prctl(option: str, first: "int | bytes" = 0, second: int = 0, target: str = "") -> int:
    """prctl(2).

    Args:
        option: its name, one of `PRCTL`.
        first: the option's argument.
        second: one more.
        target: what to name in an error instead of the option.

    Raises:
        UnshareError: the kernel refuses.
    """
    return call("prctl", PRCTL[option], first, second, 0, 0, target=target or option)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends: PR_SET_PDEATHSIG(2const).

    Args:
        parent: its process id, from before the fork; had it ended before this, this ends now.
    """
    prctl("PR_SET_PDEATHSIG", SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def make_dumpable() -> int:
    """Make the process dumpable, so that its files in /proc are its own; return what it was.

    One is not if its program file is unreadable or has capabilities: proc(5), prctl(2).
    """
    before = prctl("PR_GET_DUMPABLE")
    if before != 1:
        prctl("PR_SET_DUMPABLE", 1)
    return before


def open_as_dumpable(path: str, error: OSError) -> int:
    """Open a file of /proc/self for writing in a process that is not dumpable.

    Args:
        path: the file.
        error: what the first try gave; raised again where that was not the cause.
    """
    from errno import EACCES

    before = make_dumpable() if error.errno == EACCES else 1
    if before == 1:
        raise error
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    finally:
        restore_dumpable(before)


def restore_dumpable(before: int) -> None:
    """Undo `make_dumpable`: ``before`` is what that returned."""
    if before != 1:  # 2 comes from execve(2) alone, and is no laxer than 0
        prctl("PR_SET_DUMPABLE", 0)


WHOLE = True
