"""Whether clips are where they should be, and of the right size: a look at the folder, without opening a file."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from batchvid.edge.disk import open_folder, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class WrongClip(NamedTuple):
    """A clip that is not where it should be, or not as it should be."""

    job_id: str
    words: str
    is_lost: bool
    """Whether it is missing or has another size, and so has to be fetched again. What else lies there is left alone."""


def wrong_clips(output: Path, clips: Iterable[tuple[str, str, int]]) -> Iterator[WrongClip]:
    """Yield each clip that is missing, has another size or cannot be looked at; *clips* are id, path and size.

    As everywhere, no symbolic link below the output is followed.
    """
    with ExitStack() as stack:
        folders: dict[str, int] = {}
        for job_id, path, size_bytes in clips:
            folder, _, name = path.rpartition("/")
            try:
                if folder not in folders:
                    folders[folder] = open_folder(str(output), *PurePosixPath(folder).parts, create=False)
                    stack.callback(os.close, folders[folder])
                found = os.lstat(name, dir_fd=folders[folder])
            except FileNotFoundError:
                yield WrongClip(job_id, f"{path} is missing", is_lost=True)
                continue
            except OSError as error:
                yield WrongClip(job_id, f"{path} cannot be read: {reason(error)}", is_lost=False)
                continue
            if not stat.S_ISREG(found.st_mode):
                yield WrongClip(job_id, f"{path} is no regular file", is_lost=False)
            elif found.st_size != size_bytes:
                yield WrongClip(job_id, f"{path} has {found.st_size:,} bytes instead of {size_bytes:,}", is_lost=True)
