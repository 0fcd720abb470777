"""Makes the clips that the fast server hands out: real H.264 in MP4, of about the size that is asked for."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import av

RATE = 24
SHAPES = {"tiny": (64, 64, 2), "small": (320, 180, 48), "large": (1280, 720, 96)}
"""Width, height and frames."""


def make(path: Path, *, shape: str, size_bytes: int) -> None:
    """Write noise of such a bit rate that the clip comes to about *size_bytes*."""
    width, height, frames = SHAPES[shape]
    dice = random.Random(1)  # noqa: S311 a picture, no secret
    noise = [dice.randbytes(width * height * 3 // 2) for _ in range(4)]
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        rate = size_bytes * 8 * RATE // frames
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "maxrate": str(rate),
                                      "bufsize": str(rate)})  # fmt: skip
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", rate
        for index in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            rest = memoryview(noise[index % len(noise)])
            for plane in frame.planes:
                rows = plane.buffer_size // plane.line_size
                wide = width if plane.line_size >= width and rows == height else width // 2
                padding = bytes(plane.line_size - wide)
                lines = (rest[row * wide : (row + 1) * wide].tobytes() + padding for row in range(rows))
                plane.update(b"".join(lines))
                rest = rest[rows * wide :]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def main() -> None:
    """Make one clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("size_bytes", type=int)
    options = parser.parse_args()
    make(options.path, shape=options.shape, size_bytes=options.size_bytes)


if __name__ == "__main__":
    main()
