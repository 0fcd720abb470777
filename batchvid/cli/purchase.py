"""What a run asks a person on a terminal before it buys: what it would submit, for how much at most, and one question.

Nobody is asked where nothing would be submitted, where nothing is paid, and where nobody sits at the terminal. What the
answer is about was read without holding the outputs; what a run finds then, it tells again before it sends anything.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from batchvid.cli.output import text
from batchvid.cli.output.advice import command
from batchvid.cli.streams import complain
from batchvid.domain.errors import BatchvidError
from batchvid.domain.frozen import frozen
from batchvid.domain.plan import cost_of_plan, cost_together
from batchvid.domain.task import FACTS
from batchvid.domain.text import clean
from batchvid.engine.target import as_run, journal_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from batchvid.domain.job import Progress
    from batchvid.domain.limits import RunOptions
    from batchvid.domain.plan import Cost, Plan, PlanRow
    from batchvid.domain.results import Money
    from batchvid.manifest.model import Manifest


NOT_BEGUN = "batchvid: not begun, and nothing was sent"
ROWS_SHOWN = 8
"""Jobs of a manifest that get a line before the question; ``batchvid plan`` lists them all."""
REASON_SHOWN = 160


@frozen
class Offer:
    """What a run would buy of one manifest, as far as that can be read without holding its output."""

    manifest: Manifest
    named: str
    plan: Plan
    money: Money
    resembling: frozenset[str] = frozenset()
    """Of the jobs that would be submitted: those that only resemble what is paid."""
    unread: str = ""
    """Why the journal cannot be read before the run, so that jobs count here which are paid."""

    @property
    def bought(self) -> list[PlanRow]:
        """Return the rows that would be submitted."""
        return [row for row in self.plan.rows if row.submits]


def accepted(
    manifests: Sequence[Manifest], named: Sequence[str], options: RunOptions, *, yes: bool, as_json: bool
) -> list[Manifest] | None:
    """Return the manifests as the person wants them to be run; ``None`` when nothing is to be sent.

    Where nobody is asked, they are returned as they are; that nothing bounds what they may cost is a warning then.
    """
    if yes or options.sandbox_speed is not None:
        return list(manifests)
    if as_json or not is_at_terminal():
        offers = [_offer(one, "", options) for one in manifests if _has_no_bound(one, options)]
        if unpriced := unbounded(offers, options):
            told = _boundless(unpriced)
            complain(f"warning: {told}; state prices: and limits.budget in the manifest, or give --max-cost")
        return list(manifests)
    for one in manifests:
        as_run(one, options)  # what keeps it from beginning is told before a person is asked
    if all(map(_is_held_by_another, manifests)):
        return list(manifests)
    # The output of one among them may be free again once the person has answered: it is part of the question.
    offers = [_offer(one, name, options) for one, name in zip(manifests, named, strict=True)]
    cost = cost_together([(one.plan, one.money) for one in offers], **_bounds(options))
    unpriced = unbounded(offers, options)
    if not cost.jobs and not unpriced:
        return list(manifests)
    for line in offer_lines(offers, cost, options):
        complain(line)
    try:
        return _answered(list(manifests), offers, cost, unpriced)
    except click.Abort:
        complain(f"\n{NOT_BEGUN}")  # on a line of its own, not behind the question
        raise


def is_at_terminal() -> bool:
    """Whether somebody sits there who can be asked, and sees the question."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _answered(manifests: list[Manifest], offers: Sequence[Offer], cost: Cost, unpriced: int) -> list[Manifest] | None:
    what = f"Submit {'this job' if cost.jobs == 1 else f'these {cost.jobs:,} jobs'}?"
    if unpriced:
        bound = _boundless(unpriced)
        what = f"{bound[:1].upper()}{bound[1:]}. Go on?"
    held_back = {id(one.manifest): one.resembling for one in offers if one.resembling}
    if not held_back:
        return manifests if click.confirm(what, default=False, err=True) else None
    number = text.count(sum(map(len, held_back.values())), "job")
    resemble = "resembles" if number == "1 job" else "resemble"
    complain(f"y submits all; w submits them without the {number} that {resemble} what is paid; n submits nothing")
    letters = click.Choice(["y", "w", "n"], case_sensitive=False)
    answer = click.prompt(
        f"{what} [y/w/N]", type=letters, default="n", show_choices=False, show_default=False, err=True
    )
    if answer == "n":
        return None
    return manifests if answer == "y" else [_without(one, held_back.get(id(one), frozenset())) for one in manifests]


def _without(manifest: Manifest, ids: Collection[str]) -> Manifest:
    return replace(manifest, jobs=tuple(job for job in manifest.jobs if job.id not in ids)) if ids else manifest


def _is_held_by_another(manifest: Manifest) -> bool:
    """Whether another run holds the output, so that this one cannot begin; with a database, many may be at work."""
    return not manifest.database and journal_of(manifest).is_held()


