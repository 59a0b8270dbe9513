"""Try the wheels of a directory on this Python: python try_dist.py DIST. Linux, user namespaces.

pip chooses the one that is meant for this Python; where the other one works as well, it is tried
next. Each goes into an environment of its own, with no index, and is at work there: inside, in a
refusal, as a command; and gone when it is uninstalled.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SEEN = "import os, socket; print(os.getuid(), [name for _, name in socket.if_nameindex()])"


def main() -> int:
    """Try one wheel or both; print what was seen."""
    (directory,) = map(Path, sys.argv[1:])
    try_wheel(["--find-links", str(directory), "unshare-boot"])
    if (3, 15) <= sys.version_info[:2] < (3, 18):  # the only ones where both work (PEP 829)
        try_wheel([str(path) for path in directory.glob("*-py3-none-any.whl")])
    return 0


def try_wheel(what: list[str]) -> None:
    """Install, start, refuse, uninstall.

    Args:
        what: for pip install.

    Raises:
        AssertionError: it does not do what it should.
        subprocess.CalledProcessError: pip or the command fails.
    """
    with tempfile.TemporaryDirectory() as name:
        environment = Path(name)
        venv.create(environment)
        python = environment / "bin" / "python"
        # The pip of this Python: Debian's have no ensurepip to put one into the environment.
        options = ["--python", str(python), "--disable-pip-version-check", "--quiet"]
        pip = [sys.executable, "-m", "pip", *options]
        subprocess.run([*pip, "install", "--no-index", *what], check=True)
        (hook,) = environment.glob("lib/*/site-packages/unshare_boot.*")

        assert run(python, "-c", SEEN, PY_UNSHARE="user,net") == (0, "0 ['lo']\n")
        assert run(python, "-c", SEEN)[1] != "0 ['lo']\n"
        assert run(python, "-c", SEEN, PY_UNSHARE="usr,net") == (125, "")
        assert run(python, "-I", "-c", SEEN, PY_UNSHARE="user=current,net,pid")[0] == 0
        checked = run(environment / "bin" / "unshare-boot", "check", "user,net")
        assert checked[0] == 0, checked

        subprocess.run([*pip, "uninstall", "--yes", "unshare-boot"], check=True)
        assert list(environment.glob("lib/*/site-packages/unshare_boot*")) == []
        print(f"{sys.implementation.name} {sys.version.split()[0]}: {hook.name} is at work")


def run(*command: object, **variables: str) -> tuple[int, str]:
    """The status and the standard output of a command; what it complains about is shown."""
    env = {**os.environ, **variables}
    argv = [str(each) for each in command]
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, encoding="utf-8")
    return done.returncode, done.stdout


if __name__ == "__main__":
    sys.exit(main())
