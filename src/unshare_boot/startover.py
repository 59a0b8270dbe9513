"""Start over where threads are in the way.

The kernel lets no process with threads into a user namespace (unshare(2), EINVAL), and of the
others it would let in the calling thread alone. Something started a thread before the hook: the
.pth file of another package, or a preloaded library. Nothing of the program has run by then, so
the process can begin anew: execve(2) ends the other threads.

    this process ──execve──► clean interpreter ──execve──► the original command line
     has threads              no site, no preload;          inside, whatever threads come back;
                              enters the namespaces         PY_UNSHARE says that it has arrived

The clean interpreter has no way back here, and the last one enters nothing: nothing can loop.
"""

import os
import sys
from errno import EINVAL

from .errors import UnshareError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# What the clean interpreter runs. An empty entry of sys.path is the working directory.
CODE = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv[1]]; "
    "from unshare_boot.startover import go_on; go_on()"
)

# They put code into any process, and that code may start threads.
PRELOADS = (b"LD_PRELOAD", b"LD_AUDIT")

# What Python makes of LC_CTYPE where the locale is C, PEP 538.
COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")

# Without these an interpreter that needs them does not find its library.
HOMES = (b"PYTHONHOME", b"PYTHONPLATLIBDIR")

# How the value of PY_UNSHARE begins that the last interpreter gets; no list can begin like this.
ARRIVED = "=started-over "


def start_over(text: str, error: UnshareError) -> bool:
    """Execute the program anew, inside, if it was for threads that the kernel refused.

    Args:
        text: the list.
        error: the refusal.

    Returns:
        Whether the list is in force after all, since the threads had ended by themselves; false
        where threads are not to blame for the error.

    Raises:
        UnshareError: threads are to blame, and this process cannot start over; or the second try
            failed.
    """
    if error.errno != EINVAL or not error.call.startswith("unshare("):
        return False
    if threads() < 2:
        return _try_again(text, error)
    obstacle = _obstacle()
    if obstacle:
        raise _threads_error(obstacle)
    from . import _reporter
    from .only import command_line

    report = _reporter()
    program = _program()
    environment = _environment(text)
    homes = [] if sys.flags.ignore_environment else [n for n in HOMES if n in environment]
    # -I leaves out PYTHON* and the directory of a script, -S site.py and so the .pth files.
    options = ["-s" if homes else "-I", "-S", "-X", "utf8"]
    aside = [
        name
        for name in environment
        if name in (*PRELOADS, b"LC_CTYPE")
        or (homes and name[:6] == b"PYTHON" and name not in homes)
    ]
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    carried = [package, text, program, os.fsdecode(_read("/proc/self/comm")[:-1]), str(len(aside))]
    restored = [os.fsdecode(name + b"=" + environment.pop(name)) for name in aside]
    first = sys.executable or program
    if report:
        report(f"{threads()} threads: starting over without them")
    arguments = [first, *options, "-c", CODE, *carried, *restored, *command_line()]
    _execute(program, arguments, environment)


def _try_again(text: str, error: UnshareError) -> bool:
    """Enter a list if it was the first step that failed, so that nothing has been entered yet.

    Between the refusal and a look at /proc/self/task the last of the threads can have ended.
    """
    from . import _enter, _plan
    from .namespaces import NAMESPACES

    plan = _plan(text)
    if plan is None:
        return False
    flag = "THREAD"  # with which a list begins that joins, or that has capabilities alone
    wanted = [name for name in NAMESPACES if getattr(plan, name) is not None]
    if wanted and not any(getattr(plan, name)[:1] == "/" for name in wanted):
        flag = "NEWNS" if wanted[0] == "mount" else f"NEW{wanted[0].upper()}"
    if error.call != f"unshare(CLONE_{flag})":
        return False
    _enter(plan)
    return True


def go_on() -> "NoReturn":
    """Enter the namespaces in the clean interpreter, then execute the original command line."""
    from . import _enter, _plan, _refuse

    text = sys.argv[2]
    try:
        program, comm, count = sys.argv[3:6]
        split = 6 + int(count)
        environment = _initial_environment()
        for entry in map(os.fsencode, sys.argv[6:split]):
            name, _, environment[name] = entry.partition(b"=")
        arguments = sys.argv[split:]
        plan = _plan(text)
        if plan is None:
            raise UnshareError(EINVAL, "nothing to do after starting over")
        if threads() > 1:
            error = _threads_error("it has started over, and something has started them again")
            if environment.get(b"PY_UNSHARE_ON_ERROR") == b"warn":
                from .rehearsal import warn

                warn(text, error)
                _execute(program, arguments, environment)
            raise error
        before = dict(os.environb)
        _enter(plan)
        carry = plan.user is not None and plan.caps is None and os.geteuid() != 0
        if carry:
            from .capabilities import carry_over

            carry_over()
        environment.update(os.environb.items() - before.items())
        if os.environb[b"PY_UNSHARE_ACTIVE"]:  # caps= alone leaves no proof, and needs none
            environment[b"PY_UNSHARE"] = os.fsencode(f"{ARRIVED}{os.getpid()} {carry:d} {comm}")
        _execute(program, arguments, environment)
    except BaseException as error:
        _refuse(text, error)


