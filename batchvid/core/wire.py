"""What the service's answers mean: every shape of answer becomes a value or a classified fault, and nothing else.

The one question that costs money is asked here: after a paid POST, was something created? It is
answered "no" only for a request that never left, for a well-formed error envelope of the
service, and for refusals that come before any work (401, 413, 429, redirects, no such route).
Whatever else comes back, even an error page, leaves the attempt in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from batchvid.core.answer import (
    RAW_KEPT_BYTES,
    Answer,
    Envelope,
    Lost,
    NoAnswer,
    envelope,
    request_id,
    retry_after_s,
)
from batchvid.core.fault import Fault, FaultKind
from batchvid.core.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchvid.core.job import Frame

TASK_ID_MAX = 512
"""Known ids have 32 to 80 characters; a longer one is not an id."""
URL_MAX = 8192
MILLISECONDS_FROM = 10**11
"""An epoch number above this is in milliseconds: in seconds it would lie beyond the year 5000."""
EPOCH_MAX = 10**15
"""No moment lies beyond this, in milliseconds either; JSON numbers may have hundreds of digits."""

OUTCOME_UNKNOWN = {408, 499, 504, 524}
"""Somebody on the way gave up waiting; the request may have gone through."""
QUOTA_CODES = {"insufficient_user_quota", "pre_consume_token_quota_failed", "insufficient_quota"}
NO_CHANNEL_CODES = {"model_not_found", "get_channel_failed"}
NO_TASK_CODES = {"task_not_exist", "task_not_found"}
REJECTED_STATUS = {400, 403, 409, 413, 415, 422}


class Phase(StrEnum):
    """What a status word comes to."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNHEARD = "unheard"
    """A word that nobody listed: polled on until the deadline, and shown."""


WORDS = {
    Phase.WAITING: " queued pending submitted not_start not_started preparing waiting created starting unknown",
    Phase.RUNNING: "in_progress processing running generating",
    Phase.SUCCEEDED: "completed complete success succeeded succeed finished done",
    Phase.FAILED: "failed failure fail error cancelled canceled expired rejected",
}
"""Every status word that some gateway has been seen to use; an empty one waits."""
PHASES = {word: phase for phase, words in WORDS.items() for word in words.split(" ")}


@dataclass(frozen=True, slots=True)
class Created:
    """The service took a create request and named its task."""

    task_id: str
    resolved_model: str | None


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What a poll says of a task."""

    phase: Phase
    status: str
    """The service's own word, harmless to show."""
    progress_percent: float | None
    url: str | None
    url_expires_at: float | None
    resolved_model: str | None
    error: str | None


def create_path() -> str:
    """Give the path of the create call, relative to the base URL."""
    return "/videos"


def task_path(task_id: str) -> str:
    """Give the path of a poll; the id is opaque and may hold any character."""
    return f"/videos/{quote(task_id, safe='')}"


def content_path(task_id: str) -> str:
    """Give the path of the clip's bytes behind the service itself."""
    return f"{task_path(task_id)}/content"


def read_create(result: Answer | NoAnswer, *, now: float, frames: Sequence[Frame] = ()) -> Created | Fault:
    """Say what became of a paid POST, which sent *frames*.

    A fault of kind ``UNSURE`` is the only one after which money may be gone.
    """
    if isinstance(result, NoAnswer):
        if result.lost is Lost.TLS:
            return Fault(FaultKind.MISCONFIGURED, str(result))
        kind = FaultKind.UNAVAILABLE if result.lost.before_sending else FaultKind.UNSURE
        return Fault(kind, str(result))
    payload = result.json()
    if 200 <= result.status < 300:  # noqa: PLR2004 the class of statuses, RFC 9110 §15.3
        return _created(result, payload)
    error = envelope(payload)
    if early := _refused_before_work(result, error, now=now, frames=frames):
        return early
    if error is None or result.status in OUTCOME_UNKNOWN:
        return _unsure(result, f"HTTP {result.status} without a clear error: {result.excerpt() or 'an empty answer'}")
    return _classified(result, error, now=now)


def _created(result: Answer, payload: Any) -> Created | Fault:
    for task in (_task_object(payload), payload if isinstance(payload, dict) else {}):
        for name in ("id", "task_id"):
            task_id = task.get(name)
            if isinstance(task_id, str) and usable_id(task_id):
                model = task.get("model")
                return Created(task_id, clean(model, 200) if isinstance(model, str) and model else None)
    what = "cut off" if not result.complete else "without a usable task id"
    return _unsure(result, f"HTTP {result.status} {what}: {result.excerpt() or 'an empty answer'}")


