"""``retry``: opens failed, timed-out or in-doubt jobs again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchvid.cli.decisions import confirmed, cost_in, record, writing
from batchvid.cli.options import manifest_argument, output_option
from batchvid.cli.output.advice import LISTED_AT_MOST, command
from batchvid.cli.output.text import cost_words, count, why, word
from batchvid.cli.reading import load
from batchvid.cli.streams import tell
from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.records import DEFERRED, standing

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.plan import Cost


STUCK = {State.FAILED: "failed", DEFERRED: "timed out or not fetched", State.IN_DOUBT: "in doubt"}
"""How a job stands that can be reopened, in the order of the options that name it."""


@click.command("retry")
@manifest_argument
@click.argument("ids", nargs=-1)
@click.option("--failed", is_flag=True, help="Reopen every failed job.")
@click.option(
    "--timed-out",
    is_flag=True,
    help="Buy again every job that is deferred: its task timed out, or its clip could not be fetched. "
    "Both are paid, and a plain run looks for them again, free.",
)
@click.option("--in-doubt", is_flag=True, help="Reopen every in-doubt job; some may be paid twice.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, for scripts.")
@output_option
def retry_command(
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
    wanted = {State.FAILED: failed, DEFERRED: timed_out, State.IN_DOUBT: in_doubt}
    with writing(loaded) as journal:
        rows = {row.job_id: row for row in journal.all_progress() if row.job_id in jobs}
        if ids:
            chosen = [_named(job_id, rows, jobs, in_doubt=in_doubt) for job_id in dict.fromkeys(ids)]
        else:
            chosen = [row for row in rows.values() if wanted.get(_stands(row))]
        if not chosen:
            tell(f"no job is {' or '.join(STUCK[state] for state in STUCK if wanted[state])}: nothing was changed")
            return Exit.OK
        _tell_cost(chosen, cost_in(journal, [jobs[row.job_id] for row in chosen], loaded.limits))
        if not yes and not confirmed("Reopen them?"):
            tell("nothing was changed")
            return Exit.OK
        for row in chosen:
            record(journal, row, *_reopening(row))
    tell(f"reopened {len(chosen)}. Next: {command('run', str(manifest))}")
    return Exit.OK


def _named(job_id: str, rows: dict[str, Progress], jobs: dict[str, Job], *, in_doubt: bool) -> Progress:
    """Return the row of a job that was named, if it can be reopened; raises ``click.UsageError``."""
    if job_id not in jobs:
        raise click.UsageError(f"the manifest has no job {job_id!r}")
    row = rows.get(job_id)
    if row is None or _stands(row) not in STUCK:
        stands = "new" if row is None else word(row.state)
        raise click.UsageError(f"job {job_id!r} is {stands}: only failed, deferred and in-doubt jobs can be reopened")
    if row.state is State.IN_DOUBT and not in_doubt:
        raise click.UsageError(f"job {job_id!r} is in doubt, and may be paid already: add --in-doubt to buy it again")
    return row


def _tell_cost(rows: list[Progress], cost: Cost) -> None:
    tell(f"{count(len(rows), 'job')} would be submitted again, for {cost_words(cost)}:")
    for row in rows[:LISTED_AT_MOST]:
        tell(f"  {row.job_id}: {_words(row)}; {why(row.reason)}")
    if len(rows) > LISTED_AT_MOST:
        tell(f"  and {len(rows) - LISTED_AT_MOST:,} more")
    kinds = set(map(_stands, rows))
    if State.IN_DOUBT in kinds:
        tell("Jobs in doubt may have been paid already: look at the service's dashboard first.")
    if DEFERRED in kinds:
        tell("What timed out or was not fetched is paid, and may still come: a plain run looks again, free.")


def _stands(row: Progress) -> str:
    return standing(row, run_active=False)


def _words(row: Progress) -> str:
    match row.state:
        case State.RUNNING:
            return "timed out"
        case State.READY:
            return "finished, but its clip could not be fetched"
        case _:
            return word(row.state)


def _reopening(row: Progress) -> tuple[Event, ...]:
    """Return the events that lead from where the job stands to pending."""
    reopened = life.Reopened("batchvid retry")
    match row.state:
        case State.RUNNING:
            return (life.GaveUp("a person gave the timed-out task up"), reopened)
        case State.READY:
            return (life.GaveUp("a person gave up the clip that could not be fetched"), reopened)
        case _:
            return (reopened,)
