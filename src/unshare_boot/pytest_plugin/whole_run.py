"""A whole run of pytest inside namespaces: pytest executes its own command line again, once.

    first run    isolate(): reads the list, tries it in a child, and executes pytest again
    second run   isolate(): finds that the namespaces hold, or fails
                 report_isolation(): has it said what holds

Where the namespaces are not available, the first run fails, or goes on and says that it lacks them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

import pytest

from ..errors import NoAlternative, UnshareError
from ..inside import active
from ..namespaces import FRESH_PROC, NAMESPACES, Plan, inode
from .base_directory import set_apart
from .isolation import Isolation, Run, has_way_out, register
from .names import CLOSED, INSTEAD, SECOND_RUN
from .outputs import lost

ON_ERROR = ("fail", "skip", "warn")

# Where the way leads from pytest's command line to this plugin.
OF_PYTEST = ("_pytest.config", "pluggy", "unshare_boot")

# What may be between the interpreter and pytest, since it begins anew as well as pytest does.
LAUNCHERS = ("coverage",)

OUTSIDE = Run("PY_UNSHARE, set where pytest was started", compare="start pytest without it")
RUN = pytest.StashKey[Run]()


def isolate(config: pytest.Config, second: bool) -> None:
    """Return if what the options ask for holds, or if it is optional; else run pytest again.

    Args:
        config: before any conftest.py is loaded.
        second: this run is the second one.

    Raises:
        pytest.UsageError: it is not available, in words for the person who set the option.
    """
    text, source = asked(config)
    on_error = config.getini("unshare_on_error")
    if on_error not in ON_ERROR:
        raise pytest.UsageError(f"unshare_on_error: expected fail, skip or warn, not {on_error!r}")
    plans = read_all(text, source)
    if second:
        _require_holding([plan for _, plan in plans if plan], source)
        if any(plan and plan.net == "lo" and holds(plan) for _, plan in plans):
            os.environ[CLOSED] = str(inode("net"))
        config.stash[RUN] = Run(source, instead=os.environ.pop(INSTEAD, ""))
        return
    refused: list[tuple[str, UnshareError]] = []
    for each, plan in plans:
        if plan is None:
            return
        wanted = with_record(plan, each)
        required = is_record_required(config, plan)
        if is_enough(plan) and (wanted == each or not required):
            return
        caller = called_by()
        if caller == "worker":  # report_isolation has what the main process decided
            return
        _require_obstacle_free(plan, caller, each, source)
        gone = lost(config, plan)
        if gone:
            raise pytest.UsageError(f"{source}: {gone}")
        refusal = _go(wanted, source, refused)
        if wanted != each and not required:
            refusal = _go(each, source, refused)
        refused.append((each, refusal))
    error = NoAlternative.of(refused)
    if on_error == "fail":
        reasons = why("|".join(each for each, _ in refused), error)
        raise pytest.UsageError(f"{source}: refused, no test was run\n{reasons}")
    config.stash[RUN] = Run(source, f"{source}: {error}", on_error == "skip")


def _go(text: str, source: str, refused: list[tuple[str, UnshareError]]) -> UnshareError:
    """Run pytest again with a list; return why not."""
    plan = read(text, source)
    assert plan is not None
    return try_in_child(plan) or run_again(text, refused)


def asked(config: pytest.Config) -> tuple[str, str]:
    """Return the list, and the words for where it is set."""
    option = config.known_args_namespace.unshare
    if option is not None:
        typed = any(str(arg).startswith("--unshare") for arg in config.invocation_params.args)
        return option, f"--unshare={option} ({'command line' if typed else 'addopts'})"
    text = config.getini("unshare")
    source = f"unshare = {text!r} ({config.inipath or 'ini option'})"
    if not isinstance(text, str):
        raise pytest.UsageError(f'{source}: expected one string, such as "user,net"')
    return text, source


def with_record(plan: Plan, text: str) -> str:
    """Return the list with the record of a gate, so that each test is told what it tried.

    That is where there is a gate or no way out. The record is for `attempts`; nobody reads a file.
    """
    if plan.record is None and plan.net in ("gate", "lo"):
        return f"{text},record=/dev/null"
    return text


def is_record_required(config: pytest.Config, plan: Plan) -> bool:
    """Tell whether a run is nothing without the record: else it is left out where it cannot be."""
    asked_for = config.getini("unshare_strict") or config.known_args_namespace.unshare_record
    return bool(plan.net == "gate" or asked_for)


def read_all(text: str, source: str) -> list[tuple[str, Plan | None]]:
    """Return the alternatives of a text, each with its plan.

    Raises:
        pytest.UsageError: one of them is not understood.
    """
    from ..language import alternatives

    try:
        return [(each, read(each, source)) for each in alternatives(text)]
    except UnshareError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def read(text: str, source: str) -> Plan | None:
    """Return the plan of a list.

    Raises:
        pytest.UsageError: it is not understood.
    """
    from .. import plan_of

    try:
        return plan_of(text)
    except UnshareError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def _require_holding(plans: list[Plan], source: str) -> None:
    if not any(map(holds, plans)):
        raise pytest.UsageError(
            f"{source}: pytest was started over for it, and is still not isolated: "
            f"{sys.executable} has not run the start-up file of unshare-boot (was it started with "
            "-S, or is the package not installed but only on the path?)"
        )


def _require_obstacle_free(plan: Plan, caller: str, text: str, source: str) -> None:
    if caller == "program":
        raise pytest.UsageError(
            f"{source}: pytest was called by a program, and a program cannot be started "
            f"over. Start it with PY_UNSHARE={text} in its environment, or let its first line be "
            f"`import unshare_boot; unshare_boot.unshare({text!r})`; or call "
            "pytest.main() with --no-unshare"
        )
    if plan.net is not None and "pydevd" in sys.modules:
        raise pytest.UsageError(
            f"{source}: a debugger is attached by network, and would be lost on the way into a "
            "network namespace: debug with --no-unshare, or with pytest --pdb"
        )


def holds(plan: Plan) -> bool:
    """Tell whether this process is in a namespace of unshare-boot's of every kind asked for."""
    wanted = {*plan.asked(), "sockets"} if plan.sockets else {*plan.asked()}
    return wanted <= {*active()}


