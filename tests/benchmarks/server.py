"""The fast server: create, poll and file with canned answers, from one raw asyncio protocol.

It is strict enough that a client must do the true work: requests are read to their last byte, calls need the key and a
form with a prompt and a model, task ids are unique, and a clip is a real MP4. It counts, and tells the counts at
``/_bench/counts``; ``POST /_bench/reset`` forgets them. It says its port on standard output, and ends when its
standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import secrets
import sys
import time
from pathlib import Path

from tests.benchmarks.durations import CLASSES, duration_s

KEY = "sk-bench"
BACKLOG = 4096
"""Some clients open a connection for each of 2,000 tasks at the same moment."""
JSON_HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
REASONS = {200: b"200 OK", 400: b"400 Bad Request", 401: b"401 Unauthorized", 404: b"404 Not Found"}


class World:
    """The tasks, and what was counted."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._dice = random.Random(options.seed)  # noqa: S311 generation times, no secrets
        self._clip = Path(options.clip).read_bytes()
        self._file = (
            b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nAccept-Ranges: none\r\n"
            b'ETag: "%x"\r\nContent-Length: %d\r\n\r\n' % (hash(self._clip) & 0xFFFFFFFF, len(self._clip))
        ) + self._clip
        self._born = secrets.token_hex(8)
        self.files_at = options.files_at
        self.reset()

    def reset(self) -> None:
        """Forget all tasks and counts."""
        self._finished_at: dict[str, float] = {}
        self._created_at: list[float] = []
        self._durations_s: list[float] = []
        self._delays_s: list[float] = []
        self._told: set[str] = set()
        self._polls = self._files = self._waiting_most = 0
        self._cpu_from_s, self._from = time.process_time(), time.monotonic()

    def counts(self) -> dict[str, object]:
        """Return what was counted since the last reset; times are seconds of one clock."""
        return {
            "creates": len(self._created_at),
            "polls": self._polls,
            "files": self._files,
            "waiting_most": self._waiting_most,
            "created_at": self._created_at,
            "durations_s": self._durations_s,
            "delays_s": self._delays_s,
            "cpu_share": (time.process_time() - self._cpu_from_s) / (time.monotonic() - self._from),
        }

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Return the whole answer to a request."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        if path.startswith("/file/"):
            return self._clip_out()
        if path.startswith("/_bench/"):
            if method == "POST":
                self.reset()
            return told(200, self.counts())
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if headers.get("authorization") != f"Bearer {KEY}":
            return told(401, {"error": {"message": "invalid token", "type": "comet_api_error", "code": ""}})
        if method == "POST" and path == "/v1/videos":
            return self._create(headers.get("content-type", ""), body)
        return self._look(*path.removeprefix("/v1/videos/").partition("/"))

    def _clip_out(self) -> bytes:
        self._files += 1
        return self._file

    def _look(self, task_id: str, slash: str, rest: str) -> bytes:
        if task_id not in self._finished_at or rest not in {"", "content"}:
            return told(404, {"error": {"message": "no such task", "code": "task_not_exist"}})
        return self._clip_out() if slash else self._poll(task_id)

    def _create(self, content_type: str, body: bytes) -> bytes:
        boundary = content_type.partition("boundary=")[2].strip('"').encode()
        whole = boundary and body.rstrip().endswith(b"--" + boundary + b"--")
        if not whole or b'name="prompt"' not in body or b'name="model"' not in body:
            return told(400, {"error": {"message": "a form with prompt and model", "code": "invalid_request"}})
        now = time.monotonic()
        number = len(self._created_at)
        task_id = f"task_{self._born}{number:016x}"
        took_s = self._options.generation
        if self._options.durations:
            done = number / max(1, self._options.expect)
            took_s = duration_s(self._options.durations, self._dice, done=done) / self._options.speed
        self._created_at.append(now)
        self._durations_s.append(took_s)
        self._finished_at[task_id] = now + took_s
        self._waiting_most = max(self._waiting_most, len(self._created_at) - len(self._told))
        return told(200, self._task(task_id, "queued", 0))

    def _poll(self, task_id: str) -> bytes:
        self._polls += 1
        over_s = time.monotonic() - self._finished_at[task_id]
        if over_s < 0:
            return told(200, self._task(task_id, "in_progress", 50))
        if task_id not in self._told:
            self._told.add(task_id)
            self._delays_s.append(over_s)
        return told(200, self._task(task_id, "completed", 100) | {"video_url": f"{self.files_at}/{task_id}.mp4"})

    @staticmethod
    def _task(task_id: str, status: str, progress: int) -> dict[str, object]:
        return {
            "id": task_id,
            "object": "video",
            "created_at": 1773297229,
            "model": "veo_3_1-4K",
            "status": status,
            "progress": progress,
            "seconds": "8",
            "size": "16x9",
        }


def told(status: int, value: object) -> bytes:
    """Return an answer in JSON."""
    body = json.dumps(value).encode()
    return JSON_HEAD % (REASONS[status], len(body)) + body


class Connection(asyncio.Protocol):
    """One client's connection, kept alive."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Record the way back."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        data = self._waiting + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            after = end + 4 + _length(head)
            if len(data) < after:
                break
            self._transport.write(self._world.answer(head, data[end + 4 : after]))
            data = data[after:]
        self._waiting = data


def _length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def serve(options: argparse.Namespace) -> None:
    """Serve until standard input ends."""
    world = World(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(world), "127.0.0.1", 0, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    world.files_at = world.files_at or f"http://127.0.0.1:{port}/file"
    gc.disable()  # no cycles are made, and a pause would be taken for the client's
    print(port, flush=True)  # noqa: T201 its one line
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", required=True, help="the MP4 that every task ends with")
    parser.add_argument("--generation", type=float, default=0.0, help="seconds")
    parser.add_argument("--durations", choices=CLASSES, help="draw the seconds from a class instead")
    parser.add_argument("--speed", type=float, default=1.0, help="divides what is drawn")
    parser.add_argument("--expect", type=int, default=1, help="how many creates will come, for what shifts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files-at", default="", help="name clips below this URL instead of serving them")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
