"""What came back from a request, before anybody has read a meaning into it, and the error envelopes it may hold.

The service and the gateways in front of it answer errors in half a dozen shapes: a nested ``error``
object or string, flat ``code``/``message``, ``detail``, ``{"success": false}``, a provider's
JSON as a string inside ``message``, HTML, nothing. `envelope` reads all of them.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import field, replace
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.domain.secrecy import KEY_WAS_HERE
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from batchvid.domain.secrecy import Secret


ANSWER_MAX_BYTES = 4 * 1024 * 1024
"""A task object is about 1 KB; more than this is not read."""
RAW_KEPT_BYTES = 4096
"""How much of an unreadable answer is kept where money is in doubt."""
PACKED = {"gzip", "x-gzip", "deflate"}
UNREADABLE = {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}
GZIP = b"\x1f\x8b"
"""How a body begins that is packed, whatever its headers say; no JSON does."""
LAYERS_MAX = 3
"""Nobody packs what is packed so often."""
RETRY_AFTER_MAX_S = 900.0
"""No service keeps a night's run waiting for longer than 15 minutes at a time."""


class LostAt(StrEnum):
    """Where a request went missing."""

    DNS = "the host name could not be resolved"
    UNREACHABLE = "the service could not be reached"
    PROXY = "the proxy opened no way to the service"
    TLS = "the service's certificate was not accepted"
    CONNECT_TIMEOUT = "the service did not accept a connection in time"
    SILENT = "no answer came in time"
    HUNG_UP = "the service closed the connection before the request left"
    SPOKE_FIRST = "the service spoke before it was asked, so the request was not sent"
    RESET = "the connection broke before an answer came"
    GARBLED = "the answer was not HTTP"

    @property
    def before_sending(self) -> bool:
        """Whether it is certain that nothing of the request's body left, and so that nothing was paid."""
        return self in {
            LostAt.DNS,
            LostAt.UNREACHABLE,
            LostAt.PROXY,
            LostAt.TLS,
            LostAt.CONNECT_TIMEOUT,
            LostAt.HUNG_UP,
            LostAt.SPOKE_FIRST,
        }


@frozen
class NoResponse:
    """A request that brought no status line."""

    lost: LostAt
    detail: str = ""

    def __str__(self) -> str:
        """Return where it went missing, with the system's own words when there are any."""
        return f"{self.lost}: {clean(self.detail, 200)}" if self.detail else str(self.lost)


@frozen
class Response:
    """A status line, headers (names in lower case) and as much of the body as came."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = True
    """Whether the body came to its end, under `ANSWER_MAX_BYTES`."""
    asked: bool = True
    """Whether the whole request had left before this answer began: what came earlier answers another one."""

    def json(self) -> Any:
        """Return the decoded body, or ``None`` when it is cut off, no JSON, or nested too deep."""
        if not self.complete:
            return None
        return loads(self.body.decode("utf-8-sig", "replace"))

    def excerpt(self, limit: int = 200) -> str:
        """Return the first characters of the body, harmless to show."""
        return clean(self.body[: limit * 4].decode("utf-8", "replace"), limit)

    def unpacked(self) -> Response:
        """Return the answer with its body unpacked, under the cap, though nobody asked for it to be packed.

        What cannot be unpacked is not kept: nobody could see what is in it.
        """
        names = [name.strip() for name in self.headers.get("content-encoding", "").lower().split(",")]
        layers = sum(name in PACKED for name in names)
        body, whole = self.body, True
        for _ in range(LAYERS_MAX):
            if whole and body and (layers > 0 or body.startswith(GZIP)):
                body, whole = _inflated(body)
                layers -= 1
        if body.startswith(GZIP) or layers > 0 or not UNREADABLE.isdisjoint(names):
            body, whole = b"", not self.body
        return self if body is self.body else replace(self, body=body, complete=self.complete and whole)

    def without(self, secret: Secret) -> Response:
        """Return the answer without the key: a careless service echoes what it refuses.

        Text by text where it is JSON, so that what else it says is still understood.
        """
        headers = {name: secret.masked(value) for name, value in self.headers.items()}
        text = self.body.decode("latin-1")
        masked = secret.masked(text, cut=not self.complete)
        if masked == text:
            return self if headers == self.headers else replace(self, headers=headers)
        payload = self.json()
        if payload is not None:
            try:
                masked = json.dumps(secret.masked_value(payload))
            except RecursionError:
                masked = KEY_WAS_HERE
        return replace(self, headers=headers, body=masked.encode("latin-1"))


def _inflated(body: bytes) -> tuple[bytes, bool]:
    """Return what *body* unpacks to, under the cap, and whether it came out whole."""
    unpacker = zlib.decompressobj(wbits=47)
    try:
        plain = unpacker.decompress(body, ANSWER_MAX_BYTES)
    except zlib.error:
        return b"", False
    return plain, unpacker.eof


_DECODER = json.JSONDecoder(parse_constant=lambda _name: None)


def loads(text: str) -> Any:
    """Return the decoded JSON, or ``None`` when *text* is none; NaN and infinities count as null."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


