"""The review page's server as a process of its own, and a client that sends just what it is told to."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.report.browser import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

WAITS_S = 30


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what it holds."""
        return json.loads(self.body)


@dataclass
class Served:
    """A server that is running, and one who has its token."""

    process: subprocess.Popen[str]
    url: str
    port: int
    cookie: str = field(default="", repr=False)

    @property
    def token(self) -> str:
        """Return what the printed address holds."""
        return parse_qs(urlsplit(self.url).query)["token"][0]

    @property
    def origin(self) -> str:
        """Return what the page's own requests name as their origin."""
        return f"http://127.0.0.1:{self.port}"

    def enter(self) -> Answer:
        """Open the printed address, and keep the cookie."""
        found = self.send("GET", f"/?token={self.token}", {})
        self.cookie = found.headers["Set-Cookie"].partition(";")[0]
        return found

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request with these headers only, besides Host where none is given, and the length of the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAITS_S)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask as the page does."""
        return self.send("GET", path, {"Cookie": self.cookie, "Sec-Fetch-Site": "same-origin", **(headers or {})})

    def post(self, body: object, headers: Mapping[str, str] | None = None, *, path: str = "/decide") -> Answer:
        """Send a change as the page does."""
        own = {
            "Cookie": self.cookie,
            "Origin": self.origin,
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json",
        }
        written = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, {**own, **(headers or {})}, written)

    def rows(self, after: int = 0) -> Any:
        """Return what the page is told."""
        return self.get(f"/rows?after={after}").json()

    def decide(self, job: str, fields: Mapping[str, Any], *, attempt: int = 1, **more: Any) -> Answer:
        """Decide about a clip of the first manifest."""
        return self.post({"board": 0, "job": job, "attempt": attempt, "set": dict(fields), **more})

    def end(self, number: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAITS_S)


@contextmanager
def reviewing(*arguments: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Serve the review page of these manifests as long as the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batchvid", "review", "--no-open", *map(str, arguments), "--json"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.stderr.read())
        told = json.loads(line)
        served = Served(process, told["url"], told["port"])
        served.enter()
        yield served
        if process.poll() is None:
            served.end()
        complaints = re.sub(r"warning: .*\n", "", process.stderr.read())
        assert "Traceback" not in complaints, complaints
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
