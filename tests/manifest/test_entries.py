"""Entries of ``jobs:``, and the jobs that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchvid.domain import fingerprint

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk


def test_a_job_is_what_the_entry_says_over_the_defaults(desk: Desk) -> None:
    """Every field, from its nearest source; ``form`` is merged."""
    desk.draw("a.png")
    loaded = desk.load("""\
        version: 1
        prices: {veo3-fast: 0.40}
        defaults: {model: veo3-fast, size: 16x9, form: {seed: "1", style: flat}}
        jobs:
          - id: kite
            prompt: A kite.
          - id: dusk
            prompt: Dusk.
            model: veo3.1
            size: 1280x720
            seconds: "4"
            first_frame: a.png
            last_frame: a.png
            form: {seed: "7"}
            price: 0.50
    """)
    kite, dusk = loaded.jobs
    assert (kite.id, kite.prompt, kite.model, kite.size, kite.seconds) == ("kite", "A kite.", "veo3-fast", "16x9", None)
    assert kite.form == (("seed", "1"), ("style", "flat"))
    assert (kite.price_micros, kite.path) == (400_000, "kite.mp4")
    assert kite.where == f"{desk.folder}/clips.yaml:5"
    assert (dusk.model, dusk.size, dusk.seconds, dusk.price_micros) == ("veo3.1", "1280x720", "4", 500_000)
    assert dusk.form == (("seed", "7"), ("style", "flat"))
    assert [frame.path for frame in dusk.frames] == [f"{desk.folder}/a.png"] * 2
    assert dusk.where == f"{desk.folder}/clips.yaml:7"


def test_a_fingerprint_is_over_everything_that_is_sent(desk: Desk) -> None:
    """It is the core's own, over fields and the frames' hashes."""
    desk.draw("a.png")
    (job,) = desk.load('jobs: [{prompt: x, seconds: "4", first_frame: a.png, form: {a: "1"}}]').jobs
    fields = fingerprint.fields(prompt="x", model="veo3-fast", size=None, seconds="4", form=[("a", "1")])
    assert job.fingerprint == fingerprint.fingerprint(fields, [job.frames[0].sha256])


def test_each_frame_is_read_once(desk: Desk) -> None:
    """However many jobs use it, and however it is spelt."""
    desk.draw("a.png")
    desk.load("""\
        defaults: {first_frame: a.png}
        jobs:
          - {id: a, prompt: x, takes: 50}
          - {id: b, prompt: y, first_frame: ./a.png, last_frame: a.png}
    """)
    assert desk.frames_read == ["a.png"]


def test_wrong_frames_are_all_listed(desk: Desk) -> None:
    """Missing, a folder, no image: each at its field."""
    (desk.folder / "folder").mkdir()
    desk.write("text.png", "hello")
    assert desk.complaints("""\
        jobs:
          - id: a
            prompt: x
            first_frame: missing.png
            last_frame: folder
          - id: b
            prompt: x
            first_frame: text.png
          - id: c
            prompt: x
            last_frame: text.png
    """) == [
        "clips.yaml:4:5: jobs[0].first_frame: missing.png: no such file",
        "clips.yaml:5:5: jobs[0].last_frame: folder: is a folder, not an image",
        "clips.yaml:8:5: jobs[1].first_frame: text.png: is no image",
        (
            "clips.yaml:11:5: jobs[2].last_frame: stands without first_frame: write first_frame too, "
            "or name this one first_frame"
        ),
        "clips.yaml:11:5: jobs[2].last_frame: text.png: is no image",
    ]


def test_a_wrong_default_is_one_problem_for_all_jobs(desk: Desk) -> None:
    """It is shown where it stands, not once a job."""
    jobs = "".join(f"  - {{id: a{n}, prompt: x}}\n" for n in range(20))
    assert desk.complaints(f"defaults: {{first_frame: no.png, prompt: 5}}\njobs:\n{jobs}  - {{id: z}}\n") == [
        "clips.yaml:1:12: defaults.first_frame: no.png: no such file",
        'clips.yaml:1:33: defaults.prompt: 5 without quotes reads as a number, and text is wanted: write prompt: "5"',
    ]


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("just text", "jobs[0]: is text, and a map is wanted"),
        ("", "jobs[0]: is empty, and a map is wanted"),
        ("[x]", "jobs[0]: is a list, and a map is wanted"),
        ("{id: kite}", "jobs[0]: has no prompt"),
        ("{prompt: '  '}", "jobs[0].prompt: is empty"),
        ('{prompt: "a\\x07b"}', "jobs[0].prompt: holds a control character"),
        ("{prompt: [x]}", "jobs[0].prompt: is a list, and text is wanted"),
        ("{promt: x}", "jobs[0].promt: unknown key: did you mean prompt?"),
        ("{prompt: x, first-frame: y}", "jobs[0].first-frame: unknown key: did you mean first_frame?"),
        ("{prompt: x, id: a b}", 'jobs[0].id: "a b" is no id: write 1 to 100 of a\u2013z, A\u2013Z, 0\u20139 . _ -'),
        ("{prompt: x, id: -a}", 'jobs[0].id: "-a" is no id'),
        ("{prompt: x, id: ../a}", 'jobs[0].id: "../a" is no id'),
        ("{prompt: x, id: kité}", 'jobs[0].id: "kité" is no id'),
        (f"{{prompt: x, id: {'a' * 101}}}", 'jobs[0].id: "aaaa'),
        ("{prompt: x, takes: 0}", "jobs[0].takes: is 0: write a number from 1 to 1000"),
        ("{prompt: x, form: {prompt: y}}", "jobs[0].form.prompt: is not a further field: write prompt: beside form:"),
        (
            "{prompt: x, form: {input_reference: y}}",
            "jobs[0].form.input_reference: is not a further field: write first",
        ),
        ("{prompt: x, form: {seed: 07}}", "jobs[0].form.seed: 07 without quotes reads as a number"),
        ("{prompt: x, form: {'a b': y}}", "jobs[0].form.a b: is no name of a form field"),
        ("{prompt: x, price: -1}", 'jobs[0].price: "-1" is not an amount of money'),
        ("{prompt: x, continues: y}", 'jobs[0].continues: "y" is no job here: write a job\'s id'),
        ("{prompt: x, storyboard: [y]}", "jobs[0].storyboard: has fewer than 2 frames: a clip needs two"),
        ("{prompt: x, film: true}", "jobs[0].film: belongs to a storyboard: for other clips write films:"),
        ("{prompt: x, matrix: {}}", "jobs[0].matrix: is empty"),
        ("{prompt: x, matrix: {a: []}}", "jobs[0].matrix.a: is empty"),
        ("{prompt: x, matrix: {a: y}}", "jobs[0].matrix.a: is text, and a list is wanted"),
        (
            "{prompt: x, matrix: {a: [no]}}",
            'jobs[0].matrix.a[0]: no without quotes reads as a yes/no, and text is wanted: write "no"',
        ),
        ("{prompt: x, matrix: {take: [y]}}", 'jobs[0].matrix.take: "take" is the number of the take'),
        (
            "{prompt: 'x {y}'}",
            'jobs[0].prompt: "{y}" is no variable here: known are {take}; a brace as text is {{ or }}',
        ),
        ("{prompt: 'x {y.__class__}'}", 'jobs[0].prompt: "{y.__class__}" is no variable here'),
        ("{prompt: 'x {'}", 'jobs[0].prompt: a single "{" stands in the text: write {{ for a brace'),
        ("{prompt: x, from: a.csv, pairs: b}", "jobs[0].pairs: stands beside from: write two entries"),
        ("{prompt: x, from: a.html}", "jobs[0].from: a.html: is no table that is read here"),
        ("{prompt: x, from: a.xlsx}", "jobs[0].from: a.xlsx: is a workbook: save the sheet as CSV UTF-8"),
        ("{prompt: x, pairs: nowhere}", "jobs[0].pairs: nowhere: no such folder"),
        (
            "{prompt: x, matrix: {a: [x, y], b: [x, y]}, takes: 1000, from: no.csv}",
            "jobs[0].from: no.csv: no such file",
        ),
    ],
)
def test_a_wrong_entry_is_named_with_what_to_write(desk: Desk, entry: str, complaint: str) -> None:
    """Each mistake is one problem, in the entry's own words."""
    (found,) = desk.complaints(f"jobs:\n  - {entry}\n")
    assert found.startswith("clips.yaml:2:")
    assert found.split(": ", 1)[1].startswith(complaint)


