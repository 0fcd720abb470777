"""The routes of a sandbox: requests are answered by them, and the OpenAPI document is made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import unquote

import batchvid
from batchvid.sandbox.faults import Call
from batchvid.sandbox.messages import Refusal, Reply
from batchvid.sandbox.tasks import Stage

Schema: TypeAlias = Mapping[str, Any]
"""A JSON Schema, of the dialect of OpenAPI 3.1."""
TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
FILE: Schema = {"type": "string", "format": "binary"}
"""A file of a form."""
EVERYWHERE = (Refusal.UNREADABLE, Refusal.TOO_LARGE)
REFUSALS: Mapping[Call, Sequence[Refusal]] = {
    Call.CREATE: (Refusal.THROTTLED, Refusal.CROWDED),
    Call.POLL: (Refusal.UNKNOWN,),
    Call.CONTENT: (Refusal.NO_CONTENT, Refusal.UNFINISHED),
    Call.DELETE: (Refusal.UNKNOWN, Refusal.UNDELETABLE),
}
"""Why a request may be refused, besides `EVERYWHERE`, a wrong method and a wrong key."""
PROMISED_HEADERS = ("Allow", "Retry-After")
CLIP_HEADERS = ("Accept-Ranges", "ETag")


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, and what it answers as long as no faults file says otherwise."""

    method: str
    path: str
    """A name in braces stands for the id of a task."""
    does: Call | Callable[[], Any]
    """The call; or what returns a page, which is JSON and needs no task."""
    answers: Mapping[str, Schema]
    """What it answers where all is well, by content type."""
    also: tuple[int, ...] = ()
    """The statuses of the refusals that only this dialect has."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    is_open: bool = False
    """Whether it needs no key."""


class RouteTable:
    """Finds the routes of a path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = routes
        self._methods: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._methods.setdefault(route.path, {})[route.method] = route
        self._paths = [(_parts(path), methods) for path, methods in self._methods.items()]

    def at(self, path: str) -> tuple[Mapping[str, Route], str]:
        """Return the routes of a path by their methods, none for an unknown one, and the task that it names."""
        asked = [unquote(part) for part in _parts(path)]
        for parts, methods in self._paths:
            if len(parts) == len(asked) and all(
                part == one or part.startswith("{") for part, one in zip(parts, asked, strict=True)
            ):
                return methods, next((one for part, one in zip(parts, asked, strict=True) if part.startswith("{")), "")
        return {}, ""


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def allowed(methods: Mapping[str, Route]) -> str:
    """Return the ``Allow`` header of a path; what can be got has a head too (RFC 9110 §9.1, §10.2.1)."""
    return ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))


# ---- the document


def json_of(schema: Schema) -> Mapping[str, Schema]:
    """Return what a route answers, where that is JSON."""
    return {"application/json": schema}


def ref(name: str) -> Schema:
    """Return a reference to one of the document's own schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(optional: Mapping[str, Schema] | None = None, /, **required: Schema) -> Schema:
    """Return the schema of an object that has these fields and no other."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": [*required],
        "additionalProperties": False,
    }


def array_of(items: Schema) -> Schema:
    """Return the schema of a list of such items."""
    return {"type": "array", "items": items}


def order_of(
    properties: Mapping[str, Schema], kinds: Sequence[Schema], *, default: str, others: Schema | bool = False
) -> Schema:
    """Return the schema of a create's body: its fields, and what `kind_of` says of them for some models."""
    models = [name for kind in kinds for name in kind["properties"]["model"]["enum"]]
    return {
        "type": "object",
        "properties": {"model": {"enum": models, "default": default}, **properties},
        "required": ["prompt"],
        "additionalProperties": others,
        "anyOf": [*kinds],
    }


def kind_of(models: Sequence[str], *, default: str, **properties: Schema) -> Schema:
    """Return what a body has for these models; it may leave out only the *default* one."""
    found: Schema = {"properties": {"model": {"enum": [*models]}, **properties}}
    return found if default in models else {**found, "required": ["model"]}


def form_of(schema: Schema, **files: Sequence[str]) -> Mapping[str, Any]:
    """Return the form of a create, with the content types that its files may have."""
    return {"schema": schema, "encoding": {name: {"contentType": ", ".join(types)} for name, types in files.items()}}


