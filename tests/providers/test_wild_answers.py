"""What the services and gateways of the world answer, by name: shapes from their documentation and public code.

In a shape ``$ID`` is the task that was asked for, ``$U`` the URL of its clip, ``$P`` a picture, ``$X`` another clip.
"""

from __future__ import annotations

import pytest

from batchvid.domain.task import Created, Fault, FaultKind, Phase, ProviderName, TaskReport
from batchvid.providers.registry import PROVIDERS
from batchvid.providers.response import Response

NOW = 1_800_000_000.0
ID = "task_pa9CKKtYlTdxO7IIHOKKhXfjxEu4EQoR"
URL = "https://files.example/clip.mp4?sig=a%20b"

every_provider = pytest.mark.parametrize("name", list(ProviderName))


def answer(shape: str, status: int = 200) -> Response:
    """Return a shape with the id and the URLs in it."""
    filled = shape.replace("$ID", ID).replace("$U", URL)
    filled = filled.replace("$P", "https://files.example/p.png").replace("$X", "https://files.example/other.mp4")
    return Response(status, {}, filled.encode())


def looked(shape: str, name: str, *, status: int = 200) -> TaskReport | Fault:
    """Read the answer to a poll."""
    return PROVIDERS[name].read_poll(answer(shape, status), task_id=ID, now=NOW)


