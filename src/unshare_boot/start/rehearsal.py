"""Try a list in a child that then ends, so that the process itself stays as it is if that fails."""

import os
from errno import EINVAL

from ..child import try_in_child
from ..errors import UnshareError
from ..namespaces import Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from ..namespaces import Plan

    PlanOf = Callable[[str], Optional[Plan]]
    Enter = Callable[[Start], None]


def should_enter(text: str, on_error: str, plan_of: "PlanOf", enter: "Enter") -> bool:
    """Decide what PY_UNSHARE_ON_ERROR decides: whether to go on with a list.

    Args:
        text: the list.
        on_error: the variable's value: ``abort`` goes on; ``warn`` goes on only with a list that
            is available, and otherwise says on standard error that the program runs un-isolated.
        plan_of: reads a list.
        enter: carries a plan out.

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
    from .threads import require_no_threads, why_not_start_over

    try:
        plan = plan_of(text)
        if plan is None:
            return True
        require_no_threads(why_not_start_over())
        rehearse(plan, enter)
    except UnshareError as error:
        warn(text, error)
        return False
    return True


def rehearse(plan: "Plan", enter: "Enter") -> None:
    """Enter what a plan asks for in a child, which then ends.

    Args:
        plan: what to enter.
        enter: carries it out.

    Raises:
        UnshareError: there can be no child, or what it ran into.
    """
    # The child's pipe stays open in its helpers, so that on return the ports are free again.
    try_in_child(lambda writer: enter(Start(plan, keep_open=writer)))


def warn(text: str, error: UnshareError) -> None:
    """Say on standard error that the program runs un-isolated, and why."""
    from ..refusal.message import explain

    try:
        os.write(2, explain(text, error, started=True))
    except OSError:  # nobody reads standard error; to go on is what was asked for
        pass


WHOLE = True
