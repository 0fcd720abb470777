"""Which clips of a job are there: the one that it has now, and those of earlier attempts that are kept beside it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from batchvid.domain.job import State
from batchvid.domain.takes import Take
from batchvid.storage.base import Names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from batchvid.domain.decision import Decision
    from batchvid.domain.film import Film
    from batchvid.domain.job import Progress
    from batchvid.domain.lifecycle import KeptEvent
    from batchvid.journal.base import JournalReader
    from batchvid.storage.base import ClipStore


ASKED_ONE_BY_ONE = 50
"""Jobs of which each is asked for its own clips; of more, all that were ever saved are read at once."""
COPIES_LOOKED_AT = 5
"""Of the names under which the clip of one attempt may be kept: a second one is there when a damaged one was kept."""


def takes_of(ids: Collection[str], journal: JournalReader, clips: ClipStore) -> dict[str, list[Take]]:
    """Return the takes of each of these jobs that has any, the newest first. Blocks.

    Of the current clip the journal is believed, as everywhere; one that is kept beside must be there, with its size.
    Whoever uses the content of one compares its SHA-256.
    """
    decisions = journal.decisions(ids)
    rows = {row.job_id: row for row in journal.progress_of(ids)}
    older = {job_id: row for job_id, row in rows.items() if row.attempt > 1 or row.state is not State.DONE}
    saved = _saved(older, journal)
    found = {}
    for job_id, row in rows.items():
        if takes := list(_takes(row, saved.get(job_id, ()), decisions, clips)):
            found[job_id] = takes
    return found


def takes_of_films(films: Sequence[Film], journal: JournalReader, clips: ClipStore) -> dict[str, list[Take]]:
    """Return the takes among which films choose: none unless somebody has decided something about one. Blocks."""
    groups: list[tuple[str, ...]] = [(one,) for film in films for one in film.clips]
    groups += [group for film in films for group in film.takes]
    decided = {job_id for job_id, _ in journal.decisions({one for group in groups for one in group})}
    wanted = {one for group in groups if not decided.isdisjoint(group) for one in group}
    return takes_of(wanted, journal, clips) if wanted else {}


def _saved(ids: Collection[str], journal: JournalReader) -> dict[str, list[KeptEvent]]:
    found: dict[str, list[KeptEvent]] = {}
    few = len(ids) <= ASKED_ONE_BY_ONE
    asked = (journal.events(one, kinds=["ClipSaved"]) for one in ids) if few else [journal.events(kinds=["ClipSaved"])]
    for events in asked:
        for event in events:
            if event.job_id in ids:
                found.setdefault(event.job_id, []).append(event)
    return found


def _takes(
    row: Progress, saved: Sequence[KeptEvent], decisions: dict[tuple[str, int], Decision], clips: ClipStore
) -> Iterator[Take]:
    is_done = row.state is State.DONE and row.sha256 is not None
    if is_done:
        yield Take(
            row.job_id, row.attempt, row.path or "", row.size_bytes or 0, row.sha256 or "",
            is_current=True, decision=decisions.get((row.job_id, row.attempt)),
        )  # fmt: skip
    newest = {event.attempt: event for event in saved}  # a clip that was fetched again is the same one
    for attempt, event in sorted(newest.items(), reverse=True):
        if is_done and attempt >= row.attempt:
            continue
        path, size_bytes, sha256 = str(event.data["path"]), int(event.data["size_bytes"]), str(event.data["sha256"])
        places = [*_kept_as(path, attempt), *(() if is_done and row.path == path else (path,))]
        for place in places:
            if _is_there(clips, place, size_bytes, sha256):
                yield Take(
                    row.job_id, attempt, place, size_bytes, sha256,
                    is_current=False, decision=decisions.get((row.job_id, attempt)),
                )  # fmt: skip
                break


def _kept_as(path: str, attempt: int) -> Iterator[str]:
    names = Names.of(path)
    for copy in count(1):
        if copy > COPIES_LOOKED_AT:
            return
        kept = names.retired(attempt, copy=copy)
        yield "/".join((*kept.folders, kept.clip))


def _is_there(clips: ClipStore, path: str, size_bytes: int, sha256: str) -> bool:
    """Whether the clip is there, by its size and by what its sidecar tells, where it has one."""
    if clips.check(path, size_bytes=size_bytes, sha256=sha256, full=False) is not None:
        return False
    return bool(clips.sidecar(path).get("sha256", sha256) == sha256)
