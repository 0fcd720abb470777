"""Whether a paid request was paid: every shape of answer gets the one meaning that never pays twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.job import Frame
from batchvid.domain.task import TASK_ID_MAX, Created, Fault, FaultKind, Proof, usable_id
from batchvid.providers.cometapi import WORDS, CometAPI
from batchvid.providers.payment import SEEN, TABLE, Evidence, Row, _created, _tasks
from batchvid.providers.response import RAW_KEPT_BYTES, LostAt, NoResponse, Response, envelope

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
    """Return the service's error envelope."""
    return json.dumps({"error": {"code": code, "message": message, "type": "comet_api_error", **more}}).encode()


def flat(code: Any, message: str = "boom") -> bytes:
    """Return the flat form of an error."""
    return json.dumps({"code": code, "message": message}).encode()


def read(status: int, body: bytes, headers: dict[str, str] | None = None, *, complete: bool = True) -> Created | Fault:
    """Read the answer to a create."""
    return CometAPI().read_create(Response(status, headers or {}, body, complete), now=NOW)


@pytest.mark.parametrize(
    ("payload", "task_id", "model"),
    [
        (DOCUMENTED, "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR", "veo_3_1-4K"),
        (DOCUMENTED | {"task_id": DOCUMENTED["id"]}, "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR", "veo_3_1-4K"),
        ({"id": "video_1"}, "video_1", None),
        ({"task_id": "task_1", "model": ""}, "task_1", None),
        ({"id": None, "task_id": "task_1"}, "task_1", None),
        ({"id": 12345, "task_id": "task_1"}, "task_1", None),
        ({"id": 12345}, "12345", None),
        ({"data": {"id": 7}}, "7", None),
        ({"taskId": "task_1"}, "task_1", None),
        ({"video_id": "task_1"}, "task_1", None),
        ({"output": {"task_id": "task_1"}, "request_id": "r-1"}, "task_1", None),
        ({"request_id": "r-1", "status": "IN_QUEUE"}, "r-1", None),
        ({"code": "success", "data": "task_1"}, "task_1", None),
        ({"id": "req_99", "data": {"task_id": "task_1"}}, "task_1", None),
        ({"id": "v" * TASK_ID_MAX}, "v" * TASK_ID_MAX, None),
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
        b'{"id": 0}',
        b'{"id": -7}',
        b'{"id": 1.5}',
        b'{"id": 99999999999999999999}',
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
        b'{"id": "' + b"x" * (TASK_ID_MAX + 1) + b'"}',
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
    ("status", "body", "kind", "proof"),
    [
        (400, nested("", "model name is required (request id: R1)"), FaultKind.REJECTED, Proof.CLEAR),
        (400, HTML, FaultKind.REJECTED, Proof.CLEAR),
        (400, b"", FaultKind.REJECTED, Proof.CLEAR),
        (400, nested("rate_limit_exceeded"), FaultKind.THROTTLED, Proof.CLEAR),
        (401, nested("", "invalid token"), FaultKind.ACCOUNT, Proof.CLEAR),
        (401, b"", FaultKind.ACCOUNT, Proof.CLEAR),
        (401, HTML, FaultKind.ACCOUNT, Proof.CLEAR),
        (402, nested(), FaultKind.ACCOUNT, Proof.CLEAR),
        (402, HTML, FaultKind.ACCOUNT, Proof.CLEAR),
        (403, flat(None, "user quota is not enough"), FaultKind.ACCOUNT, Proof.CLEAR),
        (403, flat("insufficient_user_quota"), FaultKind.ACCOUNT, Proof.CLEAR),
        (403, flat("pre_consume_token_quota_failed"), FaultKind.ACCOUNT, Proof.CLEAR),
        (403, nested("insufficient_user_quota"), FaultKind.ACCOUNT, Proof.CLEAR),
        (403, nested(), FaultKind.NOT_ALLOWED, Proof.CLEAR),
        (403, nested(None), FaultKind.NOT_ALLOWED, Proof.CLEAR),
        (403, HTML, FaultKind.NOT_ALLOWED, Proof.CLEAR),
        (403, flat("ip_not_allowed"), FaultKind.NOT_ALLOWED, Proof.CLEAR),
        (404, nested("model_not_found"), FaultKind.NO_CHANNEL, Proof.CLEAR),
        (404, nested(), FaultKind.REJECTED, Proof.CLEAR),
        (404, b'{"detail": "Model not found"}', FaultKind.REJECTED, Proof.CLEAR),
        (404, HTML, FaultKind.MISCONFIGURED, Proof.CLEAR),
        (405, b"", FaultKind.MISCONFIGURED, Proof.CLEAR),
        (405, nested(), FaultKind.REJECTED, Proof.CLEAR),
        (409, nested(), FaultKind.REJECTED, Proof.CLEAR),
        (413, flat("read_request_body_failed"), FaultKind.REJECTED, Proof.CLEAR),
        (413, HTML, FaultKind.REJECTED, Proof.CLEAR),
        (413, b"", FaultKind.REJECTED, Proof.CLEAR),
        (415, b"", FaultKind.REJECTED, Proof.CLEAR),
        (422, b'{"detail": [{"loc": ["body", "prompt"], "msg": "field required"}]}', FaultKind.REJECTED, Proof.CLEAR),
        (429, nested(), FaultKind.THROTTLED, Proof.CLEAR),
        (429, flat(429), FaultKind.THROTTLED, Proof.CLEAR),
        (429, b"", FaultKind.THROTTLED, Proof.CLEAR),
        (429, HTML, FaultKind.THROTTLED, Proof.CLEAR),
        # somebody's word: the service's own codes in its own envelope, and redirects that were not processed
        (500, nested("invalid_request", param=""), FaultKind.REJECTED, Proof.WORD),
        (500, nested("insufficient_user_quota"), FaultKind.ACCOUNT, Proof.WORD),
        (503, nested("model_not_found", "no available channel for group default"), FaultKind.NO_CHANNEL, Proof.WORD),
        (503, nested("MODEL_NOT_FOUND", "no channel"), FaultKind.NO_CHANNEL, Proof.WORD),
        (500, flat("get_channel_failed"), FaultKind.NO_CHANNEL, Proof.WORD),
        (301, b"", FaultKind.MISCONFIGURED, Proof.WORD),
        (307, HTML, FaultKind.MISCONFIGURED, Proof.WORD),
        (308, nested(), FaultKind.MISCONFIGURED, Proof.WORD),
        # of no use again, and no proof
        (410, HTML, FaultKind.REJECTED, Proof.NONE),
        (451, nested(), FaultKind.REJECTED, Proof.NONE),
        # in doubt: everything else, however well-formed
        (500, HTML, FaultKind.UNSURE, Proof.NONE),
        (500, b"", FaultKind.UNSURE, Proof.NONE),
        (500, nested(), FaultKind.UNSURE, Proof.NONE),
        (500, nested(0), FaultKind.UNSURE, Proof.NONE),
        (500, nested("server_error"), FaultKind.UNSURE, Proof.NONE),
        (500, nested("content_policy_violation"), FaultKind.UNSURE, Proof.NONE),
        (500, flat("do_request_failed"), FaultKind.UNSURE, Proof.NONE),
        (500, flat("unmarshal_response_body_failed"), FaultKind.UNSURE, Proof.NONE),
        (503, b'{"error": {"code": "model_not_found", "message": "no type"}}', FaultKind.UNSURE, Proof.NONE),
        (503, b'{"error": "model_not_found"}', FaultKind.UNSURE, Proof.NONE),
        (503, b'{"error": "x", "code": "model_not_found"}', FaultKind.UNSURE, Proof.NONE),
        (500, b'{"code": 503, "message": "{\\"code\\": \\"model_not_found\\"}"}', FaultKind.UNSURE, Proof.NONE),
        (500, b'{"error": {"message": "cut o', FaultKind.UNSURE, Proof.NONE),
        (500, b"[" * 1000 + b"]" * 1000, FaultKind.UNSURE, Proof.NONE),
        (502, HTML, FaultKind.UNSURE, Proof.NONE),
        (502, flat(502), FaultKind.UNSURE, Proof.NONE),
        (
            502,
            b'{"message": "An invalid response was received from the upstream server"}',
            FaultKind.UNSURE,
            Proof.NONE,
        ),
        (503, b"", FaultKind.UNSURE, Proof.NONE),
        (503, b'{"error": {}}', FaultKind.UNSURE, Proof.NONE),
        (503, b'{"detail": "overloaded"}', FaultKind.UNSURE, Proof.NONE),
        (503, b'{"success": false, "message": "busy"}', FaultKind.UNSURE, Proof.NONE),
        (504, nested("invalid_request"), FaultKind.UNSURE, Proof.NONE),
        (504, nested("model_not_found"), FaultKind.UNSURE, Proof.NONE),
        (520, nested("model_not_found"), FaultKind.UNSURE, Proof.NONE),
        (524, flat("model_not_found"), FaultKind.UNSURE, Proof.NONE),
        (302, b"", FaultKind.UNSURE, Proof.NONE),
        (303, HTML, FaultKind.UNSURE, Proof.NONE),
        (304, b"", FaultKind.UNSURE, Proof.NONE),
        (406, nested(), FaultKind.UNSURE, Proof.NONE),
        (408, nested(), FaultKind.UNSURE, Proof.NONE),
        (412, nested("model_not_found"), FaultKind.UNSURE, Proof.NONE),
        (418, b"", FaultKind.UNSURE, Proof.NONE),
        (421, b"", FaultKind.UNSURE, Proof.NONE),
        (424, nested("insufficient_user_quota"), FaultKind.UNSURE, Proof.NONE),
        (425, b"", FaultKind.UNSURE, Proof.NONE),
        (428, b"", FaultKind.UNSURE, Proof.NONE),
        (499, nested(), FaultKind.UNSURE, Proof.NONE),
        (102, b"", FaultKind.UNSURE, Proof.NONE),
        (999, b"", FaultKind.UNSURE, Proof.NONE),
    ],
)
def test_an_error_after_a_post_gets_its_one_meaning(status: int, body: bytes, kind: FaultKind, proof: Proof) -> None:
    """Refused needs proof from a closed list; whatever is not on it leaves the attempt in doubt, and its bytes kept."""
    fault = read(status, body)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.proof) == (kind, proof)
    assert fault.reason
    assert fault.raw == (body[:RAW_KEPT_BYTES] if kind is FaultKind.UNSURE else b"")


