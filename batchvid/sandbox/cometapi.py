"""What CometAPI speaks: the models it offers, the requests it takes or refuses, and the form of its answers.

Aliases, resolved names and the prices of ``veo3-fast``, ``veo3.1`` and ``veo3.1-fast`` are those seen at the service in
2026; the other prices are made up. Each alias answers in another of the shapes that were seen, so that a run over
several models meets them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batchvid.sandbox.faults import Call
from batchvid.sandbox.messages import (
    BODY_MAX_BYTES,
    IMAGE_TYPES,
    UNDECLARED_TYPE,
    Refusal,
    Reply,
    Request,
    Upload,
    as_json,
    form_upload,
    picture_type,
)
from batchvid.sandbox.openapi import (
    FILE,
    INTEGER,
    TEXT,
    Route,
    array_of,
    form_of,
    json_of,
    kind_of,
    order_of,
    record,
    ref,
)
from batchvid.sandbox.tasks import QUEUED_SHARE, Model, Order, Stage, Task, letters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchvid.sandbox.faults import Rule
    from batchvid.sandbox.openapi import Schema

CALLS = (Call.CREATE, Call.POLL, Call.CONTENT, Call.FILE)
ASKS_KEY_FIRST = False
HINTS = {"16x9": (640, 360), "9x16": (360, 640)}
"""Contract 1 takes an orientation; the sandbox draws small clips for it."""
PIXELS = {
    "1280x720": (1280, 720),
    "720x1280": (720, 1280),
    "1920x1080": (1920, 1080),
    "3840x2160": (3840, 2160),
}
"""Contract 2 takes pixels."""
LENGTHS_S = {"4": 4, "6": 6, "8": 8}
FRAMES_MOST = {1: 2, 2: 1}
"""By contract."""
FRAME_FIELD = "input_reference"
PROMPT_MAX_CHARS = 20_000
"""Far above any known limit: it stops only what is no prompt."""
BLANKS = " \t\n\v\f\r\x85\xa0"
"""What a prompt cannot be of alone."""
FIRST_NUMBER = 7_000_000_000
"""Beyond 32 bits, as a database's ids may be."""
WRAPPED_WORDS = {
    Stage.QUEUED: "NOT_START",
    Stage.RUNNING: "IN_PROGRESS",
    Stage.DONE: "SUCCESS",
    Stage.FAILED: "FAILURE",
}


class Shape(StrEnum):
    """Where a finished task holds its clip's URL."""

    VIDEO_URL = "video_url"
    OUTPUT = "output.url"
    METADATA = "metadata.url"
    WRAPPED = "the wrapped form, in fail_reason"
    CONTENT_ONLY = "nowhere: the clip is at /content alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias(Model):
    """One model, by the name that requests give it."""

    contract: int
    """1: an orientation, up to two frames, always 8 s. 2: pixels, 4, 6 or 8 s, up to one frame."""
    shape: Shape


DEFAULT_MODEL = "veo3-fast"
MODELS = {
    alias: Alias(
        alias,
        resolved,
        typical_s,
        usd,
        HINTS if contract == 1 else PIXELS,
        per_second=contract != 1,
        contract=contract,
        shape=shape,
    )
    for alias, resolved, contract, shape, typical_s, usd in (
        ("veo3-fast", "veo_3_1-fast", 1, Shape.VIDEO_URL, 60, 0.40),
        ("veo3", "veo_3_1", 1, Shape.OUTPUT, 90, 1.20),
        ("veo3-pro", "veo_3_1-4K", 1, Shape.WRAPPED, 110, 2.00),
        ("veo3.1-fast", "veo-3.1-fast-generate-preview", 2, Shape.VIDEO_URL, 60, 0.10),
        ("veo3.1", "veo-3.1-generate-preview", 2, Shape.METADATA, 90, 0.40),
        ("veo3.1-pro", "veo-3.1-generate-preview", 2, Shape.CONTENT_ONLY, 110, 0.60),
    )
}

# ---- requests


read_upload = form_upload


def unknown(request: Request) -> Reply:
    """Return the answer where there is no such path."""
    if request.method == "GET" and request.path.strip("/").partition("/")[0] != "v1":
        # A base URL without its /v1 leads to a page, and status 200, as at the service.
        page = b"<!DOCTYPE html><title>Sandbox</title>"
        return Reply(200, {"content-type": "text/html; charset=utf-8"}, page)
    return nested(404, "Invalid URL", kind="invalid_request_error", code="not_found")


