"""Find every CPython on the machine, and make it reachable for an ordinary user.

`uv python list` finds those on PATH and its own, not pyenv's other versions nor the tool cache of
a CI service.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.processes import User
from harness.require import SEARCH_PATH

NAMED = "UNSHARE_BOOT_TEST_PYTHONS"
OLDEST = (3, 9)

_PROBE = """
import json, os, sys
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "prefix": sys.base_prefix,
    "implementation": sys.implementation.name,
    "version": sys.version_info[:3],
    "flags": getattr(sys, "abiflags", ""),
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python found on the machine, not one of a virtual environment."""

    executable: Path
    prefix: Path
    version: tuple[int, int, int]
    free_threaded: bool
    implementation: str = "cpython"

    @property
    def name(self) -> str:
        """As people write it: 3.13, 3.13t for the free-threaded build, pypy3.11."""
        major, minor, _ = self.version
        kind = "" if self.implementation == "cpython" else self.implementation
        return f"{kind}{major}.{minor}{'t' if self.free_threaded else ''}"


class Unusable(Exception):
    """What the suite was told to use cannot be used, or a program is no Python 3.9 or later."""


def find() -> list[Interpreter]:
    """The interpreters to test, oldest first: one a minor version, of the newest patch level.

    Raises:
        Unusable: something named in UNSHARE_BOOT_TEST_PYTHONS cannot be used.
    """
    named = os.environ.get(NAMED)
    if named:
        try:
            return _one_each(probe(Path(name)) for name in named.split(os.pathsep) if name)
        except Unusable as error:
            raise Unusable(f"{NAMED}: {error}") from error
    return _one_each(_usable(_candidates()))


def probe(executable: Path) -> Interpreter:
    """Ask a program what it is.

    Raises:
        Unusable: it is no CPython or PyPy 3.9 or later, or does not start.
    """
    try:
        answer = subprocess.run(
            [executable, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        told = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Unusable(f"{executable}: {error}") from error
    version = tuple(told["version"])
    implementation = told["implementation"]
    if implementation not in ("cpython", "pypy") or version < OLDEST:
        raise Unusable(f"{executable}: {implementation} {version}")
    return Interpreter(
        Path(told["executable"]),
        Path(told["prefix"]),
        version,
        "t" in told["flags"],
        implementation,
    )


def _candidates() -> Iterator[Path]:
    home = Path.home()
    environ = os.environ
    yield Path(sys.executable)
    for directory in [*SEARCH_PATH.split(os.pathsep), "/usr/bin", "/usr/local/bin"]:
        for path in glob.iglob(os.path.join(glob.escape(directory), "python3.*")):
            if re.fullmatch(r"python3\.\d+t?", os.path.basename(path)):
                yield Path(path)
    data = environ.get("XDG_DATA_HOME") or home / ".local/share"
    tools = environ.get("RUNNER_TOOL_CACHE") or "/opt/hostedtoolcache"
    for pattern in [
        f"{environ.get('PYENV_ROOT') or home / '.pyenv'}/versions/*/bin/python3",
        f"{home / '.pyenv'}/versions/*/bin/python3",
        f"{environ.get('UV_PYTHON_INSTALL_DIR') or f'{data}/uv/python'}/*/bin/python3",
        f"{tools}/Python/*/*/bin/python3",
    ]:
        yield from map(Path, sorted(glob.iglob(pattern)))


def _usable(candidates: Iterable[Path]) -> Iterator[Interpreter]:
    seen = set()
    for path in candidates:
        real = path.resolve()
        # pyenv's shims are scripts; the interpreters behind them are found where they live.
        if real in seen or not os.access(real, os.X_OK) or real.read_bytes()[:2] == b"#!":
            continue
        seen.add(real)
        try:
            found = probe(path)
        except Unusable:
            continue
        if found.implementation == "cpython":  # others are tested where they are named
            yield found


def _one_each(found: Iterable[Interpreter]) -> list[Interpreter]:
    best: dict[tuple[str, int, int, bool], Interpreter] = {}
    for interpreter in found:
        version = interpreter.version[:2]
        key = (interpreter.implementation, *version, interpreter.free_threaded)
        if key not in best or interpreter.version > best[key].version:
            best[key] = interpreter
    return [best[key] for key in sorted(best)]


def runs_for(user: User, executable: Path) -> bool:
    """Whether this user can start the interpreter and load its extension modules."""
    try:
        return user.run([executable, "-I", "-c", "import ctypes"]).status == 0
    except PermissionError:
        return False


def copy(interpreter: Interpreter, target: Path) -> Path:
    """Copy an interpreter without its site-packages to where everybody can reach it.

    The bulk is hard links where the file system allows it, so nothing below `target` may be
    changed in place; the executable and libpython are copies.

    Args:
        interpreter: what to copy.
        target: the new prefix, not there yet.

    Returns:
        The copy's executable.
    """
    major, minor, _ = interpreter.version
    wanted = f"python{major}.{minor}*"
    for part in ("include", "lib", "lib64"):
        source = interpreter.prefix / part
        if source.is_symlink():
            continue
        for directory in source.glob(wanted):
            left_out = ("site-packages", "test", "config-*")
            copy_tree(directory, target / part / directory.name, *left_out)
        for library in source.glob("libpython*.so*"):
            shutil.copy2(library, target / part / library.name)
    for directory in (target, *target.iterdir()):
        directory.chmod(0o755)

    executable = target / "bin" / interpreter.executable.name
    executable.parent.mkdir(mode=0o755)
    shutil.copy2(interpreter.executable, executable)
    executable.chmod(0o755)
    patchelf = tool("patchelf")
    needed = subprocess.check_output([patchelf, "--print-needed", executable], text=True)
    if "libpython" in needed:
        # An absolute path, since $ORIGIN is void for a binary with file capabilities (ld.so(8)).
        subprocess.check_call(
            [patchelf, "--force-rpath", "--set-rpath", target / "lib", executable]
        )
    return executable


def copy_tree(source: Path, target: Path, *ignore: str) -> None:
    """Copy a directory to where everybody can read it, as hard links where possible.

    Args:
        source: the directory.
        target: not there yet.
        ignore: patterns of names to leave out.
    """
    shutil.copytree(
        source,
        target,
        symlinks=True,
        ignore=shutil.ignore_patterns(*ignore),
        copy_function=_link,
    )
    for directory in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        directory.chmod(0o755)


def _link(source: str, target: str) -> None:
    """Hard link a file, or copy it where that is impossible or others could not read it."""
    if os.stat(source).st_mode & 0o044 == 0o044:
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copy2(source, target)
    os.chmod(target, os.stat(target).st_mode | 0o444)


def tool(name: str) -> Path:
    """A program that the `test` extra has put beside this Python."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if beside is None:
        raise FileNotFoundError(f"{name} is missing: pip install '.[test]'")
    return Path(beside)
