"""Make this machine busy: mounts that come and go, namespaces, forks, and CPU use.

    sudo python scripts/load.py                           # until it is interrupted
    python scripts/load.py -- .venv/bin/python -m pytest  # beside a command

The tests must not mind (CONTRIBUTING.md). An ordinary user's mounts are in namespaces; those of
root are the machine's own, below a directory in /tmp, and are gone at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PAUSE = 0.02  # seconds between two rounds of what would otherwise take a processor by itself


def mounts(directory: Path) -> None:
    """Mount a file system, and a part of it over another directory, and unmount both."""
    inner, other = directory / "mount", directory / "other"
    script = f"""
        mount -t tmpfs none {inner} && mkdir {inner}/sub && mount --bind {inner}/sub {other}
        umount {other}; umount {inner}
    """
    own = [] if os.getuid() == 0 else ["unshare", "-Urm"]
    # In a session of its own, so that Ctrl-C does not leave what is mounted.
    subprocess.run([*own, "sh", "-c", script], check=True, start_new_session=True)
    time.sleep(PAUSE)


def namespaces(directory: Path) -> None:
    """Make one of each kind, as an ordinary user of another container would."""
    subprocess.run(["unshare", "-UrnmuipCf", "true"], check=True)
    time.sleep(PAUSE)


def forks(directory: Path) -> None:
    """Start processes that end at once."""
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    time.sleep(PAUSE)


def processor(directory: Path) -> None:
    """Take one, for a moment."""
    sum(number * number for number in range(200_000))


def again_and_again(act: Callable[[Path], None], directory: Path) -> None:
    """Do something until this process is told to end, or its parent has; finish what was begun."""
    parent = os.getppid()
    going = [True]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: going.clear())
    while going and os.getppid() == parent:
        act(directory)


@contextlib.contextmanager
def load() -> Iterator[None]:
    """One process for each kind of load, until the `with` block ends."""
    with tempfile.TemporaryDirectory(prefix="load-", dir="/tmp") as name:
        directory = Path(name)
        for each in ("mount", "other"):
            (directory / each).mkdir()
        workers = [
            multiprocessing.Process(target=again_and_again, args=(act, directory))
            for act in (mounts, namespaces, forks, processor)
        ]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()


def main() -> int:
    """Run a command beside the load; without one, wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", nargs="*", help="what to run meanwhile, after --")
    command = parser.parse_args().command
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # with all that ends the load
    with load():
        if command:
            return subprocess.run(command).returncode
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
