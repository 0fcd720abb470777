"""The download stage: one transfer of one clip, from where the last one broke off to a verified file.

- What arrives goes to a part file; the final name exists only for a complete clip.
- Bytes of two versions of a clip are never joined: a transfer goes on only where the server proves that it is the same.
- A body that stalls, trickles, lies about its length or never ends is cut off, and what is good of it is kept.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from batchvid.core import transfer
from batchvid.core.answer import NoAnswer
from batchvid.core.fault import Fault, FaultKind
from batchvid.core.lifecycle import ClipSaved
from batchvid.core.mp4 import NotAClip
from batchvid.core.transfer import Body, Held, Reading
from batchvid.edge.service import ForbiddenAddressError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from batchvid.edge.outputs import Outputs, Part
    from batchvid.edge.service import Transfer

ENOUGH_TO_JUDGE_BYTES = 12
"""The first box of an MP4 says its name within these."""


class Fetches(Protocol):
    """What can ask for a clip."""

    def fetch(self, source: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Transfer | NoAnswer]:
        """Ask for the clip at a URL, or at a path of the service."""


async def download(  # noqa: PLR0913 where from, where to, and what to write beside it
    service: Fetches,
    outputs: Outputs,
    *,
    path: str,
    task_id: str,
    source: str,
    sidecar: dict[str, Any],
    wall: Callable[[], float],
) -> ClipSaved | Fault:
    """Fetch the clip of *task_id* at *source* and save it at *path* below the output folder, *sidecar* beside it.

    Raises `batchvid.errors.StorageError` when the disk does not take it, and `ForeignFileError` when a file that is not
    batchvid's has the clip's name.
    """
    async with outputs.part(path, source=task_id) as part:
        if not part.complete:
            outcome = await _transfer(service, part, source=source, wall=wall)
            if outcome is Body.ASK_AGAIN:
                await part.restart()
                outcome = await _transfer(service, part, source=source, wall=wall)
            if outcome is Body.ASK_AGAIN:
                return Fault(FaultKind.BROKEN, "the server answers a plain request with a part of the clip")
            if isinstance(outcome, Fault):
                return outcome
        try:
            saved = await part.finish(sidecar)
        except NotAClip as reason:
            return Fault(FaultKind.BROKEN, f"what arrived is no complete clip: {reason} (kept as {path}.bad)")
    return ClipSaved(saved.path, saved.size_bytes, saved.sha256)


async def _transfer(service: Fetches, part: Part, *, source: str, wall: Callable[[], float]) -> Fault | Body | None:
    """Bring the rest of the clip into *part*; ``None`` when it is there, ``Body.ASK_AGAIN`` when part is no use."""
    held = Held(part.offset_bytes, part.validator)
    try:
        async with service.fetch(source, transfer.request_headers(held)) as answer:
            if isinstance(answer, NoAnswer):
                return Fault(FaultKind.UNAVAILABLE, str(answer))
            reading = transfer.read_headers(answer.status, answer.headers, held)
            if reading is None:
                return transfer.read_refusal(await answer.answer(), now=wall())
            if reading.body is Body.ASK_AGAIN:
                return Body.ASK_AGAIN
            if wrong := transfer.too_large(reading.total_bytes):
                return wrong
            if reading.body is Body.FROM_ZERO and part.offset_bytes:
                await part.restart()
            await part.remember(reading.validator)
            return await _copy(answer, part, reading)
    except ForbiddenAddressError as error:
        return Fault(FaultKind.FORBIDDEN, str(error))


async def _copy(answer: Transfer, part: Part, reading: Reading) -> Fault | None:
    """Copy the body into *part* block by block."""
    speed = _Speed(asyncio.get_running_loop().time)
    head = b""
    while True:
        block = await answer.read_block()
        if isinstance(block, NoAnswer):
            return Fault(FaultKind.UNAVAILABLE, f"the transfer broke off after {part.offset_bytes} bytes: {block}")
        if part.offset_bytes == 0:
            head += block
            if block and len(head) < ENOUGH_TO_JUDGE_BYTES:
                continue
            if wrong := transfer.read_beginning(head):
                return wrong
            block = head
        if not block:
            break
        await part.write(block)
        if wrong := transfer.too_large(part.offset_bytes):
            await part.restart()
            return wrong
        if slow := speed.too_slow(len(block)):
            return Fault(FaultKind.UNAVAILABLE, slow)
    if reading.total_bytes is not None and part.offset_bytes != reading.total_bytes:
        return Fault(FaultKind.UNAVAILABLE, f"{part.offset_bytes} of {reading.total_bytes} bytes arrived")
    return None


class _Speed:
    """The speed of a transfer over its last window."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._from, self._bytes = clock(), 0

    def too_slow(self, received_bytes: int) -> str | None:
        """Count what came in; say so when the transfer should be given up and resumed."""
        self._bytes += received_bytes
        in_s = self._clock() - self._from
        if transfer.too_slow(self._bytes, in_s=in_s):
            return f"too slow: {self._bytes} bytes in {in_s:.0f} s"
        if in_s >= transfer.SPEED_WINDOW_S:
            self._from, self._bytes = self._clock(), 0
        return None
