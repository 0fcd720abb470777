"""The sandbox over real sockets: a child with two ports, which follows its rules and ends with its parent."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from batchvid.domain.errors import ConfigError
from batchvid.providers.base import form
from batchvid.sandbox.process import Options, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from tests.sandbox.conftest import Picture

FAST = 5000.0
"""At this speed the longest generation takes 0.07 s."""
PATIENCE_S = 20.0


def ask(url: str, *, data: bytes | None = None, **headers: str) -> tuple[int, Message, bytes]:
    """Send a request, and give status, headers and body, whatever the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, headers=named)  # noqa: S310 our own server
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 the same
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read()


class Client:
    """A plain client of a sandbox."""

    def __init__(self, base: str, key: str) -> None:
        self.base = base
        self.auth = f"Bearer {key}"

    def create(self, prompt: str, *frames: bytes, model: str = "veo3-fast") -> tuple[int, Any]:
        """Send a create; give status and decoded answer."""
        body = form(
            [("prompt", prompt), ("model", model)], [("image/png", one) for one in frames], path="/videos", boundary="b"
        )
        status, _, answer = ask(
            f"{self.base}/videos",
            data=b"".join(body.body),
            authorization=self.auth,
            content_type=body.headers["Content-Type"],
        )
        return status, json.loads(answer)

    def poll(self, task_id: str) -> Any:
        """Poll once."""
        return json.loads(ask(f"{self.base}/videos/{task_id}", authorization=self.auth)[2])

    def finished(self, task_id: str) -> Any:
        """Poll until the task has ended."""
        until = time.monotonic() + PATIENCE_S
        while (answer := self.poll(task_id))["status"] in {"queued", "in_progress"}:
            assert time.monotonic() < until
        return answer

    def ledger(self) -> Any:
        """Read the ledger."""
        return json.loads(ask(self.base.removesuffix("/v1") + "/_sandbox/ledger")[2])


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return a client of one sandbox that the tests without rules share."""
    with running(Options(speed=FAST, key="sk-test", clip="tiny")) as (base, key):
        yield Client(base, key)


def test_a_create_becomes_a_clip_at_another_host(client: Client) -> None:
    """The whole way over sockets: create, poll, fetch without the key, in parts, and through /content."""
    status, created = client.create("A kite.")
    assert status == 200
    url = client.finished(created["id"])["video_url"]
    assert urlsplit(url).port != urlsplit(client.base).port
    status, headers, clip = ask(url)
    assert (status, clip[4:8], headers["Content-Type"]) == (200, b"ftyp", "video/mp4")
    status, headers, rest = ask(url, range="bytes=100-", if_range=headers["ETag"])
    assert (status, rest, headers["Content-Range"]) == (206, clip[100:], f"bytes 100-{len(clip) - 1}/{len(clip)}")
    assert ask(url, range=f"bytes={len(clip)}-")[0] == 416
    assert ask(f"{client.base}/videos/{created['id']}/content", authorization=client.auth)[2] == clip


def test_the_ledger_is_served(client: Client, picture: Picture) -> None:
    """A double payment is visible to whoever looks."""
    for _ in range(2):
        client.create("Twice.", picture("red"), picture("blue"))
    ledger = client.ledger()
    assert ledger["by_prompt"]["Twice."] == 2
    assert len([line for line in ledger["creates"] if len(line["frames"]) == 2]) == 2


def test_the_key_at_the_file_host_is_a_violation(client: Client) -> None:
    """It is refused there, and the ledger tells."""
    url = client.finished(client.create("Leak.")[1]["id"])["video_url"]
    assert ask(url, authorization=client.auth)[0] == 403
    assert client.ledger()["violations"][-1]["what"] == "key leaked to the file host"


def test_a_wrong_key_is_refused(client: Client) -> None:
    """The child uses the key of its options."""
    assert Client(client.base, "sk-other").create("A kite.")[0] == 401


def test_a_connection_is_kept_for_the_next_request(client: Client) -> None:
    """Polls of a large run must not open a connection each."""
    parts = urlsplit(client.base)
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_S)) as connection:
        sockets = []
        for _ in range(2):
            connection.request("GET", "/_sandbox/health")
            connection.getresponse().read()
            sockets.append(connection.sock)
        assert sockets[0] is sockets[1] is not None


def test_a_body_above_the_limit_is_answered_413_before_it_is_sent(client: Client) -> None:
    """By its announced length, so that nobody uploads 128 MiB for nothing."""
    parts = urlsplit(client.base)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), PATIENCE_S) as connection:
        connection.sendall(b"POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Length: 134217729\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def spoken(client: Client, head: str, body: bytes = b"") -> bytes:
    """Send a request byte by byte as it stands, over a connection of its own, and return the whole answer."""
    parts = urlsplit(client.base)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0)), PATIENCE_S) as connection:
        lines = f"{head}\nHost: x\nConnection: close\nContent-Length: {len(body)}\n\n"
        connection.sendall(lines.replace("\n", "\r\n").encode("latin-1") + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module", params=["cometapi", "openai"])
def dialect(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Return a client of a sandbox that plays one service, then of one that plays the other."""
    with running(Options(speed=FAST, key="sk-test", clip="tiny", provider=request.param)) as (base, key):
        yield Client(base, key)


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PUT", "PROPFIND"])
def test_a_wrong_method_is_the_services_own_answer(dialect: Client, method: str) -> None:
    """Not that of the library below it."""
    answer = spoken(dialect, f"{method} /v1/models HTTP/1.1\nAuthorization: {dialect.auth}")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: GET, HEAD, OPTIONS\r\n" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_what_is_no_path_is_the_services_own_answer_too(dialect: Client) -> None:
    """Such as that of a proxy's CONNECT."""
    answer = spoken(dialect, f"CONNECT example.com:443 HTTP/1.1\nAuthorization: {dialect.auth}")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


