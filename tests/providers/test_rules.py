"""What the answers of gateways and servers in the wild mean: shapes that were seen, others of their kind, and rules.

In a shape ``$ID`` is the task that was asked for, ``$U`` the URL of its clip, ``$X`` that of another video and ``$P``
that of a picture.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.task import INLINE_CLIP, Created, Fault, FaultKind, Phase, ProviderName, TaskReport
from batchvid.providers.cometapi import WORDS
from batchvid.providers.registry import PROVIDERS
from batchvid.providers.response import Response
from batchvid.providers.status import RULES, Look

NOW = 1_800_000_000.0
ID = "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR"
URL = "https://files.example/clip.mp4?sig=a%20b"
ANOTHER = "https://files.example/another.mp4"
PICTURE = "https://files.example/picture.png"

every_provider = pytest.mark.parametrize("name", list(ProviderName))


def filled(text: str) -> bytes:
    """Return a shape with the id and the URLs in it."""
    return text.replace("$ID", ID).replace("$U", URL).replace("$P", PICTURE).replace("$X", ANOTHER).encode()


def looked(text: str, *, status: int = 200, name: str = ProviderName.COMETAPI) -> TaskReport | Fault:
    """Read the answer to a poll."""
    return PROVIDERS[name].read_poll(Response(status, {}, filled(text)), task_id=ID, now=NOW)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.looks)
def test_every_rule_decides_the_shape_beside_it(rule: Any) -> None:
    """The first rule that fits decides, and no rule stands in the shadow of another one."""
    status, _, body = rule.seen.partition(" ")
    it = Look(Response(int(status), {}, filled(body)), WORDS, ID)
    assert next(one.looks for one in RULES if one.fits(it)) == rule.looks


FINISHED = [
    # seen
    '{"task_id":"$ID","status":"succeeded","error":{"code":0,"message":""},"content":{"result_url":"$U"}}',
    '{"id":"$ID","status":"completed","error":{"code":"success","message":"ok"},"video_url":"$U"}',
    '{"id":"$ID","status":"completed","error":"none","url":"$U"}',
    '{"id":"$ID","status":"completed","error":{"code":null,"message":null},"url":"$U"}',
    '{"id":"$ID","status":"completed","data":[{"url":"$U"}]}',
    '{"id":"$ID","status":"completed","data":{"videos":[{"url":"$U"}]}}',
    '{"id":"$ID","status":"completed","videos":[{"url":"$U"}]}',
    '{"id":"$ID","status":"completed","video":{"url":"$U"}}',
    '{"id":"$ID","status":"completed","detail":{"video_url":"$U"}}',
    '{"id":"$ID","status":"completed","content_url":"$U"}',
    '{"id":"$ID","status":"completed","content":{"video_url":"$U"}}',
    '{"id":"$ID","status":"completed","result_url":"$U"}',
    '{"id":"$ID","status":"completed","output_url":"$U"}',
    '{"id":"$ID","status":"completed","outputs":{"video_url":"$U"}}',
    '{"id":"$ID","status":"completed","output":"$U"}',
    '{"id":"$ID","status":"completed","output":["$U"]}',
    '{"id":"$ID","status":"completed","output":[{"url":"$U"}]}',
    '{"id":"$ID","status":"completed","metadata":{"result_urls":["$U"]}}',
    '{"id":"$ID","status":"completed","video_url":["$U"]}',
    '{"id":"$ID","status":"completed","video_url":{"url":"$U"}}',
    '{"id":"$ID","state":"completed","video_url":"$U"}',
    '{"id":"$ID","task_status":"succeed","video_url":"$U"}',
    '{"output":{"task_id":"$ID","task_status":"SUCCEEDED","video_url":"$U"},"request_id":"r-1"}',
    '{"data":{"id":"$ID","state":"success","url":"$U"}}',
    '{"code":0,"message":"SUCCEED","data":{"task_id":"$ID","task_status":"succeed","task_result":{"videos":[{"url":"$U"}]}}}',
    '{"code":200,"msg":"success","data":{"taskId":"$ID","state":"success","resultUrls":["$U"]}}',
    '{"id":"$ID","status":2,"progress":100,"video_url":"$U"}',
    '{"id":"$ID","status":"ready","url":"$U"}',
    '{"id":"$ID","status":"generated","url":"$U"}',
    '{"id":"$ID","status":"successful","url":"$U"}',
    # of the same kinds
    '{"id":"$ID","status":"TASK_STATUS_SUCCEED","url":"$U"}',
    '{"id":"$ID","status":"Job State Succeeded","url":"$U"}'.replace("Job State Succeeded", "JOB_STATE_SUCCEEDED"),
    '{"id":"$ID","status":{"state":"Completed"},"assets":{"video":"$U","image":"$P"}}',
    '[{"id":"$ID","status":"completed","url":"$U"}]',
    '{"data":[{"id":"other_1","status":"failed","url":"https://files.example/other.mp4"},{"id":"$ID","status":"completed","url":"$U"}]}',
    '{"task":{"id":"$ID"},"result":{"status":"done","mp4":"$U"}}',
    '{"status":"completed","video":{"id":"$ID","url":"$U"}}',
    '{"status":"success","data":{"task_id":"$ID","status":"completed","download_link":"$U"}}',
    '{"job_id":"$ID","status":"complete","assets":[{"kind":"video","src":"$U"}]}',
    '{"name":"$ID","done":true,"response":{"generateVideoResponse":{"generatedSamples":[{"video":{"uri":"$U"}}]}}}',
    '{"id":"$ID","status":"succeeded","output":["$U"],"urls":{"get":"https://api.example/v1/predictions/1","cancel":"https://api.example/v1/predictions/1/cancel"},"input":{"prompt":"https://files.example/prompt.mp4","image_url":"$P"}}',
    '{"id":"$ID","status":"completed","thumbnail_url":"$P","cover":{"url":"$P"},"image_url":"$P","poster":"$P","result":{"first_frame_url":"$P","url":"$U"}}',
    '{"id":"$ID","status":"completed","callback_url":"https://me.example/hook","prompt":"https://me.example/a.mp4","generated_video":"$U"}',
    '{"id":"$ID","status":"completed","watermark_url":"https://files.example/marked.mp4","url":"$U"}',
    '{"id":"$ID","status":"completed","url":"https://console.example/tasks/1","video_url":"$U"}',
    '{"id":"$ID","status":"completed","data":"{\\"video_url\\":\\"$U\\"}"}',
    '{"code":"success","data":"{\\"task_id\\":\\"$ID\\",\\"status\\":\\"SUCCESS\\",\\"url\\":\\"$U\\"}"}',
    '{"id":"$ID","status":"completed","output":"Your video is ready: $U"}',
    '{"id":"$ID","status":"completed","result":"[download]($U)"}',
    '{"id":"$ID","status":"queued","data":{"task_id":"$ID","status":"completed","url":"$U"}}',
    '{"id":"$ID","status":"3","progress":"100%","result":{"url":"$U"}}',
    '{"taskId":"$ID","status":"finished","data":{"list":[{"resource":{"resource_url":"$U"}}]}}',
    '{"id":"$ID","status":"completed","error":{"code":200,"message":"Success"},"works":[{"video":{"resource":"$U"}}]}',
    '{"request_id":"$ID","status":"COMPLETED","video":{"url":"$U","content_type":"video/mp4"}}',
    '{"id":"$ID","status":"completed","error":{"message":"a warning"},"video_url":"$U"}',
    '{"id":"$ID","object":"video","status":"completed","files":["$U"]}',
    '{"status":"completed","request_id":"$ID","status_url":"https://p.example/requests/1/status","video":{"url":"$U"}}',
    '{"data":{"task_id":"$ID","task_status":"succeed","task_info":{"parent_video":{"url":"$X"}},"result":{"videos":[{"url":"$U"}]}}}',
    '{"request_id":"$ID","status":"COMPLETED","arguments":{"video_url":"$X"},"output":{"video":{"url":"$U"}}}',
    '{"id":"$ID","state":"completed","assets":{"progress_video":"$X","video":"$U"}}',
    '{"id":"$ID","status":"completed","preview_video_url":"$X","download_url":"$U"}',
    '{"id":"$ID","status":"completed","url":"$U","video_preview":"$X"}',
    '{"id":"$ID","status":"completed","hosted_url":"https://p.example/watch/1","download_url":"$U"}',
    '{"id":"$ID","status":"completed","streaming_url":"https://p.example/1.m3u8","download_url":"$U"}',
    '{"id":"$ID","status":"completed","subtitles_url":"https://p.example/1.ass","result_url":"$U"}',
    '{"id":"$ID","status":"completed","url":"https://p.example/tasks/1","download":"$U"}',
    '{"id":"$ID","status":"completed","model":{"url":"https://p.example/model"},"output":"$U"}',
    '{"id":"$ID","successFlag":1,"response":{"resultUrls":["$U"]}}',
    '{"id":"$ID","jobs":[{"id":"j","status":"completed","results":{"min":{"url":"$X"},"raw":{"url":"$U"}}}]}',
    '{"operations":[{"operation":{"name":"$ID","metadata":{"video":{"fifeUrl":"$U"}}},"status":"MEDIA_STATUS_SUCCESSFUL"}]}',
    '{"id":"$ID","status":"ok","state":"completed","url":"$U"}',
    '{"id":"$ID","status":200,"task_status":"SUCCESS","url":"$U"}',
    '{"code":"success","data":{"task_id":"$ID","status":"SUCCESS","data":{"id":"upstream_1","status":"completed","url":"$U"}}}',
    '{"id":"$ID","status":"completed","videos":{"mp4_480p":"$X","mp4_1080p":"$U"}}',
    '{"id":"$ID","status":"completed","watermark":{"video_url":"$X"},"files":{"plain":{"url":"$U"}}}',
    '{"id":"$ID","status":"completed","video_url":"$X","hd_video_url":"$U"}',
    '{"id":"$ID","status":"completed","sd_url":"$X","hd_url":"$U"}',
    '{"id":"$ID","status":"completed","depth_video_url":"$X","mask_url":"$X","url":"$U"}',
    '{"id":"$ID","status":"completed","resultWaterMarkUrls":["$X"],"resultUrls":["$U"]}',
    '{"id":"$ID","status":"completed","works":[{"video":{"resource":"$X","resource_without_watermark":"$U"}}]}',
    '{"id":"$ID","status":"TaskStatus.COMPLETED","zip_url":"$X","video_url":"$U"}',
    '{"id":"$ID","status":"video_generation_completed","lora_url":"$X","video_url":"$U"}',
    '{"id":"$ID","status":"SUCCESSED","result":"`$U`"}',
    '{"generations_by_pk":{"id":"$ID","status":"COMPLETE","motionMP4URL":"$U"}}',
    '{"id":"$ID","status":"completed","properties":{"video_url":"$X"},"result":{"video":{"url":"$U"}}}',
    '{"id":"$ID","status":"completed","video_without_audio_url":"$X","video_url":"$U"}',
    '{"id":"$ID","status":"completed","lowres_video":"$X","video":"$U"}',
    '{"id":"$ID","status":"completed","retry_url":"https://p.example/retry","data":{"result":{"url":"$U"}}}',
    '{"id":"$ID","status":"completed","image_to_video":{"url":"$U"}}',
    '{"id":"$ID","status":"completed","media":[{"type":"image","url":"$P"},{"type":"video","url":"$U"}]}',
]


@every_provider
@pytest.mark.parametrize("shape", FINISHED)
def test_a_finished_task_is_finished_and_its_clip_is_found(shape: str, name: str) -> None:
    """Wherever id, word and URL stand, whatever error that is none stands beside them, and never at a picture."""
    found = looked(shape, name=name)
    assert isinstance(found, TaskReport), found
    assert (found.phase, found.url, found.other_id) == (Phase.SUCCEEDED, URL, None)
    by_word = not any(mark in shape for mark in ("progress", '"done"', "successFlag"))
    if by_word and not shape.startswith('{"task":'):
        inside_an_error = looked(shape, name=name, status=500)
        assert isinstance(inside_an_error, TaskReport), inside_an_error
        assert inside_an_error.url == URL


@pytest.mark.parametrize(
    ("shape", "place"),
    [
        ('{"id":"$ID","status":"completed","video_url":"/f/x.mp4"}', "/f/x.mp4"),
        ('{"id":"$ID","status":"completed","output":{"url":"/v1/files/9/content?x=1"}}', "/v1/files/9/content?x=1"),
        ('{"id":"$ID","status":"completed","url":"//cdn.example/x.mp4"}', "https://cdn.example/x.mp4"),
        ('{"id":"$ID","status":"completed","video_url":"data:video/mp4;base64,1"}', f"{INLINE_CLIP}1"),
        ('{"id":"$ID","status":"completed","data":[{"url":"data:video/webm;base64,12=="}]}', f"{INLINE_CLIP}12"),
        (
            '{"input":{"video":"data:video/mp4;base64,1"},"id":"$ID","status":"completed","url":"data:video/mp4;base64,2"}',
            f"{INLINE_CLIP}2",
        ),
        ('{"id":"$ID","status":"completed","video_url":"/f/x.mp4","output":"$U"}', URL),
        ('{"id":"$ID","status":"completed"}', None),
        ('{"id":"$ID","status":"completed","url":null,"urls":[null],"file_path":"/srv/outputs/1.mp4"}', None),
        ('{"id":"$ID","status":"completed","file_paths":["/srv/outputs/1.mp4"],"file_name":"/x.mp4"}', None),
        ('{"id":"$ID","status":"completed","file_path":"/srv/1.mp4","url":"/files/1.mp4"}', "/files/1.mp4"),
        ('{"id":"$ID","status":"completed","video_path":"$U"}', URL),
        ('{"id":"$ID","status":"completed","url":"file:///etc/passwd","video_url":"javascript:alert(1)"}', None),
        (
            '{"id":"$ID","status":"completed","image_url":"$U","prompt":"$U","error":{"url":"$U"},"callback_url":"$U"}',
            None,
        ),
        ('{"id":"$ID","status":"completed","thumbnail":{"video_url":"$U"},"input":{"video":"$U"}}', None),
        ('{"id":"$ID","status":"completed","video_url":"$P","cover":"$U"}', None),
        ('{"id":"$ID","status":"completed","message":"see $U"}', None),
        ('{"id":"$ID","object":"video","status":"completed","remixed_from":{"id":"video_old","url":"$X"}}', None),
        (
            '{"object":"list","data":[{"id":"other_1","status":"completed","url":"$X"},{"id":"$ID","status":"completed"}]}',
            None,
        ),
        ('{"id":"$ID","status":"completed","urls":{"get":"https://api.example/v1/predictions/1"}}', None),
        (
            '{"data":[{"task_id":"other_1","url":"https://files.example/other.mp4"},{"task_id":"$ID","status":"completed"}]}',
            None,
        ),
    ],
)
def test_a_clip_is_a_url_a_path_of_the_service_or_in_the_answer_itself(shape: str, place: str | None) -> None:
    """What is no clip, or another task's, is not fetched; then the clip is asked for behind ``/content``."""
    found = looked(shape)
    assert isinstance(found, TaskReport), found
    assert (found.phase, found.url) == (Phase.SUCCEEDED, place)


