"""Ways into the namespaces outside."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator

from proof.escapes.attempt import ROOT, ROOT_IN_NET, USER, Control, Scene, attempt, each
from proof.escapes.kernel import (
    CLONE_NEWNET,
    NS_GET_PARENT,
    NS_GET_USERNS,
    PIDFD_GET_NET_NAMESPACE,
    call,
    nested,
    setns,
)


@attempt("setns(2) to /proc/1/ns/net", Control("pid", as_root=True))
def setns_of_1(scene: Scene) -> None:
    setns(os.open("/proc/1/ns/net", os.O_RDONLY))


@attempt("setns(2) to any other namespace that /proc shows", ROOT)
def setns_of_all(scene: Scene) -> object:
    own = {os.stat(f"/proc/self/ns/{kind}").st_ino for kind in os.listdir("/proc/self/ns")}

    def tries() -> Iterator[Callable[[], object]]:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for kind in ("user", "net", "mnt", "uts", "ipc", "pid", "cgroup", "time"):
                yield lambda path=f"/proc/{pid}/ns/{kind}": _join(path, own)  # type: ignore[misc]

    return each(tries(), gone=(errno.ENOENT, errno.ESRCH))


def _join(path: str, own: set[int]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if os.fstat(descriptor).st_ino in own:
            raise OSError(errno.ENOENT, "its own")
        setns(descriptor)
    finally:
        os.close(descriptor)


@attempt("setns(2) by a pidfd of the parent process", ROOT)
def setns_by_pidfd(scene: Scene) -> None:
    setns(call("pidfd_open", scene["host"], 0), CLONE_NEWNET)


@attempt("setns(2) by an inherited pidfd", ROOT, inherits=("pidfd",))
def setns_by_inherited_pidfd(scene: Scene) -> None:
    setns(scene["pidfd"], CLONE_NEWNET)


NAMESPACES = ("user", "net", "mnt", "uts", "ipc", "pid", "cgroup")


@attempt(
    "setns(2) by inherited descriptors of the host's namespaces",
    ROOT_IN_NET,
    inherits=NAMESPACES,
)
def setns_by_descriptor(scene: Scene) -> object:
    own = {os.stat(f"/proc/self/ns/{kind}").st_ino for kind in NAMESPACES}

    def join(kind: str) -> None:
        if os.fstat(scene[kind]).st_ino in own:
            raise OSError(errno.ENOENT, "its own")
        setns(scene[kind])

    return each(
        [lambda kind=kind: join(kind) for kind in NAMESPACES],  # type: ignore[misc]
        gone=(errno.ENOENT,),
    )


@attempt("setns(2) by them from a user namespace of its own", inherits=("net", "user"))
def setns_from_nested(scene: Scene) -> object:
    return nested(lambda: each([lambda: setns(scene["net"]), lambda: setns(scene["user"])]))


@attempt("setns(2) to a namespace that is mounted on a file", ROOT_IN_NET, needs=("ns_file",))
def setns_of_file(scene: Scene) -> None:
    setns(os.open(scene["ns_file"], os.O_RDONLY), CLONE_NEWNET)


@attempt("climb by NS_GET_USERNS and NS_GET_PARENT", USER, inherits=("net",))
def climb(scene: Scene) -> object:
    own = os.open("/proc/self/ns/user", os.O_RDONLY)
    return each(
        [
            lambda: fcntl.ioctl(scene["net"], NS_GET_USERNS) and None,
            lambda: fcntl.ioctl(own, NS_GET_PARENT) and None,
        ]
    )


@attempt(
    "open a namespace by its file handle",
    USER,
    needs=("ns_handle",),
    lacking=("EOPNOTSUPP", "EBADF", "ESTALE"),
)
def namespace_handle(scene: Scene) -> None:
    """Linux 6.18: nsfs has handles, which say no more than the namespace's number."""
    handle = bytes.fromhex(scene["ns_handle"])
    namespaces = -10003  # FD_NSFS_ROOT
    os.close(call("open_by_handle_at", namespaces, handle, os.O_RDONLY))


@attempt(
    "get a namespace from an inherited pidfd (PIDFD_GET_NET_NAMESPACE)",
    USER,
    inherits=("pidfd",),
    lacking=("ENOTTY", "EINVAL"),
)
def pidfd_ioctl(scene: Scene) -> None:
    os.close(fcntl.ioctl(scene["pidfd"], PIDFD_GET_NET_NAMESPACE))
