"""Answers that look like another one: what is said of a request and not of the task, and another clip than ours.

The placeholders are those of `test_wild_answers`.
"""

from __future__ import annotations

import base64
import json

import pytest

from batchvid.domain.task import Created, Phase, TaskReport
from batchvid.providers.base import inline_number
from batchvid.providers.inline import DataURLs
from batchvid.providers.registry import PROVIDERS
from batchvid.providers.response import Response

from .test_wild_answers import ID, NOW, URL, answer, every_provider, looked

NOT_FAILED = [
    ("two words of one object", 200, '{"id":"$ID","status":"failed","state":"processing"}'),
    ("a failure around a task that goes on", 429, '{"id":"$ID","status":"fail","data":{"task_status":"processing"}}'),
    ("one inside a task without a word", 200, '{"id":"$ID","progress":40,"detail":{"status":"error"}}'),
    ("another thing with an id", 200, '{"id":"$ID","progress":40,"video":{"id":"vid_2","status":"failed"}}'),
    ("a list of strangers", 200, '{"data":[{"id":"a","status":"failed"},{"id":"b","status":"failed"}]}'),
    ("a gateway that repeats the id", 504, '{"task_id":"$ID","status":"timeout","message":"upstream timed out"}'),
    ("no id", 500, '{"status":"failed","error":{"message":"boom"}}'),
    ("an empty id", 200, '{"id":"","status":"failed"}'),
    ("404, not known yet", 404, '{"task_id":"$ID","status":"fail","code":"task_not_exist","message":"not found"}'),
    ("200, too fast", 200, '{"task_id":"$ID","status":"error","code":429,"message":"Too many requests"}'),
    ("402", 402, '{"id":"$ID","status":"error","message":"balance too low to query"}'),
    ("500, timed out", 500, '{"task_id":"$ID","status":"error","message":"upstream request timeout"}'),
    ("502, failed", 502, '{"success":false,"task_id":"$ID","status":"failed","message":"failed to fetch status"}'),
    ("503, the error is the object", 503, '{"id":"$ID","object":"error","status":"error","model":"m"}'),
    ("429, cancelled", 429, '{"id":"$ID","status":"cancelled","message":"query cancelled"}'),
    ("a word with a blank", 200, '{"id":"$ID","status":"in complete"}'),
    ("404, nested", 404, '{"task_id":"$ID","status":"fail","error":{"code":"task_not_exist","message":"not found"}}'),
    ("404, failed", 404, '{"task_id":"$ID","status":"failed","message":"task not found"}'),
    ("429, nested", 429, '{"id":"$ID","status":"error","error":{"message":"slow down","type":"rate_limit_error"}}'),
    ("500, nested", 500, '{"id":"$ID","status":"error","error":{"message":"upstream request timeout"}}'),
    ("504, nested", 504, '{"id":"$ID","status":"failed","error":{"code":504,"message":"upstream timed out"}}'),
    ("503, it names the model", 503, '{"id":"$ID","status":"error","model":"m","message":"upstream busy"}'),
    ("200, not known", 200, '{"task_id":"$ID","status":"error","error":{"code":"task_not_found","message":"x"}}'),
    ("400, a rate code", 400, '{"id":"$ID","status":"error","error":{"code":"rate_limit_exceeded","message":"x"}}'),
    ("the first of two attempts", 200, '{"data":[{"id":"$ID","status":"failed"},{"id":"$ID","status":"processing"}]}'),
    ("a part that names its task", 200, '{"id":"$ID","progress":40,"items":[{"job_id":"$ID","status":"failed"}]}'),
    ("a running word around", 200, '{"status":"processing","data":{"task_id":"$ID","status":"error"}}'),
    ("the word of another thing", 200, '{"id":"$ID","status":"thumbnail.failed","progress":60}'),
]


@pytest.mark.parametrize(
    ("what", "status", "shape"),
    NOT_FAILED,
)
@every_provider
def test_what_is_not_said_of_the_task_does_not_fail_it(what: str, status: int, shape: str, name: str) -> None:
    """Taken for a failure, it would buy the clip again."""
    report = looked(shape, name, status=status)
    assert not isinstance(report, TaskReport) or report.phase is not Phase.FAILED, what