GOING_ON = [
    '{"id":"$ID","status":"processing","error":{"message":"upstream is slow"}}',
    '{"status":"success","data":{"task_id":"$ID","status":"processing"}}',
    '{"id":"$ID","status":"success","data":{"status":"processing"}}',
    '{"status":"success","data":{"task_id":"$ID","progress":30}}',
    '{"code":"success","data":{"task_id":"$ID","status":"IN_PROGRESS","progress":"40%"}}',
    '{"code":0,"message":"SUCCEED","data":{"task_id":"$ID","task_status":"submitted"}}',
    '{"id":"$ID","status":"IN_QUEUE"}',
    '{"id":"$ID","status":"In Progress"}',
    '{"id":"$ID","status":"in-progress"}',
    '{"id":"$ID","status":"InProgress","video_url":"$U"}',
    '{"id":"$ID","status":"marinating"}',
    '{"id":"$ID","status":2}',
    '{"id":"$ID","status":2,"progress":100}',
    '{"id":"$ID","status":3,"progress":100,"video_url":"$U","error":{"message":"blocked"}}',
    '{"id":"$ID"}',
    '{"id":"$ID","status":"processing","steps":[{"status":"completed","output":{"url":"$U"}}]}',
    '{"id":"$ID","status":"running","attempts":[{"status":"failed"}]}',
    '{"id":"$ID","input":{"status":"failed"},"metadata":{"status":"failed"}}',
    '{"id":"$ID","status":"unknown"}',
    '{"object":"list","data":[{"id":"video_a","status":"completed","url":"$X"},{"id":"video_b","status":"queued"}]}',
    '{"id":"$ID","status":"processing","error":{"code":"task_not_found","message":"thumbnail"}}',
    '{"id":"$ID","progress":100,"video_url":"$U","error":null}',
    '{"id":"$ID","status":"pondering","progress":100,"video_url":"$U"}',
]


