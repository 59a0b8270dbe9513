"""In which Pythons of this machine the hook takes effect: what ``unshare-boot where`` shows.

Each is started twice as anybody would start it, once with a list that is not understood: where
the hook runs, that is refused.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .namespaces import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .report import Style

PATIENCE = 20  # seconds for a start
NAMES = re.compile(r"(python|pypy)(3(\.\d+t?)?)?")
REFUSED_LIST = "?"  # no list of any version

# What it is; and where it can import the package all the same, what the package says about it.
PROBE = """
import json, sys
sys.path = [path for path in sys.path if path]
told = {"implementation": sys.implementation.name, "version": sys.version.split()[0]}
told.update(prefix=sys.prefix, executable=sys.executable)
try:
    from unshare_boot.doctor import hook
    told["why"] = hook().why
except Exception:
    told["why"] = ""
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Found:
    """One Python.

    Attributes:
        python: its path.
        version: such as "3.14.2", or "pypy 3.11.13"; empty where it does not start.
        prefix: its environment, or where it is installed.
        takes_effect: whether it looks at PY_UNSHARE.
        why: why not.
    """

    python: str
    version: str
    prefix: str
    takes_effect: bool
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def where(named: Sequence[str]) -> list[Found]:
    """Look at these Pythons, or at all that PATH has.

    Args:
        named: paths or names of interpreters, or of scripts that begin with ``#!`` and one. None
            means those that are called python, python3, python3.14, pypy3 and so on.

    Returns:
        One for each, in the order of PATH. Of several names there of one Python the first is
        taken, and those that start none are left out.
    """
    if named:
        return [examine(interpreter_of(name))[0] for name in named]
    found: dict[str, Found] = {}
    for path in on_path():
        one, executable = examine(path)
        if one.version:
            found.setdefault(executable, one)
    return list(found.values())


def on_path() -> Iterator[str]:
    """Yield what is called like a Python in the directories of PATH, ``python`` first in each."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        try:
            names = sorted(os.listdir(directory or "."))
        except OSError:
            continue
        for name in names:
            path = os.path.join(directory or ".", name)
            if NAMES.fullmatch(name) and os.path.isfile(path) and os.access(path, os.X_OK):
                yield path


def interpreter_of(name: str) -> str:
    """Return what starts for a command: an interpreter itself, or the one of a script."""
    import shutil

    path = shutil.which(name) or name
    try:
        with open(path, "rb") as file:
            line = file.readline(4096)
    except OSError:
        return path
    words = line[2:].decode("utf-8", "surrogateescape").split() if line[:2] == b"#!" else []
    if words and os.path.basename(words[0]) == "env":
        words = [shutil.which(words[-1]) or words[-1]]
    # Others are scripts of a shell, such as those of pyenv, which start a Python themselves.
    return words[0] if words and NAMES.fullmatch(os.path.basename(words[0])) else path


def examine(path: str) -> tuple[Found, str]:
    """Start a Python with and without the variable.

    Returns:
        What was found, and which Python of which environment it is: scripts and links may start
        the same one.
    """
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("PY_UNSHARE")}
    status, printed = start(path, PROBE, quiet)
    try:
        told = json.loads(printed)
    except ValueError:
        return Found(path, "", "", False, f"it does not start: status {status}"), path
    identity = f"{os.path.realpath(told['executable'] or path)} {told['prefix']}"
    name = "" if told["implementation"] == "cpython" else f"{told['implementation']} "
    version = name + told["version"]
    refused, _ = start(path, "pass", {**quiet, "PY_UNSHARE": REFUSED_LIST})
    if refused == REFUSED:
        return Found(path, version, told["prefix"], True, ""), identity
    why = told["why"] or f"unshare-boot is not installed in {told['prefix']}"
    return Found(path, version, told["prefix"], False, why), identity


def start(path: str, code: str, environment: dict[str, str]) -> tuple[int, str]:
    """Run code; returns the exit status, and what it has printed."""
    try:
        done = subprocess.run(
            [path, "-c", code],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 127, ""
    return done.returncode, done.stdout


def show(found: Sequence[Found], style: Style) -> str:
    """Return the answer for people to read."""
    if not found:
        return "no Python is on PATH"
    widest = max(len(each.python) for each in found)
    lines = []
    for each in found:
        lines.append(f"{style.answer(each.takes_effect)}  {each.python:<{widest}}  {each.version}")
        if each.why:
            lines.append(f"     {style.block(each.why, 5)}")
        elif Path(each.prefix) not in Path(each.python).parents:
            lines.append(f"     of {each.prefix}")
    return "\n".join(line.rstrip() for line in lines)


WHOLE = True
