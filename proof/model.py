"""What should hold for a list, or be refused: a model of the whole, made from the man pages.

`predict` goes the way of a start, step by step, with the state of a process in its hands: which
namespaces it is in, whose right counts there, what its tree looks like. It calls nothing of the
product. What it returns has the form of what `look` has seen of a real process.
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import FILES
from proof import stage as seen_of
from proof.grammar import NAMESPACES, Meaning
from proof.stage import DIRECTORIES, GRANTED, Stage
from proof.tree import Absent, Merged, Mount, Node, Place, View

ORDER = ("net", "uts", "ipc", "cgroup", "time", "pid", "mount")  # of joining
WHOLE = 2 ** (int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1) - 1
MAX_ID = 2**32 - 2
KTIME_MAX_HALF = 4611686018  # seconds, time_namespaces(7)
DEEPEST = 2  # overlays on overlays, FILESYSTEM_MAX_STACK_DEPTH

Seen = dict[str, Any]


class Refused(Exception):
    """The start is refused; `names` are the items that may be blamed, none for any."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = names


class Unforeseen(Exception):
    """An overlay over mounts: each gets one of its own, unless it is somebody else's."""


@dataclass
class Held:
    """A process whose namespaces can be joined: which of them are its own, and whose it is."""

    pid: int
    own: tuple[str, ...]
    of_root: bool
    user: str  # the label of the user namespace that owns them


@dataclass
class World:
    """All that the outcome of a list depends on.

    Attributes:
        stage: where the programs start.
        plain: what a program looks like there that is started without a list.
        held: processes to join, by label.
        seen: what each of them looks like.
    """

    stage: Stage
    plain: Seen
    held: dict[str, Held]
    seen: dict[str, Seen]

    @property
    def as_root(self) -> bool:
        return self.stage.user.uid == 0

    def label(self, kind: str, inode: int) -> str:
        """A name for a namespace: own, that of a process which is held, or new."""
        if inode == self.plain["inodes"][kind]:
            return "own"
        for label in self.held:
            if inode == self.seen[label]["inodes"][kind]:
                return label
        return "new"


# What is seen of a process.

SAME = ("Threads", "SigBlk", "SigIgn", "SigCgt", "Groups", "Seccomp")


def look(stage: Stage, pid: int) -> Seen:
    """All that the model tells of a process, as it is; namespaces by their inodes."""
    status = seen_of.status(pid)
    v4, v6 = seen_of.addresses(pid)
    root = f"/proc/{pid}/root"
    return {
        "inodes": seen_of.inodes(pid),
        "owners": seen_of.owners(pid),
        "maps": {kind: id_map(pid, kind) for kind in ("uid", "gid")},
        "setgroups": Path(f"/proc/{pid}/setgroups").read_text().strip(),
        "ids": [status[kind].split() for kind in ("Uid", "Gid")],
        "capabilities": {
            name: int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")
        },
        "no_new_privs": status["NoNewPrivs"],
        "same": {name: status[name] for name in SAME},
        "name": status["Name"],
        "owner": os.stat(f"/proc/{pid}/stat").st_uid,
        "depth": len(status["NSpid"].split()),
        "interfaces": seen_of.interfaces(pid),
        "v4": v4,
        "v6": v6,
        "clocks": seen_of.clocks(pid),
        "mounts": seen_of.mounts(pid),
        "tree": look_at_tree(f"{root}{stage.tree}"),
        "sys": sorted(os.listdir(f"{root}/sys/class/net")),
        "proc": seen_of.proc_of(pid, status["NSpid"].split()[-1]),
        "cwd": os.readlink(f"/proc/{pid}/cwd"),
        "stands there": os.path.samefile(
            f"/proc/{pid}/cwd", root + os.readlink(f"/proc/{pid}/cwd")
        ),
        "descriptors": seen_of.descriptors(pid),
        "children": len(seen_of.children_of(pid)),
    }


def id_map(pid: int, kind: str) -> list[tuple[int, int, int]]:
    """The ranges of a process's user namespace, sorted."""
    lines = Path(f"/proc/{pid}/{kind}_map").read_text().splitlines()
    return sorted((int(a), int(b), int(c)) for a, b, c in map(str.split, lines))


