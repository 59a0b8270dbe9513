"""tmpfs, bind, ro, overlay, proc and sys: what the program sees, and that nobody else does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from harness import (
    Python,
    User,
    ours,
    own_shared_mounts,
    require_kernel,
    require_strace,
)

READ = "import sys; sys.stdout.write(open(sys.argv[1]).read())"


@pytest.fixture
def tree(workdir: Path, user: User) -> Path:
    """A directory with files in it, all of the user's."""
    top = workdir / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "one").write_text("1")
    (top / "two").write_text("2")
    (top / "sub" / "three").write_text("3")
    (top / "script").write_text("#!/bin/sh\necho ran\n")
    if os.getuid() == 0:
        for path in [top, *top.rglob("*")]:
            os.chown(path, user.uid, user.gid)
    return top


def escape(path: Path | str) -> str:
    """A path as a value of the list."""
    text = str(path)
    for character in "\\,:":
        text = text.replace(character, "\\" + character)
    return text


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """All that can be told of a tree."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[str(path)] = (
            status.st_mode,
            status.st_ino,
            status.st_nlink,
            status.st_mtime_ns,
            content,
        )
    return found


def test_tmpfs_is_empty_and_one_s_own(either: Python, tree: Path) -> None:
    before = snapshot(tree)
    code = "import os; print(os.listdir()); open('new', 'w').write('x'); print(os.listdir())"
    done = either.run(code, unshare=f"user,tmpfs={tree}", cwd=tree)
    assert done.ok() == "[]\n['new']\n"
    assert snapshot(tree) == before


@pytest.mark.parametrize("mode", [0o700, 0o1777])
def test_tmpfs_is_as_private_as_what_it_covers(newest: Python, tree: Path, mode: int) -> None:
    tree.chmod(mode)
    code = "import os, sys; s = os.stat(sys.argv[1]); print(oct(s.st_mode & 0o7777), s.st_uid)"
    done = newest.run(["-c", code, tree], unshare=f"user=current,tmpfs={tree}")
    assert done.ok() == f"{oct(mode)} {newest.user.uid}\n"


@pytest.mark.parametrize("size", ["1m", "1M", "1024k", "1048576"])
def test_tmpfs_holds_so_much(newest: Python, tree: Path, size: str) -> None:
    code = """
import errno
found = []
for length in (900_000, 300_000):
    try:
        with open(f"small/{length}", "wb") as file: file.write(bytes(length))
    except OSError as error: found.append(errno.errorcode[error.errno])
print(found)
"""
    (tree / "small").mkdir()
    assert newest.run(code, unshare=f"user,tmpfs=small:{size}", cwd=tree).ok() == "['ENOSPC']\n"


def test_a_path_in_the_caller_s_home(newest: Python, tree: Path) -> None:
    code = "import os; print(os.listdir('lower'))"
    home = {"HOME": str(tree)}
    (tree / "lower").mkdir()
    (tree / "lower" / "file").touch()
    for unshare in ("user,tmpfs=~/lower", "user,bind=~/lower/../lower:~/lower,tmpfs=~/lower:1m"):
        assert newest.run(code, unshare=unshare, cwd=tree, env=home).ok() == "[]\n"
    (tree / "~").mkdir()
    (tree / "~x").mkdir()
    assert newest.run(code, unshare="user,bind=./~:lower", cwd=tree, env=home).ok() == "[]\n"
    assert newest.run(code, unshare="user,bind=~x:lower", cwd=tree, env=home).ok() == "[]\n"


def test_bind_shows_the_one_in_the_other_s_place(either: Python, tree: Path) -> None:
    target = tree.parent / "target"
    target.mkdir()
    code = "import os, sys; print(sorted(os.listdir(sys.argv[1])))"
    done = either.run(["-c", code, target], unshare=f"user,bind={tree}:{target}")
    assert done.ok() == "['one', 'script', 'sub', 'two']\n"
    assert os.listdir(target) == []


def test_bind_brings_what_is_mounted_below(newest: Python, tree: Path) -> None:
    target = tree.parent / "target"
    target.mkdir()
    code = "import os, sys; print(os.listdir(sys.argv[1]))"
    done = newest.run(
        ["-c", code, target / "sub"], unshare=f"user,tmpfs={tree}/sub,bind={tree}:{target}"
    )
    assert done.ok() == "[]\n"


def test_bind_of_files(newest: Python, tree: Path) -> None:
    done = newest.run(["-c", READ, tree / "one"], unshare=f"user,bind={tree}/two:{tree}/one")
    assert done.ok() == "2"
    done = newest.run("", unshare=f"user,bind={tree}/two:{tree}")
    assert (done.status, done.stdout) == (125, "")
    assert "only one is a directory" in done.stderr


WRITE_ALL = """
import errno, os, sys
for path in sys.argv[1:]:
    try:
        open(os.path.join(path, "new"), "w")
        print("written")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


