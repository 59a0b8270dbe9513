"""The language of PY_UNSHARE: text to plan. Pure: no input, no output, nothing of the kernel.

All of the language is here, and all that is said of a mistake. The plan itself, which is what both
sides agree on, stands with those who carry it out, in ``namespaces``.
"""

import os
from errno import EINVAL

from .errors import UnshareError
from .namespaces import NAMESPACES, OFF, WORDS, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    Read = Callable[[Plan, str, Optional[str]], None]

MAX_ID = 2**32 - 2  # (uid_t)-1 means "no id" to the kernel
MULTICAST_4 = tuple(map(str, range(224, 240)))  # how its addresses begin; those of IPv6 with ff
MAX_HOSTNAME = 64  # bytes: HOST_NAME_MAX, gethostname(2)
MAX_OFFSET = 2**63 // 10**9 // 2  # seconds: the kernel's KTIME_SEC_MAX / 2, time_namespaces(7)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}  # seconds
OUTBOUND = ("pasta", "slirp4netns")
REPEATABLE = ("map_users", "map_groups", "publish", "addr", "operations")


def parse(text: str) -> "Plan | None":
    """Turn the text of PY_UNSHARE into a plan.

    Args:
        text: the value of the variable, its undecodable bytes as surrogates (PEP 383).

    Returns:
        The plan, or None where the text says to do nothing.

    Raises:
        UnshareError: the text is not understood (EINVAL); ``item`` is the one at fault.
    """
    if text.strip(" \t").lower() in OFF:
        return None
    plan = Plan()
    for item in split(text, ","):
        name, equals, value = item.strip(" \t").partition("=")
        read(plan, name, value if equals else None)
    check_together(plan)
    return plan


def read(plan: Plan, name: str, value: "str | None") -> None:
    """Put one item into a plan that is being built; `check_together` completes it.

    Args:
        plan: the plan so far.
        name: the item's name.
        value: what follows its ``=``, or None where nothing does.

    Raises:
        UnshareError: the item is not understood, or was given already (EINVAL).
    """
    reader = READERS.get(name)
    if reader is None:
        raise _unknown(name)
    reader(plan, name, value)


def check_together(plan: Plan) -> None:
    """Refuse items that contradict each other, then fill in what the items imply.

    Raises:
        UnshareError: two items cannot both be had (EINVAL).
    """
    for field in REPEATABLE:
        if field in vars(plan):
            setattr(plan, field, tuple(getattr(plan, field).values()))
    joined = [name for name in NAMESPACES if (getattr(plan, name) or "")[:1] == "/"]
    for item, given, needs, but in (
        ("map-users", plan.map_users, "user", ("none", "all")),
        ("map-groups", plan.map_groups, "user", ("none", "all")),
        ("setgroups", plan.setgroups, "user", ("none",)),
        ("addr", plan.addr, "net", ("down",)),
    ):
        if given and getattr(plan, needs) is None:
            raise _bad(item, None, f"needs {needs}: add {needs} to the list")
        if given and (needs in joined or getattr(plan, needs) in but):
            raise _bad(item, None, f"contradicts {needs}={show(getattr(plan, needs))}")
    if plan.publish and plan.net not in OUTBOUND:
        raise _bad("publish", None, "needs net=pasta or net=slirp4netns")
    if plan.monotonic is not None or plan.boottime is not None:
        if "time" in joined:
            raise _bad("time", plan.time, "a namespace that is joined keeps its clocks")
        plan.time = ""
    if "mount" in joined and plan.operations:
        joins = f"mount={show(str(plan.mount))}"
        reason = f"would change the namespace that {joins} joins, for all who live there"
        raise _bad(plan.operations[0][0], None, reason)
    fresh_proc = plan.pid is not None and "mount" not in joined and not plan.keep_proc
    if fresh_proc and ("proc",) not in plan.operations:
        plan.operations = (("proc",), *plan.operations)
    if plan.operations and plan.mount is None:
        plan.mount = "private"


