"""``check``, ``plan``, ``status`` and ``export``: what can be seen without changing anything."""

from __future__ import annotations

import csv
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from batchvid.commands.options import (
    json_option,
    load,
    manifest_argument,
    manifests_argument,
    output_option,
    read_journal,
)
from batchvid.errors import Exit, ManifestError, OutputBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.errors import Problem
    from batchvid.manifest.model import Manifest

WATCH_EVERY_S = 2.0
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
)
FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula (OWASP, CSV injection)."""


@click.command("check")
@manifests_argument
@json_option
def check_command(manifests: tuple[Path, ...], *, as_json: bool) -> int:
    """Read, expand and validate manifests, with every file and frame they name. Nothing is sent or written."""
    problems: list[Problem] = []
    for path in manifests:
        try:
            manifest = load(path)
        except ManifestError as error:
            problems.extend(error.problems)
            continue
        if not as_json:
            click.echo(f"{path}: {len(manifest.jobs):,} job{'s' if len(manifest.jobs) != 1 else ''}, no problems")
    if as_json:
        rows = [
            {"file": one.file, "line": one.line, "column": one.column, "where": one.where, "text": one.text}
            for one in problems
        ]
        click.echo(json.dumps({"problems": rows}))
        return Exit.MANIFEST if problems else Exit.OK
    if problems:
        raise ManifestError(problems)
    return Exit.OK


@click.command("plan")
@manifest_argument
@output_option
@json_option
def plan_command(manifest: Path, *, output: Path | None, as_json: bool) -> int:
    """Show what a run would do: new, changed, done, running, failed, in doubt and orphaned jobs, and the price.

    Nothing is sent.
    """
    from batchvid.core.forecast import Forecast  # noqa: PLC0415 loaded only to plan
    from batchvid.core.plan import plan  # noqa: PLC0415 as above
    from batchvid.views.live import console_on  # noqa: PLC0415 as above
    from batchvid.views.plan import plan_json, print_plan  # noqa: PLC0415 as above

    loaded = load(manifest, output=output)
    rows, money = read_journal(loaded)
    forecast = Forecast(loaded.limits.typical_time_s)
    made = plan(
        loaded.jobs, rows, limits=loaded.limits, typical_s=lambda timing_class: forecast.of(timing_class).typical_s
    )
    if as_json:
        for line in plan_json(made, money):
            click.echo(json.dumps(line))
    else:
        print_plan(console_on(sys.stdout), made, money)
    return Exit.OK


@click.command("status")
@manifest_argument
@output_option
@json_option
@click.option("--watch", is_flag=True, help="Show it anew every two seconds, until Ctrl-C.")
def status_command(manifest: Path, *, output: Path | None, as_json: bool, watch: bool) -> int:
    """Show how the jobs stand: states, money, what needs a person. Works beside a running run."""
    loaded = load(manifest, output=output)
    while True:
        if watch and sys.stdout.isatty():
            click.clear()
        _print_status(loaded, str(manifest), as_json=as_json)
        if not watch:
            return Exit.OK
        time.sleep(WATCH_EVERY_S)


def _print_status(manifest: Manifest, named: str, *, as_json: bool) -> None:
    from batchvid.views.status import status_object, status_text  # noqa: PLC0415 loaded only for a status

    rows, money = read_journal(manifest)
    if as_json:
        click.echo(json.dumps(status_object(manifest, rows, money)))
        return
    for line in status_text(manifest, rows, money, named=named, run_active=_run_is_active(manifest)):
        click.echo(line)


def _run_is_active(manifest: Manifest) -> bool:
    from batchvid.edge.outputs import Outputs  # noqa: PLC0415 loaded only for a status

    outputs = Outputs(manifest.output)
    if not outputs.state_folder.is_dir():
        return False
    try:
        with outputs.lock():
            return False
    except OutputBusyError:
        return True


@click.command("export")
@manifest_argument
@output_option
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--safe-cells", is_flag=True, help="Defuse CSV cells that a spreadsheet would take for formulas.")
def export_command(manifest: Path, *, output: Path | None, form: str, safe_cells: bool) -> int:
    """Write one row a job to stdout: state, task, prices, times, file, hash, prompt."""
    loaded = load(manifest, output=output)
    rows = _rows(loaded)
    if form == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
        return Exit.OK
    writer = csv.DictWriter(sys.stdout, EXPORTED, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _defused(value) if safe_cells else value for name, value in row.items()})
    return Exit.OK


def _rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    from batchvid.views.status import status_object  # noqa: PLC0415 loaded only to export

    known, money = read_journal(manifest)
    objects = status_object(manifest, known, money)["jobs"]
    for job, row in zip(manifest.jobs, objects, strict=True):
        yield row | {"prompt": job.prompt}


def _defused(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_BEGINNINGS) else value
