"""A connection inside and one outside, and what is copied between them."""

import os
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT

from ..namespaces import attempt
from ..rtnetlink import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Callable

    from .loop import Loop

CHUNK = 1 << 18  # bytes that are read at once
F_SETPIPE_SZ = 1031  # include/uapi/linux/fcntl.h
BROKEN = EPOLLERR | EPOLLHUP
RESET = number(1, 4) + number(0, 4)  # struct linger: on, 0 seconds


class Pair:
    """Two sockets, and what is copied between them: at most `CHUNK` bytes wait either way."""

    def __init__(
        self, loop: "Loop", between: "Buffer | Pipe", inner: "socket", outer: "socket"
    ) -> None:
        self._loop = loop
        self._between = between
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
        other = 1 - side
        count, self._waiting[other] = self._between.move(self._ends[side], self._ends[other])
        self._finished[side] = not count

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


class Buffer:
    """What bytes go through on their way: memory of this process, one piece for all pairs."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(CHUNK))

    def move(self, source: "socket", target: "socket") -> "tuple[int, bytes]":
        """Take what has come from one socket, and send it to another.

        Returns:
            How many bytes there were, 0 at the end; and those that could not be sent yet.

        Raises:
            BlockingIOError: there are none.
            OSError: one of the two is broken.
        """
        count = source.recv_into(self._memory)
        try:
            sent = target.send(self._memory[:count]) if count else 0
        except BlockingIOError:
            sent = 0
        return count, bytes(self._memory[sent:count])


class Pipe:
    """The same by splice(2), which copies nothing; half the CPU a byte. Python 3.10."""

    def __init__(self) -> None:
        self._out, self._into = os.pipe()
        # By the C library, since to load Python's fcntl takes 0.8 ms. It is refused where the user
        # has many pipes, pipe(7): 64 KiB then.
        attempt("fcntl", self._into, F_SETPIPE_SZ, CHUNK)

    def move(self, source: "socket", target: "socket") -> "tuple[int, bytes]":
        """As `Buffer.move` does; the pipe is empty before and after."""
        count = rest = os.splice(source.fileno(), self._into, CHUNK, flags=os.SPLICE_F_NONBLOCK)
        try:
            while rest:
                rest -= os.splice(self._out, target.fileno(), rest, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return count, self._read(rest)
        except OSError:
            self._read(rest)
            raise
        return count, b""

    def _read(self, rest: int) -> bytes:
        found = b""
        while len(found) < rest:
            found += os.read(self._out, rest - len(found))
        return found


def abort(handle: "socket") -> None:
    """Close a connection with a reset."""
    from _socket import SO_LINGER, SOL_SOCKET

    try:
        handle.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    except OSError:
        pass
    handle.close()


def _no_delay(handle: "socket") -> None:
    from _socket import IPPROTO_TCP, TCP_NODELAY

    try:
        handle.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    except OSError:  # it has gone away
        pass


WHOLE = True
