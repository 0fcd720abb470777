"""One kept answer: what of it goes into the file, and what comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.task import Created, ProviderName
from batchvid.engine.answers import BODY_KEPT_BYTES, FirstAnswer
from batchvid.providers.response import Response

ANSWER = FirstAnswer(
    at=1_773_297_229.0,
    provider=ProviderName.OPENAI,
    base_url="http://gpu:8000/v1",
    method="POST",
    path="/videos",
    fields=("prompt", "model"),
    took_s=0.25,
    response=Response(200, {"content-type": "application/json"}, b'{"id":"video_123"}'),
    task_id=None,
)


def back(record: dict[str, Any]) -> FirstAnswer:
    """Return what comes back from the file."""
    return FirstAnswer.of(json.loads(json.dumps(record)))


@given(
    status=st.integers(100, 999),
    body=st.binary(max_size=200),
    complete=st.booleans(),
    asked=st.booleans(),
    task_id=st.none() | st.text(max_size=20),
)
def test_what_was_kept_comes_back_whatever_the_body_is(
    status: int, body: bytes, *, complete: bool, asked: bool, task_id: str | None
) -> None:
    """Byte for byte, also where it is no text; and reading it never raises."""
    answer = replace(ANSWER, response=Response(status, {}, body, complete=complete, asked=asked), task_id=task_id)
    found = back(answer.record())
    assert found == answer
    assert found.record() == answer.record()
    found.read()


def test_a_long_body_is_cut_and_says_so() -> None:
    """In the midst of a letter, too."""
    body = json.dumps({"id": "video_123", "clip": "é" * BODY_KEPT_BYTES}, ensure_ascii=False).encode()
    found = back(replace(ANSWER, response=Response(200, {}, body)).record()).response
    assert (found.body, found.complete) == (body[:BODY_KEPT_BYTES], False)
    whole = Response(200, {}, b" " * BODY_KEPT_BYTES)
    assert back(replace(ANSWER, response=whole).record()).response == whole


@pytest.mark.parametrize(
    "name",
    [
        "set-cookie",
        "set-cookie2",
        "www-authenticate",
        "x-api-key",
        "x-auth-user",
        "x-session-id",
        "openai-organization",
    ],
)
def test_headers_that_let_others_in_or_name_the_account_are_left_out(name: str) -> None:
    """What helps to find a request stays."""
    kept = {"content-type": "text/html", "x-request-id": "req_1", "location": "/v1/videos/v", "server": "nginx"}
    record: dict[str, Any] = replace(ANSWER, response=Response(502, kept | {name: "private"}, b"")).record()
    assert record["headers"] == kept


def test_a_refusal_and_a_look_that_found_no_end_give_way() -> None:
    """A wrong key teaches nothing, and what could not be read is kept only until a task is finished; a doubt stays."""
    assert isinstance(ANSWER.read(), Created)
    refused, doubt = (replace(ANSWER, response=Response(status, {}, b"no")) for status in (401, 502))
    assert [one.gives_way for one in (ANSWER, refused, doubt)] == [False, True, False]
    bodies = (b'{"id": "video_123", "status": "completed"}', b'{"id": "video_123", "status": "pondering"}', b"[]")
    looks = [replace(ANSWER, task_id="video_123", response=Response(200, {}, body)) for body in bodies]
    assert [one.gives_way for one in looks] == [False, True, True]


@pytest.mark.parametrize("name", ANSWER.record())
@pytest.mark.parametrize("value", [None, [], {}, "\ud800", True, -1.5, {"a": 1}, [1]])
def test_a_damaged_record_is_a_value_error_or_can_be_read(name: str, value: Any) -> None:
    """Whatever stands in the place of a value, and where one is missing."""
    for record in (ANSWER.record() | {name: value}, {key: one for key, one in ANSWER.record().items() if key != name}):
        try:
            found = FirstAnswer.of(record)
        except ValueError:
            continue
        found.read()
        found.record()
