"""Nobody but the page gets anything: token, host, origin, methods, bodies, and what every answer carries."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from batchvid.cli.review.gate import Gate, is_loopback
from tests.review.server import reviewing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.review.server import Served

PATHS = ["/", "/rows?after=0", "/clip/0/1/kite-00000", "/picture/0/1/kite-00000", "/frame/0/0/kite-00000", "/nothing"]
APPROVED = {"board": 0, "job": "kite-00000", "attempt": 1, "set": {"verdict": "approved"}}


def nothing_was_decided(served: Served) -> bool:
    """Whether every clip is still to be judged."""
    return all(take[3] == 0 for row in served.rows()["rows"] for take in row[19])


def test_whoever_has_no_token_gets_nothing(untouched: Served) -> None:
    """Not the page, not a row, not a clip, and not even whether there is something."""
    for path in PATHS:
        for cookie in ("", f"batchvid-review-{untouched.port}=", f"batchvid-review-{untouched.port}=guess", "other=1"):
            answer = untouched.send("GET", path, {"Cookie": cookie})
            assert answer.status == 403, path
            assert b"batchvid review" in answer.body
            assert "Set-Cookie" not in answer.headers
    assert untouched.send("GET", "/?token=", {}).status == 403
    assert untouched.send("GET", "/?token=guess", {}).status == 403
    assert untouched.send("GET", f"/rows?token={untouched.token}", {}).status == 403  # the token opens the page alone
    assert untouched.post(APPROVED, {"Cookie": ""}).status == 403
    assert nothing_was_decided(untouched)


def test_the_token_is_long_and_becomes_a_cookie_that_no_script_and_no_other_site_has(untouched: Served) -> None:
    """256 bits each, and not the same; the address opens a second browser, too."""
    assert len(untouched.token) >= 43
    answer = untouched.enter()
    cookie = answer.headers["Set-Cookie"]
    assert answer.status == 200
    assert cookie.startswith(f"batchvid-review-{untouched.port}=")
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert untouched.token not in cookie
    assert "Domain" not in cookie


def test_a_token_for_the_command_line_of_a_browser_opens_once() -> None:
    """Everybody on the machine sees it there."""
    gate = Gate()
    once = gate.once()
    assert gate.opens(once)
    assert not gate.opens(once)
    assert gate.opens(gate.token)
    assert gate.opens(gate.token)


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("localhost:22", True),
        ("LOCALHOST:22", True),
        ("[::1]:9", True),
        ("[::1]", True),
        ("", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example:80", False),
        ("localhost.evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("127.0.0.1:evil", False),
        ("0.0.0.0:80", False),
        ("[::2]:80", False),
        ("192.168.0.1", False),
    ],
)
def test_only_loopback_names_lead_here(host: str, is_here: bool) -> None:  # noqa: FBT001 a table
    """With any port, because a tunnel may have another one."""
    assert is_loopback(host) is is_here


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.nip.io", "metadata", "192.168.0.1"])
def test_a_foreign_name_that_leads_here_gets_nothing(untouched: Served, host: str) -> None:
    """DNS rebinding: the browser of somebody who has the cookie, or even the token."""
    named = {"Host": f"{host}:{untouched.port}", "Cookie": untouched.cookie}
    assert untouched.send("GET", "/rows?after=0", named).status == 403
    assert untouched.send("GET", f"/?token={untouched.token}", named).status == 403
    assert untouched.post(APPROVED, named | {"Origin": f"http://{host}:{untouched.port}"}).status == 403
    assert nothing_was_decided(untouched)


def test_through_a_tunnel_it_works_by_the_name_and_port_at_the_other_end(served: Served) -> None:
    """With ssh -L 9000:127.0.0.1:PORT."""
    named = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}
    assert served.get("/rows?after=0", named).status == 200
    assert served.post(APPROVED, named).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:1"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
    ],
)
def test_a_change_comes_from_the_page_itself(untouched: Served, headers: dict[str, str]) -> None:
    """Although the browser sends the cookie along."""
    assert untouched.post(APPROVED, headers).status == 403
    assert nothing_was_decided(untouched)


def test_another_page_reads_nothing_but_may_lead_a_person_here(untouched: Served) -> None:
    """A clip is no picture in somebody else's page."""
    for site in ("cross-site", "same-site"):
        for path in PATHS[1:]:
            assert untouched.get(path, {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}).status == 403
        assert untouched.get("/", {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}).status == 403
        assert untouched.get("/", {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}).status == 200


