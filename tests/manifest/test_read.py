"""What YAML can do to a manifest, and what is said about it."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batchvid import manifest
from batchvid.domain.errors import ManifestError
from batchvid.domain.text import nfc
from batchvid.manifest.yaml_tree import MAX_BYTES, Document, Plain

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "clips.yaml:1:1: manifest: is empty"),
        (b"# nothing\n", "clips.yaml:1:1: manifest: is empty"),
        (b"\xff\xfe\0\0v\0\0\0", "clips.yaml:1:1: manifest: is UTF-32: save it as UTF-8"),
        (b"\xff\xfev", "clips.yaml:1:1: manifest: is damaged: its UTF-16-LE breaks off"),
        (b"PK\x03\x04", "clips.yaml:1:1: manifest: is a workbook or an archive"),
        ("version: 1\n".encode("utf-16-le"), "clips.yaml:1:2: manifest: holds a NUL byte"),
        (b"version: 1\njobs: \0\n", "clips.yaml:2:7: manifest: holds a NUL byte"),
        (b"version: 1\njobs: \x07\n", "clips.yaml:2:7: manifest: holds a control character"),
        (b"version: 1\nx: \xe9\n", "clips.yaml:2:4: manifest: is not UTF-8 here"),
        (b"version: 1\njobs:\n\t- id: a\n", "clips.yaml:3:1: manifest: is not YAML: found character"),
        (b"version: 1\njobs: [\n", "clips.yaml:3:1: manifest: is not YAML"),
        (b"version: 1\n---\nversion: 1\n", "clips.yaml:2:1: manifest: a second document"),
        (b"- a\n", "clips.yaml:1:1: manifest: is a list, and a map is wanted"),
        (b"hello\n", "clips.yaml:1:1: manifest: is text, and a map is wanted"),
        (b"jobs: *nobody\n", "clips.yaml:1:7: manifest: *nobody names no anchor"),
        (b"jobs: &a [*a]\n", "clips.yaml:1:11: manifest: *a names no anchor before it"),
        (b"version: 1\njobs: " + b"[" * 60 + b"]" * 60 + b"\n", "clips.yaml:2:56: manifest: is nested more than 50"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_with_line_and_column(desk: Desk, text: bytes, complaint: str) -> None:
    """Whatever keeps the tree from being built is one problem, at its place."""
    complaints = desk.complaints(text)
    assert len(complaints) == 1
    assert complaints[0].startswith(complaint)


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_manifest_may_begin_with_the_mark_of_its_coding(desk: Desk, coding: str) -> None:
    """Editors on Windows write one."""
    assert desk.load("jobs: [{id: kite, prompt: Ein Bär}]\n".encode(coding)).jobs[0].prompt == "Ein Bär"


def test_tabs_are_named_as_the_cause(desk: Desk) -> None:
    """The parser's own words do not say that a tab is one."""
    assert desk.complaints("version: 1\njobs:\n\t- id: a\n")[0].endswith("indent with spaces, not with tabs")


def test_a_hundred_thousand_brackets_end_at_once(desk: Desk) -> None:
    """Depth is bounded before the stack is, by us or by a libyaml that looks further ahead."""
    complaint = desk.complaints("jobs: " + "[" * 100_000)[0]
    assert "nested more than 50 deep" in complaint or "exceeded maximum nesting depth" in complaint


def test_an_alias_bomb_is_refused_before_it_unfolds(desk: Desk) -> None:
    """A billion laughs cost a few lines of reading."""
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 10)]
    complaints = desk.complaints("\n".join(lines))
    assert len(complaints) == 1
    assert "aliases repeat more than 1,000,000 values" in complaints[0]


def test_an_alias_in_every_job_is_fine(desk: Desk) -> None:
    """Aliases are a way to share, and only their sum is bounded."""
    jobs = "".join(f"  - {{id: a{n}, prompt: *p}}\n" for n in range(500))
    loaded = desk.load(f"version: 1\njobs:\n  - {{id: first, prompt: &p A kite.}}\n{jobs}")
    assert {job.prompt for job in loaded.jobs} == {"A kite."}


def test_a_file_over_the_limit_is_not_read(desk: Desk) -> None:
    """Size is asked before a byte is read."""
    path = desk.folder / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ManifestError, match="at most 64 MiB are read"):
        manifest.load(path, read_frame=desk.read_frame, state_of=desk.state_of)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_regular_file_is_refused_and_does_not_hang(desk: Desk, kind: str) -> None:
    """A FIFO would wait for ever for its writer."""
    path = desk.folder / "it.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ManifestError, match=r"it\.yaml: (no such file|is a folder|is not a regular)"):
        manifest.load(path, read_frame=desk.read_frame, state_of=desk.state_of)


