"""A whole run of pytest inside namespaces: started over once, and telling of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import astuple, dataclass
from errno import ECONNREFUSED, EHOSTUNREACH, ENETDOWN, ENETUNREACH
from typing import Any, NoReturn

import pytest

from .errors import UnshareError
from .inside import active
from .namespaces import NAMESPACES, Plan, inode
from .pytest_plugin import STARTED_OVER

ISOLATION = "unshare_boot_isolation"  # the name of the plugin of an isolated run

ON_ERROR = ("fail", "skip", "warn")

UNREACHABLE = (ECONNREFUSED, EHOSTUNREACH, ENETDOWN, ENETUNREACH)

# Where the way leads from pytest's command line to this plugin.
OF_PYTEST = ("_pytest.config", "pluggy", "unshare_boot")

# What programs and C libraries say of the same errors: getaddrinfo(3), errno(3), curl and git.
PHRASES = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "No address associated with hostname",
    "Could not resolve",
    "Couldn't resolve",
    "Network is unreachable",
    "Network unreachable",
    "No route to host",
    "Connection refused",
    "ECONNREFUSED",
    "ENETUNREACH",
    "ENOTFOUND",
    "EAI_AGAIN",
)


@dataclass(frozen=True)
class Run:
    """What was decided about a run.

    Attributes:
        source: who asked for namespaces, in words: an option and where it stands.
        refusal: why they cannot be had; empty where they hold.
        skip: where they cannot be had, skip every test instead of running it outside.
        compare: how to run a test without them, in words.
    """

    source: str
    refusal: str = ""
    skip: bool = False
    compare: str = "run the test with --no-unshare"


OUTSIDE = Run("PY_UNSHARE, set where pytest was started", compare="start pytest without it")
RUN = pytest.StashKey[Run]()


def settle(config: pytest.Config, started_over: bool) -> None:
    """Return if what the options ask for holds, or may be done without; else start over.

    Args:
        config: before any conftest.py is loaded.
        started_over: this run is the second one.

    Raises:
        pytest.UsageError: it cannot be had, in words for the person who set the option.
    """
    text, source = asked(config)
    on_error = config.getini("unshare_on_error")
    if on_error not in ON_ERROR:
        raise pytest.UsageError(f"unshare_on_error: expected fail, skip or warn, not {on_error!r}")
    plan = plan_of(text, source)
    if plan is None:
        return
    if held(plan) if started_over else enough(plan):
        if started_over:
            config.stash[RUN] = Run(source)
        return
    if started_over:
        raise pytest.UsageError(
            f"{source}: pytest was started over for it, and is still not isolated: "
            f"{sys.executable} has not run the start-up file of unshare-boot (was it started with "
            "-S, or is the package not installed but only on the path?)"
        )
    caller = called_by()
    if caller == "worker":  # look_after has what the main process decided
        return
    if caller == "program":
        raise pytest.UsageError(
            f"{source}: pytest.main() was called by a program, and a program cannot be started "
            f"over. Start it with PY_UNSHARE={text} in its environment, or let its first line be "
            f"`import unshare_boot; unshare_boot.unshare({text!r})`; or call "
            "pytest.main() with --no-unshare"
        )
    if plan.net is not None and "pydevd" in sys.modules:
        raise pytest.UsageError(
            f"{source}: a debugger is attached by network, and would be lost on the way into a "
            "network namespace: debug with --no-unshare, or with pytest --pdb"
        )
    try:
        refused = rehearse(plan)
        if not refused:
            start_over(text)
    except UnshareError as error:
        refused = error
    if on_error == "fail":
        raise pytest.UsageError(f"{source}: refused, no test was run\n{why(text, refused)}")
    config.stash[RUN] = Run(source, f"{source}: {refused}", on_error == "skip")


def asked(config: pytest.Config) -> tuple[str, str]:
    """Return the list, and the words for where it stands."""
    option = config.known_args_namespace.unshare
    if option is not None:
        typed = any(str(arg).startswith("--unshare") for arg in config.invocation_params.args)
        return option, f"--unshare={option} ({'command line' if typed else 'addopts'})"
    text = config.getini("unshare")
    source = f"unshare = {text!r} ({config.inipath or 'ini option'})"
    if not isinstance(text, str):
        raise pytest.UsageError(f'{source}: expected one string, such as "user,net"')
    return text, source


def plan_of(text: str, source: str) -> Plan | None:
    """Read a list.

    Raises:
        pytest.UsageError: it is not understood.
    """
    from . import _plan

    try:
        return _plan(text)
    except UnshareError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def held(plan: Plan) -> bool:
    """Tell whether this process is in a namespace of unshare-boot's of every kind asked for."""
    return {name for name in NAMESPACES if getattr(plan, name) is not None} <= set(active())


