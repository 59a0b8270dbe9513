"""What forbids something on a machine: what is done there, and the lists that are started then."""

from __future__ import annotations

from typing import NamedTuple

from cures import Taken  # type: ignore[import-not-found,unused-ignore]

GROUP = "/sys/fs/cgroup/few"
COMMANDS: Taken = ((r"sudo (.+?)(?= \(|; |, |$)", (r"\1",)),)
MORE_PROCESSES: Taken = ((r"raise TasksMax= of the unit", (f"echo 100 > {GROUP}/pids.max",)),)
# Each machine is booted with nothing more on its command line; some then with machines.MORE too.
PLAIN = "! grep -qw lab /proc/cmdline"
# Where a scenario would find the same on each kernel.
ONE = f"{PLAIN} && grep -q =trixie /etc/os-release"
OF_32_BITS = "python3 -c 'import sys; sys.exit(sys.maxsize > 2**32)'"
SETTINGS = {"mnt": "mount"}  # where a limit's name is not that of the item


class Scenario(NamedTuple):
    """What forbids something.

    Attributes:
        name: as the page has it.
        lists: what is started under it.
        setup: for sh(1).
        undo: the same, afterwards.
        within: a script that ends with the start, for what is to hold there only.
        root: root starts it, not an ordinary user.
        taken: what the cures say.
        by: what starts the interpreter.
        only: a script that fails where there is no such thing.
    """

    name: str
    lists: tuple[str, ...]
    setup: str = ":"
    undo: str = ":"
    within: str = ""
    root: bool = False
    taken: Taken = COMMANDS
    by: tuple[str, ...] = ()
    only: str = PLAIN


ORDINARY = (
    *("user,net", "user,mount", "user,uts=box", "user,ipc", "user,cgroup", "user,time=+1d"),
    *("user,pid", "user,net,sys", "user,ro=/usr", "user,tmpfs=/mnt:1m", "user,bind=/etc:/mnt"),
    *("user,overlay=/usr", "user,net=gate", "user,net,addr=fd00::1/64", "offline", "user=auto,pid"),
    *("sockets=unix", "offline|sockets=unix"),
)
ROOT = ("net", "mount", "uts=box", "pid", "time=+1d", "net=gate", "ro=/usr", "overlay=/usr")


def _limits() -> list[Scenario]:
    found = []
    for kind in ("user", "net", "mnt", "uts", "ipc", "cgroup", "pid", "time"):
        item, setting = SETTINGS.get(kind, kind), f"user.max_{kind}_namespaces"
        lists = ("user",) if kind == "user" else (f"user,{item}",)
        undo = f"sysctl -qw {setting}=10000"
        found.append(Scenario(f"{setting}=0", lists, f"sysctl -qw {setting}=0", undo))
    return found


def _switch(setting: str, off: str, on: str, *lists: str) -> Scenario:
    return Scenario(
        f"{setting}={off}", lists, f"sysctl -qw {setting}={off}", f"sysctl -qw {setting}={on}"
    )


def _mounts(more: int, root: bool, *lists: str) -> Scenario:
    setup = f"sysctl -qw fs.mount-max=$(($(wc -l </proc/self/mountinfo) + {more}))"
    name = f"fs.mount-max: {more} more than there are" + (", as root" if root else "")
    return Scenario(name, lists, setup, "sysctl -qw fs.mount-max=100000", root=root)


def _processes(most: int, root: bool, item: str) -> Scenario:
    setup = f"mkdir -p {GROUP}; echo {most} >{GROUP}/pids.max"
    name = f"pids.max={most}" + (", as root" if root else "")
    within = f"echo $$ >{GROUP}/cgroup.procs"
    return Scenario(name, (item,), setup, within=within, root=root, taken=MORE_PROCESSES)


def _module(name: str, root: bool, item: str) -> Scenario:
    """One that the kernel may not load by itself."""
    setup = f"echo /bin/false >/proc/sys/kernel/modprobe; rmmod {name}"
    undo = "echo /sbin/modprobe >/proc/sys/kernel/modprobe"
    title = f"{name} not loaded" + (", as root" if root else "")
    return Scenario(title, (item if root else f"user,{item}",), setup, undo, root=root)


def _booted(name: str, word: str, *lists: str, setup: str = ":") -> Scenario:
    """On a kernel with another command line."""
    return Scenario(name, lists, setup, only=f"grep -qw {word} /proc/cmdline")


PROFILES = "/etc/apparmor.d"
CONFINED = "file, network, signal, ptrace, unix, dbus, mqueue,"


