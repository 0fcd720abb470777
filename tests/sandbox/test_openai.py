"""The sandbox as OpenAI's /v1/videos: what it refuses and how, and what a client without an SDK sees of a video."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from PIL import Image

from batchvid.domain.errors import ConfigError
from batchvid.sandbox.messages import Reply, Request
from batchvid.sandbox.openai import MODELS
from batchvid.sandbox.process import Options, running

if TYPE_CHECKING:
    from tests.sandbox.conftest import MakeScene, Picture, Scene

LONG_S = 400.0
SMALL = (720, 1280)


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    """Return a world that speaks as OpenAI does."""
    return make_scene(provider="openai")


def ask(scene: Scene, method: str, path: str, **headers: str) -> Reply:
    """Send a request whose path may have a query."""
    where, _, query = path.partition("?")
    named = {"authorization": f"Bearer {scene.key}"} | headers
    return scene.world.answer(Request(method, where, named, query=query), now=scene.now)


def create(scene: Scene, body: Any, **headers: str) -> Reply:
    """Create from JSON."""
    return scene.send("POST", "/v1/videos", json.dumps(body).encode(), content_type="application/json", **headers)


def made(scene: Scene, prompt: str = "A kite.") -> str:
    """Create a video and return its id."""
    return str(scene.decoded(create(scene, {"prompt": prompt}))["id"])


def refused(scene: Scene, reply: Reply) -> tuple[int, str | None, str | None, str]:
    """Return status, param, code and message of a refusal, which has the whole envelope and was not billed."""
    error = scene.decoded(reply)["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert scene.world.ledger()["creates"] == []
    return reply.status, error["param"], error["code"], error["message"]


def test_a_video_has_every_field_from_its_creation_to_its_end(scene: Scene) -> None:
    """Those of the SDK's type, null as long as nothing is known."""
    video = scene.decoded(create(scene, {"prompt": "A kite.", "seconds": "8", "size": "1280x720"}))
    assert video["id"].startswith("video_")
    assert video == {
        "id": video["id"],
        "object": "video",
        "created_at": int(scene.now),
        "status": "queued",
        "completed_at": None,
        "error": None,
        "expires_at": None,
        "model": "sora-2",
        "progress": 0,
        "remixed_from_video_id": None,
        "seconds": "8",
        "size": "1280x720",
        "prompt": "A kite.",
    }
    scene.now += scene.world.tasks[video["id"]].took_s / 2
    running = scene.poll(video["id"])
    assert running["status"] == "in_progress"
    assert 0 < running["progress"] < 100
    scene.now += LONG_S
    done = scene.poll(video["id"])
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert video["created_at"] < done["completed_at"] < done["expires_at"]
    assert set(done) == set(video)


