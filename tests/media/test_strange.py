"""Clips of every kind: whole ones are called whole, and films and frames show of them what a player shows."""

from __future__ import annotations

import io
import os
import struct
from array import array
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.filter
import pytest
from PIL import Image

from batchvid.media.concat import NotJoinedError, join
from batchvid.media.frames import decode_clip, picture_of
from batchvid.media.mp4 import probe
from batchvid.media.shown import Colours, Look, chained, screen_steps, source_steps
from batchvid.media.thumbnails import thumbnail_of_clip
from tests.media import strange
from tests.media.strange import (
    BT601,
    BT709,
    MAKERS,
    PATCHES,
    UNSPECIFIED,
    Kind,
    Made,
    drawn,
    made,
    make,
    measured,
    psnr,
)

if TYPE_CHECKING:
    from collections.abc import Callable


FRAME_S = 1 / 24


def never() -> bool:
    """Let it go on."""
    return False


@pytest.fixture(scope="module")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return a maker of clips, which makes each of them once."""
    folder, kept = tmp_path_factory.mktemp("strange"), dict[str, Made]()

    def one(name: str) -> Made:
        if name not in kept:
            kept[name] = MAKERS[name](folder / f"{len(kept)}.mp4")
        return kept[name]

    return one


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a clip that is larger than all the others, so that they are never alike."""
    return made(tmp_path_factory.mktemp("plain") / "plain.mp4", Kind(width=128, height=72, sound="aac"))


@pytest.mark.parametrize("name", MAKERS)
def test_a_film_shows_what_its_clips_show(
    tmp_path: Path, clip_of: Callable[[str], Made], plain: Made, name: str
) -> None:
    """In picture, proportion and colour; in sound, within 20 ms of the picture; in length, within a frame."""
    film, parts = tmp_path / "film.mp4", [clip_of(name), plain, clip_of(name)]
    assert join([one.path for one in parts], film, is_stopped=never).difference
    found = measured(film, parts)
    assert min(found.psnr) >= 35, found.psnr
    assert all(abs(one) <= 0.02 for one in found.apart_s if one is not None), found.apart_s
    assert abs(found.longer_s) <= FRAME_S
    assert found.widest_gap_s <= 1.5 * FRAME_S  # no hole


@pytest.mark.parametrize("name", MAKERS)
def test_a_whole_clip_is_called_whole_and_its_frames_are_those_of_the_player(
    clip_of: Callable[[str], Made], name: str
) -> None:
    """The last one, that of a moment before the end, and the first one on a contact sheet."""
    clip = clip_of(name)
    assert decode_clip(clip.path).frames == len(clip.shows)
    data = clip.path.read_bytes()
    told = probe(len(data), lambda offset, length: data[offset : offset + length])
    assert (told.width, told.height) == clip.shows[0][2].size
    assert told.audio == bool(packets(clip.path, "audio"))
    begin_s, end_s = strange.span_of(clip.path, "video")
    assert told.duration_s == pytest.approx(end_s - begin_s, abs=0.05)
    for at_s in (None, -min(0.1, clip.length_s), clip.length_s / 2):
        wanted_s = clip.length_s - 0.001 if at_s is None else at_s if at_s >= 0 else clip.length_s + at_s
        (_, _, image) = max((one for one in clip.shows if one[0] <= wanted_s + 0.001), key=lambda one: one[0])
        with Image.open(io.BytesIO(picture_of(clip.path, at_s=at_s).png)) as picture:
            assert picture.size == image.size
            assert psnr(picture, image) >= 35, at_s
    with clip.path.open("rb") as file, Image.open(io.BytesIO(thumbnail_of_clip(file))) as small:
        assert small.size == clip.shows[0][2].size
        assert psnr(small, clip.shows[0][2]) >= 30  # WebP loses some


def packets(path: Path, kind: str) -> list[bytes]:
    """Return the coded frames of the track that is shown."""
    with av.open(str(path)) as clip:
        track = clip.streams.best("video" if kind == "video" else "audio")
        return [bytes(one) for one in clip.demux(track) if one.size] if track else []


COPIED = [
    *("plain", "B-frames", "full range", "BT.709", "portrait", "odd", "wide pixels", "variable rate", "one frame"),
    *("wide pixels, in the container only", "HEVC of 10 bits", "hev1", "AV1", "VP9", "MPEG-4", "late sound", "mono"),
    *("5.1", "Opus", "FLAC", "timecode", "fragments", "a piece of a stream", "bytes behind its end", *strange.TURNS),
]


