"""Frames taken out of real clips: the right one, without loss, and never of another file than the journal's."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image

from batchvid.media.concat import join
from batchvid.media.frames import decode_clip, picture_of
from tests.media.strange import Kind, covered, make

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClip

FRAMES, RATE = 30, 24


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Return a clip with no two frames alike."""
    path = tmp_path / "kite.mp4"
    return make(path, Kind(frames=FRAMES, sound="aac", flash_s=9))


def decoded(path: Path) -> list[bytes]:
    """Return every frame of a clip, as a decoder shows it."""
    with av.open(str(path)) as container:
        return [frame.to_image().tobytes() for frame in container.decode(container.streams.video[0])]  # type: ignore[no-untyped-call] # PyAV's own gap


def nearest(frames: list[bytes], png: bytes) -> int:
    """Return the number of the frame that a PNG shows: it is far nearer to it than to every other one."""
    with Image.open(io.BytesIO(png)) as image:
        pixels = image.tobytes()
    far = [sum(abs(one - other) for one, other in zip(frame, pixels, strict=True)) / len(pixels) for frame in frames]
    assert min(far) < min(2.5, sorted(far)[1] / 1.5), sorted(far)[:3]
    return far.index(min(far))


@pytest.mark.parametrize(
    ("at_s", "number"),
    [(None, 29), (0.0, 0), (0.5, 12), (0.49, 11), (1.24, 29), (-0.01, 29), (-0.05, 28), (-1.25, 0), (1 / 24, 1)],
)
def test_the_frame_that_is_shown_at_a_moment_is_taken(clip: Path, at_s: float | None, number: int) -> None:
    """Counted from the beginning, or back from the end; the PNG loses nothing of it."""
    found = picture_of(clip, at_s=at_s)
    assert nearest(decoded(clip), found.png) == number
    assert (found.width, found.height) == (64, 36)
    assert found.at_s == pytest.approx(number / RATE, abs=0.001)


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
def test_the_last_frame_is_found_in_every_form_of_file(tmp_path: Path, movflags: str) -> None:
    """Fragments, too, whose header states no length."""
    path = tmp_path / "clip.mp4"
    make(path, Kind(frames=FRAMES, flash_s=9, movflags=movflags))
    assert nearest(decoded(path), picture_of(path, at_s=None).png) == FRAMES - 1


def test_a_cover_picture_is_no_part_of_the_clip(clip: Path) -> None:
    """A decoder has it as the first track of pictures."""
    frame = picture_of(clip, at_s=0.5)
    covered(clip)
    with av.open(str(clip)) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
    assert picture_of(clip, at_s=0.5) == frame
    assert decode_clip(clip).frames == FRAMES


def test_a_clip_held_sideways_gives_an_upright_frame(clip: Path) -> None:
    """As players show it, by the matrix in its track's header (ISO/IEC 14496-12 §8.3.2)."""
    data = bytearray(clip.read_bytes())
    struct.pack_into(">9I", data, data.index(b"tkhd") + 44, 0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)
    clip.write_bytes(data)
    found = picture_of(clip, at_s=None)
    assert (found.width, found.height) == (36, 64)


def test_times_count_from_the_first_frame_of_a_piece_of_a_stream(tmp_path: Path, make_clip: MakeClip) -> None:
    """Its clock stands at ten seconds by then."""
    path, film = tmp_path / "piece.mp4", tmp_path / "film.mp4"
    data = bytearray(make_clip(frames=FRAMES, movflags="frag_keyframe+empty_moov+default_base_moof"))
    path.write_bytes(data)
    frame = picture_of(path, at_s=-0.5)
    at = -1
    while (at := data.find(b"tfdt", at + 1)) >= 0:
        assert data[at + 4] == 1
        struct.pack_into(">Q", data, at + 8, int.from_bytes(data[at + 8 : at + 16]) + 10 * 12_288)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert container.start_time > 10_000_000
    assert picture_of(path, at_s=-0.5) == frame
    assert not join([path, path], film, is_stopped=lambda: False).difference
    assert decode_clip(film).duration_s == pytest.approx(2 * FRAMES / RATE, abs=2 / RATE)


def test_a_moment_counts_from_the_first_picture_or_sound_to_the_last(tmp_path: Path) -> None:
    """As a player's clock does; before the first picture that one is shown, behind the last one that one stays."""
    kind = Kind(frames=12, sound="aac", pictures_from_s=0.25, sound_s=1.0, flash_s=9)
    clip = make(tmp_path / "clip.mp4", kind)
    for at_s, number in (
        (0.0, 0),
        (0.1, 0),
        (0.25, 0),
        (0.30, 1),
        (0.5, 6),
        (-0.5, 6),
        (0.9, 11),
        (-0.01, 11),
        (None, 11),
    ):
        assert nearest(decoded(clip), picture_of(clip, at_s=at_s).png) == number, at_s
    with pytest.raises(ValueError, match=r"lasts 1\.00 s"):
        picture_of(clip, at_s=1.01)


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
