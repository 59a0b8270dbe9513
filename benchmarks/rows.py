"""What is started: our own lists, the peers beside each, and the bars of the comparison."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
import shutil

import lab

#: Every namespace that the hook enters without forking.
ALL = "user,net,mount,uts,ipc,cgroup,time"

#: The name of a namespace in PY_UNSHARE, and its file below /proc/self/ns.
NS_FILE = {"mount": "mnt"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to start the interpreter.

    name is unique; group is the list of PY_UNSHARE that the row is an alternative for; prefix
    comes before the interpreter's path; variable is the value of PY_UNSHARE (None: unset);
    installed says whether the environment with the package is used. The probe checks that the
    namespaces of enters are new ones, that loopback, where it is not None, is up or down, and that
    an outbound row, one with a way out, has an interface besides lo.
    A required row that does not start ends the benchmark, any other is shown as not available.
    """

    name: str
    group: str
    prefix: tuple[str, ...] = ()
    variable: str | None = None
    installed: bool = False
    enters: tuple[str, ...] = ()
    loopback: bool | None = None
    outbound: bool = False
    required: bool = False

    def command(self, python: pathlib.Path, code: str) -> list[str]:
        """Return the argument vector; its first word is an absolute path, or the row's tool."""
        return [*self.prefix, str(python), "-c", code]

    def shown(self) -> str:
        """Return the command as a reader would type it; no path of this machine is in it."""
        words = [
            pathlib.Path(word).name if word == self.prefix[0] else word for word in self.prefix
        ]
        variable = [] if self.variable is None else [f"PY_UNSHARE={self.variable}"]
        return shlex.join([*variable, *words, "python", "-c", "pass"])

    def environment(self) -> dict[str, str]:
        """Return the environment of the start."""
        if self.variable is None:
            return lab.environment_variables()
        return lab.environment_variables(PY_UNSHARE=self.variable)


@dataclasses.dataclass(frozen=True)
class Bar:
    """What a row is held to: its added time is at most this many times that of the peer.

    aim is the lower figure to work towards, where there is one; a bar of None only informs.
    """

    row: str
    peer: str
    at_most: float | None
    aim: float | None = None


BARE = "bare start"
AGAIN = "bare start, once more"  # what tells it from the other is noise
GATE_OFF = "gate off: installed, PY_UNSHARE unset"

_LO_UP = ("sh", "-c", 'ip link set lo up; exec "$0" "$@"')
_BWRAP = ("bwrap", "--dev-bind", "/", "/", "--unshare-user", "--unshare-net")


def _ours(variable: str, required: bool = True) -> Row:
    names = tuple(item.partition("=")[0] for item in variable.split(","))
    return Row(
        f"PY_UNSHARE={variable}",
        variable,
        variable=variable,
        installed=True,
        enters=names,
        loopback=True if "net" in names else None,
        outbound="net=" in variable,
        required=required,
    )


def _peer(name: str, group: str, *prefix: str, enters: str, loopback: bool | None = None) -> Row:
    return Row(name, group, prefix, enters=tuple(enters.split(",")), loopback=loopback)


