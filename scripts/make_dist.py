"""Build the source distribution and both wheels: python scripts/make_dist.py [--outdir DIR].

The wheels are built from the source distribution, so that it is known to be complete. hatchling
comes from the package index into an environment of its own, or with --no-isolation from the
running Python.
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
        sdist = build_one(environment, ROOT, outdir, "sdist")
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shutil.unpack_archive(sdist, scratch)
        (source,) = scratch.iterdir()
        return [
            sdist,
            build_one(environment, source, outdir, "wheel", "pth"),
            build_one(environment, source, outdir, "wheel", "start"),
        ]


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
        default_subprocess_runner(cmd, cwd, {**(extra_environ or {}), "UNSHARE_BOOT_WHEEL": kind})

    if environment is None:
        return Path(ProjectBuilder(source, runner=run).build(distribution, outdir))
    project = ProjectBuilder.from_isolated_env(environment, source, runner=run)
    environment.install(project.build_system_requires)
    return Path(project.build(distribution, outdir))


if __name__ == "__main__":
    main()
