"""The server of the review page: a gate, one page, its data, its files, and the one request that changes something.

It never sends a paid request, and has no key.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from batchvid import __version__
from batchvid.cli.report.page import STATES, digest, embedded, template
from batchvid.cli.review.gate import PAGE, Gate
from batchvid.cli.review.judge import Asked, DecidedMeanwhileError
from batchvid.cli.review.media import send
from batchvid.cli.review.wall import Wall
from batchvid.domain.decision import NOTE_MAX
from batchvid.domain.errors import BatchvidError, ConfigError
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.typedefs import Handler

    from batchvid.cli.review.board import Reviewed


HOST = "127.0.0.1"
BODY_MAX_BYTES = 64 * 1024
"""A note of the longest kind, each character of which is escaped, and then some."""
BACKLOG = 128
SHUTDOWN_S = 0.5
NUMBER_MAX_CHARS = 15
TROUBLE_SHOWN = 600
OWN = "batchvid.cli.review"
SHARED_STYLES, SHARED_SCRIPTS = ("page.css",), ("parts.js", "grid.js")
"""Of the report: its look is this page's, too."""
STYLES, SCRIPTS = ("review.css",), ("model.js", "wall.js", "stage.js", "keys.js")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}
NUMBER = r"\d{1,9}"


def listening(port: int) -> socket.socket:
    """Return a socket that this machine alone reaches; raises `ConfigError` when the port cannot be had."""
    try:
        return socket.create_server((HOST, port), backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"the review page cannot listen on {HOST}:{port}: {error.strerror}; name another --port, or none"
        ) from None


async def serve(
    reviewed: Sequence[Reviewed],
    listener: socket.socket,
    *,
    by: str,
    ready: Callable[[str, str], None],
) -> None:
    """Serve the page until cancelled; *ready* is called with its address, and with one that opens once."""
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    gate, port = Gate(), listener.getsockname()[1]
    with ExitStack() as stack:
        wall = Wall(reviewed, by=by)
        stack.callback(wall.close)
        app = Pages(wall, gate, cookie=f"batchvid-review-{port}", by=by).application()
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
        try:
            await runner.setup()
            await web.SockSite(runner, listener).start()
            address = f"http://{HOST}:{port}{PAGE}?token="
            ready(address + gate.token, address + gate.once())
            gc.disable()
            try:
                await wall.look()  # before somebody asks: the first one reads everything
                gc.freeze()  # that lives as long as the server: the collector need not walk it, and hold up everybody
            finally:
                gc.enable()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an error is ours: a browser that has had enough of a clip, or a client that sends no HTTP, is not."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | ConnectionError))


