"""Tables as spreadsheets and people write them: every cell is used or told, and nothing is guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

JOBS = 'jobs: [{from: %s, prompt: "{subject}"}]'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id;subject;size\ndawn;A boat, slow;9x16\n"),
        ("a.csv", "\ufeffid;subject;size\r\ndawn;A boat, slow;9x16\r\n"),
        ("a.csv", "sep=;\r\nid;subject;size\r\ndawn;A boat, slow;9x16\r\n"),
        ("a.csv", '"sep=;"\nid;subject;size\ndawn;"A boat, slow";9x16\n'),
        ("a.csv", "SEP=|\nid|subject|size\ndawn|A boat, slow|9x16\n"),
        ("a.csv", "sep=\t\nid\tsubject\tsize\ndawn\tA boat, slow\t9x16\n"),
        ("a.csv", "id\tsubject\tsize\ndawn\tA boat, slow\t9x16\n"),
        ("a.tsv", "id;subject;size\ndawn;A boat, slow;9x16\n"),
        ("a.TXT", "id\tsubject\tsize\ndawn\tA boat, slow\t9x16\n"),
        ("a.csv", '\n\n id , subject,size \n dawn,"A boat, slow", 9x16\n'),
        ("a.csv", 'id,subject,size,,\ndawn,"A boat, slow",9x16,,\n,,,,\n'),
        ("a.csv", 'id,subject,size\ndawn,"A boat, slow",9x16,,,\n'),
        ("a.csv", 'id,,subject,size\ndawn, ,"A boat, slow",9x16\n'),
        ("a.csv", 'id,subject,size\r"dawn","A boat, slow",9x16\r'),
        ("a.csv", 'subject;x,"size;y",size,id\n"A boat, slow",,9x16,dawn\n'.replace("subject;x", "subject")),
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_what_separates_the_cells_is_found_out(desk: Desk, name: str, text: str, coding: str) -> None:
    """A comma, a semicolon, a tab or a bar, with Excel's own first line or without it, in UTF-8 or UTF-16."""
    desk.write(name, text.removeprefix("\ufeff").encode(coding) if coding == "utf-16" else text.encode())
    jobs = desk.load(JOBS % name).jobs
    assert [(job.id, job.prompt, job.size) for job in jobs] == [("dawn", "A boat, slow", "9x16")]


@pytest.mark.parametrize(
    ("text", "columns"), [("name,title;x\na,b\n", ["name", "title;x"]), ("a;b,c\nx;y,z\n", ["a;b", "c"])]
)
def test_the_usual_one_wins_where_the_header_tells_nothing(desk: Desk, text: str, columns: list[str]) -> None:
    """What was read in one way is read so for ever."""
    desk.write("a.csv", text)
    (job,) = desk.load(f'jobs: [{{from: a.csv, prompt: "{{{columns[0]}}} {{{columns[1]}}}"}}]').jobs
    assert job.prompt == " ".join(text.splitlines()[1].split(","))


def test_lines_are_counted_from_the_file_s_first(desk: Desk) -> None:
    """Behind Excel's own line, empty ones and cells of two lines."""
    desk.write("a.csv", 'sep=;\n\nid;subject;takes\na;"x\ny";0\nb;x;0\n')
    assert [line.split(": ")[0] for line in desk.complaints(JOBS % "a.csv")] == ["a.csv:5:4", "a.csv:6:5"]


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ("SIZE", "size"),
        ("Seconds", "seconds"),
        ("First Frame", "first_frame"),
        ("first-frame", "first_frame"),
        ("LastFrame", "last_frame"),
        ("Form.seed", "form.seed"),
        ("FORM. seed", "form.seed"),
        ("Takes", "takes"),
    ],
)
def test_a_field_in_other_letters_is_told_before_it_is_paid_without(desk: Desk, columns: str, field: str) -> None:
    """As a variable nothing uses it, so nothing else would say a word; where a text uses it, it is one."""
    desk.write("a.csv", f"subject,{columns}\nx,1\n")
    text = f"{columns}: is not the field {field}, and no text uses it: call it {field}"
    assert desk.complaints(JOBS % "a.csv") == [f"a.csv:2:3: jobs[0] row 1 (a.csv) {text}"]
    desk.write("a.jsonl", f'{{"subject": "x", "{columns}": "1"}}\n')
    assert desk.complaints(JOBS % "a.jsonl")[0].endswith(text)
    desk.write("a.csv", f"subject,{columns}\nx,1\n")
    used = f'jobs: [{{from: a.csv, prompt: "{{subject}} {{{columns}}}"}}]'
    assert desk.load(used).jobs[0].prompt == "x 1"
    assert desk.load(used).warnings == ()


def test_a_prompt_in_other_letters_is_one_mistake_and_not_one_a_row(desk: Desk) -> None:
    """That each row has no prompt follows from it."""
    desk.write("a.csv", "Prompt\n" + "A kite\n" * 9)
    assert desk.complaints("jobs: [{from: a.csv}]") == [
        "a.csv:2:1: jobs[0] row 1 (a.csv) Prompt: is not the field prompt, and no text uses it: call it prompt"
    ]


