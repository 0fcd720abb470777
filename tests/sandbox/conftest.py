"""What the sandbox's tests share: pictures, and a world in memory with a client and a clock of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import pytest
from PIL import Image

from batchvid.providers.base import form
from batchvid.sandbox.faults import Script, parse_rules
from batchvid.sandbox.messages import Reply, Request
from batchvid.sandbox.render import tiny_clips
from batchvid.sandbox.world import Memory, Terms, World

START_AT = 1_800_000_000.0
LONG_S = 400.0
"""After this, every task's time has come."""
BOUNDARY = "b0undary"


class Picture(Protocol):
    """Gives an image of one colour."""

    def __call__(self, colour: str, *, kind: str = "PNG", size: tuple[int, int] = (64, 36)) -> bytes:
        """Return its bytes."""
        ...


@dataclass
class Scene:
    """A world, and a client that asks it over no network at all."""

    world: World
    now: float = START_AT
    key: str = "sk-sandbox"

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        """Send a request to the service, with the key."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("authorization", f"Bearer {self.key}")
        return self.world.answer(Request(method, path, named, body), now=self.now)

    def create(self, *frames: bytes, mime: str = "image/png", **fields: str) -> Reply:
        """Send a create as batchvid itself would, with any number of frames."""
        two = [("image/png", frame) for frame in frames[:2]]
        body = b"".join(form(fields.items(), two, path="/videos", boundary=BOUNDARY).body)
        for frame in frames[2:]:
            more = b"".join(form((), [("image/png", frame)], path="/videos", boundary=BOUNDARY).body)
            body = body.removesuffix(f"--{BOUNDARY}--\r\n".encode()) + more
        body = body.replace(b"Content-Type: image/png\r\n", f"Content-Type: {mime}\r\n".encode())
        return self.send("POST", "/v1/videos", body, content_type=f"multipart/form-data; boundary={BOUNDARY}")

    def submit(self, prompt: str = "A kite.", *frames: bytes, model: str = "veo3-fast") -> str:
        """Create a task and give its id."""
        return str(self.decoded(self.create(*frames, prompt=prompt, model=model))["id"])

    def poll(self, task_id: str) -> Any:
        """Poll a task and give the decoded answer."""
        return self.decoded(self.send("GET", f"/v1/videos/{task_id}"))

    def finished_url(self, task_id: str) -> str:
        """Let the task's time come, and give its clip's URL."""
        self.now += LONG_S
        return str(self.poll(task_id)["video_url"])

    def fetch(self, url: str, **headers: str) -> Reply:
        """Ask the file host, without the key."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request("GET", url.removeprefix(self.world.files_url), named)
        return self.world.answer_file(request, now=self.now)

    def decoded(self, reply: Reply) -> Any:
        """Return a reply's body."""
        return json.loads(reply.body)


class MakeScene(Protocol):
    """Makes a world: with rules as a faults file holds them, and with terms."""

    def __call__(self, *rules: dict[str, Any], memory: Memory | None = None, **terms: Any) -> Scene:
        """Make it."""
        ...


@pytest.fixture
def make_scene() -> MakeScene:
    """Return a maker of worlds, with clips that cost nothing."""

    def make(*rules: dict[str, Any], memory: Memory | None = None, **terms: Any) -> Scene:
        script = Script(parse_rules(list(rules)))
        return Scene(World(Terms(**terms), clips=tiny_clips, script=script, memory=memory))

    return make


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    """Return a world as it is by default."""
    return make_scene()


@pytest.fixture
def picture() -> Picture:
    """Return a maker of pictures."""

    def make(colour: str, *, kind: str = "PNG", size: tuple[int, int] = (64, 36)) -> bytes:
        file = BytesIO()
        Image.new("RGB", size, colour).save(file, kind)
        return file.getvalue()

    return make
