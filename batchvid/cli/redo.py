"""``redo``: a finished clip is bought once more, because a person wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchvid.cli.decide import ids_argument, named
from batchvid.cli.options import database_option, load, manifest_argument, output_option
from batchvid.cli.output.advice import LISTED_AT_MOST, command
from batchvid.cli.output.text import cost_words, count, job_name, money, word
from batchvid.cli.retry import confirmed, cost_in, record, writing
from batchvid.cli.streams import tell
from batchvid.domain import lifecycle as life
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.plan import left_micros
from batchvid.engine.spending import money_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchvid.domain.job import Job
    from batchvid.domain.limits import Limits
    from batchvid.journal.base import Journal


@click.command("redo")
@manifest_argument
@ids_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask, for scripts.")
@output_option
@database_option
def redo_command(manifest: Path, ids: tuple[str, ...], *, yes: bool, output: str | None, database: str | None) -> int:
    """Buy finished clips once more by the next run, whatever was decided about them; says what it may cost.

    The clip that is there is kept beside the new one, under its attempt's number. Each job is granted all attempts
    again (limits.attempts). A rejected clip needs no redo while an attempt is left. ID may be a pattern, such as
    'kite-*'.
    """
    loaded = load(manifest, output=output, database=database)
    jobs = {job.id: job for job in loaded.jobs}
    with writing(loaded) as journal:
        rows = {row.job_id: row for row in journal.progress_of(jobs)}
        chosen = named(loaded, ids, rows)
        for job_id in chosen:
            stands = "new" if job_id not in rows else word(rows[job_id].state)
            if stands != State.DONE:
                raise click.UsageError(f"job {job_id!r} is {stands}: only a finished clip can be made once more")
        _refuse_too_dear([jobs[job_id] for job_id in chosen], journal, loaded.limits)
        cost = cost_in(journal, [jobs[job_id] for job_id in chosen], loaded.limits)
        tell(
            f"{count(len(chosen), 'clip')} would be made once more, for {cost_words(cost)}"
            f"{_left(journal, loaded.limits)}:"
        )
        for job_id in chosen[:LISTED_AT_MOST]:
            tell(f"  {job_name(job_id)}: attempt {rows[job_id].attempt + 1}, and the clip of before is kept")
        if len(chosen) > LISTED_AT_MOST:
            tell(f"  and {len(chosen) - LISTED_AT_MOST:,} more")
        if not yes and not confirmed("Open them again?"):
            tell("nothing was changed")
            return Exit.OK
        for job_id in chosen:
            record(journal, rows[job_id], life.Reopened(REASON))
    tell(f"opened {len(chosen)} again. Next: {command('run', str(manifest))}")
    return Exit.OK


def _refuse_too_dear(jobs: Sequence[Job], journal: Journal, limits: Limits) -> None:
    """Raise ``click.UsageError`` for more than the budget can pay: such a job would stay open for ever."""
    left, price = _left_micros(journal, limits), sum(job.price_micros or 0 for job in jobs)
    if left is not None and price > left:
        raise click.UsageError(
            f"nothing was changed: {count(len(jobs), 'clip')} would cost {money(price)}, and {money(left)} of the "
            "budget is left: raise limits.budget, or name fewer"
        )


def _left(journal: Journal, limits: Limits) -> str:
    left = _left_micros(journal, limits)
    return "" if left is None else f" ({money(left)} of the budget is left)"


def _left_micros(journal: Journal, limits: Limits) -> int | None:
    return left_micros(money_of(journal, limits))


REASON = "batchvid redo"
"""Why such a job is open."""
