"""Start real interpreters that have the built wheel installed, and look at what they did.

A test asks for `python` and is run with the CPython that runs the suite, or with every one found by
--all-pythons (3.9, …, 3.15, and 3.15-start, which has the other wheel); or for `newest` or `oldest`
where one is enough:

    def test_user_code_sees_only_loopback(python: Python) -> None:
        done = python.run("import socket; print(socket.if_nameindex())", unshare="user,net")
        assert done.ok() == "[(1, 'lo')]\\n"

    def test_a_typing_error_stops_the_start(newest: Python) -> None:
        done = newest.run("print('user code')", unshare="usr,net")
        assert (done.status, done.stdout) == (125, "")
        assert "did you mean user?" in done.stderr

    def test_seen_from_outside(newest: Python) -> None:
        with newest.hold("user,net") as pid:
            assert namespace_inode(pid, "net") != namespace_inode("self", "net")

What runs is an ordinary user's process: the suite's own user, or uid 54321 (UNSHARE_BOOT_TEST_UID)
where the suite runs as root. It starts with a clean environment (PATH, HOME, LANG; more by `env=`),
in that user's home. `workdir` is a directory of the test's own that this user may write to, `user`
runs other programs the same way (`user.run(["unshare", "-rn", *python.command("pass")])`), and
`require_tool("strace")` and `require_root()` say what else a test needs. `fresh_python` is like
`python`, but in an environment of the test's own, which it may break.

Environment variables: UNSHARE_BOOT_TEST_PYTHONS (the interpreters, separated by colons, instead of
a search), UNSHARE_BOOT_TEST_UID, UNSHARE_BOOT_TEST_KEEP=1 (leave the session's directory there),
CI (a missing tool, or not being root, is a failure instead of a skip).
"""

from __future__ import annotations

from harness.interpreters import Interpreter
from harness.mounts import ours, own_shared_mounts
from harness.outer import FILES, id_map, lasting_inode, members, namespace_inode, namespaces
from harness.processes import Finished, Python, User
from harness.require import (
    require_kernel,
    require_module,
    require_root,
    require_strace,
    require_tool,
)
from harness.session import Session
from harness.waiting import until

__all__ = [
    "FILES",
    "Finished",
    "Interpreter",
    "Python",
    "Session",
    "User",
    "id_map",
    "lasting_inode",
    "members",
    "namespace_inode",
    "namespaces",
    "ours",
    "own_shared_mounts",
    "require_kernel",
    "require_module",
    "require_root",
    "require_strace",
    "require_tool",
    "until",
]
