"""What the other tests lean on: that a process starts clean, as somebody else, and ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness import (
    Finished,
    Python,
    User,
    id_map,
    namespaces,
    own_shared_mounts,
    require_kernel,
    require_root,
    require_strace,
    require_tool,
)
from harness.session import PROJECT


def test_a_process_starts_clean(newest: Python, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PY_UNSHARE", "nonsense")
    monkeypatch.setenv("PYTHONHASHSEED", "nonsense")
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), *sorted(os.environ))"
    uid, gid = newest.user.uid, newest.user.gid
    groups = [] if os.getuid() == 0 else os.getgroups()
    assert newest.run(code, env={"EXTRA": "1"}).ok() == (
        f"({uid}, {uid}, {uid}) ({gid}, {gid}, {gid}) {groups} EXTRA HOME LANG PATH\n"
    )


def test_the_user_is_an_ordinary_one(newest: Python, workdir: Path) -> None:
    code = "import os; open('made', 'w'); print(os.access('/etc/shadow', os.R_OK))"
    assert newest.run(code, cwd=workdir).ok() == "False\n"
    assert (workdir / "made").stat().st_uid == newest.user.uid
    assert newest.user.uid != 0


def test_as_root(newest: Python) -> None:
    assert newest.run("import os; print(os.geteuid())", as_root=True).ok() == "0\n"


def test_bytes_survive(newest: Python) -> None:
    code = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data)"
    assert newest.run(code, stdin="a\r\n\udcff\x00").ok() == "a\r\n\udcff\x00"


def test_a_status_is_told_apart_from_a_signal(newest: Python) -> None:
    assert newest.run("raise SystemExit(125)").status == 125
    assert newest.run("import os; os.kill(os.getpid(), 15)").status == -signal.SIGTERM


def test_a_hanging_process_is_killed_with_its_children(user: User) -> None:
    with pytest.raises(AssertionError, match=r"ran for more than 0.5 s\nstarted"):
        # The child in the background holds the pipe: were it left, this would not come to an end.
        user.run(["sh", "-c", "sleep 600 & echo started; wait"], timeout=0.5)


def test_reading_from_a_hanging_process_ends(user: User) -> None:
    with user.popen(["sleep", "600"], timeout=0.5) as child:
        assert child.stdout is not None
        assert child.stdout.read() == ""
        assert child.wait() == -signal.SIGKILL


def test_a_process_can_be_held(newest: Python) -> None:
    with newest.hold() as pid:
        assert namespaces(pid)["net"] == namespaces("self")["net"]
        assert id_map(pid, "uid") == id_map("self", "uid")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_missing_is_skipped_but_not_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require_tool("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require_tool("no-such-program")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(pytest.fail.Exception, match="root"):
        require_root()
    with pytest.raises(pytest.fail.Exception, match="knows mount_setattr,no_such_call"):
        require_strace("mount_setattr,no_such_call")
    with pytest.raises(pytest.fail.Exception, match="needs Linux 99"):
        require_kernel("99.1")
    assert Path(require_tool("sh")).is_file()
    assert require_strace("mount_setattr") == require_tool("strace")
    require_kernel("3.8")


def test_what_an_old_kernel_refuses_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the kernel is new enough."""
    refused = Finished(125, "", "more: docs/troubleshooting-machine.md#overlays-for-root-only\n")
    with pytest.raises(AssertionError, match="status 125"):
        refused.ok()
    monkeypatch.delenv("CI", raising=False)
    old = os.uname_result(("Linux", "lab", "5.10.0-32-amd64", "", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: old)
    with pytest.raises(pytest.skip.Exception, match=r"needs Linux 5\.11"):
        refused.ok()


MOUNTS = "/proc/self/mountinfo"
WITH_SHARED_MOUNTS = PROJECT / ".ci" / "with-shared-mounts"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("true", 0),
        ("exit 3", 3),
        ("mount -t tmpfs tmpfs /mnt && umount /mnt", 0),
        ("mount -t tmpfs tmpfs /mnt", 1),
        ("umount --lazy /proc", 1),
        ("mount --make-private /proc", 1),
        ("unshare --mount --propagation shared mount -t tmpfs tmpfs /mnt", 1),
        ("unshare --mount mount -t tmpfs tmpfs /mnt", 0),
    ],
)
def test_ci_sees_what_the_suite_does_to_shared_mounts(
    newest: Python, script: str, status: int
) -> None:
    require_root()
    done = newest.root.run(
        [WITH_SHARED_MOUNTS, "sh", "-c", f"grep -q shared: {MOUNTS} && {script}"]
    )
    assert done.status == status, done
    assert ("the mounts are not what they were" in done.stderr) == (status == 1)


def test_shared_mounts_of_ones_own_are_not_the_machines(newest: Python) -> None:
    """Also where the machine's are shared, which is what the first command is for."""
    inner = [*own_shared_mounts(), "sh", "-c", f"mount -t tmpfs tmpfs /mnt && cat {MOUNTS}"]
    shown = newest.root.run([WITH_SHARED_MOUNTS, *inner]).ok()
    assert " /mnt rw" in shown and "shared:" in shown
