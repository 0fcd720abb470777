"""Texts without quotes that YAML reads as something else: what is said, and that the line which it shows is right."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchvid.manifest.quoting import quoted
from batchvid.manifest.yaml_tree import Document, TextError

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

MANIFEST = "version: 1\njobs:\n  - id: a\n    prompt: %s\n    size: 16x9\n  - {id: b, prompt: y}\n"
PASTED = re.compile(r'quotes?(?: what should be text)?: (?P<line>(?:[\w.]+: |- )?".*")')

UNQUOTED = [
    "Close-up: a cat on a roof",
    "A cat says: go",
    'A cat says: "hi"',
    "A look up: down: and away",
    "A cat:",
    ": a cat",
    "%title% over black",
    "@cat walks",
    "`x` marks it",
    "*dramatic* light",
    "*cat",
    "& a cat",
    "! wow",
    "!cinematic shot",
    "| a cat",
    "> a cat",
    "? what",
    "- a cat walks",
    ", a cat",
    "] a cat",
    "} a cat",
    "[wide shot] a cat walks",
    "[wide shot]",
    "[wide, slow]",
    "{subject} flies",
    "{subject}",
    "Red: #FF8800 on a wall",
    "Zoe\u0308: \U0001f98a \u200d sits",
    "50%: \\ and /",
    "Close-up: " + "very, very " * 120 + "long",
]


@pytest.mark.parametrize("prompt", UNQUOTED)
def test_what_yaml_reads_as_its_own_is_told_with_the_line_in_quotes(desk: Desk, prompt: str) -> None:
    """With its place; and what is shown can be pasted."""
    (found,) = desk.complaints(MANIFEST % prompt)
    assert found.startswith(("clips.yaml:4:13: manifest: ", "clips.yaml:4:5: jobs[0].prompt: "))
    shown = PASTED.search(found) or re.search(r'text: (?P<line>prompt: ".*")', found)
    assert shown is not None
    line = shown["line"]
    fixed = (MANIFEST % prompt).replace(f"prompt: {prompt}", line)
    meant = "Zo\u00eb: \U0001f98a \u200d sits" if prompt.startswith("Zo") else prompt
    if set(prompt) & set("{}"):
        assert Document(fixed, name="x").tree["jobs"][0]["prompt"] == meant
    else:
        assert desk.load(fixed).jobs[0].prompt == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'It's a cat'", "It's a cat"),
        ("'The dogs' bone'", "The dogs' bone"),
        ('"A "big" cat"', 'A "big" cat'),
        ('"A \\"big\\" "cat""', 'A "big" "cat"'),
        ('"A cat" and a dog', '"A cat" and a dog'),
        ('"A cat" and "a dog"', '"A cat" and "a dog"'),
        ('"A cat', "A cat"),
        ("'A cat", "A cat"),
        ("'tis a cat", "'tis a cat"),
        (r'"50\% off"', r"50\% off"),
        ("A cat: red  # the first", "A cat: red"),
        ("A cat,\n      close-up: it sits", "A cat, close-up: it sits"),
        ("A cat\n      on: a roof\n\n      in: the sun", "A cat on: a roof in: the sun"),
        ("A cat #FF on\n      a roof: red", "A cat #FF on a roof: red"),
        ("\n      Close-up: a cat\n      of: red", "Close-up: a cat of: red"),
    ],
)
def test_what_was_meant_is_found_in_broken_quotes_and_more_lines(desk: Desk, written: str, meant: str) -> None:
    """The quotes around a text that they do not hold are no part of it; a comment is none either."""
    found = desk.complaints(MANIFEST % written)
    assert any(line.endswith(f" in quotes: prompt: {quoted(meant)}") for line in found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{id: a, prompt: Close-up: a cat, size: 16x9}", ['2:21: manifest: ":" * prompt: "Close-up: a cat"']),
        ("{id: a, prompt: A poster in #FF8800}", ['2:21: manifest: "#" * prompt: "A poster in #FF8800"']),
        ("{id: a,\n     prompt: In #FF8800 red,\n     size: 16x9}", ['3:14: manifest: "#" * prompt: "In #FF8800 red"']),
        ("{id: a, prompt: [wide] cat}", ['2:21: manifest: [ * prompt: "[wide] cat"']),
        ("{id: a, prompt: 'it's'}", ["2:21: manifest: a ' * prompt: \"it's\""]),
        ("{id: a, prompt: x, form: {style: a: b}}", ['2:38: manifest: ":" * style: "a: b"']),
        (
            "id: w\n    storyboard: [a, b, c]\n    prompts:\n      - Close-up: a cat: red\n      - @x",
            ['5:9: manifest: ":" * - "Close-up: a cat: red"', '6:9: manifest: @ * - "@x"'],
        ),
        (
            "id: a\n    prompt: 'tis x\n  - id: b\n    prompt: 'tis y\n  - {id: c, prompt: z}",
            ["3:13: manifest: a ' * prompt: \"'tis x\"", "5:13: manifest: a ' * prompt: \"'tis y\""],
        ),
        ("prompt:A cat\n    size: 16x9", ["2:12: manifest: write a blank behind the colon: - prompt: A cat"]),
        ("id: a\n    prompt: x\n  -prompt: y", ["4:4: manifest: write a blank behind the dash: - prompt: y"]),
        (
            "id: a\n      prompt: x",
            ['2:9: manifest: prompt: begins a new field: indent it as deep as id:, or * id: "a prompt: x"'],
        ),
    ],
)
def test_every_place_is_told_in_maps_lists_and_braces(desk: Desk, text: str, told: list[str]) -> None:
    """Up to twenty at once; a blank that is missing is one, too."""
    found = desk.complaints(f"jobs:\n  - {text}\n")
    assert len(found) == len(told)
    for line, wanted in zip(found, told, strict=True):
        begin, _, end = wanted.partition(" * ")
        assert line.startswith(f"clips.yaml:{begin}")
        assert line.endswith(end)


def test_rows_in_yaml_are_told_in_the_same_way(desk: Desk) -> None:
    """With their own file, and each variable is a text."""
    desk.write("rows.yaml", "- subject: Close-up: a cat\n- subject: x\n")
    assert desk.complaints('jobs: [{from: rows.yaml, prompt: "{subject}"}]') == [
        (
            'rows.yaml:1:12: jobs[0] (rows.yaml): ":" is a sign of YAML\'s own: put the text in quotes: '
            'subject: "Close-up: a cat"'
        )
    ]
    desk.write("rows.yaml", "- subject: A cat in #FF8800\n- subject: x\n  size: 16x9 #wide\n")
    (warning,) = desk.load('jobs: [{from: rows.yaml, prompt: "{subject}"}]').warnings
    assert "rows.yaml:1:21: jobs[0] (" in warning


@pytest.mark.parametrize(
    "text", ["jobs: [\n", "jobs:\n  - id: a\n   prompt: x\n", "jobs: {\n", "jobs:\n  - a\n b\n", "jobs:\n\t- a\n"]
)
def test_what_no_quotes_would_mend_is_told_in_the_parser_s_words(desk: Desk, text: str) -> None:
    """No advice is better than a wrong one."""
    (found,) = desk.complaints(text)
    assert "is not YAML: " in found
    assert "quotes: " not in found


@pytest.mark.parametrize(
    ("prompt", "place", "shown"),
    [
        ("A poster in #FF8800 on a wall", "4:25", "A poster in #FF8800 on a wall"),
        ("A poster #1", "4:22", "A poster #1"),
        ("A poster # 1 of 3", "4:22", "A poster # 1 of 3"),
        ("A cat.  #sunset", "4:21", "A cat.  #sunset"),
        ("it's a poster in #FF8800", "4:30", "it's a poster in #FF8800"),
        ("A poster\n      #FF8800 red", "5:7", "A poster #FF8800 red"),
        ("A poster\n      in the colour #FF8800", "5:21", "A poster in the colour #FF8800"),
    ],
)
def test_a_text_that_is_cut_off_at_a_hash_is_a_warning(desk: Desk, prompt: str, place: str, shown: str) -> None:
    """Half a prompt would be paid for; it says how to write it, and how to write a comment."""
    (warning,) = desk.load(MANIFEST % prompt).warnings
    assert f"clips.yaml:{place}: manifest: #" in warning
    assert f"put the text in quotes: prompt: {quoted(shown)} (or write a blank behind the #" in warning


@pytest.mark.parametrize(
    "text",
    [
        "prompt: A cat  # the first one",
        "prompt: A cat # nice",
        "prompt: A cat. # 2nd try",
        'prompt: "A cat" #nice',
        "prompt: 'A cat in #FF8800'",
        "prompt: A cat\n    size: 16x9 #wide",
        "prompt: A cat\n    #size: 16x9",
        "prompt: A cat\n  #- id: c",
        "prompt: A cat ##",
        "prompt: C# and issue#12",
        "prompt: |\n      A poster in #FF8800 red\n      #1",
        'prompt: "A cat"\n    # in #FF8800',
    ],
)
def test_a_comment_is_a_comment(desk: Desk, text: str) -> None:
    """Behind a value, on a line of its own, and behind quotes."""
    assert desk.load(f"jobs:\n  - id: a\n    {text}\n  - {{id: b, prompt: y}}\n").warnings == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{prompt: x, form: {style: pink #FF\n  }}", "1:39"),
        ("{prompt: '{c}', matrix: {c: [red, pink #FF\n  ]}}", "1:47"),
        ("{id: w, storyboard: [a.png, a.png], prompts: [pink #FF\n  ]}", "1:59"),
    ],
)
def test_so_is_one_in_a_form_a_matrix_and_a_storyboard(desk: Desk, text: str, place: str) -> None:
    """What is sent as text, or becomes a part of it."""
    desk.draw("a.png")
    (warning,) = [line for line in desk.load(f"jobs: [{text}]").warnings if "begins a comment" in line]
    assert f"clips.yaml:{place}: manifest: #FF begins a comment" in warning


def test_a_prompt_of_nothing_but_a_comment_says_why_it_is_empty(desk: Desk) -> None:
    """The words are there, for a person."""
    assert desk.complaints("jobs:\n  - id: a\n    prompt: #sunset over the sea\n") == [
        "clips.yaml:3:5: jobs[0].prompt: is empty: write text, or remove the key",
        (
            "clips.yaml:3:13: manifest: #sunset begins a comment in YAML, and is not sent: put the text in quotes: "
            'prompt: "#sunset over the sea"'
        ),
    ]


def test_a_word_that_is_read_as_an_anchor_is_a_warning_unless_something_uses_it(desk: Desk) -> None:
    """It is not sent either."""
    (warning,) = desk.load(MANIFEST % "&cat sits").warnings
    assert "clips.yaml:4:13: manifest: &cat is read as an anchor of YAML, and is not sent" in warning
    assert warning.endswith('put the text in quotes: prompt: "&cat sits"')
    assert desk.load("jobs: [{id: a, prompt: &p x}, {id: b, prompt: *p}]").warnings == ()


def test_a_comma_in_braces_is_told(desk: Desk) -> None:
    """It ends the text there."""
    (found,) = desk.complaints("jobs: [{id: a, prompt: A cat, on a roof, size: 16x9}]")
    assert "on a roof: unknown key: if it is a part of a text that holds a comma, put the whole text in quotes" in found


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_is_quoted_reads_as_what_it_was(text: str) -> None:
    """Any text, on one line, and with nothing that a terminal does not show."""
    written = quoted(text)
    assert written.isprintable()
    assert Document(f"a: {written}", name="x").tree == {"a": text}


@example("{\n#")
@given(st.text("ab:#'\"[]{}&*!|>%@`,-? \n\\", min_size=1, max_size=60))
def test_whatever_is_written_there_is_a_manifest_or_a_mistake(text: str) -> None:
    """No input is a bug."""
    written = "jobs:\n  - prompt: " + text.replace("\n", "\n      ") + "\n"
    with suppress(TextError):
        document = Document(written, name="x")
        for path in document._all_places():
            document.in_quotes(path)
