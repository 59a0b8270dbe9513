"""Reads every clock, and waits in every way that Python has; runs on every Python from 3.9 up.

    soak_clocks.py read    all clocks, as JSON
    soak_clocks.py wait    all ways to wait, each with the seconds that it took

A time namespace moves the clocks that nearly all of these are made with. A wait that mistakes one
for the other would end at once, or after a day.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import faulthandler
import json
import multiprocessing
import os
import queue
import sched
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

DELAY = 0.05
CLOCKS = {"monotonic": 1, "raw": 4, "monotonic coarse": 6, "boottime": 7, "tai": 11, "realtime": 0}
CLOCK_MONOTONIC, CLOCK_BOOTTIME = 1, 7
TIMER_ABSTIME = 1  # of clock_nanosleep(2), timer_settime(2) and, as TFD_, of timerfd_settime(2)
SIGEV_NONE = 1

libc = ctypes.CDLL(None, use_errno=True)


def read() -> dict[str, float]:
    """Every clock, also as it is told by /proc and by Python's modules."""
    found = {name: time.clock_gettime(number) for name, number in CLOCKS.items()}
    with open("/proc/uptime") as file:
        found["/proc/uptime"] = float(file.read().split()[0])
    with open("/proc/stat") as file:
        (booted,) = (int(line.split()[1]) for line in file if line.startswith("btime "))
    found["since btime"] = time.time() - booted
    found["time.monotonic"] = time.monotonic()
    found["perf_counter"] = time.perf_counter()
    found["asyncio"] = asyncio.new_event_loop().time()
    return found


class Timespec(ctypes.Structure):
    """timespec(3type)."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Itimerspec(ctypes.Structure):
    """itimerspec(3type)."""

    _fields_ = (("interval", Timespec), ("value", Timespec))


def timespec(seconds: float) -> Timespec:
    return Timespec(int(seconds), int(seconds % 1 * 1e9) + 1)


def nanosleep(clock: int) -> None:
    """clock_nanosleep(2), until a time."""
    until = timespec(time.clock_gettime(clock) + DELAY)
    assert libc.clock_nanosleep(clock, TIMER_ABSTIME, ctypes.byref(until), None) == 0


def timerfd(clock: int, flags: int) -> None:
    """timerfd_settime(2), for a while or until a time."""
    begin = time.clock_gettime(clock) if flags else 0
    descriptor = libc.timerfd_create(clock, 0)
    assert descriptor >= 0
    when = Itimerspec(Timespec(0, 0), timespec(begin + DELAY))
    assert libc.timerfd_settime(descriptor, flags, ctypes.byref(when), None) == 0
    os.read(descriptor, 8)
    os.close(descriptor)


def posix_timer(clock: int) -> None:
    """timer_settime(2), until a time; what is left of it, as timer_gettime(2) tells."""
    event = (ctypes.c_int * 16)(0, 0, 0, SIGEV_NONE)
    timer = ctypes.c_void_p()
    assert libc.timer_create(clock, event, ctypes.byref(timer)) == 0
    when = Itimerspec(Timespec(0, 0), timespec(time.clock_gettime(clock) + DELAY))
    assert libc.timer_settime(timer, TIMER_ABSTIME, ctypes.byref(when), None) == 0
    left = Itimerspec()
    while True:
        assert libc.timer_gettime(timer, ctypes.byref(left)) == 0
        remaining = left.value.seconds + left.value.nanoseconds / 1e9
        if not remaining:
            break
        assert remaining <= DELAY + 0.001, remaining
        time.sleep(remaining)
    libc.timer_delete(timer)


def by_signal(start: Callable[[], object]) -> None:
    """Wait for the alarm that this sets."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.signal(signal.SIGALRM, lambda *_: None), signal.set_wakeup_fd(writer)
    start()
    os.read(reader, 1)
    signal.signal(signal.SIGALRM, before[0])
    signal.set_wakeup_fd(before[1])
    os.close(reader)
    os.close(writer)


def times_out(wait: Callable[[], Any], *errors: type[BaseException]) -> None:
    """Call what has to end by an error, or else with nothing."""
    try:
        assert not wait()
    except errors:
        return
    assert not errors


async def in_turn(loop_does: Callable[[asyncio.AbstractEventLoop, asyncio.Event], object]) -> None:
    """Have an event loop wait for something."""
    event = asyncio.Event()
    loop_does(asyncio.get_running_loop(), event)
    await event.wait()


async def waits_for_nothing() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), DELAY)


def scheduled() -> None:
    scheduler = sched.scheduler()
    scheduler.enter(DELAY, 1, lambda: None)
    scheduler.enterabs(time.monotonic() + DELAY, 1, lambda: None)
    scheduler.run()


def thread_timer() -> None:
    done = threading.Event()
    threading.Timer(DELAY, done.set).start()
    assert done.wait(60)


def dump_later() -> None:
    """faulthandler has a thread of its own that waits."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback_later(DELAY, file=file)
        while not os.fstat(file.fileno()).st_size:
            time.sleep(0.001)
        faulthandler.cancel_dump_traceback_later()


def joined() -> None:
    """A process, and a thread, that outlive the patience of who waits."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    thread.join(DELAY)
    assert thread.is_alive()
    end.set()
    thread.join()


