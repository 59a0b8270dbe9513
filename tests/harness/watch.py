"""What belongs to one test, and what of it is still there when nothing should be."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

WORD = "UNSHARE_BOOT_TEST_WORD"
PATIENCE = 20.0  # seconds for processes that are ending to be gone


class Watch:
    """Knows the processes of a test, and the mounts below its directory.

    Processes are told by a word in the environment that they were started with, which is in the
    memory of their children, too: nobody gets rid of it without an execve(2). Of the mounts only
    those below the session's directory can be a test's own; others come and go on a machine.
    """

    def __init__(self, directory: Path) -> None:
        """Begin to watch.

        Args:
            directory: the session's.
        """
        self._word = f"{WORD}={uuid.uuid4()}"
        self._directory = directory
        self._mounts = self._below()

    @property
    def env(self) -> dict[str, str]:
        """The environment to start processes with, for them to be recognised."""
        name, _, value = self._word.partition("=")
        return {name: value}

    def processes(self) -> list[int]:
        """Those that live, a zombie not included, which has no environment any more."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self._word.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:  # it has ended, or is somebody else's
                continue
        return found

    def left(self) -> list[str]:
        """What is there, once what is ending has had the time to end."""
        end = time.monotonic() + PATIENCE
        while (pids := self.processes()) and time.monotonic() < end:
            time.sleep(0.02)
        found = [f"process {pid}: {_command(pid)}" for pid in pids]
        return found + [f"mount {line}" for line in sorted(self._below() ^ self._mounts)]

    def _below(self) -> set[str]:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return {line for line in mounts if line.split()[4].startswith(str(self._directory))}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError as error:
        return str(error)
