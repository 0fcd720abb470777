"""What the sandbox is asked and what it answers, as values: the server and tests in memory carry them out alike."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_MAX_BYTES = 128 * 1024 * 1024
"""The gateway's default; a larger request is answered 413."""
IMAGE_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
UNDECLARED_TYPE = "application/octet-stream"
"""What clients call a file of which they know nothing."""
_BOUNDARY = re.compile(r"multipart/form-data\s*;\s*boundary=(?:\"([^\"]{1,70})\"|([^\s;\"]{1,70}))\s*", re.IGNORECASE)
_DISPOSITION = re.compile(r'form-data((?:\s*;\s*[\w*-]+="[^"\r\n]*")+)\s*', re.IGNORECASE)
_PARAMETER = re.compile(r'([\w*-]+)="([^"\r\n]*)"')
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


# ---- requests


@dataclass(frozen=True, slots=True)
class Request:
    """One request, complete."""

    method: str
    path: str
    """Without host and query, still percent-encoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    query: str = ""
    """What follows the question mark."""


class FormError(ValueError):
    """The body is not the form that its content type promises; the text says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form."""

    name: str
    filename: str | None
    """``None`` for a text field."""
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """A create request as far as it can be read: its text fields even when the rest is wrong."""

    fields: Mapping[str, str]
    files: tuple[Part, ...] = ()
    trouble: str | None = None


def form_upload(request: Request) -> Upload:
    """Return the fields and files of a form, and what is wrong with it."""
    try:
        parts = read_form(request.headers.get("content-type", ""), request.body)
    except FormError as error:
        return Upload({}, trouble=str(error))
    texts = [part for part in parts if part.filename is None]
    names = [part.name for part in texts]
    doubled = next((name for name in names if names.count(name) > 1), None)
    return Upload(
        {part.name: part.data.decode("utf-8", "replace") for part in texts},
        tuple(part for part in parts if part.filename is not None),
        None if doubled is None else f"field {doubled} was sent twice",
    )


def read_form(content_type: str, body: bytes) -> list[Part]:
    """Return the parts of a ``multipart/form-data`` body in their order. Raise `FormError`.

    RFC 7578 and RFC 2046 §5.1, read strictly: nothing is guessed.
    """
    found = _BOUNDARY.fullmatch(content_type.strip())
    if not found:
        raise FormError("request Content-Type isn't multipart/form-data with a boundary")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1")
    if not body.startswith(delimiter):
        raise FormError("multipart: the body does not begin with the boundary")
    *pieces, end = body[len(delimiter) :].split(b"\r\n" + delimiter)
    if not end.startswith(b"--") or end[2:].strip():
        raise FormError("multipart: NextPart: EOF")
    return [_part(piece) for piece in pieces]


def _part(piece: bytes) -> Part:
    head, blank, data = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n"):
        raise FormError("multipart: malformed part header")
    headers = {}
    for line in head[2:].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            raise FormError("multipart: malformed part header")
        headers[name.strip().lower()] = value.strip()
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    named = dict(_PARAMETER.findall(disposition[1])) if disposition else {}
    if "name" not in named:
        raise FormError("multipart: a part without a name")
    # What browsers escape in names (HTML, multipart/form-data encoding algorithm).
    name = named["name"].replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
    return Part(name, named.get("filename"), headers.get("content-type", "text/plain"), data)


def picture_type(data: bytes) -> str | None:
    """Return the true type of the picture in *data*, or ``None`` when there is none.

    One that cannot be decoded to its end is none, and neither is one of a type that the service does not take.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=tuple(IMAGE_TYPES)) as picture:
            picture.load()
            return IMAGE_TYPES.get(picture.format or "")
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ):
        return None


# ---- replies


class Refusal(StrEnum):
    """Why a service refuses, whatever was asked for."""

    TOO_LARGE = "the body is above the limit"
    UNREADABLE = "the body is not what its headers say"
    WRONG_METHOD = "the path has no such method"
    UNAUTHORIZED = "the key is wrong"
    THROTTLED = "too many creates within a minute"
    CROWDED = "too many tasks in the making"
    BUSY = "too many of something that the service does not name"
    UNKNOWN = "there is no such task"
    NO_CONTENT = "there is no such task, and so no clip"
    UNFINISHED = "there is no clip yet"
    UNDELETABLE = "it has not ended, and so cannot be deleted"
    EXPIRED = "the clip cannot be fetched for the moment"
    GONE = "the clip is lost"


class Reset(StrEnum):
    """Where a connection dies."""

    BEFORE = "before"
    """After the request, and nothing has happened."""
    DURING = "during"
    """Inside the answer's headers; what was asked for has happened."""
    AFTER_EFFECT = "after-effect"
    """Before the answer's first byte; what was asked for has happened: a create is billed."""


class Dribble(StrEnum):
    """What of an answer goes out slowly."""

    HEAD = "head"
    BODY = "body"
    INTERIM = "1xx"
    """Interim answers, one after the other; the true one never comes."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How an answer travels; the default is in one piece and at once."""

    delay_s: float = 0.0
    """Before the first byte."""
    hang: bool = False
    """No answer ever; the connection stays open."""
    reset: Reset | None = None
    raw: bytes | None = None
    """What goes over the wire in place of an HTTP answer."""
    cut_at: float | None = None
    """The share of the body after which the connection closes."""
    stall_s: float = 0.0
    """A pause in the middle of the body."""
    dribble: Dribble | None = None
    bytes_per_s: float = 1.0
    """How slowly that is."""
    content_length: str | None = None
    """What the header says in place of the truth; ``none`` leaves it out and ends the body by closing."""


PLAIN = Transport()
"""What an ordinary HTTP server can send."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    transport: Transport = PLAIN


def as_json(payload: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return *payload* as JSON."""
    body = json.dumps(payload, ensure_ascii=False).encode()
    return Reply(status, {"content-type": "application/json", **(headers or {})}, body)


def part_of(clip: bytes, headers: Mapping[str, str], *, etag: str, kind: str = "video/mp4") -> Reply:
    """Return what the request's *headers* (names in lower case) ask of *clip*: the whole, or a part.

    RFC 9110 §13.1.5 (If-Range), §14.2 (Range), §15.3.7 (206), §15.5.17 (416). Only one range at a time;
    whatever else a client asks for is answered with the whole clip, as the RFC allows.
    """
    common = {"content-type": kind, "accept-ranges": "bytes", "etag": etag}
    whole = Reply(200, common, clip)
    found = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if not found or found[0] == "bytes=-" or headers.get("if-range", etag) != etag:
        return whole
    size = len(clip)
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return whole
    else:
        first, last = max(0, size - int(found[2])), size - 1
    if first >= size:
        return Reply(416, {**common, "content-range": f"bytes */{size}"})
    return Reply(206, {**common, "content-range": f"bytes {first}-{last}/{size}"}, clip[first : last + 1])
