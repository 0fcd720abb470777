"""Whatever a service makes of the key, nothing that is passed on holds it, and the rest is still understood."""

from __future__ import annotations

import base64
import gzip
import html
import json
import urllib.parse
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.secrecy import KEY_WAS_HERE, bare, secret_of
from batchvid.domain.task import Fault, FaultKind
from batchvid.domain.text import clean
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.response import ANSWER_MAX_BYTES, RAW_KEPT_BYTES, Response, envelope

KEY = "sk-red+team/key=0123456789~abc"
SECRET = secret_of(KEY)
U_ESCAPED = "".join(f"\\u{ord(char):04x}" for char in KEY)

SPELLINGS = {
    "as it is": KEY,
    "with Bearer": f"Bearer {KEY}",
    "percent": urllib.parse.quote(KEY, safe=""),
    "percent twice": urllib.parse.quote(urllib.parse.quote(KEY, safe=""), safe=""),
    "every letter in percent": "".join(f"%{ord(char):02X}" for char in KEY),
    "JSON in JSON": json.dumps({"auth": json.dumps({"key": KEY})}),
    "slashes escaped": KEY.replace("/", "\\/"),
    "escapes in escapes": U_ESCAPED.replace("\\", "\\u005c"),
    "hexadecimal escapes": "".join(f"\\x{ord(char):02x}" for char in KEY),
    "HTML": KEY.replace("+", "&#43;").replace("/", "&sol;").replace("=", "&#x3D;"),
    "HTML of HTML": html.escape(KEY.replace("+", "&#43;")),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 of user and key": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "base64 of one letter more": base64.b64encode(f"x{KEY}y".encode()).decode(),
    "hexadecimal": KEY.encode().hex(),
    "upper case": KEY.upper(),
    "folded": "\n ".join((KEY[:9], KEY[9:20], KEY[20:])),
    "invisible signs between": "\u200b".join(KEY),
    "colours between": "\x1b[31m".join((KEY[:9], KEY[9:])),
    "NULs between": "\0".join(KEY),
}


def gives_away(text: str) -> bool:
    """Whether a person could read the key out of *text*."""
    return (bare(KEY) or "") in (bare(text) or "") or (bare(SPELLINGS["base64"]) or "") in (bare(text) or "")


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_no_spelling_of_the_key_gets_through(spelling: str, status: int) -> None:
    """Not in the reason that people see, not in what is kept, not in a header."""
    body = json.dumps({"error": {"message": f"bad key {spelling}, sorry", "code": "x"}}).encode()
    answer = Response(status, {"location": f"https://host/{spelling}", "via": "me"}, body).without(SECRET)
    fault = CometAPI().read_create(answer, now=0.0)
    assert isinstance(fault, Fault)
    for told in (fault.reason, fault.raw.decode("latin-1"), answer.body.decode("latin-1"), *answer.headers.values()):
        assert not gives_away(told), told
    assert answer.headers["via"] == "me"


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "bad key ' + U_ESCAPED.encode() + b'"}}',
        b'{"error": {"message": "bad key ' + KEY.replace("-", "\\u002d").encode() + b'"}}',
        b"<html>" + KEY.encode(),
        b"<html>" + KEY.encode().replace(b"+", b"&plus;"),
        ("{" + KEY + "}").encode("utf-16"),
        ("{" + KEY + "}").encode("utf-16-be"),
        b'{"error": {"' + KEY.encode() + b'": 1}}',
        b'{"cut off": "' + KEY.encode(),
        b"[" * 5000 + b'"' + KEY.encode() + b'"' + b"]" * 5000,
    ],
)
def test_no_body_gives_the_key_away(body: bytes) -> None:
    """Whatever its charset, however it is escaped, and whether or not it can be read."""
    fault = CometAPI().read_create(Response(500, {}, body).without(SECRET), now=0.0)
    assert isinstance(fault, Fault)
    assert not gives_away(fault.reason)
    assert not gives_away(fault.raw.decode("latin-1"))


@pytest.mark.parametrize("size", range(len(KEY) - 10, len(KEY) + 1))
def test_a_body_that_is_cut_off_in_the_middle_of_the_key_does_not_end_in_it(size: int) -> None:
    """Nearly all of a key is as good as all of it."""
    answer = Response(200, {}, f"your key {KEY[:size]}".encode(), complete=False).without(SECRET)
    assert KEY[:8].encode() not in answer.body


@pytest.mark.parametrize("named", [{"id": KEY}, {"task_id": f"task_{KEY}"}, {"data": {"task_id": KEY.upper()}}])
def test_an_id_that_holds_the_key_is_no_id(named: dict[str, Any]) -> None:
    """It would stand in the journal for ever: the attempt is in doubt instead."""
    fault = CometAPI().read_create(Response(200, {}, json.dumps(named).encode()).without(SECRET), now=0.0)
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSURE
    assert "[key" in fault.reason
    assert fault.reason.isprintable()


def test_an_id_that_is_all_of_a_key_of_digits_is_no_id_even_as_a_number() -> None:
    """A key may be a number."""
    answer = Response(200, {}, b'{"id": 1234567890, "size": 17}').without(secret_of("1234567890"))
    assert answer.json() == {"id": KEY_WAS_HERE, "size": 17}


