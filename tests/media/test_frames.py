"""Frames taken out of real clips: the right one, without loss, and never of another file than the journal's."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image

from batchvid.media.frames import picture_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClip

FRAMES, RATE = 30, 24


@pytest.fixture
def clip(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Return a clip whose frames grow brighter by 20 of 256 each, and begin anew."""
    path = tmp_path / "kite.mp4"
    path.write_bytes(make_clip(frames=FRAMES, audio=True))
    return path


def decoded(path: Path) -> list[bytes]:
    """Return every frame of a clip, as a decoder shows it."""
    with av.open(str(path)) as container:
        return [frame.to_image().tobytes() for frame in container.decode(container.streams.video[0])]  # type: ignore[no-untyped-call] # PyAV's own gap


def pixels(png: bytes) -> bytes:
    """Return the pixels of a PNG."""
    with Image.open(io.BytesIO(png)) as image:
        return image.tobytes()


@pytest.mark.parametrize(
    ("at_s", "number"),
    [(None, 29), (0.0, 0), (0.5, 12), (0.49, 11), (1.24, 29), (-0.01, 29), (-0.05, 28), (-1.25, 0), (1 / 24, 1)],
)
def test_the_frame_that_is_shown_at_a_moment_is_taken_pixel_for_pixel(
    clip: Path, at_s: float | None, number: int
) -> None:
    """Counted from the beginning, or back from the end; the PNG loses nothing of what was decoded."""
    found = picture_of(clip, at_s=at_s)
    assert pixels(found.png) == decoded(clip)[number]
    assert (found.width, found.height) == (64, 36)
    assert found.at_s == pytest.approx(number / RATE, abs=0.001)


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
def test_the_last_frame_is_found_in_every_form_of_file(tmp_path: Path, make_clip: MakeClip, movflags: str) -> None:
    """Fragments, too, whose header states no length."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(make_clip(frames=FRAMES, movflags=movflags))
    assert pixels(picture_of(path, at_s=None).png) == decoded(path)[-1]


@pytest.mark.parametrize(("at_s", "words"), [(1.3, "lasts 1.25 s, and shows nothing at 1.3s"), (-2.0, "shows nothing")])
def test_a_moment_outside_the_clip_is_refused(clip: Path, at_s: float, words: str) -> None:
    """Rather than taking the nearest frame in silence."""
    with pytest.raises(ValueError, match=words):
        picture_of(clip, at_s=at_s)


@pytest.mark.parametrize("data", [b"", b"hello", b"ffconcat version 1.0\nfile kite.mp4\n"])
def test_what_is_no_clip_has_no_frame(clip: Path, data: bytes) -> None:
    """A playlist that is called a clip opens nothing else."""
    path = clip.with_name("other.mp4")
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not decode"):
        picture_of(path, at_s=None)
