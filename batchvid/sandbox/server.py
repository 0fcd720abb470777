"""The sandbox as a server: two ports, a folder that outlives it, and threads that make clips.

One port is the service; the other is the host that its clips' URLs name.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, Self

import yaml
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from filelock import FileLock, Timeout

from batchvid.domain.errors import ConfigError
from batchvid.sandbox.faults import Script, parse_rules
from batchvid.sandbox.messages import BODY_MAX_BYTES, PLAIN, Dribble, Refusal, Reply, Request, Reset
from batchvid.sandbox.world import DIALECTS, Clips, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from aiohttp.typedefs import Handler

    from batchvid.sandbox.faults import Call, Rule
    from batchvid.sandbox.process import Options
    from batchvid.sandbox.tasks import ClipOrder

    class Answer(Protocol):
        """What answers the requests of one port."""

        def __call__(self, request: Request, *, now: float) -> Reply:
            """Answer a request."""


BACKLOG = 512
"""A run may open all its connections at once."""
SHUTDOWN_S = 1.0
"""How long an answer that is under way may take once the sandbox ends."""
PRIVATE = 0o700
PREDECESSOR_S = 15.0
"""How long a sandbox whose parent was killed may still take to end, and to bill what it has already received."""
WORKERS = 2
"""Encoding is heavy; a demo must leave its machine usable."""
NEVER_S = 86_400.0
"""A day: longer than any client waits."""
DRIBBLES_PER_S = 10
"""A slow answer goes out in so many pieces a second, if it has so many bytes."""
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"


async def serve(options: Options, *, ready: Callable[[str, str], None]) -> None:
    """Run a sandbox until cancelled; *ready* is called with the base URLs of the API and of the file host.

    Raise `ConfigError` when the faults file cannot be used or a port is taken.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    script = Script(_read_faults(options.faults_path, DIALECTS[options.provider].CALLS))
    with ExitStack() as stack:
        api, files = (stack.enter_context(_listening(options.host, port)) for port in (options.port, 0))
        memory = stack.enter_context(MemoryFolder(options.state_dir).held()) if options.state_dir else None
        world = World(
            options,
            clips=_clips(options, memory, stack),
            script=script,
            files_url=_url(files),
            memory=memory,
        )
        for line in memory.read() if memory else ():
            world.restore(line, memory.frames_of(line) if memory else {})
        runners = [_runner(world, world.answer, options), _runner(world, world.answer_file, options)]
        try:
            for runner, listening in zip(runners, (api, files), strict=True):
                await runner.setup()
                await web.SockSite(runner, listening, backlog=BACKLOG).start()
            ready(f"{_url(api)}/v1", _url(files))
            await asyncio.Event().wait()
        finally:
            for runner in runners:
                await runner.cleanup()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an error is the sandbox's: what a client sends that is no HTTP needs no traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _read_faults(path: Path | None, calls: Sequence[Call]) -> tuple[Rule, ...]:
    """Return the rules of a faults file. Raise `ConfigError`."""
    if path is None:
        return ()
    try:
        raw = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 a safe loader
    except OSError as error:
        raise ConfigError(f"the faults file {path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"the faults file {path} is not YAML: {error}") from None
    return parse_rules(raw, source=str(path), calls=calls)


def _clips(options: Options, memory: MemoryFolder | None, stack: ExitStack) -> Clips:
    if options.clip == "tiny":
        from batchvid.sandbox.render import tiny_clips

        return tiny_clips
    folder = memory.clips if memory else Path(stack.enter_context(TemporaryDirectory(prefix="batchvid-sandbox-")))
    return stack.enter_context(Studio(folder))


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"the sandbox cannot listen on {host}:{port}: {error.strerror}") from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{host}:{port}"


def _runner(world: World, answer: Answer, options: Options) -> web.AppRunner:
    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001 aiohttp gives it by name
        # As it came over the wire: aiohttp makes lone surrogates of bytes that are no UTF-8.
        headers = {
            name.lower(): value.encode("utf-8", "surrogateescape").decode("latin-1")
            for name, value in request.headers.items()
        }
        asked = Request(request.method, request.rel_url.raw_path, headers, query=request.rel_url.raw_query_string)
        if answer == world.answer and (early := world.early(asked)) is not None:
            return await _send(request, early, at_once=True)
        if (request.content_length or 0) > BODY_MAX_BYTES:
            return await _send(request, world.refusal(Refusal.TOO_LARGE))
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return await _send(request, world.refusal(Refusal.TOO_LARGE))
        except web.RequestPayloadError:
            return await _send(request, world.refusal(Refusal.UNREADABLE), at_once=True)
        except ConnectionError:
            # The client is gone in the middle of its upload: nothing was asked for, and nobody reads this.
            return web.Response()
        await asyncio.sleep(options.latency_s)
        return await _send(request, answer(replace(asked, body=body), now=time.time()))

    # No routes: aiohttp would answer what is no path, such as that of CONNECT, in its own words.
    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[handle])
    return web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)


# ---- what outlives a request