def rows(floor: str) -> list[Row]:
    """Return all rows, in the order of the table; floor is the path of the compiled peer.c."""
    most, pid, pasta, slirp = "user,net,mount", "user,pid", "user,net=pasta", "user,net=slirp4netns"
    net = "user,net"
    bwrap_root = (*_BWRAP, "--uid", "0", "--gid", "0")
    bwrap_all = (*bwrap_root, "--unshare-uts", "--unshare-ipc", "--unshare-cgroup")
    bwrap_pid = ("bwrap", "--dev-bind", "/", "/", "--unshare-user", "--unshare-pid")
    return [
        Row(BARE, "", required=True),
        Row(AGAIN, "", required=True),
        Row(GATE_OFF, "", installed=True, required=True),
        _ours(net),
        _peer("unshare -rn", net, "unshare", "-rn", enters=net, loopback=False),
        _peer(
            "unshare -rn, lo up by ip", net, "unshare", "-rn", *_LO_UP, enters=net, loopback=True
        ),
        _peer("bwrap, user net", net, *_BWRAP, enters=net, loopback=True),
        _peer("bwrap, user net, uid 0", net, *bwrap_root, enters=net, loopback=True),
        _peer("static C, user net", net, floor, net, enters=net, loopback=True),
        _ours(most),
        _peer("unshare -rnm", most, "unshare", "-rnm", enters=most, loopback=False),
        _peer(
            "unshare -rnm, lo up by ip",
            most,
            "unshare",
            "-rnm",
            *_LO_UP,
            enters=most,
            loopback=True,
        ),
        _peer("static C, user net mount", most, floor, most, enters=most, loopback=True),
        _ours(ALL),
        _peer("unshare -rnmuiCT", ALL, "unshare", "-rnmuiCT", enters=ALL, loopback=False),
        _peer(
            "bwrap, all but time",
            ALL,
            *bwrap_all,
            enters="user,net,mount,uts,ipc,cgroup",
            loopback=True,
        ),
        _peer("static C, all", ALL, floor, ALL, enters=ALL, loopback=True),
        _ours(pid, required=False),
        _peer("unshare -Urpf --mount-proc", pid, "unshare", "-Urpf", "--mount-proc", enters=pid),
        _peer("bwrap, user pid, --proc", pid, *bwrap_pid, "--proc", "/proc", enters=pid),
        _ours("user,net=gate", required=False),
        _ours(pasta, required=False),
        dataclasses.replace(
            _peer("pasta --config-net", pasta, "pasta", "--config-net", "--", enters=net),
            loopback=True,
            outbound=True,
        ),
        _ours(slirp, required=False),
    ]


def bars() -> list[Bar]:
    """Return the comparisons, those with a bar and those that only inform."""
    found = []
    for ours, by_ip, floor in (
        ("user,net", "unshare -rn, lo up by ip", "static C, user net"),
        ("user,net,mount", "unshare -rnm, lo up by ip", "static C, user net mount"),
    ):
        found += [
            Bar(f"PY_UNSHARE={ours}", by_ip, 0.5),
            Bar(f"PY_UNSHARE={ours}", "bwrap, user net", 0.65),
            Bar(f"PY_UNSHARE={ours}", floor, 1.5),
        ]
    return [
        *found,
        Bar(f"PY_UNSHARE={ALL}", "bwrap, all but time", None),
        Bar(f"PY_UNSHARE={ALL}", "static C, all", None),
        Bar("PY_UNSHARE=user,pid", "bwrap, user pid, --proc", 1.4, aim=1.0),
        Bar("PY_UNSHARE=user,pid", "unshare -Urpf --mount-proc", None),
        Bar("PY_UNSHARE=user,net=gate", "PY_UNSHARE=user,net=pasta", 1.0),
        Bar("PY_UNSHARE=user,net=pasta", "pasta --config-net", None),
    ]


def compile_floor(directory: pathlib.Path) -> str:
    """Compile peer.c into directory; return the program's path, or a name that is not there."""
    if shutil.which("gcc") is None:
        return "gcc"
    program = directory / "peer"
    source = pathlib.Path(__file__).with_name("peer.c")
    lab.run(["gcc", "-O2", "-static", "-o", program, source])
    return str(program)


#: Run by the probe in place of the measured program: says what it finds itself in.
PROBE = """
import json, os, socket, sys
namespaces = {name: os.readlink("/proc/self/ns/" + name)
              for name in ("user", "net", "mnt", "uts", "ipc", "cgroup", "time", "pid")
              if os.path.exists("/proc/self/ns/" + name)}
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
    loopback = True
except OSError:
    loopback = False
sources = [getattr(getattr(module, "__spec__", None), "cached", None)
           for module in list(sys.modules.values())]
print(json.dumps({"namespaces": namespaces, "loopback": loopback,
                  "interfaces": len(socket.if_nameindex()),
                  "uncompiled": sum(1 for path in sources if path and not os.path.exists(path))}))
"""
