"""How a download goes on: bytes of two clips are never joined, and an error page is no clip."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.task import FaultKind
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.response import Response
from batchvid.storage.download import (
    CLIP_MAX_BYTES,
    DRAINING_S,
    LONGEST_S,
    SLOWEST_BYTES_PER_S,
    SPEED_WINDOW_S,
    Body,
    Held,
    Reading,
    out_of_time,
    read_beginning,
    read_headers,
    request_headers,
    too_large,
    too_slow,
)

HELD = Held(1000, '"v1"')
NOTHING = Held()
NOW = 784_111_777.0


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (NOTHING, {}),
        (Held(1000, None), {}),
        (Held(0, '"v1"'), {}),
        (HELD, {"Range": "bytes=1000-", "If-Range": '"v1"'}),
    ],
)
def test_the_rest_is_asked_for_only_with_a_proof_that_it_belongs_to_what_is_held(
    held: Held, expected: dict[str, str]
) -> None:
    """Without a validator the whole clip is asked for."""
    assert request_headers(held) == expected


@pytest.mark.parametrize(
    ("status", "headers", "held", "expected"),
    [
        # the whole clip
        (200, {"content-length": "5000", "etag": '"v1"'}, NOTHING, Reading(Body.FROM_ZERO, 5000, '"v1"')),
        (200, {"content-length": "5000", "etag": '"v1"'}, HELD, Reading(Body.FROM_ZERO, 5000, '"v1"')),
        (200, {}, HELD, Reading(Body.FROM_ZERO, None, None)),
        (200, {"etag": 'W/"v1"', "last-modified": "D"}, NOTHING, Reading(Body.FROM_ZERO, None, "D")),
        (200, {"etag": 'W/"v1"'}, NOTHING, Reading(Body.FROM_ZERO, None, None)),
        (200, {"content-length": "-5"}, NOTHING, Reading(Body.FROM_ZERO, None, None)),
        (200, {"content-length": "5, 5"}, NOTHING, Reading(Body.FROM_ZERO, None, None)),
        (200, {"content-length": "\u0665"}, NOTHING, Reading(Body.FROM_ZERO, None, None)),
        (200, {"content-length": "9" * 5000}, NOTHING, Reading(Body.FROM_ZERO, None, None)),
        # the rest of it
        (206, {"content-range": "bytes 1000-4999/5000", "etag": '"v1"'}, HELD, Reading(Body.APPEND, 5000, '"v1"')),
        (206, {"content-range": "bytes 1000-4999/5000"}, HELD, Reading(Body.APPEND, 5000, '"v1"')),
        (206, {"content-range": "bytes 1000-1999/5000"}, HELD, Reading(Body.APPEND, 5000, '"v1"')),
        (206, {"content-range": "bytes 1000-4999/*"}, HELD, Reading(Body.APPEND, None, '"v1"')),
        # F38, F40: not the rest of it
        (206, {"content-range": "bytes 999-4999/5000"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "bytes 0-4999/5000"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "bytes 1000-999/5000"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "bytes 1000-4999/2000"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "bytes */5000"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "items 1000-4999/5000"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "bytes 1000-4999/5000 x"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "bytes 1000-4999/5000", "etag": '"v2"'}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-type": "multipart/byteranges; boundary=x"}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {}, HELD, Reading(Body.ASK_AGAIN)),
        (206, {"content-range": "bytes 0-4999/5000"}, NOTHING, Reading(Body.ASK_AGAIN)),
        # F39: a part file that is no use any more
        (416, {"content-range": "bytes */500"}, HELD, Reading(Body.ASK_AGAIN)),
        (416, {}, NOTHING, Reading(Body.ASK_AGAIN)),
    ],
)
def test_an_answer_says_what_may_be_done_with_its_body(
    status: int, headers: dict[str, str], held: Held, expected: Reading
) -> None:
    """A range that was ignored begins from zero; one that does not fit exactly is not appended."""
    assert read_headers(status, headers, held) == expected


@pytest.mark.parametrize("status", [201, 204, 301, 304, 400, 403, 404, 500])
def test_every_other_status_is_an_error(status: int) -> None:
    """Only 200, 206 and 416 speak of a body that is a clip."""
    assert read_headers(status, {"content-range": "bytes 1000-4999/5000"}, HELD) is None


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["content-range", "content-length", "etag", "last-modified"]),
        st.text(max_size=40) | st.from_regex(r"\Abytes \d{1,6}-\d{1,6}/(\d{1,6}|\*)\Z"),
    ),
    st.builds(Held, st.integers(0, 2000), st.none() | st.just('"v1"')),
)
def test_nothing_is_appended_but_the_bytes_that_follow(status: int, headers: dict[str, str], held: Held) -> None:
    """Whatever headers come: to append takes a 206 whose range begins exactly at the end of what is held."""
    reading = read_headers(status, headers, held)
    if reading is not None and reading.body is Body.APPEND:
        assert status == 206
        assert held.offset_bytes > 0
        first, last = headers["content-range"].strip().removeprefix("bytes ").split("/")[0].split("-")
        assert int(first) == held.offset_bytes <= int(last)
        assert reading.total_bytes is None or reading.total_bytes > int(last)


def answer(status: int, body: Any = b"", **headers: str) -> Response:
    """Return an error that came in place of a clip."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (answer(403, b"<Error>Request has expired</Error>"), FaultKind.EXPIRED),
        (answer(404), FaultKind.EXPIRED),
        (answer(410), FaultKind.EXPIRED),
        (
            answer(502, {"error": {"message": "Upstream service returned status 403", "type": "server_error"}}),
            FaultKind.EXPIRED,
        ),
        (
            answer(400, {"error": {"message": "Task is not completed yet, …", "type": "invalid_request_error"}}),
            FaultKind.NOT_READY,
        ),
        (answer(401, {"error": {"message": "invalid token"}}), FaultKind.ACCOUNT),
        (answer(429), FaultKind.THROTTLED),
        (answer(500, b"<html>"), FaultKind.UNAVAILABLE),
        (answer(502, b"<html>bad gateway</html>"), FaultKind.UNAVAILABLE),
        (answer(503), FaultKind.UNAVAILABLE),
        (answer(504), FaultKind.UNAVAILABLE),
        (answer(400, b"<html>"), FaultKind.UNAVAILABLE),
        (answer(302), FaultKind.UNAVAILABLE),
    ],
)
def test_an_error_in_place_of_a_clip_gets_its_meaning(refusal: Response, kind: FaultKind) -> None:
    """F35 and rows 10 to 12 of the service's errors: expired, too early, gone upstream, or down."""
    fault = CometAPI().read_refused_download(refusal, now=NOW)
    assert fault.kind is kind
    assert fault.reason.startswith(f"HTTP {refusal.status}: ")


