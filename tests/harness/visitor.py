"""Interpreters that are started in the site of `harness.internet`."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Finished, Python
from harness.internet import Site

PROGRAM = Path(__file__).with_name("internet.py")


@dataclass(frozen=True)
class Visitor:
    """An interpreter that is started in the site."""

    python: Python
    site: Site

    def run(
        self, code: str | Sequence[str], unshare: str | None = None, **options: Any
    ) -> Finished:
        """Run it to its end; arguments as for Python.run()."""
        argv, options = self._how(code, unshare, options)
        return self.python.root.run(argv, **options)

    @contextlib.contextmanager
    def popen(
        self, code: str | Sequence[str], unshare: str | None = None, **options: Any
    ) -> Iterator[subprocess.Popen[str]]:
        """Start it; arguments as for Python.popen()."""
        argv, options = self._how(code, unshare, options)
        with self.python.root.popen(argv, **options) as child:
            yield child

    @contextlib.contextmanager
    def serve(self, unshare: str, *where: str, **options: Any) -> Iterator[int]:
        """Have the program listen inside; yields its process id."""
        with self.popen(["-c", PROGRAM.read_text(), *where], unshare, **options) as child:
            said(child, "listening\n")
            yield child.pid

    @contextlib.contextmanager
    def hold(self, unshare: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Have the program wait inside for its input to end."""
        code = "import sys; print('ready', flush=True); sys.stdin.read()"
        with self.popen(code, unshare, **options) as child:
            said(child, "ready\n")
            yield child

    def _how(
        self, code: str | Sequence[str], unshare: str | None, options: dict[str, Any]
    ) -> tuple[list[str | Path], dict[str, Any]]:
        user = self.python.root if options.pop("as_root", False) else self.python.user
        env = {"HOME": str(user.home), **options.pop("env", {})}
        if unshare is not None:
            env["PY_UNSHARE"] = unshare
        prefix = options.pop("prefix", [])
        command = self.python.command(code)
        argv = self.site.enter_as(user.uid, user.gid, *prefix, *command)
        return argv, {"cwd": user.home, "env": env, **options}


def said(child: subprocess.Popen[str], line: str) -> None:
    """Wait for a line of its output, which is to be this one."""
    assert child.stdout and child.stderr
    if child.stdout.readline() != line:
        raise AssertionError(f"status {child.wait()}: {child.stderr.read()}")
