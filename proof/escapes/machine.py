"""The machine; whoever makes the calls here, they change nothing that lasts."""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
import time

from proof.escapes.attempt import CAP_SYS_RESOURCE, ROOT, Control, Scene, attempt, each, let_through
from proof.escapes.kernel import call, check, libc, may_write, mount


@attempt("rename the machine, sethostname(2)", ROOT, noticed="hostname")
def hostname(scene: Scene) -> None:
    socket.sethostname(scene["token"][:8])


@attempt("mount something over a directory of the host", ROOT, noticed="mount")
def mount_tmpfs(scene: Scene) -> None:
    mount("tmpfs", scene["mount_point"], "tmpfs", 0)


@attempt(
    "mount something there by an inherited descriptor",
    ROOT,
    noticed="mount",
    inherits=("point",),
)
def mount_by_descriptor(scene: Scene) -> None:
    mount("tmpfs", f"/proc/self/fd/{scene['point']}", "tmpfs", 0)


@attempt("write to /proc/sys/kernel/core_pattern", ROOT)
def core_pattern(scene: Scene) -> None:
    may_write("/proc/sys/kernel/core_pattern")


@attempt("write to /proc/sysrq-trigger", ROOT, lacking=("ENOENT",))
def sysrq(scene: Scene) -> None:
    may_write("/proc/sysrq-trigger")


@attempt("write to /sys/power/state or /sys/kernel/uevent_helper", ROOT, lacking=("ENOENT",))
def sys_files(scene: Scene) -> object:
    return each(
        [
            lambda: may_write("/sys/power/state"),
            lambda: may_write("/sys/kernel/uevent_helper"),
        ],
        gone=(errno.ENOENT,),
    )


@attempt("move a process between root's control groups", ROOT, needs=("cgroup",))
def cgroup(scene: Scene) -> None:
    may_write(scene["cgroup"])


@attempt("restart the machine, reboot(2)", ROOT)
def reboot(scene: Scene) -> None:
    let_through(errno.EINVAL, lambda: check(libc.reboot(0x4711)))


@attempt("load a kernel, kexec_load(2)", ROOT)
def kexec(scene: Scene) -> None:
    let_through(errno.EINVAL, lambda: call("kexec_load", 0, 0, None, 0xFFFF))


@attempt("load a kernel module, init_module(2)", ROOT)
def init_module(scene: Scene) -> None:
    let_through(errno.ENOEXEC, lambda: call("init_module", b"\0" * 64, 64, b""))


@attempt("load a BPF program, bpf(2)", ROOT)
def bpf(scene: Scene) -> None:
    let_through(errno.ENOENT, lambda: call("bpf", 11, bytes(128), 128))  # BPF_PROG_GET_NEXT_ID


@attempt("watch a whole processor, perf_event_open(2)", ROOT, lacking=("ENOENT", "ENOSYS"))
def perf(scene: Scene) -> None:
    attributes = struct.pack("=IIQ", 1, 112, 0) + bytes(96)  # PERF_TYPE_SOFTWARE, CPU_CLOCK
    os.close(call("perf_event_open", attributes, -1, 0, -1, 0))


@attempt("swap to a file, swapon(2)", ROOT)
def swapon(scene: Scene) -> None:
    let_through(errno.ENOENT, lambda: check(libc.swapon(b"/nowhere/to/be/found", 0)))


@attempt("keep a record of all processes, acct(2)", ROOT)
def acct(scene: Scene) -> None:
    let_through(errno.ENOENT, lambda: check(libc.acct(b"/nowhere/to/be/found")))


@attempt("change what the console shows, syslog(2)", ROOT)
def syslog(scene: Scene) -> None:
    let_through(errno.EINVAL, lambda: check(libc.klogctl(8, None, 0)))  # CONSOLE_LEVEL


@attempt("set the time zone of the kernel, settimeofday(2)", ROOT)
def settimeofday(scene: Scene) -> None:
    check(libc.settimeofday(None, bytes(8)))


@attempt("set the clock, clock_settime(2)", ROOT)
def clock_settime(scene: Scene) -> None:
    time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns())


@attempt("raise a hard limit, setrlimit(2)", Control(None, True, CAP_SYS_RESOURCE))
def hard_limit(scene: Scene) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (1000, 1000))
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (2000, 2000))
    except ValueError as error:  # which stands for EPERM there
        raise OSError(errno.EPERM, str(error)) from error


@attempt("raise its priority, setpriority(2)", ROOT)
def nice(scene: Scene) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, -1)


@attempt("run before all others, sched_setscheduler(2)", ROOT)
def realtime(scene: Scene) -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@attempt("use the disk before all others, ioprio_set(2)", ROOT)
def ioprio(scene: Scene) -> None:
    call("ioprio_set", 1, 0, 1 << 13)  # IOPRIO_CLASS_RT


@attempt(
    "be spared when memory is short, /proc/self/oom_score_adj",
    Control(None, True, CAP_SYS_RESOURCE),
)
def spared(scene: Scene) -> None:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")
