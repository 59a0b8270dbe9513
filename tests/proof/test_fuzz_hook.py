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
from typing import Any

import pytest
from hypothesis import strategies as st

from harness import Python, Session
from harness.session import default
from proof import stage as seen_of
from proof.chance import examples
from proof.grammar import NAMESPACES, understand
from proof.lists import escaped
from proof.model import FILES, Held, Refused, Seen, World, look, predict
from proof.plugin import Tally, Watch
from proof.stage import ODD, stage_of

CI_LISTS = 75  # on each of two interpreters
FULL_LISTS = 5_000  # on all together

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
    ".",
    "a",
    "b",
    "c",
    "a/sub",
    "c/sub",
    "link",
    "link/sub",
    escaped(ODD),
    "a/../b",
    "a/./sub",
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
        found = [self.user()] if self.sometimes(50 if root else 95 - 10 * self.doubtful) else []
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
            for _ in range(self.draw(st.integers(1, 4))):
                kind = self.draw(st.sampled_from(["tmpfs", "bind", "ro", "overlay"]))
                if kind == "overlay" and user and self.world.as_root and "=/" in user:
                    continue  # whose files are not its own then
                if kind == "overlay" and user == "user=none" and not self.doubtful:
                    continue
                paths = [self.path() for _ in range(2 if kind == "bind" else 1)]
                found.append(f"{kind}={':'.join(paths)}")
            if self.sometimes(3):
                found.insert(self.draw(st.integers(0, len(found))), "ro=/")
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


def lists(world: World) -> st.SearchStrategy[tuple[str, str]]:
    """A list, and where in the tree to start."""

    @st.composite
    def draw_list(draw: Callable[..., Any]) -> tuple[str, str]:
        drawing = Draw(draw, world)
        items = drawing.items()
        mounts = drawing.mounts(items)
        every = draw(st.permutations([*items, *len(mounts) * [""]]))
        in_order = iter(mounts)
        text = ",".join(each or next(in_order) for each in every)
        return text or "caps=keep", drawing.cwd

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


def check(world: World, python: Python, text: str, cwd: str, env: dict[str, str]) -> str:
    """Start a program with a list and compare; what has come of it, in a word."""
    stage = world.stage
    meaning = understand(text)
    assert meaning is not None
    place = stage.tree / cwd if cwd else stage.tree
    expected: Seen = {}
    refused: Refused | None = None
    try:
        expected = predict(world, meaning, str(place))
    except Refused as error:
        refused = error
    before = (seen_of.mounts(stage.pid), stage.contents())
    try:
        with stage.popen(text, env, place, python=python) as child:
            assert child.stdin and child.stdout and child.stderr
            line = child.stdout.readline()
            if not line:
                check_refusal(child.wait(60), child.stderr.read(), refused, text)
                return "refused"
            assert refused is None, f"started, and should be refused for its {refused.names}"
            pid = seen_of.program_of(child.pid)
            seen = named(world, look(stage, pid))
            seen["real"] = stage.contents()
            active = dict(
                each.split("=") for each in line[len("PY_UNSHARE_ACTIVE:") : -1].split(",") if each
            )
            expected_active = expected.pop("active")
            if "pid" in meaning:
                check_supervisor(child.pid, pid)
            differences = {
                name: (seen[name], value) for name, value in expected.items() if seen[name] != value
            }
            assert not differences, "\n".join(
                f"{name}: seen {one}\n{' ' * len(name)}  should be {other}"
                for name, (one, other) in differences.items()
            )
            assert line.startswith("PY_UNSHARE_ACTIVE:")
            assert [*active] == expected_active
            inodes = seen_of.inodes(pid)
            assert active == {name: str(inodes[FILES[name]]) for name in active}
            if "uts" in meaning:
                check_hostname(world, pid, meaning["uts"])
            child.stdin.close()
            assert child.wait(60) == 0, child.stderr.read()
            assert child.stderr.read() == ""
    finally:
        stage.clean()
    assert (seen_of.mounts(stage.pid), stage.contents()) == before
    return "held"


def check_refusal(status: int, message: str, refused: Refused | None, text: str) -> None:
    assert status == 125, (status, message)
    assert refused, f"should start, and was refused: {message}"
    lines = message.splitlines()
    assert 2 <= len(lines) <= 4 and all(map(str.isprintable, lines)), message
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
        from conftest import SESSION

        found = default(metafunc.config.stash[SESSION].found)
        chosen = found if metafunc.config.getoption("--full") else [found[0], found[-1]]
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
    variants = default(session.found)
    python = next(session.python(each) for each in variants if each.name == name)
    count = FULL_LISTS // len(variants) // 2 if full else CI_LISTS
    outcomes: Counter[str] = Counter()
    with world_of(python, workdir, watch.env, as_root) as world:

        def test(example: tuple[str, str]) -> None:
            text, cwd = example
            outcomes[check(world, python, text, cwd, watch.env)] += 1
            tally.case()

        examples(test, lists(world), count, pytestconfig, explain=False)
    assert outcomes["held"] and outcomes["refused"]
    who = "root" if as_root else "user"
    tally.notes[f"lists as {who} on {name}"] = (
        f"{outcomes['held']} held, {outcomes['refused']} refused"
    )
