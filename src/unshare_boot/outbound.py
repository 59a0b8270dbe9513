"""net=pasta and net=slirp4netns: a network namespace with a way out, by a program outside of it.

Who takes part, and on whom each one's life hangs:

- the program, on its way into its namespaces. `prepare` forks before it enters the first, and
  `connect` waits until its new network namespace has an interface;
- the watcher, its grandchild (so that nobody ends as a zombie under the program), which stays
  outside. It starts the driver when told to, answers that the network is there or why it is not,
  and from then on waits for the last process in that network namespace to end;
- the driver, pasta or slirp4netns, a child of the watcher; and where UDP ports are published,
  another, the relay. The watcher ends them, and where it is killed the kernel does
  (PR_SET_PDEATHSIG).

No event says that a network namespace is done with, since the driver's own tap device keeps it
alive. So it is processes that the watcher waits for, each by pidfd_open(2) (Linux 5.3): first the
program, then any other that /proc shows in that namespace, until there is none.

What is particular to one driver is in the module of its name.
"""

import os
from errno import ECHILD, EINVAL, ENOENT, EOPNOTSUPP, EPROTO, ESRCH

from .errors import UnshareError
from .namespaces import CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE, O_PATH, call, mount, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Container
    from types import ModuleType
    from typing import NoReturn

    from .namespaces import Plan
    from .slirp4netns import Control

    Port = tuple[str, int, int, str]  # address, host, inside, tcp or udp

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PR_SET_NAME = 15
SIGKILL = 9
SIGPIPE = 13
SYS_PIDFD_OPEN = 434  # the same on every architecture that Python runs on
MS_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8  # include/uapi/linux/mount.h
MNT_DETACH = 2
F_DUPFD_CLOEXEC = 1030  # include/uapi/linux/fcntl.h; PyPy has no name for it

LONGEST = 65536  # bytes kept of what the driver writes
MOST_LINES = 8  # of it in a refusal; the reason comes first

RESOLV_CONF = "/etc/resolv.conf"
READY = b"ready"

# The driver's command line, which PY_UNSHARE_VERBOSE shows.
command: "list[str]" = []

# A descriptor that the watcher keeps open as long as it or the driver lives; -1 for none.
held = -1

# From prepare() to connect(): the pipe that takes the word to go, and the one with the answer.
_pipes: "tuple[int, int] | None" = None

# The local address that resolves names outside, where what is inside cannot reach it; or empty.
_resolver = ""


def prepare(plan: "Plan") -> None:
    """Find the driver and leave a watcher outside. Called before any namespace is entered.

    Raises:
        UnshareError: the driver is not installed, or cannot do what the plan asks for.
        OSError: there can be no watcher.
    """
    global _pipes, _resolver
    from .startover import threads

    abandon()
    if threads() > 1:  # unshare(2) will refuse, and a fork is no safe thing then
        return
    driver = _driver(plan)
    pid = str(os.getpid())
    if os.readlink("/proc/self") != pid:  # as after pid,proc=keep
        reason = "/proc is that of another PID namespace, so nobody would find this process"
        raise UnshareError(ESRCH, reason, f"net={plan.net}")
    _resolver = _unreachable_resolver(plan)
    program = _find(plan, driver)
    options = _options()
    command[:] = [program, *driver.arguments(plan, pid, bool(_resolver))]
    command.extend([*options, *driver.target(plan, pid)])
    process = open_process(os.getpid())
    go, say_go = os.pipe()
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                _watch(plan, pid, process, go, answer)
        finally:
            os._exit(0)
    for descriptor in (process, go, answer):
        os.close(descriptor)
    _pipes = say_go, answers
    try:
        os.waitpid(child, 0)
    except ChildProcessError:  # SIGCHLD is ignored, and the kernel has done it: waitpid(2)
        pass


