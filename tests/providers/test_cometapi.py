"""How a task stands, out of every shape of poll answer; and no poll, however strange, buys anything by mistake."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.task import Fault, FaultKind, Phase, TaskReport
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.response import LostAt, NoResponse, Response
from batchvid.providers.task_object import is_http_url

NOW = 784_111_777.0
ID = "task_1"
URL = "https://files.example/clip.mp4?sig=a%20b"


def poll(status: int, body: bytes | dict[str, Any], *, complete: bool = True) -> TaskReport | Fault:
    """Read the answer to a poll of task_1."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CometAPI().read_poll(Response(status, {}, raw, complete), task_id=ID, now=NOW)


def report(**task: Any) -> TaskReport:
    """Read a 200 that holds these fields of task_1."""
    found = poll(200, {"id": ID} | task)
    assert isinstance(found, TaskReport)
    return found


WAITING = [
    "queued",
    "pending",
    "submitted",
    "not_start",
    "not_started",
    "preparing",
    "waiting",
    "created",
    "starting",
    "unknown",
]
RUNNING = ["in_progress", "processing", "running", "generating"]
SUCCESS = ["completed", "complete", "success", "succeeded", "succeed", "finished", "done"]
FAILURE = ["failed", "failure", "fail", "error", "cancelled", "canceled", "expired", "rejected"]


@pytest.mark.parametrize(
    ("phase", "word"),
    [
        *((Phase.WAITING, word) for word in WAITING),
        *((Phase.RUNNING, word) for word in RUNNING),
        *((Phase.SUCCEEDED, word) for word in SUCCESS),
        *((Phase.FAILED, word) for word in FAILURE),
        (Phase.UNHEARD, "marinating"),
    ],
)
def test_every_status_word_has_its_phase_in_any_case(phase: Phase, word: str) -> None:
    """``unknown`` right after the create is normal; a word nobody listed is shown and polled on."""
    for spelled in (word, word.upper(), f" {word.title()} "):
        found = report(status=spelled)
        assert (found.phase, found.status) == (phase, spelled.strip())


@pytest.mark.parametrize("status", ["", " ", None, True, [], {}, {"state": ""}])
def test_a_status_that_is_no_word_waits(status: Any) -> None:
    """Missing, empty or of another type: the task is polled on."""
    assert report(status=status).phase is Phase.WAITING
    assert report().phase is Phase.WAITING


def test_a_hostile_status_word_is_harmless_to_show() -> None:
    """It ends up on terminals."""
    assert report(status="\x1b[2Jbrewing\n").status == "brewing"
    assert len(report(status="x" * 1000).status) <= 60


@pytest.mark.parametrize(
    "place",
    [
        {"video_url": URL},
        {"url": URL},
        {"metadata": {"url": URL}},
        {"output": {"url": URL}},
        {"result": {"url": URL}},
        {"result": {"video_url": URL}},
        {"output_video": URL},
        {"assets": [{"url": URL}]},
        {"fail_reason": URL},
        {"data": {"video_url": URL}, "status": "completed"},
        {"video_url": None, "url": "", "metadata": {"url": "no, failed"}, "output": None, "fail_reason": URL},
        {"video_url": "/relative", "assets": [], "url": "ftp://h/x", "output_video": URL},
    ],
)
def test_the_url_is_found_wherever_it_has_been_seen(place: dict[str, Any]) -> None:
    """Only what parses as http(s) is one; the rest of the places may hold anything."""
    assert report(status="completed", **{name: value for name, value in place.items() if name != "status"}).url == URL


def test_the_wrapped_form_holds_the_url_in_fail_reason() -> None:
    """As three independent clients have seen it."""
    wrapped = {
        "code": "success",
        "message": "",
        "data": {
            "task_id": ID,
            "status": "SUCCESS",
            "progress": "100%",
            "submit_time": 1,
            "start_time": 2,
            "finish_time": 3,
            "fail_reason": URL,
            "data": {"model": "veo3"},
        },
    }
    assert poll(200, wrapped) == TaskReport(Phase.SUCCEEDED, "SUCCESS", 100.0, URL, None, "veo3", None)


def test_the_wrapped_form_can_tell_of_a_failure() -> None:
    """Then fail_reason is what its name says."""
    found = poll(200, {"code": "success", "data": {"task_id": ID, "status": "FAILURE", "fail_reason": "图片违规"}})
    assert isinstance(found, TaskReport)
    assert (found.phase, found.error, found.url) == (Phase.FAILED, "图片违规", None)