CLIPS = [
    ("a parent", '"task_info":{"parent_video":{"url":"$X"}},"task_result":{"videos":[{"url":"$U"}]}'),
    ("arguments", '"arguments":{"video_url":"$X"},"output":{"video":{"url":"$U"}}'),
    ("a preview", '"preview_video_url":"$X","download_url":"$U"'),
    ("with a watermark", '"url":"$X","url_without_watermark":"$U"'),
    ("two sizes", '"mp4_480p":"$X","mp4_1080p":"$U"'),
    ("a page and a file", '"hosted_url":"https://t.example/abc","download_url":"$U"'),
    ("properties", '"properties":{"video_url":"$X"},"result":{"video":{"url":"$U"}}'),
    ("lowres", '"lowres_video":"$X","video":"$U"'),
    ("without audio", '"video_without_audio_url":"$X","video_url":"$U"'),
    ("a related task", '"related":[{"id":"old","status":"completed","video_url":"$X"}],"data":{"result":{"url":"$U"}}'),
    ("a URL that does something", '"delete_url":"https://x.example/d","data":{"result":{"url":"$U"}}'),
    ("named by the method", '"image_to_video":{"url":"$U"}'),
]


@pytest.mark.parametrize(("what", "fields"), CLIPS)
@every_provider
def test_the_clip_is_ours(what: str, fields: str, name: str) -> None:
    """What it was made of, a poorer version and the pages around it are not."""
    report = looked(f'{{"id":"$ID","status":"completed",{fields}}}', name)
    assert isinstance(report, TaskReport)
    assert report.url == URL, what


NO_TASK = [
    ("a code and a request id", '{"code":1102,"message":"balance not enough","request_id":"r1"}'),
    ("a text that is none", '{"code":500,"message":"boom","data":"ERR-1234"}'),
    ("an error with an id", '{"id":"err_1","error":{"code":"insufficient_quota","message":"x"}}'),
    ("an error around an id", '{"success":false,"message":"Insufficient credits","data":{"id":"user_77"}}'),
    ("the same with a code", '{"code":500,"message":"boom","data":{"id":"trace-1"}}'),
    ("a word of failure", '{"status":"fail","id":"req_1","msg":"not enough credits"}'),
    ("an error by its object", '{"id":"req_1","object":"error","message":"x"}'),
]


@pytest.mark.parametrize(("what", "shape"), NO_TASK)
@every_provider
def test_an_error_is_no_task(what: str, shape: str, name: str) -> None:
    """As a task it would be polled for the whole night, and nothing would stop."""
    assert not isinstance(PROVIDERS[name].read_create(answer(shape), now=NOW), Created), what


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param('{"code":201,"message":"created","id":"$ID"}', id="code-201"),
        pytest.param('{"code":"000000","msg":"success","id":"$ID"}', id="six-zeros"),
        '{"code":1000,"data":{"id":"$ID"}}',
        '{"id":"req_99","data":{"task_id":"$ID"}}',
    ],
)
@every_provider
def test_a_task_is_known_by_the_create(shape: str, name: str) -> None:
    """A task that a person would see is in doubt otherwise."""
    outcome = PROVIDERS[name].read_create(answer(shape), now=NOW)
    assert isinstance(outcome, Created)
    assert outcome.task_id == ID


@pytest.mark.parametrize("padding", ["", "=", "=="])
@every_provider
def test_the_second_clip_of_an_answer_is_asked_for_by_its_number(padding: str, name: str) -> None:
    """Else the first one is saved, which is the input."""
    data = f"data:video/mp4;base64,AAAA{'AAAA'[len(padding) :]}{padding}"
    text = json.dumps({"id": ID, "status": "completed", "input": {"video": data}, "video_url": data})
    parts = DataURLs()
    body = parts.feed(text.encode())[0] + parts.feed(b"")[0]
    report = PROVIDERS[name].read_poll(Response(200, {}, body), task_id=ID, now=NOW)
    assert isinstance(report, TaskReport)
    assert inline_number(report.url or "") == 2


CLIP = bytes(range(256)) * 3
PACKED = base64.b64encode(CLIP).decode()


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(PACKED, id="plain"),
        pytest.param(PACKED.replace("/", "\\/"), id="slash-escaped"),
        pytest.param(PACKED.replace("+", "\\u002B"), id="plus-escaped"),
        pytest.param("\\n".join(PACKED[n : n + 76] for n in range(0, len(PACKED), 76)), id="in-lines"),
    ],
)
def test_a_clip_in_an_answer_comes_out_as_it_was(packed: str) -> None:
    """Base64 may be escaped as JSON allows it, and come in lines."""
    parts = DataURLs()
    found = parts.feed(f'{{"video_url":"data:video/mp4;base64,{packed}"}}'.encode())[1] + parts.feed(b"")[1]
    assert found == CLIP


@every_provider
def test_a_failed_task_may_have_parts_that_were_finished(name: str) -> None:
    """Else its end is only the time-out."""
    shape = '{"id":"$ID","status":"failed","error":{"message":"nsfw"},"videos":[{"id":"v","status":"completed"}]}'
    report = looked(shape, name)
    assert isinstance(report, TaskReport)
    assert report.phase is Phase.FAILED