def test_ro_covers_what_is_mounted_below(either: Python, tree: Path) -> None:
    before = snapshot(tree)
    done = either.run(
        ["-c", WRITE_ALL, tree, tree / "sub", tree.parent],
        unshare=f"user,tmpfs={tree}/sub,ro={tree}",
    )
    assert done.ok() == "EROFS\nEROFS\nwritten\n"
    assert snapshot(tree) == before


def test_ro_of_the_root(newest: Python, workdir: Path) -> None:
    done = newest.run(["-c", WRITE_ALL, workdir, "/dev/shm"], unshare="user,ro=/")
    assert done.ok() == "EROFS\nEROFS\n"
    assert os.listdir(workdir) == []


def test_ro_then_tmpfs_leaves_one_place_to_write(newest: Python, tree: Path) -> None:
    done = newest.run(["-c", WRITE_ALL, tree, tree / "sub"], unshare=f"user,ro=/,tmpfs={tree}/sub")
    assert done.ok() == "EROFS\nwritten\n"


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_ro_before_mount_setattr(newest: Python, tree: Path, error: str) -> None:
    """Old kernels lack the call, old seccomp profiles forbid it; flags that are locked stay."""
    strace = require_strace("mount_setattr")
    code = f"{WRITE_ALL}\nprint(*(oct(os.statvfs(path).f_flag & 14) for path in sys.argv[1:]))"
    command = newest.command(["-c", code, tree, tree / "sub"])
    done = newest.user.run(
        [strace, "-f", "-o", "/dev/null", "-e", f"inject=mount_setattr:error={error}", *command],
        env={"PY_UNSHARE": f"user,tmpfs={tree}/sub,ro={tree}"},
    )
    plain = os.statvfs(tree).f_flag & 14
    assert done.ok() == f"EROFS\nEROFS\n{oct(plain)} 0o6\n"  # nosuid and nodev, as tmpfs has it


HIDING = """
mount -t tmpfs none {0}; mkdir {0}/a {0}/a/b; mount -t tmpfs none {0}/a/b
mount -t tmpfs none {0}/a; mount -t tmpfs none {0}
mkdir {0}/c; mount -t tmpfs none {0}/c; exec "$@"
"""


@pytest.mark.parametrize("error", ["", "ENOSYS"])
def test_ro_where_mounts_hide_others(newest: Python, tree: Path, error: str) -> None:
    """proc_pid_mountinfo(5) tells of them, and their paths lead nowhere."""
    inject = ["-e", f"inject=mount_setattr:error={error}"] if error else []
    strace = [require_strace("mount_setattr"), "-f", "-o", "/dev/null", *inject]
    outer = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", HIDING.format(tree)]
    command = newest.command(["-c", WRITE_ALL, tree, tree / "c"])
    for listing in (f"mount,ro={tree}", f"user,ro={tree}"):
        done = newest.user.run([*outer, "sh", *strace, *command], env={"PY_UNSHARE": listing})
        assert done.ok() == "EROFS\nEROFS\n"


