"""What the sandbox is asked and what it answers, as values: the server and tests in memory carry them out alike."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

BODY_MAX_BYTES = 128 * 1024 * 1024
"""The gateway's default; a larger request is answered 413."""


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
class Request:
    """One request, complete."""

    method: str
    path: str
    """Without host and query, still percent-encoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""


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

    @property
    def is_plain(self) -> bool:
        """Whether an ordinary HTTP server can send it."""
        return self == Transport()


PLAIN = Transport()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    transport: Transport = PLAIN


def as_json(payload: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Give *payload* as JSON."""
    body = json.dumps(payload, ensure_ascii=False).encode()
    return Reply(status, {"content-type": "application/json", **(headers or {})}, body)


def nested(
    status: int,
    message: str,
    *,
    code: str = "",
    kind: str = "comet_api_error",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Give an error in the shape of most of the gateway's own errors: inside an ``error`` object."""
    return as_json({"error": {"code": code, "message": message, "type": kind}}, status=status, headers=headers)


def flat(status: int, code: str | None, message: str) -> Reply:
    """Give an error in the shape of the gateway's task routes."""
    return as_json({"code": code, "message": message, "data": None}, status=status)