def test_failure_text_in_metadata_url_is_the_reason_and_no_url() -> None:
    """Some gateways write the failure where the URL should be."""
    found = report(status="failed", metadata={"url": "blocked by safety filters"})
    assert (found.phase, found.url, found.error) == (Phase.FAILED, None, "blocked by safety filters")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"error": "boom"}, "boom"),
        ({"error": {"message": "boom", "code": "x"}}, "boom"),
        ({"error": {"code": "x"}}, '{"code": "x"}'),
        ({"error": None}, None),
        ({}, None),
        ({"fail_reason": "boom"}, "boom"),
        ({"error": "\x1b[31mboom\u202e"}, "boom"),
    ],
)
def test_a_failed_task_tells_why_when_it_can(fields: dict[str, Any], error: str | None) -> None:
    """The reason may be missing; progress may say 100 all the same."""
    found = report(status="failed", progress=100, video_url=URL, **fields)
    assert (found.phase, found.error, found.url) == (Phase.FAILED, error, None)


@pytest.mark.parametrize("ids", [{}, {"id": ID}], ids=["no id", "our id"])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "upstream request timeout", "type": "server_error", "code": "timeout"}},
        {"error": "rate limited, slow down"},
        {"error": {"message": "Too many requests", "code": 429}},
        {"success": False, "error": {"message": "database is locked"}},
        {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}},
        {"status": "", "error": {"message": "boom"}},
    ],
)
def test_an_error_without_a_status_is_a_look_that_brought_nothing(ids: dict[str, Any], body: dict[str, Any]) -> None:
    """The task may go on all the same: taken for its failure, the clip would be bought a second time."""
    found = poll(200, ids | body)
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.BROKEN


@pytest.mark.parametrize(
    "error",
    [
        {"code": None, "message": None},
        {"code": "", "message": ""},
        {"code": 0, "message": ""},
        {"code": "success", "message": "ok"},
        {"code": 200},
        "none",
        "boom",
        {"message": "late", "code": "x"},
    ],
)
def test_a_word_of_success_never_becomes_a_failure(error: Any) -> None:
    """Whatever stands beside it: it is polled for a URL, and then asked for behind ``/content``."""
    assert (report(status="completed", error=error).phase) is Phase.SUCCEEDED


@pytest.mark.parametrize("error", [{"code": None, "message": None}, {"code": "", "message": ""}, "none", {"code": 0}])
def test_an_error_that_says_that_there_is_none_is_none(error: Any) -> None:
    """Some servers send the field always, full of nulls."""
    assert report(error=error).phase is Phase.WAITING


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error", "message": "rate limit exceeded, retry later"},
        {"status": "fail", "code": 429, "message": "slow"},
        {"status": "failed"},
        {"task_id": "task_2", "status": "failed"},
        {"id": "task_1x", "status": "expired"},
    ],
)
def test_a_failure_that_does_not_name_the_task_fails_none(body: dict[str, Any]) -> None:
    """It may be said of the request by somebody on the way."""
    found = poll(200, body)
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.BROKEN


@pytest.mark.parametrize("status", [400, 404, 500, 502])
@pytest.mark.parametrize(("word", "phase"), [("failed", Phase.FAILED), ("completed", Phase.SUCCEEDED)])
def test_a_task_that_is_over_is_believed_inside_an_http_error(status: int, word: str, phase: Phase) -> None:
    """Some servers answer a poll of a failed task with the task's own error status; it must not wait for ever."""
    found = poll(status, {"id": ID, "object": "video", "status": word, "error": {"code": 500, "message": "no memory"}})
    assert isinstance(found, TaskReport)
    assert found.phase is phase
    assert not isinstance(poll(status, {"id": "task_2", "status": word}), TaskReport)
    assert not isinstance(poll(status, {"status": word}), TaskReport)


def test_completed_with_an_error_and_a_url_is_a_clip() -> None:
    """What was paid for and can be fetched is fetched."""
    found = report(status="completed", error={"message": "warning"}, video_url=URL)
    assert (found.phase, found.url) == (Phase.SUCCEEDED, URL)


def test_completed_without_a_url_is_told_as_such() -> None:
    """It may come a little later, or never."""
    found = report(status="completed", url="", error=None)
    assert (found.phase, found.url) == (Phase.SUCCEEDED, None)


def test_an_unfinished_task_has_no_url_yet() -> None:
    """A URL that stands there too early is not fetched."""
    assert report(status="in_progress", video_url=URL).url is None