def unparse(plan: Plan) -> str:
    """Return the list that gives the plan, in the fixed order, with what it implies spelt out."""
    items = []
    for name in NAMESPACES:
        value = getattr(plan, name)
        if value is not None:
            items.append(f"{name}={_escape(value)}" if value else name)
    items += [f"map-users={inner}:{outer}:{count}" for inner, outer, count in plan.map_users]
    items += [f"map-groups={inner}:{outer}:{count}" for inner, outer, count in plan.map_groups]
    if plan.setgroups:
        items.append(f"setgroups={plan.setgroups}")
    if plan.monotonic is not None:
        items.append(f"monotonic={_show_offset(plan.monotonic)}")
    if plan.boottime is not None:
        items.append(f"boottime={_show_offset(plan.boottime)}")
    items += [f"publish={addr}:{host}:{port}/{kind}" for addr, host, port, kind in plan.publish]
    items += [f"addr={address}" for address in plan.addr]
    for operation, *paths in plan.operations:
        text = ":".join(_escape(path).replace(":", "\\:") for path in paths)
        items.append(f"{operation}={text}" if paths else operation)
    if plan.keep_proc:
        items.append("proc=keep")
    if plan.caps:
        items.append(f"caps={plan.caps}")
    return ",".join(items)


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


def show(text: str, limit: int = 70) -> str:
    """Return text quoted for a terminal: control characters escaped, cut after limit characters."""
    return repr(text) if len(text) <= limit else repr(text[:limit]) + "..."


# One function a kind of item.


def _user(plan: Plan, name: str, value: "str | None") -> None:
    if value is None:
        value = WORDS[name][0]
    elif value not in WORDS[name] and value[:1] != "/":
        ids = value.split(":")
        if len(ids) > 2:
            raise _bad(name, value, f"expected {', '.join(WORDS[name])}, UID[:GID] or /path")
        value = ":".join(_id(name, value, part) for part in ids)
    _once(plan, name, _path(name, value))


def _word_or_path(plan: Plan, name: str, value: "str | None") -> None:
    words = WORDS[name]
    if value is None:
        value = words[0]
    elif value not in words and value[:1] != "/":
        raise _bad(name, value, f"expected {', '.join(words)} or /path{_nearest(value, words)}")
    _once(plan, name, _path(name, value))


def _uts(plan: Plan, name: str, value: "str | None") -> None:
    if value is not None and value[:1] != "/":
        length = len(value.encode("utf-8", "replace"))  # a surrogate is one byte
        if not 0 < length <= MAX_HOSTNAME:
            raise _bad(name, value, f"a hostname has 1 to {MAX_HOSTNAME} bytes, not {length}")
        if not value.isascii() or not value.replace("-", "a").replace(".", "a").isalnum():
            raise _bad(name, value, "a hostname has letters, digits, '-' and '.', see hostname(7)")
    _once(plan, name, _path(name, value or ""))


def _plain(plan: Plan, name: str, value: "str | None") -> None:
    if value is not None and value[:1] != "/":
        raise _bad(name, value, f"expected {name} alone or {name}=/path")
    _once(plan, name, _path(name, value or ""))


def _time(plan: Plan, name: str, value: "str | None") -> None:
    if value is None or value[:1] == "/":
        _once(plan, name, _path(name, value or ""))
        return
    offset = _offset(name, value)
    _once(plan, name, "")
    for clock in ("monotonic", "boottime"):
        _once(plan, clock, offset)


def _clock(plan: Plan, name: str, value: "str | None") -> None:
    _once(plan, name, _offset(name, value))


def _map_ids(plan: Plan, name: str, value: "str | None") -> None:
    parts = (value or "").split(":")
    if len(parts) != 3:
        raise _bad(name, value, "expected INNER:OUTER:COUNT")
    inner, outer = (_id(name, value, part) for part in parts[:2])
    count = _number(name, value, parts[2], 1, MAX_ID + 1)
    for first in (inner, outer):
        if first.isdigit() and int(first) + count - 1 > MAX_ID:
            raise _bad(name, value, f"the range ends after the last id, {MAX_ID}")
    _add(plan, "map_users" if name == "map-users" else "map_groups", (inner, outer, count))


def _setgroups(plan: Plan, name: str, value: "str | None") -> None:
    _once(plan, name, _word(name, value, ("allow", "deny")))


def _caps(plan: Plan, name: str, value: "str | None") -> None:
    _once(plan, name, _word(name, value, ("keep", "none")))


