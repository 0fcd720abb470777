"""Tables and folders of pairs, and problems that point into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "rows.csv",
            'id,subject,size,price,takes,form.seed\nkite,"A ""paper"" kite",9x16,0.50,,7\n\ntwins,Two,,,2,\n',
        ),
        (
            "rows.tsv",
            'id\tsubject\tsize\tprice\ttakes\tform.seed\nkite\t"A ""paper"" kite"\t9x16\t0.5\t\t7\ntwins\tTwo\t\t\t2\n',
        ),
        (
            "rows.jsonl",
            (
                '{"id": "kite", "subject": "A \\"paper\\" kite", "size": "9x16", "price": 0.5, "form": {"seed": "7"}}\n'
                '{"id": "twins", "subject": "Two", "size": null, "takes": 2}\n'
            ),
        ),
        (
            "rows.yaml",
            (
                "- {id: kite, subject: 'A \"paper\" kite', size: 9x16, price: 0.50, form: {seed: '7'}}\n"
                "- {id: twins, subject: Two, takes: 2}\n"
            ),
        ),
    ],
)
def test_every_kind_of_table_says_the_same(desk: Desk, name: str, text: str) -> None:
    """Columns are job fields or variables, and an empty cell is not given."""
    desk.write(f"tables/{name}", text)
    jobs = desk.load(f"""\
        defaults: {{size: 16x9}}
        jobs:
          - from: tables/{name}
            prompt: "{{subject}}, cinematic, {{id}}"
    """).jobs
    assert [(job.id, job.prompt, job.size, job.price_micros, job.form) for job in jobs] == [
        ("kite", 'A "paper" kite, cinematic, kite', "9x16", 500_000, (("seed", "7"),)),
        ("twins", "Two, cinematic, twins", "16x9", None, ()),
        ("twins-2", "Two, cinematic, twins", "16x9", None, ()),
    ]
    assert jobs[0].where.startswith(f"{desk.folder}/tables/{name}:")


def test_a_cell_is_data_and_never_a_template(desk: Desk) -> None:
    """Braces in a table's own prompts are braces."""
    desk.write("rows.csv", "prompt\nA sign says {hello}\n")
    assert desk.load("jobs: [{from: rows.csv}]").jobs[0].prompt == "A sign says {hello}"


def test_a_template_that_names_its_own_column_wraps_the_cell(desk: Desk) -> None:
    """Otherwise the cell wins, since the entry is only the default."""
    desk.write("rows.csv", "id,prompt,model\na,A kite,m1\nb,A boat,\n")
    jobs = desk.load("""\
        jobs:
          - {from: rows.csv, id: "x-{id}", prompt: "{prompt}, at night", model: m0}
    """).jobs
    assert [(job.id, job.prompt, job.model) for job in jobs] == [
        ("x-a", "A kite, at night", "m1"),
        ("x-b", "A boat, at night", "m0"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "first", "third"),
    [
        ("t.csv", "id,prompt,mood\na,x,calm\nb,y,wild\nA,z,calm\n", 2, "4:1"),
        (
            "t.jsonl",
            '{"id": "a", "prompt": "x"}\n\n{"id": "b", "prompt": "y"}\n{"id": "A", "prompt": "z"}\n',
            1,
            "4:2",
        ),
        ("t.yaml", "- {id: a, prompt: x}\n- id: b\n  prompt: y\n- {id: A, prompt: z}\n", 1, "4:4"),
    ],
)
def test_a_row_that_became_a_job_is_still_known_by_its_line(
    desk: Desk, name: str, text: str, first: int, third: str
) -> None:
    """Its texts are not kept for that."""
    desk.write(name, text)
    (complaint,) = desk.complaints(f"jobs: [{{from: {name}, model: m}}]")
    told = f'{name}:{third}: jobs[0] row 3 ({name}) id: "A" is the id of jobs[0] row 1 ({name}) ({name}:{first}) too'
    assert complaint.startswith(told)


def test_a_row_may_stand_twice_in_a_yaml_table(desk: Desk) -> None:
    """By an alias: what became a job of it once, becomes one again."""
    desk.write("rows.yaml", "- &kite {prompt: A kite}\n- {prompt: A boat}\n- *kite\n")
    (complaint,) = desk.complaints("jobs: [{from: rows.yaml}]")
    assert "row 3 (rows.yaml): is the same as jobs[0] row 1 (rows.yaml) (rows.yaml:1)" in complaint


def test_what_a_row_was_filled_in_with_stays_with_its_job(desk: Desk) -> None:
    """For the names of what is collected: columns that are no fields of the job, before the manifest's variables."""
    desk.write("rows.csv", "id,mood,hero\na,calm,Mia\nb,wild,\n")
    text = 'defaults: {vars: {hero: Noa, place: sea}}\njobs: [{from: rows.csv, prompt: "{hero}, {mood}, {place}"}]'
    one, two = desk.load(text).jobs
    assert dict(one.variables) == {"hero": "Mia", "place": "sea", "mood": "calm", "take": "1"}
    assert dict(two.variables) == {"hero": "Noa", "place": "sea", "mood": "wild", "take": "1"}
    assert (one.prompt, two.prompt) == ("Mia, calm, sea", "Noa, wild, sea")


