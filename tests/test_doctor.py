"""The doctor says what a program would meet: each of its answers is compared with a real start."""

from __future__ import annotations

import json
import os
import pty
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import Python, require_root, require_tool
from harness.session import PROJECT
from unshare_boot import __version__
from unshare_boot.doctor import PTH_IGNORED, START_UNDERSTOOD
from unshare_boot.language import ITEMS

if TYPE_CHECKING:
    from harness import Finished, Session

TROUBLESHOOTING = PROJECT / "docs" / "troubleshooting.md"

DOCTOR = ["-m", "unshare_boot"]

LIMITED = ["unshare", "--user", "--map-root-user", "sh", "-ec"]


@pytest.fixture(scope="session")
def doctor(request: pytest.FixtureRequest) -> Python:
    """An interpreter that runs the doctor."""
    python: Python = request.getfixturevalue(request.param)
    return python


def report(done: Finished) -> Any:
    """What `--json` printed."""
    return json.loads(done.stdout)


def items(done: Finished) -> dict[str, dict[str, Any]]:
    """The table: each item with its verdict."""
    return {row["item"]: row for row in report(done)["items"]}


# What can be had.


@pytest.mark.parametrize("as_root", [False, True], ids=["user", "root"])
def test_every_answer_is_what_a_program_meets(doctor: Python, as_root: bool) -> None:
    table = items(doctor.run([*DOCTOR, "--json"], as_root=as_root))
    assert {item.partition("=")[0] for item in table} == set(ITEMS)
    for row in table.values():
        if not any(sign in row["list"] for sign in ("DIR", "PID", "publish")):
            done = doctor.run("pass", unshare=row["list"], as_root=as_root)
            assert done.status == (0 if row["works"] else 125), (row, done)
            assert row["what"].partition(":")[0] in done.stderr
    assert table["user"]["works"] and table["net"]["works"]
    for item in ("net", "mount", "time", "tmpfs"):
        assert table[item]["list"].startswith("user,") != as_root
    for item in ("tmpfs", "bind", "ro", "net=/path"):
        assert table[item]["works"], table[item]


def test_why_an_item_is_not_to_be_had(doctor: Python) -> None:
    script = 'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"'
    command = [*LIMITED, script, "sh", *doctor.command(DOCTOR)]
    table = items(doctor.user.run([*command, "--json"]))
    assert not table["net"]["works"] and table["uts"]["works"]
    assert table["net"]["what"] == "net: unshare(CLONE_NEWNET): No space left on device (ENOSPC)"
    shown = doctor.user.run(command).stdout
    assert "\n  no   net  " in shown and "\n  yes  uts" in shown
    assert "no net namespace left to give" in " ".join(shown.split())


def test_where_no_directory_is_writable(doctor: Python) -> None:
    """As in ``docker run --read-only``: the rows that need one say so, the others are tried."""
    table = items(doctor.run([*DOCTOR, "--json"], unshare="user,pid,ro=/,proc"))
    for item in ("tmpfs", "bind", "ro", "rw", "hide", "overlay"):
        assert not table[item]["works"]
        assert table[item]["why"].startswith("there is no directory to try it with: ")
    assert table["ipc"]["works"]


def test_nothing_is_left_behind(newest: Python, workdir: Path) -> None:
    done = newest.run([*DOCTOR, "--json"], env={"TMPDIR": str(workdir)})
    assert done.status == 0
    assert list(workdir.iterdir()) == []
    assert not [
        pid
        for pid in os.listdir("/proc")
        if pid.isdigit() and str(workdir).encode() in environment(pid)
    ]


