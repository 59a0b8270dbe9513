"""Who opened a socket in the program's network namespace: sock_diag(7), and /proc/PID/fd."""

import os
import sys

from ..procfiles import command_of, status_fields
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
MOST_PROCESSES = 8  # that had a socket lately, each with a descriptor here
KERNEL = 0  # as the sender of a message, netlink(7)
MSG_DONTWAIT = 0x40  # include/linux/socket.h
# The kernel has answered as soon as it was asked. Root inside may send without end; as many as this
# do not fit before that answer.
MOST_MESSAGES = 1024
MOST_SEEN = 2048  # links of a process that are remembered from one search to the next
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
        self,
        pid: "int | None" = None,
        inner_pid: "int | None" = None,
        command: "str | None" = None,
        parents: "list[int] | None" = None,
    ) -> None:
        self.pid = pid
        self.inner_pid = inner_pid
        self.command = command
        self.parents = parents or []


class Process:
    """A process, by its directory in /proc: whoever has its number later is another one there.

    To read all about it and its parents takes 0.1 ms, so this is done once; its name is what can
    change, by execve(2) and prctl(2).

    Args:
        pid: its number.
        is_inside: tells whether a process, by name in /proc, is in the same network namespace.

    Raises:
        OSError: it has ended, or no descriptor is left.
    """

    def __init__(self, pid: int, is_inside: "Callable[[str], bool]") -> None:
        self.pid = pid
        self._is_inside = is_inside
        self._directory = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._seen: dict[str, str] = {}  # what its descriptors led to, and their numbers
        self._latest = ""  # the number of the one that was asked for last: likely that of the next
        self._who: Who | None = None

    def close(self) -> None:
        """Let go of it."""
        os.close(self._directory)

    def has(self, link: str) -> bool:
        """Tell whether one of the descriptors that are likely leads to a socket."""
        return self._leads(self._seen.get(link, ""), link) or self._leads(self._latest, link)

    def search(self, link: str) -> bool:
        """Tell whether any does; and remember the others, which may be asked for."""
        try:
            descriptor = os.open("fd", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                names = os.listdir(descriptor)
            finally:
                os.close(descriptor)
        except OSError:  # it has ended, or no descriptor is left
            return False
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()
        return any(self._leads(name, link) for name in reversed(names))  # it is likely the latest

    def _leads(self, name: str, link: str) -> bool:
        if not name:
            return False
        try:
            found = os.readlink(f"fd/{name}", dir_fd=self._directory)
        except OSError:  # closed since
            return False
        if found[:7] == "socket:" and len(self._seen) < MOST_SEEN:
            self._seen[found] = name
        if found != link:
            return False
        self._latest = name
        return True

    def who(self) -> Who:
        """Return what there is to say of it."""
        if self._who is None:
            self._who = self._read()
        who = self._who
        try:
            who.command = command_of(self._directory)
        except OSError:  # it has ended
            pass
        return Who(who.pid, who.inner_pid, who.command, who.parents)

    def _read(self) -> Who:
        who = Who(self.pid, self.pid)
        try:
            numbers, above = status_fields("status", "NSpid", "PPid", directory=self._directory)
            who.inner_pid = _last(numbers, self.pid)
            while len(who.parents) < MOST_PARENTS and self._is_inside(above):
                parent = above
                numbers, above = status_fields(f"/proc/{parent}/status", "NSpid", "PPid")
                who.parents.append(_last(numbers, int(parent)))
        except OSError:  # one of them has ended
            pass
        return who


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
        self._latest: list[Process] = []  # who was found lately comes first
        self._known: dict[int, Who] = {}  # of sockets, by inode number

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
            process = self._holder(f"socket:[{inode}]")
            if process is None:
                return Who()
            known = self._known[inode] = process.who()
            if len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        return known

    def only(self) -> "Who | None":
        """Return the only process in the namespace; None where there are more."""
        inside = [name for name in _processes() if self._is_inside(name)]
        if len(inside) != 1:
            return None
        try:
            process = Process(int(inside[0]), self._is_inside)
        except OSError:  # it has ended
            return None
        try:
            return process.who()
        finally:
            process.close()

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

    def _holder(self, link: str) -> "Process | None":
        for process in self._latest:
            if process.has(link):
                return process
        for process in self._latest:
            if process.search(link):
                return process
        for name in reversed(_processes()):
            if self._is_inside(name):
                try:
                    process = Process(int(name), self._is_inside)
                except OSError:  # it has ended
                    continue
                if process.search(link):
                    self._remember(process)
                    return process
                process.close()
        return None

    def _remember(self, process: Process) -> None:
        self._latest.insert(0, process)
        for old in self._latest[MOST_PROCESSES:]:
            old.close()
        del self._latest[MOST_PROCESSES:]

    def _is_inside(self, name: str) -> bool:
        try:
            status = os.stat(f"/proc/{name}/ns/net")
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._network


def _last(numbers: str, pid: int) -> int:
    """Return a process's number in its own PID namespace, of proc_pid_status(5)'s NSpid."""
    return int((numbers or str(pid)).split()[-1])


def _processes() -> "list[str]":
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # no descriptor is left
        return []


WHOLE = True
