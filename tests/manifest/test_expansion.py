"""Properties of expansion that hold for every manifest: order, names and takes cost nothing."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from batchvid import manifest
from batchvid.manifest.templates import has_braces, parse

if TYPE_CHECKING:
    from random import Random

    from batchvid.domain.job import Frame, Job

TEXTS = st.text(
    st.characters(categories=["L", "N", "Zs"], include_characters=".,:;!#&*-'\""), min_size=1, max_size=30
).filter(lambda text: bool(text.strip()))


@st.composite
def entry_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return entries without ids, no two alike."""
    entries = []
    for prompt in draw(st.lists(TEXTS, min_size=1, max_size=6, unique=True)):
        entry: dict[str, Any] = {"prompt": prompt}
        if draw(st.booleans()):
            entry["size"] = draw(st.sampled_from(["16x9", "9x16", "1280x720"]))
        if draw(st.booleans()):
            entry["form"] = {"seed": draw(TEXTS)}
        if draw(st.booleans()):
            entry["takes"] = draw(st.integers(1, 3))
        if draw(st.booleans()):
            entry["matrix"] = {"time": ["dawn", "dusk"], "n": [1, 2]}
            entry["prompt"] += " {{at}} {time} {n}"
        entries.append(entry)
    return entries


def _no_frames(path: Path) -> Frame:
    raise AssertionError(path)


def _no_state(bucket: str) -> Path:
    raise AssertionError(bucket)


def _jobs(entries: list[Any]) -> tuple[Job, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.yaml"
        path.write_text(json.dumps({"version": 1, "jobs": entries}, ensure_ascii=False))
        return manifest.load(path, read_frame=_no_frames, state_of=_no_state).jobs


def _count(entry: dict[str, Any]) -> int:
    return int(entry.get("takes", 1)) * (4 if "matrix" in entry else 1)


@given(entry_lists())
def test_ids_and_paths_are_unique_and_none_is_lost(entries: list[dict[str, Any]]) -> None:
    """One job for every take of every combination."""
    jobs = _jobs(entries)
    assert len(jobs) == sum(map(_count, entries))
    assert len({job.id.lower() for job in jobs}) == len(jobs)
    assert len({job.path.lower() for job in jobs}) == len(jobs)


@given(entry_lists(), st.randoms())
def test_reordering_entries_changes_no_job(entries: list[dict[str, Any]], random: Random) -> None:
    """Ids, fingerprints and paths follow from the content alone."""
    shuffled = list(entries)
    random.shuffle(shuffled)
    before = {(job.id, job.fingerprint, job.path) for job in _jobs(entries)}
    assert {(job.id, job.fingerprint, job.path) for job in _jobs(shuffled)} == before


@given(entry_lists(), st.integers(0, 5), st.integers(1, 3))
def test_more_takes_only_add(entries: list[dict[str, Any]], which: int, more: int) -> None:
    """Every job that was there stays as it was."""
    raised = [dict(entry) for entry in entries]
    entry = raised[which % len(raised)]
    entry["takes"] = entry.get("takes", 1) + more
    before = {(job.id, job.fingerprint, job.path) for job in _jobs(entries)}
    after = {(job.id, job.fingerprint, job.path) for job in _jobs(raised)}
    assert before < after
    assert len(after) - len(before) == more * (4 if "matrix" in entry else 1)


@given(entry_lists())
def test_a_fingerprint_does_not_depend_on_names(entries: list[dict[str, Any]]) -> None:
    """An id given by hand changes nothing that is sent."""
    named = [
        entry | {"id": f"job{number}-{{take}}" + ("-{time}-{n}" if "matrix" in entry else "")}
        for number, entry in enumerate(entries)
    ]
    assert [job.fingerprint for job in _jobs(named)] == [job.fingerprint for job in _jobs(entries)]


@given(entry_lists())
def test_the_short_cut_gives_what_the_long_way_gives(entries: list[dict[str, Any]]) -> None:
    """An entry is the same whether or not something about it keeps it from the quick path."""
    plain = [{"prompt": entry["prompt"]} for entry in entries if "matrix" not in entry]
    long = [entry | {"takes": 1} for entry in plain]
    if plain:
        assert [replace(job, where="") for job in _jobs(plain)] == [replace(job, where="") for job in _jobs(long)]


@given(st.text(max_size=40), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_a_template_fills_in_variables_and_nothing_else(text: str, variables: dict[str, str]) -> None:
    """It renders or raises ``ValueError``; a text without braces is itself, and doubled braces are single ones."""
    if not has_braces(text):
        assert parse(text).render(variables) == text
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert parse(escaped).render({}) == text
    with contextlib.suppress(ValueError):
        parse(text).render(variables)


def test_what_a_variable_holds_is_never_read_as_a_template() -> None:
    """Substitution happens once."""
    assert parse("{a}{b}").render({"a": "{b}", "b": "{a}"}) == "{b}{a}"
    assert parse("{a.__class__}").names == {"a.__class__"}
