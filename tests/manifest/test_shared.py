"""Variables that all jobs share, and files that manifests include."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk


def test_variables_of_all_jobs_fill_in_texts_where_nothing_nearer_does(desk: Desk) -> None:
    """A value of a matrix and a cell of a row win; an empty cell does not. What nothing uses is no mistake."""
    desk.write("rows.csv", "id,subject,mood\na,A boat,calm\nb,A ship,\n")
    jobs = desk.load(
        """
        filename: "{look}/{id}.mp4"
        defaults:
          prompt: "{subject}, {mood}, {look}"
          form: {style: "{look}"}
          vars: {look: noir, mood: grim, subject: A fox, unused: "{nobody}", n: 7}
        jobs:
          - {id: plain, prompt: No texts}
          - {id: own, prompt: "A hare, {mood}, {n}"}
          - {id: bare}
          - {id: "m-{mood}", matrix: {mood: [sad, glad]}}
          - {from: rows.csv}
        """
    ).jobs
    assert {job.id: job.prompt for job in jobs} == {
        "plain": "No texts", "own": "A hare, grim, 7", "bare": "A fox, grim, noir",
        "m-sad": "A fox, sad, noir", "m-glad": "A fox, glad, noir",
        "a": "A boat, calm, noir", "b": "A ship, grim, noir",
    }  # fmt: skip
    assert {job.path for job in jobs} == {f"noir/{job.id}.mp4" for job in jobs}
    assert {job.form for job in jobs} == {(("style", "noir"),)}


def test_what_a_shared_variable_holds_is_text(desk: Desk) -> None:
    """Braces in it are no template, and a number is its digits."""
    (job,) = desk.load('{defaults: {vars: {a: "{b}", b: 08}}, jobs: [{id: x, prompt: "{a} {b}"}]}').jobs
    assert job.prompt == "{b} 08"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{defaults: {vars: {take: 1}}, jobs: [{prompt: A}]}", "defaults.vars.take: "),
        ("{defaults: {vars: {'a b{': x}}, jobs: [{prompt: A}]}", "is no name for a variable"),
        ("{defaults: {vars: [a]}, jobs: [{prompt: 'x {a}'}]}", "defaults.vars: is a list, and a map"),
        ("{vars: {a: b}, jobs: [{prompt: A}]}", "vars: unknown key here: it belongs under defaults"),
        ("{jobs: [{prompt: A, vars: {a: b}}]}", "jobs[0].vars: unknown key here: it belongs under defaults"),
        ("{defaults: {vars: {a: b}}, jobs: [{prompt: 'x {c}'}]}", '"{c}" is no variable here: known are {a}, {take}'),
    ],
)
def test_what_is_wrong_with_shared_variables_is_told_once(desk: Desk, text: str, told: str) -> None:
    """With what to write; a text that needs one of them is no second mistake."""
    (line,) = desk.complaints(text)
    assert told in line
