"""After a paid POST: was something created? Every shape of answer gets the one verdict that never pays twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.core.answer import RAW_KEPT_BYTES, Answer, Lost, NoAnswer
from batchvid.core.fault import Fault, FaultKind
from batchvid.core.job import Frame
from batchvid.core.wire import Created, content_path, create_path, read_create, task_path, usable_id

NOW = 784_111_777.0
HTML = b"<html><h1>502 Bad Gateway</h1></html>"
DOCUMENTED = {
    "created_at": 1773297229,
    "id": "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR",
    "model": "veo_3_1-4K",
    "object": "video",
    "progress": 0,
    "seconds": "",
    "size": "16x9",
    "status": "queued",
}


def nested(code: Any = "", message: str = "boom (request id: R1)", **more: Any) -> bytes:
    """Give the service's error envelope."""
    return json.dumps({"error": {"code": code, "message": message, "type": "comet_api_error", **more}}).encode()


def flat(code: Any, message: str = "boom") -> bytes:
    """Give the flat form of an error."""
    return json.dumps({"code": code, "message": message}).encode()


def read(status: int, body: bytes, headers: dict[str, str] | None = None, *, complete: bool = True) -> Created | Fault:
    """Read the answer to a create."""
    return read_create(Answer(status, headers or {}, body, complete), now=NOW)


