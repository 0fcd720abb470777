"""Real clips, joined: bit by bit where they are alike, coded once where they are not; whole, or not there."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import av
import pytest

from batchvid.media.concat import NotJoinedError, StoppedError, join
from batchvid.media.frames import decode_clip
from batchvid.sandbox.render import render
from batchvid.sandbox.tasks import ClipOrder
from tests.media.strange import MAKERS, Kind, made, make, measured

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClip

FRAME_S = 1 / 24


def never() -> bool:
    """Let it go on."""
    return False


@pytest.fixture
def clips(tmp_path: Path, make_clip: MakeClip) -> list[Path]:
    """Return three clips of one kind, with sound, of different lengths."""
    return written(tmp_path, *(make_clip(frames=frames, audio=True) for frames in (24, 31, 12)))


def written(folder: Path, *contents: bytes) -> list[Path]:
    """Write clips."""
    paths = [folder / f"part-{number}.mp4" for number in range(len(contents))]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)
    return paths


def packets(path: Path, kind: str) -> list[bytes]:
    """Return the coded frames of one track."""
    with av.open(str(path)) as container:
        (stream,) = [one for one in container.streams if one.type == kind]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def times(path: Path, kind: str) -> list[float]:
    """Return when each decoded frame of a track is shown or heard."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0] if kind == "video" else container.streams.audio[0]
        return [float(getattr(frame, "time", None) or 0.0) for frame in container.decode(stream)]


def heard_s(path: Path) -> float:
    """Return how long the sound is that a decoder gives."""
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(container.streams.audio[0]))


def boxes(path: Path) -> list[str]:
    """Name the top boxes of the file, in order."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        found.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4]) or len(data)
    return found


def test_clips_of_one_kind_are_joined_without_touching_a_picture(tmp_path: Path, clips: list[Path]) -> None:
    """Every coded frame of every part is in the film, bit by bit, in order."""
    film = tmp_path / "film.mp4"
    assert join(clips, film, is_stopped=never).difference == ""
    assert packets(film, "video") == [one for clip in clips for one in packets(clip, "video")]
    sound = [one for clip in clips for one in packets(clip, "audio")]
    kept = packets(film, "audio")
    assert set(kept) <= set(sound)
    assert len(sound) - len(kept) == len(clips) - 1  # the decoder's run-up, once a joint


def test_the_lengths_of_the_parts_add_up_and_every_frame_has_its_place(tmp_path: Path, clips: list[Path]) -> None:
    """Within a frame a joint, picture and sound; no two frames at one time, and no hole."""
    film = tmp_path / "film.mp4"
    join(clips, film, is_stopped=never)
    assert decode_clip(film).frames == 24 + 31 + 12
    assert decode_clip(film).duration_s == pytest.approx(67 * FRAME_S, abs=2 * FRAME_S)
    shown = times(film, "video")
    gaps = [later - earlier for earlier, later in pairwise(shown)]
    assert all(0.9 * FRAME_S <= gap <= 2.1 * FRAME_S for gap in gaps)
    assert heard_s(film) == pytest.approx(sum(map(heard_s, clips)), abs=0.005)


def test_picture_and_sound_do_not_drift_apart_over_many_joints(tmp_path: Path, make_clip: MakeClip) -> None:
    """Forty parts whose sound ends before their pictures: the last one's begin together all the same."""
    film = tmp_path / "film.mp4"
    join(written(tmp_path, make_clip(frames=10, audio=True)) * 40, film, is_stopped=never)
    begins_at, sounds = times(film, "video")[-10], times(film, "audio")
    assert min(abs(at - begins_at) for at in sounds) <= 0.002
    assert sounds[-1] - begins_at == pytest.approx(9 * 1024 / 48_000, abs=0.002)


def test_the_index_stands_first_so_that_a_browser_plays_it_while_it_loads(tmp_path: Path, clips: list[Path]) -> None:
    """In the copied film and in the coded one."""
    film = tmp_path / "film.mp4"
    for parts in (clips, [clips[0], shaped(tmp_path, 36, 64)]):
        join(parts, film, is_stopped=never)
        found = boxes(film)
        assert found.index("moov") < found.index("mdat")


def shaped(folder: Path, width: int, height: int) -> Path:
    """Return a clip of another shape, rate and length, without sound."""
    path = folder / f"{width}x{height}.mp4"
    render(ClipOrder("x", width, height, 1, 7, (), ()), path, rate=8)
    return path


