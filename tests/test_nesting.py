"""One entry: children live where their parent does, and nest only where they are told to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import Python, namespaces, require_tool
from harness.processes import Argument

LIST = "user,net,mount,uts=inside,ipc,cgroup,time=+1d"

# A module, so that the interpreters that multiprocessing starts find it.
WAYS = """
import json, multiprocessing, os, subprocess, sys


def here():
    return {kind: os.stat("/proc/self/ns/" + kind).st_ino for kind in os.listdir("/proc/self/ns")}


def tell():
    print(json.dumps([here(), os.environ.get("PY_UNSHARE"), os.environ["PY_UNSHARE_ACTIVE"]]))


def put(queue):
    queue.put(here())


def spawned(method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put, args=(queue,))
    process.start()
    there = queue.get()
    process.join()
    assert process.exitcode == 0
    with context.Pool(1) as pool:
        assert pool.apply(here) == there
    return there


def child(*command, **options):
    return json.loads(subprocess.check_output(command, **options))[0]


if __name__ == "__main__":
    me, way = [sys.executable, __file__, "tell"], sys.argv[1]
    if way == "tell":
        tell()
    elif way == "exec":
        os.execv(sys.executable, me)
    elif way == "fork":
        if os.fork() == 0:
            tell()
            sys.stdout.flush()
            os._exit(0)
        os.wait()
    else:
        found = {
            "here": here(),
            "subprocess": child(*me),
            "a shell in between": child("sh", "-c", "(exec env \\"$@\\")", "sh", *me),
            "posix_spawn": child(*me, close_fds=False),
            "a session of its own": child(*me, start_new_session=True),
            "-I": child(sys.executable, "-I", *me[1:]),
        }
        for method in multiprocessing.get_all_start_methods():
            found[method] = spawned(method)
        print(json.dumps(found))
"""


@pytest.fixture
def ways(workdir: Path) -> Path:
    (workdir / "ways.py").write_text(WAYS)
    return workdir / "ways.py"


def test_children_live_in_the_same_namespaces(python: Python, ways: Path) -> None:
    found = json.loads(python.run([ways, "all"], unshare=LIST).ok())
    assert {"subprocess", "fork", "spawn", "forkserver"} < set(found)
    outside = namespaces("self")
    moved = {kind for kind in outside if found["here"][kind] != outside[kind]}
    assert moved == {"user", "net", "mnt", "uts", "ipc", "cgroup", "time", "time_for_children"}
    assert {name: each for name, each in found.items() if each != found["here"]} == {}


@pytest.mark.parametrize("way", ["exec", "fork"])
def test_what_becomes_of_the_process_itself(python: Python, ways: Path, way: str) -> None:
    here, variable, active = json.loads(python.run([ways, way], unshare="user,net").ok())
    assert variable is None
    assert active == f"user={here['user']},net={here['net']}"
    assert here["net"] != namespaces("self")["net"]


def test_a_child_that_is_given_the_variable_again_nests(python: Python, ways: Path) -> None:
    code = f"""if True:
        import json, os, subprocess, sys
        told = json.loads(subprocess.check_output(
            [sys.executable, {str(ways)!r}, "tell"], env={{**os.environ, "PY_UNSHARE": "net"}}
        ))
        print(json.dumps([os.environ["PY_UNSHARE_ACTIVE"], *told]))
    """
    outer, here, variable, active = json.loads(python.run(code, unshare="user,net,ipc").ok())
    held = dict(each.split("=") for each in outer.split(","))
    assert here["net"] != int(held["net"])
    assert (here["user"], here["ipc"]) == (int(held["user"]), int(held["ipc"]))
    assert variable is None
    # What holds of the outer start is still told, beside what the inner one entered.
    assert sorted(active.split(",")) == sorted(
        f"{kind}={here[kind]}" for kind in ("user", "net", "ipc")
    )


def test_the_lists_of_two_starts_are_merged_in_the_fixed_order(newest: Python) -> None:
    tell = "import os, unshare_boot as u; print(u.active(), os.environ['PY_UNSHARE_ACTIVE'])"
    code = f"""if True:
        import os, sys
        os.environ["PY_UNSHARE"] = "net,user"
        os.execv(sys.executable, [sys.executable, "-c", {tell!r}])
    """
    told = newest.run(code, unshare="mount,user,uts=x").ok()
    names = "('user', 'net', 'mount', 'uts')"
    assert re.fullmatch(re.escape(names) + r" (\w+=\d+,){3}\w+=\d+\n", told)


def test_nesting_goes_as_deep_as_the_kernel_lets_it(newest: Python) -> None:
    """32 levels, user_namespaces(7); then the whole tower comes down with the refusal."""
    code = """if True:
        import os, sys
        depth = int(sys.argv[2])
        print(depth, flush=True)
        os.environ["PY_UNSHARE"] = "user"
        os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[1], str(depth + 1)])
    """
    done = newest.run(["-c", code, code, "0"])
    assert done.status == 125
    depths = done.stdout.split()
    assert depths == [str(depth) for depth in range(len(depths))]
    assert 20 < len(depths) < 40
    assert "user: unshare(CLONE_NEWUSER)" in done.stderr


def test_the_hook_runs_once_where_site_py_processes_a_directory_twice(
    python: Python, ways: Path
) -> None:
    """As it does with that of a virtual environment, at least in 3.9 to 3.11."""
    strace, trace = require_tool("strace"), ways.parent / "trace"
    command: list[Argument] = [strace, "-f", "-qq", "-e", "trace=unshare,openat", "-o", trace]
    done = python.user.run(
        [*command, *python.command([ways, "tell"])], env={"PY_UNSHARE": "user,net"}
    )
    assert done.status == 0
    lines = trace.read_text().splitlines()
    assert sum("unshare(" in line for line in lines) == 2
    assert sum(f"unshare_boot.{python.kind}" in line for line in lines) >= 1


def test_two_lines_that_boot_enter_once(fresh_python: Python) -> None:
    """Installed twice, in two directories of sys.path, say."""
    line = "import unshare_boot; unshare_boot.boot()\n"
    (fresh_python.site_packages / "another.pth").write_text(line)
    told = fresh_python.run(
        "import os; print(os.environ['PY_UNSHARE_ACTIVE'])", unshare="user"
    ).ok()
    assert told.count("=") == 1


def test_the_environment_of_c_programs_is_changed_too(newest: Python) -> None:
    code = "import os; os.execv('/usr/bin/env', ['env'])"
    told = newest.run(code, unshare="user", env={"OTHER": "kept"}).ok()
    assert "PY_UNSHARE=" not in told and "PY_UNSHARE_ACTIVE=user=" in told and "OTHER=kept" in told


def test_many_starts_at_once_are_all_apart(newest: Python, ways: Path) -> None:
    code = f"""if True:
        import subprocess, sys
        def start(_):
            return subprocess.Popen([sys.executable, {str(ways)!r}, "tell"],
                env={{"PY_UNSHARE": "user,net"}}, stdout=subprocess.PIPE, text=True)
        for each in list(map(start, range(16))):
            print(each.communicate()[0].strip(), each.returncode)
    """
    told = newest.run(code).ok().splitlines()
    children = []
    for line in told:
        text, _, status = line.rpartition(" ")
        assert status == "0"
        children.append(json.loads(text)[0]["net"])
    # An inode is used again once its namespace is gone, so that all that is sure is this.
    assert namespaces("self")["net"] not in children and len(children) == 16