@pytest.mark.parametrize(
    ("payload", "task_id", "model"),
    [
        (DOCUMENTED, "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR", "veo_3_1-4K"),
        (DOCUMENTED | {"task_id": DOCUMENTED["id"]}, "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR", "veo_3_1-4K"),
        ({"id": "video_1"}, "video_1", None),
        ({"task_id": "task_1", "model": ""}, "task_1", None),
        ({"id": None, "task_id": "task_1"}, "task_1", None),
        ({"id": 12345, "task_id": "task_1"}, "task_1", None),
        ({"id": "dGFzaw==", "status": "unknown"}, "dGFzaw==", None),
        ({"id": "models/veo:generate/1?x#y"}, "models/veo:generate/1?x#y", None),
        ({"id": "a/../b"}, "a/../b", None),
        ({"id": "任务"}, "任务", None),
        ({"id": "task_1", "status": "failed", "error": {"message": "m"}}, "task_1", None),
        ({"code": "success", "message": "", "data": {"task_id": "task_1", "model": "m"}}, "task_1", "m"),
        ({"code": "success", "data": [{"id": "task_1"}]}, "task_1", None),
        ({"task_id": "task_1", "data": None}, "task_1", None),
        ({"task_id": "task_1", "data": {"progress": "0%"}}, "task_1", None),
        ({"code": "success", "message": "", "task_id": "task_1", "data": ""}, "task_1", None),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_named_task_was_created(status: int, payload: dict[str, Any], task_id: str, model: str | None) -> None:
    """Either id field will do, wrapped or not; the id is kept as it is, and the resolved model with it."""
    assert read(status, json.dumps(payload).encode()) == Created(task_id, model)


def test_a_bom_does_not_hide_a_paid_task() -> None:
    """Some gateways put one in front of their JSON."""
    assert read(200, b"\xef\xbb\xbf" + json.dumps(DOCUMENTED).encode()) == Created(str(DOCUMENTED["id"]), "veo_3_1-4K")


def test_bytes_that_are_no_utf8_elsewhere_do_not_hide_a_paid_task() -> None:
    """Only the id must be readable."""
    assert read(200, b'{"id": "task_1", "prompt": "caf\xe9"}') == Created("task_1", None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"task_1"',
        HTML,
        b"{}",
        b'{"id": ""}',
        b'{"id": 12345}',
        b'{"id": null}',
        b'{"id": ["task_1"]}',
        b'{"id": {"id": "task_1"}}',
        b'{"id": true}',
        b'{"id": NaN}',
        b'{"id": "."}',
        b'{"id": ".."}',
        b'{"id": " . "}',
        b'{"id": "task\\n1"}',
        b'{"id": "task\\r\\nX-Header: 1"}',
        b'{"id": "task\\u0000"}',
        b'{"id": "task\\u001b[31m"}',
        b'{"id": "\\ud800"}',
        b'{"id": "\\u202etask"}',
        b'{"id": "' + b"x" * 513 + b'"}',
        b'{"id": "' + b"x" * 3_000_000 + b'"}',
        b'{"id": "task_',
        b"[" * 1000 + b"]" * 1000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b'{"code": "success", "message": "", "data": null}',
        b'{"code": "success", "data": "soon"}',
        nested("invalid_request"),
        nested("insufficient_user_quota"),
        flat(None, "user quota is not enough"),
        b"\xff\xfe{\x00}\x00",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_2xx_that_names_no_usable_task_is_in_doubt(body: bytes) -> None:
    """The service said yes: whatever is wrong with the rest, money may be gone, and the raw bytes are kept."""
    fault = read(200, body)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSURE
    assert fault.raw == body[:RAW_KEPT_BYTES]
    assert fault.reason.isprintable()


def test_a_cut_off_2xx_is_in_doubt_even_when_it_parses() -> None:
    """An id that was cut short would be another task's, or nobody's."""
    fault = read(200, b'{"id": "task_1"}', complete=False)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.raw) == (FaultKind.UNSURE, b'{"id": "task_1"}')
    assert "cut off" in fault.reason


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # wire.md section 5, row by row
        (400, nested("", "model name is required (request id: R1)"), FaultKind.REJECTED),
        (500, nested("invalid_request", param=""), FaultKind.REJECTED),
        (401, nested("", "invalid token"), FaultKind.ACCOUNT),
        (401, b"", FaultKind.ACCOUNT),
        (401, HTML, FaultKind.ACCOUNT),
        (402, nested(), FaultKind.ACCOUNT),
        (403, flat(None, "user quota is not enough"), FaultKind.ACCOUNT),
        (403, flat("insufficient_user_quota"), FaultKind.ACCOUNT),
        (403, flat("pre_consume_token_quota_failed"), FaultKind.ACCOUNT),
        (403, nested("insufficient_user_quota"), FaultKind.ACCOUNT),
        (403, nested("pre_consume_token_quota_failed"), FaultKind.ACCOUNT),
        (500, nested("insufficient_user_quota"), FaultKind.ACCOUNT),
        (403, nested(), FaultKind.REJECTED),
        (403, nested(None), FaultKind.REJECTED),
        (403, flat("ip_not_allowed"), FaultKind.REJECTED),
        (503, nested("model_not_found", "no available channel for group default"), FaultKind.NO_CHANNEL),
        (404, nested("model_not_found"), FaultKind.NO_CHANNEL),
        (503, nested("MODEL_NOT_FOUND", "无可用渠道"), FaultKind.NO_CHANNEL),
        (429, nested(), FaultKind.THROTTLED),
        (429, flat(429), FaultKind.THROTTLED),
        (429, b"", FaultKind.THROTTLED),
        (429, HTML, FaultKind.THROTTLED),
        (500, nested(), FaultKind.UNAVAILABLE),
        (500, nested(0), FaultKind.UNAVAILABLE),
        (502, flat(502), FaultKind.UNAVAILABLE),
        (503, b'{"detail": "overloaded"}', FaultKind.UNAVAILABLE),
        (503, b'{"success": false, "message": "busy"}', FaultKind.UNAVAILABLE),
        (503, b'{"error": "busy"}', FaultKind.UNAVAILABLE),
        (413, flat("read_request_body_failed"), FaultKind.REJECTED),
        (413, HTML, FaultKind.REJECTED),
        (413, b"", FaultKind.REJECTED),
        (422, b'{"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]}', FaultKind.REJECTED),
        (301, b"", FaultKind.MISCONFIGURED),
        (302, json.dumps(DOCUMENTED).encode(), FaultKind.MISCONFIGURED),
        (307, HTML, FaultKind.MISCONFIGURED),
        (308, nested(), FaultKind.MISCONFIGURED),
        (404, HTML, FaultKind.MISCONFIGURED),
        (404, nested(), FaultKind.MISCONFIGURED),
        (405, b"", FaultKind.MISCONFIGURED),
        # outcome unknown
        (500, HTML, FaultKind.UNSURE),
        (500, b"", FaultKind.UNSURE),
        (502, HTML, FaultKind.UNSURE),
        (503, b"", FaultKind.UNSURE),
        (503, b'{"error": {}}', FaultKind.UNSURE),
        (500, b'{"error": {"message": "cut o', FaultKind.UNSURE),
        (504, nested(), FaultKind.UNSURE),
        (504, HTML, FaultKind.UNSURE),
        (524, nested(), FaultKind.UNSURE),
        (524, flat(524), FaultKind.UNSURE),
        (504, nested("invalid_request"), FaultKind.UNSURE),
        (504, nested("model_not_found"), FaultKind.UNSURE),
        (408, nested(), FaultKind.UNSURE),
        (400, HTML, FaultKind.UNSURE),
        (403, HTML, FaultKind.UNSURE),
        (520, HTML, FaultKind.UNSURE),
        (500, b"[" * 1000 + b"]" * 1000, FaultKind.UNSURE),
        (102, b"", FaultKind.UNSURE),
        (999, b"", FaultKind.UNSURE),
    ],
)
def test_an_error_after_a_post_gets_its_one_verdict(status: int, body: bytes, kind: FaultKind) -> None:
    """A clear envelope means that nothing was created; an unclear 5xx, 504 and 524 leave the attempt in doubt."""
    fault = read(status, body)
    assert isinstance(fault, Fault)
    assert fault.kind is kind
    assert fault.reason
    assert fault.raw == (body[:RAW_KEPT_BYTES] if kind is FaultKind.UNSURE else b"")


