"""A server that says exactly the bytes it is told to, and remembers every byte that it was sent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Say:
    """What the server does with one request."""

    data: bytes = b""
    then: str = "close"
    """``close`` the connection, ``keep`` it for the next request, ``hang``, or ``reset`` it."""
    trickle_s: float = 0.0
    """A pause after every byte of the last ones; 0 sends all at once."""
    slowly: bytes = b""
    """What is sent with those pauses, after *data*."""


def http(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, *, length: str | None = None
) -> bytes:
    """Return an answer. *length* is what it says of its body in place of the truth; ``""`` says nothing."""
    lines = [f"HTTP/1.1 {status} Spoken", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if length != "":
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    raw: bytes
    head: bytes

    @property
    def method(self) -> str:
        """Return its first word."""
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        """Return its second word."""
        return self.head.split(b" ")[1].decode()

    @property
    def headers(self) -> dict[str, str]:
        """Return its headers, the names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


@dataclass
class RawServer:
    """Answers request after request with *answers*; the last one serves for all that come later."""

    answers: list[Say]
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._open: set[asyncio.StreamWriter] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything, and let the handlers end."""
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        async with asyncio.timeout(5):
            await self._quiet.wait()

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        self._quiet.clear()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self._open.discard(writer)
            if not self._open:
                self._quiet.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = Received(head, head).headers.get("content-length", "0")
        body = await reader.readexactly(int(length))
        self.received.append(Received(head + body, head))
        say = self.answers[min(len(self.received), len(self.answers)) - 1]
        writer.write(say.data)
        await writer.drain()
        for place in range(len(say.slowly)):
            await asyncio.sleep(say.trickle_s)
            writer.write(say.slowly[place : place + 1])
            await writer.drain()
        if say.then == "reset":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif say.then == "hang":
            await reader.read()
        return say.then == "keep"
