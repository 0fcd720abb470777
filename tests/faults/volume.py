"""Disks that do not do their part: small ones that fill up, and system calls that fail where a case wants it."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from shutil import which
from typing import TYPE_CHECKING

from tests.faults.cases import NotHereError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.lab import Lab


def small_disk(lab: Lab, size: str = "1m", *, options: str = "") -> Path:
    """Put the output on a disk of its own, of *size*, until the case ends; give its root."""
    lab.output.mkdir(parents=True, exist_ok=True)
    mount(lab.output, f"size={size}{options}")
    lab.stack.callback(unmount, lab.output)
    return lab.output


def mount(where: Path, options: str) -> None:
    """Mount a disk in memory, or change the *options* of one that is mounted (``remount,…``)."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", where],  # noqa: S607 as installed
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotHereError(f"no disk can be mounted: {done.stderr.strip()}")


def unmount(where: Path) -> None:
    """Take the disk at *where* away, also when it is in use; nothing is done when there is none."""
    subprocess.run(["umount", "-l", where], capture_output=True, check=False)  # noqa: S607 as installed


def fill(folder: Path) -> Path:
    """Fill the disk to its last byte; give the file that does it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (65_536, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


def failing(*injections: str, path: Path | None = None) -> list[str]:
    """Return the command that runs another one and lets system calls fail: ``fsync:error=EIO``, ``…:when=3+``.

    With *path*, only calls on that file are counted and fail.
    """
    return [*_strace(injections, path), "--seccomp-bpf", "--"]


def attached(process: subprocess.Popen[str], *injections: str, path: Path) -> subprocess.Popen[bytes]:
    """Let system calls of a process that runs already fail from now on; wait until that is so."""
    tracer = subprocess.Popen([*_strace(injections, path), "-p", str(process.pid)])
    status = f"/proc/{process.pid}/status"
    while tracer.poll() is None:
        with open(status, encoding="ascii") as file:
            if f"TracerPid:\t{tracer.pid}\n" in file.read():
                break
    return tracer


def _strace(injections: tuple[str, ...], path: Path | None) -> list[str]:
    if which("strace") is None:
        raise NotHereError("there is no strace command")
    calls = ",".join(injection.partition(":")[0] for injection in injections)
    injected = [part for injection in injections for part in ("-e", f"inject={injection}")]
    only = [] if path is None else ["-P", str(path)]
    return ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={calls}", *injected, *only]
