"""CPython's own regression tests: run one file of them, and tell what became of each test."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import fcntl
import fnmatch
import os
import pty
import re
import shutil
import signal
import termios
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from harness import Finished, Interpreter, Python, Session, interpreters
from harness.processes import Argument
from harness.session import Variant, fitting

# Those of `-u` that want neither the internet, nor a display, nor gigabytes; but these files, which
# ask for the network, talk with themselves.
RESOURCES = "curses,subprocess,cpu"
ALONE = ("test_socketserver",)
PATIENCE = 1500  # seconds for one file of tests; then it shows where it hangs, and ends

# Hang once in a while, isolated or not, and all others of the file with them.
HANGING = ("test_shutdown_deadlock_pickle",)

# The line of another .pth file, read after the hook's: it tells where the interpreter has come to,
# and does so once, though a .pth file may be read twice.
WITNESS = (
    "import os; p = os.environ.pop('CPYTHON_WITNESS', ''); p and open(p, 'w').write(repr("
    "{k: os.stat('/proc/self/ns/' + k).st_ino for k in os.listdir('/proc/self/ns')}))\n"
)

# Exit statuses of regrtest: all well, a test failed, something was left changed, nothing was run.
RAN = (0, 2, 3, 4, 5)

_PROBLEM = re.compile(r"^(FAIL|ERROR): (\S+) \(([\w.]+)\)", re.MULTILINE)
_SKIPPED = re.compile(r"^(\S+) skipped -- (.*)$", re.MULTILINE)
_SKIPPED_TEST = re.compile(
    r"^(\w+) \(([\w.]+)\)(?:\n.*)? \.\.\. skipped (['\"].*['\"])$", re.MULTILINE
)
_PROCESS = re.compile(r"@test_\d+_tmp")  # the name of a file, with the process id in it
_WARNING = re.compile(r"^Warning -- (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A difference that the page explains; a line there has one of these for each of its patterns.

    Attributes:
        pattern: of the tests' names from the module's on, as fnmatch(3) has it.
        items: those of PY_UNSHARE that make the difference; one of them is in the list.
        versions: "all", "3.12", "3.12 or later", "3.9 to 3.11".
        inside: the outcome: passed, failed, error, skipped.
        reason: the letter, or letters, of the reason.
    """

    pattern: str
    items: tuple[str, ...]
    versions: str
    inside: str
    reason: str

    def __str__(self) -> str:
        return f"{self.pattern} | {', '.join(self.items)} | {self.versions} | {self.inside}"

    def applies(self, version: tuple[int, int], unshare: str) -> bool:
        """Whether it is about this version and this list."""
        if set(self.items).isdisjoint(unshare.split(",")):
            return False
        if self.versions == "all":
            return True
        first, _, last = self.versions.partition(" ")
        ends = {"": first, "or later": "3.999"}.get(last, last.removeprefix("to "))
        return _version(first) <= version <= _version(ends)

    def names(self, test: str) -> bool:
        """Whether it is about this test."""
        return fnmatch.fnmatchcase(test, self.pattern) or fnmatch.fnmatchcase(
            test, f"*.{self.pattern}"
        )


