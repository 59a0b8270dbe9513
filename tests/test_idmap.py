"""Id maps: what the ids are inside, who had to write them, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import Python, Session, id_map, require_root, require_tool
from harness.machine import Machine

SUBID = Path(__file__).parent / "programs" / "subid.c"
IDS = """
import os
print(os.getuid(), os.getgid(), open("/proc/self/setgroups").read().strip())
for kind in "ug":
    print(*(":".join(line.split()) for line in open(f"/proc/self/{kind}id_map")))
"""
SETTLE = "import os; os.setgroups([3]); os.setresgid(2, 2, 2); os.setresuid(2, 2, 2); print('2')"


@pytest.fixture
def machine(either: Python, workdir: Path) -> Machine:
    """See Machine."""
    require_root()
    require_tool("newuidmap")
    require_tool("setpriv")
    return Machine(either, workdir)


# One's own two ids.


def test_any_ids(either: Python) -> None:
    uid, gid = either.user.uid, either.user.gid
    assert either.run(IDS, unshare="user=1000:1001").ok() == (
        f"1000 1001 deny\n1000:{uid}:1\n1001:{gid}:1\n"
    )


def test_the_group_keeps_its_number(either: Python) -> None:
    uid, gid = either.user.uid, either.user.gid
    assert either.run(IDS, unshare="user=7").ok() == f"7 {gid} deny\n7:{uid}:1\n{gid}:{gid}:1\n"


def test_the_last_id(newest: Python) -> None:
    done = newest.run(IDS, unshare="user=4294967294:4294967294")
    assert done.ok().startswith("4294967294 4294967294 deny\n")


def test_names(newest: Python) -> None:
    import grp
    import pwd

    uid, gid = pwd.getpwnam("nobody").pw_uid, grp.getgrnam("daemon").gr_gid
    assert newest.run(IDS, unshare="user=nobody:daemon").ok().startswith(f"{uid} {gid} deny\n")


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ("user=rot", "there is no user 'rot' (did you mean root?)"),
        ("user=curent", "there is no user 'curent' (did you mean current?)"),
        ("user=no-such-user", "there is no user 'no-such-user'\n"),
        ("user=0:no-such-group", "there is no group 'no-such-group'\n"),
        ("user,map-users=no-such-user:1:1", "map-users='no-such-user:1:1': there is no user"),
        ("user,map-groups=1:no-such-group:1", "there is no group 'no-such-group'\n"),
    ],
)
def test_unknown_names(newest: Python, listing: str, said: str) -> None:
    done = newest.run("print('user code')", unshare=listing)
    assert (done.status, done.stdout) == (125, "")
    assert said in done.stderr


def test_files_belong_to_the_user_outside(newest: Python, workdir: Path) -> None:
    code = "import os; open('made', 'w'); s = os.stat('made'); print(s.st_uid, s.st_gid)"
    assert newest.run(code, unshare="user=1000:1001", cwd=workdir).ok() == "1000 1001\n"
    status = (workdir / "made").stat()
    assert (status.st_uid, status.st_gid) == (newest.user.uid, newest.user.gid)


# A process that is not dumpable.


def undumpable(python: Python, workdir: Path) -> list[str | Path]:
    """A command line of an interpreter that its user can execute and not read, but for `-c`."""
    program = workdir / "python"
    shutil.copy2(python.base, program)
    program.chmod(0o711)
    owner = 0 if os.getuid() == 0 else python.user.uid
    os.chown(program, owner, -1)
    prefix = python.base.parent.parent
    path = f"PYTHONPATH={python.site_packages}"
    return ["env", f"PYTHONHOME={prefix}", path, program]


DUMPABLE = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)); "
HOOK = "import unshare_boot; unshare_boot.boot(); "


@pytest.mark.parametrize(
    "listing", ["user", "user=5:6", "user,time=+5d", "user,net,setgroups=deny"]
)
def test_a_process_that_is_not_dumpable(either: Python, workdir: Path, listing: str) -> None:
    require_root()
    command = [*undumpable(either, workdir), "-c", HOOK + DUMPABLE + IDS]
    done = either.user.run(command, env={"PY_UNSHARE": listing})
    uid = either.user.uid
    inner = 5 if listing == "user=5:6" else 0
    lines = done.ok().splitlines()
    assert lines[0] == "0"  # as before: what others may read of its memory is not for us to say
    assert lines[2] == f"{inner}:{uid}:1"
    plain = either.user.run([*undumpable(either, workdir), "-c", DUMPABLE])
    assert plain.ok() == "0\n"  # or nothing was tested


def test_ids_by_helper_of_a_process_that_is_not_dumpable(machine: Machine, workdir: Path) -> None:
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:100000:10\n")
    command = [*undumpable(machine.python, workdir), "-c", HOOK + DUMPABLE + IDS]
    done = machine.run(command, "user=auto")
    uid = machine.python.user.uid
    assert done.ok().splitlines()[:3] == ["0", "0 0 allow", f"0:{uid}:1 1:100000:10"]


# newuidmap and newgidmap.


def test_auto(machine: Machine) -> None:
    uid, gid = machine.python.user.uid, machine.python.user.gid
    machine.write("subuid", f"# tess:9:9\n{uid}:100000:1000\nother:1:9\n\ntess:300000:5\n")
    machine.write("subgid", "tess:100000:1000\n")
    assert machine.run(IDS, "user=auto").ok() == (
        f"0 0 allow\n0:{uid}:1 1:100000:1000 1001:300000:5\n0:{gid}:1 1:100000:1000\n"
    )
    assert machine.run(SETTLE, "user=auto").ok() == "2\n"
    assert machine.run(IDS, "user=auto,setgroups=deny").ok().startswith("0 0 deny\n")


def test_files_of_other_ids(machine: Machine) -> None:
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:200000:10\n")
    made = machine.directory / "made"
    code = f"import os; open({str(made)!r}, 'w'); os.chown({str(made)!r}, 3, 4)"
    machine.directory.chmod(0o777)
    machine.run(code, "user=auto").ok()
    assert (made.stat().st_uid, made.stat().st_gid) == (100002, 200003)


LEFT = """
import glob, os, signal
print(sum((open(path).read().split() for path in glob.glob("/proc/self/task/*/children")), []))
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child")
# Above standard error nothing, but for libffi's own file, which new ones keep open once loaded.
links = [f"/proc/self/fd/{fd}" for fd in range(3, 100) if os.path.exists(f"/proc/self/fd/{fd}")]
print([path for path in map(os.readlink, links) if "/libffi" not in path])
print(signal.getsignal(signal.SIGCHLD).name)
"""


@pytest.mark.parametrize("ignored", ["", "CHLD"])
def test_the_helper_leaves_nothing(machine: Machine, ignored: str) -> None:
    """Also where the kernel reaps children by itself, since SIGCHLD is ignored."""
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:100000:10\n")
    disposition = "SIG_IGN" if ignored else "SIG_DFL"
    done = machine.run(LEFT, "user=auto", ignored=ignored)
    assert done.ok() == f"[]\nno child\n[]\n{disposition}\n"
    done = machine.run("print('user code')", "user,map-users=1:200000:4", ignored=ignored)
    assert (done.status, done.stdout) == (125, "")
    assert "what: map-users: newuidmap: uid range" in done.stderr
    assert "child" not in done.stderr


@pytest.mark.parametrize(
    ("fault", "status"), [("signal=KILL", -signal.SIGKILL), ("error=ENOSPC", 125)]
)
def test_the_helper_does_not_survive(machine: Machine, fault: str, status: int) -> None:
    """It waits for a word that never comes; and it has the pipe that this test reads to the end."""
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:100000:10\n")
    command = machine.python.command("print('user code')")
    inject = [require_tool("strace"), "-f", "-o", "/dev/null", "-e", f"inject=unshare:{fault}"]
    done = machine.run([*inject, *command], "user=auto")
    assert (done.status, done.stdout) == (status, "")


def test_without_ids_the_refusal_says_which_line_to_add(machine: Machine) -> None:
    machine.write("subuid", "other:100000:65536\n")
    done = machine.run("print('user code')", "user=auto")
    assert (done.status, done.stdout) == (125, "")
    assert "add the line tess:165536:65536 to /etc/subuid and to /etc/subgid" in done.stderr
    machine.write("subuid", "other:100000:65536\ntess:165536:65536\n")
    done = machine.run("print('user code')", "user=auto")
    assert done.status == 125
    assert "add the line tess:231072:65536 to /etc/subgid\n" in done.stderr


def test_the_line_to_add_is_right(machine: Machine) -> None:
    done = machine.run("", "user=auto")
    line = done.stderr.split("add the line ")[1].split()[0]
    machine.write("subuid", f"{line}\n")
    machine.write("subgid", f"{line}\n")
    assert machine.run(SETTLE, "user=auto").ok() == "2\n"


def test_without_the_program_the_refusal_names_its_package(machine: Machine) -> None:
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:100000:10\n")
    done = machine.run("print('user code')", "user=auto", path="/nonexistent")
    assert (done.status, done.stdout) == (125, "")
    assert "newuidmap is not installed" in done.stderr and "uidmap" in done.stderr


def test_what_newuidmap_refuses_is_said_in_its_words(machine: Machine) -> None:
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:100000:10\n")
    done = machine.run("print('user code')", "user,map-users=1:200000:4")
    assert (done.status, done.stdout) == (125, "")
    assert "map-users: newuidmap: uid range" in done.stderr
    done = machine.run("print('user code')", "user,map-groups=1:200000:4")
    assert (done.status, done.stdout) == (125, "")
    assert "map-groups: newgidmap: gid range" in done.stderr


# A service that sets ids aside, instead of files: `subid:` in nsswitch.conf(5).


@pytest.fixture
def service(machine: Machine, session: Session) -> Path:
    """A directory with the library of such a service, and nsswitch.conf."""
    require_tool("getsubids")
    library = session.directory / "libsubid_lab.so"
    options = ("-Wall", "-shared", "-fPIC")
    compiler = require_tool("cc")
    session.once("subid", lambda: session.tool([compiler, *options, "-o", library, SUBID]))
    machine.write("nsswitch.conf", "# subid: files\npasswd: files\nsubid:\tlab files\n")
    return session.directory


# newuidmap(1) has privileges, so it loads libraries from where ld.so.cache says: ldconfig(8).
HAVE_SERVICE = """
echo {0} >{1}/ld.so.conf && PATH=$PATH:/sbin:/usr/sbin ldconfig -X -f {1}/ld.so.conf -C {1}/cache
mount --bind {1}/cache /etc/ld.so.cache && mount --bind {1}/nsswitch.conf /etc/nsswitch.conf
"""


def test_ids_that_a_service_sets_aside(machine: Machine, service: Path) -> None:
    machine.write("subuid", "tess:100000:10\n")  # which nobody asks then
    setup = HAVE_SERVICE.format(service, machine.directory)
    uid, gid = machine.python.user.uid, machine.python.user.gid
    assert machine.run(IDS, "user=auto", setup=setup).ok() == (
        f"0 0 allow\n0:{uid}:1 1:500000:10\n0:{gid}:1 1:500000:10\n"
    )
    assert machine.run(SETTLE, "user=auto", setup=setup).ok() == "2\n"


def test_a_service_that_sets_no_ids_aside(machine: Machine, service: Path) -> None:
    uid, gid = machine.python.user.uid, machine.python.user.gid
    machine.write("passwd", f"jo:x:{uid}:{gid}::/:/bin/sh\n")
    setup = HAVE_SERVICE.format(service, machine.directory)
    said = machine.run("print('user code')", "user=auto", setup=setup)
    assert (said.status, said.stdout) == (125, "")
    assert (
        "no ids are set aside for jo by lab (/etc/nsswitch.conf, subid): as root, add the line "
        in said.stderr
    )
    line = said.stderr.split("add the line ")[1].split()[0]
    assert "/etc/subuid and to /etc/subgid, and have subid: files in /etc/nsswitch" in said.stderr
    machine.write("subuid", f"{line}\n")
    machine.write("subgid", f"{line}\n")
    machine.write("nsswitch.conf", "subid: files\n")
    assert machine.run(SETTLE, "user=auto", setup=setup).ok() == "2\n"


def test_a_service_without_the_program_that_asks_it(machine: Machine, service: Path) -> None:
    for name in ("newuidmap", "newgidmap"):
        (machine.directory / name).symlink_to(require_tool(name))
    setup = HAVE_SERVICE.format(service, machine.directory)
    said = machine.run("print('user code')", "user=auto", setup=setup, path=str(machine.directory))
    assert (said.status, said.stdout) == (125, "")
    assert "what lab sets aside (/etc/nsswitch.conf, subid) is listed by getsubids" in said.stderr
    assert "is not installed: Debian and Ubuntu have it in the package uidmap" in said.stderr


def test_a_service_that_cannot_be_loaded(machine: Machine) -> None:
    """Both programs go by the files then."""
    machine.write("nsswitch.conf", "SubID: nothing-here\n")
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:100000:10\n")
    setup = f"mount --bind {machine.directory}/nsswitch.conf /etc/nsswitch.conf"
    assert machine.run(SETTLE, "user=auto", setup=setup).ok() == "2\n"


# Each is refused, and its cure is applied.

TESS = "tess:100000:10\n"
NOSUID = "mount --bind /usr/bin /usr/bin; mount -o remount,bind,nosuid /usr/bin"
NOT_SETUID = """
mkdir -p {0}; cp /usr/bin/newuidmap /usr/bin/newgidmap {0}; chmod 0755 {0}/*; PATH={0}:$PATH"""
DROP = "--reuid {uid} --regid {gid} --clear-groups"


def refused(machine: Machine, *setup: str, **options: Any) -> dict[str, str]:
    """Run under user=auto with ids set aside, and return the lines of the refusal by label."""
    machine.write("subuid", TESS)
    machine.write("subgid", TESS)
    done = machine.run("print('user code')", "user=auto", setup="; ".join(setup), **options)
    assert (done.status, done.stdout) == (125, ""), done
    return dict(line.strip().split(": ", 1) for line in done.stderr.splitlines()[1:])


def works(machine: Machine, *setup: str, **options: Any) -> None:
    done = machine.run(SETTLE, "user=auto", setup="; ".join(setup), **options)
    assert done.ok() == "2\n"


def cure_of(said: dict[str, str], why: str) -> str:
    assert why in said["why"] and said["more"].endswith("#newuidmap-without-privileges")
    return said["cure"].strip()


def test_no_new_privileges(machine: Machine) -> None:
    said = refused(machine, drop=f"{DROP} --no-new-privs")
    assert cure_of(said, "no_new_privs is set here")
    works(machine)


def test_mounted_nosuid(machine: Machine) -> None:
    cure = cure_of(refused(machine, NOSUID), " is mounted nosuid, /usr/bin, ")
    works(machine, NOSUID, cure.replace("sudo ", ""))


def test_not_setuid(machine: Machine) -> None:
    copied = NOT_SETUID.format(machine.directory / "bin")
    cure = cure_of(refused(machine, copied), " is not setuid, and has no file capabilities")
    cures = [cure.replace("sudo ", ""), cure.replace("sudo ", "").replace("newuidmap", "newgidmap")]
    works(machine, copied, *cures)


def test_traced(machine: Machine) -> None:
    strace = [require_tool("strace"), "-f", "-qq", "-o", "/dev/null"]
    machine.write("subuid", TESS)
    machine.write("subgid", TESS)
    done = machine.run([*strace, *machine.python.command("print('user code')")], "user=auto")
    said = dict(line.strip().split(": ", 1) for line in done.stderr.splitlines()[1:])
    assert cure_of(said, "this process is traced, ") == (
        "have root trace it: sudo strace --user=USER -f COMMAND"
    )
    as_root = [*strace, "--user=tess", *machine.python.command(SETTLE)]
    assert machine.run(as_root, "user=auto", drop="").ok() == "2\n"


@pytest.mark.parametrize(
    "lacking", [["SYS_ADMIN"], ["DAC_OVERRIDE", "SETGID", "SETUID", "SYS_ADMIN"]]
)
def test_without_the_capabilities_of_a_container(machine: Machine, lacking: list[str]) -> None:
    less = ",".join(f"-{name.lower()}" for name in lacking)
    said = refused(machine, drop=f"{DROP} --bounding-set={less}")
    cure = cure_of(said, f"newuidmap needs CAP_{', CAP_'.join(lacking)}, ")
    assert all(name in cure for name in lacking)
    works(machine)


def test_a_user_without_a_name(machine: Machine) -> None:
    machine.write("passwd", "root:x:0:0::/:/bin/sh\n")
    machine.write("subuid", TESS.replace("tess", str(machine.python.user.uid)))
    machine.write("subgid", TESS.replace("tess", str(machine.python.user.uid)))
    done = machine.run("print('user code')", "user=auto")
    line = done.stderr.split("as root, add the line ")[1].split(" to /etc/passwd")[0]
    machine.write("passwd", "root:x:0:0::/:/bin/sh\n" + line.replace("NAME", "tess") + "\n")
    works(machine)


def test_a_user_in_another_group(machine: Machine) -> None:
    machine.write("subuid", TESS)
    machine.write("subgid", TESS)
    uid, gid = machine.python.user.uid, machine.python.user.gid
    drop = f"--reuid {uid} --regid 0 --clear-groups"
    done = machine.run("print('user code')", "user=auto", drop=drop)
    assert (done.status, done.stdout) == (125, "")
    cure = done.stderr.split("for a container, --user=")[1].strip()
    assert cure == f"{uid}:{gid}"
    works(machine)


@pytest.mark.parametrize("granted", ["", "root:100000:65536\n"])
def test_a_line_to_add_where_ids_are_few(either: Python, workdir: Path, granted: str) -> None:
    """Root of a container that has an id map."""
    require_root()
    machine = Machine(either, workdir)
    for name in ("subuid", "subgid"):
        machine.write(name, granted)
    nested = [str(either.executable), "-c", SETTLE]
    code = f"""
import os
os.environ["PY_UNSHARE"] = "user=auto"
os.execv({nested[0]!r}, {nested!r})
"""
    few = "user,map-users=1:200000:65535,map-groups=1:200000:65535"
    done = machine.run(code, few, drop="")
    assert (done.status, done.stdout) == (125, ""), done
    assert "root:1:65535" in done.stderr
    for name in ("subuid", "subgid"):
        machine.write(name, "root:1:65535\n")
    assert machine.run(code, few, drop="").ok() == "2\n"


def test_ranges_of_one_s_own(machine: Machine) -> None:
    uid, gid = machine.python.user.uid, machine.python.user.gid
    machine.write("subuid", "tess:100000:10\n")
    machine.write("subgid", "tess:100000:10\n")
    listing = "user=current,map-users=0:100003:1,map-users=1:100000:2,map-groups=0:100009:1"
    assert machine.run(IDS, listing).ok() == (
        f"{uid} {gid} allow\n{uid}:{uid}:1 0:100003:1 1:100000:2\n{gid}:{gid}:1 0:100009:1\n"
    )


# Root writes the maps by itself.


def test_root_maps_what_it_likes(either: Python) -> None:
    listing = "user,map-users=1:100000:4,map-groups=1:100000:2"
    done = either.run(IDS, unshare=listing, as_root=True)
    assert done.ok() == "0 0 allow\n0:0:1 1:100000:4\n0:0:1 1:100000:2\n"
    done = either.run(IDS, unshare=f"{listing},setgroups=deny", as_root=True)
    assert done.ok().startswith("0 0 deny\n")


def test_all(either: Python) -> None:
    done = either.run(IDS, unshare="user=all", as_root=True)
    maps = [id_map("self", kind) for kind in ("uid", "gid")]
    whole = [" ".join(f"{inner}:{inner}:{count}" for inner, _, count in each) for each in maps]
    assert done.ok() == "0 0 allow\n" + "".join(f"{line}\n" for line in whole)
    assert either.run(SETTLE, unshare="user=all", as_root=True).ok() == "2\n"
    nested = "import os; os.environ['PY_UNSHARE'] = 'user=all'; import unshare_boot as u; u.boot();"
    done = either.run(nested + IDS, unshare="user,map-users=5:7:2,map-groups=9:9:9", as_root=True)
    assert done.ok() == "0 0 allow\n0:0:1 5:5:2\n0:0:1 9:9:9\n"
    done = either.run(nested + IDS, unshare="user")  # all that there is, is one's own
    assert done.ok() == "0 0 deny\n0:0:1\n0:0:1\n"


def test_all_needs_privilege(newest: Python) -> None:
    done = newest.run("print('user code')", unshare="user=all")
    assert (done.status, done.stdout) == (125, "")
    assert "user=auto" in done.stderr


def test_setgroups(newest: Python) -> None:
    done = newest.run(IDS, unshare="user,setgroups=allow", as_root=True)
    assert done.ok().startswith("0 0 allow\n")
    assert newest.run(IDS, unshare="user,setgroups=deny").ok().startswith("0 0 deny\n")
    done = newest.run("print('user code')", unshare="user,setgroups=allow")
    assert (done.status, done.stdout) == (125, "")
    assert "setgroups=deny" in done.stderr


@pytest.mark.parametrize("as_root", [False, True])
@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ("user=0:0,map-users=0:100000:1", "uid 0 inside is mapped twice"),
        ("user,map-users=5:100:9,map-users=13:200:1", "uid 13 inside is mapped twice"),
        ("user,map-users=5:100:9,map-users=50:104:2", "uid 104 to 105 outside is mapped twice"),
        ("user,map-groups=5:100:9,map-groups=1:300:6", "gid 5 to 6 inside is mapped twice"),
        (",".join(["user", *(f"map-users={n}:{n}:1" for n in range(1, 341))]), "341 ranges"),
    ],
    ids=["0", "touching", "outside", "groups", "many"],
)
def test_overlaps(newest: Python, listing: str, said: str, as_root: bool) -> None:
    done = newest.run("print('user code')", unshare=listing, as_root=as_root)
    assert (done.status, done.stdout) == (125, "")
    assert said in done.stderr


def test_many_ranges(newest: Python) -> None:
    listing = ",".join(["user", *(f"map-users={n}:{2 * n}:1" for n in range(1, 340))])
    done = newest.run(IDS, unshare=listing, as_root=True)
    assert len(done.ok().splitlines()[1].split()) == 340


def test_holes(newest: Python) -> None:
    """Ids that a process in a user namespace itself can map are those that this one has."""
    code = """
import unshare_boot
try:
    unshare_boot.unshare("user,map-users=1:1:3")
except unshare_boot.UnshareError as error:
    print(error)
print(open("/proc/self/uid_map").read().split())
"""
    done = newest.run(code, unshare="user,map-users=1:100:2", as_root=True)
    assert done.ok() == (
        "map-users: there is no uid 3 outside, see /proc/self/uid_map\n"
        "['0', '0', '1', '1', '100', '2']\n"
    )
    done = newest.run("print('user code')", unshare="user,map-users=1:4294967294:1")
    assert done.status == 125
    done = newest.run(
        code.replace("1:1:3", "5:40:1"), unshare="user,map-users=50:100:2", as_root=True
    )
    assert done.ok().startswith("map-users: there is no uid 40 outside")


def test_seen_from_outside(newest: Python) -> None:
    with newest.hold("user=1000:1001") as pid:
        assert id_map(pid, "uid") == [(1000, newest.user.uid, 1)]
        assert id_map(pid, "gid") == [(1001, newest.user.gid, 1)]
        assert subprocess.run(["ps", "--ppid", str(pid)], stdout=subprocess.PIPE).returncode == 1
