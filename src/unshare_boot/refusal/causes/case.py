"""What went wrong, as the functions that look for a cause get it."""

from ...errors import shown
from ...namespaces import NAMESPACES, Plan
from ..machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from ...errors import UnshareError

    Finding = Optional[tuple[str, str]]  # why, and the cure
    Look = Callable[["Case"], Finding]

LONGEST_LIST = 200  # characters that a cure repeats


class Case:
    """A refusal, and the machine to look at for its reason.

    Attributes:
        text: the list.
        plan: the list understood; an empty one where it was not.
        item: the name of the item that failed; empty where it was the whole list.
        call: the system call that failed, such as ``unshare``; empty where none did.
        target: what that was made for: a flag's name, a path, an option.
        errno: its error.
        reason: the error in words.
        machine: what to look at.
        unshared: the namespace that unshare(2) was called for; empty if it was another call.
    """

    def __init__(
        self, text: str, plan: "Plan | None", error: "UnshareError", machine: Machine
    ) -> None:
        self.text = text
        self.plan = plan or Plan()
        self.item = error.item.partition("=")[0]
        self.call = error.system_call
        self.target = error.target
        self.errno = error.errno or 0
        self.reason = error.strerror or ""
        self.machine = machine
        self.unshared = ""
        for name, row in NAMESPACES.items():
            if self.call == "unshare" and self.target == row.flag_name:
                self.unshared = name

    def path_to_join(self) -> str:
        """Return the path of the namespace that the item joins; empty where it joins none."""
        value = getattr(self.plan, self.item, None) if self.item in NAMESPACES else None
        return value if value and value[0] == "/" else ""

    def list_with_user(self) -> str:
        """Return the variable with ``user`` added to the list, as a shell wants it."""
        return f"PY_UNSHARE={self.quoted()}"

    def quoted(self) -> str:
        """Return the list, as a shell wants it; with ``user``, should it lack that."""
        return _for_shell(self.text if self.plan.user is not None else f"user,{self.text}")


def _for_shell(text: str) -> str:
    if not text.isprintable() or len(text) > LONGEST_LIST:
        return shown(text)
    quoted = text.replace("'", "'\\''")
    return f"'{quoted}'"


WHOLE = True