def look_at_tree(top: str) -> dict[str, Any]:
    """What is where a directory was, and in it."""
    found: dict[str, Any] = {}
    for directory in DIRECTORIES:
        path = os.path.join(top, directory)
        try:
            status = os.lstat(path)
            found[directory] = (sorted(os.listdir(path)), status.st_mode & 0o7777, status.st_uid)
        except (FileNotFoundError, NotADirectoryError):
            found[directory] = None
    for name in ("file", "other"):
        try:
            found[name] = Path(top, name).read_text()
        except (FileNotFoundError, IsADirectoryError):
            found[name] = None
    return found


# What should be.


@dataclass
class Process:
    """The state of a start: what `predict` changes step by step."""

    world: World
    meaning: Meaning
    cwd: str
    inside: dict[str, str] = field(default_factory=lambda: dict.fromkeys(NAMESPACES, "own"))
    owner: dict[str, str] = field(default_factory=lambda: dict.fromkeys(NAMESPACES, "own"))
    uid: int = 0
    gid: int = 0
    maps: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    setgroups: str = ""
    fresh: set[str] = field(default_factory=set)  # of proc and sysfs
    view: View | None = None

    def __post_init__(self) -> None:
        self.uid, self.gid = self.world.stage.user.uid, self.world.stage.user.gid

    @property
    def me(self) -> str:
        """The user namespace that it is in."""
        return self.inside["user"]

    @property
    def privileged(self) -> bool:
        """Whether it has every right in its user namespace."""
        return self.me != "own" or self.world.as_root

    @property
    def who(self) -> int:
        """Who it is to the files of the tree."""
        return -1 if self.me == "own" and self.world.as_root else self.uid

    def has(self, name: str) -> bool:
        return name in self.meaning

    def joined(self, name: str) -> bool:
        return str(self.meaning.get(name, ""))[:1] == "/"

    def may(self, owner: str) -> bool:
        """Whether it has every right over what a user namespace owns."""
        return self.privileged and self.me in ("own", owner)

    @property
    def proc_of(self) -> str:
        """The PID namespace that its /proc shows."""
        if "proc" in self.fresh:
            return self.inside["pid"]
        return "P" if self.inside["mount"] == "P" else "own"

    @property
    def blind(self) -> bool:
        """Whether its /proc has nothing on itself, as it has nothing until pid's turn comes."""
        return self.proc_of != "own"


def predict(world: World, meaning: Meaning, cwd: str) -> Seen:
    """What a program started with a list should look like.

    Raises:
        Refused: it should not start.
        Unforeseen: this does not know.
    """
    process = Process(world, meaning, cwd)
    try:
        _start(process)
    except Refused as error:  # what covers the working directory is found before all else
        raise Refused(*error.names, *(_covering(process) if error.names else ())) from None
    return _outcome(process)


def _start(process: Process) -> None:
    meaning = process.meaning
    _join(process)
    _user(process)
    for name in NAMESPACES[1:]:
        if process.has(name) and not process.joined(name):
            if not process.privileged or (name == "time" and process.blind):
                raise Refused(name)
            process.inside[name], process.owner[name] = "new", process.me
            if name == "net":
                _addresses(meaning)
            elif name == "mount":
                _mount(process)
            elif name == "time":
                _check_clocks(meaning)
    if process.blind and process.proc_of != process.inside["pid"]:
        raise Refused()
    _operations(process)
    if meaning.get("caps") == "none" and not process.privileged:
        raise Refused("caps")


def _covering(process: Process) -> list[str]:
    """The items that cover the working directory, where the list begins."""
    found = []
    view = _stage_view(process)
    for name, *paths in process.meaning.get("operations", ()):
        if name in ("tmpfs", "hide", "bind"):
            path = paths[name == "bind"]
            real = view.real(posixpath.join(process.cwd, path), process.world.stage.user.uid)
            if f"{process.cwd}/".startswith(f"{real}/"):
                found.append(name)
    return found


