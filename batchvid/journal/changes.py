"""What a group of changes makes of a journal's rows, whatever keeps them: a group is written by few statements.

Several changes of a job are written as one, from where the first starts to where the last ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.frozen import frozen
from batchvid.domain.lifecycle import TaskAdopted
from batchvid.journal.base import StaleProgressError, TaskOwnedError, followed, numbered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchvid.domain.job import Attempt, Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.journal.base import Change


Here = tuple[str, int]
"""The job and the number of an attempt."""
Happened = tuple[str, int, "Event", float]
"""The job, the number of the attempt, the event, and its time (UTC epoch seconds)."""


@frozen
class Joined:
    """The changes of a group, put together."""

    starts: dict[str, int]
    """By job id, the version that the first change starts from; 0 is a job that nothing has happened to."""
    rows: dict[str, Progress]
    """By job id, what the last change makes of it."""
    events: list[Happened]
    """What is kept of what happened, in order."""

    @property
    def attempts(self) -> list[Here]:
        """The attempts that the events are about, each once."""
        return list(dict.fromkeys((job_id, number) for job_id, number, _, _ in self.events))

    def check(self, versions: Mapping[str, int]) -> None:
        """Raise `StaleProgressError` where the journal holds a job at another version; one that is not there is new."""
        for job_id, version in self.starts.items():
            if versions.get(job_id, 0) != version:
                raise _stale(job_id, version)


def joined(changes: Sequence[Change]) -> Joined:
    """Put changes together; raises `StaleProgressError` where those of one job do not follow each other."""
    starts: dict[str, int] = {}
    rows: dict[str, Progress] = {}
    events: list[Happened] = []
    for change in changes:
        job_id, version = change.before.job_id, change.before.version
        if version != (rows[job_id].version if job_id in rows else version):
            raise _stale(job_id, version)
        starts.setdefault(job_id, version)
        rows[job_id] = change.after
        events += [(job_id, attempt, event, at) for attempt, event, at in numbered(change)]
    return Joined(starts, rows, events)


@frozen
class ChangedAttempts:
    """What events make of attempts."""

    rows: dict[Here, Attempt | None]
    """Those that are not as they were; ``None`` is to go."""
    adopted: list[Here]
    """Those that are given another task. Two jobs exchange theirs in a record: each puts down its own before that."""
    tasks: dict[Here, str]
    """The tasks that are new to them."""

    def check(self, owners: Mapping[str, Here]) -> None:
        """Raise `TaskOwnedError` where a new task is another attempt's; *owners* has those that the journal knows."""
        taken = dict(owners)
        for here, task_id in self.tasks.items():
            if taken.setdefault(task_id, here) != here:
                raise TaskOwnedError(task_id, taken[task_id][0])


def changed_attempts(events: Sequence[Happened], before: Mapping[Here, Attempt]) -> ChangedAttempts:
    """Return what *events* make of the attempts that the journal holds: *before* has those that they are about."""
    after: dict[Here, Attempt | None] = {}
    adopted = []
    for job_id, number, event, at in events:
        here = job_id, number
        after[here] = followed(after.get(here, before.get(here)), event, job_id=job_id, number=number, at=at)
        if isinstance(event, TaskAdopted) and here in before:
            adopted.append(here)
    rows = {here: one for here, one in after.items() if one != before.get(here) or here in adopted}
    tasks = {here: one.task_id for here, one in rows.items() if one is not None and one.task_id is not None}
    kept = {here for here, one in before.items() if here not in adopted and one.task_id == tasks.get(here)}
    return ChangedAttempts(rows, adopted, {here: task_id for here, task_id in tasks.items() if here not in kept})


def _stale(job_id: str, version: int) -> StaleProgressError:
    return StaleProgressError(f"job {job_id!r} is no longer at version {version}")