FINISHED = [
    ("AI/ML API", '{"id":"$ID","status":"completed","video":{"url":"$U","content_type":"video/mp4","file_size":1}}'),
    (
        "APIMart",
        '{"code":200,"data":{"id":"$ID","status":"completed","progress":100,"result":{"videos":[{"url":["$U"],"expires_at":2}],"thumbnail_url":"$P"}}}',
    ),
    (
        "Azure OpenAI",
        '{"object":"video.generation.job","id":"$ID","status":"succeeded","generations":[{"object":"video.generation","id":"gen_1","job_id":"$ID","prompt":"a"}],"failure_reason":null}',
    ),
    ("Black Forest Labs", '{"id":"$ID","status":"Ready","result":{"sample":"$U"}}'),
    ("Creatomate", '{"id":"$ID","status":"succeeded","url":"$U","snapshot_url":"$P"}'),
    ("D-ID", '{"id":"$ID","status":"done","result_url":"$U","source_url":"$P","pending_url":"s3://x"}'),
    (
        "DashScope",
        '{"request_id":"r","output":{"task_id":"$ID","task_status":"SUCCEEDED","submit_time":"x","video_url":"$U","orig_prompt":"p"},"usage":{"video_count":1}}',
    ),
    ("Freepik", '{"data":{"task_id":"$ID","status":"COMPLETED","generated":["$U"]}}'),
    (
        "Gemini",
        '{"name":"$ID","done":true,"response":{"generateVideoResponse":{"generatedSamples":[{"video":{"uri":"$U"}}]}}}',
    ),
    ("Hedra", '{"id":"$ID","status":"complete","progress":1.0,"url":"$U","streaming_url":"https://s.example/x.m3u8"}'),
    (
        "HeyGen",
        '{"code":100,"data":{"id":"$ID","status":"completed","caption_url":null,"video_url":"$U","gif_url":"https://f/x.gif","thumbnail_url":"$P"},"message":"ok"}',
    ),
    ("ImagineArt", '{"id":"$ID","status":"SUCCESS","url":{"generation":["$U"],"thumbnail":["$P"]}}'),
    (
        "kie.ai",
        '{"code":200,"msg":"success","data":{"taskId":"$ID","model":"sora-2","state":"success","param":"{\\"input\\":{\\"video_url\\":\\"$X\\"}}","resultJson":"{\\"resultUrls\\":[\\"$U\\"],\\"resultWaterMarkUrls\\":[\\"$X\\"]}","failCode":"","failMsg":""}}',
    ),
    (
        "Kling",
        '{"code":0,"message":"SUCCEED","data":{"task_id":"$ID","task_status":"succeed","task_result":{"videos":[{"id":"9","url":"$U","duration":"5.1"}]},"created_at":1}}',
    ),
    ("Krea", '{"job_id":"$ID","status":"completed","result":{"urls":["$U"]}}'),
    (
        "Luma",
        '{"id":"$ID","state":"completed","assets":{"video":"$U","image":"$P"},"request":{"keyframes":{"frame0":{"url":"$X"}}}}',
    ),
    (
        "Luma, the preview last",
        '{"id":"$ID","state":"completed","assets":{"video":"$U","image":"$P","progress_video":"$X"}}',
    ),
    (
        "MiniMax",
        '{"task_id":"$ID","status":"Success","file_id":"2","file":{"file_id":2,"download_url":"$U"},"base_resp":{"status_code":0}}',
    ),
    (
        "MiniMax",
        '{"task_id":"$ID","status":"Success","file_id":"2052","base_resp":{"status_code":0,"status_msg":"success"}}',
    ),
    ("ModelsLab", '{"status":"success","id":"$ID","output":["$U"],"meta":{"prompt":"a","init_image":"$P"}}'),
    (
        "new-api",
        '{"code":"success","message":"","data":{"id":7,"task_id":"$ID","platform":"55","status":"SUCCESS","fail_reason":"$U","progress":"100%","data":{"id":"up_1","status":"succeeded","content":{"video_url":"https://up.example/x.mp4"}}}}',
    ),
    (
        "Novita",
        '{"task":{"task_id":"$ID","status":"TASK_STATUS_SUCCEED","eta":0},"images":[],"videos":[{"video_url":"$U","video_url_ttl":"3600"}]}',
    ),
    (
        "OpenAI",
        '{"id":"$ID","object":"video","status":"completed","progress":100,"completed_at":1,"expires_at":2,"error":null,"remixed_from_video_id":null}',
    ),
    (
        "OpenRouter",
        '{"id":"$ID","generation_id":"g","polling_url":"/api/v1/videos/$ID","status":"completed","unsigned_urls":["$U"],"usage":{"cost":0.5}}',
    ),
    (
        "PiAPI",
        '{"code":200,"data":{"task_id":"$ID","status":"completed","output":{"video_url":"$U"},"error":{"code":0,"raw_message":"","message":"","detail":null}},"message":"success"}',
    ),
    ("Pika", '{"id":"$ID","status":"finished","url":"$U","progress":100}'),
    (
        "Replicate",
        '{"id":"$ID","status":"succeeded","input":{"image":"$P"},"output":"$U","error":null,"urls":{"get":"https://api/p/1","stream":"https://s/1"}}',
    ),
    ("RunPod", '{"id":"$ID","status":"COMPLETED","output":{"video_url":"$U"},"executionTime":9}'),
    ("Runway", '{"id":"$ID","status":"SUCCEEDED","createdAt":"2025","output":["$U"]}'),
    (
        "SGLang",
        '{"id":"$ID","object":"video","status":"completed","url":null,"urls":[null],"file_path":"/srv/x.mp4","file_paths":["/srv/x.mp4"]}',
    ),
    ("Shotstack", '{"success":true,"message":"OK","response":{"id":"$ID","status":"done","url":"$U","poster":"$P"}}'),
    (
        "SiliconFlow",
        '{"status":"Succeed","reason":"","results":{"videos":[{"url":"$U"}],"timings":{"inference":1},"seed":1}}',
    ),
    (
        "Synthesia",
        '{"id":"$ID","status":"complete","download":"$U","thumbnail":{"image":"$P","gif":"https://f/x.gif"}}',
    ),
    (
        "Tavus",
        '{"video_id":"$ID","status":"ready","download_url":"$U","hosted_url":"https://t.example/abc","stream_url":"https://s.example/x.m3u8"}',
    ),
    (
        "Tencent Hunyuan",
        '{"Response":{"JobId":"$ID","Status":"DONE","ResultVideoUrl":"$U","ErrorCode":"","ErrorMessage":"","RequestId":"r"}}',
    ),
    (
        "Together",
        '{"id":"$ID","object":"video","model":"m","status":"completed","outputs":{"cost":1,"video_url":"$U"},"info":{"errors":null}}',
    ),
    (
        "Vidu",
        '{"id":"$ID","state":"success","err_code":"","creations":[{"id":"c","url":"$U","cover_url":"$P","watermarked_url":"$X"}]}',
    ),
    (
        "vLLM-Omni",
        '{"id":"$ID","object":"video","status":"completed","error":null,"media_type":"video/mp4","file_name":"a.mp4","action":null}',
    ),
    (
        "Volcengine Ark",
        '{"id":"$ID","model":"doubao-seedance","status":"succeeded","content":{"video_url":"$U","last_frame_url":"$P"},"usage":{"completion_tokens":1},"seed":1,"ratio":"16:9"}',
    ),
    (
        "xAI",
        '{"request_id":"$ID","status":"done","video":{"url":"$U","duration":8,"respect_moderation":true},"model":"grok-imagine"}',
    ),
    (
        "Zhipu",
        '{"model":"cogvideox","request_id":"r","id":"$ID","task_status":"SUCCESS","video_result":[{"url":"$U","cover_image_url":"$P"}]}',
    ),
]


