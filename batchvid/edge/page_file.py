"""``report.html`` in the output folder: written in one step, and never over a page that is not batchvid's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batchvid.edge.clip_files import ForeignFileError
from batchvid.edge.disk import doing, leave_room, open_folder, open_regular, write_whole

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "report.html"
MARK = b'<meta name="generator" content="batchvid'
"""In the head of every page that batchvid wrote."""
MARK_WITHIN_BYTES = 4096


def write_page(output: Path, page: bytes, *, mode: int) -> Path:
    """Put the page in place, and give its path; whoever looks sees the old one or all of the new one.

    Raises `ForeignFileError` when a file of that name is not ours, and `StorageError` when the disk does not take it.
    """
    path = output / PAGE
    with doing(f"write {path}"):
        folder = open_folder(str(output), create=False)
        try:
            if not _is_ours(folder):
                raise ForeignFileError(
                    f"{path} is there already, and is not batchvid's: move it away and write it again"
                )
            leave_room(folder, len(page))
            write_whole(folder, PAGE, [page], mode=mode, durable=False)
        finally:
            os.close(folder)
    return path


def _is_ours(folder: int) -> bool:
    """Say whether the name is free, or a page of ours has it."""
    try:
        descriptor = open_regular(folder, PAGE, os.O_RDONLY)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with open(descriptor, "rb") as file:  # noqa: PTH123 a descriptor has no path
        return MARK in file.read(MARK_WITHIN_BYTES)
