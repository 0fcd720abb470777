"""The OpenAPI document of the sandbox against its real answers: neither has one that the other lacks."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from batchvid.providers.base import form
from batchvid.sandbox import cometapi, openai
from batchvid.sandbox.messages import BODY_MAX_BYTES
from batchvid.sandbox.process import Options, running
from tests.sandbox.test_server import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sandbox.conftest import MakeScene, Picture

RATE_PER_MINUTE = 12
FAULTS = """
- {on: create, prompt: slow, never: true}
- {on: create, prompt: bad, fail: blocked}
"""


@dataclass
class Told:
    """A sandbox that is asked, and what of its document has been seen."""

    base: str
    key: str
    document: dict[str, Any]
    seen: set[tuple[str, str, str]] = field(default_factory=set)

    def ask(
        self, method: str, path: str, body: bytes = b"", /, *, where: str = "", **headers: str
    ) -> tuple[int, bytes]:
        """Send a request with the key, hold its answer against the document, and return status and body.

        *where* is the path as the document has it.
        """
        parts = urlsplit(self.base)
        named = {"Authorization": f"Bearer {self.key}", "Content-Length": str(len(body))}
        named |= {name.replace("_", "-").title(): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)) as connection:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            found = answer.read()
        self._hold(method, where or path.partition("?")[0], answer, found)
        return answer.status, found

    def _hold(self, method: str, where: str, answer: http.client.HTTPResponse, body: bytes) -> None:
        operations = {one: told for one, told in self.document["paths"][where].items() if one != "parameters"}
        status = str(answer.status)
        others = operations.keys() - {"options", "head"}
        meant = others if answer.status == HTTPStatus.METHOD_NOT_ALLOWED else {method.lower()}
        for one in meant:
            told = operations[one]["responses"][status]
            self.seen.add((one, where, status))
            for name, header in told.get("headers", {}).items():
                assert not header["required"] or answer.headers[name], (method, where, status, name)
            if method != "HEAD" and "content" in told:
                kind = answer.headers.get_content_type()
                schema = told["content"][kind].get("schema", True)
                if kind == "application/json":
                    schema = {**schema, "components": self.document["components"]}
                    Draft202012Validator(schema).validate(json.loads(body))
            else:
                assert body == b""

    def create(self, prompt: str, *frames: bytes, **fields: str) -> tuple[int, Any]:
        """Create from a form; return status and decoded answer."""
        made = form(
            [("prompt", prompt), *fields.items()], [("image/png", one) for one in frames], path="", boundary="b"
        )
        status, body = self.ask("POST", "/v1/videos", b"".join(made.body), content_type=made.headers["Content-Type"])
        return status, json.loads(body)

    def about(self, method: str, task_id: str, more: str = "", **headers: str) -> tuple[int, bytes]:
        """Ask about a task."""
        where = f"/v1/videos/{{video_id}}{more.partition('?')[0]}"
        return self.ask(method, f"/v1/videos/{task_id}{more}", where=where, **headers)

    def ended(self, task_id: str) -> str:
        """Poll a task until it has ended, and return its id."""
        words = (b"queued", b"in_progress", b"NOT_START", b"IN_PROGRESS")
        while any(f'"{word.decode()}"'.encode() in self.about("GET", task_id)[1] for word in words):
            pass
        return task_id


@pytest.fixture(params=["cometapi", "openai"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Told]:
    """Return a sandbox with its document."""
    faults = tmp_path / "faults.yaml"
    faults.write_text(FAULTS)
    options = Options(
        provider=request.param, speed=5000.0, clip="tiny", rate_per_minute=RATE_PER_MINUTE, faults_path=faults
    )
    with running(options) as (base, key):
        yield Told(base, key, json.loads(ask(base.removesuffix("/v1") + "/openapi.json")[2]))


def test_every_answer_is_documented_and_every_documented_answer_is_given(told: Told, picture: Picture) -> None:
    """Over all paths and methods, with their statuses, headers, content types and bodies."""
    everywhere(told)
    assert told.create("")[0] == 400
    slow, bad, done = (told.ended(told.create(one)[1]["id"]) if one != "slow" else told.create(one)[1]["id"]
                       for one in ("slow", "bad", "done"))  # fmt: skip
    for task_id in (slow, bad, done, "nobody"):
        for method in ("GET", "HEAD"):
            told.about(method, task_id)
            told.about(method, task_id, "/content")
    assert told.about("GET", done, "/content", range="bytes=0-9")[0] == 206
    assert told.about("GET", done, "/content", range="bytes=99999999-")[0] == 416
    if "get" in told.document["paths"]["/v1/videos"]:
        of_openai(told, slow, done, picture)
    else:
        of_cometapi(told, picture)
    while told.create("A kite.")[0] != 429:
        pass
    documented = {
        (method, where, status)
        for where, methods in told.document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
        for status in operation["responses"]
    }
    assert told.seen == documented


def everywhere(told: Told) -> None:
    """Ask what every path is asked: right, without the key, with a wrong body and with a wrong method."""
    for where, methods in told.document["paths"].items():
        path = where.replace("{video_id}", "nobody")
        for method in methods.keys() - {"parameters", "post"}:
            told.ask(method.upper(), path, where=where)
        for method in methods.keys() - {"parameters"}:
            told.ask(method.upper(), path, where=where, content_length=str(BODY_MAX_BYTES + 1))
            told.ask(method.upper(), path, b"not packed", where=where, content_encoding="gzip")
            if methods[method].get("security") != []:
                assert told.ask(method.upper(), path, where=where, authorization="Bearer sk-other")[0] == 401
        assert told.ask("TRACE", path, where=where)[0] == 405


def of_openai(told: Told, slow: str, done: str, picture: Picture) -> None:
    """Ask what only OpenAI has: lists, deletes, pictures of a clip, and JSON."""
    assert told.create("A kite.", picture("red", size=(720, 1280)))[0] == 200
    for query in ("", "?limit=1&order=asc", "?limit=0", "?after=nobody"):
        for method in ("GET", "HEAD"):
            told.ask(method, f"/v1/videos{query}")
    assert told.about("GET", done, "/content?variant=thumbnail")[0] == 200
    for method in ("GET", "HEAD"):
        assert told.about(method, done, "/content?variant=poster")[0] == 400
    assert told.about("DELETE", slow)[0] == 409
    assert told.about("DELETE", "nobody")[0] == 404
    assert told.about("DELETE", done)[0] == 200


def of_cometapi(told: Told, picture: Picture) -> None:
    """Ask for each model, each of which answers in a form of its own, and for what this service refuses with 5xx."""
    for model in cometapi.MODELS:
        told.ended(told.create("A kite.", picture("red"), model=model)[1]["id"])
    assert told.create("A kite.", size="7x7")[0] == 500
    assert told.create("A kite.", model="sora-9")[0] == 503


@pytest.mark.parametrize("provider", ["cometapi", "openai"])
def test_the_document_needs_no_key_and_is_no_call(make_scene: MakeScene, provider: str) -> None:
    """Whoever looks at it disturbs neither the ledger nor a rule."""
    scene = make_scene(provider=provider)
    reply = scene.send("GET", "/openapi.json", authorization="")
    document = scene.decoded(reply)
    assert (reply.status, document["openapi"]) == (200, "3.1.0")
    assert not any(scene.world.ledger()["requests"].values())
    for schema in schemas(document):
        Draft202012Validator.check_schema(schema)
    ids = [
        told["operationId"]
        for _, methods in document["paths"].items()
        for told in methods.values()
        if "responses" in told
    ]
    assert len(ids) == len(set(ids))


def schemas(node: Any) -> Iterator[Any]:
    """Yield every schema of a document."""
    for name, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if name == "schema":
            yield value
        elif name == "schemas":
            yield from value.values()
        else:
            yield from schemas(value)


def body_schema(scene: Any, kind: str) -> Draft202012Validator:
    """Return what the document says of a create's body."""
    post = scene.world.document()["paths"]["/v1/videos"]["post"]
    return Draft202012Validator(post["requestBody"]["content"][kind]["schema"])


