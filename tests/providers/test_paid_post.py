"""The paid request against servers that answer too early, too often, too slowly or not at all: real sockets."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.task import Fault, FaultKind
from batchvid.providers import paid_post
from batchvid.providers.base import form
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.http import Service
from batchvid.providers.response import ANSWER_MAX_BYTES, LostAt, NoResponse, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchvid.providers.base import Request

KEY = "sk-very/secret+0123456789"
SMALL = form([("prompt", "A kite.")], [], path="/videos", boundary="b0undary")
LARGE = form([("prompt", "A kite.")], [("image/png", bytes(8_000_000))], path="/videos", boundary="b0undary")
CREATED = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"id": "task_1"}'
PATIENCE_S = 10.0


class Line:
    """One connection as the server sees it."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.heard = b""

    def head(self) -> None:
        """Read the request's head, and perhaps something of its body."""
        while b"\r\n\r\n" not in self.heard:
            self._hear()

    def request(self) -> None:
        """Read all of it."""
        while not self.heard.endswith(b"--b0undary--\r\n"):
            self._hear()

    def _hear(self) -> None:
        if not (heard := self.raw.recv(2**16)):
            raise ConnectionError
        self.heard += heard

    def say(self, data: bytes) -> None:
        """Send these bytes."""
        self.raw.sendall(data)

    def reset(self) -> None:
        """Close, and let the client's system know that what it sends is thrown away."""
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.close()


