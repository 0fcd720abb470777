"""The same calls by OpenAI's two SDKs, unmodified, against the sandbox in both dialects.

``make sdks`` prints the table as it came; ``help/sandbox.md`` has it, and test_openai_sdk.py compares. What a case
creates has the case's name as its prompt, so the ledger tells how often it was paid, and with which frame.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai import OpenAI, OpenAIError
from PIL import Image

from batchvid.domain.task import ProviderName
from batchvid.sandbox.process import Options, running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FAST = 5000.0
"""At this speed the longest generation takes 0.07 s."""
POLL_MS = 20
RETRY_AFTER_S = 1
"""Longer than the first pause of an SDK that was not told how long to wait."""
FAULTS = [
    {"on": "create", "prompt": "*413", "status": 413},
    {"on": "create", "prompt": "*429*", "nth": 1, "status": 429, "headers": {"retry-after": RETRY_AFTER_S}},
    {"on": "create", "prompt": "*503", "status": 503},
    {"on": "create", "prompt": "*500, but billed*", "nth": 1, "status": 500, "effect": True},
    {"on": "create", "prompt": "*disconnected, but billed*", "nth": 1, "reset": "after-effect"},
    {"on": "create", "prompt": "*too early", "never": True},
]
NODE = shutil.which("node")
NODE_FOLDER = Path(__file__).parents[2] / ".venv-servers" / "openai-node"
HAS_NODE = NODE is not None and (NODE_FOLDER / "node_modules" / "openai").is_dir()
"""Tests use no network: ``make openai-node`` installs it, and so does ``make sdks``."""
NOT_THERE = "-"
COLUMNS = [(sdk, provider) for sdk in ("openai-python", "openai-node") for provider in ProviderName]


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that never tries again, one as it is installed, and a picture of the size of a video."""

    client: OpenAI
    installed: OpenAI
    path: Path

    def create(self, name: str, **fields: Any) -> str:
        """Create a video and return its id."""
        return self.client.videos.create(prompt=name, **fields).id

    def finished(self, name: str) -> str:
        """Create a video, wait for it, and return its id."""
        video = self.client.videos.create_and_poll(prompt=name, poll_interval_ms=POLL_MS)
        assert video.status == "completed"
        return video.id

    def is_listed(self, video_id: str) -> None:
        """Find a video in the list; on one page, as other cases delete theirs meanwhile."""
        assert video_id in [video.id for video in self.client.videos.list(limit=100)]

    def create_from_file(self, name: str) -> None:
        """Create from a file that is open."""
        with self.path.open("rb") as file:
            self.create(name, input_reference=file)

    def create_after_pause(self, name: str) -> None:
        """Create with the SDK's own retries. Raise `OpenAIError` when they come earlier than they were told."""
        begun = time.monotonic()
        self.installed.videos.create(prompt=name)
        if time.monotonic() - begun < RETRY_AFTER_S:
            raise OpenAIError("it did not wait")

    @property
    def data_url(self) -> str:
        """The picture as a data URL."""
        return f"data:image/png;base64,{base64.b64encode(self.path.read_bytes()).decode()}"


CASES: Mapping[str, Callable[[Caller, str], object]] = {
    "create: a prompt alone": Caller.create,
    "create: frame as an open file": Caller.create_from_file,
    "create: frame by path": lambda at, name: at.create(name, input_reference=at.path),
    "create: frame as bytes": lambda at, name: at.create(name, input_reference=at.path.read_bytes()),
    "create: frame as bytes with name and type": lambda at, name: at.create(
        name, input_reference=("first.png", at.path.read_bytes(), "image/png")
    ),
    "create: frame as a stream": lambda at, name: at.create(name, input_reference=io.BytesIO(at.path.read_bytes())),
    "create: frame as a data URL": lambda at, name: at.create(
        name, extra_body={"input_reference": {"image_url": at.data_url}}
    ),
    "create_and_poll": Caller.finished,
    "retrieve": lambda at, name: at.client.videos.retrieve(at.finished(name)),
    "download_content": lambda at, name: at.client.videos.download_content(at.finished(name)).read(),
    "list": lambda at, name: at.is_listed(at.finished(name)),
    "delete": lambda at, name: at.client.videos.delete(at.finished(name)),
    "create: wrong key": lambda at, name: at.client.with_options(api_key="sk-other").videos.create(prompt=name),
    "create: no prompt": lambda at, _: at.create(""),
    "create: no such size": lambda at, name: at.create(name, size="1x1"),
    "retrieve: no such id": lambda at, _: at.client.videos.retrieve("video_nobody"),
    "download_content: too early": lambda at, name: at.client.videos.download_content(at.create(name)),
    "delete: too early": lambda at, name: at.client.videos.delete(at.create(name)),
    "create: 413": Caller.create,
    "create: 429": Caller.create,
    "create: 429, as installed": Caller.create_after_pause,
    "create: 503": Caller.create,
    "create: 500, but billed": Caller.create,
    "create: 500, but billed, as installed": lambda at, name: at.installed.videos.create(prompt=name),
    "create: disconnected, but billed": Caller.create,
    "create: disconnected, but billed, as installed": lambda at, name: at.installed.videos.create(prompt=name),
}


