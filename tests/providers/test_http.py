"""The way to the service over real sockets: what breaks on the way becomes a value, and what arrived is kept."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.secrecy import ForbiddenAddressError
from batchvid.providers.base import form
from batchvid.providers.http import Service
from batchvid.providers.response import NoResponse, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN_CHUNK = CHUNKED + b'9\r\n{"id":"t"\r\nzz\r\n'


@asynccontextmanager
async def serving(raw: bytes) -> AsyncIterator[tuple[Service, str]]:
    """Answer every request with these bytes and close; give a service at that address, and the address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Service(f"{url}/v1", "sk-test") as service:
        yield service, url


async def fetched(raw: bytes) -> list[bytes | NoResponse]:
    """Fetch a clip; give the blocks, and what ended it."""
    async with serving(raw) as (service, url), service.fetch(f"{url}/kite.mp4", {}) as transfer:
        if isinstance(transfer, NoResponse):
            return [transfer]
        blocks: list[bytes | NoResponse] = []
        while block := await transfer.read_block():
            blocks.append(block)
            if isinstance(block, NoResponse):
                break
        return blocks


@pytest.mark.parametrize("raw", [BROKEN_CHUNK, CHUNKED + b"zz\r\n", CHUNKED + b"-5\r\nabc\r\n", CHUNKED + b"F" * 9000])
def test_a_chunk_that_cannot_be_read_is_a_broken_transfer(raw: bytes) -> None:
    """Never an exception of the library: that would be a bug, and end the night."""
    *_, end = asyncio.run(fetched(raw))
    assert isinstance(end, NoResponse)


def test_a_chunk_that_cannot_be_read_leaves_a_create_in_doubt() -> None:
    """The answer comes back, marked as not complete, with what could be read of it."""

    async def sent() -> Response | NoResponse:
        async with serving(BROKEN_CHUNK) as (service, _):
            return await service.post(form([("prompt", "A kite.")], [], path="/videos", boundary="b"))

    result = asyncio.run(sent())
    assert isinstance(result, NoResponse) or not result.complete


@pytest.mark.parametrize("size", [1, 70_000, 900_000])
def test_what_arrived_before_a_break_is_handed_on(size: int) -> None:
    """The library raises the error first; a clip would be fetched from zero again, a task id lost."""
    *blocks, end = asyncio.run(fetched(HEAD + b"Content-Length: 9999999\r\n\r\n" + bytes(size)))
    assert sum(len(block) for block in blocks if isinstance(block, bytes)) == size
    assert isinstance(end, NoResponse)


def test_an_answer_that_is_cut_off_keeps_what_came() -> None:
    """A cut create may have named its task already."""

    async def sent() -> Response | NoResponse:
        async with serving(HEAD + b'Content-Length: 999\r\n\r\n{"id": "task_kite"}') as (service, _):
            return await service.post(form([("prompt", "A kite.")], [], path="/videos", boundary="b"))

    result = asyncio.run(sent())
    assert isinstance(result, Response)
    assert (result.body, result.complete) == (b'{"id": "task_kite"}', False)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1"])
def test_a_host_that_is_no_name_and_no_address_is_forbidden(host: str) -> None:
    """An old spelling of an address, by which a filter may be passed."""

    async def fetch() -> None:
        async with (
            Service("https://api.example.com/v1", "sk-test") as service,
            service.fetch(f"http://{host}/kite.mp4", {}) as transfer,
        ):
            assert isinstance(transfer, NoResponse)

    with pytest.raises(ForbiddenAddressError):
        asyncio.run(fetch())
