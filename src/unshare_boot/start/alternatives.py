"""Which list to enter: the first of several, A|B, that is available, or none at all."""

from errno import EINVAL

from ..errors import NoAlternative, UnshareError
from ..language import alternatives
from .rehearsal import rehearse, warn
from .threads import require_no_threads, why_not_start_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .rehearsal import Enter, PlanOf

NOTHING = "off"


def choose(text: str, on_error: str, plan_of: "PlanOf", enter: "Enter") -> str:
    """Return the list to go on with, by trying those that are not the only way.

    Args:
        text: a list, or several with ``|`` between them.
        on_error: the value of PY_UNSHARE_ON_ERROR: ``abort``, or ``warn``, which is ``off`` as the
            last alternative, and has it told on standard error that the program runs un-isolated.
        plan_of: reads a list.
        enter: carries a plan out.

    Returns:
        One of the lists as it is written; ``off`` to start the program with nothing applied.

    Raises:
        UnshareError: the list is not understood (EINVAL), none of several is available
            (`NoAlternative`), or the variable has another value (EINVAL).
    """
    if on_error not in ("", "abort", "warn"):
        reason = f"expected abort or warn, not {on_error!r}"
        raise UnshareError(EINVAL, reason, "PY_UNSHARE_ON_ERROR")
    try:
        lists = alternatives(text)
        if len(lists) == 1 and on_error != "warn":
            return text
        return _first(lists, plan_of, enter)
    except UnshareError as error:
        if on_error != "warn":
            raise
        warn(text, error)
        return NOTHING


def _first(lists: "list[str]", plan_of: "PlanOf", enter: "Enter") -> str:
    plans = [(each, plan_of(each)) for each in lists]  # a mistake is never a reason to go on
    refused = []
    for each, plan in plans:
        if plan is None:
            return NOTHING
        try:
            if plan.needs_single_thread():
                require_no_threads(why_not_start_over())
            rehearse(plan, enter)
        except UnshareError as error:
            refused.append((each, error))
        else:
            return each
    raise NoAlternative.of(refused)


WHOLE = True
