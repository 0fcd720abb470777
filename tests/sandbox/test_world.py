"""The life of a task in the sandbox, its URLs, and the ledger that makes a double payment visible."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from batchvid.domain.task import Created, Phase, TaskReport
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.response import Response
from batchvid.sandbox.cometapi import MODELS, Shape
from batchvid.sandbox.render import tiny_clips
from batchvid.sandbox.tasks import LONGEST_S, SHORTEST_S, generation_s

if TYPE_CHECKING:
    from tests.sandbox.conftest import MakeScene, Picture, Scene

LONG_S = 400.0


def test_the_ledger_counts_every_create_with_its_fields_and_frames_in_order(scene: Scene, picture: Picture) -> None:
    """Two creates of one prompt are two billed lines; the frames' hashes stand in the order of the upload."""
    first, last = picture("red"), picture("blue")
    scene.create(first, last, prompt="A kite.", model="veo3-fast", size="9x16", seed="7")
    scene.create(last, first, prompt="A kite.", model="veo3-fast")
    scene.submit("A boat.")
    ledger = scene.world.ledger()
    assert ledger["by_prompt"] == {"A kite.": 2, "A boat.": 1}
    hashes = [hashlib.sha256(frame).hexdigest() for frame in (first, last)]
    assert [line["frames"] for line in ledger["creates"]] == [hashes, hashes[::-1], []]
    line = ledger["creates"][0]
    assert line["fields"] == {"prompt": "A kite.", "model": "veo3-fast", "size": "9x16", "seed": "7"}
    assert (line["n"], line["at"], line["billed"], line["price"]) == (1, scene.now, True, 0.40)
    assert ledger["requests"] == {"create": 3, "poll": 0, "content": 0, "file": 0}


def test_a_create_without_a_model_is_a_create_of_the_default_one(scene: Scene) -> None:
    """The service's page names a default model."""
    assert scene.decoded(scene.create(prompt="A kite."))["model"] == "veo_3_1-fast"


def test_contract_1_answers_with_the_resolved_model_and_no_seconds(scene: Scene) -> None:
    """The fields are those of the recorded live answer."""
    answer = scene.decoded(scene.create(prompt="A kite.", model="veo3-pro", size="9x16"))
    assert answer.pop("id").startswith("task_")
    assert answer == {
        "created_at": int(scene.now),
        "model": "veo_3_1-4K",
        "object": "video",
        "progress": 0,
        "seconds": "",
        "size": "9x16",
        "status": "queued",
    }


def test_contract_2_has_its_own_defaults_and_repeats_the_id(scene: Scene) -> None:
    """Pixels, four seconds, and ``task_id`` equal to ``id``."""
    answer = scene.decoded(scene.create(prompt="A kite.", model="veo3.1"))
    assert answer["task_id"] == answer["id"]
    assert (answer["size"], answer["seconds"]) == ("1280x720", "4")
    assert scene.world.ledger()["creates"][0]["price"] == pytest.approx(1.60)


def test_a_task_is_queued_then_runs_with_growing_progress_then_is_completed(scene: Scene) -> None:
    """The stages come in their order, each of them is seen, and only the last one has a URL."""
    task_id = scene.submit()
    answers = []
    for _ in range(int(LONG_S)):
        answers.append(scene.poll(task_id))
        scene.now += 1
    words = [answer["status"] for answer in answers]
    assert sorted(set(words), key=words.index) == ["queued", "in_progress", "completed"]
    assert sorted(words, key=["queued", "in_progress", "completed"].index) == words
    progress = [answer["progress"] for answer in answers]
    assert progress == sorted(progress)
    assert len(set(progress)) > 5
    assert all(("video_url" in answer) == (answer["status"] == "completed") for answer in answers)