ROWS = {
    "a yes that began before the whole request had left": Response(200, {}, b'{"id": "task_1"}', asked=False),
    "a task id, whatever the status": Response(502, {}, b'{"task_id": "task_1", "message": "bad gateway"}'),
    "an id that may be a task's": Response(400, {}, b'{"id": "abc-123", "error": {"message": "x"}}'),
    "301 307 308": Response(308),
    "401, a code of a wrong key": Response(401),
    "402, a quota code, a 403 with words of quota": Response(403, {}, b'{"message": "user quota is not enough"}'),
    "429, a rate code": Response(429),
    "4xx of the list with a channel's code": Response(
        404, {}, b'{"error": {"code": "model_not_found", "message": "x"}}'
    ),
    "404 405 of no service": Response(404, {}, b"<html>"),
    "403": Response(403, {}, b'{"message": "Forbidden"}'),
    "400 404 405 409 413 415 422": Response(409),
    "5xx, own envelope, a channel's code": Response(503, {}, b'{"code": "get_channel_failed", "message": "x"}'),
    "5xx, own envelope, invalid_request": Response(500, {}, b'{"code": "invalid_request", "message": "x"}'),
    "5xx, own envelope, a quota code": Response(500, {}, b'{"code": "insufficient_user_quota", "message": "x"}'),
    "410 451": Response(451),
    "everything else": Response(500, {}, b'{"message": "Internal server error"}'),
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.looks)
def test_every_row_of_the_table_decides_some_answer(row: Row) -> None:
    """A row that nothing reaches, or that another one shadows, would be a promise that nobody keeps."""
    found = CometAPI().read_create(ROWS[row.looks], now=NOW)
    if row.kind is None:
        assert found == Created("task_1", None)
    else:
        assert isinstance(found, Fault)
        assert (found.kind, found.proof) == (row.kind, row.proof)