OVERLAY = """
import os, subprocess, sys
os.chdir(sys.argv[1]) if sys.argv[1:] else None
open("one", "a").write("more")
os.remove("two")
open("two", "w").write("anew")
os.link("one", "linked")
os.rename("sub/three", "sub/moved")
os.chmod("script", 0o755)
os.mkdir("made"); open("made/in", "w").write("in")
os.symlink("one", "symbolic")
for path, _, files in sorted(os.walk(".")):
    for name in sorted(files):
        full = os.path.join(path, name)
        print(full, open(full).read().split("\\n")[0], os.stat(full).st_nlink)
print(subprocess.check_output("./script", text=True), end="")
import shutil
shutil.rmtree("sub"); os.mkdir("sub"); print(os.listdir("sub"))
"""
BY_USERS = "6.6"  # before that such a user cannot remove what was emptied: reference.md
OVERLAID = """\
./linked 1more 2
./one 1more 2
./script #!/bin/sh 1
./symbolic 1more 2
./two anew 1
./made/in in 1
./sub/moved 3 1
ran
[]
"""


def test_overlay_of_the_working_directory(either: Python, tree: Path) -> None:
    require_kernel(BY_USERS)
    (tree / "script").chmod(0o644)
    before = snapshot(tree)
    assert either.run(OVERLAY, unshare="user,overlay=.", cwd=tree).ok() == OVERLAID
    assert snapshot(tree) == before


def test_overlay_as_root(newest: Python, tree: Path) -> None:
    before = snapshot(tree)
    done = newest.run(OVERLAY, unshare="overlay=.", cwd=tree, as_root=True)
    assert done.ok() == OVERLAID
    assert snapshot(tree) == before


def test_overlay_from_elsewhere_and_below(newest: Python, tree: Path) -> None:
    require_kernel(BY_USERS)
    before = snapshot(tree)
    done = newest.run(["-c", OVERLAY, tree], unshare=f"user,overlay={tree}")
    assert done.ok() == OVERLAID
    code = "open('../one', 'w').write('x'); print(open('../one').read(), open('three').read())"
    assert newest.run(code, unshare="user,overlay=..", cwd=tree / "sub").ok() == "x 3\n"
    assert snapshot(tree) == before


def test_overlay_leaves_no_tmpfs_in_sight(newest: Python, tree: Path) -> None:
    """No tmpfs on any directory either that the machine has for such; others may come and go."""
    code = "print(open('/proc/self/mountinfo').read())"
    without = newest.run(code, unshare="user,mount").ok().strip()
    mounted = newest.run(code, unshare="user,overlay=.", cwd=tree).ok().strip()
    places = [[line.split()[4] for line in ours(text, tree.parent)] for text in (without, mounted)]
    assert places[1] == [*places[0], str(tree)]


def test_overlay_keeps_the_owner_and_mode_of_the_directory(newest: Python, tree: Path) -> None:
    tree.chmod(0o750)
    code = "import os; s = os.stat('.'); print(oct(s.st_mode), s.st_uid, s.st_gid)"
    done = newest.run(code, unshare="user=current,overlay=.", cwd=tree)
    assert done.ok() == f"0o40750 {newest.user.uid} {newest.user.gid}\n"


def test_overlay_keeps_nosuid_and_the_like(newest: Python, tree: Path) -> None:
    code = "import os; print(os.statvfs('.').f_flag & 6)"
    done = newest.run(code, unshare="user,tmpfs=../sub,overlay=../sub", cwd=tree / "sub")
    assert done.ok() == "6\n"


def test_overlay_wants_an_id(newest: Python, tree: Path) -> None:
    done = newest.run("print('user code')", unshare="user=none,overlay=.", cwd=tree)
    assert (done.status, done.stdout) == (125, "")
    assert "with user=none" in done.stderr


# Writes below each directory, and tells what is there then.
EACH = """
import errno, os, sys
for path in sys.argv[1:]:
    try: open(os.path.join(path, "new"), "w").close()
    except OSError as error: print(errno.errorcode[error.errno], end=" ")
    print(os.path.basename(path), sorted(os.listdir(path)))
"""