@pytest.mark.parametrize("alias", MODELS)
def test_batchvid_reads_each_models_form_to_the_clip(scene: Scene, alias: str) -> None:
    """Wherever a model's tasks hold their URL, the client finds it, or goes to /content for want of one."""
    created = scene.create(prompt="A kite.", model=alias)
    task = CometAPI().read_create(Response(created.status, created.headers, created.body), now=scene.now)
    assert isinstance(task, Created)
    path = f"/v1/videos/{quote(task.task_id, safe='')}"
    scene.now += LONG_S
    polled = scene.send("GET", path)
    report = CometAPI().read_poll(
        Response(polled.status, polled.headers, polled.body), task_id=task.task_id, now=scene.now
    )
    assert isinstance(report, TaskReport)
    assert report.phase is Phase.SUCCEEDED
    without_url = MODELS[alias].shape is Shape.CONTENT_ONLY
    assert (report.url is None) == without_url
    content = scene.send("GET", f"{path}/content")
    assert content.body[4:8] == b"ftyp"
    assert without_url or scene.fetch(str(report.url)).body == content.body


def test_the_wrapped_form_has_its_url_in_fail_reason(scene: Scene) -> None:
    """As recorded by three other clients."""
    task_id = scene.submit(model="veo3-pro")
    assert scene.poll(task_id)["data"]["status"] == "NOT_START"
    scene.now += LONG_S
    answer = scene.poll(task_id)
    assert answer["code"] == "success"
    assert answer["data"]["status"] == "SUCCESS"
    assert answer["data"]["progress"] == "100%"
    assert answer["data"]["fail_reason"].startswith("http://files.sandbox.invalid/")


def test_generation_times_lie_between_eleven_seconds_and_six_minutes() -> None:
    """Over a thousand tasks they spread, stay within what was seen, and follow the model and the length."""
    fast, slow = MODELS["veo3-fast"], MODELS["veo3.1-pro"]
    times = sorted(generation_s(1, n, model=fast, seconds=8, pixels=(640, 360)) for n in range(1000))
    assert SHORTEST_S <= times[0] < 30
    assert 120 < times[-1] <= LONGEST_S
    assert 50 < times[500] < 70
    longer = [generation_s(1, n, model=slow, seconds=8, pixels=(3840, 2160)) for n in range(1000)]
    assert sorted(longer)[500] > 2 * times[500]


def test_speed_divides_the_time_and_the_seed_decides_it(make_scene: MakeScene) -> None:
    """The same seed gives the same ids and times; another one does not."""

    def of(**terms: Any) -> tuple[str, float]:
        scene = make_scene(**terms)
        task_id = scene.submit()
        return task_id, scene.world.tasks[task_id].took_s

    assert of(seed=3) == of(seed=3)
    assert of(seed=3) != of(seed=4)
    assert of(seed=3, speed=10.0)[1] == pytest.approx(of(seed=3)[1] / 10)


def test_a_task_is_not_completed_before_its_clip_is_rendered(scene: Scene) -> None:
    """Its time alone does not finish it."""
    scene.world._clips = lambda _order: None
    task_id = scene.submit()
    scene.now += LONG_S
    assert scene.poll(task_id)["status"] == "in_progress"
    scene.world._clips = tiny_clips
    assert scene.poll(task_id)["status"] == "completed"


def test_content_before_its_time_says_that_the_task_is_not_completed(scene: Scene) -> None:
    """The gateway's own words, from which a client knows to poll on."""
    task_id = scene.submit()
    reply = scene.send("GET", f"/v1/videos/{task_id}/content")
    assert reply.status == 400
    error = scene.decoded(reply)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("Task is not completed yet")


def test_a_fresh_id_is_unknown_during_the_grace(make_scene: MakeScene) -> None:
    """The service may need a moment before it finds its own task."""
    scene = make_scene(grace_s=3.0)
    task_id = scene.submit()
    assert scene.poll(task_id)["code"] == "task_not_exist"
    scene.now += 3
    assert scene.poll(task_id)["status"] == "queued"


def test_an_expired_url_is_refused_and_a_poll_gives_a_fresh_one(make_scene: MakeScene) -> None:
    """A URL holds for its life and not longer; until then every poll gives the same one."""
    scene = make_scene(url_life_s=60.0)
    task_id = scene.submit()
    url = scene.finished_url(task_id)
    scene.now += 59
    assert scene.poll(task_id)["video_url"] == url
    assert scene.fetch(url).status == 200
    scene.now += 1
    assert scene.fetch(url).status == 403
    fresh = scene.poll(task_id)["video_url"]
    assert fresh != url
    assert scene.fetch(fresh).status == 200
    assert scene.fetch(url).status == 403


