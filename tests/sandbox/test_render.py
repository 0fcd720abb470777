"""The sandbox's clips are real: they decode to their end, open and close on the right pictures, and are repeatable."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from batchvid.sandbox.render import fitted, font_files, instant_clips, render, spelled, tiny_clips
from batchvid.sandbox.server import Studio
from batchvid.sandbox.tasks import ClipOrder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox.conftest import Picture


def decoded(clip: bytes) -> tuple[list[Image.Image], float]:
    """Return every frame of a clip, and its length in seconds."""
    with av.open(BytesIO(clip), "r") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        pictures = [frame.to_image() for frame in container.decode(stream)]  # type: ignore[no-untyped-call] # PyAV's gap
        return pictures, float((stream.duration or 0) * (stream.time_base or 0))


def far_apart(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures, from 0 to 255."""
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


def gradient(size: tuple[int, int], *, turned: bool) -> bytes:
    """Return a picture with structure: a gradient, along or across."""
    shade = Image.linear_gradient("L").resize(size)
    shade = shade.transpose(Image.Transpose.ROTATE_90).resize(size) if turned else shade
    file = BytesIO()
    Image.merge("RGB", (shade, Image.new("L", size, 128), Image.eval(shade, lambda level: 255 - level))).save(
        file, "PNG"
    )
    return file.getvalue()


def order(*frames: bytes, prompt: str = "A kite.", size: tuple[int, int] = (640, 360), seconds: int = 8) -> ClipOrder:
    """Return an order as a world would."""
    hashes = tuple(hashlib.sha256(frame).hexdigest() for frame in frames)
    return ClipOrder(prompt, *size, seconds, 1, frames, hashes)


@pytest.mark.parametrize("size", [(640, 360), (360, 640)])
def test_a_clip_opens_on_the_first_frame_and_closes_on_the_last(size: tuple[int, int]) -> None:
    """In both orientations, with a real mixture of both in the middle, and eight seconds long."""
    first, last = gradient((800, 450), turned=False), gradient((450, 800), turned=True)
    pictures, length_s = decoded(instant_clips(order(first, last, size=size)))
    assert length_s == pytest.approx(8.0, abs=0.1)
    assert len(pictures) == 8 * 24
    opening, closing = fitted(first, size), fitted(last, size)
    assert far_apart(opening, closing) > 30
    assert far_apart(pictures[0], opening) < 6
    assert far_apart(pictures[-1], closing) < 6
    assert far_apart(pictures[96], Image.blend(opening, closing, 0.5)) < 8


def test_a_clip_with_one_frame_opens_on_it_and_moves(picture: Picture) -> None:
    """A still would look like a broken clip."""
    frame = gradient((640, 360), turned=False)
    pictures, _ = decoded(instant_clips(order(frame)))
    assert far_apart(pictures[0], fitted(frame, (640, 360))) < 6
    assert far_apart(pictures[0], pictures[-1]) > 1


def test_a_text_clip_shows_a_card_of_its_own_and_moves() -> None:
    """Two prompts give two different cards."""
    kite, _ = decoded(instant_clips(order(prompt="A paper kite floats above a field.")))
    boat, _ = decoded(instant_clips(order(prompt="A boat.")))
    assert far_apart(kite[0], boat[0]) > 5
    assert far_apart(kite[0], kite[-1]) > 3


@pytest.mark.parametrize(
    ("size", "seconds", "frames"), [((1280, 720), 4, 96), ((1920, 1080), 4, 48), ((3840, 2160), 4, 16)]
)
def test_pixels_are_honoured(size: tuple[int, int], seconds: int, frames: int) -> None:
    """Contract 2's sizes and lengths come out as asked for; large ones with fewer frames a second."""
    with av.open(BytesIO(instant_clips(order(size=size, seconds=seconds))), "r") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (*size, frames)
        assert float((stream.duration or 0) * (stream.time_base or 0)) == pytest.approx(seconds, abs=0.1)