@pytest.mark.parametrize("status", [400, 500, 503])
def test_half_an_error_is_no_clear_error(status: int) -> None:
    """An envelope that was cut off proves nothing, even when what is left of it parses."""
    fault = read(status, nested(), complete=False)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSURE


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e9"}, 900.0),
        ({}, None),
    ],
)
@pytest.mark.parametrize(("status", "body"), [(429, b""), (429, nested()), (503, nested()), (503, flat(""))])
def test_too_fast_and_away_carry_the_wait_that_was_asked_for(
    status: int, body: bytes, headers: dict[str, str], wait_s: float | None
) -> None:
    """Retry-After is honoured in every form and clamped; nonsense counts as absent."""
    fault = read(status, body, headers)
    assert isinstance(fault, Fault)
    assert fault.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("lost", "kind"),
    [
        (Lost.DNS, FaultKind.UNAVAILABLE),
        (Lost.UNREACHABLE, FaultKind.UNAVAILABLE),
        (Lost.CONNECT_TIMEOUT, FaultKind.UNAVAILABLE),
        (Lost.TLS, FaultKind.MISCONFIGURED),
        (Lost.SILENT, FaultKind.UNSURE),
        (Lost.RESET, FaultKind.UNSURE),
        (Lost.GARBLED, FaultKind.UNSURE),
    ],
)
def test_a_request_without_an_answer_is_in_doubt_unless_it_never_left(lost: Lost, kind: FaultKind) -> None:
    """F01 to F07: only what certainly did not leave is sent again."""
    fault = read_create(NoAnswer(lost, "why"), now=NOW)
    assert isinstance(fault, Fault)
    assert (fault.kind, "why" in fault.reason) == (kind, True)


def test_the_request_id_is_kept_for_support() -> None:
    """It stands only in the message, and is shown once."""
    fault = read(400, nested("", "模型名称是必需的 (request id: 2026ABC)"))
    assert isinstance(fault, Fault)
    assert fault.request_id == "2026ABC"


def test_a_redirect_names_its_target_and_the_remedy() -> None:
    """F20: the person is told to check base_url, and where the service wanted to send the key."""
    fault = read(301, b"", {"location": "https://www.example/\x1b[2Jv1"})
    assert isinstance(fault, Fault)
    assert "https://www.example/v1" in fault.reason
    assert "check base_url" in fault.reason


@pytest.mark.parametrize(
    "body", [nested("x" * 10**6, "y" * 10**6), nested("\x1b[31m\ud800"), nested("", "\x1b[2J\u202e")]
)
def test_a_reason_is_short_and_harmless(body: bytes) -> None:
    """What the service says ends in terminals, logs and SQLite."""
    fault = read(500, body)
    assert isinstance(fault, Fault)
    assert len(fault.reason) < 400
    assert fault.reason.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "task_id", "data", "error", "code", "message", "status", "model", "detail", "x"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "location", "x"]), st.text(), max_size=3)