def test_ids_are_unique_without_regard_to_case_and_both_are_named(desk: Desk) -> None:
    """A file system may not tell them apart."""
    assert desk.complaints("""\
        jobs:
          - {id: kite, prompt: x}
          - {id: KITE, prompt: y}
          - {id: kite-2, prompt: y}
          - {id: kITe, prompt: z, takes: 2}
    """) == [
        f"clips.yaml:{place} too: ids are unique, without regard to case"
        for place in (
            '3:6: jobs[1].id: "KITE" is the id of jobs[0] (clips.yaml:2)',
            '5:6: jobs[3].id: "kITe" is the id of jobs[0] (clips.yaml:2)',
            '5:6: jobs[3].id: "kITe-2" is the id of jobs[2] (clips.yaml:4)',
        )
    ]


def test_a_job_without_id_is_named_by_its_first_words_and_its_content(desk: Desk) -> None:
    """Letters are folded to ASCII, at most forty of them."""
    jobs = desk.load("""\
        jobs:
          - prompt: Über den Dächern, a kite floats slowly above everything there is
          - prompt: 夜の市場
    """).jobs
    assert jobs[0].id == f"uber-den-dachern-a-kite-floats-slowly-{jobs[0].fingerprint[:6]}"
    assert jobs[1].id == f"clip-{jobs[1].fingerprint[:6]}"


