"""Try a list in a child that then ends, so that the process itself stays as it is if that fails."""

import os

from ..child import try_in_child
from ..namespaces import Start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from ..errors import UnshareError
    from ..namespaces import Plan

    PlanOf = Callable[[str], Optional[Plan]]
    Enter = Callable[[Start], None]


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


def warn(text: str, error: "UnshareError") -> None:
    """Say on standard error that the program runs un-isolated, and why."""
    from ..refusal.message import explain

    try:
        os.write(2, explain(text, error, started=True))
    except OSError:  # nobody reads standard error; to go on is what was asked for
        pass


WHOLE = True