def test_nothing_changes_by_get_nor_by_any_other_method(untouched: Served) -> None:
    """One path, one method."""
    body = json.dumps(APPROVED).encode()
    own = {"Cookie": untouched.cookie, "Origin": untouched.origin, "Content-Type": "application/json"}
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert untouched.send(method, "/decide", own, body).status in {403, 405}, method
    for path in PATHS:
        assert untouched.post(APPROVED, path=path).status in {404, 405}, path
    assert nothing_was_decided(untouched)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b"\xff\xfe",
        b"[" * 60_000,
        {**APPROVED, "set": {}},
        {**APPROVED, "set": {"verdict": "paid"}},
        {**APPROVED, "set": {"stars": 6}},
        {**APPROVED, "set": {"stars": True}},
        {**APPROVED, "set": {"stars": 2.5}},
        {**APPROVED, "set": {"note": "x" * 2001}},
        {**APPROVED, "set": {"note": "\ud800"}},
        {**APPROVED, "set": {"note": "a\0b"}},
        {**APPROVED, "set": {"verdict": "approved", "by": "somebody else"}},
        {**APPROVED, "by": "somebody else"},
        {**APPROVED, "attempt": "1"},
        {**APPROVED, "attempt": -1},
        {**APPROVED, "board": True},
        {**APPROVED, "unless": "now"},
        {**APPROVED, "job": None},
    ],
    ids=repr,
)
def test_a_body_that_the_page_does_not_send_is_refused(untouched: Served, body: object) -> None:
    """In words, and nothing is kept of it."""
    answer = untouched.post(body)
    assert answer.status == 400
    assert answer.json()["trouble"]
    assert nothing_was_decided(untouched)


def test_bodies_are_bounded(untouched: Served) -> None:
    """Before they are read whole."""
    assert untouched.post({**APPROVED, "set": {"note": "x" * 1_000_000}}).status == 413
    assert nothing_was_decided(untouched)


def test_a_clip_that_there_is_not_cannot_be_judged(untouched: Served) -> None:
    """Neither of another job, attempt or manifest."""
    for change in ({"job": "nobody"}, {"attempt": 2}, {"attempt": 0}, {"board": 1}):
        assert untouched.post(APPROVED | change).status == 404
    assert nothing_was_decided(untouched)


def test_every_answer_says_what_a_browser_may_do_with_it(untouched: Served) -> None:
    """Refusals and errors, too."""
    answers = [untouched.get(path) for path in PATHS]
    answers += [untouched.send("GET", "/", {}), untouched.post(b"nonsense"), untouched.get("/decide")]
    assert {answer.status for answer in answers} == {200, 204, 400, 403, 404, 405}
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'none'" in policy
        assert not [rule for rule in policy if "unsafe" in rule or "*" in rule or "http" in rule or "data:" in rule]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "no-store" in answer.headers["Cache-Control"] or "private" in answer.headers["Cache-Control"]


def test_it_listens_on_this_machine_alone(untouched: Served) -> None:
    """Nobody on the network reaches it, whatever the firewall says."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address this machine has
        except OSError:
            pytest.skip("this machine has no network")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no network")
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection((address, untouched.port), timeout=5)


def test_no_key_is_needed_and_none_is_near(project: Path) -> None:
    """What the page is told holds no word of it, although it is in the environment."""
    key = "sk-secret-0123456789abcdef"
    with reviewing(project.name, cwd=project.parent, environment={"COMETAPI_KEY": key}) as served:
        assert all(key.encode() not in served.get(path).body for path in PATHS)