@pytest.mark.parametrize("shape", GOING_ON)
def test_a_task_that_goes_on_goes_on(shape: str) -> None:
    """Words of the request around it, of its steps within it, and numbers say nothing about it."""
    found = looked(shape)
    assert not isinstance(found, TaskReport) or found.phase in {Phase.WAITING, Phase.RUNNING, Phase.UNHEARD}, found
    assert not isinstance(found, Fault) or found.kind is FaultKind.BROKEN


FAILED = [
    *(f'{{"id":"$ID","object":"video","status":"{word}"}}' for word in ("aborted", "timeout", "timed_out", "error")),
    '{"id":"$ID","object":"video","status":"failed","error":{"code":500,"message":"CUDA out of memory"}}',
    '{"detail":{"id":"$ID","status":"failed","error":"nsfw"}}',
    '{"data":{"task_id":"$ID","task_status":"FAILED","fail_reason":"nsfw"}}',
    '{"output":{"task_id":"$ID","task_status":"FAILED","message":"nsfw"}}',
    '{"status":"success","data":{"task_id":"$ID","status":"failed","message":"nsfw"}}',
    '{"request_id":"$ID","status":"failed","error":{"message":"nsfw"}}',
    *(
        f'{{"id":"$ID","status":"{word}"}}'
        for word in (
            "stopped", "nsfw", "cancelled", "content_filtered", "incomplete", "deleted",
            "moderation_blocked", "generation_failed", "TASK_STATUS_FAILED", "Timed-Out", "ContentFiltered",
            "MEDIA_STATUS_FAILED",
        )
    ),
]  # fmt: skip


