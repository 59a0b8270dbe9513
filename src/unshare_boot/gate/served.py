"""What the helper serves: every socket of the gate, each for what it is for.

An attempt comes as a packet, a datagram or a question. Who made it is found out at once, while the
socket is open; then it is decided about, noted, and passed or refused.
"""

import os
import sys
from select import EPOLLIN

from ..lifetime import find_process
from ..resolv_conf import search_list
from . import DNS_PORT, GATEWAY4, GATEWAY6, KEPT, OUTER, RECORD_PORT, names, packets, rules
from .answerer import Answerer, Talk, make_room, nothing
from .decisions import Decisions, target_of, text_of
from .loop import Loop
from .pair import abort
from .record import Record
from .search import Search
from .tcp import Connections, accepted, dial, end_of, packed, reason_of
from .udp import Datagrams, sent_to
from .who import Finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Callable

    from ..namespaces import Plan
    from .answerer import Ends, Message, Own
    from .packets import Packet
    from .tcp import Address, Target
    from .udp import Flow
    from .who import Who

MOST_READERS = 8  # of the record at a time
BATCH = 64  # packets that are read at once
MOST_KEYS = 4096  # names and datagrams that are remembered
SOL_PACKET = 263  # include/linux/socket.h
PACKET_STATISTICS = 6  # include/uapi/linux/if_packet.h
AF_INET6 = 10
GATEWAYS = GATEWAY4, GATEWAY6


