"""Packets of the program's: taken apart, and answered in the kernel's place."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

ETHERNET = 14  # bytes of the header
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
RST_ACK = 0x14
TTL = 64

# What an ICMP message makes of connect(2): type and code, RFC 792 and RFC 4443.
ICMP_CODES = {"host": 1, "net": 0, "port": 3, "prohibited": 13}
ICMPV6_CODES = {"host": 3, "net": 0, "port": 4, "prohibited": 1}


class Packet:
    """The first packet of a connection, or a datagram.

    Attributes:
        frame: all of it, as far as it was kept.
        protocol: TCP or UDP.
        source, target: addresses, 4 or 16 bytes.
        source_port, port: of the source and of the target.
    """

    __slots__ = ("frame", "head", "port", "protocol", "source", "source_port", "target")

    def __init__(self, frame: bytes, head: int, protocol: int) -> None:
        self.frame = frame
        self.head = head  # bytes before the header of the protocol
        self.protocol = protocol
        if frame[12:14] == IPV4:
            self.source, self.target = frame[26:30], frame[30:34]
        else:
            self.source, self.target = frame[22:38], frame[38:54]
        self.source_port = int.from_bytes(frame[head : head + 2], "big")
        self.port = int.from_bytes(frame[head + 2 : head + 4], "big")

    def key(self) -> "tuple[bytes, int, bytes, int]":
        """Return what tells one connection from another."""
        return self.source, self.source_port, self.target, self.port


def parse(frame: bytes) -> "Optional[Packet]":
    """Return the packet in an Ethernet frame; None for anything but whole TCP and UDP headers."""
    kind = frame[12:14]
    if kind == IPV4 and len(frame) >= ETHERNET + 20 and frame[14] >> 4 == 4:
        head, protocol = ETHERNET + 4 * (frame[14] & 15), frame[23]
    elif kind == IPV6 and len(frame) >= ETHERNET + 40 and frame[14] >> 4 == 6:
        head, protocol = ETHERNET + 40, frame[20]
    else:
        return None
    needed = {TCP: 20, UDP: 8}.get(protocol)
    if needed is None or head < ETHERNET + 20 or len(frame) < head + needed:
        return None
    return Packet(frame, head, protocol)


def again(packet: Packet) -> bytes:
    """Return a SYN as a frame for ``lo``, with the checksum that a veth(4) leaves out."""
    segment = bytearray(packet.frame[packet.head :])
    if packet.frame[12:14] == IPV4:  # the frame may be padded
        total = int.from_bytes(packet.frame[16:18], "big") - (packet.head - ETHERNET)
    else:
        total = int.from_bytes(packet.frame[18:20], "big")
    del segment[total:]
    segment[16:18] = bytes(2)
    segment[16:18] = _checksum(_pseudo(packet.source, packet.target, TCP, len(segment)) + segment)
    return bytes(12) + packet.frame[12 : packet.head] + bytes(segment)


def reset(packet: Packet) -> bytes:
    """Return the frame that refuses a connection: RFC 9293, 3.5.2."""
    sequence = int.from_bytes(packet.frame[packet.head + 4 : packet.head + 8], "big")
    segment = bytearray(20)
    segment[0:2] = packet.port.to_bytes(2, "big")
    segment[2:4] = packet.source_port.to_bytes(2, "big")
    segment[8:12] = ((sequence + 1) & 0xFFFFFFFF).to_bytes(4, "big")
    segment[12], segment[13] = 5 << 4, RST_ACK
    pseudo = _pseudo(packet.target, packet.source, TCP, len(segment))
    segment[16:18] = _checksum(pseudo + segment)
    return _frame(packet, packet.target, TCP, bytes(segment))


def unreachable(packet: Packet, what: str, gateway: "tuple[bytes, bytes]") -> bytes:
    """Return the frame that says what cannot be reached.

    Args:
        packet: that was sent there.
        what: ``host``, ``net``, ``port`` or ``prohibited``.
        gateway: the IPv4 and the IPv6 address that says so.
    """
    quoted = packet.frame[ETHERNET : packet.head + 8]
    if packet.frame[12:14] == IPV4:
        message = bytearray([3, ICMP_CODES[what], 0, 0]) + bytes(4) + quoted
        message[2:4] = _checksum(message)
        return _frame(packet, gateway[0], ICMP, bytes(message))
    message = bytearray([1, ICMPV6_CODES[what], 0, 0]) + bytes(4) + quoted
    pseudo = _pseudo(gateway[1], packet.source, ICMPV6, len(message))
    message[2:4] = _checksum(pseudo + message)
    return _frame(packet, gateway[1], ICMPV6, bytes(message))


def _frame(packet: Packet, source: bytes, protocol: int, payload: bytes) -> bytes:
    """Return a frame to where the packet came from."""
    ethernet = packet.frame[6:12] + packet.frame[0:6] + packet.frame[12:14]
    if packet.frame[12:14] == IPV4:
        header = bytearray([0x45, 0]) + (20 + len(payload)).to_bytes(2, "big") + bytes(4)
        header += bytes([TTL, protocol, 0, 0]) + source + packet.source
        header[10:12] = _checksum(header)
    else:
        header = bytearray([0x60, 0, 0, 0]) + len(payload).to_bytes(2, "big")
        header += bytes([protocol, TTL]) + source + packet.source
    return ethernet + bytes(header) + payload


def _pseudo(source: bytes, target: bytes, protocol: int, length: int) -> bytes:
    return source + target + length.to_bytes(4, "big") + bytes([0, 0, 0, protocol])


def _checksum(data: "bytes | bytearray") -> bytes:
    """Return the internet checksum, RFC 1071."""
    # The sum is the same in either byte order, RFC 1071, 2 (B).
    total = sum(memoryview(bytes(data) + bytes(len(data) & 1)).cast("H"))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, sys.byteorder)


WHOLE = True
