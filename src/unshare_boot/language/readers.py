"""How the value of each kind of item is read into a draft of the plan, and checked on the way.

First the readers. Each takes the draft, the item's name, its value (None where it has none) and,
for the message about a value that is not understood, what was expected. Then the functions for
what values are made of: numbers, ids, offsets, addresses and paths; each takes the item's name and
its whole value, for the message, and the part to read.

In one file with each other because a file costs every start that needs it 0.1 to 0.25 ms.
"""

import os
from errno import EINVAL

from ..namespaces import NAMESPACES, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import UnshareError

MAX_ID = 2**32 - 2  # (uid_t)-1 means "no id" to the kernel
MAX_HOSTNAME = 64  # bytes: HOST_NAME_MAX, gethostname(2)
MAX_OFFSET = 2**63 // 10**9 // 2  # seconds: the kernel's KTIME_SEC_MAX / 2, time_namespaces(7)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}  # seconds
MULTICAST_4 = tuple(map(str, range(224, 240)))  # how its addresses begin; those of IPv6 with ff


class Draft:
    """A plan that is being written.

    Attributes:
        plan: what has been read so far.
        several: the fields that hold several values, each as a dict: to look through a tuple, or to
            copy it, for each of the ten thousand that a list has room for takes seconds.
        offline: whether the list has that.
        ports: how many are in ``allow``.
    """

    def __init__(self) -> None:
        self.plan = Plan()
        self.several: dict[str, dict[object, object]] = {}
        self.offline = False
        self.ports = 0

    def once(self, name: str, value: object) -> None:
        """Set a field that may be given once."""
        if getattr(self.plan, name) is not None:
            raise bad(name, None, "given twice")
        setattr(self.plan, name, value)

    def add(self, field: str, value: object, key: object = None) -> bool:
        """Add to a field that holds several; return false where there is one with that key."""
        values = self.several.setdefault(field, {})
        if key in values:
            return False
        values[len(values) if key is None else key] = value
        return True


# One function a kind of item.


