"""Published UDP ports: a process that hands datagrams on between the host and the inside.

Neither driver does it well enough. slirp4netns answers no client on the host's loopback when that
is to be out of reach from inside, and the pasta of Debian 12 answers none where the two ports
differ. (Of TCP both take care themselves.)

The relay's sockets outside are made before it enters the network namespace, where it makes one for
each client, so that answers find their way back. Inside it talks to the loopback interface.
"""

import os
from _socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_DGRAM, socket

from .namespaces import CLONE_NEWNET, CLONE_NEWUSER, call, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .namespaces import Plan

    Port = tuple[socket, int, str]  # bound outside; the port and the address inside
    Client = tuple[int, Any]  # the descriptor of the socket outside, the client's address

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
SIGKILL = 9

LARGEST = 65535  # bytes: no datagram is larger
MAX_CLIENTS = 256  # the one that was silent for longest is forgotten first


def bind(address: str, port: int) -> socket:
    """Return a socket that listens for datagrams at an address of this network namespace.

    Raises:
        OSError: the kernel refuses, as when the port is in use.
    """
    family = AF_INET6 if ":" in address else AF_INET
    outer = socket(family, SOCK_DGRAM)
    try:
        if family == AF_INET6:
            outer.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        outer.bind((address, port))
    except OSError:
        outer.close()
        raise
    return outer


def start(plan: "Plan", target: str, ports: "list[Port]") -> int:
    """Start the relay; return its process id once it can hand datagrams on.

    Args:
        plan: what the program asks for.
        target: the process whose namespaces to enter.
        ports: what to relay.

    Raises:
        OSError: it cannot enter them.
    """
    result, tell = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _be(plan, target, ports, parent, tell)
        finally:
            os._exit(1)
    os.close(tell)
    failure = b""
    while part := os.read(result, 4096):
        failure += part
    os.close(result)
    if failure != b"ok":
        from errno import ECHILD
        from marshal import loads

        os.waitpid(pid, 0)
        raise OSError(*(loads(failure) if failure else (ECHILD, "the relay of UDP was killed")))
    return pid


def _be(plan: "Plan", target: str, ports: "list[Port]", parent: int, tell: int) -> "NoReturn":
    call("prctl", PR_SET_NAME, b"unshare-udp")
    # From here on it is in the program's user namespace, and in the host's mounts. The program may
    # trace the processes of its user namespace, but must not take this one over: ptrace(2).
    call("prctl", PR_SET_DUMPABLE, 0)
    try:
        net = os.open(f"/proc/{target}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if plan.user is not None:
            setns(f"/proc/{target}/ns/user", CLONE_NEWUSER)
        call("setns", net, CLONE_NEWNET, what="setns(net)")
    except OSError as error:
        from marshal import dumps

        os.write(tell, dumps((error.errno, error.strerror, error.filename)))
        os._exit(1)
    call("prctl", PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:  # it was killed before that call
        os._exit(1)
    os.write(tell, b"ok")
    kept = {outer.fileno() for outer, _, _ in ports}
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # that of the listing itself
                pass
    _relay(ports)


def _relay(ports: "list[Port]") -> "NoReturn":
    from select import POLLIN, poll

    outside = {outer.fileno(): (outer, inside, address) for outer, inside, address in ports}
    inside_of: dict[Client, socket] = {}  # the client heard of last comes last
    client_of: dict[int, Client] = {}
    poller = poll()
    for outer, _, _ in ports:
        outer.setblocking(False)  # poll(2) may tell of an error that has been reported since
        poller.register(outer.fileno(), POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            try:
                if descriptor in outside:
                    outer, port, address = outside[descriptor]
                    data, sender = outer.recvfrom(LARGEST)
                    client = descriptor, sender
                    inner = inside_of.pop(client, None)
                    if inner is None:
                        if len(inside_of) == MAX_CLIENTS:
                            oldest = inside_of.pop(next(iter(inside_of)))
                            poller.unregister(oldest.fileno())
                            del client_of[oldest.fileno()]
                            oldest.close()
                        inner = socket(AF_INET6 if ":" in address else AF_INET, SOCK_DGRAM)
                        inner.setblocking(False)
                        inner.connect((address, port))
                        client_of[inner.fileno()] = client
                        poller.register(inner.fileno(), POLLIN)
                    inside_of[client] = inner
                    try:
                        inner.send(data)
                    except ConnectionRefusedError:  # what became of the one before this
                        inner.send(data)
                elif descriptor in client_of:
                    client = client_of[descriptor]
                    outside[client[0]][0].sendto(inside_of[client].recv(LARGEST), client[1])
            except OSError:  # nobody listens inside, or the client is gone: UDP promises nothing
                continue


WHOLE = True
