"""Refusals: each cause is brought about, and the words are those of docs/troubleshooting*.md.

What this kernel cannot be made to do (other kernels, Ubuntu's AppArmor, Debian's switch) is done by
strace's fault injection with files mounted over /proc/sys, or told by a faked tree.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import Finished, Python, require_root, require_tool
from harness.session import PROJECT
from unshare_boot import UnshareError
from unshare_boot.namespaces import NAMESPACES
from unshare_boot.refusal.causes import CAUSES
from unshare_boot.refusal.causes.programs import PACKAGES
from unshare_boot.refusal.message import (
    FAULT,
    INCOMPLETE,
    OUT_OF_MEMORY,
    UNKNOWN,
    UNKNOWN_CAUSE,
    explain,
)
from unshare_boot.refusal.pages import CONTAINERS, MACHINE, PAGE, page_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Session

PAGES = [PROJECT / page for page in (PAGE, CONTAINERS, MACHINE)]

SLUGS = {each.slug for each in CAUSES} | {FAULT, INCOMPLETE, OUT_OF_MEMORY, UNKNOWN_CAUSE}

# A root of a user namespace, in a mount namespace: what the test may set up freely.
OWN = ["unshare", "--user", "--map-root-user", "--mount"]


@dataclass(frozen=True)
class Told:
    """The lines of a refusal."""

    what: str
    why: str
    cure: str
    cause: str = ""


def told(done: Finished | bytes) -> Told:
    """Take a refusal apart, having checked its form and that the docs quote it."""
    if isinstance(done, bytes):
        text = done.decode()
    else:
        assert (done.status, done.stdout) == (125, ""), done
        text = done.stderr
    lines = text.splitlines()
    assert re.fullmatch(r"unshare-boot: PY_UNSHARE='.*' refused, .*", lines[0]), text
    found = {}
    for line in lines[1:]:
        label, words = re.fullmatch(r"  (what:|why: |cure:|more:) (.*)", line).groups()  # type: ignore[union-attr]
        assert label[:3] not in found
        found[label.strip(" :")] = words
    assert list(found) == [label for label in ("what", "why", "cure", "more") if label in found]
    page, _, cause = found.get("more", "").partition("#")
    result = Told(found["what"], found.get("why", ""), found.get("cure", ""), cause)
    assert (page, bool(cause)) == ((page_of(cause), True) if result.why else ("", False))
    whole = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    quoted = plain(sections()[cause] if cause else whole)
    for words in (result.why, result.cure):
        first, *others = words.split("; and ")
        assert plain(first) in quoted, f"{page_of(cause)}#{cause} does not quote: {words}"
        for other in others:
            assert plain(other) in plain(whole), f"no page quotes: {other}"
    return result


def sections() -> dict[str, str]:
    """What the pages have below each heading that a message may name, by the heading's anchor."""
    found: dict[str, str] = {}
    for path in PAGES:
        for anchor, text in headings(path).items():
            if anchor in SLUGS:
                assert anchor not in found, f"two headings make the anchor {anchor}"
                assert page_of(anchor) == path.relative_to(PROJECT).as_posix()
                found[anchor] = text
    return found


def headings(path: Path) -> dict[str, str]:
    """What a page has below each heading."""
    found: dict[str, str] = {}
    fenced = False
    anchor = ""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            anchor = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
            assert anchor not in found, f"two headings make the anchor {anchor}"
        found[anchor] = found.get(anchor, "") + line
    return found


def test_each_cause_has_a_heading() -> None:
    assert set(sections()) >= SLUGS
    assert len({each.slug for each in CAUSES}) == len(CAUSES)


def plain(text: str) -> str:
    """Return text without what differs from machine to machine: paths, numbers, lists."""
    text = re.sub(r"PY_UNSHARE='[^']*'", "PY_UNSHARE=LIST", text)
    text = re.sub(r"run '[^']*' --", "run LIST --", text)
    text = re.sub(r"'(?:/[^ ']*)+'", "PATH", text)
    text = re.sub(
        r"(?<![\w.>])/(?:tmp|usr|opt|home|root|var|srv|work)(?:/[^\s,:)'`]+)+", "PATH", text
    )
    text = re.sub(r"Linux (version )?\d[\w.+-]*|(?<=kernel, )\d[\w.+-]*", "KERNEL", text)
    text = re.sub(r"(?<=unshare_boot\.)(language|namespaces)", "MODULE", text)
    text = re.sub(r"(?<=control group )/\S+", "GROUP", text)
    text = re.sub(r"(?<=as in a container \()/.*?(?= mounted)", "MASKED", text)
    text = re.sub(r"CapEff [0-9a-f]+", "CAPEFF", text)
    return re.sub(r"\d+", "N", text)


@pytest.fixture(params=["oldest", "newest"])
def each(request: pytest.FixtureRequest) -> Python:
    """The oldest interpreter and the newest."""
    python: Python = request.getfixturevalue(request.param)
    return python


def run(
    python: Python,
    unshare: str,
    wrapper: Sequence[str | Path] = (),
    env: dict[str, str] | None = None,
    code: str = "print('user code')",
) -> Finished:
    """Start the interpreter by way of another program, as the ordinary user."""
    return python.user.run(
        [*wrapper, *python.command(code)], env={**(env or {}), "PY_UNSHARE": unshare}
    )


def shell(script: str) -> list[str]:
    """A wrapper: run a script, then the program."""
    return ["sh", "-ec", f'{script}\nexec "$@"', "sh"]


# Rights.


def test_an_ordinary_user_without_user(each: Python) -> None:
    assert told(run(each, "net")) == Told(
        "net: unshare(CLONE_NEWNET): Operation not permitted (EPERM)",
        "an ordinary user may do this only in a user namespace of its own",
        "add user to the list: PY_UNSHARE='user,net'",
        "lists-without-user",
    )


@pytest.mark.parametrize("name", [name for name in NAMESPACES if name != "user"])
def test_every_namespace_says_add_user(newest: Python, name: str) -> None:
    assert told(run(newest, name)).cure == f"add user to the list: PY_UNSHARE='user,{name}'"


def test_the_advice_works(each: Python) -> None:
    cure = told(run(each, "uts=box,net")).cure
    advice = cure.partition("PY_UNSHARE='")[2].rstrip("'")
    assert run(each, advice).ok() == "user code\n"


def test_root_without_its_capability(each: Python) -> None:
    wrapper = [*OWN, "setpriv", "--bounding-set=-sys_admin"]
    found = told(run(each, "net", wrapper))
    assert found.why.startswith("root lacks CAP_SYS_ADMIN here (CapEff 0000")
    assert found.cure == "add user to the list: PY_UNSHARE='user,net'"


