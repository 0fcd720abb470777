"""What the review page knows of one manifest: read from its journal once, and then followed, event by event.

All of it is done in one thread, beside a run and beside other reviewers; it changes nothing.
"""

from __future__ import annotations

import json
import time
from dataclasses import field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.cli.output import text
from batchvid.cli.report.page import PROMPT_SHOWN, STATES, asked
from batchvid.domain.decision import Verdict
from batchvid.domain.errors import BatchvidError, StorageError
from batchvid.domain.frozen import frozen
from batchvid.domain.job import Continuation, Progress, State
from batchvid.domain.limits import OnChange
from batchvid.domain.records import standing
from batchvid.domain.results import Money
from batchvid.domain.text import clean
from batchvid.engine.polling import PollPlanner
from batchvid.engine.takes import takes_of
from batchvid.engine.target import is_rehearsal, journal_of
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from batchvid.domain.decision import Decision
    from batchvid.domain.job import Attempt
    from batchvid.journal.base import JournalReader, JournalStore
    from batchvid.manifest.model import Manifest


VERDICTS = (None, Verdict.APPROVED, Verdict.REJECTED)
"""As the page numbers them."""
MONEY_EVERY_S = 5.0
"""The sums are over all attempts ever paid; those of a large journal are not asked for at every look."""
FEW_JOBS = 5000
"""Below this they are."""
VERSION_CHARS = 12
TROUBLE_SHOWN = 600


class Reviewed(NamedTuple):
    """What the page is opened for: a manifest, and the commands about it that a person can paste."""

    manifest: Manifest
    redo: str
    """An id follows."""
    status: str


@frozen
class Shown:
    """The clip of one attempt, as the journal names it."""

    path: str
    """Relative to the output."""
    size_bytes: int
    sha256: str


NO_CLIPS: Mapping[int, Shown] = MappingProxyType({})


@frozen
class Look:
    """What has changed since the look before."""

    head: dict[str, Any]
    """About the manifest as a whole."""
    rows: Mapping[int, str] = field(default_factory=dict)
    """The rows that changed, as JSON, by their place in the manifest."""
    clips: Mapping[str, Mapping[int, Shown]] = field(default_factory=dict)
    """Their clips, by job and attempt; also that there are none any more."""


