"""Start over where threads are in the way.

The kernel lets no process with threads into a user namespace (unshare(2), EINVAL), and of the
others it would let in the calling thread alone. Something started a thread before the hook: the
.pth file of another package, or a preloaded library. Nothing of the program has run by then, so
the process can begin anew: execve(2) ends the other threads.

    this process ──execve──► clean interpreter ──execve──► the original command line
     has threads              no site, no preload;          inside, whatever threads come back;
     start_over()             enter_and_execute()           finish(): PY_UNSHARE says where it is

The clean interpreter does not come back here, and the last one enters nothing: nothing can loop.
"""

import os
import sys
from errno import EINVAL

from ..child import count_threads
from ..errors import UnshareError
from ..namespaces import Start
from .program import command_line
from .threads import threads_error, why_not_start_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn, Optional

    from ..namespaces import Plan, Report

    Environment = dict[bytes, bytes]

# What the clean interpreter runs. An empty entry of sys.path is the working directory.
CODE = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv[1]]; "
    "import unshare_boot; unshare_boot.enter_and_execute()"
)

# They put code into any process, and that code may start threads.
PRELOADS = (b"LD_PRELOAD", b"LD_AUDIT")

# What Python makes of LC_CTYPE where the locale is C, PEP 538.
COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")

# Without these an interpreter that needs them does not find its library.
HOMES = (b"PYTHONHOME", b"PYTHONPLATLIBDIR")

# How the value of PY_UNSHARE begins that the last interpreter gets; no list can begin like this.
STARTED_OVER = "=started-over "


def start_over(text: str, start: Start, error: OSError) -> None:
    """Execute the program anew, inside, if it was for threads that the kernel refused.

    Args:
        text: the list.
        start: how far the list came.
        error: the refusal, EINVAL.

    Returns:
        Only where the threads have ended by themselves since, and nothing has been entered yet.

    Raises:
        UnshareError: ``error`` where threads are not to blame for it; or this process cannot start
            over.
    """
    if getattr(error, "system_call", "") != "unshare":
        raise error
    if count_threads() < 2:
        if start.done:
            raise error
        return
    obstacle = why_not_start_over()
    if obstacle:
        raise threads_error(obstacle)
    if start.report:
        start.report(f"{count_threads()} threads: starting over without them")
    _execute_clean(text)


def _execute_clean(text: str) -> "NoReturn":
    """Execute the clean interpreter, and let it know all that it takes to go on."""
    program = program_path()
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
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    comm = os.fsdecode(_read("/proc/self/comm")[:-1])
    carried = [package, text, program, comm, str(len(aside))]
    restored = [os.fsdecode(name + b"=" + environment.pop(name)) for name in aside]
    first = sys.executable or program
    arguments = [first, *options, "-c", CODE, *carried, *restored, *command_line()]
    execute(program, arguments, environment)


def enter_and_execute(
    text: str,
    plan_of: "Callable[[str], Optional[Plan]]",
    enter: "Callable[[Start], None]",
    report: "Report",
) -> "NoReturn":
    """Enter the namespaces in the clean interpreter, then execute the original command line.

    Args:
        text: the list.
        plan_of: reads it.
        enter: carries a plan out.
        report: as for Start.

    Raises:
        UnshareError: the kernel refuses, or something has started threads again.
    """
    program, comm, count = sys.argv[3:6]
    split = 6 + int(count)
    environment = initial_environment()
    for entry in map(os.fsencode, sys.argv[6:split]):
        name, _, environment[name] = entry.partition(b"=")
    arguments = sys.argv[split:]
    plan = plan_of(text)
    if plan is None:
        raise UnshareError(EINVAL, "nothing to do after starting over")
    if count_threads() > 1:
        _give_up(text, program, arguments, environment)
    before = dict(os.environb)
    enter(Start(plan, report))
    carry = plan.user is not None and plan.caps is None and os.geteuid() != 0
    if carry:
        from ..items.capabilities import carry_over

        carry_over()
    environment.update(os.environb.items() - before.items())
    if os.environb[b"PY_UNSHARE_ACTIVE"]:  # caps= alone leaves no proof, and needs none
        environment[b"PY_UNSHARE"] = os.fsencode(f"{STARTED_OVER}{os.getpid()} {carry:d} {comm}")
    execute(program, arguments, environment)


def _give_up(
    text: str, program: str, arguments: "list[str]", environment: "Environment"
) -> "NoReturn":
    error = threads_error("it has started over, and something has started them again")
    if environment.get(b"PY_UNSHARE_ON_ERROR") != b"warn":
        raise error
    from .rehearsal import warn

    warn(text, error)
    execute(program, arguments, environment)


def finish(text: str) -> None:
    """Make the last interpreter what it would be if it had entered the namespaces itself.

    To the kernel it differs in two things: its name, which for a script with a #! line is the
    script's; and execve(2) takes the capabilities of an id that is not 0, except the ambient ones,
    which its children would keep.

    Args:
        text: the value of PY_UNSHARE, made by `enter_and_execute`.

    Raises:
        UnshareError: the value is not meant for this process, and it is not isolated.
        OSError: the kernel refuses.
    """
    from ..inside import holding

    del os.environ["PY_UNSHARE"]
    pid, carried, comm = (text[len(STARTED_OVER) :] + "  ").split(" ", 2)
    if not pid.isdigit() or not holding():
        raise UnshareError(EINVAL, "what unshare-boot writes for itself is no list")
    if pid != str(os.getpid()):  # a child that a .pth file started before ours had its turn
        return
    if carried == "1":
        from ..items.capabilities import undo_carry_over

        undo_carry_over()
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(os.fsencode(comm.rstrip()))
    except OSError:  # only for the eyes of ps(1)
        pass


def program_path() -> str:
    """Return the path of the interpreter, as it was started where that is known."""
    exe = "/proc/self/exe"
    if sys.executable and os.path.exists(sys.executable) and os.path.samefile(sys.executable, exe):
        return sys.executable
    path = os.readlink(exe)
    return path if os.path.exists(path) else exe


def _environment(text: str) -> "Environment":
    """Return the environment that the process started with, but PY_UNSHARE.

    Neither what .pth files have changed since, which they will change again, nor what a preloaded
    library has; unless a library has written over its memory (as setproctitle does).
    """
    initial = initial_environment()
    if initial.pop(b"PY_UNSHARE", None) == os.fsencode(text):
        return initial
    environment = _present_environment()
    environment.pop(b"PY_UNSHARE", None)
    return environment


def initial_environment() -> "Environment":
    """Return the environment that the process started with, proc_pid_environ(5)."""
    try:
        entries = _read("/proc/self/environ").split(b"\0")
    except PermissionError:  # the file is root's where a process is not dumpable, proc(5)
        return _present_environment()
    environment: Environment = {}
    for entry in entries:
        name, equals, value = entry.partition(b"=")
        if equals and name:
            environment.setdefault(name, value)
    return environment


def _present_environment() -> "Environment":
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


def execute(program: str, arguments: "list[str]", environment: "Environment") -> "NoReturn":
    """execve(2).

    Raises:
        UnshareError: it failed.
    """
    try:
        os.execve(program, arguments, environment)
    except OSError as error:
        reason = error.strerror or ""
        raise UnshareError(error.errno or 0, reason, "", "execve", program) from error


WHOLE = True
