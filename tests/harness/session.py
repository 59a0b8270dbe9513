"""What one run of the suite makes, once, for all of its workers: wheels, environments, copies."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from harness import interpreters
from harness.interpreters import Interpreter, Unusable
from harness.processes import Argument, Python, User

PROJECT = Path(__file__).resolve().parent.parent.parent

# Where the wheel with the .pth file can be installed, the one with the .start file is no use before
# this version (PEP 829).
START_UNDERSTOOD = (3, 15)
PTH_IGNORED = (3, 18)


@dataclass(frozen=True)
class Variant:
    """An interpreter and the wheel to install: what the fixture `python` goes through."""

    interpreter: Interpreter
    kind: str

    @property
    def name(self) -> str:
        """The parameter's name in a test's id."""
        sole = self.kind == fitting(self.interpreter)
        return self.interpreter.name if sole else f"{self.interpreter.name}-{self.kind}"


def fitting(interpreter: Interpreter) -> str:
    """The wheel that an installer chooses for this interpreter: "pth" or "start"."""
    return "pth" if interpreter.version < PTH_IGNORED else "start"


def variants(found: Sequence[Interpreter]) -> list[Variant]:
    """Each interpreter with each wheel that works there."""
    return [
        Variant(interpreter, kind)
        for interpreter in found
        for kind in ("pth", "start")
        if kind == fitting(interpreter)
        or (kind == "start" and interpreter.version >= START_UNDERSTOOD)
    ]


def default(found: Sequence[Interpreter]) -> list[Variant]:
    """Each interpreter with the wheel that an installer chooses."""
    return [Variant(interpreter, fitting(interpreter)) for interpreter in found]


def _common_directory() -> str:
    """A directory for temporary files that every user can reach."""
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(name).resolve()
        if all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents)):
            return str(path)
    return tempfile.gettempdir()


@dataclass(frozen=True)
class Session:
    """The directory of a run and all that is made in it, each thing when it is first asked for.

    Attributes:
        directory: below the system's directory for temporary files; everybody can read it.
        available: the interpreters of this machine, or those named.
        found: those of them to test.
        user: who the processes under test belong to.
        root: the same for processes that run as root.
    """

    directory: Path
    available: tuple[Interpreter, ...]
    found: tuple[Interpreter, ...]
    user: User
    root: User

    @classmethod
    def start(cls, every: bool = True) -> Session:
        """Find the interpreters and make the directory.

        Args:
            every: test all that are found, not only the one that runs the suite.

        Raises:
            Unusable: an environment variable asks for what is not available here.
        """
        found = available = tuple(interpreters.find())
        if not every and not os.environ.get(interpreters.NAMED):
            own = sys.version_info[:2]
            ours = [each for each in available if each.version[:2] == own]
            found = tuple(ours[:1] or available[-1:])
        uid, gid = os.getuid(), os.getgid()
        if uid == 0:
            uid = gid = int(os.environ.get("UNSHARE_BOOT_TEST_UID", "54321"))
        directory = Path(tempfile.mkdtemp(prefix="unshare-boot-", dir=_common_directory()))
        directory.chmod(0o755)
        user, root = User(uid, gid, directory / "home"), User(0, 0, directory / "root")
        session = cls(directory, available, found, user, root)
        for path in (session.user.home, session.root.home, directory / "work"):
            path.mkdir(mode=0o755)
        try:
            session.give(session.user.home)
        except OSError as error:
            session.end()
            reason = f"the user under test cannot be uid {uid}: set UNSHARE_BOOT_TEST_UID"
            raise Unusable(f"{reason} ({error})") from error
        return session

    def end(self) -> None:
        """Remove the directory."""
        if not os.environ.get("UNSHARE_BOOT_TEST_KEEP"):
            shutil.rmtree(self.directory)

    def refusal(self) -> str:
        """Why an ordinary user gets no user namespace here; empty where one is available."""
        command = ["unshare", "--user", "--map-root-user", "--net", "true"]
        try:
            tried = self.user.run(command)
        except FileNotFoundError as error:
            return f"{error}: util-linux is needed to find out whether the kernel allows namespaces"
        return "" if tried.status == 0 else tried.stderr.strip()

    def wheel(self, kind: str) -> Path:
        """The built wheel of this kind, "pth" or "start"."""
        return self.distributions()[kind]

    def distributions(self) -> dict[str, Path]:
        """All that is released: "sdist", "pth" and "start", built from this checkout."""
        directory = self.directory / "dist"

        def make() -> None:
            script = PROJECT / "scripts" / "make_dist.py"
            self.tool([sys.executable, script, "--no-isolation", "--outdir", directory])

        self.once("dist", make)
        names = {"sdist": "*.tar.gz", "pth": "*-py39.*.whl", "start": "*-py3-none-any.whl"}
        return {kind: next(directory.glob(pattern)) for kind, pattern in names.items()}

    def base(self, interpreter: Interpreter) -> Path:
        """The interpreter, or a copy of it where our user cannot reach it: its executable."""
        target = self.directory / "base" / interpreter.name
        copied = target / "bin" / interpreter.executable.name

        def make() -> None:
            if interpreters.runs_for(self.user, interpreter.executable):
                return
            interpreters.copy(interpreter, target)
            if not interpreters.runs_for(self.user, copied):
                raise RuntimeError(f"{interpreter.executable} was copied, and the copy fails")

        self.once(f"base-{interpreter.name}", make)
        return copied if copied.exists() else interpreter.executable

    def python(self, variant: Variant) -> Python:
        """The shared environment of a variant."""
        directory = self.directory / "venv" / variant.name
        self.once(f"venv-{variant.name}", lambda: self._make_venv(variant, directory))
        return self._handle(variant, directory)

    def fresh(self, variant: Variant, directory: Path) -> Python:
        """Like python(), but an environment of its own in `directory`, not there yet."""
        self._make_venv(variant, directory)
        return self._handle(variant, directory)

    def variant(self, python: Python) -> Variant:
        """What a handle was made from."""
        return next(each for each in variants(self.found) if each.name == python.name)

    def make_venv(self, interpreter: Interpreter, directory: Path, *options: Argument) -> Path:
        """An environment with nothing in it; options are those of `uv venv`.

        Returns:
            Its interpreter.
        """
        self.uv("venv", "--python", self.base(interpreter), *options, directory)
        return directory / "bin" / "python"

    def readable_interpreter(self) -> Path:
        """The newest interpreter that our user can look at wholly, which virtualenv does."""
        code = "import os, sysconfig; os.listdir(sysconfig.get_config_var('LIBDIR'))"
        known = [self.base(interpreter) for interpreter in reversed(self.available)]
        for executable in [*known, Path("/usr/bin/python3")]:
            if executable.exists() and self.user.run([executable, "-c", code]).status == 0:
                return executable
        pytest.skip("every interpreter is below a directory that is not everybody's")

    def uv(self, *arguments: Argument) -> str:
        """Run uv with the package index of the suite's own environment; returns its output."""
        return self.tool([interpreters.tool("uv"), *arguments])

    def tool(self, argv: Sequence[Argument], **variables: str) -> str:
        """Run a program as the suite's own user, to prepare something; returns its output.

        Raises:
            RuntimeError: it failed; with all that it wrote.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PY")}
        done = subprocess.run(
            argv,
            cwd=self.directory,
            env={
                **kept,
                # Tests may change what is installed, and uv's cache is linked to nothing then.
                "UV_LINK_MODE": "copy",
                # Our user cannot write there, and would compile at every start.
                "UV_COMPILE_BYTECODE": "1",
                "UV_PYTHON_DOWNLOADS": "never",
                "UV_NO_PROGRESS": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_ROOT_USER_ACTION": "ignore",
                **variables,
            },
            umask=0o022,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, argv))}\n{done.stdout}")
        return done.stdout

    def make_workdir(self) -> Path:
        """An empty directory that our user owns; short, as a unix socket's address has to be."""
        for number in itertools.count():
            path = self.directory / "work" / f"{os.getpid()}-{number}"
            if not path.exists():
                break
        path.mkdir()
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """Make our user the owner of a path and of all that is below it."""
        if os.getuid() == 0:
            for each in [path, *path.rglob("*")]:
                os.chown(each, self.user.uid, self.user.gid, follow_symlinks=False)

    def once(self, name: str, make: Callable[[], object]) -> None:
        """Call make() in the first of all workers that comes here, while the others wait.

        Raises:
            RuntimeError: make() failed, here or in the worker that came first.
        """
        done = self.directory / f".{name}.done"
        failed = self.directory / f".{name}.failed"
        with FileLock(self.directory / f".{name}.lock"):
            if failed.exists():
                raise RuntimeError(f"{name} could not be made: {failed.read_text()}")
            if done.exists():
                return
            try:
                make()
            except Exception as error:
                failed.write_text(f"{type(error).__name__}: {error}")
                raise
            done.touch()

    def _make_venv(self, variant: Variant, directory: Path) -> None:
        executable = self.make_venv(variant.interpreter, directory)
        wheel = self.wheel(variant.kind)
        options = ["--no-index", "--no-deps"]
        self.uv("pip", "install", "--python", executable, *options, wheel)

    def _handle(self, variant: Variant, directory: Path) -> Python:
        return Python(
            name=variant.name,
            version=variant.interpreter.version[:2],
            kind=variant.kind,
            base=self.base(variant.interpreter),
            venv=directory,
            user=self.user,
            root=self.root,
        )