class Board:
    """One manifest. `look` is for one thread; what the others are told does not change any more."""

    def __init__(self, reviewed: Reviewed, *, number: int, first: int) -> None:
        self.manifest = manifest = reviewed.manifest
        self.store: JournalStore = journal_of(manifest)
        self.jobs = {job.id: job for job in manifest.jobs}
        self._reviewed, self._number, self._first = reviewed, number, first
        self._places = {job.id: place for place, job in enumerate(manifest.jobs)}
        self._journal: JournalReader | None = None
        self._seen = self._decided = 0
        self._rows: dict[str, Progress] = {}
        self._attempts: dict[str, list[Attempt]] = {}
        self._takes: dict[str, dict[int, Shown]] = {}
        self._decisions: dict[str, dict[int, Decision]] = {}
        self._planner = PollPlanner(manifest.limits.typical_time_s)
        self._money, self._money_at = Money(budget_micros=manifest.limits.budget_micros), float("-inf")
        self._was_active: bool | None = None
        self._is_begun = self._is_rehearsal = False
        self._written = _written(manifest.path)

    def close(self) -> None:
        """Close the journal; the next look opens it again, and reads all of it."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def look(self) -> Look:
        """Return what has changed; trouble with the journal is told, and the next look begins again then."""
        try:
            return self._look()
        except BatchvidError as error:
            self.close()
            return Look(self._head(active=False) | {"trouble": clean(str(error), TROUBLE_SHOWN)})

    def _look(self) -> Look:
        # A journal that is open can be read for ever, also where its folder was moved, or its disk is away. Whether
        # a database is there, each question to it says.
        if self._is_begun and not self.manifest.database and not self.store.exists():
            raise StorageError(f"the journal in {self.manifest.place} is not there any more; what is shown is older")
        # Who holds the lock is asked first: a run that ends in between has recorded all that is read after it.
        since = self.store.held_since()
        active = since is not None
        begins = self._journal is None
        if begins:
            self._journal = self.store.read()
            self._is_begun = self._is_begun or self._journal is not None
        changed: Iterable[str]
        if self._journal is None:
            changed = self._places if self._was_active is None else ()
        elif begins:
            self._begin(self._journal)
            changed = self._places
        else:
            changed = self._follow(self._journal)
            if active != self._was_active:  # what was being submitted is in doubt now, or under way again
                changed = {*changed, *self._submitting()}
        self._was_active = active
        self._sum_up()
        ids = [job_id for job_id in changed if job_id in self._places]
        return Look(
            self._head(active=active, since=since),
            {self._places[job_id]: self._row(job_id, active=active) for job_id in ids},
            {job_id: self._takes.get(job_id, NO_CLIPS) for job_id in ids},
        )

    def _begin(self, journal: JournalReader) -> None:
        self._seen = journal.settled()
        self._rows = {row.job_id: row for row in journal.all_progress() if row.job_id in self._places}
        self._attempts = {}
        for one in journal.attempts():
            self._attempts.setdefault(one.job_id, []).append(one)
        self._decided, self._decisions = 0, {}
        self._hear(journal)
        self._find_takes(journal, self._rows)
        self._money_at = float("-inf")

    def _follow(self, journal: JournalReader) -> set[str]:
        """Read what has happened since the last look; return the jobs that it is about."""
        changed = set()
        for event in journal.events(after=self._seen):
            self._seen = event.seq
            changed.add(event.job_id)
        changed &= self._places.keys()
        for row in journal.progress_of(sorted(changed)):
            self._rows[row.job_id] = row
            self._attempts[row.job_id] = list(journal.attempts(row.job_id))
        self._find_takes(journal, changed)
        return changed | self._hear(journal)

    def _hear(self, journal: JournalReader) -> set[str]:
        """Take up what was decided since the last look; return the jobs that it is about."""
        heard = set()
        for seq, one in journal.decisions_after(self._decided):
            self._decided = seq
            self._decisions.setdefault(one.job_id, {})[one.attempt] = one
            heard.add(one.job_id)
        return heard

    def _find_takes(self, journal: JournalReader, job_ids: Iterable[str]) -> None:
        """Look which clips of these jobs are there: of most it is the one that the journal names."""
        several = set()
        for job_id in job_ids:
            row = self._rows.get(job_id)
            if row is None or not row.attempt:
                continue
            if row.attempt > 1 or row.state is not State.DONE:
                several.add(job_id)
            else:
                self._takes[job_id] = {row.attempt: Shown(row.path or "", row.size_bytes or 0, row.sha256 or "")}
        found = takes_of(several, journal, Output.of(self.manifest).clips) if several else {}
        for job_id in several:
            self._takes[job_id] = {
                one.attempt: Shown(one.path, one.size_bytes, one.sha256) for one in found.get(job_id, ())
            }

    def _submitting(self) -> Iterator[str]:
        return (job_id for job_id, row in self._rows.items() if row.state is State.SUBMITTING)

    def _sum_up(self) -> None:
        at = time.monotonic()
        if self._journal is None or (len(self._places) > FEW_JOBS and at - self._money_at < MONEY_EVERY_S):
            return
        self._money_at = at
        self._money = replace(self._journal.money(), budget_micros=self.manifest.limits.budget_micros)
        self._planner = PollPlanner(self.manifest.limits.typical_time_s, self._journal.timings())

    def _head(self, *, active: bool, since: float | None = None) -> dict[str, Any]:
        money = self._money
        self._is_rehearsal = self._is_rehearsal or is_rehearsal(self.manifest)  # stays one where its folder is away
        return {
            "name": clean(self.manifest.path.stem, 200),
            "redo": self._reviewed.redo,
            "status": self._reviewed.status,
            "edited": _written(self.manifest.path) != self._written,
            "place": clean(self.manifest.place, 1000),
            "sandbox": self._is_rehearsal,
            "first": self._first,
            "jobs": len(self._places),
            "attempts": self.manifest.limits.attempts,
            "rebuys": self.manifest.limits.on_change is OnChange.REBUY,
            "active": active,
            "since": since,
            "begun": self._is_begun,
            "spent": money.spent_micros,
            "reserved": money.reserved_micros,
            "budget": money.budget_micros,
            "unpriced": money.unpriced_attempts,
            "trouble": "",
        }

    def _row(self, job_id: str, *, active: bool) -> str:
        """Return a job's columns as JSON; what each of them is, the page's script says. ``-1``: it is not known."""
        job, row = self.jobs[job_id], self._rows.get(job_id) or Progress.fresh(job_id)
        took_s = next((took for one in reversed(self._attempts.get(job_id, ())) if (took := one.took_s)), 0.0)
        paid = [one.price_micros for one in self._attempts.get(job_id, ()) if one.price_micros is not None]
        decided = self._decisions.get(job_id, {})
        columns = [
            self._first + self._places[job_id],
            job.id,
            self._number,
            STATES.index(standing(row, run_active=active)),
            clean(job.prompt, PROMPT_SHOWN),
            clean(job.model, 200),
            clean(row.resolved_model or "", 200),
            asked(job),
            [clean(frame.path.rpartition("/")[2], 120) for frame in job.frames],
            row.attempt,
            row.allowance_from + self.manifest.limits.attempts,
            sum(paid) if paid else -1,
            -1 if job.price_micros is None else job.price_micros,
            round(row.submitted_at or 0),
            round(took_s, 1),
            round(row.finished_at or 0),
            clean(row.reason or "", text.REASON_SHOWN),
            [job.continues, job.at_s] if isinstance(job, Continuation) else 0,
            round(self._planner.of(job.timing_class).typical_s, 1) if row.state.in_flight else 0,
            [
                [attempt, one.size_bytes, one.sha256[:VERSION_CHARS], *decision_columns(decided.get(attempt))]
                for attempt, one in sorted(self._takes.get(job_id, {}).items())
            ],
            self._first + self._places.get(job.first_take, self._places[job_id]),
        ]
        return json.dumps(columns, ensure_ascii=False, separators=(",", ":"))


def _written(path: Path) -> tuple[int, int] | None:
    """Return what tells one writing of a file from another; ``None`` when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def decision_columns(decision: Decision | None) -> list[Any]:
    """Return what was decided of a clip, as the page reads it."""
    if decision is None:
        return [0, -1, "", "", 0]
    stars = -1 if decision.stars is None else decision.stars
    return [VERDICTS.index(decision.verdict), stars, decision.note, decision.by, round(decision.at, 3)]