@pytest.mark.parametrize(
    ("unshare", "lacks", "more"),
    [
        ("net", "net_admin", ", or have lo stay down: net=down"),
        ("net=gate", "net_admin", ""),
        ("net=gate", "net_raw", ""),
        ("net=gate", "net_admin,-net_raw", ""),
    ],
)
def test_root_without_rights_over_networks(
    newest: Python, unshare: str, lacks: str, more: str
) -> None:
    """As in a container with --cap-add=SYS_ADMIN alone; each cure is applied."""
    found = told(run(newest, unshare, [*OWN, "setpriv", f"--bounding-set=-{lacks}"]))
    names = lacks.upper().split(",-")
    assert found.why.startswith(f"root lacks CAP_{' and CAP_'.join(names)} here (CapEff 0000")
    assert found.cause == "root-that-cannot-set-up-a-network"
    with_user, _, grant = found.cure.partition(", or ")
    assert with_user == f"add user to the list: PY_UNSHARE='user,{unshare}'"
    assert all(name in grant for name in names) and grant.endswith(more)
    cures = [(f"user,{unshare}", f"-{lacks}"), (unshare, "+all")]
    cures += [("net=down", f"-{lacks}")] if more else []
    for text, bounding in cures:
        wrapper = [*OWN, "setpriv", f"--bounding-set={bounding}"]
        assert run(newest, text, wrapper).ok() == "user code\n"


def test_user_namespaces_are_not_to_be_had_either(each: Python) -> None:
    limit = shell("echo 0 > /proc/sys/user/max_user_namespaces")
    wrapper = [*OWN, *limit, "setpriv", "--bounding-set=-sys_admin"]
    found = told(run(each, "net", wrapper))
    assert "; and unshare(CLONE_NEWUSER) fails too (ENOSPC): user.max_user_names" in found.why
    assert found.cure == (
        "add user to the list: PY_UNSHARE='user,net'; "
        "and sudo sysctl -w user.max_user_namespaces=10000"
    )


def test_uid_0_without_setfcap(each: Python) -> None:
    nested = f"{each.executable} -c pass"
    code = f"import os; os.environ['PY_UNSHARE'] = 'user'; os.system({nested!r})"
    done = run(each, "user,caps=none", code=code)
    assert "write(/proc/self/uid_map): Operation not permitted (EPERM)\n" in done.stderr
    found = told(Finished(125, "", done.stderr))
    assert "uid 0 without CAP_SETFCAP" in found.why
    assert found.cure.startswith("leave caps=none out of the outer list (offline,caps=keep), or ")
    assert "give that user=current" in found.cure
    for outer in ("user", "offline,caps=keep", "user=current,caps=none"):
        run(each, outer, code=code.replace("os.system", "assert not os.system")).ok()


def test_uid_0_without_setfcap_from_the_start(each: Python) -> None:
    """As in a container that drops all capabilities."""
    found = told(run(each, "user,net", [*OWN, "setpriv", "--bounding-set=-setfcap"]))
    assert found.cause == "root-that-cannot-map-itself"
    assert "SETFCAP" in found.cure and ", or not as root: " in found.cure
    kept = [*OWN, "setpriv", "--bounding-set=-all,+setfcap"]
    assert run(each, "user,net", kept).ok() == "user code\n"


@pytest.mark.parametrize("unshare", ["user,net", "net"])
def test_faked_ids(each: Python, unshare: str) -> None:
    """fakeroot(1) answers geteuid(2); the cure is applied."""
    found = told(run(each, unshare, [require_tool("fakeroot")]))
    cure = found.cure.rpartition("fakeroot inside, not outside: ")[2]
    command = shlex.split(cure.replace("COMMAND", "id -u"))
    assert command[:3] == ["unshare-boot", "run", "user,net"]
    command[:1] = [str(each.executable), "-m", "unshare_boot"]
    assert each.user.run(command).ok() == "0\n"


def test_an_unmapped_id(each: Python) -> None:
    found = told(run(each, "user", ["unshare", "--user"]))
    assert found.what == "user: unshare(CLONE_NEWUSER): Operation not permitted (EPERM)"
    assert found.why.startswith("the uid of this process, 65534, is not mapped")


# Filters.

FILTER = r"""
import ctypes, os, platform, sys
name, flag, errno = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
numbers = {"unshare": (272, 97), "sethostname": (170, 161)}[name]
number = numbers[platform.machine() != "x86_64"]
class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte),
                ("k", ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter))]
lines = [
    Filter(0x20, 0, 0, 0),  # load the number of the call
    Filter(0x15, 0, 3 if flag else 1, number),
    *([Filter(0x20, 0, 0, 16), Filter(0x45, 0, 1, flag)] if flag else []),  # its first argument
    Filter(0x06, 0, 0, 0x00050000 | errno),
    Filter(0x06, 0, 0, 0x7FFF0000),
]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
program = Program(len(lines), (Filter * len(lines))(*lines))
if libc.prctl(22, 2, ctypes.byref(program), 0, 0):  # PR_SET_SECCOMP
    raise OSError(ctypes.get_errno(), "seccomp")
os.environ["PY_UNSHARE"] = os.environ.pop("INNER")
os.execv(sys.argv[4], sys.argv[4:])
"""


def filtered(
    python: Python,
    unshare: str,
    flag: int = 0,
    number: int = errno.EPERM,
    name: str = "unshare",
) -> Finished:
    """Start the interpreter with a seccomp filter that answers a system call."""
    arguments = [str(python.executable), "-c", FILTER, name, str(flag), str(number)]
    return python.user.run([*arguments, *python.command("pass")], env={"INNER": unshare})


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_seccomp_filter(each: Python, number: int) -> None:
    found = told(filtered(each, "user,net", number=number))
    assert found.what.startswith("user: unshare(CLONE_NEWUSER): ")
    assert found.why.startswith("a seccomp filter forbids unshare(2) to this process")


def test_a_seccomp_filter_of_one_namespace(each: Python) -> None:
    found = told(filtered(each, "user,uts,net", flag=0x40000000))
    assert found.what == "net: unshare(CLONE_NEWNET): Operation not permitted (EPERM)"
    assert found.why.startswith("a seccomp filter forbids unshare(2) to this process")


def test_a_seccomp_filter_of_hostnames(each: Python) -> None:
    """As Podman's default profile; a cure is applied."""
    found = told(filtered(each, "user,uts=box", name="sethostname"))
    assert found.what == "uts: sethostname: Operation not permitted (EPERM)"
    assert found.why.startswith("a seccomp filter forbids sethostname(2) to this process")
    assert found.cure.startswith("uts without a name, or ")
    filtered(each, "user,uts", name="sethostname").ok()


def test_a_seccomp_filter_of_hostnames_shows_before(each: Python) -> None:
    """One message has both obstacles."""
    found = told(filtered(each, "uts=box", name="sethostname"))
    assert found.cause == "lists-without-user"
    assert "; and a seccomp filter forbids sethostname(2) to this process: " in found.why
    assert "'user,uts=box'; and uts without a name, or " in found.cure
    assert "sethostname" not in told(filtered(each, "uts", name="sethostname")).why
    assert "sethostname" not in told(filtered(each, "uts=box", flag=0x40000000)).why


def test_a_filter_that_is_not_to_blame(each: Python) -> None:
    done = filtered(each, "net", flag=0x02000000)  # of cgroup namespaces
    assert told(done).cure == "add user to the list: PY_UNSHARE='user,net'"


