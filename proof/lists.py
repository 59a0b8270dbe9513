"""Lists to try: of every item, with every form of value, right ones and nearly right ones."""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from proof.grammar import (
    FORMS,
    MAX_ID,
    MAX_SECONDS,
    OPERATIONS,
    REPEATED,
    UNITS,
    Wrong,
    understand,
)

Text = st.SearchStrategy[str]

# Those with a meaning somewhere, some that move a terminal's cursor, and bytes that are no UTF-8.
SPECIAL = ",|=:\\/ \t\n\r\x0b\x1b\x7f\x85\x9b[]+-.$_%0189amKé٣²\u2028\u202e\udcff\udc80\0\"'`"
characters = st.one_of(st.sampled_from(SPECIAL), st.characters(codec=None))


def anything(max_size: int | None = None) -> Text:
    """Any text that a program can give: the environment's, with undecodable bytes as surrogates,
    and that with surrogates which stand for no byte."""
    return st.text(characters, max_size=max_size)


def escaped(path: str) -> str:
    """A path as it is written in a list."""
    for character in "\\,:|":
        path = path.replace(character, f"\\{character}")
    return path


def in_paths(character: str) -> bool:
    """Whether a path can have it: no NUL, and no surrogate but those that stand for a byte."""
    return character != "\0" and not re.match("[\ud800-\udc7f\udd00-\udfff]", character)


