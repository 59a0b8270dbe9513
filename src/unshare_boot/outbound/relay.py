"""Published UDP ports: a process that passes datagrams on between the host and the inside.

Neither driver does it well enough. slirp4netns answers no client on the host's loopback when that
is to be out of reach from inside, and the pasta of Debian 12 answers none where the two ports
differ. (Of TCP both take care themselves.)

The relay's sockets outside are made before it enters the network namespace, where it makes one for
each client, so that answers find their way back. Inside it talks to the loopback interface.
"""

import os
from _socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_DGRAM, socket
from errno import ECHILD
from select import POLLIN, poll

from ..child import end_with, fork, keep_only, kill_and_reap, listen, pipe, prctl, tell
from ..errors import UnshareError
from ..namespaces import NAMESPACES, call, setns
from .ports import host_address, not_bound, ports_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ..namespaces import Plan

    Outer = tuple[socket, int, str]  # bound outside; the port and the address inside
    Client = tuple[int, Any]  # the descriptor of the socket outside, the client's address

LARGEST = 65535  # bytes: no datagram is larger
MAX_CLIENTS = 256  # the one that was silent for longest is forgotten first


def bind(plan: "Plan") -> "list[Outer]":
    """Return a socket for each published UDP port, in this network namespace.

    Raises:
        UnshareError: the kernel refuses, as when the port is in use.
    """
    found = []
    for port in ports_of(plan, "udp"):
        try:
            outer = _bind(host_address(port), port[1])
        except OSError as error:
            raise not_bound(port, error) from None
        found.append((outer, port[2], "::1" if port[0][:1] == "[" else "127.0.0.1"))
    return found


def _bind(address: str, number: int) -> socket:
    family = AF_INET6 if ":" in address else AF_INET
    outer = socket(family, SOCK_DGRAM)
    try:
        if family == AF_INET6:
            outer.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        outer.bind((address, number))
    except OSError:
        outer.close()
        raise
    return outer


def start(plan: "Plan", target: str, sockets: "list[Outer]") -> int:
    """Start the relay; return its process id once it can pass datagrams on.

    Args:
        plan: what the program asks for.
        target: the process whose namespaces to enter.
        sockets: of `bind`.

    Raises:
        UnshareError: it cannot enter them.
    """
    reader, writer = pipe()
    parent = os.getpid()
    relay = fork()
    if relay == 0:
        try:
            _become_relay(plan, target, sockets, parent, writer)
        except BaseException as error:
            tell(writer, error)
        finally:
            os._exit(1)
    os.close(writer)
    ready = False
    try:
        ready = listen(reader)
    finally:
        os.close(reader)
        if not ready:
            kill_and_reap(relay)  # it runs where reading its answer failed
    if not ready:
        raise UnshareError(ECHILD, "the relay of UDP was killed")
    return relay


def _become_relay(
    plan: "Plan", target: str, sockets: "list[Outer]", parent: int, writer: int
) -> "NoReturn":
    prctl("PR_SET_NAME", b"unshare-udp")
    # From here on it is in the program's user namespace, and in the host's mounts. The program may
    # trace the processes of its user namespace, but must not take this one over: ptrace(2).
    prctl("PR_SET_DUMPABLE", 0)
    path = f"/proc/{target}/ns/net"
    net = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if plan.user is not None:
        setns(f"/proc/{target}/ns/user", "user")
    call("setns", net, NAMESPACES["net"].flag, target=path)
    end_with(parent)  # not before: setns(2) would undo it
    tell(writer)
    keep_only(0, 1, 2, *(outer.fileno() for outer, _, _ in sockets))
    Relay(sockets).run()


class Relay:
    """The clients that there are, and what belongs to each."""

    def __init__(self, sockets: "list[Outer]") -> None:
        self._poller = poll()
        self._outside = {each[0].fileno(): each for each in sockets}
        self._inside_of: dict[Client, socket] = {}  # the client heard of last comes last
        self._client_of: dict[int, Client] = {}
        for outer, _, _ in sockets:
            outer.setblocking(False)  # poll(2) may tell of an error that has been reported since
            self._poller.register(outer.fileno(), POLLIN)

    def run(self) -> "NoReturn":
        """Pass datagrams on, in both directions, until this process is killed."""
        while True:
            for descriptor, _ in self._poller.poll():
                try:
                    if descriptor in self._outside:
                        self._pass_in(descriptor)
                    elif descriptor in self._client_of:
                        self._pass_out(descriptor)
                except OSError:  # nobody listens inside, or the client is gone
                    continue

    def _pass_in(self, descriptor: int) -> None:
        outer, number, address = self._outside[descriptor]
        data, sender = outer.recvfrom(LARGEST)
        client = descriptor, sender
        inner = self._inside_of.pop(client, None)
        if inner is None:
            inner = self._meet(client, address, number)
        self._inside_of[client] = inner
        try:
            inner.send(data)
        except ConnectionRefusedError:  # what became of the one before this
            inner.send(data)

    def _pass_out(self, descriptor: int) -> None:
        client = self._client_of[descriptor]
        data = self._inside_of[client].recv(LARGEST)
        self._outside[client[0]][0].sendto(data, client[1])

    def _meet(self, client: "Client", address: str, number: int) -> socket:
        """Return a socket for a client that is new."""
        if len(self._inside_of) == MAX_CLIENTS:
            self._forget(next(iter(self._inside_of)))
        inner = socket(AF_INET6 if ":" in address else AF_INET, SOCK_DGRAM)
        inner.setblocking(False)
        inner.connect((address, number))
        self._poller.register(inner.fileno(), POLLIN)
        self._client_of[inner.fileno()] = client
        return inner

    def _forget(self, client: "Client") -> None:
        inner = self._inside_of.pop(client)
        self._poller.unregister(inner.fileno())
        del self._client_of[inner.fileno()]
        inner.close()


WHOLE = True
