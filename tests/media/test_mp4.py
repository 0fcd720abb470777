"""What passes for a complete clip: real MP4s, cut and bent."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchvid.media.mp4 import Clip, NotAClip, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeClip = Callable[..., bytes]

FRAGMENTED = ["frag_keyframe+empty_moov", "frag_keyframe", "dash+frag_keyframe+empty_moov+default_base_moof"]
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


def probed(data: bytes) -> Clip:
    """Walk the boxes of a file in memory."""
    return probe(len(data), lambda offset, length: data[offset : offset + length])


def box(kind: bytes, *content: bytes) -> bytes:
    """Build a box."""
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def place_of(data: bytes, kind: bytes) -> int:
    """Return where the content of the first box of a kind begins."""
    return data.index(kind) + 4


@pytest.mark.parametrize("movflags", ["", "faststart", *FRAGMENTED])
@pytest.mark.parametrize("audio", [False, True])
def test_a_whole_clip_says_what_it_holds(make_clip: MakeClip, movflags: str, audio: bool) -> None:  # noqa: FBT001 a parameter of the test
    """Index first, index last or fragmented: size, codec, sound and frames are read, and the length about right."""
    clip = probed(make_clip(movflags=movflags, audio=audio))
    assert (clip.width, clip.height, clip.codec, clip.audio, clip.samples) == (64, 36, "h264", audio, 10)
    assert clip.duration_s == pytest.approx(10 / 24, abs=0.1)


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "mpeg4"), ("libx265", "hevc"), ("libvpx-vp9", "vp9")])
def test_the_codec_has_its_usual_name(make_clip: MakeClip, codec: str, name: str) -> None:
    """What the file calls hev1 or vp09 is called hevc or vp9."""
    assert probed(make_clip(codec=codec, frames=3)).codec == name


@pytest.mark.parametrize("movflags", ["", "faststart"])
@pytest.mark.parametrize("audio", [False, True])
def test_every_cut_of_a_clip_is_refused(make_clip: MakeClip, movflags: str, audio: bool) -> None:  # noqa: FBT001 a parameter of the test
    """No prefix of a clip passes for one, wherever the transfer broke."""
    data = make_clip(movflags=movflags, audio=audio)
    for length in range(len(data)):
        with pytest.raises(NotAClip):
            probed(data[:length])


@pytest.mark.parametrize("movflags", ["", "faststart"])
@pytest.mark.parametrize("more", [b"\r\n", b"\0" * 8, b"<!-- served in 0.02 s -->\n"])
def test_what_a_gateway_appends_makes_no_clip_worse(make_clip: MakeClip, movflags: str, more: bytes) -> None:
    """It plays to its end; a cut with the same end is none."""
    data = make_clip(movflags=movflags, audio=True)
    assert probed(data + more) == probed(data)
    with pytest.raises(NotAClip, match=r"is cut off|has no index"):
        probed(data[: len(data) * 2 // 3] + more)


@pytest.mark.parametrize("movflags", FRAGMENTED)
@pytest.mark.parametrize("more", [b"\r\n", b"<!-- served in 0.02 s -->\n", b"OK", b"\0" * 8])
def test_what_a_gateway_appends_to_fragments_makes_them_no_worse(
    make_clip: MakeClip, movflags: str, more: bytes
) -> None:
    """No box begins with a letter: its size would be more than a gigabyte."""
    data = make_clip(movflags=movflags, audio=True)
    assert probed(data + more) == probed(data)
    with pytest.raises(NotAClip):
        probed(data[: len(data) * 2 // 3] + more)


@pytest.mark.parametrize("movflags", FRAGMENTED)
def test_a_cut_of_a_fragmented_clip_is_refused_inside_every_fragment(make_clip: MakeClip, movflags: str) -> None:
    """Only a cut right between two fragments can pass, as the file does not say how many there are."""
    data = make_clip(movflags=movflags)
    passed = []
    for length in range(len(data)):
        try:
            probed(data[:length])
        except NotAClip:
            continue
        passed.append(length)
    assert all(data[length + 4 : length + 8] in {b"moof", b"mfra", b"sidx"} for length in passed)


def test_a_fragmented_clip_with_an_index_is_refused_between_fragments(make_clip: MakeClip) -> None:
    """A sidx box says where the last fragment ends, so that even a cut between two is seen."""
    data = make_clip(movflags="dash+frag_keyframe+empty_moov+default_base_moof")
    moov_end = data.index(b"moof") - 4
    rest = data[moov_end:]
    entry = struct.pack(">IIIIIHH", 0, 1, 24, 0, 0, 0, 1) + struct.pack(">III", len(rest), 10, 0)
    whole = data[:moov_end] + box(b"sidx", entry) + rest
    assert probed(whole).samples == 10
    last = whole.rindex(b"moof") - 4
    with pytest.raises(NotAClip, match="cut off: its fragments end at byte"):
        probed(whole[:last])


def test_a_fragmented_clip_shorter_than_it_says_is_refused(make_clip: MakeClip) -> None:
    """The length that a file states of all its fragments (mehd) counts."""
    data = make_clip(movflags="frag_keyframe+empty_moov")
    mvex = data.index(b"mvex") - 4
    size = int.from_bytes(data[mvex : mvex + 4])
    mehd = box(b"mehd", struct.pack(">II", 0, 10_000))
    moov = data.index(b"moov") - 4
    moov_size = int.from_bytes(data[moov : moov + 4])
    bent = bytearray(data[: mvex + size] + mehd + data[mvex + size :])
    struct.pack_into(">I", bent, mvex, size + len(mehd))
    struct.pack_into(">I", bent, moov, moov_size + len(mehd))
    with pytest.raises(NotAClip, match=r"its fragments last 0\.\d+ s of 10\.00 s"):
        probed(bytes(bent))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\0", "is not an MP4 file"),
        (b"<html><body>Bad gateway</body></html>", "is not an MP4 file"),
        (b'{"error": {"message": "Task is not completed yet"}}', "is not an MP4 file"),
        (bytes(1000), "is not an MP4 file"),
        (box(b"ftyp", b"isom"), "has no index"),
        (box(b"ftyp", b"isom") + box(b"mdat", bytes(99)), "has no index"),
        (box(b"ftyp", b"isom") + box(b"moov"), "has no video track"),
        (box(b"ftyp", b"isom") + struct.pack(">I4s", 4, b"moov"), "impossible size 4"),
        (box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"moov", 9), "impossible size 9"),
        (box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"moov", 2**63), "is cut off: its moov box needs"),
        (box(b"ftyp", b"isom") + struct.pack(">I4s", 1, b"moov"), "impossible size 1"),
        (box(b"ftyp", b"isom") + b"\0\0\0", "is cut off: a box begins at byte 12"),
        (box(b"ftyp", b"isom") + box(b"moov", box(b"trak")), "its trak box holds no tkhd"),
        (box(b"ftyp", b"isom") + box(b"moov", box(b"trak", box(b"tkhd"))), "its tkhd box is too short"),
        (box(b"ftyp", b"isom") + box(b"free") * 70_000, "more than 65,536 boxes"),
        (box(b"ftyp", b"isom") + box(b"\x1b[2m", b"x"), "has no index"),
    ],
)
def test_what_is_no_clip_is_refused_with_a_reason(data: bytes, text: str) -> None:
    """Every refusal says in people's words what the file is."""
    with pytest.raises(NotAClip, match=text):
        probed(data)