@every_provider
@pytest.mark.parametrize("status", [200, 400, 422, 500])
@pytest.mark.parametrize("shape", FAILED)
def test_a_task_fails_by_its_own_id_and_a_word_whatever_the_http_status(shape: str, status: int, name: str) -> None:
    """It ends, and does not wait for its time-out."""
    found = looked(shape, status=status, name=name)
    assert isinstance(found, TaskReport), found
    assert found.phase is Phase.FAILED


NOTHING = [
    '{"task_id":"$ID","data":{"status":"failed","failure_reason":"nsfw"}}',
    '{"id":"$ID","progress":5,"video":{"id":"vid_2","status":"failed"}}',
    '{"id":"$ID","progress":10,"job":{"id":"previous_job","status":"cancelled"}}',
    '{"id":"$ID","status":null,"items":[{"status":"failed","name":"thumbnail"}]}',
    '{"id":"$ID","progress":1,"result":[{"status":"failed"}]}',
    '{"id":"$ID","progress":40,"detail":{"status":"error","message":"webhook delivery failed"}}',
    '{"id":"$ID","output":"{\\"status\\":\\"error\\"}"}',
    '{"id":"$ID","status":"fail","code":429,"data":{"task_id":"$ID","task_status":"processing"}}',
    '{"id":"$ID","status":"error","data":{"id":"$ID","status":"processing"}}',
    '{"request_id":"$ID","status":"error","data":{"status":"processing","progress":30}}',
    '{"id":"$ID","status":"in complete"}',
    '{"error":{"message":"upstream request timeout, please retry"}}',
    '{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}',
    '{"status":"error","message":"rate limit exceeded, retry later"}',
    '{"status":"fail","code":429,"message":"slow"}',
    '{"status":"fail","code":429,"data":{"task_id":"$ID"}}',
    '{"error":{"task_id":"$ID","status":"failed","message":"gateway"}}',
    '{"id":"task_of_another","status":"failed"}',
    '{"data":[{"id":"task_of_another","status":"failed"}]}',
    '{"remixed_from_video_id":"$ID","id":"task_of_another","status":"failed"}',
    '{"prompt":"{\\"id\\":\\"$ID\\",\\"status\\":\\"failed\\"}","status":"error"}',
    '{"id":"$ID","status":"success","data":{"status":"failed"}}',
    '{"id":"$ID","error":"boom"}',
    '{"id":"$ID","status":"perished","error":"boom","finished_at":1}',
    '{"success":false,"message":"busy"}',
    '{"code":500,"message":"internal","data":null}',
]