def test_rows_and_a_matrix_multiply(desk: Desk) -> None:
    """Rows outside, the matrix inside."""
    desk.write("rows.csv", "name\na\nb\n")
    text = 'jobs: [{from: rows.csv, id: "{name}-{t}", prompt: "{name} {t}", matrix: {t: [x, y]}}]'
    assert desk.ids(text) == ["a-x", "a-y", "b-x", "b-y"]


def test_a_spreadsheet_may_save_its_byte_order_mark(desk: Desk) -> None:
    """Excel always does, and lines may end in CR LF."""
    desk.write("rows.csv", b"\xef\xbb\xbfid,prompt\r\nkite,A kite\r\n")
    assert desk.ids("jobs: [{from: rows.csv}]") == ["kite"]


def test_a_problem_in_a_row_points_into_the_table(desk: Desk) -> None:
    """At the line of the record and the column of the cell, behind quoted commas and line breaks."""
    desk.write(
        "rows.csv",
        'id,prompt,first_frame,takes\na,"x, y",no.png,\nb,"two\nlines",,0\nc,x,,,extra\na,x,,\n,,,1\n',
    )
    assert desk.complaints("jobs: [{from: rows.csv}]") == [
        "rows.csv:2:10: jobs[0] row 1 (rows.csv) first_frame: no.png: no such file",
        "rows.csv:4:9: jobs[0] row 2 (rows.csv) takes: is 0: write a number from 1 to 1000",
        "rows.csv:5:1: jobs[0] (rows.csv): has 5 cells, the header 4: quote a cell that holds ','",
        (
            'rows.csv:6:1: jobs[0] row 4 (rows.csv) id: "a" is the id of jobs[0] row 1 (rows.csv) (rows.csv:2) too: '
            "ids are unique, without regard to case"
        ),
        "rows.csv:7:1: jobs[0] row 5 (rows.csv): has no prompt: write prompt: and what the clip shows",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "rows.csv:1:1: jobs[0] (rows.csv): is empty: its first line names the columns"),
        ("prompt,prompt\na,b\n", "rows.csv:1:1: jobs[0] (rows.csv): the column 'prompt' stands here twice"),
        ("prompt,,x\na,b,c\n", "rows.csv:1:1: jobs[0] (rows.csv): column 2 has no name"),
        ('prompt\n"a" b\n', "rows.csv:2:1: jobs[0] (rows.csv): is not a table from here on: ',' expected"),
        ('prompt\nx\n"open\n\n', "rows.csv:3:1: jobs[0] (rows.csv): is not a table from here on: unexpected end"),
        (f"prompt\n{'x' * 200_000}\n", "rows.csv:2:1: jobs[0] (rows.csv): is not a table from here on: field larger"),
        ("prompt,take\nx,1\n", 'rows.csv:2:3: jobs[0] row 1 (rows.csv) take: "take" is the number of the take'),
        ("prompt,continues\nx,kite\n", 'rows.csv:2:3: jobs[0] row 1 (rows.csv) continues: "kite" is no job here'),
        ("prompt,v\nx,a\x07b\n", "rows.csv:2:3: jobs[0] row 1 (rows.csv) v: holds a control character"),
        ("prompt,price\nx,cheap\n", 'rows.csv:2:3: jobs[0] row 1 (rows.csv) price: "cheap" is not an amount'),
    ],
)
def test_a_wrong_table_is_named_with_its_line(desk: Desk, text: str, complaint: str) -> None:
    """One problem each."""
    desk.write("rows.csv", text.encode())
    (found,) = desk.complaints("jobs: [{from: rows.csv}]")
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"prompt": ', "rows.jsonl:2:12: jobs[0] (rows.jsonl): is not JSON: Expecting value"),
        ("[1]", "rows.jsonl:2:1: jobs[0] (rows.jsonl): is not an object"),
        ('{"prompt": "a", "prompt": "b"}', "rows.jsonl:2:1: jobs[0] (rows.jsonl): the key 'prompt' stands here twice"),
        ('{"prompt": "\\ud800"}', "rows.jsonl:2:1: jobs[0] (rows.jsonl): holds half a character"),
        ("[" * 100_000, "rows.jsonl:2:1: jobs[0] (rows.jsonl): is nested too deep"),
        (
            '{"prompt": "a", "size": 8}',
            (
                "rows.jsonl:2:17: jobs[0] row 2 (rows.jsonl) size: 8 without quotes reads as a number, "
                'and text is wanted: write size: "8"'
            ),
        ),
        ('{"prompt": "a", "year": [1]}', "rows.jsonl:2:17: jobs[0] row 2 (rows.jsonl) year: is a list"),
        ('{"prompt": "a", "price": NaN}', 'rows.jsonl:2:17: jobs[0] row 2 (rows.jsonl) price: "NaN" is not an amount'),
    ],
)
def test_a_wrong_line_of_json_is_named(desk: Desk, line: str, complaint: str) -> None:
    """Each line is by itself, and the others are fine."""
    desk.write("rows.jsonl", f'{{"prompt": "x"}}\n{line}\n{{"prompt": "y"}}\n')
    (found,) = desk.complaints("jobs: [{from: rows.jsonl}]")
    assert found.startswith(complaint)


