"""Print all that a program can see of how it was started, as one JSON object."""

import contextlib
import json
import os
import signal
import sys
import threading


def status(field: str) -> str:
    with open("/proc/thread-self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))


def thread_names() -> list[str]:
    names = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/comm") as file:
            names.append(file.read()[:-1])
    return sorted(names)


def descriptors() -> "dict[str, str]":
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the directory itself
            target = os.readlink(f"/proc/self/fd/{name}").partition(":[")[0]
            if "/libffi.so" not in target:  # which keeps itself open once ctypes is loaded
                found[name] = target
    return found


report = {
    "argv": sys.argv,
    "orig_argv": getattr(sys, "orig_argv", None),
    "cmdline": os.fsdecode(open("/proc/self/cmdline", "rb").read()),  # noqa: SIM115
    "executable": sys.executable,
    "prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix],
    "path": sys.path,
    "flags": repr(sys.flags),
    "options": [sys.warnoptions, repr(sys._xoptions)],
    "file": globals().get("__file__"),
    "cwd": os.getcwd(),
    "environment": {
        os.fsdecode(name): os.fsdecode(value)
        for name, value in os.environb.items()
        if not name.startswith(b"PY_UNSHARE")
    },
    "ours": sorted(name for name in os.environ if name.startswith("PY_UNSHARE")),
    "descriptors": descriptors(),
    "umask": os.umask(0o777),
    "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
    "ignored": status("SigIgn"),
    "caught": status("SigCgt"),
    "name": open("/proc/self/comm").read(),  # noqa: SIM115
    "priority": os.getpriority(os.PRIO_PROCESS, 0),
    "leads": os.getpgrp() == os.getpid(),
    "threads": thread_names(),
    "python_threads": sorted(thread.name for thread in threading.enumerate()),
    "rest_of_stdin": None if sys.stdin is None else sys.stdin.read(),
}
if "capabilities" in sys.argv:
    report["capabilities"] = {
        field: status(field) for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    }
    report["privileges"] = [status("NoNewPrivs"), os.getresuid(), os.getresgid(), os.getgroups()]
    report["child"] = os.popen("grep ^Cap /proc/self/status").read()
print(json.dumps(report, sort_keys=True))
