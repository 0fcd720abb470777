"""The handover from clip to clip in one run: who waits for whose clip, and what a finished one sets free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.core.chains import bound
from batchvid.core.job import Continuation, Progress, State
from batchvid.core.opening import Wishes, reopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchvid.core.chains import Chains
    from batchvid.core.job import Job
    from batchvid.core.lifecycle import Reopened
    from batchvid.core.settings import Limits


class Handover:
    """What one run keeps in mind of its chains: who waits, and what a new clip may open again.

    *rebuy*: a clip whose first frame is another one now is bought again, as every changed one is.
    """

    def __init__(self, chains: Chains, *, limits: Limits, rebuy: bool = False) -> None:
        self.chains = chains
        self.waiting: set[int] = set()
        """The pending jobs whose clip to go on from is not there yet; they are in no lane."""
        self.held_back: dict[int, str] = {}
        """The jobs whose clip to go on from could not be used, with the reason; they stay pending, and in no lane."""
        self._clips: dict[int, Progress] = {}
        self._closed: dict[int, Progress] = {}
        self._limits = limits
        self._wishes = Wishes(rebuy=rebuy)

    def place(self, jobs: Sequence[Job], rows: Mapping[str, Progress], *, only: frozenset[str] | None) -> None:
        """Take note of how the jobs of the chains stand when the run begins."""
        for index in self.chains.in_order():
            above = self.chains.parent[index]
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
        """Give the row of the clip that the job goes on from; ``None`` while it is not finished."""
        return self._clips.get(self.chains.parent[index])

    def set_free(
        self, index: int, clip: Progress, jobs: Sequence[Job]
    ) -> Iterator[tuple[int, Progress | None, Reopened | None]]:
        """Yield whose turn has come with *clip*: the index, and of a closed job its row and the event to open it."""
        children = self.chains.children.get(index, ())
        if children:  # most clips are nobody's beginning, and a night has a hundred thousand
            self._clips[index] = clip
        for child in children:
            job, row = jobs[child], self._closed.get(child)
            if child in self.waiting:
                self.waiting.discard(child)
                yield child, None, None
            elif row is not None and isinstance(job, Continuation) and clip.sha256 is not None:
                event = reopened(bound(job, clip.sha256), row, wishes=self._wishes, limits=self._limits)
                if event is not None:
                    del self._closed[child]
                    yield child, row, event

    def reasons(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Give why jobs were held back, by their ids."""
        return {jobs[index].id: reason for index, reason in self.held_back.items()}

    def cut_off(self, index: int) -> None:
        """Take note that the job failed: what hangs on it will not come in this run."""
        self.waiting.difference_update(self.chains.all_behind(index))
