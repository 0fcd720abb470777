"""Chains of clips: who waits for whose clip, and how much hangs on it.

A job that ``continues`` another begins with a frame of that other's clip, so:

1. It is in no lane, and costs nothing, until that clip is on disk. Then its turn comes.
2. What it would send is known only then: its fingerprint stands over the clip's content (`bound`). A clip that is made
   again with other content so changes what hangs on it, and nothing else.
3. When the other job failed, everything behind it stays pending, with that as the reason (`waits`).

Every job continues one other at most, so chains branch forwards only, and the manifest has refused every circle.

`DependencyTracker` keeps that for one run: who waits for whose clip, and what a finished one sets free.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.domain import fingerprint
from batchvid.domain.frozen import frozen
from batchvid.domain.job import Continuation, Job, Progress, State
from batchvid.domain.limits import RunOptions
from batchvid.domain.reopening import reopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchvid.domain.job import Job
    from batchvid.domain.lifecycle import Reopened
    from batchvid.domain.limits import Limits


def bound(job: Continuation, clip_sha256: str) -> Continuation:
    """Return the job with the fingerprint that it has when it goes on from a clip with this content."""
    texts = fingerprint.fields(prompt=job.prompt, model=job.model, size=job.size, seconds=job.seconds, form=job.form)
    frames = [fingerprint.taken_frame(clip_sha256, job.at_s), *map(fingerprint.of_frame, job.frames)]
    content, also = fingerprint.spelled(texts, frames)
    return replace(job, fingerprint=content, also=also)


def as_it_stands(job: Job, progress: Mapping[str, Progress]) -> Job:
    """Return the job with its fingerprint, as far as the clips that are on disk tell it."""
    if not isinstance(job, Continuation):
        return job
    clip = progress.get(job.continues)
    done = clip is not None and clip.state is State.DONE and clip.sha256 is not None
    return bound(job, clip.sha256) if done and clip is not None and clip.sha256 is not None else job


@frozen
class Wait:
    """Why a job does not come."""

    job_id: str
    reason: str
    blocked: bool
    """Whether no further run can change that by itself: a person has to do something first."""


class DependencyGraph:
    """The links among the jobs of one manifest, by their index in it; empty for most manifests."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        links = [(index, job) for index, job in enumerate(jobs) if type(job) is Continuation]
        self.parent: dict[int, int] = {}
        self.children: dict[int, list[int]] = {}
        self._behind: dict[int, int] = {}
        if links:
            index_of = {job.id: index for index, job in enumerate(jobs)}
            for index, job in links:
                parent = self.parent[index] = index_of[job.continues]
                self.children.setdefault(parent, []).append(index)
            for index in reversed(list(self.in_order())):
                above = self.parent[index]
                self._behind[above] = max(self._behind.get(above, 0), self._behind.get(index, 0) + 1)

    def __bool__(self) -> bool:
        """Whether there is any chain."""
        return bool(self.parent)

    @property
    def ids(self) -> frozenset[str]:
        """The jobs that are part of a chain."""
        return frozenset(self._jobs[index].id for index in {*self.parent, *self.children})

    def in_order(self) -> Iterator[int]:
        """Yield the jobs that continue another, each after the one that it continues."""
        ready = [index for index in self.children if index not in self.parent]
        for index in ready:
            children = self.children.get(index, ())
            ready.extend(children)
            yield from children

    def rank(self, index: int) -> float:
        """Return the place in the order of submits: longest chain behind first, then the manifest's order."""
        return float(index - self._behind.get(index, 0) * len(self._jobs))

    def all_behind(self, index: int) -> Iterator[int]:
        """Yield every job that cannot come without this one's clip."""
        behind = list(self.children.get(index, ()))
        for one in behind:
            behind.extend(self.children.get(one, ()))
            yield one

    def waits(self, progress: Mapping[str, Progress], *, held_back: Mapping[str, str] | None = None) -> Iterator[Wait]:
        """Yield why pending jobs do not come: those *held_back*, and those of chains, each after what it waits for.

        *held_back* are the jobs that could not be sent for a reason of their own; they wait for a person. *progress* is
        what the journal holds.
        """
        held, heads = held_back or {}, dict[int, tuple[str, bool]]()
        for index, job in enumerate(self._jobs) if held else ():
            if job.id in held and progress.get(job.id, Progress.fresh(job.id)).state is State.PENDING:
                heads[index] = f"{job.id}: {held[job.id]}", True
                yield Wait(job.id, held[job.id], blocked=True)
        for index in self.in_order():
            job, above = self._jobs[index], self._jobs[self.parent[index]]
            row = progress.get(job.id)
            if index in heads or (row is not None and row.state is not State.PENDING):
                continue
            head = heads.get(self.parent[index])
            clip = progress.get(above.id) or Progress.fresh(above.id)
            text, blocked = head or _standing(clip)
            if clip.state is not State.DONE:
                heads[index] = text, blocked
                own = head is None or text.startswith(f"{above.id}:")
                behind = text if own else f"{above.id}, in the chain behind {text}"
                yield Wait(job.id, f"waits for {behind}", blocked=blocked)


