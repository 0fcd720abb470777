"""How a run stands: what it has done so far, kept as sums, and the snapshot that the views draw."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from batchvid.core import lifecycle as life
from batchvid.core.job import State
from batchvid.core.snapshot import NeedsPerson, NewClip, Snapshot

if TYPE_CHECKING:
    from batchvid.core.course import Course
    from batchvid.core.job import Progress
    from batchvid.core.lifecycle import Event

SHOWN = 8
WORDS_TOLD = 8
"""A service that makes up a new status for every poll must not fill a night's log."""
TAIL_SHARE = 0.5
"""The last tasks end, on average, about half a generation after half of those in flight are done."""


class Standing:
    """The sums of one run. Times named ``now`` are monotonic seconds."""

    def __init__(self, course: Course, *, started: float) -> None:
        self._course = course
        self._started = started
        self._seen_s = 0.0
        self._seen = 0
        self.polls = 0
        self.submits = 0
        self.downloaded_bytes = 0
        self.newest: deque[NewClip] = deque(maxlen=SHOWN)
        self.needs_person: dict[str, NeedsPerson] = {}
        # By the URL's hash: a night has 100,000 URLs, of up to 8 KB each.
        self._first_with_url: dict[int, str] = {}
        self._with_url_of_another: set[str] = set()
        self._strange_words: set[str] = set()

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

    def task_took(self, took_s: float) -> None:
        """Take note of how long a task of this run took."""
        self._seen_s += took_s
        self._seen += 1

    def eta_s(self, now: float) -> float | None:
        """Give the seconds until the last job is done; ``None`` while nothing is known of this run's pace."""
        course = self._course
        waiting = course.schedule.to_submit
        flying = course.schedule.in_flight
        if not waiting and not flying:
            return 0.0
        task_s = self._seen_s / self._seen if self._seen else course.limits.typical_time_s
        by_room_s = (waiting + flying * TAIL_SHARE) * task_s / course.limits.in_flight
        rate = course.limits.submits
        by_rate_s = waiting * rate.period_s / rate.count / course.brakes.throttle.share if rate is not None else 0.0
        pause_s = max(0.0, course.brakes.submits_resume_at - now)
        return pause_s + max(by_room_s, by_rate_s) + task_s * TAIL_SHARE

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
            in_flight_limit=course.limits.in_flight,
            downloading=course.downloading,
            downloads_limit=course.limits.downloads,
            submits_per_min=submits_per_min,
            submit_limit=course.limits.submits,
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
