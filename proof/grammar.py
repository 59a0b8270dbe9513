"""A second reading of the language, made from the design alone, to hold the first against.

`understand` says of any text whether it is a list, and what it means. It is regular expressions and
one table where the product has a function an item, and it takes addresses from `ipaddress` where
the product asks the C library; so a mistake in one is unlikely to be in the other as well.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
from typing import Any

from unshare_boot.namespaces import Plan

MAX_ID = 4294967294
MAX_SECONDS = 4611686018
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
NAMESPACES = ("user", "net", "mount", "uts", "ipc", "cgroup", "time", "pid")
DIRECTORIES = {"tmpfs", "bind", "ro", "rw", "hide", "overlay"}
OPERATIONS = {"proc", "sys"} | DIRECTORIES
REPEATED = {"map-users", "map-groups", "publish", "addr", "allow"} | DIRECTORIES

# Any character but those that have a meaning and those that are no bytes, or one of the first with
# a backslash before it.
NONE = r"\\\0\ud800-\udc7f\udd00-\udfff"
PATH = rf"(?:[^{NONE}]|\\[\\,:|])+"
PART = rf"(?:[^{NONE}:]|\\[\\,:|])+"
JOIN = rf"/(?:{PATH})?"
NAME = r"(?![0-9.-])[._-]*[A-Za-z0-9][A-Za-z0-9._-]*[$._-]*"
ID = rf"(?:[0-9]{{1,10}}|{NAME})"
OFFSET = r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,9})?[smhdw]?"
PORT = r"[0-9]{1,10}"
PREFIX = r"(?:/[0-9]{1,10})?"
DOMAIN = r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?"
HOST = rf"(?:\[[0-9A-Fa-f:.]+\]{PREFIX}|[0-9.]+{PREFIX}|{DOMAIN})"
MAX_PORTS = 1024
OF_A_GATE = [ipaddress.ip_network(each) for each in ("198.18.0.0/15", "2001:2::/48")]
HERE = [ipaddress.ip_network(each) for each in ("127.0.0.0/8", "0.0.0.0/8", "::/127")]

# What each item's value looks like; None stands for an item without one. What a regular expression
# cannot tell, such as whether a number is too large, is in `_meaning`.
FORMS: dict[str, tuple[str | None, ...]] = {
    "user": (None, "root|current|auto|all|none", rf"{ID}(?::{ID})?", JOIN),
    "net": (None, "lo|down|gate|pasta|slirp4netns", JOIN),
    "mount": (None, "private|slave|shared|unchanged", JOIN),
    "uts": (None, r"[A-Za-z0-9.-]*[A-Za-z0-9.-]", JOIN),
    "ipc": (None, JOIN),
    "cgroup": (None, JOIN),
    "time": (None, OFFSET, JOIN),
    "pid": (None, JOIN),
    "map-users": (rf"{ID}:{ID}:[0-9]{{1,10}}",),
    "map-groups": (rf"{ID}:{ID}:[0-9]{{1,10}}",),
    "setgroups": ("allow|deny",),
    "monotonic": (OFFSET,),
    "boottime": (OFFSET,),
    "publish": (rf"(?:[0-9.]+:|\[[0-9A-Fa-f:.]+\]:)?{PORT}:{PORT}(?:/tcp|/udp)?",),
    "addr": (r"[0-9A-Fa-f:.]+/[0-9]{1,10}",),
    "allow": (rf"{HOST}:{PORT}(?:-{PORT})?(?:/tcp|/udp)?",),
    "record": (None, PATH),
    "proc": (None, "fresh|keep"),
    "sys": (None,),
    "tmpfs": (rf"{PART}(?::(?=[0-9]*[1-9])[0-9]+[kmgKMG%]?)?",),
    "bind": (f"{PART}:{PART}",),
    "ro": (PATH,),
    "rw": (PATH,),
    "hide": (PATH,),
    "overlay": (PART, f"{PART}:{PART}"),
    "caps": ("keep|none",),
    "sockets": ("unix",),
    "offline": (None,),
}
_COMPILED = {
    name: [re.compile(form, re.DOTALL) for form in forms if form is not None]
    for name, forms in FORMS.items()
}
_ITEM = re.compile(r"((?:[^\\,]|\\.|\\\Z)*)(?:,|\Z)", re.DOTALL)

Meaning = dict[str, Any]


class Wrong(Exception):
    """The text is no list; `names` are the items that may be blamed for it."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = names


