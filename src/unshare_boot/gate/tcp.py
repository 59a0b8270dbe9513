"""Connections: made outside first, then let in, then copied both ways.

    program ──SYN──► B: a filter drops it at the listener, a packet socket shows it to the helper
                     the helper decides, and connects outside
                     on success it sends the SYN again, over lo, and the kernel answers the program
                     on failure it sends what the far side would have: RST, or ICMP unreachable

So connect(2) inside does what it would outside, but for who has the address.
"""

import os
from errno import ECONNREFUSED, EINPROGRESS, EMFILE, ENETUNREACH, ENFILE
from select import EPOLLOUT
from time import monotonic

from . import packets
from .pair import Buffer, Pair, Pipe, abort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Callable

    from .loop import Loop
    from .packets import Packet

    Address = tuple[bytes, int]  # and a port
    Key = tuple[bytes, int, bytes, int]
    Target = tuple[int, tuple[str, int]]  # address family and address, as for connect

MOST_TRYING = 8192  # connections that are being made
MOST_READY = 4096  # that are made outside, and not yet taken
PATIENCE = 5.0  # seconds until such a one is given up: the program has, if it takes as long
TOO_MANY = (EMFILE, ENFILE)


class Connections:
    """All of them.

    Args:
        loop: that calls back.
        send: sends a frame from an interface of B's: ``lo`` or ``gate``.
        refuse: answers a first packet; takes that and what is unreachable, "" for a reset.
    """

    def __init__(
        self,
        loop: "Loop",
        send: "Callable[[str, bytes], None]",
        refuse: "Callable[[Packet, str], None]",
    ) -> None:
        self._loop = loop
        self._send = send
        self._refuse = refuse
        self._trying: set[Key] = set()
        self._ready: dict[Key, tuple[socket, float]] = {}  # since when
        self._between = Pipe() if hasattr(os, "splice") else Buffer()

    def is_known(self, packet: "Packet") -> bool:
        """Tell whether a SYN is a second one; if all is ready it is sent on again."""
        key = packet.key()
        if key in self._ready:
            self._send("lo", packets.again(packet))
            return True
        return key in self._trying

    def begin(self, packet: "Packet") -> bool:
        """Remember a first SYN while it is being decided about; false if there are too many."""
        if len(self._trying) >= MOST_TRYING:
            return False
        self._trying.add(packet.key())
        return True

    def end(self, packet: "Packet", unreachable: str = "") -> None:
        """Refuse it after all; `unreachable` as for ``refuse``."""
        self._trying.discard(packet.key())
        self._refuse(packet, unreachable)

    def connect(
        self, packet: "Packet", targets: "list[Target]", ended: "Callable[[str], None]"
    ) -> None:
        """Connect outside, to the first target that answers.

        Args:
            packet: the first SYN.
            targets: addresses, in the order to try.
            ended: called with why it failed in the end, or "" once the program goes on.
        """

        def connected(outer: "socket") -> None:
            self._trying.discard(packet.key())
            if not self._ready:
                self._loop.after(PATIENCE, self._give_up)
            self._ready[packet.key()] = outer, monotonic()
            if len(self._ready) > MOST_READY:  # those who tried have given up
                abort(self._ready.pop(next(iter(self._ready)))[0])
            self._send("lo", packets.again(packet))
            ended("")

        def failed(error: int) -> None:
            ended(reason_of(error))
            self.end(packet, what_is_unreachable(error))

        dial(self._loop, targets, connected, failed)

    def _give_up(self) -> None:
        """End what was made outside for a program that had given up by then."""
        while self._ready:
            key, (outer, since) = next(iter(self._ready.items()))
            left = since + PATIENCE - monotonic()
            if left > 0:
                self._loop.after(left, self._give_up)
                return
            del self._ready[key]
            abort(outer)

    def accept(self, listener: "socket") -> None:
        """Take the connection that the kernel has made, and copy from here on."""
        taken = accepted(listener)
        if taken is None:
            return
        inner, sender = taken
        outer, _ = self._ready.pop((*sender, *end_of(inner)), (None, None))
        if outer is None:
            abort(inner)
            return
        self.copy(inner, outer)

    def copy(self, inner: "socket", outer: "socket") -> None:
        """Copy both ways until both are done."""
        Pair(self._loop, self._between, inner, outer)


def dial(
    loop: "Loop",
    targets: "list[Target]",
    connected: "Callable[[socket], None]",
    failed: "Callable[[int], None]",
    error: int = ENETUNREACH,
) -> None:
    """Connect to the first target that answers.

    Args:
        loop: that calls back.
        targets: addresses, in the order to try.
        connected: gets the socket.
        failed: gets the errno of the last one.
        error: of the one before.
    """
    from _socket import SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

    rest = list(targets)
    while rest:
        family, address = rest.pop(0)
        try:
            outer = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        except OSError as reason:
            failed(reason.errno or 0)
            return
        if outer.fileno() >= loop.most_descriptors:  # what is left is for those that are made
            outer.close()
            failed(EMFILE)
            return
        error = outer.connect_ex(address)
        if error in (0, EINPROGRESS):
            break
        outer.close()
    else:
        failed(error)
        return

    def happened(_: int) -> None:
        loop.forget(outer.fileno())
        refused = outer.getsockopt(SOL_SOCKET, SO_ERROR)
        if refused:
            outer.close()
            dial(loop, rest, connected, failed, refused)
        else:
            connected(outer)

    loop.watch(outer.fileno(), EPOLLOUT, happened)


def accepted(listener: "socket") -> "tuple[socket, Address] | None":
    """Return a connection that waits, and who made it.

    None where there is none, or no descriptor for it.
    """
    from _socket import SOCK_STREAM, socket

    try:
        descriptor, sender = listener._accept()  # type: ignore[attr-defined]
    except OSError:  # it has gone away; or no descriptor is left, and it waits
        return None
    handle = socket(listener.family, SOCK_STREAM, 0, fileno=descriptor)
    handle.setblocking(False)
    return handle, (packed(sender[0]), sender[1])


def reason_of(error: int) -> str:
    """Return why a connection outside failed, in words."""
    from os import strerror

    return f"outside: {strerror(error)}"


def what_is_unreachable(error: int) -> str:
    """Return what an ICMP message has to say for connect(2) to fail like that; "" for a reset."""
    if error in (ECONNREFUSED, *TOO_MANY):
        return ""
    return "net" if error == ENETUNREACH else "host"


def packed(text: str) -> bytes:
    """Return an address as its bytes, an IPv4 one inside an IPv6 one as four."""
    from _socket import AF_INET, AF_INET6, inet_pton

    text = text.partition("%")[0]
    if text[:7] == "::ffff:" and "." in text:
        text = text[7:]
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


def end_of(inner: "socket") -> "Address":
    """Return the address and port that a connection was made to."""
    try:
        target, port = inner.getsockname()[:2]
    except OSError:  # it has gone away
        return b"", 0
    return packed(target), port


WHOLE = True
