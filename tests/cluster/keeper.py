"""Removes what is left of a world once the program that made it has ended, however it ended.

Every process of a world has the world's mark in its environment, and every folder, network namespace and link of it in
its name. So nothing has to be told beforehand: ``python -m tests.cluster.keeper MARK FOLDER`` waits until its standard
input ends, which the kernel closes even behind a SIGKILL, and sweeps.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "BATCHVID_WORLD"
"""The variable that every process of a world has."""
ENDS_S = 10.0
NAMESPACES = Path("/run/netns")
LINKS = Path("/sys/class/net")


def processes(mark: str) -> Iterator[int]:
    """Yield the processes of a world, but for this one; those of others cannot be looked into, and are not its."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(folder.name) != os.getpid() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def sweep(mark: str, folder: Path) -> None:
    """End every process of the world, and remove its network and its *folder*."""
    until = time.monotonic() + ENDS_S
    while (left := list(processes(mark))) and time.monotonic() < until:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    for path in NAMESPACES.glob(f"{mark}-*"):
        subprocess.run(["ip", "netns", "delete", path.name], check=False, capture_output=True)  # noqa: S607 as installed
    for path in LINKS.glob(f"{mark}*"):
        subprocess.run(["ip", "link", "delete", path.name], check=False, capture_output=True)  # noqa: S607 as installed
    while folder.exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)  # the last of the database's processes may still write


def main() -> None:
    """Wait for the end of the program, and sweep."""
    mark, folder = sys.argv[1:]
    sys.stdin.read()
    sweep(mark, Path(folder))


if __name__ == "__main__":
    main()
