"""Where a running sandbox makes its clips: two threads, and a folder that holds what is finished."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType

    from batchvid.sandbox.world import ClipOrder

WORKERS = 2
"""Encoding is heavy; a demo must leave its machine usable."""


class Studio:
    """Makes clips in the background. To be entered and left as a context manager; usable as a world's ``clips``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="render")
        self._begun: dict[str, Future[None]] = {}

    def __enter__(self) -> Self:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what is not begun, and wait for what is."""
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, order: ClipOrder) -> bytes | None:
        """Give the clip, or ``None`` while it is being made; asking for the first time begins it.

        Raises what rendering raised.
        """
        name = _name(order)
        path = self._folder / f"{name}.mp4"
        begun = self._begun.get(name)
        if begun is None:
            if path.exists():
                return path.read_bytes()
            from batchvid.sandbox.render import render  # noqa: PLC0415 heavy, and only rendering needs it

            self._begun[name] = self._pool.submit(render, order, path)
            return None
        if not begun.done():
            return None
        begun.result()
        return path.read_bytes()


def _name(order: ClipOrder) -> str:
    parts = [order.seed, order.width, order.height, order.seconds, *order.frame_hashes, order.prompt]
    return hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()[:40]
