"""What mounts do to a tree of directories: mount(2) and mount_namespaces(7), in small.

Only for as much as a list can ask for, and only below one directory: a mount has a root, a place
and peers; to look a path up is to step, at each directory, into what is mounted on it.
"""

from __future__ import annotations

import contextlib
import posixpath
from typing import Optional

from proof.stage import LINK, MODES, TREE, MountLine


class Absent(Exception):
    """There is no such file, or it may not be looked at."""


class Node:
    """A file or directory of a file system; `made` are the names that the program has added."""

    def __init__(
        self, name: str, parent: Node | None, mode: int = 0, owner: int = -1, content: str = ""
    ) -> None:
        self.name = name
        self.parent = parent
        self.mode = mode  # of a directory; 0 for anything else
        self.directory = mode != 0
        # Whether its owner may do everything in it by a capability; None where the mode lets it.
        self.open: bool | None = None
        self.owner = owner
        self.content = content
        self.target = ""  # of a symbolic link
        self.children: dict[str, Node] = {}
        self.made: set[str] = set()
        self.takes = True  # a file can be made here by who has the right
        self.depth = 0  # of file systems over one another

    def is_directory(self) -> bool:
        return self.directory

    def names(self) -> set[str]:
        """What is in a directory."""
        return {*self.children, *self.made}

    def child(self, name: str) -> Node | None:
        return self.children.get(name)

    def allows(self, who: int, bits: int) -> bool:
        """Whether it is a directory that a user may look into (1), write to (2), or both."""
        mode = 0o777 if self.open else self.mode
        if who == -1 and self.open is False:
            who = self.owner
        mode >>= 6 if who == self.owner else 0
        return self.is_directory() and (who == -1 or mode & bits == bits)

    def below(self, other: Node) -> bool:
        """Whether it is that one or inside it, in one file system."""
        node: Node | None = self
        while node is not None and node is not other:
            node = node.parent
        return node is other


class Merged(Node):
    """A directory or file of an overlay: what is below shows through."""

    def __init__(self, lower: Node, parent: Node | None) -> None:
        super().__init__(lower.name, parent, lower.mode, lower.owner, lower.content)
        self.lower = lower
        self.target = lower.target
        self.directory, self.open = lower.directory, lower.open
        self.depth = lower.depth + 1

    def names(self) -> set[str]:
        return {*self.lower.names(), *self.made}

    def child(self, name: str) -> Node | None:
        if name not in self.children:
            lower = self.lower.child(name)
            if lower is None:
                return None
            self.children[name] = Merged(lower, self)
        return self.children[name]


Group = Optional[object]  # of peers; None for a mount that is not shared
Place = tuple["Mount", Node]


class Mount:
    """A mount: `root` is mounted on `at`, which is (a directory of) another mount."""

    def __init__(self, root: Node, kind: str, at: Place | None = None, point: str = "") -> None:
        self.root = root
        self.kind = kind
        self.at = at
        self.point = point  # where there is no place
        self.read_only = False
        self.group: Group = None
        self.slave = False

    def path(self) -> str:
        """Where it is mounted, as mountinfo tells it."""
        if self.at is None:
            return self.point
        mount, node = self.at
        names: list[str] = []
        while node is not mount.root:
            names.insert(0, node.name)
            assert node.parent
            node = node.parent
        return posixpath.join(mount.path(), *names)