def explained(page: Path) -> list[Row]:
    """The rows of the page's table of differences."""
    found = []
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `test_"):
            names, items, versions, inside, because = cells
            reason = because.partition(":")[0]
            for pattern in re.findall("`([^`]+)`", names):
                wanted = tuple(re.findall("`([^`]+)`", items))
                found.append(Row(pattern, wanted, versions, inside, reason))
    return found


@dataclass(frozen=True)
class Result:
    """What one run of a file has come to.

    Attributes:
        outcomes: of each test: passed, failed, error, or "skipped: " and the reason. The file's
            own name stands for all of it, and "FILE (environment)" for what regrtest found changed.
        namespaces: those that the run started in: name in /proc/self/ns to inode.
        finished: the process.
    """

    outcomes: dict[str, str]
    namespaces: dict[str, int]
    finished: Finished = field(repr=False)

    def details(self, test: str) -> str:
        """What is said of a test that has failed."""
        *_, place, method = ["", *test.split(".")]
        for part in self.finished.stdout.split("=" * 70)[1:]:
            head = part.lstrip().partition("\n")[0]
            if f": {method} (" in head and place in head:
                return "\n".join(part.split("-" * 70)[:2]).strip()[-1500:]
        return self.finished.stderr[-1500:]


def kind(item: str) -> str:
    """The name in /proc/self/ns of the namespace that an item makes, or "" if it makes none."""
    name = item.partition("=")[0]
    return {"mount": "mnt", "caps": "", "sockets": ""}.get(name, name)


def suite(interpreter: Interpreter) -> Path | None:
    """The package `test` of an interpreter, or None where only a stub of it is installed."""
    directory = interpreter.prefix / "lib" / f"python{interpreter.name}" / "test"
    return directory if (directory / "test_grammar.py").exists() else None


def has(interpreter: Interpreter, file: str) -> bool:
    """Whether there is such a file, or package, of tests."""
    directory = suite(interpreter)
    return directory is not None and (
        (directory / f"{file}.py").exists() or (directory / file).exists()
    )


def supplied(session: Session, interpreter: Interpreter) -> Python:
    """An environment in which `python -m test` works, made once for all who ask."""
    source = suite(interpreter)
    assert source is not None
    variant = Variant(interpreter, fitting(interpreter))
    directory = session.directory / "cpython" / interpreter.name

    def make() -> None:
        prefix = session.base(interpreter).parent.parent
        if prefix.is_relative_to(session.directory):  # a copy, which lacks the tests
            for each in (source, *source.parent.glob("*/test")):
                if each.parent.name != "site-packages":
                    interpreters.copy_tree(each, prefix / each.relative_to(interpreter.prefix))
        python = session.fresh(variant, directory)
        (python.site_packages / "zz_witness.pth").write_text(WITNESS)

    session.once(f"cpython-{interpreter.name}", make)
    return dataclasses.replace(session.python(variant), venv=directory)


def run(
    session: Session,
    python: Python,
    file: str,
    unshare: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    only: Collection[str] = (),
    but: Collection[str] = (),
) -> Result:
    """Run a file of tests.

    Args:
        session: gives directories.
        python: of supplied().
        file: such as "test_os".
        unshare: the list.
        env: more variables.
        only: the names of the tests to run, all if there is none.
        but: the names of those that are left out.
    """
    workdir = session.make_workdir()
    report, witness = workdir / "report.xml", workdir / "witness"
    resources = f"{RESOURCES},network" if file in ALONE else RESOURCES
    options: list[Argument] = ["-v", "-u", resources, "--junit-xml", report, "--fail-env-changed"]
    options += ["--timeout", str(PATIENCE)]
    for name in only:
        options += ["-m", name]
    for name in (*HANGING, *but):
        options += ["-i", name]
    variables = {"TMPDIR": str(workdir), "HOME": str(workdir), "CPYTHON_WITNESS": str(witness)}
    with terminal() as take:
        finished = python.run(
            ["-m", "test", *options, file],
            unshare=unshare,
            env={**variables, **(env or {})},
            cwd=workdir,
            timeout=PATIENCE + 60,
            preexec_fn=take,
        )
    found = {
        name: _PROCESS.sub("@test_N_tmp", outcome.replace(str(workdir), "WORKDIR"))
        for name, outcome in _outcomes(file, finished, report).items()
    }
    namespaces = ast.literal_eval(witness.read_text()) if witness.exists() else {}
    shutil.rmtree(workdir, ignore_errors=True)
    return Result(found, namespaces, finished)


def _outcomes(file: str, finished: Finished, report: Path) -> dict[str, str]:
    found = {}
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
    for case in cases:
        name = case.get("name")
        if name is None:  # a subtest has failed, see below
            continue
        found[name] = "passed"
        for child in case:
            if child.tag == "skipped":
                found[name] = f"skipped: {child.text}"
            elif child.tag in ("failure", "error"):
                found[name] = {"failure": "failed"}.get(child.tag, "error")
    for word, method, place in _PROBLEM.findall(finished.stdout):
        found.setdefault(_named(method, place), "failed" if word == "FAIL" else "error")
    for method, place, reason in _SKIPPED_TEST.findall(finished.stdout):  # 3.12.1 reports none
        found.setdefault(_named(method, place), f"skipped: {ast.literal_eval(reason)}")
    found[file] = "ran" if finished.status in RAN else f"status {finished.status}"
    for name, reason in _SKIPPED.findall(finished.stdout):  # the file, or one of a package
        found[name] = f"skipped: {reason}"
    changed = sorted({warning.strip() for warning in _WARNING.findall(finished.stdout)})
    found[f"{file} (environment)"] = "; ".join(changed)
    return found


def _named(method: str, place: str) -> str:
    """The name of a test; before 3.11 only that of its class is between the parentheses."""
    return place if place.endswith(f".{method}") else f"{place}.{method}"


@contextlib.contextmanager
def terminal() -> Iterator[Callable[[], None]]:
    """Gives what a new session's first process calls to have a controlling terminal of its own."""
    ours, theirs = pty.openpty()

    def take() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # nohup(1) ignores one
            signal.signal(number, signal.SIG_DFL)
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    def drain() -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while os.read(ours, 4096):
                pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    try:
        yield take
    finally:
        os.close(theirs)
        reader.join(10)
        os.close(ours)


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
