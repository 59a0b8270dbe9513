"""The helper's event loop: epoll(7), and threads for what cannot be waited for otherwise."""

import os
from resource import RLIMIT_NOFILE, getrlimit
from select import EPOLLIN, epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    Handler = Callable[[int], None]

RESERVED = 64  # descriptors
MOST_THREADS = 16  # for names; more questions wait


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
        self._wake, self._woken = os.pipe()
        self.watch(self._wake, EPOLLIN, self._finish)
        self._waiting: list[Callable[[], Callable[[], None]]] = []
        self._threads = 0

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
        for descriptor, events in self._epoll.poll():
            handler = self._handlers.get(descriptor)
            if handler:  # not if another one has closed it just now
                handler(events)

    def in_thread(self, work: "Callable[[], Callable[[], None]]") -> None:
        """Do something that blocks in a thread, then call in the loop what it has returned."""
        self._waiting.append(work)
        if self._threads < MOST_THREADS:
            from _thread import start_new_thread

            self._threads += 1
            try:
                start_new_thread(self._work, ())
            except RuntimeError:  # no thread to be made; one that runs takes it
                self._threads -= 1

    def _work(self) -> None:
        while True:
            try:
                work = self._waiting.pop(0)
            except IndexError:
                self._threads -= 1
                return
            self._done.append(work())
            os.write(self._woken, b"!")

    def _finish(self, _: int) -> None:
        for _ in os.read(self._wake, 4096):
            self._done.pop(0)()


WHOLE = True
