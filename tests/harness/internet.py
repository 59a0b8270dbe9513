"""An internet in two network namespaces: a site, where programs start, and a server far away.

    server (203.0.113.10)  198.51.100.1 ──veth── 198.51.100.2  site, with a loopback of its own

The site also has mounts of its own: a /dev/net/tun that everybody may open, as ordinary systems
have it, and an /etc/resolv.conf of the test's.

Run as a program, this file is the server, or something else that listens.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = "203.0.113.10"
SERVER6 = "2001:db8:1::10"
SITE = "198.51.100.2"
SITE6 = "2001:db8::2"
ROUTER = "198.51.100.1"
ROUTER6 = "2001:db8::1"
ECHO_PORT = 7007
NAME = "server.example.test"
STUB = "127.0.0.53"  # where a resolver like systemd-resolved's listens, in the site


@dataclass(frozen=True)
class Site:
    """Where programs start, held by a process that does nothing.

    Attributes:
        holder: its process id.
        far: the same of the server's namespaces.
        resolv_conf: the file that programs there find at /etc/resolv.conf.
        known: the processes that belong there, servers included.
    """

    holder: int
    far: int
    resolv_conf: Path
    known: set[int]

    def enter(self, *argv: str | Path) -> list[str | Path]:
        """The command line that runs a program there, in the same process, as root."""
        return ["nsenter", "-t", str(self.holder), "-n", "-m", *argv]

    def enter_as(self, uid: int, gid: int, *argv: str | Path) -> list[str | Path]:
        """The same as somebody else."""
        who = ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups"]
        return self.enter(*who, *argv)

    @contextlib.contextmanager
    def listen(self, *arguments: str) -> Iterator[None]:
        """Have a server there: arguments as for main()."""
        with _serve(self.enter(sys.executable, Path(__file__), *arguments)) as pid:
            self.known.add(pid)
            yield
            self.known.discard(pid)

    def others(self) -> list[int]:
        """The processes that are in the site's network namespace and do not belong there."""
        # Not at the top: where this file is run as a program there is no such package.
        from harness.outer import members, namespace_inode

        namespace = namespace_inode(self.holder, "net")
        return [pid for pid in members(namespace, "net") if pid not in self.known]

    def wait_until_left(self, timeout: float = 30) -> list[int]:
        """Wait for all of them to end; returns those that have not."""
        end = time.monotonic() + timeout
        while (others := self.others()) and time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(others[0])
                select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
                os.close(descriptor)
        return others


@contextlib.contextmanager
def internet(directory: Path) -> Iterator[Site]:
    """Make the two namespaces, with the server running; needs root.

    Args:
        directory: where to put the site's resolv.conf.
    """
    resolv_conf = directory / "resolv.conf"
    resolv_conf.write_text(f"search example.test\nnameserver {SERVER}\n")
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(_hold())
        near = stack.enter_context(_hold())
        _inside(
            near,
            f"""
            mount -t tmpfs tmpfs /dev/net
            mknod -m 666 /dev/net/tun c 10 200
            mount --bind {resolv_conf} /etc/resolv.conf
            ip link set lo up
            ip link add eth0 type veth peer name eth0 netns {far}
            ip link set eth0 up
            ip address add {SITE}/24 dev eth0
            ip address add {SITE6}/64 dev eth0 nodad
            """,
        )
        _inside(
            far,
            f"""
            ip link set lo up
            ip link set eth0 up
            ip address add {ROUTER}/24 dev eth0
            ip address add {ROUTER6}/64 dev eth0 nodad
            ip address add {SERVER}/32 dev lo
            ip address add {SERVER6}/128 dev lo nodad
            """,
        )
        _inside(near, f"ip route add default via {ROUTER}\nip -6 route add default via {ROUTER6}")
        server = ["nsenter", "-t", str(far), "-n", sys.executable, __file__]
        where = [f"{kind}:{address}" for address in (SERVER, SERVER6) for kind in ("tcp", "udp")]
        echo = [f"{each}:{ECHO_PORT}" for each in where]
        stack.enter_context(_serve([*server, *echo, f"dns:{SERVER}:53"]))
        yield Site(near, far, resolv_conf, {near})


@contextlib.contextmanager
def _hold() -> Iterator[int]:
    """Keep a network and a mount namespace, by a process that waits for its input to end."""
    command = [
        "unshare",
        "--net",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        "echo; exec cat",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == b"\n"
        yield process.pid
        process.stdin.close()


def _inside(pid: int, script: str) -> None:
    command = ["nsenter", "-t", str(pid), "-n", "-m", "sh", "-e", "-c", script]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def _serve(command: Sequence[str | Path]) -> Iterator[int]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"listening\n"
            yield process.pid
        finally:
            process.kill()


# What runs as a process of its own.


class _Tcp(socketserver.ThreadingTCPServer):
    request_queue_size = 1024  # with five, who comes with forty others may wait 20 s
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class _Udp(socketserver.UDPServer):
    max_packet_size = 65536

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class _TcpEcho(socketserver.BaseRequestHandler):
    """Says who is connected, then echoes."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.request.sendall(self.client_address[0].encode() + b"\n")
            while data := self.request.recv(65536):
                self.request.sendall(data)


class _UdpEcho(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, replies = self.request
        replies.sendto(data, self.client_address)


class _Dns(socketserver.BaseRequestHandler):
    """Answers for one name: RFC 1035, section 4."""

    def handle(self) -> None:
        query, replies = self.request
        end = query.index(b"\0", 12) + 5
        labels = query[12 : end - 5]
        kind = struct.unpack("!H", query[end - 4 : end - 2])[0]
        wanted = b"".join(bytes([len(part)]) + part.encode() for part in NAME.split("."))
        known = labels.lower() == wanted
        address = socket.inet_aton(SERVER) if known and kind == 1 else b""
        flags = 0x8180 if known else 0x8183
        reply = query[:2] + struct.pack("!5H", flags, 1, bool(address), 0, 0) + query[12:end]
        if address:
            reply += struct.pack("!3HIH", 0xC00C, 1, 1, 60, 4) + address
        replies.sendto(reply, self.client_address)


def main(arguments: Sequence[str]) -> None:
    """Listen until killed: each argument is KIND:ADDRESS:PORT, KIND one of tcp, udp and dns."""
    kinds: dict[str, Any] = {
        "tcp": (_Tcp, _TcpEcho),
        "udp": (_Udp, _UdpEcho),
        "dns": (_Udp, _Dns),
    }
    for argument in arguments:
        match = re.fullmatch(r"(\w+):(.*):(\d+)", argument)
        assert match, argument
        server, handler = kinds[match[1]]
        listener = server((match[2], int(match[3])), handler)
        threading.Thread(target=listener.serve_forever, daemon=True).start()
    print("listening", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
