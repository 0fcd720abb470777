"""What an answer tells of an account's limits, in words and headers; and that it says nothing of what was paid."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.task import Fault, FaultKind, LimitHint, LimitKind, Proof
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.hints import limit_hint
from batchvid.providers.response import LostAt, NoResponse, Response

NOW = 1_800_000_000.0


def refusal(message: str, **headers: str) -> Response:
    """Return a 429 with these words."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(429, named, json.dumps({"error": {"message": message}}).encode())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Too many concurrent tasks, at most 10", LimitKind.ROOM),
        ("You have 5 running videos; wait until one has ended", LimitKind.ROOM),
        ("Maximum number of jobs in progress reached", LimitKind.ROOM),
        ("并发任务过多", LimitKind.ROOM),
        ("Rate limit reached for requests per min (RPM)", LimitKind.RATE),
        ("limit: 30/min", LimitKind.RATE),
        ("too many requests", None),
        ("too many requests at once, see https://example.com/s", None),
        ("", None),
        ("30 per minute and 10 concurrent tasks", None),
    ],
)
def test_the_words_of_a_refusal_name_the_limit_or_do_not(said: str, kind: LimitKind | None) -> None:
    """Where both are named, nobody knows which was met."""
    hint = limit_hint(refusal(said), now=NOW)
    assert (hint.kind if hint else None) is kind


def test_the_words_of_other_answers_name_none() -> None:
    """A prompt that is refused, or a task, may say anything."""
    for status in (200, 400, 503):
        body = b'{"error": {"message": "concurrent per minute in progress"}}'
        assert limit_hint(Response(status, {}, body), now=NOW) is None
    assert limit_hint(NoResponse(LostAt.RESET), now=NOW) is None


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"x-ratelimit-limit-requests": "60"}, LimitHint(per_minute=60.0)),
        (
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"},
            LimitHint(none_left_s=62.5),
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 30)}, LimitHint(none_left_s=30.0)),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "120ms"}, LimitHint(none_left_s=0.12)),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "86400"}, LimitHint(none_left_s=900.0)),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, None),
        ({"ratelimit-policy": '"day";q=5000;w=86400, "minute";q=30;w=60'}, LimitHint(per_minute=30.0)),
        ({"x-ratelimit-limit-requests": "nan"}, None),
        ({"x-ratelimit-limit-requests": "0"}, None),
    ],
)
def test_headers_tell_the_rate_and_when_nothing_is_left(headers: dict[str, str], hint: LimitHint | None) -> None:
    """As OpenAI and the RateLimit fields write them; what is not understood counts as absent."""
    assert limit_hint(Response(200, headers), now=NOW) == hint


@given(
    st.dictionaries(
        st.sampled_from(
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy"]
        ),
        st.text(max_size=30),
    ),
    st.binary(max_size=200),
)
def test_nothing_that_a_service_writes_is_an_error(headers: dict[str, str], body: bytes) -> None:
    """And a wait is never longer than the longest that is obeyed."""
    hint = limit_hint(Response(429, headers, body), now=NOW)
    assert hint is None or hint.none_left_s is None or 0 <= hint.none_left_s <= 900


def test_hints_prove_nothing() -> None:
    """The same answer is a refusal by the same row, whatever it tells of the limits."""
    for said in ("too many requests", "too many concurrent tasks", "30 per minute"):
        found = CometAPI().read_create(refusal(said, x_ratelimit_remaining="0"), now=NOW, frames=(), known=True)
        assert isinstance(found, Fault)
        assert (found.kind, found.proof) == (FaultKind.THROTTLED, Proof.CLEAR)