def _join(process: Process) -> None:
    """setns(2): what one's rights suffice for, then the user namespace, then the rest."""
    world = process.world
    labels = {
        name: _label(world, name, process.meaning[name])
        for name in NAMESPACES
        if process.joined(name)
    }
    owners = {
        name: world.held[label].user if label in world.held else "own"
        for name, label in labels.items()
    }
    todo = [name for name in ORDER if name in labels]

    def enter(name: str) -> None:
        process.inside[name], process.owner[name] = labels[name], owners[name]
        todo.remove(name)

    if "user" in labels:
        for name in [*todo] if process.privileged else []:
            enter(name)
        process.inside["user"] = labels["user"]
        if process.me != "own":  # there is no id for root there, so it becomes that of the owner
            maps = world.seen[process.me]["maps"]
            process.uid, process.gid = maps["uid"][0][1], maps["gid"][0][1]
    for name in [*todo]:
        if not process.may(owners[name]):
            raise Refused(name)
        enter(name)
    if "mount" in labels:
        try:
            _stage_view(process).stand(process.cwd, process.who)
        except Absent:
            raise Refused("mount") from None
    if process.blind and not process.has("pid"):
        raise Refused("mount")


def _label(world: World, name: str, path: str) -> str:
    """Whose namespace a path is."""
    if path == f"/proc/self/ns/{FILES[name]}":
        return "own"
    for label, held in world.held.items():
        if path == f"/proc/{held.pid}/ns/{FILES[name]}":
            if held.of_root and not world.as_root:
                raise Refused(name)
            return label if name in held.own else "own"
    raise Refused(name)  # nothing there, no namespace, or one of another kind


# The user namespace.


def _user(process: Process) -> None:
    if not process.has("user") or process.joined("user"):
        return
    if process.blind:
        raise Refused("user")
    process.maps, process.setgroups = _id_maps(process)
    process.inside["user"] = "new"


def _id_maps(process: Process) -> tuple[dict[str, list[tuple[int, int, int]]], str]:
    meaning, as_root = process.meaning, process.world.as_root
    word = meaning["user"]
    own = {"uid": process.uid, "gid": process.gid}
    plain = process.world.plain
    if word == "none":
        return {"uid": [], "gid": []}, plain["setgroups"]
    extra = {"uid": meaning.get("map_users", ()), "gid": meaning.get("map_groups", ())}
    items = {
        "uid": "map-users" if extra["uid"] else "user",
        "gid": "map-groups" if extra["gid"] else "user",
    }
    name = "root" if as_root else "tess"
    maps: dict[str, list[tuple[int, int, int]]] = {}
    if word == "all":
        if not as_root:
            raise Refused("user")
        maps = {kind: [(a, a, n) for a, _, n in plain["maps"][kind]] for kind in own}
        denied = meaning.get("setgroups") == "deny"
        return maps, "deny" if denied else plain["setgroups"]
    names = dict(zip(own, word.split(":")))
    for kind, number in own.items():
        if word in ("root", "auto"):
            inner = 0
        elif word == "current" or kind not in names:
            inner = number
        else:
            inner = _number(process, kind, names[kind], "user")
        maps[kind] = [(inner, number, 1)]
        if word == "auto":
            following = 1
            for first, count in GRANTED[kind][name]:
                maps[kind].append((following, first, count))
                following += count
    for kind, ranges in extra.items():
        for inner_name, outer_name, count in ranges:
            item = items[kind]
            pair = [_number(process, kind, each, item) for each in (inner_name, outer_name)]
            maps[kind].append((pair[0], pair[1], count))
    for kind, ranges in maps.items():
        if len(ranges) > 340 or _overlap(ranges, 0) or _overlap(ranges, 1):
            raise Refused(items[kind])
        outside = plain["maps"][kind]
        if any(not _within(first, n, [each[0::2] for each in outside]) for _, first, n in ranges):
            raise Refused(items[kind])
    alone = {kind: maps[kind][0][1:] == (own[kind], 1) and len(maps[kind]) == 1 for kind in own}
    wish = meaning.get("setgroups")
    denied = wish == "deny" or (alone["gid"] and wish is None)
    if alone["gid"] and not denied and not as_root:
        raise Refused("setgroups")
    if not as_root:
        for kind, ranges in maps.items():
            granted = GRANTED[kind][name]
            if not alone[kind] and not all(
                (first, n) == (own[kind], 1) or _within(first, n, granted) for _, first, n in ranges
            ):
                raise Refused(items[kind])
    return {kind: sorted(maps[kind]) for kind in maps}, "deny" if denied else plain["setgroups"]