def test_head_brings_the_length_and_no_body(dialect: Client) -> None:
    """Of the models here, and of a clip on its own host below."""
    answer = spoken(dialect, f"HEAD /v1/models HTTP/1.1\nAuthorization: {dialect.auth}")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Length: 0" not in head
    assert body == b""
    assert spoken(dialect, "OPTIONS /v1/models HTTP/1.1").startswith(b"HTTP/1.1 204 ")


def test_the_file_host_can_only_be_read(client: Client) -> None:
    """A head tells the clip's length; nothing can be put there."""
    url = client.finished(client.create("Head.")[1]["id"])["video_url"]
    parts = urlsplit(url)
    there = Client(f"http://{parts.netloc}", "")
    head = spoken(there, f"HEAD {parts.path} HTTP/1.1")
    assert f"Content-Length: {len(ask(url)[2])}".encode() in head
    assert head.endswith(b"\r\n\r\n")
    assert spoken(there, f"PUT {parts.path} HTTP/1.1").startswith(b"HTTP/1.1 405 ")


def test_a_body_that_is_not_what_its_head_says_is_refused(dialect: Client) -> None:
    """It was an error of the server itself."""
    head = f"POST /v1/videos HTTP/1.1\nAuthorization: {dialect.auth}\nContent-Encoding: gzip"
    answer = spoken(dialect, head, b"not packed")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_head_that_is_no_utf_8_is_refused(dialect: Client) -> None:
    """In a key it is a wrong one; in a boundary it is a byte like others."""
    assert spoken(dialect, "GET /v1/models HTTP/1.1\nAuthorization: Bearer sk-\xff").startswith(b"HTTP/1.1 401 ")
    head = f"POST /v1/videos HTTP/1.1\nAuthorization: {dialect.auth}\nContent-Type: multipart/form-data; boundary=\xe9"
    assert spoken(dialect, head, b"--\xe9--\r\n").startswith(b"HTTP/1.1 400 ")


FAULTS = """
- {on: create, prompt: before, reset: before}
- {on: create, prompt: after, reset: after-effect}
- {on: create, prompt: during, reset: during}
- {on: create, prompt: cut, cut_at: 0.5}
- {on: create, prompt: raw, raw: "nonsense"}
- {on: create, prompt: long, content_length: "999999"}
- {on: create, prompt: hang, hang: true, effect: true}
- {on: create, prompt: page, status: 524, body: "<html>"}
- {on: create, prompt: open, content_length: none}
- {on: create, prompt: slow, stall_s: 0.05, delay_s: 0.05}
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Return a client of a sandbox with rules."""
    path = tmp_path_factory.mktemp("faults") / "faults.yaml"
    path.write_text(FAULTS)
    with running(Options(speed=FAST, clip="tiny", faults_path=path)) as (base, key):
        yield Client(base, key)


@pytest.mark.parametrize(
    ("prompt", "error", "billed"),
    [
        ("before", ConnectionResetError, 0),
        ("after", ConnectionResetError, 1),
        ("during", json.JSONDecodeError, 1),
        ("cut", http.client.IncompleteRead, 1),
        ("raw", http.client.BadStatusLine, 0),
        ("long", http.client.IncompleteRead, 1),
    ],
)
def test_a_connection_dies_where_the_rule_says(
    faulty: Client, prompt: str, error: type[Exception], billed: int
) -> None:
    """The client sees it break, and the ledger knows whether it was billed all the same."""
    with pytest.raises((error, urllib.error.URLError)) as caught:
        faulty.create(prompt)
    cause = caught.value.reason if isinstance(caught.value, urllib.error.URLError) else caught.value
    assert type(cause) is error
    assert faulty.ledger()["by_prompt"].get(prompt, 0) == billed