def test_a_column_that_is_there_in_two_spellings_is_told(desk: Desk) -> None:
    """One of them would be left out."""
    desk.write("a.csv", "Prompt,prompt\na,b\n")
    (found,) = desk.complaints("jobs: [{from: a.csv}]")
    assert "Prompt: is not the field prompt, and no text uses it: prompt is there too, remove this one" in found


def test_columns_that_nothing_uses_are_one_warning(desk: Desk) -> None:
    """Those of the file name, the form and the defaults are used."""
    desk.write("a.csv", "subject,city,tone,camera,shade,notes,at\nx,Hue,warm,low,7,later,3s\n")
    loaded = desk.load("""
        filename: "{city}/{id}.mp4"
        defaults: {model: "veo-{tone}"}
        jobs: [{from: a.csv, prompt: "{subject}", form: {camera: "{camera}"}}]
    """)
    assert [warning.split(" (", 1)[1].split(") ", 1)[1] for warning in loaded.warnings] == [
        (
            "notes: these columns are variables that nothing uses: notes, shade. "
            "{notes} in a text would use it, the name form.notes send it"
        ),
        "at: is no field of a row, and no text uses it: write it in the manifest",
    ]


@pytest.mark.parametrize(
    ("column", "meant"),
    [("duration", "seconds"), ("Aspect_Ratio", "size"), ("image", "first_frame"), ("seed", "form.seed")],
)
def test_a_column_of_another_program_is_answered_with_the_one_that_is_meant(
    desk: Desk, column: str, meant: str
) -> None:
    """It is a variable, and may stay one: a warning."""
    desk.write("a.csv", f"subject,{column}\nx,8\n")
    (warning,) = desk.load('jobs: [{from: a.csv, prompt: "{subject}"}]').warnings
    assert warning.endswith(f"{column}: this column is a variable that nothing uses: was {meant} meant?")


def test_a_table_without_rows_is_a_warning(desk: Desk) -> None:
    """A header alone is probably the wrong sheet."""
    desk.write("a.csv", "id,prompt\n,\n")
    assert "a.csv has no rows: it makes no jobs" in desk.load("jobs: [{from: a.csv}, {id: b, prompt: x}]").warnings[0]


@pytest.mark.parametrize(
    "cell",
    ["#NAME?", "#REF!", "#DIV/0!", "#VALUE!", "#N/A", "#NUM!", "#NULL!", "#SPILL!", "#BEZUG!", "#WERT!", "#NV", "#NOM?",
     "Err:502", "#ERROR!", "########", "=B2", "=$A$1&B2", "=SUM(A1:A3)"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.csv", 'id,subject\na,"A kite"\nb, %s\n', "3:3"),
        ("a.tsv", "id\tsubject\tnotes\na\tx\t%s\n", "2:5"),
        ("a.jsonl", '{"subject": "%s"}\n', "1:1"),
    ],
)
def test_what_a_spreadsheet_could_not_work_out_is_no_prompt(
    desk: Desk, name: str, text: str, place: str, cell: str
) -> None:
    """In any cell, with its place."""
    if name.endswith(".jsonl") and not cell.startswith("#"):
        return  # data frames write JSON, and not this
    desk.write(name, text % cell)
    (found,) = desk.complaints(JOBS % name)
    assert found.startswith(f"{name}:{place}: jobs[0] ({name}): ")
    assert f'"{cell}" is what a spreadsheet writes where it could not work out a cell: mend it there' in found


