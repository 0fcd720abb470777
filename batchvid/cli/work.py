"""What one ``run`` does for its manifests: a view, an account and an order for each, and all at work at once."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from batchvid.cli.output.costs import notes_of, plan_sums_json, run_words
from batchvid.cli.output.jsonl import JsonLines
from batchvid.cli.output.lines import PlainLines
from batchvid.cli.output.metrics import MetricsFile
from batchvid.cli.streams import complain, unfailing
from batchvid.domain.errors import BatchvidError, ConfigError, OutputBusyError
from batchvid.domain.notice import failed_start, is_worth_telling, notice
from batchvid.domain.plan import cost_of_plan
from batchvid.domain.reopening import reopenings
from batchvid.engine.account import SpendCap
from batchvid.engine.context import Interrupts, RunContext
from batchvid.engine.observer import Several, Verbosity
from batchvid.engine.planning import planned
from batchvid.engine.run import run_many
from batchvid.engine.target import as_run, has_journal, journal_path
from batchvid.journal.sqlite_reader import JournalReader
from batchvid.providers.credentials import find_url, terminal_can_draw
from batchvid.storage.lock import is_held

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchvid.cli.report import Reporter
    from batchvid.domain.notice import Hook
    from batchvid.domain.options import RunOptions
    from batchvid.domain.plan import Plan
    from batchvid.domain.results import Money, Summary
    from batchvid.engine.observer import View
    from batchvid.manifest.model import Manifest


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done, and how it is to be told."""

    options: RunOptions
    as_json: bool
    verbosity: Verbosity
    metrics: Path | None = None
    """Where to write a file for Prometheus."""
    report: bool = True
    """Whether each run ends with its page."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One manifest, who watches it, and what ends with it."""

    named: str
    manifest: Manifest
    view: View
    told: JsonLines | None
    """The part of the view that writes JSON."""
    stack: ExitStack
    """What is closed with it."""
    draws: bool = False
    """Whether the view draws on the terminal."""
    reporter: Reporter | None = None
    """Who writes the report at the end; ``None`` when none is wanted."""
    hooks: tuple[Hook, ...] = ()
    """Whom to tell how it ended, each with its URL."""
    moved: bool = False
    """Whether a person has said that no other copy of the output goes on."""


def do(asked: Asked, named: Sequence[str], manifests: Sequence[Manifest]) -> list[Summary | BatchvidError]:
    """Run the manifests; give how each ended, but for those that an interruption kept from beginning.

    One that cannot begin is told on standard error and does not stop the others. Raises `ConfigError` when there is no
    key for one that was never run: nothing is sent then.
    """
    manifests = [as_run(manifest, asked.options) for manifest in manifests]
    metrics = None if asked.metrics is None else _metrics(asked.metrics)
    with ExitStack() as stack:
        watched = []
        draws = _draws(asked)
        for name, manifest, (view, told) in zip(named, manifests, _views(asked, named), strict=True):
            seen = view if metrics is None else Several([view, metrics.view(name)])
            hooks = tuple(hook for hook in map(_known, manifest.notify) if hook is not None)
            own = stack.enter_context(ExitStack())
            own.callback(seen.close)
            moved = asked.options.moved or _is_said_to_be_moved(asked, manifest)
            reporter = _reporter(manifest, name, view, own) if asked.report else None
            watched.append(
                Watched(name, manifest, seen, told, own, draws=draws, reporter=reporter, hooks=hooks, moved=moved)
            )
        gc.freeze()  # what was read lives as long as the run: the collector need not walk it again and again
        return asyncio.run(_do(asked, watched, metrics))


def _is_said_to_be_moved(asked: Asked, manifest: Manifest) -> bool:
    """Ask on a terminal, where the output may be a copy of one that goes on elsewhere."""
    if asked.as_json or sys.stdin is None or not sys.stdin.isatty() or not has_journal(manifest):
        return False
    from batchvid.journal import home

    question = None
    with suppress(BatchvidError):  # the run itself tells what is wrong
        journal = JournalReader.open_readonly(journal_path(manifest))
        if journal is not None and not is_held(manifest.output):
            with journal:
                question = home.question(journal, {job.id for job in manifest.jobs})
    return question is not None and click.confirm(question, err=True)


def unbounded(manifests: Sequence[Manifest], options: RunOptions) -> int:
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
    jobs = {job.id: job for job in manifest.jobs}
    only = options.chosen(jobs)
    chosen = jobs if only is None else {job_id: jobs[job_id] for job_id in only}
    try:
        journal = JournalReader.open_readonly(journal_path(manifest))
    except BatchvidError:  # one of an older batchvid, which the run migrates; of any other the run tells
        journal = None
    with journal or nullcontext():
        rows = () if journal is None else journal.all_progress()
        again = reopenings(chosen, rows, options=options, limits=manifest.limits)
        return planned(manifest, journal, rebuy=options.rebuy, again=again, only=only)[0]


