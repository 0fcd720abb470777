"""The engine of a server under test: it makes a real clip of what it is given, and writes down each one.

Runs in a server's environment. Its clips are those of the sandbox, small.
"""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING

from batchvid.sandbox.render import render
from batchvid.sandbox.tasks import ClipOrder

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

TAKES_S = 1.0
"""So that a poll sees a task that is not over."""
FAILURE = "CUDA out of memory. Tried to allocate 20.00 GiB"


class Engine:
    """Makes clips, and a line in *ledger* for each."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger

    def make(self, prompt: str, path: Path, *, size: tuple[int, int], picture: Image | None) -> None:
        """Make the clip at *path*. Raises RuntimeError where the prompt says that it fails."""
        with self._ledger.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"prompt": prompt, "size": f"{size[0]}x{size[1]}"}) + "\n")
        time.sleep(TAKES_S)
        if "fails" in prompt:
            raise RuntimeError(FAILURE)
        frames: tuple[bytes, ...] = ()
        if picture is not None:
            saved = io.BytesIO()
            picture.convert("RGB").save(saved, "PNG")
            frames = (saved.getvalue(),)
        width, height = size
        render(ClipOrder(prompt, width, height, seconds=4, seed=1, frames=frames), path, rate=8)