class View:
    """A mount namespace: the tree of a stage, what is mounted in it, and the other mounts."""

    def __init__(self, top: str, owner: int, lines: list[MountLine]) -> None:
        """Begin with what the stage has.

        Args:
            top: the path of the tree.
            owner: whose it is.
            lines: the mounts of the stage.
        """
        self.top = top
        self.nodes = self._nodes(owner)
        roots = {name: self.nodes[name] for name in ("", "c")}
        self.mounts: list[Mount] = []
        for line in lines:
            inside = line.point == top or line.point.startswith(f"{top}/")
            root = roots[line.point[len(top) + 1 :]] if inside else Node("", None, 0o755, 0)
            mount = Mount(root, line.kind, point=line.point)
            mount.read_only, mount.slave = line.read_only, line.slave
            mount.group = object() if line.shared else None
            self.mounts.append(mount)
        (self.main,) = (mount for mount in self.mounts if mount.root is roots[""])
        (other,) = (mount for mount in self.mounts if mount.root is roots["c"])
        place = self.main.root.child("c")
        assert place
        other.at = (self.main, place)

    @staticmethod
    def _nodes(owner: int) -> dict[str, Node]:
        """The directories of two file systems: the tree, and what is mounted on its directory c."""
        nodes: dict[str, Node] = {}
        for directory, names in TREE.items():
            name = posixpath.basename(directory)
            parent = nodes.get(posixpath.dirname(directory)) if directory not in ("", "c") else None
            node = nodes[directory] = Node(name, parent, MODES[directory], owner)
            if parent:
                parent.children[name] = node
            for each in names:
                if not each.endswith("/"):
                    file = node.children[each] = Node(each, node, owner=owner, content=each)
                    file.target = LINK if each == "link" else ""
        nodes[""].children["c"] = Node("c", nodes[""], 0o755, 0)
        return nodes

    def lines(self) -> list[MountLine]:
        """As `proof.stage.mounts` would tell them."""
        found = [
            MountLine(each.path(), each.kind, each.read_only, each.group is not None, each.slave)
            for each in self.mounts
        ]
        return sorted(found, key=str)

    def outside(self) -> dict[str, list[str]]:
        """What is in the directories of the stage, whatever is shown in their place here."""
        return {directory: sorted(node.names()) for directory, node in self.nodes.items()}

    def propagate(self, how: str, *, into_user_namespace: bool) -> None:
        """What a new mount namespace and its first mount(2) make of shared and private."""
        for mount in self.mounts:
            if mount.group and (into_user_namespace or how == "slave"):
                mount.group, mount.slave = None, True
            if how == "private":
                mount.group, mount.slave = None, False
            elif how == "shared":
                mount.group = mount.group or object()

    def mount_on(self, point: str, kind: str) -> None:
        """Mount something outside of the tree; what is there is private by then."""
        self.mounts.append(Mount(Node("", None, 0o755, 0), kind, point=point))

    # Looking up.

    def top_of(self, place: Place) -> Place:
        """What is mounted last on a place."""
        on_it = [mount for mount in self.mounts if mount.at == place]
        return self.top_of((on_it[-1], on_it[-1].root)) if on_it else place

    def find(self, path: str, who: int) -> Place:
        """What an absolute path without symbolic links leads to.

        Args:
            path: at or below the top of the tree.
            who: the user who looks; -1 for one who may everything.

        Raises:
            Absent: nothing is there for this user.
        """
        place = self.top_of((self.main, self.main.root))
        for name in path[len(self.top) :].split("/"):
            if name:
                mount, node = place
                child = node.child(name) if node.is_directory() else None
                if child is None or not node.allows(who, 1):
                    raise Absent(path)
                place = self.top_of((mount, child))
        return place

    def stand(self, path: str, who: int) -> None:
        """Go to a directory, as chdir(2) does.

        Raises:
            Absent: this user cannot.
        """
        if not self.find(path, who)[1].allows(who, 1):
            raise Absent(path)

    def real(self, path: str, who: int) -> str:
        """The path without symbolic links, as realpath(3) has it; what is missing stays."""
        found = ""
        for name in path.split("/"):
            if name == "..":
                found = posixpath.dirname(found)
            elif name not in ("", "."):
                found = f"{found}/{name}"
                if found.startswith(f"{self.top}/"):
                    with contextlib.suppress(Absent):
                        target = self.find(found, who)[1].target
                        found = f"{posixpath.dirname(found)}/{target}" if target else found
        return found or "/"

    # The operations.

    def copy(self, place: Place) -> list[Mount]:
        """Copies of a mount, from one of its directories on, and of all that is mounted below."""
        mount, root = place
        new = Mount(root, mount.kind)
        new.read_only, new.group, new.slave = mount.read_only, mount.group, mount.slave
        found = [new]
        for each in self.mounts:
            if each.at and each.at[0] is mount and each.at[1].below(root):
                copies = self.copy((each, each.root))
                copies[0].at = (new, each.at[1])
                found += copies
        return found

    def attach(self, tree: list[Mount], place: Place) -> None:
        """Put a mount and what is mounted below it on a place, and copies on those of its peers."""
        group = place[0].group
        peers = [
            each
            for each in self.mounts
            if group and each.group is group and each is not place[0] and place[1].below(each.root)
        ]
        tree[0].at = place
        self.mounts += tree
        if group:
            for each in tree:
                each.group = each.group or object()
        for peer in peers:
            covered = [each for each in self.mounts if each.at == (peer, place[1])]
            copies = self.copy((tree[0], tree[0].root))
            copies[0].at = (peer, place[1])
            self.mounts += copies
            for each in covered:  # the new one goes below what is there already
                each.at = (copies[0], copies[0].root)

    def below(self, mount: Mount) -> list[Mount]:
        """A mount and all that is mounted on it, and on that."""
        on_it = [each for each in self.mounts if each.at and each.at[0] is mount]
        return [mount, *(found for each in on_it for found in self.below(each))]

    def write(self, directory: str, name: str, who: int) -> None:
        """Make a file, if that can be."""
        with contextlib.suppress(Absent):
            mount, node = self.find(directory, who)
            if node.allows(who, 3) and node.takes and not mount.read_only:
                node.made.add(name)