def understand(text: str) -> Meaning | None:
    """What a text means: the fields of a plan that are not as in an empty one; None for "off".

    Raises:
        Wrong: it is no list.
    """
    if re.fullmatch(r"[ \t]*(?:0|off|no|false)?[ \t]*", text, re.IGNORECASE | re.ASCII):
        return None
    meaning: Meaning = {}
    for item in items(text):
        name, equals, value = item.partition("=")
        if name not in FORMS:
            raise Wrong(name)
        _read(meaning, name, value if equals else None)
    for name, value in meaning.items():
        if isinstance(value, dict):
            meaning[name] = tuple(value.values())
    _together(meaning)
    return meaning


def items(text: str) -> list[str]:
    """The items of a list, without the blanks around."""
    found = []
    at = 0
    while True:
        match = _ITEM.match(text, at)
        assert match, text
        found.append(match[1].strip(" \t"))
        at = match.end()
        if at == match.end(1):  # no comma
            return found


def comparable(plan: Plan) -> Meaning:
    """A plan as `understand` would tell it: addresses have more than one spelling."""
    found = {name: value for name, value in vars(plan).items() if value != getattr(Plan, name)}
    if "addr" in found:
        found["addr"] = tuple(map(_interface, plan.addr))
    if "allow" in found:
        found["allow"] = tuple((host_of(host), *rest) for host, *rest in plan.allow)
    if "publish" in found:
        found["publish"] = tuple((_address(a), *rest) for a, *rest in plan.publish)
    return found


def _read(meaning: Meaning, name: str, value: str | None) -> None:
    if value is None:
        right = None in FORMS[name]
    else:
        right = any(form.fullmatch(value) for form in _COMPILED[name])
    if not right:
        raise Wrong(name)
    field = name.replace("-", "_")
    if name in NAMESPACES and value and value[0] == "/":
        _once(meaning, name, _plain(value))
    elif name == "user":
        ids = value or "root"
        if ids not in ("root", "current", "auto", "all", "none"):
            ids = ":".join(_id(name, part) for part in ids.split(":"))
        _once(meaning, name, ids)
    elif name == "time" and value:
        _once(meaning, name, "")
        for clock in ("monotonic", "boottime"):
            _once(meaning, clock, _nanoseconds(name, value), name)
    elif name in NAMESPACES:
        if len(value or "") > 64:  # a hostname
            raise Wrong(name)
        _once(meaning, name, value or {"net": "lo", "mount": "private"}.get(name, ""))
    elif name in ("map-users", "map-groups"):
        assert value
        *both, number = value.split(":")
        inner, outer = (_id(name, each) for each in both)
        count = int(number)
        ends = [int(first) + count - 1 for first in (inner, outer) if first.isdigit()]
        if not 1 <= count <= MAX_ID + 1 or any(end > MAX_ID for end in ends):
            raise Wrong(name)
        _more(meaning, field, (inner, outer, count))
    elif name in ("monotonic", "boottime"):
        _once(meaning, name, _nanoseconds(name, value or ""), "time")
    elif name in ("setgroups", "caps", "sockets"):
        _once(meaning, name, value)
    elif name == "publish":
        _publish(meaning, value or "")
    elif name == "addr":
        try:
            interface = _interface(value or "")
        except ValueError:
            raise Wrong(name) from None
        _more(meaning, name, interface, key=interface[0])
    elif name == "allow":
        _allow(meaning, value or "")
    elif name == "record":
        _once(meaning, name, _plain(value or ""))
    elif name == "offline":
        _once(meaning, name, True)
    elif name == "proc" and value == "keep":
        if "proc" in meaning.get("operations", ()) or "keep_proc" in meaning:
            raise Wrong(name)
        meaning["keep_proc"] = True
    elif name in ("proc", "sys"):
        if name == "proc" and "keep_proc" in meaning:
            raise Wrong(name)
        _more(meaning, "operations", (name,), key=name)
    else:
        several = name in ("bind", "tmpfs", "overlay")
        parts = re.findall(PART, value or "") if several else [value or ""]
        _more(meaning, "operations", (name, *map(_plain, parts)))