def waited_for_process() -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=time.sleep, args=(60,))
    process.start()
    process.join(DELAY)
    assert process.is_alive()
    process.kill()
    process.join()


def locked() -> None:
    lock = threading.Lock()
    lock.acquire()
    times_out(lambda: lock.acquire(timeout=DELAY))


def conditions() -> None:
    condition = threading.Condition()
    with condition:
        times_out(lambda: condition.wait(DELAY))


def polled() -> None:
    reader, writer = os.pipe()
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    times_out(lambda: poller.poll(DELAY * 1000))
    os.close(reader)
    os.close(writer)


def epolled() -> None:
    with select.epoll() as poller:
        times_out(lambda: poller.poll(DELAY))


def from_socket() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(DELAY)
        times_out(lambda: one.recv(1), socket.timeout)


def from_connection() -> None:
    reader, _ = multiprocessing.Pipe()
    times_out(lambda: reader.poll(DELAY))


def signalled() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    times_out(lambda: signal.sigtimedwait({signal.SIGUSR1}, DELAY))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


WAYS: dict[str, Callable[[], object]] = {
    "time.sleep": lambda: time.sleep(DELAY),
    "sleep(1)": lambda: subprocess.check_call(["sleep", str(DELAY)]),
    "timeout(1)": lambda: times_out(
        lambda: subprocess.call(["timeout", str(DELAY), "sleep", "60"]) != 124
    ),
    "select": lambda: times_out(lambda: any(select.select([], [], [], DELAY))),
    "poll": polled,
    "epoll": epolled,
    "socket timeout": from_socket,
    "sigtimedwait": signalled,
    "setitimer": lambda: by_signal(lambda: signal.setitimer(signal.ITIMER_REAL, DELAY)),
    "alarm": lambda: by_signal(lambda: signal.alarm(1)),
    "Lock.acquire": locked,
    "Condition.wait": conditions,
    "Event.wait": lambda: times_out(lambda: threading.Event().wait(DELAY)),
    "Semaphore.acquire": lambda: times_out(lambda: threading.Semaphore(0).acquire(timeout=DELAY)),
    "Barrier.wait": lambda: times_out(
        lambda: threading.Barrier(2).wait(DELAY), threading.BrokenBarrierError
    ),
    "Thread.join": joined,
    "threading.Timer": thread_timer,
    "Queue.get": lambda: times_out(lambda: queue.Queue[int]().get(timeout=DELAY), queue.Empty),
    "SimpleQueue.get": lambda: times_out(
        lambda: queue.SimpleQueue[int]().get(timeout=DELAY), queue.Empty
    ),
    "Future.result": lambda: times_out(
        lambda: concurrent.futures.Future[None]().result(DELAY), concurrent.futures.TimeoutError
    ),
    "sched": scheduled,
    "faulthandler": dump_later,
    "subprocess timeout": lambda: times_out(
        lambda: subprocess.run(["sleep", "60"], timeout=DELAY), subprocess.TimeoutExpired
    ),
    "Process.join": waited_for_process,
    "Connection.poll": from_connection,
    "multiprocessing.Event": lambda: times_out(lambda: multiprocessing.Event().wait(DELAY)),
    "asyncio.sleep": lambda: asyncio.run(asyncio.sleep(DELAY)),
    "call_later": lambda: asyncio.run(in_turn(lambda loop, done: loop.call_later(DELAY, done.set))),
    "call_at": lambda: asyncio.run(
        in_turn(lambda loop, done: loop.call_at(loop.time() + DELAY, done.set))
    ),
    "wait_for": lambda: times_out(lambda: asyncio.run(waits_for_nothing()), asyncio.TimeoutError),
    "clock_nanosleep, monotonic": lambda: nanosleep(CLOCK_MONOTONIC),
    "clock_nanosleep, boottime": lambda: nanosleep(CLOCK_BOOTTIME),
    "timerfd, monotonic": lambda: timerfd(CLOCK_MONOTONIC, 0),
    "timerfd, monotonic, absolute": lambda: timerfd(CLOCK_MONOTONIC, TIMER_ABSTIME),
    "timerfd, boottime": lambda: timerfd(CLOCK_BOOTTIME, 0),
    "timerfd, boottime, absolute": lambda: timerfd(CLOCK_BOOTTIME, TIMER_ABSTIME),
    "timer_create, monotonic": lambda: posix_timer(CLOCK_MONOTONIC),
    "timer_create, boottime": lambda: posix_timer(CLOCK_BOOTTIME),
}


def wait() -> dict[str, float]:
    """Wait in every way, each for DELAY seconds; returns what it took."""
    took = {}
    for name, way in WAYS.items():
        begin = time.monotonic()
        way()
        took[name] = time.monotonic() - begin
    return took


if __name__ == "__main__":
    print(json.dumps({"read": read, "wait": wait}[sys.argv[1]]()))
