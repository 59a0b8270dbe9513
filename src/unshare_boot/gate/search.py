"""Names that a resolver makes of others by its search list, resolv.conf(5).

A program asks for ``pypi.org``, and its resolver, in a cluster, first for
``pypi.org.default.svc.cluster.local``. Since the gate gives every name an address, it would never
ask for the one that was meant. So it is told that there is no such name.
"""

from .names import is_nowhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

MOST_MEANT = 1024  # names that are remembered


class Search:
    """Tells names that were made from those that were meant.

    Args:
        domains: of the search list, without dots at their ends.
        dots: a name with fewer is looked for with the domains first: ``ndots``.
        is_allowed: whether the list has a name.
    """

    def __init__(
        self, domains: "list[str]", dots: int, is_allowed: "Callable[[str], bool]"
    ) -> None:
        self._endings = [f".{each}" for each in domains]
        self._dots = dots
        self._is_allowed = is_allowed
        self._meant: dict[str, None] = {}  # found out by what was made of them

    def is_of_list(self, name: str) -> bool:
        """Tell whether it is a name of the list, or made of one."""
        made = [name[: -len(each)] for each in self._endings if name.endswith(each)]
        return any(map(self._is_allowed, [name, *made]))

    def is_none(self, name: str) -> bool:
        """Tell whether to say that there is no such name.

        There can be none, or it was a resolver that made it of one that it asks for as well.
        """
        if self._is_allowed(name) or name in self._meant:
            return False
        if is_nowhere(name):
            return True
        for ending in self._endings:
            if not name.endswith(ending):
                continue
            meant = name[: -len(ending)]
            if self._is_allowed(meant) or is_nowhere(meant):
                return True
            if 0 < meant.count(".") < self._dots:
                self._meant[meant] = None
                if len(self._meant) > MOST_MEANT:
                    del self._meant[next(iter(self._meant))]
                return True
        return False


WHOLE = True
