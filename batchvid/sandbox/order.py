"""What a create request asks for, or the refusal that the service would answer; only an order is billed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.sandbox.form import FormError, Part, read_form
from batchvid.sandbox.images import picture_type
from batchvid.sandbox.models import DEFAULT_MODEL, LENGTHS_S, MODELS, Model
from batchvid.sandbox.reply import BODY_MAX_BYTES, Reply, flat, nested

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.sandbox.reply import Request

FRAME_FIELD = "input_reference"
PROMPT_MAX_CHARS = 20_000
"""Far above any known limit: it stops only what is no prompt."""


@dataclass(frozen=True, slots=True)
class Order:
    """A valid create request."""

    model: Model
    prompt: str
    fields: Mapping[str, str]
    """Every text field as it was sent."""
    frames: tuple[bytes, ...]
    """First, last."""
    size: str
    seconds: int
    """Of the clip that will be made."""

    @property
    def frame_hashes(self) -> list[str]:
        """Give the SHA-256 of each frame, in the order of the upload."""
        return [hashlib.sha256(frame).hexdigest() for frame in self.frames]

    @property
    def pixels(self) -> tuple[int, int]:
        """Give the width and height of the clip that will be made."""
        return self.model.sizes[self.size]


@dataclass(frozen=True, slots=True)
class Upload:
    """A create request as far as it can be read: its text fields even when the rest is wrong."""

    fields: Mapping[str, str]
    parts: tuple[Part, ...]
    trouble: str | None = None


def read_upload(request: Request) -> Upload:
    """Give the fields of a create request, and what is wrong with its form."""
    try:
        parts = tuple(read_form(request.headers.get("content-type", ""), request.body))
    except FormError as error:
        return Upload({}, (), str(error))
    texts = [part for part in parts if part.filename is None]
    names = [part.name for part in texts]
    fields = {part.name: part.data.decode("utf-8", "replace") for part in texts}
    doubled = next((name for name in names if names.count(name) > 1), None)
    return Upload(fields, parts, f"field {doubled} was sent twice" if doubled else None)


def too_large() -> Reply:
    """Give the answer to a body above `BODY_MAX_BYTES`."""
    return flat(413, "read_request_body_failed", "http: request body too large")


def read_order(  # noqa: PLR0911 a list of refusals
    request: Request, upload: Upload, *, request_id: str
) -> Order | Reply:
    """Give the order, or the refusal with the service's own envelope."""

    def invalid(message: str, *, status: int = 400, code: str = "invalid_request") -> Reply:
        return nested(status, f"{message} (request id: {request_id})", code=code)

    if len(request.body) > BODY_MAX_BYTES:
        return too_large()
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
    frames = tuple(part.data for part in upload.parts if part.filename is not None)
    seconds = 8 if model.contract == 1 else LENGTHS_S[length]
    return Order(model, fields["prompt"], fields, frames, size, seconds)


def _prompt_trouble(fields: Mapping[str, str]) -> str | None:
    prompt = fields.get("prompt", "")
    if not prompt.strip():
        return "prompt is required"
    return "prompt is too long" if len(prompt) > PROMPT_MAX_CHARS else None


def _frames_trouble(upload: Upload, model: Model) -> str | None:  # noqa: PLR0911 a list of refusals
    if FRAME_FIELD in upload.fields:
        return f"{FRAME_FIELD} must be a file"
    files = [part for part in upload.parts if part.filename is not None]
    if stray := next((part.name for part in files if part.name != FRAME_FIELD), None):
        return f"unexpected file field {stray}"
    if len(files) > model.frames_most:
        return f"{model.alias} takes at most {model.frames_most} {FRAME_FIELD}, got {len(files)}"
    for place, part in enumerate(files, 1):
        true_type = picture_type(part.data)
        if not part.filename:
            return f"{FRAME_FIELD} {place} has no file name"
        if true_type is None:
            return f"{FRAME_FIELD} {place} is not a valid image"
        if part.content_type != true_type:
            return f"{FRAME_FIELD} {place} is {true_type} but was sent as {part.content_type}"
    return None