@pytest.mark.parametrize(
    ("sign", "cure"),
    [
        ("/.dockerenv", "docker run --security-opt seccomp=unconfined"),
        ("/run/.containerenv", "podman run --security-opt seccomp=unconfined"),
        ("/var/run/secrets/kubernetes.io", "securityContext: "),
        ("/proc/self/cgroup", "RestrictNamespaces=no"),
        ("/proc/1/environ", "lxc.seccomp.profile = (none, "),
        ("/run/host/container-manager", "systemd-nspawn without a --system-call-filter="),
    ],
)
def test_whose_filter_it_is(tmp_path: Path, sign: str, cure: str) -> None:
    content = {
        "/proc/1/environ": "container=lxc\0",
        "/proc/self/cgroup": "0::/a/web.service\n",
    }.get(sign, "systemd-nspawn")
    tree = Tree(tmp_path, {"/proc/self/status": "Seccomp:\t2\n", sign: content})
    assert tree.told("user", "unshare(CLONE_NEWUSER)", errno.EPERM).cure.startswith(cure)


def test_kubernetes_by_its_variable(tmp_path: Path) -> None:
    """Without a token, and with Docker's file."""
    files = {"/proc/self/status": "Seccomp:\t2\n", "/.dockerenv": ""}
    files["/proc/self/environ"] = "PATH=/bin\0KUBERNETES_SERVICE_HOST=10.0.0.1\0"
    found = Tree(tmp_path, files).told("user", "unshare(CLONE_NEWUSER)", errno.EPERM)
    assert found.cure == 'securityContext: {"seccompProfile": {"type": "Unconfined"}}'


IN_A_CONTAINER = """27 1 254:0 / / rw,relatime - overlay overlay rw
28 27 0:5 / /proc rw - proc proc rw
29 28 0:6 / /proc/kcore rw - tmpfs tmpfs rw
"""


def test_all_that_is_in_the_way_at_once(tmp_path: Path) -> None:
    """A filter, no rights, and a masked /proc, as in Docker: hosts/ does what it says."""
    files = {
        "/proc/self/status": "Uid:\t0\t0\nGid:\t0\t0\nCapEff:\t80000000\nSeccomp:\t2\n",
        "/proc/self/mountinfo": IN_A_CONTAINER,
        "/.dockerenv": "",
    }
    tree = Tree(tmp_path, files)
    found = tree.told("mount", "unshare(CLONE_NEWNS)", errno.EPERM, text="pid")
    assert found.cause == "seccomp-filter"
    assert [each.split()[0] for each in found.why.split("; and ")] == ["a", "root", "parts"]
    first, second, third = found.cure.split("; and ")
    assert first.startswith("docker run --security-opt seccomp=unconfined ...")
    assert second == "add user to the list: PY_UNSHARE='user,pid'"
    assert third.startswith("add proc=keep to the list (or docker run ")


def test_a_switch_and_a_filter(tmp_path: Path) -> None:
    files = {"/proc/self/status": STATUS.replace("Seccomp:\t0", "Seccomp:\t2")}
    files["/proc/sys/kernel/unprivileged_userns_clone"] = "0"
    found = Tree(tmp_path, files).told("user", "unshare(CLONE_NEWUSER)", errno.EPERM)
    assert found.why.startswith("kernel.unprivileged_userns_clone is 0: ")
    assert "; and a seccomp filter forbids unshare(2)" in found.why
    assert found.cure.startswith("sudo sysctl -w kernel.unprivileged_userns_clone=1; and allow ")


# Limits.


@pytest.mark.parametrize("name", list(NAMESPACES))
def test_a_kind_of_namespace_switched_off(newest: Python, name: str) -> None:
    setting = f"user.max_{NAMESPACES[name].file}_namespaces"
    off = shell(f"echo 0 > /proc/sys/{setting.replace('.', '/')}")
    found = told(run(newest, name, [*OWN, *off]))
    assert found == Told(
        f"{name}: unshare({NAMESPACES[name].flag_name}): No space left on device (ENOSPC)",
        f"{setting} is 0: {name} namespaces are switched off",
        f"sudo sysctl -w {setting}=10000",
        "namespaces-switched-off",
    )


def test_all_in_use(each: Python) -> None:
    one = shell("echo 1 > /proc/sys/user/max_net_namespaces")
    found = told(run(each, "net", [*OWN, *one, "unshare", "--net"]))
    assert found.why == "user.max_net_namespaces allows 1 to a user, and all are in use"
    assert found.cure.startswith("sudo sysctl -w user.max_net_namespaces=2 ")


def test_an_outer_limit(each: Python) -> None:
    off = shell("echo 0 > /proc/sys/user/max_net_namespaces")
    found = told(run(each, "user,net", [*OWN, *off]))
    assert found.why.startswith("the user namespace that this was started in, or one around it, ")
    warned = run(each, "user,net", [*OWN, *off], {"PY_UNSHARE_ON_ERROR": "warn"})
    assert warned.ok() == "user code\n"
    assert "user.max_net_namespaces is 0: net namespaces are switched off\n" in warned.stderr


def test_nested_too_deep(each: Python) -> None:
    # Each level maps the root of the one around it.
    code = """
import os, sys
from unshare_boot import UnshareError
from unshare_boot.namespaces import unshare, write_file
outer = os.getuid()
for level in range(33):
    unshare("user")
    write_file("/proc/self/uid_map", f"0 {outer} 1")
    outer = 0
    gid = 0 if level else os.environ["OUTER_GID"]
    write_file("/proc/self/setgroups", "deny")
    write_file("/proc/self/gid_map", f"0 {gid} 1")
os.environ["PY_UNSHARE"] = "user"
os.execv(sys.executable, [sys.executable, "-c", "print('user code')"])
"""
    found = told(each.run(code, env={"OUTER_GID": str(each.user.gid)}))
    assert found.what == "user: unshare(CLONE_NEWUSER): No space left on device (ENOSPC)"
    assert found.why.startswith("user namespaces are nested too deep (32 levels), or ")


def test_pid_namespaces_nested_too_deep(newest: Python, workdir: Path) -> None:
    script = workdir / "deeper"
    script.write_text(
        '#!/bin/sh\nlevel=$1; shift\n[ $level = 0 ] && exec "$@"\n'
        f'exec unshare --fork --pid sh {script} $((level - 1)) "$@"\n'
    )
    wrapper = [*OWN, "unshare", "--fork", "--pid", "--mount-proc", "sh", str(script), "31"]
    found = told(run(newest, "pid", wrapper))
    assert found.what == "pid: unshare(CLONE_NEWPID): No space left on device (ENOSPC)"
    assert found.why.startswith("PID namespaces are nested 32 deep here")
    off = shell("echo 0 > /proc/sys/user/max_pid_namespaces")  # which looks the same from inside
    found = told(run(newest, "user,pid", [*OWN, *off]))
    assert found.why.startswith("PID namespaces are nested too deep (32 levels), or the user ")


def test_too_many_processes(each: Python) -> None:
    done = run(each, "user,pid", ["prlimit", "--nproc=0:0"])
    assert told(done).why == "the user may have 0 processes (RLIMIT_NPROC)"


# Where the process lives.


def tree_of_mounts(at: Path) -> str:
    """A script that makes a directory look like /, by a mount of each directory in it."""
    lines = []
    for name in os.listdir("/"):
        if os.path.islink(f"/{name}"):
            lines.append(f"ln -sfn {os.readlink(f'/{name}')} {at}/{name}")
        elif os.path.isdir(f"/{name}"):
            lines.append(f"mkdir -p {at}/{name}; mount --rbind /{name} {at}/{name}")
    return "\n".join(lines)