def document(
    routes: Sequence[Route],
    refusal: Callable[[Refusal, str], Reply],
    *,
    title: str,
    schemas: Mapping[str, Schema],
    bodies: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the document. *bodies* are a create's, by content type; the schema ``Error`` is each refusal's."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        told = _operation(route, refusal)
        if route.does is Call.CREATE:
            told["requestBody"] = {"required": True, "content": dict(bodies)}
            told["responses"]["200"]["links"] = _links(routes)
        if route.path not in paths:
            named = [_parameter("path", name, TEXT, required=True) for name in re.findall(r"{(\w+)}", route.path)]
            paths[route.path] = {"parameters": named, "options": _options(route.path, refusal)}
        item = paths[route.path]
        item[route.method.lower()] = told
        if route.method == "GET":
            item["head"] = _head(told)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": batchvid.__version__},
        "paths": paths,
        "components": {
            "schemas": dict(schemas),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(route: Route, refusal: Callable[[Refusal, str], Reply]) -> dict[str, Any]:
    call = route.does if isinstance(route.does, Call) else None
    ranged = call is Call.CONTENT
    headers = ("Range", "If-Range") if ranged else ()
    parameters = [_parameter("query", name, schema) for name, schema in route.query.items()]
    responses = {status: _response(status, route.answers) for status in (200, *((206, 416) if ranged else ()))}
    for status in responses if ranged else ():
        responses[status]["headers"] = _headers(*CLIP_HEADERS, *(["Content-Range"] if status != 200 else []))
    responses |= {status: _response(status, json_of(ref("Error"))) for status in route.also}
    reasons = [*EVERYWHERE, Refusal.WRONG_METHOD, *(REFUSALS.get(call, ()) if call else ())]
    responses |= _refusals([*reasons, *([] if route.is_open else [Refusal.UNAUTHORIZED])], refusal)
    found = {
        "operationId": call.value if call else route.path.strip("/"),
        "parameters": [*parameters, *(_parameter("header", name, TEXT) for name in headers)],
        "responses": {str(status): told for status, told in sorted(responses.items())},
    }
    return {**found, "security": []} if route.is_open else found


def _refusals(reasons: Sequence[Refusal], refusal: Callable[[Refusal, str], Reply]) -> dict[int, dict[str, Any]]:
    """Return the responses of these refusals, by their status."""
    found: dict[int, dict[str, Any]] = {}
    for why in reasons:
        # A refusal may tell the stage of a task; the document needs only the status and the names of the headers.
        reply = refusal(why, Stage.QUEUED)
        told = found.setdefault(reply.status, _response(reply.status, json_of(ref("Error"))))
        names = [name.title() for name in reply.headers if name != "content-type"]
        names += ["Allow"] if why is Refusal.WRONG_METHOD else []
        if names:
            told.setdefault("headers", {}).update(_headers(*names))
    return found


def _head(got: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``HEAD`` does, where *got* is what ``GET`` does: the same without a body, and never a part."""
    responses = {
        status: {name: told for name, told in response.items() if name != "content"}
        for status, response in got["responses"].items()
        if status not in {"206", "405", "416"}
    }
    return {**got, "operationId": f"{got['operationId']} head", "responses": responses}


def _options(path: str, refusal: Callable[[Refusal, str], Reply]) -> dict[str, Any]:
    found = {204: {"description": "the methods of this path", "headers": _headers("Allow")}}
    found |= _refusals(EVERYWHERE, refusal)
    responses = {str(status): told for status, told in found.items()}
    return {"operationId": f"{path.strip('/')} options", "responses": responses, "security": []}


def _links(routes: Sequence[Route]) -> dict[str, Any]:
    """Return how an answer to a create leads to the calls about its task."""
    return {
        route.does.value: {
            "operationId": route.does.value,
            "parameters": dict.fromkeys(re.findall(r"{(\w+)}", route.path), "$response.body#/id"),
        }
        for route in routes
        if isinstance(route.does, Call) and "{" in route.path
    }


def _response(status: int, answers: Mapping[str, Schema]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": _content(answers)}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"schema": TEXT, "required": name in PROMISED_HEADERS} for name in names}


def _content(by_type: Mapping[str, Schema]) -> dict[str, Any]:
    return {kind: {"schema": schema} if schema else {} for kind, schema in by_type.items()}


def _parameter(where: str, name: str, schema: Schema, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema}
