"""sockets=unix, and alternatives: A|B."""

from __future__ import annotations

import ctypes
import re
import socket
import subprocess
from pathlib import Path

import pytest

from harness import Finished, Python, require_root, require_tool
from harness.pytest_runs import Run, run, tested

__all__ = ["run", "tested"]

ALONE = "sockets=unix"

# Says what came of making a socket of each family, and of what else could make one.
CODE = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)

def outcome(act, *arguments):
    try:
        act(*arguments).close()
        return "made"
    except OSError as error:
        return errno.errorcode[error.errno]

def family(number):
    kind = socket.SOCK_RAW if number in (16, 17) else socket.SOCK_STREAM
    return outcome(socket.socket, number, kind)

def raw(number, *arguments):
    result = libc.syscall(number, *arguments)
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]
"""


def lines(python: Python, code: str, unshare: str = ALONE, **options: object) -> list[str]:
    return python.run(CODE + code, unshare=unshare, **options).ok().splitlines()  # type: ignore[arg-type]


def test_where_unix_sockets_would_be_gone_as_well(newest: Python) -> None:
    """As where the C library makes them by socketcall(2): the answer is that of the filter."""

    def started(error: str) -> Finished:
        inject = [require_tool("strace"), "-f", "-o", "/dev/null", "-e", f"inject=socket:{error}"]
        command = [*inject, *newest.command("print('user code')")]
        return newest.user.run(command, env={"PY_UNSHARE": ALONE})

    done = started("error=ENETUNREACH")
    assert (done.status, done.stdout) == (125, "")
    assert "socketcall(AF_UNIX): no unix(7) sockets would be left either (ENOSYS)" in done.stderr
    assert "cure: leave sockets=unix out of the list; and add user,net to the list" in done.stderr
    assert started("error=EMFILE").ok() == "user code\n"


@pytest.mark.parametrize(
    "unshare",
    [ALONE, "user,net,sockets=unix", "offline,sockets=unix", "user,pid,mount,uts=x,sockets=unix"],
)
def test_families(python: Python, unshare: str) -> None:
    code = "print([number for number in range(1, 64) if family(number) == 'made'])\n"
    code += "print({family(number) for number in (*range(2, 16), *range(17, 64), 2**31 - 1)})\n"
    code += "print(len(socket.socketpair()))"
    made, refused, pair = lines(python, code, unshare)
    assert (made, refused, pair) == ("[1, 16]", "{'ENETUNREACH'}", "2")


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_the_kernel_takes_the_lower_half_of_the_argument(newest: Python, high: int) -> None:
    code = f"""
inet, unix = (ctypes.c_long({high} | family) for family in (2, 1))
print(raw({number("socket")}, inet, 1, 0), raw({number("socket")}, unix, 1, 0) > 2)
"""
    assert lines(newest, code) == ["ENETUNREACH True"]


def test_io_uring(newest: Python) -> None:
    code = f"print(raw({number('io_uring_setup')}, 8, ctypes.create_string_buffer(120)))"
    assert lines(newest, code) == ["ENOSYS"]


def number(name: str, header: str = "unistd_64.h") -> int:
    """The number of a system call, from the kernel's headers."""
    directories = [Path("/usr/include/x86_64-linux-gnu/asm"), Path("/usr/include/asm")]
    paths = [each / header for each in directories if (each / header).exists()]
    if not paths:
        pytest.skip(f"needs the kernel's headers: {header} (libc6-dev)")
    found = re.search(rf"__NR_{name} \(?(?:__X32_SYSCALL_BIT \+ )?(\d+)", paths[0].read_text())
    assert found, name
    return int(found[1])


