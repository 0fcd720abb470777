"""The service over HTTP: each request becomes a `Response` or a `NoResponse`, and nothing here decides what it means.

A paid request has a connection of its own (`batchvid.providers.paid_post`). For the rest there are two sessions. The
one for the API carries the key and follows no redirect. The one that fetches clips from the URLs that the service names
carries no key. It connects to public addresses only, unless the service itself is on this machine. Neither keeps
cookies or reads proxies from the environment. The key ends here: an answer that repeats it goes on without it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from batchvid import __version__
from batchvid.domain.errors import ConfigError
from batchvid.domain.secrecy import ForbiddenAddressError, is_loopback, is_public, secret_of
from batchvid.providers.base import Request
from batchvid.providers.inline import DataURLs
from batchvid.providers.network import Network
from batchvid.providers.paid_post import CONNECT_TIMEOUT_S, send_once
from batchvid.providers.response import ANSWER_MAX_BYTES, LostAt, NoResponse, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from batchvid.domain.secrecy import Secret


READ_TIMEOUT_S = 60.0
"""For a poll as a whole."""
HEAD_S = 60.0
"""For the head of a clip's answer, with all redirects before it, however slowly it comes."""
ERROR_BODY_S = 30.0
"""For the body of an error, however slowly it comes."""
SILENCE_S = 30.0
"""Without one byte for so long, a transfer is given up and resumed."""
CLOSED_S = 0.25
"""What has arrived before a connection was closed is there at once."""
CONNECTIONS = 64
"""Whatever is in flight; more would only queue at the gateway."""
KEEP_ALIVE_S = 4.0
"""Shorter than servers keep idle connections, so that a poll hardly ever meets one that is being closed."""
BLOCK_BYTES = 512 * 1024
"""Handed on at once; larger ones are no faster."""
BLOCKS_BYTES = 4 * 1024 * 1024
"""What the blocks of all downloads may come to: each has two in hand, and as many again are buffered behind it."""
BLOCK_S = 5.0
"""A slow body is handed on in smaller blocks, so that its speed can be judged and what came of it is kept."""
REDIRECTS_AT_MOST = 5
PLAIN = {"User-Agent": f"batchvid/{__version__}", "Accept-Encoding": "identity"}
"""The headers of every request."""


class Transfer:
    """The answer to a request for a clip: status, headers, and a body that is read block by block."""

    foreign_url: str | None = None
    """The URL that answered, where that is not the service itself: a path in its answer is not one of the service."""

    def __init__(self, response: aiohttp.ClientResponse, *, secret: Secret, block_bytes: int = BLOCK_BYTES) -> None:
        self._response = response
        self._secret = secret
        self._block_bytes = block_bytes
        self.status = response.status
        self.headers = {name: value for name, value in _headers(response).items() if not secret.is_told(value)}

    async def read_block(self) -> bytes | NoResponse:
        """Return about a block of the body, or what came in `BLOCK_S`; ``b""`` at its end, or what cut it off."""
        clock = asyncio.get_running_loop().time
        until = clock() + BLOCK_S
        blocks: list[bytes] = []
        size = 0
        while size < self._block_bytes and (not blocks or clock() < until):
            try:
                block = await _arrived(self._response, SILENCE_S)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if blocks:
                    break
                return _kept_back(self._response.content, error) or _lost(error)
            if not block:
                break
            blocks.append(block)
            size += len(block)
        return b"".join(blocks)

    async def answer(self) -> Response:
        """Read the body as that of an error."""
        return (await _answer(self._response)).unpacked().without(self._secret)

    def beginning(self, first: bytes) -> Response:
        """Return what the body begins with as an answer that can be shown."""
        return Response(self.status, {}, first).without(self._secret)