def read_order(
    request: Request,
    upload: Upload,
    *,
    request_id: str,
    own: Sequence[str] = (),  # noqa: ARG001 it has one server
) -> Order | Reply:
    """Return the order, or the refusal in the service's own envelope."""

    def invalid(message: str, *, status: int = 400, code: str = "invalid_request") -> Reply:
        return nested(status, f"{message} (request id: {request_id})", code=code)

    if len(request.body) > BODY_MAX_BYTES:
        return refusal(Refusal.TOO_LARGE, "", request_id=request_id)
    if upload.trouble:
        return invalid(upload.trouble)
    fields = upload.fields
    alias = fields.get("model", DEFAULT_MODEL)
    if not alias.strip():
        return invalid("model name is required", code="")
    model = MODELS.get(alias)
    if model is None:
        text = f"no available channel for group default and model {alias} (distributor)"
        return invalid(text, status=503, code="model_not_found")
    if trouble := _prompt_trouble(fields) or _frames_trouble(upload, model):
        return invalid(trouble)
    size = fields.get("size", next(iter(model.sizes)))
    length = fields.get("seconds", "8" if model.contract == 1 else "4")
    if size not in model.sizes:
        # The gateway really answers 500 here; only the code says that the request was wrong.
        return invalid(f"size {size} is not supported by {alias}, use {', '.join(model.sizes)}", status=500)
    if length not in LENGTHS_S:
        return invalid(f"seconds {length} is not supported, use {', '.join(LENGTHS_S)}", status=500)
    seconds = 8 if model.contract == 1 else LENGTHS_S[length]
    return Order(model, fields["prompt"], fields, tuple(part.data for part in upload.files), size, seconds)


def _prompt_trouble(fields: Mapping[str, str]) -> str | None:
    prompt = fields.get("prompt", "")
    if not prompt.strip(BLANKS):
        return "prompt is required"
    return "prompt is too long" if len(prompt) > PROMPT_MAX_CHARS else None


def _frames_trouble(upload: Upload, model: Alias) -> str | None:
    # In every spelling: a text such as input_reference[image_url] would be billed without its frame.
    if text := next((name for name in upload.fields if name.startswith(FRAME_FIELD)), None):
        return f"{text} must be a file named {FRAME_FIELD}"
    if stray := next((part.name for part in upload.files if part.name != FRAME_FIELD), None):
        return f"unexpected file field {stray}"
    frames_most = FRAMES_MOST[model.contract]
    if len(upload.files) > frames_most:
        return f"{model.alias} takes at most {frames_most} {FRAME_FIELD}, got {len(upload.files)}"
    for place, part in enumerate(upload.files, 1):
        true_type = picture_type(part.data)
        if not part.filename:
            return f"{FRAME_FIELD} {place} has no file name"
        if true_type is None:
            return f"{FRAME_FIELD} {place} is not a valid image"
        if part.content_type not in {true_type, UNDECLARED_TYPE}:
            return f"{FRAME_FIELD} {place} is {true_type} but was sent as {part.content_type}"
    return None


def _models() -> dict[str, object]:
    return {"object": "list", "data": [{"id": alias, "object": "model"} for alias in MODELS]}


def _prices() -> dict[str, object]:
    def pricing(model: Model) -> dict[str, object]:
        return {"currency": "USD", "per_second" if model.per_second else "per_request": model.usd}

    return {"data": [{"id": one.alias, "provider": "sandbox", "pricing": pricing(one)} for one in MODELS.values()]}


# ---- replies: tasks


def new_id(seed: int, n: int, *, number: bool = False) -> str:
    """Return the id of the *n*-th task, in the service's style or as a number."""
    return str(FIRST_NUMBER + n) if number else f"task_{letters(f'id:{seed}:{n}', 32)}"


def created(task: Task, rule: Rule | None, *, now: float) -> Reply:
    """Return the answer to the create."""
    return as_json(_wrapped(task, Stage.QUEUED, now=now) if rule and rule.wrapped else _created(task))