def _publish(plan: Plan, name: str, value: "str | None") -> None:
    ports, slash, protocol = (value or "").partition("/")
    address, colon, rest = ports.rpartition("]:")  # [::1]:8080:80
    numbers = rest.split(":")
    if not colon:
        address = numbers.pop(0) if len(numbers) == 3 else "127.0.0.1"  # 127.0.0.1:8080:80
    if len(numbers) != 2 or (slash and protocol not in ("tcp", "udp")):
        raise _bad(name, value, "expected [ADDR:]HOST:INSIDE[/udp], such as 8080:80")
    if colon:
        address = f"[{_ip(name, value, address[1:] if address[:1] == '[' else '', (6,))}]"
    else:
        address = _ip(name, value, address, (4,))
    host, inside = (_number(name, value, number, 1, 65535) for number in numbers)
    protocol = protocol or "tcp"
    outer = address, host, protocol
    if not _add(plan, "publish", (address, host, inside, protocol), key=outer):
        raise _bad(name, value, "this port of the host is given twice")


def _addr(plan: Plan, name: str, value: "str | None") -> None:
    text, slash, prefix = (value or "").partition("/")
    if not slash:
        raise _bad(name, value, "expected ADDRESS/PREFIX, such as 10.0.0.1/8")
    address = _ip(name, value, text, (4, 6))
    group = address.partition(":")[0]
    multicast = address.partition(".")[0] in MULTICAST_4 or (len(group) == 4 and group[:2] == "ff")
    if multicast or address in ("0.0.0.0", "::"):  # the kernel takes 0.0.0.0, and does nothing
        raise _bad(name, value, f"no interface can have the address {address}")
    bits = _number(name, value, prefix, 0, 128 if ":" in address else 32)
    if not _add(plan, "addr", f"{address}/{bits}", key=address):
        raise _bad(name, value, "given twice")


def _proc(plan: Plan, name: str, value: "str | None") -> None:
    word = "fresh" if value is None else _word(name, value, ("fresh", "keep"))
    if plan.keep_proc or ("proc",) in plan.operations:
        raise _bad(name, value, "given twice")
    if word == "keep":
        plan.keep_proc = True
    else:
        _add(plan, "operations", ("proc",), key=("proc",))


def _sys(plan: Plan, name: str, value: "str | None") -> None:
    if value is not None:
        raise _bad(name, value, "takes no value")
    if not _add(plan, "operations", ("sys",), key=("sys",)):
        raise _bad(name, value, "given twice")


def _directory(plan: Plan, name: str, value: "str | None") -> None:
    if not value:
        raise _bad(name, value, f"expected {name}=DIR")
    _add(plan, "operations", (name, _unescape(name, value)))


def _bind(plan: Plan, name: str, value: "str | None") -> None:
    paths = split(value or "", ":")
    if len(paths) != 2 or not all(paths):
        raise _bad(name, value, "expected SRC:DST (a colon inside a path is written \\:)")
    _add(plan, "operations", (name, _unescape(name, paths[0]), _unescape(name, paths[1])))


READERS: "dict[str, Read]" = {
    "user": _user,
    "net": _word_or_path,
    "mount": _word_or_path,
    "uts": _uts,
    "ipc": _plain,
    "cgroup": _plain,
    "time": _time,
    "pid": _plain,
    "map-users": _map_ids,
    "map-groups": _map_ids,
    "setgroups": _setgroups,
    "monotonic": _clock,
    "boottime": _clock,
    "publish": _publish,
    "addr": _addr,
    "proc": _proc,
    "sys": _sys,
    "tmpfs": _directory,
    "bind": _bind,
    "ro": _directory,
    "overlay": _directory,
    "caps": _caps,
}


def _once(plan: Plan, name: str, value: object) -> None:
    if getattr(plan, name) is not None:
        raise _bad(name, None, "given twice")
    setattr(plan, name, value)


def _add(plan: Plan, field: str, value: object, key: object = None) -> bool:
    """Add to a field that holds several; return false where there is one with that key already.

    Until the plan is complete the field is a dict: looking through a tuple, or copying it, for each
    of the ten thousand that a list has room for takes seconds.
    """
    values = vars(plan).setdefault(field, {})
    if key in values:
        return False
    values[len(values) if key is None else key] = value
    return True


