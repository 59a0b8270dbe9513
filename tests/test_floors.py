"""The floors of the package: imports only go down, and never in a circle.

Computed from the sources, imports inside functions included; those under ``if TYPE_CHECKING`` do
not run and do not count. docs/how-it-works.md tells what each floor is for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.session import PROJECT

SOURCE = PROJECT / "src" / "unshare_boot"

# From the top down. A name stands for a module, or for a package with all that is in it.
FLOORS = (
    ("__main__", "pytest_plugin"),
    ("changes", "doctor", "recorded", "where"),
    ("owners", "report"),
    ("__init__",),
    ("start",),
    ("inside", "refusal"),
    ("items", "sockets", "pid", "outbound", "gate"),
    ("lifetime", "resolv_conf"),
    ("language", "child", "procfiles", "rtnetlink", "bpf"),
    ("namespaces",),
    ("errors",),
)
LEVELS = {name: level for level, names in enumerate(reversed(FLOORS)) for name in names}

Import = tuple[str, str, str]  # the module that imports, the one imported, the name taken from it


def modules(source: Path) -> dict[str, Path]:
    """Every module by its name within the package, a package's own as ``start.__init__``."""
    return {
        ".".join(path.relative_to(source).with_suffix("").parts): path
        for path in sorted(source.rglob("*.py"))
    }


def imports(source: Path) -> list[Import]:
    """What each module imports of the package."""
    known = modules(source)
    found = []
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        for node in walk(tree):
            for target, taken in targets(node, name, known):
                if target != name:
                    found.append((name, target, taken))
        found += [(name, *each) for each in attributes(tree, name, known)]
    return found


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only a type checker looks at."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from walk(other)
        else:
            yield from walk(child)


def targets(node: ast.AST, name: str, known: dict[str, Path]) -> list[tuple[str, str]]:
    """The modules of the package that a statement imports, each with the name that is taken."""
    if isinstance(node, ast.Import):
        aliases = [alias.name for alias in node.names if within(alias.name)]
        return [(resolve(each.split(".")[1:], known), "") for each in aliases]
    if not isinstance(node, ast.ImportFrom):
        return []
    parts = node.module.split(".") if node.module else []
    if node.level:
        package = name.split(".")[:-1]
        base = package[: len(package) - node.level + 1] + parts
    elif within(node.module or ""):
        base = parts[1:]
    else:
        return []
    found = []
    for alias in node.names:
        module = resolve([*base, alias.name], known)
        if module == resolve(base, known):
            found.append((module, alias.name))
        else:
            found.append((module, ""))
    return found


def within(module: str) -> bool:
    return module.split(".")[0] == "unshare_boot"


def resolve(parts: list[str], known: dict[str, Path]) -> str:
    """The module that a dotted name leads to, or that has its last part in it."""
    for end in (parts, parts[:-1]):
        for name in (".".join(end), ".".join([*end, "__init__"])):
            if name in known:
                return name
    raise ValueError(f"no module {'.'.join(parts)}")


def attributes(tree: ast.AST, name: str, known: dict[str, Path]) -> list[tuple[str, str]]:
    """What is taken off modules that were imported as such: ``program.connect``."""
    bound = {}
    for node in walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for (target, taken), alias in zip(targets(node, name, known), node.names):
                if not taken:
                    bound[alias.asname or alias.name.split(".")[-1]] = target
    return [
        (bound[node.value.id], node.attr)
        for node in walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in bound
    ]


def floor(module: str) -> str:
    return module.split(".")[0]


def breaches(source: Path) -> list[str]:
    """What is wrong, in words."""
    found = imports(source)
    wrong = [f"{name} is on no floor" for name in modules(source) if floor(name) not in LEVELS]
    for module, target, taken in found:
        if floor(module) == floor(target):
            pass
        elif LEVELS.get(floor(module), 0) <= LEVELS.get(floor(target), 0):
            wrong.append(f"{module} imports {target}, which is not below it")
        if taken[:1] == "_" and taken[:2] != "__":
            wrong.append(f"{module} uses {target}'s private {taken}")
    return wrong + [f"a circle: {' > '.join(circle)}" for circle in circles(found)]


def circles(found: list[Import]) -> Iterator[list[str]]:
    """Each way from a module back to itself, once."""
    arrows: dict[str, set[str]] = {}
    for module, target, _ in found:
        arrows.setdefault(module, set()).add(target)
    finished: set[str] = set()

    def visit(module: str, way: list[str]) -> Iterator[list[str]]:
        if module in way:
            yield [*way[way.index(module) :], module]
        elif module not in finished:
            for target in sorted(arrows.get(module, ())):
                yield from visit(target, [*way, module])
            finished.add(module)

    for module in sorted(arrows):
        yield from visit(module, [])


def test_imports_go_down_and_nothing_private_crosses() -> None:
    assert breaches(SOURCE) == []


def test_no_floor_is_empty() -> None:
    """`gate` and the like are not forgotten here when they are gone there."""
    assert {floor(name) for name in modules(SOURCE)} == set(LEVELS)


def test_every_module_is_found() -> None:
    assert {"__init__", "namespaces", "start.program", "pid.supervisor"} <= modules(SOURCE).keys()


BREACHES = {
    "an arrow up": ("child.py", "from .start import program\n", "which is not below it"),
    "an arrow up, in a function": (
        "items/join.py",
        "def f():\n    from ..refusal.message import explain\n",
        "items.join imports refusal.message, which is not below it",
    ),
    "an arrow up, by the full name": ("errors.py", "import unshare_boot.child\n", "not below it"),
    "an arrow up to the package": ("pid/signalfd.py", "from .. import boot\n", "imports __init__"),
    "an arrow sideways": ("items/join.py", "from ..pid import signalfd\n", "which is not below it"),
    "a circle in one package": ("items/join.py", "from .join2 import x\n", "a circle: "),
    "a private name": ("items/join.py", "from ..child import _x\n", "child's private _x"),
    "a private attribute": (
        "start/program.py",
        "from .. import namespaces as ns\nns._load()\n",
        "namespaces's private _load",
    ),
    "no floor": ("attic.py", "", "attic is on no floor"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_each_kind_of_breach_is_seen(name: str, tmp_path: Path) -> None:
    files = {
        "__init__.py": "boot = 1\n",
        "errors.py": "",
        "namespaces.py": "_load = 1\n",
        "child.py": "_x = 1\n",
        "items/__init__.py": "",
        "items/join.py": "",
        "items/join2.py": "from .join import x\n",
        "pid/__init__.py": "",
        "pid/signalfd.py": "",
        "refusal/__init__.py": "",
        "refusal/message.py": "",
        "start/__init__.py": "",
        "start/program.py": "import typing\nTYPE_CHECKING = False\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    assert breaches(tmp_path) == []
    path, text, said = BREACHES[name]
    (tmp_path / path).write_text(text)
    wrong = breaches(tmp_path)
    assert len(wrong) >= 1 and said in wrong[0], wrong


def test_what_only_a_type_checker_reads_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "errors.py").write_text("if TYPE_CHECKING:\n    from .child import x\n")
    (tmp_path / "child.py").write_text("")
    assert breaches(tmp_path) == []
