"""A host of clips that sends whatever a case likes, beside a sandbox whose tasks name its URLs."""

from __future__ import annotations

import json
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from batchvid.sandbox.messages import part_of
from batchvid.sandbox.render import tiny_clips
from batchvid.sandbox.tasks import ClipOrder
from batchvid.storage.fs import STATE_FOLDER
from tests.faults.raw import http, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.faults.lab import Lab
    from tests.faults.raw import Raw, Request

    Response = Callable[[Request], bytes | None]

ETAG = '"v1"'
PADDING_BYTES = 300_000


@cache
def clip(padding_bytes: int = PADDING_BYTES) -> bytes:
    """Return a real clip, made longer by a box that every player skips."""
    tiny = tiny_clips(ClipOrder("any", 640, 360, 8, 1))
    return tiny + (8 + padding_bytes).to_bytes(4) + b"free" + bytes(padding_bytes)


def honest(data: bytes | None = None, *, etag: str = ETAG) -> Response:
    """Return the clip, or the part of it that is asked for, as a good server does."""

    def answer(request: Request) -> bytes:
        reply = part_of(data or clip(), request.headers, etag=etag)
        return http(f"{reply.status} Fine", reply.body, **_named(reply.headers))

    return answer


def whole(data: bytes | None = None, *, etag: str = ETAG) -> Response:
    """Return all of the clip, whatever is asked for."""
    return fixed("200 OK", clip() if data is None else data, ETag=etag)


def cut(share: float, *, etag: str = ETAG) -> Response:
    """Return the beginning of an answer with the clip, and close the connection."""
    sent = clip()[: int(len(clip()) * share)]
    return fixed("200 OK", sent, Content_Length=str(len(clip())), ETag=etag)


def fixed(status: str, body: bytes = b"", **headers: str) -> Response:
    """Return always the same answer, as a clip unless a header says otherwise."""
    return lambda _: http(status, body, **{"Content_Type": "video/mp4", **headers})


def reset(share: float) -> Response:
    """Return the beginning of an answer with the clip, and reset the connection."""

    def answer(request: Request) -> None:
        request.connection.sendall(http("200 OK", b"", Content_Length=str(len(clip())), ETag=ETAG))
        request.connection.sendall(clip()[: int(len(clip()) * share)])
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}


@dataclass(slots=True)
class FileHost:
    """A host on which each job's clip has a script: its answers in turn, the last one for ever."""

    scripts: Mapping[str, Sequence[Response]]
    raw: Raw = field(init=False)
    healed: bool = False
    """Once set, every clip is sent as a good server sends it."""
    met: Counter[str] = field(default_factory=Counter)

    def answer(self, request: Request) -> bytes | None:
        """Answer as the script of the clip says."""
        name = request.path.strip("/").removesuffix(".mp4")
        self.met[name] += 1
        script = self.scripts[name]
        now = honest() if self.healed else script[min(self.met[name], len(script)) - 1]
        return now(request)

    def asked(self, name: str, header: str = "range") -> list[str]:
        """Return a header of each request for the clip, in order; "" where there was none."""
        return [one.headers.get(header, "") for one in self.raw.requests if one.path == f"/{name}.mp4"]


def hosting(
    lab: Lab,
    scripts: Mapping[str, Sequence[Response]],
    *,
    rules: str = "",
    both: str | None = None,
    head: str | None = None,
) -> FileHost:
    """Write a manifest of a job for each script and the job "well", and serve all of it.

    The prompt of the job "gone" is "The gone one". *rules* are further rules of the sandbox, before the poll's own.
    *both* is the one whose URL all jobs get.
    """
    host = FileHost(scripts)
    host.raw = lab.stack.enter_context(serving(host.answer))
    manifest(lab, scripts, head=head)
    urls = [
        f'- {{on: poll, prompt: "The {name} one", set: {{video_url: "{host.raw.url}/{both or name}.mp4"}}}}'
        for name in scripts
    ]
    lab.sandbox("\n".join([*rules.splitlines(), *urls]))
    return host


def manifest(lab: Lab, names: Mapping[str, object] | Sequence[str], *, head: str | None = None) -> None:
    """Write a manifest of a job for each name, and the job "well"."""
    jobs = [f"  - {{id: {name}, prompt: The {name} one}}" for name in (*names, "well")]
    lab.manifest("\n".join(jobs), **({} if head is None else {"head": head}))


def logged(lab: Lab, job_id: str, *kinds: str) -> list[dict[str, Any]]:
    """Return what the event log says of a job; of some kinds of events, when they are named."""
    path = lab.output / STATE_FOLDER / "log.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if line.get("job") == job_id and (not kinds or line["event"] in kinds)]


def why(lab: Lab, job_id: str) -> str:
    """Return all reasons for which a job's clip did not come, as the event log has them."""
    return "\n".join(line["reason"] for line in logged(lab, job_id, "DownloadFailed", "UrlExpired"))
