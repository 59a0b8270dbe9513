"""The exception."""


class UnshareError(OSError):
    """Isolation that was asked for cannot be had.

    Attributes:
        errno: the error's number, errno(3); EINVAL for a list that is not understood.
        strerror: the reason in words.
        item: the item of the list that failed, such as ``net``; empty when it is the whole list.
        call: the system call that failed, such as ``unshare(CLONE_NEWNET)``; empty when none did.
    """

    def __init__(self, errno: int, strerror: str, item: str = "", call: str = "") -> None:
        super().__init__(errno, strerror)
        self.item = item
        self.call = call

    def __str__(self) -> str:
        return ": ".join(part for part in (self.item, self.call, self.strerror) if part)


WHOLE = True
