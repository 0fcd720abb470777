"""The short cut for plain rows gives what the long way gives, for every entry and every row."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import ManifestError
from batchvid.manifest.expand import PlainRows

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

ENTRIES = (
    "{from: rows.jsonl}",
    '{from: rows.jsonl, prompt: "{subject}, at night"}',
    '{from: rows.jsonl, prompt: "{prompt}, at night"}',
    '{from: rows.jsonl, prompt: Always this, id: "{subject}-{take}"}',
    '{from: rows.jsonl, id: "{subject}", price: 0.25}',
    '{from: rows.jsonl, prompt: "{nobody}"}',
    "{from: rows.jsonl, takes: 2, prompt: P}",
    "{from: rows.jsonl, form: {seed: '{subject}'}, prompt: P}",
    '{from: rows.jsonl, matrix: {time: [dawn, dusk]}, prompt: "{subject} at {time}"}',
    '{from: rows.jsonl, prompt: "broken {"}',
)
DEFAULTS = (
    "{}",
    "{model: m, size: 16x9}",
    '{prompt: "Of {subject}"}',
    "{form: {a: b}}",
    "{price: 0.10}",
    "{seconds: 8}",
    '{prompt: "Of {subject}, {style}", vars: {subject: fox, style: "{noir}"}}',
)
ROWS: tuple[dict[str, Any], ...] = (
    {"id": "a", "prompt": "A kite."},
    {"id": "b", "subject": "gull"},
    {"subject": "gull", "prompt": "{braces} stay", "note": "x"},
    {"subject": "gull", "size": "9x16", "seconds": "5"},
    {"subject": "gull", "takes": 2},
    {"subject": "gull", "price": "0.30"},
    {"subject": " ", "prompt": "P"},
    {"subject": "bell\x07", "prompt": "P"},
    {"subject": 7, "prompt": "P"},
    {"subject": None, "prompt": "P"},
    {"subject": "gull", "take": "3", "prompt": "P"},
    {"subject": "gull", "continues": "a", "prompt": "P"},
    {"id": "no id!", "prompt": "P"},
    {"subject": "gull", "first_frame": "none.png", "prompt": "P"},
)


def loaded(desk: Desk, text: str) -> object:
    """Return the jobs, or what is wrong."""
    try:
        return desk.load(text)
    except ManifestError as error:
        return error.problems


@pytest.mark.parametrize(("entry", "defaults"), list(itertools.product(ENTRIES, DEFAULTS)))
def test_the_short_cut_gives_what_the_long_way_gives(
    desk: Desk, entry: str, defaults: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row by itself, and all of them together; jobs, warnings and problems."""
    text = f"version: 1\ndefaults: {defaults}\njobs: [{entry}]\n"
    for rows in (*((row,) for row in ROWS), ROWS):
        desk.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        short = loaded(desk, text)
        with monkeypatch.context() as patch:
            patch.setattr(PlainRows, "filled", lambda *_: None)
            assert loaded(desk, text) == short


def test_plain_rows_do_take_the_short_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the comparison above would prove nothing."""
    monkeypatch.setattr("batchvid.manifest.expand.Expander._row", lambda *_: pytest.fail("the long way"))
    desk.write("rows.jsonl", '{"subject": "gull"}\n{"subject": "kite", "size": "9x16"}\n')
    jobs = desk.load('jobs: [{from: rows.jsonl, prompt: "A {subject}.", id: "{subject}"}]').jobs
    assert [(job.id, job.prompt, job.size) for job in jobs] == [("gull", "A gull.", None), ("kite", "A kite.", "9x16")]
