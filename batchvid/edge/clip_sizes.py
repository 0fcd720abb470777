"""Whether clips are where they should be, and of the right size: a look at the folder, without opening a file."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batchvid.edge.disk import open_folder, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def wrong_clips(output: Path, clips: Iterable[tuple[str, str, int]]) -> Iterator[tuple[str, str]]:
    """Yield the id of each clip that is missing or has another size, and what is wrong; *clips* are id, path and size.

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
                yield job_id, f"{path} is missing"
                continue
            except OSError as error:
                yield job_id, f"{path} cannot be read: {reason(error)}"
                continue
            if not stat.S_ISREG(found.st_mode):
                yield job_id, f"{path} is no regular file"
            elif found.st_size != size_bytes:
                yield job_id, f"{path} has {found.st_size:,} bytes instead of {size_bytes:,}"