@pytest.mark.parametrize("first", ["with sound", "without sound"])
def test_clips_of_different_kinds_are_coded_once_in_the_first_ones_size(
    tmp_path: Path, clips: list[Path], first: str
) -> None:
    """What differs is said; lengths add up, sound is kept where there is some, and the film has it all along."""
    other, film = shaped(tmp_path, 36, 64), tmp_path / "film.mp4"
    parts = [clips[0], other, clips[1]] if first == "with sound" else [other, clips[0], clips[1]]
    assert join(parts, film, is_stopped=never).difference == "size"
    found = decode_clip(film)
    assert (found.width, found.height) == ((64, 36) if first == "with sound" else (36, 64))
    assert found.duration_s == pytest.approx(1.0 + 1.0 + 31 * FRAME_S, abs=3 / 8)
    assert heard_s(film) == pytest.approx(found.duration_s, abs=0.1)


def test_a_clip_with_another_rate_or_without_sound_is_no_reason_to_lose_it(tmp_path: Path, make_clip: MakeClip) -> None:
    """Sound in one of two parts makes them different kinds."""
    parts = written(tmp_path, make_clip(frames=24), make_clip(frames=24, audio=True))
    film = tmp_path / "film.mp4"
    assert join(parts, film, is_stopped=never).difference == "sound"
    assert heard_s(film) == pytest.approx(2.0, abs=0.1)


def test_a_damaged_part_makes_no_film(tmp_path: Path, clips: list[Path]) -> None:
    """And says so."""
    clips[1].write_bytes(b"hello")
    with pytest.raises(NotJoinedError, match="could not be joined"):
        join(clips, tmp_path / "film.mp4", is_stopped=never)


@pytest.mark.parametrize("how", ["copied", "coded"])
@pytest.mark.parametrize("kind", ["late sound", "late pictures", "Opus", "shorter sound"])
def test_what_is_together_in_a_clip_is_together_in_the_film(tmp_path: Path, kind: str, how: str) -> None:
    """Where sound or pictures begin late, or sound has a run-up; at the tenth part as at the first."""
    parts = [MAKERS[kind](tmp_path / "clip.mp4")] * 10
    if how == "coded":
        parts[5] = made(tmp_path / "wide.mp4", Kind(width=128, sound="aac"))
    film = tmp_path / "film.mp4"
    assert join([one.path for one in parts], film, is_stopped=never).difference == ("size" if how == "coded" else "")
    found = [one for one in measured(film, parts).apart_s if one is not None]
    assert len(found) == 10
    assert max(map(abs, found)) <= 0.02


@pytest.mark.parametrize(
    ("rates", "film"),
    [
        ([24, 24], 24),
        ([24, 8], 24),
        ([Fraction(24_000, 1001)] * 2, Fraction(24_000, 1001)),
        ([24, 30], 60),
        ([25, 50], 50),
        ([24, 25], 60),
        ([100, 24], 100),
        ([3], 24),
    ],
)
def test_a_film_shows_every_frame_when_it_is_due(tmp_path: Path, rates: list[int | Fraction], film: int) -> None:
    """At the lowest rate that does; a clip of one frame has none."""
    kinds = [Kind(rate=rate, frames=1 if rate == 3 else int(rate) // 2, flash_s=9) for rate in rates]
    clips = [make(tmp_path / f"{number}.mp4", kind) for number, kind in enumerate(kinds)]
    join(
        [*clips, make(tmp_path / "tall.mp4", Kind(frames=1, height=64, flash_s=9))],
        tmp_path / "film.mp4",
        is_stopped=never,
    )
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == film


@pytest.mark.parametrize("name", ["it's.mp4", "100% \\ #1.mp4", " blank .mp4", "\u00fc\u732b.mp4"])
def test_a_path_may_have_any_sign(tmp_path: Path, clips: list[Path], name: str) -> None:
    """The list for the demuxer has signs of its own."""
    part = clips[0].rename(tmp_path / name)
    assert not join([part, part], tmp_path / "film.mp4", is_stopped=never).difference
    assert decode_clip(tmp_path / "film.mp4").frames == 48


@pytest.mark.parametrize("kind", ["copied", "coded"])
def test_a_join_ends_as_soon_as_it_is_stopped(tmp_path: Path, clips: list[Path], kind: str) -> None:
    """At any packet or frame."""
    parts = clips if kind == "copied" else [*clips, shaped(tmp_path, 36, 64)]
    left = iter([False] * 40)
    with pytest.raises(StoppedError):
        join(parts, tmp_path / "film.mp4", is_stopped=lambda: next(left, True))
