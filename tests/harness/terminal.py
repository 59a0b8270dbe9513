"""A program on a real pseudo-terminal, and a real shell with job control."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pexpect

from harness.processes import User
from harness.require import SEARCH_PATH, require_tool

SECONDS = 30
PROMPT = "shell> "


@contextlib.contextmanager
def terminal(
    user: User, argv: list[str], unshare: str | None = None, **variables: str
) -> Iterator[pexpect.spawn[str]]:
    """Run a program as the leader of a session on a new pseudo-terminal, with more variables."""

    def become() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests run under nohup(1)
        if os.getuid() != user.uid:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)

    env = {"PATH": SEARCH_PATH, "HOME": str(user.home), "LANG": "C.UTF-8", "TERM": "dumb"}
    env.update(variables)
    if unshare:
        env["PY_UNSHARE"] = unshare
    child = pexpect.spawn(
        argv[0],
        argv[1:],
        env=env,
        cwd=str(user.home),
        timeout=SECONDS,
        encoding="utf-8",
        echo=False,
        preexec_fn=become,
    )
    try:
        yield child
    finally:
        child.close(force=True)


@contextlib.contextmanager
def shell(user: User) -> Iterator[pexpect.spawn[str]]:
    """An interactive bash, with job control."""
    bash = require_tool("bash")
    with terminal(user, [bash, "--norc", "--noprofile", "--noediting", "-i"]) as child:
        child.sendline(f"PS1='{PROMPT[:3]}''{PROMPT[3:]}'; stty -echo")
        child.expect_exact(PROMPT)
        yield child


def run(child: pexpect.spawn[str], command: str) -> str:
    """Run a command to its end; return what came before the prompt."""
    child.sendline(command)
    child.expect_exact(PROMPT)
    return str(child.before).replace("\r\n", "\n").strip()
