"""slirp4netns(1). Tried with 1.2.0 and 1.3.3."""

import os
from errno import EAFNOSUPPORT, EPROTO

from ..errors import UnshareError
from .driver import Driver
from .ports import bind_error, item_of, not_bound, ports_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..namespaces import Plan
    from .ports import Port


HOST_LOOPBACK = "--disable-host-loopback=false"  # a word of ours for leaving that option out


class Slirp4netns(Driver):
    """It is told of TCP ports at a socket, in a directory of its own, which is removed after that.

    From then on nobody can reach the socket.
    """

    name = "slirp4netns"
    package = "slirp4netns"
    forwarder = "10.0.2.3"
    ready_descriptor = 3
    ready = b"1"

    def __init__(self, plan: "Plan", pid: str) -> None:
        super().__init__(plan, pid)
        self._directory = ""
        if ports_of(plan, "tcp"):
            base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"
            self._directory = f"{base}/unshare-net-{pid}-{os.urandom(4).hex()}"
        self._socket = f"{self._directory}/api"

    def arguments(self, forward_dns: bool) -> "list[str]":
        """See Driver.

        Its own resolver is switched off where it is not needed: with it, port 53 of the address
        that names are asked of outside is reached from inside, --disable-host-loopback or not.
        """
        for port in ports_of(self.plan, "tcp"):
            if port[0][:1] == "[":
                reason = "slirp4netns publishes TCP on IPv4 addresses only: take net=pasta"
                raise UnshareError(EAFNOSUPPORT, reason, item_of(port))
        found = ["--configure", "--mtu=65520", "--disable-host-loopback"]
        found += ["--enable-seccomp", f"--ready-fd={self.ready_descriptor}"]
        if self.plan.user is None:
            # An ordinary user's would enter the program's user namespace for it, where the
            # program's root could trace it (ptrace(2)), and use the host's network by that.
            found.append("--enable-sandbox")
        if not forward_dns:
            found.append("--disable-dns")
        if self._directory:
            found.append(f"--api-socket={self._socket}")
        return found

    def reconciled(self, ours: "list[str]", options: "list[str]") -> "tuple[list[str], list[str]]":
        """See Driver; the option takes no value, and has no opposite."""
        if HOST_LOOPBACK not in options:
            return ours, options
        return (
            [each for each in ours if each != "--disable-host-loopback"],
            [each for each in options if each != HOST_LOOPBACK],
        )

    def target(self) -> "list[str]":
        return [self.pid, "tap0"]

    def open_control(self) -> None:
        if self._directory:
            os.mkdir(self._directory, 0o700)

    def publish(self, port: "Port") -> None:
        try:
            self._add(port)
        except (OSError, ValueError) as error:
            taken = bind_error(port)
            if taken:
                raise not_bound(port, taken) from None
            reason = getattr(error, "strerror", None) or str(error)
            raise UnshareError(EPROTO, f"slirp4netns: {reason}", item_of(port)) from None

    def _add(self, port: "Port") -> None:
        """Ask it to publish a port.

        Raises:
            OSError: it says no; ``strerror`` is its own word.
            ValueError: it says something else.
        """
        from json import dumps, loads
        from socket import AF_UNIX, SHUT_WR, socket

        address, host, inside, kind = port
        request = {"proto": kind, "host_addr": address, "host_port": host, "guest_port": inside}
        with socket(AF_UNIX) as connection:
            connection.connect(self._socket)
            connection.sendall(dumps({"execute": "add_hostfwd", "arguments": request}).encode())
            connection.shutdown(SHUT_WR)
            reply = b""
            while part := connection.recv(4096):
                reply += part
        answer = loads(reply)
        if "error" in answer:
            raise OSError(EPROTO, str(answer["error"].get("desc", answer)))

    def close_control(self) -> None:
        if not self._directory:
            return
        for remove, path in ((os.unlink, self._socket), (os.rmdir, self._directory)):
            try:
                remove(path)
            except OSError:  # never made
                pass


WHOLE = True