class InlineTransfer(Transfer):
    """The same for a clip that stands in the answer as a ``data:`` URL: its bytes alone, and always from zero."""

    def __init__(self, response: aiohttp.ClientResponse, *, secret: Secret, block_bytes: int, number: int) -> None:
        super().__init__(response, secret=secret, block_bytes=block_bytes)
        self._parts = DataURLs(number)
        for name in ("content-length", "etag", "last-modified"):  # of the whole answer
            self.headers.pop(name, None)

    async def read_block(self) -> bytes | NoResponse:
        """Return about a block of the clip, ``b""`` at its end, or what cut it off; nothing behind it is read."""
        clock = asyncio.get_running_loop().time
        until, text_bytes = clock() + SILENCE_S, 0
        while not self._parts.is_over:
            block = await super().read_block()
            if isinstance(block, NoResponse):
                return block
            text, clip = self._parts.feed(block)
            text_bytes += len(text)
            if clip or not block:
                return clip
            if clock() >= until or text_bytes > ANSWER_MAX_BYTES:
                return NoResponse(LostAt.SILENT)
        return b""


class Service:
    """The API at *base_url*, used with *key*. To be entered and left as an async context manager.

    So many *downloads* at once share its memory. Raises `ConfigError` when the CA file of *network* cannot be used.
    """

    def __init__(self, base_url: str, key: str, *, network: Network | None = None, downloads: int = 4) -> None:
        self._base = base_url
        self._network = network or Network()
        self._headers = PLAIN | ({"Authorization": f"Bearer {key}"} if key else {})
        """Of every request to the API; a service of one's own may want no key.

        They are those of requests and never of a session: aiohttp sends a session's to the proxy as well.
        """
        self._secret = secret_of(key)
        self._block_bytes = min(BLOCK_BYTES, BLOCKS_BYTES // downloads)
        self._tls = _tls(self._network.ca_file)
        self._host = (URL(base_url).host or "").lower()
        self._local = is_loopback(self._host)
        connect_s, bounds = CONNECT_TIMEOUT_S, aiohttp.ClientTimeout
        self._get_bounds = bounds(total=READ_TIMEOUT_S, sock_connect=connect_s, sock_read=SILENCE_S)
        self._fetch_bounds = bounds(total=None, sock_connect=connect_s, sock_read=SILENCE_S)
        self._api: aiohttp.ClientSession
        self._files: aiohttp.ClientSession
        self._named: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Open the sessions."""
        common: dict[str, Any] = {"auto_decompress": False, "read_bufsize": self._block_bytes}
        self._api = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S, ssl=self._tls),
            headers=PLAIN,
            cookie_jar=aiohttp.DummyCookieJar(),
            **common,
        )
        self._files, self._named = (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S, ssl=self._tls, socket_factory=factory
                ),
                headers=PLAIN,
                cookie_jar=aiohttp.DummyCookieJar(),
                **common,
            )
            for factory in (None if self._local else self._public_socket, None)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sessions."""
        for session in (self._api, self._files, self._named):
            await session.close()

    async def post(self, request: Request) -> Response | NoResponse:
        """Send a paid request, once."""
        url = self._url(request)
        headers = {**self._headers, "Accept": "*/*", **request.headers}
        tls, proxy = self._tls if url.scheme == "https" else None, self._network.proxy_for(url)
        result = await send_once(url, headers, request.body, tls=tls, proxy=None if proxy is None else URL(proxy))
        if isinstance(result, NoResponse):
            return NoResponse(result.lost, self._secret.masked(result.detail, cut=True))
        return result.unpacked().without(self._secret)

    async def get(self, request: Request) -> Response | NoResponse:
        """Ask for something that costs nothing."""
        url, headers = self._url(request), {**self._headers, **request.headers}
        try:
            async with self._api.get(
                url,
                headers=headers,
                timeout=self._get_bounds,
                allow_redirects=False,
                proxy=self._network.proxy_for(url),
            ) as response:
                return (await _answer(response)).unpacked().without(self._secret)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return _lost(error)

    def _url(self, request: Request) -> URL:
        """Return the address of a request; a path that the service named has what is escaped in it left as it is."""
        if request.is_from_root:
            return _url(f"{URL(self._base).origin()}{request.path}")
        return URL(self._base + request.path, encoded=True)

    @asynccontextmanager
    async def fetch(self, source: str | Request, headers: Mapping[str, str]) -> AsyncIterator[Transfer | NoResponse]:
        """Ask for a clip: at a URL that the service named (without the key), or at the service itself (with it).

        Raises `ForbiddenAddressError` when the URL, or a redirect, leads where no clip can be.
        """
        own: Mapping[str, str] = {}
        inline = 0
        if isinstance(source, Request):
            session, target, own = self._api, self._url(source), {**self._headers, **source.headers}
            inline = source.inline
        else:
            session, target = None, _url(source)
        until = asyncio.get_running_loop().time() + HEAD_S
        for hop in range(REDIRECTS_AT_MOST + 1):
            is_free = session is None and self._may_be_anywhere(target, redirected=hop > 0)
            asked = session or (self._named if is_free else self._files)
            try:
                async with asyncio.timeout_at(until):
                    response = await asked.get(
                        target,
                        headers={**own, **headers},
                        timeout=self._fetch_bounds,
                        allow_redirects=False,
                        proxy=self._network.proxy_for(target),
                    )
            except aiohttp.InvalidURL:
                raise self._forbidden(f"the clip's URL is not allowed: its host is {target.host}") from None
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if forbidden := _forbidden(error):
                    raise self._forbidden(f"{forbidden}{_advice(target)}") from None
                yield _lost(error)
                return
            async with response:
                location = response.headers.get("Location")
                if response.status not in {301, 302, 303, 307, 308} or location is None:
                    size = self._block_bytes
                    if inline and session is not None:
                        transfer: Transfer = InlineTransfer(
                            response, secret=self._secret, block_bytes=size, number=inline
                        )
                    else:
                        transfer = Transfer(response, secret=self._secret, block_bytes=size)
                    transfer.foreign_url = None if session is not None else str(response.url)
                    yield transfer
                    return
                target = response.url.join(_url(location))
                session, own = None, {}
        raise ForbiddenAddressError("the clip's URL redirects in circles")

    def _may_be_anywhere(self, parts: URL, *, redirected: bool) -> bool:
        """Whether a clip's URL may lead to any address: its host was named, or a proxy alone knows its address.

        Raises `ForbiddenAddressError` for a URL that no clip can be at.
        """
        host = (parts.host or "").lower()
        is_named = host == self._host or self._network.clip_hosts.has_name(host)
        schemes = {"https"} if redirected and not (self._local or is_named) else {"http", "https"}
        if parts.scheme not in schemes or parts.user is not None or not host:
            raise self._forbidden(f"the clip's URL is not allowed: {parts.scheme}://{parts.host}")
        if is_named or self._network.proxy_for(parts) is None:
            return is_named
        if not self._network.may_fetch(host):
            raise self._forbidden(f"the clip's URL leads to {host}, which is not a public address{_advice(parts)}")
        return True

    def _public_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make the socket for an address that is about to be connected to, if a clip may be there."""
        family, kind, protocol, _, target = address
        if not is_public(str(target[0])) and not self._network.clip_hosts.has_address(str(target[0])):
            raise ForbiddenAddressError(f"the clip's URL leads to {target[0]}, which is not a public address")
        return socket.socket(family, kind, protocol)

    def _forbidden(self, text: str) -> ForbiddenAddressError:
        return ForbiddenAddressError(self._secret.masked(text))


def _url(text: str) -> URL:
    """Read a URL that came from outside; what is escaped in it already stays as it is."""
    try:
        return URL(text, encoded="%" in text)
    except ValueError:
        raise ForbiddenAddressError("the clip's URL is none") from None


def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Return a verifying context; there is no way to switch verification off."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the CA file {ca_file} cannot be used: {error.strerror or error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _advice(url: URL) -> str:
    """Return what to do about a clip at an address that is not public."""
    return (
        f": if {url.host} is a host of yours, or your proxy answers for every name, write "
        f"service: {{clip_hosts: [{url.host}]}}"
    )


def _forbidden(error: BaseException) -> ForbiddenAddressError | None:
    """Find the refusal of `_public_socket` among the causes of a failed connection."""
    seen: list[BaseException | None] = [error, getattr(error, "os_error", None), error.__cause__, error.__context__]
    for one in seen:
        if isinstance(one, ForbiddenAddressError):
            return one
    text = str(error)
    return ForbiddenAddressError(text) if "is not a public address" in text else None


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


async def _arrived(response: aiohttp.ClientResponse, patience_s: float | None = None) -> bytes:
    """Return more of a body as soon as it comes, ``b""`` at its end; raises only what the network can do to it.

    aiohttp 3.14.5 closes a connection whose chunk it could not read, drops its own time-out, and tells nobody who waits
    for more. So a wait for a closed connection is short. A wait for a clip, which has no time-out as a whole, has an
    end of its own.
    """
    connection = response.connection
    transport = None if connection is None else connection.transport
    if transport is not None and transport.is_closing():
        patience_s = CLOSED_S
    try:
        if patience_s is None:
            return await response.content.readany()
        async with asyncio.timeout(patience_s):
            return await response.content.readany()
    except (RuntimeError, HttpProcessingError) as error:
        # What aiohttp says of a connection that it closed because of a chunk that it could not read.
        raise ConnectionResetError(str(error)) from None


def _kept_back(content: aiohttp.StreamReader, error: Exception) -> bytes:
    """Return what had arrived before *error*: aiohttp raises it first, and keeps up to 2 MiB of a paid clip back."""
    content.set_exception(cast("BaseException", None))
    rest = content.read_nowait()
    content.set_exception(error)
    return rest


async def _answer(response: aiohttp.ClientResponse) -> Response:
    """Read a body under the cap and in its time; one that is cut off or too long is marked as not complete.

    Of a clip in it only the beginning of its ``data:`` URL is kept.
    """
    blocks, size, complete, parts = [], 0, True, DataURLs()
    try:
        async with asyncio.timeout(ERROR_BODY_S):
            while arrived := await _arrived(response):
                block, _ = parts.feed(arrived)
                blocks.append(block)
                size += len(block)
                if size > ANSWER_MAX_BYTES:
                    complete = False
                    response.close()
                    break
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        blocks.append(parts.feed(_kept_back(response.content, error))[0])
        complete = False
    blocks.append(parts.feed(b"")[0])
    return Response(response.status, _headers(response), b"".join(blocks)[:ANSWER_MAX_BYTES], complete)


def _lost(error: Exception) -> NoResponse:
    """Return where a request went missing. Only what is certain counts as "before sending"; the order matters."""
    table: list[tuple[tuple[type[BaseException], ...], LostAt]] = [
        ((aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), LostAt.PROXY),
        ((aiohttp.ClientConnectorDNSError,), LostAt.DNS),
        ((aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError), LostAt.TLS),
        ((aiohttp.ClientConnectorError,), LostAt.UNREACHABLE),
        ((aiohttp.ConnectionTimeoutError,), LostAt.CONNECT_TIMEOUT),
        ((TimeoutError, asyncio.TimeoutError), LostAt.SILENT),
        ((aiohttp.ClientResponseError,), LostAt.GARBLED),
    ]
    for kinds, lost in table:
        if isinstance(error, kinds):
            return NoResponse(lost, _words(error))
    return NoResponse(LostAt.RESET, _words(error))


def _words(error: Exception) -> str:
    """Return the system's words for it. Never the repr of an aiohttp error: that holds the request, and so the key."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"HTTP {error.status}"
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError):
        return cause.strerror or ""
    return "Server disconnected" if isinstance(error, aiohttp.ServerDisconnectedError) else type(error).__name__