BODIES: list[tuple[dict[str, str], bool]] = [
    ({}, False),
    ({"prompt": "A kite."}, True),
    ({"prompt": "A kite.", "model": "nobody's"}, False),
    ({"prompt": "x" * 20_001}, False),
    ({"prompt": " "}, False),
    ({"prompt": "A kite.", "seed": "7"}, True),
    ({"prompt": "A kite.", "seconds": "5"}, False),
    ({"prompt": "A kite.", "input_reference[image_url]": "data:,"}, False),
    *(({"prompt": "A kite.", "model": model.alias, "size": size}, size in model.sizes)
      for model in cometapi.MODELS.values() for size in (*cometapi.HINTS, *cometapi.PIXELS)),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "is_right"), BODIES)
def test_the_document_and_the_service_agree_about_a_form(
    make_scene: MakeScene, fields: dict[str, str], *, is_right: bool
) -> None:
    """Both take it, or both refuse it."""
    scene = make_scene()
    assert body_schema(scene, "multipart/form-data").is_valid(fields) is is_right
    assert (scene.create(**fields).status == 200) is is_right


OPENAI_BODIES: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"prompt": ""}, False),
    ({"prompt": "A kite."}, True),
    ({"prompt": "A kite.", "seed": "7"}, False),
    ({"prompt": "A kite.", "seconds": 8}, False),
    ({"prompt": "A kite.", "input_reference": "x"}, False),
    ({"prompt": "A kite.", "input_reference": {"file_id": "x"}}, False),
    *(({"prompt": "A kite.", "model": model.alias, "size": size}, size in model.sizes)
      for model in openai.MODELS.values() for size in openai.SIZES),
    ({"prompt": "A kite.", "model": "wan-2.2", "size": "480x832", "seconds": "5"}, True),
    ({"prompt": "A kite.", "model": "wan-2.2", "size": "480p"}, False),
    ({"prompt": "A kite.", "model": "wan-2.2", "seconds": "61"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "is_right"), OPENAI_BODIES)
def test_the_document_and_openai_agree_about_a_body(
    make_scene: MakeScene, fields: dict[str, Any], *, is_right: bool
) -> None:
    """As JSON and as a form, for models of OpenAI's and of a server of one's own."""
    scene = make_scene(provider="openai", models=["wan-2.2"])
    body = json.dumps(fields).encode()
    assert body_schema(scene, "application/json").is_valid(fields) is is_right
    assert (scene.send("POST", "/v1/videos", body, content_type="application/json").status == 200) is is_right
    if "input_reference" not in fields and all(isinstance(value, str) for value in fields.values()):
        assert body_schema(scene, "multipart/form-data").is_valid(fields) is is_right
