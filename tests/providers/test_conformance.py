"""What every provider promises, whatever it speaks: each test runs for each of them, against the sandbox's world."""

from __future__ import annotations

import json
import sys
from email.parser import BytesParser
from email.policy import HTTP
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batchvid.domain.fingerprint import fields, fingerprint
from batchvid.domain.job import Frame, Job
from batchvid.domain.task import (
    FACTS,
    Created,
    Fault,
    FaultKind,
    FramesTaken,
    Phase,
    Proof,
    ProviderName,
    TaskReport,
    usable_id,
)
from batchvid.manifest.values import base_url
from batchvid.providers.payment import REFUSED_BEFORE_WORK
from batchvid.providers.registry import PROVIDERS
from batchvid.providers.response import LostAt, NoResponse, Response
from batchvid.sandbox import messages
from batchvid.sandbox.faults import Script, parse_rules
from batchvid.sandbox.render import tiny_clips
from batchvid.sandbox.world import Terms, World

if TYPE_CHECKING:
    from batchvid.providers.base import Provider, Request, Vocabulary

NOW = 1_800_000_000.0
LONG_S = 400.0
KEY = "sk-sandbox-41c8f0"
FILES = "https://files.sandbox.example"
BOUNDARY = "batchvid-0123456789abcdef"

every_provider = pytest.mark.parametrize("name", list(ProviderName))


def picture(colour: str) -> bytes:
    """Return a PNG of the size that a clip has where nobody says one."""
    file = BytesIO()
    Image.new("RGB", (720, 1280), colour).save(file, "PNG")
    return file.getvalue()


FIRST, LAST = picture("teal"), picture("navy")


def job(name: ProviderName, *frames: bytes) -> Job:
    """Return a job as a manifest would make it."""
    model = FACTS[name].model
    sent = fields(prompt="A paper kite — 风筝.", model=model, size=None, seconds=None, form=())
    taken = tuple(Frame(f"/f{n}.png", f"{n:064}", len(data), "image/png", 720, 1280) for n, data in enumerate(frames))
    mark = fingerprint(sent, (frame.sha256 for frame in taken))
    return Job("kite", sent[0][1], model, None, None, (), taken, None, "kite.mp4", mark, "m.yaml:1")


def words_of(provider: Provider) -> Vocabulary:
    """Return a provider's words."""
    found: Vocabulary = sys.modules[type(provider).__module__].__dict__["WORDS"]
    return found


class Bench:
    """A provider, and the service that speaks the same, in memory."""

    def __init__(self, name: ProviderName, *rules: dict[str, Any]) -> None:
        self.name, self.provider, self.now = name, PROVIDERS[name], NOW
        script = Script(parse_rules(list(rules)))
        self.world = World(Terms(provider=name, key=KEY), clips=tiny_clips, script=script, files_url=FILES)

    def send(self, request: Request) -> Response:
        """Send a request as the one who holds the key does."""
        assert not {"authorization", "x-api-key"} & {header.lower() for header in request.headers}
        headers = {header.lower(): value for header, value in request.headers.items()}
        path, _, query = request.path.partition("?")
        headers["authorization"] = f"Bearer {KEY}"
        asked = messages.Request(request.method, f"/v1{path}", headers, b"".join(request.body), query)
        reply = self.world.answer(asked, now=self.now)
        return Response(reply.status, reply.headers, reply.body)

    def created(self, *frames: bytes) -> Created | Fault:
        """Send a create, and read its answer."""
        request = self.provider.create(job(self.name, *frames), frames, boundary=BOUNDARY)
        assert request.method == "POST"
        assert any(request.body)
        return self.provider.read_create(self.send(request), now=self.now)

    def task_id(self) -> str:
        """Return the id of a new task."""
        found = self.created()
        assert isinstance(found, Created), found
        return found.task_id

    def looked(self, task_id: str) -> TaskReport | Fault:
        """Look at a task."""
        return self.provider.read_poll(self.send(self.provider.poll(task_id)), task_id=task_id, now=self.now)


def test_every_name_has_a_provider_and_its_facts() -> None:
    """What a manifest may say is what can be done; the defaults are what it might have said."""
    assert PROVIDERS.keys() == FACTS.keys() == set(ProviderName)
    assert all(base_url(facts.base_url) == facts.base_url for facts in FACTS.values())