def enough(plan: Plan) -> bool:
    """Tell whether an outer start has done all that a plan asks for, as far as can be told.

    The names of namespaces can; what was mounted or mapped in them cannot, and is done again.
    """
    if not held(plan):
        return False
    fresh_proc = (("proc",),) if plan.pid is not None else ()
    for name, value in vars(plan).items():
        if name not in NAMESPACES:
            if value and not (name == "operations" and value == fresh_proc):
                return False
        elif value and value[:1] == "/":
            try:
                if os.stat(value).st_ino != inode(name):
                    return False
            except OSError:
                return False
    if plan.uts and plan.uts[:1] != "/" and plan.uts != os.uname().nodename:
        return False
    return plan.net not in ("lo", "down") or not way_out()


def way_out() -> bool:
    """Tell whether any address but those of loopback can be reached, by the routing tables."""
    for path, column in (("/proc/self/net/route", 0), ("/proc/self/net/ipv6_route", -1)):
        try:
            with open(path, encoding="ascii") as file:
                devices = {line.split()[column] for line in file}
        except OSError:  # no such protocol in this kernel
            continue
        if devices - {"lo", "Iface"}:
            return True
    return False


def called_by() -> str:
    """Return who wants pytest to run: "command line", "worker" (of pytest-xdist) or "program".

    It is what calls _pytest.config, which runs this: for a command line the interpreter, by a
    function that nobody else is to call, and for a worker what execnet makes of a text.
    """
    frame = sys._getframe()
    function = ""
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(OF_PYTEST):
        function = frame.f_code.co_name
        frame = frame.f_back
    if function in ("console_main", "_console_main"):
        return "command line"
    return "worker" if frame.f_globals.get("__name__") == "__channelexec__" else "program"


def rehearse(plan: Plan) -> UnshareError | None:
    """Try a plan in a child; return the refusal."""
    from errno import ENOEXEC

    from .only import host
    from .rehearsal import enter_in_child

    if host():
        return UnshareError(ENOEXEC, f"{host()} is no Python interpreter, but has one inside")
    try:
        enter_in_child(plan)
    except UnshareError as error:
        return error
    return None


def start_over(text: str) -> NoReturn:
    """Execute the same command line anew, with PY_UNSHARE set.

    The environment is the one that the process was started with: what launchers and plugins have
    changed, they will change again.

    Raises:
        UnshareError: execve(2) fails.
    """
    from .only import command_line
    from .startover import _execute, _initial_environment, _program

    environment = _initial_environment()
    if not environment.keys() & os.environb.keys():  # overwritten, as setproctitle does
        environment = dict(os.environb)
    ours = {name: value for name, value in os.environb.items() if name[:10] == b"PY_UNSHARE"}
    environment = {k: v for k, v in environment.items() if k[:10] != b"PY_UNSHARE"}
    environment.update(ours)
    # They speak of another list, or of whether it is meant for this program: that is settled.
    environment.pop(b"PY_UNSHARE_ONLY", None)
    environment.pop(b"PY_UNSHARE_ON_ERROR", None)
    environment[b"PY_UNSHARE"] = os.fsencode(text)
    environment[os.fsencode(STARTED_OVER)] = b"1"
    _execute(_program(), command_line(), environment)


