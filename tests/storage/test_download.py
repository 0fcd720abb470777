"""The download stage against a server that says any bytes: a clip stands there whole, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest
from yarl import URL

from batchvid.domain.errors import ForeignFileError
from batchvid.domain.lifecycle import ClipSaved
from batchvid.domain.secrecy import ForbiddenAddressError
from batchvid.domain.task import Fault, FaultKind
from batchvid.providers import http as edge
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.http import Service
from batchvid.storage import download as transfer
from batchvid.storage.download import download
from batchvid.storage.local import LocalStore
from tests.providers.raw import RawServer, Say, http
from tests.run.bench import quick_folder
from tests.storage.memory import Bucket, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchvid.storage.base import ClipStore
    from tests.conftest import MakeClip

    Outcome = ClipSaved | Fault

KEY = "sk-very-secret"
TAG = {"ETag": '"one"'}


class Fetch(Protocol):
    """Run the stage against a server."""

    def __call__(
        self,
        *answers: Say,
        times: int = 1,
        source: str = "/kite.mp4",
        own: bool = False,
        draining_s: float | None = None,
    ) -> Outcome:
        """Return the last outcome of so many tries; *own* asks the service itself instead of a URL."""
        ...


@pytest.fixture
def clip(make_clip: MakeClip) -> bytes:
    """Return the clip that everybody wants."""
    return make_clip(frames=48)


@pytest.fixture
def out() -> Iterator[Path]:
    """Return the output folder."""
    with quick_folder() as folder:
        yield folder / "out"


@pytest.fixture
def seen() -> list[RawServer]:
    """Return the servers that were asked, for a look at what they received."""
    return []


AT_THE_SERVICE = "the service itself"


async def fetch_from(
    source: str, *, store_of: Callable[[], ClipStore], base_url: str, times: int = 1, draining_s: float | None = None
) -> Outcome:
    """Run the stage so many times; every time as a new run would."""
    assert times
    outcome: Outcome | None = None
    for _ in range(times):
        store = store_of()
        store.prepare()
        async with Service(base_url, KEY) as service:
            asked = CometAPI().content("task_1") if source == AT_THE_SERVICE else source
            async with store.part("kite.mp4", source="task_1") as part:
                outcome = await download(
                    part,
                    partial(service.fetch, asked),
                    refused=lambda response: CometAPI().read_refused_download(response, now=time.time()),
                    sidecar={"id": "kite", "task_id": "task_1"},
                    wall=time.time,
                    draining_s=lambda: draining_s,
                )
    assert outcome is not None
    return outcome


@pytest.fixture
def fetch(out: Path, seen: list[RawServer]) -> Fetch:
    """Return the stage, against one server that is both the service and the host of its files."""

    def run(
        *answers: Say,
        times: int = 1,
        source: str = "/kite.mp4",
        own: bool = False,
        draining_s: float | None = None,
    ) -> Outcome:
        async def main() -> Outcome:
            async with RawServer(list(answers)) as server:
                seen.append(server)
                asked = AT_THE_SERVICE if own else source if "://" in source else server.url + source
                api = f"{server.url}/v1"
                return await fetch_from(
                    asked, store_of=lambda: LocalStore(out), base_url=api, times=times, draining_s=draining_s
                )

        return asyncio.run(main())

    return run


def assert_saved(outcome: Outcome, clip: bytes, out: Path) -> None:
    """Check that the clip stands there, and that the outcome says what stands there."""
    assert isinstance(outcome, ClipSaved), outcome
    assert (outcome.path, outcome.size_bytes) == ("kite.mp4", len(clip))
    assert (out / "kite.mp4").read_bytes() == clip
    assert outcome.sha256 == hashlib.sha256(clip).hexdigest()
    assert json.loads((out / "kite.json").read_text())["sha256"] == outcome.sha256
    assert not list(out.glob("*.part*"))


def assert_fault(outcome: Outcome, kind: FaultKind, out: Path) -> Fault:
    """Check that it is such a fault, and that no final name has come to be."""
    assert isinstance(outcome, Fault), outcome
    assert outcome.kind is kind, outcome
    assert not (out / "kite.mp4").exists()
    return outcome


@pytest.mark.parametrize("framing", ["length", "close", "chunked"])
def test_a_whole_clip_is_saved(fetch: Fetch, clip: bytes, out: Path, framing: str) -> None:
    """However the server marks the end of the body."""
    match framing:
        case "length":
            answer = http(200, clip)
        case "close":
            answer = http(200, clip, {"Connection": "close"}, length="")
        case _:
            chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(clip), clip)
            answer = http(200, chunked, {"Transfer-Encoding": "chunked"}, length="")
    assert_saved(fetch(Say(answer)), clip, out)


def test_the_key_goes_to_the_service_and_to_nobody_else(fetch: Fetch, clip: bytes, seen: list[RawServer]) -> None:
    """A URL is fetched without the key, ``/content`` with it."""
    fetch(Say(http(503)))
    fetch(Say(http(200, clip)), own=True)
    assert KEY.encode() not in seen[0].received[0].raw
    assert "authorization" not in seen[0].received[0].headers
    assert seen[1].received[0].headers["authorization"] == f"Bearer {KEY}"
    assert seen[1].received[0].target == "/v1/videos/task_1/content"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_followed_without_the_key(out: Path, clip: bytes, status: int) -> None:
    """Where ``/content`` leads to the file host itself, that host learns nothing."""

    async def main() -> tuple[Outcome, RawServer]:
        async with RawServer([Say(http(200, clip))]) as files:
            answer = http(status, b"", {"Location": f"{files.url}/there.mp4"})
            async with RawServer([Say(answer)]) as api:
                outcome = await fetch_from(AT_THE_SERVICE, store_of=lambda: LocalStore(out), base_url=f"{api.url}/v1")
            return outcome, files

    outcome, files = asyncio.run(main())
    assert_saved(outcome, clip, out)
    assert KEY.encode() not in files.received[0].raw
    assert files.received[0].target == "/there.mp4"


# ---- going on where a transfer broke off


def cut(clip: bytes, **headers: str) -> Say:
    """Return an answer that breaks off in the middle."""
    return Say(http(200, clip[: len(clip) // 2], {**TAG, **headers}, length=str(len(clip))))


def rest(clip: bytes, *, first: int | None = None, tag: str = '"one"', total: str | None = None) -> Say:
    """Return the second half, as *first* and *total* describe it."""
    half = len(clip) // 2
    first = half if first is None else first
    content_range = f"bytes {first}-{first + len(clip) - half - 1}/{total or len(clip)}"
    return Say(http(206, clip[half:], {"Content-Range": content_range, "ETag": tag}))


def test_a_transfer_goes_on_where_it_broke_off(fetch: Fetch, clip: bytes, out: Path, seen: list[RawServer]) -> None:
    """The rest is asked for by Range, under the condition that the clip is still the same."""
    outcome = fetch(cut(clip), rest(clip), times=2)
    assert_saved(outcome, clip, out)
    first, second = seen[0].received
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={len(clip) // 2}-"
    assert second.headers["if-range"] == '"one"'


def test_it_goes_on_so_in_a_store_that_is_no_folder(clip: bytes) -> None:
    """A transfer knows a part, and not what it is made of."""
    bucket = Bucket()

    async def main() -> Outcome:
        async with RawServer([cut(clip), rest(clip)]) as server:
            store_of, source = partial(MemoryStore, bucket), f"{server.url}/kite.mp4"
            return await fetch_from(source, store_of=store_of, base_url=f"{server.url}/v1", times=2)

    assert isinstance(asyncio.run(main()), ClipSaved)
    assert bucket.objects["kite.mp4"] == clip
    assert bucket.told("kite.json")["task_id"] == "task_1"


def test_without_a_validator_everything_is_fetched_again(
    fetch: Fetch, clip: bytes, out: Path, seen: list[RawServer]
) -> None:
    """Nothing would prove that the second half belongs to the first one."""
    broken = Say(http(200, clip[:500], length=str(len(clip))))
    assert_saved(fetch(broken, Say(http(200, clip)), times=2), clip, out)
    assert "range" not in seen[0].received[1].headers


USELESS: dict[str, Callable[[bytes], Say]] = {
    "a range that begins elsewhere": lambda clip: rest(clip, first=7),
    "a range without numbers": lambda clip: Say(http(206, clip[:9], {**TAG, "Content-Range": "bytes */9"})),
    "no Content-Range": lambda clip: Say(http(206, clip[len(clip) // 2 :], TAG)),
    "several ranges in one body": lambda _: Say(
        http(206, b"--x\r\n\r\nab\r\n--x--", {**TAG, "Content-Type": "multipart/byteranges; boundary=x"})
    ),
    "416": lambda clip: Say(http(416, b"", {"Content-Range": f"bytes */{len(clip) // 3}"})),
    "another version": lambda clip: rest(clip, tag='"two"'),
    "a unit that is not bytes": lambda clip: Say(http(206, clip[:9], {**TAG, "Content-Range": "seconds 1-2/3"})),
}


@pytest.mark.parametrize("answer", USELESS.values(), ids=USELESS)
def test_a_rest_that_does_not_fit_is_never_joined(
    fetch: Fetch, clip: bytes, out: Path, seen: list[RawServer], answer: Callable[[bytes], Say]
) -> None:
    """The part is dropped, and all of it is asked for once more, at once and without conditions."""
    outcome = fetch(cut(clip), answer(clip), Say(http(200, clip)), times=2)
    assert_saved(outcome, clip, out)
    assert ["range" in request.headers for request in seen[0].received] == [False, True, False]


def test_a_server_that_answers_only_with_ranges_is_given_up(fetch: Fetch, clip: bytes, out: Path) -> None:
    """A plain request that is answered with a part brings a fault, and no endless asking."""
    fault = assert_fault(fetch(cut(clip), rest(clip, first=3), times=3), FaultKind.BROKEN, out)
    assert "plain request" in fault.reason


@pytest.mark.parametrize("status", [200, 206])
def test_a_clip_that_was_replaced_meanwhile_is_fetched_from_zero(
    fetch: Fetch, clip: bytes, make_clip: MakeClip, out: Path, status: int
) -> None:
    """If-Range lets the server say so with a 200; bytes of two versions never meet in one file."""
    other = make_clip(frames=24)
    assert other != clip
    second = Say(http(200, other, {"ETag": '"two"'})) if status == 200 else rest(clip, tag='"two"')
    outcome = fetch(cut(clip), second, Say(http(200, other, {"ETag": '"two"'})), times=2)
    assert_saved(outcome, other, out)


def test_a_range_that_is_ignored_begins_from_zero(fetch: Fetch, clip: bytes, out: Path) -> None:
    """200 in answer to a Range is the whole clip."""
    assert_saved(fetch(cut(clip), Say(http(200, clip, TAG)), times=2), clip, out)


def test_a_part_of_another_task_is_not_taken_up(fetch: Fetch, clip: bytes, out: Path, seen: list[RawServer]) -> None:
    """What an earlier attempt's transfer left is no beginning of this one."""
    assert_fault(fetch(cut(clip)), FaultKind.UNAVAILABLE, out)
    note = out / "kite.mp4.part.meta"
    note.write_text(note.read_text().replace("task_1", "task_0"))
    assert_saved(fetch(Say(http(200, clip, TAG))), clip, out)
    assert "range" not in seen[1].received[0].headers