def is_enough(plan: Plan) -> bool:
    """Tell whether an outer start has done all that a plan asks for, as far as can be told.

    The names of namespaces can; what was mounted or mapped in them cannot, and is done again.
    """
    if not holds(plan):
        return False
    fresh_proc = FRESH_PROC if plan.pid is not None else ()
    for name, value in vars(plan).items():
        if name not in NAMESPACES:
            settled = name == "sockets" or (name == "operations" and value == fresh_proc)
            if value and not settled:
                return False
        elif value and value[:1] == "/":
            try:
                if os.stat(value).st_ino != inode(name):
                    return False
            except OSError:
                return False
    if plan.uts and plan.uts[:1] != "/" and plan.uts != os.uname().nodename:
        return False
    return plan.net not in ("lo", "down") or not has_way_out()


def called_by() -> str:
    """Return who wants pytest to run: "command line", "worker" (of pytest-xdist) or "program".

    It is what calls _pytest.config, which runs this: for a command line the function of its script,
    and for a worker what execnet makes of a text.
    """
    frame: FrameType | None = sys._getframe()
    function = ""
    while frame and frame.f_back and _module(frame).startswith(OF_PYTEST):
        function = frame.f_code.co_name
        frame = frame.f_back
    if function in ("console_main", "_console_main") and _is_whole_process(frame):
        return "command line"
    return "worker" if frame and _module(frame) == "__channelexec__" else "program"


def _is_whole_process(frame: FrameType | None) -> bool:
    """Tell whether pytest's script is what this process was started for, and no prompt's session.

    Args:
        frame: of that script, which nobody but the interpreter is to have called, or a launcher.
    """
    script = frame
    launched = False
    while frame:
        package = _origin(frame).partition(".")[0]
        launched = launched or package in LAUNCHERS
        is_script = package == "__main__" and (launched or frame is script)
        if not is_script and package not in ("pytest", "runpy", *LAUNCHERS):
            return False
        frame = frame.f_back
    return True


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _origin(frame: FrameType) -> str:
    """Return the module that a frame is of, also where ``-m`` runs it as ``__main__``."""
    spec = frame.f_globals.get("__spec__")
    return spec.name if spec else _module(frame)


