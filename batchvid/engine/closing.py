"""The last work on a published manifest, once all its slices are over: clips.jsonl, films, and how it ended.

It is done by one worker, and may be done again by another one when that dies in its midst: each part finds what is
done already.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchvid.domain.dependencies import DependencyGraph
from batchvid.domain.doubts import doubts_of
from batchvid.domain.errors import Exit
from batchvid.domain.film import FilmState
from batchvid.domain.job import State
from batchvid.domain.results import NeedsAttention, Summary, exit_code
from batchvid.engine.clip_list import clip_lines
from batchvid.engine.films import film_reports, make_films
from batchvid.engine.takes import takes_of_films
from batchvid.storage.state import CLIPS_FILE
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchvid.domain.film import FilmReport
    from batchvid.domain.limits import RunOptions
    from batchvid.engine.account import StopReason
    from batchvid.journal.base import JournalReader
    from batchvid.manifest.model import Manifest
    from batchvid.storage.output import Output


NEEDING_AT_MOST = 10_000
"""Jobs that a summary names; the counts tell of all."""


async def finish(
    manifest: Manifest,
    options: RunOptions,
    journal: JournalReader,
    output: Output,
    *,
    halts: Sequence[StopReason],
    published_at: float,
    polls: int,
    is_last: bool,
    say: Callable[[str], None],
    interrupted: Callable[[], Exit | None],
) -> Summary:
    """Return how the manifest stands for all machines together; as the *last* work on it, make what comes after.

    *interrupted* tells the code of the signal that ends this process: for the others, it is the end of nothing.
    """
    rows = await asyncio.to_thread(lambda: {row.job_id: row for row in journal.all_progress()})
    takes = await asyncio.to_thread(takes_of_films, manifest.films, journal, output.clips)
    if is_last:
        made = make_films(
            manifest.films, rows, output.clips, say=say, is_stopped=lambda: interrupted() is not None, takes=takes
        )
        films = tuple([report async for report in made])
        await settled(lambda: output.state.write_clips(lambda: clip_lines(manifest, journal)))
        await settled(partial(output.clips.publish, output.state.clips_folder, CLIPS_FILE))
    else:
        films = tuple(await asyncio.to_thread(partial(film_reports, manifest.films, rows, output.clips, takes=takes)))
    return await asyncio.to_thread(
        _summary,
        manifest,
        options,
        journal,
        halts=halts,
        films=films,
        published_at=published_at,
        polls=polls,
        interrupted=None if is_last else interrupted(),
    )


def _summary(
    manifest: Manifest,
    options: RunOptions,
    journal: JournalReader,
    *,
    halts: Sequence[StopReason],
    films: tuple[FilmReport, ...],
    published_at: float,
    polls: int,
    interrupted: Exit | None,
) -> Summary:
    rows = {row.job_id: row for row in journal.all_progress()}
    only = options.chosen([job.id for job in manifest.jobs])
    chosen = [job for job in manifest.jobs if only is None or job.id in only]
    states = Counter(rows[job.id].state if job.id in rows else State.PENDING for job in chosen)
    machines = journal.machines()
    needing_in = {State.FAILED, State.IN_DOUBT, State.SUBMITTING}
    if machines is not None and machines.waiting + machines.taken:
        # Somebody waits for the answers to these requests, or finds that nobody does.
        states[State.RUNNING] += states.pop(State.SUBMITTING, 0)
        needing_in.remove(State.SUBMITTING)
    deferred = [rows[job.id] for job in chosen if job.id in rows and rows[job.id].parked]
    parked = len(deferred)
    waits = {wait.job_id: wait for wait in DependencyGraph(manifest.jobs).waits(rows) if wait.blocked}
    needing = [
        NeedsAttention(row.job_id, row.state, row.reason or "")
        for row in (rows.get(job.id) for job in chosen)
        if row is not None and (row.parked or row.state in needing_in)
    ]
    needing += [NeedsAttention(job.id, State.PENDING, waits[job.id].reason) for job in chosen if job.id in waits]
    doubts = {one.job_id: one for one in doubts_of(manifest.jobs, journal.doubts())}
    blocked = sum(job.id in waits for job in chosen)
    codes = [halt.exit_code for halt in halts] if any(states[state] for state in State if state.is_open) else []
    codes += [Exit.FAILED for report in films if report.state is FilmState.FAILED]
    kinds = Counter(one.kind for one in journal.events(kinds=["SubmitStarted", "ClipSaved"]) if one.at >= published_at)
    saved = (row for row in rows.values() if row.state is State.DONE and (row.finished_at or 0.0) >= published_at)
    return Summary(
        manifest=str(manifest.path),
        output=manifest.place,
        counts={state: states[state] for state in State},
        parked=parked,
        money=replace(journal.money(), budget_micros=manifest.limits.budget_micros),
        elapsed_s=max(0.0, time.time() - published_at),
        submits=kinds["SubmitStarted"],
        polls=polls,
        downloaded_bytes=sum(row.size_bytes or 0 for row in saved),
        exit_code=exit_code(states, parked=parked, halts=codes, interrupted=interrupted, blocked=blocked),
        stopped=halts[0].reason if codes and halts else None,
        needs_person=tuple(replace(one, doubt=doubts.get(one.job_id)) for one in islice(needing, NEEDING_AT_MOST)),
        films=films,
        not_chosen=len(manifest.jobs) - len(chosen),
        machines=machines,
        parked_ready=sum(row.state is State.READY for row in deferred),
    )


def kept(summary: Summary) -> dict[str, Any]:
    """Return what is kept in the database of a summary; the rest follows from the journal."""
    return {
        "elapsed_s": summary.elapsed_s,
        "submits": summary.submits,
        "polls": summary.polls,
        "downloaded_bytes": summary.downloaded_bytes,
        "stopped": summary.stopped,
        "films": [[report.film.id, report.state.value, report.reason] for report in summary.films],
    }