@every_provider
@pytest.mark.parametrize(("service", "shape"), FINISHED)
def test_a_finished_task_and_its_clip_are_found(service: str, shape: str, name: str) -> None:
    """Where a shape names the clip, that one is fetched, and else the clip is behind ``/content``."""
    found = looked(shape, name)
    assert isinstance(found, TaskReport), service
    assert (found.phase, found.url) == (Phase.SUCCEEDED, URL if "$U" in shape else None)


GOING_ON = [
    ("APIMart", Phase.RUNNING, '{"code":200,"data":{"id":"$ID","status":"processing","progress":45}}'),
    (
        "Azure OpenAI",
        Phase.UNHEARD,
        '{"object":"video.generation.job","id":"$ID","status":"preprocessing","generations":[],"failure_reason":null}',
    ),
    (
        "Azure OpenAI",
        Phase.RUNNING,
        '{"object":"video.generation.job","id":"$ID","status":"running","generations":[],"failure_reason":null}',
    ),
    ("ComfyUI cloud", Phase.RUNNING, '{"id":"$ID","status":"executing","outputs":null}'),
    ("Creatomate", Phase.UNHEARD, '{"id":"$ID","status":"planned"}'),
    ("Creatomate", Phase.UNHEARD, '{"id":"$ID","status":"transcribing"}'),
    ("DashScope", Phase.WAITING, '{"request_id":"r","output":{"task_id":"$ID","task_status":"PENDING"}}'),
    ("DashScope", Phase.WAITING, '{"request_id":"r","output":{"task_id":"$ID","task_status":"UNKNOWN"}}'),
    ("fal", Phase.WAITING, '{"status":"IN_QUEUE","request_id":"$ID","queue_position":3,"response_url":"https://q/r"}'),
    (
        "fal",
        Phase.RUNNING,
        '{"status":"IN_PROGRESS","request_id":"$ID","logs":[{"message":"x","level":"ERROR","timestamp":"t"}]}',
    ),
    ("Freepik", Phase.WAITING, '{"data":{"task_id":"$ID","status":"CREATED","generated":[]}}'),
    ("Gemini", Phase.WAITING, '{"name":"$ID","metadata":{"@type":"x"}}'),
    ("GoAPI", Phase.UNHEARD, '{"code":200,"data":{"task_id":"$ID","status":"staged"}}'),
    (
        "Higgsfield",
        Phase.RUNNING,
        '{"status":"in_progress","request_id":"$ID","status_url":"https://p.example/requests/1/status","cancel_url":"https://p.example/requests/1/cancel"}',
    ),
    (
        "kie.ai",
        Phase.RUNNING,
        '{"code":200,"msg":"success","data":{"taskId":"$ID","state":"generating","resultJson":""}}',
    ),
    ("kie.ai", Phase.WAITING, '{"code":200,"msg":"success","data":{"taskId":"$ID","state":"waiting"}}'),
    (
        "Kling",
        Phase.RUNNING,
        '{"code":0,"message":"SUCCEED","request_id":"r","data":{"task_id":"$ID","task_status":"processing","task_status_msg":""}}',
    ),
    (
        "Kling, an extended clip",
        Phase.RUNNING,
        '{"code":0,"data":{"task_id":"$ID","task_status":"processing","task_info":{"parent_video":{"id":"831","url":"$X"}}}}',
    ),
    ("Krea", Phase.UNHEARD, '{"job_id":"$ID","status":"sampling","created_at":"x","completed_at":null,"result":null}'),
    ("Luma", Phase.UNHEARD, '{"id":"$ID","state":"dreaming","assets":null,"failure_reason":null}'),
    (
        "MiniMax",
        Phase.WAITING,
        '{"task_id":"$ID","status":"Queueing","base_resp":{"status_code":0,"status_msg":"success"}}',
    ),
    (
        "MiniMax",
        Phase.WAITING,
        '{"task_id":"$ID","status":"Preparing","base_resp":{"status_code":0,"status_msg":"success"}}',
    ),
    (
        "ModelsLab",
        Phase.RUNNING,
        '{"status":"processing","id":"$ID","eta":20,"fetch_result":"https://m.example/fetch/1"}',
    ),
    ("Mux", Phase.WAITING, '{"data":{"id":"$ID","status":"preparing"}}'),
    ("new-api", Phase.WAITING, '{"code":"success","data":{"task_id":"$ID","status":"NOT_START","progress":"0%"}}'),
    (
        "OpenAI",
        Phase.WAITING,
        '{"id":"$ID","object":"video","model":"sora-2","status":"queued","progress":0,"created_at":1,"size":"720x1280","seconds":"8","quality":"standard"}',
    ),
    ("OpenAI", Phase.RUNNING, '{"id":"$ID","object":"video","status":"in_progress","progress":33,"error":null}'),
    ("OpenRouter", Phase.WAITING, '{"id":"$ID","polling_url":"/api/v1/videos/$ID","status":"pending"}'),
    ("OpenRouter", Phase.RUNNING, '{"id":"$ID","polling_url":"/api/v1/videos/$ID","status":"in_progress"}'),
    (
        "Replicate",
        Phase.WAITING,
        '{"id":"$ID","status":"starting","output":null,"error":null,"urls":{"get":"https://api/p/1","cancel":"https://api/p/1/c"}}',
    ),
    ("Replicate", Phase.RUNNING, '{"id":"$ID","status":"processing","logs":"error: retrying","output":null}'),
    ("RunPod", Phase.RUNNING, '{"id":"$ID","status":"IN_PROGRESS","delayTime":10}'),
    ("Runway", Phase.RUNNING, '{"id":"$ID","status":"RUNNING","createdAt":"2025","progress":0.4}'),
    ("Runway", Phase.WAITING, '{"id":"$ID","status":"THROTTLED","createdAt":"2025"}'),
    ("Segmind", Phase.WAITING, '{"request_id":"$ID","status":"QUEUED","poll_url":"https://a/p"}'),
    ("SGLang", Phase.WAITING, '{"id":"$ID","status":"queued","file_path":"/srv/x.mp4"}'),
    (
        "Shotstack",
        Phase.RUNNING,
        '{"success":true,"message":"OK","response":{"id":"$ID","status":"rendering","url":null}}',
    ),
    ("SiliconFlow", Phase.RUNNING, '{"status":"InProgress","reason":"","results":{"videos":[]}}'),
    ("Vidu", Phase.RUNNING, '{"id":"$ID","state":"processing","err_code":"","creations":[]}'),
    ("Volcengine Ark", Phase.RUNNING, '{"id":"$ID","model":"doubao","status":"running","created_at":1}'),
    ("Volcengine Ark", Phase.WAITING, '{"id":"$ID","status":"queued"}'),
    (
        "WaveSpeed",
        Phase.WAITING,
        '{"code":200,"message":"success","data":{"id":"$ID","status":"created","outputs":[],"urls":{"get":"https://a/g"},"error":""}}',
    ),
    ("xAI", Phase.WAITING, '{"request_id":"$ID","status":"pending"}'),
]


