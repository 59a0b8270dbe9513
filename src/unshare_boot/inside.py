"""What a program can ask and do once it is inside."""

import os

from .child import make_dumpable, restore_dumpable
from .errors import UnshareError, failed
from .namespaces import MS_BIND, MS_REC, NAMESPACES, inode, mount, write_file
from .procfiles import read_id_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# The first namespaces of the machine have fixed inodes (include/linux/proc_ns.h and, since Linux
# 6.18, include/uapi/linux/nsfs.h): whoever is in these is isolated from nothing.
FIRST_INODES = range(0xEFFFFFF8, 0xF0000000)

RECORD = ("198.18.0.1", 1)  # where a gate tells what it has recorded: gate.network

# What `remember_ids` was told, while no map can tell.
_ids: "tuple[int, int] | None" = None


def active() -> "tuple[str, ...]":
    """Return the names of the namespaces that an unshare-boot start put this process into.

    PY_UNSHARE_ACTIVE says which; each entry is checked against /proc/self/ns, so that one that is
    stale or forged does not count; ``sockets`` counts if the kernel does refuse one.

    Returns:
        Names such as ``("user", "net")``, in the fixed order, ``sockets`` at their end; empty where
        nothing holds.
    """
    return tuple(holding())


def holding() -> "dict[str, int | str]":
    """Return the names that `active` does, each with its namespace's inode number, or its word."""
    claimed = dict(
        entry.partition("=")[::2] for entry in os.environ.get("PY_UNSHARE_ACTIVE", "").split(",")
    )
    found: dict[str, int | str] = {}
    for name in NAMESPACES:
        if name in claimed:
            try:
                number = inode(name)
            except OSError:  # no /proc, or a kernel without this namespace: nothing can hold
                continue
            if claimed[name] == str(number) and number not in FIRST_INODES:
                found[name] = number
    if claimed.get("sockets") == "unix" and _sockets_are_refused():
        found["sockets"] = "unix"
    return found


def _sockets_are_refused() -> bool:
    from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket
    from errno import ENETUNREACH

    try:
        socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC).close()
    except OSError as error:
        return error.errno == ENETUNREACH
    return False


def attempts() -> "list[dict[str, str | int | list[int] | None]]":
    """Return what the gate of this network namespace has recorded so far: ``net=gate``.

    Returns:
        A dict for each attempt to reach out, the oldest first, as in a line of ``record=FILE``:
        time, protocol, name, address, port, verdict, reason, pid, inner_pid, command, parents. The
        latest ten thousand are kept.

    Raises:
        UnshareError: there is no gate here (ENOTCONN), or it does not answer.
    """
    from _socket import AF_INET, SOCK_CLOEXEC, SOCK_STREAM, socket
    from errno import ENETUNREACH, ENOTCONN
    from json import loads

    from .child import read_all
    from .namespaces import refused

    if "net" not in active():
        raise UnshareError(ENOTCONN, "this process is in no network namespace with a gate")
    channel = None
    try:
        channel = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC)
        channel.connect(RECORD)
        text = read_all(channel.fileno())
    except OSError as error:
        if error.errno == ENETUNREACH:  # with net alone, behind sockets=unix, or it has ended
            raise UnshareError(ENOTCONN, "no gate can be reached from this process") from error
        raise refused(error, "connect", "gate") from error
    finally:
        if channel:
            channel.close()
    return [loads(line) for line in text.splitlines()]


def remember_ids(uid: int, gid: int) -> None:
    """Keep the ids from before ``user=none``, for `original_uid` until there is a map."""
    global _ids
    _ids = uid, gid


def original_uid() -> int:
    """Return the user id that this process has outside its user namespace.

    Outside is the user namespace around it: where two are nested, that is the outer one's view.
    With ``user=none`` the process itself can ask before there is a map; its children cannot.

    Returns:
        The id; the same as ``os.getuid()`` where there is no user namespace around.

    Raises:
        UnshareError: the id is not mapped (ENOENT), or there is no /proc to read the map from.
    """
    return _outside("uid", os.getuid())


def original_gid() -> int:
    """Return the group id that this process has outside its user namespace.

    See `original_uid` for what it returns and raises.
    """
    return _outside("gid", os.getgid())


def write_user_map(ids: "Mapping[int, int]") -> None:
    """Map user ids in a namespace entered with ``user=none``; a map can be written only once.

    Args:
        ids: the ids outside, each with the one it becomes inside. Without privileges outside,
            one's own id is all that can be mapped.

    Raises:
        UnshareError: the map is refused: user_namespaces(7), "Defining user and group ID mappings".
    """
    _write_map("uid", ids)


def write_group_map(ids: "Mapping[int, int]") -> None:
    """Map group ids in a namespace entered with ``user=none``; a map can be written only once.

    setgroups(2) is denied first, without which an unprivileged process may not write this map.

    Args:
        ids: the ids outside, each with the one it becomes inside.

    Raises:
        UnshareError: the map is refused: user_namespaces(7), "Defining user and group ID mappings".
    """
    _write("/proc/self/setgroups", "deny", "write_group_map")
    _write_map("gid", ids)


def bind_mount(
    source: "str | os.PathLike[str]", target: "str | os.PathLike[str]", read_only: bool = False
) -> None:
    """Bind-mount ``source``, with the mounts below it, on ``target``, as ``mount --rbind`` does.

    Inside a mount namespace of one's own nobody else sees it.

    Args:
        source: a file or directory.
        target: an existing file or directory to cover.
        read_only: make the bound tree, with what is mounted below it, read-only (Linux 5.12).

    Raises:
        UnshareError: the kernel refuses: mount(2), mount_setattr(2).
    """
    try:
        mount(os.fspath(source), os.fspath(target), None, MS_BIND | MS_REC)
        if read_only:
            from .items.read_only import make_read_only

            make_read_only(os.fspath(target))
    except OSError as error:
        raise failed("bind_mount", error) from error


def _outside(kind: str, inner: int) -> int:
    try:
        ranges = read_id_map(kind)
    except OSError as error:
        raise failed("", error) from error
    if not ranges and _ids:
        return _ids[kind == "gid"]
    for first_inner, first_outer, count in ranges:
        if first_inner <= inner < first_inner + count:
            return first_outer + inner - first_inner
    from errno import ENOENT

    path = f"/proc/self/{kind}_map"
    raise UnshareError(ENOENT, f"the id {inner} is not mapped: {path} has no range for it")


def _write_map(kind: str, ids: "Mapping[int, int]") -> None:
    lines = [f"{inner} {outer} 1\n" for outer, inner in sorted(ids.items())]
    _write(f"/proc/self/{kind}_map", "".join(lines), "")


def _write(path: str, text: str, item: str) -> None:
    before = make_dumpable()
    try:
        write_file(path, text)
    except OSError as error:
        raise failed(item, error) from error
    finally:
        restore_dumpable(before)


WHOLE = True