@pytest.mark.parametrize("name", COPIED)
def test_a_film_of_clips_that_are_alike_is_a_copy_and_shown_like_them(
    tmp_path: Path, clip_of: Callable[[str], Made], name: str
) -> None:
    """Bit for bit, with tag, shape of a pixel and turn; sound and pictures stay together."""
    clip, film = clip_of(name), tmp_path / "film.mp4"
    assert not join([clip.path] * 3, film, is_stopped=never).difference
    assert packets(film, "video") == packets(clip.path, "video") * 3
    assert set(packets(film, "audio")) == set(packets(clip.path, "audio"))
    with av.open(str(clip.path)) as one, av.open(str(film)) as other:
        tags = [file.streams.best("video").codec_context.codec_tag for file in (one, other)]  # type: ignore[union-attr] # there is one
    assert tags[0] == tags[1]
    for at_s in (0.0, -0.01):
        assert picture_of(film, at_s=at_s).png == picture_of(clip.path, at_s=at_s).png
    found = measured(film, [clip] * 3)
    assert all(abs(one) <= 0.02 for one in found.apart_s if one is not None), found.apart_s
    assert abs(found.longer_s) <= FRAME_S


# ---- colours


def are_near(found: list[tuple[int, ...]], wanted: tuple[tuple[int, ...], ...] = PATCHES) -> bool:
    """Whether four colours are those that are wanted, as far as eyes can tell."""
    pairs = ((one, due) for row, right in zip(found, wanted, strict=True) for one, due in zip(row, right, strict=True))
    return all(abs(one - due) <= 6 for one, due in pairs)


@pytest.mark.parametrize("transfer", [strange.PQ, strange.HLG, strange.BT2020_10])
def test_bright_and_wide_colours_come_to_a_usual_screen(tmp_path: Path, plain: Made, transfer: int) -> None:
    """In a frame that is sent, and beside a clip of usual colours: not grey, not dark, and called what they are."""
    clip, film = strange.patches(tmp_path / "wide.mp4", transfer), tmp_path / "film.mp4"
    with Image.open(io.BytesIO(picture_of(clip, at_s=None).png)) as picture:
        assert are_near(strange.patches_of(picture))
    for parts in ([plain.path, clip], [clip, plain.path]):
        assert join(parts, film, is_stopped=never).difference
        with av.open(str(film)) as container:
            context = container.streams.video[0].codec_context
            assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
            assert not {context.color_trc, context.color_primaries} & {transfer, strange.BT2020}
        frames = strange.shown(film)
        assert are_near(strange.patches_of(frames[-2 if parts[1] is clip else 1].image))


@pytest.mark.parametrize("transfer", [strange.PQ, strange.HLG])
def test_clips_that_are_all_bright_make_a_bright_film(tmp_path: Path, transfer: int) -> None:
    """Of HEVC and ten bits, even where it is coded again; its frames come to a usual screen like theirs."""
    small, film = strange.patches(tmp_path / "small.mp4", transfer), tmp_path / "film.mp4"
    large = strange.patches(tmp_path / "large.mp4", transfer, size=96)
    assert join([small, large], film, is_stopped=never).difference == "size"
    with av.open(str(film)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.codec_tag, context.pix_fmt) == ("hevc", "hvc1", "yuv420p10le")
        assert (context.colorspace, context.color_primaries, context.color_trc) == (9, 9, transfer)
    for at_s in (0.0, None):
        with Image.open(io.BytesIO(picture_of(film, at_s=at_s).png)) as picture:
            assert are_near(strange.patches_of(picture))


