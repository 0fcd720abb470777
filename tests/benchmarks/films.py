"""``make films``: a film of twelve clips, no two alike, and how far it is from them. Also a picture of its joints.

A clip's frames are compared as FFmpeg has them: turned, of square pixels, placed in bars. A joint is good when its
sound is within 20 ms of its picture, a part when each frame has 35 dB, the film when it is not a frame too long.
"""

from __future__ import annotations

import os
import sys
import time
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("SVT_LOG", "1")

import av
from PIL import Image, ImageDraw

from batchvid.media.concat import join
from tests.media import strange
from tests.media.strange import BT601, BT709, BT2020, Kind, Made, Measured, made, measured

SHEET = Path("jobs/out/films.png")
PSNR_DB, APART_S = 35.0, 0.020
PIECE = "frag_keyframe+empty_moov+default_base_moof"
SECOND: dict[str, Any] = {"flash_s": 0.5}


def twelve(folder: Path) -> dict[str, Made]:
    """Make the clips."""

    def clip(number: int, **what: Any) -> Made:
        return made(folder / f"{number}.mp4", Kind(**SECOND | what))

    whole = made(
        folder / "whole.mp4", Kind(**SECOND | {"frames": 48, "flash_s": 1.3, "sound": "aac", "options": (("g", "48"),)})
    )
    cut = strange.cut(whole.path, folder / "cut.mp4", at_s=Fraction(5, 6))
    kept = tuple((begin - 5 / 6, end - 5 / 6, image) for begin, end, image in whole.shows if begin > 5 / 6 - 0.01)
    piece = clip(11, frames=30, rate=30, matrix=BT2020, sound="aac", layout="mono", movflags=PIECE)
    strange.started(piece.path, 10)
    bright = strange.patches(folder / "12.mp4", strange.HLG, size=128, frames=24)
    patches = Image.new("RGB", (2, 2))
    patches.putdata(strange.PATCHES)
    seen = patches.resize((128, 128), Image.Resampling.NEAREST)
    return {
        "H.264, 24/s, BT.709": clip(
            1, width=320, height=180, frames=24, matrix=BT709, sound="aac", primaries=BT709, transfer=BT709
        ),
        "HEVC of 10 bits, upright, 30/s": clip(
            2, width=180, height=320, frames=30, rate=30, codec="libx265", tag="hvc1", pix_fmt="yuv420p10le",
            matrix=BT709, sound="aac", sound_rate=44_100,
        ),
        "VP9, square, full range, 25/s, Opus": clip(
            3, width=256, height=256, frames=25, rate=25, codec="libvpx-vp9", matrix=BT709, full=True, sound="libopus"
        ),
        "AV1, 2.35:1, 23.976/s, no sound": clip(
            4, width=320, height=136, frames=24, rate=Fraction(24_000, 1001), codec="libsvtav1"
        ),
        "wide pixels, BT.601, 12/s, mono": clip(
            5, width=240, height=180, pixel=Fraction(4, 3), frames=12, rate=12, matrix=BT601, sound="aac",
            layout="mono", sound_rate=22_050,
        ),
        "turned by 270 degrees, 60/s, late sound": clip(
            6, width=320, height=180, frames=60, rate=60, sound="aac", sound_from_s=0.2
        ).turned("270"),
        "mirrored, late pictures": clip(
            7, width=160, height=90, frames=24, sound="aac", pictures_from_s=0.23, flash_s=0.7
        ).turned("mirrored"),
        "ProRes, 5.1 of PCM": clip(
            8, width=192, height=108, frames=24, codec="prores_ks", pix_fmt="yuv422p10le", form="mov", matrix=BT709,
            sound="pcm_s16le", layout="5.1",
        ),
        "variable rate, odd size": clip(
            9, width=201, height=113, pix_fmt="yuv444p", frames=20, sound="aac",
            times=[0, .04, .08, .2, .24, .28, .33, .4, .46, .5, .54, .58, .62, .7, .74, .78, .82, .86, .9, .96],
        ),
        "cut without coding": Made(cut, kept, whole.length_s - 5 / 6, 1.3 - 5 / 6, whole.apart_s),
        "a piece of a stream, at 10 s": piece,
        "HLG, BT.2020, no sound": Made(bright, tuple((n / 24, (n + 1) / 24, seen) for n in range(24)), 1.0, None),
    }  # fmt: skip


def sheet(found: Measured, names: list[str]) -> Image.Image:
    """Return the frames before and behind each joint, two beside each other, with their names."""
    width, height = found.joints[0][0].size
    paper = Image.new("RGB", (4 * width + 60, ((len(found.joints) + 1) // 2) * (height + 34) + 10), (250, 250, 250))
    draw = ImageDraw.Draw(paper)
    for number, pair in enumerate(found.joints):
        left, top = 10 + number % 2 * (2 * width + 40), 24 + number // 2 * (height + 34)
        draw.text((left, top - 14), f"{number + 1}: {names[number]}", fill=(0, 0, 0))
        draw.text((left + width + 6, top - 14), f"{number + 2}: {names[number + 1]}", fill=(0, 0, 0))
        paper.paste(pair[0], (left, top))
        paper.paste(pair[1], (left + width + 6, top))
    return paper


def say(what: str) -> None:
    """Print a line at once."""
    print(what, flush=True)  # noqa: T201 what it is for


def main(target: Path) -> int:
    """Make the film, print what was measured, and write the picture; return 1 where it is not good."""
    with TemporaryDirectory() as kept:
        folder = Path(kept)
        clips = twelve(folder)
        names, parts, film = list(clips), list(clips.values()), folder / "film.mp4"
        began = time.monotonic()
        how = join([one.path for one in parts], film, is_stopped=lambda: False)
        took_s = time.monotonic() - began
        found = measured(film, parts)
        with av.open(str(film)) as made_film:
            video, sound = made_film.streams.video[0], made_film.streams.audio[0]
            frame_s = 1 / float(video.average_rate or 24)
            told = (
                f"{video.codec_context.name} {video.width}x{video.height} {video.average_rate} frames/s, "
                f"{sound.codec_context.name} {sound.layout.name} {sound.rate} Hz, {film.stat().st_size / 1024:.0f} KB"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        sheet(found, names).save(target)
    say(f"{len(parts)} clips, which differ in {how.difference}, coded in {took_s:.1f} s: {told}")
    say(f"{'part':>4}  {'worst frame':>11}  {'sound':>8}")
    for number, (name, level, apart_s) in enumerate(zip(names, found.psnr, found.apart_s, strict=True), 1):
        beside = "   none" if apart_s is None else f"{apart_s * 1000:+4.0f} ms"
        say(f"{number:>4}  {level:>8.1f} dB  {beside:>8}  {name}")
    say(f"length {found.longer_s * 1000:+.0f} ms, widest gap {found.widest_gap_s * 1000:.0f} ms; joints: {target}")
    is_good = (
        min(found.psnr) >= PSNR_DB
        and all(abs(one) <= APART_S for one in found.apart_s if one is not None)
        and abs(found.longer_s) <= frame_s
    )
    say("good" if is_good else "NOT GOOD")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else SHEET))
