"""How a run stands: what it has done so far, kept as sums, and the snapshot that the views draw."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from batchvid.core import lifecycle as life
from batchvid.core.estimate import Load, Occupancy, remaining_s
from batchvid.core.job import State
from batchvid.core.settings import Rate
from batchvid.core.snapshot import NeedsPerson, NewClip, Snapshot

if TYPE_CHECKING:
    from batchvid.core.course import Course
    from batchvid.core.job import Progress
    from batchvid.core.lifecycle import Event

SHOWN = 8
WORDS_TOLD = 8
"""A service that makes up a new status for every poll must not fill a night's log."""
TELLING = 4
"""Accepted requests tell at which pace a service takes them."""
AGES_ASKED = 64
"""Of the tasks in flight: enough to tell the mean, few enough to be asked four times a second."""
CLASSES_ASKED = 100
"""Jobs, spread over the manifest, whose classes say what a task is expected to take before any was seen."""


class Standing:
    """The sums of one run. Times named ``now`` are monotonic seconds."""

    def __init__(self, course: Course, *, started: float) -> None:
        self._course = course
        self._started = started
        self._limits = course.account.limits or course.limits
        self._kept = Occupancy(_expected_s(course))
        self._submitted_at = started
        self._submits_seen = 0
        self.polls = 0
        self.submits = 0
        self.downloaded_bytes = 0
        self.newest: deque[NewClip] = deque(maxlen=SHOWN)
        self.needs_person: dict[str, NeedsPerson] = {}
        # By the URL's hash: a night has 100,000 URLs, of up to 8 KB each.
        self._first_with_url: dict[int, str] = {}
        self._with_url_of_another: set[str] = set()
        self._strange_words: set[str] = set()
        self._told_of_renaming = False

    def take_over(self, row: Progress) -> None:
        """Take note of a job that an earlier run left for a person."""
        if row.parked or row.state in {State.FAILED, State.IN_DOUBT}:
            self.needs_person[row.job_id] = NeedsPerson(row.job_id, row.state, row.reason or "")

    def happened(self, event: Event, progress: Progress, *, at: float) -> None:
        """Take note of an event that was recorded."""
        match event:
            case life.SubmitStarted():
                self.submits += 1
            case life.ClipSaved():
                self.downloaded_bytes += event.size_bytes
                self.newest.appendleft(NewClip(progress.job_id, event.path, event.size_bytes, at))
        waits = progress.parked or progress.state in {State.FAILED, State.IN_DOUBT}
        if waits:
            self.needs_person[progress.job_id] = NeedsPerson(progress.job_id, progress.state, progress.reason or "")
        elif self.needs_person:
            self.needs_person.pop(progress.job_id, None)

    def other_with(self, url: str, *, job_id: str) -> str | None:
        """Give the job for which this run was told the same URL before; ``None`` when there is none, or it was told."""
        first = self._first_with_url.setdefault(hash(url), job_id)
        if first == job_id or job_id in self._with_url_of_another:
            return None
        self._with_url_of_another.add(job_id)
        return first

    def is_new_word(self, status: str) -> bool:
        """Say whether this run meets a status for the first time; after `WORDS_TOLD` of them, none is new any more."""
        if status in self._strange_words or len(self._strange_words) >= WORDS_TOLD:
            return False
        self._strange_words.add(status)
        return True

    def is_first_renaming(self) -> bool:
        """Whether an answer that gives a task another id is the first one of this run; it is told once."""
        first, self._told_of_renaming = not self._told_of_renaming, True
        return first

    def task_took(self, took_s: float) -> None:
        """Take note of how long after its submission a task of this run was known to be over."""
        self._kept.add(took_s)

    def eta_s(self, now: float) -> float:
        """Give the seconds until the last job is done, or nothing more is going to happen."""
        course, brakes = self._course, self._course.brakes
        if course.draining:
            return 0.0
        self._look(now)
        waiting = self._to_submit(now)
        task_s = self._kept.mean_s(self._ages_s(now), flying=course.schedule.in_flight)
        load = Load(
            waiting=waiting,
            flying=course.schedule.in_flight,
            room=self._limits.in_flight,
            rate=self._rate(now),
            task_s=task_s,
            spread=self._kept.spread,
            delayed_s=max(0.0, brakes.submits_resume_at - now),
            since_submit_s=now - self._submitted_at,
            window_s=None if brakes.window_closes_at is None else max(0.0, brakes.window_closes_at - now),
        )
        others = [one for one in course.account.courses if one is not course]
        if others:
            beside = sum(min(waiting, one.schedule.to_submit) for one in others)
            flying = sum(one.schedule.in_flight for one in course.account.courses)
            load = replace(load, waiting=waiting + beside, flying=flying)
        if brakes.canary_is_out and waiting:
            canaries = replace(load, waiting=0, flying=max(1, load.flying))
            load = replace(load, flying=0, delayed_s=load.delayed_s + remaining_s(canaries))
        return remaining_s(load)

    def _to_submit(self, now: float) -> int:
        """Count the jobs that this run is still going to submit, as far as limits let it."""
        course = self._course
        if course.brakes.submits_stopped:
            return 0
        bounds = [course.schedule.to_submit + len(course.handover.waiting)]
        ration = course.brakes.ration
        if ration.max_jobs is not None:
            bounds.append(max(0, ration.max_jobs - ration.jobs) + len(course.schedule.again))
        price = self._next_price_micros(now)
        left = course.budget.left_micros
        if price and left is not None:
            bounds.append(left // price)
        return min(bounds)

    def _next_price_micros(self, now: float) -> int | None:
        """Give the price of the job that is submitted next; ``None`` when there is none, or it is unknown."""
        schedule = self._course.schedule
        indices = (lane.peek(now) for lane in (schedule.submits, schedule.again))
        return next((self._course.jobs[index].price_micros for index in indices if index is not None), None)

    def _ages_s(self, now: float) -> list[float]:
        """Give how long tasks have been in flight: all of them, or some of many."""
        active = self._course.active
        some = islice(active.values(), 0, None, 1 + len(active) // AGES_ASKED)
        return [now - one.task_from for one in some if one.progress.state is State.RUNNING]

    def _rate(self, now: float) -> Rate | None:
        """Give the pace that may be counted on: the allowed one, or while the service slows it the one that it took."""
        account, allowed = self._course.account, self._limits.submits
        if account.throttle.share == 1.0 or account.accepted < TELLING or now <= self._started:
            return allowed
        taken = Rate(account.accepted, now - self._started)
        return taken if allowed is None or taken.per_s < allowed.per_s else allowed

    def _look(self, now: float) -> None:
        """Take note of when something was submitted last."""
        if self.submits != self._submits_seen:
            self._submits_seen, self._submitted_at = self.submits, now

    def snapshot(self, *, now: float, submits_per_min: float) -> Snapshot:
        """Give the run as it stands now."""
        course, brakes = self._course, self._course.brakes
        halt = brakes.worst
        interrupted = course.draining and not brakes.downloads_stopped
        stopping = "interrupted: requests in flight end, nothing new is sent" if interrupted else None
        return Snapshot(
            counts={state: course.counts[state] for state in State},
            parked=len(course.parked),
            money=course.budget.money,
            elapsed_s=now - self._started,
            eta_s=self.eta_s(now),
            in_flight=course.schedule.in_flight,
            in_flight_limit=self._limits.in_flight,
            downloading=course.downloading,
            downloads_limit=course.limits.downloads,
            submits_per_min=submits_per_min,
            submit_limit=self._limits.submits,
            slowed_to=brakes.throttle.share,
            paused_s=max(0.0, brakes.submits_resume_at - now),
            slowed_by=brakes.slowed_by,
            polls=self.polls,
            submits=self.submits,
            downloaded_bytes=self.downloaded_bytes,
            stopping=stopping or (halt.reason if halt else None),
            newest=tuple(self.newest),
            needs_person=tuple(self.needs_person.values())[:SHOWN],
        )


def _expected_s(course: Course) -> float:
    """Give what a task is expected to take: by class what the journal tells, or the stated typical time."""
    asked = course.jobs[:: max(1, len(course.jobs) // CLASSES_ASKED)]
    if not asked:
        return course.limits.typical_time_s
    return sum(course.forecast.of(job.timing_class).typical_s for job in asked) / len(asked)
