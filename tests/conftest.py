"""Real clips for every test that wants one."""

from __future__ import annotations

import os
import signal
import tempfile
from functools import cache
from pathlib import Path
from typing import Protocol

import av
import pytest
from hypothesis import settings

from tests import forked, postgres

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
# An example's time says how busy the machine is, not what is wrong.
os.environ["XDG_CONFIG_HOME"] = str(Path(tempfile.gettempdir(), "batchvid-tests-config"))
"""What stands in a developer's own config file is nobody's test. Chromium keeps things there, too."""


if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a shell's background job: programs would be deaf to Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


class MakeClip(Protocol):
    """Return the bytes of a tiny MP4."""

    def __call__(self, *, frames: int = 10, audio: bool = False, movflags: str = "", codec: str = "libx264") -> bytes:
        """Encode it; the same arguments give the same bytes, encoded once."""
        ...


def pytest_make_parametrize_id(val: object) -> str | None:
    """Return the name of a case with *val*: bytes by their length, as some hold the time at which they were made.

    Every worker has to collect the same names.
    """
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_sessionfinish() -> None:
    """End the server of programs, and the one of databases."""
    forked.end()
    postgres.end()


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> MakeClip:
    """Return a maker of clips of 64x36 at 24 frames a second."""
    folder = tmp_path_factory.mktemp("clips")

    @cache
    def make(*, frames: int = 10, audio: bool = False, movflags: str = "", codec: str = "libx264") -> bytes:
        path = folder / "clip.mp4"
        _encode(path, frames=frames, audio=audio, movflags=movflags, codec=codec)
        return path.read_bytes()

    return make


def _encode(path: Path, *, frames: int, audio: bool, movflags: str, codec: str) -> None:
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream(codec, rate=24, options={"g": "4"})
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 64, 36, "yuv420p"
        sound = container.add_stream("aac", rate=48_000) if audio else None
        for number in range(frames):
            picture = av.VideoFrame(64, 36, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([number * 20 % 256]) * plane.buffer_size)
            picture.pts = number
            container.mux(video.encode(picture))
            if sound is not None:
                assert isinstance(sound, av.AudioStream)
                container.mux(sound.encode(_silence(at=number * 1024)))
        container.mux(video.encode(None))
        if isinstance(sound, av.AudioStream):
            container.mux(sound.encode(None))


def _silence(*, at: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
    frame.sample_rate, frame.pts = 48_000, at
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame
