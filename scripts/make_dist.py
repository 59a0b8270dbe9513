"""Build the source distribution and both wheels: python scripts/make_dist.py [--outdir DIR].

The wheels are built from the source distribution, so that it is known to be complete. What builds
them is installed from the package index into an environment of its own, each file of it known by
its hash (build-requirements.txt); with --no-isolation it is the running Python's. The same sources
give the same bytes, whoever builds them, where and when.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from build import ProjectBuilder
from build.env import DefaultIsolatedEnv
from pyproject_hooks import default_subprocess_runner

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "scripts" / "build-requirements.txt"

# The time of every file in what is built: 2020-02-02. It is the one that hatchling takes by itself,
# so that `pip wheel` and `python -m build` of the same sources give the same bytes as this script.
STAMP = 1580601600


def main() -> None:
    """Build all three and print their paths."""
    parser = argparse.ArgumentParser(description="Build the sdist and both wheels.")
    parser.add_argument("--outdir", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--no-isolation", action="store_true", help="take hatchling from the running Python"
    )
    arguments = parser.parse_args()
    for path in make_dist(arguments.outdir, isolated=not arguments.no_isolation):
        print(path)


def make_dist(outdir: Path, *, isolated: bool) -> list[Path]:
    """Build into `outdir`, which is made if need be.

    Args:
        outdir: where the three files go.
        isolated: take hatchling from the package index instead of the running Python.

    Returns:
        The paths of the sdist, the .pth wheel and the .start wheel.

    Raises:
        build.BuildException: hatchling is missing, or fails.
    """
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(DefaultIsolatedEnv()) if isolated else None
        if environment:
            environment.install(pinned(PINNED.read_text(encoding="utf-8")))
        sdist = build_one(environment, ROOT, outdir, "sdist")
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shutil.unpack_archive(sdist, scratch)
        (source,) = scratch.iterdir()
        return [
            sdist,
            build_one(environment, source, outdir, "wheel", "pth"),
            build_one(environment, source, outdir, "wheel", "start"),
        ]


def pinned(text: str) -> list[str]:
    """The lines of a requirements file, without its comments."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def build_one(
    environment: DefaultIsolatedEnv | None,
    source: Path,
    outdir: Path,
    distribution: Literal["sdist", "wheel"],
    kind: str = "",
) -> Path:
    """Build one file; `kind` chooses the wheel, see hatch_build.py."""

    def run(
        cmd: Sequence[str],
        cwd: str | None = None,
        extra_environ: Mapping[str, str] | None = None,
    ) -> None:
        own = {"UNSHARE_BOOT_WHEEL": kind, "SOURCE_DATE_EPOCH": str(STAMP)}
        default_subprocess_runner(cmd, cwd, {**(extra_environ or {}), **own})

    if environment is None:
        return Path(ProjectBuilder(source, runner=run).build(distribution, outdir))
    project = ProjectBuilder.from_isolated_env(environment, source, runner=run)
    return Path(project.build(distribution, outdir))


if __name__ == "__main__":
    main()
