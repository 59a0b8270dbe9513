"""The language of PY_UNSHARE: text to plan. Pure: no input, no output, nothing of the kernel.

`parse` splits the text, has each item read by its row of `ITEMS` into a draft, refuses what
contradicts itself, and fills in what the items imply. The rows come last: all that is said of an
item anywhere, in the README's and the reference's tables, in messages and by the doctor, is there.
"""

from ..namespaces import BROUGHT, NAMESPACES, OFF, OUTBOUND, Plan
from . import readers
from .readers import Draft, bad, nearest, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from ..errors import UnshareError

    Read = Callable[[Draft, str, Optional[str], str], None]
    Form = tuple[str, str]


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
    draft = Draft()
    for item in split(text, ","):
        name, equals, value = item.strip(" \t").partition("=")
        row = ITEMS.get(name)
        if row is None:
            raise _unknown(name)
        row.read(draft, name, value if equals else None, row.expected)
    return _finish(draft)


def alternatives(text: str) -> "list[str]":
    """Return the lists of a text, which ``|`` stands between, each as it is written.

    Raises:
        UnshareError: there is none before or after a ``|``, or one after ``off`` (EINVAL).
    """
    lists = split(text, "|")
    if len(lists) == 1:
        return lists
    lists = [each.strip(" \t") for each in lists]
    if "" in lists:
        raise bad("|", None, "an empty alternative: there is no list before or after it")
    for each in lists[:-1]:
        if each.lower() in OFF:
            raise bad("|", None, f"nothing after {each} would ever be entered")
    return lists


def _unknown(name: str) -> "UnshareError":
    from errno import EINVAL

    from ..errors import UnshareError, shown

    if name == "":
        return UnshareError(EINVAL, "an empty item: is there a comma too many?", "''")
    hint = nearest(name, tuple(ITEMS))
    if ":" in name:
        hint = hint or " (is it one more host? write allow= before each)"
    return UnshareError(EINVAL, f"no such item{hint}; valid are {', '.join(ITEMS)}", shown(name))


def _finish(draft: Draft) -> Plan:
    """Refuse items that contradict each other, then fill in what the items imply."""
    plan = draft.plan
    if draft.offline:
        plan.user, plan.net = plan.user or "current", plan.net or "lo"
        plan.caps = plan.caps or "none"
    for field, values in draft.several.items():
        setattr(plan, field, tuple(values.values()))
    _check_needs(plan)
    if plan.allow or plan.record is not None:
        plan.net = "gate"
    if plan.net == "gate" and (plan.addr or plan.allow):
        from .hosts import check_addresses

        check_addresses(plan)
    if plan.monotonic is not None or plan.boottime is not None:
        plan.time = ""
    fresh_proc = plan.pid is not None and "mount" not in plan.joined() and not plan.keep_proc
    if fresh_proc and ("proc",) not in plan.operations:
        plan.operations = (("proc",), *plan.operations)
    if plan.operations and plan.mount is None:
        plan.mount = BROUGHT
    return plan


def _check_needs(plan: Plan) -> None:
    """Refuse an item without the one that it needs, or with one that contradicts it."""
    if plan.sockets and (plan.net in ("gate", *OUTBOUND) or plan.allow or plan.record is not None):
        item = "allow" if plan.allow else "record" if plan.record is not None else "net"
        reason = "contradicts sockets=unix, with which nothing can be connected to"
        raise bad(item, plan.net if item == "net" else None, reason)
    joined = plan.joined()
    for item, given, needs, but in (
        ("map-users", plan.map_users, "user", ("none", "all")),
        ("map-groups", plan.map_groups, "user", ("none", "all")),
        ("setgroups", plan.setgroups, "user", ("none",)),
        ("addr", plan.addr, "net", ("down",)),
        ("allow", plan.allow, "net", ("down", *OUTBOUND)),
        ("record", plan.record is not None, "net", ("down", *OUTBOUND)),
    ):
        if given and getattr(plan, needs) is None:
            raise bad(item, None, f"needs {needs}: add {needs} to the list")
        if given and (needs in joined or getattr(plan, needs) in but):
            raise bad(item, None, f"contradicts {_named(plan, needs)}")
    if plan.publish and plan.net not in OUTBOUND:
        raise bad("publish", None, "needs net=pasta or net=slirp4netns")
    covering = {operation[0] for operation in plan.operations}
    if "rw" in covering and not covering & {"ro", "hide", "tmpfs"}:
        raise bad("rw", None, "needs ro, hide or tmpfs: add ro=/ to the list")
    if "time" in joined and (plan.monotonic is not None or plan.boottime is not None):
        raise bad("time", plan.time, "a namespace that is joined keeps its clocks")
    if "mount" in joined and plan.operations:
        joins = _named(plan, "mount")
        reason = f"would change the namespace that {joins} joins, for all who live there"
        raise bad(plan.operations[0][0], None, reason)