def _number(process: Process, kind: str, text: str, item: str) -> int:
    if text.isdigit():
        return int(text)
    user = process.world.stage.python.user
    known = {"root": 0, "tess": user.uid} if kind == "uid" else {"root": 0, "daemon": 1}
    if text not in known:
        raise Refused(item)
    return known[text]


def _overlap(ranges: list[tuple[int, int, int]], side: int) -> bool:
    spans = sorted((each[side], each[side] + each[2]) for each in ranges)
    return any(end > start for (_, end), (start, _) in zip(spans, spans[1:]))


def _within(first: int, count: int, spans: Any) -> bool:
    return any(start <= first and first + count <= start + size for start, size in spans)


# Network and clocks.


def _addresses(meaning: Meaning) -> tuple[set[Any], set[Any]]:
    """What is local on the loopback interface."""
    if meaning["net"] == "down":
        return set(), set()
    v4: set[Any] = set()
    v6 = {ipaddress.ip_interface("::1/128")}
    for address, prefix in [(ipaddress.IPv4Address("127.0.0.1"), 8), *meaning.get("addr", ())]:
        interface = ipaddress.ip_interface(f"{address}/{prefix}")
        if address.version == 6:
            if any(each.ip == address for each in v6) and interface not in v6:
                raise Refused("addr")
            v6.add(interface)
            continue
        v4.add(ipaddress.ip_network(address))
        if interface.network.network_address.packed[0]:  # the kernel has no route for 0.0.0.0/8
            v4.add(interface.network)
    return v4, v6


def _check_clocks(meaning: Meaning) -> None:
    for name, number in (("monotonic", time.CLOCK_MONOTONIC), ("boottime", time.CLOCK_BOOTTIME)):
        then = time.clock_gettime_ns(number) // 10**9 + meaning.get(name, 0) // 10**9
        if name in meaning and not 0 <= then <= KTIME_MAX_HALF:
            raise Refused("time")


# Mounts.


def _mount(process: Process) -> None:
    process.view = _stage_view(process)
    how = process.meaning["mount"]
    process.view.propagate(how, into_user_namespace=process.me != "own")


def _stage_view(process: Process) -> View:
    """The mount namespace that it is in: that of the stage, or of a process that is held."""
    world = process.world
    seen = world.seen.get(process.inside["mount"], world.plain)
    return View(str(world.stage.tree), world.stage.user.uid, seen["mounts"])


def _operations(process: Process) -> None:
    view, meaning = process.view, process.meaning
    covers = hidden = ""
    for operation in meaning.get("operations", ()):
        assert view
        try:
            covered = OPERATIONS[operation[0]](process, view, *operation[1:])
        except Absent:
            raise Refused(operation[0]) from None
        if covered and f"{process.cwd}/".startswith(f"{covered}/"):
            covers = operation[0]
            if covers == "hide" and covered == process.cwd:
                hidden = covers
            elif covers == "bind":
                hidden = ""
    if hidden:  # nobody can be there, not even who may go there
        raise Refused(hidden)
    if covers:
        assert view
        try:
            view.stand(process.cwd, process.who)
        except Absent:
            raise Refused(covers) from None


def _fresh(process: Process, view: View, name: str, kind: str, point: str) -> str:
    shown = {"proc": "pid", "sysfs": "net"}[kind]
    # Whoever mounts it needs every right over the namespace that it shows.
    if not process.may(process.owner[shown]):
        raise Refused(name)
    if process.meaning["mount"] in ("shared", "unchanged"):
        on_it = [each for each in view.mounts if each.point == point]
        on_it[-1].group, on_it[-1].slave = None, False
    if kind == "proc" or process.inside["net"] != "own":  # sysfs is one for each network
        view.mount_on(point, kind)
        process.fresh.add(kind)
    return ""


def _target(process: Process, view: View, path: str) -> tuple[str, Place]:
    """What is to be covered."""
    place = _place(process, view, path)
    real = view.real(posixpath.join(process.cwd, path), process.who)
    public = process.meaning["mount"] in ("shared", "unchanged")
    if public and (not process.has("user") or process.joined("user")):
        raise Absent
    return real, place


