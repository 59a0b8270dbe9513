"""Other processes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Any

from proof.escapes.attempt import USER, Control, Scene, attempt
from proof.escapes.kernel import Vector, call, read, seize


@attempt("ptrace(2) the parent process", USER, lacking=("EPERM",))
def trace_parent(scene: Scene) -> None:
    seize(scene["host"])


@attempt("ptrace(2) another process of the user", USER, lacking=("EPERM",))
def trace_other(scene: Scene) -> None:
    seize(scene["victim"])


@attempt("ptrace(2) process 1", Control("user,net,pid"))
def trace_init(scene: Scene) -> None:
    seize(1)


def _vectors(scene: Scene) -> tuple[Any, Any, Any]:
    buffer = ctypes.create_string_buffer(scene["token"].encode(), len(scene["token"]))
    own = Vector(ctypes.addressof(buffer), len(buffer))
    other = Vector(scene["memory"], len(buffer))
    return buffer, ctypes.byref(own), ctypes.byref(other)


@attempt(
    "read another process's memory, process_vm_readv(2)", USER, noticed="secret", lacking=("EPERM",)
)
def vm_read(scene: Scene) -> str:
    buffer, own, other = _vectors(scene)
    call("process_vm_readv", scene["victim"], own, 1, other, 1, 0)
    return str(buffer.raw.decode())


@attempt(
    "write to another process's memory, process_vm_writev(2)",
    USER,
    noticed="memory",
    lacking=("EPERM",),
)
def vm_write(scene: Scene) -> None:
    _, own, other = _vectors(scene)
    call("process_vm_writev", scene["victim"], own, 1, other, 1, 0)


@attempt("read /proc/PID/mem", USER, noticed="secret", lacking=("EACCES", "EPERM"))
def memory_file(scene: Scene) -> str:
    descriptor = os.open(f"/proc/{scene['victim']}/mem", os.O_RDONLY)
    return os.pread(descriptor, len(scene["token"]), scene["memory"]).decode()


@attempt("read /proc/PID/environ", USER, noticed="secret")
def environ(scene: Scene) -> str:
    entries = read(f"/proc/{scene['host']}/environ").split("\0")
    return next(entry.partition("=")[2] for entry in entries if entry.startswith("SECRET="))


@attempt("open another process's files, /proc/PID/fd/N", USER, noticed="secret")
def other_descriptor(scene: Scene) -> str:
    return read(f"/proc/{scene['host']}/fd/{scene['file']}")


@attempt(
    "take another process's files by an inherited pidfd, pidfd_getfd(2)",
    USER,
    noticed="secret",
    inherits=("pidfd",),
)
def pidfd_getfd(scene: Scene) -> str:
    descriptor = call("pidfd_getfd", scene["pidfd"], scene["file"], 0)
    return os.pread(descriptor, 100, 0).decode()


@attempt("walk through /proc/PID/root", USER)
def walk_root(scene: Scene) -> None:
    os.listdir(f"/proc/{scene['host']}/root/")


@attempt("walk through /proc/PID/cwd", USER)
def walk_cwd(scene: Scene) -> None:
    os.listdir(f"/proc/{scene['host']}/cwd/")


@attempt("read another process's command line, /proc/PID/cmdline", USER)
def command_line(scene: Scene) -> None:
    assert scene["host_command"] in read(f"/proc/{scene['host']}/cmdline")


@attempt("read it by an inherited descriptor of /proc", USER, inherits=("proc",))
def command_line_by_descriptor(scene: Scene) -> None:
    path = f"{scene['host']}/cmdline"
    descriptor = os.open(path, os.O_RDONLY, dir_fd=scene["proc"])
    assert scene["host_command"] in read(descriptor)


@attempt("read /proc/PID/environ by that descriptor", USER, noticed="secret", inherits=("proc",))
def environ_by_descriptor(scene: Scene) -> str:
    path = f"{scene['host']}/environ"
    entries = read(os.open(path, os.O_RDONLY, dir_fd=scene["proc"])).split("\0")
    return next(entry.partition("=")[2] for entry in entries if entry.startswith("SECRET="))


@attempt("kill(2) another process of the user", USER, noticed="signal")
def kill(scene: Scene) -> None:
    os.kill(scene["victim"], signal.SIGUSR1)


@attempt(
    "pidfd_send_signal(2) by an inherited pidfd", USER, noticed="signal", inherits=("victim_pidfd",)
)
def kill_by_pidfd(scene: Scene) -> None:
    call("pidfd_send_signal", scene["victim_pidfd"], signal.SIGUSR1, None, 0)


@attempt("kill(2) the process group that it was started in", USER, noticed="signal")
def kill_group(scene: Scene) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(0, signal.SIGUSR1)


@attempt("kill(2) all processes of the user", USER)
def kill_all(scene: Scene) -> None:
    os.kill(-1, 0)  # whether there is one: nobody else on this machine is to be hit


@attempt("kill(2) process 1", noticed="nothing")
def kill_init(scene: Scene) -> None:
    os.kill(1, signal.SIGKILL)


@attempt("set another process's limits, prlimit(2)", USER, noticed="limit")
def limits(scene: Scene) -> None:
    resource.prlimit(scene["victim"], resource.RLIMIT_NOFILE, (64, 64))


@attempt("lower another process's priority, setpriority(2)", USER, noticed="priority")
def priority(scene: Scene) -> None:
    os.setpriority(os.PRIO_PROCESS, scene["victim"], 7)


@attempt("have it killed first when memory is short, /proc/PID/oom_score_adj", USER, noticed="oom")
def oom(scene: Scene) -> None:
    with open(f"/proc/{scene['victim']}/oom_score_adj", "w") as file:
        file.write("900")