def test_a_refusal_carries_the_wait_that_was_asked_for() -> None:
    """Of a throttled and of an absent host."""
    assert CometAPI().read_refused_download(answer(429, retry_after="7"), now=NOW).retry_after_s == 7.0
    assert CometAPI().read_refused_download(answer(503, retry_after="7"), now=NOW).retry_after_s == 7.0


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_refusal_makes_reading_it_fail(status: int, body: bytes) -> None:
    """Whatever stands in place of a clip can be told."""
    fault = CometAPI().read_refused_download(Response(status, {}, body), now=NOW)
    assert fault.reason.isprintable()
    assert len(fault.reason) < 400


@pytest.mark.parametrize(
    "first",
    [
        b"\x00\x00\x00\x20ftypisom",
        b"\x00\x00\x00\x08free\x00\x00\x00\x18ftyp",
        b"",
        b"\x00",
        b"\x20\x00\x00\x20ftypisom",
        b"<\x00\x00\x20ftypisom",
    ],
)
def test_a_body_that_may_be_a_clip_is_taken(first: bytes) -> None:
    """What is wrong with it, the walk through its boxes finds."""
    assert read_beginning(first, partial(Response, 200, {}), partial(CometAPI().read_refused_download, now=NOW)) is None


@pytest.mark.parametrize(
    ("first", "kind", "words"),
    [
        (b"<html>\x1b[2J<h1>Not found</h1>", FaultKind.BROKEN, "a web page: <html><h1>Not found"),
        (b"\n  <!DOCTYPE html>", FaultKind.BROKEN, "a web page"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", FaultKind.BROKEN, "a web page"),
        (b'{"error": {"message": "no such file"}}', FaultKind.BROKEN, "JSON"),
        (b'[{"a": 1}]', FaultKind.BROKEN, "JSON"),
        (b'{"cut o', FaultKind.BROKEN, "JSON"),
        (b'{"error": {"message": "Task is not completed yet, status: queued"}}', FaultKind.NOT_READY, "not completed"),
    ],
)
def test_an_error_page_with_status_200_is_caught_and_quoted_clean(first: bytes, kind: FaultKind, words: str) -> None:
    """F43: HTML or JSON as ``video/mp4``."""
    fault = read_beginning(first, partial(Response, 200, {}), partial(CometAPI().read_refused_download, now=NOW))
    assert fault is not None
    assert fault.kind is kind
    assert words in fault.reason
    assert fault.reason.isprintable()


@pytest.mark.parametrize(
    ("in_s", "draining_s", "ends"),
    [
        (0.0, None, False),
        (LONGEST_S - 1, None, False),
        (LONGEST_S, None, True),
        (0.0, 0.0, False),
        (5.0, DRAINING_S - 1, False),
        (5.0, DRAINING_S, True),
        (LONGEST_S, 1.0, True),
    ],
)
def test_no_transfer_lasts_for_ever(in_s: float, draining_s: float | None, *, ends: bool) -> None:
    """Half an hour, or a minute after the run was told to stop, whatever it brings."""
    assert (out_of_time(in_s=in_s, draining_s=draining_s) is not None) is ends


def test_a_trickle_is_given_up_and_a_slow_line_is_not() -> None:
    """F47: judged over a window, so that a short stall is no reason."""
    enough = int(SLOWEST_BYTES_PER_S * SPEED_WINDOW_S)
    assert not too_slow(0, in_s=SPEED_WINDOW_S - 0.1)
    assert too_slow(enough - 1, in_s=SPEED_WINDOW_S)
    assert not too_slow(enough, in_s=SPEED_WINDOW_S)
    assert too_slow(enough, in_s=2 * SPEED_WINDOW_S)


def test_a_body_larger_than_any_clip_is_refused_by_what_it_announces() -> None:
    """F45: before a byte of it is taken; a length that nobody announced is judged as it grows."""
    assert too_large(None) is None
    assert too_large(CLIP_MAX_BYTES) is None
    fault = too_large(CLIP_MAX_BYTES + 1)
    assert fault is not None
    assert fault.kind is FaultKind.BROKEN
    assert "more than 4 GiB" in fault.reason
