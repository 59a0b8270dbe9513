"""Start over where threads are in the way.

The kernel lets no process with threads into a user namespace (unshare(2), EINVAL), and of the
others it would let in the calling thread alone. Something started a thread before the hook: the
.pth file of another package, or a preloaded library. Nothing of the program has run by then, so
the process can begin anew: execve(2) ends the other threads.

    this process ──execve──► clean interpreter ──execve──► the original command line
     has threads              no site, no preload;          inside; the variable is gone
                              enters the namespaces

The clean interpreter has no way back here, and the last one has no PY_UNSHARE: nothing can loop.
"""

import os
import sys
from errno import EINVAL

from . import UnshareError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# What the clean interpreter runs: -I leaves out PYTHON* and the directory of a script, -S site.py,
# and so the .pth files.
CODE = "import sys; sys.path.append(sys.argv[1]); from unshare_boot.startover import go_on; go_on()"

# They put code into any process, and that code may start threads.
PRELOADS = (b"LD_PRELOAD", b"LD_AUDIT")


def start_over(text: str, error: UnshareError) -> None:
    """Execute the program anew, inside, if it was for threads that the kernel refused.

    Args:
        text: the list.
        error: the refusal.

    Returns:
        Nothing; and only where threads are not to blame for the error.

    Raises:
        UnshareError: threads are to blame, and this process cannot start over.
    """
    if error.errno != EINVAL or not error.call.startswith("unshare(") or threads() < 2:
        return
    obstacle = _obstacle()
    if obstacle:
        raise _threads_error(obstacle)
    from marshal import dumps

    from .only import command_line

    environment = dict(os.environb)
    state = dumps((text, _program(), list(map(os.fsencode, command_line())), environment))
    descriptor = os.memfd_create("unshare-boot", 0)
    with open(os.dup(descriptor), "wb") as file:
        file.write(state)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    arguments = [sys.executable, "-I", "-S", "-c", CODE, package, str(descriptor)]
    if "PYTHONHOME" in os.environ:  # without it this interpreter does not find its library
        arguments[1] = "-s"
    keep = {name: value for name, value in environment.items() if name not in PRELOADS}
    os.execve(_program(), arguments, keep)


def go_on() -> "NoReturn":
    """Enter the namespaces in the clean interpreter, then execute the original command line."""
    from . import _enter, _refuse
    from .spec import parse

    text = ""
    try:
        from marshal import loads

        with open(int(sys.argv[2]), "rb") as file:
            file.seek(0)
            text, program, arguments, environment = loads(file.read())
        plan = parse(text)
        if plan is None:
            raise UnshareError(EINVAL, "nothing to do after starting over")
        if threads() > 1:
            raise _threads_error("it has already started over, and something starts them again")
        _enter(plan)
        environment[b"PY_UNSHARE_ACTIVE"] = os.environb[b"PY_UNSHARE_ACTIVE"]
        os.execve(program, arguments, environment)
    except BaseException as error:
        _refuse(text, error)


def blame_threads(may_start_over: bool) -> None:
    """Raise if threads would make the kernel refuse, and if nothing can be done about that.

    Args:
        may_start_over: false where the program runs already, and so cannot begin anew.

    Raises:
        UnshareError: they would (EINVAL).
    """
    if threads() > 1:
        obstacle = _obstacle() if may_start_over else "the program is running already"
        if obstacle:
            raise _threads_error(obstacle)


def threads() -> int:
    """Return how many threads this process has, those that Python does not know of included."""
    return len(os.listdir("/proc/self/task"))


def _obstacle() -> str:
    """Return why this process cannot start over; empty if it can."""
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
    if frame.f_globals.get("__name__") == "__main__":
        return "the program is running already"
    name = os.path.basename(os.path.realpath("/proc/self/exe"))
    if not name.startswith(("python", "pypy")):
        return f"{name} is no Python interpreter, but a program that has one inside"
    return ""


def _threads_error(obstacle: str) -> UnshareError:
    reason = f"this process has {threads()} threads, and cannot start over without: {obstacle}"
    return UnshareError(EINVAL, reason, "", "unshare(CLONE_THREAD)")


def _program() -> str:
    """Return the path of the interpreter, the one that ps(1) shows if it can be had."""
    exe = "/proc/self/exe"
    if sys.executable and os.path.exists(sys.executable) and os.path.samefile(sys.executable, exe):
        return sys.executable
    path = os.readlink(exe)
    return path if os.path.exists(path) else exe
