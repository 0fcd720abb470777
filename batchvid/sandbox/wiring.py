"""Carries an answer out over a real connection, with whatever a rule does to it on the way."""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from batchvid.sandbox.reply import Reset

if TYPE_CHECKING:
    from batchvid.sandbox.reply import Reply

NEVER_S = 86_400.0
"""A day: longer than any client waits."""


async def send(request: web.Request, reply: Reply) -> web.StreamResponse:
    """Send *reply*. One that no HTTP server would send is written by hand, and its connection is closed."""
    way = reply.transport
    if way.is_plain:
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
        connection.write(head + body[:middle])
        await asyncio.sleep(way.stall_s)
        connection.write(body[middle:])
    connection.close()


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
