"""Clips and pictures over HTTP: whole, or the part that a player asks for when a person seeks (RFC 9110 §14).

What is sent was looked up before by job and attempt; here is only an open file. It is read in threads, block by block,
so that a slow disk or object store holds up nobody else.
"""

from __future__ import annotations

import re
from functools import partial
from typing import IO, TYPE_CHECKING

from aiohttp import web

from batchvid.domain.errors import StorageError
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

BLOCK_BYTES = 256 * 1024
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
KEPT_FOR = "private, max-age=3600"
"""Each address names its content, so that what is scrolled back into sight is not fetched again."""


def span(asked: str, size_bytes: int) -> tuple[int, int] | None:
    """Return the first byte that a ``Range`` asks for and the one behind the last; ``None``: there are no such bytes.

    What is no single range of bytes means all of them.
    """
    found = RANGE.fullmatch(asked.strip())
    if found is None or not (found[1] or found[2]):
        return 0, size_bytes
    if not found[1]:
        length = min(int(found[2]), size_bytes)
        return (size_bytes - length, size_bytes) if length else None
    first = int(found[1])
    behind = min(int(found[2]) + 1, size_bytes) if found[2] else size_bytes
    if found[2] and int(found[2]) < first:
        return 0, size_bytes
    return (first, behind) if first < size_bytes else None


async def send(
    request: web.Request, opened: Callable[[], tuple[IO[bytes], str]], *, version: str, executor: Executor
) -> web.StreamResponse:
    """Send the file of *opened*, which gives its media type, too; *version* tells its content from any other.

    404 when it cannot be opened.
    """
    try:
        file, kind = await settled(opened, executor=executor, undo=lambda unused: unused[0].close())
    except (OSError, ValueError, StorageError):
        raise web.HTTPNotFound(text="It is not where it should be.") from None
    try:
        size_bytes = await settled(lambda: file.seek(0, 2), executor=executor)
        tag = f'"{version}-{size_bytes:x}"'
        headers = {"Accept-Ranges": "bytes", "ETag": tag, "Cache-Control": KEPT_FOR}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        asked = request.headers.get("Range", "") if request.headers.get("If-Range", tag) == tag else ""
        part = span(asked, size_bytes)
        if part is None:
            raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size_bytes}"})
        first, behind = part
        is_part = asked != "" and (part != (0, size_bytes) or RANGE.fullmatch(asked.strip()) is not None)
        if is_part:
            headers["Content-Range"] = f"bytes {first}-{behind - 1}/{size_bytes}"
        response = web.StreamResponse(status=206 if is_part else 200, headers=headers)
        response.content_type, response.content_length = kind, behind - first
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await settled(lambda: file.seek(first), executor=executor)
        while first < behind:
            block = await settled(partial(file.read, min(BLOCK_BYTES, behind - first)), executor=executor)
            if not block:
                break  # it became shorter meanwhile: the player notices
            first += len(block)
            await response.write(block)
    finally:
        await settled(file.close, executor=executor)
    return response