def polled(task: Task, stage: Stage, rule: Rule | None, *, now: float) -> Reply:
    """Return the answer to a poll."""
    shape = MODELS[task.model.alias].shape
    if shape is Shape.WRAPPED or (rule and rule.wrapped):
        return as_json(_wrapped(task, stage, now=now))
    return as_json(_plain(task, stage, now=now, shape=Shape.CONTENT_ONLY if rule and rule.no_url else shape))


def _created(task: Task) -> dict[str, Any]:
    by_hint = MODELS[task.model.alias].contract == 1
    found = {
        "created_at": int(task.created_at),
        "id": task.told_id,
        "model": task.model.resolved,
        "object": "video",
        "progress": 0,
        "seconds": "" if by_hint else str(task.seconds),
        "size": task.size,
        "status": "queued",
    }
    return found if by_hint else {**found, "task_id": task.told_id}


def _plain(task: Task, stage: Stage, *, now: float, shape: Shape) -> dict[str, Any]:
    """Return the plain form; a URL only when the task has one."""
    found = {**_created(task), "status": stage.value, "progress": task.progress(now)}
    if stage is Stage.QUEUED:
        return {**found, "progress": 0}
    if stage is Stage.FAILED:
        error = {"message": task.fail or "generation failed", "code": "generation_failed"}
        return {**found, "progress": 100, "error": error, "completed_at": int(now)}
    if stage is Stage.DONE:
        found |= {"progress": 100, "completed_at": int(task.created_at + task.took_s)}
        if MODELS[task.model.alias].contract != 1 and task.url:
            found["expires_at"] = int(task.url_expires_at)
        match shape:
            case Shape.OUTPUT:
                found["output"] = {"url": task.url}
            case Shape.METADATA:
                found["metadata"] = {"url": task.url}
            case Shape.CONTENT_ONLY:
                found["video_url"] = None
            case _:
                found["video_url"] = task.url
    return found


def _wrapped(task: Task, stage: Stage, *, now: float) -> dict[str, Any]:
    """Return the wrapped form: the URL of a clip, or what went wrong, stands in ``fail_reason``."""
    ended = stage in {Stage.DONE, Stage.FAILED}
    reason = {Stage.DONE: task.url or "", Stage.FAILED: task.fail or ""}.get(stage, "")
    percent = {Stage.QUEUED: 0, Stage.RUNNING: task.progress(now)}.get(stage, 100)
    data = {
        "task_id": task.told_id,
        "status": WRAPPED_WORDS[stage],
        "progress": f"{percent}%",
        "submit_time": int(task.created_at),
        "start_time": int(task.created_at + task.took_s * QUEUED_SHARE),
        "finish_time": int(now) if ended else 0,
        "fail_reason": reason,
        "data": {"model": task.model.resolved, "size": task.size},
    }
    return {"code": "success", "message": "", "data": data}


# ---- replies: refusals