def _allow(meaning: Meaning, value: str) -> None:
    match = re.fullmatch(r"(.*):([0-9]+)(?:-([0-9]+))?(?:/(tcp|udp))?", value, re.DOTALL)
    assert match
    first, last = int(match[2]), int(match[3] or match[2])
    try:
        if not 1 <= first <= last <= 65535:
            raise ValueError
        rule = (host_of(match[1].replace("[", "").replace("]", "")), first, last, match[4] or "tcp")
    except ValueError:
        raise Wrong("allow") from None
    _more(meaning, "allow", rule, key=rule)
    if sum(last - first + 1 for _, first, last, _ in meaning["allow"].values()) > MAX_PORTS:
        raise Wrong("allow")


def host_of(text: str) -> Any:
    """An address or a network as such, whose spelling is one of many; else a name."""
    if not re.fullmatch(r"[0-9.]+(?:/.*)?|.*:.*", text):
        name = text.lower().removesuffix(".")
        if len(name) > 253 or any(len(label) > 63 for label in name.split(".")):
            raise ValueError
        if name.endswith(".localhost"):
            raise ValueError
        return name
    address, slash, prefix = text.partition("/")
    known = ipaddress.ip_address(address)
    bits = int(prefix) if slash else known.max_prefixlen
    kind = ipaddress.IPv6Network if known.version == 6 else ipaddress.IPv4Network
    network: Any = kind((int(known), bits), strict=False)
    if known.version == 6 and known.ipv4_mapped and bits >= 96:
        network = ipaddress.IPv4Network((int(known.ipv4_mapped), bits - 96), strict=False)
    single = network.num_addresses == 1
    here = any(network.version == each.version and network.subnet_of(each) for each in HERE)
    if here and not (single and str(network[0]) in ("127.0.0.1", "::1")):
        raise ValueError
    return network[0] if single else network


def _publish(meaning: Meaning, value: str) -> None:
    ports, _, protocol = value.partition("/")
    *before, host, inside = re.findall(r"\[[^]]*\]|[^:]+", ports)
    try:
        address = _address(before[0] if before else "127.0.0.1")
        if not (1 <= int(host) <= 65535 and 1 <= int(inside) <= 65535):
            raise ValueError
    except ValueError:
        raise Wrong("publish") from None
    port = (address, int(host), int(inside), protocol or "tcp")
    _more(meaning, "publish", port, key=(port[0], port[1], port[3]))


