"""Why it was refused. Loaded only then."""

from errno import errorcode

from . import UnshareError
from .grammar import show


def explain(text: str, error: BaseException, started: bool = False) -> bytes:
    reason = str(error) if isinstance(error, UnshareError) else repr(error)
    if isinstance(error, UnshareError) and error.call:
        reason += f" ({errorcode.get(error.errno or 0, error.errno)})"
    outcome = "started all the same, un-isolated" if started else "not started"
    message = f"unshare-boot: PY_UNSHARE={show(text)} refused, the program was {outcome}\n  {reason}\n"
    return message.encode("utf-8", "backslashreplace")