@given(st.integers(0, 999), HEADERS, BODIES, st.booleans())
def test_no_answer_at_all_makes_reading_it_fail(status: int, headers: dict[str, str], body: bytes, whole: bool) -> None:  # noqa: FBT001 hypothesis gives values by place
    """Any status, headers and bytes become a task or a fault; reasons can be shown and stored."""
    outcome = read_create(Answer(status, headers, body, whole), now=NOW)
    if isinstance(outcome, Fault):
        assert outcome.reason.isprintable()
        assert len(outcome.raw) <= RAW_KEPT_BYTES
    else:
        assert 200 <= status < 300
        assert usable_id(outcome.task_id)


@given(st.integers(200, 299), HEADERS, BODIES, st.booleans())
def test_every_2xx_is_a_task_or_in_doubt(status: int, headers: dict[str, str], body: bytes, whole: bool) -> None:  # noqa: FBT001 hypothesis gives values by place
    """A yes is never taken for a no: that is how a clip would be paid for twice."""
    outcome = read_create(Answer(status, headers, body, whole), now=NOW)
    assert isinstance(outcome, Created) or outcome.kind is FaultKind.UNSURE


@given(st.sampled_from([408, 499, 504, 524]), HEADERS, BODIES)
def test_a_gateway_that_gave_up_waiting_always_leaves_doubt(status: int, headers: dict[str, str], body: bytes) -> None:
    """Whatever it writes into the body, it does not know what became of the request."""
    outcome = read_create(Answer(status, headers, body), now=NOW)
    assert isinstance(outcome, Fault)
    assert outcome.kind is FaultKind.UNSURE


@given(st.text(min_size=1, max_size=60).filter(usable_id))
def test_an_id_never_leaves_its_path_segment(task_id: str) -> None:
    """An opaque id may hold ``/../``, ``?`` or ``#``: it stays one segment, and comes back as it was."""
    for path, tail in ((task_path(task_id), ""), (content_path(task_id), "/content")):
        assert path.startswith("/videos/")
        assert path.endswith(tail)
        segment = path.removeprefix("/videos/").removesuffix(tail)
        assert not set(segment) & set("/?#\\ \r\n")
        assert segment not in {"", ".", ".."}
        assert unquote(segment) == task_id


@pytest.mark.parametrize("text", ["", ".", "..", "...", " ", "a\nb", "a\x00", "x" * 513, "\ud800", "a\u2028b"])
def test_what_cannot_be_an_id_is_refused(text: str) -> None:
    """Also for an id that a person types."""
    assert not usable_id(text)


def test_the_create_path_is_the_documented_one() -> None:
    """POST /v1/videos, below the base URL that ends in /v1."""
    assert create_path() == "/videos"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"code": "read_request_body_failed", "message": "body too large (request id: r-1)"}', "body too large"),
        (b"<html>\x1b[2J413</html>", "<html>413</html>"),
        (b"", "no reason given"),
    ],
)
def test_a_request_that_is_too_large_names_its_frames(body: bytes, said: str) -> None:
    """Nothing else in it is large, so the person is told which files to make smaller, and how large they are."""
    frame = Frame("/home/me/frames/dawn.png", "00", 81_200_000, "image/png", 9000, 9000)
    found = read_create(Answer(413, {}, body), now=0.0, frames=[frame, replace(frame, path="/home/me/dusk\x1b[2J.png")])
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.REJECTED
    assert said in found.reason
    assert found.reason.endswith("; make its frames smaller: dawn.png (81.2 MB), dusk.png (81.2 MB)")
    without = read_create(Answer(413, {}, body), now=0.0)
    assert isinstance(without, Fault)
    assert "frames" not in without.reason


def test_a_request_id_that_the_service_named_is_told_once() -> None:
    """Support asks for it; where the words before it were cut short, it is added."""
    short, long = "no good (request id: req-7)", f"{'no good ' * 100}(request id: req-7)"
    told = [str(read(400, nested(message=words))) for words in (short, long)]
    assert [text.count("req-7") for text in told] == [1, 1]
