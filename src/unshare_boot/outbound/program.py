"""net=pasta and net=slirp4netns, the program's side: what it does on its way into its namespaces.

Who takes part, and who ends with whom:

- the program. `leave_watcher` forks before it enters its first namespace, and `connect` waits until
  its new network namespace has an interface that leads out;
- the watcher, its grandchild, which stays outside (`watcher`). It starts the driver when it is told
  to go, answers that the network is there or why it is not, and from then on waits for the last
  process in that network namespace to end;
- the driver, which is pasta or slirp4netns and a child of the watcher; and where UDP ports are
  published, another child, the `relay`. The watcher ends them, and where it is killed the kernel
  does (PR_SET_PDEATHSIG).
"""

import os
from errno import ECHILD, ESRCH

from ..child import count_threads, listen, open_process, pipe
from ..errors import UnshareError, failed, named
from ..lifetime import start_apart
from ..namespaces import Plan, Start, require_single_thread
from ..resolv_conf import cover
from .driver import Driver
from .resolver import find_unreachable
from .watcher import watch


class Watcher:
    """What the program knows of the process that it has left outside.

    Attributes:
        driver: what the watcher is to start.
        command: the driver's command line, which PY_UNSHARE_VERBOSE shows.
        resolver: the host's resolver, where that cannot be reached from inside; or empty.
    """

    def __init__(self, driver: Driver, resolver: str, keep_open: int) -> None:
        """Start it; arguments as for the attributes.

        Args:
            keep_open: as in Start.

        Raises:
            UnshareError: there is no such program, it cannot do what the plan asks for, or there
                can be no process.
        """
        self.driver = driver
        self.resolver = resolver
        self.command = driver.command(forward_dns=bool(resolver))
        process = open_process(os.getpid())
        go, self._go = pipe()
        self._answers, answer = pipe()
        kept = [process, go] if keep_open < 0 else [process, go, keep_open]
        try:
            start_apart(b"unshare-net", self._watch, answer, *kept)
        finally:
            for descriptor in (process, go, answer):
                os.close(descriptor)

    def _watch(self, answer: int, process: int, go: int, *_: int) -> None:
        watch(self.driver, self.command, answer, process, go)

    def connect(self) -> bool:
        """Tell it to go, and wait for its answer.

        Returns:
            True once the network is there; false where the watcher was killed.

        Raises:
            UnshareError: why there is no network.
        """
        try:
            try:
                os.write(self._go, b"go")
            except BrokenPipeError:  # it has ended already; its answer may say why
                pass
            finally:
                os.close(self._go)  # nobody waits for a word that could not be written
            return listen(self._answers)
        finally:
            os.close(self._answers)


def leave_watcher(start: Start) -> None:
    """Find the driver and leave a watcher outside. Called before any namespace is entered.

    Raises:
        UnshareError: the driver is not installed, or cannot do what the plan asks for; or there can
            be no watcher; or this process has threads (EINVAL).
    """
    if count_threads() > 1:
        require_single_thread()  # unshare(2) would refuse, once the watcher is there
    plan = start.plan
    pid = str(os.getpid())
    if os.readlink("/proc/self") != pid:  # as after pid,proc=keep
        reason = "/proc is that of another PID namespace, so nobody would find this process"
        raise UnshareError(ESRCH, reason, named("net", plan.net))
    start.watcher = Watcher(_driver(plan, pid), find_unreachable(plan), start.keep_open)


def connect(start: Start) -> None:
    """Have the driver started; return once the interface is configured and the ports are open.

    Called in the new network namespace.

    Raises:
        UnshareError: the driver failed; the reason is what it wrote to standard error.
    """
    item = named("net", start.plan.net)
    watcher = start.watcher
    if watcher is None:
        raise UnshareError(ECHILD, "nobody was left outside to start it", item)
    if start.report:
        from shlex import join

        start.report(join(watcher.command))
    try:
        ready = watcher.connect()
    except OSError as error:
        raise failed(item, error) from None
    if not ready:
        watcher.driver.close_control()
        raise UnshareError(ECHILD, "the process that starts it was killed", item)


def cover_resolver(start: Start) -> None:
    """Point resolv.conf(5) at the driver where the host's resolver cannot be reached from inside.

    Called in the new mount namespace, where it covers the file for nobody else.

    Raises:
        OSError: the kernel refuses.
    """
    if start.watcher and start.watcher.resolver:
        cover(start.watcher.driver.forwarder)


def _driver(plan: Plan, pid: str) -> Driver:
    if plan.net == "pasta":
        from .pasta import Pasta

        return Pasta(plan, pid)
    from .slirp4netns import Slirp4netns

    return Slirp4netns(plan, pid)


WHOLE = True
