"""What a program says to the server of harness.internet: to be put before its text."""

from __future__ import annotations

CLIENT = r'''
import os, socket, sys, threading

def exchange(address, port):
    """A megabyte each way; returns the address that the server sees.

    The client speaks first and does not half-close, which the pasta of 2023 asks for.
    """
    data = os.urandom(1 << 20)
    with socket.create_connection((address, port), 30) as connection:
        stream = connection.makefile("rb")
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        seen = stream.readline().decode().strip()
        assert stream.read(len(data)) == data
        sender.join()
    return seen

def datagrams(address, port, count=1024, patience=30):
    "A megabyte each way, by default."
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(patience)
        client.connect((address, port))
        for _ in range(count):
            data = os.urandom(1024)
            client.send(data)
            assert client.recv(2048) == data

def reaches(address, port, patience=5):
    "Whether there is somebody, by TCP or by UDP."
    try:
        with socket.create_connection((address, port), patience) as connection:
            return bool(connection.recv(1))
    except OSError:
        pass
    try:
        datagrams_patience = min(patience, 0.5)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(datagrams_patience)
            client.connect((address, port))
            client.send(b"x")
            return bool(client.recv(1))
    except OSError:
        return False
'''
