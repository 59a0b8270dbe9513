"""The whole hook under random lists: what a model says should hold, and what is seen from outside.

A list is drawn, `proof.model` tells what has to come of it, a real interpreter is started with it,
and what /proc shows of that process has to be the same in every point; or it is refused, for an
item that the model blames, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from harness import FILES, Python, Session
from harness.session import default, variants
from proof import stage as seen_of
from proof.chance import examples
from proof.conftest import Tally, Watch
from proof.grammar import DIRECTORIES, NAMESPACES, understand
from proof.lists import escaped
from proof.model import Held, Refused, Seen, Unforeseen, World, look, predict
from proof.stage import ODD, MountLine, stage_of

CI_LISTS = 75  # on each of two interpreters
FULL_LISTS = 2_000  # on all together

# The processes to join: the list that they are started with, and whether root starts them.
HELD = {
    "H": ("user,net,mount,uts=held,ipc,cgroup,time=+5d", False),
    "P": ("user,net,mount,pid", False),
    "R": ("net,mount,uts=rooted,ipc,cgroup,time=+9d", True),
}


@contextlib.contextmanager
def world_of(
    python: Python, directory: Path, env: dict[str, str], as_root: bool
) -> Iterator[World]:
    """A stage, what a plain program looks like there, and the processes to join."""
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(stage_of(python, directory, as_root=as_root))
        with stage.popen(None, env, stage.tree) as child:
            assert child.stdout
            assert child.stdout.readline() == "\n"
            plain = look(stage, child.pid)
        stage.clean()
        held, seen = {}, {}
        for label, (text, of_root) in HELD.items():
            pid = stack.enter_context(stage.hold(text, env, of_root))
            stage.clean()
            own = tuple(name for name in NAMESPACES if re.search(rf"\b{name}\b", text))
            held[label] = Held(pid, own, of_root, label if "user" in own else "own")
            seen[label] = look(stage, pid)
        plain = {**plain, "tree": None}
        yield World(stage, plain, held, seen)


# Lists. Of most things there are some that cannot be had, which few lists are to have.

PATHS = [
    *3 * ["a", "b", "c"],
    ".",
    "a/sub",
    "c/sub",
    "link",
    "link/sub",
    escaped(ODD),
    "a/../b",
    "b/.",
]
DOUBTFUL_PATHS = ["..", "../b", "sub", "file", "other", "../file", "missing", "file/x", "b/"]
CWDS = ["", "", "", "a", "a/sub", "b", "c/sub"]
ADDRESSES = ["10.0.0.1/8", "127.0.0.1/8", "127.0.0.1/16", "10.0.0.2/8", "192.0.2.1/32", "0.1.2.3/8"]
ADDRESSES += ["fd00::1/64", "::1/128", "::ffff:192.0.2.1/128", "10.9.0.1/31", "fe80::7/10"]
ADDRESSES += ["240.0.0.1/4", "255.255.255.255/32", "1.2.3.4/0"]
DOUBTFUL_ADDRESSES = ["::1/64", "fd00::1/65", "fd00::1/66"]
OFFSETS = ["+90", "-5", "+2d", "-0.25", "0", "+0.000000001", "1.5h"]
DOUBTFUL_OFFSETS = ["-9999d", "+4611686018"]
USERS = [*6 * ["user"], *3 * ["user=current"], *3 * ["user=auto"], *2 * ["user=none"], "user=root"]
USERS += ["user=1000:1001", "user=4294967294", "user=tess:daemon", "user=0", "user=root:root"]
DOUBTFUL_USERS = ["user=all", "user=nobody-here", "user=7:staff-here"]
RANGES = ["2:100000:1", "10000000:100100:10", "20000000:100500:65", "30000000:300000:10"]
RANGES_OF_ROOT = [*RANGES, "1000:1:1", "3:4294967294:1", "20:7:700"]
DOUBTFUL_RANGES = [*RANGES_OF_ROOT, "1:200000:2", "0:100900:1", "9:tess:1", "2000:root:1"]
DOUBTFUL_RANGES += ["7:nobody-here:1", "5000:500000:100", "6000:100001:9"]
WORDS = {
    "net": ["net", "net", "net=lo", "net=down"],
    "mount": ["mount", "mount=slave", "mount=shared", "mount=unchanged"],
    "uts": ["uts", "uts=new-name.example"],
    "ipc": ["ipc"],
    "cgroup": ["cgroup"],
    "time": ["time", *(f"time={each}" for each in OFFSETS)],
    "pid": ["pid"],
}


class Case(NamedTuple):
    """A list, where in the tree to start, and whether with PY_UNSHARE_ON_ERROR=warn."""

    text: str
    cwd: str
    warn: bool


class Draw:
    """Draws the items of one list."""

    def __init__(self, draw: Callable[..., Any], world: World) -> None:
        self.draw = draw
        self.cwd = str(draw(st.sampled_from(CWDS)))
        self.world = world
        self.doubtful = self.sometimes(25)  # whether this list may have what cannot be had

    def sometimes(self, chance: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) < chance)

    def one(self, good: list[str], doubtful: list[str]) -> str:
        return str(self.draw(st.sampled_from([*good, *(doubtful if self.doubtful else [])])))

    def some(self, good: list[str], doubtful: list[str]) -> list[str]:
        number = self.draw(st.integers(1, 3))
        found = {each.partition("/")[0]: each for each in self.several(number, good, doubtful)}
        return [*found.values()]

    def several(self, number: int, good: list[str], doubtful: list[str]) -> list[str]:
        return [self.one(good, doubtful) for _ in range(number)]

    def items(self) -> list[str]:
        """All but the mounts."""
        root = self.world.as_root
        without = self.sometimes(50) if root else self.doubtful and self.sometimes(30)
        found = [] if without else [self.user()]
        user = found[0] if found else ""
        joining = user if "=/" in user else ""
        if user and not joining and user not in ("user=none", "user=all"):
            for name in ("map-users", "map-groups"):
                if self.sometimes(15):
                    ranges = self.some(RANGES_OF_ROOT if root else RANGES, DOUBTFUL_RANGES)
                    found += [f"{name}={each}" for each in ranges]
        if user and not joining and user != "user=none" and self.sometimes(15):
            alone = not root and user != "user=auto" and "map-groups" not in ",".join(found)
            allow = ["setgroups=allow"]
            found.append(self.one(["setgroups=deny", *([] if alone else allow)], allow))
        for name, words in WORDS.items():
            if self.sometimes(30):
                found.append(self.namespace(name, words, joining))
        names = {each.partition("=")[0]: each for each in found}
        if names.get("net") in ("net", "net=lo") and self.sometimes(50):
            found += [f"addr={each}" for each in self.some(ADDRESSES, DOUBTFUL_ADDRESSES)]
        if names.get("time", "time") == "time":
            for clock in ("monotonic", "boottime"):
                if self.sometimes(10):
                    found.append(f"{clock}={self.one(OFFSETS, DOUBTFUL_OFFSETS)}")
        if self.sometimes(20):
            found.append(self.one(["caps=keep", "caps=none"], []))
        return found

    def user(self) -> str:
        joins = [self.join("user", label) for label in ("H", "H", "P")]
        everybody = [*USERS, *joins, *(["user=all"] if self.world.as_root else [])]
        doubtful = [self.join("user", label) for label in ("R", "self")]
        return self.one(everybody, [*DOUBTFUL_USERS, *doubtful])

    def namespace(self, name: str, words: list[str], user: str) -> str:
        """A new one, or one to join where that is likely to be allowed."""
        held = self.world.held
        labels = [
            label
            for label, each in held.items()
            if name in each.own and (user == self.join("user", label) or self.world.as_root)
        ]
        if not self.world.as_root or self.sometimes(70):
            labels = [label for label in labels if label != "P" or name != "mount"]
        joins = [self.join(name, label) for label in labels] if user or self.sometimes(20) else []
        doubtful = [self.join(name, label) for label in (*held, "self")]
        if name == "net":
            file = f"{self.world.stage.tree}/file"
            doubtful += [
                f"net={file}",
                f"net={file}/x",
                self.join("uts", "H").replace("uts=", "net="),
            ]
        return self.one([*words, *joins, *joins], doubtful)

    def join(self, name: str, label: str) -> str:
        pid = self.world.held[label].pid if label in self.world.held else label
        return f"{name}=/proc/{pid}/ns/{FILES[name]}"

    def mounts(self, items: list[str]) -> list[str]:
        """Mounts, in the order that they are to be in."""
        names = {each.partition("=")[0]: each for each in items}
        joining = "=/" in names.get("mount", "")
        user = names.get("user", "")
        found: list[str] = []
        public = not user and names.get("mount") in ("mount=shared", "mount=unchanged")
        if not joining and self.sometimes(10 if public else 60):
            for _ in range(self.draw(st.sampled_from([1, 1, 2, 2, 3, 4]))):
                kind = self.draw(st.sampled_from(sorted(DIRECTORIES)))
                if kind == "overlay" and user and self.world.as_root and "=/" in user:
                    continue  # whose files are not its own then
                if kind == "overlay" and user == "user=none" and not self.doubtful:
                    continue
                paths = [self.path() for _ in range(2 if kind == "bind" else 1)]
                if kind == "overlay" and paths == ["."] and not self.doubtful:
                    continue  # there is a mount below
                found.append(f"{kind}={':'.join(paths)}")
            needy = any(each[:3] == "rw=" for each in found)
            alone = not {each.partition("=")[0] for each in found} & {"ro", "hide", "tmpfs"}
            if self.sometimes(3) or (needy and alone):
                top = self.draw(st.sampled_from(["/", f"{self.world.stage.tree}"]))
                found.insert(self.draw(st.integers(0, len(found))), f"ro={top}")
        fresh = {"proc": "pid", "sys": "net"}
        for name, shown in fresh.items():
            if not joining and self.sometimes(15) and (shown in names or self.doubtful or not user):
                found.insert(self.draw(st.integers(0, len(found))), name)
        if "proc" not in found and self.sometimes(10):
            found.append("proc=keep")
        return found

    def path(self) -> str:
        path = self.one(PATHS, DOUBTFUL_PATHS)
        if path == ".." and not self.cwd:  # which is outside
            path = "."
        absolute = ".." not in path and self.sometimes(50)
        return f"{self.world.stage.tree}/{path}" if absolute else path


def cases(world: World) -> st.SearchStrategy[Case]:
    """Lists to start a program with in a world."""

    @st.composite
    def draw_list(draw: Callable[..., Any]) -> Case:
        drawing = Draw(draw, world)
        items = drawing.items()
        mounts = drawing.mounts(items)
        every = draw(st.permutations([*items, *len(mounts) * [""]]))
        in_order = iter(mounts)
        text = ",".join(each or next(in_order) for each in every)
        return Case(text or "caps=keep", drawing.cwd, warn=drawing.sometimes(15))

    return draw_list()


# What comes of them.


def named(world: World, seen: Seen) -> Seen:
    """What was seen, with names for namespaces instead of their inodes, as the model has them."""
    inodes, owners = seen["inodes"], seen["owners"]
    labels = {kind: world.label(kind, inode) for kind, inode in inodes.items()}
    own = world.plain["owners"]
    by = {
        kind: "own"
        if owner == own[kind] and labels[kind] == "own"
        else "new"
        if owner == inodes["user"] and labels["user"] == "new"
        else world.label("user", owner)
        for kind, owner in owners.items()
    }
    return {**seen, "inodes": labels, "owners": by}


def check(world: World, python: Python, case: Case, env: dict[str, str], tally: Tally) -> str:
    """Start a program with a list and compare; what has come of it, in a word."""
    stage = world.stage
    meaning = understand(case.text)
    assert meaning is not None
    place = stage.tree / case.cwd if case.cwd else stage.tree
    refused: Refused | None = None
    try:
        expected = predict(world, meaning, str(place))
    except Refused as error:
        refused = error
        expected = predict(world, {}, str(place))
    except Unforeseen:
        return "left out"
    variables = {**env, **({"PY_UNSHARE_ON_ERROR": "warn"} if case.warn else {})}
    before = (seen_of.mounts(stage.pid), stage.contents())
    try:
        with stage.popen(case.text, variables, place, python=python) as child:
            assert child.stdin and child.stdout and child.stderr
            line = child.stdout.readline()
            if line:
                pid = seen_of.program_of(child.pid)
                seen = named(world, look(stage, pid))
                seen["real"] = stage.contents()
                wrong = not (refused is None or case.warn) or seen["inodes"] != expected["inodes"]
                tally.case(started_unisolated=wrong, what=repr(case))
                assert refused is None or case.warn, f"should be refused for its {refused.names}"
                check_seen(seen, expected, line, seen_of.inodes(pid))
                if refused is None and "pid" in meaning:
                    check_supervisor(child.pid, pid)
                if refused is None and "uts" in meaning:
                    check_hostname(world, pid, meaning["uts"])
                child.stdin.close()
            status, message = child.wait(60), child.stderr.read()
    finally:
        stage.clean()
    assert (seen_of.mounts(stage.pid), stage.contents()) == before
    if not line:
        tally.case()
        assert status == 125, (status, message)
        assert not case.warn
    else:
        assert status == 0, (status, message)
    if line and not refused:
        assert message == ""
        return "held"
    check_refusal(message, refused)
    return "warned" if line else "refused"


def without_pins(mounts: list[MountLine]) -> list[MountLine]:
    """Mounts but for those on /dev, where `ro` and `overlay` pin what is above: items/pinned.py."""
    return [each for each in mounts if not f"{each.point}/".startswith("/dev/")]


def check_seen(seen: Seen, expected: Seen, line: str, inodes: dict[str, int]) -> None:
    """What the program looks like, and what it tells of its variables."""
    for each in (seen, expected):
        each["mounts"] = without_pins(each["mounts"])
    differences = {
        name: (seen[name], value)
        for name, value in expected.items()
        if name != "active" and seen[name] != value
    }
    assert not differences, "\n".join(
        f"{name}: seen {one}\n{' ' * len(name)}  should be {other}"
        for name, (one, other) in differences.items()
    )
    variables = dict(each.split(":", 1) for each in line.split())
    assert "PY_UNSHARE" not in variables
    active = ",".join(f"{name}={inodes[FILES[name]]}" for name in expected["active"] or [])
    assert variables.get("PY_UNSHARE_ACTIVE", "") == active


def check_refusal(message: str, refused: Refused | None) -> None:
    """It blames what the model does."""
    assert refused, f"should start, and was refused: {message}"
    lines = message.splitlines()
    assert 2 <= len(lines) <= 5 and all(map(str.isprintable, lines)), message
    item = re.match(r"  what: ([a-z-]+)", lines[1])
    assert item, message
    assert not refused.names or item[1] in refused.names, f"not for {refused.names}: {message}"


def check_supervisor(supervisor: int, program: int) -> None:
    """It has two children, in one PID namespace, of which the first is no Python any more."""
    init, last = seen_of.children_of(supervisor)
    assert last == program
    end = time.monotonic() + 30
    while Path(f"/proc/{init}/comm").read_text() != "unshare-init\n":  # it is still on its way
        assert time.monotonic() < end
    assert os.stat(f"/proc/{init}/ns/pid").st_ino == os.stat(f"/proc/{program}/ns/pid").st_ino


def check_hostname(world: World, pid: int, name: str) -> None:
    label = world.label("uts", os.stat(f"/proc/{pid}/ns/uts").st_ino)
    held = {"H": "held", "R": "rooted", "own": os.uname().nodename, "new": os.uname().nodename}
    assert seen_of.hostname(pid) == (held[label] if label != "new" or not name else name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        from harness.plugin import SESSION

        found = metafunc.config.stash[SESSION].found
        ends = [default(found)[0], default(found)[-1]]
        chosen = variants(found) if metafunc.config.getoption("--full") else ends
        metafunc.parametrize("name", [each.name for each in chosen])


@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_random_lists(
    name: str,
    as_root: bool,
    session: Session,
    workdir: Path,
    pytestconfig: pytest.Config,
    full: bool,
    tally: Tally,
    watch: Watch,
) -> None:
    every = variants(session.found)
    python = next(session.python(each) for each in every if each.name == name)
    count = FULL_LISTS // (2 * len(every)) if full else CI_LISTS
    outcomes: Counter[str] = Counter()
    with world_of(python, workdir, watch.env, as_root) as world:

        def test(case: Case) -> None:
            outcomes[check(world, python, case, watch.env, tally)] += 1

        examples(test, cases(world), count, pytestconfig, explain=False)
    assert outcomes["held"] and outcomes["refused"]
    who = "root" if as_root else "user"
    told = ", ".join(f"{number} {what}" for what, number in sorted(outcomes.items()))
    tally.notes[f"lists as {who} on {name}"] = told