def test_wrong_yaml_rows_point_into_their_file(desk: Desk) -> None:
    """With line and column, as the manifest's own."""
    desk.write("rows.yaml", "- {prompt: x, size: no}\n- {prompt: y, first_frame: no.png}\n")
    assert desk.complaints("jobs: [{from: rows.yaml}]") == [
        (
            "rows.yaml:1:15: jobs[0] row 1 (rows.yaml) size: no without quotes reads as a yes/no, and text is wanted: "
            'write size: "no"'
        ),
        "rows.yaml:2:15: jobs[0] row 2 (rows.yaml) first_frame: no.png: no such file",
    ]
    desk.write("rows.yaml", "- x\n")
    assert desk.complaints("jobs: [{from: rows.yaml}]")[0].startswith("rows.yaml:1:3: jobs[0] row 1")
    desk.write("rows.yaml", "a: [\n")
    assert desk.complaints("jobs: [{from: rows.yaml}]")[0].startswith("rows.yaml:2:1: jobs[0] (rows.yaml): is not YAML")


def test_a_misspelt_variable_is_one_problem_and_an_empty_one_is_its_rows(desk: Desk) -> None:
    """A wrong template is the entry's mistake; a missing value is the row's."""
    desk.write("rows.csv", "subject,mood\nkite,calm\nboat,\ntree,calm\n")
    assert desk.complaints('jobs:\n  - from: rows.csv\n    prompt: "{subjct} {mood}"\n') == [
        (
            'clips.yaml:3:5: jobs[0].prompt: "{subjct}" is no variable here: known are {mood}, {subject}, {take}; '
            "a brace as text is {{ or }}"
        )
    ]
    assert desk.complaints('jobs:\n  - from: rows.csv\n    prompt: "{subject} {mood}"\n') == [
        "rows.csv:3:6: jobs[0] row 2 (rows.csv) mood: is empty here, and prompt needs it"
    ]


def test_a_column_that_looks_like_a_misspelt_field_is_a_warning(desk: Desk) -> None:
    """As a variable it is fine, and so nothing else would say a word."""
    desk.write("rows.csv", "prompt,first_fram\nx,a.png\n")
    (warning,) = desk.load("jobs: [{from: rows.csv}]").warnings
    assert "rows.csv:2:3: jobs[0] row 1" in warning
    assert "was first_frame meant?" in warning


def test_pairs_become_jobs_in_the_order_of_their_names(desk: Desk) -> None:
    """Frames by name, the prompt from the text beside them, the id from NAME."""
    for name in ("b_first.png", "b_last.jpg", "a_first.webp", "Öl 1_first.png"):
        desk.draw(f"pairs/{name}")
    desk.write("pairs/a.txt", "A itself.\n")
    desk.write("pairs/notes.txt", "not a pair")
    jobs = desk.load("jobs: [{pairs: pairs, prompt: 'All of {name}.'}]").jobs
    assert [(job.id, job.prompt, len(job.frames)) for job in jobs] == [
        ("a", "A itself.", 1),
        ("b", "All of b.", 2),
        ("l-1", "All of Öl 1.", 1),
    ]


def test_an_id_beside_pairs_is_made_for_each(desk: Desk) -> None:
    """A pair's own id is only its name."""
    desk.draw("pairs/b_first.png")
    assert desk.ids("jobs: [{pairs: pairs, prompt: x, id: 'move-{name}-{n}', matrix: {n: [1, 2]}}]") == [
        "move-b-1",
        "move-b-2",
    ]


def test_wrong_pairs_are_named(desk: Desk) -> None:
    """Two files for one frame, a last without a first, a folder without any."""
    for name in ("a_first.png", "a_first.jpg", "b_last.png"):
        desk.draw(f"pairs/{name}")
    assert desk.complaints("jobs:\n  - {pairs: pairs, prompt: x}") == [
        (
            "clips.yaml:2:6: jobs[0] pair b last_frame: stands without first_frame: write first_frame too, "
            "or name this one first_frame"
        ),
        "clips.yaml:2:6: jobs[0].pairs: a_first.jpg and a_first.png are both a first frame",
    ]
    (desk.folder / "none").mkdir()
    assert desk.complaints("jobs:\n  - {pairs: none, prompt: x}") == [
        "clips.yaml:2:6: jobs[0].pairs: none: holds no NAME_first.png (or .jpg, .webp)"
    ]
