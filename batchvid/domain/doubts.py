"""A paid request in doubt: what is known of it, and what its answer shows of a task that it may have made.

Also the rules by which a person may give tasks to jobs. No rule makes a request.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from batchvid.domain.frozen import frozen
from batchvid.domain.job import State
from batchvid.domain.task import TASK_ID_MAX, Fault, FaultKind, Phase, usable_id
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.job import Job, Progress
    from batchvid.domain.task import TaskReport


SHOWN_AT_MOST = 5
"""Ids of one answer: a page of something else may hold hundreds of words that look like one."""
WORDS = re.compile(
    r"""
      \btask\ ['"]?(?P<named>[^\s'",;]+?)['"]?\ was\ named      # the words of the reason
    | "task_?id"\s*:\s*"?(?P<task>[^"\\\s,}\]]+)                # JSON, also cut off: the task's own field
    | "id"\s*:\s*"?(?P<id>[^"\\\s,}\]]+)                        # the field that most things have
    | /videos/(?P<path>[^\s"'<>?\#/&;,)]+)                      # the path of a task, in a link or a Location
    | \b(?P<bare>(?:task|video)_[A-Za-z0-9_-]{6,})              # as this service forms its ids
    """,
    re.VERBOSE | re.IGNORECASE,
)
RANKS = ("named", "task", "path", "bare", "id")
"""The surest first: ``id`` may be that of anything."""
NO_IDS = {"null", "none", "true", "false", "content"}


@frozen
class Doubt:
    """One paid request of which nobody knows whether it made a task."""

    job_id: str
    attempt: int
    sent_at: float
    """When it left, in UTC epoch seconds."""
    price_micros: int | None
    reason: str
    request_id: str | None
    """What the service's support asks for."""
    seen_ids: tuple[str, ...]
    """Ids in the answer that may be those of the task, the surest first."""
    prompt: str = ""
    model: str = ""

    def of(self, job: Job) -> Doubt:
        """Return it with what the manifest says of the job."""
        return replace(self, prompt=job.prompt, model=job.model)


def doubts_of(jobs: Iterable[Job], doubts: Mapping[str, Doubt]) -> list[Doubt]:
    """Return the doubts of these jobs, in their order, each with its prompt."""
    return [doubts[job.id].of(job) for job in jobs if job.id in doubts] if doubts else []


def seen_ids(raw: bytes, reason: str) -> tuple[str, ...]:
    """Return what may be the id of a task in a request's *reason* and its kept answer *raw*, the surest first."""
    found: dict[str, int] = {}
    for text in (reason, raw.decode("utf-8", "replace")):
        for match in WORDS.finditer(text):
            kind = match.lastgroup or ""
            task_id = unquote(match[kind]) if kind == "path" else match[kind]
            if usable_id(task_id) and len(task_id) <= TASK_ID_MAX and task_id.lower() not in NO_IDS:
                found[task_id] = min(found.get(task_id, len(RANKS)), RANKS.index(kind))
    return tuple(sorted(found, key=found.__getitem__))[:SHOWN_AT_MOST]


@frozen
class Adoption:
    """A job, and the task that a person says is its own."""

    job_id: str
    task_id: str
    line: int = 0
    """Of the file that names it, from 1; 0 for the command line."""

    @property
    def shown(self) -> str:
        """The task's id, harmless to show."""
        return clean(self.task_id, TASK_ID_MAX)


@frozen
class KnownJobs:
    """What the journal and the manifest know of the jobs and tasks that adoptions name."""

    rows: Mapping[str, Progress]
    """By job id."""
    named: Collection[str]
    """The ids of the manifest's jobs."""
    manifest: str
    """As the person wrote it."""
    owner_of: Callable[[str], str | None]
    """Returns the id of the job that has a task."""
    newest: Mapping[str, str | None]
    """The task of the newest paid attempt, by job id."""


def mistakes(adoptions: Sequence[Adoption], known: KnownJobs) -> Iterator[tuple[Adoption, str]]:
    """Yield what is wrong with each adoption that cannot be, before anybody is asked."""
    jobs = Counter(one.job_id for one in adoptions)
    tasks = Counter(one.task_id for one in adoptions)
    handed_on = {(one.job_id, known.newest.get(one.job_id)) for one in adoptions if not has_it(one, known)}
    for one in adoptions:
        if jobs[one.job_id] > 1:
            wrong: str | None = f"job {one.job_id!r} is named more than once"
        elif tasks[one.task_id] > 1:
            wrong = f"task {one.shown} is named more than once"
        else:
            wrong = _mistake(one, known, handed_on)
        if wrong is not None:
            yield one, wrong


def _mistake(one: Adoption, known: KnownJobs, handed_on: Collection[tuple[str, str | None]]) -> str | None:
    row = known.rows.get(one.job_id)
    if not usable_id(one.task_id) or len(one.task_id.split()) != 1:
        return "that is no task id: one printable word is expected"
    if row is None and one.job_id not in known.named:
        return f"{known.manifest} and its journal have no job {one.job_id!r}"
    if row is None or not row.attempt:
        return (
            f"job {one.job_id!r} was never paid for in this output, so no task can be its own: adopt the task in the "
            "output that paid for it, or let the next run buy the clip"
        )
    owner = known.owner_of(one.task_id)
    if owner == one.job_id and known.newest.get(one.job_id) != one.task_id:
        return f"task {one.shown} is that of an earlier attempt of the job"
    if owner not in {None, one.job_id} and (owner, one.task_id) not in handed_on:
        return f"task {one.shown} belongs to job {owner!r} already; to exchange tasks, name both in one --from FILE"
    return None


def has_it(adoption: Adoption, known: KnownJobs) -> bool:
    """Whether the job has that task and goes on with it, so that there is nothing to record."""
    row = known.rows.get(adoption.job_id)
    going_on = row is not None and row.state in {State.RUNNING, State.READY, State.DONE}
    return going_on and known.newest.get(adoption.job_id) == adoption.task_id


def refusal(adoption: Adoption, said: TaskReport | Fault | None) -> str | None:
    """Return why the service's word forbids the adoption; ``None`` when it does not, or nobody asked."""
    if isinstance(said, Fault) and said.kind is FaultKind.UNKNOWN_TASK:
        return f"the service does not know task {adoption.shown}: {said}"
    return None


def scruples(adoption: Adoption, row: Progress, said: TaskReport | None) -> Iterator[str]:
    """Yield why a person should think twice before this adoption."""
    if row.state is State.DONE:
        yield f"job {adoption.job_id} is done: its clip is kept beside the new one, with the attempt's number"
    if said is not None and said.phase is Phase.FAILED:
        why = f": {said.error}" if said.error else ""
        yield (
            f"the service says {said.status!r} of task {adoption.shown}{why}; the next run counts it as a failed "
            f"attempt of {adoption.job_id}, and buys another while attempts are left"
        )