@every_provider
@pytest.mark.parametrize("status", [200, 201, 400, 404, 429, 500, 502])
@pytest.mark.parametrize("shape", NOTHING)
def test_what_does_not_say_it_of_the_task_fails_no_task(shape: str, status: int, name: str) -> None:
    """A look that brought nothing, with the words that were said; taken for a failure, it would be bought again."""
    found = looked(shape, status=status, name=name)
    assert not isinstance(found, TaskReport) or found.phase not in {Phase.FAILED, Phase.SUCCEEDED}, found
    if status == 200:
        assert isinstance(found, Fault) or found.phase is Phase.UNHEARD


def packed(model: str, inner: str = "video_687465616c69", provider: str = "openai") -> str:
    """Return an id as LiteLLM packs one."""
    text = f"litellm:custom_llm_provider:{provider};model_id:{model};video_id:{inner}"
    return "video_" + base64.b64encode(text.encode()).decode()


def other_packing(text: str) -> str:
    """Return an id that packs another text."""
    return "video_" + base64.b64encode(text.encode()).decode()


@every_provider
@pytest.mark.parametrize(
    ("told", "phase"),
    [
        (packed(""), Phase.FAILED),
        (packed("sora-2"), Phase.FAILED),
        (packed("", "video_of_another"), None),
        (packed("sora-2-pro"), None),
        (packed("", provider="azure"), None),
        (other_packing("project:alpha;task:7;video_id:video_687465616c69"), None),
        (other_packing("custom_llm_provider:openai;video_id:video_687465616c69"), None),
        ("video_687465616c69", None),
    ],
)
def test_an_id_that_a_proxy_packs_in_two_ways_is_one(name: str, told: str, phase: Phase | None) -> None:
    """LiteLLM leaves the model out in its second answer: a failure under that id is the task's; no other packing is."""
    body = json.dumps({"id": told, "object": "video", "status": "failed", "error": {"message": "no"}}).encode()
    found = PROVIDERS[name].read_poll(Response(200, {}, body), task_id=packed("sora-2"), now=NOW)
    assert (found.phase if isinstance(found, TaskReport) else None) == phase


