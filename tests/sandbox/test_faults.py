"""Scripted faults: which calls a rule meets, what it does to them, and whether a create under it is billed."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import ConfigError
from batchvid.sandbox.faults import FAULTS_HELP, Call, Rule, Script, parse_rules
from batchvid.sandbox.messages import Reset, Transport

if TYPE_CHECKING:
    from tests.sandbox.conftest import MakeScene

LONG_S = 400.0
GOOD = {"prompt": "A kite.", "model": "veo3-fast"}


def fires(rule: dict[str, Any], prompts: str) -> str:
    """Return ``x`` for each call that *rule* meets and ``.`` for the others; *prompts* has one letter a call."""
    script = Script(parse_rules([{"on": "poll", **rule}]))
    return "".join("x" if script.meet(Call.POLL, prompt=one, model="veo3") else "." for one in prompts)


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ({}, "xxxxxxxx"),
        ({"nth": "every"}, "xxxxxxxx"),
        ({"nth": 1}, "x..x...."),
        ({"nth": [1, 3]}, "x.xx..x."),
        ({"nth": "2-3"}, ".xx.x.x."),
        ({"nth": "3-"}, "..x..xxx"),
        ({"nth": 2, "scope": "call"}, ".x......"),
        ({"nth": "2-4", "scope": "call", "prompt": "b"}, "....x.x."),
        ({"times": 2}, "xx......"),
        ({"prompt": "b*"}, "...xx.x."),
        ({"model": "veo3.1*"}, "........"),
    ],
)
def test_a_rule_meets_just_the_calls_that_it_names(rule: dict[str, Any], met: str) -> None:
    """Counting is per prompt, or over all calls that the other conditions meet."""
    assert fires(rule, "aaabbaba") == met


def test_the_first_rule_decides_and_later_ones_still_count() -> None:
    """So the second rule's first chance is not postponed to the call after the first rule's."""
    script = Script(
        parse_rules([{"on": "poll", "nth": 1, "status": 502}, {"on": "poll", "nth": [1, 2], "status": 503}])
    )
    met = [script.meet(Call.POLL, prompt="a", model="") for _ in range(3)]
    assert [rule and rule.status for rule in met] == [502, 503, None]


@pytest.mark.parametrize(
    ("rule", "billed"),
    [
        ({"status": 500, "body": "<html>"}, False),
        ({"status": 429, "headers": {"Retry-After": "3"}}, False),
        ({"raw": "garbage"}, False),
        ({"redirect": "https://example.com/"}, False),
        ({"hang": True}, False),
        ({"reset": "before"}, False),
        ({"reset": "during"}, True),
        ({"reset": "after-effect"}, True),
        ({"cut_at": 0.5}, True),
        ({"delay_s": 3}, True),
        ({"garbage": "html"}, True),
        ({"set": {"id": None}}, True),
        ({"status": 504, "effect": True}, True),
        ({"hang": True, "effect": True}, True),
        ({"fail": "no"}, True),
        ({"never": True}, True),
    ],
)
def test_a_create_is_billed_unless_the_answer_is_the_rules_own(
    make_scene: MakeScene, rule: dict[str, Any], *, billed: bool
) -> None:
    """Only a create that never reached the service's work is free; the ledger shows which."""
    scene = make_scene({"on": "create", **rule})
    scene.create(**GOOD)
    assert len(scene.world.ledger()["creates"]) == billed


def test_a_rule_does_not_make_a_wrong_create_right(make_scene: MakeScene) -> None:
    """A refused create stays refused and unbilled under a rule that damages the true answer."""
    scene = make_scene({"on": "create", "delay_s": 2})
    reply = scene.create(model="veo3-fast")
    assert (reply.status, reply.transport) == (400, Transport(delay_s=2))
    assert scene.world.ledger()["creates"] == []


