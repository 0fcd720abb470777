"""``status``: how the jobs of a manifest stand, by the journal; once, or as the live view of a run beside it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import (
    database_option,
    json_option,
    load,
    manifests_argument,
    output_option,
    read_decisions,
    read_doubts,
    read_journal,
    read_takes,
    warn_of_forgotten,
    warn_of_names,
)
from batchvid.cli.output import advice, text
from batchvid.cli.output.summary import film_json, film_lines, money_line
from batchvid.cli.streams import tell
from batchvid.domain.decision import Verdict
from batchvid.domain.dependencies import DependencyGraph
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.domain.lifecycle import attempts_used
from batchvid.domain.records import (
    DEFERRED,
    NEED_ATTENTION,
    STATUS_JSON,
    counts,
    records,
    rfc3339,
    standing,
    standings,
    sums,
)
from batchvid.domain.reopening import CRASHED, NO_DECISIONS, rejection
from batchvid.domain.results import NeedsAttention
from batchvid.domain.text import clean
from batchvid.engine.planning import missing_line
from batchvid.engine.target import journal_of
from batchvid.providers.credentials import terminal_can_draw

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.decision import Decision
    from batchvid.domain.doubts import Doubt
    from batchvid.domain.film import FilmReport
    from batchvid.domain.machines import Machines
    from batchvid.domain.results import Money, Snapshot
    from batchvid.engine.stats import Watching
    from batchvid.manifest.model import Manifest


NEWEST_SHOWN = 5
NEWEST_TOLD = 8
"""Of a look, in JSON."""
ONLY_A_RUN_KNOWS = (
    *("slowed_to", "paused_s", "slowed_by", "submits", "polls", "downloaded_bytes", "stopping"),
    *("away_s", "away_because"),
)
WATCH_EVERY_S = 2.0


@click.command("status")
@manifests_argument
@output_option
@database_option
@json_option
@click.option("--watch", is_flag=True, help="Show the run's live view every two seconds, until Ctrl-C. Reads only.")
def status_command(
    manifests: tuple[Path, ...], *, output: str | None, database: str | None, as_json: bool, watch: bool
) -> int:
    """Show how the jobs stand: states, money, what needs attention. Works beside a running run.

    Several manifests have their sums at the end. With --json that is one object a line for each, and one of
    "type": "total" behind them.
    """
    if output is not None and len(manifests) > 1:
        raise click.UsageError("--output goes with one manifest: two cannot share an output")
    loaded = [load(path, output=output, database=database) for path in manifests]
    named = [str(path) for path in manifests]
    if watch:
        _watch(loaded, named, as_json=as_json)
        return Exit.OK
    found = []
    for place, (manifest, name) in enumerate(zip(loaded, named, strict=True)):
        if place and not as_json:
            tell("")
        found.append(_print_status(manifest, name, as_json=as_json))
    if len(found) > 1:
        _print_total(found, named, as_json=as_json)
    return Exit.OK


def _print_total(found: Sequence[tuple[Mapping[str, int], Money]], named: Sequence[str], *, as_json: bool) -> None:
    from batchvid.engine.stats import money_in_all

    stand: Counter[str] = Counter()
    for one, _ in found:
        stand.update(one)
    money = money_in_all([one for _, one in found])
    if as_json:
        tell(json.dumps(total_object(named, stand, money)))
        return
    tell(f"\nIn all: {text.count(len(found), 'manifest')}, {text.count(stand.total(), 'job')}")
    tell(f"  {text.state_counts(stand) or 'none'}")
    tell(f"  {money_line(money)}")


def total_object(named: Sequence[str], stand: Mapping[str, int], money: Money) -> dict[str, Any]:
    """Return what several manifests come to together, as the object of ``"type": "total"``."""
    return {"type": "total", "manifests": list(named), "standings": dict(stand), "money": sums(money)}


def _print_status(manifest: Manifest, named: str, *, as_json: bool) -> tuple[Mapping[str, int], Money]:
    """Print how one manifest stands; return its jobs by how they stand, and its money."""
    from batchvid.engine.planning import lost_clips
    from batchvid.storage.output import Output

    rows, money = read_journal(manifest)
    clips = Output.of(manifest).clips
    films: list[FilmReport] = []
    if manifest.films:
        from batchvid.engine.films import film_reports

        films = film_reports(manifest.films, rows, clips, takes=read_takes(manifest))
    active = journal_of(manifest).is_held()
    journal = journal_of(manifest).read()
    with journal or nullcontext():
        machines = None if journal is None else journal.machines()
        if not active:
            warn_of_forgotten(manifest, journal)
    states = {job.id: rows[job.id].state if job.id in rows else State.PENDING for job in manifest.jobs}
    warn_of_names(manifest, (job_id for job_id, state in states.items() if state is State.PENDING))
    decisions = read_decisions(manifest)
    lost = lost_clips(clips, rows.values(), {job.id for job in manifest.jobs})
    summed = standings_of(manifest, rows, run_active=active), _with_budget(money, manifest)
    if as_json:
        told = status_object(manifest, rows, money, films=films, missing=lost, machines=machines, decisions=decisions)
        tell(json.dumps(told | {"standings": summed[0]}))
        return summed
    doubts = read_doubts(manifest, rows, run_active=active)
    for line in status_text(
        manifest, rows, money, named=named, run_active=active, films=films, missing=lost, doubts=doubts,
        decisions=decisions,
    ):  # fmt: skip
        tell(line)
    if machines is not None:
        from batchvid.cli.output.machines import machines_lines

        for line in machines_lines(machines):
            tell(line)
    if not journal_of(manifest).exists():
        tell(
            f"Nothing was ever run into this output. Next: {advice.command('plan', named)} tells what it would cost, "
            f"{advice.command('run', named)} does it."
        )
    return summed


def standings_of(manifest: Manifest, progress: Mapping[str, Progress], *, run_active: bool) -> dict[str, int]:
    """Return the manifest's jobs by how they stand: each once, and those that are left for the next run apart."""
    found: dict[str, int] = dict.fromkeys([*(state.value for state in State), DEFERRED], 0)
    for job in manifest.jobs:
        found[standing(progress.get(job.id, _FRESH), run_active=run_active)] += 1
    return found


