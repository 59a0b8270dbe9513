"""Readers of the files that describe a process: proc(5), subuid(5). Each format is read here alone.

All of them raise OSError where a file cannot be read, unless they say otherwise.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Directory = Union[str, int]
    Range = tuple[int, int, int]  # inner, outer, count

SUBORDINATE_FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
LARGEST_PART = 1 << 16  # bytes of a file that are read at once
ESCAPES = ("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")  # the backslash last


class Mount:
    """One mount, a line of proc_pid_mountinfo(5).

    Attributes:
        number: its mount ID; ``parent`` is that of the mount it is on.
        point: where it is, as this process sees it.
        options: its own, such as ``ro`` and ``nosuid``.
        kind: the file system's type, such as ``proc``.
        shared_options: those of the file system, the same in all of its mounts, ``hidepid=2``.
    """

    __slots__ = ("kind", "number", "options", "parent", "point", "shared_options")

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        self.number = int(fields[0])
        self.parent = int(fields[1])
        self.point = _unescaped(fields[4])
        self.options = tuple(fields[5].split(","))
        self.kind, _, rest = after.partition(" ")
        self.shared_options = tuple(rest.rpartition(" ")[2].split(","))


def mounts_of(path: str = "/proc/self/mountinfo") -> "list[Mount]":
    """Return the mounts that a process sees, in the order of the file: proc_pid_mountinfo(5)."""
    return [Mount(line) for line in _read(path).split("\n") if line]


def mounts_below(top: str, on: "int | None" = None) -> "list[Mount]":
    """Return the mounts at and below a directory.

    Args:
        top: the directory, without symbolic links.
        on: a mount ID: leave out what is not mounted on that one itself, such as what was below the
            directory until something covered it.
    """
    prefix = top.rstrip("/") + "/"
    below = [each for each in mounts_of() if (each.point + "/").startswith(prefix)]
    return [each for each in below if on in (None, each.parent)]


def is_below(path: str, top: str) -> bool:
    """Tell whether one path without symbolic links lies below another."""
    return path != top and path.startswith(f"{top.rstrip('/')}/")


def status_field(name: str, path: str = "/proc/self/status") -> str:
    """Return a field of proc_pid_status(5), or of another file with such lines.

    Args:
        name: before the colon, such as ``CapEff``.
        path: the file; ``/proc/self/fdinfo/N`` has ``mnt_id``, proc_pid_fdinfo(5).

    Returns:
        The value without blanks around it; empty where the kernel has no such field.
    """
    return status_fields(path, name)[0]


def status_fields(path: str, *names: str, directory: "int | None" = None) -> "list[str]":
    """Return fields of proc_pid_status(5), as status_field() does, of one reading.

    Args:
        path: the file.
        names: of the fields.
        directory: a descriptor of the one that the path starts at.
    """
    text = "\n" + _read(path, directory)
    found = []
    for name in names:
        _, _, rest = text.partition(f"\n{name}:")
        found.append(rest.partition("\n")[0].strip())
    return found


def command_of(process: int) -> str:
    """Return the name of a process, proc_pid_comm(5).

    Args:
        process: a descriptor of its directory.
    """
    name = _read("comm", process).encode("utf-8", "surrogateescape")
    return name.removesuffix(b"\n").decode("utf-8", "replace")


def mount_number(descriptor: int) -> int:
    """Return the ID of the mount that an open file or directory is on: proc_pid_fdinfo(5)."""
    return int(status_field("mnt_id", f"/proc/self/fdinfo/{descriptor}"))


def read_id_map(kind: str, process: "Directory" = "/proc/self") -> "list[Range]":
    """Return the ranges of an id map, each inner, outer and count: user_namespaces(7).

    Args:
        kind: uid or gid.
        process: the directory of the process, as a path or an open descriptor.
    """
    if isinstance(process, int):
        text = _read(f"{kind}_map", process)
    else:
        text = _read(f"{process}/{kind}_map")
    lines = [line.split() for line in text.split("\n") if line]
    return [(int(inner), int(outer), int(count)) for inner, outer, count in lines]


def read_subordinates(kind: str) -> "list[tuple[str, int, int]]":
    """Return what subuid(5) or subgid(5) says: whose, the first id, how many; [] without a file.

    Args:
        kind: uid or gid.
    """
    found = []
    try:
        text = _read(SUBORDINATE_FILES[kind])
    except FileNotFoundError:
        return []
    for line in text.split("\n"):
        owner, *numbers = line.strip().split(":")
        if len(numbers) == 2 and numbers[0].isdecimal() and numbers[1].isdecimal():
            found.append((owner, int(numbers[0]), int(numbers[1])))
    return [each for each in found if each[2]]


def names_of_user() -> "list[str]":
    """Return what subuid(5) may call this user: the name, if there is one, and the number."""
    uid = os.getuid()  # newuidmap(1) goes by the real one
    try:
        from pwd import getpwuid

        return [getpwuid(uid).pw_name, str(uid)]
    except KeyError:
        return [str(uid)]


def granted_ids(kind: str) -> "list[tuple[int, int]]":
    """Return the ranges set aside for this user, first and count; ``kind`` is uid or gid.

    Both files are by user, as a name or a number.
    """
    names = names_of_user()
    return [(first, count) for owner, first, count in read_subordinates(kind) if owner in names]


def _read(path: str, directory: "int | None" = None) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:  # a file object would take five system calls more
        parts = [os.read(descriptor, LARGEST_PART)]
        while parts[-1]:
            parts.append(os.read(descriptor, LARGEST_PART))
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def _unescaped(path: str) -> str:
    for code, plain in ESCAPES:
        path = path.replace(code, plain)
    return path


WHOLE = True