@pytest.mark.parametrize(
    "cell", ["#1 of 3", "#sunset at the sea", "C#", "#", "##", "Err: no", "Errors", "#FF8800", "#wow!", "= x", "=) x"]
)
def test_what_only_looks_like_it_is_text(desk: Desk, cell: str) -> None:
    """Prompts may begin with anything."""
    desk.write("a.csv", f"subject\n{cell}\n")
    assert desk.load(JOBS % "a.csv").jobs[0].prompt == cell


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        ("id,subject\na,Ein Bär am See\n".encode("cp1252"), '"a,Ein Bär am See" in Windows-1252?'),
        ("id;subject\na;10 € für Schüler\n".encode("cp1252"), '"a;10 € für Schüle" in Windows-1252?'),
        ("id,subject\na,人\n".encode("shift_jis"), '"a,'),
    ],
)
def test_another_coding_is_not_guessed_and_what_it_may_be_is_shown(desk: Desk, data: bytes, meant: str) -> None:
    """A prompt in the wrong letters would be paid for."""
    desk.write("a.csv", data)
    (found,) = desk.complaints(JOBS % "a.csv")
    assert found.startswith("a.csv:2:")
    assert "is not UTF-8 here (" in found
    assert "save it as UTF-8; in Excel that is CSV UTF-8" in found
    assert meant in found


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("a.csv", b"PK\x03\x04 and so on", "a.csv:1:1: jobs[0]: is a workbook or an archive"),
        ("a.csv", b"\xd0\xcf\x11\xe0 and so on", "a.csv:1:1: jobs[0]: is a workbook, whatever its name says"),
        ("a.ods", b"", "clips.yaml:1:9: jobs[0].from: a.ods: is a workbook: save the sheet as CSV UTF-8"),
        ("a.csv", b"id,subject\na,x,,y\n", "a.csv:2:1: jobs[0]: has 4 cells, the header 2: quote a cell"),
        ("a.csv", b"id;subject\na;x;y\n", "a.csv:2:1: jobs[0]: has 3 cells, the header 2: quote a cell that holds ';'"),
        ("a.csv", b"id,,subject\na,b,c\nd,e,f\n", "a.csv:1:1: jobs[0]: column 2 has no name"),
        ("a.csv", b'id,subject\na,"x "y" z"\n', "a.csv:2:1: jobs[0]: is not a table from here on: ',' expected"),
        ("a.csv", b'id,subject,size\na, "x, y"\n', "a.csv:2:3: jobs[0]: a blank before a quote makes it a part"),
        ("a.csv", b"My prompts,,\nid,subject,size\na,x,16x9\n", "a.csv:2:1: jobs[0]: has 3 cells, the header 1: quote"),
    ],
)  # fmt: skip
def test_what_is_no_table_or_no_longer_one_is_told(desk: Desk, name: str, data: bytes, complaint: str) -> None:
    """With its line, and what to do."""
    desk.write(name, data)
    assert any(line.replace(f" ({name}): ", ": ").startswith(complaint) for line in desk.complaints(JOBS % name))


def test_a_quote_behind_a_blank_is_a_warning_where_the_cell_is_whole(desk: Desk) -> None:
    """It may be meant: the text is sent with its quotes, as before."""
    desk.write("a.csv", 'id,subject\na, "x y"\nb,"""x"" y"\n')
    loaded = desk.load(JOBS % "a.csv")
    assert [job.prompt for job in loaded.jobs] == ['"x y"', '"x" y']
    (warning,) = loaded.warnings
    assert "a.csv:2:3: jobs[0] (" in warning
    assert "): a blank before a quote makes it a part of the text: remove the blank" in warning


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ("8.0", '"8.0" is sent as it is, and services want "8"'),
        ("4.00", 'services want "4"'),
        ("8s", '"8s" is no number of seconds, such as 8; it is sent as it is'),
        ("8,0", "is no number of seconds"),
        ("nan", "is no number of seconds"),
        ("8", ""),
        ("7.5", ""),
    ],
)
def test_seconds_that_a_spreadsheet_wrote_are_a_warning(desk: Desk, seconds: str, text: str) -> None:
    """They are sent as written, so that nothing that was paid counts as changed; each text is told once."""
    desk.write("a.csv", f'subject,seconds\nx,"{seconds}"\ny,"{seconds}"\n')
    loaded = desk.load(JOBS % "a.csv")
    assert {job.seconds for job in loaded.jobs} == {seconds}
    assert len(loaded.warnings) == bool(text)
    assert text in "".join(loaded.warnings)


@pytest.mark.parametrize(
    ("cell", "micros"),
    [
        ("0,40", 400_000),
        ("0,4", 400_000),
        ("1,25", 1_250_000),
        ("0,400", 400_000),
        ("0.40", 400_000),
        ("2", 2_000_000),
        ("12,5", 12_500_000),
        ("0,05/s", 400_000),
        ("0,05 / s", 400_000),
    ],
)
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_price_may_have_a_decimal_comma_where_commas_separate_nothing(
    desk: Desk, cell: str, micros: int, delimiter: str
) -> None:
    """As spreadsheets of many countries write it."""
    desk.write("a.csv", f"id{delimiter}prompt{delimiter}price\nkite{delimiter}A kite{delimiter}{cell}\n")
    (job,) = desk.load("jobs: [{from: a.csv}]").jobs
    assert job.price_micros == micros


@pytest.mark.parametrize(
    ("cell", "advice"),
    [("1,250", "1.250 or 1250"), ("12,345", "12.345 or 12345"), ("1.250,50", "25.00"), ("1,2,3", "25.00")],
)
def test_a_comma_that_may_stand_for_thousands_is_a_mistake_that_says_what_to_write(
    desk: Desk, cell: str, advice: str
) -> None:
    """A price that is a thousand times too low would be no budget."""
    desk.write("a.csv", f"id;prompt;price\nkite;A kite;{cell}\n")
    (told,) = desk.complaints("jobs: [{from: a.csv}]")
    assert told.startswith("a.csv:2:13: ")
    assert told.endswith(f"is not an amount of money: write digits such as {advice}")


def test_between_commas_a_decimal_comma_is_a_mistake(desk: Desk) -> None:
    """It says how to write it."""
    desk.write("a.csv", 'id,prompt,price\nkite,A kite,"0,40"\n')
    (told,) = desk.complaints("jobs: [{from: a.csv}]")
    assert told.endswith("write digits such as 0.40")
