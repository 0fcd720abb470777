"""The small pictures of a report: a poster for each clip, and for each frame that was sent.

They are made by a process of its own, ``python -m batchvid.edge.pictures``: what a decoder does with a hostile or
broken clip (crash, hang, swell) then happens there, and the run that pays goes on. The child reads a line of JSON for
each picture from its standard input, puts the picture in place, and answers with a line, until the input ends.
A picture is named after the content that it shows, so one that is there is never made again.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from batchvid.edge.clip_files import Names
from batchvid.edge.disk import leave_room, open_folder, open_regular, write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "report_files"
"""Beside ``report.html``, as browsers call what belongs to a page: who moves, zips or serves the page takes it along.
Not in ``.batchvid``, which is private, and which web servers do not serve."""
SUFFIX = ".webp"
NAMED_BY = 24
"""Hex digits of the SHA-256: enough for one output, and a tenth of the page less than all of them."""
SIDE = 400
"""Pixels of the longer side: a tile of the contact sheet on a screen of twice the density."""
QUALITY = 72
READY, DONE = b"ready\n", b".\n"
"""What the child says: when it can work, and after each picture, made or not."""
ONE_TAKES_AT_MOST_S = 20
"""A clip that takes longer hangs the decoder; the alarm ends the process, and the next one leaves it out."""
MEMORY_BYTES = 4 * 1024**3
PIXELS_AT_MOST = 100_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture that a report shows."""

    source: str
    """A clip, relative to the output folder; or a frame, absolute."""
    sha256: str

    @property
    def name(self) -> str:
        """Of the picture, in `FOLDER`."""
        return picture_name(self.sha256)


def picture_name(sha256: str) -> str:
    """Name the picture of the content with this hash."""
    return sha256[:NAMED_BY] + SUFFIX


def request_line(wanted: Wanted) -> bytes:
    """Give *wanted* as the child reads it."""
    return json.dumps(asdict(wanted)).encode() + b"\n"


def main() -> None:
    """Make what standard input asks for; ``argv``: the output folder, the mode of new files, the niceness."""
    root, mode = sys.argv[1], int(sys.argv[2], 8)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.nice(int(sys.argv[3]))
    folder = open_folder(root, FOLDER, create=True)
    _say(READY)
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, ONE_TAKES_AT_MOST_S)  # nobody catches it: it ends the process
        with suppress(
            OSError, ValueError, MemoryError, LookupError, SyntaxError
        ):  # no picture is no trouble: the page has a way
            _make(Wanted(**json.loads(line)), root=root, folder=folder, mode=mode)
        _say(DONE)


def _say(word: bytes) -> None:
    sys.stdout.buffer.write(word)
    sys.stdout.buffer.flush()


def _make(wanted: Wanted, *, root: str, folder: int, mode: int) -> None:
    picture = _of_frame(wanted.source) if wanted.source.startswith("/") else _of_clip(root, wanted.source)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=QUALITY, method=2)
    leave_room(folder, len(out.getvalue()))
    write_whole(folder, wanted.name, [out.getvalue()], mode=mode, durable=False)


def _of_clip(root: str, path: str) -> Image:
    """Give the first frame: it is what the player begins with, so that nothing jumps."""
    import av  # noqa: PLC0415 the parent imports this module, and needs no decoder

    names = Names.of(path)
    folder = open_folder(root, *names.folders, create=False)
    try:
        descriptor = open_regular(folder, names.clip, os.O_RDONLY)
    finally:
        os.close(folder)
    with open(descriptor, "rb") as file, av.open(file, "r", format="mp4") as container:  # noqa: PTH123 beside a descriptor
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        if video.width * video.height > PIXELS_AT_MOST:
            raise ValueError("is too large")
        # The first packet alone, and then the end: else the decoder holds the frame back until it has seen more.
        first = next(container.demux(video)).decode() or video.codec_context.decode(None)
        frame = first[0]
        scale = min(1.0, SIDE / max(frame.width, frame.height))
        size = {"width": max(1, round(frame.width * scale)), "height": max(1, round(frame.height * scale))}
        small: Image = frame.reformat(**size, format="rgb24").to_image()  # type: ignore[no-untyped-call]  # PyAV's own gap
        return small


def _of_frame(path: str) -> Image:
    from PIL.ImageOps import exif_transpose  # noqa: PLC0415 the parent needs no decoder

    from batchvid.edge.media import picture  # noqa: PLC0415 as above

    found = exif_transpose(picture(path)).convert("RGB")  # held upright, as it is sent
    found.thumbnail((SIDE, SIDE))
    return found


if __name__ == "__main__":
    main()