@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_an_overlay_covers_what_is_mounted_below(either: Python, tree: Path, as_root: bool) -> None:
    """With one of its own; what the list has made for another end stays that."""
    other = tree.parent / "other"
    for path in (
        tree,
        other,
        other / "on",
        *(tree / each for each in ("bound", "hidden", "sub/in")),
    ):
        path.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        who = either.root if as_root else either.user
        for path in tree.parent.rglob("*"):
            os.chown(path, who.uid, who.gid)
    before = "" if as_root else "user,"
    listing = (
        f"{before}bind=../other:bound,tmpfs=bound/on,ro=sub/in,hide=hidden,overlay=.,caps=none"
    )
    found = either.run(
        ["-c", EACH, ".", "bound", "bound/on", "sub", "sub/in"],
        unshare=listing,
        cwd=tree,
        as_root=as_root,
    )
    assert found.ok().splitlines() == [
        ". ['bound', 'hidden', 'new', 'one', 'script', 'sub', 'two']",
        "bound ['new', 'on']",
        "on ['new']",
        "sub ['in', 'new', 'three']",
        "EROFS in []",
    ]
    assert os.listdir(other) == ["on"] and "new" not in os.listdir(tree)
    done = either.run("import os; os.listdir('hidden')", unshare=listing, cwd=tree, as_root=as_root)
    assert "Permission denied" in done.stderr


def test_a_file_that_is_mounted_below_is_read_only(newest: Python, tree: Path) -> None:
    code = "print(open('one').read()); open('one', 'w')"
    (tree.parent / "other").write_text("other")
    listing = "user,bind=../other:one,overlay=."
    done = newest.run(code, unshare=listing, cwd=tree)
    assert done.stdout == "other\n" and "Read-only file system" in done.stderr


MOUNTED = 'mount -t tmpfs tmpfs "$1" && mkdir "$1/in" && shift && exec "$@"'


def test_what_the_host_has_mounted_below(newest: Python, tree: Path) -> None:
    """Root's overlay covers it; an ordinary user's would show what is under it."""
    who = newest.user
    change = ["setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups"]
    outer = [*own_shared_mounts(), "sh", "-c", MOUNTED, "sh", str(tree / "sub")]
    command = newest.command(["-c", EACH, tree, tree / "sub"])
    done = newest.root.run([*outer, *command], env={"PY_UNSHARE": f"overlay={tree}"})
    assert done.ok().splitlines() == [
        "tree ['new', 'one', 'script', 'sub', 'two']",
        "sub ['in', 'new']",
    ]
    done = newest.root.run([*outer, *change, *command], env={"PY_UNSHARE": f"user,overlay={tree}"})
    assert (done.status, done.stdout) == (125, "")
    assert f"'{tree}/sub' is mounted below it from outside" in done.stderr
    twice = [
        *own_shared_mounts(),
        "sh",
        "-c",
        f"mount --bind {tree} {tree} && {MOUNTED}",
        *outer[-2:],
    ]
    done = newest.root.run([*twice, *change, *command], env={"PY_UNSHARE": f"user,overlay={tree}"})
    assert f"'{tree}/sub' is mounted below it from outside" in done.stderr
    done = newest.root.run(
        [*outer, *change, *command[:-1]], env={"PY_UNSHARE": f"user,overlay={tree}/sub"}
    )
    assert done.status == 0


def test_what_was_mounted_below_and_is_covered_is_in_no_overlays_way(
    either: Python, tree: Path
) -> None:
    (tree.parent / "other").mkdir()
    unshare = f"user,tmpfs={tree}/sub,bind={tree.parent}/other:{tree},overlay={tree}"
    code = "import os, sys; open(sys.argv[1] + '/new', 'w'); print(os.listdir(sys.argv[1]))"
    assert either.run(["-c", code, tree], unshare=unshare).ok() == "['new']\n"
    assert os.listdir(tree.parent / "other") == []