def status_object(
    manifest: Manifest,
    progress: Mapping[str, Progress],
    money: Money,
    *,
    films: Sequence[FilmReport] = (),
    missing: Collection[str] = (),
    machines: Machines | None = None,
    decisions: Mapping[tuple[str, int], Decision] = NO_DECISIONS,
) -> dict[str, Any]:
    """Return the one object that ``status --json`` prints; its field names are a promise.

    Jobs are the manifest's, in its order. Times are RFC 3339 in UTC, prices in dollars, unknown values ``None``.
    The budget is the manifest's, whatever *money* says. *missing* are the jobs whose clips are done and not on disk.
    """
    from batchvid.cli.output.machines import machines_json

    by_state = Counter(progress.get(job.id, _FRESH).state for job in manifest.jobs)
    return {
        "manifest": str(manifest.path),
        "output": manifest.place,
        **({} if manifest.bucket is None else {"state_folder": str(manifest.output)}),
        "counts": counts(by_state),
        "money": sums(_with_budget(money, manifest)),
        "jobs": list(records(STATUS_JSON, manifest.jobs, progress, decisions)),
        "films": [film_json(report) for report in films],
        "missing": sorted(missing),
        **machines_json(machines),
    }


_FRESH = Progress.fresh("")
"""What the journal would hold of a job that it does not know; its id is never looked at."""


def _with_budget(money: Money, manifest: Manifest) -> Money:
    return replace(money, budget_micros=manifest.limits.budget_micros)


def status_text(
    manifest: Manifest,
    progress: Mapping[str, Progress],
    money: Money,
    *,
    named: str | None = None,
    run_active: bool = False,
    films: Sequence[FilmReport] = (),
    missing: Collection[str] = (),
    doubts: Sequence[Doubt] = (),
    decisions: Mapping[tuple[str, int], Decision] = NO_DECISIONS,
) -> Iterator[str]:
    """Yield the status for people: counts, money, what needs attention with the next command, the newest clips.

    *named* is the manifest as the person typed it, for the commands. While no run is active, a job
    whose paid request was under way is in doubt: nobody is waiting for its answer any more.
    """
    known = {job.id: progress.get(job.id, _FRESH) for job in manifest.jobs}
    told = {doubt.job_id: doubt for doubt in doubts}
    needing = tuple(replace(one, doubt=told.get(one.job_id)) for one in needs_person(known, run_active=run_active))
    blocked = [wait for wait in DependencyGraph(manifest.jobs).waits(progress) if wait.blocked]
    needing += tuple(NeedsAttention(wait.job_id, State.PENDING, wait.reason) for wait in blocked)
    shown_name = named or str(manifest.path)
    yield f"{clean(shown_name, 4096)}: {text.count(len(known), 'job')}" + (", a run is active" if run_active else "")
    yield f"  {text.state_counts(standings_of(manifest, progress, run_active=run_active)) or 'none'}"
    yield f"  {money_line(_with_budget(money, manifest))}"
    yield f"  clips in {clean(manifest.place, 4096)}"
    if manifest.bucket is not None:
        yield f"  their journal in {clean(str(manifest.output), 4096)}"
    if missing:
        yield f"  {missing_line(missing)}"
    yield from review_lines(manifest, known, decisions, shown_name)
    yield from film_lines(films)
    orphans = len(progress.keys() - known.keys())
    if orphans:
        yield f"  {text.count(orphans, 'job')} in the journal that the manifest no longer names, left alone"
    yield from advice.needs_person_lines(needing, shown_name, in_all=len(needing))
    newest = _newest(known)
    if newest:
        zone = text.zone(newest[0][1].finished_at or time.time())
        yield f"Newest clips (times in {zone}):"
        name_width = max(len(text.job_name(job_id)) for job_id, _ in newest)
        for job_id, row in newest:
            name = text.job_name(job_id)
            size, when = text.size(row.size_bytes or 0), text.local_moment(row.finished_at)
            yield f"  {name:<{name_width}}  {clean(row.path or '', 200)}, {size}, {when}"