def try_in_child(plan: Plan) -> UnshareError | None:
    """Enter what a plan asks for in a child that then ends; return the refusal."""
    from errno import ENOEXEC

    from .. import enter
    from ..start.program import host
    from ..start.rehearsal import rehearse

    if host():
        return UnshareError(ENOEXEC, f"{host()} is no Python interpreter, but has one inside")
    try:
        rehearse(plan, enter)
    except UnshareError as error:
        return error
    return None


def run_again(text: str, refused: list[tuple[str, UnshareError]]) -> UnshareError:
    """Execute the same command line again, with PY_UNSHARE set; return why that failed.

    The environment is the one that the process was started with: what launchers and plugins have
    changed, they will change again. What was refused before is told to the second run.
    """
    from ..start.program import command_line
    from ..start.starting_over import execute, initial_environment, program_path

    environment = initial_environment()
    if not environment.keys() & os.environb.keys():  # overwritten, as setproctitle does
        environment = dict(os.environb)
    ours = {name: value for name, value in os.environb.items() if name[:10] == b"PY_UNSHARE"}
    environment = {k: v for k, v in environment.items() if k[:10] != b"PY_UNSHARE"}
    environment.update(ours)
    # They are about another list, or about whether it is meant for this program: that is decided.
    environment.pop(b"PY_UNSHARE_ONLY", None)
    environment.pop(b"PY_UNSHARE_ON_ERROR", None)
    environment[b"PY_UNSHARE"] = os.fsencode(text)
    environment[os.fsencode(SECOND_RUN)] = b"1"
    environment.pop(os.fsencode(INSTEAD), None)
    if refused:
        instead = "; ".join(f"{each} is not available: {error}" for each, error in refused)
        environment[os.fsencode(INSTEAD)] = os.fsencode(instead)
    try:
        execute(program_path(), command_line(), environment)
    except UnshareError as error:
        return error


def why(text: str, error: UnshareError) -> str:
    """Return what happened, why, and the cure, a line each."""
    from ..refusal.message import explain

    return explain(text, error).decode("utf-8", "replace").partition("\n")[2].rstrip("\n")


def report_isolation(config: pytest.Config) -> None:
    """Have the tests of a run told of its isolation.

    Raises:
        pytest.UsageError: this is a worker of pytest-xdist that is not isolated, on a machine of
            its own for instance.
    """
    run = config.stash.get(RUN, None)
    if hasattr(config, "workerinput"):
        told = config.workerinput.get("unshare_boot")
        run = Run(*told) if told else None
        plans = [plan for _, plan in read_all(*asked(config))]
        held = None in plans or any(plan and holds(plan) for plan in plans)
        if not held and not (run and run.refusal):
            raise pytest.UsageError("this worker of pytest-xdist is not isolated")
    isolation = register(config, run or OUTSIDE) if run or active() else None
    if "user" in active():
        set_apart()
    if not (run and run.refusal):
        _require_record(config, isolation)


def _require_record(config: pytest.Config, isolation: Isolation | None) -> None:
    """Fail a run that is to tell what its tests try, and has nothing that it knows that from."""
    file = config.getoption("unshare_record")
    if file:
        _require_writable(file)
    if isolation and isolation.gate:
        return
    option = ""
    if file:
        option = "--unshare-record"
    elif isolation and isolation.closed and config.getini("unshare_strict"):
        option = "unshare_strict"
    if option:
        raise pytest.UsageError(
            f"{option}: this run has no gate, so nothing tells what its tests try to reach: start "
            "it with a list that brings one, such as --unshare=offline"
        )


def _require_writable(file: str) -> None:
    """Refuse a file for the record of a run that could not be written at its end.

    Raises:
        pytest.UsageError: why it cannot be.
    """
    path = Path(file)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise pytest.UsageError(f"--unshare-record: {file!r} cannot be written")


WHOLE = True