def _word(name: str, value: "str | None", words: "tuple[str, ...]") -> str:
    if value is None or value not in words:
        raise _bad(name, value, f"expected {' or '.join(words)}{_nearest(value or '', words)}")
    return value


def _path(name: str, value: str) -> str:
    return _unescape(name, value) if value[:1] == "/" else value


def _id(name: str, value: "str | None", part: str) -> str:
    """Check one user or group: a number in range, or what may be a name; looked up later."""
    if part.isascii() and part.isdigit():
        return str(_number(name, value, part, 0, MAX_ID))
    plain = part.replace("-", "").replace(".", "").replace("_", "").rstrip("$")
    if not plain.isalnum() or not plain.isascii() or part[0] in "-.0123456789":
        wanted = f"{', '.join(WORDS['user'])}, UID[:GID] or /path"
        raise _bad(name, value, f"expected {wanted if name == 'user' else 'an id or a name'}")
    return part


def _number(name: str, value: "str | None", text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise _bad(name, value, f"{show(text)} is no number from {least} to {most}")
    if not least <= int(text) <= most:
        raise _bad(name, value, f"{text} is out of range, {least} to {most}")
    return int(text)


def _offset(name: str, value: "str | None") -> int:
    """Return the nanoseconds of ``[+-]NUMBER[smhdw]``."""
    text = value or ""
    digits = text[1:] if text[:1] in ("+", "-") else text
    unit = UNITS.get(digits[-1:], 0)
    whole, dot, fraction = (digits[:-1] if unit else digits).partition(".")
    wrong = not (whole + fraction).isdigit() or not (whole + fraction).isascii()
    if wrong or not whole or (dot and not fraction) or len(whole) > 12 or len(fraction) > 9:
        raise _bad(name, value, "expected an offset such as +90, -5m, +1.5h or +30d")
    offset = int(whole + fraction.ljust(9, "0")) * (unit or 1)
    if offset > MAX_OFFSET * 10**9:
        raise _bad(name, value, f"out of range: at most {MAX_OFFSET} seconds either way")
    return -offset if text[:1] == "-" else offset


def _show_offset(offset: int) -> str:
    seconds, nanoseconds = divmod(abs(offset), 10**9)
    fraction = f".{nanoseconds:09}" if nanoseconds else ""
    return f"{'-' if offset < 0 else '+'}{seconds}{fraction}"


def _ip(name: str, value: "str | None", text: str, versions: "tuple[int, ...]") -> str:
    """Return an address in its shortest form."""
    from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

    family, version = (AF_INET6, 6) if ":" in text else (AF_INET, 4)
    try:
        if version not in versions:
            raise OSError
        return inet_ntop(family, inet_pton(family, text))
    except (OSError, ValueError):
        wanted = " or ".join(f"IPv{version}" for version in versions)
        raise _bad(name, value, f"{show(text)} is no {wanted} address") from None


def _unescape(name: str, value: str) -> str:
    if "\0" in value:
        raise _bad(name, value, "a path has no NUL character")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:  # from unshare(); the environment holds what it encodes
        wrong = ascii(value[error.start])
        raise _bad(name, value, f"{wrong} cannot be encoded for a path") from None
    parts = iter(value.split("\\"))
    plain = next(parts)
    for part in parts:
        if part[:1] in (",", ":"):
            plain += part
        elif part == "" and (following := next(parts, None)) is not None:
            plain += "\\" + following
        else:
            raise _bad(name, value, "a backslash stands only before ',' ':' or '\\'")
    return plain


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _bad(name: str, value: "str | None", reason: str) -> UnshareError:
    return UnshareError(EINVAL, reason, name if value is None else f"{name}={show(value)}")


def _unknown(name: str) -> UnshareError:
    if name == "":
        return UnshareError(EINVAL, "an empty item: is there a comma too many?", "''")
    hint = _nearest(name, tuple(READERS))
    return UnshareError(EINVAL, f"no such item{hint}; valid are {', '.join(READERS)}", show(name))


def _nearest(word: str, words: "tuple[str, ...]") -> str:
    from difflib import get_close_matches

    near = get_close_matches(word[:40].lower(), words, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


WHOLE = True
