"""A small load generator: many raw connections that each send one request after the other, and count the answers."""

from __future__ import annotations

import argparse
import asyncio
import time

from tests.benchmarks.server import KEY

FORM = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nA kite\r\n--b\r\nContent-Disposition: form-data; '
FORM += b'name="model"\r\n\r\nveo3-fast\r\n--b--\r\n'
HEAD = f"%s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n"
REQUESTS = {
    "create": HEAD % "POST /v1/videos"
    + f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(FORM)}",
    "file": HEAD % "GET /file/x" + "Accept: */*",
}


class Connection(asyncio.Protocol):
    """Sends the request again as soon as its answer is complete."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._missing = 0
        self._transport: asyncio.WriteTransport
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first one."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of the answer."""
        if not self._missing:
            head, _, rest = data.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode("latin-1"))
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            self._missing = int(length.split(b":")[1]) - len(rest)
        else:
            self._missing -= len(data)
        if not self._missing:
            self.answers += 1
            self._transport.write(self._request)


async def load(options: argparse.Namespace) -> float:
    """Return the answers a second."""
    body = FORM if options.kind == "create" else b""
    request = REQUESTS[options.kind].encode() + b"\r\n\r\n" + body
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(request), "127.0.0.1", options.port)
        for _ in range(options.connections)
    ]
    before, started = sum(one.answers for _, one in made), time.monotonic()
    await asyncio.sleep(options.seconds)
    answers = sum(one.answers for _, one in made) - before
    return answers / (time.monotonic() - started)


def main() -> None:
    """Load a server, and print its answers a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=REQUESTS)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    print(asyncio.run(load(parser.parse_args())))  # noqa: T201 what it is for


if __name__ == "__main__":
    main()
