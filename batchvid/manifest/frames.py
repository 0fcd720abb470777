"""First and last frames: each file is read once, and what looks wrong about it is said once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchvid.core.job import Frame

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_RATIO_TOLERANCE = 0.02
"""1920x1088, which encoders like, still counts as 16x9."""


class Frames:
    """The images of one manifest."""

    def __init__(self, folder: Path, read_frame: Callable[[Path], Frame]) -> None:
        """*folder* is the manifest's; frames are named relative to it."""
        self._folder = folder
        self._read = read_frame
        self._known: dict[Path, Frame | str] = {}

    def get(self, relative: str) -> Frame:
        """Give the frame of a file; raises `ValueError` with the file's name and what is wrong with it."""
        path = self._folder / relative
        found = self._known.get(path)
        if found is None:
            try:
                found = self._read(path)
            except ValueError as error:
                found = f"{relative}: {error}"
            self._known[path] = found
        if isinstance(found, str):
            raise ValueError(found)  # noqa: TRY004 it is a remembered error, not a wrong type
        return found


def size_trouble(size: str) -> str | None:
    """Say what is strange about a ``size``, which is passed through all the same."""
    if _SIZE.fullmatch(size):
        return None
    return f'"{size}" is neither 16x9, 9x16 nor pixels such as 1280x720; it is sent as it is'


def frame_troubles(frames: tuple[Frame, ...], size: str | None) -> Iterator[tuple[str, str]]:
    """Say what is strange about a job's frames: the field, and the text."""
    wanted = _SIZE.fullmatch(size or "")
    if wanted and int(wanted[1]) and int(wanted[2]):
        ratio = int(wanted[1]) / int(wanted[2])
        for field, frame in zip(("first_frame", "last_frame"), frames, strict=False):
            if frame.height and abs(frame.width / frame.height / ratio - 1) > _RATIO_TOLERANCE:
                yield field, f"is {frame.width}x{frame.height}, and the clip {size}: the service may crop it"
    match frames:
        case (first, last) if (first.width, first.height) != (last.width, last.height):
            text = f"is {last.width}x{last.height}, and the first frame {first.width}x{first.height}: make them alike"
            yield "last_frame", text
        case _:
            pass
