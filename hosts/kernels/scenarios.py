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


# What shows that a list holds, for the structs that are packed by hand on each architecture: it
# runs there, and ends with an error if it does not.
GATE = """
import errno, os, socket
assert socket.socket().connect_ex(("192.0.2.1", 9)) == errno.ECONNREFUSED
(one,) = [each for each in unshare_boot.attempts() if each["port"] == 9]
assert (one["verdict"], one["inner_pid"]) == ("refused", os.getpid()), one
assert socket.gethostbyname("x.test")[:7] == "198.18."
"""
SERVICE = "192.0.2.2:7"
SERVED = """
import socket
with socket.create_connection(("192.0.2.2", 7)) as service:
    assert service.recv(9) == b"hello"
"""
NO_SOCKETS = """
import errno, socket
for family in socket.AF_INET, socket.AF_INET6, socket.AF_PACKET:
    try: raise AssertionError(socket.socket(family, socket.SOCK_DGRAM))
    except OSError as error: assert error.errno == errno.ENETUNREACH
socket.socket(socket.AF_UNIX), socket.socketpair()
"""
ADDRESS = """
import socket
with socket.create_server(("fd00::1", 0), family=socket.AF_INET6) as server:
    socket.create_connection(server.getsockname()[:2])
"""
NUMBER = "import os; assert os.readlink('/proc/self') == str(os.getpid()) == '2'"
CHECKS = {
    "sockets=unix": NO_SOCKETS,
    "user,net=gate": GATE,
    "net=gate": GATE,
    f"user,net=gate,allow={SERVICE}": SERVED + GATE,
    "user,net,addr=fd00::1/64": ADDRESS,
    "user,pid": NUMBER,
    "pid": NUMBER,
    "user=auto,pid": NUMBER + "; os.setuid(1000)",
    "user,uts=box": "import os; assert os.uname().nodename == 'box'",
    "user,time=+1d": "import time; assert time.clock_gettime(time.CLOCK_BOOTTIME) > 86400",
    "user,ro=/usr": "import os; assert os.statvfs('/usr').f_flag & os.ST_RDONLY",
    "user,overlay=/usr": "open('/usr/new', 'w').close()",
}


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

# A policy of SELinux's that refuses user namespaces, and nothing else: what it does not name is
# allowed. The kernel wants three of its contexts and two of the permissions.
POLICY = """
(handleunknown allow) (mls false) (policycap open_perms)
(sid kernel) (sid security) (sid unlabeled) (sidorder (kernel security unlabeled))
(class process (transition dyntransition)) (class user_namespace (create))
(classorder (process user_namespace))
(sensitivity s0) (sensitivityorder (s0)) (user u) (role r) (type t) (roletype r t) (userrole u r)
(userlevel u (s0)) (userrange u ((s0) (s0)))
(sidcontext kernel (u r t ((s0) (s0)))) (sidcontext security (u r t ((s0) (s0))))
(sidcontext unlabeled (u r t ((s0) (s0)))) (allow t self (process (transition dyntransition)))
"""
ENFORCE = (
    "secilc -c 33 -o /tmp/policy -f /dev/null /tmp/*.cil && cat /tmp/policy >/sys/fs/selinux/load"
)
SELINUX = Scenario(
    "SELinux: user_namespace is not allowed",
    ("user,net", "offline", "user,pid", "sockets=unix", "offline|sockets=unix"),
    f"mount -t selinuxfs none /sys/fs/selinux; rm -f /tmp/*.cil; echo '{POLICY}' >/tmp/0.cil; "
    f"{ENFORCE}; echo 1 >/sys/fs/selinux/enforce",
    taken=((r"(echo '.*?' >\S+) && sudo semodule -i \S+", (rf"cd /tmp; \1; {ENFORCE}",)),),
    only="grep -qw selinux=1 /proc/cmdline",
)

WAY_OUT = """
ip link add ext type dummy; ip addr add 192.0.2.2/24 dev ext; ip link set ext up
ip route replace default via 192.0.2.1"""
TUN = "mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod -m 666 /dev/net/tun c 10 200"
NO_LOADING = "echo /bin/false >/proc/sys/kernel/modprobe"

SCENARIOS = [
    Scenario("an ordinary user", ORDINARY),
    Scenario("root", ROOT, root=True),
    Scenario(
        "a service of the host's",
        (f"user,net=gate,allow={SERVICE}",),
        "ip link add ext type dummy; ip addr add 192.0.2.2/24 dev ext; ip link set ext up; "
        'python3 -c \'import socket; s = socket.create_server(("192.0.2.2", 7))\n'
        'while True: s.accept()[0].send(b"hello")\' &',
        "ip link del ext",
    ),
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
    SELINUX,
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
