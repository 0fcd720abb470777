"""What the sandbox refuses, as the service would, and that a refusal never costs anything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.task import Fault, FaultKind
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.response import Response
from batchvid.sandbox.cometapi import read_order, read_upload
from batchvid.sandbox.messages import BODY_MAX_BYTES, FormError, Reply, Request, read_form

if TYPE_CHECKING:
    from tests.sandbox.conftest import MakeScene, Picture, Scene

GOOD = {"prompt": "A kite.", "model": "veo3-fast"}


def error_of(scene: Scene, reply: Reply) -> tuple[int, str, str]:
    """Return status, code and message of an error in the nested envelope."""
    error = scene.decoded(reply)["error"]
    assert error["type"] == "comet_api_error"
    return reply.status, error["code"], error["message"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "says"),
    [
        ({"model": "veo3-fast"}, 400, "invalid_request", "prompt is required"),
        ({**GOOD, "prompt": " \t\xa0"}, 400, "invalid_request", "prompt is required"),
        ({**GOOD, "prompt": "x" * 20_001}, 400, "invalid_request", "prompt is too long"),
        ({**GOOD, "model": ""}, 400, "", "model name is required"),
        (
            {**GOOD, "model": "sora-9"},
            503,
            "model_not_found",
            "no available channel for group default and model sora-9",
        ),
        ({**GOOD, "size": "1280x720"}, 500, "invalid_request", "size 1280x720 is not supported"),
        ({**GOOD, "model": "veo3.1", "size": "16x9"}, 500, "invalid_request", "size 16x9 is not supported"),
        ({**GOOD, "model": "veo3.1", "seconds": "5"}, 500, "invalid_request", "seconds 5 is not supported"),
        ({**GOOD, "input_reference": "https://x/y.png"}, 400, "invalid_request", "input_reference must be a file"),
    ],
)
def test_a_wrong_field_is_refused_with_the_services_envelope(
    scene: Scene, fields: dict[str, str], status: int, code: str, says: str
) -> None:
    """Every refusal has the status, the code and the request id of the real service, and is not in the ledger."""
    found = error_of(scene, scene.create(**fields))
    assert found[:2] == (status, code)
    assert says in found[2]
    assert "(request id: " in found[2]
    assert scene.world.ledger()["creates"] == []


@pytest.mark.parametrize(("model", "allowed"), [("veo3-fast", 2), ("veo3", 2), ("veo3-pro", 2), ("veo3.1", 1)])
def test_one_frame_too_many_is_refused(scene: Scene, picture: Picture, model: str, allowed: int) -> None:
    """Contract 1 takes two frames, contract 2 takes one, and nothing takes three."""
    frames = [picture(colour) for colour in ("red", "green", "blue")]
    assert scene.create(*frames[:allowed], prompt="A kite.", model=model).status == 200
    for count in range(allowed + 1, 4):
        assert error_of(scene, scene.create(*frames[:count], prompt="A kite.", model=model))[0] == 400
    assert len(scene.world.ledger()["creates"]) == 1


def test_an_image_that_is_none_is_refused(scene: Scene, picture: Picture) -> None:
    """Text, nothing, half a picture, and a picture of a kind that is not taken are all no image."""
    whole = picture("red")
    for bad in (b"not an image", b"", whole[: len(whole) // 2], picture("red", kind="GIF")):
        status, code, message = error_of(scene, scene.create(bad, **GOOD))
        assert (status, code) == (400, "invalid_request")
        assert "input_reference 1 is not a valid image" in message


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_an_image_must_be_sent_as_what_it_is(scene: Scene, picture: Picture, kind: str, mime: str) -> None:
    """Three kinds of image are taken, each under its true type, or under none: then its bytes tell."""
    data = picture("red", kind=kind)
    assert scene.create(data, mime=mime, **GOOD).status == 200
    assert scene.create(data, mime="application/octet-stream", **GOOD).status == 200
    wrong = "image/png" if mime != "image/png" else "image/jpeg"
    assert f"is {mime} but was sent as {wrong}" in error_of(scene, scene.create(data, mime=wrong, **GOOD))[2]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer sk-other", "sk-sandbox", "Basic sk-sandbox"])
def test_a_wrong_key_is_refused_on_every_call(scene: Scene, authorization: str) -> None:
    """Without the key nothing is created, told or given."""
    task_id = scene.submit()
    for method, path in (
        ("POST", "/v1/videos"),
        ("GET", f"/v1/videos/{task_id}"),
        ("GET", f"/v1/videos/{task_id}/content"),
    ):
        reply = scene.send(method, path, authorization=authorization)
        assert error_of(scene, reply)[0] == 401
    assert len(scene.world.ledger()["creates"]) == 1


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "", "multipart/form-data", "application/x-www-form-urlencoded", "multipart/mixed; boundary=b"],
)
def test_a_body_that_is_no_form_is_refused(scene: Scene, content_type: str) -> None:
    """Only multipart/form-data with a boundary is read at all."""
    reply = scene.send("POST", "/v1/videos", b'{"prompt": "A kite."}', content_type=content_type)
    status, code, message = error_of(scene, reply)
    assert (status, code) == (400, "invalid_request")
    assert "isn't multipart/form-data" in message


PART = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nA kite.\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        PART,
        PART + b"--b-",
        PART + b"--b--trailing",
        b"junk" + PART + b"--b--\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nnonsense\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nno blank line\r\n--b--\r\n",
    ],
)
def test_a_damaged_form_is_refused(body: bytes) -> None:
    """A form that is cut off, or not well formed, is never guessed at."""
    with pytest.raises(FormError):
        read_form("multipart/form-data; boundary=b", body)


def field(name: str, value: bytes, *more: str) -> bytes:
    """Return one part of a form."""
    named = "; ".join((f'name="{name}"', *more))
    return f"--b\r\nContent-Disposition: form-data; {named}\r\n\r\n".encode() + value + b"\r\n"


@pytest.mark.parametrize(
    "name", ["input_reference[image_url]", "input_reference[]", "input_reference.0", "input_reference"]
)
@pytest.mark.parametrize("more", [(), ('filename="a.png"',)])
def test_a_frame_in_another_spelling_is_never_left_out(
    scene: Scene, picture: Picture, name: str, more: tuple[str, ...]
) -> None:
    """A lenient server bills such a create and makes a clip without the frame."""
    body = PART + field(name, picture("red"), *more) + b"--b--\r\n"
    reply = scene.send("POST", "/v1/videos", body, content_type="multipart/form-data; boundary=b")
    assert error_of(scene, reply)[:2] == (400, "invalid_request")
    assert scene.world.ledger()["creates"] == []


def test_a_field_sent_twice_is_refused(scene: Scene) -> None:
    """Two prompts in one form would leave it open which one was meant."""
    reply = scene.send("POST", "/v1/videos", PART * 2 + b"--b--\r\n", content_type="multipart/form-data; boundary=b")
    assert "field prompt was sent twice" in error_of(scene, reply)[2]
    body = PART + field("", b"1") * 2 + b"--b--\r\n"
    reply = scene.send("POST", "/v1/videos", body, content_type="multipart/form-data; boundary=b")
    assert error_of(scene, reply)[0] == 400


def test_a_file_under_another_name_is_refused(scene: Scene, picture: Picture) -> None:
    """Frames go by one name only; another one would be silently ignored by a lenient server."""
    stray = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    body = PART + stray + picture("red") + b"\r\n--b--\r\n"
    reply = scene.send("POST", "/v1/videos", body, content_type="multipart/form-data; boundary=b")
    assert "unexpected file field image" in error_of(scene, reply)[2]


def test_a_body_above_the_limit_is_refused_flat() -> None:
    """The gateway's limit is answered 413 in the flat envelope."""

    class Huge(bytes):
        """Bytes that claim to be many."""

        __slots__ = ()

        def __len__(self) -> int:
            return BODY_MAX_BYTES + 1

    request = Request("POST", "/v1/videos", {}, Huge())
    reply = read_order(request, read_upload(request), request_id="r")
    assert isinstance(reply, Reply)
    assert reply.status == 413
    assert b'"code": "read_request_body_failed"' in reply.body


