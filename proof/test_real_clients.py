"""Real clients through the gate: git, curl, pip, node, ssh, redis, aiohttp, grpc, a static program.

Each reaches the one host that the list names, whose server says hello; with another name it ends at
once with an error, and the record has the name, the port, and which program it was.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness import Finished, Python, Session, require_root, require_tool, until
from harness.internet import ECHO_PORT, NAME, SERVER, SITE, Site
from harness.processes import Argument
from harness.session import PROJECT
from proof.conftest import Tally
from proof.programs import equipped

OTHER = "other.example.test"
NEEDS = ["aiodns", "aiohttp", "grpcio", "pip"]

# The far server: files by HTTP (a git repository and a package index among them), and gRPC.
FAR = """
import functools, http.server, sys, threading
from concurrent.futures import ThreadPoolExecutor
import grpc
address, directory = sys.argv[1:]

class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"hello")

server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
server.add_insecure_port(address + ":50051")
server.start()
files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
web = http.server.ThreadingHTTPServer((address, 80), files)
print("listening", flush=True)
web.serve_forever()
"""

AIOHTTP = """
import aiohttp, asyncio, sys
async def main():
    connector = aiohttp.TCPConnector(resolver=aiohttp.AsyncResolver())
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get(f"http://{sys.argv[1]}/hello") as answer:
            print(await answer.text())
asyncio.run(main())
"""
GRPC = """
import grpc, sys
with grpc.insecure_channel(sys.argv[1] + ":50051") as channel:
    print(channel.unary_unary("/test/Hello")(b"", timeout=20).decode())
"""
FETCH = """
fetch(`http://${process.argv[1]}/hello`).then(answer => answer.text()).then(console.log,
    error => { console.error(error); process.exit(1) })