def test_an_answer_of_the_rules_own_goes_out_as_written(make_scene: MakeScene) -> None:
    """Status, headers and body are taken from the rule; JSON may be written as such."""
    body = {"error": {"code": "x", "message": "y"}}
    scene = make_scene(
        {"on": "create", "status": 500, "body": body, "headers": {"X-Id": 7}, "nth": 1},
        {"on": "create", "redirect": "https://example.com/", "nth": 2},
        {"on": "create", "raw": "SSH-2.0\r\n", "nth": 3},
    )
    own, redirect, raw = (scene.create(**GOOD) for _ in range(3))
    assert (own.status, scene.decoded(own), own.headers["x-id"]) == (500, body, "7")
    assert own.headers["content-type"] == "application/json"
    assert (redirect.status, redirect.headers["location"]) == (307, "https://example.com/")
    assert raw.transport.raw == b"SSH-2.0\r\n"


@pytest.mark.parametrize("model", ["veo3-fast", "veo3-pro"])
def test_fields_of_a_task_can_be_changed_and_removed_in_both_forms(make_scene: MakeScene, model: str) -> None:
    """The change reaches the task inside its wrapping as well."""
    scene = make_scene({"on": "poll", "status_word": "cooking", "set": {"progress": None, "note": 1}})
    answer = scene.poll(scene.submit(model=model))
    task = answer.get("data", answer)
    assert (task["status"], task["note"]) == ("cooking", 1)
    assert "progress" not in task


def test_a_task_can_fail_and_can_wait_for_ever(make_scene: MakeScene) -> None:
    """Both are decided by the create and hold for all later polls; the failure has its reason."""
    scene = make_scene(
        {"on": "create", "prompt": "bad", "fail": "unsafe prompt"}, {"on": "create", "prompt": "slow", "never": True}
    )
    bad, slow, good = (scene.submit(prompt) for prompt in ("bad", "slow", "good"))
    assert scene.poll(bad)["status"] == "queued"
    scene.now += LONG_S
    failed = scene.poll(bad)
    assert (failed["status"], failed["error"]["message"]) == ("failed", "unsafe prompt")
    assert scene.poll(good)["status"] == "completed"
    scene.now += 1e6
    assert scene.poll(slow)["status"] == "queued"
    assert scene.world.ledger()["by_prompt"] == {"bad": 1, "slow": 1, "good": 1}


def test_a_task_can_fail_at_a_poll_for_good(make_scene: MakeScene) -> None:
    """From that poll on it is failed, in the wrapped form too."""
    scene = make_scene({"on": "poll", "nth": 2, "fail": "out of capacity"})
    task_id = scene.submit(model="veo3-pro")
    assert scene.poll(task_id)["data"]["status"] == "NOT_START"
    for _ in range(2):
        data = scene.poll(task_id)["data"]
        assert (data["status"], data["fail_reason"]) == ("FAILURE", "out of capacity")


def test_a_status_can_go_back(make_scene: MakeScene) -> None:
    """A poll that answers "queued" after "completed" is a fault the service has shown."""
    scene = make_scene({"on": "poll", "nth": 2, "never": True})
    task_id = scene.submit()
    scene.now += LONG_S
    assert [scene.poll(task_id)["status"] for _ in range(3)] == ["completed", "queued", "completed"]


def test_an_id_can_be_forgotten_once_or_for_ever(make_scene: MakeScene) -> None:
    """On a poll it is that poll's answer; on the create it holds, and the money is gone all the same."""
    scene = make_scene(
        {"on": "poll", "prompt": "once", "nth": 1, "forget": True}, {"on": "create", "prompt": "lost", "forget": True}
    )
    once, lost = scene.submit("once"), scene.submit("lost")
    assert [scene.poll(once).get("code") for _ in range(2)] == ["task_not_exist", None]
    assert [scene.poll(lost).get("code") for _ in range(2)] == ["task_not_exist"] * 2
    assert scene.send("GET", f"/v1/videos/{lost}/content").status == 404
    assert scene.world.ledger()["by_prompt"]["lost"] == 1


def test_a_finished_task_can_lack_its_url_and_change_its_form(make_scene: MakeScene) -> None:
    """Then /content is the only way; and any model can answer wrapped."""
    scene = make_scene({"on": "poll", "nth": 1, "no_url": True}, {"on": "poll", "nth": 2, "wrapped": True})
    task_id = scene.submit()
    assert scene.finished_url(task_id) == "None"
    assert scene.poll(task_id)["data"]["fail_reason"].startswith("http")