def test_a_chroot(each: Python, workdir: Path) -> None:
    wrapper = [*OWN, *shell(tree_of_mounts(workdir)), "chroot", str(workdir)]
    found = told(run(each, "user", wrapper))
    assert found.what == "user: unshare(CLONE_NEWUSER): Operation not permitted (EPERM)"
    assert found.why.startswith("this process is in a chroot (/ is no mount point in ")
    assert found.why.endswith(": the kernel gives no user namespace there")
    found = told(run(each, "mount", wrapper))
    assert found.what == "mount: mount(/): Invalid argument (EINVAL)"
    assert found.why.endswith(": its mounts cannot be made private there")


def test_a_chroot_that_is_a_mount(each: Python, workdir: Path) -> None:
    setup = shell(f"mount --rbind / {workdir}")
    found = told(run(each, "user", [*OWN, *setup, "chroot", str(workdir)]))
    assert found.why.startswith("no setting forbids it here: most likely ")


def test_no_proc(each: Python) -> None:
    found = told(run(each, "user,net", [*OWN, *shell("mount -t tmpfs none /proc")]))
    assert found.what == "user: open(/proc/self/setgroups): No such file or directory (ENOENT)"
    assert found.why == "/proc is not mounted here (there is no /proc/self/status)"


def test_a_masked_proc(each: Python) -> None:
    masks = ["/proc/keys", "/proc/timer_list", "/proc/kcore", "/proc/meminfo"]
    mask = next(path for path in masks if os.path.exists(path))
    wrapper = [*OWN, *shell(f"mount --bind /dev/null {mask}")]
    found = told(run(each, "user,pid", wrapper))
    assert found.what == "proc: mount(/proc): Operation not permitted (EPERM)"
    assert found.why == f"parts of /proc are masked, as in a container ({mask} mounted over it)"
    assert found.cure.startswith("add proc=keep to the list")
    assert run(each, "user,pid,proc=keep", wrapper).ok() == "user code\n"


def test_a_masked_sys(each: Python) -> None:
    wrapper = [*OWN, *shell("mount -t tmpfs none /sys/kernel")]
    found = told(run(each, "user,net,sys", wrapper))
    assert found.why.startswith("parts of /sys are masked, as in a container (/sys/kernel mounted")
    assert found.cure.startswith("leave sys out of the list")


@pytest.mark.parametrize(("item", "needed"), [("proc", "pid"), ("sys", "net")])
def test_fresh_without_the_namespace_it_shows(each: Python, item: str, needed: str) -> None:
    assert told(run(each, f"user,{item}")).cure == f"add {needed} to the list"


def not_dumpable(python: Python, session: Session, workdir: Path) -> tuple[Python, dict[str, str]]:
    """The same, with an executable that its user may not read."""
    copied = session.fresh(session.variant(python), workdir / "venv")
    copied.executable.unlink()
    shutil.copy(python.base, copied.executable)
    copied.executable.chmod(0o111)
    return copied, {"LD_LIBRARY_PATH": str(python.base.parent.parent / "lib")}


def test_a_process_that_is_not_dumpable(each: Python, session: Session, workdir: Path) -> None:
    python, env = not_dumpable(each, session, workdir)
    assert run(python, "user,net", env=env).ok() == "user code\n"


def test_a_process_that_stays_not_dumpable(oldest: Python, session: Session, workdir: Path) -> None:
    python, env = not_dumpable(oldest, session, workdir)
    done = run(python, "user,net", strace("-e", "inject=prctl:error=EPERM:when=1"), env)
    found = told(done)
    assert "DUMPABLE): Operation not permitted (EPERM)" in found.what
    assert found.why.endswith(f"{python.executable} may not be read by this user")
    assert found.cure == f"sudo chmod a+r {python.executable}"


def test_file_capabilities(oldest: Python, session: Session, workdir: Path) -> None:
    require_root()  # for setcap(8), and for strace to leave the capabilities alone
    python, _ = not_dumpable(oldest, session, workdir)
    python.executable.chmod(0o755)
    session.tool([require_tool("setcap"), "cap_net_raw=ep", python.executable])
    root_traces = strace("--user=nobody", "-e", "inject=prctl:error=EPERM:when=1")
    env = {"PY_UNSHARE": "user,net"}
    done = python.root.run([*root_traces, *python.command("pass")], env=env)
    assert told(done).cure == f"sudo setcap -r {python.executable}"


# Paths and programs.


def test_no_such_file(each: Python) -> None:
    found = told(run(each, "user,net=/run/netns/no-such-name"))
    assert "No such file or directory (ENOENT)" in found.what
    assert found.why == "there is no file '/run/netns/no-such-name'"
    assert found.cure == "ip netns list (shows those that there are)"


def test_an_endless_path(newest: Python) -> None:
    done = run(newest, "user,ro=" + 20_000 * "/abc")
    assert (done.status, done.stdout) == (125, "")
    assert "\n  what: ro='/abc/abc/" in done.stderr
    assert "/abc': File name too long (ENAMETOOLONG)\n" in done.stderr
    assert len(done.stderr) < 3000


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/passwd", "an ordinary file"),
        ("/etc", "a directory"),
        ("/dev/null", "something else"),
        ("/proc/self/ns/uts", "a namespace of the type uts, not net"),
    ],
)
def test_a_path_that_is_no_such_namespace(newest: Python, path: str, kind: str) -> None:
    assert told(run(newest, f"net={path}")).what.endswith(kind)


def test_joining_what_is_somebody_elses(each: Python) -> None:
    require_root()
    with each.hold("user,net", as_root=True) as pid:
        found = told(run(each, f"user=/proc/{pid}/ns/user"))
    assert found.what.endswith(f"open(/proc/{pid}/ns/user): Permission denied (EACCES)")
    assert found.why.startswith(f"process {pid} belongs to uid 0")


HIDDEN = """
mount -t proc -o hidepid=2 proc /proc
setpriv --reuid {0} --regid {0} --clear-groups env PY_UNSHARE=user=/proc/1/ns/user "$@" || true
{1}
setpriv --reuid {0} --regid {0} --clear-groups env PY_UNSHARE=user=/proc/1/ns/user "$@" || exit $?
"""


def test_joining_what_proc_hides(newest: Python) -> None:
    """The cure is applied; then the message is about whose process it is."""
    require_root()
    cure = "mount -o remount,hidepid=0 /proc"
    script = HIDDEN.format(newest.user.uid, cure)
    outer = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh"]
    done = newest.root.run([*outer, *newest.command("print('user code')")])
    second = done.stderr.rindex("unshare-boot: ")
    found = told(Finished(done.status, done.stdout, done.stderr[:second]))
    assert (found.cause, found.cure) == ("no-such-file", f"sudo {cure}")
    assert "process 1 belongs to uid 0" in done.stderr[second:]


