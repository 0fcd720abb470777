"""The page as a file: its policy, its data, and what a hostile text becomes in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from batchvid.cli.report.page import MARK, MARK_WITHIN_BYTES, page
from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import KeptEvent
from batchvid.domain.report import Kept, report
from tests.engine.drive import a_job
from tests.faults.page import ATTACKS
from tests.faults.page import Page as Dangers

MADE_AT = 1_773_390_000.0


class Parts(HTMLParser):
    """The tags of a page with their attributes, and the text in each script and style."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self._within: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        self.tags.append((tag, dict(attrs)))
        self._within = dict(attrs) | {"": tag} if tag in {"script", "style"} else None

    def handle_data(self, data: str) -> None:
        """Record the text in a script or style."""
        if self._within is not None:
            self.raw.append((self._within, data))
            self._within = None


def made(text: str, *texts: str) -> str:
    """Return the page of jobs in every place of which stands a text from outside."""
    jobs, progress, troubles, reviews = [], {}, [], {}
    for n, one in enumerate((text, *texts)):
        name = f"j{n}"
        jobs.append(replace(a_job(name, model=one), prompt=one, size=one, form=((one, one),), path=f"{one}.mp4"))
        state = State.FAILED if n % 2 else State.DONE
        progress[name] = Progress(
            name, state, 5, 1, reason=one, resolved_model=one, path=f"{one}.mp4", sha256="0" * 64, size_bytes=1
        )
        reviews[name] = Decision(name, 1, MADE_AT, one, Verdict.REJECTED, 3, one)
        troubles.append(KeptEvent(1, name, 1, MADE_AT, "TaskFailed", {"reason": one}))
    rendered = page(
        report(jobs, Kept(progress=progress, troubles=troubles, reviews=reviews)),
        name=text,
        manifest=text,
        made_at=MADE_AT,
        pictures=frozenset(),
    )
    return rendered.decode()


def parts(text: str) -> Parts:
    """Take a page apart."""
    found = Parts()
    found.feed(text)
    return found


def data(text: str) -> Any:
    """Return the page's block of data, decoded."""
    return next(json.loads(raw) for names, raw in parts(text).raw if names.get("id") == "data")


def test_the_policy_allows_the_pages_own_style_and_script_by_their_hashes_and_nothing_else() -> None:
    """A byte more in either, and the browser refuses it."""
    found = parts(made("A kite."))
    (policy,) = [
        names["content"] or "" for tag, names in found.tags if names.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for name, rule in (("script", "script-src"), ("style", "style-src")):
        (content,) = [raw for names, raw in found.raw if names[""] == name and "type" not in names]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy


def test_nothing_from_outside_becomes_a_tag_an_attribute_or_an_address() -> None:
    """In the head, in the list of what needs a person, in the commands and in the data."""
    plain, hostile = parts(made("plain", *["plain"] * len(ATTACKS))), made(ATTACKS[0], *ATTACKS)
    names = [tag for tag, _ in parts(hostile).tags]
    assert sorted(names) == sorted(tag for tag, _ in plain.tags)
    dangers = Dangers()
    dangers.feed(hostile)
    assert dangers.dangers == []
    assert "<script>alert" not in hostile


@pytest.mark.parametrize("attack", [*ATTACKS, "\u2028\u2029", "<!--", "]]>", "\ud83d", "\x00\x1b[31m"])
def test_a_hostile_text_comes_through_the_data_as_the_text_that_it_is(attack: str) -> None:
    """Only what no screen can show is gone."""
    row = data(made(attack))["rows"][0]
    wanted = "".join(char for char in attack if char.isprintable())
    assert row[2].encode("utf-8", "replace").decode() in {wanted, wanted.removesuffix("[31m"), "?"}


def test_the_block_of_data_holds_nothing_that_a_parser_of_html_looks_at() -> None:
    """No bracket, no ampersand: whatever the browser's idea of a script's end."""
    text = made(ATTACKS[0], *ATTACKS)
    block = re.search(r'<script type="application/json" id="data">(.*)</script>\n<script>', text, re.DOTALL)
    assert block is not None
    assert not set(block[1]) & set("<>&\u2028\u2029")


def test_the_page_bears_its_mark_where_the_next_one_looks_for_it() -> None:
    """Else a page of ours would never be replaced."""
    assert MARK in made("x" * 5000).encode()[:MARK_WITHIN_BYTES]


def test_the_page_knows_neither_the_task_nor_the_url_nor_where_the_frames_lie() -> None:
    """It is made to be shown around."""
    progress = Progress("j", State.DONE, 5, 1, task_id="task-secret", url="https://signed.example/secret")
    job = replace(a_job("j"), where="/home/mallory/m.yaml:3")
    text = page(
        report([job], Kept(progress={"j": progress})), name="n", manifest="m", made_at=MADE_AT, pictures=frozenset()
    )
    assert b"secret" not in text
    assert b"mallory" not in text
