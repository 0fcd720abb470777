"""What one ``run`` does for its manifests: an observer and a context for each, and all at work at once."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from batchvid.cli.output import text
from batchvid.cli.output.jsonl import JsonLines, plan_sums_json
from batchvid.cli.output.lines import PlainLines
from batchvid.cli.output.metrics import MetricsFile
from batchvid.cli.purchase import is_moved
from batchvid.cli.streams import complain, safe_stream
from batchvid.domain.errors import BatchvidError, ConfigError, OutputBusyError
from batchvid.domain.frozen import frozen
from batchvid.domain.machines import DEAD_S
from batchvid.domain.notice import When, failed_start, is_worth_telling, notice
from batchvid.domain.plan import Action, cost_of_plan
from batchvid.engine.budget import SpendCap
from batchvid.engine.context import Interrupts, RunContext
from batchvid.engine.notify import News
from batchvid.engine.observer import Several, Verbosity
from batchvid.engine.run import run_many
from batchvid.engine.target import as_run
from batchvid.providers.credentials import find_url, terminal_can_draw

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from batchvid.domain.limits import RunOptions
    from batchvid.domain.notice import Hook
    from batchvid.domain.plan import Cost, Plan
    from batchvid.domain.results import Money, Summary
    from batchvid.engine.observer import Observer
    from batchvid.engine.run import Ended
    from batchvid.manifest.model import Manifest


NAMED_AT_MOST = 5
"""Of the jobs that a note is about."""


@frozen
class Telling:
    """How a call is told."""

    as_json: bool = False
    verbosity: Verbosity = Verbosity.NORMAL
    metrics: Path | None = None
    """Where to write a file for Prometheus."""
    report: bool = True
    """Whether each run ends with its page."""

    @property
    def draws(self) -> bool:
        """Whether the runs are drawn on the terminal."""
        is_terminal = sys.stdout is not None and sys.stdout.isatty() and terminal_can_draw()
        return is_terminal and not self.as_json and self.verbosity is Verbosity.NORMAL


@frozen
class Watched:
    """The run of one manifest, and what ends with it."""

    context: RunContext
    stack: ExitStack
    """What is closed with it."""
    hooks: tuple[Hook, ...]
    """Whom to tell how it ended, each with its URL."""
    news: News
    complain: Callable[[str], None]
    """Writes it on standard error, or above the picture where one is drawn."""


def _complainer(observer: Observer, *, draws: bool) -> Callable[[str], None]:
    """Return what writes on standard error, or above the picture where one is drawn."""
    say = observer.warn if draws else complain
    return lambda what: say(f"batchvid: {what}")


@frozen
class Published:
    """How manifests are published whose journal is in a database."""

    replaces: bool = False
    """Whether a manifest takes the place of another content of it that machines work on."""
    dead_s: float = DEAD_S
    """After how long without a word a worker's slices are taken over."""


AS_USUAL = Published()


def do(
    options: RunOptions,
    telling: Telling,
    named: Sequence[str],
    manifests: Sequence[Manifest],
    published: Published = AS_USUAL,
) -> list[Summary | BatchvidError]:
    """Run the manifests; return how each ended, but for those that an interruption kept from beginning.

    Those whose journal is in a database are *published*, and other machines may help. One that cannot begin is told on
    standard error and does not stop the others. Raises `ConfigError` when there is no key for one that was never run:
    nothing is sent then.
    """
    manifests = [as_run(manifest, options) for manifest in manifests]
    metrics = None if telling.metrics is None else _metrics(telling.metrics)
    interrupts, spend_cap = Interrupts(), SpendCap(options.max_cost_micros, options.max_jobs)
    with ExitStack() as stack:
        watched = []
        for name, manifest, (shown, told) in zip(named, manifests, _observers(telling, named), strict=True):
            own = stack.enter_context(ExitStack())
            hooks = tuple(hook for hook in map(_known, manifest.notify) if hook is not None)
            say = _complainer(shown, draws=telling.draws)
            news = News(name, hooks, say)
            watchers = [] if metrics is None else [metrics.view(name)]
            observer = Several([shown, *watchers, news])
            own.callback(observer.close)
            asks = not telling.as_json and not options.moved
            context = RunContext(
                manifest,
                named=name,
                options=replace(options, moved=True) if asks and is_moved(manifest) else options,
                observer=observer,
                interrupts=interrupts,
                spend_cap=spend_cap,
                planned=_teller(observer, told, options),
            )
            context = _reported(context, own) if telling.report and not manifest.database else context
            # With a database, the machine that ends the manifest tells those whom a variable names.
            told_here = [hook for hook in hooks if When.END in hook.when and not (manifest.database and hook.env)]
            watched.append(Watched(context, own, tuple(told_here), news, say))
        gc.freeze()  # what was read lives as long as the run: the collector need not walk it again and again
        return asyncio.run(_do(watched, interrupts, metrics, telling, published))