def usable_id(task_id: str) -> bool:
    """Say whether *task_id* can be one: printable, of sane length, and no path segment of dots."""
    return 0 < len(task_id) <= TASK_ID_MAX and task_id.isprintable() and task_id.strip(". ") != ""


def _unsure(result: Answer, reason: str) -> Fault:
    return Fault(FaultKind.UNSURE, reason, raw=result.body[:RAW_KEPT_BYTES])


def _refused_before_work(
    result: Answer, error: Envelope | None, *, now: float, frames: Sequence[Frame]
) -> Fault | None:
    """Give the fault of an answer that, whatever its body, was sent before anything could be created."""
    if 300 <= result.status < 400:  # noqa: PLR2004 the class of statuses, RFC 9110 §15.4
        target = clean(result.headers.get("location", "nowhere"), 200)
        return Fault(FaultKind.MISCONFIGURED, f"the service redirects to {target}: check base_url")
    if result.status in {404, 405} and (error is None or error.code not in NO_CHANNEL_CODES):
        return Fault(FaultKind.MISCONFIGURED, f"HTTP {result.status}, no such route: check base_url")
    if result.status == 413:  # noqa: PLR2004
        return _too_large(result, error, frames)
    if result.status in {401, 429}:
        return _classified(result, error or Envelope("", result.excerpt(), nested=False), now=now)
    return None


def _too_large(result: Answer, error: Envelope | None, frames: Sequence[Frame]) -> Fault:
    """Give the fault of a request that is not even read: nothing else in it is large but its frames."""
    said = (error.message if error else result.excerpt()) or "no reason given"
    sent = ", ".join(f"{frame.path.rpartition('/')[2]} ({frame.size_bytes / 1e6:.1f} MB)" for frame in frames)
    advice = f"; make its frames smaller: {clean(sent, 200)}" if frames else ""
    reason = f"the request is too large for the service (HTTP 413: {clean(said, 200)}){advice}"
    return Fault(FaultKind.REJECTED, reason, request_id=request_id(said))


def _classified(result: Answer, error: Envelope, *, now: float) -> Fault:  # noqa: PLR0911 a table of meanings
    """Give the fault that a well-formed error stands for; the code decides before the status does."""
    reason = clean(error.message, 300) or error.code or f"HTTP {result.status} without a reason"
    named = request_id(error.message)
    kind = FaultKind

    def fault(what: FaultKind, text: str = reason, wait_s: float | None = None) -> Fault:
        return Fault(what, text, retry_after_s=wait_s, request_id=named)

    if result.status == 401:  # noqa: PLR2004
        return fault(kind.ACCOUNT, f"the key was refused: {reason}")
    is_quota = error.code in QUOTA_CODES or (result.status == 403 and not error.nested and not error.code)  # noqa: PLR2004
    if is_quota or result.status == 402:  # noqa: PLR2004
        return fault(kind.ACCOUNT, f"the account has no quota left: {reason}")
    if error.code in NO_TASK_CODES:
        return fault(kind.UNKNOWN_TASK)
    if error.code in NO_CHANNEL_CODES:
        return fault(kind.NO_CHANNEL)
    if result.status == 429:  # noqa: PLR2004
        return fault(kind.THROTTLED, wait_s=retry_after_s(result.headers, now=now))
    if error.code == "invalid_request" or result.status in REJECTED_STATUS:
        return fault(kind.REJECTED)
    return fault(kind.UNAVAILABLE, f"HTTP {result.status}: {reason}", retry_after_s(result.headers, now=now))


def read_poll(  # noqa: PLR0911 a return a shape
    result: Answer | NoAnswer, *, task_id: str, now: float
) -> TaskReport | Fault:
    """Say how a task stands. No fault of a poll costs money: all of them mean "ask again later"."""
    if isinstance(result, NoAnswer):
        return Fault(FaultKind.UNAVAILABLE, str(result))
    payload = result.json()
    if not 200 <= result.status < 300:  # noqa: PLR2004 a gateway may say 202 of a task that is under way
        return _poll_refused(result, envelope(payload), now=now)
    if not isinstance(payload, dict):
        if result.body.lstrip()[:1] == b"<":
            return Fault(FaultKind.MISCONFIGURED, "the service answers with a web page: check base_url")
        return Fault(FaultKind.BROKEN, f"the answer could not be read: {result.excerpt() or 'it is empty'}")
    task = _task_object(payload)
    error = envelope(payload)
    if error is not None and not error.nested and not task.get("status"):
        # A failed fetch, not a failed task: taken for one, it would buy the clip a second time.
        return _classified(result, error, now=now)
    if (error is not None and error.code in NO_TASK_CODES) or ("data" in payload and not task):
        return Fault(FaultKind.UNKNOWN_TASK, "the service does not know the task")
    named = {task[name] for name in ("id", "task_id") if task.get(name) and isinstance(task[name], str)}
    if named and task_id not in named:
        return Fault(FaultKind.BROKEN, f"the answer is about another task, {clean(min(named), 80)}")
    return _report(task, payload, error)


