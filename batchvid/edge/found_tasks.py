"""The tables with which people tell which task is whose: CSV with commas, semicolons or tabs, or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from batchvid.core.adoption import Adoption

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB_NAMES = ("id", "job_id", "job")
TASK_NAMES = ("task_id", "task")
MARKS = ("\t", ";", ",")
FORM = 'write one job a line as "id,task_id", or as JSON: {"id": "kite", "task_id": "task_1"}'

Line = Adoption | tuple[int, str]
"""An adoption, or the number of a line and what is wrong with it."""


def read_found_tasks(data: bytes) -> list[Line]:
    """Return what each line of such a file says, in its order; empty lines say nothing."""
    try:
        text = data.decode("utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except UnicodeDecodeError:
        return [(1, "the file is no UTF-8 text")]
    first = next((line for line in text.splitlines() if line.strip()), "")
    found = list(_json_lines(text) if first.lstrip().startswith(("{", "[")) else _table(text, first))
    return found or [(1, f"the file names no job: {FORM}")]


def _json_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield number, f"no JSON object: {FORM}"
            continue
        if isinstance(value, dict):
            yield _adoption(number, _first(value, JOB_NAMES), _first(value, TASK_NAMES))
        else:
            yield number, f"no JSON object: {FORM}"


def _first(value: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of these fields that is text or a whole number, which an id may be."""
    for name in names:
        if isinstance(value.get(name), str | int) and not isinstance(value[name], bool):
            return str(value[name])
    return None


def _table(text: str, first: str) -> Iterator[Line]:
    mark = next((mark for mark in MARKS if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    places: tuple[int, int] | None = None
    begins = 1
    try:
        for row in reader:
            number, begins = begins, reader.line_num + 1
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if places is None:
                places = _places(cells)
                if places is not None:
                    continue
                places = (0, 1)
                if len(cells) != len(places):
                    yield number, f"{len(cells)} columns and no line of names before: {FORM}"
                    continue
            job, task = (cells[place] if place < len(cells) else None for place in places)
            yield _adoption(number, job, task)
    except csv.Error as error:
        yield begins, f"the line could not be read: {error}"


def _places(cells: list[str]) -> tuple[int, int] | None:
    """Return in which columns the ids stand when this is the line of names."""
    names = [cell.lower() for cell in cells]
    job = next((names.index(name) for name in JOB_NAMES if name in names), None)
    task = next((names.index(name) for name in TASK_NAMES if name in names), None)
    return None if job is None or task is None else (job, task)


def _adoption(number: int, job: str | None, task: str | None) -> Line:
    if not job:
        return number, f"no job id: {FORM}"
    if not task:
        return number, f"no task id for job {job!r}: {FORM}"
    return Adoption(job, task, number)
