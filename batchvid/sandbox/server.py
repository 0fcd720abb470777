"""The sandbox on two ports: the service, and the other host that its clips' URLs name."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

import yaml
from aiohttp import web

from batchvid.errors import ConfigError
from batchvid.sandbox.faults import Script, parse_rules
from batchvid.sandbox.order import too_large
from batchvid.sandbox.reply import BODY_MAX_BYTES, Reply, Request
from batchvid.sandbox.routes import answer_api, answer_files, is_create
from batchvid.sandbox.state import StateFolder
from batchvid.sandbox.studio import Studio
from batchvid.sandbox.wiring import send
from batchvid.sandbox.world import Clips, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.sandbox.faults import Rule
    from batchvid.sandbox.options import Options

    class Route(Protocol):
        """What answers the requests of one port."""

        def __call__(self, world: World, request: Request, *, now: float) -> Reply:
            """Answer a request."""


BACKLOG = 512
"""A run may open all its connections at once."""
SHUTDOWN_S = 1.0
"""How long an answer that is under way may take once the sandbox ends."""


async def serve(options: Options, *, ready: Callable[[str, str], None]) -> None:
    """Run a sandbox until cancelled; *ready* is called with the base URLs of the API and of the file host.

    Raises `ConfigError` when the faults file cannot be used or a port is taken.
    """
    script = Script(read_faults(options.faults_path))
    with ExitStack() as stack:
        api, files = (stack.enter_context(_listening(options.host, port)) for port in (options.port, 0))
        memory = stack.enter_context(StateFolder(options.state_dir).held()) if options.state_dir else None
        world = World(
            options.terms,
            clips=_clips(options, memory, stack),
            script=script,
            files_url=_url(files),
            memory=memory,
        )
        for line in memory.read() if memory else ():
            world.restore(line, memory.frames_of(line) if memory else {})
        runners = [_runner(world, answer_api, options), _runner(world, answer_files, options)]
        try:
            for runner, listening in zip(runners, (api, files), strict=True):
                await runner.setup()
                await web.SockSite(runner, listening, backlog=BACKLOG).start()
            ready(f"{_url(api)}/v1", _url(files))
            await asyncio.Event().wait()
        finally:
            for runner in runners:
                await runner.cleanup()


def read_faults(path: Path | None) -> tuple[Rule, ...]:
    """Give the rules of a faults file. Raises `ConfigError`."""
    if path is None:
        return ()
    try:
        raw = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 a safe loader
    except OSError as error:
        raise ConfigError(f"the faults file {path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"the faults file {path} is not YAML: {error}") from None
    return parse_rules(raw, source=str(path))


def _clips(options: Options, memory: StateFolder | None, stack: ExitStack) -> Clips:
    if options.clip == "tiny":
        from batchvid.sandbox.render import tiny_clips  # noqa: PLC0415 heavy, and only rendering needs it

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


def _runner(world: World, route: Route, options: Options) -> web.AppRunner:
    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.rel_url.raw_path, headers)
        if route is answer_api and is_create(asked) and (early := world.early(asked)) is not None:
            return await send(request, early, at_once=True)
        if (request.content_length or 0) > BODY_MAX_BYTES:
            return await send(request, too_large())
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return await send(request, too_large())
        except ConnectionError:
            # The client is gone in the middle of its upload: nothing was asked for, and nobody reads this.
            return web.Response()
        await asyncio.sleep(options.latency_s)
        return await send(request, route(world, replace(asked, body=body), now=time.time()))

    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.router.add_route("*", "/{path:.*}", handle)
    return web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