ODD = ["a b", "a,b", "a:b", "a\\b", "äß€", "a\udcffb", "a\nb\tc", "a%b=c", "'\"", " "]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_odd_names(newest: Python, workdir: Path, name: str) -> None:
    odd = workdir / name / "deep"
    odd.mkdir(parents=True)
    (workdir / "plain").mkdir()
    (workdir / "plain" / "file").write_text("plain")
    if os.getuid() == 0:
        for path in [odd, odd.parent, workdir / "plain"]:
            os.chown(path, newest.user.uid, newest.user.gid)
    value = escape(workdir / name)
    code = "import os, sys; print(os.listdir(os.getcwd()), os.getcwd() == sys.argv[1])"
    for operation, found in (
        (f"tmpfs={value}/deep,overlay={value}/deep", "[]"),
        (f"tmpfs={value}/deep", "[]"),
        (f"bind={escape(workdir)}/plain:{value}/deep", "['file']"),
        (f"overlay={value}", "[]"),
        (f"ro={value}", "[]"),
    ):
        done = newest.run(["-c", code, odd], unshare=f"user,{operation}", cwd=odd)
        assert done.ok() == f"{found} True\n", operation
    listing = f"user,bind=plain:{value}/deep,overlay={value}:kept"
    assert newest.run("", unshare=listing, cwd=workdir).status == 0
    assert newest.run(["-c", code, odd], unshare=listing, cwd=workdir).status == 0
    if name.strip():
        done = newest.run(["-c", WRITE_ALL, odd], unshare=f"user,ro={escape(name)}", cwd=workdir)
        assert done.ok() == "EROFS\n"
    assert os.listdir(odd) == []


def test_symbolic_links_are_followed(newest: Python, tree: Path) -> None:
    link = tree.parent / "link"
    link.symlink_to("tree/sub")
    code = "import os; print(os.listdir('tree/sub'), os.listdir('link'))"
    done = newest.run(code, unshare="user,tmpfs=link", cwd=tree.parent)
    assert done.ok() == "[] []\n"
    done = newest.run(["-c", WRITE_ALL, "link", "tree"], unshare="user,ro=link", cwd=tree.parent)
    assert done.ok() == "EROFS\nwritten\n"


def test_relative_paths_are_taken_from_the_start(newest: Python, tree: Path) -> None:
    """Also once an operation has covered the directory that they are relative to."""
    (tree.parent / "other" / "sub").mkdir(parents=True)
    code = "import os; print(sorted(os.listdir()), os.listdir('sub'))"
    done = newest.run(code, unshare="user,bind=../other:.,tmpfs=sub", cwd=tree)
    assert done.ok() == "['sub'] []\n"


def test_they_run_in_the_order_written(newest: Python, tree: Path) -> None:
    code = "import os; print(sorted(os.listdir('sub')))"
    done = newest.run(code, unshare=f"user,tmpfs=sub,bind={tree}:sub", cwd=tree)
    assert done.ok() == "['one', 'script', 'sub', 'two']\n"
    assert newest.run(code, unshare=f"user,bind={tree}:sub,tmpfs=sub", cwd=tree).ok() == "[]\n"


MISSING = ["tmpfs=no", "overlay=no", "ro=no", "bind=no:sub", "bind=sub:no", "tmpfs=one/no"]


@pytest.mark.parametrize("operation", MISSING)
def test_what_is_missing_is_named(either: Python, tree: Path, operation: str) -> None:
    before = snapshot(tree)
    done = either.run("print('user code')", unshare=f"user,tmpfs=sub,{operation}", cwd=tree)
    assert (done.status, done.stdout) == (125, "")
    name, _, value = operation.partition("=")
    assert f"{name}='{value}'" in done.stderr
    assert "no'" in done.stderr and ("No such file" in done.stderr or "Not a dir" in done.stderr)
    assert snapshot(tree) == before


@pytest.mark.parametrize("operation", ["tmpfs=one", "overlay=one"])
def test_a_file_is_no_directory(newest: Python, tree: Path, operation: str) -> None:
    done = newest.run("", unshare=f"user,{operation}", cwd=tree)
    assert done.status == 125 and "'one' is no directory" in done.stderr


@pytest.mark.parametrize("operation", ["tmpfs=/", "overlay=/", "bind=/tmp:/"])
def test_the_root_is_not_covered(newest: Python, operation: str) -> None:
    done = newest.run("", unshare=f"user,{operation}")
    assert done.status == 125 and "root directory cannot be covered" in done.stderr


def test_a_working_directory_that_is_hidden_is_refused(either: Python, tree: Path) -> None:
    done = either.run("print('user code')", unshare=f"user,tmpfs={tree}", cwd=tree / "sub")
    assert (done.status, done.stdout) == (125, "")
    assert f"covers the working directory, '{tree}/sub'" in done.stderr