@pytest.mark.parametrize(
    ("body", "param", "code", "says"),
    [
        ({}, "prompt", "missing_required_parameter", "Missing required parameter: 'prompt'."),
        ({"prompt": ""}, "prompt", "empty_string", "Invalid 'prompt': empty string."),
        ({"prompt": None}, "prompt", "invalid_type", "expected a string, but got null instead."),
        ({"prompt": "x" * 32_001}, "prompt", "string_above_max_length", "maximum length 32000"),
        (
            {"prompt": "A", "model": "veo3"},
            "model",
            "invalid_value",
            "Invalid value: 'veo3'. Supported values are: 'so",
        ),
        (
            {"prompt": "A", "seconds": "6"},
            "seconds",
            "invalid_value",
            "Invalid value: '6'. Supported values are: '4', '8', and '12'.",
        ),
        (
            {"prompt": "A", "seconds": 8},
            "seconds",
            "invalid_type",
            "Invalid type for 'seconds': expected one of '4', '8', or '12', but got an integer instead.",
        ),
        (
            {"prompt": "A", "size": "1920x1080"},
            "size",
            "invalid_value",
            "Supported values are: '720x1280', '1280x720', '1024x1792', and '1792x1024'.",
        ),
        ({"prompt": "A", "size": "1024x1792"}, "size", "invalid_value", "values are: '720x1280' and '1280x720'."),
        ({"prompt": "A", "duration": 8}, "duration", "unknown_parameter", "Unknown parameter: 'duration'."),
        (
            {"prompt": "A", "input_reference": "x"},
            "input_reference",
            "invalid_type",
            "expected an object, but got a string instead.",
        ),
        ({"prompt": "A", "input_reference": {}}, "input_reference.image_url", "invalid_type", "expected a string"),
        (
            {"prompt": "A", "input_reference": {"url": "x"}},
            "input_reference.url",
            "unknown_parameter",
            "Unknown parameter: 'input_reference.url'.",
        ),
        (
            {"prompt": "A", "input_reference": {"file_id": "file-1"}},
            "input_reference.file_id",
            "file_not_found",
            "file-1",
        ),
        (
            {"prompt": "A", "input_reference": {"image_url": "https://example.com/a.png"}},
            "input_reference.image_url",
            "invalid_image_url",
            "send a data URL",
        ),
        (
            {"prompt": "A", "input_reference[image_url]": "data:image/png;base64,"},
            "input_reference[image_url]",
            "unknown_parameter",
            "Unknown parameter",
        ),
        (
            {"prompt": "A", "input_reference": {"image_url": "data:image/png;base64,é"}},
            "input_reference.image_url",
            "invalid_base64",
            "Invalid base64",
        ),
        ([], None, None, "We could not parse the JSON body"),
        ({"prompt": "half a pair: \ud83d"}, None, None, "We could not parse the JSON body"),
    ],
)
def test_a_wrong_field_is_refused_with_the_services_envelope(
    scene: Scene, body: Any, param: str | None, code: str | None, says: str
) -> None:
    """Message, param and code name the field; nothing is billed."""
    found = refused(scene, create(scene, body))
    assert found[:3] == (400, param, code)
    assert says in found[3]


def test_a_body_of_another_kind_is_refused(scene: Scene) -> None:
    """Only a form and JSON are read."""
    reply = scene.send("POST", "/v1/videos", b"prompt=A", content_type="application/x-www-form-urlencoded")
    assert refused(scene, reply)[2] == "unsupported_content_type"


def test_a_reference_must_have_the_size_of_the_video(scene: Scene, picture: Picture) -> None:
    """As an upload, and as a data URL in JSON."""
    right, wrong = picture("red", size=SMALL), picture("red", size=(1280, 720))
    message = "Inpaint image must match the requested width and height"
    assert refused(scene, scene.create(wrong, prompt="A")) == (400, None, None, message)
    url = f"data:image/png;base64,{base64.b64encode(wrong).decode()}"
    assert refused(scene, create(scene, {"prompt": "A", "input_reference": {"image_url": url}}))[3] == message
    assert scene.create(right, prompt="A").status == 200
    url = f"data:image/png;base64,{base64.b64encode(right).decode()}"
    assert create(scene, {"prompt": "A", "input_reference": {"image_url": url}}).status == 200
    frames = [line["frames"] for line in scene.world.ledger()["creates"]]
    assert frames[0] == frames[1] != []


def test_an_upload_must_be_one_image(scene: Scene, picture: Picture) -> None:
    """By its bytes, and by how many there are."""
    right = picture("red", size=SMALL)
    assert refused(scene, scene.create(b"no image", prompt="A"))[:3] == (400, "input_reference", "invalid_image_file")
    assert refused(scene, scene.create(right, right, prompt="A"))[2] == "duplicate_parameter"


def test_a_file_under_another_name_is_unknown(scene: Scene, picture: Picture) -> None:
    """Also under the name of a text field: the create would be billed with its default instead."""
    for name in ("image", "model", "input_reference[image_url]", "input_reference[]"):
        head = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        parts = (b'Content-Disposition: form-data; name="prompt"\r\n\r\nA', head.encode() + picture("red", size=SMALL))
        body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
        reply = scene.send("POST", "/v1/videos", body, content_type="multipart/form-data; boundary=b")
        assert refused(scene, reply)[1:3] == (name, "unknown_parameter")


