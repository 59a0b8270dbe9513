"""What a driver has to tell: how it is started, when it is ready, how it publishes ports.

A driver is a program that connects a network namespace with the outside. `Driver` says what the
watcher wants to know of one; what is particular to pasta and to slirp4netns is in the modules of
their names.
"""

import os
from errno import ECHILD, EINVAL, ENOENT

from ..errors import UnshareError, named
from .ports import bind_error, item_of, not_bound, ports_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Plan
    from .ports import Port

OPTIONS = "PY_UNSHARE_NET_OPTS"
MOST_LINES = 8  # of what it wrote, in a refusal; the reason comes first


class Driver:
    """A driver, and what one start wants of it.

    Attributes:
        name: of the program, and the word of ``net``.
        package: what to install.
        forwarder: the address inside at which it passes names on to the host's resolver.
        ready_descriptor: where it writes ``ready`` once the interface is configured.
        plan: what the program asks for.
        pid: the process id of the program, whose namespaces to enter.
    """

    name = ""
    package = ""
    forwarder = ""
    ready_descriptor = 1
    ready = b""

    def __init__(self, plan: "Plan", pid: str) -> None:
        self.plan = plan
        self.pid = pid

    def arguments(self, forward_dns: bool) -> "list[str]":
        """Return the options; none of its ways to or from the host are open but those asked for.

        Args:
            forward_dns: whether to pass names on to the host's resolver.

        Raises:
            UnshareError: it cannot do what the plan asks for.
        """
        raise NotImplementedError

    def target(self) -> "list[str]":
        """Return the arguments that come last: whose network namespace it is.

        That network namespace is at its standard input, too.
        """
        raise NotImplementedError

    def open_control(self) -> None:
        """Make what `publish` needs, before it is started."""

    def publish(self, port: "Port") -> None:
        """Publish a TCP port once it is ready, where that has to be said to it then.

        Raises:
            UnshareError: the port cannot be published.
        """

    def close_control(self) -> None:
        """Remove what `open_control` made, or what a watcher that was killed has left of it."""

    def reasons(self, said: str) -> "list[str]":
        """Return the lines of what it wrote to standard error that say why it failed."""
        return said.splitlines()

    def port_in(self, said: str) -> "Port | None":
        """Return the published port that it failed at, by its own words."""
        return None

    def command(self, forward_dns: bool) -> "list[str]":
        """Return its command line.

        Args:
            forward_dns: as for `arguments`.

        Raises:
            UnshareError: it is not installed (ENOENT), PY_UNSHARE_NET_OPTS is not understood, or
                it cannot do what the plan asks for.
        """
        program = self._find()
        options = more_options()
        ours, options = self.reconciled(self.arguments(forward_dns), options)
        return [program, *ours, *options, *self.target()]

    def reconciled(self, ours: "list[str]", options: "list[str]") -> "tuple[list[str], list[str]]":
        """Return both without what closes a way that PY_UNSHARE_NET_OPTS opens again.

        Args:
            ours: of `arguments`.
            options: of PY_UNSHARE_NET_OPTS.
        """
        return ours, options

    def _find(self) -> str:
        for directory in os.get_exec_path():
            path = os.path.join(directory, self.name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return os.path.abspath(path)
        reason = f"no program {self.name} on PATH: install the package {self.package}"
        raise UnshareError(ENOENT, reason, named("net", self.name), target=self.name)

    def failure(self, said: bytes) -> UnshareError:
        """Return why it failed: a port that is not available, or what it wrote itself.

        Args:
            said: what it wrote to standard error.
        """
        for port in ports_of(self.plan, "tcp"):
            error = bind_error(port)
            if error:
                return not_bound(port, error)
        lines = [line.strip() for line in self.reasons(said.decode("utf-8", "backslashreplace"))]
        reason = "; ".join([line for line in lines if line][:MOST_LINES]) or "it said nothing"
        item = named("net", self.name)
        failed_port = self.port_in(reason)
        if failed_port:
            item = item_of(failed_port)
            reason += "; it is free now, so start again if something else had it"
        return UnshareError(ECHILD, f"{self.name}: {reason}", item)


def more_options() -> "list[str]":
    """Return the arguments in PY_UNSHARE_NET_OPTS, quoted there as in a shell.

    Raises:
        UnshareError: they are not understood (EINVAL).
    """
    text = os.environ.get(OPTIONS, "")
    if not text:
        return []
    from shlex import split

    try:
        return split(text)
    except ValueError as error:
        raise UnshareError(EINVAL, f"cannot be split into arguments: {error}", OPTIONS) from None


WHOLE = True