def test_small_slips_do_not_hide_what_comes_after_them(desk: Desk) -> None:
    """Duplicate keys, tags and merge keys are noted, and reading goes on."""
    complaints = desk.complaints("""\
        version: 1
        jobs:
          - id: a
            prompt: !!str A kite.
            id: b
          - <<: {prompt: x}
            id: c
            prompt: y
          - id: d
            prompt: z
            seconds: 012
    """)
    assert [line.split(": ")[0] for line in complaints] == [
        "clips.yaml:4:13",
        "clips.yaml:5:5",
        "clips.yaml:6:5",
        "clips.yaml:11:5",
    ]
    assert "the key 'id' stands here twice" in complaints[1]


@pytest.mark.parametrize(
    ("written", "reads_as"),
    [
        ("no", "a yes/no"),
        ("on", "a yes/no"),
        ("1:30", "a number"),
        ("012", "a number"),
        ("8", "a number"),
        ("1.5", "a number"),
        (".inf", "a number"),
        ("2024-01-01", "a date"),
        ("2024-01-01 10:00:00", "a date"),
    ],
)
@pytest.mark.parametrize("field", ["prompt", "model", "size", "id", "first_frame"])
def test_what_yaml_does_not_take_for_text_must_be_quoted(desk: Desk, written: str, reads_as: str, field: str) -> None:
    """No guess is made about what was meant, and the message shows what to write."""
    entry = {"id": "kite", "prompt": "A kite."}
    lines = [f"{key}: {value}" for key, value in entry.items() if key != field]
    text = "version: 1\njobs:\n  - " + "\n    ".join([*lines, f"{field}: {written}"]) + "\n"
    line = text.count("\n")
    column = 5
    assert desk.complaints(text) == [
        (
            f"clips.yaml:{line}:{column}: jobs[0].{field}: {written} without quotes reads as {reads_as}, "
            f'and text is wanted: write {field}: "{written}"'
        )
    ]


@pytest.mark.parametrize("written", ["", "~", "null"])
def test_an_empty_value_says_so(desk: Desk, written: str) -> None:
    """Nothing is not text."""
    assert desk.complaints(f"jobs:\n  - prompt: x\n    model: {written}\n") == [
        "clips.yaml:3:5: jobs[0].model: is empty: write text, or remove the key"
    ]


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff")).map(nfc)
_TREES = st.recursive(
    _TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4), max_leaves=20
)


@given(_TREES)
def test_the_tree_is_what_the_safe_loader_reads(tree: object) -> None:
    """For text, lists and maps the quick builder and PyYAML agree, however they are written."""
    for flow in (True, False):
        text = yaml.safe_dump(tree, allow_unicode=True, default_flow_style=flow)
        if "\n? " not in text and not text.startswith("? "):
            assert Document(text, name="x").tree == tree


@given(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.dates())
def test_nothing_but_text_is_read_as_text(value: object) -> None:
    """Whatever the safe loader would turn into another type comes back as written, and marked."""
    text = yaml.safe_dump({"key": value})
    assert isinstance(Document(text, name="x").tree["key"], Plain)


def test_the_cycle_collector_is_on_again_after_loading_and_after_failing(desk: Desk) -> None:
    """Loading switches it off for speed only."""
    assert gc.isenabled()
    desk.load("jobs: [{id: a, prompt: x}]\n")
    assert gc.isenabled()
    desk.problems("jobs: [")
    assert gc.isenabled()


def test_an_output_may_be_in_a_bucket(desk: Desk) -> None:
    """Its state has a folder of this machine, and the address is its name."""
    loaded = desk.load("output: s3://clips/night/\njobs: [{prompt: A kite}]\n")
    assert loaded.bucket == loaded.place == "s3://clips/night"
    assert loaded.output.parent == desk.folder / "state"
    folder = desk.load("output: night\njobs: [{prompt: A kite}]\n")
    assert (folder.bucket, folder.place) == (None, str(desk.folder / "night"))


def test_a_slip_in_the_address_of_a_bucket_is_no_folder(desk: Desk) -> None:
    """It is told at its place."""
    (told,) = desk.complaints("output: s3:/clips/night\njobs: [{prompt: A kite}]\n")
    assert told == "clips.yaml:1:1: output: is no address of a bucket: did you mean s3://clips/night?"