def test_a_file_of_no_type_is_refused_by_openai_and_looked_at_by_others(
    make_scene: MakeScene, picture: Picture
) -> None:
    """As clients of both have seen."""
    scene = make_scene(provider="openai", models=["wan-2.2"])
    frame = picture("red", size=(480, 832))
    fields = {"prompt": "A", "model": "wan-2.2", "size": "480x832", "seconds": "4"}
    reply = scene.create(picture("red", size=SMALL), mime="application/octet-stream", prompt="A")
    assert refused(scene, reply)[2] == "unsupported_file_mimetype"
    assert refused(scene, scene.create(frame, mime="image/gif", **fields))[2] == "unsupported_file_mimetype"
    assert scene.create(frame, mime="application/octet-stream", **fields).status == 200


def test_the_key_is_asked_for_first(scene: Scene) -> None:
    """A wrong one and none are told apart, on every path; the answer does not show the key."""
    for method, path in (
        ("POST", "/v1/videos"),
        ("GET", "/v1/videos"),
        ("GET", "/v1/videos/video_x"),
        ("DELETE", "/v1/videos/video_x"),
        ("GET", "/v1/videos/video_x/content"),
        ("GET", "/v1/models"),
    ):
        wrong = ask(scene, method, path, authorization="Bearer sk-a-long-wrong-key")
        assert refused(scene, wrong)[:3] == (401, None, "invalid_api_key")
        assert b"sk-a-long" not in wrong.body
        assert refused(scene, ask(scene, method, path, authorization=""))[3].startswith("You didn't provide an API key")
    assert {row["id"] for row in scene.decoded(ask(scene, "GET", "/v1/models"))["data"]} == set(MODELS)


def test_an_unknown_path_is_an_invalid_url(scene: Scene) -> None:
    """Also a base URL without its /v1: there is no web page."""
    for method, path in (("GET", "/videos/x"), ("PUT", "/v1/videoz"), ("POST", "/v1/videos/x/remix")):
        assert refused(scene, ask(scene, method, path))[::3] == (404, f"Invalid URL ({method} {path})")


def test_a_wrong_method_is_told_to_who_has_the_key(scene: Scene) -> None:
    """In the service's words; without the key, only that one is needed."""
    reply = ask(scene, "PUT", "/v1/videos")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert refused(scene, reply)[3].startswith("Not allowed to PUT on /v1/videos. (HINT: ")
    assert ask(scene, "PUT", "/v1/videos", authorization="").status == 401
    assert ask(scene, "DELETE", "/v1/videos/x/content").headers["allow"] == "GET, HEAD, OPTIONS"
    assert ask(scene, "POST", "/v1/videos/x").headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


def test_a_create_above_the_rate_is_refused(make_scene: MakeScene) -> None:
    """With the header that says when to come again."""
    scene = make_scene(provider="openai", rate_per_minute=1)
    made(scene)
    reply = create(scene, {"prompt": "A boat."})
    assert (reply.status, reply.headers["retry-after"]) == (429, "60")
    assert scene.decoded(reply)["error"]["code"] == "rate_limit_exceeded"


def test_content_is_not_found_before_the_end_and_after_its_hour(scene: Scene) -> None:
    """Between them it comes whole or in parts."""
    video_id = made(scene)
    path = f"/v1/videos/{video_id}/content"
    early = ask(scene, "GET", path)
    assert early.status == 404
    assert scene.decoded(early)["error"]["message"].startswith("Video is not ready yet")
    scene.now += LONG_S
    whole = ask(scene, "GET", path)
    assert (whole.status, whole.headers["content-type"], whole.body[4:8]) == (200, "video/mp4", b"ftyp")
    part = ask(scene, "GET", path, range="bytes=4-7")
    assert (part.status, part.body) == (206, b"ftyp")
    scene.now = scene.poll(video_id)["expires_at"] + 1.0
    assert ask(scene, "GET", path).status == 404
    assert ask(scene, "GET", "/v1/videos/video_nobody/content").status == 404