def arrive(text: str) -> None:
    """Make the last interpreter what it would be if it had entered the namespaces itself.

    To the kernel it differs in two things: its name, which for a script with a #! line is the
    script's; and execve(2) takes the capabilities of an id that is not 0, except the ambient ones,
    which its children would keep.

    Args:
        text: the value of PY_UNSHARE, made by `go_on`.

    Raises:
        UnshareError: the value is not meant for this process, and it is not isolated.
        OSError: the kernel refuses.
    """
    from .inside import holding

    del os.environ["PY_UNSHARE"]
    pid, carried, comm = (text[len(ARRIVED) :] + "  ").split(" ", 2)
    if not pid.isdigit() or not holding():
        raise UnshareError(EINVAL, "what unshare-boot writes for itself is no list")
    if pid != str(os.getpid()):  # a child that a .pth file started before ours had its turn
        return
    if carried == "1":
        from .capabilities import set_down

        set_down()
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(os.fsencode(comm.rstrip()))
    except OSError:  # only for the eyes of ps(1)
        pass


def blame_threads(may_start_over: bool) -> None:
    """Raise if threads would make the kernel refuse, and if nothing can be done about that.

    Args:
        may_start_over: false where the program runs already, and so cannot begin anew.

    Raises:
        UnshareError: they would (EINVAL).
    """
    if threads() > 1:
        obstacle = _obstacle() if may_start_over else "the program is running already"
        if obstacle and not _alone_soon():
            raise _threads_error(obstacle)


def _alone_soon() -> bool:
    """Wait for threads that are ending: the kernel has one a little longer than join() waits."""
    from time import sleep

    for _ in range(50):
        if threads() < 2:
            return True
        sleep(0.002)
    return False


def threads() -> int:
    """Return how many threads this process has, those that Python does not know of included.

    Returns:
        The number, or 0 where there is no /proc to tell.
    """
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def _obstacle() -> str:
    """Return why this process cannot start over; empty if it can."""
    from .only import host

    name = host()
    if name:
        return f"{name} is no Python interpreter, but a program that has one inside"
    # The interpreter itself imports site, from no frame of Python, and the program comes after it.
    spec = getattr(sys.modules.get("site"), "__spec__", None)
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
    by_interpreter = frame.f_code.co_filename == "<frozen importlib._bootstrap>"
    if not by_interpreter or not getattr(spec, "_initializing", False):
        return "the program is running already"
    return ""


def _threads_error(obstacle: str) -> UnshareError:
    reason = f"this process has {threads()} threads, and cannot start over without: {obstacle}"
    return UnshareError(EINVAL, reason, "", "unshare(CLONE_THREAD)")


def _program() -> str:
    """Return the path of the interpreter, the one that it was started by if that can be had."""
    exe = "/proc/self/exe"
    if sys.executable and os.path.exists(sys.executable) and os.path.samefile(sys.executable, exe):
        return sys.executable
    path = os.readlink(exe)
    return path if os.path.exists(path) else exe


def _environment(text: str) -> "dict[bytes, bytes]":
    """Return the environment that the process started with, but PY_UNSHARE.

    Neither what .pth files have changed since, which they will change again, nor what a preloaded
    library has; unless a library has written over its memory (as setproctitle does).
    """
    initial = _initial_environment()
    if initial.pop(b"PY_UNSHARE", None) == os.fsencode(text):
        return initial
    environment = _present_environment()
    environment.pop(b"PY_UNSHARE", None)
    return environment


def _initial_environment() -> "dict[bytes, bytes]":
    try:
        entries = _read("/proc/self/environ").split(b"\0")
    except PermissionError:  # the file is root's where a process is not dumpable, proc(5)
        return _present_environment()
    environment: dict[bytes, bytes] = {}
    for entry in entries:
        name, equals, value = entry.partition(b"=")
        if equals and name:
            environment.setdefault(name, value)
    return environment


def _present_environment() -> "dict[bytes, bytes]":
    """Return the environment as it is now, without a locale that is Python's own doing.

    With that in it, the next interpreter would not find the C locale, nor choose UTF-8 mode for it.
    """
    environment = dict(os.environb)
    others = environment.get(b"LC_ALL", b""), environment.get(b"LANG", b"")
    was_c = others in ((b"", b""), (b"", b"C"), (b"", b"POSIX"))
    if was_c and sys.flags.utf8_mode and environment.get(b"LC_CTYPE") in COERCED:
        del environment[b"LC_CTYPE"]
    return environment


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _execute(program: str, arguments: "list[str]", environment: "dict[bytes, bytes]") -> "NoReturn":
    try:
        os.execve(program, arguments, environment)
    except OSError as error:
        reason = error.strerror or ""
        raise UnshareError(error.errno or 0, reason, "", f"execve({program})") from error


WHOLE = True