"""


@dataclass(frozen=True)
class Client:
    """A program that wants to reach a host.

    Attributes:
        command: its command line, with {host}, {place} (a directory to write to) and {python}.
        program: how the record may call it, by the beginning.
        port: that it connects to.
        tool: which has to be installed.
        hello: what it prints if it has got there.
    """

    command: Sequence[str]
    program: str
    port: int = 80
    tool: str = ""
    hello: str = "hello"


SSH_OPTIONS = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
CLIENTS = {
    "git": Client(
        ["git", "clone", "--verbose", "http://{host}/hello.git", "{place}/{host}"],
        "git-remote-http",
        tool="git",
        hello="",
    ),
    "curl": Client(["curl", "-sS", "http://{host}/hello"], "curl", tool="curl"),
    "pip": Client(
        [
            *("{python}", "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"),
            *("--retries", "0", "--trusted-host", "{host}", "--index-url", "http://{host}/simple"),
            *("-d", "{place}", "unshare-boot"),
        ],
        "python",
        hello="unshare_boot-",
    ),
    "node": Client(["node", "-e", FETCH, "{host}"], "node", tool="node"),
    "ssh": Client(
        [
            *("ssh", "-F", "/dev/null", "-i", "{place}/key"),
            *(part for option in SSH_OPTIONS for part in ("-o", option)),
            *("root@{host}", "echo hello"),
        ],
        "ssh",
        22,
        "ssh",
    ),
    "aiohttp": Client(["{python}", "-c", AIOHTTP, "{host}"], "python"),
    "grpc": Client(["{python}", "-c", GRPC, "{host}"], "python", 50051),
    "static": Client(
        ["{place}/resolver", "{host}", str(ECHO_PORT)], "resolver", ECHO_PORT, "gcc", SITE
    ),
}


@dataclass(frozen=True)
class World:
    """The site, the far server with all that it serves, and who comes there.

    Attributes:
        python: an environment with clients written in Python.
        site: where they start.
        files: what the far server gives out.
        key: of a user of ssh, whom sshd(8) there knows.
    """

    python: Python
    site: Site
    files: Path
    key: Path

    def run(self, unshare: str, command: Sequence[Argument], **options: Any) -> Finished:
        """Run a program in the site as the ordinary user, by ``unshare-boot run``."""
        user = self.python.user
        started = [self.python.executable, "-m", "unshare_boot", "run", unshare, "--", *command]
        options.setdefault("timeout", 120)
        where = self.site.enter_as(user.uid, user.gid, *map(str, started))
        return self.python.root.run(where, env={"HOME": str(user.home)}, cwd=user.home, **options)


@pytest.fixture(scope="module")
def world(site: Site, session: Session) -> Iterator[World]:
    require_root()
    for tool in ("git", "sshd", "ssh-keygen", "redis-server"):
        require_tool(tool)
    python = equipped(session, "newest", "clients", NEEDS)
    files, keys = session.make_workdir(), session.make_workdir()
    serve_files(session, files)
    user = python.user
    (keys / "passwd").write_text(
        f"root:x:0:0::/root:/bin/sh\ntess:x:{user.uid}:{user.gid}::/:/bin/sh\n"
    )
    subprocess.run(site.enter("mount", "--bind", keys / "passwd", "/etc/passwd"), check=True)
    for name in ("key", "host"):
        subprocess.run(
            ["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", keys / name], check=True
        )
    far = ["nsenter", "-t", str(site.far), "-n"]
    with contextlib.ExitStack() as stack:
        web: list[Argument] = [*far, python.executable, "-c", FAR, SERVER, files]
        child = stack.enter_context(running(web, stdout=subprocess.PIPE))
        assert child.stdout and child.stdout.readline() == b"listening\n"
        stack.enter_context(sshd(far, keys))
        yield World(python, site, files, keys / "key")


def serve_files(session: Session, files: Path) -> None:
    """A file, a package index with this project's wheel, and a git repository."""
    (files / "hello").write_text("hello")
    wheel = session.wheel("pth")
    page = files / "simple" / "unshare-boot"
    page.mkdir(parents=True)
    (page / wheel.name).write_bytes(wheel.read_bytes())
    (page / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    who = ["-c", "user.name=tess", "-c", "user.email=tess@example.test"]
    commands: list[list[Argument]] = [
        ["init", "-q", files / "work"],
        ["-C", files / "work", *who, "commit", "-q", "--allow-empty", "-m", "hello"],
        ["clone", "-q", "--bare", files / "work", files / "hello.git"],
        ["-C", files / "hello.git", "update-server-info"],
    ]
    for each in commands:
        subprocess.run(["git", *each], check=True)


@contextlib.contextmanager
def running(command: Sequence[Argument], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server, until the end of the block."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, **options) as child:
        try:
            yield child
        finally:
            child.kill()


@contextlib.contextmanager
def sshd(far: Sequence[Argument], keys: Path) -> Iterator[None]:
    """sshd(8) at the far server, with nothing of this machine's configuration."""
    options = {
        "ListenAddress": SERVER,
        "HostKey": keys / "host",
        "AuthorizedKeysFile": keys / "key.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "PidFile": "none",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    log = keys / "log"
    with open(log, "w") as file:
        # It wants a directory that is there where it is installed as a service.
        script = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"'
        apart = ["unshare", "--mount", "sh", "-c", script, "sh"]
        command = [*far, *apart, require_tool("sshd"), "-D", "-e", "-f", "/dev/null", *settings]
        with running(command, stderr=file):
            until(lambda: "Server listening" in log.read_text(), "sshd", log)
            yield


@pytest.fixture
def place(world: World, session: Session, workdir: Path) -> Path:
    """A directory for what a client writes, with the key of ssh and the static program."""
    compiler = require_tool("gcc")
    source = PROJECT / "tests" / "programs" / "resolver.c"
    flags = ["-static", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, source, "-o", workdir / "resolver"], check=True)
    (workdir / "key").write_bytes(world.key.read_bytes())
    session.give(workdir)
    (workdir / "key").chmod(0o600)
    return workdir


def command(client: Client, host: str, world: World, place: Path) -> list[str]:
    parts = {"{host}": host, "{place}": str(place), "{python}": str(world.python.executable)}
    words = []
    for word in client.command:
        for part, value in parts.items():
            word = word.replace(part, value)
        words.append(word)
    return words


def recorded(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / "record").read_text().splitlines()]


@pytest.mark.parametrize("name", CLIENTS)
def test_reaches_what_is_allowed_and_nothing_else(
    world: World, place: Path, name: str, tally: Tally
) -> None:
    client = CLIENTS[name]
    if client.tool:
        require_tool(client.tool)
    unshare = f"offline,allow={NAME}:{client.port},record={place}/record"
    done = world.run(unshare, command(client, NAME, world, place))
    assert client.hello in done.ok() + done.stderr
    passed = [each for each in recorded(place) if each["verdict"] == "passed"]
    assert (NAME, client.port) in {(each["name"], each["port"]) for each in passed}

    (place / "record").unlink()
    done = world.run(unshare, command(client, OTHER, world, place))
    assert done.status not in (0, 125), done
    tried = [each for each in recorded(place) if each["protocol"] == "tcp"]
    assert tried, done
    for each in tried:
        assert (each["name"], each["port"]) == (OTHER, client.port)
        assert each["verdict"] == "refused" and each["command"].startswith(client.program), each
    tally.case(count=2)


def test_a_server_on_the_hosts_loopback(world: World, place: Path, tally: Tally) -> None:
    """redis: its port, and no other one of the loopback."""
    user = world.python.user
    server = [
        require_tool("redis-server"),
        "--save",
        "",
        "--bind",
        "127.0.0.1",
        "--dir",
        str(place),
    ]
    client = [require_tool("redis-cli"), "-h", "localhost"]
    inside = world.site.enter_as(user.uid, user.gid, *server)
    with running(inside, stdout=subprocess.DEVNULL) as child:
        world.site.known.add(child.pid)
        until(lambda: world.run("user", [*client, "PING"]).stdout == "PONG\n", "redis")
        done = world.run("offline,allow=localhost:6379", [*client, "SET", "greeting", "hello"])
        assert done.ok() == "OK\n"
        assert world.run("user", [*client, "GET", "greeting"]).ok() == "hello\n"
        refused = world.run("offline,allow=localhost:6380", [*client, "PING"])
        assert "Connection refused" in refused.stderr + refused.stdout
    tally.case(count=2)