@pytest.mark.parametrize(
    ("header", "architecture"),
    [("unistd_64.h", 0xC000003E), ("unistd_32.h", 0x40000003), ("unistd_x32.h", 0x4000003E)],
)
def test_the_numbers_are_the_kernels(newest: Python, header: str, architecture: int) -> None:
    code = f"""
from unshare_boot import sockets
row = next(row for each in sockets.FAMILIES for row in each if row[0] == {architecture})
print(*row[1:4], row[4] & ~sockets.X32)
print(hex(sockets.architecture()))
"""
    calls, own = newest.run(code).ok().splitlines()
    names = ("socket", "socketcall", "io_uring_setup", "seccomp")
    expected = [
        -1 if name == "socketcall" and header != "unistd_32.h" else number(name, header)
        for name in names
    ]
    assert [int(each) for each in calls.split()] == expected
    assert int(own, 16) == (0xC000003E if ctypes.sizeof(ctypes.c_long) == 8 else 0x40000003)


# Programs of other calling conventions, which all come by the same kernel. Each ends with what the
# call returned: 0 for a socket, or the number of the error.
SOURCE = """
void _start(void) {
    long result;
    %s
    long status = result < 0 ? -result : 0;
    %s
}
"""
BY_32 = (
    'asm volatile("int $0x80" : "=a"(result) : "a"(%s), "b"(%s), "c"(%s), "d"(0) : "memory");'
    " result = (int)result;"
)
END_32 = 'asm volatile("int $0x80" :: "a"(1), "b"(status));'
BY_64 = (
    'asm volatile("syscall" : "=a"(result) : "a"(%s), "D"(%s), "S"(%s), "d"(0)'
    ' : "rcx", "r11", "memory");'
)
END_64 = 'asm volatile("syscall" :: "a"(60), "D"(status));'
ARRAY = "int arguments[3] = {%d, 1, 0}; "
REFUSED, MISSING, BAD = 101, 38, (14, 22)  # ENETUNREACH, ENOSYS, EFAULT or EINVAL


@pytest.mark.parametrize(
    ("flags", "call", "end", "statuses"),
    [
        ("-m32", BY_32 % (359, 2, 1), END_32, (REFUSED,)),
        ("-m32", BY_32 % (359, 1, 1), END_32, (0,)),
        ("-m32", ARRAY % 2 + BY_32 % (102, 1, "arguments"), END_32, (REFUSED,)),
        ("-m32", BY_32 % (425, 1, 0), END_32, (MISSING,)),
        ("-m64", BY_32 % (359, 2, 1), END_64, (REFUSED,)),
        ("-m64", BY_64 % (41, 2, 1), END_64, (REFUSED,)),
        ("-m64", BY_64 % (41, 1, 1), END_64, (0,)),
        ("-m64", BY_64 % ("0x40000029", 2, 1), END_64, (REFUSED,)),
        ("-m64", BY_64 % (425, 1, 0), END_64, (MISSING,)),
    ],
    ids=lambda value: value if value in ("-m32", "-m64") else "",
)
def test_a_program_of_its_own_calls(
    newest: Python, workdir: Path, flags: str, call: str, end: str, statuses: tuple[int, ...]
) -> None:
    """Of 32 bits, of 64, and a mixture; x32 is refused by kernels that have none as well."""
    if number("socket") != 41:
        pytest.skip("is written for x86-64")
    compiler = require_tool("gcc")
    source, target = workdir / "program.c", workdir / "program"
    source.write_text(SOURCE % (call, end))
    options = [flags, "-nostdlib", "-static", "-fno-stack-protector", "-fno-pie", "-no-pie", "-O1"]
    subprocess.run([compiler, *options, source, "-o", target], check=True)
    code = f"import subprocess; print(subprocess.call([{str(target)!r}]))"
    plain = newest.run(code).ok()
    if flags == "-m32" and plain.startswith("-"):
        pytest.skip("this kernel runs no 32-bit programs")
    assert int(lines(newest, code)[0]) in statuses
    if "arguments" not in call and "425" not in call and "0x40000029" not in call:
        assert plain == "0\n"


def test_threads_that_run_already(python: Python) -> None:
    code = """
import queue, threading, unshare_boot
asked, told = queue.Queue(), queue.Queue()
def work():
    while asked.get():
        told.put(family(2))
thread = threading.Thread(target=work, daemon=True)
thread.start()
asked.put(1)
print(told.get())
unshare_boot.unshare("sockets=unix")
asked.put(1)
print(told.get(), family(2), unshare_boot.active())
"""
    before, after = python.run(CODE + code).ok().splitlines()
    assert before == "made"
    assert after == "ENETUNREACH ENETUNREACH ('sockets',)"


