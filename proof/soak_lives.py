"""What a process that lives long has got: memory of its own, and descriptors."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0  # seconds
# Far less than what thousands of anything would leave, and more than an allocator's next arena.
ALLOWED = 384  # KiB


@dataclass(frozen=True)
class Has:
    """What a process has.

    Attributes:
        memory: KiB that are no file's.
        descriptors: how many are open.
    """

    pid: int
    memory: int
    descriptors: int

    @classmethod
    def now(cls, pid: int) -> Has:
        """Look at it."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        return cls(pid, int(status["RssAnon"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")))

    def growth(self, name: str) -> tuple[list[str], str]:
        """Look again: what is more than it may be, and by how much the memory has grown."""
        end = time.monotonic() + PATIENCE
        now = Has.now(self.pid)
        while now.descriptors > self.descriptors and time.monotonic() < end:
            time.sleep(0.01)  # it may be about to close one
            now = Has.now(self.pid)
        found = []
        if now.memory > self.memory + ALLOWED:
            found.append(f"{name}: {now.memory} KiB of memory, after {self.memory}")
        if now.descriptors > self.descriptors:
            found.append(f"{name}: {now.descriptors} descriptors, after {self.descriptors}")
        return found, f"{now.memory - self.memory:+} KiB"


def pending(pid: int) -> int:
    """The signals that wait for a process, as bits."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("ShdPnd:"):
            return int(line.split()[1], 16)
    raise AssertionError(f"/proc/{pid}/status")


# Says the number of each signal that it gets. At SIGHUP it first leaves an orphan, which ends at
# once; till then that blocks all signals, since it has the same pipe.
LISTENER = """
import os, signal
reader, writer = os.pipe()
os.set_blocking(writer, False)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, lambda *_: None)
signal.set_wakeup_fd(writer)
print("ready", flush=True)
while True:
    number = os.read(reader, 1)[0]
    if number == signal.SIGHUP:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        child = os.fork()
        if child == 0:
            os.fork()
            os._exit(0)
        os.waitpid(child, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.write(1, b"%d\\n" % number)
"""

# For each byte that it reads, hands over to a child and ends.
SUCCESSION = """
import os
print(os.getpid(), flush=True)
while os.read(0, 1):
    if os.fork():
        os._exit(0)
    print(os.getpid(), flush=True)
"""

# A UDP server inside.
ECHO = """
import socket
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 81))
print("ready", flush=True)
while True:
    data, sender = server.recvfrom(65536)
    server.sendto(data, sender)
"""

# Outside: as many clients, each with a few datagrams, which can get lost.
CLIENTS = """
import socket, sys
port, clients = map(int, sys.argv[1:])
for number in range(clients):
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", port))
        for size in (1, 1000, 30000):
            data = bytes([number % 256]) * size
            for _ in range(30):
                client.send(data)
                try:
                    assert client.recv(65536) == data
                    break
                except TimeoutError:
                    continue
            else:
                raise SystemExit("no answer")
"""

# Behind a gate: as many times as it is told, a connection that passes, one that does not, and one
# of 3,000 names; says so when it is done.
VISITOR = """
import contextlib, itertools, socket, sys
host, port = sys.argv[1], int(sys.argv[2])
number = itertools.count()

def connect(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, port)) as far:
        far.sendall(b"once")
        far.shutdown(socket.SHUT_WR)
        while far.recv(100):
            pass

for line in sys.stdin:
    for _ in range(int(line)):
        connect(port)
        connect(port + 1)
        socket.gethostbyname(f"n{next(number) % 3000}.example.test")
    print("done", flush=True)
"""
