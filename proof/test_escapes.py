"""Attempts to get out of the namespaces, or to more rights: each has the outcome that the docs say.

docs/attempts.md has a row for each attempt, and this reads from there what is to come of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import Python, Session, require_root, require_tool
from harness.plugin import SESSION
from harness.session import PROJECT, default, variants
from proof.conftest import Tally, Watch
from proof.escapes import ATTEMPTS, Attempt
from proof.escapes.outside import INSIDE, REACHED, REFUSED

PAGE = PROJECT / "docs" / "attempts.md"
PROOF = Path(__file__).parent
SECRET = os.urandom(16).hex()

# What only root can make, for the ordinary user's attempts.
OF_ROOT = ("root_file", "setuid_cat", "capable_cat", "ns_file", "device")

DEVICES = ("vda", "sda", "nvme0n1", "loop-control", "hwrng")

# A network that leads somewhere, and other namespaces in which an attempt that succeeds does no
# harm; then the process that all the attempts of a Python start from.
WORLD = """
ip link set lo up
ip link add out0 type veth peer name out1
ip address add 198.51.100.9/24 dev out0
ip link set out0 up
ip link set out1 up
ip route add default via 198.51.100.1
touch "$NS_FILE"
mount --bind /proc/self/ns/net "$NS_FILE"
exec setpriv --reuid "$0" --regid "$1" --clear-groups "$2" -m proof.escapes.outside "$3"
"""


@dataclass(frozen=True)
class Row:
    """What the page says of one attempt with one list."""

    attempt: str
    unshare: str
    as_root: bool
    outcome: str

    def fits(self, outcome: str) -> bool:
        """Whether this came of it: of several errors, any; of several outcomes, too."""
        allowed = self.outcome.split(", or ")
        if outcome in allowed:
            return True
        refused = [each for each in allowed if each.startswith(REFUSED)]
        return outcome.startswith(REFUSED) and any(
            errors(outcome) <= errors(each) for each in refused
        )


def errors(outcome: str) -> set[str]:
    """The names of the errors in a refusal."""
    return set(outcome.removeprefix(REFUSED).split(" or "))


def rows() -> list[Row]:
    """All tables of the page whose first column is the attempt."""
    found = []
    lists: list[str] = []
    as_root = False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if not line.startswith("| "):
            lists = lists if line.startswith("|-") else []
        elif cells[0].startswith("attempt"):
            lists, as_root = [cell.strip("`") for cell in cells[1:]], "root" in cells[0]
        elif lists:
            found += [
                Row(cells[0], unshare, as_root, cell) for unshare, cell in zip(lists, cells[1:])
            ]
    return found


ROWS = rows()


@dataclass
class Outside:
    """Starts attempts from outside, by the ordinary user and by root; with one interpreter."""

    python: Python
    session: Session
    stack: contextlib.ExitStack
    worlds: dict[bool, tuple[subprocess.Popen[str], set[str]]]

    def lacks(self, attempt: Attempt) -> set[str]:
        """What this attempt needs and this machine has not."""
        return set(attempt.needs) - self._world(False)[1]

    def make(self, attempt: str, unshare: str | None, as_root: bool, env: dict[str, str]) -> str:
        """Have an attempt made; returns what came of it."""
        world, _ = self._world(as_root)
        assert world.stdin and world.stdout and world.stderr
        request = {"attempt": attempt, "unshare": unshare, "env": env}
        world.stdin.write(json.dumps(request) + "\n")
        world.stdin.flush()
        line = world.stdout.readline()
        if not line:
            raise AssertionError(f"status {world.wait()}\n{world.stderr.read()}")
        answer = json.loads(line)
        assert "error" not in answer, f"{attempt}, {unshare}: {answer['error']}"
        return str(answer["outcome"])

    def _world(self, as_root: bool) -> tuple[subprocess.Popen[str], set[str]]:
        if as_root not in self.worlds:
            self.worlds[as_root] = self.stack.enter_context(self._start(as_root))
        return self.worlds[as_root]

    @contextlib.contextmanager
    def _start(self, as_root: bool) -> Iterator[tuple[subprocess.Popen[str], set[str]]]:
        user = self.python.root if as_root else self.python.user
        directory = self.session.make_workdir()
        code = directory / "code" / "proof"
        code.mkdir(parents=True)
        shutil.copy(PROOF / "__init__.py", code)
        shutil.copytree(PROOF / "escapes", code / "escapes", ignore=lambda *_: ["__pycache__"])
        self.session.give(directory)
        given: dict[str, str] = {}
        env = {
            "PYTHONPATH": str(code.parent),
            "SECRET": SECRET,
        }
        command: list[str | Path] = [
            self.python.executable,
            "-m",
            "proof.escapes.outside",
            directory,
        ]
        starter = user
        if os.getuid() == 0:
            given = _of_root(directory)
            env = {**env, "NS_FILE": given["ns_file"], "HOME": str(user.home)}
            starter = self.python.root
            namespaces = ["--mount", "--net", "--uts", "--ipc", "--propagation", "private"]
            script = ["sh", "-ec", WORLD, str(user.uid), str(user.gid)]
            command = ["unshare", *namespaces, *script, self.python.executable, directory]
        if as_root:
            os.chown(directory, 0, 0)
        with starter.popen(command, env=env, cwd=user.home, timeout=3600) as world:
            assert world.stdin and world.stdout and world.stderr
            world.stdin.write(json.dumps(given) + "\n")
            world.stdin.flush()
            there = world.stdout.readline()
            if not there:
                raise AssertionError(f"status {world.wait()}\n{world.stderr.read()}")
            yield world, set(json.loads(there))
            world.stdin.close()
            assert world.wait(60) == 0, world.stderr.read()


def _of_root(directory: Path) -> dict[str, str]:
    """Make what only root can."""
    for tool in ("ip", "unshare", "setpriv"):
        require_tool(tool)
    made = {name: directory / name for name in OF_ROOT if name != "device"}
    made["root_file"].write_text(SECRET)
    made["root_file"].chmod(0o600)
    for name in ("setuid_cat", "capable_cat"):
        shutil.copy(require_tool("cat"), made[name])
    made["setuid_cat"].chmod(0o4755)
    setcap = [require_tool("setcap"), "cap_dac_read_search+ep", str(made["capable_cat"])]
    subprocess.run(setcap, check=True)
    for path in (Path("/dev") / name for name in DEVICES):
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDONLY))
            made.setdefault("device", path)
    return {name: str(path) for name, path in made.items()}


def capable(number: int) -> bool:
    """Whether this process has a capability, by its number; root in a container has not all."""
    (effective,) = (
        line.split()[1]
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("CapEff:")
    )
    return bool(int(effective, 16) >> number & 1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The oldest and the newest interpreter; in full all of them, with both wheels."""
    if "outside" in metafunc.fixturenames:
        found = metafunc.config.stash[SESSION].found
        each = default(found)
        chosen = list(dict.fromkeys([each[0], each[-1]]))
        if metafunc.config.getoption("--full"):
            chosen = variants(found)
        names = [variant.name for variant in chosen]
        metafunc.parametrize("outside", chosen, ids=names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def outside(request: pytest.FixtureRequest, session: Session) -> Iterator[Outside]:
    """The world outside of one interpreter."""
    with contextlib.ExitStack() as stack:
        yield Outside(session.python(request.param), session, stack, {})


@pytest.fixture(params=ATTEMPTS.values(), ids=lambda wanted: wanted.name)
def wanted(request: pytest.FixtureRequest, outside: Outside) -> Attempt:
    """One attempt after the other."""
    found: Attempt = request.param
    if set(OF_ROOT) & set(found.needs):
        require_root()
    lacking = outside.lacks(found)
    if lacking:
        pytest.skip(f"this machine has no {', '.join(lacking)}")
    return found


def test_what_comes_of_an_attempt(
    wanted: Attempt, outside: Outside, tally: Tally, watch: Watch
) -> None:
    def make(unshare: str | None, as_root: bool) -> str:
        """Make it, and skip the test if the kernel lacks what it is about."""
        outcome = outside.make(wanted.name, unshare, as_root, watch.env)
        tally.case()
        lacking = not reached and outcome.startswith(REFUSED)
        if lacking and errors(outcome) <= set(wanted.lacking):
            pytest.skip(f"this machine lets nobody do this: {outcome}")
        return outcome

    reached = False
    for control in wanted.controls:
        if control.as_root and os.getuid() != 0:
            continue
        if control.capability is not None and not capable(control.capability):
            continue
        outcome = make(control.unshare, control.as_root)
        assert outcome == REACHED, f"{control}: it is no attempt, since it never succeeds"
        reached = True
    for row in ROWS:
        if row.attempt != wanted.name or (row.as_root and os.getuid() != 0):
            continue
        outcome = make(row.unshare, row.as_root)
        escaped = outcome == REACHED and REACHED not in row.outcome
        what = f"{row.attempt}: {outcome} with {row.unshare}{' as root' if row.as_root else ''}"
        if escaped:
            tally.unisolated.append(what)
        assert row.fits(outcome), f"{what}; the page says {row.outcome}"


LISTS = (
    *("user,net", "user=none", "user,time=+1d", "user,pid", "user,net,mount,pid,caps=none"),
    *("user,uts=name,ipc,cgroup,caps=keep", "user,overlay=.,tmpfs=/mnt,ro=/usr,bind=/etc:/srv"),
)


def test_the_page_and_the_attempts_are_the_same() -> None:
    assert {row.attempt for row in ROWS} == set(ATTEMPTS)
    both = {"user,net", "user,net,mount,pid,caps=none"}
    assert {row.unshare for row in ROWS} > both and any(row.as_root for row in ROWS)
    outcomes = {outcome for row in ROWS for outcome in row.outcome.split(", or ")}
    assert {outcome for outcome in outcomes if not outcome.startswith(REFUSED)} == {REACHED, INSIDE}


@pytest.mark.parametrize("unshare", LISTS)
@pytest.mark.parametrize("version", ["oldest", "newest"])
def test_no_descriptor_is_left_to_the_program(
    unshare: str, version: str, request: pytest.FixtureRequest, tally: Tally, workdir: Path
) -> None:
    python: Python = request.getfixturevalue(version)
    # Some builds of libffi, which _ctypes loads, keep their own file open, isolated or not.
    code = """
import _ctypes, os
names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd") if int(name) > 2]
print([os.readlink(name) for name in names if os.path.lexists(name)])
"""
    tally.case()
    plain, inside = (python.run(code, unshare=each, cwd=workdir) for each in (None, unshare))
    assert inside.ok() == plain.ok()
