"""What the answers to free requests mean, in any service's words: that of a poll, and one in place of a clip.

A task has failed only when the service says so with a status word of the failure list, in an answer that names it.
Whatever else a poll brings, an error with status 200 too, is a look that brought nothing: it is repeated.
What the answer to a paid request means is said in `batchvid.providers.payment`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchvid.domain.task import Fault, FaultKind, Phase, TaskReport, id_text
from batchvid.domain.text import clean
from batchvid.providers.response import Envelope, NoResponse, Response, envelope, is_flat_403, request_id, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.providers.base import Vocabulary


URL_MAX = 8192
MILLISECONDS_FROM = 10**11
"""An epoch number above this is in milliseconds: in seconds it would lie beyond the year 5000."""
EPOCH_MAX = 10**15
"""No moment lies beyond this, in milliseconds either; JSON numbers may have hundreds of digits."""

BOM = b"\xef\xbb\xbf"
REJECTED_STATUS = {400, 403, 409, 413, 415, 422}
GONE_STATUS = {403, 404, 410}
"""What storage hosts answer when a signed URL has expired."""
_TOO_EARLY = re.compile(
    r"not (yet )?(ready|complete|finish)|still (being |in )?(generat|process|progress|running)", re.IGNORECASE
)


def _classified(result: Response, error: Envelope, words: Vocabulary, *, now: float) -> Fault:
    """Return the fault that a well-formed error stands for; the code decides before the status does."""
    reason = clean(error.message, 300) or error.code or f"HTTP {result.status} without a reason"
    named = request_id(error.message)
    kind = FaultKind

    def fault(what: FaultKind, text: str = reason, wait_s: float | None = None) -> Fault:
        return Fault(what, text, retry_after_s=wait_s, request_id=named)

    if result.status == 401:
        return fault(kind.ACCOUNT, f"the key was refused: {reason}")
    is_quota = error.names(words.quota) or (words.is_flat_403_quota and is_flat_403(result, error))
    if is_quota or result.status == 402:
        return fault(kind.ACCOUNT, f"the account has no quota left: {reason}")
    if error.names(words.no_task):
        return fault(kind.UNKNOWN_TASK)
    if error.names(words.no_channel):
        return fault(kind.NO_CHANNEL)
    if result.status == 429:
        return fault(kind.THROTTLED, wait_s=retry_after_s(result.headers, now=now))
    if error.code == "invalid_request" or result.status in REJECTED_STATUS:
        return fault(kind.REJECTED)
    return fault(kind.UNAVAILABLE, f"HTTP {result.status}: {reason}", retry_after_s(result.headers, now=now))


def read_poll(result: Response | NoResponse, words: Vocabulary, *, task_id: str, now: float) -> TaskReport | Fault:
    """Return how a task stands. No fault of a poll costs money: all of them mean "ask again later".

    A task that is over is believed whatever the HTTP status around it, when the answer names it by its own id.
    """
    if isinstance(result, NoResponse):
        return Fault(FaultKind.UNAVAILABLE, str(result))
    payload = result.json()
    if not 200 <= result.status < 300:
        return _ended(payload, words, task_id) or _poll_refused(result, envelope(payload), words, now=now)
    if not isinstance(payload, dict):
        if result.body.lstrip()[:1] == b"<":
            return Fault(FaultKind.MISCONFIGURED, "the service answers with a web page: check base_url")
        return Fault(FaultKind.BROKEN, f"the answer could not be read: {result.excerpt() or 'it is empty'}")
    task, error = _task_object(payload), envelope(payload)
    if error is not None and error.names(words.no_task):
        return Fault(
            FaultKind.UNKNOWN_TASK, clean(error.message, 300) or error.code, request_id=request_id(error.message)
        )
    if "data" in payload and not task:
        return Fault(FaultKind.UNKNOWN_TASK, "the service does not know the task")
    if error is not None and not task.get("status"):
        # A failed look, not a failed task: taken for one, it would buy the clip a second time.
        reason = f"an error in place of the task: {clean(error.message, 300) or error.code}"
        return Fault(FaultKind.BROKEN, reason, request_id=request_id(error.message))
    report = _report(task, error, words, task_id=task_id)
    if report.phase is Phase.FAILED and task_id not in _named(task):
        whose = f"task {clean(report.other_id, 80)}" if report.other_id else "no task"
        reason = f"{report.status!r} is said of {whose}: {report.error or 'no reason given'}"
        return Fault(FaultKind.BROKEN, reason, request_id=request_id(report.error or ""))
    return report


def read_refused_download(answer: Response, *, now: float) -> Fault:
    """Return what an answer in place of a clip means: an error, or a text with the status of a clip."""
    error = envelope(answer.json())
    told = clean(error.message if error else answer.excerpt(), 300) or "no reason given"
    is_early = error is not None and (answer.status == 400 or _TOO_EARLY.search(error.message) is not None)
    if answer.status in {200, 206}:
        if is_early:
            return Fault(FaultKind.NOT_READY, told)
        what = "a web page" if answer.body.removeprefix(BOM).lstrip()[:1] == b"<" else "JSON"
        return Fault(FaultKind.BROKEN, f"not a clip but {what}: {answer.excerpt()}")
    reason = f"HTTP {answer.status}: {told}"
    if is_early:
        return Fault(FaultKind.NOT_READY, reason)
    if answer.status == 401:
        return Fault(FaultKind.ACCOUNT, reason)
    upstream_gone = answer.status == 502 and error is not None and "upstream" in error.message.lower()
    if answer.status in GONE_STATUS or upstream_gone:
        return Fault(FaultKind.EXPIRED, reason)
    kind = FaultKind.THROTTLED if answer.status == 429 else FaultKind.UNAVAILABLE
    return Fault(kind, reason, retry_after_s=retry_after_s(answer.headers, now=now))


def _ended(payload: Any, words: Vocabulary, task_id: str) -> TaskReport | None:
    """Return the report of a task that is over, out of an answer with an error's status that names it by its id."""
    task = _task_object(payload)
    if task_id not in _named(task):
        return None
    report = _report(task, envelope(payload), words, task_id=task_id)
    return report if report.phase in {Phase.SUCCEEDED, Phase.FAILED} else None


