"""``status``: how the jobs of a manifest stand, by the journal; once, or as the live view of a run beside it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import (
    database_option,
    json_option,
    load,
    manifest_argument,
    output_option,
    read_doubts,
    read_journal,
    warn_of_forgotten,
    warn_of_names,
)
from batchvid.cli.output import advice, text
from batchvid.cli.output.jsonl import stats_json
from batchvid.cli.output.lines import stats_line
from batchvid.cli.output.machines import machines_json, machines_lines
from batchvid.cli.output.summary import film_json, film_lines, money_line
from batchvid.cli.streams import tell
from batchvid.domain.dependencies import DependencyGraph
from batchvid.domain.errors import Exit
from batchvid.domain.job import Progress, State
from batchvid.domain.records import NEED_ATTENTION, STATUS, counts, records, rfc3339, standing, sums
from batchvid.domain.reopening import CRASHED
from batchvid.domain.results import NeedsAttention
from batchvid.domain.text import clean
from batchvid.engine.planning import missing_line
from batchvid.engine.stats import Watching
from batchvid.engine.target import journal_of
from batchvid.providers.credentials import terminal_can_draw

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.doubts import Doubt
    from batchvid.domain.film import FilmReport
    from batchvid.domain.machines import Machines
    from batchvid.domain.results import Money, Snapshot
    from batchvid.manifest.model import Manifest


NEWEST_SHOWN = 5
WATCH_EVERY_S = 2.0


@click.command("status")
@manifest_argument
@output_option
@database_option
@json_option
@click.option("--watch", is_flag=True, help="Show the run's live view every two seconds, until Ctrl-C. Reads only.")
def status_command(manifest: Path, *, output: str | None, database: str | None, as_json: bool, watch: bool) -> int:
    """Show how the jobs stand: states, money, what needs attention. Works beside a running run."""
    loaded = load(manifest, output=output, database=database)
    if not watch:
        _print_status(loaded, str(manifest), as_json=as_json)
        return Exit.OK
    _watch(loaded, str(manifest), as_json=as_json)
    return Exit.OK


def _print_status(manifest: Manifest, named: str, *, as_json: bool) -> None:
    from batchvid.engine.planning import lost_clips
    from batchvid.storage.output import Output

    rows, money = read_journal(manifest)
    clips = Output.of(manifest).clips
    films: list[FilmReport] = []
    if manifest.films:
        from batchvid.engine.films import film_reports

        films = film_reports(manifest.films, rows, clips)
    active = journal_of(manifest).is_held()
    journal = journal_of(manifest).read()
    with journal or nullcontext():
        machines = None if journal is None else journal.machines()
        if not active:
            warn_of_forgotten(manifest, journal)
    states = {job.id: rows[job.id].state if job.id in rows else State.PENDING for job in manifest.jobs}
    warn_of_names(manifest, {job_id for job_id, state in states.items() if state is State.PENDING})
    lost = lost_clips(clips, rows.values(), {job.id for job in manifest.jobs})
    if as_json:
        tell(json.dumps(status_object(manifest, rows, money, films=films, missing=lost, machines=machines)))
        return
    doubts = read_doubts(manifest, rows, run_active=active)
    for line in status_text(
        manifest, rows, money, named=named, run_active=active, films=films, missing=lost, doubts=doubts
    ):
        tell(line)
    for line in () if machines is None else machines_lines(machines):
        tell(line)
    if not journal_of(manifest).exists():
        tell(
            f"Nothing was ever run into this output. Next: {advice.command('plan', named)} tells what it would cost, "
            f"{advice.command('run', named)} does it."
        )


def status_object(
    manifest: Manifest,
    progress: Mapping[str, Progress],
    money: Money,
    *,
    films: Sequence[FilmReport] = (),
    missing: Collection[str] = (),
    machines: Machines | None = None,
) -> dict[str, Any]:
    """Return the one object that ``status --json`` prints; its field names are a promise.

    Jobs are the manifest's, in its order. Times are RFC 3339 in UTC, prices in dollars, unknown values ``None``.
    The budget is the manifest's, whatever *money* says. *missing* are the jobs whose clips are done and not on disk.
    """
    by_state = Counter(progress.get(job.id, _FRESH).state for job in manifest.jobs)
    return {
        "manifest": str(manifest.path),
        "output": manifest.place,
        **({} if manifest.bucket is None else {"state_folder": str(manifest.output)}),
        "counts": counts(by_state),
        "money": sums(_with_budget(money, manifest)),
        "jobs": list(records(STATUS, manifest.jobs, progress)),
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
) -> Iterator[str]:
    """Yield the status for people: counts, money, what needs attention with the next command, the newest clips.

    *named* is the manifest as the person typed it, for the commands. While no run is active, a job
    whose paid request was under way is in doubt: nobody is waiting for its answer any more.
    """
    known = {job.id: progress.get(job.id, _FRESH) for job in manifest.jobs}
    by_state = Counter(row.state for row in known.values())
    if not run_active:
        by_state[State.IN_DOUBT] += by_state.pop(State.SUBMITTING, 0)
    parked = sum(row.parked for row in known.values())
    told = {doubt.job_id: doubt for doubt in doubts}
    needing = tuple(replace(one, doubt=told.get(one.job_id)) for one in needs_person(known, run_active=run_active))
    blocked = [wait for wait in DependencyGraph(manifest.jobs).waits(progress) if wait.blocked]
    needing += tuple(NeedsAttention(wait.job_id, State.PENDING, wait.reason) for wait in blocked)
    shown_name = named or str(manifest.path)
    yield f"{clean(shown_name, 4096)}: {text.count(len(known), 'job')}" + (", a run is active" if run_active else "")
    yield f"  {text.state_counts(by_state) or 'none'}" + (f" ({parked:,} deferred)" if parked else "")
    yield f"  {money_line(_with_budget(money, manifest))}"
    yield f"  clips in {clean(manifest.place, 4096)}"
    if manifest.bucket is not None:
        yield f"  their journal in {clean(str(manifest.output), 4096)}"
    if missing:
        yield f"  {missing_line(missing)}"
    yield from film_lines(films)
    orphans = len(progress.keys() - known.keys())
    if orphans:
        yield f"  {text.count(orphans, 'job')} in the journal that the manifest no longer names, left alone"
    yield from advice.needs_person_lines(needing, shown_name, in_all=len(needing))
    newest = _newest(known)
    if newest:
        yield "Newest clips:"
        name_width = max(len(text.job_name(job_id)) for job_id, _ in newest)
        for job_id, row in newest:
            name = text.job_name(job_id)
            when = rfc3339(row.finished_at) or "time unknown"
            yield f"  {name:<{name_width}}  {clean(row.path or '', 200)}, {text.size(row.size_bytes or 0)}, {when}"


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


def _watch(manifest: Manifest, named: str, *, as_json: bool) -> None:
    """Show how the run stands every two seconds, until Ctrl-C."""
    from batchvid.cli.output.live import LiveView, Screen, console_on

    draws = not as_json and sys.stdout is not None and sys.stdout.isatty() and terminal_can_draw()
    with suppress(KeyboardInterrupt), _watching(manifest) as watching:
        if not draws:
            while True:
                _tell(watching.look(), named, as_json=as_json)
                time.sleep(WATCH_EVERY_S)
        view = LiveView(Screen(console_on(sys.stdout)), manifest=named, every_s=0.0)
        try:
            while True:
                view.stats(watching.look())
                time.sleep(WATCH_EVERY_S)
        finally:
            view.close()


def _watching(manifest: Manifest) -> Watching:
    from batchvid.engine.limits_file import learned_of

    return Watching(manifest, journal_of(manifest), learned=partial(learned_of, manifest))


def watch_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a ``stats`` object for a watcher: with the newest clips, without what only a run knows."""
    told = stats_json(snapshot)
    for unknown in ("slowed_to", "paused_s", "slowed_by", "submits", "polls", "downloaded_bytes", "stopping"):
        del told[unknown]
    return told | {
        "run_active": snapshot.active,
        "newest": [
            {"id": clip.job_id, "path": clip.path, "size_bytes": clip.size_bytes, "at": rfc3339(clip.saved_at)}
            for clip in snapshot.newest
        ],
        "needs_person": [
            {"id": job.job_id, "state": job.state.value, "reason": job.reason or None} for job in snapshot.needs_person
        ],
    }


def _tell(snapshot: Snapshot, named: str, *, as_json: bool) -> None:
    if as_json:
        tell(json.dumps({**watch_json(snapshot), "manifest": named}))
    else:
        tell(f"{text.clock(time.time())} {stats_line(snapshot)}")