def title(sdk: str, provider: str) -> str:
    """Return the head of a column."""
    return f"{sdk}, `{provider}`"


def cells(sdk: str, provider: str, folder: Path) -> dict[str, str]:
    """Let one SDK do its cases at one dialect, and return what came of each."""
    path = folder / f"{sdk}-{provider}.png"
    Image.new("RGB", (720, 1280), "teal").save(path)
    faults = path.with_suffix(".json")
    faults.write_text(json.dumps(FAULTS), encoding="utf-8")
    with running(Options(provider=provider, speed=FAST, clip="tiny", faults_path=faults)) as (base, key):
        done = (by_python if sdk == "openai-python" else by_node)(base, key, path)
        bought = ledger(base)
    frame = [hashlib.sha256(path.read_bytes()).hexdigest()]
    framed = {line["prompt"] for line in bought["creates"] if line["frames"] == frame}
    paid = {name: count for name, count in bought["by_prompt"].items() if name.startswith("create")}
    return {name: _cell(name, outcome, paid.get(name, 0), framed) for name, outcome in done.items()}


def _cell(name: str, outcome: str, paid: int, framed: set[str]) -> str:
    shown = "works" if outcome == "works" else f"`{outcome}`"
    if "frame" in name and paid and name not in framed:
        return f"{shown}, **paid without its frame**"
    if paid > 1:
        return f"{shown}, **paid {paid} times**"
    return f"{shown}, paid" if paid and outcome != "works" else shown


def by_python(base: str, key: str, path: Path) -> dict[str, str]:
    """Return what came of each case: ``works``, or the class of what was raised."""
    with OpenAI(base_url=base, api_key=key) as installed:
        caller = Caller(installed.with_options(max_retries=0), installed, path)

        def outcome(name: str) -> str:
            try:
                CASES[name](caller, name)
            except OpenAIError as error:
                return type(error).__name__
            return "works"

        with ThreadPoolExecutor(len(CASES)) as pool:
            return dict(zip(CASES, pool.map(outcome, CASES), strict=True))


def by_node(base: str, key: str, path: Path) -> dict[str, str]:
    """Return the same of sdks.mjs, which reads its package from the folder that it runs in."""
    assert NODE is not None
    with Path(__file__).with_suffix(".mjs").open("rb") as script:
        command = [NODE, "--input-type=module", "-", base, key, str(path)]
        done = subprocess.run(command, cwd=NODE_FOLDER, stdin=script, check=True, stdout=subprocess.PIPE, timeout=120)
    return {line["case"]: line["outcome"] for line in map(json.loads, done.stdout.splitlines())}


def ledger(base: str) -> Any:
    """Read the ledger of a sandbox."""
    url = f"{base.rstrip('/').removesuffix('/v1')}/_sandbox/ledger"
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 our own server
        return json.load(answer)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="batchvid-sdks-") as name:
        columns = [cells(*column, Path(name)) for column in COLUMNS]
    rows = [["call", *(title(*column) for column in COLUMNS)], ["---"] * (len(COLUMNS) + 1)]
    rows += [[case, *(column.get(case, NOT_THERE) for column in columns)] for case in {**columns[0], **columns[-1]}]
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