# ---- lengths that lie, bodies that are no clip


@pytest.mark.parametrize("said", ["{more}", "{less}", "-1", "1, 2", "abc", "99999999999999999999"])
def test_a_length_that_lies_brings_no_clip(fetch: Fetch, clip: bytes, out: Path, said: str) -> None:
    """Too long, too short, negative, twice, no number: a fault, no final name, and a later good answer is saved."""
    length = said.replace("{more}", str(len(clip) + 50)).replace("{less}", str(len(clip) - 50))
    outcome = fetch(Say(http(200, clip, length=length)))
    assert isinstance(outcome, Fault), outcome
    assert not (out / "kite.mp4").exists()
    assert_saved(fetch(Say(http(200, clip))), clip, out)


def test_a_clip_that_is_there_already_is_not_fetched_again(
    fetch: Fetch, clip: bytes, out: Path, seen: list[RawServer]
) -> None:
    """A death between the file and the journal's record of it: its sidecar says whose it is."""
    assert_saved(fetch(Say(http(200, clip))), clip, out)
    assert_saved(fetch(Say(http(200, clip))), clip, out)
    assert seen[1].received == []


def test_a_chunked_body_that_is_cut_is_resumed(fetch: Fetch, clip: bytes, out: Path) -> None:
    """Without its last chunk a body is not whole; what came of it is kept."""
    half = len(clip) // 2
    chunk = b"%x\r\n%s\r\n" % (half, clip[:half])
    broken = Say(http(200, chunk, {**TAG, "Transfer-Encoding": "chunked"}, length=""))
    assert_saved(fetch(broken, rest(clip), times=2), clip, out)


