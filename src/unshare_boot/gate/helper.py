"""The helper: a process outside, which holds the gate's sockets, and decides what passes.

When it ends, nobody holds the namespace behind the veth pair, which is gone with it: connect(2)
inside then fails with ENETUNREACH. So whatever goes wrong here leaves less network, never more.
"""

import os
import sys

from ..child import end_with, fork, prctl, reap, tell
from ..lifetime import enter_own_mounts, network_of
from . import PER_MESSAGE
from .descriptors import raise_limit
from .record import Record, quoted
from .served import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Callable

    from ..namespaces import Plan


APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


def run(
    plan: "Plan",
    pid: str,
    check_whole: "Callable[[], None] | None",
    descriptors: "tuple[int, int, int, int]",
    path: str,
) -> None:
    """Be the process outside, until the program's network namespace has no process any more.

    Args:
        plan: with the rules.
        pid: the program's process id.
        check_whole: of Start; the helper loads modules that the program does not.
        descriptors: of the pipe where the program waits for what `tell` tells; a pidfd of the
            program; the socket that the gate's sockets come over; and where the record goes, -1 for
            nowhere.
        path: of a file to be made for the record; empty for none.
    """
    answer, program, control, output = descriptors
    status = gate = None
    try:
        prctl("PR_SET_DUMPABLE", 0)  # the program may have the same uid, and must not trace it
        if plan.record is not None:
            status = _serve_in_child(answer, program, control)
        if status is None:
            gate = _open(plan, pid, check_whole, control, (output, path))
    except BaseException as error:
        tell(answer, error)
        return
    if gate:
        tell(answer)
        os.close(answer)
        try:
            gate.serve(program)
        except BaseException:
            os._exit(1)
    elif status:  # the namespace behind the gate is gone with it
        why = "was killed" if os.WIFSIGNALED(status) else "has failed"
        tell_end(plan, output, path, why)


def _open(
    plan: "Plan",
    pid: str,
    check_whole: "Callable[[], None] | None",
    control: int,
    record: "tuple[int, str]",
) -> "Gate | None":
    """Return the gate, once its sockets are there; None where the program sends none.

    Args:
        plan: with the rules.
        pid: the program's process id.
        check_whole: of Start.
        control: where the sockets come.
        record: a descriptor, or the path of a file that is to be made.
    """
    if check_whole:
        check_whole()
    enter_own_mounts()
    if plan.record:  # while the program makes its namespaces, and can still be told
        quoted("")
    raise_limit()  # each connection takes two
    sockets = receive(control)
    if not sockets:  # the program has failed, or started over
        return None
    output, path = record
    if path:
        output = os.open(path, APPEND | os.O_CREAT, 0o666)
    return Gate(plan, sockets, network_of(pid), output)


def _serve_in_child(*descriptors: int) -> "int | None":
    """Return None in a child, which is to serve; and here its wait status, once it has ended.

    Args:
        descriptors: that are the child's alone.
    """
    watcher = os.getpid()
    child = fork()
    if not child:
        end_with(watcher)
        prctl("PR_SET_DUMPABLE", 0)  # which end_with() has not undone, but a fork may have
        return None
    for descriptor in descriptors:
        os.close(descriptor)
    return reap(child) or 0


def tell_end(plan: "Plan", output: int, path: str, why: str) -> None:
    """Say in the record what became of the gate, and that nothing can be reached any more."""
    if output < 0 and path:
        output = os.open(path, APPEND)
    if output >= 0:
        Record(output, plan.record == "").ended(f"the gate {why}")


def receive(control: int) -> "dict[str, socket]":
    """Return the sockets that the program sends, by what they are for; none if it sends not all."""
    from _socket import socket
    from marshal import loads

    channel = socket(fileno=control)
    found: dict[str, socket] = {}
    while True:
        message, ancillary, _, _ = channel.recvmsg(65536, 4 * PER_MESSAGE + 64)
        if not message:
            return {}
        labels, last = loads(message)
        descriptors = [part for _, _, data in ancillary for part in _numbers(data)]
        for label, descriptor in zip(labels, descriptors):
            found[label] = socket(fileno=descriptor)
            found[label].setblocking(False)
        if last:
            break
    channel.close()
    return found


def _numbers(data: bytes) -> "list[int]":
    return [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4)]


WHOLE = True
