"""Any body becomes a value, and the error envelopes of the service and its gateways are all understood."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.secrecy import KEY_WAS_HERE, secret_of
from batchvid.providers.response import (
    RETRY_AFTER_MAX_S,
    Envelope,
    LostAt,
    NoResponse,
    Response,
    envelope,
    request_id,
    retry_after_s,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 784_111_777.0
"""1994-11-06 08:49:37 UTC, the moment of RFC 9110's examples."""


@pytest.fixture
def in_tokyo() -> Iterator[None]:
    """Let the local time zone be nine hours away from UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"id": 1}', {"id": 1}),
        (b'\xef\xbb\xbf{"id": 1}', {"id": 1}),
        (b'{"progress": NaN, "a": Infinity, "b": -Infinity}', {"progress": None, "a": None, "b": None}),
        (b'{"id": "caf\xe9"}', {"id": "caf�"}),
        (b"", None),
        (b"<html>", None),
        (b'{"id": "task_', None),
        (b"[" * 100_000 + b"]" * 100_000, None),
        (b'{"n": ' + b"9" * 5000 + b"}", None),
        (b'{"a":\xff\xfe}', None),
        ('{"id": "ü"}'.encode("utf-16"), None),
    ],
)
def test_a_body_is_json_or_nothing(body: bytes, value: Any) -> None:
    """BOM, NaN and bad bytes are tolerated; what cannot be read is ``None``, never an exception."""
    assert Response(200, {}, body).json() == value


def test_a_cut_off_body_is_nothing_even_when_it_parses() -> None:
    """Half an answer may look like a whole one: ``[1]`` of ``[1][2]``; it is not read."""
    assert Response(200, {}, b'{"id": "task_1"}', complete=False).json() is None


@given(st.binary(max_size=300), st.booleans())
def test_reading_a_body_never_raises(body: bytes, complete: bool) -> None:  # noqa: FBT001 hypothesis gives values by place
    """Any bytes become a value and an excerpt that is harmless to show."""
    answer = Response(200, {}, body, complete=complete)
    answer.json()
    assert len(answer.excerpt()) <= 200
    assert answer.excerpt().isprintable()


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {"error": {"code": "", "message": "m", "type": "Comet_api_error"}},
            Envelope("", "m", nested=True, kind="comet_api_error"),
        ),
        ({"error": {"code": "Invalid_Request", "message": "m"}}, Envelope("invalid_request", "m", nested=True)),
        ({"error": {"code": None, "message": "m"}}, Envelope("", "m", nested=True)),
        ({"error": {"code": 429, "message": "m"}}, Envelope("429", "m", nested=True)),
        ({"error": {"type": "x"}}, Envelope("", '{"type": "x"}', nested=True, kind="x")),
        ({"error": {"message": ["a", 1]}}, Envelope("", '["a", 1]', nested=True)),
        ({"error": "boom"}, Envelope("", "boom", nested=True)),
        ({"error": "boom", "code": "c"}, Envelope("c", "boom", nested=True)),
        ({"code": None, "message": "user quota is not enough"}, Envelope("", "user quota is not enough", nested=False)),
        ({"code": "task_not_exist", "message": "m"}, Envelope("task_not_exist", "m", nested=False)),
        ({"code": 1002, "msg": "m"}, Envelope("1002", "m", nested=False)),
        ({"detail": "Not Found"}, Envelope("", "Not Found", nested=False)),
        ({"detail": [{"loc": ["body"]}]}, Envelope("", '[{"loc": ["body"]}]', nested=False)),
        ({"success": False, "message": "no"}, Envelope("", "no", nested=False)),
        ({"message": "余额不足"}, Envelope("", "余额不足", nested=False)),
        ({"error": {}}, None),
        ({"error": None, "id": "x"}, None),
        ({"error": ""}, None),
        ({"error": False}, None),
        ({"code": "success", "message": "", "data": {}}, None),
        ({"code": "SUCCESS", "message": ""}, None),
        ({"success": True}, None),
        ({}, None),
        ([], None),
        ("text", None),
        (None, None),
        (7, None),
    ],
)
def test_an_error_envelope_is_found_in_all_its_shapes(payload: Any, expected: Envelope | None) -> None:
    """Nested, flat, ``detail``, ``success: false``; a code may be null, empty, a number, or in capitals."""
    assert envelope(payload) == expected


def test_a_providers_json_inside_the_message_is_looked_into() -> None:
    """``fail_to_fetch_task`` wraps what the provider said as a string."""
    inner = json.dumps({"error": {"code": "model_not_found", "message": "no such model"}})
    found = envelope({"code": "fail_to_fetch_task", "message": inner})
    assert found == Envelope("model_not_found", "no such model", nested=True)


def test_a_message_that_only_looks_like_json_stays_a_message() -> None:
    """A brace at the beginning is no envelope."""
    found = envelope({"code": "fail_to_fetch_task", "message": "{oops"})
    assert found == Envelope("fail_to_fetch_task", "{oops", nested=False)


def test_a_hostile_code_can_be_shown_and_stored() -> None:
    """Terminal escapes and half surrogates in a code go no further than here: it ends up in reasons and in SQLite."""
    found = envelope(json.loads('{"error": {"code": "\\u001b[31m\\ud800bad\\n"}}'))
    assert found is not None
    assert found.code == "bad"


def test_errors_at_any_depth_are_read_or_left() -> None:
    """Where decoding a deep body just succeeds, showing it does not fail."""
    for depth in range(700, 1100, 3):
        for shape in ('{"error": {"message": %s}}', '{"detail": %s}', '{"error": {"x": %s}}'):
            envelope(Response(500, {}, (shape % ("[" * depth + "]" * depth)).encode()).json())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("model name is required (request id: 2026031206334985)", "2026031206334985"),
        ("模型不可用 (request id: B20-1:x.y_z)", "B20-1:x.y_z"),
        ("(request id: )", None),
        ("request id: 5", None),
        ("", None),
    ],
)
def test_the_request_id_is_taken_from_the_message(message: str, expected: str | None) -> None:
    """Support asks for it, and it stands nowhere else."""
    assert request_id(message) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "1e9"}, RETRY_AFTER_MAX_S),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}, 60.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:50:37 GMT"}, 60.0),
        ({"retry-after": "Sun Nov  6 08:50:37 1994"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 -0000"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 2094 08:00:00 GMT"}, RETRY_AFTER_MAX_S),
        ({"retry-after": "Sun, 99 Nov 1994 08:00:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "30"}, 1.5),
        ({"retry-after-ms": "nan", "retry-after": "30"}, 30.0),
        ({"retry-after-ms": "", "retry-after": "30"}, 30.0),
    ],
)
def test_the_wait_that_the_service_asks_for_is_read_and_clamped(
    headers: dict[str, str], expected: float | None, in_tokyo: None
) -> None:
    """Seconds, milliseconds and all three date forms of RFC 9110 §5.6.7, in UTC wherever the run takes place."""
    assert retry_after_s(headers, now=NOW) == expected


@given(st.text(max_size=40), st.text(max_size=40), st.floats(0, 4e9))
def test_any_retry_after_is_within_bounds(seconds: str, millis: str, now: float) -> None:
    """No header keeps a run waiting for longer than 15 minutes, or makes it fail."""
    wait_s = retry_after_s({"retry-after": seconds, "retry-after-ms": millis}, now=now)
    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_MAX_S


def test_only_what_never_left_counts_as_before_sending() -> None:
    """A time-out or a reset after the request had begun to leave may have been paid for."""
    assert {lost for lost in LostAt if not lost.before_sending} == {LostAt.SILENT, LostAt.RESET, LostAt.GARBLED}


def test_a_lost_request_says_where_it_was_lost() -> None:
    """The system's own words are shown, clean."""
    assert str(NoResponse(LostAt.DNS)) == "the host name could not be resolved"
    assert (
        str(NoResponse(LostAt.RESET, "Broken\x1b[2J pipe")) == "the connection broke before an answer came: Broken pipe"
    )