def test_control_characters_in_a_box_type_are_not_shown() -> None:
    """A message drives no terminal, whatever the file holds."""
    with pytest.raises(NotAClip) as refusal:
        probed(box(b"ftyp", b"isom") + struct.pack(">I4s", 999, b"\x1b[2m"))
    assert str(refusal.value).isprintable()


def bent(data: bytes, kind: bytes, offset: int, value: int) -> bytes:
    """Return the clip with one 32-bit number of a box overwritten."""
    found = bytearray(data)
    struct.pack_into(">I", found, place_of(data, kind) + offset, value)
    return bytes(found)


@pytest.mark.parametrize(
    ("kind", "offset", "value", "text"),
    [
        (b"stsz", 8, 2**32 - 1, "its stsz box is too short for 4,294,967,295 entries"),
        (b"stco", 4, 2**31, "its stco box is too short"),
        (b"stsc", 4, 2**30, "its stsc box is too short"),
        (b"stsc", 8, 2, "counts its chunks in a wrong order"),
        (b"stsc", 8, 0, "counts its chunks in a wrong order"),
        (b"stsc", 12, 1, "names 10 samples and says where 1 of them are"),
        (b"stco", 8, 2**32 - 1, "is cut off: a sample ends at byte 4,29"),
        (b"stsz", 12, 2**31, "is cut off: a sample ends at byte"),
        (b"stsz", 8, 0, "without a single frame"),
        (b"stsd", 4, 0, "does not say how it is coded"),
        (b"mdhd", 12, 0, "counts no time"),
        (b"hdlr", 8, int.from_bytes(b"soun"), "has no video track"),
    ],
)
def test_an_index_that_does_not_hold_together_is_refused(
    make_clip: MakeClip, kind: bytes, offset: int, value: int, text: str
) -> None:
    """Counts are checked against the boxes before they are used, and samples against the file."""
    with pytest.raises(NotAClip, match=text):
        probed(bent(make_clip(), kind, offset, value))