def user(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    words = NAMESPACES[name].words
    if value is None:
        value = words[0]
    elif value not in words and value[:1] != "/":
        ids = value.split(":")
        if len(ids) > 2:
            raise bad(name, value, f"expected {expected}")
        value = ":".join(id_or_name(name, value, part, expected) for part in ids)
    draft.once(name, _maybe_path(name, value))


def word_or_path(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    words = NAMESPACES[name].words
    if value is None:
        value = words[0]
    elif value not in words and value[:1] != "/":
        raise bad(name, value, f"expected {expected}{nearest(value, words)}")
    draft.once(name, _maybe_path(name, value))


def uts(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    if value is not None and value[:1] != "/":
        hostname(name, value)
    draft.once(name, _maybe_path(name, value or ""))


def alone_or_path(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    if value is not None and value[:1] != "/":
        raise bad(name, value, f"expected {expected}")
    draft.once(name, _maybe_path(name, value or ""))


def time(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    if value is None or value[:1] == "/":
        draft.once(name, _maybe_path(name, value or ""))
        return
    nanoseconds = offset(name, value, expected)
    draft.once(name, "")
    for clock in ("monotonic", "boottime"):
        draft.once(clock, nanoseconds)


def clock(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    draft.once(name, offset(name, value, expected))


def map_ids(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    parts = (value or "").split(":")
    if len(parts) != 3:
        raise bad(name, value, f"expected {expected}")
    inner, outer = (id_or_name(name, value, part, "an id or a name") for part in parts[:2])
    count = number(name, value, parts[2], 1, MAX_ID + 1)
    for first in (inner, outer):
        if first.isdigit() and int(first) + count - 1 > MAX_ID:
            raise bad(name, value, f"the range ends after the last id, {MAX_ID}")
    draft.add("map_users" if name == "map-users" else "map_groups", (inner, outer, count))


def setgroups(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    draft.once(name, one_of(name, value, ("allow", "deny")))


def sockets(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    draft.once(name, one_of(name, value, ("unix",)))


def caps(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    draft.once(name, one_of(name, value, ("keep", "none")))


def publish(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    ports, slash, protocol = (value or "").partition("/")
    host_address, colon, rest = ports.rpartition("]:")  # [::1]:8080:80
    numbers = rest.split(":")
    if not colon:
        host_address = numbers.pop(0) if len(numbers) == 3 else "127.0.0.1"  # 127.0.0.1:8080:80
    if len(numbers) != 2 or (slash and protocol not in ("tcp", "udp")):
        raise bad(name, value, f"expected {expected}")
    if colon:
        inner = host_address[1:] if host_address[:1] == "[" else ""
        host_address = f"[{address(name, value, inner, (6,))}]"
    else:
        host_address = address(name, value, host_address, (4,))
    host, inside = (number(name, value, each, 1, 65535) for each in numbers)
    protocol = protocol or "tcp"
    outer = host_address, host, protocol
    if not draft.add("publish", (host_address, host, inside, protocol), key=outer):
        raise bad(name, value, "this port of the host is given twice")


def addr(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    text, slash, prefix = (value or "").partition("/")
    if not slash:
        raise bad(name, value, f"expected {expected}")
    text = address(name, value, text)
    if not is_of_a_host(text):
        raise bad(name, value, f"no interface can have the address {text}")
    bits = number(name, value, prefix, 0, 128 if ":" in text else 32)
    if not draft.add("addr", f"{text}/{bits}", key=text):
        raise bad(name, value, "given twice")


def record(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    if value == "":
        raise bad(name, value, f"expected {expected}")
    draft.once(name, "" if value is None else path(name, value))


def offline(draft: Draft, name: str, value: "str | None", _: str) -> None:
    if value is not None:
        raise bad(name, value, "takes no value")
    if draft.offline:
        raise bad(name, value, "given twice")
    draft.offline = True


def proc(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    word = "fresh" if value is None else one_of(name, value, ("fresh", "keep"))
    if draft.plan.keep_proc or ("proc",) in draft.several.get("operations", {}):
        raise bad(name, value, "given twice")
    if word == "keep":
        draft.plan.keep_proc = True
    else:
        draft.add("operations", ("proc",), key=("proc",))


def sys(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    if value is not None:
        raise bad(name, value, "takes no value")
    if not draft.add("operations", ("sys",), key=("sys",)):
        raise bad(name, value, "given twice")


def directory(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    if not value:
        raise bad(name, value, f"expected {expected}")
    draft.add("operations", (name, path(name, value)))


def tmpfs(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    paths = split(value or "", ":")
    if not 1 <= len(paths) <= 2 or not all(paths):
        raise bad(name, value, f"expected {expected}")
    size = paths[1] if len(paths) == 2 else ""
    digits = size[:-1] if size[-1:] in (*"kmgKMG%",) else size
    if size and not (digits.isascii() and digits.isdecimal() and digits.strip("0")):
        raise bad(name, value, f"{size!r} is no size: expected {expected}")
    draft.add("operations", (name, path(name, paths[0]), *([size] if size else [])))


def overlay(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    paths = split(value or "", ":")
    if not 1 <= len(paths) <= 2 or not all(paths):
        raise bad(name, value, f"expected {expected}")
    draft.add("operations", (name, *(path(name, each) for each in paths)))


def bind(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    paths = split(value or "", ":")
    if len(paths) != 2 or not all(paths):
        raise bad(name, value, f"expected {expected}")
    draft.add("operations", (name, *(path(name, each) for each in paths)))


def _maybe_path(name: str, value: str) -> str:
    return path(name, value) if value[:1] == "/" else value


# What values are made of.


def bad(name: str, value: "str | None", reason: str) -> "UnshareError":
    """Return the error of an item that is not understood."""
    from ..errors import UnshareError, named  # a list that is right does without the file

    return UnshareError(EINVAL, reason, named(name, value))


def not_a(what: str, name: str, value: "str | None", text: str) -> "UnshareError":
    """Return the error of a part of a value that is something else than what it should be."""
    from ..errors import shown

    return bad(name, value, f"{shown(text)} is no {what}")


def nearest(word: str, words: "tuple[str, ...]") -> str:
    """Return a hint at the word that was probably meant, empty where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word[:40].lower(), words, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def one_of(name: str, value: "str | None", words: "tuple[str, ...]") -> str:
    """Return a value that has to be one of these words."""
    if value is None or value not in words:
        raise bad(name, value, f"expected {' or '.join(words)}{nearest(value or '', words)}")
    return value


def number(name: str, value: "str | None", text: str, least: int, most: int) -> int:
    """Return a number in a range."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise not_a(f"number from {least} to {most}", name, value, text)
    if not least <= int(text) <= most:
        raise bad(name, value, f"{text} is out of range, {least} to {most}")
    return int(text)


def id_or_name(name: str, value: "str | None", text: str, expected: str) -> str:
    """Return one user or group: a number in range, or what may be a name; looked up later."""
    if text.isascii() and text.isdigit():
        return str(number(name, value, text, 0, MAX_ID))
    plain = text.replace("-", "").replace(".", "").replace("_", "").rstrip("$")
    if not plain.isalnum() or not plain.isascii() or text[0] in "-.0123456789":
        raise bad(name, value, f"expected {expected}")
    return text


def hostname(name: str, value: str) -> str:
    """Return a hostname, hostname(7)."""
    length = len(value.encode("utf-8", "replace"))  # a surrogate is one byte
    if not 0 < length <= MAX_HOSTNAME:
        raise bad(name, value, f"a hostname has 1 to {MAX_HOSTNAME} bytes, not {length}")
    if not value.isascii() or not value.replace("-", "a").replace(".", "a").isalnum():
        raise bad(name, value, "a hostname has letters, digits, '-' and '.', see hostname(7)")
    return value


def offset(name: str, value: "str | None", expected: str) -> int:
    """Return the nanoseconds of ``[+-]NUMBER[smhdw]``."""
    text = value or ""
    digits = text[1:] if text[:1] in ("+", "-") else text
    unit = UNITS.get(digits[-1:], 0)
    whole, dot, fraction = (digits[:-1] if unit else digits).partition(".")
    wrong = not (whole + fraction).isdigit() or not (whole + fraction).isascii()
    if wrong or not whole or (dot and not fraction) or len(whole) > 12 or len(fraction) > 9:
        raise bad(name, value, f"expected {expected}")
    nanoseconds = int(whole + fraction.ljust(9, "0")) * (unit or 1)
    if nanoseconds > MAX_OFFSET * 10**9:
        raise bad(name, value, f"out of range: at most {MAX_OFFSET} seconds either way")
    return -nanoseconds if text[:1] == "-" else nanoseconds


def address(name: str, value: "str | None", text: str, versions: "tuple[int, ...]" = (4, 6)) -> str:
    """Return an IP address of one of these versions in its shortest form."""
    from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

    family, version = (AF_INET6, 6) if ":" in text else (AF_INET, 4)
    try:
        if version not in versions:
            raise OSError
        return inet_ntop(family, inet_pton(family, text))
    except (OSError, ValueError):
        wanted = " or ".join(f"IPv{version}" for version in versions)
        raise not_a(f"{wanted} address", name, value, text) from None


def is_of_a_host(text: str) -> bool:
    """Tell whether an interface can have an address: no multicast one, and not 0.0.0.0 or ::."""
    group = text.partition(":")[0]
    multicast = text.partition(".")[0] in MULTICAST_4 or (len(group) == 4 and group[:2] == "ff")
    return not multicast and text not in ("0.0.0.0", "::")  # the kernel takes these in silence


def path(name: str, value: str) -> str:
    """Return a path without the backslashes that its special characters have before them."""
    if "\0" in value:
        raise bad(name, value, "a path has no NUL character")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:  # from unshare(); the environment holds what it encodes
        wrong = ascii(value[error.start])
        raise bad(name, value, f"{wrong} cannot be encoded for a path") from None
    parts = iter(value.split("\\"))
    plain = next(parts)
    for part in parts:
        if part[:1] in (",", ":", "|"):
            plain += part
        elif part == "" and (following := next(parts, None)) is not None:
            plain += "\\" + following
        else:
            raise bad(name, value, "a backslash stands only before ',' ':' '|' or '\\'")
    return _in_home(name, value, plain) if plain[:1] == "~" else plain


def escaped(plain: str) -> str:
    """Return a path as a list has it, where a colon could separate two."""
    for character in "\\,:|":
        plain = plain.replace(character, f"\\{character}")
    return plain


def _in_home(name: str, value: str, plain: str) -> str:
    """Return a path with the caller's home for its first ``~``, as the shell has it.

    What else begins with one, such as ``~user``, is a name like any other.
    """
    if plain != "~" and plain[:2] != "~/":
        return plain
    whole = os.path.expanduser(plain)
    if whole[:1] == "~":
        raise bad(name, value, "~ is the home directory, and HOME is not set")
    return whole


def split(text: str, separator: str) -> "list[str]":
    """Split at each separator that no backslash escapes; the backslashes stay."""
    whole: list[str] = []
    pieces: list[str] = []
    for piece in text.split(separator):
        pieces.append(piece)
        if (len(piece) - len(piece.rstrip("\\"))) % 2 == 0:
            whole.append(separator.join(pieces))
            pieces = []
    if pieces:
        whole.append(separator.join(pieces))
    return whole


WHOLE = True
