"""The service edge against real sockets: what is certain about a lost request, and what an answer may not do to us."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.task import Fault, FaultKind
from batchvid.providers import http as edge
from batchvid.providers import paid_post
from batchvid.providers.base import form
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.http import Service
from batchvid.providers.network import Network
from batchvid.providers.response import ANSWER_MAX_BYTES, LostAt, NoResponse, Response
from tests.providers.raw import RawServer, Say, http

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

KEY = "sk-very-secret"
BODY = form([("prompt", "A kite.")], [("image/png", bytes(70_000))], path="/videos", boundary="b0undary")
CREATED = http(200, b'{"id": "task_1", "status": "queued"}')


def ask(base_url: str, do: Callable[[Service], Awaitable[Any]]) -> Any:
    """Do something with a service at *base_url*."""

    async def main() -> Any:
        async with Service(base_url, KEY) as service:
            return await do(service)

    return asyncio.run(main())


def post(base_url: str) -> Response | NoResponse:
    """Send one create."""
    result: Response | NoResponse = ask(base_url, lambda service: service.post(BODY))
    return result


def talk(*answers: Say, posts: int = 1, gets: int = 0, key: str = KEY) -> tuple[list[Response | NoResponse], RawServer]:
    """Send so many creates and polls over one session; give what came back and the server."""

    async def main() -> tuple[list[Response | NoResponse], RawServer]:
        async with RawServer(list(answers)) as server, Service(f"{server.url}/v1", key) as service:
            found: list[Response | NoResponse] = [await service.post(BODY) for _ in range(posts)]
            found += [await service.get(CometAPI().poll("task_1")) for _ in range(gets)]
        return found, server

    return asyncio.run(main())


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def test_a_create_goes_out_whole_with_the_key_and_comes_back_as_an_answer() -> None:
    """One request, with its length, the form and both contracts' header; nothing is asked to be packed."""
    (answer,), server = talk(Say(CREATED))
    (received,) = server.received
    assert isinstance(answer, Response)
    assert (answer.status, answer.complete) == (200, True)
    assert received.raw.endswith(b"".join(BODY.body))
    assert (received.method, received.target) == ("POST", "/v1/videos")
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["content-type"] == BODY.headers["Content-Type"]
    assert received.headers["accept-encoding"] == "identity"
    assert "cookie" not in received.headers


def test_without_a_key_none_is_sent_and_answers_stay_as_they_are() -> None:
    """To a server of one's own that wants none: not even the name of the header."""
    (created, polled), server = talk(Say(CREATED), Say(CREATED), gets=1, key="")
    assert [request.method for request in server.received] == ["POST", "GET"]
    assert not any("authorization" in request.headers for request in server.received)
    assert isinstance(created, Response)
    assert isinstance(polled, Response)
    assert created.body == polled.body != b""


# ---- nothing was sent


def certainly_not_sent(result: Response | NoResponse, lost: LostAt) -> None:
    """Check that it is known that nothing left, that the key is not told, and that a create is not in doubt."""
    assert isinstance(result, NoResponse), result
    assert result.lost is lost, result
    assert result.lost.before_sending
    assert KEY not in repr(result)
    fault = CometAPI().read_create(result, now=0.0)
    assert isinstance(fault, Fault)
    assert fault.kind is (FaultKind.MISCONFIGURED if lost is LostAt.TLS else FaultKind.UNAVAILABLE)


def test_a_refused_connection_is_known_to_be_nothing_sent() -> None:
    """Nobody listens."""
    certainly_not_sent(post(f"http://127.0.0.1:{closed_port()}/v1"), LostAt.UNREACHABLE)


def test_a_name_that_does_not_exist_is_known_to_be_nothing_sent() -> None:
    """RFC 6761: ``.invalid`` never resolves."""
    certainly_not_sent(post("http://no-such-host.invalid/v1"), LostAt.DNS)