def test_no_row_shadows_another() -> None:
    """Each example is decided by its own row: the first one that fits it."""
    for looks, answer in ROWS.items():
        payload = answer.json()
        found, seen = _tasks(answer, payload, WORDS)
        it = Evidence(answer, WORDS, payload, envelope(payload), _created(found, payload), seen, known=False)
        assert next(row.looks for row in TABLE if row.fits(it)) == looks


@pytest.mark.parametrize("status", [100, 400, 404, 409, 422, 429, 500, 502, 503, 504, 524])
@pytest.mark.parametrize(
    "body",
    [
        {"task_id": "task_1"},
        {"error": {"message": "late"}, "task_id": "task_1"},
        {"code": "do_request_failed", "message": "EOF", "data": {"task_id": "task_1"}},
        {"id": "task_1", "object": "video", "status": "queued"},
        {"id": "task_1", "status": "in_progress", "message": "slow"},
        {"data": {"id": "task_1", "status": "queued"}},
        {"error": {"message": "busy", "task_id": "task_1"}},
    ],
)
def test_a_task_id_that_was_read_is_used_whatever_the_status(status: int, body: dict[str, Any]) -> None:
    """The clip is paid: what matters is to collect it."""
    assert read(status, json.dumps(body).encode()) == Created("task_1", None)


