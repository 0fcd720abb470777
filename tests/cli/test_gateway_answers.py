"""Gateways with answers of their own: paid clips are collected, failures end, and the key stays where it belongs."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.sandbox.messages import Request, form_upload
from batchvid.sandbox.render import tiny_clips
from batchvid.sandbox.tasks import ClipOrder
from tests.cli.project import KEY, QUICK, Project, Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE_BYTES = 3_000_000


def a_clip(word: str) -> bytes:
    """Return a clip of its own for each kind of answer, with a box that makes it large and names the kind."""
    found = tiny_clips(ClipOrder(word, 64, 36, 1, 1, (), ()))
    assert found is not None
    padding = LARGE_BYTES + (1 - len(found) - LARGE_BYTES - 8) % 3  # so that base64 ends in two signs of padding
    return found + (padding + 8).to_bytes(4, "big") + b"free" + word.encode().ljust(padding, b"\0")


def inline(word: str) -> str:
    """Return a clip as a ``data:`` URL, its slashes escaped as PHP writes them."""
    return f"data:video/mp4;base64,{b64encode(a_clip(word)).decode()}"


class Gateway(ThreadingHTTPServer):
    """A gateway on one port: the first word of a prompt says how it answers. Its files take no key."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files = f"http://localhost:{self.server_port}/files"
        self.created: Counter[str] = Counter()
        self.keys_told: list[str] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Write nothing about a client that closed its connection."""

    def poll(self, word: str, task_id: str) -> tuple[int, Any]:
        """Return the answer to a poll."""
        done = {"id": task_id, "status": "completed"}
        match word:
            case "path":
                return 200, done | {"video_url": f"/own/{word}.mp4"}
            case "inline":
                return 200, {"video": {"url": inline(word)}} | done
            case "second":
                return 200, done | {"input": {"video": inline("input")}, "video_url": inline(word), "url": inline(word)}
            case "dead":
                return 500, {"id": task_id, "object": "video", "status": "failed", "error": {"message": "no memory"}}
            case "renamed":
                return 200, {"id": f"{task_id}-x", "state": "Completed", "result": {"urls": [f"{self.files}/{word}"]}}
            case "numbers":
                return 200, {"task_id": task_id, "status": 2, "progress": 100, "output": [f"{self.files}/{word}"]}
            case "error":
                error = {"code": 0, "message": ""}
                return 200, {
                    "task_id": task_id,
                    "status": "succeeded",
                    "error": error,
                    "content": {"result_url": f"{self.files}/{word}"},
                }
            case _:
                return 200, done

    def content(self, word: str) -> tuple[int, Any]:
        """Return the answer to a request for a clip."""
        match word:
            case "told":
                return 200, {"code": 200, "msg": "success", "data": {"download_url": f"{self.files}/{word}"}}
            case "moved" | "confused":
                return 302, f"{self.files}/{word}"
            case "wrapped":
                return 200, {"video": inline(word)}
            case _:
                return 404, {"error": {"message": "no such clip"}}


class Handler(BaseHTTPRequestHandler):
    """Reads a request and sends what the gateway says."""

    server: Gateway
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Write nothing."""

    def do_POST(self) -> None:
        """Take a create."""
        body = self.rfile.read(int(self.headers["content-length"]))
        upload = form_upload(Request("POST", self.path, {"content-type": self.headers["content-type"]}, body))
        word = upload.fields["prompt"].split()[0]
        self.server.created[word] += 1
        self._send(200, {"id": f"task_{word}", "status": "queued"})

    def do_GET(self) -> None:
        """Answer a poll, or send a clip."""
        parts = self.path.strip("/").split("/")
        key = self.headers.get("authorization")
        if parts[0] == "files":
            if key is not None:
                self.server.keys_told.append(self.path)
            if parts[1] == "confused":  # a host of files that names a path of the service
                self._send(200, {"url": "/secret/rotate-key?confirm=1"})
            else:
                self._send(200, a_clip(parts[1]))
        elif parts[0] == "secret":
            self.server.keys_told.append(f"{self.path} {key}" if key else "")
            self._send(404, {"error": {"message": "no such file"}})
        elif key != f"Bearer {KEY}":
            self._send(401, {"error": {"message": "no key"}})
        elif parts[0] == "own":
            self._send(200, a_clip(parts[1].removesuffix(".mp4")))
        elif parts[-1] == "content":
            self._send(*self.server.content(parts[2].removeprefix("task_")))
        else:
            self._send(*self.server.poll(parts[2].removeprefix("task_"), parts[2]))

    def _send(self, status: int, what: Any) -> None:
        body = what if isinstance(what, bytes) else json.dumps(what).replace("/", "\\/").encode()
        self.send_response(status)
        if status == 302:
            self.send_header("location", what)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Return a gateway that is running."""
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


WORDS = ("path", "inline", "second", "renamed", "numbers", "error", "told", "moved", "wrapped")


def test_every_paid_clip_is_collected_and_a_failure_ends(gateway: Gateway, tmp_path: Path) -> None:
    """Each job is paid once, its clip is on disk byte for byte, and the host of the files never sees the key."""
    project = Project(tmp_path, Service(f"{gateway.url}/v1"))
    lines = ["limits:", *(f"  {key}: {value}" for key, value in (QUICK | {"attempts": "1"}).items()), "jobs:"]
    lines += [f"  - {{id: {word}, prompt: {word} of a kite}}" for word in (*WORDS, "dead")]
    (tmp_path / "m.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ran = project.batchvid("run", "m.yaml", "--yes")
    assert ran.code == 3, ran.out
    assert "failed    dead: no memory" in ran.out
    assert gateway.created == dict.fromkeys((*WORDS, "dead"), 1)
    assert gateway.keys_told == []
    for word in WORDS:
        assert (project.out / f"{word}.mp4").read_bytes() == a_clip(word), word
    assert project.batchvid("run", "m.yaml", "--yes").code == 3
    assert gateway.created.total() == len(WORDS) + 1


def test_a_host_of_files_cannot_send_the_key_to_a_path_of_the_service(gateway: Gateway, tmp_path: Path) -> None:
    """What it names is a path of its own, and is asked for without the key; the clip waits for the next run."""
    project = Project(tmp_path, Service(f"{gateway.url}/v1"))
    project.manifest("confused")
    ran = project.batchvid("run", "m.yaml", "--yes")
    assert ran.code == 5, ran.out
    assert set(gateway.keys_told) == {""}
