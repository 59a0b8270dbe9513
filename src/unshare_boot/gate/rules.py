"""The rules of a list: what ``allow`` lets pass."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Allow = tuple[str, int, int, str]  # host, first and last port, tcp or udp

NOT_ALLOWED = "not in allow"
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # those of the host, found on one's own loopback
CLOUD = bytes.fromhex("fd000ec2")  # fd00:ec2::254 and others, the same by IPv6
MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, an IPv4 address as an IPv6 one


class Rules:
    """What may be reached."""

    def __init__(self, allow: "Iterable[Allow]") -> None:
        """Sort the rules by what they name: names, or addresses."""
        self._names: list[Allow] = []
        self._loopback: list[Allow] = []
        self._networks: list[tuple[bytes, int, Allow]] = []
        for rule in allow:
            if rule[0] in LOOPBACK:
                self._loopback.append(rule)
                continue
            network = _network(rule[0])
            if network:
                self._networks.append((*network, rule))
            else:
                self._names.append(rule)

    def allows_name(self, name: str, port: int, protocol: str) -> bool:
        """Tell whether a name may be reached at a port."""
        return any(
            _fits(rule[0], name) and rule[1] <= port <= rule[2] and rule[3] == protocol
            for rule in self._names
        )

    def knows_name(self, name: str) -> bool:
        """Tell whether a name may be reached at any port."""
        return any(_fits(rule[0], name) for rule in self._names)

    def allows_address(self, address: bytes, port: int, protocol: str) -> bool:
        """Tell whether the list has this very address, or a network that it is in."""
        return any(
            len(address) == len(network)
            and _leading(address, bits) == _leading(network, bits)
            and rule[1] <= port <= rule[2]
            and rule[3] == protocol
            for network, bits, rule in self._networks
        )

    def loopback_targets(self, address: str, port: int, protocol: str) -> "list[str]":
        """Return where a port of one's own loopback leads: the same, and by ``localhost`` both.

        A program that is given both addresses tries the other one if the first refuses. Here the
        first cannot: the kernel has made the connection by the time that the far side is asked.
        """
        both = any(
            rule[0] == "localhost" and rule[1] <= port <= rule[2] and rule[3] == protocol
            for rule in self._loopback
        )
        other = "::1" if address == "127.0.0.1" else "127.0.0.1"
        return [address, other] if both else [address]

    def names_at(self, port: int, protocol: str) -> "list[str]":
        """Return the names that may be reached at a port, but for patterns."""
        return [
            rule[0]
            for rule in self._names
            if rule[0][:2] != "*." and rule[1] <= port <= rule[2] and rule[3] == protocol
        ]


def ports(allow: "Iterable[Allow]", protocol: str) -> "list[int]":
    """Return every port that anything but the loopback may be reached at."""
    found: set[int] = set()
    for host, first, last, each in allow:
        if each == protocol and host not in LOOPBACK:
            found.update(range(first, last + 1))
    return sorted(found)


def loopback_ports(allow: "Iterable[Allow]") -> "list[tuple[str, int, str]]":
    """Return where to listen on one's own loopback for the host's: address, port, protocol."""
    found = set()
    for host, first, last, protocol in allow:
        if host in LOOPBACK:
            for address in ("127.0.0.1", "::1") if host == "localhost" else (host,):
                found |= {(address, port, protocol) for port in range(first, last + 1)}
    return sorted(found)


def is_special(address: bytes) -> bool:
    """Tell whether no name may lead there: loopback, link-local, multicast, unspecified.

    169.254.169.254 above all, where clouds keep credentials; and all of these as IPv6 addresses
    with an IPv4 one inside.
    """
    if len(address) == 16 and address[:12] in (MAPPED, bytes(12)) and address[12:] > b"\0\0\0\1":
        address = address[12:]
    if len(address) == 16 and address[:12] == bytes.fromhex("0064ff9b") + bytes(8):  # NAT64
        address = address[12:]
    if len(address) == 4:
        first, second = address[0], address[1]
        return first in (0, 127) or first >= 224 or (first, second) == (169, 254)
    if address[:4] == CLOUD:
        return True
    unspecified_or_loopback = address[:15] == bytes(15) and address[15] < 2
    link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
    return unspecified_or_loopback or link_local or address[0] == 0xFF


def _fits(pattern: str, name: str) -> bool:
    if pattern[:2] == "*.":
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return name == pattern


def _network(host: str) -> "tuple[bytes, int] | None":
    """Return the address and prefix length of a rule's host; None where that is a name."""
    from _socket import AF_INET, AF_INET6, inet_pton

    text, _, prefix = host.partition("/")
    try:
        address = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except OSError:
        return None
    return address, int(prefix) if prefix else 8 * len(address)


def _leading(address: bytes, bits: int) -> int:
    return int.from_bytes(address, "big") >> (8 * len(address) - bits)


WHOLE = True
