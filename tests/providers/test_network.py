"""Through a proxy, and to hosts that are not public: what leaves, who sees the key, and what a person is told."""

from __future__ import annotations

import asyncio
import gc
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from batchvid.domain.errors import ConfigError
from batchvid.domain.secrecy import AllowedHosts, ForbiddenAddressError
from batchvid.providers.base import Request, form
from batchvid.providers.http import Service, Transfer
from batchvid.providers.network import Network, check_proxy, unused_proxy
from batchvid.providers.response import LostAt, NoResponse, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

KEY = "sk-very/secret+0123456789"
API, FILES = "api.example.test", "files.example.test"
BODY = form([("prompt", "A kite.")], [("image/png", bytes(2_000_000))], path="/videos", boundary="b0undary")
CLIP = b"\x00\x00\x00\x18ftypisom" + bytes(100_000)

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""aiohttp 3.14 leaves its connection to a proxy that opens no way to the garbage collector."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Let that be told here, and not in another test."""
    yield
    gc.collect()


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class Proxy:
    """A proxy that opens a way to one server, whatever host it is asked for, and notes all that it can read."""

    target: int
    answer: bytes
    port: int = 0
    asked: list[str] = field(default_factory=list)
    read: bytearray = field(default_factory=bytearray)

    user: str = "me:pass%20word@"

    @property
    def url(self) -> str:
        """Its address, perhaps with a user of its own."""
        return f"http://{self.user}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Open one way, or refuse it."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.decode("latin-1"))
            self.read += head
            writer.write(self.answer)
            if self.answer is OPENED:
                other, there = await asyncio.open_connection("127.0.0.1", self.target)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass_on(reader, there))
                    group.create_task(self._pass_on(other, writer))
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(65536):
            self.read += block
            writer.write(block)
            await writer.drain()
        writer.close()


@dataclass
class World:
    """A service and its files behind a proxy, and what reached the server."""

    proxy: Proxy
    network: Network
    heads: list[str]

    def service(self) -> Service:
        """Return a client that uses the proxy."""
        return Service(f"https://{API}/v1", KEY, network=self.network)