def test_a_chunk_that_cannot_be_read_ends_the_transfer(fetch: Fetch, out: Path) -> None:
    """Behind good bytes too, of which nothing tells that no more of them will come: nobody waits for ever."""
    good = b"\0\0\0\x18ftyp" + bytes(400_000)  # more than comes at once, so that the answer has begun
    body = b"%x\r\n%s\r\nzz\r\n" % (len(good), good)
    outcome = fetch(Say(http(200, body, {**TAG, "Transfer-Encoding": "chunked", "Connection": "close"}, length="")))
    assert_fault(outcome, FaultKind.UNAVAILABLE, out)
    assert (out / "kite.mp4.part").read_bytes() == good


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_clip_that_ends_early_without_a_word_is_caught_by_its_index(
    fetch: Fetch, clip: bytes, out: Path, share: float
) -> None:
    """Close-delimited and cut: the length looks right, the samples that the index names are missing."""
    short = clip[: int(len(clip) * share)]
    assert_fault(fetch(Say(http(200, short, {"Connection": "close"}, length=""))), FaultKind.BROKEN, out)
    assert (out / "kite.mp4.bad").read_bytes() == short


BODIES = {
    "nothing": b"",
    "one byte": b"x",
    "a web page": b"<!DOCTYPE html><title>Just a moment\x1b[31m</title>",
    "JSON": b'{"error": {"message": "no such file"}}',
    "zeros": bytes(5000),
    "text": b"Not found, sorry." * 30,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("mime", ["video/mp4", "text/html"])
def test_a_body_that_is_no_clip_is_refused_whatever_it_calls_itself(
    fetch: Fetch, out: Path, body: bytes, mime: str
) -> None:
    """HTTP 200 and ``video/mp4`` prove nothing; the reason shows what came, stripped of control characters."""
    fault = assert_fault(fetch(Say(http(200, body, {"Content-Type": mime}))), FaultKind.BROKEN, out)
    assert fault.reason.isprintable()
    if body[:1] in {b"<", b"{"}:
        assert "Just a moment" in fault.reason or "no such file" in fault.reason


def test_half_a_clip_with_the_right_length_is_kept_as_bad(fetch: Fetch, clip: bytes, out: Path) -> None:
    """The server has only half of it: refused, and kept for people to look at; a later good answer is saved."""
    half = clip[: len(clip) // 2]
    fault = assert_fault(fetch(Say(http(200, half))), FaultKind.BROKEN, out)
    assert "kite.mp4.bad" in fault.reason
    assert (out / "kite.mp4.bad").read_bytes() == half
    assert_saved(fetch(Say(http(200, clip))), clip, out)


def test_a_clip_that_is_not_ready_is_polled_for(fetch: Fetch, out: Path) -> None:
    """``/content`` before its time says so, with 400 or even with 200."""
    early = b'{"error": {"message": "Task is not completed yet, current status: QUEUED"}}'
    for status in (400, 200):
        assert_fault(fetch(Say(http(status, early)), own=True), FaultKind.NOT_READY, out)


def test_a_packed_body_is_no_clip(fetch: Fetch, clip: bytes, out: Path) -> None:
    """Nobody asked for gzip; what comes so is not unpacked, so no bomb goes off."""
    packed = gzip.compress(clip)
    assert_fault(fetch(Say(http(200, packed, {"Content-Encoding": "gzip"}))), FaultKind.BROKEN, out)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", FaultKind.ACCOUNT),
        (403, b"<Error>AccessDenied</Error>", FaultKind.EXPIRED),
        (404, b"", FaultKind.EXPIRED),
        (410, b"", FaultKind.EXPIRED),
        (429, b"", FaultKind.THROTTLED),
        (500, b"", FaultKind.UNAVAILABLE),
        (502, b'{"error": {"message": "Upstream service returned status 403"}}', FaultKind.EXPIRED),
        (503, b"<html>", FaultKind.UNAVAILABLE),
        (204, b"", FaultKind.UNAVAILABLE),
    ],
)
def test_a_refusal_says_what_to_do_next(fetch: Fetch, out: Path, status: int, body: bytes, kind: FaultKind) -> None:
    """Gone means a fresh URL, busy means again; nothing of the error page becomes a part."""
    assert_fault(fetch(Say(http(status, body))), kind, out)
    assert not list(out.glob("kite*"))