def test_a_url_cannot_be_guessed_from_an_id(scene: Scene) -> None:
    """Only a URL that was issued, exactly, is served."""
    task_id = scene.submit()
    url = scene.finished_url(task_id)
    for wrong in (url[:-5] + "0.mp4", url.rpartition("/")[0], url + "x", f"{scene.world.files_url}/", url + "/"):
        assert scene.fetch(wrong).status == 403


def test_the_key_at_the_file_host_is_refused_and_recorded(scene: Scene) -> None:
    """A client that sends its key to another host leaks it; the ledger tells."""
    url = scene.finished_url(scene.submit())
    assert scene.fetch(url, authorization="Bearer sk-sandbox").status == 403
    (violation,) = scene.world.ledger()["violations"]
    assert violation["what"] == "key leaked to the file host"
    assert "sk-sandbox" not in str(violation)


def test_range_requests_give_exactly_the_part(scene: Scene) -> None:
    """All three forms of a byte range, on the file host and behind /content alike."""
    task_id = scene.submit()
    url = scene.finished_url(task_id)
    whole = scene.fetch(url)
    size = len(whole.body)
    assert (whole.status, whole.headers["accept-ranges"]) == (200, "bytes")
    for asked, first, last in (
        ("100-", 100, size - 1),
        ("0-9", 0, 9),
        ("-5", size - 5, size - 1),
        ("9-99999999", 9, size - 1),
    ):
        for reply in (
            scene.fetch(url, range=f"bytes={asked}"),
            scene.send("GET", f"/v1/videos/{task_id}/content", range=f"bytes={asked}"),
        ):
            assert reply.status == 206
            assert reply.headers["content-range"] == f"bytes {first}-{last}/{size}"
            assert reply.body == whole.body[first : last + 1]


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=5-2", "bytes=1-2,4-5", "items=1-2", "nonsense"])
def test_a_range_that_is_none_gives_the_whole(scene: Scene, asked: str) -> None:
    """RFC 9110 §14.2: what is not understood is ignored."""
    assert scene.fetch(scene.finished_url(scene.submit()), range=asked).status == 200


def test_a_range_behind_the_end_is_416(scene: Scene) -> None:
    """The answer tells the true size, and has no body."""
    url = scene.finished_url(scene.submit())
    size = len(scene.fetch(url).body)
    reply = scene.fetch(url, range=f"bytes={size}-")
    assert (reply.status, reply.headers["content-range"], reply.body) == (416, f"bytes */{size}", b"")


def test_if_range_gives_the_part_only_of_the_same_clip(scene: Scene) -> None:
    """With another ETag the whole clip comes, so that nothing is glued together."""
    url = scene.finished_url(scene.submit())
    etag = scene.fetch(url).headers["etag"]
    assert scene.fetch(url, range="bytes=5-", if_range=etag).status == 206
    assert scene.fetch(url, range="bytes=5-", if_range='"other"').status == 200


def test_the_models_are_listed_with_and_without_prices(scene: Scene) -> None:
    """Both lists name every alias; the one without the key holds prices."""
    assert {one["id"] for one in scene.decoded(scene.send("GET", "/v1/models"))["data"]} == set(MODELS)
    rows = scene.decoded(scene.send("GET", "/api/models"))["data"]
    assert {"currency": "USD", "per_second": 0.4} in [row["pricing"] for row in rows]


def test_the_ledger_needs_no_key(scene: Scene) -> None:
    """It is the sandbox's own, not the service's."""
    scene.submit("A kite.")
    answer = scene.decoded(scene.send("GET", "/_sandbox/ledger", authorization=""))
    assert answer["by_prompt"] == {"A kite.": 1}
    assert scene.decoded(scene.send("GET", "/_sandbox/health", authorization=""))["ok"] is True