class Gate:
    """All that the helper does, tied together."""

    def __init__(
        self, plan: "Plan", sockets: "dict[str, socket]", network: "tuple[int, int]", output: int
    ) -> None:
        self._loop = Loop()
        self._sockets = sockets
        self._network = network
        self._allow = plan.allow
        self._rules = rules.Rules(plan.allow)
        self._names = names.Names()
        self._decisions = Decisions(self._loop, self._names, self._rules)
        self._record = Record(output, plan.record == "")
        self._holds = plan.record is not None
        sockets["diag"].setblocking(True)
        self._finder = Finder(sockets["diag"], network)
        self._connections = Connections(self._loop, self._send, self._refuse)
        self._askers: dict[str, Who] = {}  # of each name, who asked for it last
        self._refused: dict[object, None] = {}
        self._readers: list[Talk] = []
        self._flows: dict[object, Flow] = {}
        self._latest: dict[object, Packet] = {}
        self._open()

    def serve(self, program: int) -> None:
        """Serve until the last process in the program's network namespace has ended."""
        alive = [program]

        def ended(_: int) -> None:
            self._loop.forget(alive[0])
            os.close(alive[0])
            alive[0] = find_process(self._network, but=())
            if alive[0] >= 0:
                self._loop.watch(alive[0], EPOLLIN, ended)

        self._loop.watch(program, EPOLLIN, ended)
        while alive[0] >= 0:
            self._loop.turn()
        self._packets_ready(0)
        self._record.lost(self._lost())

    def _open(self) -> None:
        """Watch every socket, each for what it is for."""
        version_6 = self._sockets["dns/udp"].family == AF_INET6
        search = Search(*search_list(), self._rules.knows_name)
        answerer = Answerer(self._loop, self._names, version_6, search, self._asked)
        for label, handle in self._sockets.items():
            kind, _, rest = label.partition(":")
            if kind == "packets":
                self._loop.watch(handle.fileno(), EPOLLIN, self._packets_ready)
            elif kind == "dns":
                answerer.serve_connections(handle, self._past_tcp if self._leads("tcp") else None)
            elif kind == "dns/udp":
                answerer.serve_datagrams(
                    handle, self._past_udp(handle) if self._leads("udp") else None
                )
            elif kind == "record":
                self._loop.watch(handle.fileno(), EPOLLIN, self._tell_record)
            elif kind == "tcp":
                self._watch_listener(handle)
            elif kind == "udp":
                self._datagrams(handle, int(rest)).serve()
            elif kind == "loopback":
                self._serve_loopback(handle, *_apart(rest))
            elif kind == "loopback/udp":
                self._serve_loopback_datagrams(handle, *_apart(rest))

    # What was tried.

    def _packets_ready(self, _: int) -> None:
        handle = self._sockets["packets"]
        for _ in range(BATCH):
            try:
                frame = handle.recv(KEPT)
            except BlockingIOError:
                return
            except OSError:  # the interface is gone
                return
            packet = packets.parse(frame)
            if packet and packet.protocol == packets.TCP:
                self._connection_tried(packet)
            elif packet:
                self._datagram_tried(packet)

    def _connection_tried(self, packet: "Packet") -> None:
        if packet.target == GATEWAY4 and packet.port == RECORD_PORT:
            return
        if self._connections.is_known(packet):
            return
        if f"tcp:{packet.port}" not in self._sockets:
            self._note("tcp", packet, rules.NOT_ALLOWED)
            if self._holds:  # or B's kernel has refused it by now
                self._refuse(packet, "")
            return
        if not self._connections.begin(packet):
            self._note("tcp", packet, "too many at once")
            self._refuse(packet, "")
            return
        found: list[Who] = []

        def who() -> "Who":
            if not found:
                found.append(self._who(packet))
            return found[0]

        def note(reason: str) -> None:
            self._note("tcp", packet, reason, who())

        def decided(targets: "list[Target]", reason: str) -> None:
            if reason:
                note(reason)
                self._connections.end(packet, "" if reason == rules.NOT_ALLOWED else "host")
            else:
                self._connections.connect(packet, targets, note)

        self._decisions.decide(packet.target, packet.port, "tcp", decided)
        who()  # while the far side is waited for: a socket that is closed takes long to be found

    def _datagram_tried(self, packet: "Packet") -> None:
        """Note it, and refuse it unless its port is served: then `_datagrams` does."""
        key = packet.key()
        if f"udp:{packet.port}" in self._sockets:
            self._latest.pop(key, None)
            self._latest[key] = packet
            if len(self._latest) > MOST_KEYS:
                del self._latest[next(iter(self._latest))]
            return
        if not _is_multicast(packet.target):
            self._send(OUTER, packets.unreachable(packet, "port", GATEWAYS))
        if key not in self._refused:
            self._refused[key] = None
            if len(self._refused) > MOST_KEYS:
                del self._refused[next(iter(self._refused))]
            self._note("udp", packet, rules.NOT_ALLOWED)

    def _asked(
        self, question: "names.Question", ends: "Ends", protocol: str
    ) -> "Callable[[], None]":
        if question.name == names.LOCAL or question.kind not in (names.A, names.AAAA, names.ANY):
            return nothing
        known = self._rules.knows_name(question.name)
        if known:
            self._decisions.expect(question.name)
        number = packets.TCP if protocol == "tcp" else packets.UDP
        who = self._finder.find(number, *ends)
        self._askers[question.name] = who
        if len(self._askers) > MOST_KEYS:
            del self._askers[next(iter(self._askers))]

        def noted() -> None:
            version = 6 if question.kind == names.AAAA else 4
            address = text_of(self._names.address(question.name, version))
            reason = "" if known else rules.NOT_ALLOWED
            self._record.add("dns", question.name, address, 53, reason, who)

        return noted

    def _note(self, protocol: str, packet: "Packet", reason: str, who: "Who | None" = None) -> None:
        name = self._names.name(packet.target)
        who = who or self._who(packet)
        if who.pid is None:  # the kernel has refused it, and its socket is closed
            who = self._askers.get(name) or self._finder.only() or who
        self._record.add(protocol, name, text_of(packet.target), packet.port, reason, who)

    def _who(self, packet: "Packet") -> "Who":
        source = packet.source, packet.source_port
        return self._finder.find(packet.protocol, source, (packet.target, packet.port))

    def _lost(self) -> int:
        try:  # struct tpacket_stats: all, and those that were dropped
            numbers = self._sockets["packets"].getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        except OSError:
            return 0
        return int.from_bytes(numbers[4:8], sys.byteorder)

    # What passes.

    def _watch_listener(self, handle: "socket") -> None:
        self._loop.watch(handle.fileno(), EPOLLIN, lambda _: self._connections.accept(handle))

    def _datagrams(self, handle: "socket", port: int) -> Datagrams:
        def decide(
            target: bytes, sender: "tuple[bytes, int]", then: "Callable[[list[Target]], None]"
        ) -> None:
            who = self._finder.find(packets.UDP, sender, (target, port))

            def decided(targets: "list[Target]", reason: str) -> None:
                name = self._names.name(target)
                self._record.add("udp", name, text_of(target), port, reason, who)
                if reason:
                    refused(target, sender)
                then(targets)

            self._decisions.decide(target, port, "udp", decided)

        def refused(target: bytes, sender: "tuple[bytes, int]") -> None:
            packet = self._latest.get((*sender, target, port))
            if packet:
                self._send(OUTER, packets.unreachable(packet, "port", GATEWAYS))

        return Datagrams(self._loop, handle, decide, refused, self._flows)

    def _leads(self, protocol: str) -> bool:
        """Tell whether the list allows a resolver."""
        return DNS_PORT in rules.ports(self._allow, protocol)

    def _past_udp(self, handle: "socket") -> "Callable[[Message, Own], None]":
        """Return what passes on the questions to a resolver that the list allows."""
        datagrams = self._datagrams(handle, DNS_PORT)

        def past(message: "Message", own: "Own") -> None:
            def decided(_: "list[Target]", reason: str) -> None:
                if reason == rules.NOT_ALLOWED:
                    own()
                else:
                    datagrams.take(*message)

            self._decisions.decide(sent_to(message[1]), DNS_PORT, "udp", decided)

        return past

    def _past_tcp(self, inner: "socket", source: "Address", own: "Own") -> None:
        """Lead a connection to a resolver that the list allows."""
        target = end_of(inner)[0]

        def decided(targets: "list[Target]", reason: str) -> None:
            if reason == rules.NOT_ALLOWED:
                own()
            else:
                self._lead(inner, source, (target, DNS_PORT), targets, reason)

        self._decisions.decide(target, DNS_PORT, "tcp", decided)

    def _lead(
        self,
        inner: "socket",
        source: "Address",
        target: "Address",
        targets: "list[Target]",
        reason: str = "",
    ) -> None:
        """Connect outside, for a connection that the kernel has made already.

        Both ends of it are the program's by then: where nobody listens outside, it is reset.

        Args:
            inner: the connection.
            source: who made it.
            target: where to.
            targets: where that is outside; there are none if there is a reason.
            reason: why it is refused.
        """
        who = self._finder.find(packets.TCP, source, target)
        name, address = self._names.name(target[0]), text_of(target[0])

        def connected(outer: "socket") -> None:
            self._record.add("tcp", name, address, target[1], "", who)
            self._connections.copy(inner, outer)

        def refused(reason: str) -> None:
            self._record.add("tcp", name, address, target[1], reason, who)
            abort(inner)

        if reason:
            refused(reason)
        else:
            dial(self._loop, targets, connected, lambda error: refused(reason_of(error)))

    def _serve_loopback(self, listener: "socket", address: str, port: int) -> None:
        """Lead a port of the program's loopback to the same one of the host's."""

        def ready(_: int) -> None:
            taken = accepted(listener)
            if taken:
                leads = self._rules.loopback_targets(address, port, "tcp")
                targets = [target_of(packed(each), port) for each in leads]
                self._lead(*taken, (packed(address), port), targets)

        self._loop.watch(listener.fileno(), EPOLLIN, ready)

    def _serve_loopback_datagrams(self, handle: "socket", address: str, port: int) -> None:
        def decide(
            _: bytes, sender: "tuple[bytes, int]", then: "Callable[[list[Target]], None]"
        ) -> None:
            who = self._finder.find(packets.UDP, sender, (packed(address), port))
            self._record.add("udp", "", address, port, "", who)
            then([target_of(packed(address), port)])

        Datagrams(self._loop, handle, decide, lambda *_: None, self._flows).serve()

    def _send(self, interface: str, frame: bytes) -> None:
        try:
            self._sockets["packets"].sendto(frame, (interface, 0))
        except OSError:  # the interface is gone, or its queue full: TCP sends again
            pass

    def _refuse(self, packet: "Packet", unreachable: str) -> None:
        if unreachable:
            self._send(OUTER, packets.unreachable(packet, unreachable, GATEWAYS))
        else:
            self._send(OUTER, packets.reset(packet))

    def _tell_record(self, _: int) -> None:
        self._packets_ready(0)  # what was tried before this was asked is part of the answer
        taken = accepted(self._sockets["record"])
        if taken:
            make_room(self._readers, MOST_READERS)
            self._readers.append(Talk(self._loop, taken[0], to_send=self._record.dump()))


def _apart(text: str) -> "tuple[str, int]":
    address, _, port = text.rpartition(":")
    return address, int(port)


def _is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF if len(address) == 16 else address[0] >= 224


WHOLE = True