# ---- servers that do not come to an end


def test_an_endless_body_is_capped(fetch: Fetch, clip: bytes, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body above the cap is dropped, and the disk is free of it."""
    monkeypatch.setattr(transfer, "CLIP_MAX_BYTES", len(clip) - 1)
    assert_fault(fetch(Say(http(200, clip + bytes(100_000), length=""))), FaultKind.BROKEN, out)
    assert not list(out.glob("kite*"))


def test_a_transfer_that_falls_silent_is_resumed(
    fetch: Fetch, clip: bytes, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one byte for a while it is given up; what came is kept, and the rest asked for."""
    monkeypatch.setattr(edge, "SILENCE_S", 0.2)
    half = clip[: len(clip) // 2]
    silent = Say(http(200, half, TAG, length=str(len(clip))), then="hang")
    assert_saved(fetch(silent, rest(clip), times=2), clip, out)


def test_a_trickle_is_given_up(fetch: Fetch, clip: bytes, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes now and then keep no worker for ever; they are kept for the next try."""
    monkeypatch.setattr(transfer, "SPEED_WINDOW_S", 0.3)
    monkeypatch.setattr(edge, "BLOCK_S", 0.05)
    half = len(clip) // 2
    head = http(200, clip[:20], TAG, length=str(len(clip)))
    trickle = Say(head, slowly=clip[20:half], trickle_s=0.01)
    fault = assert_fault(fetch(trickle), FaultKind.UNAVAILABLE, out)
    assert "too slow" in fault.reason
    assert (out / "kite.mp4.part").stat().st_size > 20


HEADS = {
    "a header": b"HTTP/1.1 200 OK\r\nX-Pad: " + b"a" * 1000,
    "interim answers": b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n" * 30,
    "redirects, each of them in time": b"HTTP/1.1 302 X\r\nLocation: /kite.mp4\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_a_head_that_dribbles_is_given_up(
    fetch: Fetch, clip: bytes, out: Path, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However steadily it comes: its place is given back, and the clip is fetched the next time."""
    monkeypatch.setattr(edge, "HEAD_S", 0.5)
    assert_fault(fetch(Say(slowly=head, trickle_s=0.005)), FaultKind.UNAVAILABLE, out)
    assert_saved(fetch(Say(http(200, clip))), clip, out)


@pytest.mark.parametrize(("status", "kind"), [(503, FaultKind.UNAVAILABLE), (404, FaultKind.EXPIRED)])
def test_an_error_whose_body_dribbles_is_understood_in_time(
    fetch: Fetch, out: Path, status: int, kind: FaultKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status is enough; nobody waits for the rest."""
    monkeypatch.setattr(edge, "ERROR_BODY_S", 0.2)
    said = Say(http(status, b"{", length="4000000"), slowly=b" " * 400 + b"END", trickle_s=0.005)
    fault = assert_fault(fetch(said), kind, out)
    assert "END" not in fault.reason
    assert f"HTTP {status}" in fault.reason


def test_a_transfer_is_cut_off_when_the_run_was_told_to_stop(
    fetch: Fetch, clip: bytes, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while: what came is kept as the part, and the next run goes on behind it."""
    monkeypatch.setattr(edge, "SILENCE_S", 0.2)
    half = clip[: len(clip) // 2]
    cut_off = Say(http(200, half, TAG, length=str(len(clip))), then="hang")
    fault = assert_fault(fetch(cut_off, draining_s=transfer.DRAINING_S), FaultKind.UNAVAILABLE, out)
    assert "told to stop" in fault.reason
    assert (out / "kite.mp4.part").read_bytes() == half
    assert_saved(fetch(rest(clip)), clip, out)


def test_what_repeats_the_key_in_place_of_a_clip_is_not_left_on_the_disk(fetch: Fetch, out: Path) -> None:
    """A broken clip is kept for people to look at, and a validator for the next transfer; the key is not."""
    text = f"Sorry, the key {KEY} is not allowed to do this".encode()
    fault = assert_fault(fetch(Say(http(200, text, {"ETag": f'"{KEY}"'}))), FaultKind.BROKEN, out)
    assert KEY not in fault.reason
    fetch(Say(http(200, b"\0\0\0\x18ftyp" + bytes(500), {"ETag": f'"{KEY}"'}, length="900")))
    kept = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert KEY.encode() not in kept


def test_a_server_that_resets_or_hangs_up_is_unavailable(fetch: Fetch, out: Path) -> None:
    """No answer, no HTTP, half a header: the transfer is tried again later."""
    for say in (Say(then="reset"), Say(), Say(b"SSH-2.0-x\r\n\r\n"), Say(b"HTTP/1.1 200 OK\r\nContent-Le")):
        assert_fault(fetch(say), FaultKind.UNAVAILABLE, out)


# ---- addresses


FORBIDDEN_URLS = [
    "file:///etc/passwd",
    "ftp://files.example/kite.mp4",
    "data://video/mp4;base64,AAAA",
    "http://user:secret@127.0.0.1:{port}/kite.mp4",
    "gopher://127.0.0.1:{port}/",
]


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
@pytest.mark.parametrize("by_redirect", [False, True])
def test_a_url_that_is_no_plain_web_address_is_refused(out: Path, url: str, *, by_redirect: bool) -> None:
    """Other schemes and user info are refused, named by the service or by a redirect."""

    async def main() -> tuple[Outcome, int]:
        async with RawServer([Say(http(200, b"x"))]) as files:
            target = url.replace("{port}", str(files.port))
            async with RawServer([Say(http(302, b"", {"Location": target}))]) as api:
                source = f"{api.url}/kite.mp4" if by_redirect else target
                outcome = await fetch_from(source, store_of=lambda: LocalStore(out), base_url=f"{api.url}/v1")
            return outcome, files.connections

    outcome, connections = asyncio.run(main())
    fault = assert_fault(outcome, FaultKind.FORBIDDEN, out)
    assert connections == 0
    assert "secret" not in fault.reason


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "0.0.0.0",  # noqa: S104 it is asked for, not bound to
        "169.254.169.254",
        "10.0.0.1",
        "[fe80::1]",
        "[fd00::1]",
    ],
)
def test_a_url_that_leads_into_private_networks_is_refused(out: Path, host: str) -> None:
    """Unless the service itself is on this machine: however the address is spelled, nobody is connected to."""

    async def main() -> tuple[Outcome, int]:
        async with RawServer([Say(http(200, b"x"))]) as files:
            source = f"http://{host}:{files.port}/kite.mp4"
            outcome = await fetch_from(source, store_of=lambda: LocalStore(out), base_url="https://api.example.com/v1")
            return outcome, files.connections

    outcome, connections = asyncio.run(main())
    assert_fault(outcome, FaultKind.FORBIDDEN, out)
    assert connections == 0


def test_a_redirect_from_the_public_net_must_be_https() -> None:
    """A remote service's redirect to plain http is refused before any connection."""
    remote, local = Service("https://api.example.com/v1", KEY), Service("http://127.0.0.1:1/v1", KEY)
    with pytest.raises(ForbiddenAddressError):
        remote._may_be_anywhere(URL("http://files.example.com/kite.mp4"), redirected=True)
    remote._may_be_anywhere(URL("https://files.example.com/kite.mp4"), redirected=True)
    local._may_be_anywhere(URL("http://127.0.0.1:2/kite.mp4"), redirected=True)


def test_redirects_in_circles_come_to_an_end(fetch: Fetch, out: Path, seen: list[RawServer]) -> None:
    """A handful of hops, then it is refused."""
    circle = Say(http(302, b"", {"Location": "/kite.mp4"}))
    assert_fault(fetch(circle), FaultKind.FORBIDDEN, out)
    assert len(seen[0].received) < 10


def test_a_file_of_somebody_else_is_not_replaced(fetch: Fetch, clip: bytes, out: Path) -> None:
    """The name is taken: the stage says whose business that is, and the transfer is not lost."""
    out.mkdir()
    (out / "kite.mp4").write_bytes(b"my own film")
    with pytest.raises(ForeignFileError, match="move it away"):
        fetch(Say(http(200, clip, TAG)))
    assert (out / "kite.mp4").read_bytes() == b"my own film"
    (out / "kite.mp4").unlink()
    assert_saved(fetch(Say(then="reset")), clip, out)
