"""slirp4netns(1): how `outbound` has to start it. Tried with 1.2.0 and 1.3.3."""

import os
from errno import EAFNOSUPPORT, EPROTO

from .errors import UnshareError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .namespaces import Plan

PACKAGE = "slirp4netns"
FORWARDER = "10.0.2.3"
CONTROLLED = True
READY_DESCRIPTOR = 3
READY = b"1"


def arguments(plan: "Plan", target: str, forward_dns: bool) -> "list[str]":
    """Return the options.

    Its own resolver is switched off where it is not needed: with it, port 53 of the address that
    names are asked of outside is reached from inside, --disable-host-loopback or not.
    """
    for address, host, inside, kind in plan.publish:
        if address[:1] == "[" and kind == "tcp":
            reason = "slirp4netns publishes TCP on IPv4 addresses only: take net=pasta"
            item = f"publish={address}:{host}:{inside}/{kind}"
            raise UnshareError(EAFNOSUPPORT, reason, item)
    found = ["--configure", "--mtu=65520", "--disable-host-loopback"]
    found += ["--enable-seccomp", f"--ready-fd={READY_DESCRIPTOR}"]
    if plan.user is None:
        # An ordinary user's would go into the program's user namespace for it, where the program's
        # root could trace it (ptrace(2)), and have the host's network by that.
        found.append("--enable-sandbox")
    if not forward_dns:
        found.append("--disable-dns")
    if any(kind == "tcp" for _, _, _, kind in plan.publish):
        base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
        directory = f"unshare-net-{target}-{os.urandom(4).hex()}"
        found.append(f"--api-socket={base}/{directory}/api")
    return found


def target(plan: "Plan", pid: str) -> "list[str]":
    """Return the arguments that come last."""
    return [pid, "tap0"]


class Control:
    """The API socket, in a directory of its own that is there only while ports are published."""

    def __init__(self, command: "list[str]") -> None:
        self.path = _socket_path(command)
        if self.path:
            os.mkdir(os.path.dirname(self.path), 0o700)

    def publish(self, address: str, host: int, inside: int, kind: str) -> None:
        """Publish one port; arguments as in Plan.publish.

        Raises:
            OSError: slirp4netns says no; ``strerror`` is its own word.
        """
        from json import dumps, loads
        from socket import AF_UNIX, SHUT_WR, socket

        request = {"proto": kind, "host_addr": address, "host_port": host, "guest_port": inside}
        with socket(AF_UNIX) as connection:
            connection.connect(self.path)
            connection.sendall(dumps({"execute": "add_hostfwd", "arguments": request}).encode())
            connection.shutdown(SHUT_WR)
            reply = b""
            while part := connection.recv(4096):
                reply += part
        answer = loads(reply)
        if "error" in answer:
            raise OSError(EPROTO, str(answer["error"].get("desc", answer)))

    def close(self) -> None:
        """Take the socket out of the file system: from here on nobody can reach it."""
        if self.path:
            _remove(self.path)


def clear_up(command: "list[str]") -> None:
    """Remove what a watcher that was killed may have left, by whoever hears of that."""
    path = _socket_path(command)
    if path:
        _remove(path)


def _socket_path(command: "list[str]") -> str:
    option = "--api-socket="
    return next((each[len(option) :] for each in command if option in each), "")


def _remove(socket: str) -> None:
    for remove, path in ((os.unlink, socket), (os.rmdir, os.path.dirname(socket))):
        try:
            remove(path)
        except OSError:  # never made
            pass


WHOLE = True
