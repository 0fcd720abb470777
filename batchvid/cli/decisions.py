"""What a person is asked, and the journal that is held while somebody decides about jobs."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import BatchvidError, ConfigError
from batchvid.domain.plan import cost_again, left_micros
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.limits import Limits
    from batchvid.domain.options import RunOptions
    from batchvid.domain.plan import Cost, Plan
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
        raise ConfigError(f"nothing was ever run into {manifest.output}: no job can be reopened or adopted")
    output, at = Output.of(manifest.output), time.time()
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
    return cost_again(jobs, limits, left=left_micros(replace(journal.money(), budget_micros=limits.budget_micros)))


def confirmed(question: str) -> bool:
    """Ask the person; raises ``click.UsageError`` when there is nobody to ask."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        complain("")  # ends the line of the question
        raise click.UsageError("nobody is there to be asked: add --yes") from None


def without_refused(manifest: Manifest) -> Manifest:
    """Return the manifest without the jobs that the person does not want to be bought as new ones.

    Where nobody can be asked, it is returned as it is: the run tells of them before it buys them.
    """
    if sys.stdin is None or sys.stdout is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return manifest
    from batchvid.cli.output.text import count
    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.domain.identity import advice
    from batchvid.engine.moving import TOLD_AT_MOST, identity_of
    from batchvid.storage.output import Output

    journal, clips = journal_of(manifest).read(), Output.of(manifest.output).clips
    with journal or nullcontext():
        found = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, clips) if journal else None
    if found is None or not found.resembling:
        return manifest
    for new, old in found.resembling[:TOLD_AT_MOST]:
        tell(f"{new} is new, and {advice(old)}")
    if (more := len(found.resembling) - TOLD_AT_MOST) > 0:
        tell(f"and {more:,} more, which batchvid plan lists")
    what = count(len(found.resembling), "job")
    if click.confirm(f"Buy {what} as new? Otherwise {what} will be held back, and the others go on", default=False):
        return manifest
    refused = {new for new, _ in found.resembling}
    return replace(manifest, jobs=tuple(job for job in manifest.jobs if job.id not in refused))


def is_moved(manifest: Manifest) -> bool:
    """Ask on a terminal, where the output may be a copy, whether no other copy of it goes on."""
    if sys.stdin is None or not sys.stdin.isatty() or not journal_of(manifest).exists():
        return False

    question = None
    with suppress(BatchvidError):  # the run itself tells what is wrong
        journal = journal_of(manifest).read()
        if journal is not None and not journal_of(manifest).is_held():
            with journal:
                question = journal.moved_question({job.id for job in manifest.jobs})
    return question is not None and click.confirm(question, err=True)


def is_bounded_or_accepted(manifests: Sequence[Manifest], options: RunOptions, *, yes: bool, as_json: bool) -> bool:
    """Ask whether to go on where nothing bounds what the run may cost; where nobody can be asked, warn."""
    unpriced = 0 if yes else _unbounded(manifests, options)
    if not unpriced:
        return True
    what = f"nothing bounds what this run may cost: {unpriced:,} job{'s' if unpriced > 1 else ''} of unknown price"
    if as_json or not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        complain(f"warning: {what}; state prices: and limits.budget in the manifest, or give --max-cost")
        return True
    return click.confirm(f"{what[:1].upper()}{what[1:]}. Go on?", default=False, err=True)


def _unbounded(manifests: Sequence[Manifest], options: RunOptions) -> int:
    """Count the jobs without a known price that a run may buy although nothing bounds what it may cost."""
    if options.max_cost_micros is not None:
        return 0
    found = 0
    for manifest in manifests:
        if manifest.limits.budget_micros is None and any(job.price_micros is None for job in manifest.jobs):
            found += sum(row.attempts > 0 and row.again_micros is None for row in _plan(manifest, options).rows)
    return found if options.max_jobs is None else min(found, options.max_jobs)


def _plan(manifest: Manifest, options: RunOptions) -> Plan:
    """Return what a run would do, as far as that can be read without holding the output."""
    from batchvid.domain.reopening import reopenings
    from batchvid.engine.planning import planned

    jobs = {job.id: job for job in manifest.jobs}
    only = options.chosen(jobs)
    chosen = jobs if only is None else {job_id: jobs[job_id] for job_id in only}
    try:
        journal = journal_of(manifest).read()
    except BatchvidError:  # one of an older batchvid, which the run migrates; of any other the run tells
        journal = None
    with journal or nullcontext():
        rows = () if journal is None else journal.progress_in_brief()
        again = reopenings(chosen, rows, options=options, limits=manifest.limits)
        return planned(manifest, journal, rebuy=options.rebuy, again=again, only=only)[0]