NOT_THE_TASK = [
    (404, '{"task_id":"$ID","status":"fail","message":"task not exist","code":"task_not_exist"}'),
    (500, '{"task_id":"$ID","status":"error","message":"upstream request timeout"}'),
    (200, '{"task_id":"$ID","status":"error","code":429,"message":"Too many requests"}'),
    (502, '{"success":false,"task_id":"$ID","status":"failed","message":"failed to fetch task status"}'),
    (503, '{"id":"$ID","object":"error","status":"error","model":"m","message":"upstream busy"}'),
    (429, '{"id":"$ID","status":"cancelled","message":"query cancelled: too many"}'),
    (402, '{"id":"$ID","status":"error","message":"balance too low to query"}'),
    *((status, '{"task_id":"$ID","status":"failed","message":"no"}') for status in (401, 403, 404, 407, 408, 504, 524)),
    (404, '{"task_id":"$ID","status":"fail","error":{"code":"task_not_exist","message":"task not exist"}}'),
    (429, '{"id":"$ID","status":"error","error":{"message":"Too many requests","type":"rate_limit_error"}}'),
    (504, '{"id":"$ID","status":"failed","error":{"code":504,"message":"upstream timed out"}}'),
    (500, '{"id":"$ID","status":"error","error":{"message":"upstream request timeout"}}'),
    (200, '{"id":"$ID","status":"error","error":{"code":"rate_limit_exceeded","message":"slow"}}'),
    (503, '{"id":"$ID","status":"error","model":"m","progress":null,"message":"upstream busy"}'),
    (200, '{"data":[{"task_id":"$ID","status":"failed"},{"task_id":"$ID","status":"processing"}]}'),
    (
        200,
        '{"status":"processing","progress":30,"data":{"task_id":"$ID","status":"error","message":"callback failed"}}',
    ),
    (200, '{"id":"$ID","progress":40,"items":[{"job_id":"$ID","kind":"thumbnail","status":"failed"}]}'),
    (200, '{"id":"$ID","status":"thumbnail.failed","progress":60}'),
    (200, '{"id":"$ID","status":"webhook_status_failed","progress":60}'),
    (200, '{"id":"$ID","status":"incomplete","progress":40}'),
]


@every_provider
@pytest.mark.parametrize(("status", "shape"), NOT_THE_TASK)
def test_somebody_on_the_way_who_repeats_the_id_fails_no_task(name: str, status: int, shape: str) -> None:
    """A gateway that gave up says so of the request; of a task it would know more than its id."""
    found = looked(shape, status=status, name=name)
    assert not isinstance(found, TaskReport) or found.phase is not Phase.FAILED
    for task in (
        '{"id":"$ID","object":"video","status":"error","error":{"message":"no memory"}}',
        '{"id":"$ID","status":"failed","created_at":1773297229,"progress":40}',
    ):
        known = looked(task, status=status, name=name)
        assert isinstance(known, TaskReport)
        assert known.phase is Phase.FAILED


@every_provider
@pytest.mark.parametrize("depth", [90, 500, 900, *range(940, 1000, 3), 2000, 50_000])
def test_no_depth_of_an_answer_makes_reading_it_fail(name: str, depth: int) -> None:
    """One job is affected, for this look; an exception would end the run for all."""
    for opened, closed in (
        ('{"status":', "}"),
        ('{"error":', "}"),
        ('{"detail":[', "]}"),
        ('{"data":', "}"),
        ("[", "]"),
    ):
        nest = opened * depth + "1" + closed * depth
        for text in (nest, f'{{"id":"{ID}","status":"queued","error":{nest},"detail":{nest},"message":{nest}}}'):
            answer = Response(200, {}, text.encode())
            PROVIDERS[name].read_poll(answer, task_id=ID, now=NOW)
            PROVIDERS[name].read_create(answer, now=NOW)
            PROVIDERS[name].read_refused_download(answer, now=NOW)


TAKEN = [
    ('{"data":{"task_id":"$ID"}}', 200),
    ('{"output":{"task_id":"$ID","task_status":"PENDING"},"request_id":"r-9"}', 200),
    ('{"task":{"id":"$ID"}}', 201),
    ('{"result":{"taskId":"$ID"}}', 200),
    ('{"code":200,"msg":"success","data":{"taskId":"$ID"}}', 200),
    ('{"code":0,"data":"$ID"}', 200),
    ('{"id":"req_99","data":{"task_id":"$ID"}}', 200),
    ('{"id":"req_99","data":"{\\"task_id\\":\\"$ID\\"}"}', 200),
    ('{"video":{"id":"$ID","status":"queued"}}', 200),
    ('{"error":{"message":"late"},"data":{"task_id":"$ID"}}', 502),
    ('{"videoId":"$ID"}', 200),
    ("[]", None),
    ('{"data":[{"id":"$ID"},{"id":"another"}]}', None),
    ('{"data":{"user":{"id":"$ID"}}}', None),
    ('{"id":"$ID","status":"queued","video":{"video_id":"video_old"}}', 200),
    ('{"data":{"id":"$ID","video_id":"video_of_input"}}', 200),
    ('{"id":"$ID","message":"Task submitted"}', 200),
    ('{"code":1102,"message":"Account balance not enough","request_id":"$ID"}', None),
    ('{"code":500,"message":"boom","data":"ERR-1234"}', None),
    ('{"status":"error","data":"traceid-99a"}', None),
    ('{"error":{"code":"insufficient_quota"},"id":"$ID"}', None),
    ('{"success":false,"message":"Insufficient credits","data":{"id":"$ID"}}', None),
    ('{"status":"fail","id":"$ID","msg":"not enough credits"}', None),
    ('{"code":500,"message":"boom","data":{"id":"$ID"}}', None),
    ('{"code":201,"message":"created","id":"$ID"}', 201),
    ('{"code":10000,"message":"ok","data":{"id":"$ID"}}', 200),
    ('{"data":"2025-01-01T00:00:00Z"}', None),
    ('{"data":"https://x.example/y1"}', None),
    ('{"metadata":{"task_id":"$ID"}}', None),
]