def test_a_clip_whose_frames_are_all_empty_is_refused(make_clip: MakeClip) -> None:
    """Frames of 0 bytes are nothing to look at."""
    data = make_clip()
    for number in range(10):
        data = bent(data, b"stsz", 12 + 4 * number, 0)
    with pytest.raises(NotAClip, match="frames are all empty"):
        probed(data)


def test_a_clip_that_lasts_no_time_is_refused(make_clip: MakeClip) -> None:
    """When neither the track nor the film says how long it is, it is none."""
    data = bent(bent(make_clip(), b"mdhd", 16, 0), b"mvhd", 16, 0)
    with pytest.raises(NotAClip, match="lasts 0 seconds"):
        probed(data)


def test_a_duration_that_only_the_film_states_counts(make_clip: MakeClip) -> None:
    """A track of unknown duration (all ones) lasts as long as the film."""
    assert probed(bent(make_clip(), b"mdhd", 16, 2**32 - 1)).duration_s == pytest.approx(10 / 24, abs=0.1)


def rebuilt(data: bytes, kind: bytes, replacement: bytes) -> bytes:
    """Return a clip (index last) with one box of its sample table replaced, and the boxes around it resized."""
    start = data.index(kind) - 4
    size = int.from_bytes(data[start : start + 4])
    found = bytearray(data[:start] + replacement + data[start + size :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = data.index(parent) - 4
        struct.pack_into(">I", found, at, int.from_bytes(data[at : at + 4]) + len(replacement) - size)
    return bytes(found)


def sizes_of(data: bytes) -> tuple[int, ...]:
    """Return the sizes of the ten samples."""
    return struct.unpack_from(">10I", data, place_of(data, b"stsz") + 12)


@pytest.mark.parametrize("bits", [8, 16])
def test_compact_sample_sizes_count_like_others(make_clip: MakeClip, bits: int) -> None:
    """Sizes of 8 and 16 bits (stz2) are read."""
    data = make_clip()
    sizes = [min(size, 2**bits - 1) for size in sizes_of(data)]
    packed = struct.pack(f">10{'B' if bits == 8 else 'H'}", *sizes)
    assert probed(rebuilt(data, b"stsz", box(b"stz2", struct.pack(">IxxxBI", 0, bits, 10), packed))).samples == 10


def test_sample_sizes_of_half_a_byte_count_like_others(make_clip: MakeClip) -> None:
    """Two sizes in one byte; the last byte of an odd count is half used."""
    whole = rebuilt(make_clip(), b"stsz", box(b"stz2", struct.pack(">IxxxBI", 0, 4, 9), b"\x12\x34\x56\x78\x90"))
    assert probed(whole).samples == 9
    with pytest.raises(NotAClip, match="sample sizes have 5 bits"):
        probed(rebuilt(make_clip(), b"stsz", box(b"stz2", struct.pack(">IxxxBI", 0, 5, 9), bytes(9))))


def test_sample_sizes_that_are_all_the_same_count_like_others(make_clip: MakeClip) -> None:
    """One size for all samples, and still the last one must lie inside the file."""
    data = make_clip()
    assert probed(rebuilt(data, b"stsz", box(b"stsz", struct.pack(">III", 0, 50, 10)))).samples == 10
    with pytest.raises(NotAClip, match="is cut off"):
        probed(rebuilt(data, b"stsz", box(b"stsz", struct.pack(">III", 0, 5000, 10))))


def test_chunk_offsets_of_64_bits_count_like_others(make_clip: MakeClip) -> None:
    """A large file names its chunks with 64 bits (co64)."""
    data = make_clip()
    (offset,) = struct.unpack_from(">I", data, place_of(data, b"stco") + 8)
    assert probed(rebuilt(data, b"stco", box(b"co64", struct.pack(">IIQ", 0, 1, offset)))).samples == 10
    with pytest.raises(NotAClip, match="is cut off: a sample ends"):
        probed(rebuilt(data, b"stco", box(b"co64", struct.pack(">IIQ", 0, 1, 2**40))))


def test_a_last_box_may_reach_to_the_end_of_the_file(make_clip: MakeClip) -> None:
    """Size 0 means "to the end", and a cut of it is seen by its samples."""
    data = bytearray(make_clip(movflags="faststart"))
    struct.pack_into(">I", data, data.index(b"mdat") - 4, 0)
    assert probed(bytes(data)).samples == 10
    with pytest.raises(NotAClip, match="a sample ends"):
        probed(bytes(data[:-1]))


def test_an_index_too_large_for_a_clip_is_not_read() -> None:
    """A box that claims 65 MiB of index costs no memory."""
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        head = box(b"ftyp", b"isom") + struct.pack(">I4s", 65 * 2**20, b"moov") + bytes(16)
        return head[offset : offset + length]

    with pytest.raises(NotAClip, match="no clip's index has so many"):
        probe(12 + 65 * 2**20, read)
    assert sum(asked) < 100


def test_the_media_are_never_read(make_clip: MakeClip) -> None:
    """The walk reads the index and box heads, so that a large clip costs as little as a small one."""
    data = make_clip()
    begin = data.index(b"mdat") + 12
    end = data.index(b"moov") - 4

    def read(offset: int, length: int) -> bytes:
        assert offset + length <= begin + 16 or offset >= end
        return data[offset : offset + length]

    assert probe(len(data), read).samples == 10


def test_the_walk_of_eight_seconds_takes_less_than_a_millisecond(make_clip: MakeClip) -> None:
    """It is cheap enough to run on every clip."""
    data = make_clip(frames=192, audio=True)
    fastest_s = min(_timed_s(data) for _ in range(20))
    assert fastest_s < 0.001


def _timed_s(data: bytes) -> float:
    started = time.perf_counter()
    probed(data)
    return time.perf_counter() - started


@quick
@given(changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=8), cut=st.integers(0, 4000))
@pytest.mark.parametrize("movflags", ["", "frag_keyframe+empty_moov"])
def test_damage_is_refused_and_never_crashes(
    make_clip: MakeClip, movflags: str, changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes come, the answer is a clip or a refusal."""
    data = bytearray(make_clip(movflags=movflags, audio=True))
    for offset, value in changes:
        if offset < len(data):
            data[offset] = value
    try:
        clip = probed(bytes(data[:cut]))
    except NotAClip as refusal:
        assert str(refusal).isprintable()  # noqa: PT017 either outcome is right
    else:
        assert clip.duration_s > 0
        assert clip.samples > 0
