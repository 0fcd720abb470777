"""One transfer of one clip, from where the last one broke off to a verified clip; whatever store and service it is.

- What arrives goes to a part; the final name exists only for a complete clip.
- Bytes of two versions of a clip are never joined: a transfer goes on only where the server proves that it is the same.
- A body that stalls, trickles, lies about its length or never ends is cut off, and what is good of it is kept.

What to ask for, and what may be done with the answer: RFC 9110 §13.1.5 (If-Range), §14.2 (Range), §14.4
(Content-Range), §15.3.7 (206), §15.5.17 (416).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.domain.lifecycle import ClipSaved
from batchvid.domain.records import rfc3339
from batchvid.domain.secrecy import ForbiddenAddressError
from batchvid.domain.task import Fault, FaultKind
from batchvid.media.mp4 import NotAClip
from batchvid.providers.response import NoResponse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from batchvid.providers.http import Transfer
    from batchvid.providers.response import Response
    from batchvid.storage.base import Part


CLIP_MAX_BYTES = 4 * 1024**3
"""No 8-second clip is larger; an endless body must end somewhere."""
SLOWEST_BYTES_PER_S = 4096
"""A transfer that brings less than this, over `SPEED_WINDOW_S`, is given up and resumed."""
SPEED_WINDOW_S = 60.0
LONGEST_S = 1800.0
"""Then others have the place of a transfer, whatever it brings; it goes on where it ended, as after any break."""
DRAINING_S = 60.0
"""What a transfer still has when the run was told to stop: systemd waits 330 s for all of it."""
DIGITS_MAX = 18
"""Of a length in a header; no clip needs more, and Python refuses to convert thousands."""


class Body(StrEnum):
    """What to do with the body of an answer."""

    APPEND = "append"
    """It goes on where the part ends."""
    FROM_ZERO = "from zero"
    """It is the whole clip; what the part holds is dropped."""
    ASK_AGAIN = "ask again"
    """It is no use; drop the part and ask for the whole clip."""


@frozen
class Held:
    """What an earlier transfer left in the part."""

    offset_bytes: int = 0
    validator: str | None = None
    """The strong ETag, or else the date, that these bytes belong to."""


@frozen
class Reading:
    """What to do with the body, and how many bytes the whole clip should have when that is known."""

    body: Body
    total_bytes: int | None = None
    validator: str | None = None


def request_headers(held: Held) -> dict[str, str]:
    """Return the headers that ask for the rest of the clip, or for all of it.

    Without a validator nothing proves that the rest belongs to what is held, so all of it is asked for.
    """
    if held.offset_bytes and held.validator:
        return {"Range": f"bytes={held.offset_bytes}-", "If-Range": held.validator}
    return {}


def read_headers(status: int, headers: Mapping[str, str], held: Held) -> Reading | None:
    """Return what to do with the body of a 200, 206 or 416; ``None`` for every other status, which is an error."""
    validator = _validator(headers)
    if status == 200:  # noqa: PLR2004
        return Reading(Body.FROM_ZERO, _number(headers.get("content-length")), validator)
    if status == 206 and held.offset_bytes:  # noqa: PLR2004
        found = re.fullmatch(
            r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", headers.get("content-range", "").strip()
        )
        same = validator is None or validator == held.validator
        if found and same:
            first, last, total = int(found[1]), int(found[2]), _number(found[3])
            if held.offset_bytes == first <= last and (total is None or last < total):
                return Reading(Body.APPEND, total, held.validator)
        return Reading(Body.ASK_AGAIN)
    if status in {206, 416}:
        return Reading(Body.ASK_AGAIN)
    return None


def read_beginning(first: bytes, show: Callable[[bytes], Response], refused: Refused) -> Fault | None:
    """Return what is wrong with a body that begins so, when it surely is no MP4: an error page sent with status 200.

    *first* holds at least 8 bytes unless the body has fewer; *show* returns them without the key. What the box walk
    finds later is not asked here.
    """
    if first[4:8] == b"ftyp":
        return None
    text, shown = first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1], show(first)
    if shown.body != first:  # on the disk, for people to look at, it would be the key that lies there
        return Fault(FaultKind.BROKEN, f"not a clip but something that repeats the key: {shown.excerpt()}")
    return refused(shown) if text in {b"<", b"{", b"["} else None


def too_large(size_bytes: int | None) -> Fault | None:
    """Return the fault of a body that has, or announces, more bytes than any clip."""
    if size_bytes is None or size_bytes <= CLIP_MAX_BYTES:
        return None
    return Fault(FaultKind.BROKEN, f"not a clip: its body has more than {CLIP_MAX_BYTES / 1024**3:.3g} GiB")


def too_slow(received_bytes: int, *, in_s: float) -> bool:
    """Whether a transfer that brought so much in so long should be given up and resumed."""
    return in_s >= SPEED_WINDOW_S and received_bytes < SLOWEST_BYTES_PER_S * in_s


def out_of_time(*, in_s: float, draining_s: float | None) -> str | None:
    """Return why a transfer ends that began so long ago, in a run that was told to stop so long ago, or was not."""
    if draining_s is not None and draining_s >= DRAINING_S:
        return f"the run was told to stop {draining_s:.0f} s ago"
    if in_s >= LONGEST_S:
        return f"it has taken {in_s / 60:.0f} min, and others wait"
    return None


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("etag", "")
    if etag.startswith('"'):
        return etag[:500]
    return headers.get("last-modified")


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) <= DIGITS_MAX and text.isascii() and text.isdigit() else None


ENOUGH_TO_JUDGE_BYTES = 12
"""The first box of an MP4 says its name within these."""


Fetch = Callable[["Mapping[str, str]"], "AbstractAsyncContextManager[Transfer | NoResponse]"]
"""Asks for the clip, with these headers."""
Refused = Callable[["Response"], Fault]
"""What an answer in place of a clip means."""


async def download(
    part: Part,
    fetch: Fetch,
    *,
    refused: Refused,
    sidecar: dict[str, Any],
    wall: Callable[[], float],
    draining_s: Callable[[], float | None] = lambda: None,
) -> ClipSaved | Fault:
    """Bring what is missing of a clip into its *part*, and commit it with *sidecar*.

    *draining_s* tells how long ago the run was told to stop: a transfer ends soon after that, and what came of it is
    kept. Raises what the part's methods raise: `StorageError` and `ForeignFileError`.
    """
    rest: Fault | Body | bytes = b""
    if not part.complete:
        transfer = _Transfer(part, refused, draining_s)
        rest = await transfer.run(fetch)
        if rest is Body.ASK_AGAIN:
            await part.restart()
            rest = await transfer.run(fetch)
    if isinstance(rest, Body):
        return Fault(FaultKind.BROKEN, "the server answers a plain request with a part of the clip")
    if isinstance(rest, Fault):
        return rest
    try:
        saved = await part.commit(sidecar | {"saved_at": rfc3339(wall())}, rest)
    except NotAClip as reason:
        return Fault(FaultKind.BROKEN, f"what arrived is no complete clip: {reason}")
    return ClipSaved(saved.path, saved.size_bytes, saved.sha256, saved.differs)


@frozen
class _Transfer:
    """What brings the rest of a clip into its part."""

    part: Part
    refused: Refused
    draining_s: Callable[[], float | None]

    async def run(self, fetch: Fetch) -> Fault | Body | bytes:
        """Ask once, and return the last block, which is not in the part yet.

        ``Body.ASK_AGAIN``: the part is no use, and everything must be asked for.
        """
        part, held = self.part, Held(self.part.offset_bytes, self.part.validator)
        try:
            async with fetch(request_headers(held)) as answer:
                if isinstance(answer, NoResponse):
                    return Fault(FaultKind.UNAVAILABLE, str(answer))
                reading = read_headers(answer.status, answer.headers, held)
                if reading is None:
                    return self.refused(await answer.answer())
                if reading.body is Body.ASK_AGAIN:
                    return Body.ASK_AGAIN
                if wrong := too_large(reading.total_bytes):
                    return wrong
                if reading.body is Body.FROM_ZERO and part.offset_bytes:
                    await part.restart()
                part.remember(reading.validator)
                last, fault = await self._received(answer, reading.total_bytes)
        except ForbiddenAddressError as error:
            return Fault(FaultKind.FORBIDDEN, str(error))
        if fault is None:
            return last
        if fault.kind is FaultKind.UNAVAILABLE:
            await part.write(last)  # what is good of it is kept for the next transfer
        else:
            await part.restart()
        return fault

    async def _received(self, answer: Transfer, total_bytes: int | None) -> tuple[bytes, Fault | None]:
        """Write all of the body but its last block; return that, and what ended the transfer before its end."""
        part, speed = self.part, _Speed(asyncio.get_running_loop().time, self.draining_s)
        is_judged, last = part.offset_bytes > 0, b""
        while True:
            block = await answer.read_block()
            if isinstance(block, NoResponse):
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
                is_judged, wrong = True, read_beginning(last, answer.beginning, self.refused)
            arrived = part.offset_bytes + len(last)
            if wrong := wrong or too_large(arrived) or (speed.fault(len(block)) if block else None):
                return last, wrong
            if not block:
                return last, _shortfall(arrived, total_bytes)
            if total_bytes is not None and arrived < total_bytes:
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
        if late := out_of_time(in_s=now - self._began, draining_s=self._draining_s()):
            return Fault(FaultKind.UNAVAILABLE, f"the transfer was cut off: {late}")
        in_s = now - self._from
        if too_slow(self._bytes, in_s=in_s):
            return Fault(FaultKind.UNAVAILABLE, f"too slow: {self._bytes} bytes in {in_s:.0f} s")
        if in_s >= SPEED_WINDOW_S:
            self._from, self._bytes = now, 0
        return None