def connect(plan: "Plan") -> None:
    """Have the driver started; return once the interface is configured and the ports are open.

    Called in the new network namespace.

    Raises:
        UnshareError: the driver failed; the reason is what it wrote to standard error.
    """
    if _pipes is None:
        raise UnshareError(ECHILD, "nobody was left outside to start it", f"net={plan.net}")
    from . import _reporter

    report = _reporter() if held < 0 else None  # it is shown once, not for a rehearsal too
    say_go, answers = _pipes
    reply = b""
    try:
        os.write(say_go, b"go")
        while part := os.read(answers, 65536):
            reply += part
    except BrokenPipeError:
        pass
    abandon()
    if report:
        from shlex import join

        report(join(command))
    if not reply:
        driver = _driver(plan)
        if _tcp(plan) and driver.CONTROLLED:
            driver.clear_up(command)
        raise UnshareError(ECHILD, "the process that starts it was killed", f"net={plan.net}")
    if reply != READY:
        from marshal import loads

        raise UnshareError(*loads(reply))


def abandon() -> None:
    """Let go of the watcher; one that has not been told to go ends."""
    global _pipes
    if _pipes is not None:
        for descriptor in _pipes:
            os.close(descriptor)
        _pipes = None


def resolve(plan: "Plan") -> None:
    """Point resolv.conf(5) at the driver where the host's resolver is on the host's loopback.

    Called in the new mount namespace, where it covers the file for nobody else.

    Raises:
        OSError: the kernel refuses.
    """
    if not _resolver:
        return
    lines = [f"nameserver {_driver(plan).FORWARDER}"]
    lines += [line for line in _resolv_conf() if line.split()[:1] != ["nameserver"]]
    directory = os.path.dirname(RESOLV_CONF)
    # Where it is a symbolic link it is that which is covered: what it leads to is replaced from
    # time to time, and the kernel takes away a mount whose mount point is replaced.
    target = os.open(RESOLV_CONF, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # A file with no name outside: on a tmpfs of which only that file stays mounted.
        mount("tmpfs", directory, "tmpfs", MS_NOSUID_NODEV_NOEXEC, "size=64k,mode=755")
        try:
            with open(RESOLV_CONF, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write("\n".join(lines) + "\n")
            os.chmod(RESOLV_CONF, 0o644)
            mount(RESOLV_CONF, f"/proc/self/fd/{target}", None, MS_BIND)
        finally:
            call("umount2", os.fsencode(directory), MNT_DETACH, what=f"umount({directory})")
    finally:
        os.close(target)


# What is found out before anything is entered.


def _driver(plan: "Plan") -> "ModuleType":
    from . import pasta, slirp4netns

    return pasta if plan.net == "pasta" else slirp4netns


def _find(plan: "Plan", driver: "ModuleType") -> str:
    for directory in os.get_exec_path():
        path = os.path.join(directory, str(plan.net))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    reason = f"no program {plan.net} on PATH: install the package {driver.PACKAGE}"
    raise UnshareError(ENOENT, reason, f"net={plan.net}")


def _options() -> "list[str]":
    text = os.environ.get("PY_UNSHARE_NET_OPTS", "")
    if not text:
        return []
    from shlex import split

    try:
        return split(text)
    except ValueError as error:
        reason = f"cannot be split into arguments: {error}"
        raise UnshareError(EINVAL, reason, "PY_UNSHARE_NET_OPTS") from None


def _unreachable_resolver(plan: "Plan") -> str:
    """Return the address of the host's resolver if what is inside could not ask it, else nothing.

    Raises:
        UnshareError: and nothing can be done about that.
    """
    servers = [line.split()[1:2] for line in _resolv_conf() if line.split()[:1] == ["nameserver"]]
    addresses = [address for server in servers for address in server] or ["127.0.0.1"]
    if not all(_is_local(address) for address in addresses):
        return ""
    first = addresses[0]
    item = f"net={plan.net}"
    asked = f"names are asked of {first} here, which is out of reach inside"
    if plan.mount not in ("private", "slave"):
        more = "add mount to the list, and /etc/resolv.conf will name another"
        if plan.mount is not None:
            more = (
                f"with mount=private, not mount={plan.mount}, /etc/resolv.conf would name another"
            )
        raise UnshareError(EOPNOTSUPP, f"{asked}: {more}", item)
    if ":" in first:
        raise UnshareError(EOPNOTSUPP, f"{asked}, and IPv6 cannot be forwarded", item)
    if not os.path.lexists(RESOLV_CONF):
        raise UnshareError(ENOENT, f"{asked}, and there is no {RESOLV_CONF} to cover", item)
    return first


def _resolv_conf() -> "list[str]":
    try:
        with open(RESOLV_CONF, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:  # then it is the local machine, resolv.conf(5)
        return []


def _is_local(address: str) -> bool:
    """Return whether an address is the machine's own: only to such a one can a socket be bound."""
    from _socket import SOCK_DGRAM

    return _bind_error(address, 0, SOCK_DGRAM) is None


def _bind_error(address: str, port: int, kind: int) -> "OSError | None":
    from _socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

    try:
        probe = socket(AF_INET6 if ":" in address else AF_INET, kind)
    except OSError as error:
        return error
    try:
        if kind == SOCK_STREAM:  # connections that were closed a moment ago do not count
            probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        probe.bind((address, port))
    except OSError as error:
        return error
    finally:
        probe.close()
    return None


def open_process(pid: int) -> int:
    """Return a pidfd of a process, pidfd_open(2)."""
    if hasattr(os, "pidfd_open"):  # not where Python was built with old headers
        return os.pidfd_open(pid)
    return call("syscall", SYS_PIDFD_OPEN, pid, 0, what="pidfd_open")


# The watcher.


def _watch(plan: "Plan", pid: str, process: int, go: int, answer: int) -> "NoReturn":
    """Be the watcher, from the word to go until the network namespace has no process any more.

    Args:
        plan: what the program asks for.
        pid: the program's process id.
        process: a pidfd of the program.
        go: where it says to go; it does not if it fails or starts over before.
        answer: where it waits for READY or for what to raise.
    """
    from _signal import SIG_DFL, SIGCHLD, signal  # type: ignore[import-not-found]

    # What the program makes of its children is not for these: were it ignored, as it may have been
    # inherited, the kernel would reap them (waitpid(2), NOTES), the driver's children too.
    signal(SIGCHLD, SIG_DFL)
    call("prctl", PR_SET_NAME, b"unshare-net")
    os.setsid()  # a terminal's Ctrl-C is the program's to handle, and it may need the network then
    os.chdir("/")
    process, go, answer = _keep_only(process, go, answer)
    if os.read(go, 2) != b"go":
        os._exit(0)
    try:
        _leave_the_mounts()
        namespace = _network(pid)
        driver = Driver(plan, pid, process)
    except UnshareError as error:
        failure = error.errno, error.strerror, error.item, error.call
    except OSError as error:
        call_name = str(error.filename or "")
        failure = error.errno, error.strerror or "", f"net={plan.net}", call_name
    else:
        os.write(answer, READY)
        os.close(answer)
        os.close(go)
        while process >= 0 and driver.runs_until(process):
            os.close(process)
            process = _another(namespace, driver.helpers)
        driver.end()
        os._exit(0)
    from marshal import dumps

    os.write(answer, dumps(failure))
    os._exit(0)


def _leave_the_mounts() -> None:
    """Have mounts of its own from here on, so that no helper can touch those of the host.

    A helper's sandbox may unmount what it does not need, and a mount that is shared is then gone
    everywhere: slirp4netns makes only / private, not what is mounted below. What the host unmounts
    goes away here, too, and nothing goes the other way: mount_namespaces(7), MS_SLAVE.

    Raises:
        OSError: the kernel refuses it to a process that could touch the host's mounts.
    """
    try:
        unshare(CLONE_NEWNS, "CLONE_NEWNS")
    except PermissionError:
        from .machine import Machine

        if Machine().capable():
            raise
        return  # whoever is without CAP_SYS_ADMIN has no power over any mount
    mount(None, "/", None, MS_REC | MS_SLAVE)


def _keep_only(*wanted: int) -> "list[int]":
    """Close all descriptors but some, and have standard streams that lead nowhere."""
    from fcntl import fcntl

    moved = [fcntl(descriptor, F_DUPFD_CLOEXEC, 10) for descriptor in wanted]
    kept = {*moved, held}
    null = os.open("/dev/null", os.O_RDWR)
    for stream in range(3):
        if stream != held:
            os.dup2(null, stream)
    names = os.listdir("/proc/self/fd")
    if not names:  # the C library takes an ENOENT for the end; connect() would wait for ever
        raise OSError(ENOENT, os.strerror(ENOENT), "/proc/self/fd")
    for name in names:
        if int(name) > 2 and int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:  # that of the listing itself
                pass
    return moved


class Driver:
    """A pasta or slirp4netns that runs, and the relay if there is one."""

    def __init__(self, plan: "Plan", pid: str, program: int) -> None:
        """Start it and wait until it is ready.

        Raises:
            UnshareError: it failed, and has ended.
        """
        module = _driver(plan)
        self._errors = b""
        self.helpers: dict[int, int] = {}  # process id to pidfd
        ports = _bind_udp(plan)
        control = module.Control(command) if _tcp(plan) and module.CONTROLLED else None
        try:
            self._start(pid, module.READY_DESCRIPTOR)
            if not self._wait_until_ready(module.READY, program):
                self.end()  # so that all it has to say is there
                raise self._failure(plan)
            if control:
                self._publish(plan, control)
            if ports:
                from .relay import start

                self._adopt(start(plan, pid, ports))
                for outer, _, _ in ports:
                    outer.close()
        except OSError:
            self.end()
            raise
        finally:
            if control:
                control.close()

    def _start(self, pid: str, ready_descriptor: int) -> None:
        from _signal import SIG_DFL, SIG_SETMASK, pthread_sigmask, signal

        self._ready, ready = os.pipe()
        self._log, log = os.pipe()
        target = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        watcher = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                call("prctl", PR_SET_PDEATHSIG, SIGKILL)
                if os.getppid() != watcher:  # it was killed before that call
                    os._exit(0)
                signal(SIGPIPE, SIG_DFL)  # which Python ignores
                pthread_sigmask(SIG_SETMASK, ())
                for source, stream in ((target, 0), (log, 1), (log, 2), (ready, ready_descriptor)):
                    os.dup2(source, stream)
                os.execv(command[0], command)
            except BaseException as error:
                os.write(log, f"{command[0]}: {error}".encode("utf-8", "backslashreplace"))
            finally:
                os._exit(127)
        for descriptor in (ready, log, target):
            os.close(descriptor)
        self._adopt(child)

    def _adopt(self, child: int) -> None:
        """Count a child among those that end() kills, even where there can be no pidfd of it."""
        self.helpers[child] = -1
        self.helpers[child] = open_process(child)

    def _wait_until_ready(self, word: bytes, program: int) -> bool:
        """Return true once it says so, false if it or the program ends before."""
        from select import POLLIN, poll

        poller = poll()
        for descriptor in (self._ready, self._log, program):
            poller.register(descriptor, POLLIN)
        said = b""
        while word not in said:
            events = [descriptor for descriptor, _ in poller.poll()]
            if program in events:
                return False
            if self._log in events and not self._read_log():
                poller.unregister(self._log)
            if self._ready in events:
                part = os.read(self._ready, 64)
                if not part:
                    return False
                said += part
        os.close(self._ready)
        return True

    def _publish(self, plan: "Plan", control: "Control") -> None:
        for port in _tcp(plan):
            try:
                control.publish(*port)
            except (OSError, ValueError) as error:
                raise self._failure(plan, port, str(error)) from None

    def _read_log(self) -> bool:
        """Take in what it wrote to standard error; return false where nothing more can come."""
        part = os.read(self._log, 65536)
        self._errors = (self._errors + part)[:LONGEST]  # after a wrong option comes all its usage
        return bool(part)

    def runs_until(self, process: int) -> bool:
        """Wait for a process to end; return false if it is the driver or the relay that has."""
        from select import POLLIN, poll

        poller = poll()
        for descriptor in (*self.helpers.values(), self._log, process):
            poller.register(descriptor, POLLIN)
        while True:
            events = [descriptor for descriptor, _ in poller.poll()]
            if any(descriptor in events for descriptor in self.helpers.values()):
                return False
            if self._log in events and not self._read_log():
                poller.unregister(self._log)
            if process in events:
                return True

    def end(self) -> None:
        """Kill what has not ended by itself, and take in the rest of what the driver wrote."""
        for pid in self.helpers:
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)
        while self.helpers and self._read_log():
            pass
        self.helpers.clear()

    def _failure(self, plan: "Plan", port: "Port | None" = None, reason: str = "") -> UnshareError:
        """Return why it failed: a port that cannot be had, or what it said itself."""
        from _socket import SOCK_STREAM

        for each in [port] if port else _tcp(plan):
            error = _bind_error(each[0].strip("[]"), each[1], SOCK_STREAM)
            if error:
                return _not_bound(each, error)
            if port:
                return UnshareError(EPROTO, f"slirp4netns: {reason}", _item(each))
        text = self._errors.decode("utf-8", "backslashreplace")
        # A pasta without a syslog complains of that, too, after each of its messages.
        lines = [line.strip() for line in text.splitlines() if not line.endswith("to syslog")]
        said = "; ".join([line for line in lines if line][:MOST_LINES]) or "it said nothing"
        item = f"net={plan.net}"
        for each in _tcp(plan):
            if f"/{each[1]}:{each[2]}'" in said:  # of pasta's "Failed to bind"
                item = _item(each)
                said += "; it is free now, so start again if something else had it"
                break
        return UnshareError(ECHILD, f"{os.path.basename(command[0])}: {said}", item)


def _tcp(plan: "Plan") -> "list[Port]":
    return [port for port in plan.publish if port[3] == "tcp"]


def _bind_udp(plan: "Plan") -> "list[tuple[socket, int, str]]":
    """Return what the relay relays: bound sockets, each with the port and the address inside."""
    ports = []
    for port in plan.publish:
        address, host, inside, kind = port
        if kind == "udp":
            from .relay import bind

            try:
                outer = bind(address.strip("[]"), host)
            except OSError as error:
                raise _not_bound(port, error) from None
            ports.append((outer, inside, "::1" if address[:1] == "[" else "127.0.0.1"))
    return ports


def _not_bound(port: "Port", error: OSError) -> UnshareError:
    call_name = f"bind({port[0]}:{port[1]})"
    return UnshareError(error.errno or 0, error.strerror or "", _item(port), call_name)


def _item(port: "Port") -> str:
    address, host, inside, kind = port
    return f"publish={address}:{host}:{inside}/{kind}"


def _network(pid: str) -> "tuple[int, int]":
    """Return what identifies a process's network namespace."""
    status = os.stat(f"/proc/{pid}/ns/net")
    return status.st_dev, status.st_ino


def _another(namespace: "tuple[int, int]", helpers: "Container[int]") -> int:
    """Return a pidfd of some process in a network namespace, or -1 where only helpers are left.

    It looks twice: a process may fork and end between the listing and the look at it.
    """
    for name in (name for _ in range(2) for name in os.listdir("/proc")):
        try:
            if not name.isdigit() or int(name) in helpers or _network(name) != namespace:
                continue
            process = open_process(int(name))
        except OSError:  # it has ended, or is somebody else's
            continue
        try:
            if _network(name) == namespace:  # still the same process
                return process
        except OSError:  # it has ended since
            pass
        os.close(process)
    return -1


WHOLE = True