def _observers(telling: Telling, named: Sequence[str]) -> list[tuple[Observer, JsonLines | None]]:
    """Return for each manifest the observer, and the part of it that writes JSON."""
    out, level = safe_stream(sys.stdout), telling.verbosity
    if telling.draws:
        from batchvid.cli.output.live import LiveView, Screen
        from batchvid.cli.output.picture import console_on

        screen = Screen(console_on(sys.stdout))
        return [(LiveView(screen, manifest=name), None) for name in named]
    people = safe_stream(sys.stderr) if telling.as_json else out
    lines = [PlainLines(people, level, manifest=name, label=name if len(named) > 1 else "") for name in named]
    if not telling.as_json:
        return [(one, None) for one in lines]
    told = [JsonLines(out, level, manifest=name) for name in named]
    return [(Several([one, other]), one) for one, other in zip(told, lines, strict=True)]


def _teller(observer: Observer, told: JsonLines | None, options: RunOptions) -> Callable[[Plan, Money], None]:
    """Return what tells a plan: to programs its sums, to people its cost and what they might not expect."""

    def tell(plan: Plan, money: Money) -> None:
        cost = cost_of_plan(plan, money, max_cost_micros=options.max_cost_micros, max_jobs=options.max_jobs)
        if told is not None:
            told.write(plan_sums_json(plan, money, cost=cost))
        bought = _bought(plan, cost)
        closes = None if options.until_at is None or not cost.jobs else _closes(options.until_at, now=time.time())
        for note in (bought, closes, *_unexpected(plan)):
            if note is not None:
                observer.note(note)

    return tell


def _bought(plan: Plan, cost: Cost) -> str | None:
    """Return what a run says at its start of what it is going to buy; ``None`` when it cannot buy anything."""
    if not cost.jobs:
        return f"submits nothing new{text.more_words(cost)}" if text.more_words(cost) else None
    if not cost.left_out:
        return f"submits {text.count(cost.jobs, 'job')} for {text.cost_words(cost)}"
    return f"submits {cost.jobs:,} of {text.count(plan.submits, 'job')} (--max-jobs) for up to {text.cost_words(cost)}"


def _closes(until_at: float, *, now: float) -> str:
    """Return when the window closes, in local time with its zone: a time of day may be a day away, or come twice."""
    left = f"in {text.duration(until_at - now)}" if until_at > now else "which is over"
    return f"submits until {datetime.fromtimestamp(until_at, UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}, {left}"


def _unexpected(plan: Plan) -> list[str]:
    """Return what people might not expect of a run that begins with this plan."""
    notes = []
    names = [row.job_id for row in plan.rows if row.action is Action.CHANGED and not row.submits]
    if changed := len(names):
        shown = ", ".join(names[:NAMED_AT_MOST] + ["…"] * (changed > NAMED_AT_MOST))
        what = text.count(changed, "job")
        notes.append(f"{what} changed after being paid: kept as paid (--rebuy buys the new content): {shown}")
    if orphaned := plan.counts[Action.ORPHANED]:
        notes.append(f"{text.count(orphaned, 'job')} in the journal that the manifest no longer names: left alone")
    return notes


def _reported(context: RunContext, stack: ExitStack) -> RunContext:
    """Return the run that ends with its page."""
    from batchvid.cli.report import Reporter, posters_of

    posters = posters_of(context.manifest)
    stack.callback(posters.close)
    reporter = Reporter(context.manifest, posters, observer=context.observer, named=context.named)
    return replace(context, observer=Several([reporter, context.observer]), before_summary=reporter.write)


async def _do(
    watched: Sequence[Watched],
    interrupts: Interrupts,
    metrics: MetricsFile | None,
    telling: Telling,
    published: Published,
) -> list[Summary | BatchvidError]:
    interrupts.install()
    found: list[Summary | BatchvidError] = []

    async def ended(place: int, outcome: Summary | BatchvidError) -> None:
        one = watched[place]
        found.append(outcome)
        if isinstance(outcome, BatchvidError) and len(watched) > 1:
            one.complain(f"{one.context.named}: {outcome}")
        if metrics is not None:
            if isinstance(outcome, BatchvidError):
                metrics.ended(one.context.named, outcome.exit_code)
            if metrics.failed is not None:
                one.complain(metrics.failed)
        if not interrupts.at_once:
            await _notify(one, outcome)
        one.stack.close()

    contexts = [one.context for one in watched]
    databases = {context.manifest.database for context in contexts}
    if len(databases) > 1:
        raise ConfigError("manifests of one run have one database, or none of them has: run them one by one")
    work = _together(contexts, ended, telling, published) if any(databases) else run_many(contexts, ended)
    await _with_news(watched, interrupts, work)
    return found