def test_a_url_can_expire_at_its_use_and_before(make_scene: MakeScene) -> None:
    """Either way the next poll gives one that holds."""
    scene = make_scene(
        {"on": "file", "prompt": "late", "nth": 1, "expire": True},
        {"on": "poll", "prompt": "stale", "nth": 1, "expire": True},
        {"on": "content", "nth": 1, "expire": True},
    )
    late, stale = scene.submit("late"), scene.submit("stale")
    for task_id in (late, stale):
        assert scene.fetch(scene.finished_url(task_id)).status == 403
        assert scene.fetch(scene.poll(task_id)["video_url"]).status == 200
    assert scene.send("GET", f"/v1/videos/{late}/content").status == 502
    assert scene.send("GET", f"/v1/videos/{late}/content").status == 200


def test_a_range_can_be_ignored_and_an_etag_can_change(make_scene: MakeScene) -> None:
    """The two ways in which resuming goes wrong on a host that otherwise works."""
    scene = make_scene(
        {"on": "file", "prompt": "whole", "ignore_range": True},
        {"on": "file", "prompt": "other", "nth": "2-", "etag": "change"},
    )
    whole, other = (scene.finished_url(scene.submit(prompt)) for prompt in ("whole", "other"))
    assert scene.fetch(whole, range="bytes=5-").status == 200
    etag = scene.fetch(other).headers["etag"]
    again = scene.fetch(other, range="bytes=5-", if_range=etag)
    assert again.status == 200
    assert again.headers["etag"] != etag


