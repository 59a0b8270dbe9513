"""The program's side: leave a helper outside, make the namespaces, hand it the sockets."""

import os
from errno import EACCES, ECHILD, ENOENT, ESRCH

from ..child import listen, open_process, pipe, tell
from ..errors import UnshareError, named
from ..lifetime import start_apart
from ..namespaces import refused, require_single_thread
from ..rtnetlink import number
from . import GATEWAY4, PER_MESSAGE
from .rules import loopback_ports, ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from ..namespaces import Plan, Start
    from .network import Sockets

SCM_RIGHTS = 1
FEW = 256  # sockets, for which the usual limit of descriptors is enough


class Helper:
    """What the program has of it: a channel for sockets, and a pipe with its answer."""

    def __init__(self, channel: "socket", answers: int) -> None:
        self.channel = channel
        self.answers = answers

    def close(self) -> None:
        """Let go of it; one that has got no sockets ends."""
        self.channel.close()
        os.close(self.answers)


def leave_watcher(start: "Start") -> None:
    """Leave a process outside, before any namespace is entered.

    Raises:
        UnshareError: there can be no process, or the record cannot be written.
    """
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socketpair

    if start.helper:
        start.helper.close()
        start.helper = None
    require_single_thread()  # a fork would leave the other threads' locks held
    pid = str(os.getpid())
    if os.readlink("/proc/self") != pid:  # as after pid,proc=keep
        reason = "/proc is that of another PID namespace, so nobody would find this process"
        raise UnshareError(ESRCH, reason, named("net", "gate"))
    output, path = _open_record(start.plan)
    if start.keep_open >= 0:  # a rehearsal, which is to leave nothing behind
        path = ""
    process = open_process(os.getpid())
    channel, control = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    answers, answer = pipe()
    plan, check_whole = start.plan, start.check_whole

    def run(answer: int, process: int, control: int, output: int = -1, keep: int = -1) -> None:
        try:
            from .helper import run
        except BaseException as error:
            tell(answer, error)
            return
        run(plan, pid, check_whole, (answer, process, control, output), path)

    kept = [process, control.fileno()]
    kept += [output] if output >= 0 else []
    start_apart(b"unshare-gate", run, answer, *kept)
    start.helper = Helper(channel, answers)
    control.close()
    for descriptor in (process, answer, output):
        if descriptor >= 0:
            os.close(descriptor)
    # Now, while the helper loads its own modules; and before the mounts are somebody else's.
    from . import network  # noqa: F401


def _open_record(plan: "Plan") -> "tuple[int, str]":
    """Return a descriptor of the file for the record, or of standard error; -1 where there is none.

    And the path of a file that is to be made: once the namespaces are there, not for a refusal.
    """
    if not plan.record:
        try:
            return (-1 if plan.record is None else os.dup(2)), ""
        except OSError:  # nobody reads standard error
            return -1, ""
    try:
        # Not to wait for a reader, fifo(7).
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        return os.open(plan.record, flags), ""
    except FileNotFoundError:
        path = os.path.abspath(plan.record)
        directory = os.path.dirname(path)
        effective = os.access in os.supports_effective_ids
        if os.access(directory, os.W_OK | os.X_OK, effective_ids=effective):
            return -1, path
        errno = EACCES if os.path.isdir(directory) else ENOENT
    except OSError as error:
        errno = error.errno or 0
    item = named("record", plan.record)
    raise UnshareError(errno, os.strerror(errno), item, "open", plan.record)


def enter_net(start: "Start") -> None:
    """Make the two network namespaces, and be in the program's on return, the gate open.

    Raises:
        UnshareError: the kernel refuses, or the helper has failed.
    """
    from . import network

    helper, plan = start.helper, start.plan
    assert helper is not None
    sockets = network.Sockets()
    tcp, udp = ports(plan.allow, "tcp"), ports(plan.allow, "udp")
    loopback = loopback_ports(plan.allow)
    limit = None
    if len(tcp) + len(udp) + len(loopback) > FEW:
        from .descriptors import raise_limit, restore_limit

        limit = raise_limit()
    try:
        network.make(tcp, udp, sockets, hold=plan.record is not None)
        for address, port, protocol in loopback:
            if protocol == "tcp":
                sockets.add(f"loopback:{address}:{port}", network.listen(port, address=address))
            else:
                sockets.add(f"loopback/udp:{address}:{port}", network.datagrams(port, address))
        failure = None
        try:
            _send(helper.channel, sockets)
        except (BrokenPipeError, ConnectionResetError) as error:  # its answer may say why
            failure = error
            helper.channel.close()  # or one that has not ended would wait for the rest
        if not listen(helper.answers):
            if failure:
                raise refused(failure, "sendmsg", "gate")
            reason = "the process that it is held by was killed"
            raise UnshareError(ECHILD, reason, named("net", "gate"))
    finally:
        sockets.close()
        helper.close()
        start.helper = None
        if limit:
            restore_limit(limit)


def _send(channel: "socket", sockets: "Sockets") -> None:
    from _socket import SOL_SOCKET
    from marshal import dumps

    for first in range(0, len(sockets.names), PER_MESSAGE):
        end = first + PER_MESSAGE
        rights = b"".join(number(each.fileno(), 4) for each in sockets.sockets[first:end])
        message = dumps((sockets.names[first:end], end >= len(sockets.names)))
        channel.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, rights)])


def complete(plan: "Plan") -> None:
    """Have a mount namespace where a resolver would be asked past the gate."""
    from ..resolv_conf import daemons, is_on_loopback

    if plan.mount is None and (is_on_loopback() or daemons()):
        plan.mount = "slave"


def cover_resolver(start: "Start") -> None:
    """Name the gate as the resolver, where it is another one that would be asked.

    Raises:
        OSError: the kernel refuses.
    """
    from _socket import AF_INET, inet_ntop

    from ..resolv_conf import cover, cover_daemons, is_on_loopback

    plan = start.plan
    # As root, what is mounted on a shared mount would cover the host's.
    own = plan.mount in ("private", "slave") or plan.user is not None
    if plan.mount is not None and plan.mount[0] != "/" and own:
        cover_daemons()
        if is_on_loopback():
            cover(inet_ntop(AF_INET, GATEWAY4))


WHOLE = True
