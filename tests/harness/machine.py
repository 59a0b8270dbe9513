"""A machine with users of its own, for what passwd(5) and subuid(5) say."""

from __future__ import annotations

from pathlib import Path

from harness.processes import Finished, Python
from harness.require import require_tool


class Machine:
    """A machine with users of its own: /etc/passwd, /etc/subuid and /etc/subgid are other files.

    They are mounted over the real ones in a mount namespace, by root, who then becomes the user.
    """

    def __init__(self, python: Python, directory: Path) -> None:
        self.python = python
        self.directory = directory
        uid, gid = python.user.uid, python.user.gid
        self.write("passwd", f"root:x:0:0::/:/bin/sh\ntess:x:{uid}:{gid}::/:/bin/sh\n")
        self.write("subuid", "")
        self.write("subgid", "")

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def run(
        self,
        code: str | list[str | Path],
        unshare: str,
        path: str = "",
        ignored: str = "",
        setup: str = "",
        drop: str = "--reuid {uid} --regid {gid} --clear-groups",
    ) -> Finished:
        """Run a program text, or a command line, as the user, with a signal that is ignored.

        Args:
            code: what to run.
            unshare: the list.
            path: instead of PATH.
            ignored: the signal's name.
            setup: a script that root runs before.
            drop: options of setpriv(1) that make root the user.
        """
        uid, gid = self.python.user.uid, self.python.user.gid
        script = f"""
            for name in passwd subuid subgid; do
                mount --bind {self.directory}/$name /etc/$name || exit 1
            done
            {setup}
            exec setpriv {drop.format(uid=uid, gid=gid)} env "$@"
        """
        environment = [f"PY_UNSHARE={unshare}", *([f"PATH={path}"] if path else [])]
        if ignored:
            environment.insert(0, f"--ignore-signal={ignored}")
        outer = [require_tool("unshare"), "--mount", "sh", "-c", script, "sh", *environment]
        command = self.python.command(code) if isinstance(code, str) else code
        return self.python.root.run([*outer, *command])
