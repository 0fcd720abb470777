"""First and last frames: each file is read once, and what looks wrong about it is said once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.domain.image_fit import Fit, fitting, ratio_of
from batchvid.manifest.paths import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from batchvid.domain.job import Frame

_RATIO_TOLERANCE = 0.02
"""1920x1088, which encoders like, still counts as 16x9."""
_PADDED_MAX_PIXELS = 100_000_000
"""As many as a frame may have."""


class Frames:
    """The images of one manifest."""

    def __init__(self, folder: Path, read_frame: Callable[[Path], Frame]) -> None:
        """*folder* is the manifest's; frames are named relative to it."""
        self._folder = folder
        self._read = read_frame
        self._known: dict[Path, Frame | str] = {}

    def get(self, relative: str, *, fit: Fit = Fit.NONE, ratio: tuple[int, int] | None = None) -> Frame:
        """Return the frame of a file, to be fitted to *ratio*.

        Raises `ValueError` with the file's name and what is wrong with it.
        """
        path = self._folder / relative
        found = self._known.get(path)
        if found is None:
            try:
                found = self._read(on_disk(path))
            except ValueError as error:
                found = f"{relative}: {error}"
            self._known[path] = found
        if isinstance(found, str):
            raise ValueError(found)  # noqa: TRY004 it is a remembered error, not a wrong type
        if ratio is None or (wanted := fitting(found.width, found.height, ratio=ratio, fit=fit)) is None:
            return found
        if (pixels := wanted.width * wanted.height) > _PADDED_MAX_PIXELS:
            text = f"padded to {wanted.width}x{wanted.height} it would have {pixels / 1e6:,.0f} million pixels: crop it"
            raise ValueError(f"{relative}: {text}")
        return replace(found, fitted=wanted)


def size_trouble(size: str) -> str | None:
    """Return what is strange about a ``size``, which is passed through all the same."""
    if ratio_of(size):
        return None
    return f'"{size}" is neither 16x9, 9x16 nor pixels such as 1280x720; it is sent as it is'


def suits(frame: Frame, ratio: tuple[int, int]) -> bool:
    """Whether what goes out of the frame has the clip's ratio, or nearly."""
    width, height = frame.sent_size
    return not height or abs(width * ratio[1] / (height * ratio[0]) - 1) <= _RATIO_TOLERANCE


def frame_troubles(frames: Mapping[str, Frame], size: str | None) -> Iterator[tuple[str, str]]:
    """Yield what is strange about a job's frames as they go out: the field, and the text."""
    ratio = ratio_of(size)
    if ratio is not None:
        for field, frame in frames.items():
            if not suits(frame, ratio):
                yield field, f"is {_pixels(frame)}, and the clip {size}: the service may crop it; see fit:"
    match tuple(frames.values()):
        case (first, last) if first.sent_size != last.sent_size:
            yield "last_frame", f"is {_pixels(last)}, and the first frame {_pixels(first)}: make them alike"
        case _:
            pass


def _pixels(frame: Frame) -> str:
    width, height = frame.sent_size
    return f"{width}x{height}"
