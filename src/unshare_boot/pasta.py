"""pasta(1), the part of passt that connects a network namespace: how `outbound` has to start it.

Tried with the pasta of Debian 12 (2023-03-09) and of October 2026; only options that both have.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .namespaces import Plan

PACKAGE = "passt"
FORWARDER = "169.254.1.1"  # an address that nobody else has (RFC 3927); pasta answers for it
CONTROLLED = False  # all is said on its command line
READY_DESCRIPTOR = 1  # it closes all from 3 on; and writes nothing else to standard output
READY = b"\n"  # the end of a line with its process id


def arguments(plan: "Plan", target: str, forward_dns: bool) -> "list[str]":
    """Return the options. None of its ways to or from the host are open but those asked for.

    --pid is written once the interface is configured and every port is listened to, by the old
    pasta too; --foreground keeps it a child that can be told to end with its parent; and
    --no-netns-quit, because it is not the end of the process ``target`` that counts.
    """
    found = ["--quiet", "--foreground", "--config-net", "--no-map-gw", "--no-netns-quit"]
    found += ["--pid", "/dev/stdout"]
    ports = [
        f"{address.strip('[]')}/{host}:{inside}"
        for address, host, inside, kind in plan.publish
        if kind == "tcp"
    ]
    for port in ports or ["none"]:
        found += ["-t", port]
    found += ["-u", "none", "-T", "none", "-U", "none"]
    if forward_dns:
        found += ["--dns-forward", FORWARDER]
    if os.geteuid() == 0:  # as nobody, which it would become, it could not enter root's namespaces
        found += ["--runas", "0:0"]
    return found


def target(plan: "Plan", pid: str) -> "list[str]":
    """Return the arguments that come last.

    Where the user namespace is its own too, pasta gives up its capabilities before it would need
    them to open /proc/PID/ns/net, so it finds the namespace at its standard input.
    """
    return [pid] if plan.user is not None else ["--netns", "/dev/stdin"]


WHOLE = True