def test_an_answer_that_never_comes_leaves_the_create_billed(faulty: Client) -> None:
    """The worst case for money: silence, and a task behind it."""
    parts = urlsplit(faulty.base)
    body = form([("prompt", "hang")], [], path="/videos", boundary="b")
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=0.3)) as connection:
        headers = {"Authorization": faulty.auth, "Content-Type": body.headers["Content-Type"]}
        connection.request("POST", "/v1/videos", b"".join(body.body), headers)
        with pytest.raises(TimeoutError):
            connection.getresponse()
    assert faulty.ledger()["by_prompt"]["hang"] == 1


def test_other_damage_still_brings_an_answer(faulty: Client) -> None:
    """A web page with a gateway's status, a body that ends by closing, and one that pauses."""
    status, _, page = ask(
        f"{faulty.base}/videos",
        data=b"".join(form([("prompt", "page")], [], path="/videos", boundary="b").body),
        content_type="multipart/form-data; boundary=b",
    )
    assert (status, page) == (524, b"<html>")
    for prompt in ("open", "slow"):
        assert faulty.create(prompt)[1]["status"] == "queued"


def test_a_restarted_sandbox_knows_its_tasks_and_its_ledger(tmp_path: Path, picture: Picture) -> None:
    """Ids, frames, clips and what was billed outlive it; a new task does not take an old one's id."""
    options = Options(speed=FAST, state_dir=tmp_path / "state")
    with running(options) as (base, key):
        client = Client(base, key)
        task_id = client.create("A kite.", picture("red"), picture("blue"))[1]["id"]
        clip = ask(client.finished(task_id)["video_url"])[2]
        before = client.ledger()
    with running(options) as (base, key):
        client = Client(base, key)
        assert client.ledger()["creates"] == before["creates"]
        assert ask(client.finished(task_id)["video_url"])[2] == clip
        assert client.create("A boat.")[1]["id"] != task_id


def test_a_restarted_sandbox_goes_on_in_its_script(tmp_path: Path) -> None:
    """A rule for the first create of a job does not strike again, and a failed task stays failed."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {on: create, nth: 1, status: 503}\n- {on: poll, nth: 1, fail: broken}\n")
    options = Options(speed=0.001, clip="tiny", state_dir=tmp_path / "state", faults_path=faults)
    with running(options) as (base, key):
        client = Client(base, key)
        with pytest.raises(json.JSONDecodeError):
            client.create("A kite.")
        task_id = client.create("A kite.")[1]["id"]
        assert client.poll(task_id)["status"] == "failed"
    with running(options) as (base, key):
        client = Client(base, key)
        assert client.create("A kite.")[0] == 200
        assert client.poll(task_id)["error"]["message"] == "broken"
        assert client.ledger()["by_prompt"] == {"A kite.": 2}


@pytest.mark.parametrize(
    ("faults", "says"), [("- {on: never}", "rule 1: on: 'never'"), ("- {", "is not YAML"), (None, "cannot be read")]
)
def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path, faults: str | None, says: str) -> None:
    """The child's reason is the parent's error."""
    path = tmp_path / "faults.yaml"
    if faults is not None:
        path.write_text(faults)
    with pytest.raises(ConfigError, match=says), running(Options(faults_path=path)):
        pass


def test_a_taken_port_is_said() -> None:
    """Not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"), running(Options(port=port)):
            pass


PARENT = """
import sys
from batchvid.sandbox.process import running
from batchvid.sandbox.process import Options
with running(Options(clip="tiny")) as (base, key):
    print(base, flush=True)
    sys.stdin.read()
"""


def test_an_interrupt_from_the_terminal_does_not_end_the_sandbox() -> None:
    """Ctrl-C reaches every process of the terminal's group; the run still needs the service to drain."""
    home = Path(__file__).parents[2]
    # A handler from the first line on: a shell may have left SIGINT ignored, and the signal may come at any moment.
    patient = "import signal\nsignal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n" + PARENT
    with subprocess.Popen(
        [sys.executable, "-c", patient],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=home,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        base = parent.stdout.readline().strip()
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "interrupted\n"
        assert ask(base.removesuffix("/v1") + "/_sandbox/health")[0] == 200
        parent.communicate("")
        assert parent.returncode == 0


def test_a_killed_parent_leaves_no_sandbox_behind() -> None:
    """After SIGKILL nobody can clean up; the closed pipe ends the child, and its port is free."""
    home = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=home, text=True
    ) as parent:
        assert parent.stdout is not None
        parts = urlsplit(parent.stdout.readline().strip())
        address = (str(parts.hostname), int(parts.port or 0))
        with socket.create_connection(address, PATIENCE_S) as held:
            os.kill(parent.pid, signal.SIGKILL)
            # The open connection ends when the child does: nothing to sleep for.
            held.settimeout(PATIENCE_S)
            assert held.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE_S)