def test_white_that_is_brighter_than_paper_stays_white(tmp_path: Path) -> None:
    """It is squeezed, and neither cut off at grey nor turned over."""
    found = []
    for nits in (100, 203, 600, 4000):
        graph, sink = av.filter.Graph(), None
        code = round(64 + 876 * strange.NUMBERS[strange.PQ](nits))
        frame = av.VideoFrame(16, 16, "yuv420p10le")
        for number, plane in enumerate(frame.planes):
            plane.update(struct.pack("<H", 512 if number else code) * (plane.buffer_size // 2))
        frame.pts = 0
        colours = Colours(9, "bt2020nc", is_full=False, gamut="bt2020", transfer="smpte2084", primaries=9, trc=16)
        look = Look((), (16, 16), Fraction(1), colours)
        steps = [*source_steps(frame, look, time_base=Fraction(1)), *screen_steps(colours)]
        sink = chained(graph, [*steps, ("format", "rgb24"), ("buffersink", "")])
        graph.configure()
        graph.push(frame)
        shown = sink.pull()
        assert isinstance(shown, av.VideoFrame)
        found.append(shown.to_image().getpixel((8, 8))[1])  # type: ignore[no-untyped-call] # PyAV's own gap
    assert found == sorted(found)
    assert found[0] == pytest.approx(255 * (100 / 203) ** (1 / 2.2), abs=4)
    assert found[1] > 235
    assert found[3] < 256


COLOURS: dict[str, dict[str, Any]] = {
    "BT.601": {"matrix": 6},
    "BT.709": {"matrix": 1},
    "BT.2020": {"matrix": 9},
    "nobody said it": {},
    "full range": {"matrix": 1, "full": True},
    "10 bits": {"matrix": 1, "codec": "libx265", "pix_fmt": "yuv420p10le", "tag": "hvc1"},
}


@pytest.mark.parametrize("first", COLOURS)
def test_clips_of_all_matrices_and_ranges_look_the_same_in_one_film(tmp_path: Path, first: str) -> None:
    """Whichever is first: no skin turns green, no black turns grey."""
    names, film = [first, *(name for name in COLOURS if name != first)], tmp_path / "film.mp4"
    parts = [made(tmp_path / f"{n}.mp4", Kind(frames=6, flash_s=9, **COLOURS[name])) for n, name in enumerate(names)]
    assert join([one.path for one in parts], film, is_stopped=never).difference
    assert min(measured(film, parts).psnr) >= 35


def test_colours_that_nobody_specified_are_what_ffmpeg_writes_and_stay_unspecified(tmp_path: Path) -> None:
    """Of any size, as pipelines write them; beside a clip that says it the film says it, too."""
    small, film = make(tmp_path / "small.mp4", Kind(frames=3, flash_s=9)), tmp_path / "film.mp4"
    large = make(tmp_path / "large.mp4", Kind(width=96, height=720, frames=3, flash_s=9))
    with Image.open(io.BytesIO(picture_of(large, at_s=0.0).png)) as picture:
        assert psnr(picture, drawn(0, (96, 720))) >= 35
    said = make(tmp_path / "said.mp4", Kind(frames=3, flash_s=9, matrix=BT709))
    for parts, matrix in (([small, large], UNSPECIFIED), ([small, said], BT601), ([said, small], BT709)):
        join(parts, film, is_stopped=never)
        with av.open(str(film)) as container:
            assert container.streams.video[0].codec_context.colorspace == matrix
        sizes = [strange.placed(drawn(2, (96, 720) if one is large else (64, 36)), (64, 36)) for one in parts]
        assert min(psnr(strange.shown(film)[place].image, due) for place, due in zip((2, 5), sizes, strict=True)) >= 35


# ---- what coding again keeps


@pytest.mark.parametrize(
    ("kind", "codec", "tag", "sound"),
    [
        ({"codec": "libx265", "tag": "hvc1", "sound": "aac"}, "hevc", "hvc1", "aac"),
        ({"codec": "libx265", "tag": "hev1", "sound": "libopus"}, "hevc", "hvc1", "opus"),
        ({"codec": "libsvtav1", "height": 64, "sound": "libopus"}, "libdav1d", "av01", "opus"),
        ({"codec": "libvpx-vp9", "sound": "libopus"}, "vp9", "vp09", "opus"),
        ({"codec": "mpeg4", "options": (("b", "4000000"),), "sound": "aac"}, "h264", "avc1", "aac"),
    ],
)
def test_what_all_clips_are_coded_with_their_film_is(
    tmp_path: Path, kind: dict[str, Any], codec: str, tag: str, sound: str
) -> None:
    """Also where their sizes differ: HEVC, AV1, VP9 and Opus stay, the others become H.264 and AAC."""
    parts = [made(tmp_path / "one.mp4", Kind(**kind)), made(tmp_path / "other.mp4", Kind(**kind | {"width": 96}))]
    film = tmp_path / "film.mp4"
    assert join([one.path for one in parts], film, is_stopped=never).difference == "size"
    with av.open(str(film)) as clip:
        video, heard = clip.streams.video[0].codec_context, clip.streams.audio[0].codec_context
        assert (video.name, video.codec_tag, heard.name) == (codec, tag, sound)
    found = measured(film, parts)
    assert min(found.psnr) >= 35
    assert all(abs(one) <= 0.02 for one in found.apart_s if one is not None)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux tells how a thread is scheduled")
def test_no_coder_makes_the_program_real_time(tmp_path: Path) -> None:
    """SVT-AV1 does so as root: for minutes nothing else would run on the machine, not even what writes the film."""
    parts = [make(tmp_path / f"{width}.mp4", Kind(codec="libsvtav1", width=width, height=64)) for width in (64, 96)]
    seen: set[int] = set()

    def look() -> bool:
        seen.update(os.sched_getscheduler(int(one.name)) for one in Path("/proc/self/task").iterdir())
        return False

    join(parts, tmp_path / "film.mp4", is_stopped=look)
    assert look() is False
    assert seen == {os.SCHED_OTHER}


def test_ten_bits_stay_where_all_clips_have_them(tmp_path: Path) -> None:
    """In HEVC; one of eight bits among them, and the film plays everywhere."""
    deep: dict[str, Any] = {"codec": "libx265", "tag": "hvc1", "pix_fmt": "yuv420p10le"}
    kinds = [deep, deep | {"width": 96}, deep | {"pix_fmt": "yuv420p"}]
    parts = [make(tmp_path / f"{n}.mp4", Kind(frames=3, **kind)) for n, kind in enumerate(kinds)]
    for chosen, form in ((parts[:2], "yuv420p10le"), (parts, "yuv420p")):
        film = tmp_path / "film.mp4"
        join(chosen, film, is_stopped=never)
        with av.open(str(film)) as clip:
            assert clip.streams.video[0].codec_context.pix_fmt == form


@pytest.mark.parametrize(
    ("layouts", "film", "loud"),
    [
        (("mono", "stereo"), "stereo", [[1, 1], [1, 1]]),
        (("stereo", "mono"), "stereo", [[1, 1], [1, 1]]),
        (("stereo", "5.1"), "5.1", [[1, 1, 0, 0, 0, 0], [1, 1, 1, None, 1, 1]]),
        (("mono", "5.1"), "5.1", [[0, 0, 1, 0, 0, 0], [1, 1, 1, None, 1, 1]]),
    ],
)
def test_no_channel_of_a_clip_is_lost_and_none_grows_quieter(
    tmp_path: Path, layouts: tuple[str, str], film: str, loud: list[list[int | None]]
) -> None:
    """The film has the widest sound of all; one channel comes from both speakers, as loud as it is."""
    parts = [make(tmp_path / f"{one}.mp4", Kind(sound="aac", layout=one)) for one in layouts]
    target = tmp_path / "film.mp4"
    assert join(parts, target, is_stopped=never).difference == "sound"
    peaks = [[0.0] * len(loud[0]) for _ in loud]
    with av.open(str(target)) as clip:
        assert clip.streams.audio[0].layout.name == film
        for frame in clip.decode(audio=0):
            place = int((frame.time or 0) >= 0.5)
            for number, plane in enumerate(frame.planes):
                wave = array("f", bytes(plane)[: frame.samples * 4])
                peaks[place][number] = max(peaks[place][number], *map(abs, wave))
    for found, wanted in zip(peaks, loud, strict=True):
        for level, due in zip(found, wanted, strict=True):
            assert due is None or level == pytest.approx(due * 0.5, abs=0.06)  # the fourth is for what is deep


def test_a_copy_that_would_lose_something_is_coded(tmp_path: Path, clip_of: Callable[[str], Made]) -> None:
    """MP4 has no ProRes; hidden frames would be shown; the rest is not worse for it."""
    film = tmp_path / "film.mp4"
    for name in ("ProRes", "an edit that begins inside"):
        parts = [clip_of(name)] * 2
        assert join([one.path for one in parts], film, is_stopped=never).difference
        assert min(measured(film, parts).psnr) >= 35


@pytest.mark.parametrize("name", ["plain", "HEVC of 10 bits", "AV1", "VP9"])
def test_a_film_whose_packets_are_wrong_is_not_made(
    tmp_path: Path, clip_of: Callable[[str], Made], plain: Made, name: str
) -> None:
    """It is decoded to its end before it gets its name: a clip may be damaged where its index is whole."""
    clip, film = tmp_path / "clip.mp4", tmp_path / "film.mp4"
    data = bytearray(clip_of(name).path.read_bytes())
    with av.open(str(clip_of(name).path)) as container:
        packet = [one for one in container.demux(video=0) if one.size][7]
        assert packet.pos is not None
        data[packet.pos + 5 : packet.pos + packet.size] = b"\xa5" * (packet.size - 5)
    clip.write_bytes(data)
    with pytest.raises(ValueError, match=r"decode|damaged"):
        decode_clip(clip)
    for other in (clip, plain.path):
        with pytest.raises(NotJoinedError, match=r"clip\.mp4 is damaged|could not be joined"):
            join([other, clip], film, is_stopped=never)
