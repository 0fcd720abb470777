"""OpenAI's own SDKs, unmodified, against the sandbox over real sockets: what they make, read and raise."""

from __future__ import annotations

import base64
import hashlib
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest
from openai import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    OpenAI,
    RateLimitError,
)

import batchvid
from batchvid.domain.task import ProviderName
from batchvid.sandbox.process import Options, running
from tests.sandbox.sdks import COLUMNS, FAST, HAS_NODE, NOT_THERE, cells, ledger, title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sandbox.conftest import Picture

pytestmark = pytest.mark.filterwarnings(
    "ignore:The Sora API is scheduled to permanently shut down:DeprecationWarning"
)  # OpenAI's own service ends; what others serve in its form goes on

POLL_MS = 50
MODELS: dict[str, Any] = {"cometapi": "veo3.1-fast", "openai": "sora-2"}
"""Models of the two services that take the same fields."""


@contextmanager
def serving(**options: Any) -> Iterator[OpenAI]:
    """Run a sandbox and yield the SDK's client of it."""
    given: dict[str, Any] = {"provider": "openai", "speed": FAST, "clip": "tiny"} | options
    with running(Options(**given)) as (base, key), OpenAI(base_url=base, api_key=key, max_retries=0) as client:
        yield client


def creates(client: OpenAI) -> list[Any]:
    """Return what a client's sandbox has billed."""
    return list(ledger(str(client.base_url))["creates"])


@pytest.fixture(scope="module", params=ProviderName)
def provider(request: pytest.FixtureRequest) -> str:
    """Return the dialect."""
    return str(request.param)


@pytest.fixture(scope="module")
def client(provider: str) -> Iterator[OpenAI]:
    """Return a client of one sandbox of each dialect, which the tests share."""
    with serving(provider=provider) as client:
        yield client


@pytest.fixture(scope="module")
def openai_client() -> Iterator[OpenAI]:
    """Return the same, where a test is about one dialect."""
    with serving() as client:
        yield client


@pytest.mark.parametrize("column", COLUMNS, ids="-".join)
def test_every_case_ends_as_the_document_says(column: tuple[str, str], tmp_path: Path) -> None:
    """Of both SDKs, at both dialects: what works, what is raised, and how often it is paid."""
    if column[0] == "openai-node" and not HAS_NODE:
        pytest.skip("openai-node is not installed: make openai-node")
    page = (Path(batchvid.__file__).parent / "help" / "sandbox.md").read_text(encoding="utf-8")
    section = page.partition("\n## With OpenAI's SDKs\n")[2].partition("\n## ")[0]
    head, _, *rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    place = head.index(title(*column))
    assert cells(*column, tmp_path) == {row[0]: row[place] for row in rows if row[place] != NOT_THERE}


