"""The paid request: sent once, over a connection of its own, and its answer read whatever becomes of the sending.

What it promises, in the order in which one turn of it goes:

1. The connection is new, and is closed afterwards. Nothing that another request left in it can answer this one.
2. Each turn reads everything that has arrived, before it sends more and before it looks at the time. So an answer that
   came early is read, although the rest can no longer be sent. One that came while the process stood still
   (a stopped container) is read, too, although its time is long over.
3. What arrives before the first byte of the request has left is nobody's answer: the request is not sent.
   An answer that begins before the last byte was handed to the system is marked as one that was not asked for.
4. Nothing is ever sent a second time.

The socket is used directly: asyncio's transports drop what has arrived when a send fails, and do not tell how much of
a request the system has taken. h11 (RFC 9112 as a state machine without I/O) reads the answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any, Self

import aiohappyeyeballs
import h11

from batchvid.providers.response import ANSWER_MAX_BYTES, LostAt, NoResponse, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from yarl import URL


CONNECT_TIMEOUT_S = 20.0
"""For name, connection and TLS together."""
CREATE_TIMEOUT_S = 300.0
"""For a create as a whole: two large frames over a slow line, and a gateway that thinks."""
CREATE_SILENCE_S = 120.0
"""Without a byte taken, and for the answer's head, however slowly it comes."""
CREATE_BODY_S = 30.0
"""For the answer's body."""
BROKEN_S = 5.0
"""For what arrived before the connection broke; it is there at once."""
LISTENED_S = 1.0
"""What a wait counts at most: the process may have stood still for hours, and heard nothing."""
UNASKED_S = 0.003
"""How long a connection without TLS, whose handshake takes longer, is watched before anything is sent: a server that
is full, or speaks another protocol, says so at once."""
HEAD_MAX_BYTES = 64 * 1024
INTERIM_MAX = 32
"""Answers of the 1xx kind; who sends more never comes to the point."""
PLAIN_BLOCK, TLS_BLOCK = 256 * 1024, 16 * 1024
"""What is sent at once. A TLS record holds no more, so that what failed to be sent did not leave in part."""
RECEIVE_BYTES = 64 * 1024
TURN_BYTES = 1024 * 1024
"""Then others have their turn."""
EYEBALLS_S = 0.25
"""RFC 8305 §5: the head start of one address before the next is tried."""