def test_children_and_a_start_within(newest: Python) -> None:
    inner = CODE + "import unshare_boot; print(family(2), unshare_boot.active())"
    code = f"""
import subprocess, sys
child = [sys.executable, "-c", {inner!r}]
print(subprocess.check_output(child, text=True), end="")
for unshare in ("sockets=unix", "user,net", "user,pid,sockets=unix"):
    env = {{**os.environ, "PY_UNSHARE": unshare}}
    print(subprocess.check_output(child, text=True, env=env), end="")
print(open("/proc/self/status").read().count("NoNewPrivs:\\t1"))
"""
    assert lines(newest, code) == [
        "ENETUNREACH ('sockets',)",
        "ENETUNREACH ('sockets',)",
        "ENETUNREACH ('user', 'net', 'sockets')",
        "ENETUNREACH ('user', 'mount', 'pid', 'sockets')",
        "1",
    ]


def test_a_claim_that_is_not_true(newest: Python) -> None:
    code = "import unshare_boot; print(unshare_boot.active())"
    assert newest.run(code, env={"PY_UNSHARE_ACTIVE": "sockets=unix"}).ok() == "()\n"


def test_what_is_open_stays(newest: Python) -> None:
    """An inherited connection, and one that is passed by a unix socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
import sys, unshare_boot
connection = socket.create_connection(("127.0.0.1", {port}))
one, two = socket.socketpair()
unshare_boot.unshare("sockets=unix")
socket.send_fds(one, [b"x"], [connection.fileno()])
_, received, _, _ = socket.recv_fds(two, 1, 1)
os.write(received[0], b"hello")
"""
        assert newest.run(CODE + code).ok() == ""
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(10) == b"hello"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("sockets", "sockets: expected unix"),
        ("sockets=inet", "sockets='inet': expected unix"),
        ("sockets=unix,sockets=unix", "sockets: given twice"),
        ("user,net=gate,sockets=unix", "net='gate': contradicts sockets=unix"),
        ("user,net=pasta,sockets=unix", "net='pasta': contradicts sockets=unix"),
        ("offline,allow=a.test:1,sockets=unix", "allow: contradicts sockets=unix"),
        ("offline,record,sockets=unix", "record: contradicts sockets=unix"),
    ],
)
def test_not_understood(newest: Python, item: str, reason: str) -> None:
    done = newest.run("print('user code')", unshare=item)
    assert (done.status, done.stdout) == (125, "") and f"  what: {reason}" in done.stderr


def test_root_drops_nothing_else(newest: Python) -> None:
    require_root()
    code = "print(family(2), family(17), os.getuid(), os.path.exists('/proc/self/ns/net'))"
    assert lines(newest, code, as_root=True) == ["ENETUNREACH ENETUNREACH 0 True"]


# Alternatives.

ACTIVE = "import unshare_boot; print(*unshare_boot.active())"


@pytest.mark.parametrize(
    ("unshare", "holds"),
    [
        ("user,net|sockets=unix", "user net"),
        ("net|sockets=unix", "sockets"),
        (" net | user,uts=box , net ", "user net uts"),
        ("net|mount|user,pid", "user mount pid"),
        ("user,overlay=/proc|user,ipc", "user ipc"),
        ("net|off", ""),
        ("user|off", "user"),
        ("user,net=/no/such|user", "user"),
    ],
)
def test_the_first_that_is_available(newest: Python, unshare: str, holds: str) -> None:
    assert newest.run(ACTIVE, unshare=unshare).ok() == f"{holds}\n"
    code = f"import unshare_boot; unshare_boot.unshare({unshare!r}); print(*unshare_boot.active())"
    assert newest.run(code).ok() == f"{holds}\n"


