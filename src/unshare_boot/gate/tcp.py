"""Connections: made outside first, then let in, then copied both ways.

    program ──SYN──► B: a filter drops it at the listener, a packet socket shows it to the helper
                     the helper decides, and connects outside
                     on success it sends the SYN again, over lo, and the kernel answers the program
                     on failure it sends what the far side would have: RST, or ICMP unreachable

So connect(2) inside does what it would outside, but for who has the address.
"""

from errno import ECONNREFUSED, EINPROGRESS, EMFILE, ENETUNREACH, ENFILE
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT

from ..rtnetlink import number
from . import packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Callable

    from .loop import Loop
    from .packets import Packet

    Key = tuple[bytes, int, bytes, int]
    Target = tuple[int, tuple[str, int]]  # address family and address, as for connect

CHUNK = 1 << 18  # bytes that are read at once
MOST_TRYING = 8192  # connections that are being made
MOST_READY = 4096  # that are made outside, and not yet taken
BROKEN = EPOLLERR | EPOLLHUP
TOO_MANY = (EMFILE, ENFILE)
RESET = number(1, 4) + number(0, 4)  # struct linger: on, 0 seconds


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
        self._ready: dict[Key, tuple[Packet, socket]] = {}
        self._buffer = memoryview(bytearray(CHUNK))

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
            ended: called with why it failed in the end, or "" once it has not.
        """

        def connected(outer: "socket") -> None:
            ended("")
            self._trying.discard(packet.key())
            self._ready[packet.key()] = packet, outer
            if len(self._ready) > MOST_READY:  # those who tried have given up
                abort(self._ready.pop(next(iter(self._ready)))[1])
            self._send("lo", packets.again(packet))

        def failed(error: int) -> None:
            ended(reason_of(error))
            self.end(packet, what_is_unreachable(error))

        dial(self._loop, targets, connected, failed)

    def accept(self, listener: "socket") -> None:
        """Take the connection that the kernel has made, and copy from here on."""
        inner = accepted(listener)
        if inner is None:
            return
        key = _key_of(inner)
        _, outer = self._ready.pop(key, (None, None))
        if outer is None:
            abort(inner)
            return
        self.copy(inner, outer)

    def copy(self, inner: "socket", outer: "socket") -> None:
        """Copy both ways until both are done."""
        Pair(self._loop, self._buffer, inner, outer)


class Pair:
    """Two sockets, and what is copied between them: at most `CHUNK` bytes wait either way."""

    def __init__(self, loop: "Loop", buffer: memoryview, inner: "socket", outer: "socket") -> None:
        self._loop = loop
        self._buffer = buffer
        self._ends = (inner, outer)
        self._waiting = [b"", b""]  # of each end, what it is still to be sent
        self._finished = [False, False]  # of each end, whether nothing more comes from it
        self._shut = [False, False]  # of each end, whether it has been told so of the other
        for each in self._ends:
            _no_delay(each)
        for side in (0, 1):
            self._watch(side)

    def _watch(self, side: int) -> None:
        mask = EPOLLOUT if self._waiting[side] else 0
        if not self._finished[side] and not self._waiting[1 - side]:
            mask |= EPOLLIN
        handler = self._first if side == 0 else self._second
        self._loop.watch(self._ends[side].fileno(), mask, handler)

    def _first(self, events: int) -> None:
        self._happened(0, events)

    def _second(self, events: int) -> None:
        self._happened(1, events)

    def _happened(self, side: int, events: int) -> None:
        try:
            if events & EPOLLOUT and self._waiting[side]:
                sent = self._ends[side].send(self._waiting[side])
                self._waiting[side] = self._waiting[side][sent:]
            elif events & (EPOLLIN | BROKEN):
                self._read(side)
            self._shut_down()
        except BlockingIOError:
            return
        except OSError:  # a reset, which the other end is to see as well
            self._close(abort)
            return
        if all(self._finished) and not any(self._waiting):
            self._close(lambda each: each.close())
            return
        self._watch(0)
        self._watch(1)

    def _read(self, side: int) -> None:
        if self._finished[side] or self._waiting[1 - side]:
            if self._finished[side]:  # hung up both ways, and nothing was left to read
                raise OSError
            error = self._ends[side].getsockopt(1, 4)  # SOL_SOCKET, SO_ERROR
            if error:
                raise OSError(error, "")
            return
        count = self._ends[side].recv_into(self._buffer)
        if not count:
            self._finished[side] = True
            return
        other = 1 - side
        try:
            sent = self._ends[other].send(self._buffer[:count])
        except BlockingIOError:
            sent = 0
        if sent < count:
            self._waiting[other] = bytes(self._buffer[sent:count])

    def _shut_down(self) -> None:
        """Pass the end of what one side sends on, once all of it has been."""
        for side in (0, 1):
            other = 1 - side
            if self._finished[side] and not self._waiting[other] and not self._shut[other]:
                self._shut[other] = True
                self._ends[other].shutdown(1)  # SHUT_WR

    def _close(self, how: "Callable[[socket], None]") -> None:
        for each in self._ends:
            self._loop.forget(each.fileno())
            how(each)


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

    if not targets:
        failed(error)
        return
    (family, address), *rest = targets
    try:
        outer = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
    except OSError as reason:
        failed(reason.errno or 0)
        return
    if outer.fileno() >= loop.most_descriptors:  # what is left is for those that are made
        outer.close()
        failed(EMFILE)
        return
    refused = outer.connect_ex(address)
    if refused not in (0, EINPROGRESS):
        outer.close()
        dial(loop, rest, connected, failed, refused)
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


def accepted(listener: "socket") -> "socket | None":
    """Return a connection that waits, None where there is none, or no descriptor for it."""
    from _socket import socket

    try:
        descriptor, _ = listener._accept()  # type: ignore[attr-defined]
    except OSError:  # it has gone away; or no descriptor is left, and it waits
        return None
    handle = socket(fileno=descriptor)
    handle.setblocking(False)
    return handle


def abort(handle: "socket") -> None:
    """Close a connection with a reset."""
    from _socket import SO_LINGER, SOL_SOCKET

    try:
        handle.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    except OSError:
        pass
    handle.close()


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


def _key_of(inner: "socket") -> "Key":
    try:
        (source, source_port), (target, port) = inner.getpeername()[:2], inner.getsockname()[:2]
    except OSError:  # it has gone away
        return b"", 0, b"", 0
    return packed(source), source_port, packed(target), port


def _no_delay(handle: "socket") -> None:
    from _socket import IPPROTO_TCP, TCP_NODELAY

    try:
        handle.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    except OSError:  # it has gone away
        pass


WHOLE = True
