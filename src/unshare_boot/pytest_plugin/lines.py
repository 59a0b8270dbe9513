"""Which line of Python tried to reach what: an audit hook (PEP 578), which decides nothing."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

CONNECTING = ("socket.connect", "socket.sendto", "socket.sendmsg")
MOST = 1000  # targets that are remembered at a time


class Lines:
    """What this process has tried since `forget`, and where in its code."""

    def __init__(self, root: Path) -> None:
        """Begin to listen, for the rest of the process: a hook cannot be taken away.

        Args:
            root: of the project, whose lines are told before those of libraries.
        """
        self._root = str(root)
        self._foreign = tuple({*sysconfig.get_paths().values(), os.path.dirname(__file__)})
        self._found: dict[tuple[str, int | None], str] = {}
        if hasattr(sys, "addaudithook"):
            sys.addaudithook(self._hear)

    def forget(self) -> None:
        """Begin anew, with another test."""
        self._found.clear()

    def of(self, attempt: dict[str, Any]) -> str:
        """Return the line that made an attempt of this process, as FILE:NUMBER; "" if none did."""
        if attempt["inner_pid"] != os.getpid():
            return ""
        for host in (attempt["name"], attempt["address"]):
            for port in (attempt["port"], None):
                if (host, port) in self._found:
                    return self._found[host, port]
        return ""

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CONNECTING:
            address = arguments[1]
            if isinstance(address, tuple) and len(address) > 1:
                self._add(str(address[0]), address[1])
        elif event == "socket.getaddrinfo" or event == "socket.gethostbyname":
            host = arguments[0]
            name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
            self._add(name, None)

    def _add(self, host: str, port: Any) -> None:
        key = host.rstrip(".").lower(), port if isinstance(port, int) else None
        if key not in self._found and len(self._found) < MOST:
            line = self._line()
            if line:
                self._found[key] = line

    def _line(self) -> str:
        """Return the innermost line of the project's own, or else of whatever is no library."""
        frame: Any = sys._getframe()
        while frame:
            name = frame.f_code.co_filename
            if name[:1] != "<" and not name.startswith(self._foreign):
                inside = name.startswith(f"{self._root}/")
                return f"{name[len(self._root) + 1 :] if inside else name}:{frame.f_lineno}"
            frame = frame.f_back
        return ""


WHOLE = True
