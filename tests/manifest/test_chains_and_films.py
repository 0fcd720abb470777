"""Storyboards, chains and films: what they expand to, and every mistake with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain.film import Film
from batchvid.domain.job import Continuation

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk


@pytest.fixture
def drawn(desk: Desk) -> Desk:
    """Return a desk with four frames."""
    for name, colour in zip("abcd", ("red", "green", "blue", "white"), strict=True):
        desk.draw(f"{name}.png", colour=colour)
    return desk


def test_a_storyboard_of_n_frames_is_n_minus_one_jobs_from_frame_to_frame(drawn: Desk) -> None:
    """Each begins with the frame that the one before it ends with."""
    manifest = drawn.load("jobs: [{id: walk, prompt: She walks., storyboard: [a.png, b.png, c.png, d.png]}]")
    assert [job.id for job in manifest.jobs] == ["walk-01", "walk-02", "walk-03"]
    frames = [[frame.path[-5:] for frame in job.frames] for job in manifest.jobs]
    assert frames == [["a.png", "b.png"], ["b.png", "c.png"], ["c.png", "d.png"]]
    assert {job.prompt for job in manifest.jobs} == {"She walks."}
    assert manifest.films == ()


def test_a_frame_added_at_the_end_leaves_the_other_jobs_as_they_are(drawn: Desk) -> None:
    """Nothing is bought again for it."""
    before = drawn.load("jobs: [{id: walk, prompt: x, storyboard: [a.png, b.png, c.png]}]").jobs
    after = drawn.load("jobs: [{id: walk, prompt: x, storyboard: [a.png, b.png, c.png, d.png]}]").jobs
    assert [(job.id, job.fingerprint) for job in after[:2]] == [(job.id, job.fingerprint) for job in before]


def test_each_job_of_a_storyboard_may_have_its_prompt(drawn: Desk) -> None:
    """In order; what the defaults say gives way."""
    text = "defaults: {prompt: z}\njobs: [{id: walk, prompts: [out, home], storyboard: [a.png, b.png, c.png]}]"
    assert [job.prompt for job in drawn.load(text).jobs] == ["out", "home"]


def test_a_storyboard_may_be_a_film(drawn: Desk) -> None:
    """Its parts in order."""
    manifest = drawn.load("jobs: [{id: walk, prompt: x, film: true, storyboard: [a.png, b.png, c.png]}]")
    assert manifest.films == (Film("walk", ("walk-01", "walk-02"), "walk.mp4"),)


def test_a_film_is_joined_of_the_first_takes(drawn: Desk) -> None:
    """Each part may have several; another choice is written under films."""
    manifest = drawn.load("jobs: [{id: walk, prompt: x, takes: 2, film: true, storyboard: [a.png, b.png, c.png]}]")
    assert [job.id for job in manifest.jobs] == ["walk-01", "walk-02", "walk-01-2", "walk-02-2"]
    assert [film.clips for film in manifest.films] == [("walk-01", "walk-02")]
    assert manifest.films[0].takes == (("walk-01", "walk-01-2"), ("walk-02", "walk-02-2"))
    assert [job.first_take for job in manifest.jobs] == ["", "", "walk-01", "walk-02"]


def test_every_combination_of_a_matrix_is_a_storyboard_with_a_film(drawn: Desk) -> None:
    """The parts of one stay together, and templates are filled in in frames too."""
    text = """
    jobs:
      - id: "{who}-walk"
        prompt: "{who} walks."
        film: yes
        storyboard: [a.png, "{frame}.png", c.png]
        matrix: {who: [ann, bob], frame: [b]}
    """
    manifest = drawn.load(text)
    assert [job.id for job in manifest.jobs] == ["ann-walk-01", "ann-walk-02", "bob-walk-01", "bob-walk-02"]
    assert [(film.id, film.clips) for film in manifest.films] == [
        ("ann-walk", ("ann-walk-01", "ann-walk-02")),
        ("bob-walk", ("bob-walk-01", "bob-walk-02")),
    ]


def test_each_row_of_a_table_may_be_a_storyboard(drawn: Desk) -> None:
    """Its columns name the frames."""
    drawn.write("rows.csv", "id,start,prompt\nann,a,Ann walks.\nbob,b,Bob walks.\n")
    manifest = drawn.load('jobs: [{from: rows.csv, film: true, storyboard: ["{start}.png", c.png, d.png]}]')
    assert [job.id for job in manifest.jobs] == ["ann-01", "ann-02", "bob-01", "bob-02"]
    assert [job.frames[0].path[-5:] for job in manifest.jobs] == ["a.png", "c.png", "b.png", "c.png"]
    assert [film.path for film in manifest.films] == ["ann.mp4", "bob.mp4"]


def test_a_job_that_continues_another_knows_it_and_has_no_fingerprint_yet(drawn: Desk) -> None:
    """What it would send is known when that clip is there; its last frame is its own."""
    text = "jobs: [{id: kite, prompt: x}, {id: dive, prompt: y, continues: kite, at: -0.2s, last_frame: a.png}]"
    _, dive = drawn.load(text).jobs
    assert isinstance(dive, Continuation)
    assert (dive.continues, dive.at_s, dive.fingerprint) == ("kite", -0.2, "")
    assert [frame.path[-5:] for frame in dive.frames] == ["a.png"]


def test_a_chain_may_go_through_storyboards_takes_rows_and_derived_ids(drawn: Desk) -> None:
    """An id is all that is needed, in any order; a take is named like any job."""
    drawn.write("rows.csv", "id,prompt,continues\none,x,\ntwo,y,one\n")
    text = """
    jobs:
      - {id: after, prompt: x, continues: walk-02}
      - {id: walk, prompt: x, storyboard: [a.png, b.png, c.png]}
      - {id: kite, prompt: x, takes: 2}
      - {id: dive, prompt: y, continues: kite-2, takes: 2}
      - {prompt: Somewhere else., continues: dive-2}
      - {from: rows.csv}
    """
    jobs = drawn.load(text).jobs
    assert {job.id: job.continues for job in jobs if isinstance(job, Continuation)} == {
        "after": "walk-02",
        "dive": "kite-2",
        "dive-2": "kite-2",
        jobs[-3].id: "dive-2",
        "two": "one",
    }
    assert jobs[-3].id.startswith("somewhere-else-")


def test_films_name_clips_in_any_order_and_number(desk: Desk) -> None:
    """They lie at the top of the output, whatever clips are called."""
    text = 'filename: "clips/{id}.mp4"\njobs: [{id: a, prompt: x}, {id: b, prompt: y}]\n'
    manifest = desk.load(f"{text}films: [{{id: trailer, clips: [b, a, b]}}]")
    assert manifest.films == (Film("trailer", ("b", "a", "b"), "trailer.mp4"),)


ONE = "jobs:\n  - {id: kite, prompt: x}\n"
CIRCLE = """jobs:
  - {id: a, prompt: x, continues: c}
  - {id: b, prompt: x, continues: a}
  - {id: c, prompt: x, continues: b}
