"""How a download goes on: what to ask for, and what the answer's status and headers allow to be done with its body.

RFC 9110 §13.1.5 (If-Range), §14.2 (Range), §14.4 (Content-Range), §15.3.7 (206), §15.5.17 (416).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from batchvid.core.answer import envelope, retry_after_s
from batchvid.core.fault import Fault, FaultKind
from batchvid.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchvid.core.answer import Answer

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
GONE = {403, 404, 410}
"""What storage hosts answer when a signed URL has expired."""


class Body(StrEnum):
    """What to do with the body of an answer."""

    APPEND = "append"
    """It goes on where the part file ends."""
    FROM_ZERO = "from zero"
    """It is the whole clip; what the part file holds is dropped."""
    ASK_AGAIN = "ask again"
    """It is no use; drop the part file and ask for the whole clip."""


@dataclass(frozen=True, slots=True)
class Held:
    """What an earlier transfer left in the part file."""

    offset_bytes: int = 0
    validator: str | None = None
    """The strong ETag, or else the date, that these bytes belong to."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What to do with the body, and how many bytes the whole clip should have when that is known."""

    body: Body
    total_bytes: int | None = None
    validator: str | None = None


def request_headers(held: Held) -> dict[str, str]:
    """Give the headers that ask for the rest of the clip, or for all of it.

    Without a validator nothing proves that the rest belongs to what is held, so all of it is asked for.
    """
    if held.offset_bytes and held.validator:
        return {"Range": f"bytes={held.offset_bytes}-", "If-Range": held.validator}
    return {}


def read_headers(status: int, headers: Mapping[str, str], held: Held) -> Reading | None:
    """Say what to do with the body of a 200, 206 or 416; ``None`` for every other status, which is an error."""
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


def read_refusal(answer: Answer, *, now: float) -> Fault:
    """Say what an error in place of a clip means."""
    error = envelope(answer.json())
    reason = f"HTTP {answer.status}: {clean(error.message if error else answer.excerpt(), 300) or 'no reason given'}"
    if answer.status == 400 and error is not None:  # noqa: PLR2004
        return Fault(FaultKind.NOT_READY, reason)
    if answer.status == 401:  # noqa: PLR2004
        return Fault(FaultKind.ACCOUNT, reason)
    upstream_gone = answer.status == 502 and error is not None and "upstream" in error.message.lower()  # noqa: PLR2004
    if answer.status in GONE or upstream_gone:
        return Fault(FaultKind.EXPIRED, reason)
    wait_s = retry_after_s(answer.headers, now=now)
    if answer.status == 429:  # noqa: PLR2004
        return Fault(FaultKind.THROTTLED, reason, retry_after_s=wait_s)
    return Fault(FaultKind.UNAVAILABLE, reason, retry_after_s=wait_s)


def read_beginning(first: bytes, show: Callable[[bytes], Answer]) -> Fault | None:
    """Say what is wrong with a body that begins so, when it surely is no MP4: an error page sent with status 200.

    *first* holds at least 8 bytes unless the body has fewer; *show* returns them without the key. What the box walk
    finds later is not asked here.
    """
    if first[4:8] == b"ftyp":
        return None
    text, shown = first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1], show(first)
    if shown.body != first:  # on the disk, for people to look at, it would be the key that lies there
        return Fault(FaultKind.BROKEN, f"not a clip but something that repeats the key: {shown.excerpt()}")
    if text not in {b"<", b"{", b"["}:
        return None
    error = envelope(shown.json())
    if error is not None and "not completed" in error.message.lower():
        return Fault(FaultKind.NOT_READY, clean(error.message, 300))
    return Fault(FaultKind.BROKEN, f"not a clip but {'a web page' if text == b'<' else 'JSON'}: {shown.excerpt()}")


def too_large(size_bytes: int | None) -> Fault | None:
    """Say so when a body of so many bytes, or one that announces so many, is no clip."""
    if size_bytes is None or size_bytes <= CLIP_MAX_BYTES:
        return None
    return Fault(FaultKind.BROKEN, f"not a clip: its body has more than {CLIP_MAX_BYTES / 1024**3:.3g} GiB")


def too_slow(received_bytes: int, *, in_s: float) -> bool:
    """Say whether a transfer that brought so much in so long should be given up and resumed."""
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
