"""Which new jobs of a manifest are clips that the journal has paid under another id.

A job is *new* when nothing was ever paid under its id. An *orphan* is a row of the journal whose id the manifest does
not name; a job that the manifest names is never given away. One orphan goes to one job, and these rules come in order:

1. **The same content.** A new job whose fingerprint is an orphan's is that orphan, whatever state it is in, except one
   that failed and cost nothing: trying that again is free. Among several, an id that differs in case only comes first.
   Else those are taken that are nearest to a clip (done, ready, running …), and both sides pair in order of their ids.
2. **The same id in another case** (``Kite``, ``kite``) is the same job, as in a manifest. If its content is another
   one, it has changed, as that of any job that keeps its id.
3. **The same entry, edited.** A new job without an id is an orphan whose id was derived, too, when the two are alike
   (`batchvid.core.likeness`), no other of both kinds is like either, and the orphan is or may become a clip. It has
   changed then, and is kept as it was paid unless rebuying was asked for.

A new job that only resembles an orphan is a new job; it is named beside that orphan before it is bought.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchvid.core.chains import as_it_stands
from batchvid.core.job import State
from batchvid.core.likeness import Content, Edit, edits, resembling

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from batchvid.core.chains import Chains
    from batchvid.core.job import Job, Progress

NEAREST_TO_A_CLIP = (
    State.DONE,
    State.READY,
    State.RUNNING,
    State.IN_DOUBT,
    State.SUBMITTING,
    State.PENDING,
    State.FAILED,
)
KEPT_WHEN_EDITED = frozenset(NEAREST_TO_A_CLIP[:5])
"""The states in which money has become a clip, or may do so yet. Who edits a prompt that failed wants another try."""
_DERIVED = re.compile(r"(?P<slug>[a-z0-9]+(?:-[a-z0-9]+)*)-[0-9a-f]{6}(?:-\d+)?", re.ASCII)
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Move:
    """A job of the journal that the manifest names otherwise now."""

    old: str
    new: str
    edit: Edit | None = None
    """What else has changed, for a job without an id."""

    def told(self, *, kept: bool) -> str:
        """Return what a person is told of it; *kept*: no run buys what has changed."""
        after = "; kept as paid, --rebuy buys the new content" if kept else ""
        return f"moved {self.old} -> {self.new}" + (f" ({self.edit}{after})" if self.edit is not None else "")


@dataclass(frozen=True, slots=True)
class Identity:
    """What became of the orphans."""

    moves: tuple[Move, ...] = ()
    resembling: tuple[tuple[str, str], ...] = ()
    """New jobs without an id, each with the orphan that it resembles: it would be bought."""


def advice(old: str) -> str:
    """Return what a person is told of a job that would be bought, and resembles the orphan *old*."""
    return f"resembles {old}, which is paid: to keep that clip, write id: {old}"


NOBODY = Identity()


def is_new(row: Progress | None) -> bool:
    """Whether nothing was ever paid, or may have been, for the job with this row."""
    return row is None or (row.attempt == 0 and row.state in {State.PENDING, State.FAILED})


def identify(  # noqa: PLR0913 the manifest's side, and the journal's
    jobs: Sequence[Job],
    chains: Chains,
    *,
    new: Collection[str],
    rows: Mapping[str, Progress],
    orphans: Iterable[Progress],
    story: Callable[[Progress], Mapping[str, Any]],
) -> Identity:
    """Return which of the *orphans* the manifest's *jobs* are, of which those with a *new* id may be one.

    *rows* are those of its chains, by id.
    *story* returns what the sidecar of an orphan's clip tells; it is asked only where likeness is looked for.
    """
    pool = {row.job_id: row for row in orphans if row.fingerprint and (row.attempt or row.state is State.PENDING)}
    if not pool:
        return Identity()
    indexes = [index for index, job in enumerate(jobs) if job.id in new]
    known, moves, left = dict(rows), [], []
    for generation in _generations(indexes, chains):
        wanted = [as_it_stands(jobs[index], known) for index in generation]
        found = dict(_same(wanted, pool))
        for row in found.values():
            del pool[row.job_id]
        by_case = {job_id.lower(): job_id for job_id in pool}
        for job in wanted:
            if job.id not in found and (old := by_case.get(job.id.lower())) is not None:
                found[job.id] = pool.pop(old)
        moves += [Move(row.job_id, job_id) for job_id, row in found.items()]
        known |= found
        left += [job for job in wanted if job.id not in found]
    nameless = [job for job in left if not job.is_named and job.fingerprint]
    derived = [row for row in pool.values() if row.state in KEPT_WHEN_EDITED and _DERIVED.fullmatch(row.job_id)]
    if not nameless or not derived:
        return Identity(tuple(moves))
    edited, alike = _edited(nameless, derived, jobs=jobs, rows=known, story=story)
    return Identity((*moves, *edited), alike)


def _generations(new: Sequence[int], chains: Chains) -> Iterator[list[int]]:
    """Yield the new jobs, those that continue another after it: what they would send hangs on its clip."""
    if not chains:
        yield list(new)
        return
    depth: dict[int, int] = {}
    for index in chains.in_order():
        depth[index] = depth.get(chains.parent[index], 0) + 1
    levels: dict[int, list[int]] = defaultdict(list)
    for index in new:
        levels[depth.get(index, 0)].append(index)
    yield from (levels[level] for level in sorted(levels))


def _same(jobs: Iterable[Job], pool: Mapping[str, Progress]) -> Iterator[tuple[str, Progress]]:
    """Yield the ids of jobs, each with the orphan of the same content that it is."""
    by_content: dict[str, list[Progress]] = defaultdict(list)
    for row in pool.values():
        by_content[row.fingerprint or ""].append(row)
    wanted: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.fingerprint:
            wanted[job.fingerprint].append(job)
    for fingerprint, group in wanted.items():
        candidates = [row for one in (fingerprint, *group[0].also) for row in by_content.pop(one, ())]
        yield from _paired(group, candidates)


def _paired(jobs: Sequence[Job], rows: Sequence[Progress]) -> Iterator[tuple[str, Progress]]:
    """Yield one row for the id of each job, as far as they reach; see rule 1."""
    by_case = {row.job_id.lower(): row for row in rows}
    rest, taken = [], set()
    for job in jobs:
        if (row := by_case.get(job.id.lower())) is not None and row.job_id not in taken:
            taken.add(row.job_id)
            yield job.id, row
        else:
            rest.append(job.id)
    free = [row for row in rows if row.job_id not in taken]
    free.sort(key=lambda row: (NEAREST_TO_A_CLIP.index(row.state), _in_order(row.job_id)))
    yield from zip(rest, sorted(free[: len(rest)], key=lambda row: _in_order(row.job_id)), strict=False)


def _in_order(job_id: str) -> tuple[list[str | int], str]:
    """Return what sorts ``kite-9`` before ``kite-10``; texts and numbers take turns in it."""
    return [int(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(job_id.lower()))], job_id


def _edited(
    nameless: Sequence[Job],
    derived: Sequence[Progress],
    *,
    jobs: Sequence[Job],
    rows: Mapping[str, Progress],
    story: Callable[[Progress], Mapping[str, Any]],
) -> tuple[list[Move], tuple[tuple[str, str], ...]]:
    """Return the moves of edited jobs, and which of the others resemble what; takes of one content go together."""
    new: dict[str, list[Job]] = defaultdict(list)
    for job in nameless:
        new[job.fingerprint].append(job)
    old: dict[str, list[Progress]] = defaultdict(list)
    for row in derived:
        old[row.fingerprint or ""].append(row)
    wanted = {one: Content.of_job(group[0], rows, slug=_slug(group[0].id)) for one, group in new.items()}
    paid = {one: _content_of(group, story) for one, group in old.items()}
    own = {job.id: job.fingerprint for job in nameless}
    every = ((job.prompt, own.get(job.id, job.fingerprint)) for job in jobs)
    moves: list[Move] = []
    for fresh, gone, edit in edits(wanted, paid, every=every):
        moves += [Move(row.job_id, job_id, edit) for job_id, row in _paired(new.pop(fresh), old.pop(gone))]
        del wanted[fresh], paid[gone]
    nearest = {one: old[like][0].job_id for one, like in resembling(wanted, paid).items()}
    return moves, tuple((job.id, nearest[one]) for one in nearest for job in new[one])


def _content_of(rows: Sequence[Progress], story: Callable[[Progress], Mapping[str, Any]]) -> Content:
    """Return what is known of a content that was paid: what a sidecar tells, or the words in the id."""
    slug = _slug(rows[0].job_id)
    for row in rows:
        if row.path is not None and (told := Content.of_story(story(row), slug=slug)) is not None:
            return told
    return Content.of_slug(slug)


def _slug(job_id: str) -> str:
    found = _DERIVED.fullmatch(job_id)
    return found["slug"] if found else ""