@every_provider
@pytest.mark.parametrize(("shape", "status"), TAKEN)
def test_the_task_of_a_create_is_found_where_it_is_certain(shape: str, status: int | None, name: str) -> None:
    """And where it is not, the purchase is in doubt: another id would be another task's, or nobody's."""
    found = PROVIDERS[name].read_create(Response(status or 200, {}, filled(shape)), now=NOW)
    if status is not None:
        assert found == Created(ID, None)
    else:
        assert isinstance(found, Fault)
        assert found.kind is FaultKind.UNSURE


REFUSED = [
    (403, '{"detail":"Model not allowed for this key"}', FaultKind.NOT_ALLOWED),
    (403, '{"message":"Forbidden"}', FaultKind.NOT_ALLOWED),
    (403, '{"code":null,"message":"your prompt was blocked by the policy"}', FaultKind.NOT_ALLOWED),
    (403, '{"code":null,"message":"your prompt \\"a balance beam, no audience\\" was blocked"}', FaultKind.NOT_ALLOWED),
    (403, "<html>", FaultKind.NOT_ALLOWED),
    (403, '{"code":null,"message":"user quota is not enough"}', FaultKind.ACCOUNT),
    (403, '{"error":{"message":"Insufficient balance","type":"forbidden"}}', FaultKind.ACCOUNT),
    (403, '{"error":{"message":"You have no credits left"}}', FaultKind.ACCOUNT),
    (403, '{"error":{"message":"Your credit balance is too low to access the API"}}', FaultKind.ACCOUNT),
    (403, '{"code":"","message":"余额不足,请充值"}', FaultKind.ACCOUNT),
    (402, "", FaultKind.ACCOUNT),
    (401, '{"id":"a1b2","name":"unauthorized","errors":["no"]}', FaultKind.ACCOUNT),
    (402, '{"id":"oQ1","error":{"message":"pay"}}', FaultKind.ACCOUNT),
    (429, '{"id":"oQ1","error":{"message":"slow"}}', FaultKind.THROTTLED),
    (400, '{"video_id":"not found"}', FaultKind.REJECTED),
    (422, '{"error":{"task_id":"is required"}}', FaultKind.REJECTED),
    (400, '{"error":{"code":"rate_limit_exceeded","message":"slow down"}}', FaultKind.THROTTLED),
    (
        404,
        '{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","code":404}}',
        FaultKind.REJECTED,
    ),
    (410, "", FaultKind.REJECTED),
    (451, '{"error":{"message":"not here"}}', FaultKind.REJECTED),
    (500, '{"error":{"code":"content_policy_violation","message":"x","type":"y"}}', FaultKind.UNSURE),
    (500, '{"error":{"code":"invalid_parameter","message":"x","type":"y"}}', FaultKind.UNSURE),
]


@every_provider
@pytest.mark.parametrize(("status", "body", "kind"), REFUSED)
def test_a_refused_create_has_its_one_class(status: int, body: str, kind: FaultKind, name: str) -> None:
    """The account is meant only by codes and words of money; a 5xx is judged by the closed list alone."""
    found = PROVIDERS[name].read_create(Response(status, {}, body.encode()), now=NOW, known=True)
    assert isinstance(found, Fault)
    assert found.kind is kind


@pytest.mark.parametrize(
    ("body", "kind", "url"),
    [
        ('{"url":"$U"}', FaultKind.BROKEN, URL),
        ('{"data":{"video_url":"$U"}}', FaultKind.BROKEN, URL),
        ('{"status":"completed","output":["$U"]}', FaultKind.BROKEN, URL),
        ('{"video":"data:video/mp4;base64,AAAA"}', FaultKind.BROKEN, f"{INLINE_CLIP}1"),
        ('{"video":"data:video/mp4;base64,AAAA', FaultKind.BROKEN, f"{INLINE_CLIP}1"),
        ('{"video":[{"url":"data:video/mp4;base64,AAAA', FaultKind.BROKEN, f"{INLINE_CLIP}1"),
        ('{"input":"data:video/mp4;base64,AAAA', FaultKind.BROKEN, None),
        ('{"input":{"video":"data:video/mp4;base64,AAAA', FaultKind.BROKEN, None),
        (
            '{"input":"data:video/mp4;base64,AAAA","output":"data:video/mp4;base64,BBBB"}',
            FaultKind.BROKEN,
            f"{INLINE_CLIP}2",
        ),
        ('{"status":"processing"}', FaultKind.NOT_READY, None),
        ('{"data":{"task_status":"submitted"}}', FaultKind.NOT_READY, None),
        ('{"error":{"message":"the task is not completed yet"}}', FaultKind.NOT_READY, None),
        ('{"detail":"Generation is still in-progress"}', FaultKind.NOT_READY, None),
        ('{"status":"failed","url":"$U"}', FaultKind.BROKEN, None),
        ("<html>$U</html>", FaultKind.BROKEN, None),
    ],
)
def test_a_text_in_place_of_a_clip_may_say_where_the_clip_is(body: str, kind: FaultKind, url: str | None) -> None:
    """Then it is followed, without the key."""
    found = PROVIDERS[ProviderName.COMETAPI].read_refused_download(Response(200, {}, filled(body)), now=NOW)
    assert (found.kind, found.url) == (kind, url)