@contextmanager
def serving(do: Callable[[Line], object]) -> Iterator[tuple[str, list[Line]]]:
    """Do this with every connection, in a thread; give the base URL and the connections so far."""
    lines: list[Line] = []
    threads: list[threading.Thread] = []

    def serve(line: Line) -> None:
        try:
            do(line)
        except OSError:
            pass
        finally:
            line.raw.close()

    def accept() -> None:
        while True:
            try:
                raw, _ = listening.accept()
            except OSError:
                return
            raw.settimeout(PATIENCE_S)
            lines.append(Line(raw))
            threads.append(threading.Thread(target=serve, args=(lines[-1],)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", lines
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for one in (accepting, *threads):
                one.join()


def post(do: Callable[[Line], object], body: Request = SMALL) -> tuple[Response | NoResponse, list[Line]]:
    """Send one create to a server that does this."""

    async def main(url: str) -> Response | NoResponse:
        async with Service(url, KEY) as service:
            return await service.post(body)

    with serving(do) as (url, lines):
        result = asyncio.run(main(url))
    return result, lines


# ---- before the request left

AT_ONCE = {
    "an answer with a task": CREATED,
    "a load balancer that is full": b"HTTP/1.0 503 Service Unavailable\r\n\r\n<html>",
    "another protocol": b"220 mail.example ESMTP\r\n",
}


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("said", AT_ONCE.values(), ids=AT_ONCE)
def test_who_speaks_before_being_asked_is_not_asked(
    said: bytes, body: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words are nobody's answer; not one byte of the request leaves, and so nothing is in doubt."""
    monkeypatch.setattr(paid_post, "UNASKED_S", PATIENCE_S)
    ended = threading.Event()

    def do(line: Line) -> None:
        line.say(said)
        line.heard = line.raw.recv(1000)
        ended.set()

    result, lines = post(do, body)
    assert isinstance(result, NoResponse)
    assert result.lost is LostAt.SPOKE_FIRST
    assert result.lost.before_sending
    assert ended.is_set()
    assert lines[0].heard == b""
    fault = CometAPI().read_create(result, now=0.0)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNAVAILABLE


@pytest.mark.parametrize("end", [Line.reset, lambda line: line.raw.close()], ids=["reset", "closed"])
def test_a_connection_that_ends_before_the_request_left_costs_no_doubt(
    end: Callable[[Line], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes connections and drops them: nothing was paid."""
    monkeypatch.setattr(paid_post, "UNASKED_S", PATIENCE_S)
    result, _ = post(end, LARGE)
    assert isinstance(result, NoResponse)
    assert result.lost in {LostAt.HUNG_UP, LostAt.UNREACHABLE}
    assert result.lost.before_sending


@pytest.mark.parametrize("end", [Line.reset, lambda line: line.raw.close()], ids=["reset", "closed"])
def test_a_request_that_is_a_head_alone_has_left_with_it(end: Callable[[Line], None]) -> None:
    """There is no body whose absence would prove anything: in doubt."""

    def do(line: Line) -> None:
        line.head()
        end(line)

    result, _ = post(do, replace(SMALL, body=()))
    assert isinstance(result, NoResponse)
    assert result.lost is LostAt.RESET


# ---- while it leaves


@pytest.mark.parametrize("end", [Line.reset, lambda line: line.raw.close()], ids=["reset", "closed"])
@pytest.mark.parametrize("status", [401, 413, 429])
def test_a_refusal_that_comes_early_is_read_before_the_broken_pipe_is_judged(
    status: int, end: Callable[[Line], None]
) -> None:
    """While 8 MB are still being uploaded, with the connection gone behind it: refused, and not in doubt."""

    def do(line: Line) -> None:
        line.head()
        line.say(b"HTTP/1.1 %d No\r\nContent-Length: 4\r\n\r\nlate" % status)
        end(line)

    result, lines = post(do, LARGE)
    assert isinstance(result, Response)
    assert (result.status, result.body, result.complete, result.asked) == (status, b"late", True, False)
    assert len(lines) == 1
    fault = CometAPI().read_create(result, now=0.0)
    assert isinstance(fault, Fault)
    assert fault.kind is not FaultKind.UNSURE


def test_a_task_that_is_named_before_the_whole_request_left_was_not_asked_for() -> None:
    """Who has not read the request cannot have taken it: the answer says so, and the reader does not trust it."""

    def do(line: Line) -> None:
        line.head()
        line.say(CREATED)
        line.request()

    result, _ = post(do, LARGE)
    assert isinstance(result, Response)
    assert (result.status, result.asked) == (200, False)


def test_an_answer_whose_first_bytes_came_early_was_not_asked_for() -> None:
    """Also when the rest of its head comes after the request."""

    def do(line: Line) -> None:
        line.head()
        line.say(CREATED[:9])
        line.request()
        line.say(CREATED[9:])

    result, _ = post(do, LARGE)
    assert isinstance(result, Response)
    assert (result.status, result.complete, result.asked) == (200, True, False)


def test_two_answers_to_one_request_are_not_trusted() -> None:
    """Nobody knows which of them is ours."""

    def do(line: Line) -> None:
        line.request()
        line.say(CREATED + CREATED.replace(b"task_1", b"task_2"))

    result, _ = post(do)
    assert isinstance(result, Response)
    assert not result.asked


@pytest.mark.parametrize("end", [Line.reset, lambda line: line.raw.close()], ids=["reset", "closed"])
def test_a_connection_that_breaks_in_the_middle_of_the_upload_is_in_doubt(end: Callable[[Line], None]) -> None:
    """Some of the body has left; what became of it is not known, and it is not sent again."""

    def do(line: Line) -> None:
        while len(line.heard) < 1_000_000:
            line.heard += line.raw.recv(65536)
        end(line)

    result, lines = post(do, LARGE)
    assert isinstance(result, NoResponse)
    assert result.lost is LostAt.RESET
    assert not result.lost.before_sending
    assert len(lines) == 1


# ---- what is read of an answer

FRAMINGS = {
    "a length": CREATED,
    "chunks": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"id":\r\na\r\n "task_1"}\r\n0\r\n\r\n',
    "the end of the connection": b'HTTP/1.1 200 OK\r\n\r\n{"id": "task_1"}',
    "an old version": b'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 16\r\n\r\n{"id": "task_1"}',
    "interim answers before it": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    + CREATED,
    "lines without CR": CREATED.replace(b"\r\n", b"\n"),
    "blank lines behind it": CREATED + b"\r\n\r\n",
    "a large head": CREATED.replace(b"\r\n", b"\r\nX-Policy: " + b"x" * 30_000 + b"\r\n", 1),
}


@pytest.mark.parametrize("said", FRAMINGS.values(), ids=FRAMINGS)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "byte by byte"])
def test_an_answer_is_read_however_it_is_framed(said: bytes, *, at_once: bool) -> None:
    """The task of a paid request is never lost because of how it is told."""

    def do(line: Line) -> None:
        line.request()
        for part in [said] if at_once or len(said) > 1000 else [said[place : place + 1] for place in range(len(said))]:
            line.say(part)

    result, _ = post(do)
    assert isinstance(result, Response)
    assert (result.status, result.body, result.complete, result.asked) == (200, b'{"id": "task_1"}', True, True)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
    ],
    ids=["interim answers", "a header of a megabyte", "headers without an end"],
)
def test_a_head_without_an_end_is_given_up(said: bytes) -> None:
    """Bounded, and in doubt."""

    def do(line: Line) -> None:
        line.request()
        line.say(said)
        line.raw.recv(1)

    result, _ = post(do)
    assert isinstance(result, NoResponse)
    assert result.lost is LostAt.GARBLED
    assert not result.lost.before_sending


def test_a_body_without_an_end_is_cut_off() -> None:
    """At the cap, and marked as not complete."""

    def do(line: Line) -> None:
        line.request()
        line.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            line.say(b" " * 2**20)

    result, _ = post(do)
    assert isinstance(result, Response)
    assert (len(result.body), result.complete) == (ANSWER_MAX_BYTES, False)


@pytest.mark.parametrize("shape", ["header", "chunks", "base64 for URLs", "not HTTP"])
def test_the_key_does_not_come_back(shape: str) -> None:
    """In a header, in chunks that are cut in its middle, encoded, and where the answer is none."""
    said = {
        "header": b"HTTP/1.1 307 X\r\nLocation: https://x.example/?k=%s\r\nContent-Length: 0\r\n\r\n" % KEY.encode(),
        "chunks": b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (KEY[:9].encode(), KEY[9:].encode()))
        + b"0\r\n\r\n",
        "base64 for URLs": b"HTTP/1.1 400 X\r\n\r\n" + base64.urlsafe_b64encode(f"Bearer {KEY}".encode()),
        "not HTTP": f"what is {KEY} to me?\r\n\r\n".encode(),
    }[shape]

    def do(line: Line) -> None:
        line.request()
        line.say(said)

    result, _ = post(do)
    assert "secret" not in repr(result)
    assert base64.urlsafe_b64encode(KEY.encode())[:12].decode() not in repr(result)


# ---- time


def test_a_head_that_dribbles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily it comes: its time is that of the whole head."""
    monkeypatch.setattr(paid_post, "CREATE_SILENCE_S", 0.3)
    monkeypatch.setattr(paid_post, "LISTENED_S", 0.05)

    def do(line: Line) -> None:
        line.request()
        line.say(b"HTTP/1.1 200 OK\r\nX-Pad: ")
        while True:
            line.say(b"a")
            time.sleep(0.01)

    result, _ = post(do)
    assert isinstance(result, NoResponse)
    assert result.lost is LostAt.SILENT


def test_a_body_that_dribbles_is_given_up_and_what_came_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have named its task already."""
    monkeypatch.setattr(paid_post, "CREATE_BODY_S", 0.3)
    monkeypatch.setattr(paid_post, "LISTENED_S", 0.05)

    def do(line: Line) -> None:
        line.request()
        line.say(b'HTTP/1.1 200 OK\r\n\r\n{"id": "task_1", "x": "')
        while True:
            line.say(b"a")
            time.sleep(0.01)

    result, _ = post(do)
    assert isinstance(result, Response)
    assert not result.complete
    assert result.body.startswith(b'{"id": "task_1"')


@pytest.mark.parametrize("already_there", [True, False])
def test_an_answer_is_read_although_the_process_stood_still_meanwhile(
    monkeypatch: pytest.MonkeyPatch, *, already_there: bool
) -> None:
    """A stopped container: all times are over when it goes on, and the paid task lies in the socket, or comes yet."""
    for name in ("CREATE_SILENCE_S", "CREATE_TIMEOUT_S"):
        monkeypatch.setattr(paid_post, name, 0.4)
    monkeypatch.setattr(paid_post, "LISTENED_S", 0.1)
    answered, goes_on = threading.Event(), threading.Event()

    def do(line: Line) -> None:
        line.request()
        asked.set()
        if not already_there:
            goes_on.wait(PATIENCE_S)
            line.say(CREATED)
            return
        stopped.wait(PATIENCE_S)
        line.say(CREATED)
        answered.set()

    asked, stopped = threading.Event(), threading.Event()

    def stand_still() -> None:
        stopped.set()
        if already_there:
            answered.wait(PATIENCE_S)
        time.sleep(0.6)  # longer than the whole request may take
        asyncio.get_running_loop().call_later(0.05, goes_on.set)

    async def main(url: str) -> Response | NoResponse:
        async with Service(url, KEY) as service, asyncio.TaskGroup() as group:
            sent = group.create_task(service.post(SMALL))
            await asyncio.to_thread(asked.wait, PATIENCE_S)
            asyncio.get_running_loop().call_soon(stand_still)
        return sent.result()

    with serving(do) as (url, _):
        result = asyncio.run(main(url))
    assert isinstance(result, Response)
    assert (result.body, result.complete) == (b'{"id": "task_1"}', True)
