"""The language of PY_UNSHARE: what is understood, and what is said of everything else."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable
from errno import EINVAL
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import Python
from harness.lists import same, unparse
from unshare_boot import UnshareError
from unshare_boot.language import ITEMS, parse
from unshare_boot.namespaces import NAMESPACES, OFF, Plan, plain_plan

DAY = 86400 * 10**9


def error_of(text: str) -> UnshareError:
    with pytest.raises(UnshareError) as caught:
        parse(text)
    return caught.value


def plan_of(text: str) -> Plan:
    plan = parse(text)
    assert plan is not None
    return plan


@pytest.mark.parametrize("text", [*OFF, "OFF", "No", "False", "  ", "\t", " off ", "\t0 "])
def test_nothing_to_do(text: str) -> None:
    assert parse(text) is None


# What is written, and what unparse() makes of it: everything spelt out, in the fixed order.
GOOD = [
    ("user", "user=root"),
    (" user ,\tnet\t", "user=root,net=lo"),
    ("net,user", "user=root,net=lo"),
    ("user=current", "user=current"),
    ("user=none", "user=none"),
    ("user=auto", "user=auto"),
    ("user=all", "user=all"),
    ("user=1000", "user=1000"),
    ("user=01000:007", "user=1000:7"),
    ("user=4294967294", "user=4294967294"),
    ("user=build:staff", "user=build:staff"),
    ("user=_apt:systemd-network", "user=_apt:systemd-network"),
    ("user=/proc/1/ns/user", "user=/proc/1/ns/user"),
    ("net=down", "net=down"),
    ("net=lo", "net=lo"),
    ("net=pasta", "net=pasta"),
    ("net=slirp4netns", "net=slirp4netns"),
    ("net=/run/netns/a\\,b", "net=/run/netns/a\\,b"),
    ("mount", "mount=private"),
    ("mount=slave", "mount=slave"),
    ("mount=shared", "mount=shared"),
    ("mount=unchanged", "mount=unchanged"),
    ("uts", "uts"),
    ("uts=build-7.example", "uts=build-7.example"),
    ("uts=" + 64 * "a", "uts=" + 64 * "a"),
    ("ipc,cgroup", "ipc,cgroup"),
    ("cgroup=/x,ipc=/y", "ipc=/y,cgroup=/x"),
    ("time", "time"),
    ("time=+90", "time,monotonic=+90,boottime=+90"),
    ("time=-5m", "time,monotonic=-300,boottime=-300"),
    ("time=30d", "time,monotonic=+2592000,boottime=+2592000"),
    ("time=+1.5h", "time,monotonic=+5400,boottime=+5400"),
    ("time=+2w", "time,monotonic=+1209600,boottime=+1209600"),
    ("time=+0.000000001", "time,monotonic=+0.000000001,boottime=+0.000000001"),
    ("time=-0.25s", "time,monotonic=-0.250000000,boottime=-0.250000000"),
    ("monotonic=+7", "time,monotonic=+7"),
    ("boottime=-1w", "time,boottime=-604800"),
    ("time,monotonic=+1", "time,monotonic=+1"),
    ("pid", "mount=slave,pid,proc"),
    ("pid,proc=keep", "pid,proc=keep"),
    ("pid,tmpfs=/a", "mount=slave,pid,proc,tmpfs=/a"),
    ("pid,tmpfs=/a,proc", "mount=slave,pid,tmpfs=/a,proc"),
    ("pid,mount=/m", "mount=/m,pid"),
    (
        "user,map-users=1:100000:65536,map-users=0:1000:1",
        "user=root,map-users=1:100000:65536,map-users=0:1000:1",
    ),
    ("map-groups=0:staff:1,user", "user=root,map-groups=0:staff:1"),
    ("user,setgroups=allow", "user=root,setgroups=allow"),
    ("user,setgroups=deny", "user=root,setgroups=deny"),
    ("user=all,setgroups=deny", "user=all,setgroups=deny"),
    ("net=pasta,publish=8080:80", "net=pasta,publish=127.0.0.1:8080:80/tcp"),
    ("net=pasta,publish=0.0.0.0:53:53/udp", "net=pasta,publish=0.0.0.0:53:53/udp"),
    ("net=slirp4netns,publish=[0::1]:1:2", "net=slirp4netns,publish=[::1]:1:2/tcp"),
    (
        "net=pasta,publish=53:53/udp,publish=53:53",
        "net=pasta,publish=127.0.0.1:53:53/udp,publish=127.0.0.1:53:53/tcp",
    ),
    ("net,addr=10.0.0.1/8,addr=fd00:0::1/64", "net=lo,addr=10.0.0.1/8,addr=fd00::1/64"),
    ("net,addr=198.18.0.1/32", "net=lo,addr=198.18.0.1/32"),
    ("net=gate,addr=127.0.0.1/8", "net=gate,addr=127.0.0.1/8"),
    ("net,allow=198.0.0.0/8:80", "net=gate,allow=198.0.0.0/8:80-80/tcp"),
    ("net,addr=::1/128,allow=[::1]:80", "net=gate,addr=::1/128,allow=[::1]:80-80/tcp"),
    ("net,addr=240.0.0.1/8,addr=ff::1/64", "net=lo,addr=240.0.0.1/8,addr=ff::1/64"),
    ("net,addr=224::1/64,addr=0.0.0.1/8", "net=lo,addr=224::1/64,addr=0.0.0.1/8"),
    ("proc", "mount=slave,proc"),
    ("proc=fresh", "mount=slave,proc"),
    ("proc=keep", "proc=keep"),
    ("sys,proc", "mount=slave,sys,proc"),
    ("tmpfs=/a,tmpfs=/a b", "mount=slave,tmpfs=/a,tmpfs=/a b"),
    ("tmpfs=/a:10m,tmpfs=/b\\:c:5%", "mount=slave,tmpfs=/a:10m,tmpfs=/b\\:c:5%"),
    ("bind=/a:b,ro=/c,bind=/d:/e", "mount=slave,bind=/a:b,ro=/c,bind=/d:/e"),
    ("bind=/a\\:b:/c\\\\d\\,e", "mount=slave,bind=/a\\:b:/c\\\\d\\,e"),
    ("overlay=/a=b,mount=slave", "mount=slave,overlay=/a=b"),
    ("caps=keep", "caps=keep"),
    ("caps=none,user", "user=root,caps=none"),
]


@pytest.mark.parametrize(("text", "printed"), GOOD)
def test_good_lists(text: str, printed: str) -> None:
    plan = plan_of(text)
    assert unparse(plan) == printed
    assert same(plan_of(printed), plan)


def test_a_plan_holds_what_the_list_says() -> None:
    plan = plan_of(
        "user=0:7,time=-1d,net=pasta,publish=[::1]:8:9/udp,bind=/a\\:\\\\:/b,map-users=1:2:3"
    )
    assert (plan.user, plan.net, plan.mount, plan.uts) == ("0:7", "pasta", "slave", None)
    assert (plan.time, plan.monotonic, plan.boottime) == ("", -DAY, -DAY)
    assert plan.publish == (("[::1]", 8, 9, "udp"),)
    assert plan.operations == (("bind", "/a:\\", "/b"),)
    assert plan.map_users == (("1", "2", 3),)


def test_plans_differ() -> None:
    assert not same(plan_of("user"), plan_of("user=current"))
    assert not same(plan_of("tmpfs=/a,ro=/b"), plan_of("ro=/b,tmpfs=/a"))


# A list, the item that the error names, and a part of what it says.
BAD = [
    ("usr,net", "'usr'", "did you mean user?"),
    ("USER", "'USER'", "did you mean user?"),
    ("nett", "'nett'", "did you mean net?"),
    ("mnt", "'mnt'", "did you mean mount?"),
    ("network", "'network'", "no such item"),
    ("cgroups", "'cgroups'", "did you mean cgroup?"),
    ("map-user=0:0:1", "'map-user'", "did you mean map-users?"),
    ("on", "'on'", "valid are user, net, mount"),
    ("1", "'1'", "valid are user, net, mount"),
    ("user net", "'user net'", "no such item"),
    ("user;net", "'user;net'", "no such item"),
    (",", "''", "a comma too many"),
    ("user,", "''", "a comma too many"),
    (",user", "''", "a comma too many"),
    ("user,,net", "''", "a comma too many"),
    ("user, ,net", "''", "a comma too many"),
    ("=root", "''", "an empty item"),
    ("off,user", "'off'", "no such item"),
    ("user,user", "user", "given twice"),
    ("user,user=root", "user", "given twice"),
    ("net=lo,net=down", "net", "given twice"),
    ("mount,ipc,mount=slave", "mount", "given twice"),
    ("uts=a,uts=b", "uts", "given twice"),
    ("ipc,ipc", "ipc", "given twice"),
    ("time,time", "time", "given twice"),
    ("time=+1,monotonic=+2", "monotonic", "given twice"),
    ("monotonic=+2,time=+1", "monotonic", "given twice"),
    ("boottime=1,boottime=1", "boottime", "given twice"),
    ("setgroups=deny,user,setgroups=deny", "setgroups", "given twice"),
    ("caps=keep,caps=none", "caps", "given twice"),
    ("proc,proc", "proc", "given twice"),
    ("proc,proc=keep", "proc='keep'", "given twice"),
    ("proc=keep,proc", "proc", "given twice"),
    ("sys,sys", "sys", "given twice"),
    ("net,addr=10.0.0.1/8,addr=10.0.0.1/9", "addr='10.0.0.1/9'", "given twice"),
    ("net=pasta,publish=80:1,publish=80:2", "publish='80:2'", "given twice"),
    ("user=", "user=''", "UID[:GID]"),
    ("user=0:0:0", "user='0:0:0'", "UID[:GID]"),
    ("user=roto ot", "user='roto ot'", "UID[:GID]"),
    ("user=:0", "user=':0'", "UID[:GID]"),
    ("user=0:", "user='0:'", "UID[:GID]"),
    ("user=-1", "user='-1'", "UID[:GID]"),
    ("user=4294967295", "user='4294967295'", "out of range"),
    ("user=99999999999999999999", "user='99999999999999999999'", "no number from 0"),
    ("user=0x0", "user='0x0'", "UID[:GID]"),
    ("user=٣", "user='٣'", "UID[:GID]"),
    ("net=", "net=''", "expected lo, down"),
    ("net=Lo", "net='Lo'", "did you mean lo?"),
    ("net=slirp", "net='slirp'", "did you mean slirp4netns?"),
    ("mount=privat", "mount='privat'", "did you mean private?"),
    ("mount=rprivate", "mount='rprivate'", "did you mean private?"),
    ("mount=", "mount=''", "expected private"),
    ("uts=", "uts=''", "1 to 64 bytes, not 0"),
    ("uts=" + 65 * "a", f"uts='{65 * 'a'}'", "1 to 64 bytes, not 65"),
    ("uts=a_b", "uts='a_b'", "letters, digits"),
    ("uts=bücher", "uts='bücher'", "letters, digits"),
    ("uts=a\nb", "uts='a\\nb'", "letters, digits"),
    ("ipc=", "ipc=''", "ipc alone or ipc=/path"),
    ("ipc=private", "ipc='private'", "ipc alone or ipc=/path"),
    ("cgroup=yes", "cgroup='yes'", "cgroup alone"),
    ("pid=1", "pid='1'", "pid alone"),
    ("time=", "time=''", "expected an offset"),
    ("time=+", "time='+'", "expected an offset"),
    ("time=+9x", "time='+9x'", "expected an offset"),
    ("time=++9", "time='++9'", "expected an offset"),
    ("time=1d2h", "time='1d2h'", "expected an offset"),
    ("time=.5", "time='.5'", "expected an offset"),
    ("time=5.", "time='5.'", "expected an offset"),
    ("time=1e9", "time='1e9'", "expected an offset"),
    ("time=+0.0000000001", "time='+0.0000000001'", "expected an offset"),
    ("time=+4611686019", "time='+4611686019'", "out of range"),
    ("time=-999999999999w", "time='-999999999999w'", "out of range"),
    ("monotonic", "monotonic", "expected an offset"),
    ("map-users=0:0:1", "map-users", "add user"),
    ("map-users=0:0,user", "map-users='0:0'", "INNER:OUTER:COUNT"),
    ("map-users,user", "map-users", "INNER:OUTER:COUNT"),
    ("map-users=0:0:0,user", "map-users='0:0:0'", "out of range"),
    ("map-users=0:4294967290:6,user", "map-users='0:4294967290:6'", "after the last id"),
    ("map-groups=0:0:x,user", "map-groups='0:0:x'", "no number"),
    ("user=none,map-users=0:0:1", "map-users", "contradicts user='none'"),
    ("user=all,map-groups=0:0:1", "map-groups", "contradicts user='all'"),
    ("user=/x,setgroups=allow", "setgroups", "contradicts user='/x'"),
    ("user=none,setgroups=deny", "setgroups", "contradicts user='none'"),
    ("user,setgroups", "setgroups", "expected allow or deny"),
    ("user,setgroups=denied", "setgroups='denied'", "did you mean deny?"),
    ("setgroups=deny", "setgroups", "add user"),
    ("caps", "caps", "expected keep or none"),
    ("caps=drop", "caps='drop'", "expected keep or none"),
    ("publish=1:2", "publish", "needs net=pasta"),
    ("net,publish=1:2", "publish", "needs net=pasta"),
    ("net=pasta,publish=1", "publish='1'", "such as 8080:80"),
    ("net=pasta,publish=0:1", "publish='0:1'", "out of range"),
    ("net=pasta,publish=1:65536", "publish='1:65536'", "out of range"),
    ("net=pasta,publish=1:2/sctp", "publish='1:2/sctp'", "[/udp]"),
    ("net=pasta,publish=1:2/", "publish='1:2/'", "[/udp]"),
    ("net=pasta,publish=localhost:1:2", "publish='localhost:1:2'", "no IPv4 address"),
    ("net=pasta,publish=::1:1:2", "publish='::1:1:2'", "such as 8080:80"),
    ("net=pasta,publish=:1:2", "publish=':1:2'", "no IPv4 address"),
    ("net=pasta,publish=[::g]:1:2", "publish='[::g]:1:2'", "no IPv6 address"),
    ("net=pasta,publish=::1]:1:2", "publish='::1]:1:2'", "no IPv6 address"),
    ("addr=10.0.0.1/8", "addr", "add net"),
    ("net=down,addr=10.0.0.1/8", "addr", "contradicts net='down'"),
    ("net,addr", "addr", "ADDRESS/PREFIX"),
    ("net,addr=10.0.0.1", "addr='10.0.0.1'", "ADDRESS/PREFIX"),
    ("net,addr=10.0.0.1/33", "addr='10.0.0.1/33'", "out of range"),
    ("net=gate,addr=198.0.0.1/8", "addr", "198.0.0.1/8: 198.18.0.0/15 is what a gate itself"),
    ("net,record,addr=198.19.0.1/32", "addr", "198.18.0.0/15 is what"),
    ("net,record,addr=2001:2::7/128", "addr", "2001:2::/48 is what"),
    ("net,allow=198.18.0.0/15:80", "allow", "198.18.0.0/15 is what"),
    ("net,allow=[2001:2::7]:80", "allow", "2001:2::7: 2001:2::/48 is what"),
    ("net,allow=10.0.0.2:80,addr=10.0.0.1/8", "allow", "no connection to 10.0.0.2 leaves"),
    ("net,allow=10.0.0.0/8:80,addr=10.0.0.1/8", "allow", "a longer prefix"),
    ("net,allow=[fd00::2]:80,addr=fd00::1/64", "allow", "no connection to fd00::2 leaves"),
    ("net,addr=10.0.0.256/8", "addr='10.0.0.256/8'", "no IPv4 or IPv6 address"),
    ("net,addr=0.0.0.0/0", "addr='0.0.0.0/0'", "no interface can have the address 0.0.0.0"),
    ("net,addr=0:0::/0", "addr='0:0::/0'", "no interface can have the address ::"),
    ("net,addr=224.0.0.1/8", "addr='224.0.0.1/8'", "no interface can have the address 224.0.0.1"),
    ("net,addr=239.1.1.1/32", "addr='239.1.1.1/32'", "no interface can have"),
    ("net,addr=ff02::1/64", "addr='ff02::1/64'", "no interface can have the address ff02::1"),
    ("net,addr=::1%lo/64", "addr='::1%lo/64'", "no IPv4 or IPv6 address"),
    ("proc=", "proc=''", "expected fresh or keep"),
    ("proc=fersh", "proc='fersh'", "did you mean fresh?"),
    ("sys=ro", "sys='ro'", "takes no value"),
    ("tmpfs", "tmpfs", "tmpfs=DIR"),
    ("tmpfs=/a:", "tmpfs='/a:'", "tmpfs=DIR:SIZE"),
    ("tmpfs=:1m", "tmpfs=':1m'", "tmpfs=DIR:SIZE"),
    ("tmpfs=/a:1m:2m", "tmpfs='/a:1m:2m'", "tmpfs=DIR:SIZE"),
    ("tmpfs=/a:0", "tmpfs='/a:0'", "'0' is no size"),
    ("tmpfs=/a:1t", "tmpfs='/a:1t'", "'1t' is no size"),
    ("tmpfs=/a:\u0661m", "tmpfs='/a:\u0661m'", "is no size"),
    ("ro=", "ro=''", "ro=DIR"),
    ("overlay=", "overlay=''", "overlay=DIR"),
    ("bind=/a", "bind='/a'", "SRC:DST"),
    ("bind=/a:", "bind='/a:'", "SRC:DST"),
    ("bind=/a:/b:/c", "bind='/a:/b:/c'", "SRC:DST"),
    ("bind=/a\\x:/b", "bind='/a\\\\x'", "a backslash stands only before"),
    ("tmpfs=/a\\", "tmpfs='/a\\\\'", "a backslash stands only before"),
    ("tmpfs=/a\0b", "tmpfs='/a\\x00b'", "NUL"),
    ("tmpfs=/a\udd01b", "tmpfs='/a\\udd01b'", "'\\udd01' cannot be encoded"),
    ("user=/\ud800", "user='/\\ud800'", "'\\ud800' cannot be encoded"),
    ("uts=a\udd01", "uts='a\\udd01'", "hostname(7)"),
    ("mount=/m,tmpfs=/t", "tmpfs", "mount='/m' joins"),
    ("time=/t,monotonic=+1", "time='/t'", "keeps its clocks"),
]


@pytest.mark.parametrize(("text", "item", "said"), BAD)
def test_bad_lists(text: str, item: str, said: str) -> None:
    error = error_of(text)
    assert error.item == item
    assert said in str(error.strerror)
    assert error.errno == EINVAL
    assert error.call == ""
    assert is_one_clean_line(str(error))


@pytest.mark.parametrize("name", [name for name in ITEMS if len(name) > 2])
def test_the_nearest_name_is_suggested(name: str) -> None:
    swapped = name[0] + name[2] + name[1] + name[3:]
    if swapped not in ITEMS:  # as with the two letters of "offline" that are the same
        assert f"did you mean {name}?" in str(error_of(swapped))


CONTROLS = ["\x1b[2J\x1b[31mred", "\x07", "\r", "\x9b31m", "‮", "\u2028", "\udcff\udcfe", "\x7f"]
PLACES = ["{}", "{}=1", "user={}", "user=/{},setgroups=deny", "uts={}", "time={}", "bind={}"]
PLACES += [
    "map-users={}:0:1,user",
    "net={}",
    "net=pasta,publish={}:1:1",
    "proc={}",
    "mount=/{},sys",
]
PLACES += ["net,addr={}/8", "net,addr=::1/{}", "time=/{},boottime=1", "tmpfs=/a\\{}", "caps={}"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_control_characters_are_shown_escaped(place: str, control: str) -> None:
    assert is_one_clean_line(str(error_of(place.format(control))))


def is_one_clean_line(text: str) -> bool:
    """No control, format, separator or surrogate character: nothing that a terminal acts upon."""
    return all(unicodedata.category(each) not in ("Cc", "Cf", "Zl", "Zp", "Cs") for each in text)


LONG = {
    "commas": 2**20 * ",",
    "a name": 2**20 * "x",
    "a value": "uts=" + 2**20 * "x",
    "digits": "user=" + 2**20 * "9",
    "an offset": "time=" + 2**20 * "9",
    "backslashes": "tmpfs=" + (2**20 + 1) * "\\",
    "escaped commas": "usr" + 2**19 * "\\,",
    "colons": "bind=" + 2**20 * ":",
    "items": ",".join(2**17 * ["user"]),
    "ranges": "user," + ",".join(f"map-users={number}:0:1" for number in range(20_000)) + ",x",
    "blanks": 2**20 * " " + "x",
}


@pytest.mark.parametrize("what", LONG)
def test_a_megabyte_gives_one_short_error(what: str) -> None:
    assert len(str(error_of(LONG[what]))) < 600


def test_as_many_items_as_the_environment_holds() -> None:
    text = ",".join(f"tmpfs=/a\\,{number}" for number in range(8_000))
    assert 2**16 < len(text) < 2**17
    assert len(plan_of(text).operations) == 8_000


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_any_text_gives_a_plan_or_one_clear_error(text: str) -> None:
    any_text(text)


pieces = st.sampled_from(
    [
        *ITEMS,
        *itertools.chain(*(row.words for row in NAMESPACES.values())),
        *",,,===::\\\\/[]+- \t\0\x1b0919",
        "udp",
        "keep",
    ]
)


@given(st.lists(st.one_of(pieces, st.text(max_size=3)), max_size=12).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_heap_of_pieces_gives_a_plan_or_one_clear_error(text: str) -> None:
    any_text(text)


def any_text(text: str) -> None:
    error = None
    try:
        plan = parse(text)
    except UnshareError as raised:
        error = raised
    if error is not None:
        assert error.errno == EINVAL
        assert error.strerror
        assert is_one_clean_line(str(error))
    elif plan is None:
        assert text.strip(" \t").lower() in OFF
    else:
        assert same(parse(unparse(plan)), plan)


def escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


# Blanks at the end of an item are not a part of it. Surrogates stand for bytes that are no UTF-8.
surrogates = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
letters = st.one_of(st.characters(codec="utf-8", exclude_characters="\0"), surrogates)
paths = st.text(letters, min_size=1).map(str.rstrip).filter(bool).map(escaped)
absolute = paths.map("/{}".format)
ids = st.one_of(
    st.integers(0, 2**32 - 2).map(str), st.sampled_from(["root", "_apt", "a-b.c", "x$"])
)
ports = st.integers(1, 65535)
offsets = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "+", "-"]),
    st.integers(0, 7000),
    st.sampled_from(["", ".5", ".000000001"]),
    st.sampled_from(["", *"smhdw"]),
)
ranges = st.builds(
    "{}:{}:{}".format,
    ids.filter(lambda each: len(each) < 10),
    ids.filter(lambda each: len(each) < 10),
    st.integers(1, 10),
)
addresses = (
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
    .filter(lambda address: not address.is_multicast and not address.is_unspecified)
    .map(str)
)


def words(name: str) -> st.SearchStrategy[str]:
    spelt = [f"{name}={word}" for word in NAMESPACES[name].words if word]
    return st.sampled_from([name, *spelt])


@st.composite
def valid_lists(draw: Callable[..., Any]) -> str:
    """A list that is right, with its items and mounts in any order."""
    maybe = st.booleans()
    items = []
    users = st.sampled_from(["user", "user=root", "user=current", "user=auto"])
    if draw(maybe):
        items.append(draw(st.one_of(users, ids.map("user={}".format))))
        for name in ("map-users", "map-groups"):
            items += [f"{name}={each}" for each in draw(st.lists(ranges, max_size=2))]
        if draw(maybe):
            items.append(draw(st.sampled_from(["setgroups=allow", "setgroups=deny"])))
    elif draw(maybe):
        items.append(draw(st.one_of(words("user"), absolute.map("user={}".format))))
    if draw(maybe):
        items.append(draw(st.sampled_from(["net=pasta", "net=slirp4netns"])))
        for port in draw(st.sets(ports, max_size=3)):
            place = draw(st.sampled_from(["", "0.0.0.0:", "[::1]:"]))
            kind = draw(st.sampled_from(["", "/tcp", "/udp"]))
            items.append(f"publish={place}{port}:{draw(ports)}{kind}")
        for address in draw(st.sets(addresses, max_size=2)):
            items.append(f"addr={address}/{draw(st.integers(0, 32))}")
    elif draw(maybe):
        items.append(draw(st.one_of(words("net"), absolute.map("net={}".format))))
    for name in ("ipc", "cgroup", "uts", "pid"):
        if draw(maybe):
            items.append(draw(st.one_of(st.just(name), absolute.map(f"{name}={{}}".format))))
    clocks = draw(st.sampled_from(["", "time", "time=", "monotonic=", "boottime="]))
    if clocks:
        items.append(clocks + (draw(offsets) if clocks[-1] == "=" else ""))
    operations: list[str] = []
    if draw(maybe):
        items.append(draw(words("mount")))
    if draw(maybe):
        names = st.sampled_from(["tmpfs", "ro", "hide", "overlay"])
        one = st.builds("{}={}".format, names, paths)
        both = st.builds("bind={}:{}".format, paths, paths)
        operations = draw(st.lists(st.one_of(one, both), max_size=4))
        operations += draw(st.sampled_from([[], ["proc"], ["proc=fresh"], ["proc=keep"]]))
        operations += draw(st.sampled_from([[], ["sys"]]))
    if draw(maybe):
        items.append(draw(st.sampled_from(["caps=keep", "caps=none"])))
    every: list[str] = list(draw(st.permutations(items + operations))) or ["ipc"]
    blanks = st.sampled_from(["", " ", "\t"])
    return ",".join(f"{draw(blanks)}{each}{draw(blanks)}" for each in every)


@given(valid_lists())
@settings(max_examples=100, deadline=None)
def test_what_is_right_is_understood_and_printed_again(text: str) -> None:
    plan = plan_of(text)
    assert same(parse(unparse(plan)), plan)
    bare = text.replace("\\\\", "").replace("\\,", "")
    names = {item.strip(" \t").partition("=")[0] for item in bare.split(",")}
    for name in NAMESPACES:
        if name in names:
            assert getattr(plan, name) is not None
        elif name not in ("mount", "time"):  # what mounts and clocks imply
            assert getattr(plan, name) is None


@given(st.lists(st.sampled_from([*NAMESPACES]).flatmap(words), min_size=1, max_size=5))
@settings(deadline=None)
def test_plain_words_are_read_as_the_whole_language_reads_them(items: list[str]) -> None:
    """namespaces.plain_plan reads them without loading it, which must not make a difference."""
    text = ",".join(items)
    names = [item.partition("=")[0] for item in items]
    plain = plain_plan(text)
    assert (plain is not None) == (len(set(names)) == len(names))
    if plain is not None:
        assert same(parse(text), plain)


@pytest.mark.parametrize("text", [text for text, _ in [*GOOD]] + [text for text, *_ in BAD])
def test_what_is_not_plain_is_left_to_the_whole_language(text: str) -> None:
    plain = plain_plan(text)
    assert plain is None or same(plain, parse(text))


# The same through the whole hook: bytes of the environment in, a message out.
HOOK = [
    ("usr,net", "did you mean user?"),
    ("user,user", "given twice"),
    ("user=0:0:0", "0:0:0"),
    ("time=+9x", "offset"),
    ("uts=", "1 to 64 bytes"),
    ("uts=" + 65 * "x", "not 65"),
    ("user,\udcff\udcfe", "udcff"),
    ("user\x1b]0;title\x07,net", "\\x1b]0;title\\x07"),
    ("user,net=\x1b[31m", "\\x1b[31m"),
    ("user,tmpfs=/\x1b[31m/none", "\\x1b[31m"),
    ("user=/\x1b[31m", "\\x1b[31m"),
    ("user,ipc=/\x9b\n", "\\x9b"),
    (131_000 * ",", "a comma too many"),
]


@pytest.mark.parametrize(("text", "said"), HOOK, ids=lambda value: ascii(value)[:30])
def test_a_bad_list_stops_the_start(python: Python, text: str, said: str) -> None:
    done = python.run("print('user code')", unshare=text)
    assert (done.status, done.stdout) == (125, "")
    assert said in done.stderr
    assert done.stderr.startswith("unshare-boot: ")
    assert all(map(is_one_clean_line, done.stderr.rstrip("\n").split("\n")))
    assert len(done.stderr) < 2000