def test_a_clip_has_a_thumbnail_and_a_spritesheet(scene: Scene) -> None:
    """Pictures of the types that the service gives; another variant is a wrong value."""
    path = f"/v1/videos/{made(scene)}/content"
    scene.now += LONG_S
    for variant, kind in (("thumbnail", "WEBP"), ("spritesheet", "JPEG")):
        reply = ask(scene, "GET", f"{path}?variant={variant}")
        assert reply.headers["content-type"] == f"image/{kind.lower()}"
        with Image.open(BytesIO(reply.body)) as picture:
            assert picture.format == kind
            assert (picture.width > picture.height) == (variant == "spritesheet")
    wrong = scene.decoded(ask(scene, "GET", f"{path}?variant=poster"))["error"]
    assert (wrong["param"], wrong["code"]) == ("variant", "invalid_value")


def test_videos_are_listed_in_pages(scene: Scene) -> None:
    """Newest first, or oldest first; each page tells where it ends and whether more follow."""
    ids = [made(scene, f"Kite {n}.") for n in range(5)]
    page = scene.decoded(ask(scene, "GET", "/v1/videos?limit=2"))
    assert [video["id"] for video in page["data"]] == [ids[4], ids[3]]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", ids[4], ids[3], True)
    page = scene.decoded(ask(scene, "GET", f"/v1/videos?order=asc&limit=4&after={quote(ids[0])}"))
    assert [video["id"] for video in page["data"]] == ids[1:]
    assert page["has_more"] is False


@pytest.mark.parametrize(
    ("query", "status", "param", "code"),
    [
        ("limit=0", 400, "limit", "integer_below_min_value"),
        ("limit=101", 400, "limit", "integer_above_max_value"),
        ("limit=ten", 400, "limit", "invalid_type"),
        ("order=up", 400, "order", "invalid_value"),
        ("before=x", 400, "before", "unknown_parameter"),
        ("after=video_nobody", 404, "after", None),
    ],
)
def test_a_wrong_page_is_refused(scene: Scene, query: str, status: int, param: str, code: str | None) -> None:
    """The parameter is named."""
    assert refused(scene, ask(scene, "GET", f"/v1/videos?{query}"))[:3] == (status, param, code)


def test_a_deleted_video_is_gone_and_stays_billed(make_scene: MakeScene) -> None:
    """Not before its end; after it the id is unknown everywhere, across a restart too."""
    kept: list[dict[str, Any]] = []

    class Kept:
        """Keeps the lines."""

        def keep_frame(self, sha256: str, data: bytes) -> None:
            """Keep nothing: there are no frames."""

        def keep(self, line: Any) -> None:
            """Keep a line, as JSON does."""
            kept.append(json.loads(json.dumps(line)))

    scene = make_scene(provider="openai", memory=Kept())
    video_id = made(scene)
    path = f"/v1/videos/{video_id}"
    assert ask(scene, "DELETE", path).status == 409
    scene.now += LONG_S
    answer = scene.decoded(ask(scene, "DELETE", path))
    assert answer == {"id": video_id, "object": "video.deleted", "deleted": True}
    restarted = make_scene(provider="openai")
    for line in kept:
        restarted.world.restore(line, {})
    for one in (scene, restarted):
        assert [ask(one, method, path).status for method in ("GET", "DELETE")] == [404, 404]
        assert ask(one, "GET", f"{path}/content").status == 404
        assert one.decoded(ask(one, "GET", "/v1/videos"))["data"] == []
        assert one.world.ledger()["by_prompt"] == {"A kite.": 1}


def test_the_ledger_bills_by_model_size_and_length(scene: Scene) -> None:
    """A second costs more on the larger model, and most in the larger sizes."""
    for fields in ({}, {"model": "sora-2-pro", "seconds": "8"}, {"model": "sora-2-pro", "size": "1792x1024"}):
        assert create(scene, {"prompt": "A kite.", **fields}).status == 200
    ledger = scene.world.ledger()
    assert [line["price"] for line in ledger["creates"]] == [0.40, 2.40, 2.00]
    assert ledger["creates"][1]["fields"] == {"prompt": "A kite.", "model": "sora-2-pro", "seconds": "8"}
    assert set(ledger["requests"]) == {"create", "poll", "content", "list", "delete"}


