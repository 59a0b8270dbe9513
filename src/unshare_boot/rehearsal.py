"""Try a list in a child that then ends, so that the process itself stays as it is if that fails."""

import os
from errno import ECHILD, EINVAL

from .errors import UnshareError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .namespaces import Plan

ENTERED = b"entered"


def may_be_had(text: str, on_error: str) -> bool:
    """Decide what PY_UNSHARE_ON_ERROR decides: whether to go on with a list.

    Args:
        text: the list.
        on_error: the variable's value: ``abort`` goes on; ``warn`` goes on only with a list that
            can be had, and otherwise says on standard error that the program runs un-isolated.

    Returns:
        True to go on, False to start the program with nothing of the list applied.

    Raises:
        UnshareError: the variable has another value (EINVAL).
    """
    if on_error in ("", "abort"):
        return True
    if on_error != "warn":
        reason = f"expected abort or warn, not {on_error!r}"
        raise UnshareError(EINVAL, reason, "PY_UNSHARE_ON_ERROR")
    try:
        rehearse(text, may_start_over=True)
    except UnshareError as error:
        warn(text, error)
        return False
    return True


def warn(text: str, error: UnshareError) -> None:
    """Say on standard error that the program runs un-isolated, and why."""
    from .diagnosis import explain

    try:
        os.write(2, explain(text, error, started=True))
    except OSError:  # nobody reads standard error; to go on is what was asked for
        pass


def rehearse(text: str, may_start_over: bool = False) -> bool:
    """Enter a list in a child, which then ends.

    Args:
        text: the list.
        may_start_over: threads in this process are no obstacle if it can start over without them.

    Returns:
        False where the list says to do nothing.

    Raises:
        UnshareError: the list is not understood, there can be no child, or what it ran into.
    """
    from . import _plan
    from .startover import blame_threads

    plan = _plan(text)
    if plan is None:
        return False
    blame_threads(may_start_over)
    enter_in_child(plan)
    return True


def enter_in_child(plan: "Plan") -> None:
    """Enter what a plan asks for in a child, which then ends.

    Threads of this process are no obstacle: the child has one, whatever they are.

    Raises:
        UnshareError: there can be no child, or what it ran into.
    """
    try:
        reader, writer = os.pipe()
    except OSError as error:
        raise UnshareError(error.errno or 0, error.strerror or "", "", "pipe") from error
    try:
        child = fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise UnshareError(error.errno or 0, error.strerror or "", "", "fork") from error
    if child == 0:
        try:
            _try(plan, writer)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # SIGCHLD is ignored, and the kernel has done it: waitpid(2)
        status = 0
    if not answer:
        if os.WIFSIGNALED(status):
            reason = f"the child that tried the list was killed by signal {os.WTERMSIG(status)}"
            raise UnshareError(ECHILD, reason)
        raise RuntimeError("the child that tried the list ended without an answer")
    if answer != ENTERED:
        from marshal import loads

        refusal, *what = loads(answer)
        raise UnshareError(*what) if refusal else RuntimeError(*what)


def fork() -> int:
    """Fork, without what Python 3.12 and later has to say of that where there are threads.

    It warns of locks that those threads may hold in the child; the child takes none.
    """
    from .startover import threads

    if threads() < 2:
        return os.fork()
    from warnings import catch_warnings, simplefilter

    with catch_warnings():
        simplefilter("ignore")
        return os.fork()


def _try(plan: "Plan", writer: int) -> None:
    try:
        from .namespaces import enter

        if plan.net in ("pasta", "slirp4netns"):
            from . import outbound

            outbound.held = writer  # so that the ports are free again when reading comes to an end
        enter(plan)
        answer = ENTERED
    except BaseException as error:
        from marshal import dumps

        if isinstance(error, UnshareError):
            answer = dumps((True, error.errno, error.strerror, error.item, error.call))
        else:  # a broken install, say: no list can be had, and nobody may go on without
            answer = dumps((False, repr(error)))
    os.write(writer, answer)


WHOLE = True
