"""The same letters are the same text, id and file, in whichever Unicode form an editor or a folder has them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest

from batchvid.domain import fingerprint
from batchvid.manifest.files import on_disk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.manifest.conftest import Desk

CAFE, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"


def nfd(text: str) -> str:
    """Return the text as a Mac's file system has it."""
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.yaml"])
def test_a_table_in_another_form_gives_the_same_jobs(desk: Desk, name: str) -> None:
    """Its columns are found, its texts are sent composed, and its ids and paths are the same."""
    rows = {
        "rows.csv": "größe,prompt\nü,Ein Café\n",
        "rows.tsv": "größe\tprompt\nü\tEin Café\n",
        "rows.jsonl": '{"größe": "ü", "prompt": "Ein Café"}\n',
        "rows.yaml": "- größe: ü\n  prompt: Ein Café\n",
    }[name]
    text = f"""
        version: 1
        filename: "{{größe}}-{{id}}.mp4"
        jobs:
          - {{from: {name}, prompt: "{{prompt}}, {{größe}}", form: {{note: "{{größe}}"}}}}
        """
    found = []
    for manifest, table in ((text, rows), (nfd(text), rows), (text, nfd(rows)), (nfd(text), nfd(rows))):
        desk.write(name, table)
        job = desk.load(manifest).jobs[0]
        found.append((job.id, job.prompt, job.form, job.path, job.fingerprint))
    assert found == [found[0]] * 4
    assert found[0][1:3] == ("Ein Café, ü", (("note", "ü"),))


def test_a_text_written_with_escapes_or_put_together_is_composed_too(desk: Desk) -> None:
    """What is compared is what is sent."""
    text = r"""
        version: 1
        jobs:
          - {id: a, prompt: "Cafe\u0301"}
          - {id: b, prompt: "Cafe{accent}", matrix: {accent: ["\u0301"]}}
        """
    assert [job.prompt for job in desk.load(text).jobs] == [CAFE, CAFE]


def test_what_was_paid_for_another_form_is_the_same_content(desk: Desk) -> None:
    """As it was written, or decomposed throughout; its composed form has the fingerprint that it always had."""
    mixed = f"{CAFE} {DECOMPOSED}"
    written = {form: fingerprint.fingerprint([("prompt", text), ("model", "veo3-fast")], []) for form, text in {
        "nfc": f"{CAFE} {CAFE}", "nfd": f"{DECOMPOSED} {DECOMPOSED}", "mixed": mixed,
    }.items()}  # fmt: skip
    job = desk.load(f'version: 1\njobs: [{{id: a, prompt: "{mixed}"}}]').jobs[0]
    assert job.fingerprint == written["nfc"]
    assert not any(job.has_changed(paid) for paid in written.values())
    assert job.has_changed(fingerprint.fingerprint([("prompt", "Cafe Cafe"), ("model", "veo3-fast")], []))
    composed = desk.load(f'version: 1\njobs: [{{id: a, prompt: "{CAFE} {CAFE}"}}]').jobs[0]
    assert composed.also == (written["nfd"],)


@pytest.mark.parametrize("text", ["A kite", "風箏", "A kite 🪁"])
def test_a_text_with_one_form_only_has_one_fingerprint(desk: Desk, text: str) -> None:
    """Most have."""
    assert desk.load(f'version: 1\njobs: [{{id: a, prompt: "{text}"}}]').jobs[0].also == ()


def test_a_key_that_stands_twice_in_two_forms_is_told(desk: Desk) -> None:
    """Nobody can see which one counts."""
    told = desk.complaints(f'version: 1\njobs: [{{id: a, prompt: "{{{CAFE}}}", {CAFE}: x, {DECOMPOSED}: y}}]')
    assert any("twice" in line for line in told)
    desk.write("rows.jsonl", f'{{"{CAFE}": "x", "{DECOMPOSED}": "y"}}\n')
    assert any("twice" in line for line in desk.complaints('version: 1\njobs: [{from: rows.jsonl, prompt: "x"}]'))


@pytest.mark.parametrize("typed", [CAFE, DECOMPOSED])
@pytest.mark.parametrize("stored", [CAFE, DECOMPOSED])
def test_files_and_folders_are_found_in_either_form(desk: Desk, typed: str, stored: str) -> None:
    """Frames, tables, folders of pairs and the output, at any depth."""
    desk.draw(f"{stored}/{stored}.png")
    desk.draw(f"{stored}/{stored}_first.png")
    desk.write(f"{stored}/{stored}.csv", "prompt\nx\n")
    (desk.folder / f"out {stored}").mkdir()
    manifest = desk.load(
        f"""
        version: 1
        output: out {typed}
        jobs:
          - {{id: a, prompt: x, first_frame: {typed}/{typed}.png}}
          - {{from: {typed}/{typed}.csv}}
          - {{pairs: {typed}, prompt: "{{name}}"}}
        """
    )
    assert manifest.output == desk.folder / f"out {stored}"
    assert [job.prompt for job in manifest.jobs] == ["x", "x", CAFE]
    assert manifest.jobs[2].id == "Caf"
    assert manifest.jobs[2].frames[0].path == str(desk.folder / stored / f"{stored}_first.png")


def test_a_pair_may_be_in_two_forms(desk: Desk) -> None:
    """One frame came from a Mac, the other did not, and so did the text beside them."""
    desk.draw(f"p/{CAFE}_first.png")
    desk.draw(f"p/{DECOMPOSED}_last.png")
    desk.write(f"p/{DECOMPOSED}.txt", "The caf\u00e9 opens.")
    (job,) = desk.load("version: 1\njobs: [{pairs: p}]").jobs
    assert len(job.frames) == 2
    assert job.prompt == "The caf\u00e9 opens."


def test_what_a_mac_puts_beside_its_files_is_no_picture(desk: Desk) -> None:
    """``._NAME`` holds what another file system cannot keep of a file."""
    desk.draw("p/kite_first.png")
    desk.write("p/._kite_first.png", b"\0\5\x16\7")
    assert [job.id for job in desk.load("version: 1\njobs: [{pairs: p, prompt: x}]").jobs] == ["kite"]


def test_a_name_that_is_there_as_it_is_typed_comes_first(tmp_path: Path) -> None:
    """Both forms may be there; and where neither is, the path stays as it was typed."""
    for name in (CAFE, DECOMPOSED):
        (tmp_path / name).touch()
        assert on_disk(tmp_path / name) == tmp_path / name
    assert on_disk(tmp_path / "Tür" / CAFE) == tmp_path / "Tür" / CAFE
