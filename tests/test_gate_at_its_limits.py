"""net=gate where there is much, or little, of something; and what is given up, or breaks."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from harness import Python, Session, require_tool, until
from harness.gate import CODE, run
from harness.internet import ECHO_PORT, SERVER, SITE, Site
from harness.visitor import Visitor, said

HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


@pytest.fixture(scope="module")
def site(site: Site, session: Session) -> Site:
    """With localhost as Debian and Ubuntu have it, and many names."""
    hosts = session.make_workdir() / "hosts"
    names = "".join(f"{SERVER} n{each}.test\n" for each in range(400))
    hosts.write_text(HOSTS + names)
    subprocess.run(site.enter("mount", "--bind", hosts, "/etc/hosts"), check=True)
    return site


@pytest.fixture
def one(newest: Python, site: Site) -> Visitor:
    return Visitor(newest, site)


def test_more_datagrams_than_descriptors(one: Visitor, site: Site) -> None:
    """Each from a socket of its own, as a resolver sends them; and connections pass after it."""
    require_tool("prlimit")
    port = 7008
    code = f"""
for each in {ECHO_PORT}, {port}:
    print(*{{try_udp({SITE!r}, each) for _ in range(500)}})
print(*{{try_tcp({SERVER!r}, {ECHO_PORT}) for _ in range(100)}})
"""
    both = [f"udp:{SITE}:{each}" for each in (ECHO_PORT, port)]
    allow = f"allow={SERVER}:{ECHO_PORT},allow={SITE}:{ECHO_PORT}-{port}/udp"
    limit = ["prlimit", "--nofile=256:256"]
    with site.listen(*both):
        printed = run(one, code, f"user,net,{allow},record=/dev/null", prefix=limit)
    assert printed == 3 * "b'hello'\n"


def test_many_names_at_a_port(one: Visitor) -> None:
    """All of which may be meant by an address that no name was asked for."""
    code = f"print([try_tcp({SERVER!r}, {ECHO_PORT}) for _ in range(3)])"
    names = ",".join(f"allow=n{each}.test:{ECHO_PORT}" for each in range(400))
    assert run(one, code, f"user,net,{names}", timeout=120) == f"{[b'hello'] * 3}\n"


def test_a_service_on_one_of_localhosts_addresses(one: Visitor, site: Site) -> None:
    """The program may try the other one first."""
    code = f"print(*[try_tcp(each, {ECHO_PORT}) for each in ('localhost', '127.0.0.1', '::1')])"
    for address in ("127.0.0.1", "::1"):
        with site.listen(f"tcp:{address}:{ECHO_PORT}"):
            printed = run(one, code, f"offline,allow=localhost:{ECHO_PORT}")
        assert printed == "b'hello' b'hello' b'hello'\n"


def test_many_connections_begun_at_once(one: Visitor) -> None:
    """Each is told with who it was, and finding that out does not take longer for each more."""
    code = f"""
clients = [socket.socket() for _ in range(500)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(({SERVER!r}, {ECHO_PORT}))
for client in clients:
    client.settimeout(60)
    assert client.recv(1)
print(len([1 for pid, port in told("pid", "port") if pid and port == {ECHO_PORT}]))
"""
    listing = f"user,net,allow={SERVER}:{ECHO_PORT},record=/dev/null"
    limit = ["prlimit", "--nofile=4096:4096"]
    assert run(one, code, listing, prefix=limit, timeout=120) == "500\n"


def test_what_the_program_has_given_up_ends_outside(one: Visitor, site: Site) -> None:
    """A connection that is made outside only once nobody waits for it any more."""
    code = f"""
full = socket.socket()
full.settimeout(1)
try:
    full.connect(({SERVER!r}, {ECHO_PORT + 2}))
except OSError as error:
    print(type(error).__name__, flush=True)
full.close()
sys.stdin.read()
"""
    server = f"""
import socket, sys, time
listener = socket.create_server(({SERVER!r}, {ECHO_PORT + 2}), backlog=0)
filling = [socket.socket() for _ in range(4)]
for each in filling:
    each.setblocking(False)
    each.connect_ex(listener.getsockname())
print("full", flush=True)
sys.stdin.readline()
for each in filling:
    each.close()
while True:
    client, (address, _) = listener.accept()
    if address != {SERVER!r}:
        break
client.settimeout(100)
try:
    print(client.recv(1), flush=True)
except ConnectionResetError:
    print("reset", flush=True)
"""
    far: list[str | Path] = ["nsenter", "-t", str(site.far), "-n"]
    pipe = subprocess.PIPE
    command = [*far, one.python.executable, "-c", server]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == "full\n"
        listing = f"user,net,allow={SERVER}:{ECHO_PORT + 2}"
        with one.popen(CODE + code, listing) as program:
            said(program, "TimeoutError\n")
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "reset\n"
            assert program.stdin
            program.stdin.close()


@pytest.mark.parametrize("kind", ["readable", "json"])
def test_a_gate_that_was_killed_says_so(
    one: Visitor, site: Site, kind: str, workdir: Path, session: Session
) -> None:
    session.give(workdir)
    record = "record" if kind == "readable" else f"record={workdir}/record"
    with one.hold(f"user,net,{record}") as child:
        pids = sorted(pid for pid in site.others() if comm(pid) == "unshare-gate")
        subprocess.run(["kill", f"-{signal.SIGKILL}", str(pids[1])], check=True)
        until(lambda: not any(comm(pid) == "unshare-gate" for pid in site.others()), "it lives")
        assert child.stdin and child.stderr
        child.stdin.close()
        errors = child.stderr.read()
    text = errors if kind == "readable" else (workdir / "record").read_text()
    assert "the gate was killed" in text


def test_a_gate_that_fails_says_so(one: Visitor, site: Site) -> None:
    """And nothing is left of it that a connection would wait for."""
    strace = require_tool("strace")
    code = f"""
print("ready", flush=True)
sys.stdin.readline()
while try_tcp({SERVER!r}, {ECHO_PORT}) != "ENETUNREACH": pass
print("nothing", flush=True)
"""
    with one.popen(CODE + code, "user,net,record") as child:
        said(child, "ready\n")
        pids = sorted(pid for pid in site.others() if comm(pid) == "unshare-gate")
        calls = "epoll_wait,epoll_pwait"
        inject = [strace, "-p", str(pids[1]), "-e", f"inject={calls}:error=EBADF"]
        with subprocess.Popen(inject, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr and "attached" in tracer.stderr.readline()
            assert child.stdin and child.stderr
            child.stdin.write("\n")
            child.stdin.flush()
            said(child, "nothing\n")
            assert "the gate has failed: nothing can be reached any more" in child.stderr.read()


def test_more_ports_than_the_hard_limit(one: Visitor) -> None:
    """And the cure, which takes root."""
    require_tool("prlimit")
    listing = "user,net,allow=localhost:1-1024"
    done = one.run("", listing, prefix=["prlimit", "--nofile=1024:1024"])
    assert done.status == 125
    cure = "prlimit --pid $$ --nofile=4096 (by root, if the hard limit is as low)"
    assert f"cure: {cure}\n" in done.stderr
    one.run("", listing, prefix=["prlimit", "--nofile=4096"]).ok()


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_attempts_where_no_socket_can_be_made(one: Visitor) -> None:
    code = """
unshare_boot.unshare("sockets=unix")
try:
    unshare_boot.attempts()
except unshare_boot.UnshareError as error:
    print(error)
"""
    assert "no gate can be reached" in run(one, code, "user,net=gate")
