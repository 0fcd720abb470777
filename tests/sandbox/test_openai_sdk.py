"""OpenAI's own SDK, unmodified, against the sandbox over real sockets: what it makes, reads and raises."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import av
import pytest
from openai import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)

from batchvid.sandbox.process import Options, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sandbox.conftest import Picture

pytestmark = pytest.mark.filterwarnings(
    "ignore:The Sora API is scheduled to permanently shut down:DeprecationWarning"
)  # OpenAI's own service ends; what others serve in its form goes on

FAST = 5000.0
"""At this speed the longest generation takes 0.07 s."""
POLL_MS = 50


@contextmanager
def serving(**options: Any) -> Iterator[OpenAI]:
    """Run a sandbox and yield the SDK's client of it."""
    given: dict[str, Any] = {"provider": "openai", "speed": FAST, "clip": "tiny"} | options
    with running(Options(**given)) as (base, key), OpenAI(base_url=base, api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    """Return a client of one sandbox, which the tests share."""
    with serving() as client:
        yield client


def ledger(client: OpenAI) -> Any:
    """Read the ledger of a client's sandbox."""
    url = str(client.base_url).removesuffix("/v1/") + "/_sandbox/ledger"
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 our own server
        return json.load(answer)


def test_a_prompt_becomes_a_clip(client: OpenAI) -> None:
    """Create, poll and download, by the SDK's own loop."""
    video = client.videos.create_and_poll(prompt="A kite.", seconds="8", size="1280x720", poll_interval_ms=POLL_MS)
    assert (video.status, video.progress, video.seconds, video.size) == ("completed", 100, "8", "1280x720")
    assert video.completed_at is not None
    assert (video.error, video.remixed_from_video_id) == (None, None)
    assert client.videos.retrieve(video.id) == video
    clip = client.videos.download_content(video.id).read()
    with av.open(BytesIO(clip), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
    part = client.videos.download_content(video.id, extra_headers={"Range": "bytes=0-9"})
    assert (part.response.status_code, part.read()) == (206, clip[:10])
    assert client.videos.download_content(video.id, variant="thumbnail").read()[8:12] == b"WEBP"


def test_a_reference_goes_in_as_a_file_and_as_a_data_url(client: OpenAI, picture: Picture, tmp_path: Path) -> None:
    """Each is one frame in the ledger, and one that does not fit is refused."""
    path = tmp_path / "first.png"
    path.write_bytes(picture("red", size=(720, 1280)))
    before = len(ledger(client)["creates"])
    client.videos.create(prompt="A boat.", input_reference=path)
    client.videos.create(prompt="A boat.", input_reference=("a.png", path.read_bytes(), "image/png"))
    url = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    client.videos.create(prompt="A boat.", extra_body={"input_reference": {"image_url": url}})
    lines = ledger(client)["creates"][before:]
    assert [line["frames"] for line in lines] == [[hashlib.sha256(path.read_bytes()).hexdigest()]] * 3
    assert [line["fields"] for line in lines] == [{"prompt": "A boat."}] * 3
    with pytest.raises(BadRequestError, match="Inpaint image must match") as caught:
        client.videos.create(prompt="A boat.", input_reference=path, size="1280x720")
    assert (caught.value.type, caught.value.param, caught.value.code) == ("invalid_request_error", None, None)
    with pytest.raises(BadRequestError, match="unsupported mimetype \\('application/octet-stream'\\)") as caught:
        client.videos.create(prompt="A boat.", input_reference=path.read_bytes())
    assert (caught.value.param, caught.value.code) == ("input_reference", "unsupported_file_mimetype")
    with pytest.raises(BadRequestError, match="send a data URL"):
        client.videos.create(prompt="A boat.", extra_body={"input_reference": {"image_url": "https://x/a.png"}})
    assert len(ledger(client)["creates"]) == before + 3


def test_videos_are_listed_and_deleted() -> None:
    """The SDK walks over the pages; a deleted video is on none, and is billed all the same."""
    with serving() as client:
        ids = [client.videos.create_and_poll(prompt=f"Kite {n}.", poll_interval_ms=POLL_MS).id for n in range(5)]
        assert [video.id for video in client.videos.list(limit=2)] == ids[::-1]
        assert [video.id for video in client.videos.list(order="asc", after=ids[2])] == ids[3:]
        answer = client.videos.delete(ids[0])
        assert (answer.id, answer.deleted, answer.object) == (ids[0], True, "video.deleted")
        assert ids[0] not in [video.id for video in client.videos.list()]
        with pytest.raises(NotFoundError, match="not found"):
            client.videos.retrieve(ids[0])
        assert len(ledger(client)["creates"]) == 5


def test_each_refusal_is_its_own_error(client: OpenAI) -> None:
    """Key, field, id: the SDK raises what it raises at the service, with param and code."""
    with pytest.raises(AuthenticationError) as wrong_key:
        client.with_options(api_key="sk-other").videos.create(prompt="A kite.")
    assert wrong_key.value.code == "invalid_api_key"
    with pytest.raises(BadRequestError) as unknown_field:
        client.videos.create(prompt="A kite.", extra_body={"duration": 8})
    assert (unknown_field.value.param, unknown_field.value.code) == ("duration", "unknown_parameter")
    with pytest.raises(BadRequestError) as wrong_value:
        client.videos.create(prompt="A kite.", seconds="5")  # type: ignore[arg-type] # what the service refuses
    assert (wrong_value.value.param, wrong_value.value.code) == ("seconds", "invalid_value")
    with pytest.raises(NotFoundError) as unknown_id:
        client.videos.retrieve("video_nobody")
    assert unknown_id.value.request_id is not None
    assert unknown_id.value.request_id.startswith("req_")


def test_a_video_that_is_not_ready_is_neither_downloaded_nor_deleted() -> None:
    """404 and 409."""
    with serving(speed=0.001) as client:
        video = client.videos.create(prompt="A kite.")
        assert (video.status, video.progress) == ("queued", 0)
        with pytest.raises(NotFoundError, match="not ready yet"):
            client.videos.download_content(video.id)
        with pytest.raises(ConflictError, match="queued"):
            client.videos.delete(video.id)


def test_too_many_creates_are_a_rate_limit_error() -> None:
    """The first is made, the second refused and not billed."""
    with serving(rate_per_minute=1) as client:
        client.videos.create(prompt="A kite.")
        with pytest.raises(RateLimitError) as caught:
            client.videos.create(prompt="A boat.")
        assert caught.value.response.headers["retry-after"] == "60"
        assert ledger(client)["by_prompt"] == {"A kite.": 1}


def test_the_ledger_shows_what_the_sdks_own_retries_cost(tmp_path: Path) -> None:
    """An answer that is lost on the way is a second purchase: what nobody sees without a ledger."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {on: create, nth: 1, status: 500, body: {error: {message: lost}}, effect: true}\n")
    with serving(faults_path=faults) as client:
        video = client.with_options(max_retries=2).videos.create(prompt="A kite.")
        assert video.status == "queued"
        assert ledger(client)["by_prompt"] == {"A kite.": 2}
        with pytest.raises(InternalServerError):
            client.videos.create(prompt="A boat.")


def test_a_restarted_sandbox_knows_its_videos(tmp_path: Path) -> None:
    """Ids, ledger and clips outlive it."""
    with serving(state_dir=tmp_path / "state") as client:
        video = client.videos.create_and_poll(prompt="A kite.", poll_interval_ms=POLL_MS)
        clip = client.videos.download_content(video.id).read()
    with serving(state_dir=tmp_path / "state") as client:
        assert client.videos.retrieve(video.id) == video
        assert client.videos.download_content(video.id).read() == clip