def _place(process: Process, view: View, path: str) -> Place:
    real = view.real(posixpath.join(process.cwd, path), process.who)
    if not f"{real}/".startswith(f"{view.top}/"):
        raise Absent
    return view.find(real, process.who)


def _directory(process: Process, view: View, path: str) -> tuple[str, Place]:
    real, place = _target(process, view, path)
    if not place[1].is_directory():
        raise Absent
    return real, place


def _tmpfs(process: Process, view: View, path: str, _: str = "") -> str:
    real, place = _directory(process, view, path)
    root = Node("", None, place[1].mode, process.uid)
    root.directory, root.open = True, place[1].open
    root.takes = process.meaning.get("user") != "none"  # an id that is not mapped owns no file
    kept = _kept(process, view, real, "rw")
    if kept and not root.takes:
        raise Absent
    _cover(process, view, real, Mount(root, "tmpfs"), kept)
    return real


def _kept(process: Process, view: View, top: str, *names: str, covers: bool = False) -> list[str]:
    """What is to stay below a path: in the real tree, what `names` of the list lead to."""
    found = set()
    for name, *paths in process.meaning["operations"]:
        if name in names:
            try:
                real = view.real(posixpath.join(process.cwd, paths[0]), process.who)
                _place(process, view, real)
            except Absent:
                continue
            if real == top and covers:
                raise Refused(name)
            if real != top and f"{real}/".startswith(f"{top.rstrip('/')}/"):
                found.add(real)
    return [each for each in found if not any(each.startswith(f"{other}/") for other in found)]


def _cover(
    process: Process, view: View, top: str, mount: Mount, kept: list[str], mode: int | None = None
) -> None:
    """Mount something on a directory, with what stays there; `mode` is that of those between."""
    sources = {each: view.copy(view.find(each, process.who)) for each in kept}
    between: dict[str, Node] = {}
    for each in kept:
        while (each := posixpath.dirname(each)) != top:
            covered = view.find(each, process.who)[1]
            node = Node("", None, covered.mode if mode is None else mode, process.uid)
            node.directory = True
            node.open = covered.open if mode is None else mount.root.open
            between[each] = node
    view.attach([mount], view.find(top, process.who))
    nodes = {top: mount.root}
    for each in sorted({*between, *kept}):
        parent, name = posixpath.split(each)
        node = nodes[each] = between.get(each) or Node("", None, 0o755, process.uid)
        node.name, node.parent = name, nodes[parent]
        nodes[parent].children[name] = node
    for each, tree in sources.items():
        view.attach(tree, view.top_of((mount, nodes[each])))


def _hide(process: Process, view: View, path: str) -> str:
    real, place = _target(process, view, path)
    kept = _kept(process, view, real, "rw", "ro", covers=True)
    directory = place[1].is_directory()
    if process.meaning.get("user") == "none" and (kept or not directory):
        raise Absent
    root = Node("", None, 0o111 if kept else 0, process.uid)
    root.directory = directory
    # The program has every right to what an id of its own owns, unless it gives that up.
    root.open = process.meaning.get("user") != "none" and process.meaning.get("caps") != "none"
    hiding = Mount(root, "tmpfs")
    hiding.read_only = True
    _cover(process, view, real, hiding, kept, 0o111)
    return real


def _rw(process: Process, view: View, path: str) -> str:
    place = _place(process, view, path)
    if not place[1].is_directory() or place[0].read_only:
        raise Absent
    return ""


def _bind(process: Process, view: View, source: str, path: str) -> str:
    origin = _place(process, view, source)
    real, place = _target(process, view, path)
    if origin[1].is_directory() != place[1].is_directory():
        raise Absent
    view.attach(view.copy(origin), place)
    return real


def _ro(process: Process, view: View, path: str) -> str:
    real = view.real(posixpath.join(process.cwd, path), process.who)
    if real != "/":
        _place(process, view, path)
    kept = _kept(process, view, real, "rw", covers=True)
    for each in kept:
        _target(process, view, each)
    every = view.mounts
    if real != "/":
        real, place = _target(process, view, path)
        tree = view.copy(place)
        view.attach(tree, place)
        every = view.below(tree[0])
    copies = {each: view.copy(view.find(each, process.who)) for each in kept}
    for mount in every:
        mount.read_only = True
        if process.meaning["mount"] == "slave":  # what is mounted outside would be writable
            mount.slave = False
    for each, copied in copies.items():
        view.attach(copied, view.find(each, process.who))
    return "" if real == "/" else real