@frozen
class Envelope:
    """A well-formed error of the service."""

    code: str
    """In lower case, harmless to show; often empty."""
    message: str
    nested: bool
    """Whether it stood in an ``error`` object: some meanings differ by that."""
    kind: str = ""
    """Its ``type``, in lower case: some services name there what others name in the code."""

    def names(self, codes: Collection[str]) -> bool:
        """Whether its code is one of these, or its type where the code says nothing: none, or a number."""
        return self.code in codes or (self.kind in codes and (not self.code or self.code.isdigit()))


def envelope(payload: Any) -> Envelope | None:
    """Return the error that *payload* holds, or ``None`` when it holds none."""
    if not isinstance(payload, dict):
        return None
    error = payload.get("error")
    if is_none(error):
        error = None
    if isinstance(error, dict):
        message = _text(error.get("message")) or _text(error)
        return Envelope(_code(error.get("code")), message, nested=True, kind=_code(error.get("type")))
    if isinstance(error, str):
        return Envelope(_code(payload.get("code")), error, nested=True)
    if payload.get("detail"):
        return Envelope(_code(payload.get("code")), _text(payload["detail"]), nested=False)
    flat = "message" in payload or "msg" in payload
    if payload.get("success") is False or (flat and _code(payload.get("code")) != "success"):
        message = _text(payload.get("message")) or _text(payload.get("msg"))
        inner = envelope(loads(message)) if message.startswith("{") else None
        return inner or Envelope(_code(payload.get("code")), message, nested=False)
    return None


RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests"})
"""Too fast, whatever the status beside it."""
NO_ERROR_CODES = {"", "0", "200", "success", "succeed", "ok", "none", "null"}
NO_ERROR_WORDS = {
    "",
    "success",
    "successful",
    "succeed",
    "succeeded",
    "ok",
    "none",
    "null",
    "no error",
    "no errors",
    "n/a",
    "false",
}


def is_none(error: Any) -> bool:
    """Whether an ``error`` field says that there is none: empty, of nulls, or with a code and words of success."""
    if isinstance(error, dict):
        rest = [value for name, value in error.items() if name not in {"code", "message"} and value]
        message = error.get("message")
        says_so = message is None or (isinstance(message, str) and message.strip().lower() in NO_ERROR_WORDS)
        return not rest and says_so and _code(error.get("code")) in NO_ERROR_CODES
    return not error or (isinstance(error, str) and error.strip().lower() in NO_ERROR_WORDS)


def _code(value: Any) -> str:
    return "" if value is None or isinstance(value, (dict, list)) else clean(str(value), 100).lower()


def _text(value: Any) -> str:
    if value is None:
        return ""
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        return "nested too deep"


def request_id(message: str) -> str | None:
    """Return the request id, which stands only inside the message."""
    found = re.search(r"\(request id: ([\w.:-]{1,100})\)", message)
    return found[1] if found else None


def retry_after_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the wait that the service asked for, within 0 and `RETRY_AFTER_MAX_S` seconds; ``None`` if it named none.

    Reads ``retry-after-ms`` and ``Retry-After`` as seconds or a date (RFC 9110 §10.2.3); nonsense counts as absent.
    """
    from email.utils import parsedate_to_datetime

    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            wait_s = float(value) * unit_s
        except ValueError:
            try:
                until = parsedate_to_datetime(value)
            except (ValueError, OverflowError, TypeError):
                continue
            until = until.replace(tzinfo=until.tzinfo or UTC)  # the asctime form names no zone, and means UTC
            wait_s = max(0.0, until.timestamp() - now)
        if math.isfinite(wait_s) and wait_s >= 0:
            return min(wait_s, RETRY_AFTER_MAX_S)
    return None