SECRET = "sk-a/b+c=d"


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        f"Bearer {SECRET}",
        urllib.parse.quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"Bearer {SECRET}".encode()).decode(),
    ],
)
def test_an_answer_that_repeats_the_key_goes_on_without_it(echo: str) -> None:
    """In the body or in a header, as it is or encoded; the rest stays, and so does the JSON."""
    body = json.dumps({"error": {"message": f"invalid token {echo}, sorry", "code": "x"}}).encode()
    answer = Response(401, {"location": f"https://host/?k={echo}", "via": "me"}, body).without(secret_of(SECRET))
    assert echo.rstrip("=") not in answer.body.decode() + answer.headers["location"]
    error = envelope(answer.json())
    assert error is not None
    assert KEY_WAS_HERE in error.message
    assert error.message.endswith(", sorry")
    assert answer.headers["via"] == "me"


def test_an_answer_without_the_key_is_left_as_it_is() -> None:
    """Which is every answer of a service that is in order."""
    answer = Response(200, {"via": "me"}, b"{}")
    assert answer.without(secret_of(SECRET)) is answer
    assert answer.without(secret_of("")) is answer


@pytest.mark.parametrize(
    ("code", "kind", "is_named"),
    [
        ("slow_down", "x", True),
        ("", "slow_down", True),
        ("400", "slow_down", True),
        ("content_policy", "slow_down", False),
        ("", "x", False),
    ],
)
def test_the_type_of_an_error_counts_where_its_code_says_nothing(
    code: str,
    kind: str,
    is_named: bool,  # noqa: FBT001 a table
) -> None:
    """What a code refuses for good must not be sent again and again for a type that says "too fast"."""
    assert Envelope(code, "m", nested=True, kind=kind).names({"slow_down"}) is is_named
