"""The exception."""

LONGEST_SHOWN = 70  # characters of a value in an item


class UnshareError(OSError):
    """What was asked for is not available.

    What is known is kept apart; it becomes a sentence only where somebody reads it.

    Attributes:
        errno: the error's number, errno(3); EINVAL for a list that is not understood.
        strerror: the reason in words.
        item: the item of the list that failed, such as ``net``; empty when it is the whole list.
        system_call: the system call that failed, such as ``unshare``; empty when none did.
        target: what that was made for: a flag such as ``CLONE_NEWNET``, a path, an option.
        call: both as people write them: ``unshare(CLONE_NEWNET)``.
    """

    def __init__(
        self, errno: int, strerror: str, item: str = "", system_call: str = "", target: str = ""
    ) -> None:
        super().__init__(errno, strerror)
        self.item = item
        self.system_call = system_call
        self.target = target

    @property
    def call(self) -> str:
        """The system call with what it was made for; empty when none failed."""
        if not self.system_call:
            return ""
        return f"{self.system_call}({self.target})" if self.target else self.system_call

    def facts(self) -> "tuple[int, str, str, str, str]":
        """Return the arguments that make this error again, in another process for instance."""
        return self.errno or 0, self.strerror or "", self.item, self.system_call, self.target

    def __str__(self) -> str:
        parts = (self.item, self.call, self.strerror)
        return ": ".join(part for part in parts if part)


class NoAlternative(UnshareError):
    """None of several lists is available.

    Attributes:
        refused: each list, and its error.
    """

    refused: "list[tuple[str, UnshareError]]"

    @classmethod
    def of(cls, refused: "list[tuple[str, UnshareError]]") -> UnshareError:
        """Return the error of these; that of the only list where there is one."""
        if len(refused) == 1:
            return refused[0][1]
        error = cls(refused[0][1].errno or 0, "; ".join(f"{text}: {e}" for text, e in refused))
        error.refused = refused
        return error


def failed(item: str, error: OSError) -> UnshareError:
    """Return the error of an item: what the kernel said of a system call made for it.

    Args:
        item: the item; an error that names its own keeps that.
        error: raised by a function of this package, or by one of Python's, which says which file
            it could not open.
    """
    if isinstance(error, UnshareError):
        error.item = error.item or item
        return error
    path = str(error.filename or "")
    call = "open" if path else ""
    return UnshareError(error.errno or 0, error.strerror or "", item, call, path)


def named(name: str, value: object = None) -> str:
    """Return an item as messages write it: ``net``, ``net='pasta'``.

    Args:
        name: the item's name.
        value: its value as the list has it; None where it has none. Control characters are
            escaped, and what is too long for a terminal is cut.
    """
    return name if value is None else f"{name}={shown(str(value))}"


def shown(text: str, limit: int = LONGEST_SHOWN) -> str:
    """Return text quoted for a terminal: control characters escaped, cut after limit characters."""
    return repr(text) if len(text) <= limit else repr(text[:limit]) + "..."


WHOLE = True