@every_provider
@pytest.mark.parametrize(("service", "phase", "shape"), GOING_ON)
def test_a_task_that_is_not_at_its_end_is_looked_at_again(service: str, phase: Phase, shape: str, name: str) -> None:
    """A word that nobody has listed waits, too."""
    found = looked(shape, name)
    assert isinstance(found, TaskReport), service
    assert found.phase is phase


FAILED = [
    (
        "APIMart",
        '{"code":200,"data":{"id":"$ID","status":"failed","error":{"code":500,"message":"x","type":"server"}}}',
    ),
    (
        "Azure OpenAI",
        '{"object":"video.generation.job","id":"$ID","status":"failed","generations":[],"failure_reason":"content_policy"}',
    ),
    (
        "DashScope",
        '{"request_id":"r","output":{"task_id":"$ID","task_status":"FAILED","code":"InternalError.Algo","message":"bad"}}',
    ),
    (
        "HeyGen",
        '{"code":100,"data":{"id":"$ID","status":"failed","error":{"code":40119,"message":"long"},"video_url":null},"message":"ok"}',
    ),
    ("Higgsfield", '{"status":"nsfw","request_id":"$ID","status_url":"https://p.example/requests/1/status"}'),
    (
        "kie.ai",
        '{"code":200,"msg":"success","data":{"taskId":"$ID","state":"fail","failCode":"501","failMsg":"policy"}}',
    ),
    (
        "Kling",
        '{"code":0,"message":"SUCCEED","request_id":"r","data":{"task_id":"$ID","task_status":"failed","task_status_msg":"risk"}}',
    ),
    ("Luma", '{"id":"$ID","state":"failed","failure_reason":"400: prompt not allowed","assets":null}'),
    (
        "MiniMax",
        '{"task_id":"$ID","status":"Fail","file_id":"","base_resp":{"status_code":1027,"status_msg":"sensitive"}}',
    ),
    (
        "new-api",
        '{"code":"success","message":"","data":{"task_id":"$ID","status":"FAILURE","fail_reason":"nsfw","progress":"100%"}}',
    ),
    ("Novita", '{"task":{"task_id":"$ID","status":"TASK_STATUS_FAILED","reason":"x"},"videos":[]}'),
    (
        "OpenAI",
        '{"id":"$ID","object":"video","status":"failed","progress":0,"error":{"code":"sentinel_block","message":"blocked"}}',
    ),
    ("OpenRouter", '{"id":"$ID","polling_url":"/api/v1/videos/$ID","status":"failed","error":"upstream"}'),
    ("PiAPI", '{"code":200,"data":{"task_id":"$ID","status":"failed","error":{"code":10000,"message":"fail"}}}'),
    ("Replicate", '{"id":"$ID","status":"canceled","output":null}'),
    ("Replicate", '{"id":"$ID","status":"aborted"}'),
    (
        "Replicate",
        '{"id":"$ID","status":"failed","input":{"prompt":"a"},"output":null,"error":"NSFW content detected"}',
    ),
    ("RunPod", '{"id":"$ID","status":"TIMED_OUT"}'),
    ("RunPod", '{"id":"$ID","status":"CANCELLED"}'),
    ("Runway", '{"id":"$ID","status":"FAILED","failure":"text","failureCode":"SAFETY.INPUT.TEXT"}'),
    ("Runway", '{"id":"$ID","status":"CANCELLED"}'),
    ("Shotstack", '{"success":true,"message":"OK","response":{"id":"$ID","status":"failed","error":"asset"}}'),
    ("Vidu", '{"id":"$ID","state":"failed","err_code":"TaskPromptPolicyViolation","creations":[]}'),
    (
        "Volcengine Ark",
        '{"id":"$ID","status":"failed","error":{"code":"OutputVideoSensitiveContentDetected","message":"failed"}}',
    ),
    ("Volcengine Ark", '{"id":"$ID","status":"cancelled"}'),
    ("WaveSpeed", '{"code":200,"message":"success","data":{"id":"$ID","status":"failed","outputs":[],"error":"nsfw"}}'),
    ("Zhipu", '{"model":"cogvideox","request_id":"r","id":"$ID","task_status":"FAIL"}'),
]