def environment(pid: str) -> bytes:
    """The environment that a process started with; empty where it is gone or somebody else's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def test_inside(doctor: Python) -> None:
    done = doctor.run(DOCTOR, unshare="user,net")
    assert done.status == 0
    assert "\n       holds here: user, net\n" in done.stdout
    uid, gid = doctor.user.uid, doctor.user.gid
    assert f"\n       uid 0 is {uid} outside, gid 0 is {gid}\n" in done.stdout
    told = report(doctor.run([*DOCTOR, "--json"], unshare="user,net,pid,caps=none"))
    assert told["holds"] == ["user", "net", "mount", "pid"]
    assert (told["uid"], told["gid"]) == (uid, gid)
    assert report(doctor.run([*DOCTOR, "--json"]))["holds"] == []


# The hook.

HOOK = (
    "import json, dataclasses; from unshare_boot import doctor; "
    "print(json.dumps(dataclasses.asdict(doctor.hook())))"
)


def hook_of(python: Python, *options: str, **env: str) -> Any:
    """What the doctor knows of the hook, without the table, which takes longer."""
    return json.loads(python.run([*options, "-c", HOOK], env=env).ok())


def test_the_hook_runs(python: Python) -> None:
    hook = hook_of(python)
    assert hook == {
        "files": [str(python.site_packages / f"unshare_boot.{python.kind}")],
        "runs": True,
        "why": "",
        "before": hook["before"],
    }


def test_the_hook_is_not_installed(doctor: Python, session: Session, workdir: Path) -> None:
    python = session.fresh(session.variant(doctor), workdir / "venv")
    (python.site_packages / "unshare_boot.pth").unlink()
    done = python.run(DOCTOR)
    assert done.status == 1
    assert "\n  no   PY_UNSHARE does nothing in this interpreter: neither " in done.stdout
    assert "\n  yes  net " in done.stdout  # what the kernel gives is another question
    done = python.run([*DOCTOR, "check", "user,net"])
    assert done.status == 1
    assert "what: the hook does not run in this interpreter\n" in done.stdout


def test_the_hook_is_damaged(doctor: Python, session: Session, workdir: Path) -> None:
    python = session.fresh(session.variant(doctor), workdir / "venv")
    (python.site_packages / "unshare_boot.pth").write_text("# nothing\n")
    hook = hook_of(python)
    assert not hook["runs"] and hook["why"].endswith(
        "is not as it was installed: reinstall unshare-boot"
    )


def test_without_site(doctor: Python) -> None:
    path = {"PYTHONPATH": str(doctor.site_packages)}
    hook = hook_of(doctor, "-S", **path)
    assert not hook["runs"]
    assert hook["why"].startswith("-S: ")
    assert doctor.run(["-S", *DOCTOR, "check", "user"], env=path).status == 1


def test_isolated_mode_in_a_virtual_environment(doctor: Python) -> None:
    assert hook_of(doctor, "-I")["runs"]


def test_installed_for_the_user_only(doctor: Python, workdir: Path) -> None:
    ask = "import site; print(site.getusersitepackages())"
    home = {"HOME": str(workdir)}
    place = Path(doctor.user.run([doctor.base, "-c", ask], env=home).ok().strip())
    assert place.is_relative_to(workdir)
    place.mkdir(parents=True)
    shutil.copytree(doctor.site_packages / "unshare_boot", place / "unshare_boot")
    shutil.copy(doctor.site_packages / "unshare_boot.pth", place)
    done = doctor.user.run([doctor.base, "-c", HOOK], env=home)
    assert json.loads(done.ok())["runs"]
    without = {**home, "PYTHONNOUSERSITE": "1", "PYTHONPATH": str(place)}
    hook = json.loads(doctor.user.run([doctor.base, "-c", HOOK], env=without).ok())
    assert not hook["runs"]
    assert hook["why"].startswith("it is installed for this user only, in ")
    assert hook["files"] == [str(place / "unshare_boot.pth")]


def test_the_other_wheels_file(python: Python, session: Session, workdir: Path) -> None:
    copied = session.fresh(session.variant(python), workdir / "venv")
    own = copied.site_packages / f"unshare_boot.{copied.kind}"
    other = own.with_suffix(".start" if copied.kind == "pth" else ".pth")
    shutil.copy(PROJECT / other.name, other)
    shutil.copy(PROJECT / "src" / "unshare_boot_start.py", copied.site_packages)
    hook = hook_of(copied)
    assert hook["runs"] and set(hook["files"]) == {str(own), str(other)}
    if python.version < START_UNDERSTOOD:
        own.unlink()
        hook = hook_of(copied)
        assert not hook["runs"] and "reads no .start files" in hook["why"]
    if python.version >= PTH_IGNORED:
        own.unlink()
        hook = hook_of(copied)
        assert not hook["runs"] and "ignores the import lines" in hook["why"]


def test_what_runs_before_it(python: Python, session: Session, workdir: Path) -> None:
    copied = session.fresh(session.variant(python), workdir / "venv")
    place = copied.site_packages
    for name, text in (
        ("aaa.pth", "import sys; sys.seen = ['aaa']\n"),
        ("bbb.pth", "/no/such/path\n"),
        ("zzz.pth", "import sys; sys.seen.append('zzz')\n"),
    ):
        (place / name).write_text(text)
    before = hook_of(copied)["before"]
    # All .start files come after all .pth files (PEP 829).
    wanted = ["aaa.pth"] if copied.kind == "pth" else ["aaa.pth", "zzz.pth"]
    assert [path for path in before if path[-7:] in ("aaa.pth", "bbb.pth", "zzz.pth")] == [
        str(place / name) for name in wanted
    ]
    if python.version != START_UNDERSTOOD:
        return  # once is enough
    shown = copied.run(DOCTOR).stdout
    assert f"what runs code at start-up before it:\n         {place / 'aaa.pth'}\n" in shown


# The command.


def test_check(doctor: Python) -> None:
    good = doctor.run([*DOCTOR, "check", "user,net"])
    assert (good.status, good.stdout) == (0, "yes  PY_UNSHARE='user,net'\n")
    bad = doctor.run([*DOCTOR, "check", "net"])
    refused = doctor.run("pass", unshare="net").stderr.splitlines()
    assert (bad.status, bad.stdout.splitlines()[0]) == (1, "no   PY_UNSHARE='net'")
    assert bad.stdout.splitlines()[1:] == refused[1:]
    page = TROUBLESHOOTING.read_text(encoding="utf-8")
    assert f"$ unshare-boot check user,net\n{good.stdout}" in page
    assert f"$ unshare-boot check net\n{bad.stdout}" in page
    shown = doctor.run(DOCTOR)
    assert shown.status == 0
    assert shown.stdout.startswith(f"unshare-boot {__version__}, Python {doctor.version[0]}.")
    assert f"\n       {doctor.site_packages}/unshare_boot." in shown.stdout
    assert doctor.run([*DOCTOR, "check", "off"]).status == 0
    assert doctor.run([*DOCTOR, "check", "usr"]).status == 1
    for wrong in (["check"], ["chek", "user"], ["check", "user", "net"], ["--jsn"]):
        assert doctor.run([*DOCTOR, *wrong]).status == 2


@pytest.mark.parametrize("order", [["check", "net", "--json"], ["--json", "check", "net"]])
def test_check_as_json(doctor: Python, order: list[str]) -> None:
    done = doctor.run([*DOCTOR, *order])
    assert done.status == 1
    assert report(done) == {
        "item": "net",
        "list": "net",
        "works": False,
        "what": "net: unshare(CLONE_NEWNET): Operation not permitted (EPERM)",
        "why": "an ordinary user may do this only in a user namespace of its own",
        "cure": "add user to the list: PY_UNSHARE='user,net'",
        "cause": "lists-without-user",
    }


def test_check_is_not_misled_by_other_variables(newest: Python) -> None:
    env = {"PY_UNSHARE_ONLY": "pytest", "PY_UNSHARE_ON_ERROR": "warn", "PY_UNSHARE_VERBOSE": "1"}
    assert newest.run([*DOCTOR, "check", "net"], env=env).status == 1
    assert newest.run([*DOCTOR, "check", "user,net"], env=env).status == 0


def test_the_script(doctor: Python) -> None:
    script = doctor.venv / "bin" / "unshare-boot"
    assert doctor.user.run([script, "check", "user,net"]).status == 0
    assert doctor.user.run([script, "--version"]).ok() == f"unshare-boot {__version__}\n"
    for page in (["--help"], ["check", "--help"]):
        shown = doctor.user.run([script, *page], env={"COLUMNS": "80"}).ok()
        assert max(map(len, shown.splitlines())) <= 80


def test_it_fits_80_columns(doctor: Python) -> None:
    shown = doctor.run(DOCTOR).stdout
    long = [line for line in shown.splitlines() if len(line) > 80]
    assert all(" " not in line.strip() for line in long), long  # paths alone


def on_a_terminal(python: Python, **env: str) -> str:
    """What the doctor writes to a terminal."""
    ours, theirs = pty.openpty()
    try:
        with python.popen(
            [*DOCTOR, "check", "net"], stdout=theirs, env={"TERM": "xterm", **env}
        ) as child:
            os.close(theirs)
            written = b""
            try:
                while piece := os.read(ours, 4096):
                    written += piece
            except OSError:  # EIO: the other end is closed
                pass
            child.wait()
    finally:
        os.close(ours)
    return written.decode()


def test_colours_on_a_terminal_only(newest: Python) -> None:
    assert "\033[31mno \033[0m  PY_UNSHARE" in on_a_terminal(newest)
    assert "\033" not in on_a_terminal(newest, NO_COLOR="1")
    assert "\033" not in on_a_terminal(newest, TERM="dumb")
    assert "\033[31m" in on_a_terminal(newest, NO_COLOR="")  # no-color.org: empty does not count
    assert "\033" not in newest.run([*DOCTOR, "check", "net"]).stdout


def test_nobody_reads_it(newest: Python) -> None:
    command = " ".join(f"'{part}'" for part in newest.command(DOCTOR))
    done = newest.user.run(["sh", "-c", f"({command}; echo $? >&2) | true"])
    assert done.stderr in ("0\n", "1\n")


def test_a_no_stays_a_no_where_sigchld_is_ignored(doctor: Python) -> None:
    """As it may have been inherited: then the kernel reaps, and waitpid(2) has no status."""
    ignoring = ["env", "--ignore-signal=CHLD", *doctor.command(DOCTOR)]
    for listed, status in (("user", 0), ("user,tmpfs=/no/such/directory", 1)):
        plain = doctor.run([*DOCTOR, "check", listed])
        assert plain.status == status
        assert doctor.user.run([*ignoring, "check", listed]) == plain
    table = items(doctor.user.run([*ignoring, "--json"]))
    assert table["user"]["works"] and not table["user=all"]["works"]


TEAM = """
umask 022
printf 'me:x:%s:%s::/:/bin/sh\\n' "$1" "$2" >passwd
printf 'team:x:4242:me\\n' >group
: >subgid; echo me:100000:1000 >subuid
for name in passwd group subuid subgid; do mount --bind $name /etc/$name; done
mkdir team; echo text >team/text; chown -R "$1:4242" team; chmod 2770 team
"""


def test_files_of_a_group_without_an_id(newest: Python, workdir: Path) -> None:
    """It is told before, and the cure that is told works."""
    require_root()
    require_tool("newgidmap")
    user = newest.user
    code = "open('team/text', 'a').close(); import os; print(os.stat('team/text').st_gid)"
    (workdir / "change.py").write_text(code)
    mapped = "user,overlay=team,map-groups=4242:4242:1"
    script = f"""
