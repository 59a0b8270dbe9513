"""Try a list in a child that then ends, so that the process itself stays as it is if that fails."""

import os
from errno import ECHILD, EINVAL

from . import UnshareError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import Plan

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
        from .diagnosis import explain

        try:
            os.write(2, explain(text, error, started=True))
        except OSError:  # nobody reads standard error; to go on is what was asked for
            pass
        return False
    return True


def rehearse(text: str, may_start_over: bool = False) -> bool:
    """Enter a list in a child, which then ends.

    Args:
        text: the list.
        may_start_over: threads in this process are no obstacle if it can start over without them.

    Returns:
        False where the list says to do nothing.

    Raises:
        UnshareError: the list is not understood, or what the child ran into.
    """
    from .spec import parse
    from .startover import blame_threads

    plan = parse(text)
    if plan is None:
        return False
    blame_threads(may_start_over)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _try(plan, writer)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    if not answer:
        raise UnshareError(ECHILD, "the child that tried the list was killed")
    if answer != ENTERED:
        from marshal import loads

        refusal, *what = loads(answer)
        raise UnshareError(*what) if refusal else RuntimeError(*what)
    return True


def _try(plan: "Plan", writer: int) -> None:
    from .namespaces import enter

    try:
        enter(plan)
        answer = ENTERED
    except BaseException as error:
        from marshal import dumps

        if isinstance(error, UnshareError):
            answer = dumps((True, error.errno, error.strerror, error.item, error.call))
        else:  # a broken install, say: no list can be had, and nobody may go on without
            answer = dumps((False, repr(error)))
    os.write(writer, answer)