@every_provider
@pytest.mark.parametrize(("service", "shape"), FAILED)
def test_a_failed_task_has_failed(service: str, shape: str, name: str) -> None:
    """The service says so in a word, of the task by its own id."""
    found = looked(shape, name)
    assert isinstance(found, TaskReport), service
    assert found.phase is Phase.FAILED


NO_ANSWER = [
    ("AWS ALB", 503, FaultKind.UNAVAILABLE, ""),
    ("AWS API Gateway", 504, FaultKind.UNAVAILABLE, '{"message":"Endpoint request timed out"}'),
    (
        "BytePlus",
        500,
        FaultKind.UNAVAILABLE,
        '{"ResponseMetadata":{"RequestId":"r","Error":{"Code":"InternalError","Message":"x"}}}',
    ),
    ("Cloudflare", 524, FaultKind.UNAVAILABLE, "error code: 524"),
    (
        "Cloudflare",
        403,
        FaultKind.NOT_ALLOWED,
        '{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[],"result":null}',
    ),
    ("Cloudflare", 521, FaultKind.UNAVAILABLE, "<!DOCTYPE html><title>521: Web server is down</title>"),
    (
        "DashScope",
        429,
        FaultKind.THROTTLED,
        '{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded","request_id":"r"}',
    ),
    ("Envoy", 503, FaultKind.UNAVAILABLE, "no healthy upstream"),
    ("fal", 400, FaultKind.REJECTED, '{"detail":"Request is still in progress"}'),
    (
        "FastAPI",
        422,
        FaultKind.REJECTED,
        '{"detail":[{"type":"uuid_parsing","loc":["path","id"],"msg":"x","input":"y"}]}',
    ),
    ("Google front end", 502, FaultKind.UNAVAILABLE, "<html><title>Error 502 (Server Error)!!1</title>"),
    ("kie.ai", 200, FaultKind.BROKEN, '{"code":422,"msg":"recordInfo is null","data":null}'),
    ("Kling", 429, FaultKind.THROTTLED, '{"code":1302,"message":"API access rate exceeded","request_id":"r"}'),
    ("Kling", 200, FaultKind.BROKEN, '{"code":1302,"message":"API access rate exceeded","request_id":"r"}'),
    ("Kong", 404, FaultKind.UNKNOWN_TASK, '{"message":"no Route matched with those values"}'),
    (
        "LiteLLM",
        404,
        FaultKind.UNKNOWN_TASK,
        '{"error":{"message":"NotFoundError","type":"invalid_request_error","param":null,"code":"404"}}',
    ),
    (
        "LiteLLM",
        500,
        FaultKind.UNAVAILABLE,
        '{"error":{"message":"litellm.InternalServerError","type":"internal_server_error","param":null,"code":"500"}}',
    ),
    ("nginx", 502, FaultKind.UNAVAILABLE, "<html>502 Bad Gateway</html>"),
    (
        "OpenAI",
        404,
        FaultKind.UNKNOWN_TASK,
        '{"error":{"message":"not found","type":"invalid_request_error","param":null,"code":null}}',
    ),
    ("OpenAI", 500, FaultKind.UNAVAILABLE, '{"error":{"message":"The server had an error","type":"server_error"}}'),
    (
        "RFC 9457",
        429,
        FaultKind.THROTTLED,
        '{"type":"about:blank","title":"Too Many Requests","status":429,"instance":"/v1/videos/$ID"}',
    ),
    (
        "Spring",
        500,
        FaultKind.UNAVAILABLE,
        '{"timestamp":"t","status":500,"error":"Internal Server Error","path":"/v1/videos/$ID"}',
    ),
    ("Supabase", 401, FaultKind.ACCOUNT, '{"message":"Invalid authentication credentials"}'),
    ("Traefik", 404, FaultKind.UNKNOWN_TASK, "404 page not found"),
    ("Vertex AI", 200, FaultKind.BROKEN, '{"name":"$ID","done":true,"error":{"code":3,"message":"blocked"}}'),
    (
        "Vertex AI",
        404,
        FaultKind.UNKNOWN_TASK,
        '{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND"}}',
    ),
    (
        "Vertex AI",
        429,
        FaultKind.THROTTLED,
        '{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}',
    ),
    (
        "Volcengine Ark",
        404,
        FaultKind.UNKNOWN_TASK,
        '{"error":{"code":"ResourceNotFound","message":"x","param":"","type":"NotFound"}}',
    ),
]