class MemoryFolder:
    """A folder of state; usable as a world's ``memory`` while it is `held`."""

    def __init__(self, folder: Path) -> None:
        self.clips = folder / "clips"
        self._frames = folder / "frames"
        self._lines = folder / "ledger.jsonl"
        self._lock = folder / "lock"
        for one in (folder, self._frames):
            one.mkdir(mode=PRIVATE, parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Hold the folder alone. Raise `ConfigError` when another sandbox keeps it."""
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=PREDECESSOR_S, poll_interval=0.02)
        except Timeout:
            raise ConfigError(f"another sandbox holds {self._lock.parent}") from None
        try:
            yield self
        finally:
            lock.release()

    def keep_frame(self, sha256: str, data: bytes) -> None:
        """Keep an uploaded frame."""
        path = self._frames / sha256
        if not path.exists():
            part = path.with_name(f"{sha256}.part")
            part.write_bytes(data)
            part.replace(path)

    def keep(self, line: Mapping[str, Any]) -> None:
        """Append one line, in one write: it survives a kill of the sandbox, though not a loss of power."""
        with self._lines.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the kept lines; one that a kill cut short was never answered, and goes."""
        if not self._lines.exists():
            return
        whole, _, torn = self._lines.read_bytes().rpartition(b"\n")
        if torn:
            with self._lines.open("r+b") as file:
                file.truncate(len(whole) + 1 if whole else 0)
        for line in whole.decode().splitlines():
            yield json.loads(line)

    def frames_of(self, line: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the frames that a line names."""
        return {sha256: (self._frames / sha256).read_bytes() for sha256 in line.get("frame_hashes", ())}


class Studio:
    """Makes clips in the background. To be entered and left as a context manager; usable as a world's ``clips``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="render")
        self._begun: dict[str, Future[None]] = {}

    def __enter__(self) -> Self:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what is not begun, and wait for what is."""
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, order: ClipOrder) -> bytes | None:
        """Return the clip, or ``None`` while it is being made; asking for the first time begins it.

        Raise what rendering raised.
        """
        name = _name(order)
        path = self._folder / f"{name}.mp4"
        begun = self._begun.get(name)
        if begun is None:
            if path.exists():
                return path.read_bytes()
            from batchvid.sandbox.render import render

            self._begun[name] = self._pool.submit(render, order, path)
            return None
        if not begun.done():
            return None
        begun.result()
        return path.read_bytes()


def _name(order: ClipOrder) -> str:
    parts = [order.seed, order.width, order.height, order.seconds, *order.frame_hashes, order.prompt]
    return hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()[:40]


# ---- how an answer goes out


async def _send(request: web.Request, reply: Reply, *, at_once: bool = False) -> web.StreamResponse:
    """Send *reply*. One that no HTTP server would send is written by hand, and its connection is closed.

    Also one that goes out *at_once*: the rest of the request is not read any more.
    """
    way = reply.transport
    if way == PLAIN and not at_once:
        return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
    if request.method == "HEAD":
        length = way.content_length or str(len(reply.body))
        reply = replace(reply, body=b"", transport=replace(way, content_length=length))
    await asyncio.sleep(NEVER_S if way.hang else way.delay_s)
    connection = request.transport
    if connection is not None:
        if way.reset in {Reset.BEFORE, Reset.AFTER_EFFECT}:
            _reset(connection)
        else:
            await _write(connection, reply)
    # The connection is closed by now, so this reaches nobody; aiohttp wants an answer from every handler.
    return web.Response(status=reply.status)


def _reset(connection: asyncio.Transport) -> None:
    """Close with a TCP reset; without the linger option the client would see an orderly end."""
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.abort()


async def _write(connection: asyncio.Transport, reply: Reply) -> None:
    way = reply.transport
    head = _head(reply)
    if way.raw is not None:
        connection.write(way.raw)
    elif way.reset is Reset.DURING:
        connection.write(head[: len(head) // 2])
    else:
        body = reply.body if way.cut_at is None else reply.body[: int(len(reply.body) * way.cut_at)]
        middle = len(body) // 2 if way.stall_s else 0
        match way.dribble:
            case Dribble.INTERIM:
                while not connection.is_closing():
                    await _dribble(connection, INTERIM, way.bytes_per_s)
            case Dribble.HEAD:
                await _dribble(connection, head, way.bytes_per_s)
                head = b""
            case Dribble.BODY:
                connection.write(head)
                await _dribble(connection, body, way.bytes_per_s)
                head, body, middle = b"", b"", 0
        connection.write(head + body[:middle])
        await asyncio.sleep(way.stall_s)
        connection.write(body[middle:])
    connection.close()


async def _dribble(connection: asyncio.Transport, data: bytes, bytes_per_s: float) -> None:
    size = max(1, round(bytes_per_s / DRIBBLES_PER_S))
    for at in range(0, len(data), size):
        if connection.is_closing():  # the client has had enough
            return
        connection.write(data[at : at + size])
        await asyncio.sleep(size / bytes_per_s)


def _head(reply: Reply) -> bytes:
    length = reply.transport.content_length or str(len(reply.body))
    headers = {**reply.headers, "connection": "close"}
    if length != "none":
        headers["content-length"] = length
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unnamed"
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
