"""What stands between a client and the service, played by rules over real sockets: slow, early and lying answers."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from batchvid.providers.base import form
from batchvid.sandbox.process import Options, running
from tests.sandbox.test_server import Client, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk-test"


@contextmanager
def misbehaving(folder: Path, *rules: dict[str, Any]) -> Iterator[Client]:
    """Run a sandbox with these rules."""
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(list(rules)), encoding="utf-8")
    with running(Options(speed=5000.0, key=KEY, clip="tiny", faults_path=path)) as (base, key):
        yield Client(base, key)


def begun(client: Client, text: str) -> socket.socket:
    """Send the beginning of a request over a connection of its own."""
    where = urlsplit(client.base)
    connection = socket.create_connection((where.hostname or "", where.port or 0), timeout=20)
    connection.sendall(text.encode())
    return connection


def polling(client: Client, task_id: str) -> socket.socket:
    """Send a poll."""
    return begun(client, f"GET /v1/videos/{task_id} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.auth}\r\n\r\n")


def pieces(connection: socket.socket, *, most: int = 10**6) -> list[bytes]:
    """Read what comes, piece by piece, until the end or *most* bytes."""
    found: list[bytes] = []
    while sum(map(len, found)) < most and (piece := connection.recv(65536)):
        found.append(piece)
    return found


def test_a_head_a_body_and_interim_answers_can_dribble(tmp_path: Path) -> None:
    """The head comes byte by byte and then the body whole; or the other way round; or 102 again and again."""
    slow = {"bytes_per_s": 200}
    with misbehaving(
        tmp_path,
        {"on": "poll", "nth": 1, "dribble": "head", **slow},
        {"on": "poll", "nth": 2, "status": 503, "body": {"message": "m" * 100}, "dribble": "body", **slow},
        {"on": "poll", "nth": 3, "dribble": "1xx", "bytes_per_s": 1000},
    ) as client:
        _, made = client.create("A kite.")
        before = time.monotonic()
        with closing(polling(client, made["id"])) as connection:
            head = pieces(connection)
        assert time.monotonic() - before >= len(b"".join(head).partition(b"{")[0]) / 200 * 0.8
        assert len(head) >= 5
        assert json.loads(b"".join(head).partition(b"\r\n\r\n")[2])["id"] == made["id"]
        with closing(polling(client, made["id"])) as connection:
            body = pieces(connection)
        assert body[0].startswith(b"HTTP/1.1 503 ")
        assert len(body) >= 3
        assert b"".join(body).endswith(b'"}')
        with closing(polling(client, made["id"])) as connection:
            interim = b"".join(pieces(connection, most=120))
        assert interim.count(b"HTTP/1.1 102 Processing\r\n\r\n") >= 3
        assert b" 200 " not in interim
        assert client.poll(made["id"])["id"] == made["id"]


def test_a_create_can_be_answered_before_its_body_has_come(tmp_path: Path) -> None:
    """The answer is there while most of the upload is still to be sent, and the connection ends behind it: unbilled."""
    error = {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}
    rule = {"on": "create", "early": True, "scope": "call", "nth": 1, "status": 429, "body": error}
    with misbehaving(tmp_path, rule) as client:
        head = "POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        with closing(begun(client, f"{head}Content-Length: 8000000\r\n\r\n--b\r\n")) as connection:
            answer = b"".join(pieces(connection))
        assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == error
        assert client.create("A kite.")[0] == 200
        ledger = client.ledger()
        assert (len(ledger["creates"]), ledger["requests"]["create"]) == (1, 2)


def test_a_gateway_can_lie_over_a_create_that_is_billed(tmp_path: Path) -> None:
    """An error page with its own headers, and a create told by its place alone; the ledger is the truth."""
    page = {"message": "An invalid response was received from the upstream server"}
    with misbehaving(
        tmp_path,
        {
            "on": "create",
            "prompt": "A kite.",
            "nth": 1,
            "status": 502,
            "body": page,
            "headers": {"Server": "kong"},
            "effect": True,
        },
        {
            "on": "create",
            "prompt": "A kite.",
            "nth": 2,
            "status": 201,
            "headers": {"Location": "/v1/videos/{id}"},
            "effect": True,
        },
        {"on": "create", "model": "veo3", "status": 404, "body": {"error": {"code": "x", "message": "no such model"}}},
    ) as client:
        asked = form([("prompt", "A kite."), ("model", "veo3-fast")], [], path="/videos", boundary="b")
        lied, told = (
            ask(
                f"{client.base}/videos",
                data=b"".join(asked.body),
                authorization=client.auth,
                content_type=asked.headers["Content-Type"],
            )
            for _ in range(2)
        )
        first, second = (line["task_id"] for line in client.ledger()["creates"])
        assert (lied[0], json.loads(lied[2]), lied[1]["server"]) == (502, page, "kong")
        assert (told[0], told[2], told[1]["location"]) == (201, b"", f"/v1/videos/{second}")
        assert client.create("A gull.", model="veo3")[0] == 404
        assert client.finished(first)["status"] == "completed"
        assert client.ledger()["by_prompt"] == {"A kite.": 2}
