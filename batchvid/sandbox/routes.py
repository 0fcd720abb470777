"""Which call a request is: the paths of the service, of its file host, and of the sandbox's own questions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from batchvid.sandbox.models import MODELS
from batchvid.sandbox.reply import Reply, Request, as_json, nested

if TYPE_CHECKING:
    from batchvid.sandbox.world import World

WEBSITE = Reply(200, {"content-type": "text/html; charset=utf-8"}, b"<!DOCTYPE html><title>Sandbox</title>")
"""What a base URL without its /v1 leads to, as at the service: a page, and status 200."""
NO_ROUTE = nested(404, "Invalid URL", kind="invalid_request_error", code="not_found")


def is_create(request: Request) -> bool:
    """Whether it is a paid request."""
    return request.method == "POST" and request.path.strip("/") == "v1/videos"


def answer_api(world: World, request: Request, *, now: float) -> Reply:  # noqa: PLR0911 a table of routes
    """Answer a request to the service."""
    match request.method, [unquote(part) for part in request.path.strip("/").split("/")]:
        case "POST", ["v1", "videos"]:
            return world.create(request, now=now)
        case "GET", ["v1", "videos", task_id]:
            return world.poll(task_id, request, now=now)
        case "GET", ["v1", "videos", task_id, "content"]:
            return world.content(task_id, request, now=now)
        case "GET", ["v1", "models"]:
            return as_json({"object": "list", "data": [{"id": alias, "object": "model"} for alias in MODELS]})
        case "GET", ["api", "models"]:
            return as_json({"data": [_price_row(alias) for alias in MODELS]})
        case "GET", ["_sandbox", "ledger"]:
            return as_json(world.ledger())
        case "GET", ["_sandbox", "health"]:
            return as_json({"ok": True, "tasks": len(world.tasks)})
        case "GET", [top, *_] if top != "v1":
            return WEBSITE
        case _:
            return NO_ROUTE


def answer_files(world: World, request: Request, *, now: float) -> Reply:
    """Answer a request to the host of the clips' URLs."""
    return world.file(request.path, request, now=now) if request.method == "GET" else NO_ROUTE


def _price_row(alias: str) -> dict[str, object]:
    model = MODELS[alias]
    unit = "per_second" if model.per_second else "per_request"
    return {"id": alias, "provider": "sandbox", "pricing": {"currency": "USD", unit: model.usd}}