def test_joining_where_one_has_no_rights(each: Python) -> None:
    found = told(run(each, f"user=/proc/{os.getpid()}/ns/user", OWN))
    assert found.what.endswith("Permission denied (EACCES)")
    with each.hold() as pid:
        found = told(run(each, f"user=/proc/{pid}/ns/user", OWN))
    assert found.why.startswith(f"process {pid} has more rights than this one")


def test_a_missing_program(newest: Python, workdir: Path) -> None:
    empty = {"PATH": str(workdir)}
    for item, program in (
        ("map-users=1:100000:1", "newuidmap"),
        ("net=pasta", "pasta"),
        ("net=slirp4netns", "slirp4netns"),
    ):
        found = told(run(newest, f"user,{item}", env=empty))
        assert program in found.what
        assert PACKAGES[program] in f"{found.what} {found.cure}"


# A /dev with what most programs need; the tests add /dev/net.
SMALL_DEV = """
mount -t tmpfs none /mnt
for name in null zero random urandom; do
    : > /mnt/$name
    mount --bind /dev/$name /mnt/$name
done
mount --rbind /mnt /dev
"""

SOMEBODY_ELSES = "mkdir /dev/net; : > /dev/net/tun; mount --bind /etc/shadow /dev/net/tun"


@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
@pytest.mark.parametrize(
    ("setup", "why"),
    [
        ("", "there is no /dev/net/tun"),
        (SOMEBODY_ELSES, "this user may not open /dev/net/tun"),
    ],
    ids=["missing", "forbidden"],
)
def test_no_tun(newest: Python, program: str, setup: str, why: str) -> None:
    require_tool(program)
    wrapper = [*OWN, *shell(SMALL_DEV + setup)]
    assert told(run(newest, f"user,net={program}", wrapper)).why == why


# Clocks.


def test_a_clock_that_would_go_below_zero(each: Python) -> None:
    found = told(run(each, "user,monotonic=-9999d"))
    assert found.what.endswith("(ERANGE)")
    most = re.fullmatch(r"monotonic=(-\d+) at the most", found.cure)
    assert most
    assert run(each, f"user,monotonic={most[1]}").ok() == "user code\n"


def test_a_clock_that_would_go_beyond_its_end(each: Python) -> None:
    found = told(run(each, "user,boottime=+4611686018"))
    assert found.what.endswith("(ERANGE)")
    most = re.fullmatch(r"boottime=\+(\d+) at the most", found.cure)
    assert most  # as the clock stood then
    assert run(each, f"user,boottime=+{int(most[1]) - 60}").ok() == "user code\n"


# Threads.


def test_threads_in_a_program_that_runs_already(each: Python) -> None:
    code = """
import os, threading
end = threading.Event()
thread = threading.Thread(target=end.wait)
thread.start()
os.environ["PY_UNSHARE"] = "user=current,net,pid"
import unshare_boot
unshare_boot.boot()
"""
    found = told(each.run(code))
    assert "this process has 2 threads" in found.what
    assert found.cure.endswith(
        ": unshare --map-current-user --net --mount --pid --fork --mount-proc COMMAND"
    )


# Interrupted, out of memory, broken.


def strace(*options: str) -> list[str]:
    """A wrapper: strace that follows nothing and prints nothing."""
    return [require_tool("strace"), "-qq", "-o", "/dev/null", *options]


def test_interrupted(each: Python) -> None:
    done = run(each, "user,net", strace("-e", "inject=unshare:signal=SIGINT:when=1"))
    assert told(done).what == "interrupted (SIGINT, Ctrl-C) before the program could start"


@pytest.mark.parametrize("name", ["language", "namespaces"])
def test_a_module_is_missing(each: Python, session: Session, workdir: Path, name: str) -> None:
    python = session.fresh(session.variant(each), workdir / "venv")
    for path in python.site_packages.glob(f"unshare_boot/{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Not a list of plain words, so that all of the language is needed.
    found = told(run(python, "user,uts=box"))
    assert found.what == f"ModuleNotFoundError: No module named 'unshare_boot.{name}'"
    assert f"unshare_boot.{name} cannot be loaded" in found.why
    assert found.cure == f"{python.executable} -m pip install --force-reinstall unshare-boot"


def test_words_for_what_should_not_happen() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    for error in (MemoryError(), RuntimeError("\x1b[2J\n"), Odd(), SystemExit(3), OSError()):
        lines = explain("user,net", error).decode().splitlines()
        assert len(lines) > 1 and all(line.isprintable() for line in lines)
    assert told(explain("user", RuntimeError("no"))).cure.startswith("please report it: https://")
    assert told(explain("user", MemoryError())).what == "MemoryError"


def test_it_never_raises_and_is_short() -> None:
    calls = ["", "open(/proc/self/setgroups)", "mount(/)", "prctl(X)", "setns(/a)", "fork"]
    calls += ["write(x)", *(f"unshare({row.flag_name})" for row in NAMESPACES.values())]
    for call in calls:
        for number in errno.errorcode:
            error = refusal("net", call, number)
            for root in ("", "/nonexistent"):
                if root or not call.startswith("unshare"):
                    text = explain("user,net", error, root=root).decode()
                    assert 2 <= text.count("\n") <= 5
                    assert max(map(len, text.splitlines())) < 300


LANDLOCK = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
handled = ctypes.c_uint64(1 << 1)  # LANDLOCK_ACCESS_FS_WRITE_FILE, but everywhere it is allowed
ruleset = libc.syscall(444, ctypes.byref(handled), 8, 0)
if ruleset < 0: sys.exit(77)
class Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]
rule = Beneath(1 << 1, os.open("/", os.O_PATH))
assert libc.syscall(445, ruleset, 1, ctypes.byref(rule), 0) == 0
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
assert libc.syscall(446, ruleset, 0) == 0
os.environ["PY_UNSHARE"] = os.environ.pop("INNER")
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_landlock_domain(each: Python) -> None:
    def start(unshare: str) -> Finished:
        command = [each.executable, "-c", LANDLOCK, *each.command("print('user code')")]
        return each.user.run(command, env={"INNER": unshare})

    done = start("user,tmpfs=/mnt")
    if done.status == 77:
        pytest.skip("needs a kernel with Landlock")
    found = told(done)
    assert found.cause == "landlock"
    assert found.what.startswith("mount: mount(/): ")
    assert start("user").ok() == "user code\n"


def test_overlays_too_deep(each: Python, workdir: Path) -> None:
    def start(unshare: str) -> Finished:
        return each.run("print('user code')", unshare=unshare, cwd=workdir)

    assert start("user,overlay=.,overlay=.").ok() == "user code\n"
    assert told(start("user,overlay=.,overlay=.,overlay=.")).cause == "overlays-too-deep"
    (workdir / "other").mkdir()
    (workdir / "below").mkdir()
    listing = f"user,overlay=.,tmpfs=below,overlay=below,overlay={workdir}/other"
    done = start(listing)
    assert done.ok() == "user code\n"


# Other kernels, told by a tree.


def refusal(item: str, call: str, number: int) -> UnshareError:
    """The error of a system call, which is written as in messages: ``mount(/proc)``."""
    name, _, target = call.rstrip(")").partition("(")
    return UnshareError(number, os.strerror(number), item, name, target)


STATUS = "Uid:\t1000\t1000\nGid:\t1000\t1000\nCapEff:\t0\nSeccomp:\t0\n"