@pytest.mark.parametrize(
    "body",
    [
        {"code": "fail_to_fetch_task", "message": "upstream said no"},
        {"code": 429, "message": "too many requests"},
        {"success": False, "message": "busy"},
        {"message": "Internal server error"},
        {"detail": "overloaded"},
    ],
)
def test_a_flat_error_with_status_200_is_a_failed_poll_and_no_failed_task(body: dict[str, Any]) -> None:
    """It says nothing about the task: taking it for a failure would buy the clip a second time."""
    found = poll(200, body)
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.BROKEN


@pytest.mark.parametrize(
    ("value", "percent"),
    [
        (0, 0.0),
        (42, 42.0),
        ("50", 50.0),
        ("10%", 10.0),
        (" 10% ", 10.0),
        ("abc", None),
        (None, None),
        (True, None),
        (-1, None),
        (101, None),
        ("nan", None),
        (10**400, None),
        ([50], None),
        (99.5, 99.5),
    ],
)
def test_progress_is_read_in_every_form_or_left(value: Any, percent: float | None) -> None:
    """An int, ``"10%"``, ``"50"``, null; anything else is no progress."""
    assert report(status="running", progress=value).progress_percent == percent


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (1_773_300_000, 1_773_300_000.0),
        (1_773_300_000.5, 1_773_300_000.5),
        (1_773_300_000_000, 1_773_300_000.0),
        (None, None),
        (0, None),
        (-5, None),
        (True, None),
        ("2026-03-12", None),
        (10**400, None),
        (float("nan"), None),
    ],
)
def test_an_expiry_is_epoch_seconds_or_nothing(value: Any, at: float | None) -> None:
    """Milliseconds are told by their size, and no number is too large to be looked at."""
    assert report(status="completed", video_url=URL, expires_at=value).url_expires_at == at


def test_an_infinite_expiry_is_none() -> None:
    """``1e999`` is valid JSON."""
    found = poll(200, b'{"id": "task_1", "status": "completed", "expires_at": 1e999, "progress": 1e999}')
    assert isinstance(found, TaskReport)
    assert (found.url_expires_at, found.progress_percent) == (None, None)


@pytest.mark.parametrize(
    "named", [{}, {"id": ""}, {"id": "", "task_id": None}, {"id": None, "task_id": "task_1"}], ids=str
)
def test_an_answer_that_names_no_task_is_about_the_one_asked_for(named: dict[str, Any]) -> None:
    """A field that is missing or empty names no other task, and must not hold back a paid clip."""
    found = poll(200, {**named, "status": "completed", "video_url": URL})
    assert isinstance(found, TaskReport)
    assert found.url == URL


@pytest.mark.parametrize(
    "payload",
    [
        {"id": "task_2", "status": "completed", "video_url": URL},
        {"code": "success", "data": {"task_id": "task_2", "status": "SUCCESS", "fail_reason": URL}},
        {"id": 2, "task_id": "task_2", "status": "queued"},
    ],
)
def test_an_answer_that_renames_the_task_tells_the_other_id(payload: dict[str, Any]) -> None:
    """The answer to a question about our task is about our task; who asks sees whether a job has that other id."""
    found = poll(200, payload)
    assert isinstance(found, TaskReport)
    assert found.other_id in {"task_2", "2"}