def test_a_working_directory_that_is_gone(newest: Python, tree: Path) -> None:
    """It cannot be gone back to, and need not be."""
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    command = ["sh", "-c", script, "sh", *newest.command("print('user code')")]
    done = newest.user.run(command, cwd=tree, env={"PY_UNSHARE": f"user,tmpfs={tree}/sub"})
    assert done.ok() == "user code\n"
    done = newest.user.run(command, cwd=tree, env={"PY_UNSHARE": "user,ro=/"})
    assert done.ok() == "user code\n"
    done = newest.user.run(command, cwd=tree, env={"PY_UNSHARE": "user,tmpfs=sub"})
    assert done.status == 125 and "'sub' is relative" in done.stderr


def test_nothing_is_visible_outside(newest: Python, tree: Path) -> None:
    before = ours(Path("/proc/self/mountinfo").read_text(), tree.parent)
    listing = f"user,net,sys,tmpfs={tree}/sub,bind={tree}:{tree.parent},ro={tree.parent}"
    with newest.hold(listing, cwd="/") as pid:
        inside = Path(f"/proc/{pid}/mountinfo").read_text()
        assert str(tree) in inside and " /sys " in inside
        assert ours(Path("/proc/self/mountinfo").read_text(), tree.parent) == before


SHARED = """
import os, subprocess, sys
before = open("/proc/self/mountinfo").read()
assert "shared:" in before
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
assert open("/proc/self/mountinfo").read() == before, "it got out"
print(done.returncode, done.stdout, done.stderr)
"""


@pytest.mark.parametrize("propagation", ["shared", "unchanged", "slave", "private"])
@pytest.mark.parametrize("operation", ["tmpfs=sub", "bind=.:sub", "ro=sub", "overlay=sub", "proc"])
@pytest.mark.parametrize("joining", ["", ",user=/proc/self/ns/user"], ids=["", "joined"])
def test_root_s_mounts_do_not_get_out(
    newest: Python, tree: Path, propagation: str, operation: str, joining: str
) -> None:
    command = newest.command("print('user code')")
    listing = f"mount={propagation},{operation}{joining}"
    done = newest.root.run(
        [*own_shared_mounts(), newest.base, "-c", SHARED, *command],
        env={"PY_UNSHARE": listing, "PYTHONNOUSERSITE": "1"},
        cwd=tree,
    )
    if operation == "proc" or propagation in ("slave", "private"):
        assert done.ok().startswith("0 user code")
    else:
        assert done.ok().startswith("125 ") and f"with mount={propagation}" in done.stdout


def test_shared_is_fine_below_a_user_namespace(newest: Python, tree: Path) -> None:
    require_kernel(BY_USERS)
    done = newest.run(OVERLAY, unshare="user,mount=shared,overlay=.", cwd=tree)
    assert done.ok() == OVERLAID


def test_sys_shows_the_network_inside(either: Python) -> None:
    code = "import os; print(os.listdir('/sys/class/net'))"
    assert either.run(code, unshare="user,net,sys").ok() == "['lo']\n"
    assert either.run(code, unshare="net,sys", as_root=True).ok() == "['lo']\n"


def test_proc_shows_the_processes_inside(either: Python) -> None:
    code = "import os; print(max(int(name) for name in os.listdir('/proc') if name.isdigit()) < 9)"
    assert either.run(code, unshare="user,pid,proc").ok() == "True\n"


@pytest.mark.parametrize(("operation", "needs"), [("proc", "pid"), ("sys", "net")])
def test_what_shows_a_namespace_needs_it(newest: Python, operation: str, needs: str) -> None:
    done = newest.run("", unshare=f"user,{operation}")
    assert done.status == 125
    assert f"add {needs}" in done.stderr
    done = newest.run("print('user code')", unshare=operation, as_root=True)
    assert done.ok() == "user code\n"  # root may, and sees what is outside


def test_bind_mount_read_only(either: Python, tree: Path) -> None:
    code = f"""
import unshare_boot
unshare_boot.bind_mount("sub", "sub", read_only=True)
{WRITE_ALL}
"""
    done = either.run(["-c", code, "sub", "."], unshare="user,mount", cwd=tree)
    assert done.ok() == "EROFS\nwritten\n"