def test_two_equal_entries_without_id_are_told_about_takes(desk: Desk) -> None:
    """Twice the same is either a slip, or what takes are for."""
    assert desk.complaints("jobs:\n  - prompt: x\n  - prompt: y\n  - prompt: x\n") == [
        "clips.yaml:4:5: jobs[2]: is the same as jobs[0] (clips.yaml:2): for more clips of one content write takes: 2"
    ]


def test_takes_number_the_ids_from_two(desk: Desk) -> None:
    """The first take has the bare id; a template with {take} numbers by itself."""
    assert desk.ids("jobs: [{id: kite, prompt: x, takes: 3}]") == ["kite", "kite-2", "kite-3"]
    assert desk.ids("jobs: [{id: 'kite-v{take}', prompt: x, takes: 2}]") == ["kite-v1", "kite-v2"]
    first, second = desk.ids("jobs: [{prompt: 'a kite, {take}', takes: 2}]")
    assert second == f"{first}-2"


def test_further_takes_tell_the_first_one(desk: Desk) -> None:
    """However their ids are written, and in a matrix."""

    def firsts(text: str) -> list[str]:
        return [job.first_take for job in desk.load(text).jobs]

    assert firsts("jobs: [{id: kite, prompt: x, takes: 3}, {id: gull, prompt: x}]") == ["", "kite", "kite", ""]
    assert firsts("jobs: [{id: 'kite-v{take}', prompt: x, takes: 2}]") == ["", "kite-v1"]
    first, second = desk.load("jobs: [{prompt: 'a kite, {take}', takes: 2}]").jobs
    assert (first.first_take, second.first_take) == ("", first.id)
    text = "jobs: [{id: '{hue}-{take}', prompt: x, takes: 2, matrix: {hue: [red, blue]}}]"
    assert firsts(text) == ["", "red-1", "", "blue-1"]


def test_a_matrix_is_every_combination_in_order(desk: Desk) -> None:
    """The last variable runs fastest; texts, ids, frames and form fields may hold variables."""
    desk.draw("Hue.png")
    desk.draw("Hanoi.png")
    jobs = desk.load("""\
        jobs:
          - id: "{city}-{n}"
            prompt: "A street in {city}, {{quiet}}, at {n}"
            first_frame: "{city}.png"
            form: {seed: "{n}"}
            matrix: {city: [Hanoi, Hue], n: [1, "2"]}
    """).jobs
    assert [job.id for job in jobs] == ["Hanoi-1", "Hanoi-2", "Hue-1", "Hue-2"]
    assert jobs[3].prompt == "A street in Hue, {quiet}, at 2"
    assert jobs[3].form == (("seed", "2"),)
    assert jobs[3].frames[0].path.endswith("/Hue.png")


