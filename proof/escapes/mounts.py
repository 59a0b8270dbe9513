"""What mounts of a list have covered or made read-only, DIR and /proc; and the supervisor."""

from __future__ import annotations

import errno
import os
import struct
from functools import partial

from proof.escapes.attempt import USER, Control, Refused, Scene, attempt, each
from proof.escapes.kernel import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    CLONE_NEWNS,
    MS_BIND,
    MS_RDONLY,
    MS_REMOUNT,
    call,
    mount,
    nested,
    read,
    umount,
)


def _write_below(scene: Scene) -> None:
    with open(os.path.join(scene["dir"], "file"), "w") as file:
        file.write(scene["token"])


@attempt("write below DIR", USER, noticed="below")
def write_below(scene: Scene) -> None:
    _write_below(scene)


@attempt("write below DIR by an inherited descriptor", USER, noticed="below", inherits=("dir_fd",))
def write_by_descriptor(scene: Scene) -> None:
    descriptor = os.open("file", os.O_WRONLY | os.O_TRUNC, dir_fd=scene["dir_fd"])
    with open(descriptor, "w") as file:
        file.write(scene["token"])


@attempt("make DIR writable again by mount(2), and write", Control("user,ro=DIR"), noticed="below")
def remount(scene: Scene) -> None:
    mount(None, scene["dir"], None, MS_REMOUNT | MS_BIND)
    _write_below(scene)


def _writable(descriptor: int, path: str) -> None:
    attributes = struct.pack("=4Q", 0, MS_RDONLY, 0, 0)  # struct mount_attr: attr_clr
    flags = 0x8000 | (AT_EMPTY_PATH if not path else 0)  # AT_RECURSIVE
    call("mount_setattr", descriptor, path.encode(), flags, attributes, len(attributes))


@attempt(
    "make DIR writable again by mount_setattr(2), and write",
    Control("user,ro=DIR"),
    noticed="below",
)
def setattr_writable(scene: Scene) -> None:
    _writable(AT_FDCWD, scene["dir"])
    _write_below(scene)


@attempt(
    "rename the directory around DIR, and write to another one in its place", USER, noticed="below"
)
def replace_around(scene: Scene) -> None:
    around = os.path.dirname(scene["dir"])
    os.rename(around, scene["moved"])
    os.makedirs(scene["dir"])
    _write_below(scene)


@attempt("take away what is mounted on DIR, and write", Control("user,ro=DIR"), noticed="below")
def uncover(scene: Scene) -> None:
    umount(scene["dir"])
    _write_below(scene)


@attempt(
    "make a writable copy of DIR's mount, open_tree(2), and write",
    Control("user,ro=DIR"),
    noticed="below",
)
def copy(scene: Scene) -> None:
    clone, recursive = 1, 0x8000
    tree = call("open_tree", AT_FDCWD, scene["dir"].encode(), clone | recursive)
    _writable(tree, "")
    with open(os.open("file", os.O_WRONLY | os.O_TRUNC, dir_fd=tree), "w") as file:
        file.write(scene["token"])


@attempt(
    "mount the directory around DIR elsewhere, and write to what is below",
    Control("user,ro=DIR"),
    noticed="below",
)
def around(scene: Scene) -> None:
    """A bind mount that is not recursive leaves out what is mounted below."""
    point = scene["mount_point"]
    mount(os.path.dirname(scene["dir"]), point, None, MS_BIND)
    with open(os.path.join(point, os.path.basename(scene["dir"]), "file"), "w") as file:
        file.write(scene["token"])


@attempt("any of these in user and mount namespaces of its own", noticed="below")
def nested_all(scene: Scene) -> object:
    """All of them: one that succeeds may have reached nothing."""

    def tries() -> None:
        errors = []
        for way in (remount, setattr_writable, uncover, copy, around):
            try:
                way(scene)
            except OSError as error:
                errors.append(errno.errorcode[error.errno or 0])
        if len(errors) == 5:
            raise Refused(*errors)

    return nested(tries, CLONE_NEWNS)


def _read_below(scene: Scene) -> str:
    return read(os.path.join(scene["dir"], "file"))


@attempt("read below DIR", USER)
def read_below(scene: Scene) -> str:
    return _read_below(scene)


@attempt("list DIR", USER)
def list_it(scene: Scene) -> list[str]:
    found = os.listdir(scene["dir"])
    if not found:
        raise Refused("ENOENT")
    return found


@attempt("take away what is mounted on DIR, and read", Control("user,hide=DIR"))
def uncover_and_read(scene: Scene) -> str:
    umount(scene["dir"])
    return _read_below(scene)


@attempt("mount the directory around DIR elsewhere, and read", Control("user,hide=DIR"))
def around_and_read(scene: Scene) -> str:
    point = scene["mount_point"]
    mount(os.path.dirname(scene["dir"]), point, None, MS_BIND)
    return read(os.path.join(point, os.path.basename(scene["dir"]), "file"))


@attempt("rename the directory around DIR, and read what is there then", USER)
def moved_and_read(scene: Scene) -> str:
    os.rename(os.path.dirname(scene["dir"]), scene["moved"])
    return read(os.path.join(scene["moved"], os.path.basename(scene["dir"]), "file"))


@attempt("any of these in user and mount namespaces of its own, and read")
def nested_read(scene: Scene) -> object:
    def tries() -> object:
        return each(
            [partial(way, scene) for way in (uncover_and_read, around_and_read, read_below)]
        )

    return nested(tries, CLONE_NEWNS)


@attempt(
    "unmount /proc, and list the host's processes", Control("user,net,mount,pid"), noticed="host"
)
def uncover_proc(scene: Scene) -> str:
    umount("/proc")
    return read(f"/proc/{scene['host']}/cmdline")


def _take_over_parent(proc: int) -> object:
    """Look for a way to the parent in some other /proc than the one of this PID namespace.

    Args:
        proc: a descriptor of that directory.
    """

    def opened(name: str, flags: int = os.O_RDONLY) -> int:
        return os.open(name, flags, dir_fd=proc)

    status = dict(line.split(":", 1) for line in read(opened("self/status")).splitlines())
    parent = int(status["PPid"])
    assert "python" in read(opened(f"{parent}/comm"))
    return each(
        [
            lambda: os.close(opened(f"{parent}/mem", os.O_RDWR)),
            lambda: os.close(opened(f"{parent}/root")),
            lambda: os.close(opened(f"{parent}/ns/pid")),
            lambda: read(opened(f"{parent}/environ")),
        ]
    )


@attempt("unmount /proc, and take over the supervisor")
def supervisor(scene: Scene) -> object:
    umount("/proc")
    return _take_over_parent(os.open("/proc", os.O_RDONLY))


@attempt("take over the supervisor by an inherited descriptor of /proc", USER, inherits=("proc",))
def supervisor_by_descriptor(scene: Scene) -> object:
    return _take_over_parent(scene["proc"])


@attempt("unmount /proc in user and mount namespaces of its own")
def nested_uncover_proc(scene: Scene) -> object:
    return nested(lambda: umount("/proc"), CLONE_NEWNS)
