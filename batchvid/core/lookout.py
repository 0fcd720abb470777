"""How a run stands, as far as its journal tells it to somebody in another terminal.

The jobs are read once and then only those to which something happened, so that a look beside a run of 100,000 jobs is
cheap. What the run keeps to itself (polls, bytes under way, the throttle) is not known here.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from batchvid.core.estimate import Load, Occupancy, remaining_s
from batchvid.core.job import State
from batchvid.core.opening import CRASHED
from batchvid.core.snapshot import NeedsPerson, NewClip, Snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from batchvid.core.job import Job, Progress
    from batchvid.core.settings import Limits
    from batchvid.core.snapshot import Money

NEWEST = 8
MINUTE_S = 60.0
TIMINGS = 64
"""Of each class, and tasks in flight: enough to tell how long one takes."""


class Lookout:
    """Follows the jobs of one manifest. Times named ``at`` are UTC epoch seconds, as in the journal."""

    def __init__(self, jobs: Iterable[Job], limits: Limits) -> None:
        self._limits = limits
        self._ids: Collection[str] = {job.id for job in jobs}
        self._states: dict[str, State] = {}
        self.counts: Counter[State] = Counter({State.PENDING: len(self._ids)})
        self._flying: dict[str, float] = {}
        self._parked: set[str] = set()
        self._stuck: dict[str, NeedsPerson] = {}
        self._newest: deque[NewClip] = deque(maxlen=NEWEST)
        self._submits: deque[float] = deque()
        self._saved_bytes = 0

    def took_place(self, kind: str, at: float) -> None:
        """Take note of an event, in the order in which they came."""
        if kind == "SubmitStarted":
            self._submits.append(at)

    def stands(self, row: Progress) -> None:
        """Take note of how a job stands now."""
        name = row.job_id
        if name not in self._ids:
            return
        before = self._states.get(name, State.PENDING)
        self.counts[before] -= 1
        self.counts[row.state] += 1
        if row.state is State.PENDING:
            self._states.pop(name, None)
        else:
            self._states[name] = row.state
        if row.state in {State.RUNNING, State.SUBMITTING} and not row.parked:
            self._flying[name] = row.submitted_at or 0.0
        else:
            self._flying.pop(name, None)
        (self._parked.add if row.parked else self._parked.discard)(name)
        if row.parked or row.state in {State.FAILED, State.IN_DOUBT}:
            self._stuck[name] = NeedsPerson(name, row.state, row.reason or "")
        else:
            self._stuck.pop(name, None)
        if row.state is State.DONE and row.path is not None and before is not State.DONE:
            self._saved(row)

    def _saved(self, row: Progress) -> None:
        self._saved_bytes += row.size_bytes or 0
        clip = NewClip(row.job_id, row.path or "", row.size_bytes or 0, row.finished_at or 0.0)
        if len(self._newest) == NEWEST and clip.saved_at < self._newest[-1].saved_at:
            return
        clips = sorted([*self._newest, clip], key=lambda one: -one.saved_at)
        self._newest = deque(clips[:NEWEST], maxlen=NEWEST)

    def snapshot(
        self, *, at: float, run_since: float | None, money: Money, timings: Mapping[str, list[float]]
    ) -> Snapshot:
        """Give the run as it stands; *run_since* is when the run that holds the output began, ``None`` without one.

        While no run is active, a job whose paid request was under way is in doubt, and nothing is in flight.
        """
        active = run_since is not None
        counts = {state: self.counts[state] for state in State}
        stuck = dict(self._stuck)
        if not active:
            counts[State.IN_DOUBT] += counts[State.SUBMITTING]
            counts[State.SUBMITTING] = 0
            stuck |= {
                name: NeedsPerson(name, State.IN_DOUBT, CRASHED)
                for name, state in self._states.items()
                if state is State.SUBMITTING
            }
        while self._submits and self._submits[0] < at - MINUTE_S:
            self._submits.popleft()
        limits = self._limits
        return Snapshot(
            counts=counts,
            parked=len(self._parked),
            money=money,
            elapsed_s=max(0.0, at - run_since) if run_since is not None else 0.0,
            eta_s=self._eta_s(at, timings) if active else None,
            in_flight=len(self._flying) if active else 0,
            in_flight_limit=limits.in_flight,
            downloading=min(counts[State.READY], limits.downloads) if active else 0,
            downloads_limit=limits.downloads,
            submits_per_min=float(len(self._submits)),
            submit_limit=limits.submits,
            slowed_to=1.0,
            paused_s=0.0,
            polls=0,
            submits=0,
            downloaded_bytes=self._saved_bytes,
            stopping=None,
            active=active,
            newest=tuple(self._newest),
            needs_person=tuple(stuck.values())[:NEWEST],
        )

    def _eta_s(self, at: float, timings: Mapping[str, list[float]]) -> float:
        seen_s = [took_s for of_class in timings.values() for took_s in of_class[-TIMINGS:]]
        known = Occupancy(sum(seen_s) / len(seen_s) if seen_s else self._limits.typical_time_s)
        for took_s in seen_s:
            known.add(took_s)
        ages_s = [max(0.0, at - since) for since in list(self._flying.values())[:TIMINGS]]
        waiting = self.counts[State.PENDING]
        return remaining_s(
            Load(
                waiting=waiting,
                flying=len(self._flying),
                room=self._limits.in_flight,
                rate=self._limits.submits,
                task_s=known.mean_s(ages_s, flying=len(self._flying)),
                spread=known.spread,
                since_submit_s=min(ages_s, default=0.0),
            )
        )