@every_provider
def test_a_job_becomes_a_clip(name: ProviderName) -> None:
    """Created, looked at while it waits and when it is done, and fetched, over values alone; billed once."""
    bench = Bench(name)
    created = bench.created(FIRST)
    assert isinstance(created, Created), created
    waiting = bench.looked(created.task_id)
    assert isinstance(waiting, TaskReport)
    assert waiting.phase is Phase.WAITING
    bench.now += LONG_S
    done = bench.looked(created.task_id)
    assert isinstance(done, TaskReport)
    assert (done.phase, done.error, done.other_id) == (Phase.SUCCEEDED, None, None)
    if done.url is not None:
        path = done.url.removeprefix(FILES)
        assert bench.world.answer_file(messages.Request("GET", path), now=bench.now).body[4:8] == b"ftyp"
    else:
        assert not done.waits_for_url
    own = bench.provider.content(created.task_id)
    assert own is not None
    assert bench.send(own).body[4:8] == b"ftyp"
    (line,) = bench.world.ledger()["creates"]
    assert (line["task_id"], line["prompt"], len(line["frames"])) == (created.task_id, "A paper kite — 风筝.", 1)


@every_provider
def test_two_frames_are_two_parts_of_one_name_in_their_order(name: ProviderName) -> None:
    """To every service that a manifest allows it for: only the order tells the first from the last."""
    request = PROVIDERS[name].create(job(name, FIRST, LAST), [FIRST, LAST], boundary=BOUNDARY)
    body = b"".join(request.body)
    form = BytesParser(policy=HTTP).parsebytes(
        f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode() + body
    )
    parts = [part for part in form.iter_parts() if part.get_filename()]
    assert [part.get_param("name", header="Content-Disposition") for part in parts] == ["input_reference"] * 2
    assert [part.get_filename() for part in parts] == ["first.png", "last.png"]
    assert [part.get_payload(decode=True) for part in parts] == [FIRST, LAST]


@every_provider
def test_a_second_frame_arrives_as_the_last_one_or_is_refused(name: ProviderName) -> None:
    """As its facts say, by which a manifest is judged: a clip that begins with its last frame would be paid, too."""
    bench = Bench(name)
    if FACTS[name].frames is FramesTaken.ONE:
        refused = bench.created(FIRST, LAST)
        assert isinstance(refused, Fault)
        assert (refused.kind, refused.proof) == (FaultKind.REJECTED, Proof.CLEAR)
        assert bench.world.ledger()["creates"] == []
        return
    assert isinstance(bench.created(FIRST, LAST), Created)
    both = bench.world.ledger()["creates"][0]["frames"]
    assert isinstance(bench.created(FIRST), Created)
    assert bench.world.ledger()["creates"][1]["frames"] == both[:1]
    assert both[0] != both[1]


@every_provider
def test_what_is_sent_is_what_the_fingerprint_covers(name: ProviderName) -> None:
    """A provider that sent more, or less, would buy again what is paid, or take another clip for it."""
    wanted = job(name, FIRST)
    hashes = [frame.sha256 for frame in wanted.frames]
    assert fingerprint(PROVIDERS[name].sent_fields(wanted), hashes) == wanted.fingerprint
    body = b"".join(PROVIDERS[name].create(wanted, [FIRST], boundary=BOUNDARY).body)
    assert all(value.encode() in body for _, value in PROVIDERS[name].sent_fields(wanted))
    assert FIRST in body


@every_provider
def test_a_task_fails_by_a_word_for_itself_alone(name: ProviderName) -> None:
    """The same words under another id, or under none, are a look that brought nothing."""
    bench = Bench(name, {"on": "create", "fail": "the prompt was refused"})
    task_id = bench.task_id()
    bench.now += LONG_S
    failed = bench.looked(task_id)
    assert isinstance(failed, TaskReport)
    assert failed.phase is Phase.FAILED
    told = bench.send(bench.provider.poll(task_id))
    for other in ("task_of_another", ""):
        body = told.body.replace(task_id.encode(), other.encode())
        assert body != told.body
        found = bench.provider.read_poll(Response(200, {}, body), task_id=task_id, now=NOW)
        assert isinstance(found, Fault), found
        assert found.kind is FaultKind.BROKEN


