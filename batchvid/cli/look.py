"""``check``, ``plan``, ``status`` and ``export``: what can be seen without changing anything."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import (
    json_option,
    load,
    manifest_argument,
    manifests_argument,
    output_option,
    read_doubts,
    read_journal,
)
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit, ManifestError, StorageError
from batchvid.engine.target import has_journal, journal_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.domain.errors import Problem
    from batchvid.domain.film import FilmReport
    from batchvid.journal.sqlite_reader import JournalReader
    from batchvid.manifest.model import Manifest


EXPORTED = (
    "id",
    "state",
    "attempt",
    "task_id",
    "model",
    "resolved_model",
    "reason",
    "path",
    "size_bytes",
    "sha256",
    "price",
    "submitted_at",
    "finished_at",
    "prompt",
    "size",
    "seconds",
    "first_frame",
    "last_frame",
    "where",
    "continues",
)
ROWS_AT_ONCE = 1000
FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula (OWASP, CSV injection)."""


@click.command("check")
@manifests_argument
@json_option
def check_command(manifests: tuple[Path, ...], *, as_json: bool) -> int:
    """Read, expand and validate manifests, with every file and frame they name. Nothing is sent or written.

    Shows a table of the frames: what is in each file, and whether its ratio fits the clips that it is for.
    """
    from batchvid.cli.output.frames import frame_json, frame_lines, frame_uses

    problems: list[Problem] = []
    frames: list[dict[str, Any]] = []
    for path in manifests:
        try:
            manifest = load(path, decode=True)
        except ManifestError as error:
            problems.extend(error.problems)
            continue
        uses = frame_uses(manifest)
        if as_json:
            frames += [{"manifest": str(path)} | frame_json(use) for use in uses]
            continue
        tell(f"{path}: {len(manifest.jobs):,} job{'s' if len(manifest.jobs) != 1 else ''}, no problems")
        if uses:
            tell("\n".join(frame_lines(uses)))
    if as_json:
        rows = [
            {"file": one.file, "line": one.line, "column": one.column, "where": one.where, "text": one.text}
            for one in problems
        ]
        tell(json.dumps({"problems": rows, "frames": frames}))
        return Exit.MANIFEST if problems else Exit.OK
    if problems:
        raise ManifestError(problems)
    return Exit.OK


@click.command("plan")
@manifest_argument
@click.option(
    "--rebuy", is_flag=True, help="As run --rebuy would do it: with changed jobs, and all that hangs on them."
)
@output_option
@json_option
def plan_command(manifest: Path, *, rebuy: bool, output: Path | None, as_json: bool) -> int:
    """Show what a run would do: new, changed, done, running, failed, in doubt and orphaned jobs, and the price.

    A job that is paid under another id is moved: a run gives its clip the new name, and buys nothing. Nothing is sent.
    """
    from batchvid.cli.output.plan import plan_json, plan_lines, print_plan
    from batchvid.cli.output.summary import film_json, film_lines
    from batchvid.engine.films import film_reports
    from batchvid.engine.planning import (
        lost_of,
        missing_line,
        planned,
    )
    from batchvid.journal.sqlite_reader import JournalReader
    from batchvid.storage.lock import is_held

    loaded = load(manifest, output=output, decode=True)
    journal, active = JournalReader.open_readonly(journal_path(loaded)), is_held(loaded.output)
    with journal or nullcontext():
        lost = lost_of(loaded, journal)
        made, money = planned(loaded, journal, rebuy=rebuy, run_active=active, lost=lost)
        if not active:
            _warn_of_forgotten(loaded, journal)
    films = film_reports(loaded.films, read_journal(loaded)[0], loaded.output) if loaded.films else []
    if as_json:
        for report in films:
            tell(json.dumps({"type": "film", **film_json(report)}))
        for row in plan_json(made, money, missing=lost):
            tell(json.dumps(row))
    elif sys.stdout is not None and sys.stdout.isatty():
        from batchvid.cli.output.live import console_on, finish

        console = console_on(sys.stdout)
        print_plan(console, made, money)
        finish(console)
    else:
        for line in plan_lines(made, money):
            tell(line)
    if not as_json:
        for line in (*film_lines(films), *([missing_line(lost)] if lost else ())):
            tell(line)
    return Exit.OK