def test_a_url_that_holds_the_key_is_none_and_the_rest_of_the_task_is_understood() -> None:
    """The clip is asked for behind ``/content`` then."""
    body = json.dumps({"id": "task_1", "status": "completed", "video_url": f"https://files.example/?k={KEY}"})
    report = CometAPI().read_poll(Response(200, {}, body.encode()).without(SECRET), task_id="task_1", now=0.0)
    assert not isinstance(report, Fault)
    assert (report.status, report.url) == ("completed", None)


def test_a_part_of_the_key_in_an_id_is_left_alone() -> None:
    """Only all of the key is a secret; the id of a paid task is not to be lost."""
    body = json.dumps({"id": f"task_{KEY[:7]}", "note": KEY}).encode()
    created = CometAPI().read_create(Response(200, {}, body).without(SECRET), now=0.0)
    assert not isinstance(created, Fault)
    assert created.task_id == f"task_{KEY[:7]}"


def test_what_stands_around_the_key_is_still_shown() -> None:
    """The reason is what a person needs; ``[key]`` stands where the key was."""
    body = json.dumps({"error": {"message": f"invalid token {KEY} (request id: r1)", "code": "x"}}).encode()
    error = envelope(Response(401, {}, body).without(SECRET).json())
    assert error is not None
    assert clean(error.message, 300) == "invalid token [key] (request id: r1)"


def test_an_escape_without_an_end_is_treated_as_if_it_held_the_key() -> None:
    """Nobody escapes so often; what cannot be read to its end is not passed on."""
    text = KEY
    for _ in range(20):
        text = urllib.parse.quote(text, safe="").replace("-", "%2D")
    assert SECRET.masked(text) == KEY_WAS_HERE


def test_without_a_key_nothing_is_looked_for() -> None:
    """The sandbox's probe has none."""
    answer = Response(200, {"via": "me"}, b'{"a": "%25%25%25"}', complete=False)
    assert answer.without(secret_of("")) is answer


def test_a_secret_says_nothing_of_the_key() -> None:
    """Also where a bug shows it in a traceback."""
    assert not gives_away(repr(SECRET))


@given(st.text(max_size=200), st.sampled_from(sorted(SPELLINGS)), st.text(max_size=200))
def test_the_key_in_any_text_is_taken_out(before: str, spelling: str, after: str) -> None:
    """Whatever stands around it: what is shown in the end does not hold it."""
    masked = SECRET.masked(before + SPELLINGS[spelling] + after)
    assert KEY.lower() not in clean(masked, 10_000).lower()
    assert not SECRET.is_told(masked) or masked == KEY_WAS_HERE


@given(st.recursive(st.text(max_size=40) | st.integers() | st.booleans() | st.none(), st.lists))
def test_an_answer_without_the_key_is_the_same_object(value: Any) -> None:
    """Which is every answer of a service that is in order: nothing of it is rewritten."""
    answer = Response(200, {"via": "me"}, json.dumps(value).encode())
    assert answer.without(SECRET) is answer


# ---- packed bodies

PLAIN = json.dumps({"error": {"message": f"bad {KEY}"}}).encode()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(PLAIN, mtime=0), "gzip"),
        (zlib.compress(PLAIN), "deflate"),
        (gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0), "gzip, gzip"),
        (gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0), "gzip"),
        (gzip.compress(PLAIN, mtime=0), ""),
        (gzip.compress(PLAIN, mtime=0), "identity"),
        (PLAIN, "utf-8"),
    ],
)
def test_a_packed_body_is_read_and_does_not_give_the_key_away(body: bytes, coding: str) -> None:
    """However often it is packed, and whether or not its headers say so."""
    answer = Response(400, {"content-encoding": coding}, body).unpacked().without(SECRET)
    error = envelope(answer.json())
    assert error is not None
    assert clean(error.message, 100) == "bad [key]"


def test_what_cannot_be_unpacked_is_not_kept() -> None:
    """Nobody could see what is in it."""
    four = PLAIN
    for _ in range(4):
        four = gzip.compress(four, mtime=0)
    for body, coding in ((four, "gzip"), (b"\x0b\x02\x80" + PLAIN, "br"), (gzip.compress(PLAIN, mtime=0)[:-9], "gzip")):
        answer = Response(500, {"content-encoding": coding}, body).unpacked().without(SECRET)
        assert not answer.complete
        assert KEY.encode() not in answer.body
        assert not answer.body.startswith(b"\x1f\x8b")


def test_a_bomb_in_a_bomb_is_bounded() -> None:
    """Ten gigabytes in ten kilobytes."""
    bomb = gzip.compress(gzip.compress(bytes(60_000_000), 1), 1)
    answer = Response(200, {"content-encoding": "gzip, gzip"}, bomb).unpacked()
    assert not answer.complete
    assert len(answer.body) <= ANSWER_MAX_BYTES


def test_an_empty_body_is_whole_whatever_its_headers_say() -> None:
    """As behind a 429 of a gateway that packs everything."""
    assert Response(429, {"content-encoding": "gzip"}, b"").unpacked().complete


def test_what_is_kept_of_a_large_answer_is_masked_before_it_is_cut() -> None:
    """The cut could fall into the middle of the key, of which the rest would be kept."""
    body = b"x" * (RAW_KEPT_BYTES - 20) + b" " + KEY.encode() + b" and more"
    fault = CometAPI().read_create(Response(500, {}, body).without(SECRET), now=0.0)
    assert isinstance(fault, Fault)
    assert KEY[:8].encode() not in fault.raw
