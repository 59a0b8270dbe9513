"""Who opened a socket in the program's network namespace: sock_diag(7), and /proc/PID/fd."""

import os
import sys

from ..procfiles import status_fields
from ..rtnetlink import NLM_F_REQUEST, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Callable

SOCK_DIAG_BY_FAMILY = 20  # include/uapi/linux/sock_diag.h
NLMSG_ERROR = 2
AF_INET, AF_INET6 = 2, 10
TCP, UDP = 6, 17
ALL_STATES = 0xFFFFFFFF
MOST_PARENTS = 32
MOST_KNOWN = 64  # sockets, such as one that asks for both kinds of addresses
KERNEL = 0  # as the sender of a message, netlink(7)
MSG_DONTWAIT = 0x40  # include/linux/socket.h
# The kernel has answered as soon as it was asked. Root inside may send without end; as many as this
# do not fit before that answer.
MOST_MESSAGES = 1024
MOST_SEEN = 2048  # links that are remembered from one search to the next
INODE_AT = 16 + 68  # of struct inet_diag_msg, behind the header


class Who:
    """A process.

    Attributes:
        pid: its number outside; None where it was not found.
        inner_pid: in its own PID namespace.
        command: its name, proc_pid_comm(5).
        parents: the inner_pid of its parent and of those before that, as far as they are in the
            same network namespace.
    """

    def __init__(
        self, pid: "int | None" = None, is_inside: "Callable[[str], bool] | None" = None
    ) -> None:
        self.pid = pid
        self.inner_pid = pid
        self.command: str | None = None
        self.parents: list[int] = []
        if pid is not None:
            try:
                numbers, name, parent = status_fields(
                    f"/proc/{pid}/status", "NSpid", "Name", "PPid"
                )
                self.inner_pid = _last(numbers, pid)
                self.command = _unescaped(name)
                if is_inside:
                    self._find_parents(parent, is_inside)
            except OSError:  # it has ended
                pass

    def _find_parents(self, parent: str, is_inside: "Callable[[str], bool]") -> None:
        while len(self.parents) < MOST_PARENTS and is_inside(parent):
            numbers, above = status_fields(f"/proc/{parent}/status", "NSpid", "PPid")
            self.parents.append(_last(numbers, int(parent)))
            parent = above


class Finder:
    """Finds who it was.

    Args:
        diag: a netlink socket of the program's network namespace.
        network: what identifies that: device and inode number.
    """

    def __init__(self, diag: "socket", network: "tuple[int, int]") -> None:
        self._diag = diag
        self._network = network
        self._sequence = 0
        self._latest: list[int] = []  # who was found lately comes first
        self._known: dict[int, Who] = {}  # of sockets, by inode number
        self._seen: dict[str, tuple[int, str]] = {}  # what links of /proc led to: process, number

    def find(self, protocol: int, source: "tuple[bytes, int]", target: "tuple[bytes, int]") -> Who:
        """Return the process that has the socket of a connection or datagram.

        Args:
            protocol: TCP or UDP.
            source: address and port of the socket.
            target: those of the far side.
        """
        for each in (target, (bytes(len(source[0])), 0)):
            inode = self._inode(protocol, source, each)
            if inode:
                return self._owner(inode)
            if protocol == TCP:
                break
        return Who()

    def _owner(self, inode: int) -> Who:
        known = self._known.get(inode)
        if known is None:
            known = Who(self._holder(f"socket:[{inode}]"), self._is_inside)
            if known.pid is not None:
                self._known[inode] = known
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return known

    def only(self) -> "Who | None":
        """Return the only process in the namespace; None where there are more."""
        inside = [name for name in _processes() if self._is_inside(name)]
        return Who(int(inside[0]), self._is_inside) if len(inside) == 1 else None

    def _inode(
        self, protocol: int, source: "tuple[bytes, int]", target: "tuple[bytes, int]"
    ) -> int:
        # struct inet_diag_req_v2: family, protocol, ext, pad, states, and struct inet_diag_sockid
        families = (AF_INET, AF_INET6) if len(source[0]) == 4 else (AF_INET6,)
        for family in families:
            mapped = family == AF_INET6 and len(source[0]) == 4
            body = bytes([family, protocol, 0, 0]) + number(ALL_STATES, 4)
            # A UDP socket is looked up as for a packet that it is to get: the far side comes first.
            pairs = (target, source) if protocol == UDP else (source, target)
            for _, port in pairs:
                body += port.to_bytes(2, "big")
            for address, _ in pairs:
                full = bytes(10) + b"\xff\xff" + address if mapped and any(address) else address
                body += full.ljust(16, b"\0")
            body += bytes(4) + b"\xff" * 8  # any interface, no cookie
            inode = self._ask(body)
            if inode:
                return inode
        return 0

    def _ask(self, body: bytes) -> int:
        self._sequence = (self._sequence + 1) % (1 << 32)
        own = number(self._sequence, 4)
        header = number(16 + len(body), 4) + number(SOCK_DIAG_BY_FAMILY, 2)
        header += number(NLM_F_REQUEST, 2) + own + bytes(4)
        try:
            self._diag.send(header + body)
            for _ in range(MOST_MESSAGES):
                answer, (sender, _) = self._diag.recvfrom(4096, MSG_DONTWAIT)
                if sender == KERNEL and answer[8:12] == own:
                    break
            else:
                return 0
        except OSError:
            return 0
        if int.from_bytes(answer[4:6], sys.byteorder) == NLMSG_ERROR or len(answer) < INODE_AT + 4:
            return 0
        return int.from_bytes(answer[INODE_AT : INODE_AT + 4], sys.byteorder)

    def _holder(self, link: str) -> "int | None":
        seen = self._seen.get(link)
        if seen and _is(f"/proc/{seen[0]}/fd/{seen[1]}", link):
            return seen[0]
        for pid in list(self._latest):
            if self._has(pid, link):
                return pid
        for name in reversed(_processes()):
            if self._is_inside(name) and self._has(int(name), link):
                self._latest = [int(name), *self._latest[:7]]
                return int(name)
        return None

    def _has(self, pid: int, link: str) -> bool:
        """Tell whether a process has a socket; and remember the others, which may be asked for."""
        directory = f"/proc/{pid}/fd"
        try:
            names = os.listdir(directory)
        except OSError:  # it has ended, or no descriptor is left
            return False
        if len(self._seen) > MOST_SEEN:
            self._seen.clear()
        for name in reversed(names):  # the socket is likely to be the latest
            try:
                found = os.readlink(f"{directory}/{name}")
            except OSError:  # closed since
                continue
            if found[:7] == "socket:":
                self._seen[found] = pid, name
            if found == link:
                return True
        return False

    def _is_inside(self, name: str) -> bool:
        try:
            status = os.stat(f"/proc/{name}/ns/net")
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._network


def _last(numbers: str, pid: int) -> int:
    """Return a process's number in its own PID namespace, of proc_pid_status(5)'s NSpid."""
    return int((numbers or str(pid)).split()[-1])


def _unescaped(name: str) -> str:
    """Return a name as it is; proc_pid_status(5) has newlines and backslashes escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "\\".join(part.replace("\\n", "\n") for part in text.split("\\\\"))


def _is(path: str, link: str) -> bool:
    try:
        return os.readlink(path) == link
    except OSError:  # closed since
        return False


def _processes() -> "list[str]":
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # no descriptor is left
        return []


WHOLE = True