def test_a_prompt_becomes_a_clip(client: OpenAI, provider: str) -> None:
    """Create, poll and download, by the SDK's own loop."""
    video = client.videos.create_and_poll(
        prompt="A kite.", model=MODELS[provider], seconds="8", size="1280x720", poll_interval_ms=POLL_MS
    )
    assert (video.status, video.progress, video.seconds, video.size) == ("completed", 100, "8", "1280x720")
    assert video.completed_at is not None
    assert (video.error, video.remixed_from_video_id) == (None, None)
    assert client.videos.retrieve(video.id) == video
    clip = client.videos.download_content(video.id).read()
    with av.open(BytesIO(clip), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
    part = client.videos.download_content(video.id, extra_headers={"Range": "bytes=0-9"})
    assert (part.response.status_code, part.read()) == (206, clip[:10])
    if provider == ProviderName.OPENAI:
        assert client.videos.download_content(video.id, variant="thumbnail").read()[8:12] == b"WEBP"


def test_a_reference_goes_in_as_a_file_and_as_a_data_url(
    openai_client: OpenAI, picture: Picture, tmp_path: Path
) -> None:
    """Each is one frame in the ledger, and one that does not fit is refused."""
    client = openai_client
    path = tmp_path / "first.png"
    path.write_bytes(picture("red", size=(720, 1280)))
    before = len(creates(client))
    client.videos.create(prompt="A boat.", input_reference=path)
    client.videos.create(prompt="A boat.", input_reference=("a.png", path.read_bytes(), "image/png"))
    url = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    client.videos.create(prompt="A boat.", extra_body={"input_reference": {"image_url": url}})
    lines = creates(client)[before:]
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
    assert len(creates(client)) == before + 3


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
        assert len(creates(client)) == 5


def test_each_refusal_of_openai_is_its_own_error(openai_client: OpenAI) -> None:
    """Key, field, id: the SDK raises what it raises at the service, with param and code."""
    client = openai_client
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


@pytest.mark.parametrize("provider", [ProviderName.COMETAPI], indirect=True)
def test_each_refusal_of_cometapi_keeps_its_code(client: OpenAI) -> None:
    """Out of both envelopes; a wrong field is a 500, which the SDK as installed sends three times."""
    with pytest.raises(AuthenticationError, match="invalid token"):
        client.with_options(api_key="sk-other").videos.create(prompt="A kite.")
    with pytest.raises(InternalServerError, match="seconds 5 is not supported") as wrong_value:
        client.videos.create(prompt="A kite.", seconds="5")  # type: ignore[arg-type] # what the service refuses
    assert wrong_value.value.code == "invalid_request"
    with pytest.raises(InternalServerError, match="no available channel") as unknown_model:
        client.videos.create(prompt="A kite.", model="nobody")
    assert unknown_model.value.code == "model_not_found"
    with pytest.raises(BadRequestError) as unknown_id:
        client.videos.retrieve("task_nobody")
    assert unknown_id.value.code == "task_not_exist"


@pytest.mark.parametrize("provider", [ProviderName.COMETAPI], indirect=True)
def test_a_wrapped_answer_ends_the_sdks_loop_too_early(client: OpenAI) -> None:
    """It has no status where the SDK looks, and that counts as an end."""
    video = client.videos.create_and_poll(prompt="A kite.", model="veo3-pro", poll_interval_ms=POLL_MS)
    assert video.to_dict().keys() == {"code", "message", "data"}


def test_a_video_that_is_not_ready_is_neither_downloaded_nor_deleted(provider: str) -> None:
    """Each service has its own status for it, and one of them has no delete."""
    with serving(speed=0.001, provider=provider) as client:
        video = client.videos.create(prompt="A kite.")
        assert (video.status, video.progress) == ("queued", 0)
        with pytest.raises((NotFoundError, BadRequestError), match=r"not ready yet|not completed yet"):
            client.videos.download_content(video.id)
        with pytest.raises(APIStatusError) as caught:
            client.videos.delete(video.id)
        assert caught.value.status_code == (409 if provider == ProviderName.OPENAI else 405)


def test_too_many_creates_are_a_rate_limit_error(provider: str) -> None:
    """The first is made, the second refused and not billed."""
    with serving(rate_per_minute=1, provider=provider) as client:
        client.videos.create(prompt="A kite.")
        with pytest.raises(RateLimitError) as caught:
            client.videos.create(prompt="A boat.")
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["retry-after"] == "60"
        assert [line["prompt"] for line in creates(client)] == ["A kite."]


def test_a_restarted_sandbox_knows_its_videos(tmp_path: Path, provider: str) -> None:
    """Ids, ledger and clips outlive it; only the file host has another port."""
    with serving(state_dir=tmp_path / "state", provider=provider) as client:
        video = client.videos.create_and_poll(prompt="A kite.", poll_interval_ms=POLL_MS)
        clip = client.videos.download_content(video.id).read()
    with serving(state_dir=tmp_path / "state", provider=provider) as client:
        known = client.videos.retrieve(video.id)
        assert known.model_dump(exclude={"video_url"}) == video.model_dump(exclude={"video_url"})
        assert client.videos.download_content(video.id).read() == clip