def test_the_index_stands_in_front_of_the_frames() -> None:
    """So a player can begin before the download ends, and half a clip is noticed."""
    clip = instant_clips(order())
    assert 0 < clip.find(b"moov") < clip.find(b"mdat")


def test_the_same_order_gives_the_same_bytes() -> None:
    """A sandbox may render a clip again after a restart and serve the rest of a download from it."""
    frame = gradient((640, 360), turned=True)
    assert instant_clips(order(frame)) == instant_clips(order(frame))


@pytest.mark.parametrize(
    "prompt",
    ["", "nul\0 and tab\t and\nline", "日本語のプロンプト", "\u202eright to left", "🪁" * 50, "x" * 5000],
)
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    """Whatever text a job has, its card is a clip."""
    assert len(decoded(instant_clips(order(prompt=prompt, size=(64, 36), seconds=4)))[0]) == 96


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_a_picture_of_any_mode_can_be_fitted(mode: str) -> None:
    """Alpha, palettes and print colours become plain colours."""
    file = BytesIO()
    Image.new("RGB", (40, 30), "red").convert(mode).save(file, "JPEG" if mode == "CMYK" else "PNG")
    fit = fitted(file.getvalue(), (64, 36))
    assert (fit.mode, fit.size) == ("RGB", (64, 36))


def test_tiny_clips_are_small_and_shared() -> None:
    """Whatever the prompt, one clip for a shape and a length: ten thousand jobs cost one encoding."""
    clip = tiny_clips(order(prompt="A"))
    assert tiny_clips(order(prompt="B")) is clip
    assert len(clip) < 20_000
    pictures, length_s = decoded(clip)
    assert pictures[0].size == (64, 36)
    assert length_s == pytest.approx(8.0)
    assert decoded(tiny_clips(order(size=(360, 640))))[0][0].size == (36, 64)


def test_a_studio_makes_a_clip_in_the_background_and_finds_it_again(tmp_path: Path) -> None:
    """The first asking begins it; another studio over the same folder has it at once."""
    wanted = order(size=(64, 36), seconds=4)
    with Studio(tmp_path / "clips") as studio:
        assert studio(wanted) is None
    # Leaving waits for what is begun, so nothing needs to be slept for.
    with Studio(tmp_path / "clips") as studio:
        clip = studio(wanted)
    assert clip is not None
    assert len(decoded(clip)[0]) == 96
    assert [path.suffix for path in (tmp_path / "clips").iterdir()] == [".mp4"]


def test_a_clip_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    """A frame that cannot be read leaves no file under the final name."""
    path = tmp_path / "clip.mp4"
    with pytest.raises(OSError, match="cannot identify"):
        render(order(b"no picture"), path)
    assert not path.exists()


VIETNAMESE = "Phố cổ Hà Nội, những chiếc xe đạp chở hoa"
CHINESE = "黎明时分的山谷"


def test_vietnamese_can_be_read_on_a_machine_without_fonts() -> None:
    """The built-in font has no such letters: they lose their marks, and are no boxes."""
    assert spelled(VIETNAMESE, ()) == ("Pho co Ha Noi, nhung chiec xe dap cho hoa", None)
    assert spelled("A paper kite.", font_files()) == ("A paper kite.", None)


def letters(text: str) -> Image.Image:
    """Return the card of a text in black and white: the letters without their colours."""
    pictures, _ = decoded(instant_clips(ClipOrder(text, 640, 360, 1, 1)))
    return pictures[0].convert("L").point([255 * (value > 190) for value in range(256)])


@pytest.mark.parametrize("text", [VIETNAMESE, CHINESE, f"{VIETNAMESE} {CHINESE}"])
def test_letters_of_the_world_are_drawn_where_a_font_has_them(text: str) -> None:
    """As they are written, in a font of this machine."""
    drawn, font = spelled(text, font_files())
    if drawn != text or font is None:
        pytest.skip("no font of this machine has these letters")
    one, other = (letters(wanted) for wanted in (text, text[::-1]))
    assert far_apart(one, other) > 1  # boxes would be the same both ways
