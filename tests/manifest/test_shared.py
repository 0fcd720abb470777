"""Variables that all jobs share, and files that manifests include."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.manifest.layers import DEPTH_AT_MOST, FILES_AT_MOST

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


def test_a_manifest_wins_over_what_it_includes_key_by_key(desk: Desk) -> None:
    """Also of variables and form fields; a later file wins over an earlier one, and a file over what it includes."""
    desk.write("shared/all.yaml", "include: [base.yaml]\ndefaults: {size: 9x16, vars: {a: all, b: all}}\n")
    desk.write(
        "shared/base.yaml",
        """
        version: 1
        service: {base_url: https://gateway.example/v1, key_env: GATEWAY_KEY}
        limits: {in_flight: 3, attempts: 5}
        prices: {m: 0.10, n: {16x9: 0.20}}
        notify: [jsons://hooks.example.net/base]
        defaults: {model: m, size: 16x9, form: {seed: 1, fps: 24}, vars: {a: base, b: base, c: base}}
        """,
    )
    desk.write("late.yaml", "limits: {attempts: 6}\nprices: {m: 0.30}\n")
    found = desk.load(
        """
        include: [shared/all.yaml, late.yaml]
        limits: {in_flight: 4}
        prices: {n: 0.50}
        defaults: {form: {seed: 2}, vars: {b: own}}
        jobs:
          - {id: one, prompt: "{a} {b} {c}"}
          - {id: two, prompt: "{a}", model: n}
        """
    )
    one, two = found.jobs
    assert (one.prompt, one.model, one.size) == ("all own base", "m", "9x16")
    assert dict(one.form) == {"seed": "2", "fps": "24"}
    assert (one.price_micros, two.price_micros) == (300_000, 500_000)
    assert (found.limits.in_flight, found.limits.attempts) == (4, 6)
    assert (found.base_url, found.key_env) == ("https://gateway.example/v1", "GATEWAY_KEY")
    assert [hook.shown for hook in found.notify] == ["jsons://hooks.example.net/…"]
    assert {path.name for path in found.reads} == {"all.yaml", "base.yaml", "late.yaml"}


def test_an_included_manifest_is_the_same_as_a_written_one(desk: Desk) -> None:
    """The jobs have the ids and the fingerprints that they would have without the file."""
    desk.write("base.yaml", "defaults: {size: 16x9, prompt: '{what}, {style}', vars: {style: noir}}\n")
    jobs = "jobs: [{matrix: {what: [A fox, A hare]}}]"
    included = desk.load(f"include: [base.yaml]\n{jobs}\n").jobs
    written = desk.load((desk.folder / "base.yaml").read_text("utf-8") + f"{jobs}\n").jobs
    assert [(job.id, job.fingerprint) for job in included] == [(job.id, job.fingerprint) for job in written]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("defaults: {size: 12}\n", ["base.yaml:1:12: defaults.size: 12 without quotes reads as a number"]),
        ("limits: {in_flight: 0}\n", ["base.yaml:1:10: limits.in_flight: is 0"]),
        ("prices: {m: cheap}\n", ["base.yaml:1:10: prices.m"]),
        ("jobs: [{prompt: A}]\n", ["base.yaml:1:1: jobs: cannot be included: write it into the manifest"]),
        ("colour: red\n", ["base.yaml:1:1: colour: unknown key"]),
        ("[1, 2]\n", ["base.yaml:1:1: include: is a list, and a map is wanted"]),
        ("a: [\n", ["base.yaml:2:1: include: is not YAML"]),
        ("", ["base.yaml:1:1: include: is empty"]),
        ("service: {key_env: sk-1234567890abcdefghij}\n", ["base.yaml:1:1: service: holds what looks like a key"]),
        ("include: [clips.yaml]\n", ['base.yaml:1:11: include[0]: "clips.yaml" includes itself']),
        ("include: [base.yaml]\n", ['base.yaml:1:11: include[0]: "base.yaml" includes itself']),
        ("include: [gone.yaml]\n", ["base.yaml:1:11: include[0]: gone.yaml: no such file"]),
        (
            "include: [https://x.example/a.yaml]\n",
            ["base.yaml:1:11: include[0]: "],
        ),
        ("defaults: {prompt: 'x {'}\n", ["base.yaml:1:12: defaults.prompt: a single"]),
        ("defaults: {first_frame: gone.png, prompt: P}\n", ["base.yaml:1:12: defaults.first_frame: "]),
    ],
)
def test_a_mistake_is_told_in_the_file_in_which_it_is(desk: Desk, text: str, told: list[str]) -> None:
    """Once, and no job misses what the file may have held."""
    desk.write("base.yaml", text)
    jobs = "{id: a}, {id: b, prompt: '{style}'}" if "prompt" not in text else "{id: a}"
    lines = desk.complaints(f"include: [base.yaml]\njobs: [{jobs}]\n")
    lines = [line for line in lines if not line.startswith("clips.yaml:2:")]
    assert [line[: len(start)] for line, start in zip(lines, told, strict=True)] == told


def test_a_file_that_is_not_there_is_one_mistake(desk: Desk) -> None:
    """And not one of each job that may have needed it."""
    (line,) = desk.complaints(
        """
        include: [gone.yaml]
        limits: {budget: 1.00}
        jobs: [{id: a}, {id: b, prompt: "{style}"}]
        """
    )
    assert line.endswith("include[0]: gone.yaml: no such file")


def test_depth_and_number_are_bounded(desk: Desk) -> None:
    """A chain of files, and one that names too many, each with one mistake; a file may be named from two places."""
    for number in range(DEPTH_AT_MOST + 2):
        desk.write(f"f{number}.yaml", f"include: [f{number + 1}.yaml]\n")
    (line,) = desk.complaints("{include: [f0.yaml], jobs: [{prompt: A}]}")
    assert f"is more than {DEPTH_AT_MOST} files deep" in line
    desk.write("leaf.yaml", "defaults: {size: 16x9}\n")
    desk.write("many.yaml", f"include: [{', '.join(['leaf.yaml'] * FILES_AT_MOST)}]\n")
    (line,) = desk.complaints("{include: [many.yaml, many.yaml], jobs: [{prompt: A}]}")
    assert f"is one file too many: {FILES_AT_MOST} are included at most" in line
    assert desk.load("{include: [leaf.yaml, leaf.yaml], jobs: [{prompt: A}]}").jobs[0].size == "16x9"


@pytest.mark.parametrize(
    ("below", "written", "expected"),
    [
        ("base_url: https://studio.example/v1, key_env: STUDIO_KEY", "", "https://studio.example/v1 STUDIO_KEY"),
        ("base_url: https://studio.example/v1, key_env: STUDIO_KEY", "base_url: https://studio.example/v1",
         "https://studio.example/v1 STUDIO_KEY"),
        ("base_url: https://studio.example/v1, key_env: STUDIO_KEY", "base_url: https://other.example/v1",
         "https://other.example/v1 COMETAPI_KEY"),
        ("key_env: STUDIO_KEY", "base_url: https://other.example/v1", "https://other.example/v1 COMETAPI_KEY"),
        ("provider: openai, key_env: STUDIO_KEY", "base_url: https://other.example/v1", "https://other.example/v1 "),
        ("base_url: https://studio.example/v1, key_env: STUDIO_KEY", "provider: openai",
         "https://api.openai.com/v1 OPENAI_API_KEY"),
        ("key_env: STUDIO_KEY, proxy: env", "base_url: https://api.cometapi.com/v1",
         "https://api.cometapi.com/v1 STUDIO_KEY"),
    ],
)  # fmt: skip
def test_the_key_of_a_shared_service_is_for_no_other(desk: Desk, below: str, written: str, expected: str) -> None:
    """A manifest that names another address would tell it a key that somebody pays for."""
    desk.write("shared.yaml", f"service: {{{below}}}\n")
    found = desk.load(f"{{include: [shared.yaml], service: {{{written}}}, jobs: [{{id: a, prompt: A}}]}}")
    assert f"{found.base_url} {found.key_env}" == expected