def test_a_create_above_the_rate_is_refused_until_the_minute_has_passed(make_scene: MakeScene) -> None:
    """The window slides: what Retry-After promises holds, and a second earlier it does not."""
    scene = make_scene(rate_per_minute=2)
    scene.submit()
    scene.now += 20
    scene.submit()
    reply = scene.create(**GOOD)
    assert reply.status == 429
    assert reply.headers["retry-after"] == "40"
    scene.now += 39
    assert scene.create(**GOOD).status == 429
    scene.now += 1
    assert scene.create(**GOOD).status == 200
    assert len(scene.world.ledger()["creates"]) == 3


@pytest.mark.parametrize("provider", ["cometapi", "openai"])
def test_a_create_beside_as_many_tasks_as_may_be_is_refused_until_one_has_ended(
    make_scene: MakeScene, provider: str
) -> None:
    """The words say which limit it was, no time to wait is named, and a refused create counts for nothing."""
    scene = make_scene(in_flight=2, rate_per_minute=3, provider=provider)
    good = GOOD if provider == "cometapi" else {"prompt": "A kite.", "model": "sora-2"}
    assert [scene.create(**good).status for _ in range(2)] == [200, 200]
    ends_at = min(task.created_at + task.took_s for task in scene.world.tasks.values())
    for _ in range(5):
        reply = scene.create(**good)
        assert (reply.status, "retry-after" in reply.headers) == (429, False)
        assert b"oncurrent" in reply.body
    scene.now = ends_at - 0.1
    assert scene.create(**good).status == 429
    scene.now = ends_at
    assert scene.create(**good).status == 200
    assert len(scene.world.ledger()["creates"]) == 3