# A blank at the end of an item is not a part of it.
paths = (
    st.text(characters.filter(in_paths), min_size=1, max_size=8)
    .map(lambda path: path.rstrip(" \t"))
    .filter(bool)
    .map(escaped)
)
joins = st.one_of(st.just("/"), paths.map("/{}".format))
names = st.sampled_from(["root", "_apt", "a-b.c", "x$", "a", "_b"])
numbers = st.one_of(st.sampled_from([0, 1, 1000, MAX_ID]), st.integers(0, MAX_ID))
ids = st.one_of(numbers.map(str), numbers.map("{:010}".format), names)
ports = st.one_of(st.sampled_from([1, 80, 65535]), st.integers(1, 65535))
signs = st.sampled_from(["", "+", "-"])
fractions = st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,9}", fullmatch=True))
offsets = st.one_of(
    [
        st.builds(
            "{}{}{}{}".format,
            signs,
            st.one_of(st.integers(0, 9), st.integers(0, MAX_SECONDS // seconds - 1)),
            fractions,
            st.just(unit),
        )
        for unit, seconds in UNITS.items()
    ]
)
ranges = st.one_of(
    st.builds("{}:{}:{}".format, names, names, st.integers(1, MAX_ID + 1)),
    *(
        st.builds("{}:{}:{}".format, starts, st.one_of(starts, names), st.just(count))
        for count in (1, 2, 65536, MAX_ID, MAX_ID + 1)
        for starts in [st.integers(0, MAX_ID + 1 - count)]
    ),
)
v4, v6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
own4, own6 = (
    each.filter(lambda address: not address.is_multicast and not address.is_unspecified)
    for each in (v4, v6)
)
_publish = st.builds(
    "{}{}:{}{}".format,
    st.one_of(st.sampled_from(["", "[0:0::1]:"]), v4.map("{}:".format), v6.map("[{}]:".format)),
    ports,
    ports,
    st.sampled_from(["", "/tcp", "/udp"]),
)
_addr = st.one_of(
    st.sampled_from(["224::1/64", "239::/8", "ff::1/8", "0.0.0.1/32", "223.255.255.255/0"]),
    st.builds("{}/{}".format, own4, st.integers(0, 32)),
    st.builds("{}/{}".format, own6, st.integers(0, 128)),
    st.builds("{0.exploded}/{1}".format, own6, st.integers(0, 128)).map(str.upper),
)


def can_be_allowed(host: object) -> bool:
    """Whether it is none that nothing leads to."""
    try:
        understand(f"net,allow={host}:80")
    except Wrong:
        return False
    return True


_label = r"[a-zA-Z_-][a-z0-9_-]{0,20}"
_domain = st.from_regex(rf"(\*\.)?({_label}\.){{0,3}}{_label}\.?", fullmatch=True)
_allow = st.builds(
    "{}:{}{}".format,
    st.one_of(
        _domain,
        v4,
        v6.map("[{}]".format),
        st.builds("{}/{}".format, v4, st.integers(0, 32)),
        st.builds("[{}]/{}".format, v6, st.integers(0, 128)),
    ).filter(can_be_allowed),
    st.one_of(ports, ports.map(lambda port: f"{port}-{min(int(port) + 99, 65535)}")),
    st.sampled_from(["", "/tcp", "/udp"]),
)
_user = st.one_of(ids, st.builds("{}:{}".format, ids, ids))
_hostname = st.text("abYZ019-.", min_size=1, max_size=64)
_bind = st.builds("{}:{}".format, paths, paths)


def _words(text: str) -> Text:
    return st.sampled_from(text.split("|"))


# For each item a strategy for each of its forms in the grammar, in that order.
VALUES: dict[str, list[st.SearchStrategy[str | None]]] = {
    "user": [st.none(), _words("root|current|auto|all|none"), _user, joins],
    "net": [st.none(), _words("lo|down|gate|pasta|slirp4netns"), joins],
    "mount": [st.none(), _words("private|slave|shared|unchanged"), joins],
    "uts": [st.none(), _hostname, joins],
    "ipc": [st.none(), joins],
    "cgroup": [st.none(), joins],
    "time": [st.none(), offsets, joins],
    "pid": [st.none(), joins],
    "map-users": [ranges],
    "map-groups": [ranges],
    "setgroups": [_words("allow|deny")],
    "monotonic": [offsets],
    "boottime": [offsets],
    "publish": [_publish],
    "addr": [_addr],
    "allow": [_allow],
    "record": [st.none(), paths],
    "proc": [st.none(), _words("fresh|keep")],
    "sys": [st.none()],
    "tmpfs": [
        paths,
        st.builds("{}:{}".format, paths, st.sampled_from(["1m", "2g", "10%", "4096"])),
    ],
    "bind": [_bind],
    "ro": [paths],
    "rw": [paths],
    "hide": [paths],
    "overlay": [paths, _bind],
    "caps": [_words("keep|none")],
    "sockets": [st.just("unix")],
    "offline": [st.none()],
}
# What an item cannot do without, in a form that it can live with.
NEEDS = {
    "map-users": ["user", "user=root", "user=current", "user=7:8", "user=auto"],
    "setgroups": ["user", "user=all", "user=_apt"],
    "addr": ["net", "net=lo", "net=gate", "net=pasta", "net=slirp4netns"],
    "allow": ["net", "net=lo", "net=gate"],
    "record": ["net", "net=lo", "net=gate"],
    "publish": ["net=pasta", "net=slirp4netns"],
}
NEEDS["map-groups"] = NEEDS["map-users"]
# What may not be the same in two of a name.
UNIQUE: dict[str, Callable[[str], object]] = {
    "addr": lambda text: ipaddress.ip_address(text[5:].partition("/")[0]),
    "allow": lambda text: text.lower(),
    "publish": lambda text: re.search(r"(\d+):\d+(?:/\w+)?$", text)[1],  # type: ignore[index]
}


_FORMS = {name: st.one_of(forms) for name, forms in VALUES.items()}


@st.composite
def item(draw: Callable[..., Any], name: str) -> str:
    """One item of that name, as it is written."""
    value = draw(_FORMS[name])
    return name if value is None else f"{name}={value}"


# To make a strategy costs more than to draw from it.
ITEMS = {name: item(name) for name in FORMS}
_SEVERAL = {
    name: st.lists(
        ITEMS[name], min_size=1, max_size=3 if name in REPEATED else 1, unique_by=UNIQUE.get(name)
    )
    for name in FORMS
}
_NO_JOIN = _SEVERAL["mount"].filter(lambda found: not found[0].startswith("mount=/"))
_WANTED = st.sets(st.sampled_from([*FORMS]), min_size=1, max_size=9)
_BLANKS = st.sampled_from(["", "", "", " ", "\t", " \t "])


@st.composite
def right_items(draw: Callable[..., Any]) -> list[str]:
    """The items of a list that is right, in an order that is right, too: any is."""
    wanted = draw(_WANTED)
    clocks = wanted & {"monotonic", "boottime"}
    if wanted & {"allow", "record"}:  # which no way out goes with
        wanted.discard("publish")
    if wanted & {"allow", "record", "net", "addr", "publish"}:  # nothing leads out without sockets
        wanted.discard("sockets")
    if wanted & {"allow", "record", "addr", "publish"} and "offline" in wanted:
        wanted.discard("offline")
    if "rw" in wanted and not wanted & {"ro", "hide", "tmpfs"}:
        wanted.add("ro")
    found: list[str] = []
    needed: dict[str, list[str]] = {}
    for name in ("map-users", "map-groups", "setgroups", "addr", "allow", "record", "publish"):
        if name in wanted:
            other = "user" if NEEDS[name][0] == "user" else "net"
            both = [each for each in NEEDS[name] if each in needed.get(other, NEEDS[name])]
            needed[other] = both
            wanted.discard(other)
    found += [draw(st.sampled_from(both)) for both in needed.values()]
    for name in sorted(wanted):
        if name == "time" and clocks:
            found.append(name)
        else:
            no_join = name == "mount" and wanted & OPERATIONS
            found += draw(_NO_JOIN if no_join else _SEVERAL[name])
    return list(draw(st.permutations(_within_reach(found))))


def _within_reach(found: list[str]) -> list[str]:
    """Leave out the addresses for ``lo`` that take a host away that is allowed."""
    try:
        understand(",".join(found))
    except Wrong as wrong:
        if {*wrong.names} <= {"addr", "allow"}:
            return [each for each in found if not each.startswith("addr=")]
    return found


@st.composite
def right_lists(draw: Callable[..., Any]) -> str:
    """A list that is right, with blanks here and there."""
    return ",".join(f"{draw(_BLANKS)}{each}{draw(_BLANKS)}" for each in draw(right_items()))


def disturbed(text: str, chance: random.Random) -> str:
    """The text with a character or a piece left out, put in, replaced, doubled or moved."""
    at = chance.randrange(len(text) + 1)
    kind = chance.choice(["insert", "replace", "delete", "cut", "swap", "double"])
    if kind in ("insert", "replace"):
        new = chance.choice(SPECIAL) if chance.random() < 0.8 else chr(chance.randrange(0x11000))
        return text[:at] + new + text[at + (kind == "replace") :]
    if kind == "swap":
        return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
    end = at + (1 if kind == "delete" else chance.randrange(12))
    return text[:at] + (2 * text[at:end] if kind == "double" else "") + text[end:]


# Items side by side that may contradict each other, be given twice, or be no items.
heaps = st.lists(st.one_of(*ITEMS.values(), anything(max_size=5)), min_size=1, max_size=6).map(
    ",".join
)

# Between them they have every item, and every form of value that has characters of its own.
SAMPLES = [
    "user=root,net=lo,mount=slave,uts=a-1.b,ipc,cgroup,pid,proc=keep",
    "user=07:_apt,map-users=1:100:65536,map-groups=a:$b:3",
    "user=1:x$,map-users=1:100:65536,map-groups=a:b.c:3,setgroups=allow",
    "time=-1.5d,user=current",
    "monotonic=+7w,boottime=0.000000001",
    "net=pasta,publish=0.0.0.0:53:53/udp,publish=[::1]:8:9,addr=fd00::1/64,addr=10.0.0.1/8",
    "tmpfs=/a\\,b,bind=/a\\:b:c\\\\,ro=.,rw=a,hide=b,overlay=/=,sys,proc",
    "net=/run/netns/a,user=/proc/1/ns/user,caps=none,sockets=unix",
    "offline,allow=*.Example.org.:80-90/udp,allow=[2001:db8::]/32:1,allow=10.0.0.0/8:2,record=/a\\,b",
    "off",
    " false ",
]