def _poll_refused(result: Answer, error: Envelope | None, *, now: float) -> Fault:
    if 300 <= result.status < 400:  # noqa: PLR2004
        return Fault(FaultKind.MISCONFIGURED, "the service redirects: check base_url")
    if error is None:
        if result.status == 404:  # noqa: PLR2004
            return Fault(FaultKind.UNKNOWN_TASK, "the service does not know the task (HTTP 404)")
        error = Envelope("", result.excerpt(), nested=True)
    elif result.status == 404:  # noqa: PLR2004
        return Fault(FaultKind.UNKNOWN_TASK, clean(error.message, 300), request_id=request_id(error.message))
    return _classified(result, error, now=now)


def _task_object(payload: Any) -> dict[str, Any]:
    """Give the task itself, out of its wrapping when it is wrapped; ``{}`` when there is none."""
    if not isinstance(payload, dict):
        return {}
    inner = payload.get("data")
    if isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    if "data" in payload and "id" not in payload and "status" not in payload:
        return inner if isinstance(inner, dict) else {}
    return payload


def _report(task: dict[str, Any], payload: dict[str, Any], error: Envelope | None) -> TaskReport:
    word = task.get("status")
    status = clean(word, 60) if isinstance(word, str) else ""
    phase = PHASES.get(status.lower(), Phase.UNHEARD)
    url = next(_urls(task), None)
    complaint = _complaint(task) or (error.message if error else None)
    says_nothing_else = not status or (phase is Phase.SUCCEEDED and url is None)
    if says_nothing_else and (task.get("error") or payload.get("error")):
        phase = Phase.FAILED
    model = task.get("model")
    return TaskReport(
        phase=phase,
        status=status or "no status",
        progress_percent=_percent(task.get("progress")),
        url=url if phase is Phase.SUCCEEDED else None,
        url_expires_at=_epoch_s(task.get("expires_at")),
        resolved_model=clean(model, 200) if isinstance(model, str) and model else None,
        error=clean(complaint, 300) if complaint else None,
    )


def _complaint(task: dict[str, Any]) -> str | None:
    """Give what the task says went wrong; ``fail_reason`` may hold the clip's URL, ``metadata.url`` failure text."""
    found = envelope({"error": task.get("error")})
    if found:
        return found.message
    metadata = task.get("metadata")
    candidates = [task.get("fail_reason"), metadata.get("url") if isinstance(metadata, dict) else None]
    return next((text for text in candidates if isinstance(text, str) and text and not is_http_url(text)), None)


def _urls(task: dict[str, Any], *, depth: int = 2) -> Iterator[str]:
    """Yield the places in which the clip's URL has been seen, best first; only what parses as http(s)."""

    def inside(name: str, key: str) -> Any:
        value = task.get(name)
        return value.get(key) if isinstance(value, dict) else None

    assets = task.get("assets")
    first_asset = assets[0] if isinstance(assets, list) and assets else None
    candidates = (
        task.get("video_url"),
        task.get("url"),
        inside("metadata", "url"),
        inside("output", "url"),
        inside("result", "url"),
        inside("result", "video_url"),
        task.get("output_video"),
        first_asset.get("url") if isinstance(first_asset, dict) else None,
        task.get("fail_reason"),
    )
    yield from (value for value in candidates if isinstance(value, str) and is_http_url(value))
    inner = task.get("data")
    if isinstance(inner, dict) and depth:
        yield from _urls(inner, depth=depth - 1)


def is_http_url(text: str) -> bool:
    """Say whether *text* is an http(s) URL with a host, and with a port that exists if it names one."""
    if len(text) > URL_MAX or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _percent(value: Any) -> float | None:
    """Read ``50``, ``"50"`` and ``"50%"``; anything else, or out of range, is no progress."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        percent = float(value.strip().removesuffix("%") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return percent if 0 <= percent <= 100 else None  # noqa: PLR2004 a percentage


def _epoch_s(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < EPOCH_MAX:
        return None
    return value / 1000 if value > MILLISECONDS_FROM else float(value)