"""
TWO_FRAMES = "storyboard: [a.png, b.png]"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            f"{ONE}  - {{id: b, prompt: x, continues: kitten}}",
            '4:24: jobs[1].continues: "kitten" is no job here: did you',
        ),
        (f"{ONE}  - {{id: b, prompt: x, continues: Kite}}", '"Kite" is no job here: did you mean kite?'),
        (f"{ONE}  - {{id: b, prompt: x, continues: b}}", "jobs[1].continues: is a circle: b -> b: let one of them"),
        (
            CIRCLE,
            "3:24: jobs[0].continues: is a circle: a -> c -> b -> a",
        ),
        (
            f"{ONE}  - {{id: b, prompt: x, continues: kite, first_frame: a.png}}",
            "jobs[1].continues: stands beside first_frame, and the clip can begin with one frame only",
        ),
        (f"{ONE}  - {{id: b, prompt: x, at: 1s}}", "jobs[1].at: stands without continues: name the clip"),
        (
            f"{ONE}  - {{id: b, prompt: x, continues: kite, at: -0.2}}",
            'jobs[1].at: "-0.2" is no moment of a clip: write',
        ),
        ("jobs:\n  - {id: w, prompt: x, storyboard: []}", "jobs[0].storyboard: has fewer than 2 frames"),
        ("jobs:\n  - {id: w, prompt: x, storyboard: a.png}", "jobs[0].storyboard: is text, and a list is wanted"),
        (f"jobs:\n  - {{prompt: x, {TWO_FRAMES}}}", "jobs[0].storyboard: needs an id: its jobs are named after it"),
        (
            "jobs:\n  - {id: w, prompt: x, storyboard: [a.png, no.png]}",
            "3:44: jobs[0].storyboard[1]: no.png: no such file",
        ),
        (
            f"jobs:\n  - {{id: w, prompt: x, {TWO_FRAMES}, last_frame: c.png}}",
            "jobs[0].last_frame: stands beside storyboard, which holds the frames",
        ),
        (
            f"{ONE}  - {{id: w, prompt: x, {TWO_FRAMES}, continues: kite}}",
            "jobs[1].continues: stands beside storyboard",
        ),
        (
            f"jobs:\n  - {{id: w, prompts: [x, y], {TWO_FRAMES}}}",
            "jobs[0].prompts: has 2 prompts for 1 job: write one",
        ),
        (
            f"jobs:\n  - {{id: w, prompt: x, prompts: [x], {TWO_FRAMES}}}",
            "jobs[0].prompts: stands beside prompt: remove",
        ),
        ("jobs:\n  - {id: w, prompts: [x]}", "jobs[0].prompts: belongs to a storyboard: write prompt:"),
        (
            f"jobs:\n  - {{id: w, prompt: x, {TWO_FRAMES}, film: maybe}}",
            'jobs[0].film: is "maybe": write true or false',
        ),
        (
            f"{ONE}  - {{id: kite, prompt: x, {TWO_FRAMES}, film: true}}",
            'jobs[1].film: "kite" is the id of a job: a film needs one of its own',
        ),
        (
            f"jobs:\n  - {{id: w, prompt: '{{w}}', {TWO_FRAMES}}}",
            'jobs[0].prompt: "{w}" is no variable here',
        ),
        (
            f"{ONE}films: [{{id: f, clips: [kitee]}}]",
            '4:25: films[0].clips[0]: "kitee" is no job here: did you mean kite?',
        ),
        (f"{ONE}films: [{{id: f, clips: []}}]", "films[0].clips: is empty: write at least one value"),
        (f"{ONE}films: [{{id: f}}]", "films[0]: has no clips: write such as {id: trailer"),
        (f"{ONE}films: [{{clips: [kite]}}]", "films[0]: has no id: write such as {id: trailer"),
        (f"{ONE}films: [kite]", "films[0]: is text, and a map is wanted"),
        (f"{ONE}films: [{{id: a/b, clips: [kite]}}]", 'films[0].id: "a/b" is no id'),
        (f"{ONE}films: [{{id: KITE, clips: [kite]}}]", 'films[0].id: "KITE" is the id of a job'),
        (f"{ONE}films: [{{id: f, clip: [kite]}}]", "films[0].clip: unknown key: did you mean clips?"),
        (
            f"{ONE}films: [{{id: f, clips: [kite]}}, {{id: F, clips: [kite]}}]",
            'films[1].id: "F" is the id of the film of films[0].id too',
        ),
        (
            'filename: "{take}.mp4"\n' + ONE + 'films: [{id: "1", clips: [kite]}]',
            'films[0].id: the film would be written to 1.mp4, and so would job "kite"',
        ),
    ],
)
def test_a_wrong_link_is_named_with_what_to_write(drawn: Desk, text: str, complaint: str) -> None:
    """One problem each, where it stands."""
    (found,) = drawn.complaints(f"version: 1\n{text}")
    assert complaint in found


def test_a_clip_of_another_shape_than_the_one_before_is_warned_of(desk: Desk) -> None:
    """Its first frame would be cropped."""
    text = "jobs: [{id: a, prompt: x, size: 16x9}, {id: b, prompt: x, size: 9x16, continues: a}]"
    (warning,) = desk.load(text).warnings
    assert '"a" is 16x9, and this clip 9x16: the service may crop its frame' in warning


def test_a_clip_that_only_ends_with_a_frame_is_still_refused(drawn: Desk) -> None:
    """Unless it continues another."""
    (found,) = drawn.complaints("jobs: [{id: a, prompt: x, last_frame: a.png}]")
    assert "stands without first_frame" in found


def test_a_wrong_job_is_not_reported_again_by_those_that_name_it(desk: Desk) -> None:
    """Its id is known all the same."""
    text = """
    jobs:
      - {id: a, prompt: x, first_frame: none.png}
      - {id: b, prompt: x, continues: a}
    films: [{id: f, clips: [a, b]}]
    """
    assert len(desk.complaints(text)) == 1
