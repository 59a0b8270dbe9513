"""Datagrams that may pass: a socket outside for each who sends, and each whom to."""

from errno import ECONNREFUSED
from select import EPOLLIN
from time import monotonic

from .tcp import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any, Callable

    from .loop import Loop
    from .tcp import Target

    Decide = Callable[[bytes, tuple[bytes, int], Callable[[list[Target]], None]], None]

LARGEST = 65535  # bytes: no datagram is larger
MOST_FLOWS = 1024  # of all ports; the one that was silent for longest is forgotten first
IDLE = 120.0  # seconds of silence after which a flow is forgotten; RFC 4787, REQ-5
MOST_WAITING = 16  # datagrams of a flow that wait for a name
IPV6_PKTINFO = 50  # include/uapi/linux/in6.h
IP_PKTINFO = 8  # include/uapi/linux/in.h


class Datagrams:
    """One port of everybody's.

    Args:
        loop: that calls back.
        inner: the socket in the gate, or on the program's loopback.
        decide: whether datagrams to an address, from a sender, may pass; calls its last argument
            with the addresses to send to outside, of which there are none if not.
        refused: told of the address that they were sent to, and the sender, when outside nobody
            listens.
        flows: those of all ports, the one that was silent for longest first.
    """

    def __init__(
        self,
        loop: "Loop",
        inner: "socket",
        decide: "Decide",
        refused: "Callable[[bytes, tuple[bytes, int]], None]",
        flows: "dict[object, Flow]",
    ) -> None:
        self._loop = loop
        self._inner = inner
        self._decide = decide
        self._refused = refused
        self._flows = flows
        self._most = min(MOST_FLOWS, loop.most_descriptors // 2)  # the rest is for connections

    def serve(self) -> None:
        """Take all that comes to the socket."""
        self._loop.watch(self._inner.fileno(), EPOLLIN, self._from_inside)

    def _from_inside(self, _: int) -> None:
        try:
            data, ancillary, _, sender = self._inner.recvmsg(LARGEST, 256)
        except OSError:  # the answer to one of ours was refused
            return
        self.take(data, ancillary, sender)

    def take(self, data: bytes, ancillary: "list[Any]", sender: "tuple[Any, ...]") -> None:
        """Take a datagram, as recvmsg(2) has it."""
        target = sent_to(ancillary)
        key = self, sender, target
        flow = self._flows.pop(key, None)
        if flow is None:
            self._make_room()
            flow = Flow(self, sender, target, ancillary)
            self._flows[key] = flow
            self._decide(target, (packed(sender[0]), sender[1]), flow.decided)
        self._flows[key] = flow  # the latest comes last
        flow.since = monotonic()
        flow.send(data)

    def _make_room(self) -> None:
        """Forget the flows that have been silent for long, and the longest silent of too many."""
        while self._flows:
            oldest = next(iter(self._flows.values()))
            if len(self._flows) < self._most and monotonic() - oldest.since < IDLE:
                return
            self._flows.pop(next(iter(self._flows))).end()


class Flow:
    """Datagrams of one sender's to one address."""

    def __init__(
        self, owner: Datagrams, sender: "tuple[Any, ...]", target: bytes, ancillary: "list[Any]"
    ) -> None:
        self._owner = owner
        self._sender = sender
        self._target = target
        self._ancillary = ancillary
        self.since = 0.0  # the program sent something last, by the monotonic clock
        self._outer: socket | None = None
        self._waiting: list[bytes] | None = []

    def decided(self, targets: "list[Target]") -> None:
        """Send what has waited, or let go of it."""
        from _socket import SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

        if self._waiting is None:  # it was ended meanwhile
            return
        waiting, self._waiting = self._waiting, None
        for family, address in targets[:1]:
            try:
                self._outer = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
                self._outer.connect(address)
            except OSError:
                self.end()
                return
            self._owner._loop.watch(self._outer.fileno(), EPOLLIN, self._from_outside)
        for data in waiting:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Send a datagram on."""
        if self._waiting is not None:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(data)
        elif self._outer:
            try:
                self._outer.send(data)
            except OSError as error:
                self._failed(error)

    def _from_outside(self, _: int) -> None:
        assert self._outer
        try:
            data = self._outer.recv(LARGEST)
            self._owner._inner.sendmsg([data], answer_from(self._ancillary), 0, self._sender)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if error.errno == ECONNREFUSED:
            self._owner._refused(self._target, (packed(self._sender[0]), self._sender[1]))

    def end(self) -> None:
        """Close what is outside, or have it never opened."""
        self._waiting = None
        if self._outer:
            self._owner._loop.forget(self._outer.fileno())
            self._outer.close()
            self._outer = None


def sent_to(ancillary: "list[Any]") -> bytes:
    """Return the address that a datagram was sent to; empty on a loopback, which tells of none."""
    for _, kind, data in ancillary:
        if kind == IPV6_PKTINFO:
            address = bytes(data[:16])
            return address[12:] if address[:12] == bytes(10) + b"\xff\xff" else address
        if kind == IP_PKTINFO:  # struct in_pktinfo: index, local address, the header's
            return bytes(data[8:12])
    return b""


def answer_from(ancillary: "list[Any]") -> "list[Any]":
    """Return what makes an answer come from where a datagram was sent to."""
    for level, kind, data in ancillary:
        if kind == IPV6_PKTINFO:
            return [(level, kind, bytes(data[:16]) + bytes(4))]
        if kind == IP_PKTINFO:
            return [(level, kind, bytes(4) + bytes(data[8:12]) + bytes(4))]
    return []


WHOLE = True