async def _with_news(watched: Sequence[Watched], interrupts: Interrupts, work: Awaitable[None]) -> None:
    """Do the work, and meanwhile tell whom the manifests name what happens in it; wait for the last to be told."""
    failed: BatchvidError | None = None
    messages: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        for one in watched:
            one.news.starts_with(lambda message: messages.append(group.create_task(message, name="news")))
        try:
            await work
        except BatchvidError as error:  # as it is, and not as one of a group
            failed = error
        for message in messages if interrupts.at_once else ():  # nobody waits for anything then
            message.cancel()
    if failed is not None:
        raise failed


async def _together(contexts: Sequence[RunContext], ended: Ended, telling: Telling, published: Published) -> None:
    """Publish the manifests, and work on them beside other machines until all are over."""
    from batchvid.engine.cluster import WorkerOptions, run_published

    first = contexts[0]
    options = WorkerOptions(
        database=first.manifest.database,
        until_at=first.options.until_at,
        key_file=first.options.key_file,
        ca_file=first.options.ca_file,
        dead_s=published.dead_s,
    )
    await run_published(
        contexts,
        ended,
        options,
        replaces=published.replaces,
        other=lambda manifest: lines_of(telling, manifest.path.name),
        closed=partial(closed, telling=telling),
    )


def lines_of(telling: Telling, label: str) -> Observer:
    """Return who tells of work on a manifest that is published by somebody else: in lines, on standard error.

    Programs are told in JSON beside that, on standard output.
    """
    level = telling.verbosity
    lines = PlainLines(safe_stream(sys.stderr), level, manifest=label or "MANIFEST", label=label)
    if not telling.as_json:
        return lines
    return Several([lines, JsonLines(safe_stream(sys.stdout), level, manifest=label or None)])


async def tell_of_end(manifest: Manifest, summary: Summary, observer: Observer) -> None:
    """Tell whom a variable names how a manifest ended for all machines; a failure is only a warning."""
    from batchvid.engine.notify import tell

    hooks = [hook for hook in map(_known, manifest.notify) if hook is not None and When.END in hook.when]
    if hooks and is_worth_telling(summary):
        for trouble in await tell(hooks, notice(summary)):
            observer.warn(trouble)


def _metrics(path: Path) -> MetricsFile:
    """Return the file for Prometheus; raises `ConfigError` when it cannot be written there."""
    found = MetricsFile(path)
    if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise ConfigError(f"the metrics cannot be written: {path.absolute().parent} is no folder that batchvid may use")
    return found


async def _notify(one: Watched, outcome: Summary | BatchvidError) -> None:
    """Tell whom the manifest names how the run ended; a notification that fails is only a warning.

    Nobody hears of a run that found every clip there, nor of one that another run kept from beginning: that one will
    tell.
    """
    if not one.hooks or isinstance(outcome, OutputBusyError):
        return
    if isinstance(outcome, BatchvidError):
        told = failed_start(one.context.named, outcome.exit_code)
    elif is_worth_telling(outcome):
        told = notice(outcome)
    else:
        return
    from batchvid.engine.notify import tell

    for trouble in await tell(one.hooks, told):
        one.complain(trouble)


def _known(hook: Hook) -> Hook | None:
    """Return a hook with its URL, when that stands in a variable."""
    if not hook.env:
        return hook
    url = find_url(hook.env)
    if url is None:
        complain(f"warning: nobody will be notified at {hook.shown}: the variable is not set")
        return None
    return replace(hook, url=url)


async def closed(
    number: int,
    manifest: Manifest,
    summary: Summary,
    *,
    telling: Telling,
    observer_of: Callable[[int, Manifest], Observer],
) -> None:
    """Write the page of a manifest that this worker has ended for all, and tell whom its variables name."""
    observer = observer_of(number, manifest)
    if telling.report:
        from batchvid.cli.report import Reporter, posters_of

        posters = posters_of(manifest)
        try:
            await Reporter(manifest, posters, observer=observer, named=str(manifest.path)).write(summary)
        finally:
            posters.close()
    await tell_of_end(manifest, summary, observer)
