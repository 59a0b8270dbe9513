"""Names: an address for each that is asked for, and the answers of the DNS, RFC 1035.

Every name gets an address of its own, also one that is not allowed, so that the connection that
follows says which name it is for, and its port. What a query holds comes from whoever is inside: it
is read strictly, and the answer is made of nothing but the question and an address.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

A, PTR, AAAA, ANY = 1, 12, 28, 255  # types
IN = 1
RESPONSE, AUTHORITATIVE, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0100, 0x0080
OPCODE = 0x7800
FORMAT_ERROR, NO_SUCH_NAME, NOT_IMPLEMENTED = 1, 3, 4
LONGEST_NAME = 255  # bytes, RFC 1035, 3.1
TTL = 60  # seconds
HOST_NAME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
LOCAL, NOWHERE = "localhost", "invalid"  # RFC 6761, and all names below them

FIRST4 = int.from_bytes(bytes([198, 18, 1, 0]), "big")  # of 198.18.0.0/15
MOST = 0x1FF00 - 0x100  # names that have an address at a time; the oldest gives its own away
PREFIX6 = bytes.fromhex("2001000200000001")  # of 2001:2::/48


class Names:
    """Which address is which name's."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._name: dict[int, str] = {}
        self._next = 0

    def number(self, name: str) -> int:
        """Return the number of a name, a new one if it has none."""
        found = self._number.get(name)
        if found is None:
            found = self._next % MOST
            self._next += 1
            self._number.pop(self._name.get(found, ""), None)
            self._number[name], self._name[found] = found, name
        return found

    def address(self, name: str, version: int) -> bytes:
        """Return the address of a name; ``version`` is 4 or 6."""
        number = self.number(name)
        if version == 4:
            return (FIRST4 + number).to_bytes(4, "big")
        return PREFIX6 + number.to_bytes(8, "big")

    def name(self, address: bytes) -> str:
        """Return the name that an address was given to, empty where it was given to none."""
        if len(address) == 4:
            return self._name.get(int.from_bytes(address, "big") - FIRST4, "")
        if address[:8] == PREFIX6:
            return self._name.get(int.from_bytes(address[8:], "big"), "")
        return ""


class Question:
    """What is asked: the name in lower case without its last dot, and the type."""

    __slots__ = ("flags", "identity", "kind", "name", "raw")

    def __init__(self, identity: bytes, flags: int, name: str, kind: int, raw: bytes) -> None:
        self.identity = identity
        self.flags = flags
        self.name = name
        self.kind = kind
        self.raw = raw


def read(message: bytes) -> "Optional[Question]":
    """Return the question of a query; None for what is no query with one question of class IN."""
    if len(message) < 17 or int.from_bytes(message[4:6], "big") != 1:
        return None
    flags = int.from_bytes(message[2:4], "big")
    if flags & (RESPONSE | OPCODE):
        return None
    labels = []
    at = 12
    while at < len(message) and message[at]:
        length = message[at]
        label = message[at + 1 : at + 1 + length]
        if length > 63 or len(label) != length or at + length - 11 > LONGEST_NAME:
            return None  # a pointer has no place in a question
        labels.append(label)
        at += 1 + length
    question = message[12 : at + 5]
    if len(question) != at - 7 or int.from_bytes(question[-2:], "big") != IN:
        return None
    name = ".".join(map(_readable, labels)).lower()
    kind = int.from_bytes(question[-4:-2], "big")
    return Question(message[:2], flags, name, kind, question)


def answer(question: Question, names: Names, version_6: bool) -> bytes:
    """Return the response to a question.

    Args:
        question: it.
        names: gets the name, where it is its address that is asked for.
        version_6: whether IPv6 addresses lead anywhere.
    """
    name, data, code = question.name, b"", 0
    kind = question.kind
    local = name == LOCAL or name.endswith(f".{LOCAL}")
    if kind in (A, ANY) and name:
        kind = A
        data = bytes([127, 0, 0, 1]) if local else names.address(name, 4)
    elif kind == AAAA and name and (version_6 or local):
        data = bytes(15) + b"\x01" if local else names.address(name, 6)
    elif kind == PTR:
        found = names.name(_reversed(name))
        found = "" if "\\" in found else found
        data = b"".join(bytes([len(each)]) + each.encode() for each in found.split(".")) + b"\0"
        if not found:
            data, code = b"", NO_SUCH_NAME
    if not data:
        return _header(question, code, 0)
    # The name is where the question has it.
    record = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1" + TTL.to_bytes(4, "big")
    return _header(question, code, 1) + record + len(data).to_bytes(2, "big") + data


def is_nowhere(name: str) -> bool:
    """Tell whether nothing can have that name."""
    return name == NOWHERE or name.endswith(f".{NOWHERE}")


def no_such_name(question: Question) -> bytes:
    """Return the response NXDOMAIN."""
    return _header(question, NO_SUCH_NAME, 0)


def _header(question: Question, code: int, answers: int) -> bytes:
    """Return a response up to its answers."""
    flags = RESPONSE | RECURSION_AVAILABLE | (question.flags & RECURSION_DESIRED) | code
    header = question.identity + flags.to_bytes(2, "big") + b"\0\1"
    return header + answers.to_bytes(2, "big") + bytes(4) + question.raw


def _readable(label: bytes) -> str:
    """Return a label; what no host name has is escaped as in RFC 1035, 5.1.

    Above all a NUL, behind which getaddrinfo(3) would not see the rest.
    """
    if HOST_NAME.issuperset(label):
        return label.decode()
    return "".join(chr(each) if each in HOST_NAME else f"\\{each:03}" for each in label)


def _reversed(name: str) -> bytes:
    """Return the address that a name below in-addr.arpa or ip6.arpa stands for; empty if none."""
    labels = name.split(".")
    try:
        if labels[4:] == ["in-addr", "arpa"]:
            return bytes(int(label) for label in labels[3::-1])
        if labels[32:] == ["ip6", "arpa"]:
            return bytes.fromhex("".join(labels[31::-1]))
    except ValueError:
        pass
    return b""


WHOLE = True