set -e
{TEAM}
member() {{ setpriv --reuid $uid --regid $gid --groups 4242 "$@"; }}
check() {{ member "{newest.executable}" -m unshare_boot check $1; }}
change() {{ PY_UNSHARE=$1 member "{newest.executable}" change.py; }}
uid=$1 gid=$2
check user,overlay=team
change user,overlay=team || true
echo me:4242:1 >>/etc/subgid
check {mapped}
change {mapped}
check user=auto,overlay=team
"""
    ids = [str(user.uid), str(user.gid)]
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *ids]
    done = newest.root.run(command, cwd=workdir)
    lines = " ".join(done.ok().split())
    assert lines.startswith("yes PY_UNSHARE='user,overlay=team' but: overlay: ")
    assert "team' and perhaps more is of the group team (4242), which has no id inside" in lines
    cure = "echo me:4242:1 | sudo tee -a /etc/subgid; then add map-groups=4242:4242:1 to the list"
    assert f"cure: {cure} more: docs/troubleshooting.md#files-of-a-group-without-an-id" in lines
    assert "Value too large" in done.stderr
    rest = lines.partition("without-an-id ")[2]
    assert rest == (f"yes PY_UNSHARE='{mapped}' 4242 yes PY_UNSHARE='user=auto,overlay=team'")


def test_a_directory_below_an_overlay_that_may_not_be_searched(
    newest: Python, workdir: Path
) -> None:
    """Its names can be listed, and that is all: no file in there can be changed either."""
    (workdir / "open/closed").mkdir(parents=True)
    (workdir / "open/closed/file").touch()
    if os.getuid() == 0:
        for path in [workdir / "open", *(workdir / "open").rglob("*")]:
            os.chown(path, newest.user.uid, newest.user.gid)
    (workdir / "open/closed").chmod(0o444)
    done = newest.run(["-m", "unshare_boot", "check", "user,overlay=open"], cwd=workdir)
    (workdir / "open/closed").chmod(0o755)
    assert done.ok().split() == ["yes", "PY_UNSHARE='user,overlay=open'"]
