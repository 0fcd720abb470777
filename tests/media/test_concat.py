"""Real clips, joined: bit by bit where they are alike, coded once where they are not; whole, or not there."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from math import sin
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from batchvid.media.concat import NotJoinedError, StoppedError, join
from batchvid.media.frames import decode_clip
from batchvid.sandbox.render import render
from batchvid.sandbox.tasks import ClipOrder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeClip

FRAME_S = 1 / 24
HALF_S = 0.5


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


# ---- clips of every kind


def encoded(
    folder: Path,
    name: str,
    *,
    codec: str = "libx264",
    width: int = 64,
    sound_from_s: float | None = None,
    pictures_from_s: float = 0.0,
    sound_codec: str = "aac",
    tag: str = "",
    pixel: Fraction = Fraction(1),
    pix_fmt: str = "yuv420p",
    rgb: tuple[int, int, int] = (0, 0, 0),
) -> Path:
    """Write a clip of one second of *rgb*, white from its half on, when a tone begins, too."""
    path = folder / name
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"bf": "0"} if codec == "libx264" else {}
    with av.open(str(path), "w", format="mp4") as clip:
        video = clip.add_stream(codec, rate=24, options=options)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = width, 64, pix_fmt
        video.codec_context.sample_aspect_ratio = pixel
        if tag:
            video.codec_context.codec_tag = tag
        sound = clip.add_stream(sound_codec, rate=48_000, layout="mono") if sound_from_s is not None else None
        for number in range(24):
            white = number / 24 + pictures_from_s >= HALF_S
            picture = Image.new("RGB", (width, 64), (255, 255, 255) if white else rgb)
            frame = av.VideoFrame.from_image(picture).reformat(format=pix_fmt)  # type: ignore[no-untyped-call] # PyAV's own gap
            frame.time_base, frame.pts = Fraction(1, 24_000), round((number / 24 + pictures_from_s) * 24_000)
            clip.mux(video.encode(frame))
        if isinstance(sound, av.AudioStream):
            for at in range(round((sound_from_s or 0) * 48_000), 48_000, 960):
                tone = av.AudioFrame(format="fltp", layout="mono", samples=960)
                tone.sample_rate, tone.pts, tone.time_base = 48_000, at, Fraction(1, 48_000)
                loud = at >= HALF_S * 48_000
                tone.planes[0].update(struct.pack("<960f", *(0.5 * loud * sin(one / 8) for one in range(at, at + 960))))
                clip.mux(sound.encode(tone))
            clip.mux(sound.encode(None))
        clip.mux(video.encode(None))
    return path


def apart_s(film: Path) -> list[float]:
    """Return how long after its white frame each tone of a film begins."""
    with av.open(str(film)) as clip:
        lit = [(float(one.time or 0), one.to_image().getpixel((32, 32))[0] > 128) for one in clip.decode(video=0)]  # type: ignore[no-untyped-call] # PyAV's own gap
    loud = []
    with av.open(str(film)) as clip:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=48_000)
        for frame in clip.decode(audio=0):
            for piece in resampler.resample(frame):
                values = struct.unpack(f"<{piece.samples}f", bytes(piece.planes[0])[: piece.samples * 4])
                begin_s, steps = float(piece.time or 0), range(0, piece.samples, 240)
                loud += [(begin_s + at / 48_000, max(map(abs, values[at : at + 240])) > 0.1) for at in steps]
    begins = [
        [at for (_, before), (at, now) in pairwise([(0.0, False), *row]) if now and not before] for row in (lit, loud)
    ]
    assert len(begins[0]) == len(begins[1])
    return [heard - seen for seen, heard in zip(*begins, strict=True)]


LATE: dict[str, dict[str, Any]] = {
    "late sound": {"sound_from_s": 0.25},
    "late pictures": {"sound_from_s": 0.0, "pictures_from_s": 0.25},
    "opus": {"sound_from_s": 0.0, "sound_codec": "libopus"},
}


@pytest.mark.parametrize("how", ["copied", "coded"])
@pytest.mark.parametrize("kind", LATE)
def test_what_is_together_in_a_clip_is_together_in_the_film(tmp_path: Path, kind: str, how: str) -> None:
    """Where sound or pictures begin late, or sound has a run-up; at the tenth part as at the first."""
    parts = [encoded(tmp_path, "late.mp4", **LATE[kind])] * 10
    if how == "coded":
        parts[5] = encoded(tmp_path, "wide.mp4", width=128, sound_from_s=0.0)
    film = tmp_path / "film.mp4"
    assert join(parts, film, is_stopped=never).difference == ("size" if how == "coded" else "")
    found = apart_s(film)
    assert len(found) == 10
    assert max(map(abs, found)) < FRAME_S


@pytest.mark.parametrize(("codec", "tag"), [("libx265", "hvc1"), ("libx265", "hev1"), ("libsvtav1", "av01")])
def test_a_copy_has_the_tag_of_its_clips(tmp_path: Path, codec: str, tag: str) -> None:
    """Players of Apple show HEVC as hvc1 only."""
    film = tmp_path / "film.mp4"
    assert not join([encoded(tmp_path, "a.mp4", codec=codec, tag=tag)] * 2, film, is_stopped=never).difference
    assert decode_clip(film).frames == 48
    with av.open(str(film)) as clip:
        assert clip.streams.video[0].codec_context.codec_tag == tag


def test_clips_that_are_shown_in_other_ways_look_the_same_in_one_film(tmp_path: Path) -> None:
    """Wide pixels, colours of the full range, and a camera held sideways."""
    red, film = (200, 40, 40), tmp_path / "film.mp4"
    plain = encoded(tmp_path, "plain.mp4", rgb=red)
    others = [
        encoded(tmp_path, "full.mp4", rgb=red, pix_fmt="yuvj420p"),
        encoded(tmp_path, "pixel.mp4", rgb=red, width=32, pixel=Fraction(2)),
        turned(encoded(tmp_path, "turned.mp4", rgb=red)),
    ]
    for other, difference in zip(others, ("colours", "size", "rotation"), strict=True):
        assert join([plain, other, plain], film, is_stopped=never).difference == difference
        with av.open(str(film)) as clip:
            images = [frame.to_image() for frame in clip.decode(video=0)]  # type: ignore[no-untyped-call] # PyAV's own gap
        assert {image.size for image in images} == {(64, 64)}
        for image in images[4::24]:
            for at in ((2, 2), (61, 61), (32, 32)):
                assert all(abs(one - wanted) < 8 for one, wanted in zip(image.getpixel(at), red, strict=True))


def turned(clip: Path) -> Path:
    """Turn a clip by a quarter, by the matrix in its track's header (ISO/IEC 14496-12 §8.3.2)."""
    data = bytearray(clip.read_bytes())
    struct.pack_into(">9I", data, data.index(b"tkhd") + 44, 0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)
    clip.write_bytes(data)
    return clip


def test_a_clip_cut_without_coding_shows_no_hidden_frame_in_the_film(tmp_path: Path) -> None:
    """Its lead-in lies before what its edit list shows: a copy would show that, too."""
    whole, cut, film = encoded(tmp_path, "whole.mp4"), tmp_path / "cut.mp4", tmp_path / "film.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts = (at - round(HALF_S / packet.time_base) for at in (packet.pts, packet.dts))
                packet.stream = track
                target.mux(packet)
    assert decode_clip(cut).frames == 12
    assert join([cut, cut], film, is_stopped=never).difference == "hidden frames"
    with av.open(str(film)) as clip:
        frames = [frame.to_image().getpixel((8, 8)) for frame in clip.decode(video=0)]  # type: ignore[no-untyped-call] # PyAV's own gap
    assert len(frames) == 24
    assert all(frame[0] > 128 for frame in frames)


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
