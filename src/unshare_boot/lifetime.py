"""The life of a process that serves a network namespace from outside: how it begins and ends.

It begins as a grandchild of the program, and leaves behind all that is the program's: its session,
directory, descriptors and standard streams, and the host's mounts.

It ends after the last process in that network namespace. No event tells of that: a tap device, held
from outside, keeps the namespace itself alive. So it is processes that are waited for, each by
pidfd_open(2), Linux 5.3: first the program, then any other that /proc shows in that namespace,
until there is none.
"""

import os

from .child import fork, heed_children, keep_only, open_process, prctl, reap, tell
from .namespaces import MS_REC, MS_SLAVE, mount, unshare
from .procfiles import status_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Callable

    Network = tuple[int, int]  # device and inode number of /proc/PID/ns/net

FIRST_KEPT = 4  # the descriptors below are a driver's: standard streams, and where it says "ready"
CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h


def start_apart(name: bytes, run: "Callable[..., None]", answer: int, *kept: int) -> None:
    """Start a process that is a grandchild of this one, so that it never is a zombie here.

    Args:
        name: for top(1), 15 bytes at most.
        run: what the process does. It is called with the descriptors that follow, which have other
            numbers there; all others are closed.
        answer: of a pipe, where the process tells what went wrong before ``run``: child.tell.
        kept: more descriptors.

    Raises:
        UnshareError: there can be no process.
    """
    child = fork()
    if child == 0:
        try:
            moved = _begin(name, answer, *kept)
            if moved:
                run(*moved)
        finally:
            os._exit(0)
    reap(child)


def _begin(name: bytes, answer: int, *kept: int) -> "list[int]":
    """Return the descriptors in the grandchild, and none in the child or where that fails."""
    try:
        return [] if fork() else _detach(name, answer, *kept)
    except BaseException as error:
        tell(answer, error)
        return []


def _detach(name: bytes, *kept: int) -> "list[int]":
    heed_children()
    prctl("PR_SET_NAME", name)
    os.setsid()  # a terminal's Ctrl-C is the program's to handle, and it may need the network then
    os.chdir("/")
    moved = [_moved_up(descriptor) for descriptor in kept]
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for stream in range(3):
        os.dup2(null, stream)
    keep_only(0, 1, 2, *moved)
    return moved


def _moved_up(descriptor: int) -> int:
    """Return a copy, from `FIRST_KEPT` on; to load fcntl for that takes up to 2.8 ms."""
    lower = []
    while (copy := os.dup(descriptor)) < FIRST_KEPT:
        lower.append(copy)
    for each in lower:
        os.close(each)
    return copy


def enter_own_mounts() -> None:
    """Have mounts of one's own from here on, so that no child can touch those of the host.

    A program's sandbox may unmount what it does not need, and a mount that is shared is then gone
    everywhere: slirp4netns makes only / private, not what is mounted below. What the host unmounts
    disappears here too, and nothing here has an effect there: mount_namespaces(7), MS_SLAVE.

    Raises:
        OSError: the kernel refuses it to a process that could touch the host's mounts.
    """
    if int(status_field("CapEff"), 16) >> CAP_SYS_ADMIN & 1:  # without, no mount can be touched
        unshare("mount")
        mount(None, "/", None, MS_REC | MS_SLAVE)


def network_of(pid: "int | str") -> "Network":
    """Return what identifies a process's network namespace.

    Raises:
        OSError: the process has ended, or is somebody else's.
    """
    status = os.stat(f"/proc/{pid}/ns/net")
    return status.st_dev, status.st_ino


def find_process(network: "Network", but: "Container[int]") -> int:
    """Find some process in a network namespace.

    It looks twice: a process may fork and end between the listing and the look at it.

    Args:
        network: as `network_of` returns it.
        but: processes that do not count, since they are there to serve it.

    Returns:
        A pidfd; -1 where there is no such process.
    """
    for name in (name for _ in range(2) for name in os.listdir("/proc")):
        try:
            if not name.isdigit() or int(name) in but or network_of(name) != network:
                continue
            process = open_process(int(name))
        except OSError:  # it has ended, or is somebody else's
            continue
        try:
            if network_of(name) == network:  # still the same process
                return process
        except OSError:  # it has ended since
            pass
        os.close(process)
    return -1


WHOLE = True