def _together(meaning: Meaning) -> None:
    """What items ask of each other, and what they imply."""
    if meaning.pop("offline", False):
        for name, word in (("user", "current"), ("net", "lo"), ("caps", "none")):
            meaning.setdefault(name, word)
    joined = {name for name in NAMESPACES if meaning.get(name, "").startswith("/")}
    wrong = []
    for name, other, but in (
        ("map-users", "user", ("none", "all")),
        ("map-groups", "user", ("none", "all")),
        ("setgroups", "user", ("none",)),
        ("addr", "net", ("down",)),
        ("allow", "net", ("down", "pasta", "slirp4netns")),
        ("record", "net", ("down", "pasta", "slirp4netns")),
    ):
        if name.replace("-", "_") in meaning and (
            other not in meaning or other in joined or meaning[other] in but
        ):
            wrong.append(name)
    if "publish" in meaning and meaning.get("net") not in ("pasta", "slirp4netns"):
        wrong.append("publish")
    if "sockets" in meaning:
        wrong += [name for name in ("allow", "record") if name in meaning]
        wrong += ["net"] if meaning.get("net") in ("gate", "pasta", "slirp4netns") else []
    clocks = "monotonic" in meaning or "boottime" in meaning
    if clocks and "time" in joined:
        wrong.append("time")
    operations = meaning.get("operations", ())
    names = {name for name, *_ in operations}
    if "rw" in names and not names & {"ro", "hide", "tmpfs"}:
        wrong.append("rw")
    if operations and "mount" in joined:
        wrong.append(operations[0][0])
    gated = "allow" in meaning or "record" in meaning or meaning.get("net") == "gate"
    wrong += _out_of_reach(meaning) if gated else []
    if wrong:
        raise Wrong(*wrong)
    if clocks:
        meaning["time"] = ""
    if "allow" in meaning or "record" in meaning:
        meaning["net"] = "gate"
    keeps = meaning.get("keep_proc") or "mount" in joined
    if "pid" in meaning and ("proc",) not in operations and not keeps:
        operations = meaning["operations"] = (("proc",), *operations)
    if operations:
        meaning.setdefault("mount", "slave")


def _out_of_reach(meaning: Meaning) -> list[str]:
    """The items whose addresses a gate uses itself, or `addr` gives to ``lo``."""
    wrong = []
    hosts = [host for host, *_ in meaning.get("allow", ()) if str(host) not in ("127.0.0.1", "::1")]
    reached: list[Any] = [ipaddress.ip_network(host) for host in hosts if not isinstance(host, str)]
    wrong += ["allow" for each in reached for own in OF_A_GATE if _within(each, own)]
    for address in meaning.get("addr", ()):
        kept = ipaddress.ip_network(address, strict=False)
        wrong += ["addr" for each in OF_A_GATE if _overlap(each, kept)]
        wrong += ["allow" for each in reached if _within(each, kept)]
    return wrong


def _within(one: Any, other: Any) -> bool:
    return one.version == other.version and bool(one.subnet_of(other))


def _overlap(one: Any, other: Any) -> bool:
    return one.version == other.version and bool(one.overlaps(other))


def _once(meaning: Meaning, field: str, value: object, also: str = "") -> None:
    if field in meaning:
        raise Wrong(field, *([also] if also else []))
    meaning[field] = value


def _more(meaning: Meaning, field: str, value: object, key: object = None) -> None:
    found = meaning.setdefault(field, {})
    if key in found:
        raise Wrong(str(key) if field == "operations" else field)
    found[len(found) if key is None else key] = value


def _plain(path: str) -> str:
    plain = re.sub(r"\\(.)", r"\1", path)
    if re.match(r"~(?:/|\Z)", plain):
        home = os.environ.get("HOME", pwd.getpwuid(os.getuid()).pw_dir)
        return (home.rstrip("/") + plain[1:]) or "/"
    return plain


def _id(name: str, text: str) -> str:
    if not text.isdigit():
        return text
    if int(text) > MAX_ID:
        raise Wrong(name)
    return str(int(text))


def _nanoseconds(name: str, text: str) -> int:
    match = re.fullmatch(r"([+-]?)([0-9]+)(?:\.([0-9]+))?([smhdw]?)", text)
    assert match
    sign, whole, fraction, unit = match.groups(default="")
    number = int(whole + fraction.ljust(9, "0")) * UNITS[unit]
    if number > MAX_SECONDS * 10**9:
        raise Wrong(name)
    return -number if sign == "-" else number


def _address(text: str) -> Any:
    return ipaddress.IPv6Address(text[1:-1]) if text[0] == "[" else ipaddress.IPv4Address(text)


def _interface(text: str) -> tuple[Any, int]:
    address, _, prefix = text.partition("/")
    parsed = ipaddress.ip_address(address)
    if parsed.is_multicast or parsed.is_unspecified or int(prefix) > parsed.max_prefixlen:
        raise ValueError(text)
    return parsed, int(prefix)