def why(text: str, error: UnshareError) -> str:
    """Return what happened, why, and the cure, a line each."""
    from .diagnosis import explain

    return explain(text, error).decode("utf-8", "replace").partition("\n")[2].rstrip("\n")


def look_after(config: pytest.Config) -> None:
    """Have the tests of a run told of its isolation.

    Raises:
        pytest.UsageError: this is a worker of pytest-xdist that is not isolated, on a machine of
            its own for instance.
    """
    names = active()
    run = config.stash.get(RUN, None)
    if hasattr(config, "workerinput"):
        told = config.workerinput.get("unshare_boot")
        run = Run(*told) if told else None
        plan = plan_of(*asked(config))
        if plan is not None and not held(plan) and not (run and run.refusal):
            raise pytest.UsageError("this worker of pytest-xdist is not isolated")
    if run or names:
        plugin = Isolation(config, run or OUTSIDE, names)
        config.pluginmanager.register(plugin, ISOLATION)


class Isolation:
    """A run that is isolated, or should have been."""

    def __init__(self, config: pytest.Config, run: Run, names: tuple[str, ...]) -> None:
        """Look at what holds: `names` are those of the namespaces."""
        self.run = run
        self.names = names
        self.closed = "net" in names and not way_out()
        self.marker = config.getini("unshare_network_marker")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist what was decided."""
        node.workerinput["unshare_boot"] = astuple(self.run)

    def pytest_report_header(self) -> str:
        """Say what holds."""
        if self.run.refusal:
            return f"unshare: NOT isolated: {self.run.refusal}"
        where = " (no route out of this run)" if self.closed else ""
        return f"unshare: {','.join(self.names)}{where}"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what does not hold, for nobody may overlook that."""
        if self.run.refusal:
            what = "every test was skipped" if self.run.skip else "the tests ran without"
            terminalreporter.write_sep("=", "unshare: not isolated", yellow=True, bold=True)
            terminalreporter.write_line(f"{self.run.refusal}: {what}")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark the tests that are to be skipped."""
        for item in items:
            if self.run.refusal and self.run.skip:
                item.add_marker(pytest.mark.skip(reason=self.run.refusal))
            elif self.closed and item.get_closest_marker(self.marker):
                item.add_marker(pytest.mark.skip(reason=f"isolated by {self.run.source}"))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[Any]) -> Generator[None, Any]:
        """Tell of the isolation where it may be what a test failed of."""
        outcome = yield
        self.explain(outcome.get_result(), call)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self) -> Generator[None, Any]:
        """The same for a module that cannot be imported."""
        outcome = yield
        report = outcome.get_result()
        self.explain(report, getattr(report, "call", None))

    def explain(self, report: Any, call: pytest.CallInfo[Any] | None) -> None:
        """Add a section to a report."""
        if not self.closed or not report.failed:
            return
        error = call.excinfo.value if call and call.excinfo else None
        if not (error and any(map(of_network, related(error)))):
            words = [str(report.longrepr), *(content for _, content in report.sections)]
            if not any(phrase in text for text in words for phrase in PHRASES):
                return
        name = "isolated by unshare-boot"
        content = (
            f"This ran isolated from the network, by {self.run.source}.\n"
            "Nothing outside can be reached from here, nor what listens on loopback outside.\n"
            f"To compare, {self.run.compare}. A test that has to reach out is marked "
            f"@pytest.mark.{self.marker}."
        )
        if hasattr(report.longrepr, "addsection"):  # shown whatever --show-capture says
            report.longrepr.addsection(name, content)
        else:
            report.sections.append((name, content))


def related(error: BaseException) -> Iterator[BaseException]:
    """Go through an exception, its causes, and those that it wraps (as requests' do in args)."""
    todo: list[Any] = [error]
    seen = set()
    while todo:
        each = todo.pop()
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
            todo += getattr(each, "exceptions", ())


def of_network(error: BaseException) -> bool:
    """Tell whether an exception is what somebody gets who cannot reach anything."""
    from socket import gaierror, herror

    if isinstance(error, (gaierror, herror)):
        return True
    return isinstance(error, OSError) and error.errno in UNREACHABLE


WHOLE = True
