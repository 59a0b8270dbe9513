"""A debugger that connects by network: what a program in a network namespace of its own says."""

import os
import sys

from .program import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Plan


def tell_of_connecting(plan: "Plan") -> None:
    """Say on standard error why ``debugpy --connect`` will fail, and what lets it pass.

    Args:
        plan: of the start, which has a network of its own.
    """
    if program() != "debugpy":
        return
    at = sys.argv.index("--connect") + 1
    host, _, port = (sys.argv[at] if at < len(sys.argv) else "").rpartition(":")
    if not port.isdecimal() or any(first <= int(port) <= last for _, first, last, _ in plan.allow):
        return
    host = "localhost" if host in ("", "127.0.0.1", "::1") else host
    line = (
        f"unshare-boot: debugpy --connect finds nobody in this network namespace: "
        f"add allow={host}:{port} to the list\n"
    )
    os.write(2, line.encode("utf-8", "backslashreplace"))


WHOLE = True
