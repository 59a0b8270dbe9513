"""The answerer: port 53 of every address, UDP and TCP, and the record's port.

Where the list allows a resolver, what comes to that goes on to it, but for the addresses of names
that the list has: these are the gate's to give.
"""

from select import EPOLLIN, EPOLLOUT

from . import names
from .tcp import accepted, packed
from .udp import answer_from, sent_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any, Callable

    from .loop import Loop
    from .names import Names, Question
    from .search import Search
    from .tcp import Address

    Own = Callable[[], None]
    Ends = tuple[Address, Address]  # who asked, and who was asked
    Noted = Callable[[], None]
    Asked = Callable[[Question, Ends, str], Noted]
    Message = tuple[bytes, list[Any], tuple[Any, ...]]  # data, ancillary data, sender: recvmsg(2)

PORT = 53
LARGEST = 4096  # bytes of a question
MOST = 64  # connections at a time; the oldest is closed


class Answerer:
    """Answers questions for names.

    Args:
        loop: that calls back.
        book: of the names and their addresses.
        version_6: whether IPv6 addresses lead anywhere.
        search: which names are none, because others are meant.
        asked: told of each question, both ends, and ``udp`` or ``tcp``, while whoever asks waits;
            what it returns is called once a datagram with the answer is sent, and at once for TCP.
    """

    def __init__(
        self, loop: "Loop", book: "Names", version_6: bool, search: "Search", asked: "Asked"
    ) -> None:
        self._loop = loop
        self._book = book
        self._version_6 = version_6
        self._search = search
        self._asked = asked
        self._open: list[Talk] = []

    def serve_datagrams(
        self, handle: "socket", past: "Callable[[Message, Own], None] | None" = None
    ) -> None:
        """Answer what comes to a UDP socket.

        Args:
            handle: it.
            past: gets what the gate need not answer itself, and what does so all the same.
        """

        def ready(_: int) -> None:
            try:
                message, ancillary, _, sender = handle.recvmsg(LARGEST, 256)
            except OSError:  # the one who was answered is gone
                return

            def own() -> None:
                ends = (packed(sender[0]), sender[1]), (sent_to(ancillary), PORT)
                answer, noted = self.answer(message, ends, "udp")
                if answer:
                    try:
                        handle.sendmsg([answer], answer_from(ancillary), 0, sender)
                    except OSError:  # the one who asked is gone
                        pass
                noted()

            if past and not self._is_own(message):
                past((message, ancillary, sender), own)
            else:
                own()

        self._loop.watch(handle.fileno(), EPOLLIN, ready)

    def serve_connections(
        self, listener: "socket", past: "Callable[[socket, Address, Own], None] | None" = None
    ) -> None:
        """Answer what comes over TCP, each message behind its length: RFC 1035, 4.2.2.

        Args:
            listener: where it comes.
            past: gets each connection, who made it, and what answers it after all.
        """

        def ready(_: int) -> None:
            taken = accepted(listener)
            if taken is None:
                return
            inner, sender = taken

            def own() -> None:
                make_room(self._open, MOST)
                self._open.append(Talk(self._loop, inner, self._answer_stream))

            if past:
                past(inner, sender, own)
            else:
                own()

        self._loop.watch(listener.fileno(), EPOLLIN, ready)

    def _is_own(self, message: bytes) -> bool:
        """Tell whether it asks for what the gate alone has: an address that leads through it."""
        question = names.read(message)
        kinds = (names.A, names.AAAA, names.ANY)
        return bool(question and question.kind in kinds and self._search.is_of_list(question.name))

    def answer(self, message: bytes, ends: "Ends", protocol: str) -> "tuple[bytes, Noted]":
        """Return the answer to a message, empty for what is no question; and what notes it."""
        question = names.read(message)
        if question is None:
            return b"", nothing
        if self._search.is_none(question.name):
            return names.no_such_name(question), nothing
        noted = self._asked(question, ends, protocol)
        return names.answer(question, self._book, self._version_6), noted

    def _answer_stream(self, received: bytes, ends: "Ends") -> "tuple[bytes, bytes]":
        """Return what to send for what was received, and what is left of that."""
        answers = b""
        while len(received) >= 2 and len(received) >= 2 + int.from_bytes(received[:2], "big"):
            end = 2 + int.from_bytes(received[:2], "big")
            answer, noted = self.answer(received[2:end], ends, "tcp")
            noted()
            answers += len(answer).to_bytes(2, "big") + answer if answer else b""
            received = received[end:]
        return answers, received


def nothing() -> None:
    """Note nothing."""


def make_room(talks: "list[Talk]", most: int) -> None:
    """Forget those that are over, and close the oldest if there are as many as may be."""
    talks[:] = [talk for talk in talks if talk.is_open]
    while len(talks) >= most:
        talks.pop(0).close()


class Talk:
    """A connection that is answered, as much of it as fits in memory set aside for it."""

    def __init__(
        self,
        loop: "Loop",
        handle: "socket",
        answer: "Callable[[bytes, Ends], tuple[bytes, bytes]] | None" = None,
        to_send: bytes = b"",
    ) -> None:
        """Begin.

        Args:
            loop: that calls back.
            handle: the connection.
            answer: makes answers of what was received; None where all is said by ``to_send``.
            to_send: at first.
        """
        self._loop = loop
        self._handle = handle
        self._answer = answer
        self._to_send = to_send
        self._received = b""
        self.is_open = True
        self._watch()

    def _watch(self) -> None:
        mask = EPOLLOUT if self._to_send or not self._answer else EPOLLIN
        self._loop.watch(self._handle.fileno(), mask, self._ready)

    def _ready(self, _: int) -> None:
        try:
            if self._to_send:
                self._to_send = self._to_send[self._handle.send(self._to_send) :]
            elif not self._answer or not self._read():
                self.close()
                return
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._watch()

    def _read(self) -> bool:
        part = self._handle.recv(LARGEST)
        sender, target = self._handle.getpeername(), self._handle.getsockname()
        self._received += part
        if not part or len(self._received) > 2 * LARGEST or not self._answer:
            return False
        ends = (packed(sender[0]), sender[1]), (packed(target[0]), target[1])
        self._to_send, self._received = self._answer(self._received, ends)
        return True

    def close(self) -> None:
        """Close it."""
        self.is_open = False
        self._loop.forget(self._handle.fileno())
        self._handle.close()


WHOLE = True