@pytest.mark.parametrize("status", [400, 403, 500, 503])
def test_an_id_that_may_be_a_requests_leaves_doubt_and_is_shown(status: int) -> None:
    """``id`` beside an error may name the request: it is never polled as a task, and never thrown away."""
    fault = read(status, b'{"id": "cf-81e9", "error": {"message": "no"}}')
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSURE
    assert fault.reason.endswith(f"{SEEN} cf-81e9")


@pytest.mark.parametrize("status", [400, 429, 503])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "busy", "metadata": {"task_id": "task_1"}}},
        {"code": "model_not_found", "message": json.dumps({"data": {"task_id": "task_1"}})},
        {"detail": [{"ctx": {"video_id": "task_1"}}]},
    ],
)
def test_a_task_id_deep_inside_an_error_leaves_doubt_and_is_shown(status: int, body: dict[str, Any]) -> None:
    """It may be the task that was made: what names it is no clear refusal."""
    fault = read(status, json.dumps(body).encode())
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.reason.endswith(f"{SEEN} task_1")) == (FaultKind.UNSURE, True)


@pytest.mark.parametrize("status", [200, 201, 202, 302, 303])
@pytest.mark.parametrize(
    "place", ["/v1/videos/task_1", "https://api.example/v1/videos/task_1/", "videos/task_1", "/v1/videos/task%5F1?x=1"]
)
def test_a_location_that_is_the_path_of_a_task_names_it(status: int, place: str) -> None:
    """RFC 9110 §15.3.2 and §15.4.4: the request was processed, and this is where its result is."""
    assert read(status, b"", {"location": place}) == Created("task_1", None)


@pytest.mark.parametrize(
    ("place", "seen"),
    [("/tasks/task_1", "task_1"), ("https://h/login", None), ("http://[", None), ("/v1/videos", None), ("", None)],
)
def test_another_location_leaves_doubt(place: str, seen: str | None) -> None:
    """An id that looks like a task's is shown for a person to adopt."""
    for status in (202, 303):
        fault = read(status, b"", {"location": place})
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.UNSURE
        assert (f"{SEEN} {seen}" in fault.reason) == (seen is not None)


def test_a_redirect_that_was_not_processed_names_no_task() -> None:
    """307 asks for the same request elsewhere, whatever the path of that looks like."""
    fault = read(307, b"", {"location": "/v1/videos/task_1"})
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.MISCONFIGURED


def test_a_cut_off_body_with_a_task_in_it_leaves_doubt() -> None:
    """Also a 400: what is there of the body names a task."""
    fault = read(400, b'{"error": {"message": "no"}, "task_id": "task_1", "mess', complete=False)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.reason.endswith(f"{SEEN} task_1")) == (FaultKind.UNSURE, True)


@pytest.mark.parametrize("status", [200, 202, 500])
def test_an_answer_that_came_before_the_request_had_left_is_nobodys(status: int) -> None:
    """A yes to another request names another's task; it is shown, and the attempt is in doubt."""
    fault = CometAPI().read_create(Response(status, {}, b'{"task_id": "task_9"}', asked=False), now=NOW)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSURE
    assert "before the whole request had left" in fault.reason
    assert fault.reason.endswith("task_9")


@pytest.mark.parametrize("status", [401, 413, 429])
def test_a_refusal_may_come_early(status: int) -> None:
    """A service that refuses 8 MB after the first one has said so all the same."""
    fault = CometAPI().read_create(Response(status, asked=False), now=NOW)
    assert isinstance(fault, Fault)
    assert fault.proof is Proof.CLEAR


def test_no_route_is_a_wrong_address_only_while_nothing_was_ever_taken() -> None:
    """Later it is this one job's trouble: one strange 404 must not stop a night."""
    for status in (404, 405):
        fault = CometAPI().read_create(Response(status, {}, HTML), now=NOW, known=True)
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.REJECTED


