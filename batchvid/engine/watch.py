"""Watches a run from beside it: reads its journal, and nothing is ever written."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from batchvid.domain.results import Money
from batchvid.engine.stats import MINUTE_S, WatchStatistics

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from batchvid.domain.results import Snapshot
    from batchvid.journal.base import JournalReader, JournalStore
    from batchvid.manifest.model import Manifest


MONEY_EVERY_S = 10.0
"""The sums are over all attempts ever paid, so they are not asked for at every look at a large journal."""
FEW_JOBS = 5000
"""Below this they are."""


class Watching:
    """Looks at one manifest's output, again and again. To be entered and left as a context manager.

    The first look reads all jobs, and each later one only those to which something has happened since.
    """

    def __init__(self, manifest: Manifest, store: JournalStore, *, wall: Callable[[], float] = time.time) -> None:
        self._manifest = manifest
        self._store = store
        self._wall = wall
        self._statistics = WatchStatistics(manifest.jobs, manifest.limits)
        self._journal: JournalReader | None = None
        self._seen = 0
        self._money = Money(budget_micros=manifest.limits.budget_micros)
        self._money_at = float("-inf")
        self._timings: dict[str, list[float]] = {}

    def __enter__(self) -> Self:
        """Begin; the journal is opened when there is one."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def look(self) -> Snapshot:
        """Return how the run stands now. Raises as `JournalStore.read` does."""
        at = self._wall()
        # Who holds the lock is asked first: a run that ends in between has recorded all that is read after it.
        since = self._store.held_since()
        if self._journal is None:
            self._begin(at)
        elif self._follow():
            self._sum_up(at)
        return self._statistics.snapshot(at=at, run_since=since, money=self._money, timings=self._timings)

    def _begin(self, at: float) -> None:
        journal = self._journal = self._store.read()
        if journal is None:
            return
        recent = []
        for event in journal.events(newest_first=True):
            self._seen = max(self._seen, event.seq)
            if event.at < at - MINUTE_S:
                break
            recent.append(event)
        for event in reversed(recent):
            self._statistics.took_place(event.kind, event.at)
        for row in journal.all_progress():
            self._statistics.stands(row)
        self._sum_up(at)

    def _follow(self) -> bool:
        """Read what has happened since the last look; say whether anything has."""
        journal, changed = self._journal, set()
        if journal is None:
            return False
        for event in journal.events(after=self._seen):
            self._seen = event.seq
            changed.add(event.job_id)
            self._statistics.took_place(event.kind, event.at)
        for job_id in changed:
            row = journal.progress(job_id)
            if row is not None:
                self._statistics.stands(row)
        return bool(changed)

    def _sum_up(self, at: float) -> None:
        if self._journal is None or (len(self._manifest.jobs) > FEW_JOBS and at - self._money_at < MONEY_EVERY_S):
            return
        self._money_at = at
        self._money = replace(self._journal.money(), budget_micros=self._manifest.limits.budget_micros)
        self._timings = {name: list(took_s) for name, took_s in self._journal.timings().items()}