class Tree:
    """A faked /proc and /sys; everything is there that an ordinary machine has."""

    def __init__(self, root: Path, files: dict[str, str], missing: Sequence[str] = ()) -> None:
        self.root = root
        self.write(
            "/proc/self/status", "Uid:\t1000\t1000\nGid:\t1000\t1000\nCapEff:\t0\nSeccomp:\t0\n"
        )
        self.write("/proc/self/mountinfo", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n")
        self.write("/proc/self/uid_map", "0 0 4294967295\n")
        self.write("/proc/self/gid_map", "0 0 4294967295\n")
        self.write("/proc/sys/kernel/osrelease", "6.8.0-45-generic\n")
        self.write("/proc/version", "Linux version 6.8.0-45-generic #45-Ubuntu SMP\n")
        for row in NAMESPACES.values():
            self.write(f"/proc/self/ns/{row.file}", "")
        self.write("/proc/self/task/1/comm", "python\n")
        for path, text in files.items():
            self.write(path, text)
        for path in missing:
            self.path(path).unlink()

    def path(self, path: str) -> Path:
        return self.root / path[1:]

    def write(self, path: str, text: str) -> None:
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)

    def told(self, item: str, call: str, number: int, text: str = "user,net,mount") -> Told:
        error = refusal(item, call, number)
        return told(explain(text, error, root=str(self.root)))


def test_nothing_is_found(tmp_path: Path) -> None:
    found = Tree(tmp_path, {}).told("net", "ioctl(SIOCSIFFLAGS)", errno.EPERM)
    assert found.why == f"{UNKNOWN} (Linux 6.8.0-45-generic, uid 1000)"


@pytest.mark.parametrize(
    ("name", "release", "words"),
    [
        ("cgroup", "4.4.0-210-generic", "; 4.6 has"),
        ("time", "5.4.0-150-generic", "; 5.6 has"),
        ("time", "6.8.0", "was built without time namespaces"),
        ("user", "6.8.0", "was built without user namespaces"),
    ],
)
def test_a_kernel_without_the_namespace(
    tmp_path: Path, name: str, release: str, words: str
) -> None:
    files = {"/proc/sys/kernel/osrelease": release}
    tree = Tree(tmp_path, files, missing=[f"/proc/self/ns/{name}"])
    found = tree.told(name, f"unshare({NAMESPACES[name].flag_name})", errno.EINVAL)
    assert words in found.why and f"there is no /proc/self/ns/{name}" in found.why


def test_too_old_for_an_overlay(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"/proc/sys/kernel/osrelease": "5.10.0-30-amd64"})
    assert "5.11" in tree.told("overlay='.'", "fsconfig(overlay, create)", errno.EPERM).cure
    found = tree.told("overlay='.'", "fsopen(overlay)", errno.ENODEV, text="overlay=.")
    assert found.cure == "sudo modprobe overlay"
    found = tree.told("overlay='.'", "fsopen(overlay)", errno.ENODEV, text="user,overlay=.")
    assert found.cause == "overlays-for-root-only"  # loading it would not help


@pytest.mark.parametrize(
    ("call", "number", "module"),
    [
        ("netlink(RTM_NEWLINK, veth)", errno.EOPNOTSUPP, "veth"),
        ("socket(AF_PACKET)", errno.EAFNOSUPPORT, "af_packet"),
    ],
)
def test_no_interfaces_for_a_gate(tmp_path: Path, call: str, number: int, module: str) -> None:
    found = Tree(tmp_path, {}).told("net=gate", call, number, "user,net=gate")
    assert found.cure == f"sudo modprobe {module}; in a container, on the host"


def test_too_old_for_read_only_trees(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"/proc/sys/kernel/osrelease": "5.10.0-30-amd64"})
    assert "5.12" in tree.told("ro='/usr'", "mount_setattr(/usr)", errno.ENOSYS).why


@pytest.mark.parametrize("release", ["4.4.0", "4.19.0-gvisor"])
def test_gvisor(tmp_path: Path, release: str) -> None:
    files = {
        "/proc/version": f"Linux version {release} #1 SMP Sun Jan 10 15:06:54 PST 2016",
        "/proc/sys/kernel/osrelease": release,
    }
    tree = Tree(tmp_path, files, missing=["/proc/self/ns/cgroup"])
    found = tree.told("cgroup", "unshare(CLONE_NEWCGROUP)", errno.EINVAL)
    assert found.why.startswith("the kernel here is gVisor ")


def test_wsl_1(tmp_path: Path) -> None:
    files = {"/proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft"}
    found = Tree(tmp_path, files).told("user", "unshare(CLONE_NEWUSER)", errno.EINVAL)
    assert found.cure == "wsl.exe --set-version DISTRIBUTION 2"


def test_wsl_2_is_linux(tmp_path: Path) -> None:
    files = {"/proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2"}
    found = Tree(tmp_path, files).told("net", "ioctl(SIOCSIFFLAGS)", errno.EPERM)
    assert found.why.startswith(UNKNOWN)


def test_a_control_group_that_is_full(tmp_path: Path) -> None:
    files = {
        "/proc/self/cgroup": "0::/user.slice/job.scope\n",
        "/sys/fs/cgroup/user.slice/job.scope/pids.max": "20\n",
        "/sys/fs/cgroup/user.slice/job.scope/pids.current": "20\n",
    }
    found = Tree(tmp_path, files).told("pid", "fork", errno.EAGAIN)
    assert found.why == (
        "the control group /sys/fs/cgroup/user.slice/job.scope allows 20 processes, and all are in "
        "use"
    )


@pytest.mark.parametrize(
    ("cgroup", "group"),
    [
        ("0::/user.slice/job.scope\n", "/user.slice"),  # of the one around it
        ("8:pids:/user.slice\n0::/\n", "/pids/user.slice"),  # cgroup v1
        ("8:pids:/docker/5e7a\n", "/pids"),  # the same in a container
    ],
)
@pytest.mark.parametrize("counted", [{"current": "2"}, {"current": "1", "events": "max 1"}])
def test_which_control_group(
    tmp_path: Path, cgroup: str, group: str, counted: dict[str, str]
) -> None:
    files = {f"/sys/fs/cgroup{group}/pids.{name}": text for name, text in counted.items()}
    files |= {f"/sys/fs/cgroup{group}/pids.max": "2", "/proc/self/cgroup": cgroup}
    found = Tree(tmp_path, files).told("pid", "fork", errno.EAGAIN)
    assert found.why.startswith(f"the control group /sys/fs/cgroup{group} allows 2 processes")


def test_a_control_group_that_does_not_show(tmp_path: Path) -> None:
    files = {"/proc/self/limits": "Max processes   unlimited  unlimited  processes\n"}
    found = Tree(tmp_path, {**files, "/.dockerenv": ""}).told("pid", "fork", errno.EAGAIN)
    assert found.cure == "docker run --pids-limit=100 ..."