def test_a_clip_can_be_replaced_by_garbage(make_scene: MakeScene) -> None:
    """A page, JSON, nothing, half a clip; under whatever content type the rule says."""
    kinds = ["html", "json", "empty", "half"]
    scene = make_scene(
        *({"on": "file", "nth": n, "garbage": kind, "content_type": "video/mp4"} for n, kind in enumerate(kinds, 1))
    )
    url = scene.finished_url(scene.submit())
    replies = [scene.fetch(url) for _ in range(5)]
    assert {reply.headers["content-type"] for reply in replies} == {"video/mp4"}
    page, data, empty, half, clip = (reply.body for reply in replies)
    assert page.startswith(b"<!DOCTYPE")
    assert data == b'{"ok": true}'
    assert empty == b""
    assert half == clip[: len(clip) // 2]


def test_how_an_answer_travels_is_told_to_whoever_sends_it(make_scene: MakeScene) -> None:
    """The world itself neither waits nor cuts; it says what is to be done."""
    scene = make_scene(
        {"on": "file", "cut_at": 0.5, "delay_s": 1, "stall_s": 2, "content_length": "none", "reset": "during"}
    )
    way = scene.fetch(scene.finished_url(scene.submit())).transport
    assert way == Transport(cut_at=0.5, delay_s=1.0, stall_s=2.0, content_length="none", reset=Reset.DURING)


def test_an_answer_of_the_rules_own_can_name_the_task_and_the_key(make_scene: MakeScene) -> None:
    """A create that is told by its place alone, and a service that shows the key, plain or in JSON's escapes."""
    scene = make_scene(
        {"on": "create", "nth": 1, "status": 303, "redirect": "/v1/videos/{id}", "effect": True},
        {"on": "create", "nth": 2, "status": 201, "headers": {"Location": "/v1/videos/{id}"}, "effect": True},
        {"on": "create", "nth": 3, "status": 401, "body": {"error": {"message": "{key} = {escaped_key}"}}},
        {"on": "create", "nth": 4, "status": 303, "redirect": "/v1/videos/{id}"},
    )
    other, made, shown, nowhere = (scene.create(**GOOD) for _ in range(4))
    ids = [line["task_id"] for line in scene.world.ledger()["creates"]]
    assert [(one.status, one.headers["location"], one.body) for one in (other, made)] == [
        (303, f"/v1/videos/{ids[0]}", b""), (201, f"/v1/videos/{ids[1]}", b""),
    ]  # fmt: skip
    assert b"\\u0073\\u006b" in shown.body
    assert scene.decoded(shown)["error"]["message"] == "sk-sandbox = sk-sandbox"
    assert (len(ids), nowhere.headers["location"]) == (2, "/v1/videos/{id}")


@pytest.mark.parametrize(
    "rule",
    [
        {"body": {"task_id": "{id}", "status": "succeeded", "error": {"code": 0}, "content": {"result_url": "{url}"}}},
        {"body": {"code": 0, "message": "SUCCEED", "data": {"task_status": "succeed", "videos": [{"url": "{url}"}]}}},
        {"set": {"video_url": None, "output": ["{url}"]}},
        {"set": {"video_url": {"url": "{url}"}, "id": "another"}},
        {"status": 500, "body": {"id": "{id}", "status": "completed", "video": {"url": "{url}"}}},
    ],
)
def test_a_url_can_stand_anywhere_in_an_answer(make_scene: MakeScene, rule: dict[str, Any]) -> None:
    """In the rule's own answer and in a changed one; it leads to the clip although no other poll was answered."""
    scene = make_scene({"on": "poll", "when": "completed", **rule})
    task_id = scene.submit()
    scene.now += LONG_S
    url = re.search(r'"(http://[^"]+)"', scene.send("GET", f"/v1/videos/{task_id}").body.decode())
    assert url
    assert scene.fetch(url[1]).body[4:8] == b"ftyp"


def test_content_can_be_told_elsewhere_or_come_inside_an_answer(make_scene: MakeScene) -> None:
    """As JSON, by a redirect, and as a data URL in a poll."""
    data = {"id": "{id}", "status": "completed", "video_url": "data:video/mp4;base64,{clip}"}
    scene = make_scene(
        {"on": "content", "nth": 1, "body": {"url": "{url}"}},
        {"on": "content", "nth": 2, "status": 302, "redirect": "{url}"},
        {"on": "poll", "when": "completed", "nth": 2, "body": data},
    )
    task_id = scene.submit()
    url = scene.finished_url(task_id)
    told, moved = (scene.send("GET", f"/v1/videos/{task_id}/content") for _ in range(2))
    assert (told.status, scene.decoded(told)) == (200, {"url": url})
    assert (moved.status, moved.headers["location"]) == (302, url)
    inside = scene.poll(task_id)["video_url"].partition(",")[2]
    assert base64.b64decode(inside) == scene.fetch(url).body


@pytest.mark.parametrize("model", ["veo3-fast", "veo3-pro", "veo3.1-fast"])
def test_an_id_can_be_a_number(make_scene: MakeScene, model: str) -> None:
    """In every form of the answers, and the task is found by it."""
    scene = make_scene({"on": "create", "number_id": True})
    created = scene.decoded(scene.create(prompt="A kite.", model=model))
    assert isinstance(created["id"], int)
    polled = scene.poll(str(created["id"]))
    assert polled.get("data", {"task_id": polled.get("id")})["task_id"] == created["id"]
    assert scene.world.ledger()["creates"][0]["task_id"] == str(created["id"])


@pytest.mark.parametrize("word", ["expired", "failed", "deleted"])
def test_a_task_can_be_called_lost_after_it_was_a_clip(make_scene: MakeScene, word: str) -> None:
    """Its first poll after its end tells of the clip, every later one of none; its URL is refused."""
    scene = make_scene(
        {"on": "poll", "when": "completed", "nth": "2-", "status_word": word},
        {"on": "file", "status": 403},
    )
    task_id = scene.submit()
    assert [scene.poll(task_id)["status"] for _ in range(3)] == ["queued"] * 3
    url = scene.finished_url(task_id)
    assert scene.fetch(url).status == 403
    assert [scene.poll(task_id)["status"] for _ in range(2)] == [word] * 2
    assert scene.world.ledger()["by_prompt"] == {"A kite.": 1}


def test_a_poll_can_bring_an_error_that_is_no_status(make_scene: MakeScene) -> None:
    """The task goes on."""
    error = {"code": "rate_limited", "message": "try later"}
    scene = make_scene({"on": "poll", "nth": 1, "set": {"status": None, "error": error}})
    task_id = scene.submit()
    first = scene.poll(task_id)
    assert "status" not in first
    assert first["error"] == error
    assert scene.poll(task_id)["status"] == "queued"


def test_what_a_restarted_sandbox_takes_back_counts_stages_too(make_scene: MakeScene) -> None:
    """A rule that met a finished task before is not met afresh after it."""
    kept: list[dict[str, Any]] = []

    class Kept:
        """Keeps the lines."""

        def keep_frame(self, sha256: str, data: bytes) -> None:
            """Keep nothing: there are no frames."""

        def keep(self, line: Any) -> None:
            """Keep a line, as JSON does."""
            kept.append(json.loads(json.dumps(line)))

    rule = {"on": "poll", "when": "completed", "nth": 1, "status_word": "expired"}
    scene = make_scene(rule, memory=Kept())
    task_id = scene.submit()
    scene.now += LONG_S
    assert scene.poll(task_id)["status"] == "expired"
    again = make_scene(rule)
    again.now = scene.now
    for line in kept:
        again.world.restore(line, {})
    assert again.poll(task_id)["status"] == "completed"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"on": "poll"}, "a faults file is a list of rules"),
        (["x"], "rule 1: a rule is a mapping"),
        ([{"on": "poll"}, {"nth": 1}], "rule 2: 'on' is missing"),
        ([{"on": "push"}], "rule 1: on: 'push' is not allowed here"),
        ([{"on": "poll", "stauts": 500}], "rule 1: unknown key 'stauts'"),
        ([{"on": "poll", "nth": "often"}], "rule 1: nth: 'often' is not allowed here"),
        ([{"on": "poll", "status": "500"}], "status: '500' is not allowed here: a int is wanted"),
        ([{"on": "poll", "times": True}], "times: True is not allowed here"),
        ([{"on": "poll", "hang": 1}], "hang: 1 is not allowed here"),
        ([{"on": "poll", "cut_at": 50}], "cut_at: 50 is not allowed here"),
        ([{"on": "poll", "scope": "all"}], "scope: 'all' is not allowed here: use job or call"),
        ([{"on": "file", "set": {"a": 1}}], "set has no meaning for a file, only for create, poll"),
        ([{"on": "poll", "effect": True}], "effect has no meaning for a poll, only for create"),
        ([{"on": "create", "when": "completed"}], "when has no meaning for a create, only for poll, content, file"),
        ([{"on": "poll", "when": "done"}], "when: 'done' is not allowed here"),
        ([{"on": "poll", "early": True}], "early has no meaning for a poll, only for create"),
        ([{"on": "create", "early": True}], "early: say what is answered"),
        ([{"on": "create", "early": True, "status": 429, "prompt": "a*"}], "prompt, model and effect have no meaning"),
        ([{"on": "poll", "dribble": "tail"}], "dribble: 'tail' is not allowed here"),
        ([{"on": "poll", "dribble": "head", "bytes_per_s": 0}], "bytes_per_s: 0 is not allowed here"),
        ([{"on": "poll", "number_id": True}], "number_id has no meaning for a poll, only for create"),
    ],
)
def test_a_wrong_faults_file_names_the_rule_and_the_key(raw: Any, says: str) -> None:
    """A typing mistake never becomes a rule that silently does nothing."""
    with pytest.raises(ConfigError) as caught:
        parse_rules(raw)
    assert says in str(caught.value)


def test_a_bare_on_that_yaml_reads_as_true_still_means_on() -> None:
    """YAML 1.1 turns the unquoted key ``on`` into a boolean."""
    assert parse_rules([{True: "poll", "status": 502}]) == (Rule(Call.POLL, status=502),)


def test_every_key_of_a_rule_is_documented() -> None:
    """The help text names each of them."""
    words = re.findall(r"(\w+):", FAULTS_HELP)
    assert [name for name in Rule.__dataclass_fields__ if name not in words] == []
