"""The sandbox's world as a run meets it, without a network: the same calls, the same faults, virtual time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from batchvid.domain.secrecy import secret_of
from batchvid.providers.base import Request
from batchvid.providers.http import SILENCE_S, Transfer
from batchvid.providers.paid_post import CREATE_SILENCE_S
from batchvid.providers.response import LostAt, NoResponse, Response
from batchvid.sandbox import messages
from batchvid.sandbox.messages import Reply, Reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from batchvid.sandbox.world import World

UPLOAD_S, ANSWER_S = 0.25, 0.15
"""From the client to the service's door, and back."""
BLOCK_BYTES = 4096
"""The tiny clips have about 11 KB: so that a transfer has several blocks."""
BLOCK_S = 0.05
KEY = "sk-sandbox"


@dataclass(frozen=True, slots=True)
class Outage:
    """From when to when (wall clock) nothing reaches the service, and how that looks."""

    from_at: float
    to_at: float
    lost: LostAt = LostAt.UNREACHABLE
    takes_s: float = 0.01


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the client sent it."""

    at: float
    what: str
    """``post``, ``get`` or ``fetch``."""
    where: str
    headers: Mapping[str, str] = field(default_factory=dict)


def _no_effect(_what: str) -> None:
    """Let everything happen."""


class MemoryTransfer(Transfer):
    """A clip on its way, out of the world's reply."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = dict(reply.headers)
        self._secret = secret_of(KEY)
        way = reply.transport
        self._body = reply.body if way.cut_at is None else reply.body[: int(len(reply.body) * way.cut_at)]
        self._at = 0
        self._stall_s = way.stall_s
        length = way.content_length or str(len(reply.body))
        if length != "none":
            self.headers["content-length"] = length
        announced = int(length) if length.isdigit() else len(self._body)
        self._breaks_off = len(self._body) < announced

    async def read_block(self) -> bytes | NoResponse:
        """Return the next block."""
        await asyncio.sleep(BLOCK_S)
        if self._stall_s and self._at >= len(self._body) // 2:
            stall_s, self._stall_s = self._stall_s, 0.0
            await asyncio.sleep(min(stall_s, SILENCE_S))
            if stall_s > SILENCE_S:
                return NoResponse(LostAt.SILENT)
        block = self._body[self._at : self._at + BLOCK_BYTES]
        self._at += len(block)
        if not block and self._breaks_off:
            return NoResponse(LostAt.RESET, "the connection was closed")
        return block

    async def answer(self) -> Response:
        """Return all of it."""
        return Response(self.status, self.headers, self._body, complete=not self._breaks_off)


class MemoryService:
    """The way from a run to a `World`; remembers every request."""

    def __init__(self, world: World, *, wall: Callable[[], float]) -> None:
        self.world = world
        self.calls: list[Call] = []
        self.outages: list[Outage] = []
        self.key = KEY
        self.effect: Callable[[str], None] = _no_effect
        """Called before everything that changes the world or brings an answer from it."""
        self.peak = 0
        """The most tasks at once that were not over for the client, with the creates that were under way."""
        self._unfinished: set[str | object] = set()
        self._wall = wall

    async def __aenter__(self) -> Self:
        """Do nothing."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def sent(self, what: str) -> list[Call]:
        """Return the requests of one kind."""
        return [call for call in self.calls if call.what == what]

    async def post(self, request: Request) -> Response | NoResponse:
        """Send a create."""
        self._called("post", request.path)
        under_way = object()
        self._unfinished.add(under_way)
        self.peak = max(self.peak, len(self._unfinished))
        try:
            await asyncio.sleep(UPLOAD_S)
            if lost := await self._lost():
                return lost
            self.effect("post")
            before = set(self.world.tasks)
            reply = self._answer(request)
            if created := self.world.tasks.keys() - before:
                self._unfinished.discard(under_way)
                self._unfinished |= created
            return await _answered(reply, silence_s=CREATE_SILENCE_S)
        finally:
            self._unfinished.discard(under_way)

    async def get(self, request: Request) -> Response | NoResponse:
        """Poll."""
        self._called("get", request.path)
        await asyncio.sleep(UPLOAD_S)
        if lost := await self._lost():
            return lost
        self.effect("get")
        reply = self._answer(request)
        answer = await _answered(reply, silence_s=SILENCE_S)
        self._unfinished = {one for one in self._unfinished if not self._is_over(one)}
        return answer

    def _is_over(self, task_id: str | object) -> bool:
        task = self.world.tasks.get(task_id) if isinstance(task_id, str) else None
        return task is not None and not task.never and self._wall() >= task.created_at + task.took_s

    @asynccontextmanager
    async def fetch(self, source: str | Request, headers: Mapping[str, str]) -> AsyncIterator[Transfer | NoResponse]:
        """Ask for a clip."""
        self._called("fetch", source if isinstance(source, str) else source.path, headers)
        await asyncio.sleep(UPLOAD_S)
        lost = await self._lost()
        if lost:
            yield lost
            return
        self.effect("fetch")
        if isinstance(source, Request):
            reply = self._answer(source, headers)
        else:
            asked = {name.lower(): value for name, value in headers.items()}
            path = source.removeprefix(self.world.files_url)
            reply = self.world.answer_file(messages.Request("GET", path, asked), now=self._wall())
        way = reply.transport
        await asyncio.sleep(ANSWER_S + way.delay_s)
        if way.hang or way.reset or way.raw is not None:
            yield NoResponse(LostAt.RESET)
            return
        yield MemoryTransfer(reply)

    def _answer(self, request: Request, more: Mapping[str, str] | None = None) -> Reply:
        """Return the world's answer to a request to the API, which goes out with the key."""
        headers = {name.lower(): value for name, value in {**request.headers, **(more or {})}.items()}
        headers["authorization"] = f"Bearer {self.key}"
        path, _, query = request.path.partition("?")
        asked = messages.Request(request.method, f"/v1{path}", headers, b"".join(request.body), query)
        return self.world.answer(asked, now=self._wall())

    def _called(self, what: str, where: str, headers: Mapping[str, str] | None = None) -> None:
        self.calls.append(Call(self._wall(), what, where, dict(headers or {})))

    async def _lost(self) -> NoResponse | None:
        now = self._wall()
        for outage in self.outages:
            if outage.from_at <= now < outage.to_at:
                await asyncio.sleep(outage.takes_s)
                return NoResponse(outage.lost)
        return None


async def _answered(reply: Reply, *, silence_s: float) -> Response | NoResponse:
    """Bring *reply* to the client in the way that its transport says."""
    way = reply.transport
    await asyncio.sleep(silence_s if way.hang else min(silence_s, ANSWER_S + way.delay_s))
    if way.hang or way.delay_s > silence_s:
        return NoResponse(LostAt.SILENT)
    if way.reset in set(Reset):
        return NoResponse(LostAt.RESET, "Connection reset by peer")
    if way.raw is not None:
        return NoResponse(LostAt.GARBLED)
    if way.cut_at is not None:
        return Response(reply.status, reply.headers, reply.body[: int(len(reply.body) * way.cut_at)], complete=False)
    return Response(reply.status, reply.headers, reply.body)
