"""Other kernels: Debian's, in machines that QEMU runs without hardware's help."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

NAMES = {  # by suite
    "bullseye": "Linux 5.10, of Debian 11",
    "bookworm": "Linux 6.1, of Debian 12",
    "bookworm-i386": "Linux 6.1, of Debian 12, with programs of 32 bits",
    "bookworm-arm64": "Linux 6.1, of Debian 12, on arm64",
    "bookworm-s390x": "Linux 6.1, of Debian 12, on s390x",
    "trixie": "Linux 6.12, of Debian 13",
    "forky": "Linux 7.2, of Debian's testing",
}
# Of the other architectures than amd64, on which i386 runs as well.
EMULATORS = {"arm64": "qemu-system-aarch64", "s390x": "qemu-system-s390x"}
# What else one of them is booted with: words for the kernel's command line.
MORE = {
    "trixie": (
        *("lab ipv6.disable=1", "lab ipv6.disable_ipv6=1", "lab=initramfs"),
        "lab selinux=1 security=selinux",
    )
}
HERE = Path(__file__).parent
SCRIPTS = HERE / "kernels"
# Kept, since it takes a minute to make; may be removed at any time.
LAB = Path(os.environ.get("UNSHARE_BOOT_LAB", "/var/tmp/unshare-boot-lab"))


def results(suite: str, wheel: Path) -> list[dict]:  # type: ignore[type-arg]
    """Boot the kernel of a Debian suite, and return what `kernels/inside.py` has found there."""
    LAB.mkdir(parents=True, exist_ok=True)
    # One at a time: each takes a processor.
    with FileLock(LAB / "lock"), tempfile.TemporaryDirectory() as name:
        initrd = LAB / suite / "initrd"
        if not initrd.exists() or initrd.stat().st_mtime < (SCRIPTS / "mkkernel").stat().st_mtime:
            _script("mkkernel", suite)
        _script("mkroot", suite, wheel)
        for script in (SCRIPTS / "inside.py", SCRIPTS / "scenarios.py", HERE / "cures.py"):
            shutil.copy(script, name)
        rows = []
        for words in ("", *MORE.get(suite, ())):
            found, _, log = _script("boot", suite, name, *words.split()).partition("end\n")
            rows += [json.loads(line) for line in found.splitlines()]
            assert found and "Traceback" not in log, log
    return rows


def _script(name: str, *arguments: str | Path) -> str:
    command = [str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "LAB": str(LAB)}, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
