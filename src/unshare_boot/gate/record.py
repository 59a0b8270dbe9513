"""The record: what was tried, by whom, and what came of it. docs/networking.md has the format."""

import os
from select import POLLOUT, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from .who import Who

    Entry = dict[str, Union[str, int, list[int], None]]

KEPT = 10_000  # entries in memory, for attempts(); a file holds all
MOST_SEEN = 10_000  # of those told on standard error, each once


class Record:
    """Takes attempts, and tells of them.

    Args:
        output: a descriptor, -1 for none.
        readable: the output is for people: a line for each kind of attempt, once.
    """

    def __init__(self, output: int, readable: bool) -> None:
        self._output = output
        self._readable = readable
        self._entries: list[Entry] = []
        self._forgotten = 0
        self._seen: set[tuple[object, ...]] = set()
        self._unwritten = 0
        self._torn = False  # the last line is not whole
        self._writable = poll()
        if output >= 0:
            self._writable.register(output, POLLOUT)

    def add(
        self, protocol: str, name: str, address: str, port: int, reason: str, who: "Who"
    ) -> None:
        """Add an attempt.

        Args:
            protocol: ``tcp``, ``udp`` or ``dns``.
            name: that was asked for, empty where it is not known.
            address: that it was sent to, or that a name was given.
            port: of the target; 53 for a question.
            reason: why it was refused; empty where it passed.
            who: did it.
        """
        entry: Entry = {
            "time": _now(),
            "protocol": protocol,
            "name": name or None,
            "address": address,
            "port": port,
            "verdict": "refused" if reason else "passed",
            "reason": reason or None,
            "pid": who.pid,
            "inner_pid": who.inner_pid,
            "command": who.command,
            "parents": who.parents,
        }
        self._keep(entry)
        if self._readable:
            self._tell(entry)
        elif self._output >= 0:
            self._write(_line(entry))

    def lost(self, count: int) -> None:
        """Say how many packets nobody could read in time."""
        if count:
            entry: Entry = {"time": _now(), "lost": count}
            self._keep(entry)
            if self._readable:
                self._write(f"unshare-boot: {count} attempts were too many to be told\n".encode())
            elif self._output >= 0:
                self._write(_line(entry))
        self._tell_unwritten()

    def ended(self, why: str) -> None:
        """Say that there is no gate any more, and why."""
        text = f"unshare-boot: {why}: nothing can be reached any more\n".encode()
        self._write(text if self._readable else _line({"time": _now(), "ended": why}))

    def dump(self) -> bytes:
        """Return what is kept, as JSON Lines."""
        lines = [_line({"time": _now(), "lost": self._forgotten})] if self._forgotten else []
        return b"".join(lines + [_line(entry) for entry in self._entries])

    def _keep(self, entry: "Entry") -> None:
        self._entries.append(entry)
        if len(self._entries) > KEPT:
            del self._entries[: KEPT // 10]
            self._forgotten += KEPT // 10

    def _tell(self, entry: "Entry") -> None:
        where = entry["name"] or entry["address"]
        key = where, entry["port"], entry["protocol"], entry["command"], entry["verdict"]
        if key in self._seen or len(self._seen) >= MOST_SEEN:
            return
        self._seen.add(key)
        if entry["protocol"] == "dns":  # the connection that follows says more
            return
        target = f"[{where}]" if ":" in str(where) else where
        kind = "/udp" if entry["protocol"] == "udp" else ""
        reason = f" ({entry['reason']})" if entry["reason"] else ""
        by = f"{entry['command']}, pid {entry['pid']}" if entry["pid"] else "somebody"
        line = f"tried {target}:{entry['port']}{kind} ({by}): {entry['verdict']}{reason}"
        clean = "".join(each if each.isprintable() else "?" for each in line)
        self._write(f"unshare-boot: {clean}\n".encode("utf-8", "backslashreplace"))

    def _write(self, line: bytes) -> None:
        """Write a line, or count it: a full disk, or nobody who reads, is not to stop the gate."""
        if not self._tell_unwritten() or not self._put(line):
            self._unwritten += 1

    def _tell_unwritten(self) -> bool:
        """Say how many could not be written, as soon as that can be; false as long as it cannot."""
        count = self._unwritten
        if not count:
            return True
        text = f"unshare-boot: {count} attempts could not be told\n".encode()
        if not self._put(text if self._readable else _line({"time": _now(), "lost": count})):
            return False
        self._unwritten = 0
        return True

    def _put(self, line: bytes) -> bool:
        """Write a line by one write(2), to a file opened for appending; false if that failed."""
        if self._torn:
            line = b"\n" + line
        try:
            # With room for PIPE_BUF bytes, and so for a line: the stream is not ours to be set.
            if not self._writable.poll(0):
                return False
            written = os.write(self._output, line)
        except OSError:
            return False
        self._torn = written < len(line) if written else self._torn
        return written == len(line)


def _line(entry: "Entry") -> bytes:
    members = (f"{quoted(key)}: {_value(value)}" for key, value in entry.items())
    return f"{{{', '.join(members)}}}\n".encode()


def _value(value: "str | int | list[int] | None") -> str:
    if value is None:
        return "null"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(text: str) -> str:
    """Return a string as JSON; all of the module json takes 16 ms to load."""
    try:
        from _json import encode_basestring_ascii
    except ImportError:  # PyPy
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(text)


def _now() -> str:
    from time import gmtime, strftime, time

    seconds = time()
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"


WHOLE = True