def _reporter(manifest: Manifest, named: str, view: View, stack: ExitStack) -> Reporter:
    from batchvid.cli.report import Reporter, posters_of

    posters = posters_of(manifest)
    stack.callback(posters.close)
    return Reporter(manifest, posters, view=view, named=named)


async def _do(asked: Asked, watched: Sequence[Watched], metrics: MetricsFile | None) -> list[Summary | BatchvidError]:
    interrupts = Interrupts()
    interrupts.install()
    spend_cap = SpendCap(asked.options.max_cost_micros, asked.options.max_jobs)
    found: list[Summary | BatchvidError] = []

    async def ended(place: int, outcome: Summary | BatchvidError) -> None:
        one = watched[place]
        found.append(outcome)
        if isinstance(outcome, BatchvidError) and len(watched) > 1:
            _complain(one, f"{one.named}: {outcome}")
        if metrics is not None:
            _end(metrics, one, outcome)
        if not interrupts.at_once:
            await _notify(one, outcome)
        one.stack.close()

    await run_many([_context(asked, one, interrupts, spend_cap) for one in watched], ended)
    return found


def _metrics(path: Path) -> MetricsFile:
    """Return the file for Prometheus; raises `ConfigError` when it cannot be written there."""
    found = MetricsFile(path)
    if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise ConfigError(f"the metrics cannot be written: {path.absolute().parent} is no folder that batchvid may use")
    return found


def _end(metrics: MetricsFile, one: Watched, outcome: Summary | BatchvidError) -> None:
    if isinstance(outcome, BatchvidError):
        metrics.ended(one.named, outcome.exit_code)
    if metrics.failed is not None:
        _complain(one, metrics.failed)


def _complain(one: Watched, what: str) -> None:
    """Return it on standard error, or above the picture where one is drawn."""
    if one.draws:
        one.view.warn(f"batchvid: {what}")
    else:
        complain(f"batchvid: {what}")


async def _notify(one: Watched, outcome: Summary | BatchvidError) -> None:
    """Tell whom the manifest names how the run ended; that it cannot be told is only said.

    Nobody hears of a run that found every clip there, nor of one that another run kept from beginning: that one will
    tell.
    """
    if not one.hooks or isinstance(outcome, OutputBusyError):
        return
    if isinstance(outcome, BatchvidError):
        told = failed_start(one.named, outcome.exit_code)
    elif is_worth_telling(outcome):
        told = notice(outcome)
    else:
        return
    from batchvid.engine.notify import tell

    for trouble in await tell(one.hooks, told):
        _complain(one, trouble)


def _known(hook: Hook) -> Hook | None:
    """Return a hook with its URL, when that stands in a variable."""
    if not hook.env:
        return hook
    url = find_url(hook.env)
    if url is None:
        complain(f"warning: nobody will be notified at {hook.shown}: the variable is not set")
        return None
    return replace(hook, url=url)


def _context(asked: Asked, one: Watched, interrupts: Interrupts, spend_cap: SpendCap) -> RunContext:
    return RunContext(
        one.manifest,
        named=one.named,
        options=replace(asked.options, moved=one.moved),
        observer=one.view if one.reporter is None else Several([one.reporter, one.view]),
        interrupts=interrupts,
        spend_cap=spend_cap,
        planned=lambda plan, money: _tell_plan(plan, money, one, asked.options),
        before_summary=None if one.reporter is None else one.reporter.write,
    )


def _draws(asked: Asked) -> bool:
    is_terminal = sys.stdout is not None and sys.stdout.isatty() and terminal_can_draw()
    return is_terminal and not asked.as_json and asked.verbosity is Verbosity.NORMAL


def _views(asked: Asked, named: Sequence[str]) -> list[tuple[View, JsonLines | None]]:
    """Return for each manifest the view, and the part of it that writes JSON."""
    out = unfailing(sys.stdout)
    labels = list(named) if len(named) > 1 else [""]
    if asked.as_json:
        people = unfailing(sys.stderr)
        told = [JsonLines(out, asked.verbosity, manifest=name) for name in named]
        lines = [
            PlainLines(people, asked.verbosity, manifest=name, label=label)
            for name, label in zip(named, labels, strict=True)
        ]
        return [(Several([one, other]), one) for one, other in zip(told, lines, strict=True)]
    if _draws(asked):
        from batchvid.cli.output.live import LiveView, Screen, console_on

        screen = Screen(console_on(sys.stdout))
        return [(LiveView(screen, manifest=name), None) for name in named]
    return [
        (PlainLines(out, asked.verbosity, manifest=name, label=label), None)
        for name, label in zip(named, labels, strict=True)
    ]


def _tell_plan(plan: Plan, money: Money, one: Watched, options: RunOptions) -> None:
    """Begin the run's story: its plan for programs, for people what it may cost and what they might not expect."""
    cost = cost_of_plan(plan, money, max_cost_micros=options.max_cost_micros, max_jobs=options.max_jobs)
    if one.told is not None:
        one.told.write(plan_sums_json(plan, money, cost=cost))
    bought = run_words(plan, cost)
    for note in (*([] if bought is None else [bought]), *notes_of(plan)):
        one.view.note(note)