@every_provider
@pytest.mark.parametrize(("service", "status", "kind", "shape"), NO_ANSWER)
def test_an_error_in_place_of_the_task_says_nothing_of_it(
    service: str, status: int, kind: FaultKind, shape: str, name: str
) -> None:
    """The task is looked at again, whoever on the way answers instead of the service."""
    found = looked(shape, name, status=status)
    assert isinstance(found, Fault), service
    assert found.kind is kind


TAKEN = [
    ("AI/ML API", '{"id":"$ID","status":"queued"}'),
    ("APIMart", '{"code":200,"data":[{"status":"submitted","task_id":"$ID"}]}'),
    (
        "Azure OpenAI",
        '{"object":"video.generation.job","id":"$ID","status":"queued","generations":[],"failure_reason":null}',
    ),
    ("DashScope", '{"output":{"task_status":"PENDING","task_id":"$ID"},"request_id":"r-1"}'),
    ("fal", '{"status":"IN_QUEUE","request_id":"$ID","response_url":"https://q.example/1","queue_position":0}'),
    ("Freepik", '{"data":{"task_id":"$ID","status":"CREATED","generated":[]}}'),
    ("HeyGen", '{"error":null,"data":{"video_id":"$ID"}}'),
    (
        "Higgsfield",
        '{"status":"queued","request_id":"$ID","status_url":"https://p.example/1","cancel_url":"https://p.example/2"}',
    ),
    ("kie.ai", '{"code":200,"msg":"success","data":{"taskId":"$ID"}}'),
    (
        "Kling",
        '{"code":0,"message":"SUCCEED","request_id":"r-1","data":{"task_id":"$ID","task_status":"submitted","created_at":1}}',
    ),
    ("Luma", '{"id":"$ID","state":"queued","assets":null,"failure_reason":null}'),
    ("MiniMax", '{"task_id":"$ID","base_resp":{"status_code":0,"status_msg":"success"}}'),
    ("ModelsLab", '{"status":"processing","id":"$ID","fetch_result":"https://m.example/1","eta":9}'),
    ("new-api", '{"id":"$ID","task_id":"$ID","object":"video","model":"veo3","status":"","progress":0}'),
    ("Novita", '{"task_id":"$ID"}'),
    ("OpenAI", '{"id":"$ID","object":"video","model":"sora-2","status":"queued","progress":0,"error":null}'),
    ("OpenRouter", '{"id":"$ID","polling_url":"/api/v1/videos/$ID","status":"pending"}'),
    (
        "PiAPI",
        '{"code":200,"data":{"task_id":"$ID","status":"pending","error":{"code":0,"message":""}},"message":"success"}',
    ),
    ("Replicate", '{"id":"$ID","status":"starting","input":{"prompt":"a"},"urls":{"get":"https://a.example/1"}}'),
    ("Runway", '{"id":"$ID"}'),
    ("SGLang", '{"id":"$ID","object":"video","status":"queued","file_path":"/srv/1.mp4"}'),
    ("Shotstack", '{"success":true,"message":"Created","response":{"message":"Queued","id":"$ID"}}'),
    ("Vidu", '{"task_id":"$ID","state":"created","model":"vidu2","images":["$P"],"credits":4}'),
    ("Volcengine Ark", '{"id":"$ID"}'),
    (
        "WaveSpeed",
        '{"code":200,"message":"success","data":{"id":"$ID","status":"created","outputs":[],"urls":{"get":"https://a.example/1"}}}',
    ),
    ("xAI", '{"request_id":"$ID"}'),
    ("Zhipu", '{"model":"cogvideox","request_id":"r-1","id":"$ID","task_status":"PROCESSING"}'),
]


