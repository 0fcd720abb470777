"""What a person decides about clips: into the journal, from there into the clips' sidecars, and what follows from it.

The journal's word is the one that counts, and it is durable first. A sidecar that cannot be written is a warning: the
decision is not lost, and ``batchvid verify`` brings the sidecar up to date.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from batchvid.domain.dependencies import DependencyGraph
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.frozen import frozen
from batchvid.domain.plan import Action, Cost, Purchase, cost_of, left_micros
from batchvid.domain.records import review
from batchvid.engine.planning import planned
from batchvid.engine.takes import takes_of
from batchvid.engine.target import journal_of
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from batchvid.domain.decision import Decision
    from batchvid.domain.takes import Take
    from batchvid.journal.base import JournalReader
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore


SIDECAR_FIELD = "review"


def decide(manifest: Manifest, decisions: Sequence[Decision]) -> list[str]:
    """Keep what was decided, and return warnings of what could not be told beside the clips. Blocks.

    Raises as `batchvid.journal.base.JournalStore.decide` does, and then nothing was kept.
    """
    store = journal_of(manifest)
    if not store.exists():
        raise ConfigError(f"nothing was ever run into {manifest.place}: there is no clip to decide about")
    store.decide(decisions)
    journal, about = store.read(), {(one.job_id, one.attempt) for one in decisions}
    clips = Output.of(manifest).clips
    try:
        with journal or nullcontext():
            found = takes_of({job_id for job_id, _ in about}, journal, clips) if journal is not None else {}
    except StorageError as error:
        return [stale(str(error))]
    takes = [take for ones in found.values() for take in ones if (take.job_id, take.attempt) in about]
    return tell_beside(takes, clips)


def tell_beside(takes: Iterable[Take], clips: ClipStore) -> list[str]:
    """Write into the sidecars what was decided about these clips; return warnings. Blocks."""
    warnings = []
    for take in takes:
        try:
            clips.tell_more(take.path, SIDECAR_FIELD, review(take.decision), sha256=take.sha256)
        except StorageError as error:
            warnings.append(stale(str(error)))
    return warnings


def bring_up_to_date(journal: JournalReader, clips: ClipStore) -> list[str]:
    """Let the sidecar of every clip that was ever decided about tell what counts; return warnings. Blocks."""
    ever = {one.job_id for _, one in journal.decisions_after(0)}
    takes = [take for ones in takes_of(ever, journal, clips).values() for take in ones] if ever else []
    return tell_beside(takes, clips)


def stale(why: str) -> str:
    """Return the warning that a sidecar does not tell what was decided."""
    return f"the decision is kept, and the clip's sidecar does not tell it yet (batchvid verify puts it there): {why}"


@frozen
class Consequences:
    """What follows from the rejections that are on record."""

    again: tuple[str, ...]
    """The jobs that the next run buys again, among those that were asked about."""
    followers: tuple[str, ...]
    """Jobs that go on from one of them, and are bought again behind it (``on_change: rebuy``)."""
    kept: tuple[str, ...]
    """Jobs that go on from one of them, and keep the clip that they have."""
    stuck: tuple[str, ...]
    """Rejected jobs without an attempt left, among those that were asked about."""
    cost: Cost
    """Of what is bought, within what the budget has left."""
    in_all: int
    """How many jobs the next run buys again because a person rejected their clips, and behind those."""


def consequences(manifest: Manifest, journal: JournalReader, ids: Collection[str]) -> Consequences:
    """Return what the next run does about these jobs, by the decisions as they are now. Blocks."""
    made, money = planned(manifest, journal)
    rows = {row.job_id: row for row in made.rows}
    rejected = [row for job_id in ids if (row := rows.get(job_id)) is not None and row.action is Action.REJECTED]
    again = [row for row in rejected if row.submits]
    graph, index_of = DependencyGraph(manifest.jobs), {job.id: index for index, job in enumerate(manifest.jobs)}
    behind = dict.fromkeys(manifest.jobs[index].id for row in again for index in graph.all_behind(index_of[row.job_id]))
    followers = [row for name in behind if (row := rows[name]).action is Action.CHANGED]
    bought = [*again, *(row for row in followers if row.submits)]
    return Consequences(
        again=tuple(row.job_id for row in again),
        followers=tuple(row.job_id for row in followers if row.submits),
        kept=tuple(row.job_id for row in followers if not row.submits),
        stuck=tuple(row.job_id for row in rejected if not row.submits),
        cost=cost_of([Purchase(row.again_micros, row.attempts) for row in bought], left=left_micros(money)),
        in_all=len(
            {row.job_id for row in made.rows if row.action is Action.REJECTED and row.submits}
            | {row.job_id for row in bought}
        ),
    )