PLACES = st.lists(
    st.sampled_from(["data", "output", "result", "task", "response", "video", "videos", "detail"]), max_size=4
)
BESIDE = st.dictionaries(
    st.sampled_from(
        ["prompt", "image_url", "thumbnail", "cover", "input", "error", "callback_url", "message", "code", "seed"]
    ),
    st.none() | st.text(max_size=20) | st.just(PICTURE) | st.just({"code": 0, "message": ""}),
    max_size=4,
)
NAMES = {
    "id": st.sampled_from(["id", "task_id", "taskId", "video_id"]),
    "status": st.sampled_from(["status", "state", "task_status"]),
    "clip": st.sampled_from(["url", "video_url", "videoUrl", "result_urls", "output", "content_url", "link", "mp4"]),
}


def wrapped(inner: Any, names: list[str]) -> Any:
    """Return an object behind these names, the first one outermost."""
    for name in reversed(names):
        inner = {name: inner}
    return inner


@every_provider
@given(
    names=st.fixed_dictionaries(NAMES),
    word=st.sampled_from(["completed", "SUCCESS", "Succeeded", "done", "ready"]),
    around=PLACES,
    within=PLACES,
    clip=st.sampled_from([URL, [URL], {"url": URL}]),
    beside=BESIDE,
)
def test_a_task_of_ours_that_is_finished_with_a_url_is_found_anywhere(  # noqa: PLR0917 hypothesis gives them by name
    name: str, names: dict[str, str], word: str, around: list[str], within: list[str], clip: Any, beside: dict[str, Any]
) -> None:
    """Whatever wraps the task, whatever its URL is wrapped in, whatever stands beside them, also in an HTTP error."""
    task = {**beside, names["id"]: ID, names["status"]: word} | wrapped({names["clip"]: clip}, within)
    body = json.dumps(wrapped(task, around)).encode()
    for status in (200, 202, 400, 500):
        found = PROVIDERS[name].read_poll(Response(status, {}, body), task_id=ID, now=NOW)
        assert isinstance(found, TaskReport), found
        assert (found.phase, found.url) == (Phase.SUCCEEDED, URL)


@every_provider
@given(
    word=st.sampled_from(["failed", "ERROR", "Cancelled", "nsfw", "timed_out"]),
    around=PLACES,
    status=st.integers(200, 599),
    beside=BESIDE,
)
def test_a_task_of_ours_that_failed_has_failed_whatever_the_status(
    name: str, word: str, around: list[str], status: int, beside: dict[str, Any]
) -> None:
    """It ends at the second such look, and no time-out is waited for."""
    body = json.dumps(wrapped({**beside, "id": ID, "object": "video", "status": word}, around)).encode()
    found = PROVIDERS[name].read_poll(Response(status, {}, body), task_id=ID, now=NOW)
    assert isinstance(found, TaskReport), found
    assert found.phase is Phase.FAILED


@every_provider
@pytest.mark.parametrize(
    ("answer", "task_id", "lines"),
    [
        (
            '{"code":"success","data":{"task_id":"$ID","status":"SUCCESS","fail_reason":"$U"}}', ID,
            ["task: id at data.task_id", "status: 'SUCCESS' at data.status", "rule: a word of success",
             "clip: its place at data.fail_reason"],
        ),
        ('{"data":{"task_id":"$ID"}}', None, ["task: id at data.task_id", "rule: a task id, whatever the status"]),
        ('{"error":"x"}', ID, ["task: no id, so it is about the task that was asked for", "status: none",
                               "rule: an error without a word"]),
    ],
)  # fmt: skip
def test_what_was_read_is_explained_with_its_place(
    name: str, answer: str, task_id: str | None, lines: list[str]
) -> None:
    """A person who reports a gateway sees which rule was used, and where things stood."""
    call = "create" if task_id is None else "poll"
    found = PROVIDERS[name].explain(Response(200, {}, filled(answer)), task_id=task_id)
    assert found == [f"{call}: {line}" for line in lines]
