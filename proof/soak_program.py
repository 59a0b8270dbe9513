"""What the soak starts: it says what it finds itself in, then does what its arguments ask for.

Each line that it prints is a Python literal. Runs on every Python from 3.9 up, and imports little.
"""

import os
import sys


def report() -> None:
    """Say it; the descriptors come first, before anything else can open one."""
    open_ones = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # that of the listing itself
            continue
        if "libffi" not in target:  # its own file, or one to execute from, once _ctypes is loaded
            open_ones.append(int(name))
    kinds = ("user", "net", "mnt", "uts", "ipc", "cgroup", "time", "pid")
    found: dict[str, object] = {kind: os.readlink("/proc/self/ns/" + kind) for kind in kinds}
    found["descriptors"] = open_ones
    found["variable"] = os.environ.get("PY_UNSHARE")
    found["active"] = os.environ.get("PY_UNSHARE_ACTIVE", "")
    # In one write(2): nobody sees half of it.
    os.write(1, (repr(found) + "\n").encode())


def clocks(_: str) -> None:
    """Say where the clocks stand that a time namespace moves, and by how much it does."""
    from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime

    with open("/proc/self/timens_offsets") as file:
        offsets = [line.split() for line in file]
    found = {
        "clocks": [clock_gettime(each) for each in (CLOCK_MONOTONIC, CLOCK_BOOTTIME)],
        "offsets": [int(seconds) * 10**9 + int(rest) for _, seconds, rest in offsets],
    }
    print(found, flush=True)


def daemons(count: str) -> None:
    """Leave processes behind, in sessions of their own, that end when standard input does."""
    for _ in range(int(count)):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.read(0, 1)
            os._exit(0)


def storm(count: str) -> None:
    """Fork children that fork, of which nobody waits for any."""
    for _ in range(int(count)):
        if os.fork() == 0:
            if os.fork() == 0:
                os.read(0, 1)
            os._exit(0)


def files(directory: str) -> None:
    """Write into a place that vanishes, and make what an IPC namespace has to take along."""
    for number in range(3):
        with open(os.path.join(directory, f"file-{number}"), "w") as file:
            file.write("soaked")


def ipc(_: str) -> None:
    """Make a System V message queue and a semaphore, and remove neither; msgget(2), semget(2)."""
    from ctypes import CDLL

    libc = CDLL(None)
    assert libc.msgget(0, 0o1600) >= 0 and libc.semget(0, 1, 0o1600) >= 0


def within(listing: str) -> None:
    """Start this program once more, in a list of its own."""
    _start(listing, "report")


def lists(rest: str) -> None:
    """Start this program in the first of some lists, and so on; ``LIST;LIST;LIST``."""
    first, _, others = rest.partition(";")
    if first:
        _start(first, "clocks", f"lists={others}")


def chain(rest: str) -> None:
    """Start this program in a list, which does the same, N times in all; ``N:LIST``."""
    number, _, listing = rest.partition(":")
    if number != "0":
        _start(listing, "report", f"chain={int(number) - 1}:{listing}")


def call(listing: str) -> None:
    """Enter a list from the program's first line."""
    import unshare_boot

    unshare_boot.unshare(listing)


def wait(_: str) -> None:
    """Do nothing until standard input ends."""
    os.read(0, 1)


def status(number: str) -> None:
    """End with this exit status, and without a farewell."""
    os._exit(int(number))


def _start(listing: str, *arguments: str) -> None:
    child = os.fork()
    if child == 0:
        argv = [sys.executable, sys.argv[0], *arguments]
        os.execve(sys.executable, argv, {**os.environ, "PY_UNSHARE": listing})
    _, status = os.waitpid(child, 0)
    if status:
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


for word in sys.argv[1:]:
    name, _, value = word.partition("=")
    if name == "report":
        report()
    else:
        globals()[name](value)
