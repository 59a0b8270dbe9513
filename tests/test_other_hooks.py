"""Off, on other platforms, and without a .pth file: sitecustomize.py, a zipapp, a .start file."""

from __future__ import annotations

import re
import shutil
import zipapp
from pathlib import Path

import pytest

from harness import Python, namespaces, require_tool
from harness.processes import Argument
from harness.session import PROJECT

WHERE = "import os; print(os.stat('/proc/self/ns/user').st_ino)"
OUTSIDE = f"{namespaces('self')['user']}\n"


# Off


def opened(python: Python, trace: Path, *arguments: str) -> list[str]:
    strace = require_tool("strace")
    command: list[Argument] = [strace, "-f", "-qq", "-e", "trace=open,openat", "-o", trace]
    python.user.run([*command, *python.command([*arguments, "-c", "pass"])]).ok()
    return re.findall(r'open(?:at)?\((?:AT_FDCWD, )?"([^"]+)"', trace.read_text())


def test_off_is_one_line_of_a_pth_file(fresh_python: Python, workdir: Path) -> None:
    packages = fresh_python.site_packages
    gate = packages / f"unshare_boot.{fresh_python.kind}"
    ours = [path for path in opened(fresh_python, workdir / "with") if "unshare_boot" in path]
    if fresh_python.kind == "pth":
        assert set(ours) == {str(gate)}
    else:
        assert set(ours) == {
            str(gate),
            *map(str, (packages / "__pycache__").glob("unshare_boot_start.*")),
        }
    code = "import sys; print(*sorted(sys.modules))"
    loaded = fresh_python.run(code).ok().split()
    guard = ["unshare_boot_start"] if fresh_python.kind == "start" else []
    assert [name for name in loaded if "unshare_boot" in name] == guard
    if fresh_python.kind == "pth":
        text = gate.read_text()
        gate.write_text("import os\n")
        assert fresh_python.run(code).ok().split() == loaded
        gate.write_text(text)


# Options of the interpreter


@pytest.mark.parametrize("option", ["-I", "-E", "-s", "-B", "-O", "-u", "-X utf8", "-W error"])
def test_with_options(python: Python, option: str) -> None:
    done = python.run([*option.split(), "-c", WHERE], unshare="user,net")
    assert done.ok() != OUTSIDE
    assert python.run([*option.split(), "-c", WHERE], unshare="net").status == 125


def test_without_site_py_there_is_no_hook(newest: Python) -> None:
    """-S is for that; and the variable is still there, so that children are isolated."""
    code = f"{WHERE}; import sys; sys.stdout.flush(); os.execv(sys.executable, sys.argv[1:])"
    done = newest.run(["-S", "-c", code, newest.executable, "-c", WHERE], unshare="user")
    here, child = done.ok().splitlines()
    assert f"{here}\n" == OUTSIDE and child != here


def test_what_site_py_runs_later_is_inside(fresh_python: Python) -> None:
    later = ["sitecustomize.py"]
    if fresh_python.kind == "pth":  # .start files come after all import lines (PEP 829)
        later.append("zzz.pth")
    for name in later:
        (fresh_python.site_packages / name).write_text(f"{WHERE}\n")
    told = fresh_python.run(WHERE, unshare="user").ok().split()
    assert len(told) > len(later)
    assert len(set(told)) == 1 and f"{told[0]}\n" != OUTSIDE


# Other platforms


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd15"])
def test_other_platforms(fresh_python: Python, platform: str) -> None:
    """This is Linux, of which another package's .pth file, earlier in name order, knows nothing."""
    (fresh_python.site_packages / "aaa.pth").write_text(
        f"import sys; sys.platform = {platform!r}\n"
    )
    code = f"import sys; print(sys.platform); {WHERE}"
    assert fresh_python.run(code).ok() == f"{platform}\n{OUTSIDE}"
    assert fresh_python.run(code, unshare="off").ok() == f"{platform}\n{OUTSIDE}"
    for unshare in ("user,net", "user,uts=x"):
        done = fresh_python.run(code, unshare=unshare)
        assert (done.status, done.stdout) == (125, "")
        assert f"namespaces are a part of Linux, and this is {platform}" in done.stderr
    assert "did you mean user?" in fresh_python.run(code, unshare="usr").stderr


def test_unshare_on_other_platforms(newest: Python) -> None:
    code = """if True:
        import sys, unshare_boot
        sys.platform = "darwin"
        try:
            unshare_boot.unshare("user,net")
        except unshare_boot.UnshareError as error:
            print(error)
    """
    assert newest.run(code).ok() == "namespaces are a part of Linux, and this is darwin\n"