def certified(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a certificate for both hosts, and the server's context with it."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext"
    names = f"subjectAltName=DNS:{API},DNS:{FILES}"
    subprocess.run(
        [*command.split(), names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return certificate, tls


@asynccontextmanager
async def world(folder: Path, *, answer: bytes = OPENED, user: str = "me:pass%20word@") -> AsyncIterator[World]:
    """Start a TLS server for both hosts, and a proxy before it."""
    certificate, tls = await asyncio.to_thread(certified, folder)
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        heads.append(head)
        length = next((int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line), 0)
        await reader.readexactly(length)
        body = CLIP if FILES in head else b'{"id": "task_1", "status": "queued"}'
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    proxy = Proxy(server.sockets[0].getsockname()[1], answer, user=user)
    before = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = before.sockets[0].getsockname()[1]
    async with server, before:
        yield World(proxy, Network(str(certificate), proxies={"https": proxy.url, "http": proxy.url}), heads)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)  # the servers' connections end when the client's have


@needs_openssl
@pytest.mark.parametrize("user", ["", "me:pass%20word@"], ids=["no user", "a user"])
def test_create_poll_and_clip_go_through_the_proxy_and_it_reads_nothing(tmp_path: Path, user: str) -> None:
    """TLS ends at the service: the proxy sees names and its own password, and neither key nor prompt."""

    async def main() -> None:
        async with world(tmp_path, user=user) as it, it.service() as service:
            created = await service.post(BODY)
            assert isinstance(created, Response), created
            assert created.json()["id"] == "task_1"
            assert isinstance(await service.get(Request("GET", "/videos/task_1")), Response)
            async with service.fetch(f"https://{FILES}/kite.mp4", {}) as transfer:
                assert isinstance(transfer, Transfer), transfer
                blocks = [block async for block in _blocks(transfer)]
            assert b"".join(blocks) == CLIP
            assert [head.split()[1] for head in it.proxy.asked] == [f"{API}:443", f"{API}:443", f"{FILES}:443"]
            assert all(("Basic bWU6cGFzcyB3b3Jk" in head) is bool(user) for head in it.proxy.asked)
            assert not any("Bearer" in head for head in it.proxy.asked)
            assert KEY.encode() not in it.proxy.read
            assert b"kite" not in it.proxy.read
            assert [KEY in head for head in it.heads] == [True, True, False]
            assert not any("bWU6cGFzcyB3b3Jk" in head for head in it.heads)

    asyncio.run(main())


async def _blocks(transfer: Transfer) -> AsyncIterator[bytes]:
    while block := await transfer.read_block():
        assert not isinstance(block, NoResponse)
        yield block


@needs_openssl
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
    ids=["407", "502", "403", "no proxy"],
)
def test_a_proxy_that_opens_no_way_means_that_nothing_was_sent(tmp_path: Path, answer: bytes) -> None:
    """The paid request may be sent again: no byte of it has left."""

    async def main() -> None:
        async with world(tmp_path, answer=answer) as it, it.service() as service:
            for result in (await service.post(BODY), await service.get(Request("GET", "/videos/task_1"))):
                assert isinstance(result, NoResponse), result
                assert result.lost.before_sending or result.lost is LostAt.GARBLED
                assert "pass" not in str(result)
            assert (await service.post(BODY)) == NoResponse(LostAt.PROXY, _word(await service.post(BODY)))
            assert it.heads == []
            assert b"kite" not in it.proxy.read

    asyncio.run(main())


def _word(result: Response | NoResponse) -> str:
    assert isinstance(result, NoResponse)
    return result.detail


def test_a_proxy_that_is_not_there_means_that_nothing_was_sent() -> None:
    """Its port is closed."""

    async def main() -> Response | NoResponse:
        async with Service(f"https://{API}/v1", KEY, network=Network(proxies={"https": "127.0.0.1:9"})) as service:
            return await service.post(BODY)

    result = asyncio.run(main())
    assert isinstance(result, NoResponse)
    assert (result.lost, result.lost.before_sending) == (LostAt.PROXY, True)


PROXIES = {"https": "http://proxy.example:3128", "http": "http://proxy.example:3128", "no": ".inside.example,10.0.0.9"}


@pytest.mark.parametrize(
    ("url", "is_used"),
    [
        ("https://api.example.com/v1", True),
        ("https://gateway.inside.example/v1", False),
        ("https://10.0.0.9/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("https://[::1]/v1", False),
    ],
)
def test_the_environments_exceptions_hold_and_this_machine_is_asked_directly(url: str, *, is_used: bool) -> None:
    """``NO_PROXY`` as curl reads it; a sandbox is never behind a proxy."""
    assert (Network(proxies=PROXIES).proxy_for(URL(url)) is not None) is is_used
    told = unused_proxy(PROXIES, url)
    assert (told is not None) is is_used
    assert told is None or ("HTTPS_PROXY" in told and "proxy: env" in told)


@pytest.mark.parametrize(
    ("proxies", "base_url", "words"),
    [
        (PROXIES, "http://gateway.example.com/v1", "could read the key"),
        ({"all": "socks5h://127.0.0.1:1080"}, "https://api.example.com/v1", "socks5h proxy"),
        ({"https": "https://proxy.example"}, "https://api.example.com/v1", "https proxy"),
        ({"https": "http://proxy.example:99999"}, "https://api.example.com/v1", "no address"),
        ({"https": "proxy.example:abc"}, "https://api.example.com/v1", "no address"),
        ({"all": "http://:3128"}, "https://api.example.com/v1", "no address"),
    ],
)
def test_a_proxy_that_would_read_the_key_or_cannot_be_used_is_refused(
    proxies: dict[str, str], base_url: str, words: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=words):
        check_proxy(proxies, base_url)
    check_proxy(PROXIES, "https://api.example.com/v1")
    check_proxy(PROXIES, "http://127.0.0.1:8000/v1")


@pytest.mark.parametrize("url", ["https://10.0.0.1/x.mp4", "http://192.168.1.2:8000/x.mp4", "https://[fd00::1]/x.mp4"])
def test_a_proxy_is_not_asked_for_private_addresses(url: str) -> None:
    """It might have a way to them; what a person has named is asked for."""
    proxied = Service("https://api.example.com/v1", KEY, network=Network(proxies=PROXIES))
    with pytest.raises(ForbiddenAddressError, match="clip_hosts"):
        proxied._may_be_anywhere(URL(url), redirected=False)
    allowed = Network(proxies=PROXIES, clip_hosts=AllowedHosts.of(["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"]))
    assert Service("https://api.example.com/v1", KEY, network=allowed)._may_be_anywhere(URL(url), redirected=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.mp4", "https://[::1]/x", "http://localhost/x"])
def test_this_machine_is_no_place_for_a_clip_behind_a_proxy(url: str) -> None:
    """It is asked directly, and there the check of its address refuses it."""
    proxied = Service("https://api.example.com/v1", KEY, network=Network(proxies=PROXIES))
    assert not proxied._may_be_anywhere(URL(url), redirected=False)


@pytest.mark.parametrize(
    ("base_url", "clip_hosts", "url", "is_free"),
    [
        ("http://10.0.0.5:8000/v1", [], "http://10.0.0.5:9000/x.mp4", True),
        ("https://Gateway.inside/v1", [], "https://gateway.INSIDE/x.mp4", True),
        ("https://api.example.com/v1", [], "https://cdn.example.com/x.mp4", False),
        ("https://api.example.com/v1", ["cdn.example.com"], "https://cdn.example.com/x.mp4", True),
        ("https://api.example.com/v1", ["*.example.com"], "https://a.b.example.com/x.mp4", True),
        ("https://api.example.com/v1", ["*.example.com"], "https://example.com.evil.test/x.mp4", False),
        ("https://api.example.com/v1", ["example.com"], "https://evilexample.com/x.mp4", False),
    ],
)
def test_clips_may_be_at_the_services_own_host_and_where_a_person_says(
    base_url: str, clip_hosts: list[str], url: str, *, is_free: bool
) -> None:
    """Elsewhere the address is checked when it is known."""
    service = Service(base_url, KEY, network=Network(clip_hosts=AllowedHosts.of(clip_hosts)))
    assert service._may_be_anywhere(URL(url), redirected=False) is is_free


@pytest.mark.parametrize(("networks", "is_reached"), [([], False), (["127.0.0.0/8"], True), (["198.18.0.0/15"], False)])
def test_a_network_that_a_person_names_is_reached(networks: list[str], *, is_reached: bool) -> None:
    """And the reason says what to write, where it is not."""

    async def main() -> bytes | str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nclip")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x.mp4"
        network = Network(clip_hosts=AllowedHosts.of(networks))
        async with server, Service("https://api.example.com/v1", KEY, network=network) as service:
            try:
                async with service.fetch(url, {}) as transfer:
                    assert isinstance(transfer, Transfer)
                    block = await transfer.read_block()
                    assert isinstance(block, bytes)
                    return block
            except ForbiddenAddressError as error:
                return str(error)

    found = asyncio.run(main())
    if is_reached:
        assert found == b"clip"
    else:
        assert "127.0.0.1, which is not a public address" in str(found)
        assert "clip_hosts: [127.0.0.1]" in str(found)


@pytest.mark.parametrize(
    "text", ["", "http://cdn.example.com", "cdn.example.com/x", "a b", "*.", "10.0.0.300", "1.2.3", "*"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    """With an example of what to write."""
    with pytest.raises(ValueError, match=r"cdn\.example\.com"):
        AllowedHosts.of([text])