@click.command("status")
@manifest_argument
@output_option
@json_option
@click.option("--watch", is_flag=True, help="Show the run's live view every two seconds, until Ctrl-C. Reads only.")
def status_command(manifest: Path, *, output: Path | None, as_json: bool, watch: bool) -> int:
    """Show how the jobs stand: states, money, what needs a person. Works beside a running run."""
    loaded = load(manifest, output=output)
    if not watch:
        _print_status(loaded, str(manifest), as_json=as_json)
        return Exit.OK
    from batchvid.cli.watch import watch as watch_run

    watch_run(loaded, str(manifest), as_json=as_json)
    return Exit.OK


def _print_status(manifest: Manifest, named: str, *, as_json: bool) -> None:
    from batchvid.cli.output.advice import command
    from batchvid.cli.output.status import status_object, status_text
    from batchvid.engine.planning import lost_clips
    from batchvid.storage.lock import is_held

    rows, money = read_journal(manifest)
    films: list[FilmReport] = []
    if manifest.films:
        from batchvid.engine.films import film_reports

        films = film_reports(manifest.films, rows, manifest.output)
    active = is_held(manifest.output)
    if not active:
        from batchvid.journal.sqlite_reader import JournalReader

        journal = JournalReader.open_readonly(journal_path(manifest))
        with journal or nullcontext():
            _warn_of_forgotten(manifest, journal)
    lost = lost_clips(manifest.output, rows.values(), {job.id for job in manifest.jobs})
    if as_json:
        tell(json.dumps(status_object(manifest, rows, money, films=films, missing=lost)))
        return
    doubts = read_doubts(manifest, rows, run_active=active)
    for line in status_text(
        manifest, rows, money, named=named, run_active=active, films=films, missing=lost, doubts=doubts
    ):
        tell(line)
    if not has_journal(manifest):
        tell(
            f"Nothing was ever run into this output. Next: {command('plan', named)} tells what it would cost, "
            f"{command('run', named)} does it."
        )


def _warn_of_forgotten(manifest: Manifest, journal: JournalReader | None) -> None:
    """Tell of paid tasks that lie beside the journal and are not in it: what is shown of them is not true then."""
    from batchvid.engine.recovery import forgotten
    from batchvid.storage.output import Output

    jobs = {job.id: job for job in manifest.jobs}
    try:
        found = forgotten(journal, Output.of(manifest.output), jobs=jobs, at=time.time())
    except StorageError as error:
        complain(f"warning: {error}")
        return
    for line in found.lines:
        complain(f"warning: {line}")


@click.command("export")
@manifest_argument
@output_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="Commas with a line of names first, or one JSON object a line.",
)
@click.option("--safe-cells", is_flag=True, help="Defuse CSV cells that a spreadsheet would take for formulas.")
def export_command(manifest: Path, *, output: Path | None, form: str, safe_cells: bool) -> int:
    """Write one row a job to standard output: state, task, price, times, file, hash, prompt, frames.

    A file or pipe gets UTF-8, whatever the locale.
    A prompt may begin with = + - or @, which a spreadsheet takes for a formula: --safe-cells puts a ' before it.
    """
    loaded = load(manifest, output=output)
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")  # the locale's encoding may lack what is in a prompt
    lines = map(json.dumps, _rows(loaded)) if form == "jsonl" else _csv_lines(_rows(loaded), safe_cells=safe_cells)
    for first in lines:
        tell("\n".join([first, *itertools.islice(lines, ROWS_AT_ONCE - 1)]))
    return Exit.OK


def _csv_lines(rows: Iterator[dict[str, Any]], *, safe_cells: bool) -> Iterator[str]:
    """Yield CSV (RFC 4180) row by row; its last line break is left to the caller."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, EXPORTED)  # ends rows with CR LF: only so does it quote a CR inside a cell
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


def _rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    from batchvid.cli.output.status import status_object

    known, money = read_journal(manifest)
    objects = status_object(manifest, known, money)["jobs"]
    for job, row in zip(manifest.jobs, objects, strict=True):
        frames = dict(zip(("first_frame", "last_frame"), (frame.path for frame in job.frames), strict=False))
        yield row | {
            "prompt": job.prompt,
            "size": job.size,
            "seconds": job.seconds,
            "first_frame": frames.get("first_frame"),
            "last_frame": frames.get("last_frame"),
            "where": job.where,
        }


def _defused(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_BEGINNINGS) else value