@every_provider
def test_a_task_that_is_unknown_and_a_clip_that_is_early_are_asked_for_again(name: ProviderName) -> None:
    """Neither is a failure."""
    bench = Bench(name)
    unknown = bench.looked("video_nobody_knows")
    assert isinstance(unknown, Fault)
    assert unknown.kind is FaultKind.UNKNOWN_TASK
    own = bench.provider.content(bench.task_id())
    assert own is not None
    early = bench.provider.read_refused_download(bench.send(own), now=NOW)
    assert early.kind is FaultKind.NOT_READY, early


@every_provider
def test_hello_asks_for_the_key_and_costs_nothing(name: ProviderName) -> None:
    """It is what doctor sends."""
    bench = Bench(name)
    assert bench.provider.hello().method == "GET"
    answer = bench.send(bench.provider.hello())
    assert answer.status == 200
    assert answer.json() is not None
    assert bench.world.ledger()["creates"] == []


MEANING: list[tuple[int, bytes, FaultKind, Proof]] = [
    (401, b"", FaultKind.ACCOUNT, Proof.CLEAR),
    (402, b"", FaultKind.ACCOUNT, Proof.CLEAR),
    (429, b"", FaultKind.THROTTLED, Proof.CLEAR),
    (400, b'{"error": {"code": "rate_limit_exceeded", "message": "slow down"}}', FaultKind.THROTTLED, Proof.CLEAR),
    (400, b'{"error": {"type": "rate_limit_error", "message": "slow down"}}', FaultKind.THROTTLED, Proof.CLEAR),
    (404, b"<html>", FaultKind.MISCONFIGURED, Proof.CLEAR),
    (404, b'{"detail": "Not Found"}', FaultKind.MISCONFIGURED, Proof.CLEAR),
    (405, b"", FaultKind.MISCONFIGURED, Proof.CLEAR),
    (404, b'{"error": {"message": "the model does not exist", "code": 404}}', FaultKind.REJECTED, Proof.CLEAR),
    *((one, b'{"error": {"message": "no"}}', FaultKind.REJECTED, Proof.CLEAR) for one in (400, 409, 413, 422)),
    (403, b'{"error": {"message": "no"}}', FaultKind.NOT_ALLOWED, Proof.CLEAR),
    (301, b"", FaultKind.MISCONFIGURED, Proof.WORD),
    (308, b"", FaultKind.MISCONFIGURED, Proof.WORD),
    (410, b"", FaultKind.REJECTED, Proof.NONE),
    (451, b"", FaultKind.REJECTED, Proof.NONE),
    *((status, b"", FaultKind.UNSURE, Proof.NONE) for status in (200, 201, 202, 204, 302, 303, 408, 418, 425)),
    *((status, b"", FaultKind.UNSURE, Proof.NONE) for status in (500, 502, 503, 504, 520, 524, 599, 999)),
    (500, b'{"error": {"message": "x", "type": "server_error", "code": null}}', FaultKind.UNSURE, Proof.NONE),
    (502, b'{"code": "do_request_failed", "message": "x"}', FaultKind.UNSURE, Proof.NONE),
    (504, b'{"code": "model_not_found", "message": "x"}', FaultKind.UNSURE, Proof.NONE),
    (200, b'{"error": {"message": "busy"}}', FaultKind.UNSURE, Proof.NONE),
    (400, b'{"error": {"message": "x"}, "id": "video_1"}', FaultKind.UNSURE, Proof.NONE),
]  # fmt: skip
"""What the table of payments says of answers in nobody's own words."""


@every_provider
@pytest.mark.parametrize(("status", "body", "kind", "proof"), MEANING)
def test_a_paid_request_means_the_same_to_every_provider(
    name: ProviderName, status: int, body: bytes, kind: FaultKind, proof: Proof
) -> None:
    """Money has one table."""
    found = PROVIDERS[name].read_create(Response(status, {}, body), now=NOW)
    assert isinstance(found, Fault)
    assert (found.kind, found.proof) == (kind, proof)


@every_provider
@pytest.mark.parametrize("status", [200, 201, 400, 429, 500, 503, 524])
def test_a_task_id_is_kept_whatever_stands_beside_it(name: ProviderName, status: int) -> None:
    """Its field names nothing else; and an answer that came too early is nobody's."""
    body = json.dumps({"task_id": "task_1", "error": {"message": "busy", "code": "x", "type": "y"}}).encode()
    assert PROVIDERS[name].read_create(Response(status, {}, body), now=NOW) == Created("task_1", None)
    early = PROVIDERS[name].read_create(Response(status, {}, body, asked=False), now=NOW)
    assert isinstance(early, Fault)
    assert (early.kind, early.proof) == (FaultKind.UNSURE, Proof.NONE)


