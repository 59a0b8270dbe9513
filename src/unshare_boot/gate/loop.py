"""The helper's event loop: epoll(7), and threads for what cannot be waited for otherwise."""

import os
from resource import RLIMIT_NOFILE, getrlimit
from select import EPOLLIN, epoll
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from typing import Callable

    Handler = Callable[[int], None]

RESERVED = 64  # descriptors
MOST_EVENTS = 64  # of a turn
MOST_THREADS = 64  # for names; more questions wait


class Loop:
    """Calls handlers as their descriptors become ready.

    Attributes:
        most_descriptors: numbers from this on are not for new connections outside.
    """

    def __init__(self) -> None:
        self._epoll = epoll()
        self.most_descriptors = getrlimit(RLIMIT_NOFILE)[0] - RESERVED
        self._handlers: dict[int, Handler] = {}
        self._masks: dict[int, int] = {}
        self._done: list[Callable[[], None]] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._wake, self._woken = os.pipe()
        self.watch(self._wake, EPOLLIN, self._finish)
        self._waiting: list[Callable[[], Callable[[], None]]] = []
        self._threads = 0
        self._idle: list[LockType] = []  # one each, to be released when there is work

    def watch(self, descriptor: int, mask: int, handler: "Handler") -> None:
        """Have a handler called with what happens at a descriptor, and go on doing so."""
        self._handlers[descriptor] = handler
        known = self._masks.get(descriptor)
        if known is None:
            self._epoll.register(descriptor, mask)
        elif known != mask:
            self._epoll.modify(descriptor, mask)
        self._masks[descriptor] = mask

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more; to be called before it is closed."""
        if self._masks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
            del self._handlers[descriptor]

    def turn(self) -> None:
        """Wait until something happens, and have all of it handled, one step each."""
        wait = max(0.0, min(when for when, _ in self._later) - monotonic()) if self._later else -1
        for descriptor, events in self._epoll.poll(wait, MOST_EVENTS):
            handler = self._handlers.get(descriptor)
            if handler:  # not if another one has closed it just now
                handler(events)
        if self._later:
            self._do_what_is_due()

    def after(self, seconds: float, act: "Callable[[], None]") -> None:
        """Have something called later; for the few things of which there is one at a time."""
        self._later.append((monotonic() + seconds, act))

    def _do_what_is_due(self) -> None:
        now = monotonic()
        due = [each for each in self._later if each[0] <= now]
        self._later = [each for each in self._later if each[0] > now]
        for _, act in due:
            act()

    def in_thread(self, work: "Callable[[], Callable[[], None]]") -> None:
        """Do something that blocks in a thread, then call in the loop what it has returned."""
        from _thread import start_new_thread

        self._waiting.append(work)
        if self._idle:
            self._idle.pop().release()
        elif self._threads < MOST_THREADS:
            try:
                start_new_thread(self._work, ())
                self._threads += 1
            except RuntimeError:  # RLIMIT_NPROC; one that runs takes it
                if not self._threads:
                    self._do(self._waiting.pop())

    def is_busy(self) -> bool:
        """Tell whether something waits for a thread."""
        return len(self._waiting) >= MOST_THREADS

    def _work(self) -> None:
        """Be a thread: take what waits, and wait where nothing does."""
        from _thread import allocate_lock

        wanted = allocate_lock()
        while True:
            try:
                work = self._waiting.pop(0)
            except IndexError:
                wanted.acquire(blocking=False)
                self._idle.append(wanted)
                if not self._waiting:
                    wanted.acquire()
                    continue
                try:  # something came while nobody could know that this thread waits
                    self._idle.remove(wanted)
                except ValueError:
                    pass
            else:
                self._do(work)

    def _do(self, work: "Callable[[], Callable[[], None]]") -> None:
        self._done.append(work())
        os.write(self._woken, b"!")

    def _finish(self, _: int) -> None:
        for _ in os.read(self._wake, 4096):
            self._done.pop(0)()


WHOLE = True