@pytest.mark.parametrize("ids", [{}, {"id": None}, {"id": 7}, {"id": ID}, {"id": "video_9", "task_id": ID}])
def test_an_answer_that_does_not_contradict_the_id_is_taken(ids: dict[str, Any]) -> None:
    """Either id may be missing, or be a number of some table."""
    assert isinstance(poll(200, {"status": "queued"} | ids), TaskReport)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"code": "task_not_exist", "message": "task_not_exist"}, FaultKind.UNKNOWN_TASK),
        (404, {"error": {"message": "not found"}}, FaultKind.UNKNOWN_TASK),
        (404, b"", FaultKind.UNKNOWN_TASK),
        (200, {"code": "success", "message": "", "data": None}, FaultKind.UNKNOWN_TASK),
        (200, {"code": "success", "data": []}, FaultKind.UNKNOWN_TASK),
        (200, {"code": "task_not_exist", "message": "x"}, FaultKind.UNKNOWN_TASK),
        (401, {"error": {"message": "invalid token"}}, FaultKind.ACCOUNT),
        (403, {"code": None, "message": "user quota is not enough"}, FaultKind.NOT_ALLOWED),
        (429, b"", FaultKind.THROTTLED),
        (429, {"error": {"message": "slow down"}}, FaultKind.THROTTLED),
        (500, b"<html>", FaultKind.UNAVAILABLE),
        (502, b"", FaultKind.UNAVAILABLE),
        (503, {"error": {"message": "busy"}}, FaultKind.UNAVAILABLE),
        (504, b"<html>", FaultKind.UNAVAILABLE),
        (524, {"message": "time-out"}, FaultKind.UNAVAILABLE),
        (301, b"", FaultKind.MISCONFIGURED),
        (200, b"<html>login</html>", FaultKind.MISCONFIGURED),
        (200, b"", FaultKind.BROKEN),
        (204, b"", FaultKind.BROKEN),
        (200, b"[]", FaultKind.BROKEN),
        (200, b'{"id": "task_1", "sta', FaultKind.BROKEN),
        (200, b"[" * 100_000 + b"]" * 100_000, FaultKind.BROKEN),
        (200, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, FaultKind.BROKEN),
        (200, b"\xff\xfe\x00", FaultKind.BROKEN),
    ],
)
def test_an_error_of_a_poll_gets_its_meaning(status: int, body: bytes | dict[str, Any], kind: FaultKind) -> None:
    """None of them ends a job: a poll costs nothing and is repeated."""
    found = poll(status, body)
    assert isinstance(found, Fault)
    assert found.kind is kind


@pytest.mark.parametrize("status", [201, 202, 203])
def test_a_task_object_under_another_2xx_is_read(status: int) -> None:
    """Gateways answer 202 for what is accepted and under way."""
    found = poll(status, {"id": ID, "status": "in_progress"})
    assert isinstance(found, TaskReport)


def test_a_body_over_the_limit_is_broken_and_no_more() -> None:
    """F32: one job is affected, for this look."""
    found = poll(200, {"id": ID, "status": "completed"}, complete=False)
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.BROKEN


@pytest.mark.parametrize("lost", LostAt)
def test_a_lost_poll_is_repeated(lost: LostAt) -> None:
    """F31: retried freely."""
    found = CometAPI().read_poll(NoResponse(lost), task_id=ID, now=NOW)
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.UNAVAILABLE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (URL, True),
        ("HTTP://files.example:8080/x", True),
        ("http://[2606:4700::1]/x", True),
        ("http://[::1", False),
        ("http://h:99999/x", False),
        ("http://h:abc/x", False),
        ("https://", False),
        ("https:///x", False),
        ("file:///etc/passwd", False),
        ("data:video/mp4;base64,AA", False),
        ("ftp://h/x", False),
        ("javascript:alert(1)", False),
        ("see https://h/x", False),
        ("https://h/x\r\nHost: y", False),
        ("https://h/" + "x" * 10_000, False),
        ("", False),
    ],
)
def test_a_url_is_http_with_a_host_and_nothing_else(text: str, expected: bool) -> None:  # noqa: FBT001 a table
    """What is accepted here can be asked for without another check of its form."""
    assert is_http_url(text) is expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text()
    | st.sampled_from([ID, URL, "http://[", "completed", "failed", "success", "queued"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "task_id",
                    "status",
                    "data",
                    "error",
                    "code",
                    "message",
                    "progress",
                    "expires_at",
                    "metadata",
                    "url",
                    "video_url",
                    "assets",
                    "output",
                    "result",
                    "fail_reason",
                    "model",
                    "detail",
                    "success",
                ]
            ),
            inner,
            max_size=8,
        )
    ),
    max_leaves=15,
)


@given(
    st.just(200) | st.integers(0, 999),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "location"]), st.text(), max_size=2),
    st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    st.booleans(),
)
def test_no_poll_answer_at_all_makes_reading_it_fail(
    status: int,
    headers: dict[str, str],
    body: bytes,
    whole: bool,  # noqa: FBT001 hypothesis gives values by place
) -> None:
    """Any status, headers and bytes become a report or a fault that can be shown and stored."""
    found = CometAPI().read_poll(Response(status, headers, body, whole), task_id=ID, now=NOW)
    if isinstance(found, Fault):
        assert found.reason.isprintable()
    else:
        assert found.status.isprintable()
        assert (found.error or "").isprintable()
        assert found.url is None or (found.phase is Phase.SUCCEEDED and is_http_url(found.url))
        assert found.progress_percent is None or 0 <= found.progress_percent <= 100
