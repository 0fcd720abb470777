"""``export``: one row a job, as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import database_option, load, manifest_argument, output_option, read_decisions, read_journal
from batchvid.cli.streams import tell
from batchvid.domain.decision import Verdict
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.records import EXPORT, REVIEWED, records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchvid.domain.decision import Decision
    from batchvid.domain.job import Progress


ADDED = ("continues", *REVIEWED.values())
COLUMNS = (*(name for name in EXPORT if name not in ADDED), *ADDED)
"""Of a table, which a new column was added to at its end."""
ROWS_AT_ONCE = 1000
FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula (OWASP, CSV injection)."""


@click.command("export")
@manifest_argument
@output_option
@database_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="Commas with a line of names first, or one JSON object a line.",
)
@click.option("--approved", is_flag=True, help="Only jobs whose clip a person has approved (batchvid approve).")
@click.option("--safe-cells", is_flag=True, help="Defuse CSV cells that a spreadsheet would take for formulas.")
def export_command(
    manifest: Path, *, output: str | None, database: str | None, form: str, approved: bool, safe_cells: bool
) -> int:
    """Write one row a job to standard output: state, task, price, times, file, hash, prompt, frames, verdict.

    A file or pipe gets UTF-8, whatever the locale.
    A prompt may begin with = + - or @, which a spreadsheet takes for a formula: --safe-cells puts a ' before it.
    """
    loaded = load(manifest, output=output, database=database)
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")  # the locale's encoding may lack what is in a prompt
    progress, decisions = read_journal(loaded)[0], read_decisions(loaded)
    told = {job.id for job in loaded.jobs if not approved or _is_approved(progress.get(job.id), decisions)}
    # All jobs go in: one that continues another is told only beside that other, whatever was decided about it.
    rows = (row for row in records(EXPORT, loaded.jobs, progress, decisions) if row["id"] in told)
    lines = map(json.dumps, rows) if form == "jsonl" else _csv_lines(rows, safe_cells=safe_cells)
    for first in lines:
        tell("\n".join([first, *itertools.islice(lines, ROWS_AT_ONCE - 1)]))
    return Exit.OK


def _is_approved(row: Progress | None, decisions: Mapping[tuple[str, int], Decision]) -> bool:
    found = decisions.get((row.job_id, row.attempt)) if row is not None and row.state is State.DONE else None
    return found is not None and found.verdict is Verdict.APPROVED


def _csv_lines(rows: Iterator[dict[str, Any]], *, safe_cells: bool) -> Iterator[str]:
    """Yield CSV (RFC 4180) row by row; its last line break is left to the caller."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)  # ends rows with CR LF: only so does it quote a CR inside a cell
    writer.writeheader()
    for row in rows:
        yield _taken(text)
        writer.writerow({name: _defused(value) if safe_cells else value for name, value in row.items()})
    yield _taken(text)


def _taken(text: io.StringIO) -> str:
    row = text.getvalue().removesuffix("\r\n")
    text.seek(0)
    text.truncate()
    return row


def _defused(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_BEGINNINGS) else value