def _overlay(process: Process, view: View, path: str) -> str:
    real, place = _directory(process, view, path)
    mount, lower = place
    on_it = [each for each in view.below(mount) if each.at and each.at[0] is mount]
    if any(each.at and each.at[1].below(lower) for each in on_it):
        raise Unforeseen
    if process.meaning.get("user") == "none" or lower.depth + 1 > DEEPEST:
        raise Absent
    view.attach([Mount(Merged(lower, None), "overlay")], place)
    return real


OPERATIONS: dict[str, Any] = {
    "proc": lambda process, view: _fresh(process, view, "proc", "proc", "/proc"),
    "sys": lambda process, view: _fresh(process, view, "sys", "sysfs", "/sys"),
    "tmpfs": _tmpfs,
    "bind": _bind,
    "ro": _ro,
    "rw": _rw,
    "hide": _hide,
    "overlay": _overlay,
}


# All of it together.


def _outcome(process: Process) -> Seen:
    world, meaning, plain = process.world, process.meaning, process.world.plain
    expected = dict(plain)

    def held(name: str) -> Seen:
        """What a process looks like that is in the same namespace."""
        return world.seen.get(process.inside[name], plain)

    expected["inodes"] = {FILES[name]: process.inside[name] for name in NAMESPACES}
    expected["owners"] = {FILES[name]: process.owner[name] for name in NAMESPACES}
    if process.me == "new":
        expected.update(maps=process.maps, setgroups=process.setgroups)
    elif process.me != "own":
        expected.update({name: held("user")[name] for name in ("maps", "setgroups")})
    expected["ids"] = [4 * [str(process.uid)], 4 * [str(process.gid)]]
    expected["owner"] = process.uid
    if process.me != "own":
        expected["capabilities"] = {"Inh": 0, "Prm": WHOLE, "Eff": WHOLE, "Bnd": WHOLE, "Amb": 0}
    if meaning.get("caps") == "keep":
        permitted = expected["capabilities"]["Prm"]
        expected["capabilities"] = {**expected["capabilities"], "Inh": permitted, "Amb": permitted}
    elif meaning.get("caps") == "none":
        expected["capabilities"] = dict.fromkeys(expected["capabilities"], 0)
        expected["no_new_privs"] = "1"
    if "sockets" in meaning:
        expected["no_new_privs"] = "1"
    if process.inside["pid"] != "own":
        expected["depth"] = 2
    if process.inside["net"] == "new":
        expected["interfaces"] = ["lo"]
        expected["v4"], expected["v6"] = _addresses(meaning)
    else:
        expected.update({name: held("net")[name] for name in ("interfaces", "v4", "v6")})
    if process.inside["time"] == "new":
        expected["clocks"] = {name: meaning.get(name, 0) for name in ("monotonic", "boottime")}
    else:
        expected["clocks"] = held("time")["clocks"]
    view = process.view or _stage_view(process)
    for number, directory in enumerate(DIRECTORIES):
        path = posixpath.join(view.top, directory).rstrip("/")
        view.write(view.real(path, process.who), f"new-{number}", process.who)
    expected["mounts"] = view.lines()
    expected["tree"] = {name: _seen_in(view, name) for name in [*DIRECTORIES, "file", "other"]}
    if "sysfs" in process.fresh:
        expected["sys"] = expected["interfaces"]
    expected["proc"] = "own" if process.proc_of == "own" else "inside"
    expected["cwd"] = process.cwd
    expected["real"] = view.outside()
    expected["active"] = [name for name in NAMESPACES if process.has(name)]
    return expected


def _seen_in(view: View, name: str) -> Any:
    try:
        _, node = view.find(posixpath.join(view.top, name).rstrip("/"), -1)
    except Absent:
        return None
    if name in DIRECTORIES:
        return (sorted(node.names()), node.mode, node.owner) if node.is_directory() else None
    return node.content if not node.is_directory() else None