@every_provider
@pytest.mark.parametrize("lost", list(LostAt))
def test_only_a_request_that_never_left_is_sent_again(name: ProviderName, lost: LostAt) -> None:
    """The others are in doubt."""
    found = PROVIDERS[name].read_create(NoResponse(lost), now=NOW)
    assert isinstance(found, Fault)
    assert (found.proof is Proof.NOT_SENT) is lost.before_sending
    assert (found.kind is FaultKind.UNSURE) is not lost.before_sending


@every_provider
def test_its_own_words_have_the_meaning_that_they_say(name: ProviderName) -> None:
    """Beside a clear status always; beside a 5xx those alone that it gives before any work, in its own envelope."""
    provider, words = PROVIDERS[name], words_of(PROVIDERS[name])
    every_word = {code for one in PROVIDERS.values() for code in words_of(one).before_work | words_of(one).quota}
    assert words.before_work <= words.quota | words.no_channel | {"invalid_request"}
    for code in every_word:
        body = json.dumps({"error": {"code": code, "message": "no", "type": "own_error"}}).encode()
        clear = provider.read_create(Response(403, {}, body), now=NOW)
        assert isinstance(clear, Fault)
        assert clear.proof is Proof.CLEAR
        assert (clear.kind is FaultKind.ACCOUNT) is (code in words.quota)
        later = provider.read_create(Response(500, {}, body), now=NOW)
        assert isinstance(later, Fault)
        assert later.proof is (Proof.WORD if code in words.before_work else Proof.NONE)
        assert (later.kind is FaultKind.UNSURE) is (code not in words.before_work)


NAMES = (
    "id task_id video_id status error code message type data output url detail video_url metadata progress expires_at "
    "model fail_reason success assets result"
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    LEAVES | st.sampled_from(["failed", "completed", "task_1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=5),
    max_leaves=12,
)
ANSWERS = st.builds(
    Response,
    status=st.integers(100, 599) | st.sampled_from([200, 400, 404, 429, 500, 999]),
    headers=st.dictionaries(st.sampled_from(["location", "retry-after", "retry-after-ms"]), st.text(max_size=30)),
    body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    complete=st.booleans(),
    asked=st.booleans(),
)


@every_provider
@given(answer=ANSWERS, known=st.sampled_from([True, False]))
def test_no_answer_whatever_raises(name: ProviderName, answer: Response, known: object) -> None:
    """And none proves by itself more than the table allows: an id is usable, a refusal is one of the list."""
    provider, status = PROVIDERS[name], answer.status
    created = provider.read_create(answer, now=NOW, known=bool(known))
    match created:
        case Created(task_id=task_id):
            assert usable_id(task_id)
            assert answer.asked
        case Fault(proof=Proof.CLEAR):
            assert status in REFUSED_BEFORE_WORK
        case Fault(proof=Proof.WORD):
            assert status in {301, 307, 308} or words_of(provider).before_work
        case Fault(proof=proof):
            assert proof is Proof.NONE
    looked = provider.read_poll(answer, task_id="task_1", now=NOW)
    if isinstance(looked, TaskReport):
        assert looked.phase is not Phase.FAILED or b"task_1" in answer.body
    assert isinstance(provider.read_refused_download(answer, now=NOW), Fault)


@every_provider
@given(st.text(min_size=1, max_size=60).filter(usable_id))
def test_an_id_never_leaves_its_path_segment(name: ProviderName, task_id: str) -> None:
    """An opaque id may hold ``/../``, ``?`` or ``#``: it stays one segment, and comes back as it was."""
    shape = [PROVIDERS[name].poll("X"), PROVIDERS[name].content("X")]
    assert {request.method for request in shape if request} == {"GET"}
    for known, request in zip(shape, [PROVIDERS[name].poll(task_id), PROVIDERS[name].content(task_id)], strict=True):
        assert known is not None
        assert request is not None
        before, _, behind = known.path.partition("X")
        assert request.path.startswith(before)
        assert request.path.endswith(behind)
        segment = request.path.removeprefix(before).removesuffix(behind)
        assert not set(segment) & set("/?#\\ \r\n")
        assert segment not in {"", ".", ".."}
        assert unquote(segment) == task_id
