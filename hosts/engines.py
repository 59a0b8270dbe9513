"""Engines that run containers, each in namespaces of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import Session, until

LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
EMPTY = ("usr", "etc", "var", "proc", "sys", "dev", "tmp", "run", "root")
BOUND = ("/usr", "/etc", "/var")
IMAGE = "docker.io/library/plain:latest"
PATIENCE = 120  # seconds
# What a process may raise without CAP_SYS_RESOURCE, which root of a virtual machine may lack.
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
CGROUPS = Path("/sys/fs/cgroup")

# dockerd in namespaces of its own, so that its bridge, its firewall rules, and what it writes to
# /etc, /opt and /run stay there.
DAEMON = """
mount --make-rprivate /
for directory in /run /opt; do mount -t tmpfs tmpfs "$directory"; done
mkdir "$0/etc" && mount -t overlay overlay -o "lowerdir=/etc,upperdir=$0/etc,workdir=$0/work" /etc
ip link set lo up
exec dockerd --cgroup-parent "/$1" --data-root "$0/lib" --exec-root "$0/run" --pidfile "$0/pid" \
    --host "unix://$0/docker.sock" --group root
"""


@dataclass
class Docker:
    """Docker's daemon, and the containerd that it has started.

    Attributes:
        directory: of all its files.
        pid: of the daemon.
        shared: directories of the host that are bound into each container, read-only.
    """

    directory: Path
    pid: int
    shared: list[str]

    @classmethod
    @contextlib.contextmanager
    def start(cls, session: Session) -> Iterator[Docker]:
        """Start it, and import the image."""
        with tempfile.TemporaryDirectory(prefix="hosts-") as name:
            directory = Path(name)
            command = ["unshare", "--mount", "--net", "sh", "-ec", DAEMON, name, directory.name]
            (directory / "work").mkdir()
            with (
                open(directory / "log", "wb") as log,
                subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as daemon,
            ):
                try:
                    engine = cls(directory, daemon.pid, [*BOUND, str(session.directory)])
                    until(engine._answers, "dockerd does not answer", directory / "log", PATIENCE)
                    engine._import()
                    yield engine
                finally:
                    daemon.terminate()
                    daemon.wait(PATIENCE)
                    remove_groups(directory.name)

    def run(self, command: Sequence[str | Path], *options: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container: ``docker run``."""
        binds = [f"--volume={path}:{path}:ro" for path in self.shared]
        return self._docker("run", "--rm", *binds, *options, IMAGE, *map(str, command))

    def lines(self, command: Sequence[str | Path], *options: str) -> list[str]:
        """Run a command, and return the lines of its output."""
        return _lines(self.run(command, *shlex.split(" ".join(options))))

    def build(self, context: Path) -> str:
        """Build an image: ``docker build``; return what it says, with what was run."""
        done = self._docker("build", "--no-cache", "--network=none", str(context))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_by_containerd(
        self, command: Sequence[str | Path], *options: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command under containerd's own default profile, as Kubernetes does."""
        return self._by_ctr(command, ["--seccomp", *options])

    def _by_ctr(
        self, command: Sequence[str | Path], options: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        binds = [
            f"--mount=type=bind,src={path},dst={path},options=rbind:ro" for path in self.shared
        ]
        name = f"test-{os.urandom(8).hex()}"
        group = f"--cgroup=/{self.directory.name}/{name}"
        return self._ctr("run", "--rm", group, *binds, *options, IMAGE, name, *map(str, command))

    def lines_by_containerd(self, command: Sequence[str | Path], *options: str) -> list[str]:
        """The same; options have ``--seccomp`` among them where it is to be."""
        return _lines(self._by_ctr(command, options))

    def _answers(self) -> bool:
        return self._docker("version").returncode == 0

    def _import(self) -> None:
        tree = self.directory / "tree.tar"
        with tarfile.open(tree, "w") as archive:
            for name in EMPTY:
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                archive.addfile(entry)
            for name, target in LINKS.items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
        saved = self.directory / "image.tar"
        for done in (
            self._docker("import", str(tree), IMAGE),
            self._docker("save", "--output", str(saved), IMAGE),
            self._ctr("images", "import", str(saved)),
        ):
            assert done.returncode == 0, done.stderr

    def _docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _done("docker", "--host", f"unix://{self.directory}/docker.sock", *arguments)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--net"]
        socket = f"{self.directory}/run/containerd/containerd.sock"
        return _done(*inside, "ctr", "--address", socket, *arguments)


# podman in namespaces of its own, so that what it writes to /run and /etc stays there.
HOLDER = """
mount --make-rprivate /
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
echo ready
exec sleep infinity
"""


@dataclass
class Podman:
    """podman(1), as root; each container has its own directory of links.

    Attributes:
        directory: of all its files.
        pid: of the process whose namespaces it runs in.
        shared: as for Docker.
    """

    directory: Path
    pid: int
    shared: list[str]

    @classmethod
    @contextlib.contextmanager
    def start(cls, session: Session) -> Iterator[Podman]:
        """Make the namespaces, and the directory that is a container's root."""
        with tempfile.TemporaryDirectory(prefix="hosts-") as name:
            directory = Path(name)
            make_tree(directory / "tree")
            command = ["unshare", "--mount", "--net", "sh", "-ec", HOLDER]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
                try:
                    assert holder.stdout and holder.stdout.readline() == "ready\n"
                    yield cls(directory, holder.pid, [*BOUND, str(session.directory)])
                finally:
                    holder.kill()

    def run(self, command: Sequence[str | Path], *options: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container: ``podman run``; without control groups of its own."""
        binds = [f"--volume={path}:{path}:ro" for path in self.shared]
        inside = ["nsenter", "--target", str(self.pid), "--mount", "--net"]
        where = ["--root", f"{self.directory}/root", "--runroot", f"{self.directory}/run"]
        how = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        run = ["run", "--rm", "--cgroups=disabled", "--network=none", *LIMITS, *binds, *options]
        tree = ["--rootfs", f"{self.directory}/tree"]
        return _done(*inside, "podman", *where, *how, *run, *tree, *map(str, command))

    def lines(self, command: Sequence[str | Path], *options: str) -> list[str]:
        """Run a command, and return the lines of its output."""
        return _lines(self.run(command, *shlex.split(" ".join(options))))


def make_tree(top: Path) -> None:
    """Make the root of a container: links, and directories to bind others on."""
    for name in EMPTY:
        (top / name).mkdir(parents=True)
    (top / "tmp").chmod(0o1777)
    for name, target in LINKS.items():
        (top / name).symlink_to(target)


def _lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def remove_groups(name: str) -> None:
    """Remove the control groups that a daemon has left, cgroups(7); they are empty by now."""
    for top in (CGROUPS, *CGROUPS.iterdir()):
        for each in sorted((top / name).rglob("*"), reverse=True) if (top / name).is_dir() else ():
            if each.is_dir():
                each.rmdir()
        with contextlib.suppress(FileNotFoundError):
            (top / name).rmdir()


def _done(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
