"""rw and hide: one place to write, what nobody can read, and what may not be covered at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness import (
    Finished,
    Python,
    User,
    ours,
    own_shared_mounts,
    require_root,
    require_strace,
    require_tool,
)

# Tells of each path what can be done there, in one word.
LOOK = """
import errno, os, sys
def said(function, *arguments):
    try: return function(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
def look(path):
    if os.path.isdir(path):
        new = os.path.join(path, "new")
        told = said(lambda: open(new, "w").close() or os.remove(new) or "written")
        return f"{told} {said(lambda: sorted(os.listdir(path)))}"
    return said(lambda: open(path).read())
for path in sys.argv[1:]: print(os.path.basename(path), look(path))
"""


@pytest.fixture
def home(workdir: Path, user: User) -> Path:
    """A home directory with a project, keys, and a file that lets into something."""
    top = workdir / "home"
    for name in ("project/sub", "project/.git", ".ssh", "other/deep"):
        (top / name).mkdir(parents=True)
    for name in ("project/code", "project/.git/config", ".ssh/id", ".netrc", "other/file"):
        (top / name).write_text(name)
    if os.getuid() == 0:
        for path in [top, *top.rglob("*")]:
            os.chown(path, user.uid, user.gid)
    return top


def look(python: Python, unshare: str, home: Path, *paths: str, **options: object) -> list[str]:
    """What the program finds at paths of the home, started in the project."""
    arguments = ["-c", LOOK, *(home / each for each in paths)]
    options.setdefault("cwd", home / "project")
    done = python.run(arguments, unshare=unshare, env={"HOME": str(home)}, **options)  # type: ignore[arg-type]
    return done.ok().splitlines()


ORDERS = ["ro=/,rw=.", "rw=.,ro=/", "ro=/,rw=.,rw=.", "ro=..,rw=.", "rw=.,ro=/,ro=/"]


@pytest.mark.parametrize("mounts", ORDERS)
@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_rw_stays_writable(either: Python, home: Path, mounts: str, as_root: bool) -> None:
    unshare = f"mount,{mounts}" if as_root else f"user,{mounts}"
    found = look(either, unshare, home, "project", "project/sub", "other", as_root=as_root)
    assert [line.split()[1] for line in found] == ["written", "written", "EROFS"]


def test_what_is_read_only_below_rw_stays_so(newest: Python, home: Path) -> None:
    for mounts in ("ro=.git,ro=/,rw=.", "ro=/,rw=.,ro=.git", "rw=.,ro=.git,ro=/"):
        found = look(newest, f"user,{mounts}", home, "project", "project/.git", "other")
        assert [line.split()[1] for line in found] == ["written", "EROFS", "EROFS"], mounts


def test_rw_brings_what_is_mounted_below(newest: Python, home: Path) -> None:
    found = look(newest, "user,tmpfs=sub,ro=/,rw=.", home, "project", "project/sub")
    assert found == ["project written ['.git', 'code', 'sub']", "sub written []"]


@pytest.mark.parametrize("call", ["mount_setattr", "open_tree", "open_tree,mount_setattr"])
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_rw_before_the_newer_system_calls(
    newest: Python, home: Path, call: str, error: str
) -> None:
    """Old kernels lack them, and old seccomp profiles forbid them."""
    strace = [require_strace(call), "-f", "-o", "/dev/null"]
    strace += ["-e", f"inject={call}:error={error}"]
    for mounts in ("ro=/,rw=.", "ro=..,tmpfs=sub,rw=.", "ro=.git,rw=.,ro=/"):
        command = newest.command(["-c", LOOK, home / "project", home / "project/.git", home])
        env = {"PY_UNSHARE": f"user,{mounts}"}
        done = newest.user.run([*strace, *command], env=env, cwd=home / "project")
        git = "EROFS" if "ro=.git" in mounts else "written"
        assert [line.split()[1] for line in done.ok().splitlines()] == ["written", git, "EROFS"]


@pytest.mark.parametrize("mounts", ["ro=/", "ro=/,rw=."])
def test_ro_before_mount_setattr_where_not_every_mount_can_be_reached(
    newest: Python, home: Path, mounts: str
) -> None:
    """One below a directory of root's, mode 0700: the remounts leave that out."""
    strace = [require_strace("open_tree,mount_setattr"), "-f", "-o", "/dev/null"]
    strace += ["-e", "inject=open_tree,mount_setattr:error=ENOSYS"]
    who = newest.user
    change = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
    script = 'mkdir -m 700 "$0" && mkdir "$0/on" && mount -t tmpfs x "$0/on" && exec "$@"'
    closed = str(home.parent / "closed")
    outer = [*own_shared_mounts(), "sh", "-c", script, closed]
    command = newest.command(["-c", LOOK, home / "project", home])
    done = newest.root.run(
        [*outer, *change, *strace, *command],
        env={"PY_UNSHARE": f"user,{mounts}"},
        cwd=home / "project",
    )
    found = [line.split()[1] for line in done.ok().splitlines()]
    assert found == ["written" if "rw" in mounts else "EROFS", "EROFS"]


def test_what_others_inside_could_get_to_is_not_left_out(newest: Python, home: Path) -> None:
    """Root without CAP_DAC_OVERRIDE cannot get there, and can become the user who can."""
    without = "-dac_override,-dac_read_search"
    strace = [require_strace("open_tree,mount_setattr"), "-f", "-o", "/dev/null"]
    strace += ["-e", "inject=open_tree,mount_setattr:error=ENOSYS"]
    closed = str(home.parent / "closed")
    script = f"""
        mkdir -m 700 "$0" && mkdir "$0/on" && mount -t tmpfs x "$0/on" &&
        chown {newest.user.uid} "$0" && exec "$@"
    """
    outer = [*own_shared_mounts(), "sh", "-c", script, closed]
    command = newest.command("print('user code')")
    done = newest.root.run(
        [*outer, "setpriv", f"--bounding-set={without}", *strace, *command],
        env={"PY_UNSHARE": "mount,ro=/"},
        cwd=home / "project",
    )
    assert (done.status, done.stdout) == (125, ""), done
    assert f"ro='/': open({closed}/on): Permission denied (EACCES)" in done.stderr


# Renames directories, and back: here, in user and mount namespaces of its own, and at a bind there.
RENAMES = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def rename():
    for path in sys.argv[1:]:
        try: os.rename(path, path + "-moved")
        except OSError as error: said = errno.errorcode[error.errno]
        else: said = "moved"; os.rename(path + "-moved", path)
        print(os.path.basename(path), said, flush=True)
rename()
if libc.unshare(0x10020000): sys.exit("unshare")
rename()
if libc.mount(b"/", b"/mnt", None, 0x5000, None): sys.exit("mount")
os.chroot("/mnt")
rename()
"""


@pytest.mark.parametrize(
    "mounts",
    [
        "mount=shared,ro=project/sub",
        "ro=project/sub",
        "ro=project/code",
        "ro=project/code,ro=project/sub",
        "hide=project/.git,ro=project/sub",
        "ro=project/sub,tmpfs=project/.git,bind=other:project/sub/on",
    ],
)
@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_what_is_above_ro_stays_where_it_is(
    newest: Python, home: Path, mounts: str, as_root: bool
) -> None:
    """Else its name would be free for something else, that can be written."""
    (home / "project/sub/on").mkdir()
    if as_root:  # whose shared mounts could appear outside: refused
        mounts = mounts.replace("mount=shared", "mount")
    listing = f"{mounts},caps=none" if as_root else f"user=current,{mounts},caps=none"
    if as_root and os.getuid() == 0:
        for path in [home.parent, *home.parent.rglob("*")]:
            os.chown(path, 0, 0)
    arguments: list[str | Path] = ["-c", RENAMES, home, home / "project", home / "other"]
    done = newest.run(arguments, unshare=listing, cwd=home, as_root=as_root)
    each = [f"{home.name} EBUSY", "project EBUSY", "other moved"]
    assert done.ok().splitlines() == each * 3


@pytest.mark.parametrize("propagation", ["shared", "slave", "unchanged"])
def test_and_so_with_other_propagation(newest: Python, home: Path, propagation: str) -> None:
    """What is mounted on a shared mount is seen on all of its peers, one's own among them."""
    code = "import os; print(sorted(os.listdir()), os.getcwd()); os.rename('../sub', '../new')"
    done = newest.run(code, unshare=f"user,mount={propagation},ro=.", cwd=home / "project/sub")
    assert done.stdout == f"{sorted(os.listdir(home / 'project/sub'))} {home}/project/sub\n"
    assert "OSError: [Errno 16] Device or resource busy" in done.stderr


def test_also_where_the_host_has_mounted_something_beside_it(newest: Python, home: Path) -> None:
    """Then the kernel shows the directory above with all that is mounted there, or not at all."""
    who = newest.user
    change = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
    script = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
    outer = [*own_shared_mounts(), "sh", "-c", script, str(home / "project/sub")]
    paths = [home, home / "project", home / "other"]
    command = [*outer, *change, *newest.command(["-c", RENAMES, *paths])]
    env = {"PY_UNSHARE": "user=current,ro=project/.git,ro=project/code,caps=none"}
    done = newest.root.run(command, env=env, cwd=home)
    each = [f"{home.name} EBUSY", "project EBUSY", "other moved"]
    assert done.ok().splitlines() == each * 3


def test_where_the_working_directory_is_in_dev(newest: Python) -> None:
    """There is what keeps the others where they are: it is there as it was."""
    script = """
        mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mkdir -p /dev/shm/a/ro && cd /dev/shm/a &&
        touch file && chown -R "$0" /dev/shm/a && exec "$@"
    """
    who = newest.user
    change = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
    code = """
import os
os.rename("file", "/dev/shm/moved")
print(os.getcwd(), os.listdir())
try: os.rename("/dev/shm/a", "/dev/shm/b")
except OSError as error: print(error.strerror)
"""
    outer = [*own_shared_mounts(), "sh", "-c", script, str(who.uid)]
    command = [*outer, *change, *newest.command(code)]
    done = newest.root.run(command, env={"PY_UNSHARE": "user=current,ro=ro,caps=none"})
    assert done.ok() == "/dev/shm/a ['ro']\nDevice or resource busy\n"


def test_and_no_border_is_new(newest: Python, home: Path) -> None:
    """What can be moved elsewhere can be so as before, and the working directory is the new one."""
    code = """
import os
os.rename('../code', '../../other/code')
os.link('../../other/code', '../code')
try: open('new', 'w')
except OSError as error: print(error.strerror, os.getcwd())
"""
    done = newest.run(code, unshare="user,ro=.", cwd=home / "project/sub")
    assert done.ok() == f"Read-only file system {home}/project/sub\n"


def test_rw_makes_nothing_writable(newest: Python, home: Path) -> None:
    outer = f"user,ro={home}"
    command = newest.command("print('user code')")
    code = f"""
import os, subprocess, sys
os.environ["PY_UNSHARE"] = "user,ro=/,rw=."
sys.exit(subprocess.call({[*map(str, command)]}))
"""
    done = newest.run(code, unshare=f"{outer},rw=/proc,ro=/", cwd=home / "project")
    assert (done.status, done.stdout) == (125, "")
    assert "rw='.': '.' is read-only already" in done.stderr


@pytest.mark.parametrize(
    ("unshare", "said"),
    [
        ("user,rw=.", "rw: needs ro, hide or tmpfs: add ro=/ to the list"),
        ("user,rw=.,ro=.", "rw='.': contradicts ro='.'"),
        ("user,hide=other,rw=other", "rw='other': contradicts hide='other'"),
        ("user,ro=/,rw=code", "rw='code': 'code' is no directory"),
        ("user,ro=/,rw=no", "No such file"),
        ("user,hide=no", "No such file"),
        ("user,hide=/", "root directory cannot be covered"),
        ("user=none,hide=code", "with user=none"),
        ("user=none,hide=..,rw=.", "with user=none"),
    ],
)
def test_what_is_refused(newest: Python, home: Path, unshare: str, said: str) -> None:
    (home / "project/other").mkdir()
    done = newest.run("print('user code')", unshare=unshare, cwd=home / "project")
    assert (done.status, done.stdout) == (125, "")
    assert said in done.stderr


HIDDEN = "hide=~/.ssh,hide=~/.netrc"


@pytest.mark.parametrize("user_item", ["user", "user=current", "user,pid", "user,caps=none"])
def test_hide(either: Python, home: Path, user_item: str) -> None:
    found = look(either, f"{user_item},{HIDDEN}", home, ".ssh", ".ssh/id", ".netrc", "other")
    none = "caps=none" in user_item
    assert found == [
        ".ssh EACCES EACCES" if none else ".ssh EROFS []",
        "id EACCES" if none else "id ENOENT",
        ".netrc EACCES" if none else ".netrc ",
        "other written ['deep', 'file']",
    ]


def test_hide_as_root(newest: Python, home: Path) -> None:
    found = look(newest, HIDDEN, home, ".ssh", ".netrc", as_root=True)
    assert found == [".ssh EROFS []", ".netrc "]


def test_hide_for_programs_and_beside_it_nothing(newest: Python, home: Path) -> None:
    (home / "link").symlink_to(".ssh/id")
    code = "import os; os.system('cat ~/.ssh/id ~/.netrc ~/link; cat /proc/self/mountinfo')"
    done = newest.run(
        code, unshare=f"user=current,caps=none,{HIDDEN}", env={"HOME": str(home)}, cwd=home
    )
    places = [line.split()[4] for line in ours(done.stdout, home.parent)]
    assert places[-2:] == [f"{home}/.ssh", f"{home}/.netrc"]
    assert home.as_posix() not in places
    assert done.stderr.count("Permission denied") == 3


def test_hide_a_socket(newest: Python, workdir: Path) -> None:
    """That of Docker is as good as root."""
    code = """
import errno, socket
try: socket.socket(socket.AF_UNIX).connect("daemon")
except OSError as error: print(errno.errorcode[error.errno])
"""
    listening = "import socket; socket.socket(socket.AF_UNIX).bind('daemon')"
    newest.run(listening, cwd=workdir).ok()
    assert newest.run(code, cwd=workdir, unshare="user,hide=daemon").ok() == "ECONNREFUSED\n"
    assert newest.run("open('daemon').read()", cwd=workdir, unshare="user,hide=daemon").ok() == ""


HOMES = ["hide=~,rw=.", "rw=.,hide=~", "hide=~,rw=.,ro=/", "ro=/,hide=~,rw=.,caps=none"]


@pytest.mark.parametrize("mounts", HOMES)
def test_home_hidden_and_project_kept(either: Python, home: Path, mounts: str) -> None:
    for first in ("user=current", "user,pid"):
        paths = ("project", "project/sub", "project/code", ".ssh/id", ".netrc", "other/file")
        found = look(either, f"{first},{mounts}", home, *paths)
        assert found == [
            "project written ['.git', 'code', 'sub']",
            "sub written []",
            "code project/code",
            "id ENOENT",
            ".netrc ENOENT",
            "file ENOENT",
        ]
    assert sorted(os.listdir(home)) == [".netrc", ".ssh", "other", "project"]


def test_ro_keeps_what_is_read_below_hide(newest: Python, home: Path) -> None:
    for mounts in ("hide=~,rw=.,ro=~/other,ro=~/.netrc", "ro=~/.netrc,ro=~/other,hide=~,rw=."):
        paths = ("other", "other/file", ".netrc", "project", ".ssh/id")
        found = look(newest, f"user,caps=none,{mounts}", home, *paths)
        assert found == [
            "other EROFS ['deep', 'file']",
            "file other/file",
            ".netrc .netrc",
            "project written ['.git', 'code', 'sub']",
            "id ENOENT",
        ]


def test_a_throwaway_home(newest: Python, home: Path) -> None:
    (home / "other").chmod(0o750)
    code = "import os; print(oct(os.stat(os.path.expanduser('~/other')).st_mode))"
    listing = "user=current,tmpfs=~,rw=.,rw=~/other/deep"
    env = {"HOME": str(home)}
    assert newest.run(code, unshare=listing, env=env, cwd=home / "project").ok() == "0o40750\n"
    found = look(newest, listing, home, ".", "project", "other/deep", ".ssh/id")
    assert found == [
        f"{home.name} written ['other', 'project']",
        "project written ['.git', 'code', 'sub']",
        "deep written []",
        "id ENOENT",
    ]


def test_a_pool_of_processes(newest: Python, home: Path, workdir: Path) -> None:
    """The recipe for programs that may write where they work, and nowhere else."""
    (home / "project/pool.py").write_text("""
import multiprocessing, os, sys, tempfile
def work(number):
    with tempfile.TemporaryFile() as file: file.write(b"x" * number)
    return number
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool: print(sum(pool.map(work, range(10))))
    open("result", "w").close()
""")
    for more in ("", ",pid", ",caps=none", ",pid,caps=none"):
        listing = f"user=current,ro=/,rw=.,tmpfs=/dev/shm,tmpfs=/mnt{more}"
        env = {"TMPDIR": "/mnt"}
        done = newest.run(["pool.py"], unshare=listing, cwd=home / "project", env=env)
        assert done.ok() == "45\n", more


def test_a_start_within(newest: Python, home: Path) -> None:
    """/proc has to be writable for it, and what is read-only outside is so inside."""
    inner = newest.command(["-c", LOOK, home / "project", home / "other"])
    code = f"""
import os, subprocess
env = dict(os.environ, PY_UNSHARE="user,pid,net,tmpfs=sub")
print(subprocess.check_output({[*map(str, inner)]}, env=env, text=True), end="")
"""
    for listing in ("user,ro=/,rw=.,rw=/proc", "user,pid,ro=/,rw=.,rw=/proc"):
        done = newest.run(code, unshare=listing, cwd=home / "project")
        assert [line.split()[1] for line in done.ok().splitlines()] == ["written", "EROFS"]


# What may not be covered.


@pytest.fixture
def moved(newest: Python, home: Path) -> tuple[Path, Path]:
    """An environment of its own below the home, its real path, and its interpreter."""
    venv = home / "venv"
    shutil.copytree(newest.venv, venv, symlinks=True)
    return venv, venv / "bin" / "python"


@pytest.mark.parametrize("item", ["tmpfs", "hide"])
def test_the_environment_is_not_covered(
    newest: Python, home: Path, moved: tuple[Path, Path], item: str
) -> None:
    """It is said which item would, and the cure that is printed keeps it."""
    venv, executable = moved
    work = home / "project"
    env = {"PY_UNSHARE": f"user,{item}={home},rw={work}"}
    done = newest.user.run([executable, "-c", "print('user code')"], env=env, cwd=work)
    assert (done.status, done.stdout) == (125, "")
    assert f"what: {item}='{home}': covers '{venv}'" in done.stderr
    cure = done.stderr.partition("cure: add ")[2].partition(" to the list")[0]
    assert cure == f"{'rw' if item == 'tmpfs' else 'ro'}={venv}"
    code = "import json, unshare_boot; print(unshare_boot.active())"
    env = {"PY_UNSHARE": f"{env['PY_UNSHARE']},{cure}"}
    done = newest.user.run([executable, "-c", code], env=env, cwd=work)
    assert done.ok() == "('user', 'mount')\n"


@pytest.mark.parametrize("item", ["tmpfs={}", "hide={}", "bind=.:{}", "hide={}/bin/python"])
def test_nor_is_it_itself(newest: Python, home: Path, moved: tuple[Path, Path], item: str) -> None:
    venv, executable = moved
    env = {"PY_UNSHARE": f"user,{item.format(venv)}"}
    done = newest.user.run([executable, "-c", "print('user code')"], env=env, cwd=home / "project")
    assert (done.status, done.stdout) == (125, "")
    assert "covers" in done.stderr and "#what-python-starts-from-is-covered" in done.stderr


def test_a_directory_that_has_the_same_may_be_bound_there(
    newest: Python, home: Path, moved: tuple[Path, Path]
) -> None:
    venv, executable = moved
    copy = home / "copy"
    shutil.copytree(venv, copy, symlinks=True)
    for mounts in (
        f"bind={copy}:{venv}",
        f"bind={home}:{home / 'other'},bind={home / 'other'}:{home}",
    ):
        done = newest.user.run(
            [executable, "-c", "import json; print('user code')"],
            env={"PY_UNSHARE": f"user,{mounts}"},
            cwd=home / "project",
        )
        assert done.ok() == "user code\n", mounts


@pytest.mark.parametrize("mounts", ["hide=.", "hide=..", "tmpfs=.."])
def test_the_working_directory_is_not_hidden(newest: Python, home: Path, mounts: str) -> None:
    done = newest.run("print('user code')", unshare=f"user,{mounts}", cwd=home / "project")
    assert (done.status, done.stdout) == (125, "")
    assert f"covers the working directory, '{home}/project'" in done.stderr


def test_nothing_was_entered_by_then(newest: Python, home: Path) -> None:
    """A program that asks for it lives on, where and as it was."""
    code = """
import os, unshare_boot
before = [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt")]
try: unshare_boot.unshare("user,hide=.")
except unshare_boot.UnshareError as error: print(error.item)
print(before == [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt")])
"""
    assert newest.run(code, cwd=home).ok() == "hide='.'\nTrue\n"


LINKED = """
set -e
cp -a /etc etc; rm -f etc/resolv.conf; ln -s /run/resolver/resolv.conf etc/resolv.conf
mount --bind etc /etc; mount -t tmpfs -o mode=755 tmpfs /run; mkdir /run/resolver
echo nameserver 192.0.2.53 >/run/resolver/resolv.conf
exec setpriv --reuid "$0" --regid "$1" --clear-groups "$2" -c 'print("user code")'
"""


def test_the_resolvers_configuration_is_not_covered(newest: Python, workdir: Path) -> None:
    """It may be a link into /run, where little else is worth keeping."""
    require_tool("pasta")
    require_root()
    who = newest.user

    def start(unshare: str) -> Finished:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", LINKED]
        command += [str(who.uid), str(who.gid), str(newest.executable)]
        return newest.root.run(command, env={"PY_UNSHARE": unshare}, cwd=workdir)

    for item, keeping in (("tmpfs", "rw"), ("hide", "ro")):
        listing = f"user,net=pasta,{item}=/run"
        done = start(listing)
        shutil.rmtree(workdir / "etc")
        assert (done.status, done.stdout) == (125, "")
        reason = "covers '/run/resolver/resolv.conf', by which names are found: add "
        assert f"{item}='/run': {reason}{keeping}=/run/resolver\n" in done.stderr
        again = start(f"{listing},{keeping}=/run/resolver")
        assert "covers" not in again.stderr  # what it says else is of this machine's network
        shutil.rmtree(workdir / "etc")
    (workdir / "run").mkdir()  # of what is bound over it nothing stays
    done = start("user,net=pasta,bind=run:/run")
    assert (done.status, done.stdout) == (125, "")
    assert "by which names are found: have it cover other directories" in done.stderr
    assert " add " not in done.stderr