def test_none_is_available(newest: Python) -> None:
    done = newest.run(ACTIVE, unshare="net|mount")
    assert (done.status, done.stdout) == (125, "")
    said = done.stderr.splitlines()
    assert [line for line in said if line.startswith("  list:")] == [
        "  list: net",
        "  list: mount",
    ]
    assert sum(line.startswith("  cure: ") for line in said) == 2
    warned = newest.run(ACTIVE, unshare="net|mount", env={"PY_UNSHARE_ON_ERROR": "warn"})
    assert (warned.status, warned.stdout) == (0, "\n")
    assert warned.stderr.splitlines()[1:] == said[1:]
    code = """
import unshare_boot
try:
    unshare_boot.unshare("net|mount")
except unshare_boot.UnshareError as error:
    print([text for text, _ in error.refused], unshare_boot.active())
"""
    assert newest.run(code).ok() == "['net', 'mount'] ()\n"


@pytest.mark.parametrize("on_error", ["abort", None])
@pytest.mark.parametrize(
    "unshare", ["user|nett", "nett|user", "user|", "|user", "user||net", "off|user", "|"]
)
def test_a_mistake_is_never_passed_over(newest: Python, unshare: str, on_error: str | None) -> None:
    env = {"PY_UNSHARE_ON_ERROR": on_error} if on_error else {}
    done = newest.run(ACTIVE, unshare=unshare, env=env)
    assert (done.status, done.stdout) == (125, ""), done.stderr


def test_a_path_with_a_bar(newest: Python, workdir: Path) -> None:
    (workdir / "a|b").mkdir()
    code = "import os; print(os.stat('a|b').st_dev != os.stat('.').st_dev)"
    path = str(workdir / "a\\|b")
    assert newest.run(code, unshare=f"user,tmpfs={path}", cwd=workdir).ok() == "True\n"


def test_check(newest: Python) -> None:
    done = newest.run(["-m", "unshare_boot", "check", "net|sockets=unix"])
    assert (done.status, done.stdout) == (0, "yes  PY_UNSHARE='sockets=unix'\n")
    done = newest.run(["-m", "unshare_boot", "check", "net|mount"])
    said = " ".join(done.stdout.split())
    assert done.status == 1 and "net: unshare(CLONE_NEWNET)" in said
    assert "mount: unshare(CLONE_NEWNS)" in said


def test_run(newest: Python) -> None:
    command = ["-m", "unshare_boot", "run", "net|sockets=unix", "--", require_tool("curl"), "-sS"]
    done = newest.run([*command, "http://127.0.0.1:9/"])
    assert done.status == 7


# pytest.

TESTS = """
import socket, pytest

def test_loopback():
    socket.create_server(("127.0.0.1", 0))

@pytest.mark.needs_loopback
def test_marked():
    socket.create_server(("127.0.0.1", 0))

@pytest.mark.needs_network
def test_outside():
    assert False

def test_unix():
    socket.socketpair()
"""


def test_pytest_without_namespaces(run: Run) -> None:
    done = run("--unshare=net | sockets=unix", test_it=TESTS)
    assert done.status == 1
    assert (
        "unshare: sockets (sockets=unix: no internet sockets, not even for loopback)" in done.stdout
    )
    assert "unshare: net is not available: net: unshare(CLONE_NEWNET)" in done.stdout
    assert "1 failed, 1 passed, 2 skipped" in done.stdout
    assert "This ran without internet sockets (sockets=unix)" in done.stdout
    assert "That ran since net is not available" in done.stdout


def test_pytest_with_namespaces(run: Run) -> None:
    done = run("--unshare=user,net|sockets=unix", test_it=TESTS)
    assert "unshare: user,net (no route out of this run)" in done.stdout
    assert "3 passed, 1 skipped" in done.stdout


def test_pytest_with_neither(run: Run) -> None:
    done = run("--unshare=net|mount", test_it=TESTS)
    assert done.status == 4
    assert "list: net" in done.stderr and "list: mount" in done.stderr


def test_pytest_xdist(run: Run) -> None:
    done = run("--unshare=net|sockets=unix", "-n2", test_it=TESTS)
    assert "1 failed, 1 passed, 2 skipped" in done.stdout