def offer_lines(offers: Sequence[Offer], cost: Cost, options: RunOptions) -> Iterator[str]:
    """Yield what would be bought of each manifest, and for how much at most; of several, their sum too."""
    for one in offers:
        own = cost_of_plan(one.plan, one.money, **_bounds(options))
        if not own.jobs:
            more = text.more_words(own)
            yield f"{clean(one.named, 300)}: submits nothing new{more}"
            continue
        yield f"{clean(one.named, 300)}: submits {_jobs(own)} for {text.cost_words(own)}{_where(one.manifest)}"
        yield from _rows(one)
        if one.unread:
            yield f"  what is paid already was not read, and is not bought again: {clean(one.unread, 300)}"
    if len(offers) > 1:
        yield f"Together: {_jobs(cost)} for {text.cost_words(cost)}"


def _jobs(cost: Cost) -> str:
    if not cost.left_out:
        return text.count(cost.jobs, "job")
    return f"{cost.jobs:,} of {text.count(cost.jobs + cost.left_out, 'job')} (--max-jobs)"


def _where(manifest: Manifest) -> str:
    """Return where the requests go, if it is not where the provider is known to be."""
    is_usual = manifest.base_url == FACTS[manifest.provider].base_url
    profile = f" (profile {clean(manifest.profile_name, 100)})" if manifest.profile_name else ""
    return profile if is_usual else f", at {clean(manifest.base_url, 300)}{profile}"


def _rows(offer: Offer) -> Iterator[str]:
    bought = sorted(offer.bought, key=lambda row: row.job_id not in offer.resembling)
    shown = bought[:ROWS_SHOWN]
    names = max(len(text.job_name(row.job_id)) for row in shown)
    prices = [text.money(row.price_micros) if row.price_micros is not None else "unknown" for row in shown]
    width = max(map(len, prices))
    for row, price in zip(shown, prices, strict=True):
        why = clean(row.reason, REASON_SHOWN)
        yield f"  + {text.job_name(row.job_id):<{names}}  {price:>{width}}  {why}".rstrip()
    if (more := len(bought) - len(shown)) > 0:
        yield f"  … and {more:,} more: {command('plan', offer.named)}"


def _bounds(options: RunOptions) -> dict[str, int | None]:
    return {"max_cost_micros": options.max_cost_micros, "max_jobs": options.max_jobs}


def _boundless(unpriced: int) -> str:
    return f"nothing bounds what this run may cost: {unpriced:,} job{'s' if unpriced > 1 else ''} of unknown price"


def _has_no_bound(manifest: Manifest, options: RunOptions) -> bool:
    """Whether nothing bounds what jobs without a price may cost, and there are some; quick, for who is not asked."""
    is_bounded = options.max_cost_micros is not None or manifest.limits.is_bounded
    return not is_bounded and any(job.price_micros is None for job in manifest.jobs)


def unbounded(offers: Sequence[Offer], options: RunOptions) -> int:
    """Count the jobs without a known price that a run may buy although nothing bounds what it may cost."""
    found = sum(
        row.attempts > 0 and row.again_micros is None
        for one in offers
        if _has_no_bound(one.manifest, options)
        for row in one.plan.rows
    )
    return found if options.max_jobs is None else min(found, options.max_jobs)


def _offer(manifest: Manifest, named: str, options: RunOptions) -> Offer:
    """Return what a run would do, as far as that can be read without holding the output."""
    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.domain.identity import NOBODY
    from batchvid.domain.reopening import reopenings, reopens_done
    from batchvid.engine.planning import as_moved, identity_of, lost_of, planned
    from batchvid.storage.output import Output

    jobs = {job.id: job for job in manifest.jobs}
    only = options.chosen(jobs)
    chosen = jobs if only is None else {job_id: jobs[job_id] for job_id in only}
    unread = ""
    try:
        journal = journal_of(manifest).read()
    except BatchvidError as error:  # one of an older batchvid, which the run migrates; of any other the run tells
        journal, unread = None, str(error)
    with journal or nullcontext():
        found = NOBODY
        rows: Iterator[Progress] = iter(())
        if journal is not None:
            found = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, Output.of(manifest).clips)
            rows = as_moved(journal.progress_in_brief(), found)  # the run moves them first, and then opens them
        again = reopenings(chosen, rows, options=options, limits=manifest.limits)
        lost: dict[str, str] = {}
        if reopens_done(options, manifest.limits) and DependencyGraph(manifest.jobs):
            # A clip that is fetched again may have other bytes: then what goes on from it has another content.
            lost = {job_id: why for job_id, why in lost_of(manifest, journal).items() if job_id not in again}
        made, money = planned(manifest, journal, rebuy=options.rebuy, lost=lost, again=again, only=only)
        bought = {row.job_id for row in made.rows if row.submits}
        resembling = frozenset(new for new, _ in found.resembling if new in bought)
    return Offer(manifest, named, made, money, resembling, unread)


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
