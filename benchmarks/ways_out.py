#!/usr/bin/env python3
"""What connections cost through the gate, beside pasta, slirp4netns, and no namespace at all.

The server is in a network namespace of its own, with the programs' one between: tests/harness has
both. Ways take turns, round by round; a figure is the median over all connections of all rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from typing import Any

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / "tests")]

from harness.internet import ECHO_PORT, NAME, SERVER, Site, internet  # noqa: E402

ALLOW = f"allow={NAME}:{ECHO_PORT},allow={SERVER}:{ECHO_PORT}"
WAYS = {
    "none": "off",
    "net=gate": f"user,net=gate,{ALLOW}",
    "net=gate, record": f"user,net=gate,{ALLOW},record=/dev/null",
    "net=pasta": "user,net=pasta",
    "net=slirp4netns": "user,net=slirp4netns",
}
UID = "54321"
AT_ONCE = 400  # connections; each takes two descriptors where they pass

# Prints lists of microseconds, and megabytes a second.
PROGRAM = """
import json, socket, sys, threading, time
lost = []
name, address, port, count, megabytes, at_once = *sys.argv[1:3], *map(int, sys.argv[3:])

def clock(act):
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1e6

def connect(where):
    with socket.socket() as client:
        client.settimeout(10)
        try:
            client.connect(where)
        except OSError as error:  # refused; by pasta some only time out
            if not isinstance(error, ConnectionRefusedError):
                lost.append(error)

def by_name():
    connect(socket.getaddrinfo(name, port, socket.AF_INET, socket.SOCK_STREAM)[0][4])

found = {
    "connect": [clock(lambda: connect((address, port))) for _ in range(count)],
    "resolve and connect": [clock(by_name) for _ in range(count)],
}
for _ in range(count):
    found.setdefault("refused", []).append(clock(lambda: connect((address, port + 1))))
    if lost:
        found["refused"] = [float("nan")]
        break
print(json.dumps(found), flush=True)
sys.stdin.readline()
found = {}
data = bytes(1 << 20)
with socket.create_connection((address, port)) as client:
    stream = client.makefile("rb")
    stream.readline()
    begin = time.perf_counter()
    sender = threading.Thread(target=lambda: [client.sendall(data) for _ in range(megabytes)])
    sender.start()
    for _ in range(megabytes):
        assert len(stream.read(1 << 20)) == 1 << 20
    sender.join()
    found["bytes"] = [megabytes / (time.perf_counter() - begin)]
print(json.dumps(found), flush=True)
sys.stdin.readline()
found = {}
begin = time.perf_counter()
clients = [socket.socket() for _ in range(at_once)]
for client in clients:
    client.setblocking(False)
    client.connect_ex((address, port))
for client in clients:
    client.settimeout(30)
    client.recv(1)  # the server speaks first
found["at once"] = [(time.perf_counter() - begin) * 1e3]
print(json.dumps(found), flush=True)
sys.stdin.read()
"""


def measure(site: Site, python: str, way: str, count: int, megabytes: int) -> dict[str, Any]:
    """Run the program once by a way; return its figures, and the memory of what is beside it."""
    arguments = [NAME, SERVER, str(ECHO_PORT), str(count), str(megabytes), str(AT_ONCE)]
    who = ["setpriv", "--reuid", UID, "--regid", UID, "--clear-groups"]
    command = site.enter(*who, "env", f"PY_UNSHARE={WAYS[way]}", python, "-c", PROGRAM, *arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin and child.stdout

        def figures() -> dict[str, Any]:
            assert child.stdin and child.stdout
            line = child.stdout.readline()
            if not line:
                raise SystemExit(f"{way} has failed")
            return dict(json.loads(line))

        found = figures()
        beside = [] if way == "none" else site.others()
        before = sum(map(processor_time, beside))
        child.stdin.write("\n")
        child.stdin.flush()
        found.update(figures())
        # There and back: each byte is copied twice.
        found["CPU"] = [(sum(map(processor_time, beside)) - before) / (2 * megabytes / 1024)]
        child.stdin.write("\n")
        child.stdin.flush()
        found.update(figures())
        found["memory"] = [sum(map(private, beside))]
        child.stdin.close()
    site.wait_until_left()
    return found


def processor_time(pid: int) -> float:
    """Return the milliseconds of CPU that a process has used, proc_pid_stat(5)."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def private(pid: int) -> float:
    """Return the private memory of a process in MiB; of one that has ended, none."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def shown(figure: float) -> str:
    """Return a figure for the table; a question mark where connections got lost."""
    return "?" if figure != figure else f"{figure:,.0f}"


UNITS = {"bytes": "MB/s", "memory": "MiB", "CPU": "ms/GiB", "at once": "ms"}


def main() -> None:
    """Measure all ways, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="has the package installed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=200, help="of each kind a round")
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    figures: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ways-out-"))
    directory.chmod(0o755)
    with internet(directory) as site:
        for _ in range(options.rounds):
            for way, kept in figures.items():
                found = measure(site, options.python, way, options.connections, options.megabytes)
                for name, values in found.items():
                    kept.setdefault(name, []).extend(values)
    names = [*figures["none"]]
    print("| way | " + " | ".join(f"{name}, {UNITS.get(name, 'us')}" for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for way, kept in figures.items():
        medians = [shown(statistics.median(kept[name])) for name in names]
        print(f"| {way} | {' | '.join(medians)} |")


if __name__ == "__main__":
    main()
