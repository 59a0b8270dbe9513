"""pasta(1), the part of passt that connects a network namespace.

Tried with the pasta of Debian 12 (2023-03-09) and of October 2026; only options that both have.
"""

import os

from .driver import Driver
from .ports import host_address, ports_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Port


PORTS = {"-t": "--tcp-ports", "-u": "--udp-ports", "-T": "--tcp-ns", "-U": "--udp-ns"}


class Pasta(Driver):
    """All is said on its command line, published TCP ports too."""

    name = "pasta"
    package = "passt"
    forwarder = "169.254.1.1"  # an address that nobody else has (RFC 3927); pasta answers for it
    ready_descriptor = 1  # it closes all from 3 on; and writes nothing else to standard output
    ready = b"\n"  # the end of a line with its process id

    def arguments(self, forward_dns: bool) -> "list[str]":
        """See Driver.

        --pid is written once the interface is configured and every port is listened to, by the old
        pasta too; --foreground keeps it a child that can be told to end with its parent; and
        --no-netns-quit, because it is not the end of the process ``pid`` that counts.
        """
        found = ["--quiet", "--foreground", "--config-net", "--no-map-gw", "--no-netns-quit"]
        found += ["--pid", "/dev/stdout"]
        ports = [f"{host_address(port)}/{_pair(port)}" for port in ports_of(self.plan, "tcp")]
        for port in ports or ["none"]:
            found += ["-t", port]
        found += ["-u", "none", "-T", "none", "-U", "none"]
        if forward_dns:
            found += ["--dns-forward", self.forwarder]
        if os.geteuid() == 0:  # as nobody, which it would become, it could not enter root's
            found += ["--runas", "0:0"]
        return found

    def reconciled(self, ours: "list[str]", options: "list[str]") -> "tuple[list[str], list[str]]":
        """See Driver; pasta takes no ``none`` beside ports."""
        for short, long in PORTS.items():
            at = ours.index(short)
            if ours[at + 1] == "none" and any(_is(each, short, long) for each in options):
                ours = ours[:at] + ours[at + 2 :]
        return ours, options

    def target(self) -> "list[str]":
        """See Driver.

        Where the user namespace is its own too, pasta gives up its capabilities before it would
        need them to open /proc/PID/ns/net, so it finds the namespace at its standard input.
        """
        return [self.pid] if self.plan.user is not None else ["--netns", "/dev/stdin"]

    def reasons(self, said: str) -> "list[str]":
        """Without a syslog it complains of that after each of its messages."""
        return [line for line in said.splitlines() if not line.endswith("to syslog")]

    def port_in(self, said: str) -> "Port | None":
        """It writes "Failed to bind any port for '-t 127.0.0.1/8080:80'"."""
        for port in ports_of(self.plan, "tcp"):
            if f"/{_pair(port)}'" in said:
                return port
        return None


def _is(argument: str, short: str, long: str) -> bool:
    """Tell whether an argument is an option, as getopt_long(3) takes it."""
    return argument.partition("=")[0] == long or argument[:2] == short


def _pair(port: "Port") -> str:
    _, host, inside, _ = port
    return f"{host}:{inside}"


WHOLE = True