def test_a_server_that_does_not_accept_is_known_to_be_nothing_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is not taken in time: the queue of the port is full."""
    monkeypatch.setattr(paid_post, "CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)  # noqa: FBT003 socket's own signature
            one.connect_ex(address)
        try:
            result = post(f"http://127.0.0.1:{address[1]}/v1")
        finally:
            for one in waiting:
                one.close()
    certainly_not_sent(result, LostAt.CONNECT_TIMEOUT)


def test_a_server_that_speaks_no_tls_is_known_to_be_nothing_sent() -> None:
    """Https to a plain port: the handshake fails, and no byte of the request is in it."""

    async def main() -> tuple[Any, bytes]:
        heard: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read(4096))
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Service(f"https://127.0.0.1:{port}/v1", KEY) as service:
            return await service.post(BODY), b"".join(heard)

    result, heard = asyncio.run(main())
    certainly_not_sent(result, LostAt.TLS)
    assert b"kite" not in heard
    assert KEY.encode() not in heard


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize("name", ["127.0.0.1", "elsewhere.example"])
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, name: str) -> None:
    """Self-signed: nothing is sent. With the CA named, only the right host's certificate is accepted."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    kind = "IP" if name[0].isdigit() else "DNS"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [*command.split(), "-addext", f"subjectAltName={kind}:{name}", *files], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def main() -> tuple[Any, Any, int]:
        async with RawServer([Say(CREATED)], tls=context) as server:
            async with Service(f"{server.url}/v1", KEY) as service:
                distrusted = await service.post(BODY)
            sent = len(server.received)
            async with Service(f"{server.url}/v1", KEY, network=Network(str(certificate))) as service:
                return distrusted, await service.post(BODY), sent

    distrusted, trusted, sent = asyncio.run(main())
    certainly_not_sent(distrusted, LostAt.TLS)
    assert sent == 0
    if name == "127.0.0.1":
        assert isinstance(trusted, Response)
    else:
        certainly_not_sent(trusted, LostAt.TLS)


# ---- something was sent


