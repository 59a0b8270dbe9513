"""Run programs as the user under test, and keep what came of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from harness.require import SEARCH_PATH, require_kernel, require_root

Argument = Union[str, Path]


@dataclass(frozen=True)
class Finished:
    """What a process left: its exit status (minus the signal that killed it) and its output.

    Bytes that are not UTF-8 become surrogates (PEP 383).
    """

    status: int
    stdout: str
    stderr: str

    def ok(self) -> str:
        """Its standard output, once it is sure that it ended with 0.

        What an older kernel refuses for its age skips the test there.
        """
        if self.status == 125 and "#overlays-for-root-only" in self.stderr:
            require_kernel("5.11")
        assert self.status == 0, f"status {self.status}\n{self.stdout}\n{self.stderr}"
        return self.stdout


@dataclass(frozen=True)
class User:
    """Somebody that processes can be started as, with no supplementary groups."""

    uid: int
    gid: int
    home: Path

    def run(
        self,
        argv: Sequence[Argument],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
        cwd: Path | None = None,
        **options: Any,
    ) -> Finished:
        """Run a program to its end.

        Args:
            argv: the program and its arguments.
            env: added to PATH, HOME and LANG, all that it has otherwise.
            stdin: what it can read.
            timeout: seconds; then it is killed with all of its session, and the test fails.
            cwd: where it starts, instead of the user's home.
            options: for subprocess.Popen, such as pass_fds.
        """
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        how = self._how(env, cwd, options)
        with subprocess.Popen(argv, stdin=subprocess.PIPE, **how) as child:
            try:
                output, errors = child.communicate(_encode(stdin), timeout)
            except subprocess.TimeoutExpired:
                _kill(child, how["start_new_session"])
                try:
                    output, errors = child.communicate(timeout=10)
                except subprocess.TimeoutExpired as held:  # its pipes are, by another session
                    output, errors = held.output, held.stderr
                raise AssertionError(
                    f"{argv} ran for more than {timeout} s\n{_decode(output)}\n{_decode(errors)}"
                ) from None
            except BaseException:
                _kill(child, how["start_new_session"])
                raise
        return Finished(child.returncode, _decode(output), _decode(errors))

    @contextlib.contextmanager
    def popen(
        self,
        argv: Sequence[Argument],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        cwd: Path | None = None,
        **options: Any,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a program with pipes for its three streams, to talk with it.

        What is left of its session is killed at the end of the `with` block, or after `timeout`
        seconds, so that reading from it comes to an end. Arguments as for run().
        """
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        how = self._how(env, cwd, options)
        with subprocess.Popen(argv, encoding="utf-8", errors="surrogateescape", **how) as child:
            watchdog = threading.Timer(timeout, _kill, [child, how["start_new_session"]])
            watchdog.start()
            try:
                yield child
            finally:
                watchdog.cancel()
                _kill(child, how["start_new_session"])

    def _how(
        self, env: Mapping[str, str] | None, cwd: Path | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        how: dict[str, Any] = {
            "env": {
                "PATH": SEARCH_PATH,
                "HOME": str(self.home),
                "LANG": "C.UTF-8",
                **(env or {}),
            },
            "cwd": cwd or self.home,
            # A session of its own is also a process group that can be killed as a whole.
            "start_new_session": True,
            "umask": 0o022,
        }
        if (self.uid, self.gid) != (os.getuid(), os.getgid()):
            how.update(user=self.uid, group=self.gid, extra_groups=[])
        return {**how, **options}


@dataclass(frozen=True)
class Python:
    """An interpreter in a virtual environment that has a built wheel of ours installed.

    Attributes:
        name: "3.14"; "3.15-start" where the .start wheel is installed on a Python that also
            works with the .pth one.
        version: major and minor.
        kind: "pth" or "start", the wheel.
        base: the interpreter that the environment was made from, for the users below reachable.
        venv: the environment's directory; not to be changed, for other tests share it.
        user: who runs it.
        root: who runs it with as_root=True.
    """

    name: str
    version: tuple[int, int]
    kind: str
    base: Path
    venv: Path
    user: User
    root: User

    @property
    def executable(self) -> Path:
        """The environment's interpreter."""
        return self.venv / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where the package and its .pth or .start file are."""
        (path,) = self.venv.glob("lib/*/site-packages")
        return path

    def command(self, code: str | Sequence[Argument]) -> list[Argument]:
        """A command line: of a program text for -c, or of any arguments."""
        return [self.executable, *(["-c", code] if isinstance(code, str) else code)]

    def run(
        self,
        code: str | Sequence[Argument],
        *,
        unshare: str | None = None,
        env: Mapping[str, str] | None = None,
        as_root: bool = False,
        **options: Any,
    ) -> Finished:
        """Run this interpreter to its end.

        Args:
            code: a program text, or a list of arguments (["-m", "pytest"]).
            unshare: the value of PY_UNSHARE; unset without.
            env: other variables to set.
            as_root: as root instead of the user; skips the test where the suite is not root.
            options: stdin, timeout (seconds), cwd and more, as for User.run().
        """
        return self._who(as_root).run(self.command(code), env=_with(unshare, env), **options)

    def popen(
        self,
        code: str | Sequence[Argument],
        *,
        unshare: str | None = None,
        env: Mapping[str, str] | None = None,
        as_root: bool = False,
        **options: Any,
    ) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """Start this interpreter: `with python.popen(…) as child`. Arguments as for run()."""
        return self._who(as_root).popen(self.command(code), env=_with(unshare, env), **options)

    @contextlib.contextmanager
    def hold(self, unshare: str | None = None, **options: Any) -> Iterator[int]:
        """Keep an interpreter waiting in its user code, to be looked at from outside.

        Yields:
            The process id of what was started.
        """
        code = "import sys; print('ready', flush=True); sys.stdin.read()"
        with self.popen(code, unshare=unshare, **options) as child:
            assert child.stdin and child.stdout and child.stderr
            if child.stdout.readline() != "ready\n":
                raise AssertionError(f"status {child.wait()}: {child.stderr.read()}")
            yield child.pid

    def _who(self, as_root: bool) -> User:
        if as_root:
            require_root()
        return self.root if as_root else self.user


def _with(unshare: str | None, env: Mapping[str, str] | None) -> dict[str, str]:
    return {**(env or {}), **({} if unshare is None else {"PY_UNSHARE": unshare})}


def _kill(child: subprocess.Popen[Any], whole_group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if whole_group:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "surrogateescape")
