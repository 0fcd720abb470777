"""``output`` and ``filename``: where clips go, and that no two are in each other's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.filename import MAX_PART_BYTES
from batchvid.manifest.templates import clip_path, file_name
from batchvid.manifest.values import locale_trouble

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk


def test_the_output_is_relative_to_the_manifest_or_absolute(desk: Desk) -> None:
    """Never to the place where somebody happens to stand."""
    jobs = "jobs: [{id: a, prompt: x}]\n"
    assert desk.load("output: films/kites\n" + jobs, name="deep/k.yaml").output == desk.folder / "deep/films/kites"
    assert desk.load("output: /srv/clips\n" + jobs).output.as_posix() == "/srv/clips"
    assert desk.load(jobs, name="deep/kites.v2.yaml").output == desk.folder / "deep/out/kites.v2"


def test_a_file_name_may_hold_everything_that_is_known_of_a_job(desk: Desk) -> None:
    """Fields, the take and variables; slashes make folders, and slashes in values do not."""
    jobs = desk.load("""\
        filename: "{city}/{model}-{size}/{id}.{take}.mp4"
        defaults: {model: google/veo}
        jobs:
          - {id: "{city}", prompt: x, takes: 2, matrix: {city: [hue]}, size: 16x9}
          - {id: b, prompt: x, matrix: {city: ["../../etc"]}}
    """).jobs
    assert [job.path for job in jobs] == [
        "hue/google-veo-16x9/hue.1.mp4",
        "hue/google-veo-16x9/hue-2.2.mp4",
        "..-..-etc/google-veo-default/b.1.mp4",
    ]


@pytest.mark.parametrize(
    ("filename", "complaint"),
    [
        ("{id}", "does not end in .mp4"),
        ("{id}.MP4", "does not end in .mp4"),
        ("/tmp/{id}.mp4", "is absolute"),  # noqa: S108 an example of what is refused
        ("../{id}.mp4", "leads elsewhere"),
        ("a/./{id}.mp4", "leads elsewhere"),
        ("a//{id}.mp4", "has an empty part"),
        ("a/ /{id}.mp4", "has an empty part"),
        ("a/.mp4", "has no name before .mp4"),
        (".batchvid/{id}.mp4", "begins a part with .batchvid"),
        ("a/.BatchVid-x/{id}.mp4", "begins a part with .batchvid"),
        ("a\\{id}.mp4", "holds a backslash"),
        ("{id.mp4", 'a single "{" stands in the text'),
        (f"{'x' * 197}.mp4", "has a part of more than 200 bytes"),
        ("a/" * 499 + "{id}.mp4", "has more than 1000 bytes"),
    ],
)
def test_a_file_name_that_leads_elsewhere_is_refused(desk: Desk, filename: str, complaint: str) -> None:
    """Before any job is looked at, at the line of ``filename``."""
    (found,) = desk.complaints(f"filename: '{filename}'\njobs: [{{id: a, prompt: x}}]")
    assert found.startswith("clips.yaml:1:1: filename: ")
    assert complaint in found


def test_a_variable_that_makes_a_wrong_path_is_the_jobs_problem(desk: Desk) -> None:
    """Dots alone, nothing but blanks, too long."""
    found = desk.complaints(f"""\
        filename: "{{v}}/{{id}}.mp4"
        jobs:
          - {{id: a, prompt: x, matrix: {{v: [".."]}}}}
          - {{id: b, prompt: x, matrix: {{v: [".batchvid"]}}}}
          - {{id: c, prompt: x, matrix: {{v: ["{"é" * 101}"]}}}}
          - {{id: d, prompt: x}}
          - {{id: e, prompt: x}}
    """)
    assert [line.split(": ", 1)[0] for line in found] == [
        "clips.yaml:1:1",
        "clips.yaml:3:5",
        "clips.yaml:4:5",
        "clips.yaml:5:5",
    ]
    assert '"{v}" is no variable here: known are {id}, {model}, {size}, {take}' in found[0]
    assert '(in job "d")' in found[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [("kite", "kite"), ("kite", "KITE"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("a/b", "a-b")],
)
def test_two_jobs_never_share_a_path(desk: Desk, first: str, second: str) -> None:
    """Also not on a file system that ignores case, or normalises Unicode."""
    (found,) = desk.complaints(f"""\
        filename: "{{v}}.mp4"
        jobs:
          - {{id: one, prompt: x, matrix: {{v: ["{first}"]}}}}
          - {{id: two, prompt: x, matrix: {{v: ["{second}"]}}}}
    """)
    assert found.startswith('clips.yaml:4:5: jobs[1]: job "two" would be written to ')
    assert 'and so would job "one" of jobs[0] (clips.yaml:3)' in found


def test_no_value_makes_a_folder(desk: Desk) -> None:
    """So no clip can lie where another needs a folder; what becomes equal by that is a collision."""
    (found,) = desk.complaints("""\
        filename: "{v}{w}.mp4"
        jobs:
          - {id: one, prompt: x, matrix: {v: [a.mp4], w: ["/b"]}}
          - {id: two, prompt: x, matrix: {v: [a], w: ["-b"]}}
          - {id: three, prompt: x, matrix: {v: [a.mp4], w: ["-b"]}}
    """)
    assert 'job "three" would be written to "a.mp4-b.mp4"' in found


def test_safe_names_are_written_for_every_file_system(desk: Desk) -> None:
    """Where the manifest asks for it: in the paths of clips and films, and told beside what is written."""
    text = """\
        safe_names: true
        filename: "{title}/{id}: {title}.mp4"
        jobs:
          - {id: q, prompt: x, matrix: {title: ["What now?"]}}
          - {id: d, prompt: x, matrix: {title: [Dawn]}}
          - {id: l, prompt: x, matrix: {title: [LONG]}}
        films: [{id: nul, clips: [q, d]}, {id: trailer, clips: [d]}]
    """.replace("LONG", "\u65e5" * 90)
    found = desk.load(text)
    first, second, third = [job.path for job in found.jobs]
    assert (first, second) == ("What now-/q- What now-.mp4", "Dawn/d- Dawn.mp4")
    assert [film.path for film in found.films] == ["nul-.mp4", "trailer.mp4"]
    assert all(len(part.encode()) <= MAX_PART_BYTES for part in third.split("/"))
    assert dict(found.made_safe) == {
        "q": "What now?/q: What now?.mp4", "d": "Dawn/d: Dawn.mp4", "l": f"{'日' * 90}/l: {'日' * 90}.mp4",
    }  # fmt: skip
    plain = desk.load("safe_names: true\njobs: [{id: con, prompt: x}, {id: kite, prompt: x}]")
    assert [job.path for job in plain.jobs] == ["con-.mp4", "kite.mp4"]
    assert plain.made_safe == (("con", "con.mp4"),)
    assert desk.load("jobs: [{id: con, prompt: x}]").jobs[0].path == "con.mp4"


def test_two_names_that_are_one_when_they_are_safe_are_told(desk: Desk) -> None:
    """Two jobs never share a file: what was two names is one now, for the clip of a job and for a film."""
    found = desk.complaints("""\
        safe_names: true
        filename: "{v}.mp4"
        jobs:
          - {id: one, prompt: x, matrix: {v: ["Really?"]}}
          - {id: two, prompt: x, matrix: {v: ["really*"]}}
          - {id: three, prompt: x, matrix: {v: ["con-"]}}
        films: [{id: con, clips: [one]}]
    """)
    assert len(found) == 2
    assert 'job "two" would be written to "really-.mp4", and so would job "one" of jobs[0]' in found[0]
    assert 'the film would be written to con-.mp4, and so would job "three"' in found[1]


def test_what_nobody_sees_in_a_title_is_no_mistake(desk: Desk) -> None:
    """Joiners of emoji, and the narrow blank before a French question mark: they are not in the name."""
    jobs = desk.load("""\
        filename: "{v}.mp4"
        jobs:
          - {id: a, prompt: x, matrix: {v: ["\u0153uvre\u202f: \U0001f468\u200d\U0001f469"]}}
          - {id: b, prompt: x, matrix: {v: ["a\u00a0b"]}}
    """).jobs
    assert [job.path for job in jobs] == ["\u0153uvre : \U0001f468\U0001f469.mp4", "a b.mp4"]
    (told,) = desk.complaints('filename: "a\u00a0{id}.mp4"\njobs: [{id: a, prompt: x}]')
    assert "holds a backslash or a character that cannot be seen" in told


_VALUES = st.text(min_size=1, max_size=120)


@given(_VALUES, _VALUES)
def test_no_variable_leads_out_of_the_output_folder(first: str, second: str) -> None:
    """Whatever it holds, the path is refused or lies below, in the two parts that the template has."""
    template = file_name("x/{a}{b}.mp4")
    try:
        path = clip_path(template, {"a": first, "b": second})
    except ValueError:
        return
    parts = path.split("/")
    assert len(parts) == 2
    assert parts[0] == "x"
    assert path.endswith(".mp4")
    assert path.isprintable()
    assert "\\" not in path
    assert len(parts[1].encode()) <= MAX_PART_BYTES


def test_a_file_that_the_locale_cannot_name_is_refused_before_anything_is_paid() -> None:
    """A lone surrogate stands for it here: UTF-8 has no form for that, as ASCII has none for an umlaut."""
    assert locale_trouble("plain.mp4") is None
    assert locale_trouble("größe/日本.mp4") is None
    assert "set LC_ALL=C.UTF-8" in (locale_trouble("\ud800.mp4") or "")