def test_a_matrix_without_id_derives_one_for_each(desk: Desk) -> None:
    """They differ because their content does."""
    ids = desk.ids("jobs: [{prompt: 'at {time}', matrix: {time: [dawn, dusk]}}]")
    assert ids[0].startswith("at-dawn-")
    assert ids[1].startswith("at-dusk-")


def test_a_matrix_that_explodes_is_refused_before_it_does(desk: Desk) -> None:
    """Ten to the tenth jobs are a slip of the finger."""
    values = ", ".join(f"v{n}: [a, b, c, d, e, f, g, h, i, j]" for n in range(10))
    (found,) = desk.complaints(f"jobs:\n  - {{prompt: x, matrix: {{{values}}}}}\n  - {{prompt: y}}\n")
    assert "jobs[0]: would make 10,000,000,000 jobs in all: 1,000,000 are the most" in found


def test_prices_are_by_size_by_model_and_the_entry_wins(desk: Desk) -> None:
    """Per second means the job's seconds, and eight where none are given."""
    jobs = desk.load("""\
        limits: {budget: 100}
        prices:
          flat: 0.40
          slow: 0.40/s
          both: {"*": 0.10/s, 3840x2160: 0.60/s}
        jobs:
          - {id: a, prompt: x, model: flat, size: any}
          - {id: b, prompt: x, model: slow}
          - {id: c, prompt: x, model: slow, seconds: "4"}
          - {id: d, prompt: x, model: both, size: 1280x720}
          - {id: e, prompt: x, model: both, size: 3840x2160, seconds: "4.5"}
          - {id: f, prompt: x, model: unknown, price: 0.25/s}
          - {id: g, prompt: x, model: flat, price: 0}
    """).jobs
    assert [job.price_micros for job in jobs] == [400_000, 3_200_000, 1_600_000, 800_000, 2_700_000, 2_000_000, 0]


def test_an_unknown_price_is_a_problem_only_under_a_budget(desk: Desk) -> None:
    """Once a model and size, with how many jobs it is about."""
    jobs = """\
jobs:
  - {id: a, prompt: x, model: veo3, size: 16x9, takes: 3}
  - {id: b, prompt: x}
"""
    assert [job.price_micros for job in desk.load(jobs).jobs] == [None] * 4
    assert desk.complaints("limits: {budget: 5}\nprices: {veo3: {9x16: 1}}\n" + jobs) == [
        (
            "clips.yaml:4:5: jobs[0]: has no price, and there is a budget: add veo3 at size 16x9 to prices, "
            "or price: to the job (and 2 more jobs)"
        ),
        "clips.yaml:5:5: jobs[1]: has no price, and there is a budget: add veo3-fast to prices, or price: to the job",
    ]


def test_a_price_per_second_needs_seconds_that_are_a_number(desk: Desk) -> None:
    """Text is passed through, but not multiplied."""
    (found,) = desk.complaints("prices: {m: 1/s}\njobs: [{prompt: x, model: m, seconds: long}]")
    assert 'jobs[0].seconds: "long" is no number of seconds, and the price is per second' in found


def test_strange_but_allowed_things_are_warnings_said_once(desk: Desk) -> None:
    """Sizes nobody knows, frames that do not fit, frames that differ."""
    desk.draw("wide.png", (64, 36))
    desk.draw("tall.png", (36, 64))
    loaded = desk.load("""\
        defaults: {size: 16x9}
        jobs:
          - {id: fine, prompt: x, first_frame: wide.png, last_frame: wide.png}
          - {id: crop, prompt: x, first_frame: tall.png, takes: 9}
          - {id: differ, prompt: x, size: 9x16, first_frame: tall.png, last_frame: wide.png}
          - {id: odd, prompt: x, size: "16:9", takes: 9}
    """)
    warnings = [warning.replace(f"{desk.folder}/", "") for warning in loaded.warnings]
    assert warnings == [
        "clips.yaml:4:27: jobs[1].first_frame: is 36x64, and the clip 16x9: the service may crop it; see fit:",
        "clips.yaml:5:64: jobs[2].last_frame: is 64x36, and the clip 9x16: the service may crop it; see fit:",
        "clips.yaml:5:64: jobs[2].last_frame: is 64x36, and the first frame 36x64: make them alike",
        'clips.yaml:6:26: jobs[3].size: "16:9" is neither 16x9, 9x16 nor pixels such as 1280x720; it is sent as it is',
    ]


