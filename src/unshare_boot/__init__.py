"""Linux namespaces for any Python program, by one environment variable.

``PY_UNSHARE=user,net,mount python app.py`` puts the interpreter into new namespaces while it
starts. This file tells the story of such a start, top-down: `boot` is called, `plan_of` turns the
list into a plan, `enter` carries it out in the order of `_steps`, and what goes wrong ends in
`_refuse`. Each part is a module, loaded by the line that needs it; ``namespaces`` has all that a
list of plain words takes. What programs may call inside is found here too.

PYTEST_DONT_REWRITE, because it is loaded before pytest could, which pytest would warn of.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn, TypeVar

    from .errors import UnshareError as UnshareError
    from .inside import active as active
    from .inside import attempts as attempts
    from .inside import bind_mount as bind_mount
    from .inside import original_gid as original_gid
    from .inside import original_uid as original_uid
    from .inside import write_group_map as write_group_map
    from .inside import write_user_map as write_user_map
    from .namespaces import Plan, Report, Start, Step

    Function = TypeVar("Function", bound=Callable[..., object])

__version__ = "0.1.0"

__all__ = [
    "UnshareError",
    "active",
    "attempts",
    "bind_mount",
    "boot",
    "original_gid",
    "original_uid",
    "unshare",
    "write_group_map",
    "write_user_map",
]

_kept_back: "dict[str, Callable[..., object]]" = {}


def _named_last(function: "Function") -> "Function":
    """Keep a function back until the end of the file, so that one that is cut short lacks it."""
    _kept_back[function.__name__] = function
    return None  # type: ignore[return-value]


@_named_last
def boot() -> None:
    """Enter the namespaces that PY_UNSHARE asks for; what the .pth line calls.

    Returns when everything asked for holds, or when the variable is unset or says to do nothing.
    Otherwise writes the reason to standard error and ends the process with status 125, at once,
    because site.py would swallow an exception and start the program un-isolated.

    A sitecustomize.py, a frozen application or a zipapp calls it as early as it can.
    """
    text = os.environ.get("PY_UNSHARE")
    if text is None:
        return
    try:
        if text.startswith("=started-over "):
            from .start.starting_over import finish

            finish(text)
        elif _is_wanted():
            _isolate(_chosen(text))
        _check_whole()
    except BaseException as error:
        _refuse(text, error)


@_named_last
def unshare(text: str) -> None:
    """Enter the namespaces of a list from a program's first line, before it starts a thread.

    The list is tried in a child first, so that a refusal leaves the process as it was. Should the
    kernel change its mind after that, the process ends with status 125: half of a list is neither
    what was asked for nor what there was.

    Args:
        text: a list in the language of PY_UNSHARE, such as ``user,net``; or several, with ``|``
            between them, of which the first that is available is entered.

    Raises:
        UnshareError: the list is not understood (EINVAL), the process has threads (EINVAL), or
            the kernel refuses: the errno of the system call that failed.
    """
    from .start.alternatives import choose
    from .start.rehearsal import rehearse
    from .start.threads import require_no_threads

    text = choose(text, "abort", plan_of, enter)
    plan = plan_of(text)
    if plan is not None:
        if plan.needs_single_thread():
            require_no_threads()
        rehearse(plan, enter)
        try:
            _isolate(text)
        except BaseException as error:
            _refuse(text, error)
    _check_whole()  # of the rehearsal too


def enter_or_refuse(text: str) -> None:
    """Enter a list in this process, as `boot` does: it ends with status 125 if that fails."""
    try:
        _isolate(_chosen(text))
        _check_whole()
    except BaseException as error:
        _refuse(text, error)


def _is_wanted() -> bool:
    """Tell whether this program is to enter the list; the variable is gone if that is settled."""
    if "PY_UNSHARE_ONLY" in os.environ:
        from .start.program import is_named

        if not is_named(os.environ["PY_UNSHARE_ONLY"]):
            return False  # and the list is passed on
    del os.environ["PY_UNSHARE"]
    return True


def _chosen(text: str) -> str:
    """Return the list to enter, of several or with PY_UNSHARE_ON_ERROR the first available one."""
    if "|" in text or "PY_UNSHARE_ON_ERROR" in os.environ:
        from .start.alternatives import choose

        return choose(text, os.environ.get("PY_UNSHARE_ON_ERROR", ""), plan_of, enter)
    return text


def _isolate(text: str) -> None:
    """Enter a list, in this process or, where threads are in the way, in the one that follows."""
    from .namespaces import Start

    plan = plan_of(text)
    if plan is None:
        return
    start = Start(plan, _reporter())
    try:
        enter(start)
    except OSError as error:
        from errno import EINVAL

        if error.errno != EINVAL:
            raise
        from .start.starting_over import start_over

        start_over(text, start, error)
        enter(start)  # the threads have ended by themselves
    if plan.net is not None and "--connect" in getattr(sys, "argv", ()):
        from .start.debugger import tell_of_connecting

        tell_of_connecting(plan)


def plan_of(text: str) -> "Plan | None":
    """Return what a list asks for; None where it says to do nothing.

    Raises:
        UnshareError: it is not understood (EINVAL), or this is not Linux (ENOSYS).
    """
    from .namespaces import OFF, plain_plan

    if text.strip(" \t").lower() in OFF:
        return None
    plan = plain_plan(text)
    if plan is None:
        from .language import parse

        plan = parse(text)
        if plan is None:
            raise ImportError("the module is cut short", name=f"{__name__}.language")
    if sys.platform != "linux":
        from errno import ENOSYS

        from .errors import UnshareError

        raise UnshareError(ENOSYS, f"namespaces are a part of Linux, and this is {sys.platform}")
    return plan


def enter(start: "Start") -> None:
    """Enter everything that a plan asks for, in the order of `_steps`, and say so to children.

    With ``pid`` this returns in a child, which is the program; the process it was called in stays
    behind and supervises that.

    Args:
        start: the plan, and what the steps share.

    Raises:
        UnshareError: the first step that failed; those before it hold.
    """
    from .namespaces import inode

    entered: dict[str, object] = {}
    item = ""
    try:
        start.open_denied, start.check_whole = _open_denied, _check_whole
        steps = _steps(start.plan)
        _check_whole()  # a part of a step may end a process on its way, and say nothing
        for item, step in steps:
            step(start)
            start.done.append(item)
            if start.report:
                start.report(item)
        for item in start.plan.asked():
            entered[item] = inode(item)
        if start.plan.sockets:
            entered["sockets"] = start.plan.sockets
    except OSError as error:
        from .errors import failed

        raise failed(item, error) from None
    if start.ids:
        from .inside import remember_ids

        remember_ids(*start.ids)
    _tell_children(entered)
    _check_whole()


def _steps(plan: "Plan") -> "list[tuple[str, Step]]":
    """Return what a plan takes, in order: each step with the item that it is for.

    The order is the kernel's. The user namespace gives the capabilities for all others; PID 1 has
    to be in all of them; the mounts of the list want the others to be there already; capabilities
    and sockets are given up last.
    """
    from . import namespaces as ns

    todo: list[tuple[str, Step]] = []
    outside = _outside(plan)
    if outside:
        todo.append(("net", outside.leave_watcher))
    joined = plan.joined()
    made = [name for name in plan.asked() if name not in joined]
    if joined:
        from .items.join import join

        if "mount" in joined:
            _load_what_may_follow()
        todo.append((joined[0], join))
    if "user" in made:
        todo.append(("user", _user_step(plan)))
    if "net" in made:
        todo.append(("net", outside.enter_net if plan.net == "gate" else ns.enter_net))
        if plan.addr:
            from .items.addresses import add_addresses

            todo.append(("addr", add_addresses))
        if plan.net in ns.OUTBOUND:
            todo.append(("net", outside.connect))
    for name, step in (
        ("mount", ns.enter_mount),
        ("uts", ns.enter_uts),
        ("ipc", ns.enter_ipc),
        ("cgroup", ns.enter_cgroup),
    ):
        if name in made:
            todo.append((name, step))
    if "time" in made and plan.monotonic is None and plan.boottime is None:
        todo.append(("time", ns.enter_time))
    elif "time" in made:
        from .items.clocks import enter_moved

        todo.append(("time", enter_moved))
    if plan.pid is not None:
        from .pid.supervisor import go_on_in_child

        todo.append(("pid", go_on_in_child))
    if outside:
        todo.append(("net", outside.cover_resolver))
    if plan.operations:
        todo.append(_mounts_step(plan))
    if plan.caps:
        from .items.capabilities import apply_caps

        todo.append(("caps", apply_caps))
    if plan.pid is not None:
        from .pid import wait_for_supervisor

        todo.append(("pid", wait_for_supervisor))
    if plan.sockets:
        from .sockets import refuse_sockets

        todo.append(("sockets", refuse_sockets))
    return todo


def _load_what_may_follow() -> None:
    """Load what a refusal, or the program, takes: a mount namespace that is joined may lack it."""
    from . import inside  # noqa: F401
    from .items import overlay, read_only  # noqa: F401
    from .refusal import causes, machine, message  # noqa: F401
    from .start import rehearsal, starting_over  # noqa: F401


def _outside(plan: "Plan") -> "Any":
    """Return the module for a network that a process outside serves; None for any other."""
    if plan.net == "gate":
        from .gate import program as gate

        gate.complete(plan)
        return gate
    if plan.net in ("pasta", "slirp4netns"):
        from .outbound import program

        return program
    return None


def _user_step(plan: "Plan") -> "Step":
    from .namespaces import enter_user

    more = plan.map_users or plan.map_groups or plan.setgroups
    if not more and plan.user in ("root", "current", "none"):
        return enter_user
    from .items.idmap import enter_mapped

    return enter_mapped


def _open_denied(path: str, error: OSError) -> int:
    from .child import open_as_dumpable

    return open_as_dumpable(path, error)


def _mounts_step(plan: "Plan") -> "tuple[str, Step]":
    from .namespaces import FRESH_PROC, mount_proc

    plain = plan.operations == FRESH_PROC and plan.mount in ("private", "slave")
    try:
        plain = plain and os.getcwd()[:5] != "/proc"  # to stay in the fresh one takes more
    except FileNotFoundError:  # it was removed, or lies outside of a chroot
        pass
    if plain:
        return "proc", mount_proc
    from .items.mounts import run_operations

    if any(operation[0] in ("tmpfs", "hide", "bind") for operation in plan.operations):
        from .items.needed import require_in_sight

        require_in_sight(plan)
    return "mount", run_operations


def _tell_children(entered: "dict[str, object]") -> None:
    """Set PY_UNSHARE_ACTIVE: what was entered, and what of an outer start still holds."""
    if "PY_UNSHARE_ACTIVE" in os.environ:
        from .inside import holding

        entered = {**holding(), **entered}
    os.environ["PY_UNSHARE_ACTIVE"] = ",".join(f"{name}={what}" for name, what in entered.items())


def enter_and_execute() -> "NoReturn":
    """Enter a list in the clean interpreter that ``start.starting_over`` executes, and go on."""
    from .start import starting_over

    text = sys.argv[2]
    try:
        starting_over.enter_and_execute(text, plan_of, enter, _reporter())
    except BaseException as error:
        _refuse(text, error)


def _check_whole() -> None:
    """Raise ImportError if a file was cut short: what it lacks may be what isolates.

    A file that ends early may be valid Python. So the last line of each is ``WHOLE = True``.
    """
    for name, module in tuple(sys.modules.items()):
        if name.startswith("unshare_boot.") and not hasattr(module, "WHOLE"):
            if getattr(module.__spec__, "_initializing", False):  # it is being loaded
                continue
            raise ImportError(f"{module.__file__} is cut short: install unshare-boot anew")


def _reporter() -> "Report":
    if os.environ.get("PY_UNSHARE_VERBOSE", "0") in ("", "0"):
        return None
    from .start.verbose import reporter

    return reporter()


def _refuse(text: str, error: BaseException) -> "NoReturn":
    try:
        try:
            from .refusal.message import explain

            message = explain(text, error)
        except BaseException:  # an install broken in one place may be broken here too
            message = b"unshare-boot: not started: %a\n" % f"{type(error).__name__}: {error}"
        os.write(2, message)
    finally:
        os._exit(125)  # namespaces.REFUSED, in a module that may be what is broken


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "UnshareError":
        from .errors import UnshareError

        return UnshareError
    from . import inside

    _check_whole()
    return getattr(inside, name)


globals().update(_kept_back)
