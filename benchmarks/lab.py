"""What every benchmark here needs: scratch virtual environments, an ordinary user, machine facts.

Nothing in this file measures anything.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import pathlib
import platform
import resource  # noqa: F401 (os.wait4 imports it, too late for who is not root any more)
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

#: Any number that owns nothing; root's processes are measured with it.
ORDINARY_UID = 54321


class BenchmarkError(Exception):
    """The benchmark cannot go on; the text says why, and is all that the user gets to see."""


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
    """Make a directory that every user can read, and remove it at the end."""
    os.umask(0o022)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="unshare-boot-bench-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run(argv: Sequence[str | os.PathLike[str]], env: dict[str, str] | None = None) -> str:
    """Run a command that prepares something; return its standard output.

    Raises BenchmarkError with what the command said when it fails.
    """
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env=env)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="backslashreplace").strip()
        words = " ".join(os.fspath(word) for word in argv)
        raise BenchmarkError(f"{words}\nfailed with status {done.returncode}:\n{said}")
    return done.stdout.decode(errors="backslashreplace")


class Workshop:
    """Makes virtual environments, and installs into them from outside.

    The environments hold nothing but what is asked for, no pip either: what lies in site-packages
    is part of the price of a start. uv installs into them, the one on PATH or else a fresh one,
    since no single pip runs on all the interpreters.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self._installer: str | None = None

    def environment(self, base: str, name: str, *requirements: str) -> pathlib.Path:
        """Make a virtual environment; return the path of its interpreter.

        base is the interpreter to make it from; name is its directory: environments that are
        compared with each other get names of one length, as a path's length costs instructions.
        """
        place = self.directory / name
        run([base, "-m", "venv", "--without-pip", place])
        python = place / "bin" / "python"
        if requirements:
            # Copies, a cache of its own: nothing may depend on what a cache of the user's holds.
            options = ["--quiet", "--no-deps", "--compile-bytecode", "--link-mode", "copy"]
            cache = ["--cache-dir", str(self.directory / "cache")]
            run([self._uv(), "pip", "install", *options, *cache, "--python", python, *requirements])
        return python

    def _uv(self) -> str:
        if self._installer is None:
            self._installer = shutil.which("uv")
        if self._installer is None:
            place = self.directory / "installer"
            run([sys.executable, "-m", "venv", place])
            run([place / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"])
            self._installer = str(place / "bin" / "uv")
        return self._installer


def ordinary_user(uid: int = ORDINARY_UID) -> dict[str, Any]:
    """Return what has subprocess.Popen start a program as somebody who is not root."""
    return {} if os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}


def as_ordinary_user(
    work: Callable[[], dict[str, Any]], uid: int = ORDINARY_UID, real_time: bool = False
) -> dict[str, Any]:
    """Call work in a child process that is not root; return what it returns (JSON values).

    Whoever is not root already stays who they are. With real_time, which takes root, that process
    and all that it starts go before the others of the machine, sched(7). Raises BenchmarkError when
    work does; any other exception's traceback is printed by the child.
    """
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            if real_time:
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            _adopt_orphans()
            try:
                answer: dict[str, Any] = {"result": work()}
            except BenchmarkError as error:
                answer = {"error": str(error)}
            with open(writer, "w") as pipe:
                json.dump(answer, pipe)
            sys.stdout.flush()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)  # a forked child must not return into its caller
    os.close(writer)
    with open(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status or not text:
        raise BenchmarkError(
            f"the measuring process ended with status {os.waitstatus_to_exitcode(status)}"
        )
    answer = json.loads(text)
    if "error" in answer:
        raise BenchmarkError(answer["error"])
    result: dict[str, Any] = answer["result"]
    return result


def capture(argv: list[str], env: dict[str, str], seconds: float = 30) -> tuple[int, str, str]:
    """Run a command under test; return its exit status, standard output and standard error.

    What the command leaves behind is ended: a failing pasta(1) may leave a process that waits
    forever. For the same reason the output goes to files, since a pipe would be kept open, and
    a command that has not ended after so many seconds is killed: its status is -SIGKILL.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            os.write(err.fileno(), b"\nno end in sight, killed")
        _end_orphans()
        said = [os.pread(file.fileno(), 1 << 20, 0) for file in (out, err)]
    texts = [text.decode(errors="backslashreplace") for text in said]
    return process.returncode, texts[0], texts[1]


def _adopt_orphans() -> None:
    """Become the parent of whatever a measured command leaves behind; prctl(2), Linux 3.4."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _end_orphans() -> None:
    """Kill and reap every child; called when none of them is wanted any more."""
    while children := pathlib.Path("/proc/thread-self/children").read_text().split():
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@contextlib.contextmanager
def spawner() -> Iterator[Spawner]:
    """Give a way to start processes whose complaints are kept."""
    with tempfile.TemporaryFile() as complaints:
        yield Spawner(complaints.fileno())


class Spawner:
    """Starts processes with posix_spawn: little work, and the same for every command."""

    def __init__(self, stderr: int) -> None:
        self._stderr = stderr

    def start(self, argv: list[str], env: dict[str, str]) -> int:
        """Start argv (its first word a path), input and output on /dev/null; return its pid."""
        return os.posix_spawn(
            argv[0],
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, self._stderr, 2),
            ],
            setsigdef=[signal.SIGPIPE],  # ignored by this Python, and inherited otherwise
        )

    def failure(self, name: str, status: int) -> BenchmarkError:
        """Return the error for a start that ended with this wait status."""
        size = os.fstat(self._stderr).st_size
        said = os.pread(self._stderr, 4000, max(0, size - 4000)).decode(errors="backslashreplace")
        code = os.waitstatus_to_exitcode(status)  # negative: died of that signal
        return BenchmarkError(f"{name}: a start ended with status {code}:\n{said}")


