"""Record the system calls of a start, then start again with another thing happening at one of them.

strace(1) records. What happens is up to tests/programs/inject.c, which can tell the processes of a
start apart: the supervisor, init and the program of `pid`, or those who write an id map or find a
way out from outside.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import Finished, require_tool
from harness.faults.errnos import INFALLIBLE, errnos
from harness.faults.starts import OVER, Setting
from harness.session import PROJECT

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
PROGRAMS = PROJECT / "tests" / "programs"

_CALL = re.compile(r"(\w+)\((.*)\) += (\S+)")
_BIRTHS = ("clone", "clone3", "fork", "vfork")


@dataclass(frozen=True)
class Call:
    """A system call of a recorded start.

    Attributes:
        process: 0 for what was started, 0.1 for its first child, and so on.
        name: of the call, such as "openat".
        number: which one of this name it is of this process, from 1.
        arguments: as strace shows them.
        result: what it returned.
    """

    process: str
    name: str
    number: int
    arguments: str
    result: str

    def __str__(self) -> str:
        return f"{self.process} {self.name}#{self.number}({self.arguments[:120]})"


def record(setting: Setting, traces: Path) -> list[Call]:
    """The calls of a start that succeeds, from when site.py runs our line until the hook is over.

    Of the processes that the hook starts they are all that there are, up to an execve(2).

    Args:
        setting: what to start.
        traces: an empty directory, which the user under test can write to.
    """
    strace = [require_tool("strace"), "-ff", "-qq", "-s", "300", "-e", "signal=none"]
    change = setting.change if os.getuid() == 0 else []
    setting.run(*strace, "-o", traces / "of", *change, timeout=120).ok()
    files = {path.suffix[1:]: _read(path) for path in traces.iterdir()}
    born = {result for lines in files.values() for name, _, result in lines if name in _BIRTHS}
    (first,) = files.keys() - born
    found: list[Call] = []
    todo = [("0", first)]
    while todo:
        process, pid = todo.pop(0)
        lines = files.get(pid, [])
        hook = 0
        if process == "0":
            lines = lines[_execution(lines, setting.python.executable) :]
            hook = _first_of_hook(lines)
        counts: Counter[str] = Counter()
        children = 0
        over = False
        for at, (name, arguments, result) in enumerate(lines):
            counts[name] += 1
            if name in _BIRTHS and result.isdigit() and result != "0":
                children += 1
                if "CLONE_THREAD" not in arguments:  # a thread is there before the hook
                    todo.append((f"{process}.{children}", result))
            if name == "execve" and result == "0" and process == "0":  # starts over
                hook = next(n for n in range(at, len(lines)) if "/unshare_boot/" in lines[n][1])
            left = name == "execve" and result == "0" and process != "0"  # it is no Python any more
            over = over or left or (OVER in arguments and name != "read")
            if at >= hook and not over and name not in INFALLIBLE:
                found.append(Call(process, name, counts[name], arguments, result))
    return found


def _read(path: Path) -> list[tuple[str, str, str]]:
    matches = map(_CALL.match, path.read_text(errors="replace").splitlines())
    return [(match[1], match[2], match[3]) for match in matches if match]


def _execution(lines: Sequence[tuple[str, str, str]], program: Path) -> int:
    """Where a trace goes on after the program has been executed."""
    return 1 + next(
        at
        for at, (name, arguments, result) in enumerate(lines)
        if name == "execve" and arguments.startswith(f'"{program}"') and result == "0"
    )


def _first_of_hook(lines: Sequence[tuple[str, str, str]]) -> int:
    package = next(
        at for at, (_, arguments, _) in enumerate(lines) if "/unshare_boot/__init__." in arguments
    )
    # What was read last is our .pth file, or the codec to decode it with.
    read = max(at for at in range(package) if lines[at][0] == "read")
    return next(at for at in range(read, package + 1) if "stat" in lines[at][0])


def happenings(call: Call) -> list[str]:
    """All that is to happen at a call: each errno of its man page, ENOMEM, EINTR, three signals."""
    if call.name == "rt_sigprocmask" and re.search(r", NULL, |~\[\]", call.arguments):
        return [*SIGNALS]  # the ends of fork(3) in glibc, which has no use for an error there
    found = [*errnos(call.name), *SIGNALS]
    if '"/etc/resolv.conf"' in call.arguments and "ENOENT" in found:
        found.remove("ENOENT")  # no failure: names are asked of the machine itself then
    return found


class Injector:
    """The compiled tests/programs/inject.c."""

    def __init__(self, directory: Path) -> None:
        """Compile it, and ask the compiler for the numbers of the system calls."""
        compiler = require_tool("gcc")
        self._program = directory / "inject"
        command = [compiler, "-O1", "-Wall", "-Wextra", "-Werror", str(PROGRAMS / "inject.c")]
        subprocess.run([*command, "-o", str(self._program)], check=True)
        source = "#include <sys/syscall.h>\n"
        macros = subprocess.run(
            [compiler, "-E", "-dM", "-"],
            input=source,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = re.findall(r"^#define __NR_(\w+) (\d+)$", macros.stdout, re.MULTILINE)
        self._numbers = dict(found)

    def knows(self, call: Call) -> bool:
        """Whether it can stop at a call."""
        return self._number(call) is not None

    def start(self, setting: Setting, call: Call, happening: str, told: Path) -> Finished | None:
        """Start once more, with something else happening at one call.

        Args:
            setting: what to start.
            call: of record() for it.
            happening: the name of an errno or of a signal.
            told: a file to write.

        Returns:
            What came of it, its status that of the process that was started; None where the call
            was not made this time.
        """
        uid, gid = setting.who
        if happening.startswith("SIG"):
            what = ["signal", str(int(signal.Signals[happening]))]
        else:
            what = ["error", str(getattr(errno, happening))]
        target = [call.process, str(self._number(call)), str(call.number)]
        done = setting.run(self._program, told, str(uid), str(gid), *target, *what, "--")
        if done.status != 0:
            raise AssertionError(f"inject itself failed: {done}")
        happened, status = map(int, told.read_text().split())
        if not happened:
            return None
        code = -(status & 0x7F) if status & 0x7F else status >> 8
        return Finished(code, done.stdout, done.stderr)

    def _number(self, call: Call) -> str | None:
        return self._numbers.get(call.name)
