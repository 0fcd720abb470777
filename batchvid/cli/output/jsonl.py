"""A run as JSON, one object a line, each with its ``"type"``: ``plan``, ``job``, ``stats``, ``summary``, ``exit``.

Fields are only ever added. Money is in dollars, times are RFC 3339 in UTC, durations in seconds, unknown values null.
"""

from __future__ import annotations

import json
import math
import re
import time
from typing import TYPE_CHECKING, Any, TextIO

from batchvid.cli.output.machines import machines_json
from batchvid.cli.output.summary import MEANINGS, summary_json
from batchvid.cli.streams import Interval, SafeStream, safe_stream
from batchvid.domain.plan import cost_of_plan, short_micros, short_today_micros
from batchvid.domain.records import EVENT, counts, dollars, record, rfc3339, standings, sums
from batchvid.engine.observer import Observer, Verbosity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchvid.domain.errors import Exit
    from batchvid.domain.job import Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.plan import Cost, Plan
    from batchvid.domain.results import Money, Snapshot, Summary


STATS_EVERY_S = 10.0


class JsonLines(Observer):
    """Writes JSON lines; notes and warnings are for people, who read the other stream.

    Polls are told only when *verbosity* asks for them: they are most of what happens. Each object names the *manifest*
    that it is about, when one is given.
    """

    def __init__(
        self,
        stream: TextIO | SafeStream | None,
        verbosity: Verbosity = Verbosity.NORMAL,
        *,
        manifest: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._out = safe_stream(stream)
        self._named = {} if manifest is None else {"manifest": manifest}
        self._verbosity = verbosity
        self._now = now
        self._interval = Interval(STATS_EVERY_S)

    def write(self, value: Mapping[str, Any]) -> None:
        """Write one object, such as those of `plan_sums_json`."""
        self._out.line(json.dumps({**value, **self._named}))

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Write a ``job`` object: the event's name and what the journal now holds."""
        from batchvid.domain import lifecycle as life

        if isinstance(event, life.StillRunning | life.PollFailed) and self._verbosity < Verbosity.VERBOSE:
            return
        self.write(job_json(job_id, event, progress, at=self._now()))

    def stats(self, snapshot: Snapshot) -> None:
        """Write a ``stats`` object, at most every ten seconds."""
        if self._interval.due(snapshot.elapsed_s):
            self.write(stats_json(snapshot))

    def summary(self, summary: Summary) -> None:
        """Write a ``summary`` object."""
        self.write(summary_json(summary))

    def exit(self, code: Exit, reason: str | None = None) -> None:
        """Write the ``exit`` object, the last line of the process."""
        self.write({"type": "exit", "code": int(code), "meaning": MEANINGS[code], "reason": reason})
        self._out.finish()

    def close(self) -> None:
        """Send what the reader had no room for yet. The stream itself is not ours to close."""
        self._out.finish()


def plan_sums_json(plan: Plan, money: Money | None = None, *, cost: Cost | None = None) -> dict[str, Any]:
    """Return what a run would do in all, as the one object of ``"type": "plan"`` without an ``"id"``.

    ``price_at_most`` is ``None`` when nothing bounds it. *cost* is what the run costs within the bounds of its call.
    """
    cost = cost or cost_of_plan(plan, money)
    return {
        "type": "plan",
        "counts": {action.value: number for action, number in plan.counts.items()},
        "submits": plan.submits,
        "price": dollars(plan.price_micros),
        "price_at_most": dollars(cost.at_most_micros),
        "unpriced": plan.unpriced,
        "estimated_s": round(plan.wall_s),
        "fits_budget": None if money is None else max(short_micros(plan, money), short_today_micros(plan, money)) <= 0,
        **({"estimated_with": plan.reckoned_with} if plan.reckoned_with else {}),
    }


def event_name(kind: str) -> str:
    """Return an event's name as programs are told it: ``clip_saved``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()


def job_json(job_id: str, event: Event, progress: Progress, *, at: float) -> dict[str, Any]:
    """Return a ``job`` object; its ``event`` is the event's name in snake case: ``clip_saved``."""
    from batchvid.domain import lifecycle as life

    name = event_name(type(event).__name__)
    reason = getattr(event, "reason", progress.reason)
    told = record(EVENT, progress, type="job", at=rfc3339(at), id=job_id, event=name, reason=reason)
    if isinstance(event, life.StillRunning):
        told |= {"status": event.status, "progress_percent": event.progress_percent}
    if isinstance(event, life.ClipSaved) and event.differs:
        told["differs"] = list(event.differs)
    return told


def stats_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return a ``stats`` object."""
    limit = snapshot.submit_limit
    return {
        "type": "stats",
        "counts": counts(snapshot.counts),
        "parked": snapshot.parked,
        "money": sums(snapshot.money),
        "unpriced_attempts": snapshot.money.unpriced_attempts,
        "elapsed_s": _number(snapshot.elapsed_s),
        "eta_s": _number(snapshot.eta_s),
        "in_flight": snapshot.in_flight,
        "in_flight_limit": snapshot.in_flight_limit,
        "downloading": snapshot.downloading,
        "downloads_limit": snapshot.downloads_limit,
        "submits_per_min": _number(snapshot.submits_per_min),
        "submits_per_min_limit": _number(limit.count / limit.period_s * 60) if limit else None,
        "slowed_to": _number(snapshot.slowed_to),
        "paused_s": _number(snapshot.paused_s),
        "slowed_by": snapshot.slowed_by or None,
        "submits": snapshot.submits,
        "polls": snapshot.polls,
        "downloaded_bytes": snapshot.downloaded_bytes,
        "stopping": snapshot.stopping,
        "standings": standings(snapshot),
        "away_s": _number(snapshot.away_s),
        "away_because": snapshot.away_because or None,
        "sandbox": snapshot.sandbox,
        **({"auto": list(snapshot.found_out)} if snapshot.found_out else {}),
        **machines_json(snapshot.machines),
    }


def _number(value: float | None) -> float | None:
    """Return *value* to a thousandth; JSON has no word for what is not finite, so that is unknown."""
    return None if value is None or not math.isfinite(value) else round(value, 3)
