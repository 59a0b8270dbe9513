"""What runs a command in a container and has no daemon: runc, crun, nspawn, LXC, bwrap, podman."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness import Session, until
from hosts.cures import Taken
from hosts.engines import BOUND, CGROUPS, LIMITS, LINKS, PATIENCE, make_tree, remove_groups

USER = 1000
AS_USER = f"as uid {USER}"  # an option of the lab, for what has none of its own

# In namespaces of their own, with ids that an ordinary user may hand out, subuid(5), and in a
# control group of their own, which is all that they see of these: cgroup_namespaces(7).
HOLDER = """
mount --make-rprivate /
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$1" && echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"
umount /sys/fs/cgroup
for file in /etc/subuid /etc/subgid; do mount --bind "$0/ids" "$file"; done
ip link set lo up
exec unshare --cgroup sh -ec '
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo ready
exec sleep infinity'
"""
ENTER = 'echo $$ >/sys/fs/cgroup/cgroup.procs && exec "$@"'
# For what looks up its own group from the topmost one.
ENTER_FROM_TOP = """
umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo $$ >"/sys/fs/cgroup/$0/cgroup.procs" && exec "$@"
"""

WITH_CAPABILITY = r"start it with CAP_(\w+(?:, CAP_\w+)*) \(for"
AS_ANOTHER = "start it as another user"

# What a cure says, and the option that this is.
TAKEN: dict[str, Taken] = {
    "runc": (
        (WITH_CAPABILITY, (r"process.capabilities+=CAP_\1",)),
        (AS_ANOTHER, (f"process.user.uid={USER}",)),
    ),
    "systemd-nspawn": (
        (
            r"systemd-nspawn (--capability=\S+) \.\.\. \(and no (--drop-capability=)",
            (r"\1", "without", r"\2"),
        ),
        (r"systemd-nspawn --user=NAME", ("--user=nobody",)),
        (r"systemd-nspawn without (?:a )?(--[\w-]+=)", ("without", r"\1")),
    ),
    "LXC": ((r"(lxc\.[\w.]+ =(?: [\w/.]+)?)", (r"\1",)),),
    "bwrap": (
        (WITH_CAPABILITY, ("--cap-add", r"CAP_\1")),
        (AS_ANOTHER, (AS_USER,)),
        ("start it from further outside", ("without", "--disable-userns")),
    ),
}
TAKEN["crun"] = TAKEN["runc"]


@dataclass
class Sandboxes:
    """All of them, in the same namespaces.

    Attributes:
        directory: of all files.
        pid: of the process whose namespaces they run in.
        shared: directories of the host that are bound into each container, read-only.
    """

    directory: Path
    pid: int
    shared: list[str]

    @classmethod
    @contextlib.contextmanager
    def start(cls, session: Session) -> Iterator[Sandboxes]:
        """Make the namespaces, and a container's root."""
        with tempfile.TemporaryDirectory(prefix="hosts-") as name:
            directory = Path(name)
            directory.chmod(0o755)
            (directory / "ids").write_text(f"{USER}:100000:65536\n")
            make_tree(directory / "tree")
            command = ["unshare", "--mount", "--net", "sh", "-ec", HOLDER, name, directory.name]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
                try:
                    assert holder.stdout and holder.stdout.readline() == "ready\n"
                    yield cls(directory, holder.pid, [*BOUND, str(session.directory)])
                finally:
                    holder.kill()
                    holder.wait(PATIENCE)
                    _end_all(directory.name)
                    remove_groups(directory.name)

    def lines(self, engine: str, command: Sequence[str | Path], *options: str) -> list[str]:
        """Run a command by one of them, and return the lines of its output."""
        how = {
            "systemd-nspawn": self._nspawn,
            "LXC": self._lxc,
            "bwrap": self._bwrap,
            "Podman without root": self._podman,
        }
        words = [str(word) for word in command]
        whole = how[engine](words, options) if engine in how else self._oci(engine, words, options)
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--net"]
        if engine == "systemd-nspawn":
            inside += ["unshare", "--mount", "sh", "-c", ENTER_FROM_TOP, self.directory.name]
        else:
            inside += ["--cgroup"] if engine != "LXC" else []  # which goes by process 1's group
            inside += ["sh", "-c", ENTER, "sh"]
        done = subprocess.run([*inside, *whole], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def _nspawn(self, command: list[str], options: Sequence[str]) -> list[str]:
        """systemd-nspawn(1), which here knows of no systemd."""
        apart = ["--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off"]
        how = ["--quiet", "--as-pid2", "--console=pipe", "--timezone=off", *apart]
        binds = [f"--bind-ro={path}" for path in self.shared]
        tree = ["--directory", str(self.directory / "tree")]
        return ["systemd-nspawn", *how, *tree, *binds, *options, *command]

    def _lxc(self, command: list[str], options: Sequence[str]) -> list[str]:
        """lxc-execute(1); options are lines of lxc.container.conf(5)."""
        lines = [
            f"lxc.rootfs.path = dir:{self.directory}/tree",
            "lxc.include = /usr/share/lxc/config/common.conf",
            "lxc.net.0.type = empty",
            *(f"lxc.mount.entry = {at} {at[1:]} none bind,ro,create=dir" for at in self.shared),
            *options,
        ]
        name = f"test-{os.urandom(8).hex()}"
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines))
        where = ["-P", str(self.directory), "-f", f"{self.directory}/{name}"]
        return ["lxc-execute", "-n", f"{name}-run", *where, "--", *command]

    def _bwrap(self, command: list[str], options: Sequence[str]) -> list[str]:
        """bwrap(1), by root or by an ordinary user."""
        words = [word for path in self.shared for word in ("--ro-bind", path, path)]
        words += [word for name, to in LINKS.items() for word in ("--symlink", to, f"/{name}")]
        words += ["--dev", "/dev", "--proc", "/proc"]
        own = [word for each in options if each != AS_USER for word in shlex.split(each)]
        before = as_user() if AS_USER in options else []
        return [*before, "bwrap", *words, *own, *command]

    def _podman(self, command: list[str], options: Sequence[str]) -> list[str]:
        """podman(1), by an ordinary user, who maps ids by newuidmap(1)."""
        top = self.directory / f"podman-{os.urandom(8).hex()}"
        make_tree(top / "tree")
        for path in (top, *top.iterdir(), *(top / "tree").iterdir()):
            os.chown(path, USER, USER, follow_symlinks=False)
        env = ["env", f"HOME={top}", f"XDG_RUNTIME_DIR={top}", f"XDG_CONFIG_HOME={top}"]
        where = ["--root", f"{top}/root", "--runroot", f"{top}/run"]
        how = ["--log-level=error", "--cgroup-manager=cgroupfs", "--events-backend=none"]
        binds = [f"--volume={path}:{path}:ro" for path in self.shared]
        run = ["run", "--rm", "--cgroups=disabled", "--network=none", *LIMITS, *binds, *options]
        podman = ["podman", *where, *how, *shlex.split(" ".join(run))]
        return [*as_user(), *env, *podman, "--rootfs", f"{top}/tree", *command]

    def _oci(self, engine: str, command: list[str], options: Sequence[str]) -> list[str]:
        """runc(8) or crun(1), with the specification that it proposes; options are edits of it."""
        bundle = self.directory / f"bundle-{os.urandom(8).hex()}"
        bundle.mkdir()
        subprocess.run([engine, "spec"], cwd=bundle, check=True)
        spec = json.loads((bundle / "config.json").read_text())
        spec["root"]["path"] = str(self.directory / "tree")
        spec["process"] |= {"args": command, "terminal": False}
        spec["mounts"] += [
            {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
            for path in self.shared
        ]
        for each in options:
            _edit(spec, each)
        (bundle / "config.json").write_text(json.dumps(spec))
        how = ["--root", f"{self.directory}/state"]
        how += ["--cgroup-manager=disabled"] if engine == "crun" else []
        return [engine, *how, "run", "--bundle", str(bundle), bundle.name]


def _end_all(name: str) -> None:
    """End what has been left in the control group, such as podman's process that holds its ids."""
    for group in (CGROUPS / name, CGROUPS / "unified" / name):
        if group.exists():
            (group / "cgroup.kill").write_text("1")
            until(partial(_is_empty, group), f"{group} is not empty")


def _is_empty(group: Path) -> bool:
    return "populated 0" in (group / "cgroup.events").read_text()


def as_user() -> list[str]:
    """What starts a command as an ordinary user."""
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def _edit(spec: dict, option: str) -> None:  # type: ignore[type-arg]
    path, _, value = option.partition("=")
    *above, last = path.rstrip("+").split(".")
    place = spec
    for name in above:
        place = place[name]
    if path.endswith("+"):  # capabilities: each of the sets has it
        for names in place[last].values():
            names += re.findall(r"\w+", value)
    else:
        place[last] = json.loads(value)
