"""What OpenAI's ``/v1/videos`` speaks, as its SDK, LiteLLM, vLLM-Omni and SGLang do too.

Fields, words and limits are those of the types of OpenAI's SDK, texts and codes of errors those that clients have
recorded. Not public, and so chosen here: the status of a delete before the end (409), and the texts about a clip that
has expired. Nothing is fetched: a reference is an upload or a data URL. Remixes, edits, extensions and characters
are not there.
"""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from batchvid.sandbox.faults import Call
from batchvid.sandbox.messages import (
    BODY_MAX_BYTES,
    IMAGE_TYPES,
    UNDECLARED_TYPE,
    Part,
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
from batchvid.sandbox.tasks import Model, Order, Stage, Task, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from batchvid.sandbox.faults import Rule
    from batchvid.sandbox.openapi import Schema

CALLS = (Call.CREATE, Call.POLL, Call.CONTENT, Call.LIST, Call.DELETE)
ASKS_KEY_FIRST = True
SMALL = {"720x1280": (720, 1280), "1280x720": (1280, 720)}
SIZES = {**SMALL, "1024x1792": (1024, 1792), "1792x1024": (1792, 1024)}
LENGTHS = ("4", "8", "12")
DEFAULT_MODEL = "sora-2"
LARGE_USD = dict.fromkeys(SIZES.keys() - SMALL.keys(), 0.50)
MODELS = {
    name: Model(
        name,
        name,
        180 if "pro" in name else 90,
        0.30 if "pro" in name else 0.10,
        SIZES if "pro" in name else SMALL,
        per_second=True,
        usd_of_size=LARGE_USD,
    )
    for name in ("sora-2", "sora-2-pro", "sora-2-2025-10-06", "sora-2-pro-2025-10-06", "sora-2-2025-12-08")
}
FIELDS = ("prompt", "model", "seconds", "size", "input_reference")
REFERENCE = "input_reference"
PROMPT_MAX_CHARS = 32_000
LIST_MOST, LIST_DEFAULT = 100, 20
VARIANTS = ("video", "thumbnail", "spritesheet")
UPLOAD_TYPES = (*IMAGE_TYPES.values(), "video/mp4")
OWN_LENGTHS = [str(seconds) for seconds in range(1, 61)]
"""Of clips of a server of one's own; a longer one would take minutes to draw."""
_PIXELS = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
_DATA_URL = re.compile(r"data:([\w/+.-]+);base64,(.*)", re.DOTALL)


class RefusedError(Exception):
    """The request is wrong; it holds the answer."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.reply = error(status, message, param=param, code=code)


def error(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    kind: str = "invalid_request_error",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return an error in the service's envelope."""
    envelope = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return as_json(envelope, status=status, headers=headers)


# ---- requests


def unknown(request: Request) -> Reply:
    """Return the answer where there is no such path."""
    return error(404, f"Invalid URL ({request.method} {request.path})")


def _models() -> dict[str, Any]:
    rows = [{"id": name, "object": "model", "created": 0, "owned_by": "openai"} for name in MODELS]
    return {"object": "list", "data": rows}


def read_upload(request: Request) -> Upload:
    """Return the fields of a create, out of a form or out of JSON."""
    if not _is_json(request):
        return form_upload(request)
    try:
        found = json.loads(request.body)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return Upload({}, trouble="We could not parse the JSON body of your request.")
    return Upload({name: one if isinstance(one, str) else json.dumps(one) for name, one in found.items()})


def own_model(name: str, size: Any) -> Model | None:
    """Return the model of a server of one's own; nobody bills it."""
    found = _PIXELS.fullmatch(size) if isinstance(size, str) else None
    return Model(name, name, 90, 0.0, {size: (int(found[1]), int(found[2]))}) if found else None


def read_order(request: Request, upload: Upload, *, request_id: str, own: Sequence[str] = ()) -> Order | Reply:
    """Return the order, or the refusal in the service's own envelope."""
    if len(request.body) > BODY_MAX_BYTES:
        return refusal(Refusal.TOO_LARGE, "", request_id=request_id)
    try:
        return _order(request, upload, own)
    except RefusedError as refused:
        return refused.reply


def _order(request: Request, upload: Upload, own: Sequence[str]) -> Order:
    if not _is_json(request) and not request.headers.get("content-type", "").startswith("multipart/form-data"):
        kind = request.headers.get("content-type", "")
        raise RefusedError(
            f"Unsupported content type: '{kind}'. This API method only accepts 'application/json' or "
            "'multipart/form-data' requests.",
            code="unsupported_content_type",
        )
    if upload.trouble:
        raise RefusedError(upload.trouble)
    fields: Mapping[str, Any] = json.loads(request.body) if _is_json(request) else upload.fields
    files = [part for part in upload.files if part.name == REFERENCE]
    stray = [part.name for part in upload.files if part.name != REFERENCE]
    # A form writes an object with brackets, as the SDK does; JSON has objects of its own.
    references = [one for one in fields if (one if _is_json(request) else one.partition("[")[0]) == REFERENCE]
    if unknown := [*(name for name in fields if name not in {*FIELDS, *references}), *stray]:
        raise RefusedError(f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter")
    if len(files) + len(references) > 1:
        raise RefusedError(f"Duplicate parameter: '{REFERENCE}'.", param=REFERENCE, code="duplicate_parameter")
    prompt = _prompt(fields)
    name, size = fields.get("model", DEFAULT_MODEL), fields.get("size", next(iter(SIZES)))
    types = UPLOAD_TYPES
    if name in own and (model := own_model(name, size)) is not None:
        types = (*UPLOAD_TYPES, UNDECLARED_TYPE)  # OpenAI refuses it; servers of one's own look at the bytes
        seconds = int(_one_of("seconds", fields.get("seconds", LENGTHS[0]), OWN_LENGTHS))
    else:
        model = MODELS[_one_of("model", name, MODELS)]
        _one_of("size", _one_of("size", size, SIZES), model.sizes)
        seconds = int(_one_of("seconds", fields.get("seconds", LENGTHS[0]), LENGTHS))
    frames = [_uploaded(part, types) for part in files] + [_referred(name, fields[name]) for name in references]
    for frame in frames:
        if _pixels(frame) != model.sizes[size]:
            raise RefusedError("Inpaint image must match the requested width and height")
    texts = {name: text for name, text in upload.fields.items() if name in FIELDS and name != REFERENCE}
    return Order(model, prompt, texts, tuple(frames), size, seconds)


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _prompt(fields: Mapping[str, Any]) -> str:
    if "prompt" not in fields:
        raise RefusedError("Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
    prompt = _typed("prompt", fields["prompt"], "a string")
    if not prompt:
        text = "empty string. Expected a string with minimum length 1, but got an empty string instead."
        raise RefusedError(f"Invalid 'prompt': {text}", param="prompt", code="empty_string")
    if len(prompt) > PROMPT_MAX_CHARS:
        text = f"string too long. Expected a string with maximum length {PROMPT_MAX_CHARS}"
        got = f"but got a string with length {len(prompt)} instead."
        raise RefusedError(f"Invalid 'prompt': {text}, {got}", param="prompt", code="string_above_max_length")
    return prompt


def _one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    quoted = [f"'{one}'" for one in allowed]
    text = _typed(name, value, f"one of {_listed(quoted, 'or')}")
    if text not in allowed:
        supported = f"Supported values are: {_listed(quoted, 'and')}."
        raise RefusedError(f"Invalid value: '{text}'. {supported}", param=name, code="invalid_value")
    return text


def _typed(name: str, value: Any, expected: str) -> str:
    if isinstance(value, str):
        return value
    raise _wrong_type(name, value, expected)


def _wrong_type(name: str, value: Any, expected: str) -> RefusedError:
    kinds = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        list: "an array",
        dict: "an object",
    }
    got = kinds.get(type(value), "null")
    text = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
    return RefusedError(text, param=name, code="invalid_type")


def _listed(words: Sequence[str], conjunction: str) -> str:
    """Join *words* as the service's texts do: "a and b", "a, b, and c"."""
    comma = "," if len(words) > 2 else ""
    return f"{', '.join(words[:-1])}{comma} {conjunction} {words[-1]}" if len(words) > 1 else words[0]


def _uploaded(part: Part, types: Sequence[str]) -> bytes:
    if part.content_type not in types:
        quoted = _listed([f"'{one}'" for one in UPLOAD_TYPES], "and")
        raise RefusedError(
            f"Invalid file '{REFERENCE}': unsupported mimetype ('{part.content_type}'). "
            f"Supported file formats are {quoted}.",
            param=REFERENCE,
            code="unsupported_file_mimetype",
        )
    return _decoded(part.data)


def _referred(name: str, value: Any) -> bytes:
    """Return the picture of the object form, which a form writes with brackets."""
    key = name.partition("[")[2].rstrip("]")
    reference = {key: value} if key else value
    if not isinstance(reference, dict):
        raise _wrong_type(name, reference, "an object")
    if unknown := reference.keys() - {"image_url", "file_id"}:
        where = f"{REFERENCE}.{min(unknown)}"
        raise RefusedError(f"Unknown parameter: '{where}'.", param=where, code="unknown_parameter")
    if "file_id" in reference:
        raise RefusedError(
            f"The file '{reference['file_id']}' does not exist.", param=f"{REFERENCE}.file_id", code="file_not_found"
        )
    where = f"{REFERENCE}.image_url"
    found = _DATA_URL.fullmatch(_typed(where, reference.get("image_url"), "a string"))
    try:
        if found is None:
            raise RefusedError("The sandbox fetches nothing: send a data URL.", param=where, code="invalid_image_url")
        return _decoded(base64.b64decode(found[2], validate=True))
    except ValueError:  # what is no ASCII is no binascii.Error
        raise RefusedError("Invalid base64 image_url.", param=where, code="invalid_base64") from None


def _decoded(data: bytes) -> bytes:
    if picture_type(data) is None:
        text = "Invalid image file or mode, please check your image file."
        raise RefusedError(text, param=REFERENCE, code="invalid_image_file")
    return data


def _pixels(data: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(BytesIO(data)) as picture:
        return picture.size


# ---- replies


def new_id(seed: int, n: int, *, number: bool = False) -> str:
    """Return the id of the *n*-th task, in the service's style or as a number."""
    return str(7_000_000_000 + n) if number else f"video_{draw(f'id:{seed}:{n}').hex()[:48]}"


def created(task: Task, _rule: Rule | None, *, now: float) -> Reply:
    """Return the answer to the create."""
    return as_json(_video(task, Stage.QUEUED, now=now))


def polled(task: Task, stage: Stage, _rule: Rule | None, *, now: float) -> Reply:
    """Return the answer to a poll."""
    return as_json(_video(task, stage, now=now))


def _video(task: Task, stage: Stage, *, now: float) -> dict[str, Any]:
    done = stage is Stage.DONE
    failure = {"code": "video_generation_failed", "message": task.fail}
    return {
        "id": task.told_id,
        "object": "video",
        "created_at": int(task.created_at),
        "status": stage.value,
        "completed_at": int(task.created_at + task.took_s) if done else None,
        "error": failure if stage is Stage.FAILED else None,
        "expires_at": int(task.url_expires_at) if done else None,
        "model": task.model.resolved,
        "progress": {Stage.QUEUED: 0, Stage.DONE: 100}.get(stage, task.progress(now)),
        "remixed_from_video_id": None,
        "seconds": str(task.seconds),
        "size": task.size,
        "prompt": task.prompt,
    }


def listed(tasks: Sequence[Task], stage_of: Callable[[Task], Stage], request: Request, *, now: float) -> Reply:
    """Return a page of *tasks*, which come in the order of their creation."""
    try:
        asked = _asked(request, "after", "limit", "order")
        limit = _limit(asked.get("limit", str(LIST_DEFAULT)))
        order = _one_of("order", asked.get("order", "desc"), ("asc", "desc"))
        ordered = _behind(asked.get("after"), list(tasks if order == "asc" else tasks[::-1]))
    except RefusedError as refused:
        return refused.reply
    page = [_video(task, stage_of(task), now=now) for task in ordered[:limit]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return as_json({"object": "list", "data": page, **ends, "has_more": len(ordered) > limit})


def _asked(request: Request, *known: str) -> dict[str, str]:
    asked = {name: values[-1] for name, values in parse_qs(request.query, keep_blank_values=True).items()}
    if unknown := sorted(asked.keys() - {*known}):
        raise RefusedError(f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter")
    return asked


def _behind(after: str | None, tasks: list[Task]) -> list[Task]:
    if after is None:
        return tasks
    for place, task in enumerate(tasks, 1):
        if task.task_id == after:
            return tasks[place:]
    raise RefusedError(f"Video with id '{after}' not found.", param="after", status=404)


def _limit(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,9}", text):
        expected = "expected an integer, but got a string instead"
        raise RefusedError(f"Invalid type for 'limit': {expected}.", param="limit", code="invalid_type")
    limit = int(text)
    for wrong, side, bound in ((limit < 1, "below minimum", ">= 1"), (limit > LIST_MOST, "above maximum", "<= 100")):
        if wrong:
            raise RefusedError(
                f"Invalid 'limit': integer {side} value. Expected a value {bound}, but got {limit} instead.",
                param="limit",
                code=f"integer_{side.replace('imum', '').replace(' ', '_')}_value",
            )
    return limit


def deleted(task: Task) -> Reply:
    """Return the answer to a delete."""
    return as_json({"id": task.told_id, "object": "video.deleted", "deleted": True})


def asset(clip: bytes, request: Request) -> tuple[bytes, str] | Reply:
    """Return what a download asks for, with its type: the clip, or a picture of it."""
    try:
        variant = _one_of("variant", _asked(request, "variant").get("variant", VARIANTS[0]), VARIANTS)
    except RefusedError as refused:
        return refused.reply
    if variant == "video":
        return clip, "video/mp4"
    from batchvid.sandbox.render import spritesheet, thumbnail

    return (thumbnail(clip), "image/webp") if variant == "thumbnail" else (spritesheet(clip), "image/jpeg")


def refusal(why: Refusal, detail: str, *, request_id: str) -> Reply:
    """Return the refusal.

    *detail* is the key sent, the seconds to wait, how many tasks may be in the making, the task, its stage, or method
    and path.
    """
    headers = {"x-request-id": f"req_{request_id}"}
    not_ready = "Video is not ready yet, use GET /v1/videos/{video_id} to check status."
    match why:
        case Refusal.UNAUTHORIZED if not detail:
            text = "You didn't provide an API key. You need to provide your API key in an Authorization header."
            return error(401, text, headers=headers)
        case Refusal.UNAUTHORIZED:
            masked = f"{detail[:3]}***{detail[-4:]}" if len(detail) > 12 else "***"
            text = f"Incorrect API key provided: {masked}."
            return error(401, text, code="invalid_api_key", headers=headers)
        case Refusal.THROTTLED:
            text = f"Rate limit reached for requests per min (RPM). Please try again in {detail}s."
            headers["retry-after"] = detail
            return error(429, text, code="rate_limit_exceeded", kind="requests", headers=headers)
        case Refusal.CROWDED:
            text = f"Too many concurrent videos: at most {detail} may be in progress. Wait until one has ended."
            return error(429, text, code="rate_limit_exceeded", kind="requests", headers=headers)
        case Refusal.BUSY:
            return error(429, "Too many requests.", code="rate_limit_exceeded", kind="requests", headers=headers)
    status, text = {
        Refusal.TOO_LARGE: (413, "Maximum content size limit exceeded."),
        Refusal.UNREADABLE: (400, "We could not read the body of your request."),
        Refusal.WRONG_METHOD: (
            405,
            f"Not allowed to {detail}. (HINT: Perhaps you meant to use a different HTTP method?)",
        ),
        Refusal.UNKNOWN: (404, f"Video with id '{detail}' not found."),
        Refusal.NO_CONTENT: (404, f"Video with id '{detail}' not found."),
        Refusal.UNFINISHED: (404, not_ready),
        Refusal.UNDELETABLE: (409, f"Video cannot be deleted while its status is '{detail}'."),
        Refusal.EXPIRED: (404, "The content of this video has expired."),
    }.get(why, (500, "The server had an error while processing your request."))
    kind = "server_error" if why is Refusal.GONE else "invalid_request_error"
    return error(status, text, kind=kind, headers=headers)


# ---- what it tells about itself


def bodies(own: Sequence[str]) -> Mapping[str, Any]:
    """Return what a create's body may be, by content type; *own* are the models of a server of one's own."""
    url = {"type": "string", "pattern": f"^{_DATA_URL.pattern}$"}
    written = f"{REFERENCE}[image_url]"
    form = {
        **_body(own, {REFERENCE: FILE, written: url}),
        "dependentSchemas": {REFERENCE: {"properties": {written: False}}},
    }
    return {
        "application/json": {"schema": _body(own, {REFERENCE: record(image_url=url)})},
        "multipart/form-data": form_of(
            form, **{REFERENCE: [*IMAGE_TYPES.values(), *([UNDECLARED_TYPE] if own else [])]}
        ),
    }


def _body(own: Sequence[str], reference: Mapping[str, Schema]) -> Schema:
    """Return the schema of a body whose picture is written as *reference*."""

    def kind(models: Sequence[str], size: Schema, lengths: Sequence[str]) -> Schema:
        return kind_of(models, default=DEFAULT_MODEL, size=size, seconds={"enum": [*lengths]})

    kinds = [
        kind([name for name, model in MODELS.items() if model.sizes is sizes], {"enum": [*sizes]}, LENGTHS)
        for sizes in (SMALL, SIZES)
    ]
    if own:
        kinds.append(kind(own, {"pattern": f"^{_PIXELS.pattern}$"}, OWN_LENGTHS))
    properties: dict[str, Schema] = {
        "prompt": {"type": "string", "minLength": 1, "maxLength": PROMPT_MAX_CHARS},
        "size": {**(TEXT if own else {"enum": [*SIZES]}), "default": next(iter(SIZES))},
        "seconds": {"enum": [*(OWN_LENGTHS if own else LENGTHS)], "default": LENGTHS[0]},
        **reference,
    }
    return order_of(properties, kinds, default=DEFAULT_MODEL)


_WHEN = {"type": ["integer", "null"]}
_NAME = {"type": ["string", "null"]}
SCHEMAS = {
    "Video": record(
        id=TEXT,
        object={"const": "video"},
        created_at=INTEGER,
        status={"enum": [*Stage]},
        completed_at=_WHEN,
        error={"anyOf": [{"type": "null"}, record(code=TEXT, message=TEXT)]},
        expires_at=_WHEN,
        model=TEXT,
        progress={"type": "integer", "minimum": 0, "maximum": 100},
        remixed_from_video_id={"type": "null"},
        seconds=TEXT,
        size=TEXT,
        prompt=TEXT,
    ),
    "Error": record(error=record(message=TEXT, type=TEXT, param=_NAME, code=_NAME)),
}
_PAGE = record(
    object={"const": "list"}, data=array_of(ref("Video")), first_id=_NAME, last_id=_NAME, has_more={"type": "boolean"}
)
_DELETED = record(id=TEXT, object={"const": "video.deleted"}, deleted={"const": True})
_ROW = record(id=TEXT, object={"const": "model"}, created=INTEGER, owned_by=TEXT)
_LISTED = {
    "after": TEXT,
    "limit": {"type": "integer", "minimum": 1, "maximum": LIST_MOST, "default": LIST_DEFAULT},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
}
_VARIANT = {"variant": {"enum": [*VARIANTS], "default": VARIANTS[0]}}
ROUTES = (
    Route("POST", "/v1/videos", Call.CREATE, json_of(ref("Video"))),
    Route("GET", "/v1/videos", Call.LIST, json_of(_PAGE), also=(404,), query=_LISTED),
    Route("GET", "/v1/videos/{video_id}", Call.POLL, json_of(ref("Video"))),
    Route("DELETE", "/v1/videos/{video_id}", Call.DELETE, json_of(_DELETED)),
    Route(
        "GET",
        "/v1/videos/{video_id}/content",
        Call.CONTENT,
        {"video/mp4": {}, "image/webp": {}, "image/jpeg": {}},
        query=_VARIANT,
    ),
    Route("GET", "/v1/models", _models, json_of(record(object={"const": "list"}, data=array_of(_ROW)))),
)
