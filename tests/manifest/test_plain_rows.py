"""The short cuts give what the long way gives: for plain rows, and for jobs that differ in id and prompt alone."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import ManifestError
from batchvid.manifest.expand import PlainRows
from batchvid.manifest.loader import JobMaker

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


HEADS = (
    "",
    "defaults: {model: m, size: 16x9}\n",
    "defaults: {model: '\u00e9', seconds: 8}\n",
    "prices: {m: 0.40, veo3-fast: 0.10/s}\n",
    "limits: {budget: 9}\nprices: {m: 0.40}\n",
    "filename: '{model}/{id}.mp4'\n",
    "safe_names: true\n",
)
JOBS = (
    "{id: a, prompt: A kite.}",
    "{id: b, prompt: A gull.}",
    "{id: B, prompt: A bell.}",
    "{id: c, prompt: 'A caf\u00e9.'}",
    "{id: 'no id!', prompt: P}",
    "{id: d}",
    "{prompt: A gull.}",
    "{id: e, prompt: P, size: 9x16}",
    "{id: f, prompt: P, size: 9x16, model: n}",
    "{id: g, prompt: P, size: 9x16}",
    "{id: h, prompt: P, price: 0.25}",
    "{id: i, prompt: P, seconds: '5'}",
    "{id: i2, prompt: P, seconds: '5'}",
    "{id: j, prompt: P, takes: 2}",
    "{id: J-2, prompt: P}",
    "{id: 'k-{take}', prompt: P, takes: 2}",
    "{id: 'l-{n}', prompt: 'P {n}', matrix: {n: [a, b]}}",
    "{id: m, prompt: P, form: {seed: '7'}}",
    "{id: n, prompt: P, continues: b}",
    "{id: o, prompt: P, continues: D}",
    "{id: p, prompt: P, first_frame: none.png}",
)


@pytest.mark.parametrize("head", HEADS)
def test_jobs_that_are_alike_are_made_as_all_others(desk: Desk, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each behind itself and its neighbours, and all together; jobs, warnings and problems."""
    pairs = itertools.pairwise(one for job in (*JOBS, *JOBS[::-1]) for one in (job, job))
    for jobs in (*pairs, JOBS, JOBS[::-1], [*JOBS, *JOBS]):
        text = f"version: 1\n{head}jobs: [{', '.join(jobs)}]\n"
        quick = loaded(desk, text)
        with monkeypatch.context() as patch:
            patch.setattr(JobMaker, "_alike", lambda *_: None)
            assert loaded(desk, text) == quick


def test_an_entry_that_stands_twice_is_told_by_its_id(desk: Desk) -> None:
    """The texts of the first one are not let go of while an alias of it is still to come."""
    (wrong,) = desk.problems("jobs: [{id: z, prompt: P}, &twice {id: a, prompt: P}, *twice]")
    assert wrong.text.startswith('"a" is the id of jobs[1]')


def test_only_the_first_of_alike_jobs_takes_the_long_way(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the comparison above would prove nothing."""
    long: list[str] = []
    job = JobMaker._job

    def counted(self: JobMaker, spec: Any) -> Any:
        long.append(spec.fields["id"])
        return job(self, spec)

    monkeypatch.setattr(JobMaker, "_job", counted)
    rows = "".join(f"  - {{id: j{number}, prompt: P, size: 1{number % 2}x9}}\n" for number in range(9))
    assert len(desk.load(f"jobs:\n{rows}").jobs) == len(rows.splitlines())
    assert long == ["j0", "j1"]