def test_rules_meet_every_call(make_scene: MakeScene) -> None:
    """A create that is billed and lost, a task that fails, a list and a delete that do not answer."""
    scene = make_scene(
        {"on": "create", "prompt": "lost", "status": 502, "body": "<html>", "effect": True},
        {"on": "create", "prompt": "bad", "fail": "blocked"},
        {"on": "list", "nth": 1, "status": 500},
        {"on": "delete", "nth": 1, "reset": "before"},
        {"on": "content", "nth": 1, "expire": True},
        provider="openai",
    )
    assert create(scene, {"prompt": "lost"}).status == 502
    bad = made(scene, "bad")
    scene.now += LONG_S
    failed = scene.poll(bad)
    assert (failed["status"], failed["error"]) == ("failed", {"code": "video_generation_failed", "message": "blocked"})
    assert ask(scene, "GET", "/v1/videos").status == 500
    lost = scene.decoded(ask(scene, "GET", "/v1/videos"))["data"][-1]
    assert lost["prompt"] == "lost"
    assert [ask(scene, "GET", f"/v1/videos/{lost['id']}/content").status for _ in range(2)] == [404, 200]
    assert ask(scene, "DELETE", f"/v1/videos/{bad}").transport.reset == "before"
    assert scene.poll(bad)["status"] == "failed"
    assert scene.world.ledger()["by_prompt"] == {"lost": 1, "bad": 1}


def test_the_package_serves_it_alone() -> None:
    """``python -m batchvid.sandbox --provider openai`` tells where it serves, and ends with its input."""
    command = [sys.executable, "-m", "batchvid.sandbox", "--provider", "openai"]
    home = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=home, text=True) as child:
        assert child.stdout is not None
        base = json.loads(child.stdout.readline())["api"]
        request = urllib.request.Request(f"{base}/videos", headers={"authorization": "Bearer sk-sandbox"})  # noqa: S310 ours
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 ours
            assert json.load(answer)["object"] == "list"
        child.communicate("", timeout=20)
    assert child.returncode == 0


@pytest.mark.parametrize(
    ("provider", "rule", "says"),
    [
        ("openai", {"on": "file", "status": 403}, "on: this service has no file, only create, poll, content, list"),
        ("openai", {"on": "poll", "wrapped": True}, "wrapped and no_url have no meaning"),
        ("cometapi", {"on": "list", "status": 403}, "on: this service has no list, only create, poll, content, file"),
    ],
)
def test_a_rule_for_the_other_service_is_refused(
    tmp_path: Path, provider: str, rule: dict[str, Any], says: str
) -> None:
    """It would never meet a call, and a rehearsal would prove nothing."""
    faults = tmp_path / "faults.yaml"
    faults.write_text(json.dumps([rule]))
    with pytest.raises(ConfigError, match=says), running(Options(provider=provider, faults_path=faults)):
        pass


def test_a_server_of_ones_own_has_its_models_in_any_size_and_length(make_scene: MakeScene) -> None:
    """Nobody bills them; the service's own models stay as strict as they are."""
    scene = make_scene(provider="openai", models=["wan-2.2"])
    reply = create(scene, {"prompt": "A kite.", "model": "wan-2.2", "size": "480x832", "seconds": "5"})
    assert scene.decoded(reply)["model"] == "wan-2.2"
    assert [(line["model"], line["price"]) for line in scene.world.ledger()["creates"]] == [("wan-2.2", 0.0)]
    for wrong in ({"size": "480p"}, {"size": 7}, {"seconds": "61"}, {"model": "sora-2", "seconds": "5"}):
        assert create(scene, {"prompt": "A kite.", "model": "wan-2.2"} | wrong).status == 400
    (task,) = scene.world.tasks.values()
    kept = json.loads(json.dumps({**asdict(task), "model": task.model.alias, "type": "task"}))
    later = make_scene(provider="openai")
    later.world.restore(kept, {})
    assert later.world.ledger()["creates"] == scene.world.ledger()["creates"]


def test_the_state_of_another_service_is_refused(tmp_path: Path) -> None:
    """Its tasks cannot be told in this one's words."""
    line = {"type": "task", "model": "veo3-fast", "frame_hashes": []}
    (tmp_path / "ledger.jsonl").write_text(json.dumps(line) + "\n")
    with (
        pytest.raises(ConfigError, match="of another service: openai has no veo3-fast"),
        running(Options(provider="openai", state_dir=tmp_path)),
    ):
        pass
