"""Published ports: how messages write one, and whether a port of the host is free."""

from _socket import (
    AF_INET,
    AF_INET6,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from ..errors import UnshareError, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Plan

    Port = tuple[str, int, int, str]  # an element of Plan.publish

KINDS = {"tcp": SOCK_STREAM, "udp": SOCK_DGRAM}


def ports_of(plan: "Plan", kind: str) -> "list[Port]":
    """Return the published ports of a kind, tcp or udp."""
    return [port for port in plan.publish if port[3] == kind]


def item_of(port: "Port") -> str:
    """Return the item of a published port, for a message."""
    address, host, inside, kind = port
    return named("publish", f"{address}:{host}:{inside}/{kind}")


def host_address(port: "Port") -> str:
    """Return the address of the host that it is published on, without brackets."""
    return port[0].strip("[]")


def not_bound(port: "Port", error: OSError) -> UnshareError:
    """Return the error of a port that nobody can listen at, for what bind(2) says of it."""
    target = f"{port[0]}:{port[1]}"
    return UnshareError(error.errno or 0, error.strerror or "", item_of(port), "bind", target)


def bind_error(port: "Port") -> "OSError | None":
    """Return what bind(2) says of a port of the host; None where it is free."""
    return try_bind(host_address(port), port[1], KINDS[port[3]])


def try_bind(address: str, number: int = 0, kind: int = SOCK_DGRAM) -> "OSError | None":
    """Return what bind(2) says of an address and a port number; None where it works."""
    try:
        probe = socket(AF_INET6 if ":" in address else AF_INET, kind)
    except OSError as error:
        return error
    try:
        if kind == SOCK_STREAM:  # connections that were closed a moment ago do not count
            probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        probe.bind((address, number))
    except OSError as error:
        return error
    finally:
        probe.close()
    return None


WHOLE = True