# sitecustomize.py


def sitecustomize(python: Python, directory: Path) -> dict[str, str]:
    """Have it in the place of the hook; in a directory that comes before Debian's own one."""
    (python.site_packages / f"unshare_boot.{python.kind}").unlink()
    (directory / "sitecustomize.py").write_text("import unshare_boot\nunshare_boot.boot()\n")
    return {"PYTHONPATH": str(directory)}


def test_sitecustomize(fresh_python: Python, workdir: Path) -> None:
    env = sitecustomize(fresh_python, workdir)
    assert fresh_python.run(WHERE, unshare="user,net").ok() == OUTSIDE
    assert fresh_python.run(WHERE, env=env).ok() == OUTSIDE
    assert fresh_python.run(WHERE, unshare="user,net", env=env).ok() != OUTSIDE
    done = fresh_python.run(WHERE, unshare="user,nett", env=env)
    assert (done.status, done.stdout) == (125, "") and "did you mean net?" in done.stderr
    done = fresh_python.run(WHERE, unshare="net", env=env)
    assert (done.status, done.stdout) == (125, "") and "(EPERM)" in done.stderr


def test_sitecustomize_where_all_goes_wrong(fresh_python: Python, workdir: Path) -> None:
    """Here it is boot() alone that stands between a failure and site.py, which goes on."""
    packages = fresh_python.site_packages
    env = sitecustomize(fresh_python, workdir)
    for redirection in ("2>&-", "2>/dev/full"):
        command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *fresh_python.command(WHERE)]
        done = fresh_python.user.run(command, env={**env, "PY_UNSHARE": "net"})
        assert (done.status, done.stdout) == (125, "")
    for name in ("SystemExit(0)", "KeyboardInterrupt", "MemoryError", "OSError", "GeneratorExit"):
        (packages / "unshare_boot" / "namespaces.py").write_text(f"raise {name}  # {packages}")
        done = fresh_python.run(WHERE, unshare="user,net", env=env)
        assert (done.status, done.stdout) == (125, "") and "not started" in done.stderr


# A zipapp


@pytest.mark.parametrize("compressed", [False, True])
def test_zipapp(python: Python, workdir: Path, compressed: bool) -> None:
    """It brings the package along, for an interpreter that has nothing installed."""
    ignore = shutil.ignore_patterns("__pycache__")
    source = workdir / "source"
    shutil.copytree(python.site_packages / "unshare_boot", source / "unshare_boot", ignore=ignore)
    (source / "__main__.py").write_text(
        f"import unshare_boot\nunshare_boot.boot()\n{WHERE}\n"
        "print(unshare_boot.active(), os.environ.get('PY_UNSHARE'))\n"
    )
    zipapp.create_archive(source, workdir / "app.pyz", compressed=compressed)

    def run(unshare: str) -> tuple[int, str, str]:
        command: list[Argument] = [python.base, "-I", workdir / "app.pyz"]
        done = python.user.run(command, env={"PY_UNSHARE": unshare})
        return done.status, done.stdout, done.stderr

    assert run("off") == (0, f"{OUTSIDE}() None\n", "")
    status, output, _ = run("user,net,mount,uts=x,time=+1d")
    assert (status, output.splitlines()[1:]) == (
        0,
        ["('user', 'net', 'mount', 'uts', 'time') None"],
    )
    assert not output.startswith(OUTSIDE)
    for unshare, said in (("net", "(EPERM)"), ("user,", "a comma too many")):
        status, output, errors = run(unshare)
        assert (status, output) == (125, "") and said in errors


# .pth and .start


def test_a_pth_and_a_start_file_side_by_side(fresh_python: Python) -> None:
    """As an editable install has them: Python 3.15 takes the .start file alone."""
    packages = fresh_python.site_packages
    for other in ("pth", "start"):
        if other != fresh_python.kind:
            shutil.copy(PROJECT / f"unshare_boot.{other}", packages)
    shutil.copy(PROJECT / "src" / "unshare_boot_start.py", packages)
    code = "import unshare_boot; print(unshare_boot.active())"
    assert fresh_python.run(code, unshare="user,net").ok() == "('user', 'net')\n"
    assert fresh_python.run(code).ok() == "()\n"
    done = fresh_python.run(code, unshare="net")
    assert (done.status, done.stdout) == (125, "")
    assert done.stderr.count("not started") == 1