def _profile(name: str, flags: str, wanted: str, change: str, *lists: str) -> Scenario:
    """Under a profile of AppArmor's, apparmor.d(5), which a cure wants to be changed by sed(1)."""
    file, before = f"{PROFILES}/{name}", f"/tmp/{name}"
    written = f"abi <abi/4.0>,\nprofile {name}{flags} {{ {CONFINED} }}\n"
    keep = f"[ -e {before} ] || cp {file} {before} || printf {written!r} >{before}"
    load = f"apparmor_parser -r {file}"
    return Scenario(
        f"AppArmor: {name}{flags}",
        lists,
        f"{keep}; cp {before} {file}; {load}",
        taken=((wanted, (f"sed -i {change!r} {file}; {load}",)),),
        by=("aa-exec", "-p", name, "--"),
        only=ONE,
    )


COMPLAINS = _profile(
    "unprivileged_userns",
    " flags=(complain)",
    "^the flag attach_disconnected in that profile$",
    "s/flags=(complain)/flags=(complain, attach_disconnected)/",
    *("user,net", "offline", "user,pid", "user,overlay=/usr"),
)
DENIES = _profile(
    "lab",
    "",
    "^in that profile the flag attach_disconnected and the rules capability, mount, umount, userns",
    "s/profile lab {/profile lab flags=(attach_disconnected) { capability, mount, umount, userns,/",
    *("user,net", "offline", "user,pid", "user,ro=/usr", "user,overlay=/usr", "user,net=gate"),
)

WAY_OUT = """
ip link add ext type dummy; ip addr add 192.0.2.2/24 dev ext; ip link set ext up
ip route replace default via 192.0.2.1"""
TUN = "mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod -m 666 /dev/net/tun c 10 200"
NO_LOADING = "echo /bin/false >/proc/sys/kernel/modprobe"

SCENARIOS = [
    Scenario("an ordinary user", ORDINARY),
    Scenario("root", ROOT, root=True),
    Scenario("root joins process 1", ("net=/proc/1/ns/net",), root=True, only=OF_32_BITS),
    _switch("kernel.unprivileged_userns_clone", "0", "1", "user,net", "net", "user,pid"),
    *_limits(),
    _mounts(0, False, "user,mount"),
    _mounts(1, False, "user,tmpfs=/mnt,bind=/etc:/mnt,bind=/usr:/mnt"),
    _mounts(0, True, "mount"),
    _processes(2, False, "user,pid"),
    _processes(1, True, "pid"),
    Scenario(
        "hidepid=2",
        ("net=/proc/1/ns/net", "user,pid", "user,net"),
        "mount -o remount,hidepid=2 /proc",
        "mount -o remount,hidepid=0 /proc",
    ),
    Scenario(
        "subset=pid", ("user,pid", "user,net"), within="mount -t proc -o subset=pid proc /proc"
    ),
    _switch("kernel.yama.ptrace_scope", "2", "0", "user,net", "user=auto", "user,net=gate"),
    *(_module("overlay", root, "overlay=/usr") for root in (False, True)),
    *(_module("veth", root, "net=gate") for root in (False, True)),
    Scenario("no /etc/resolv.conf", ("user,net=gate",), "rm -f /etc/resolv.conf"),
    Scenario(
        "an interface that leads out",
        ("user,mount,net=pasta", "user,mount,net=slirp4netns"),
        f"{TUN}; {WAY_OUT}",
        only=ONE,
    ),
    Scenario(
        "tun not loaded",
        ("user,mount,net=pasta", "user,mount,net=slirp4netns"),
        f"{TUN}; {WAY_OUT}; {NO_LOADING}; rmmod tun",
        "echo /sbin/modprobe >/proc/sys/kernel/modprobe",
        only=ONE,
    ),
    Scenario(
        "no /dev/net/tun",
        ("user,mount,net=slirp4netns",),
        f"{NO_LOADING}; rmmod tun; rm -f /dev/net/tun",
        "echo /sbin/modprobe >/proc/sys/kernel/modprobe",
        only=ONE,
    ),
    COMPLAINS,
    DENIES,
    _booted(*2 * ("ipv6.disable=1",), "user,net", "user,net=gate", "user,net,addr=fd00::1/64"),
    _booted(*2 * ("ipv6.disable_ipv6=1",), "user,net", "user,net=gate", "user,net,addr=fd00::1/64"),
    _booted(
        "the initramfs is root",
        "lab=initramfs",
        *("user,net", "user,pid", "user,ro=/usr", "user,overlay=/usr", "user,net=gate"),
        *("user,mount,net=pasta", "user,mount,net=slirp4netns"),
        setup=f"{TUN}; {WAY_OUT}",
    ),
    Scenario(
        "newuidmap is not setuid",
        ("user=auto",),
        "chmod u-s /usr/bin/newuidmap; setcap -r /usr/bin/newuidmap",
    ),
]