@pytest.mark.parametrize("provider", ["cometapi", "openai"])
def test_a_service_that_does_not_tell_its_limits_says_the_same_of_both(make_scene: MakeScene, provider: str) -> None:
    """Neither words nor headers tell a rate from a number of tasks."""
    said = []
    good = GOOD if provider == "cometapi" else {"prompt": "A kite.", "model": "sora-2"}
    for rate, room in ((1, None), (None, 1)):
        scene = make_scene(rate_per_minute=rate, in_flight=room, tells_limits=False, provider=provider)
        assert scene.create(**good).status == 200
        reply = scene.create(**good)
        assert reply.status == 429
        said.append((sorted(reply.headers), re.sub(rb"request id: \w+", b"", reply.body)))
    assert said[0] == said[1]
    assert "retry-after" not in said[0][0]


def test_an_unknown_id_is_answered_flat_on_a_poll_and_404_on_content(scene: Scene) -> None:
    """Both routes say in their own way that there is no such task."""
    poll = scene.send("GET", "/v1/videos/task_nobody")
    assert (poll.status, scene.decoded(poll)["code"]) == (400, "task_not_exist")
    assert scene.send("GET", "/v1/videos/task_nobody/content").status == 404


def test_an_unknown_route_is_an_error_under_v1_and_a_web_page_elsewhere(scene: Scene) -> None:
    """A base URL without /v1 meets the service's website, with status 200."""
    assert scene.send("GET", "/v1/videoz").status == 404
    assert scene.send("POST", "/videos").status == 404
    page = scene.send("GET", "/videos/task_x")
    assert (page.status, page.body[:9]) == (200, b"<!DOCTYPE")


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/v1/videos", "GET", "OPTIONS, POST"),
        ("/v1/videos", "HEAD", "OPTIONS, POST"),
        ("/v1/videos", "TRACE", "OPTIONS, POST"),
        ("/v1/videos/task_x", "DELETE", "GET, HEAD, OPTIONS"),
        ("/v1/videos/task_x/content", "PUT", "GET, HEAD, OPTIONS"),
        ("/v1/models", "POST", "GET, HEAD, OPTIONS"),
        ("/_sandbox/ledger", "DELETE", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_answered_with_what_is_allowed(scene: Scene, path: str, method: str, allow: str) -> None:
    """It is no call: nothing is counted or billed."""
    reply = scene.send(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allow)
    options = scene.send("OPTIONS", path, authorization="")
    assert (options.status, options.headers["allow"], options.body) == (204, allow, b"")
    assert not any(scene.world.ledger()["requests"].values())


def test_head_is_answered_as_get_and_never_with_a_part(scene: Scene) -> None:
    """Key and task are asked for alike; the one who sends the answer leaves its body out."""
    task_id = scene.submit()
    scene.now += 400.0
    path = f"/v1/videos/{task_id}/content"
    assert scene.send("HEAD", path) == scene.send("GET", path)
    assert scene.send("HEAD", path, range="bytes=0-9").status == 200
    assert scene.send("HEAD", path, authorization="").status == 401
    assert scene.send("HEAD", "/v1/videos/task_nobody").status == 400


def test_the_models_need_the_key_and_the_prices_do_not(scene: Scene) -> None:
    """As at the service, so that a wrong key is found before a run."""
    assert scene.send("GET", "/v1/models", authorization="Bearer sk-other").status == 401
    assert "veo3-fast" in {row["id"] for row in scene.decoded(scene.send("GET", "/v1/models"))["data"]}
    assert scene.send("GET", "/api/models", authorization="").status == 200


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "veo3-fast"}, FaultKind.REJECTED),
        ({**GOOD, "size": "7x7"}, FaultKind.REJECTED),
        ({**GOOD, "model": "sora-9"}, FaultKind.NO_CHANNEL),
    ],
)
def test_batchvid_reads_every_refusal_as_nothing_created(scene: Scene, fields: dict[str, str], kind: FaultKind) -> None:
    """The client's reading of the sandbox's envelopes is never "in doubt"."""
    reply = scene.create(**fields)
    fault = CometAPI().read_create(Response(reply.status, reply.headers, reply.body), now=scene.now)
    assert isinstance(fault, Fault)
    assert fault.kind is kind