def _standing(clip: Progress) -> tuple[str, bool]:
    """Return how a clip stands that others wait for, and whether a person has to do something before it can come."""
    why = f": {clip.reason}" if clip.reason else ""
    match clip.state:
        case State.FAILED:
            return f"{clip.job_id}, which failed{why}", True
        case State.IN_DOUBT | State.SUBMITTING:
            return f"{clip.job_id}, which is in doubt{why}", True
        case State.RUNNING | State.READY if clip.parked:
            return f"{clip.job_id}, which is left for the next run{why}", False
        case _:
            return clip.job_id, False


class DependencyTracker:
    """What one run keeps in mind of its chains: who waits, and what a new clip may open again.

    *rebuy*: a clip whose first frame is another one now is bought again, as every changed one is.
    """

    def __init__(self, dependencies: DependencyGraph, *, limits: Limits, rebuy: bool = False) -> None:
        self.dependencies = dependencies
        self.waiting: set[int] = set()
        """The pending jobs whose clip to go on from is not there yet; they are in no lane."""
        self.held_back: dict[int, str] = {}
        """The jobs whose clip to go on from could not be used, or whose file cannot be made, with the reason; they stay
        pending, and in no lane."""
        self._clips: dict[int, Progress] = {}
        self._closed: dict[int, Progress] = {}
        self._limits = limits
        self._options = RunOptions(rebuy=rebuy)

    def place(self, jobs: Sequence[Job], rows: Mapping[str, Progress], *, only: frozenset[str] | None) -> None:
        """Record how the jobs of the chains stand when the run begins."""
        for index in self.dependencies.in_order():
            above = self.dependencies.parent[index]
            clip, row = rows.get(jobs[above].id), rows.get(jobs[index].id)
            there = clip is not None and clip.state is State.DONE
            if clip is not None and there:
                self._clips[above] = clip
            if only is not None and jobs[index].id not in only:
                continue
            if row is not None and not row.state.is_open:
                self._closed[index] = row
            elif not there and (row is None or row.state is State.PENDING):
                self.waiting.add(index)

    def clip_for(self, index: int) -> Progress | None:
        """Return the row of the clip that the job goes on from; ``None`` while it is not finished."""
        return self._clips.get(self.dependencies.parent[index])

    def set_free(
        self, index: int, clip: Progress, jobs: Sequence[Job]
    ) -> Iterator[tuple[int, Progress | None, Reopened | None]]:
        """Yield whose turn has come with *clip*: the index, and of a closed job its row and the event to open it."""
        children = self.dependencies.children.get(index, ())
        if children:  # most clips are nobody's beginning, and a night has a hundred thousand
            self._clips[index] = clip
        for child in children:
            job, row = jobs[child], self._closed.get(child)
            if child in self.waiting:
                self.waiting.discard(child)
                yield child, None, None
            elif row is not None and isinstance(job, Continuation) and clip.sha256 is not None:
                event = reopened(bound(job, clip.sha256), row, options=self._options, limits=self._limits)
                if event is not None:
                    del self._closed[child]
                    yield child, row, event

    def reasons(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Return why jobs were held back, by their ids."""
        return {jobs[index].id: reason for index, reason in self.held_back.items()}

    def hold_back(self, index: int, reason: str) -> None:
        """Record that the job will not be sent in this run, nor what hangs on it."""
        self.held_back[index] = reason
        self.waiting.discard(index)
        self.cut_off(index)

    def cut_off(self, index: int) -> None:
        """Record that the job failed: what hangs on it will not come in this run."""
        self.waiting.difference_update(self.dependencies.all_behind(index))
