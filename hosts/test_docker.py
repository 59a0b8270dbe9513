"""Docker's and containerd's own default profiles, which forbid unshare(2)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from harness import Python, Session
from hosts.engines import Docker
from hosts.table import started

CODE = """
import ctypes, errno, os, socket, subprocess, unshare_boot
libc = ctypes.CDLL(None, use_errno=True)

def outcome(number, kind):
    try:
        socket.socket(number, kind).close()
        return "made"
    except OSError as error:
        return errno.errorcode[error.errno]

kinds = {16: socket.SOCK_RAW, 17: socket.SOCK_RAW}
families = (1, 16, 2, 10, 17, 40)
print(*unshare_boot.active())
print(*(outcome(number, kinds.get(number, socket.SOCK_STREAM)) for number in families))
ring = libc.syscall(425, 8, ctypes.create_string_buffer(120))
print("a ring" if ring >= 0 else errno.errorcode[ctypes.get_errno()])
for command in ("curl -sS http://192.0.2.1/", "git ls-remote http://192.0.2.1/x"):
    done = subprocess.run(command.split(), stderr=subprocess.PIPE, text=True)
    print("Couldn't connect to server" in done.stderr or done.stderr)
"""
UNIX_ONLY = ["sockets", "made made" + 4 * " ENETUNREACH", "ENOSYS", "True", "True"]

OPTIONS = [
    [],
    ["--user=1000"],
    ["--read-only"],
    ["--cap-drop=ALL"],
    ["--cap-drop=ALL", "--user=1000", "--security-opt=no-new-privileges"],
    ["--read-only", "--network=none", "--user=1000:1000"],
]


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("unshare", ["sockets=unix", "offline|sockets=unix"])
def test_sockets_by_docker(
    docker: Docker, oldest: Python, unshare: str, options: list[str]
) -> None:
    command = oldest.command(CODE)
    assert lines(docker.run(command, *options, f"--env=PY_UNSHARE={unshare}")) == UNIX_ONLY


@pytest.mark.parametrize("drop", [[], ["--reuid=1000", "--clear-groups", "--no-new-privs"]])
@pytest.mark.parametrize("unshare", ["sockets=unix", "offline|sockets=unix"])
def test_sockets_by_containerd(
    docker: Docker, oldest: Python, unshare: str, drop: list[str]
) -> None:
    before = ["setpriv", *drop, "--bounding-set=-all"] if drop else []
    command = [*before, *oldest.command(CODE)]
    assert lines(docker.run_by_containerd(command, f"--env=PY_UNSHARE={unshare}")) == UNIX_ONLY


def test_without_it_there_are_sockets(docker: Docker, oldest: Python) -> None:
    made = lines(docker.run(oldest.command(CODE)))[1]
    assert made.startswith("made made made made")


@pytest.mark.parametrize("user", ["--user=0", "--user=1000"])
def test_the_cure_for_namespaces(docker: Docker, oldest: Python, user: str) -> None:
    """The refusal names the profile, and the option that it prints does lift it."""
    command = oldest.command("import unshare_boot; print(*unshare_boot.active())")
    refused = docker.run(command, user, "--env=PY_UNSHARE=user,net")
    assert (refused.returncode, refused.stdout) == (125, "")
    said = dict(line.strip().split(": ", 1) for line in refused.stderr.splitlines()[1:])
    assert "seccomp filter forbids unshare(2)" in said["why"]
    option = "--security-opt seccomp=unconfined"
    assert option in said["cure"]
    done = docker.run(command, user, *option.split(), "--env=PY_UNSHARE=user,net")
    assert lines(done) == ["user net"]


def test_its_own_socket_works_under_the_filter(docker: Docker, newest: Python) -> None:
    client = ["docker", "--host", f"unix://{docker.directory}/docker.sock", "version"]
    command = ["-m", "unshare_boot", "run", "sockets=unix", "--", *client]
    assert "Server:" in newest.run(command, as_root=True).ok()


TUN = "--device=/dev/net/tun"
PLACE = re.compile("DIR|PID")  # in a list of the doctor's, where it puts one of its own


def test_pasta(docker: Docker, newest: Python) -> None:
    """No capability has the profile allow pivot_root(2); and it needs an interface to copy."""
    command = newest.command("import unshare_boot; print(*unshare_boot.active())")
    unshare = "--env=PY_UNSHARE=user,mount,net=pasta"
    said = told(docker.run(command, TUN, "--cap-add=SYS_ADMIN", unshare))
    assert "a seccomp filter forbids pivot_root(2), which pasta takes" in said["why"]
    option = "--security-opt seccomp=unconfined"
    assert option in said["cure"]
    said = told(docker.run(command, *option.split(), unshare))
    assert said["why"].strip() == "there is no /dev/net/tun"
    assert said["cure"] == f"docker run {TUN.replace('=', ' ')} ..."
    assert lines(docker.run(command, TUN, *option.split(), unshare)) == ["user net mount"]
    alone = ("--network=none", TUN, *option.split())
    said = told(docker.run(command, *alone, unshare))
    assert "no interface here has a route that leads out" in said["why"]
    for other in ("net=slirp4netns", "net,"):
        assert other in said["cure"]
        instead = f"--env=PY_UNSHARE=user,mount,{other.rstrip(',')}"
        assert lines(docker.run(command, *alone, instead)) == ["user net mount"]
    assert "leave --network none out" in said["cure"]


DOCKERFILE = """
FROM plain
COPY . /
RUN PY_UNSHARE=user,net python3 -c "" 2>/tmp/said; echo "status $?" && cat /tmp/said
RUN PY_UNSHARE=sockets=unix python3 -c "import unshare_boot; print(*unshare_boot.active())"
"""


def test_docker_build(docker: Docker, session: Session, workdir: Path) -> None:
    """It has the same filter and no option for that; the cure says what works there."""
    copy_of_python(session.wheel("pth"), workdir)
    (workdir / "Dockerfile").write_text(DOCKERFILE)
    said = docker.build(workdir)
    assert (
        "status 125\n" in said
        and "in docker build, which has no such option, sockets=unix w" in said
    )
    assert "\nsockets\n" in said


def copy_of_python(wheel: Path, tree: Path) -> None:
    """Debian's Python, and the wheel, below a directory: no directory is bound in a build."""
    python = Path("/usr/bin/python3")
    library = Path("/usr/lib", python.resolve().name)
    ldd = ["ldd", str(python), *map(str, library.glob("lib-dynload/_ctypes.*"))]
    linked = subprocess.run(ldd, capture_output=True, text=True, check=True).stdout
    files = [python, Path("/usr/bin/sh"), Path("/usr/bin/cat")]
    files += [Path(file) for file in set(re.findall(r"(/\S+) \(0x", linked))]
    for file in files:
        copy = tree / "usr" / file.relative_to("/usr" if file.parts[1] == "usr" else "/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    left_out = shutil.ignore_patterns("test", "idlelib", "config-*", "__pycache__")
    shutil.copytree(library, tree / library.relative_to("/"), ignore=left_out)
    site = tree / "usr/local/lib" / library.name / "dist-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The lines of a refusal, by label."""
    assert (done.returncode, done.stdout) == (125, ""), done
    return dict(line.strip().split(": ", 1) for line in done.stderr.splitlines()[1:])


def test_the_doctor_where_nothing_is_writable(docker: Docker, newest: Python) -> None:
    """It says of each list what a start in the same container comes to."""
    options = ["--read-only", "--security-opt=seccomp=unconfined"]
    command = newest.command(["-m", "unshare_boot", "--json"])
    said = json.loads(docker.run(command, *options).stdout)["items"]
    works = {each["list"]: each["works"] for each in said if not PLACE.search(each["list"])}
    assert "user" in works and len(works) > 20, works
    found = started(docker.lines, newest, options, list(works), "once")
    assert [each["status"] == 0 for each in found] == list(works.values())
