"""``retry`` and ``adopt``: what only a person may decide. They hold the output's lock."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from batchvid.commands.options import load, manifest_argument, output_option
from batchvid.core import lifecycle as life
from batchvid.core.job import State
from batchvid.core.opening import CRASHED
from batchvid.errors import ConfigError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchvid.core.job import Job, Progress
    from batchvid.core.lifecycle import Event
    from batchvid.edge.journal import Journal
    from batchvid.manifest.model import Manifest


@contextmanager
def _writing(manifest: Manifest) -> Iterator[Journal]:
    """Open the journal for a person's word, if there is one; raises `ConfigError` when nothing was ever run."""
    from batchvid.edge.journal import Journal  # noqa: PLC0415 the engine is loaded only to write
    from batchvid.edge.outputs import Outputs  # noqa: PLC0415 as above

    path = Outputs(manifest.output).state_folder / "journal.db"
    if not path.exists():
        raise ConfigError(f"nothing was ever run into {manifest.output}: there is nothing to mend")
    with Outputs(manifest.output).lock(), Journal.reopen(path) as journal:
        yield journal


def _record(journal: Journal, row: Progress, *events: Event) -> None:
    from batchvid.edge.change import Change  # noqa: PLC0415 as above

    at = time.time()
    journal.record([Change.of(row, *((event, at) for event in events))])


@click.command("retry")
@manifest_argument
@click.argument("ids", nargs=-1)
@click.option("--failed", is_flag=True, help="Reopen every failed job.")
@click.option("--timed-out", is_flag=True, help="Buy every timed-out job again; its task may still be running.")
@click.option("--in-doubt", is_flag=True, help="Reopen every in-doubt job; some may be paid twice.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, for scripts.")
@output_option
def retry_command(  # noqa: PLR0913 one argument an option
    manifest: Path,
    ids: tuple[str, ...],
    *,
    failed: bool,
    timed_out: bool,
    in_doubt: bool,
    yes: bool,
    output: Path | None,
) -> int:
    """Reopen failed, timed-out or in-doubt jobs, so that the next run submits them again; says what it may cost.

    With IDS, only those; an in-doubt job among them needs --in-doubt as well, because it may be paid twice.
    """
    if not ids and not (failed or timed_out or in_doubt):
        raise click.UsageError("name job ids, or --failed, --timed-out or --in-doubt")
    loaded = load(manifest, output=output)
    jobs = {job.id: job for job in loaded.jobs}
    with _writing(loaded) as journal:
        chosen = [
            row
            for row in journal.all_progress()
            if row.job_id in jobs and _is_meant(row, ids, failed=failed, timed_out=timed_out, in_doubt=in_doubt)
        ]
        _complain_of(set(ids) - {row.job_id for row in chosen}, jobs, in_doubt=in_doubt)
        if not chosen:
            click.echo("no such job: nothing was changed")
            return Exit.OK
        _tell_cost(chosen, jobs)
        if not yes and not click.confirm("Reopen them?", default=True):
            return Exit.OK
        for row in chosen:
            _record(journal, row, *_reopening(row))
    click.echo(f"reopened {len(chosen)}: next, batchvid run {manifest}")
    return Exit.OK


def _is_meant(row: Progress, ids: tuple[str, ...], *, failed: bool, timed_out: bool, in_doubt: bool) -> bool:
    doubtful = row.state in {State.IN_DOUBT, State.SUBMITTING}
    kinds = {
        "failed": row.state is State.FAILED,
        "timed out": row.state is State.RUNNING and row.parked,
        "in doubt": doubtful,
    }
    asked = {"failed": failed, "timed out": timed_out, "in doubt": in_doubt}
    if ids:
        return row.job_id in ids and any(kinds.values()) and (in_doubt or not doubtful)
    return any(kinds[kind] and asked[kind] for kind in kinds)


def _complain_of(missing: set[str], jobs: dict[str, Job], *, in_doubt: bool) -> None:
    for job_id in sorted(missing):
        if job_id not in jobs:
            raise click.UsageError(f"the manifest has no job {job_id!r}")
        hint = "" if in_doubt else " (an in-doubt job may be paid twice: add --in-doubt)"
        raise click.UsageError(f"job {job_id!r} is neither failed nor timed out{hint}")


def _tell_cost(rows: list[Progress], jobs: dict[str, Job]) -> None:
    from batchvid.views.text import money  # noqa: PLC0415 as above

    prices = [jobs[row.job_id].price_micros for row in rows]
    known = sum(price for price in prices if price is not None)
    unknown = sum(price is None for price in prices)
    extra = f", and {unknown} of unknown price" if unknown else ""
    click.echo(f"{len(rows)} job{'s' if len(rows) != 1 else ''} would be submitted again, for {money(known)}{extra}:")
    for row in rows[:20]:
        click.echo(f"  {row.job_id}: {row.state.replace('_', ' ')}; {row.reason or 'no reason on record'}")
    if len(rows) > 20:  # noqa: PLR2004 a screenful
        click.echo(f"  and {len(rows) - 20} more")
    if any(row.state in {State.IN_DOUBT, State.SUBMITTING} for row in rows):
        click.echo("jobs in doubt may have been paid already: look at the service's dashboard first")
    if any(row.state is State.RUNNING for row in rows):
        click.echo("timed-out tasks are paid, and may still finish: a plain run polls them again for nothing")


def _reopening(row: Progress) -> tuple[Event, ...]:
    """Give the events that lead from where the job stands to pending."""
    reopened = life.Reopened("batchvid retry")
    match row.state:
        case State.SUBMITTING:
            return (life.SubmitUnsure(CRASHED), reopened)
        case State.RUNNING:
            return (life.GaveUp("a person gave the timed-out task up"), reopened)
        case _:
            return (reopened,)


@click.command("adopt")
@manifest_argument
@click.argument("job_id", metavar="ID")
@click.argument("task_id")
@output_option
def adopt_command(manifest: Path, job_id: str, task_id: str, *, output: Path | None) -> int:
    """Give the in-doubt job ID the task id that you found on the service's dashboard; the next run collects it."""
    from batchvid.core.wire import usable_id  # noqa: PLC0415 as above
    from batchvid.edge.change import TaskOwnedError  # noqa: PLC0415 as above

    if not usable_id(task_id):
        raise click.UsageError("that is no task id: one printable word is expected")
    loaded = load(manifest, output=output)
    with _writing(loaded) as journal:
        row = journal.progress(job_id)
        if row is None or row.state not in {State.IN_DOUBT, State.SUBMITTING}:
            standing = "new" if row is None else row.state.replace("_", " ")
            raise click.UsageError(f"job {job_id!r} is {standing}, not in doubt: there is nothing to adopt")
        events: tuple[Event, ...] = (life.TaskAdopted(task_id),)
        if row.state is State.SUBMITTING:
            events = (life.SubmitUnsure(CRASHED), *events)
        try:
            _record(journal, row, *events)
        except TaskOwnedError as error:
            raise click.UsageError(f"task {task_id} belongs to job {error.owner!r} already") from None
    click.echo(f"job {job_id} has task {task_id}: next, batchvid run {manifest}")
    return Exit.OK