def _named(task: dict[str, Any]) -> list[str]:
    """Return the ids that an answer gives the task."""
    return [found for name in ("id", "task_id", "taskId", "video_id") if (found := id_text(task.get(name))) is not None]


def _poll_refused(result: Response, error: Envelope | None, words: Vocabulary, *, now: float) -> Fault:
    if 300 <= result.status < 400:
        return Fault(FaultKind.MISCONFIGURED, "the service redirects: check base_url")
    if error is None:
        if result.status == 404:
            return Fault(FaultKind.UNKNOWN_TASK, "the service does not know the task (HTTP 404)")
        error = Envelope("", result.excerpt(), nested=True)
    elif result.status == 404:
        return Fault(FaultKind.UNKNOWN_TASK, clean(error.message, 300), request_id=request_id(error.message))
    return _classified(result, error, words, now=now)


def _task_object(payload: Any) -> dict[str, Any]:
    """Return the task itself, out of its wrapping when it is wrapped; ``{}`` when there is none."""
    if not isinstance(payload, dict):
        return {}
    inner = payload.get("data")
    if isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    if "data" in payload and "id" not in payload and "status" not in payload:
        return inner if isinstance(inner, dict) else {}
    return payload


def _report(task: dict[str, Any], error: Envelope | None, words: Vocabulary, *, task_id: str) -> TaskReport:
    word = task.get("status")
    status = clean(word, 60) if isinstance(word, str) else ""
    phase = words.phases.get(status.lower(), Phase.UNHEARD)
    url = next(_urls(task), None)
    complaint = _complaint(task) or (error.message if error else None)
    model, named = task.get("model"), _named(task)
    return TaskReport(
        phase=phase,
        status=status or "no status",
        progress_percent=_percent(task.get("progress")),
        url=url if phase is Phase.SUCCEEDED else None,
        url_expires_at=_epoch_s(task.get("expires_at")),
        resolved_model=clean(model, 200) if isinstance(model, str) and model else None,
        error=clean(complaint, 300) if complaint else None,
        other_id=named[0] if named and task_id not in named else None,
    )


def _complaint(task: dict[str, Any]) -> str | None:
    """Return what the task says went wrong; ``fail_reason`` may hold the clip's URL, ``metadata.url`` failure text."""
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
    """Whether *text* is an http(s) URL with a host, and with a port that exists if it names one."""
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
    return percent if 0 <= percent <= 100 else None


def _epoch_s(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < EPOCH_MAX:
        return None
    return value / 1000 if value > MILLISECONDS_FROM else float(value)