DOUBTFUL = {
    "closed without a word": Say(),
    "reset": Say(then="reset"),
    "half a status line": Say(b"HTTP/1.1 20"),
    "half a header": Say(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "another protocol": Say(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "a header of a megabyte": Say(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"),
    "a hundred thousand headers": Say(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n"),
    "a header with NUL": Say(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
    "a status of five digits": Say(b"HTTP/1.1 99999 Odd\r\nContent-Length: 2\r\n\r\n{}"),
    "a negative length": Say(http(200, b"{}", length="-2")),
    "two lengths": Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
    "broken chunks": Say(http(200, b"zz\r\nhello", {"Transfer-Encoding": "chunked"}, length="")),
    "a cut body": Say(http(200, b'{"id": "task', length="400")),
    "an HTML page": Say(http(200, b"<html>")),
    "bytes that are no text": Say(http(200, b"\xff\xfe\x00{")),
    "deep JSON": Say(http(200, b"[" * 200_000)),
    "a gateway's time-out": Say(http(504, b'{"error": {"message": "timeout"}}')),
    "a fake gzip": Say(http(200, b"not packed", {"Content-Encoding": "gzip"})),
    "an informational answer and no more": Say(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a switch of protocols": Say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
}


@pytest.mark.parametrize("say", DOUBTFUL.values(), ids=DOUBTFUL)
def test_whatever_comes_back_is_a_value_and_a_create_is_in_doubt(say: Say) -> None:
    """No answer raises; after the request was sent nothing but a clear answer settles what became of it."""
    (created, polled), server = talk(say, gets=1)
    fault = CometAPI().read_create(created, now=0.0)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSURE, fault
    assert fault.reason.isprintable()
    assert KEY not in repr(created)
    assert isinstance(CometAPI().read_poll(polled, task_id="task_1", now=0.0), Fault)
    assert [request.method for request in server.received].count("POST") == 1


def test_a_server_that_says_nothing_leaves_a_create_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence after the request: given up in time, in doubt."""
    monkeypatch.setattr(paid_post, "CREATE_SILENCE_S", 0.2)
    (result,), server = talk(Say(then="hang"))
    assert isinstance(result, NoResponse)
    assert (result.lost, result.lost.before_sending) == (LostAt.SILENT, False)
    assert len(server.received) == 1


def test_a_server_that_says_a_byte_a_second_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trickle keeps the silence from being noticed, but not the bound on the whole."""
    monkeypatch.setattr(edge, "READ_TIMEOUT_S", 0.3)
    (result,), _ = talk(Say(slowly=http(200, b"{}" * 200), trickle_s=0.01), posts=0, gets=1)
    assert isinstance(result, NoResponse)


def test_an_upload_that_is_cut_off_is_in_doubt() -> None:
    """The server goes away while the body is still on its way."""

    async def main() -> Any:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.transport.abort()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        large = form([("prompt", "x")], [("image/png", bytes(30_000_000))], path="/videos", boundary="b")
        async with server, Service(f"http://127.0.0.1:{port}/v1", KEY) as service:
            return await service.post(large)

    fault = CometAPI().read_create(asyncio.run(main()), now=0.0)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSURE


# ---- bounds


def test_a_large_body_is_read_no_further_than_the_cap() -> None:
    """10 MB in place of a task: bounded, marked as not complete, and the connection is not used again."""
    (result, again), server = talk(Say(http(200, b" " * 10_000_000), then="keep"), Say(CREATED), posts=2)
    assert isinstance(result, Response)
    assert not result.complete
    assert len(result.body) <= ANSWER_MAX_BYTES
    assert result.json() is None
    assert isinstance(again, Response)
    assert again.complete
    assert server.connections == 2


def test_a_gzip_bomb_is_unpacked_no_further_than_the_cap() -> None:
    """A hundred megabytes in a hundred kilobytes."""
    bomb = gzip.compress(bytes(100_000_000), 1)
    (result,), _ = talk(Say(http(200, bomb, {"Content-Encoding": "gzip"})))
    assert isinstance(result, Response)
    assert not result.complete
    assert len(result.body) <= ANSWER_MAX_BYTES


def test_a_packed_answer_is_understood() -> None:
    """A gateway that packs without being asked loses nobody a task id."""
    packed = gzip.compress(b'{"id": "task_1", "status": "queued"}')
    (result,), _ = talk(Say(http(200, packed, {"Content-Encoding": "gzip"})))
    created = CometAPI().read_create(result, now=0.0)
    assert not isinstance(created, Fault)
    assert created.task_id == "task_1"


# ---- once


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_of_api_calls_are_not_followed(status: int) -> None:
    """Neither the paid request nor the key goes where an answer points."""

    async def main() -> tuple[Any, Any, RawServer]:
        async with RawServer([Say(CREATED)]) as elsewhere:
            answer = Say(http(status, b"", {"Location": f"{elsewhere.url}/v1/videos"}))
            async with RawServer([answer]) as server, Service(f"{server.url}/v1", KEY) as service:
                return await service.post(BODY), await service.get(CometAPI().poll("task_1")), elsewhere

    created, polled, elsewhere = asyncio.run(main())
    assert (created.status, polled.status) == (status, status)
    assert elsewhere.connections == 0


def test_every_create_has_a_connection_of_its_own() -> None:
    """Also where the server would keep the last one open: nothing that is left in it can answer the next create."""
    results, server = talk(*[Say(CREATED, then="keep")] * 3, posts=3)
    assert all(isinstance(result, Response) and result.asked for result in results)
    assert (len(server.received), server.connections) == (3, 3)
    assert all(request.headers["connection"] == "close" for request in server.received)


@pytest.mark.parametrize("then", ["close", "reset", "keep"])
def test_an_answer_is_read_however_its_connection_ends(then: str) -> None:
    """No create is in doubt because of what becomes of the connection of the last one."""
    results, server = talk(*[Say(CREATED, then=then)] * 6, posts=6)
    assert all(isinstance(result, Response) and result.complete for result in results)
    assert len(server.received) == 6


def test_a_create_that_is_not_answered_is_not_sent_again() -> None:
    """The server closes without a word: it was sent once, and is in doubt."""
    (result,), server = talk(Say(), Say(CREATED))
    assert isinstance(result, NoResponse)
    assert not result.lost.before_sending
    assert len(server.received) == 1


def test_a_poll_is_free_to_be_repeated() -> None:
    """For a request that costs nothing, a connection found closed is no event."""
    (first, second), _ = talk(Say(CREATED, then="keep"), Say(), Say(CREATED), posts=0, gets=2)
    assert isinstance(first, Response)
    assert isinstance(second, Response)
