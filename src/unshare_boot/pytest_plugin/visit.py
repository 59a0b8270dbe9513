"""The namespaces of one test, entered by the thread that runs it, which comes back afterwards.

setns(2) leads back into a namespace that our user namespace owns (CAP_SYS_ADMIN), as a run's own
are. It is the thread that moves: what others do goes on outside, and threads and processes that
the test starts are inside.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from ..errors import UnshareError, failed
from ..namespaces import NAMESPACES, Plan, Start, call, move_thread_alone, unshare
from ..procfiles import status_field
from .written import Written

NS_GET_USERNS = 0xB701  # include/uapi/linux/nsfs.h, Linux 4.9
CAP_SYS_CHROOT, CAP_SYS_ADMIN = 18, 21  # include/uapi/linux/capability.h
O_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
VARIABLE = "PY_UNSHARE_ACTIVE"


def prepare(plans: list[Plan]) -> None:
    """Have the run own copies of the host's namespaces that tests will leave, and come back to.

    A copy of ``uts`` has the same names, and one of ``ipc`` is a place like the first.
    """
    asked = {name for plan in plans if _is_of_a_thread(plan) for name in plan.asked()}
    for name in asked & {"uts", "ipc"}:
        if _has_capabilities(mount=False) and not _is_owned(name):
            move_thread_alone(True)
            try:
                unshare(name)
            except UnshareError:  # such tests are run by children
                pass
            finally:
                move_thread_alone(False)


def can_come_back(plan: Plan) -> bool:
    """Tell whether this thread can enter what a plan asks for, and then leave it again."""
    return can_enter(plan) and all(map(_is_owned, plan.asked()))


def can_enter(plan: Plan) -> bool:
    """Tell whether this thread can enter what a plan asks for, without the others."""
    return _is_of_a_thread(plan) and _has_capabilities(mount=plan.mount is not None)


def _is_of_a_thread(plan: Plan) -> bool:
    """Tell whether a plan is for namespaces alone that a thread can enter, and leave."""
    given_up = plan.caps or plan.sockets  # by the process, for good
    of_process = {"user", "pid", "time"} & {*plan.asked()}  # of one with one thread, or a child
    served = plan.net not in (None, "lo", "down")  # by a process that ends with the last inside
    main = threading.current_thread() is threading.main_thread()  # which /proc/self is about
    return main and not (given_up or of_process or served or plan.joined())


def _has_capabilities(mount: bool) -> bool:
    needed = 1 << CAP_SYS_ADMIN | (1 << CAP_SYS_CHROOT if mount else 0)
    return int(status_field("CapEff"), 16) & needed == needed


def _is_owned(name: str) -> bool:
    """Tell whether the present namespace of a kind belongs to the present user namespace."""
    from fcntl import ioctl

    try:
        with _opened(name) as descriptor:
            owner = ioctl(descriptor, NS_GET_USERNS)
        try:
            return os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user"))
        finally:
            os.close(owner)
    except OSError:  # it is that of an ancestor
        return False


@contextlib.contextmanager
def _opened(name: str) -> Iterator[int]:
    descriptor = _open(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(name: str) -> int:
    return os.open(f"/proc/self/ns/{NAMESPACES[name].file}", os.O_RDONLY | os.O_CLOEXEC)


class _Place:
    """Where a thread is: its namespaces, its working directory, and what children are told.

    A namespace of mounts has a directory of its own: setns(2) leads to the root of it.
    """

    def __init__(self, names: list[str]) -> None:
        """Remember where this thread is, as far as these namespaces go."""
        self._namespaces = {name: _open(name) for name in names}
        self._told = os.environ.get(VARIABLE)
        self._directory = -1
        if "mount" in names:
            with contextlib.suppress(FileNotFoundError):  # the working directory was removed
                self._directory = os.open(".", O_PATH)

    def go(self) -> None:
        """Be there."""
        for name, descriptor in self._namespaces.items():
            call("setns", descriptor, NAMESPACES[name].flag, target=name)
        if self._directory >= 0:
            os.fchdir(self._directory)
        if self._told is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self._told

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (*self._namespaces.values(), self._directory):
            if descriptor >= 0:
                os.close(descriptor)


class Visit:
    """One test's stay inside.

    Attributes:
        is_inside: the thread is there.
        written: what it writes below overlays; it outlasts the stay, and is closed by others.
    """

    def __init__(self, plan: Plan) -> None:
        """Plan it."""
        self.is_inside = False
        self._plan = plan
        self._names = plan.asked()
        self.written = Written()

    def enter(self) -> UnshareError | None:
        """Make the namespaces, and be inside; return why not, the thread being where it was."""
        from .. import enter

        self._home = _Place(self._names)
        move_thread_alone(True)
        try:
            start = Start(self._plan)
            start.hold_overlay = self.written.hold
            enter(start)
        except OSError as error:
            self._come_back()
            self.written.close()
            return failed("", error)
        finally:
            move_thread_alone(False)
        self.is_inside = True
        return None

    def leave(self) -> None:
        """Come back."""
        self.is_inside = False
        self._come_back()

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Be outside for a while, for what other tests use as well."""
        inner = _Place(self._names)
        try:
            self._go(self._home)
            self.is_inside = False
            yield
        finally:
            self._go(inner)
            self.is_inside = True
            inner.close()

    def _come_back(self) -> None:
        self._go(self._home)
        self._home.close()

    def _go(self, place: _Place) -> None:
        try:
            place.go()
        except OSError as error:  # no other test may run where this one was
            pytest.exit(f"unshare-boot cannot leave the namespaces of a test: {error}", 1)


WHOLE = True