@every_provider
@pytest.mark.parametrize(("service", "shape"), TAKEN)
def test_the_task_of_a_create_is_known(service: str, shape: str, name: str) -> None:
    """Whatever else has an id in the answer."""
    found = PROVIDERS[name].read_create(answer(shape), now=NOW)
    assert isinstance(found, Created), service
    assert found.task_id == ID


NOT_TAKEN = [
    ("AWS API Gateway", 403, FaultKind.NOT_ALLOWED, '{"message":"Missing Authentication Token"}'),
    (
        "Azure OpenAI",
        429,
        FaultKind.THROTTLED,
        '{"error":{"code":"429","message":"Requests have exceeded call rate limit"}}',
    ),
    ("Cloudflare", 524, FaultKind.UNSURE, "error code: 524"),
    ("DashScope", 400, FaultKind.REJECTED, '{"code":"InvalidParameter","message":"size is wrong","request_id":"r-1"}'),
    (
        "DashScope",
        401,
        FaultKind.ACCOUNT,
        '{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"r-1"}',
    ),
    (
        "DashScope",
        429,
        FaultKind.THROTTLED,
        '{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded","request_id":"r-1"}',
    ),
    ("Envoy", 503, FaultKind.UNSURE, "upstream connect error or disconnect/reset before headers"),
    (
        "FastAPI",
        422,
        FaultKind.REJECTED,
        '{"detail":[{"type":"missing","loc":["body","prompt"],"msg":"Field required"}]}',
    ),
    ("HAProxy", 408, FaultKind.UNSURE, "<html><body><h1>408 Request Time-out</h1></body></html>"),
    ("kie.ai", 200, FaultKind.UNSURE, '{"code":402,"msg":"Credits insufficient","data":null}'),
    (
        "Kling",
        429,
        FaultKind.THROTTLED,
        '{"code":1303,"message":"parallel task over resource pack limit","request_id":"r-1"}',
    ),
    (
        "LiteLLM",
        408,
        FaultKind.UNSURE,
        '{"error":{"message":"litellm.Timeout","type":"invalid_request_error","code":"408"}}',
    ),
    (
        "LiteLLM",
        400,
        FaultKind.REJECTED,
        '{"error":{"message":"Invalid model name passed in model=x","type":"invalid_request_error","code":"400"}}',
    ),
    (
        "MiniMax",
        200,
        FaultKind.UNSURE,
        '{"task_id":"","base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}',
    ),
    ("nginx", 413, FaultKind.REJECTED, "<html><h1>413 Request Entity Too Large</h1></html>"),
    ("nginx", 499, FaultKind.UNSURE, ""),
    ("nginx", 502, FaultKind.UNSURE, "<html><h1>502 Bad Gateway</h1></html>"),
    (
        "OpenAI",
        400,
        FaultKind.REJECTED,
        '{"error":{"message":"blocked","type":"invalid_request_error","code":"moderation_blocked"}}',
    ),
    (
        "OpenAI",
        401,
        FaultKind.ACCOUNT,
        '{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}',
    ),
    (
        "OpenAI",
        500,
        FaultKind.UNSURE,
        '{"error":{"message":"The server had an error","type":"server_error","code":null}}',
    ),
    ("OpenRouter", 402, FaultKind.ACCOUNT, '{"error":{"code":402,"message":"Insufficient credits"}}'),
    (
        "Replicate",
        402,
        FaultKind.ACCOUNT,
        '{"title":"Insufficient credit","detail":"You have insufficient credit","status":402}',
    ),
    ("Replicate", 422, FaultKind.REJECTED, '{"title":"Invalid version","detail":"not permitted","status":422}'),
    ("Runway", 400, FaultKind.REJECTED, '{"error":"Validation of body failed","issues":[{"code":"custom"}]}'),
    ("SGLang", 503, FaultKind.UNSURE, '{"error":"Scheduler worker exited; restart the server."}'),
    (
        "Spring",
        500,
        FaultKind.UNSURE,
        '{"timestamp":"t","status":500,"error":"Internal Server Error","path":"/v1/videos"}',
    ),
    (
        "Vertex AI",
        429,
        FaultKind.THROTTLED,
        '{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}',
    ),
    ("vLLM", 401, FaultKind.ACCOUNT, '{"error":"Unauthorized"}'),
    (
        "Volcengine Ark",
        400,
        FaultKind.REJECTED,
        '{"error":{"code":"InputTextSensitiveContentDetected","message":"x","type":"BadRequest"}}',
    ),
]


