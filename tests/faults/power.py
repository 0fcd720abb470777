"""A disk whose power can be cut: a file system in an image, copied at the moment of the cut.

What the program wrote and the kernel has not yet sent to the disk is in the mounted file system and not in its
image. So the image, copied while it is mounted, is the disk as the next start of the machine finds it.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from shutil import which
from typing import TYPE_CHECKING

from tests.faults.cases import NotHereError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.lab import Lab

SIZE = "32M"
LONG = "commit=300"
"""The file system writes nothing by itself for so many seconds: what is durable is what was asked for."""


@dataclass(slots=True)
class Disk:
    """A mounted image."""

    kind: str
    mounted_at: Path
    images: list[Path]

    def cut(self) -> None:
        """Cut the power and start again: what was not synced is gone."""
        copy = self.images[-1].with_suffix(f".{len(self.images)}")
        _do("cp", "--sparse=always", str(self.images[-1]), str(copy))
        _do("umount", str(self.mounted_at))
        self.images.append(copy)
        if self.kind == "ext2":
            # Without a journal of its own a file system is checked after a crash; 1 means "mended".
            _do("e2fsck", "-fy", str(copy), good=(0, 1))
        self._mount()

    def _mount(self) -> None:
        options = f"loop,{LONG}" if self.kind == "ext4" else "loop"
        _do("mount", "-t", self.kind, "-o", options, str(self.images[-1]), str(self.mounted_at))


@contextmanager
def disk(lab: Lab, *, kind: str) -> Iterator[Disk]:
    """Mount a fresh file system where the lab's output goes; raises `NotHereError` where that is forbidden."""
    if not all(map(which, ("mount", f"mkfs.{kind}", "e2fsck"))):
        raise NotHereError(f"there is no mkfs.{kind}")
    # Beside the lab's folder: what the program was not to write there is looked for in it.
    image = lab.folder.with_suffix(".disk")
    at = lab.folder / "out"
    _do("truncate", "--size", SIZE, str(image))
    _do(f"mkfs.{kind}", "-q", "-F", str(image))
    at.mkdir(parents=True, exist_ok=True)
    made = Disk(kind, at, [image])
    try:
        made._mount()
    except OSError as error:
        raise NotHereError(f"an image cannot be mounted: {error}") from None
    try:
        yield made
    finally:
        with suppress(OSError):
            _do("umount", "--lazy", str(at))
        for one in made.images:
            one.unlink(missing_ok=True)


def _do(*command: str, good: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in good:
        raise OSError(done.stderr.strip() or f"{command[0]} ended with {done.returncode}")
