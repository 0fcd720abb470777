"""What the kept answer of a paid request in doubt shows of the task that it may have made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.doubts import SHOWN_AT_MOST, seen_ids
from batchvid.domain.task import TASK_ID_MAX, usable_id

TASK = "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR"


@pytest.mark.parametrize(
    ("raw", "reason", "ids"),
    [
        (b"", "the connection broke before an answer came", ()),
        (b"", f"HTTP 302: task {TASK} was named", (TASK,)),
        (b"", "HTTP 302: task 'abc==' was named, adopt it", ("abc==",)),
        (b'{"id": "task_1", "object": "vid', "HTTP 200 cut off", ("task_1",)),
        (b'{"error": {"task_id": 1234567}}', "HTTP 502", ("1234567",)),
        (b'{"id": "req-9", "data": {"task_id": "abc:1=="}}', "HTTP 500", ("abc:1==", "req-9")),
        (b'{"id": null, "error": {"message": "no (request id: 2026)"}}', "HTTP 500", ()),
        (b'<a href="https://api.example.com/v1/videos/a%2Fb==/content">Found</a>', "HTTP 303", ("a/b==",)),
        (f"<html>502 for /v1/videos/{TASK}?x=1</html>".encode(), "HTTP 502", (TASK,)),
        (b"<html>502 for /v1/videos</html>", "HTTP 502 of POST /v1/videos", ()),
        (f"upstream said video_abcdef123 of {TASK}".encode(), "HTTP 502", ("video_abcdef123", TASK)),
        (b'\xff\xfe{"id": "\xffx"}', "HTTP 500", ("\ufffdx",)),
    ],
)
def test_ids_are_found_where_answers_hold_them_the_surest_first(raw: bytes, reason: str, ids: tuple[str, ...]) -> None:
    """In JSON, whole or cut off, in links, in words; a request id is none."""
    assert seen_ids(raw, reason) == ids


@given(st.binary(max_size=4096), st.text(max_size=300))
def test_whatever_is_found_could_be_an_id(raw: bytes, reason: str) -> None:
    """Few, usable, and each once: a person is offered them."""
    found = seen_ids(raw, reason)
    assert len(found) == len(set(found)) <= SHOWN_AT_MOST
    assert all(usable_id(one) and len(one) <= TASK_ID_MAX for one in found)


def test_a_page_of_links_costs_no_time_and_shows_few() -> None:
    """What is kept of an answer is 4 KB at most, but a reason may repeat itself."""
    raw = b"".join(b'{"id": "x%d"} /videos/y%d ' % (n, n) for n in range(200))
    assert len(seen_ids(raw, "")) == SHOWN_AT_MOST
