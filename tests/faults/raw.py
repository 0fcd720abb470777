"""A server that answers with whatever bytes a case likes, one connection a thread, on the loopback."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator


@dataclass(slots=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: socket.socket = field(repr=False)


@dataclass(slots=True)
class Raw:
    """A running raw server."""

    url: str
    """Its root, without a slash at the end."""
    requests: list[Request]


@contextmanager
def serving(
    answer: Callable[[Request], bytes | None],
    *,
    read_body: bool = True,
    tls: ssl.SSLContext | None = None,
    address: tuple[str, int] = ("127.0.0.1", 0),
) -> Iterator[Raw]:
    """Serve until the block ends. *answer* gives the raw bytes of the answer, after which the connection is closed.

    ``None`` means that *answer* has dealt with ``request.connection`` itself. With *tls*, it speaks HTTPS.
    """
    listener = socket.create_server(address)
    raw = Raw(f"http{'s' if tls else ''}://{address[0]}:{listener.getsockname()[1]}", [])

    def serve(accepted: socket.socket) -> None:
        with (
            suppress(OSError, ValueError),
            tls.wrap_socket(accepted, server_side=True) if tls else accepted as connection,
        ):
            request = _read(connection, read_body=read_body)
            if request is None:
                return
            raw.requests.append(request)
            data = answer(request)
            if data is not None:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(5)
                while connection.recv(65536):
                    pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield raw
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _read(connection: socket.socket, *, read_body: bool) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        block = connection.recv(65536)
        if not block:
            return None
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    request = Request(method, path, headers, body, connection)
    if read_body:
        read_rest(request)
    return request


def read_rest(request: Request) -> None:
    """Read what is left of the body."""
    length = int(request.headers.get("content-length", "0"))
    while len(request.body) < length:
        block = request.connection.recv(65536)
        if not block:
            break
        request.body += block


def reset(request: Request) -> None:
    """Close the connection with a TCP reset."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of an answer; underscores in header names become hyphens, a length is added unless named."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if not {"content-length", "transfer-encoding"} & {name.lower() for name in named}:
        named["Content-Length"] = str(len(body))
    named.setdefault("Connection", "close")
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def relayed(request: Request, api: str) -> bytes:
    """Pass a request on to the server of *api*, and give its answer as raw bytes."""
    server = HTTPConnection(urlsplit(api).netloc, timeout=30)
    try:
        server.putrequest(request.method, request.path, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name not in {"host", "connection"}:
                server.putheader(name, value)
        server.endheaders(request.body)
        answer = server.getresponse()
        headers = {
            name.replace("-", "_"): value
            for name, value in answer.getheaders()
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}
        }
        return http(f"{answer.status} {answer.reason}", answer.read(), **headers)
    finally:
        server.close()