@pytest.mark.parametrize("profile", ["unprivileged_userns (enforce)", "unconfined"])
@pytest.mark.parametrize(
    ("item", "call"),
    [
        ("user", "write(/proc/self/uid_map)"),
        ("user", "open(/proc/self/setgroups)"),
        ("net", "unshare(CLONE_NEWNET)"),
        ("net", "ioctl(SIOCSIFFLAGS)"),
        ("mount", "mount(/)"),
    ],
)
def test_ubuntu_after_user(tmp_path: Path, item: str, call: str, profile: str) -> None:
    files = {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        "/proc/self/attr/apparmor/current": profile + "\n",
        "/proc/self/uid_map": "0 1000 1\n",
        "/proc/self/status": "Uid:\t0\t0\nGid:\t0\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n",
    }
    for number in (errno.EPERM, errno.EACCES):
        found = Tree(tmp_path, files).told(item, call, number)
        assert found.why.endswith(
            "gives an ordinary program a user namespace without any power in it"
        )
        assert found.cure.startswith(
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        )


def test_ubuntu_at_unshare(tmp_path: Path) -> None:
    files = {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        "/proc/self/attr/current": "unconfined\n",
        "/sys/module/apparmor/parameters/enabled": "Y\n",
    }
    for number in (errno.EPERM, errno.EACCES):
        found = Tree(tmp_path, files).told("user", "unshare(CLONE_NEWUSER)", number)
        assert found.why.endswith(" gives an ordinary program no user namespace")


def test_ubuntu_with_the_restriction_lifted(tmp_path: Path) -> None:
    files = {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "0\n"}
    found = Tree(tmp_path, files).told("net", "ioctl(SIOCSIFFLAGS)", errno.EPERM)
    assert found.why.startswith(UNKNOWN)


def test_an_apparmor_profile(tmp_path: Path) -> None:
    files = {
        "/proc/self/attr/apparmor/current": "docker-default (enforce)\n",
        "/.dockerenv": "",
    }
    found = Tree(tmp_path, files).told("mount", "mount(/)", errno.EACCES)
    assert found.why == "the AppArmor profile 'docker-default' confines this process"
    assert found.cure.startswith("docker run --security-opt apparmor=unconfined")


def test_ubuntu_where_the_setting_is_unreadable(tmp_path: Path) -> None:
    files = {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ""}
    tree = Tree(tmp_path, files)
    found = tree.told("user", "unshare(CLONE_NEWUSER)", errno.EACCES)
    assert found.why.endswith(" gives an ordinary program no user namespace")


def test_ubuntu_does_not_restrict_root(tmp_path: Path) -> None:
    files = {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        "/proc/self/uid_map": "0 0 1\n",
        "/proc/self/status": STATUS.replace("1000", "0"),
    }
    found = Tree(tmp_path, files).told("net", "ioctl(SIOCSIFFLAGS)", errno.EPERM)
    assert found.why.startswith(UNKNOWN)


def test_ubuntu_seen_from_outside(tmp_path: Path) -> None:
    """As with PY_UNSHARE_ON_ERROR=warn, where a child has met the refusal."""
    files = {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}
    found = Tree(tmp_path, files).told("net", "ioctl(SIOCSIFFLAGS)", errno.EPERM)
    assert found.why.endswith(" a user namespace without any power in it")


@pytest.mark.parametrize(
    ("listing", "more"),
    [
        ("sockets=unix", "; and add user,net to the list"),
        ("user,mount,sockets=unix", "; and add net to the list"),
        ("user,net,sockets=unix", ""),
    ],
)
def test_sockets_by_socketcall(tmp_path: Path, listing: str, more: str) -> None:
    found = Tree(tmp_path, {}).told("sockets", "socketcall(AF_UNIX)", errno.ENOSYS, listing)
    assert found.cure == f"leave sockets=unix out of the list{more}"


def test_selinux(tmp_path: Path) -> None:
    files = {
        "/sys/fs/selinux/enforce": "1",
        "/proc/self/attr/current": "system_u:system_r:httpd_t:s0\0",
    }
    found = Tree(tmp_path, files).told("user", "unshare(CLONE_NEWUSER)", errno.EACCES)
    why = "SELinux is enforcing, and this process runs as 'system_u:system_r:httpd_t:s0'"
    assert found.why == f"{why}, which may make no user namespace"
    assert "'(allow httpd_t self (user_namespace (create)))'" in found.cure
    found = Tree(tmp_path, files).told("user,mount", "mount(/)", errno.EACCES)
    assert found.why == why
    assert found.cure.startswith("sudo ausearch ")


@pytest.mark.parametrize(
    ("number", "limit", "cure"),
    [
        (errno.EMFILE, "Max open files            16    4096    files", "ulimit -n 1024"),
        (errno.ENOMEM, "Max address space         999   999     bytes", "ulimit -v unlimited"),
    ],
)
def test_limits_of_the_process(tmp_path: Path, number: int, limit: str, cure: str) -> None:
    tree = Tree(tmp_path, {"/proc/self/limits": f"Limit  Soft Limit  Hard Limit  Units\n{limit}\n"})
    assert tree.told("net", "socket(AF_INET)", number).cure == cure


@pytest.mark.parametrize("call", ["unshare(CLONE_NEWNS)", "mount(/mnt)"])
def test_too_many_mounts(tmp_path: Path, call: str) -> None:
    tree = Tree(tmp_path, {"/proc/sys/fs/mount-max": "1", "/proc/sys/user/max_mnt_namespaces": "9"})
    assert tree.told("mount", call, errno.ENOSPC).cure == "sudo sysctl -w fs.mount-max=2"


def test_too_many_mounts_with_those_to_come(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"/proc/sys/fs/mount-max": "9"})
    assert tree.told("bind", "mount(/mnt)", errno.ENOSPC).cure == "sudo sysctl -w fs.mount-max=18"


@pytest.mark.parametrize(
    ("number", "files", "cure"),
    [
        (errno.EOPNOTSUPP, {}, "start the kernel without ipv6.disable=1, or have no "),
        (errno.EACCES, {"conf/lo/disable_ipv6": "1"}, "start the kernel without ipv6.disable_ipv6"),
    ],
)
def test_no_ipv6(tmp_path: Path, number: int, files: dict[str, str], cure: str) -> None:
    tree = Tree(tmp_path, {f"/proc/sys/net/ipv6/{name}": text for name, text in files.items()})
    found = tree.told("addr='fd00::1/64'", "netlink(RTM_NEWADDR)", number, "net,addr=fd00::1/64")
    assert found.cause == "no-ipv6" and found.cure.startswith(cure)


def test_the_initramfs_as_root(tmp_path: Path) -> None:
    """hosts/kernels applies the cure there."""
    tree = Tree(tmp_path, {"/proc/self/mountinfo": "1 1 0:2 / / rw - rootfs rootfs rw\n"})
    said = "pasta: Failed to pivot_root() into empty tmpfs: Invalid argument"
    error = UnshareError(0, said, "net='pasta'")
    found = told(explain("user,net=pasta", error, root=str(tree.root)))
    assert found.cause == "initramfs-as-root" and "net=slirp4netns" in found.cure


def test_a_proc_of_processes_alone(tmp_path: Path) -> None:
    mounts = (
        "27 1 254:0 / / rw - ext4 /dev/vda rw\n22 27 0:21 / /proc rw - proc proc rw,subset=pid\n"
    )
    tree = Tree(tmp_path, {"/proc/self/mountinfo": mounts})
    found = tree.told("proc", "mount(/proc)", errno.EPERM, text="user,pid")
    assert found.cure == "add proc=keep to the list"