def _named(plan: Plan, name: str) -> str:
    from ..errors import named

    return named(name, getattr(plan, name))


def _read_allow(draft: Draft, name: str, value: "str | None", expected: str) -> None:
    from .hosts import allow  # a file that other lists do without

    allow(draft, name, value, expected)


class Item:
    """One item of the language.

    Attributes:
        read: puts it into a draft of the plan.
        forms: the values that it takes, as the tables write them, each with its meaning.
        expected: the same for the message about a value that is none of them.
        tries: lists that show whether this machine has it; DIR, PORT, DRIVER, SUBUID, SUBGID and
            /proc/PID/ns stand for what the one who tries has at hand.
        anchor: its heading on docs/reference.md.
    """

    def __init__(
        self,
        read: "Read",
        *forms: "Form",
        expected: str = "",
        tries: "tuple[str, ...]" = (),
        anchor: str = "",
    ) -> None:
        self.read = read
        self.forms = forms
        self.expected = expected
        self.tries = tries
        self.anchor = anchor


def _words(name: str) -> str:
    return ", ".join(NAMESPACES[name].words)


_OFFSET = "an offset such as +90, -5m, +1.5h or +30d"
_MAPS = "`INNER:OUTER:COUNT`", "one more range of the id map; may be repeated"

ITEMS = {
    "user": Item(
        readers.user,
        ("none, `root`", "new user namespace; the current uid and gid become 0"),
        ("`current`", "uid and gid keep their numbers"),
        ("`UID[:GID]`", "uid and gid become these"),
        ("`auto`", "`root`, plus the ranges of /etc/subuid and /etc/subgid"),
        ("`all`", "every id keeps its number; needs privilege"),
        ("`none`", "no map: the program writes one with `write_user_map()`"),
        expected=f"{_words('user')}, UID[:GID] or /path",
        tries=("user", "user=current", "user=auto", "user=all", "user=none"),
        anchor="user-userroot",
    ),
    "net": Item(
        readers.word_or_path,
        ("none, `lo`", "new network namespace, `lo` up with 127.0.0.1 and ::1"),
        ("`down`", "new network namespace, `lo` left down"),
        ("`gate`", "as `lo`, plus an interface whose routes end at what `allow` names"),
        ("`pasta`, `slirp4netns`", "as `lo`, plus a way out through that program"),
        expected=f"{_words('net')} or /path",
        tries=(
            "net",
            "net=gate",
            "net=pasta",
            "net=slirp4netns",
            "user=/proc/PID/ns/user,net=/proc/PID/ns/net",
        ),
        anchor="net-netlo",
    ),
    "mount": Item(
        readers.word_or_path,
        ("none, `private`", "new mount namespace that does not see what the host mounts"),
        ("`slave`, `shared`, `unchanged`", "that propagation instead"),
        expected=f"{_words('mount')} or /path",
        tries=("mount",),
        anchor="mount-mountprivate",
    ),
    "uts": Item(
        readers.uts,
        ("none, `HOSTNAME`", "new UTS namespace, hostname set"),
        tries=("uts",),
        anchor="uts-utshostname",
    ),
    "ipc": Item(
        readers.alone_or_path,
        ("", "new IPC namespace"),
        expected="ipc alone or ipc=/path",
        tries=("ipc",),
        anchor="ipc",
    ),
    "cgroup": Item(
        readers.alone_or_path,
        ("", "new cgroup namespace"),
        expected="cgroup alone or cgroup=/path",
        tries=("cgroup",),
        anchor="cgroup",
    ),
    "time": Item(
        readers.time,
        (
            "none, `OFFSET`",
            "new time namespace; monotonic and boottime clocks moved: `+90`, `-5m`, `+30d`",
        ),
        expected=_OFFSET,
        tries=("time",),
        anchor="time-timeoffset",
    ),
    "pid": Item(
        readers.alone_or_path,
        ("", "new PID namespace, with an init and a fresh /proc"),
        expected="pid alone or pid=/path",
        tries=("pid",),
        anchor="pid",
    ),
    "map-users": Item(
        readers.map_ids,
        _MAPS,
        expected="INNER:OUTER:COUNT",
        tries=("user,map-users=1:SUBUID:1",),
        anchor="map-usersinneroutercount-map-groupsinneroutercount",
    ),
    "map-groups": Item(
        readers.map_ids,
        _MAPS,
        expected="INNER:OUTER:COUNT",
        tries=("user,map-groups=1:SUBGID:1",),
        anchor="map-usersinneroutercount-map-groupsinneroutercount",
    ),
    "setgroups": Item(
        readers.setgroups,
        ("`allow`, `deny`", "whether setgroups(2) works inside"),
        tries=("user,setgroups=deny",),
        anchor="setgroupsallow-setgroupsdeny",
    ),
    "monotonic": Item(
        readers.clock,
        ("`OFFSET`", "one clock only"),
        expected=_OFFSET,
        tries=("monotonic=+1",),
        anchor="monotonicoffset-boottimeoffset",
    ),
    "boottime": Item(
        readers.clock,
        ("`OFFSET`", "one clock only"),
        expected=_OFFSET,
        tries=("boottime=+1",),
        anchor="monotonicoffset-boottimeoffset",
    ),
    "publish": Item(
        readers.publish,
        ("`[ADDR:]HOST:INSIDE[/udp]`", "a port of the host that leads inside; may be repeated"),
        expected="[ADDR:]HOST:INSIDE[/udp], such as 8080:80",
        tries=("net=DRIVER,publish=PORT:80",),
        anchor="publishaddrhostinsideudp",
    ),
    "addr": Item(
        readers.addr,
        ("`ADDRESS/PREFIX`", "one more address on `lo`; may be repeated"),
        expected="ADDRESS/PREFIX, such as 10.0.0.1/8",
        tries=("net,addr=10.0.0.1/8",),
        anchor="addraddressprefix",
    ),
    "allow": Item(
        _read_allow,
        (
            "`HOST:PORT[/udp]`",
            "connections to HOST pass, everything else is refused; may be repeated",
        ),
        expected="HOST:PORT[/udp], such as pypi.org:443, *.example.org:80-90 or [::1]:53/udp",
        tries=("net,allow=example.org:443",),
        anchor="allowhostportudp",
    ),
    "record": Item(
        readers.record,
        ("none, `FILE`", "tell who tried to reach what: on standard error, or in FILE"),
        expected="record alone or record=FILE",
        tries=("net,record=/dev/null",),
        anchor="record-recordfile",
    ),
    "proc": Item(
        readers.proc,
        ("`fresh`, `keep`", "mount a fresh /proc, or keep the old one although `pid` is given"),
        tries=("pid,proc",),
        anchor="proc-procfresh-prockeep",
    ),
    "sys": Item(readers.sys, ("", "mount a fresh /sys"), tries=("net,sys",), anchor="sys"),
    "tmpfs": Item(
        readers.tmpfs,
        ("`DIR`, `DIR:SIZE`", "an empty tmpfs on DIR, holding at most SIZE; may be repeated"),
        expected="tmpfs=DIR or tmpfs=DIR:SIZE, such as 100m, 2g or 10%",
        tries=("tmpfs=DIR",),
        anchor="tmpfsdir",
    ),
    "bind": Item(
        readers.bind,
        ("`SRC:DST`", "bind-mount SRC on DST, recursively; may be repeated"),
        expected="SRC:DST (a colon inside a path is written \\:)",
        tries=("bind=DIR:DIR",),
        anchor="bindsrcdst",
    ),
    "ro": Item(
        readers.directory,
        ("`DIR`", "make DIR and all below it read-only; may be repeated"),
        expected="ro=DIR",
        tries=("ro=DIR",),
        anchor="rodir",
    ),
    "rw": Item(
        readers.directory,
        (
            "`DIR`",
            "below what `ro`, `hide` or `tmpfs` cover, DIR stays what it is: there, and writable; "
            "may be repeated",
        ),
        expected="rw=DIR",
        tries=("ro=/,rw=DIR",),
        anchor="rwdir",
    ),
    "hide": Item(
        readers.directory,
        ("`PATH`", "PATH is there and empty, for nobody to read or write; may be repeated"),
        expected="hide=PATH",
        tries=("hide=DIR",),
        anchor="hidepath",
    ),
    "overlay": Item(
        readers.overlay,
        ("`DIR`", "a throwaway copy-on-write view of DIR"),
        ("`DIR:CHANGES`", "the same, and what is written is kept in the directory CHANGES"),
        expected="overlay=DIR or overlay=DIR:CHANGES (a colon inside a path is written \\:)",
        tries=("overlay=DIR",),
        anchor="overlaydir",
    ),
    "caps": Item(
        readers.caps,
        ("`keep`, `none`", "children keep the capabilities; or nobody has any"),
        tries=("caps=keep", "caps=none"),
        anchor="capskeep",
    ),
    "sockets": Item(
        readers.sockets,
        (
            "`unix`",
            "no sockets but unix and netlink ones; no namespace, so it works in most containers",
        ),
        tries=("sockets=unix",),
        anchor="socketsunix",
    ),
    "offline": Item(
        readers.offline,
        ("", "stands for `user=current,net,caps=none`; what is written beside it counts first"),
        tries=("offline",),
        anchor="offline",
    ),
}

WHOLE = True