class Pages:
    """What is answered."""

    def __init__(self, wall: Wall, gate: Gate, *, cookie: str, by: str) -> None:
        self._wall, self._gate, self._cookie = wall, gate, cookie
        style = template(*SHARED_STYLES) + template(*STYLES, of=OWN)
        script = template(*SHARED_SCRIPTS) + template(*SCRIPTS, of=OWN)
        self._policy = policy(style=style, script=script)
        self._page = _page(wall, style=style, script=script, by=by)

    def application(self) -> web.Application:
        """Return it for a server."""
        app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[self._guard])
        app.on_response_prepare.append(self._sign)
        app.router.add_get(PAGE, self._first)
        app.router.add_get("/favicon.ico", self._nothing)
        app.router.add_get("/rows", self._rows)
        app.router.add_get(f"/clip/{{board:{NUMBER}}}/{{number:{NUMBER}}}/{{job}}", self._clip)
        app.router.add_get(f"/picture/{{board:{NUMBER}}}/{{number:{NUMBER}}}/{{job}}", self._picture)
        app.router.add_get(f"/frame/{{board:{NUMBER}}}/{{number:{NUMBER}}}/{{job}}", self._frame)
        app.router.add_post("/decide", self._decide)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through what the gate lets through."""
        refusal = self._gate.refusal(
            request.method,
            request.rel_url.raw_path,
            request.headers,
            cookie=request.cookies.get(self._cookie, ""),
            token=request.query.get("token", ""),
        )
        if refusal is not None:
            return web.Response(status=403, text=refusal)
        if request.path != PAGE:
            await self._wall.begin()
        return await handler(request)

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG002 aiohttp gives both
        """Add what every answer carries."""
        response.headers.update(HEADERS)
        response.headers["Content-Security-Policy"] = self._policy
        response.headers.setdefault("Cache-Control", "no-store")

    async def _first(self, request: web.Request) -> web.Response:
        """Answer with the page; who came with the token gets the cookie, and the page takes it from the address."""
        response = web.Response(body=self._page, content_type="text/html", charset="utf-8")
        if "token" in request.query:
            response.set_cookie(self._cookie, self._gate.session, path="/", httponly=True, samesite="Strict")
        return response

    async def _nothing(self, request: web.Request) -> web.Response:  # noqa: ARG002 aiohttp gives it
        """Answer a browser that asks for an icon."""
        return web.Response(status=204)

    async def _rows(self, request: web.Request) -> web.Response:
        """Answer with what has changed."""
        written = request.query.get("after", "0")
        if not (written.isascii() and written.isdigit()) or len(written) > NUMBER_MAX_CHARS:
            raise web.HTTPBadRequest(text="after= is the number of the newest change that is known.")
        await self._wall.look()
        return web.Response(body=await self._wall.rows_after(int(written)), content_type="application/json")

    async def _clip(self, request: web.Request) -> web.StreamResponse:
        number, attempt, job_id = _asked(request)
        shown = self._wall.shown(number, job_id, attempt)
        if shown is None:
            raise web.HTTPNotFound(text="There is no such clip.")
        opened = partial(self._wall.open_clip, number, shown)
        return await send(request, opened, version=shown.sha256, executor=self._wall.files)

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        number, attempt, job_id = _asked(request)
        shown = self._wall.shown(number, job_id, attempt)
        if shown is None:
            raise web.HTTPNotFound(text="There is no such clip.")
        opened = partial(self._wall.open_picture, number, shown)
        try:
            return await send(request, opened, version=shown.sha256, executor=self._wall.files)
        except web.HTTPNotFound:
            return web.Response(status=204)  # it is being made: the page asks again

    async def _frame(self, request: web.Request) -> web.StreamResponse:
        number, which, job_id = _asked(request)
        frame = self._wall.frame(number, job_id, which)
        if frame is None:
            raise web.HTTPNotFound(text="There is no such frame.")
        opened = partial(self._wall.open_frame, number, frame)
        return await send(request, opened, version=frame.sha256, executor=self._wall.files)

    async def _decide(self, request: web.Request) -> web.Response:
        """Keep a decision; the answer comes when it is durable."""
        try:
            asked = Asked.of(json.loads(await request.text()))
            kept = await self._wall.decide(asked)
        except LookupError:
            return _trouble(404, "This clip is not there any more: another attempt may have replaced it.")
        except (ValueError, RecursionError) as error:
            return _trouble(400, clean(str(error), TROUBLE_SHOWN))
        except DecidedMeanwhileError as error:
            return _trouble(409, clean(str(error), TROUBLE_SHOWN))
        except BatchvidError as error:
            return _trouble(503, clean(str(error), TROUBLE_SHOWN))
        return web.Response(body=kept, content_type="application/json")


def _asked(request: web.Request) -> tuple[int, int, str]:
    return int(request.match_info["board"]), int(request.match_info["number"]), request.match_info["job"]


def _trouble(status: int, words: str) -> web.Response:
    return web.json_response({"trouble": words}, status=status)


def policy(*, style: str, script: str) -> str:
    """Return the Content-Security-Policy: the page's own style and script by hash, and this server for the rest."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{digest(script)}'",
            f"style-src '{digest(style)}'",
            *(f"{kind}-src 'self'" for kind in ("img", "media", "connect")),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _page(wall: Wall, *, style: str, script: str, by: str) -> bytes:
    from jinja2 import Environment, StrictUndefined, select_autoescape

    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True), undefined=StrictUndefined
    )
    names = [clean(board.manifest.path.stem, 200) for board in wall.boards]
    told: dict[str, Any] = {"states": list(STATES), "by": clean(by, 200), "noteMax": NOTE_MAX}
    rendered = environment.from_string(template("review.html.j2", of=OWN)).render(
        version=__version__, name=" · ".join(names), style=style, script=script, told=embedded(told)
    )
    return rendered.encode("utf-8", "replace")
