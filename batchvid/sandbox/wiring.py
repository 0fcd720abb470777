"""Carries an answer out over a real connection, with whatever a rule does to it on the way."""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from batchvid.sandbox.reply import Dribble, Reset

if TYPE_CHECKING:
    from batchvid.sandbox.reply import Reply

NEVER_S = 86_400.0
"""A day: longer than any client waits."""
DRIBBLES_PER_S = 10
"""A slow answer goes out in so many pieces a second, if it has so many bytes."""
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"


async def send(request: web.Request, reply: Reply, *, at_once: bool = False) -> web.StreamResponse:
    """Send *reply*. One that no HTTP server would send is written by hand, and its connection is closed.

    Also one that goes out *at_once*: the rest of the request is not read any more.
    """
    way = reply.transport
    if way.is_plain and not at_once:
        return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
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