async def send_once(
    url: URL,
    headers: Mapping[str, str],
    body: Sequence[bytes],
    *,
    tls: ssl.SSLContext | None,
    proxy: URL | None = None,
) -> Response | NoResponse:
    """Post *body*, in pieces, to *url*, once, and return what came back.

    *tls* is the verifying context of an https URL; a *proxy* only passes its TLS on.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            line = await _connected(url, tls, proxy)
    except NotConnectedError as error:
        return NoResponse(error.lost, str(error))
    except TimeoutError:
        return NoResponse(LostAt.CONNECT_TIMEOUT)
    with closing(line), _Watch(line) as watch:
        if tls is None:
            await watch.changed(within_s=UNASKED_S)
        return await _Exchange(line, watch, url, headers, body).outcome()


class NotConnectedError(Exception):
    """There is no connection, so nothing was sent."""

    def __init__(self, lost: LostAt, error: OSError | ValueError) -> None:
        super().__init__(_words(error))
        self.lost = lost


async def _connected(url: URL, tls: ssl.SSLContext | None, proxy: URL | None) -> socket.socket:
    to = proxy or url
    host, port = to.raw_host or "", to.port or 0
    try:
        found = await _addresses(host, port)
        raw = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=EYEBALLS_S)
    except (socket.gaierror, ValueError) as error:  # a name may also be none that can be looked for
        raise NotConnectedError(LostAt.DNS, error) from None
    except TimeoutError:
        raise
    except OSError as error:
        raise NotConnectedError(LostAt.UNREACHABLE if proxy is None else LostAt.PROXY, error) from None
    with ExitStack() as stack:
        stack.callback(raw.close)
        if proxy is not None:
            await _open_tunnel(raw, url, proxy)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # noqa: FBT003 socket's own signature
            line = raw if tls is None else await _encrypted(raw, tls, (url.raw_host or "").rstrip("."))
        except TimeoutError:
            raise
        except OSError as error:
            hung_up = not isinstance(error, ssl.SSLError) or isinstance(
                error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)
            )
            raise NotConnectedError(LostAt.UNREACHABLE if hung_up else LostAt.TLS, error) from None
        stack.pop_all()
    return line


async def _open_tunnel(raw: socket.socket, url: URL, proxy: URL) -> None:
    """Ask the proxy for a way to the service (RFC 9110 §9.3.6); nothing of the request is sent before there is one."""
    place = f"{url.host_subcomponent}:{url.port}"
    headers = [("Host", place)]
    if proxy.user is not None:
        word = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {word}"))
    http, loop = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES), asyncio.get_running_loop()
    try:
        await loop.sock_sendall(raw, http.send(h11.Request(method="CONNECT", target=place, headers=headers)) or b"")
        http.send(h11.EndOfMessage())
        while (event := http.next_event()) is h11.NEED_DATA or isinstance(event, h11.InformationalResponse):
            if event is h11.NEED_DATA:
                http.receive_data(await loop.sock_recv(raw, RECEIVE_BYTES))
    except h11.RemoteProtocolError as error:
        raise NotConnectedError(LostAt.PROXY, OSError(0, str(error))) from None
    except OSError as error:
        raise NotConnectedError(LostAt.PROXY, error) from None
    if not isinstance(event, h11.Response) or not 200 <= event.status_code < 300:
        status = f"HTTP {event.status_code}" if isinstance(event, h11.Response) else "no answer"
        raise NotConnectedError(LostAt.PROXY, OSError(0, status))


async def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    with suppress(socket.gaierror):  # an address needs no thread that looks for it
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _encrypted(raw: socket.socket, tls: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    line = tls.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    with ExitStack() as stack:
        stack.callback(line.close)
        watch = stack.enter_context(_Watch(line))
        while True:
            try:
                line.do_handshake()
            except ssl.SSLWantReadError:
                await watch.changed(within_s=CONNECT_TIMEOUT_S)
            except ssl.SSLWantWriteError:
                await watch.changed(or_takes_more=True, within_s=CONNECT_TIMEOUT_S)
            else:
                break
        watch.end()
        stack.pop_all()
    return line


class _Watch:
    """Hears from the system of one socket, for as long as the block lasts."""

    def __init__(self, line: socket.socket) -> None:
        self._loop, self._number = asyncio.get_running_loop(), line.fileno()
        self._waiting: asyncio.Future[None] | None = None

    async def changed(self, *, within_s: float, or_takes_more: bool = False) -> None:
        """Wait until bytes have arrived or the connection has ended, or it takes more, or the time is over."""
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(within_s, self._wake)
        if or_takes_more:
            self._loop.add_writer(self._number, self._wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None
            if or_takes_more:
                self._loop.remove_writer(self._number)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def end(self) -> None:
        """Hear no more."""
        self._loop.remove_reader(self._number)

    def __enter__(self) -> Self:
        self._loop.add_reader(self._number, self._wake)  # what is there already is told at each turn of the loop
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(
        self, line: socket.socket, watch: _Watch, url: URL, headers: Mapping[str, str], body: Sequence[bytes]
    ) -> None:
        self._line, self._watch = line, watch
        block = TLS_BLOCK if isinstance(line, ssl.SSLSocket) else PLAIN_BLOCK
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._unsent = _blocks(_request(self._http, url, headers, body), block)
        self._next = next(self._unsent, None)
        self._blocks_left = 0
        """How many the system has taken; the first one is the request's head."""
        self._body_begun = False
        """Whether any of the request's body may have left."""
        self._can_send = True
        self._wants_read = False
        """Whether TLS cannot send before something has arrived."""
        self._is_full = False
        """Whether the system takes no more just now."""
        self._has_more = False
        """Whether the last turn ended before everything was read."""
        self._head: h11.Response | None = None
        self._body = bytearray()
        self._interim = 0
        self._is_early = False
        """Whether the answer began before all of the request had left."""

    async def outcome(self) -> Response | NoResponse:
        """Send and read until there is an answer, or none can come."""
        clock = asyncio.get_running_loop().time
        whole_s = still_s = 0.0
        while True:
            had_head = self._head is not None
            if found := self._received():
                return found
            if self._sent() or had_head is not (self._head is not None):
                still_s = 0.0
            if whole_s >= CREATE_TIMEOUT_S or still_s >= self._patience_s():
                return self._given_up()
            if self._has_more or (self._is_sending and not self._is_full):
                await asyncio.sleep(0)  # others have their turn, and what has arrived meanwhile is read first
                continue
            began = clock()
            await self._watch.changed(within_s=LISTENED_S, or_takes_more=self._is_sending)
            waited_s = min(LISTENED_S, clock() - began)
            whole_s, still_s = whole_s + waited_s, still_s + waited_s

    def _patience_s(self) -> float:
        if not self._can_send:
            return BROKEN_S
        return CREATE_SILENCE_S if self._head is None else CREATE_BODY_S

    # ---- reading

    def _received(self) -> Response | NoResponse | None:
        """Read all that has arrived; return the outcome when it is known."""
        for _ in range(TURN_BYTES // RECEIVE_BYTES):
            try:
                data = self._line.recv(RECEIVE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._has_more = False
                return None
            except OSError as error:
                return self._broken(error)
            self._wants_read = False
            if data and not self._blocks_left:
                return NoResponse(LostAt.SPOKE_FIRST, data.decode("latin-1"))
            if found := self._understood(data):
                return found
        self._has_more = True
        return None

    def _understood(self, data: bytes) -> Response | NoResponse | None:
        """Read what has arrived, nothing at its end; return the outcome when it is known."""
        if not data and self._head is None:
            return self._broken(None)
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if found := self._after(event):
                    return found
        except h11.RemoteProtocolError as error:
            return self._answer(complete=False) if self._head else NoResponse(LostAt.GARBLED, str(error))
        if self._next is not None and self._http.trailing_data[0]:
            self._is_early = True  # its first bytes were there before all of the request had left
        return None

    def _after(self, event: object) -> Response | NoResponse | None:
        """Note what the answer brought; return the outcome when it is known."""
        match event:
            case h11.InformationalResponse():
                self._interim += 1
                if self._interim > INTERIM_MAX:
                    return NoResponse(LostAt.GARBLED, "interim answers without an end")
            case h11.Response():
                self._head = event
                self._is_early = self._is_early or self._next is not None
            case h11.Data():
                self._body += event.data
                if len(self._body) > ANSWER_MAX_BYTES:
                    return self._answer(complete=False)
            case h11.EndOfMessage():
                if self._http.trailing_data[0].strip():
                    self._is_early = True  # two answers to one request: nobody knows which of them is ours
                return self._answer(complete=True)
        return None

    # ---- sending

    def _sent(self) -> bool:
        """Hand the system as much as it takes, until an answer has begun; whether it took something."""
        sent, self._is_full = 0, False
        while self._is_sending and sent < TURN_BYTES:
            try:
                taken = self._line.send(self._next or b"")
            except BlockingIOError:
                self._is_full = True
                break
            except ssl.SSLWantWriteError:
                self._is_full = True
                self._body_begun = self._body_begun or self._blocks_left > 0  # a part of the record may have left
                break
            except ssl.SSLWantReadError:
                self._wants_read = True
                break
            except OSError:
                self._can_send = False  # what has arrived before is still read
                break
            self._took(taken)
            sent += taken
            if not self._body_begun:
                break  # the head alone: a connection that is closed already shows it before any of the body leaves
        return sent > 0

    @property
    def _is_sending(self) -> bool:
        return self._next is not None and self._can_send and self._head is None and not self._wants_read

    def _took(self, size: int) -> None:
        self._body_begun = self._blocks_left > 0
        if self._next is not None and size < len(self._next):
            self._next = self._next[size:]
        else:
            self._blocks_left += 1
            self._next = next(self._unsent, None)

    # ---- outcomes

    def _answer(self, *, complete: bool) -> Response:
        status, raw = (0, []) if self._head is None else (self._head.status_code, self._head.headers)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
        return Response(status, headers, bytes(self._body[:ANSWER_MAX_BYTES]), complete, asked=not self._is_early)

    def _broken(self, error: OSError | None) -> Response | NoResponse:
        """Return the outcome of a connection that ended before the answer did."""
        if self._head is not None:
            return self._answer(complete=False)
        nothing_read = not self._interim and not self._http.trailing_data[0]
        never_left = self._next is not None and not self._body_begun  # without a body, the head is all there is
        lost = LostAt.HUNG_UP if nothing_read and never_left else LostAt.RESET
        return NoResponse(lost, "" if error is None else _words(error))

    def _given_up(self) -> Response | NoResponse:
        if self._head is not None:
            return self._answer(complete=False)
        return self._broken(None) if not self._can_send else NoResponse(LostAt.SILENT)


def _request(http: h11.Connection, url: URL, headers: Mapping[str, str], body: Sequence[bytes]) -> list[bytes]:
    """Return the request in pieces: its head, then those of *body*, which are not copied."""
    fields = {
        "Host": url.host_port_subcomponent or "",
        **headers,
        "Connection": "close",
        "Content-Length": str(sum(map(len, body))),
    }
    head = http.send(h11.Request(method="POST", target=url.raw_path_qs, headers=list(fields.items())))
    for piece in body:
        http.send_with_data_passthrough(h11.Data(data=piece))
    http.send(h11.EndOfMessage())
    return [head or b"", *body]


def _blocks(pieces: Sequence[bytes], size: int) -> Iterator[memoryview]:
    """Yield the head as one block, and the rest in blocks of at most *size*."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), size):
            yield view[start : start + size]


def _words(error: BaseException) -> str:
    """Return the system's words for it, which hold nothing of the request."""
    return (getattr(error, "strerror", None) or "") if isinstance(error, OSError) else ""
