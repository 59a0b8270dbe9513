"""net=gate where names are found in other ways: other resolvers of the host's, and of a C library.

A program asks its C library for two names, one of which is allowed, and connects.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness import Python, Session, require_tool, until
from harness.internet import ECHO_PORT, NAME, SERVER, SITE, STUB, Site
from harness.session import PROJECT
from harness.visitor import Visitor

OTHER = "other.example.test"
HERE = "here.example.test"  # in /etc/hosts alone
RESOLVED = "/run/systemd/resolve/io.systemd.Resolve"


@pytest.fixture(scope="module")
def site(site: Site, session: Session) -> Site:
    """With a name of its own in /etc/hosts."""
    hosts = session.make_workdir() / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{SERVER} {HERE}\n")
    subprocess.run(site.enter("mount", "--bind", hosts, "/etc/hosts"), check=True)
    return site


@pytest.fixture(scope="module", params=["glibc", "musl"])
def hello(request: pytest.FixtureRequest, session: Session) -> Path:
    """The program, with one of the C libraries."""
    static = ["-static"] if request.param == "musl" else []
    compiler = require_tool("musl-gcc" if request.param == "musl" else "gcc")
    built = session.make_workdir() / "hello"
    source = PROJECT / "tests" / "programs" / "hello.c"
    flags = [*static, "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, source, "-o", built], check=True)
    return built


# Ways to find names: of each what resolv.conf(5) says, and who runs meanwhile.


def far(site: Site, workdir: Path) -> AbstractContextManager[object]:
    return contextlib.nullcontext()


def stub(site: Site, workdir: Path) -> AbstractContextManager[object]:
    return site.listen(f"dns:{STUB}:53")


@contextlib.contextmanager
def daemon(site: Site, script: str, socket: str) -> Iterator[None]:
    """Have one run in the site, with a /run of its own, until the end of the block."""
    script = f"mount -t tmpfs -o mode=755 tmpfs /run; {script}"
    with subprocess.Popen(site.enter("sh", "-ec", script)) as process:
        site.known.add(process.pid)
        path = Path(f"/proc/{process.pid}/root{socket}")
        try:
            until(path.exists, f"nobody listens at {socket}")
            yield
        finally:
            process.terminate()
    site.known.discard(process.pid)
    subprocess.run(site.enter("umount", "/run"), check=True)


def nscd(site: Site, workdir: Path) -> AbstractContextManager[object]:
    """The C library asks it by a unix socket, which would lead past the gate."""
    program = require_tool("nscd")
    config = workdir / "nscd.conf"
    config.write_text("enable-cache hosts yes\n")
    return daemon(site, f"mkdir /run/nscd; exec {program} -F -f {config}", "/run/nscd/socket")


def nss_resolve(site: Site, workdir: Path) -> AbstractContextManager[object]:
    """As Fedora and Ubuntu have it: glibc asks systemd-resolved by a unix socket."""
    program = require_tool("systemd-resolved")
    files = {
        "passwd": "root:x:0:0::/:/bin/sh\nsystemd-resolve:x:990:990::/:/bin/false\n",
        "group": "root:x:0:\nsystemd-resolve:x:990:\n",
        "nsswitch.conf": "hosts: files resolve [!UNAVAIL=return] dns\n",
        "systemd/resolved.conf": f"[Resolve]\nDNS={SERVER}\nDNSSEC=no\nDomains=~.\n",
    }
    script = "mount -t tmpfs -o mode=755 tmpfs /etc/systemd\n"
    for name, text in files.items():
        file = workdir / Path(name).name
        file.write_text(text)
        script += f"touch /etc/{name}; mount --bind {file} /etc/{name}\n"
    script += "mkdir -p /run/systemd/resolve; chown 990:990 /run/systemd/resolve\n"
    return daemon(site, f"{script} LD_LIBRARY_PATH={Path(program).parent} exec {program}", RESOLVED)


WAYS: dict[str, tuple[Callable[[Site, Path], AbstractContextManager[object]], str, str]] = {
    "far": (far, f"nameserver {SERVER}\n", NAME),
    "stub": (stub, f"nameserver {STUB}\noptions edns0 trust-ad\nsearch .\n", NAME),
    "nscd": (nscd, f"nameserver {SERVER}\n", NAME),
    "nss-resolve": (nss_resolve, f"nameserver {STUB}\noptions edns0 trust-ad\n", NAME),
    "none": (far, "", HERE),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_is_allowed_and_another(
    newest: Python, site: Site, hello: Path, way: str, workdir: Path
) -> None:
    enter, text, name = WAYS[way]
    user = newest.user
    start = [newest.executable, "-m", "unshare_boot", "run"]
    unshare = f"user=current,net,record,allow={name}:{ECHO_PORT}"
    script = f"{hello} {name} {ECHO_PORT}; {hello} {OTHER} {ECHO_PORT}"
    command = [*start, unshare, "--", "sh", "-c", script]
    env = {"HOME": str(user.home)}
    if way == "nss-resolve":
        env["LD_LIBRARY_PATH"] = str(Path(require_tool("systemd-resolved")).parent)
    before = site.resolv_conf.read_text()
    site.resolv_conf.write_text(text)
    try:
        with enter(site, workdir):
            argv = site.enter_as(user.uid, user.gid, *map(str, command))
            done = newest.root.run(argv, env=env, cwd=user.home, timeout=60)
    finally:
        site.resolv_conf.write_text(before)
    assert done.stdout == f"{SITE}\n", done
    assert f"{OTHER}: Connection refused\n" in done.stderr
    # The gate is asked for a name, but for one that the C library finds in /etc/hosts.
    reached = SERVER if way == "none" else name
    told = rf"tried {re.escape(reached)}:{ECHO_PORT} \(hello, pid \d+\): passed\n"
    assert re.search(told, done.stderr), done
    told = rf"tried {re.escape(OTHER)}:{ECHO_PORT} \(hello, pid \d+\): refused \(not in allow\)\n"
    assert re.search(told, done.stderr), done
    assert not site.wait_until_left()


# Search lists, resolv.conf(5): of each the text, the host of the list, and what is asked for.
SEARCHED = {
    "cluster": (
        f"nameserver {SERVER}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n"
        "options ndots:5\n",
        NAME,
        NAME,
    ),
    "short": (f"nameserver {SERVER}\nsearch example.test\n", NAME.partition(".")[0], "server"),
    "full": (f"nameserver {SERVER}\nsearch example.test\n", NAME, "server"),
    "pattern": (f"nameserver {SERVER}\nsearch cluster.local\noptions ndots:5\n", "*.test", NAME),
}


@pytest.mark.parametrize("which", SEARCHED)
def test_a_search_list(newest: Python, site: Site, hello: Path, which: str) -> None:
    """What a resolver makes of a name is not what is asked for, and not what is told."""
    text, allowed, name = SEARCHED[which]
    user = newest.user
    unshare = f"user=current,net,record,allow={allowed}:{ECHO_PORT}"
    script = f"{hello} {name} {ECHO_PORT}; {hello} www.github.test.org {ECHO_PORT}"
    command = [newest.executable, "-m", "unshare_boot", "run", unshare, "--", "sh", "-c", script]
    before = site.resolv_conf.read_text()
    site.resolv_conf.write_text(text)
    try:
        argv = site.enter_as(user.uid, user.gid, *map(str, command))
        done = newest.root.run(argv, env={"HOME": str(user.home)}, cwd=user.home, timeout=60)
    finally:
        site.resolv_conf.write_text(before)
    assert done.stdout == f"{SITE}\n", done
    assert f" www.github.test.org:{ECHO_PORT} (hello, pid " in done.stderr
    assert "cluster" not in done.stderr
    assert not site.wait_until_left()


def test_invalid_is_no_name(newest: Python, site: Site) -> None:
    """RFC 6761, 6.4; programs that want to see a failure ask for it."""
    code = """
import socket
try: print(socket.getaddrinfo("nowhere.invalid", 80))
except socket.gaierror as error: print(error.errno == socket.EAI_NONAME)
"""
    assert Visitor(newest, site).run(code, "user,net=gate").ok() == "True\n"
