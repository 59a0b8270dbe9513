"""The watcher: a process outside that starts the driver, and ends it after the last one inside."""

import os
from select import POLLIN, poll

from ..child import end_with, fork, kill_and_reap, open_process, pipe, tell
from ..lifetime import enter_own_mounts, find_process, network_of
from . import relay
from .driver import Driver
from .ports import ports_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LONGEST = 65536  # bytes kept of what the driver writes


def watch(driver: Driver, command: "list[str]", answer: int, process: int, go: int) -> None:
    """Be the watcher, until the network namespace has no process any more.

    Args:
        driver: what to start.
        command: its command line.
        answer: of the pipe where the program waits for what `tell` tells.
        process: a pidfd of the program.
        go: of the pipe where it says to go; it does not if it fails or starts over before.
    """
    if os.read(go, 2) != b"go":
        return
    helpers = Helpers()
    try:
        enter_own_mounts()
        network = network_of(driver.pid)
        helpers.start(driver, command, process)
    except BaseException as error:
        helpers.end()
        tell(answer, error)
        return
    tell(answer)
    os.close(answer)
    os.close(go)
    while process >= 0 and helpers.outlive(process):
        os.close(process)
        process = find_process(network, but=helpers.pidfds)
    helpers.end()


class Helpers:
    """The processes that the watcher starts: the driver, and the relay if there is one.

    Attributes:
        pidfds: one for each process id.
    """

    def __init__(self) -> None:
        self.pidfds: dict[int, int] = {}
        self._log = -1  # where the driver's standard error comes out
        self._said = b""

    def start(self, driver: Driver, command: "list[str]", program: int) -> None:
        """Start them, and return once they are ready.

        Args:
            driver: what to start.
            command: its command line.
            program: a pidfd of the program; if that ends there is nothing to wait for.

        Raises:
            OSError: one of them failed; the others run until `end`.
        """
        sockets = relay.bind(driver.plan)
        driver.open_control()
        try:
            ready = self._start_driver(driver, command)
            if not self._wait_until_ready(ready, driver.ready, program):
                self.end()  # so that all it has to say is there
                raise driver.failure(self._said)
            os.close(ready)
            for port in ports_of(driver.plan, "tcp"):
                driver.publish(port)
        finally:
            driver.close_control()
        if sockets:
            self._adopt(relay.start(driver.plan, driver.pid, sockets))
            for outer, _, _ in sockets:
                outer.close()

    def _start_driver(self, driver: Driver, command: "list[str]") -> int:
        """Return the descriptor at which it will say that it is ready."""
        ready, say_ready = pipe()
        self._log, log = pipe()
        network = os.open(f"/proc/{driver.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        watcher = os.getpid()
        child = fork()
        if child == 0:
            try:
                end_with(watcher)
                streams = {0: network, 1: log, 2: log}
                _execute(command, {**streams, driver.ready_descriptor: say_ready})
            except BaseException as error:
                os.write(log, f"{command[0]}: {error}".encode("utf-8", "backslashreplace"))
            finally:
                os._exit(127)
        for descriptor in (say_ready, log, network):
            os.close(descriptor)
        self._adopt(child)
        return ready

    def _adopt(self, child: int) -> None:
        """Count a child among those that `end` kills, even where there can be no pidfd of it."""
        self.pidfds[child] = -1
        self.pidfds[child] = open_process(child)

    def _wait_until_ready(self, ready: int, word: bytes, program: int) -> bool:
        """Return true once it says so, false if it or the program ends before."""
        poller = poll()
        for descriptor in (ready, self._log, program):
            poller.register(descriptor, POLLIN)
        said = b""
        while word not in said:
            events = [descriptor for descriptor, _ in poller.poll()]
            if program in events:
                return False
            if self._log in events and not self._read_log():
                poller.unregister(self._log)
            if ready in events:
                part = os.read(ready, 64)
                if not part:
                    return False
                said += part
        return True

    def _read_log(self) -> bool:
        """Take in what it wrote to standard error; return false where nothing more can come."""
        part = os.read(self._log, 65536)
        self._said = (self._said + part)[:LONGEST]  # after a wrong option comes all its usage
        return bool(part)

    def outlive(self, process: int) -> bool:
        """Wait for a process to end; return false if a helper ends before."""
        poller = poll()
        for descriptor in (*self.pidfds.values(), self._log, process):
            poller.register(descriptor, POLLIN)
        while True:
            events = [descriptor for descriptor, _ in poller.poll()]
            if any(descriptor in events for descriptor in self.pidfds.values()):
                return False
            if self._log in events and not self._read_log():
                poller.unregister(self._log)
            if process in events:
                return True

    def end(self) -> None:
        """Kill what has not ended by itself, and take in the rest of what the driver wrote."""
        for pid in self.pidfds:
            kill_and_reap(pid)
        while self.pidfds and self._read_log():
            pass
        self.pidfds.clear()


def _execute(command: "list[str]", descriptors: "dict[int, int]") -> "NoReturn":
    """execve(2), with these descriptors in place, and with signals as a program expects them."""
    from _signal import (  # type: ignore[import-not-found]
        SIG_DFL,
        SIG_SETMASK,
        SIGPIPE,
        pthread_sigmask,
        signal,
    )

    signal(SIGPIPE, SIG_DFL)  # which Python ignores
    pthread_sigmask(SIG_SETMASK, ())
    for number, descriptor in descriptors.items():
        os.dup2(descriptor, number)
    os.execv(command[0], command)


WHOLE = True
