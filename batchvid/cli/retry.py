"""``retry``: opens failed, timed-out or in-doubt jobs again; and what all decisions of a person share."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import database_option, load, manifest_argument, never_run, output_option
from batchvid.cli.output.advice import LISTED_AT_MOST, command
from batchvid.cli.output.text import cost_words, count, why, word
from batchvid.cli.streams import complain, tell
from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit, OutputBusyError
from batchvid.domain.job import State
from batchvid.domain.plan import cost_again, left_micros
from batchvid.domain.records import DEFERRED, standing
from batchvid.domain.reopening import still_wakes
from batchvid.engine.spending import money_of
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.limits import Limits
    from batchvid.domain.plan import Cost
    from batchvid.journal.base import Journal
    from batchvid.manifest.model import Manifest


@contextmanager
def writing(manifest: Manifest) -> Iterator[Journal]:
    """Open the journal for a person's word, if there is one; raises `ConfigError` when nothing was ever run.

    What the last run left is taken up before: a paid task whose id is known must not be bought again as one in doubt.
    """
    from batchvid.engine.recovery import recover
    from batchvid.storage.output import Output

    store = journal_of(manifest)
    if not store.exists():
        raise never_run(manifest, "no job can be reopened or adopted")
    output, at = Output.of(manifest), time.time()
    refused = None
    with store.lock(), store.open(service=None) as journal:
        recover(journal, output, manifest, None, at=at, note=complain, warn=complain)
        try:
            yield journal
        except click.ClickException as error:
            refused = error  # what was asked for cannot be done, and the journal is closed properly all the same
    if refused is not None:
        raise refused


def record(journal: Journal, row: Progress, *events: Event) -> None:
    """Record what a person decided about one job."""
    from batchvid.journal.base import Change

    at = time.time()
    journal.record([Change.of(row, *((event, at) for event in events))])


def cost_in(journal: Journal, jobs: Sequence[Job], limits: Limits) -> Cost:
    """Return what it costs to buy these jobs again, with what the budget has left."""
    return cost_again(jobs, limits, left=left_micros(money_of(journal, limits)))


def confirmed(question: str) -> bool:
    """Ask the person; raises ``click.UsageError`` when there is nobody to ask."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        complain("")  # ends the line of the question
        if sys.stdin is not None and sys.stdin.isatty():
            complain("nothing was changed")
            raise
        raise click.UsageError("not a terminal: add --yes") from None


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
@database_option
def retry_command(
    manifest: Path,
    ids: tuple[str, ...],
    *,
    failed: bool,
    timed_out: bool,
    in_doubt: bool,
    yes: bool,
    output: str | None,
    database: str | None,
) -> int:
    """Reopen failed, timed-out or in-doubt jobs, so that the next run submits them again; says what it may cost.

    With IDS, only those; an in-doubt job among them needs --in-doubt as well, because it may be paid twice.
    """
    if not ids and not (failed or timed_out or in_doubt):
        raise click.UsageError("name job ids, or --failed, --timed-out or --in-doubt")
    loaded = load(manifest, output=output, database=database)
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
        _refuse_early(chosen, journal)
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


def _refuse_early(rows: list[Progress], journal: Journal) -> None:
    """Raise `OutputBusyError` for a doubt of which the other side may still send its request."""
    waits = {job_id: left_s for job_id, left_s in journal.may_wake().items() if job_id in {row.job_id for row in rows}}
    if waits:
        job_id, left_s = max(waits.items(), key=lambda one: one[1])
        more = f" (and {len(waits) - 1} more)" if len(waits) > 1 else ""
        raise OutputBusyError(f"nothing was changed: {job_id}{more} stays in doubt: {still_wakes(left_s)}")


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