def nested(
    status: int,
    message: str,
    *,
    code: str = "",
    kind: str = "comet_api_error",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return an error in the shape of most of the gateway's own errors: inside an ``error`` object."""
    return as_json({"error": {"code": code, "message": message, "type": kind}}, status=status, headers=headers)


def flat(status: int, code: str | None, message: str) -> Reply:
    """Return an error in the shape of the gateway's task routes."""
    return as_json({"code": code, "message": message, "data": None}, status=status)


def refusal(why: Refusal, detail: str, *, request_id: str) -> Reply:
    """Return the refusal.

    *detail* is the key sent, the seconds to wait, how many tasks may be in the making, the task, its stage, or method
    and path.
    """
    with_id = f"(request id: {request_id})"
    match why:
        case Refusal.TOO_LARGE:
            return flat(413, "read_request_body_failed", "http: request body too large")
        case Refusal.UNREADABLE:
            return nested(400, f"the body cannot be read {with_id}", code="invalid_request")
        case Refusal.WRONG_METHOD:
            return nested(405, "Method Not Allowed", kind="invalid_request_error", code="method_not_allowed")
        case Refusal.UNAUTHORIZED:
            return nested(401, f"invalid token {with_id}")
        case Refusal.THROTTLED | Refusal.CROWDED | Refusal.BUSY:
            told = {
                Refusal.THROTTLED: f"too many requests, try again in {detail}s",
                Refusal.CROWDED: f"too many concurrent tasks, at most {detail} at once",
            }
            headers = {"retry-after": detail} if why is Refusal.THROTTLED else None
            text = f"{told.get(why, 'too many requests')} {with_id}"
            return nested(429, text, code="rate_limit_exceeded", headers=headers)
        case Refusal.UNKNOWN:
            return flat(400, "task_not_exist", "task_not_exist")
        case Refusal.NO_CONTENT:
            return nested(404, "Task not found", kind="invalid_request_error")
        case Refusal.UNFINISHED:
            word = WRAPPED_WORDS[Stage(detail)]
            return nested(400, f"Task is not completed yet, current status: {word}", kind="invalid_request_error")
        case Refusal.EXPIRED:
            return nested(502, "Upstream service returned status 403", kind="server_error")
        case _:
            return nested(500, "the clip is gone", kind="server_error")


# ---- what it tells about itself


_SIZE = {"enum": [*HINTS, *PIXELS]}


def bodies(_own: Sequence[str]) -> Mapping[str, Any]:
    """Return what a create's body may be, by its content type."""
    properties: dict[str, Schema] = {
        "prompt": {"type": "string", "pattern": f"[^{BLANKS}]", "maxLength": PROMPT_MAX_CHARS},
        "size": _SIZE,
        "seconds": {"enum": [*LENGTHS_S]},
        FRAME_FIELD: {"type": "array", "items": FILE},
    }
    kinds = [
        kind_of(
            [alias for alias, model in MODELS.items() if model.contract == contract],
            default=DEFAULT_MODEL,
            size={"enum": [*sizes]},
            **{FRAME_FIELD: {"maxItems": FRAMES_MOST[contract]}},
        )
        for contract, sizes in ((1, HINTS), (2, PIXELS))
    ]
    form = order_of(properties, kinds, default=DEFAULT_MODEL, others=TEXT)
    form = {**form, "propertyNames": {"not": {"pattern": f"^{FRAME_FIELD}."}}}
    return {"multipart/form-data": form_of(form, **{FRAME_FIELD: [*IMAGE_TYPES.values(), UNDECLARED_TYPE]})}


_PERCENT = {"type": "integer", "minimum": 0, "maximum": 100}
_MODEL = {"enum": sorted({model.resolved for model in MODELS.values()})}
_WRAPPED = record(
    task_id=TEXT,
    status={"enum": [*WRAPPED_WORDS.values()]},
    progress={"type": "string", "pattern": "^[0-9]{1,3}%$"},
    submit_time=INTEGER,
    start_time=INTEGER,
    finish_time=INTEGER,
    fail_reason=TEXT,
    data=record(model=_MODEL, size=_SIZE),
)
SCHEMAS = {
    "Video": record(
        {
            "task_id": TEXT,
            "completed_at": INTEGER,
            "expires_at": INTEGER,
            "error": record(message=TEXT, code=TEXT),
            "video_url": {"type": ["string", "null"]},
            "output": record(url=TEXT),
            "metadata": record(url=TEXT),
        },
        created_at=INTEGER,
        id=TEXT,
        model=_MODEL,
        object={"const": "video"},
        progress=_PERCENT,
        seconds={"enum": ["", *LENGTHS_S]},
        size=_SIZE,
        status={"enum": [*Stage]},
    ),
    "Wrapped": record(code={"const": "success"}, message=TEXT, data=_WRAPPED),
    "Nested": record(error=record(code=TEXT, message=TEXT, type=TEXT)),
    "Flat": record(code=TEXT, message=TEXT, data={"type": "null"}),
    "Error": {"anyOf": [ref("Nested"), ref("Flat")]},
}
_ROW = record(id={"enum": [*MODELS]}, object={"const": "model"})
_PRICING = record({"per_second": {"type": "number"}, "per_request": {"type": "number"}}, currency={"const": "USD"})
_PRICED = record(id={"enum": [*MODELS]}, provider=TEXT, pricing=_PRICING)
ROUTES = (
    Route("POST", "/v1/videos", Call.CREATE, json_of(ref("Video")), also=(500, 503)),
    Route("GET", "/v1/videos/{video_id}", Call.POLL, json_of({"anyOf": [ref("Video"), ref("Wrapped")]})),
    Route("GET", "/v1/videos/{video_id}/content", Call.CONTENT, {"video/mp4": {}}),
    Route("GET", "/v1/models", _models, json_of(record(object={"const": "list"}, data=array_of(_ROW)))),
    Route("GET", "/api/models", _prices, json_of(record(data=array_of(_PRICED))), is_open=True),
)
