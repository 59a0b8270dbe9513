"""Commands in Markdown pages and what they print: found, run, compared.

    ```console
    $ echo 'of two
    > lines'; date
    of two
    lines
    ...
    ```

`$ ` begins a command of an ordinary user, `# ` one of root, `> ` continues it; everything else is
output, standard error included, in which `...` matches anything. What cannot be run has a
comment on the line before, with the reason: `<!-- not run: needs a display -->`. A block that
follows a line such as "`conftest.py`:" is that file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.processes import Finished, User

_FENCE = re.compile(r"^( *)(```+|~~~+) *([\w-]*).*$")
_NOT_RUN = re.compile(r"^<!-- not run: (\S.*) -->$")
_FILE = re.compile(r"^(?:[-*] )?`([\w./-]+\.[\w-]+)`.*:$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: the file that it is in.
        line: of its fence, from 1.
        language: the word after the fence.
        text: what is in it, without the indentation of the fence.
        reason: why it is not run; empty if it is.
        file: the name of the file that it shows; empty if it is no file.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str
    file: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """What one shell is given: the prompt, the text, and what the page says that it prints."""

    prompt: str
    text: str
    output: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page.

    Raises:
        ValueError: one is not closed.
    """
    found = []
    before, opened, lines = "", None, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, start, lines = fence, number, []
            elif line.strip():
                before = line.strip()
        elif fence and fence[2].startswith(opened[2]) and not fence[3]:
            text = "".join(f"{line.removeprefix(opened[1])}\n" for line in lines)
            reason = _NOT_RUN.match(before)
            file = _FILE.match(before) if opened[3] != "console" else None
            names = reason[1] if reason else "", file[1] if file else ""
            found.append(Block(page, start, opened[3], text, *names))
            opened, before = None, ""
        else:
            lines.append(line)
    if opened is not None:
        raise ValueError(f"{page}:{start}: the block is not closed")
    return found


def commands(block: str) -> list[Command]:
    """The commands that go to one shell each: those in a row that have the same prompt."""
    joined: list[Command] = []
    for prompt, text, output in _split(block):
        if joined and joined[-1].prompt == prompt:
            last = joined[-1]
            joined[-1] = Command(prompt, f"{last.text}\n{text}", last.output + output)
        else:
            joined.append(Command(prompt, text, output))
    return joined


def run(command: Command, who: User, path: Path, workdir: Path, **variables: str) -> Finished:
    """Run it in a shell.

    Args:
        command: standard error goes where standard output does.
        who: the user.
        path: a directory of programs, searched before all others.
        workdir: where it starts.
        variables: of its environment.
    """
    script = f'exec 2>&1\nPATH="{path}:$PATH"\n{command.text}'
    return who.run(["bash", "-c", script], cwd=workdir, env=variables, timeout=300)


def as_user(output: str, uid: int, gid: int) -> str:
    """A page's user is 1000, and this one has another number; in a map it is right-aligned."""
    output = output.replace("         0       1000 ", f"         0 {uid:>10} ")
    output = output.replace("1000 1000\n", f"{uid} {gid}\n")
    return re.sub(r"\b1000\b", f"{uid}", output.replace("7 1000\n", f"7 {gid}\n"))


def matches(expected: str, printed: str) -> bool:
    """Whether that was printed, with `...` for anything, also over several lines."""
    pattern = ".*".join(map(re.escape, expected.split("...")))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def _split(block: str) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for line in block.splitlines():
        if line[:2] in ("$ ", "# "):
            found.append((line[0], line[2:], ""))
        elif line[:2] == "> " and found and not found[-1][2]:
            prompt, text, _ = found[-1]
            found[-1] = (prompt, f"{text}\n{line[2:]}", "")
        else:
            prompt, text, output = found[-1]
            found[-1] = (prompt, text, f"{output}{line}\n")
    return found