def test_an_old_slirp4netns(newest: Python, workdir: Path) -> None:
    usage = "slirp4netns: unrecognized option '--disable-dns'\nUsage: slirp4netns [OPTION]..."
    (workdir / "slirp4netns").write_text(f'#!/bin/sh\necho "{usage}" >&2; exit 1\n')
    (workdir / "slirp4netns").chmod(0o755)
    found = told(
        run(newest, "user,mount,net=slirp4netns", env={"PATH": f"{workdir}:/bin:/usr/bin"})
    )
    assert found.cause == "old-slirp4netns"


@pytest.mark.parametrize(
    "profile", ["unprivileged_userns (enforce)", "mine//&unprivileged_userns (mixed)"]
)
def test_the_profile_of_ubuntu_where_its_setting_is_not(tmp_path: Path, profile: str) -> None:
    """As on Debian, with aa-exec(1)."""
    tree = Tree(tmp_path, {"/proc/self/attr/apparmor/current": f"{profile}\n"})
    found = tree.told("net", "unshare(CLONE_NEWNET)", errno.EPERM, text="user,net")
    assert found.cause == "apparmor-profile"
    assert found.cure.startswith("in that profile the flag attach_disconnected and the rules capa")


def test_a_profile_that_complains(tmp_path: Path) -> None:
    """Such as Debian's own; hosts/kernels applies the cure."""
    profile = "unprivileged_userns (complain)"
    tree = Tree(tmp_path, {"/proc/self/attr/apparmor/current": f"{profile}\n"})
    found = tree.told("user", "stat(/proc/self/ns/user)", errno.EACCES)
    assert found.cause == "apparmor-profile"
    assert found.cure == "the flag attach_disconnected in that profile"
    assert tree.told("net", "unshare(CLONE_NEWNET)", errno.EPERM).cause != "apparmor-profile"


def test_a_read_only_proc(tmp_path: Path) -> None:
    mounts = "27 1 254:0 / / rw - ext4 /dev/vda rw\n22 27 0:21 / /proc ro,nosuid - proc proc rw\n"
    tree = Tree(tmp_path, {"/proc/self/mountinfo": mounts})
    found = tree.told("user", "open(/proc/self/setgroups)", errno.EROFS)
    assert found.why == "/proc is mounted read-only"
    found = tree.told("proc", "mount(/proc)", errno.EPERM, text="user,pid")
    assert found.why == "/proc is mounted read-only, as in a container"


def test_nothing_to_show_a_fresh_one_by(tmp_path: Path) -> None:
    found = Tree(tmp_path, {}).told("proc", "mount(/proc)", errno.EPERM, text="user,pid")
    assert found.why == "no /proc is mounted here to begin with"


def test_no_directory_for_a_fresh_one(each: Python) -> None:
    """As in a sandbox of bwrap."""
    tops = [path for path in Path("/").iterdir() if path.name not in ("sys", "proc", "dev")]
    shared = [word for path in tops for word in ("--ro-bind-try", path, path)]
    wrapper = [require_tool("bwrap"), *shared, "--dev", "/dev", "--proc", "/proc"]
    found = told(run(each, "user,net,sys", wrapper))
    assert found.what == "sys: mount(/sys): No such file or directory (ENOENT)"
    assert found.why == "there is no directory /sys here"
    assert run(each, "user,net", wrapper).ok() == "user code\n"


@pytest.mark.parametrize("another", [False, True])
def test_a_fresh_one_that_only_seems_to_be_refused(newest: Python, another: bool) -> None:
    """Where a /proc is there in full, as in LXC's nesting and below systemd-nspawn's root."""
    masked = "mount --bind /dev/null /proc/timer_list"
    full = "mount -t tmpfs none /mnt; mkdir /mnt/p; mount -t proc proc /mnt/p"
    script = f"{full}; {masked}" if another else masked
    own = [*OWN, "--pid", "--fork", "--mount-proc"]
    wrapper = [*own, *shell(script), "setpriv", "--bounding-set=-sys_admin"]
    found = told(run(newest, "pid", wrapper))
    assert ("parts of /proc are masked" in found.why) is not another
    assert ("add proc=keep" in found.cure) is not another
    done = run(newest, "user,pid", wrapper)
    assert done.status == (0 if another else 125)


def test_no_resolver_configuration(newest: Python) -> None:
    empty = "mount -t tmpfs none /etc"
    found = told(run(newest, "user,net=gate", [*OWN, *shell(empty)]))
    assert found.cause == "no-resolver-configuration"
    cure = found.cure.partition(" (")[0].replace("sudo ", "")
    done = run(newest, "user,net=gate", [*OWN, *shell(f"{empty}; {cure}")])
    assert done.ok() == "user code\n"


def test_no_file(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {})
    assert tree.told("uts='/a'", "open(/a)", errno.ENOENT, "uts=/a").cure.startswith("lsns -t uts ")


# The same with the kernel's part played by strace, from the system call to the exit status.


def on_another_kernel(files: dict[str, str], *injection: str) -> list[str]:
    """A wrapper: files over /proc/sys/kernel, no CAP_SYS_ADMIN, and system calls that fail."""
    lines = ["mount -t tmpfs none /proc/sys/kernel", "echo 6.8.0 > /proc/sys/kernel/osrelease"]
    lines += [f"echo {text} > /proc/sys/kernel/{name}" for name, text in files.items()]
    wrapper = [*OWN, *shell("\n".join(lines)), "setpriv", "--bounding-set=-sys_admin"]
    return [*wrapper, *strace(*injection)]


def test_debians_switch(each: Python) -> None:
    """The kernel looks at the switch before it looks at the flags, so each try fails alike."""
    wrapper = on_another_kernel(
        {"unprivileged_userns_clone": "0"}, "-e", "inject=unshare:error=EPERM"
    )
    assert told(run(each, "user,net", wrapper)) == Told(
        "user: unshare(CLONE_NEWUSER): Operation not permitted (EPERM)",
        "kernel.unprivileged_userns_clone is 0: only root may make user namespaces here",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        "debian-switch",
    )


def test_ubuntus_restriction_at_unshare(each: Python) -> None:
    wrapper = on_another_kernel(
        {"apparmor_restrict_unprivileged_userns": "1"},
        *("-e", "inject=unshare:error=EACCES:when=1"),
    )
    found = told(run(each, "user,net", wrapper))
    assert found.what == "user: unshare(CLONE_NEWUSER): Permission denied (EACCES)"
    assert found.why.endswith(" gives an ordinary program no user namespace")


def test_ubuntus_restriction_at_the_maps(each: Python) -> None:
    wrapper = on_another_kernel(
        {"apparmor_restrict_unprivileged_userns": "1"},
        *("-e", "inject=write:error=EPERM:when=2"),  # setgroups, uid_map, gid_map
    )
    found = told(run(each, "user,net", wrapper))
    assert found.what == "user: write(/proc/self/uid_map): Operation not permitted (EPERM)"
    assert found.why.endswith(" a user namespace without any power in it")