def review_lines(
    manifest: Manifest, known: Mapping[str, Progress], decisions: Mapping[tuple[str, int], Decision], named: str
) -> Iterator[str]:
    """Yield how the finished clips were judged, and which rejected ones no run buys again; nothing before a review."""
    done = [row for row in known.values() if row.state is State.DONE]
    found = [said for row in done if (said := decisions.get((row.job_id, row.attempt))) is not None]
    if not found:
        return
    verdicts = Counter(said.verdict for said in found)
    open_ones = len(done) - verdicts[Verdict.APPROVED] - verdicts[Verdict.REJECTED]
    yield (
        f"  {verdicts[Verdict.APPROVED]:,} approved, {verdicts[Verdict.REJECTED]:,} rejected, {open_ones:,} to be "
        "looked at"
    )
    rejected = [row for row in done if rejection(row, decisions) is not None]
    stuck = [row.job_id for row in rejected if attempts_used(row) >= manifest.limits.attempts]
    if again := len(rejected) - len(stuck):
        yield f"  {text.count(again, 'rejected clip')} bought again by the next run: {advice.command('plan', named)}"
    if stuck:
        names = stuck if len(stuck) <= advice.NAMED_AT_MOST else ["ID"]
        yield f"  {text.count(len(stuck), 'rejected clip')}, no attempt left: {advice.command('redo', named, *names)}"


def needs_person(progress: Mapping[str, Progress], *, run_active: bool = False) -> tuple[NeedsAttention, ...]:
    """Return the jobs that go no further until somebody decides: in doubt, failed, deferred; in the order given."""
    return tuple(
        NeedsAttention(job_id, row.state, row.reason or _unsaid(row.state))
        for job_id, row in progress.items()
        if standing(row, run_active=run_active) in NEED_ATTENTION
    )


def _unsaid(state: State) -> str:
    return CRASHED if state is State.SUBMITTING else ""


def _newest(progress: Mapping[str, Progress]) -> list[tuple[str, Progress]]:
    clips = [(job_id, row) for job_id, row in progress.items() if row.state is State.DONE]
    clips.sort(key=lambda clip: clip[1].finished_at or 0.0, reverse=True)
    return clips[:NEWEST_SHOWN]


def _watch(manifests: Sequence[Manifest], named: Sequence[str], *, as_json: bool) -> None:
    """Show how the runs stand every two seconds, until Ctrl-C."""
    from batchvid.cli.output.live import LiveView, Screen
    from batchvid.cli.output.picture import console_on

    draws = not as_json and sys.stdout is not None and sys.stdout.isatty() and terminal_can_draw()
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        watching = [stack.enter_context(_watching(one)) for one in manifests]
        if not draws:
            while True:
                _tell([one.look() for one in watching], named, as_json=as_json)
                time.sleep(WATCH_EVERY_S)
        screen = Screen(console_on(sys.stdout))
        views = [LiveView(screen, manifest=name, every_s=0.0) for name in named]
        for view in views:
            stack.callback(view.close)
        while True:
            for one, view in zip(watching, views, strict=True):
                view.newest = one.look()
            screen.draw()
            time.sleep(WATCH_EVERY_S)


def _watching(manifest: Manifest) -> Watching:
    from batchvid.engine.limits_file import learned_of
    from batchvid.engine.stats import Watching

    return Watching(manifest, journal_of(manifest), learned=partial(learned_of, manifest))


def watch_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a ``stats`` object for a watcher: with the newest clips, without what only a run knows."""
    from batchvid.cli.output.jsonl import stats_json

    told = stats_json(snapshot)
    for unknown in ONLY_A_RUN_KNOWS:
        del told[unknown]
    return told | {
        "run_active": snapshot.active,
        "newest": [
            {"id": clip.job_id, "path": clip.path, "size_bytes": clip.size_bytes, "at": rfc3339(clip.saved_at)}
            for clip in snapshot.newest[:NEWEST_TOLD]
        ],
        "needs_person": [
            {"id": job.job_id, "state": job.state.value, "reason": job.reason or None} for job in snapshot.needs_person
        ],
    }


def _tell(looks: Sequence[Snapshot], named: Sequence[str], *, as_json: bool) -> None:
    """Tell how each stands, and what several come to together."""
    from batchvid.cli.output.lines import stats_line
    from batchvid.engine.stats import in_all

    clock, several = text.clock(time.time()), len(looks) > 1
    for snapshot, name in zip(looks, named, strict=True):
        if as_json:
            tell(json.dumps({**watch_json(snapshot), "manifest": name}))
        else:
            tell(f"{clock} {f'{clean(name, 200)}: ' if several else ''}{stats_line(snapshot)}")
    if several:
        total = in_all(looks)
        if as_json:
            tell(json.dumps(total_object(named, standings(total), total.money)))
        else:
            tell(f"{clock} in all: {stats_line(total)}")
