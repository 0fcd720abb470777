"""The tables of found tasks, as spreadsheets, editors and programs write them."""

from __future__ import annotations

import pytest

from batchvid.cli.adopt import read_found_tasks
from batchvid.domain.doubts import Adoption

TWO = [("kite", "task_1"), ("dawn", "task==2")]


@pytest.mark.parametrize(
    "text",
    [
        "id,task_id\nkite,task_1\ndawn,task==2\n",
        "kite,task_1\ndawn,task==2",
        "kite;task_1\r\n\r\ndawn;task==2\r\n",
        "kite\ttask_1\ndawn\ttask==2\n",
        "\ufeffID , Task_ID\nkite , task_1\ndawn, task==2\n",
        'task_id;prompt;job\ntask_1;"A kite; two\nlines";kite\ntask==2;"";dawn\n',
        '{"id": "kite", "task_id": "task_1"}\n\n{"job": "dawn", "task": "task==2", "at": 7}\n',
        '\ufeff{"job_id": "kite", "task_id": "task_1"}\r\n{"id": "dawn", "task_id": "task==2"}',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_every_form_says_the_same(text: str, encoding: str) -> None:
    """With and without a line of names, whatever stands between the cells."""
    found = read_found_tasks(text.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    assert [(one.job_id, one.task_id) for one in found if isinstance(one, Adoption)] == TWO
    assert len(found) == 2


def test_an_id_that_is_a_number_is_an_id() -> None:
    """Some gateways count their tasks."""
    assert read_found_tasks(b'{"id": "kite", "task_id": 123}') == [Adoption("kite", "123", 1)]


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        (b"", [(1, "the file names no job")]),
        (b"id,task_id\n", [(1, "the file names no job")]),
        (b"\xff\x00\xff", [(1, "the file is no UTF-8 text")]),
        (b"kite\n", [(1, "1 columns and no line of names before")]),
        (
            b"id,task_id\nkite,\n,task_1\nkite\n",
            [(2, "no task id"), (3, "no job id"), (4, "no task id")],
        ),
        (b"a,b,c\nd,e,f\n", [(1, "3 columns and no line of names before")]),
        (b'{"id": "kite"}\n[1]\n{"id": tr\n', [(1, "no task id"), (2, "no JSON object"), (3, "no JSON object")]),
        (b'{"id": true, "task_id": null}', [(1, "no job id")]),
        (b'id,task_id\n"kite"x,task_1\n', [(2, "the line could not be read")]),
    ],
)
def test_every_line_that_says_nothing_usable_is_named(data: bytes, problems: list[tuple[int, str]]) -> None:
    """With its number, as an editor counts, and what to write instead."""
    found = [line for line in read_found_tasks(data) if not isinstance(line, Adoption)]
    assert [number for number, _ in found][: len(problems)] == [number for number, _ in problems]
    for (_, text), (_, words) in zip(found, problems, strict=False):
        assert words in text


def test_a_line_is_counted_also_behind_a_cell_of_several_lines() -> None:
    """Otherwise the person looks at the wrong one."""
    found = read_found_tasks(b'id,prompt,task_id\nkite,"a\nb\nc",task_1\ndawn,x,\n')
    assert found[0] == Adoption("kite", "task_1", 2)
    assert not isinstance(found[1], Adoption)
    assert found[1][0] == 5
