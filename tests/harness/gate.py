"""Programs that try to reach out through a gate."""

from __future__ import annotations

from typing import Any

from harness.visitor import Visitor

# try_tcp() and try_udp() return what came back, or the name of the errno.
CODE = """
import errno, os, socket, sys, time, unshare_boot

def try_tcp(host, port, data=b"hello"):
    try:
        with socket.create_connection((host, port), 20) as connection:
            stream = connection.makefile("rb")
            stream.readline()
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return stream.read()
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))

def try_udp(host, port, data=b"hello"):
    family, *_, address = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        try:
            client.connect(address)
            client.send(data)
            return client.recv(65536)
        except OSError as error:
            return errno.errorcode.get(error.errno, repr(error))

def told(*keys):
    return [tuple(each[key] for key in keys) for each in unshare_boot.attempts()]
"""


def run(visitor: Visitor, code: str, unshare: str, **options: Any) -> str:
    """Run a program that has these functions; returns what it prints, or fails."""
    return visitor.run(CODE + code, unshare, **options).ok()