def environment_variables(**more: str) -> dict[str, str]:
    """Return the environment of every measured process: the same for all, and a small one."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/", "LANG": "C.UTF-8", **more}


def machine() -> dict[str, Any]:
    """Return what a reader needs to know of the machine; nothing that tells whose it is."""
    model = platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if "model name" in line), model
        )
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],  # of others, when asked before the measurement
        "date": datetime.date.today().isoformat(),
    }


_INTERPRETER = """
import json, platform, sys, sysconfig
print(json.dumps({
    "version": platform.python_version(),
    "implementation": platform.python_implementation(),
    "compiler": platform.python_compiler(),
    "optimized": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
    "libpython": bool(sysconfig.get_config_var("Py_ENABLE_SHARED")),
    "socket": "built in" if "_socket" in sys.builtin_module_names else "shared object",
}))
"""


def interpreter(python: str) -> dict[str, Any]:
    """Return what distinguishes this build of Python, as far as it bears on start-up."""
    facts: dict[str, Any] = json.loads(run([python, "-I", "-c", _INTERPRETER]))
    return facts


def version_of(python: pathlib.Path, distribution: str) -> str:
    """Return the version of a distribution that is installed beside an interpreter."""
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return run([python, "-I", "-c", code]).strip()


def site_packages(python: pathlib.Path) -> pathlib.Path:
    """Return the directory that a virtual environment's packages and .pth files lie in."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return pathlib.Path(run([python, "-I", "-c", code]).strip())


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark here understands."""
    parser.add_argument(
        "--python",
        action="append",
        metavar="PATH",
        help="an interpreter to measure, repeatable (default: the one that runs this)",
    )
    parser.add_argument(
        "--package",
        type=os.path.abspath,  # a bare name would be looked for on PyPI
        default=str(CHECKOUT),
        metavar="WHAT",
        help="what to install: a directory or a wheel (default: this checkout)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write everything there (- for standard output)"
    )


def write_json(path: str, document: dict[str, Any]) -> None:
    """Write a result, to standard output for ``-``."""
    text = json.dumps(document, indent=1, sort_keys=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        pathlib.Path(path).write_text(text)
