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
from batchvid.core.figures import rfc3339
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
    fresh: bool = False,
    draining_s: Callable[[], float | None] = lambda: None,
) -> ClipSaved | Fault:
    """Fetch the clip of *task_id* at *source* and save it at *path* below the output folder, *sidecar* beside it.

    *fresh* says that nothing was ever fetched of this task. *draining_s* tells how long ago the run was told to stop:
    a transfer ends soon after that, and what came of it is kept. Raises `batchvid.errors.StorageError` when the disk
    does not take it, and `ForeignFileError` when a file that is not batchvid's has the clip's name.
    """
    async with outputs.part(path, source=task_id, fresh=fresh) as part:
        rest: Fault | Body | bytes = b""
        if not part.complete:
            rest = await _transfer(service, part, source=source, wall=wall, draining_s=draining_s)
            if rest is Body.ASK_AGAIN:
                await part.restart()
                rest = await _transfer(service, part, source=source, wall=wall, draining_s=draining_s)
        if isinstance(rest, Body):
            return Fault(FaultKind.BROKEN, "the server answers a plain request with a part of the clip")
        if isinstance(rest, Fault):
            return rest
        try:
            saved = await part.finish(sidecar | {"saved_at": rfc3339(wall())}, rest)
        except NotAClip as reason:
            return Fault(FaultKind.BROKEN, f"what arrived is no complete clip: {reason} (kept as {path}.bad)")
    return ClipSaved(saved.path, saved.size_bytes, saved.sha256)


async def _transfer(
    service: Fetches,
    part: Part,
    *,
    source: str,
    wall: Callable[[], float],
    draining_s: Callable[[], float | None],
) -> Fault | Body | bytes:
    """Bring the rest of the clip into *part*, all but the last block, which is given.

    Gives ``Body.ASK_AGAIN`` when the part is no use and everything must be asked for.
    """
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
            part.remember(reading.validator)
            return await _copy(answer, part, reading, draining_s)
    except ForbiddenAddressError as error:
        return Fault(FaultKind.FORBIDDEN, str(error))


async def _copy(
    answer: Transfer, part: Part, reading: Reading, draining_s: Callable[[], float | None]
) -> Fault | bytes:
    """Copy the body into *part* block by block; give the last block, which is written when the part is finished."""
    speed = _Speed(asyncio.get_running_loop().time, draining_s)
    last, fault = await _received(answer, part, reading, speed)
    if fault is None:
        return last
    if fault.kind is FaultKind.UNAVAILABLE:
        await part.write(last)  # what is good of it is kept for the next transfer
    else:
        await part.restart()
    return fault


async def _received(answer: Transfer, part: Part, reading: Reading, speed: _Speed) -> tuple[bytes, Fault | None]:
    """Write the body to *part*, all but its last block; give that block, and what ended the transfer before its end."""
    is_judged, last = part.offset_bytes > 0, b""
    while True:
        block = await answer.read_block()
        if isinstance(block, NoAnswer):
            arrived = part.offset_bytes + len(last)
            return last, Fault(FaultKind.UNAVAILABLE, f"the transfer broke off after {arrived} bytes: {block}")
        wrong = None
        if is_judged:
            if block and last:
                await part.write(last)
            last = block or last
        else:
            last += block
            if block and len(last) < ENOUGH_TO_JUDGE_BYTES:
                continue
            is_judged, wrong = True, transfer.read_beginning(last, answer.beginning)
        arrived = part.offset_bytes + len(last)
        if wrong := wrong or transfer.too_large(arrived) or (speed.fault(len(block)) if block else None):
            return last, wrong
        if not block:
            return last, _shortfall(arrived, reading.total_bytes)
        if reading.total_bytes is not None and arrived < reading.total_bytes:
            await part.write(last)  # surely not the last one
            block = last = b""  # not kept while the next one is waited for


def _shortfall(arrived_bytes: int, total_bytes: int | None) -> Fault | None:
    if total_bytes is None or arrived_bytes == total_bytes:
        return None
    return Fault(FaultKind.UNAVAILABLE, f"{arrived_bytes} of {total_bytes} bytes arrived")


class _Speed:
    """The speed of a transfer over its last window, and the time that it has left."""

    def __init__(self, clock: Callable[[], float], draining_s: Callable[[], float | None]) -> None:
        self._clock, self._draining_s = clock, draining_s
        self._began = self._from = clock()
        self._bytes = 0

    def fault(self, received_bytes: int) -> Fault | None:
        """Count what came in; return the fault of a transfer that should be given up and resumed."""
        self._bytes += received_bytes
        now = self._clock()
        if late := transfer.out_of_time(in_s=now - self._began, draining_s=self._draining_s()):
            return Fault(FaultKind.UNAVAILABLE, f"the transfer was cut off: {late}")
        in_s = now - self._from
        if transfer.too_slow(self._bytes, in_s=in_s):
            return Fault(FaultKind.UNAVAILABLE, f"too slow: {self._bytes} bytes in {in_s:.0f} s")
        if in_s >= transfer.SPEED_WINDOW_S:
            self._from, self._bytes = now, 0
        return None