@every_provider
@pytest.mark.parametrize(("service", "status", "kind", "shape"), NOT_TAKEN)
def test_a_create_that_was_not_taken_has_its_class(
    service: str, status: int, kind: FaultKind, shape: str, name: str
) -> None:
    """Refused is what is refused before work, and everything else may be paid."""
    found = PROVIDERS[name].read_create(answer(shape, status), now=NOW, known=True)
    assert isinstance(found, Fault), service
    assert found.kind is kind


NO_CLIP = [
    (
        "AWS S3",
        403,
        FaultKind.EXPIRED,
        None,
        "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
    ),
    ("AWS S3", 404, FaultKind.EXPIRED, None, "<Error><Code>NoSuchKey</Code></Error>"),
    ("Azure OpenAI", 404, FaultKind.EXPIRED, None, '{"error":{"code":"NotFound","message":"Generation not found"}}'),
    ("Envoy", 503, FaultKind.UNAVAILABLE, None, "no healthy upstream"),
    ("kie.ai", 200, FaultKind.BROKEN, URL, '{"code":200,"msg":"success","data":"$U"}'),
    (
        "LiteLLM",
        404,
        FaultKind.NOT_READY,
        None,
        '{"error":{"message":"Video is not ready yet, use GET /v1/videos/{video_id}","code":"404"}}',
    ),
    (
        "MiniMax",
        200,
        FaultKind.BROKEN,
        URL,
        '{"file":{"file_id":1,"filename":"output.mp4","download_url":"$U"},"base_resp":{"status_code":0}}',
    ),
    (
        "new-api",
        400,
        FaultKind.NOT_READY,
        None,
        '{"error":{"message":"Task is not completed yet, current status: IN_PROGRESS","type":"invalid_request_error"}}',
    ),
    (
        "new-api",
        502,
        FaultKind.EXPIRED,
        None,
        '{"error":{"message":"Upstream service returned status 404","type":"server_error"}}',
    ),
    ("OpenAI", 200, FaultKind.NOT_READY, None, '{"id":"$ID","object":"video","status":"in_progress","progress":40}'),
    ("OpenAI", 401, FaultKind.ACCOUNT, None, '{"error":{"message":"Incorrect API key provided"}}'),
    (
        "OpenAI",
        429,
        FaultKind.THROTTLED,
        None,
        '{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}',
    ),
    ("RunPod", 200, FaultKind.BROKEN, URL, '{"status":"COMPLETED","output":{"video_url":"$U","thumbnail":"$P"}}'),
    ("SGLang", 404, FaultKind.NOT_READY, None, '{"detail":"Generation is still in-progress"}'),
    (
        "vLLM-Omni",
        422,
        FaultKind.UNAVAILABLE,
        None,
        '{"error":{"message":"Video generation failed. Check job status for error details.","code":422}}',
    ),
    ("a signed URL", 200, FaultKind.BROKEN, URL, '{"presigned_url":"$U","expires_in":3600}'),
    ("a login page", 200, FaultKind.BROKEN, None, "<!DOCTYPE html><title>Sign in</title>"),
]


@every_provider
@pytest.mark.parametrize(("service", "status", "kind", "url", "shape"), NO_CLIP)
def test_an_answer_in_place_of_a_clip_has_its_class(  # noqa: PLR0917 pytest gives them by name
    service: str, status: int, kind: FaultKind, url: str | None, shape: str, name: str
) -> None:
    """Too early and expired lead to a look at the task, and a clip that is elsewhere is fetched from there."""
    found = PROVIDERS[name].read_refused_download(answer(shape, status), now=NOW)
    assert (found.kind, found.url) == (kind, url), service
