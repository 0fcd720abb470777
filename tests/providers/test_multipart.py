"""A paid request holds what the manifest says: every field, and both frames in order, with their true types."""

from __future__ import annotations

import asyncio
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import TYPE_CHECKING

import pytest
from aiohttp import MultipartReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from hypothesis import example, given
from hypothesis import strategies as st

from batchvid.domain.fingerprint import fields
from batchvid.providers.base import form

if TYPE_CHECKING:
    from batchvid.providers.base import Request

BOUNDARY = "batchvid-0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n\x00--" + BOUNDARY[:-1].encode() + b"\r\n\x00\xff"
JPEG = b"\xff\xd8\xff\r\n--\r\n\r\n"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)

Part = tuple[str | None, str | None, str | None, bytes]
"""Field name, file name, type and content of a part."""


def read_back(body: Request) -> list[Part]:
    """Read the body with aiohttp's own parser, as a server would."""

    async def read() -> list[Part]:
        stream = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
        stream.feed_data(b"".join(body.body))
        stream.feed_eof()
        found: list[Part] = []
        reader = MultipartReader({"Content-Type": body.headers["Content-Type"]}, stream)
        while (part := await reader.next()) is not None:
            assert not isinstance(part, MultipartReader)
            found.append((part.name, part.filename, part.headers.get("Content-Type"), bytes(await part.read())))
        return found

    return asyncio.run(read())


def test_the_fields_and_both_frames_arrive_in_order() -> None:
    """First frame, then last frame, under one name: the service tells them apart by order alone."""
    texts = fields(prompt="A kite — 风筝.", model="veo3-fast", size="16x9", seconds="8", form=[("seed", "7")])
    body = form(texts, [("image/png", PNG), ("image/jpeg", JPEG)], path="/videos", boundary=BOUNDARY)
    assert read_back(body) == [
        ("prompt", None, None, "A kite — 风筝.".encode()),
        ("model", None, None, b"veo3-fast"),
        ("size", None, None, b"16x9"),
        ("seconds", None, None, b"8"),
        ("seed", None, None, b"7"),
        ("input_reference", "first.png", "image/png", PNG),
        ("input_reference", "last.jpg", "image/jpeg", JPEG),
    ]


def test_another_parser_reads_the_same() -> None:
    """The standard library agrees, so the form is not one parser's taste."""
    body = form(
        [("prompt", "kite")], [("image/webp", b"RIFF\x00\xff"), ("image/png", PNG)], path="/videos", boundary=BOUNDARY
    )
    head = f"Content-Type: {body.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=policy.HTTP).parsebytes(head + b"".join(body.body))
    assert isinstance(message, EmailMessage)
    assert not message.defects
    parts = [part for part in message.iter_parts() if isinstance(part, EmailMessage)]
    assert [part.get_param("name", header="content-disposition") for part in parts] == [
        "prompt",
        "input_reference",
        "input_reference",
    ]
    assert [part.get_filename() for part in parts] == [None, "first.webp", "last.png"]
    assert [part.get_payload(decode=True) for part in parts] == [b"kite", b"RIFF\x00\xff", PNG]


def test_a_job_of_text_alone_has_no_file_part() -> None:
    """What is not given is not sent."""
    body = form(fields(prompt="p", model="m", size=None, seconds=None, form=[]), [], path="/videos", boundary=BOUNDARY)
    assert [name for name, *_ in read_back(body)] == ["prompt", "model"]


@given(st.lists(st.tuples(st.sampled_from(["prompt", "x", "café"]), TEXT), min_size=1, max_size=4))
@example([("prompt", f"\r\n--{BOUNDARY[:-2]}--\r\n\r\n")])
@example([("prompt", ""), ("prompt", "\r\n"), ("prompt", "\n\r")])
def test_any_text_comes_back_as_it_was(texts: list[tuple[str, str]]) -> None:
    """Line ends, quotes and almost-boundaries in a prompt survive to the byte."""
    body = form(texts, [("image/png", PNG)], path="/videos", boundary=BOUNDARY)
    found = read_back(body)
    assert [(name, content.decode()) for name, _, _, content in found[:-1]] == texts
    assert found[-1][3] == PNG


@pytest.mark.parametrize(
    "name",
    ['a"; filename="x.png', 'a"\r\nContent-Type: text/html\r\n\r\nowned', "a\nb", "a\r\n\r\n--" + BOUNDARY + "--\r\n"],
)
def test_a_hostile_name_cannot_leave_its_quotes(name: str) -> None:
    """A field name adds no header, no file name and no part of its own."""
    body = form([(name, "v"), ("prompt", "p")], [], path="/videos", boundary=BOUNDARY)
    found = read_back(body)
    assert [(filename, kind, content) for _, filename, kind, content in found] == [
        (None, None, b"v"),
        (None, None, b"p"),
    ]
    assert found[1][0] == "prompt"


@given(st.lists(st.tuples(TEXT, TEXT), max_size=4), st.lists(st.binary(max_size=50), max_size=2))
def test_the_same_job_gives_the_same_bytes(texts: list[tuple[str, str]], frames: list[bytes]) -> None:
    """So that a request can be compared with another one."""
    body = form(texts, [("image/png", frame) for frame in frames], path="/videos", boundary=BOUNDARY)
    assert body == form(texts, [("image/png", frame) for frame in frames], path="/videos", boundary=BOUNDARY)


def test_frames_are_not_copied() -> None:
    """A frame of 50 MB is a piece of the body as it is."""
    frame = bytes(1000)
    body = form([("prompt", "p")], [("image/png", frame)], path="/videos", boundary=BOUNDARY)
    assert any(piece is frame for piece in body.body)