@pytest.mark.parametrize("status", [500, 503])
def test_half_an_error_is_no_clear_error(status: int) -> None:
    """An envelope that was cut off proves nothing, even when what is left of it parses."""
    fault = read(status, nested("invalid_request"), complete=False)
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
@pytest.mark.parametrize(("status", "body"), [(429, b""), (429, nested()), (503, nested("model_not_found"))])
def test_too_fast_and_no_channel_carry_the_wait_that_was_asked_for(
    status: int, body: bytes, headers: dict[str, str], wait_s: float | None
) -> None:
    """Retry-After is honoured in every form and clamped; nonsense counts as absent."""
    fault = read(status, body, headers)
    assert isinstance(fault, Fault)
    assert fault.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("lost", "kind", "proof"),
    [
        (LostAt.DNS, FaultKind.UNAVAILABLE, Proof.NOT_SENT),
        (LostAt.UNREACHABLE, FaultKind.UNAVAILABLE, Proof.NOT_SENT),
        (LostAt.CONNECT_TIMEOUT, FaultKind.UNAVAILABLE, Proof.NOT_SENT),
        (LostAt.TLS, FaultKind.MISCONFIGURED, Proof.NOT_SENT),
        (LostAt.SILENT, FaultKind.UNSURE, Proof.NONE),
        (LostAt.RESET, FaultKind.UNSURE, Proof.NONE),
        (LostAt.GARBLED, FaultKind.UNSURE, Proof.NONE),
    ],
)
def test_a_request_without_an_answer_is_in_doubt_unless_it_never_left(
    lost: LostAt, kind: FaultKind, proof: Proof
) -> None:
    """F01 to F07: only what certainly did not leave is sent again."""
    fault = CometAPI().read_create(NoResponse(lost, "why"), now=NOW)
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.proof, "why" in fault.reason) == (kind, proof, True)


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
    outcome = CometAPI().read_create(Response(status, headers, body, whole), now=NOW)
    if isinstance(outcome, Fault):
        assert outcome.reason.isprintable()
        assert len(outcome.raw) <= RAW_KEPT_BYTES
    else:
        assert usable_id(outcome.task_id)


@given(st.integers(200, 299), HEADERS, BODIES, st.booleans())
def test_every_2xx_is_a_task_or_in_doubt(status: int, headers: dict[str, str], body: bytes, whole: bool) -> None:  # noqa: FBT001 hypothesis gives values by place
    """A yes is never taken for a no: that is how a clip would be paid for twice."""
    outcome = CometAPI().read_create(Response(status, headers, body, whole), now=NOW)
    assert isinstance(outcome, Created) or outcome.kind is FaultKind.UNSURE


@given(st.sampled_from([408, 499, 504, 524]), HEADERS, BODIES)
def test_a_gateway_that_gave_up_waiting_always_leaves_doubt(status: int, headers: dict[str, str], body: bytes) -> None:
    """Whatever it writes into the body, it does not know what became of the request."""
    outcome = CometAPI().read_create(Response(status, headers, body), now=NOW)
    assert isinstance(outcome, Created) or outcome.kind is FaultKind.UNSURE


LISTED = {400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429}


@given(st.integers(0, 999), HEADERS, BODIES, st.booleans(), st.booleans())
def test_refused_is_said_only_with_the_proof_of_the_list(
    status: int,
    headers: dict[str, str],
    body: bytes,
    whole: bool,  # noqa: FBT001 hypothesis gives values by place
    known: bool,  # noqa: FBT001 as above
) -> None:
    """Whatever a gateway invents: a clear refusal is a status of the list, a word a 5xx with a code or a redirect."""
    outcome = CometAPI().read_create(Response(status, headers, body, whole), now=NOW, known=known)
    if isinstance(outcome, Created) or outcome.kind is FaultKind.UNSURE:
        return
    match outcome.proof:
        case Proof.CLEAR:
            assert status in LISTED
        case Proof.WORD:
            assert status in {301, 307, 308} or (500 <= status < 520 and status != 504 and b"code" in body)
        case Proof.NONE:
            assert status in {410, 451}
        case _:
            raise AssertionError(outcome)


@pytest.mark.parametrize("text", ["", ".", "..", "...", " ", "a\nb", "a\x00", "x" * 2049, "\ud800", "a\u2028b"])
def test_what_cannot_be_an_id_is_refused(text: str) -> None:
    """Also for an id that a person types."""
    assert not usable_id(text)


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
    found = CometAPI().read_create(
        Response(413, {}, body), now=0.0, frames=[frame, replace(frame, path="/home/me/dusk\x1b[2J.png")]
    )
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.REJECTED
    assert said in found.reason
    assert found.reason.endswith("; make its frames smaller: dawn.png (81.2 MB), dusk.png (81.2 MB)")
    without = CometAPI().read_create(Response(413, {}, body), now=0.0)
    assert isinstance(without, Fault)
    assert "frames" not in without.reason


def test_a_request_id_that_the_service_named_is_told_once() -> None:
    """Support asks for it; where the words before it were cut short, it is added."""
    short, long = "no good (request id: req-7)", f"{'no good ' * 100}(request id: req-7)"
    told = [str(read(400, nested(message=words))) for words in (short, long)]
    assert [text.count("req-7") for text in told] == [1, 1]