def test_seconds_and_further_fields_are_taken_without_quotes_where_a_number_means_one_text(desk: Desk) -> None:
    """They are sent as they stand, and count as what they are in quotes: nothing that was paid has changed."""
    bare = desk.load("jobs: [{id: a, prompt: x, seconds: 8, form: {seed: 7, scale: 1.50}}]").jobs[0]
    quoted = desk.load('jobs: [{id: a, prompt: x, seconds: "8", form: {seed: "7", scale: "1.50"}}]').jobs[0]
    assert (bare.seconds, bare.form) == ("8", (("seed", "7"), ("scale", "1.50")))
    assert bare.fingerprint == quoted.fingerprint
    for unclear in ("012", "0x10", "1:30", "1_000", "yes"):
        (found,) = desk.complaints(f"jobs: [{{id: a, prompt: x, seconds: {unclear}}}]")
        assert f'write seconds: "{unclear}"' in found


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            "{prompt: x, seed: 7}",
            "jobs[0].seed: unknown key: it is a further field of the request: write form: {seed: 7}",
        ),
        ("{prompt: x, negative_prompt: no hats}", 'write form: {negative_prompt: "no hats"}'),
        ("{prompt: x, duration: 8}", "jobs[0].duration: unknown key: write seconds: 8"),
        ("{prompt: x, duration: 8s}", "jobs[0].duration: unknown key: write seconds: 8"),
        ("{prompt: x, aspect_ratio: 16:9}", "jobs[0].aspect_ratio: unknown key: write size: 16x9"),
        ("{prompt: x, aspectRatio: '9:16'}", "jobs[0].aspectRatio: unknown key: write size: 9x16"),
        ("{prompt: x, image: a.png}", "jobs[0].image: unknown key: write first_frame: a.png"),
        (
            "{prompt: x, image_url: 'https://x/a.png'}",
            "jobs[0].image_url: unknown key: write first_frame: frames/dawn.png, for example",
        ),
        ("{text: x}", "jobs[0].text: unknown key: write prompt: A paper kite., for example"),
        ("{prompt: x, whatever: 7}", "; what else the service knows stands under form:"),
    ],
)
def test_a_key_of_another_program_is_answered_with_the_key_that_is_meant(desk: Desk, entry: str, told: str) -> None:
    """And not with a list of nineteen."""
    (found,) = desk.complaints(f"jobs: [{entry}]")
    assert found.endswith(told)


def test_twenty_three_mistakes_are_twenty_three_problems_in_the_order_of_the_file(desk: Desk) -> None:
    """Nothing hides behind anything else."""
    problems = desk.problems("""\
        version: 3
        servise: {}
        service: {base_url: "ftp://x", key_env: a b, timeout: 3}
        output: ~/x
        filename: "{id}.mov"
        limits:
          submits: fast
          in_flight: 0
          poll_every: 30s..3s
          budgett: 3
        prices: {veo3-fast: cheap}
        defaults: {model: no, colour: red}
        jobs:
          - id: kite
            prompt: A kite
            prompt: A kite again
            seconds: 012
          - id: Kite
            prompt: B {x}
            first_frame: nope.png
          - id: a b
            promt: z
          - just text
          - {id: w, prompt: 2024-01-01}
    """)
    assert len(problems) == 23
    assert [problem.line for problem in problems] == [
        1, 2, 3, 3, 3, 4, 5, 7, 8, 9, 10, 11, 12, 12, 16, 17, 18, 19, 20, 21, 22, 23, 24
    ]  # fmt: skip
    assert all(problem.column for problem in problems)
