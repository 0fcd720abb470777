"""What programs are told of a job: every field is made here, and each output picks some of them, in its own order.

Names, order and meaning of the fields are a promise. Money is a decimal number, a moment is RFC 3339 in UTC, and what
is unknown is ``None``. The order in which states are shown stands here, too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batchvid.domain.decision import NOTE_MAX, Decision, Verdict, check
from batchvid.domain.dependencies import DependencyGraph, bound
from batchvid.domain.job import Continuation, Progress, State
from batchvid.domain.limits import MICROS
from batchvid.domain.reopening import NO_DECISIONS, REJECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.job import Frame, Job
    from batchvid.domain.learned import Learned
    from batchvid.domain.results import Money, Snapshot, Summary


DEFERRED = "parked"
"""What programs are told of a job that was left for the next run; people read *deferred*."""
ORDER: tuple[str, ...] = (
    State.DONE,
    State.READY,
    State.RUNNING,
    State.SUBMITTING,
    State.PENDING,
    DEFERRED,
    State.FAILED,
    State.IN_DOUBT,
)
"""From what is done over what is under way to what needs attention, wherever states are shown beside each other."""
NEED_ATTENTION = (State.IN_DOUBT, State.FAILED, DEFERRED)
"""In these a job goes no further until somebody decides; the most costly uncertainty stands first."""
AMOUNT_MAX = 10**12
"""No price is like this, whatever a damaged line says."""


def dollars(micros: int | None) -> float | None:
    """Return money as a number of currency units; ``None`` stays unknown."""
    return None if micros is None else micros / MICROS


def learned_json(learned: Learned) -> dict[str, Any]:
    """Return what was learned of an account's limits, for programs."""
    return {**learned.plain(), "at": rfc3339(learned.at)}


def rfc3339(at: float | None) -> str | None:
    """Return *at* (UTC epoch seconds) as ``2026-03-12T08:00:29Z``; unknown stays unknown."""
    return None if at is None else _second(int(at // 1))


def micros(amount: object) -> int | None:
    """Return a number of currency units, as `dollars` wrote it, in millionths; ``None`` for what is none."""
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool) and 0 <= amount < AMOUNT_MAX
    return round(float(str(amount)) * MICROS) if is_number else None


def moment(text: object) -> float | None:
    """Return a moment that `rfc3339` wrote, in UTC epoch seconds; ``None`` for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=256)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def standing(row: Progress, *, run_active: bool) -> str:
    """Return how a job stands: its state, or `DEFERRED`.

    Without a run nobody waits any more for the answer to a paid request: its job is in doubt.
    """
    if row.parked:
        return DEFERRED
    return State.IN_DOUBT if row.state is State.SUBMITTING and not run_active else row.state


def counts(by_state: Mapping[State, int]) -> dict[str, int]:
    """Return numbers of jobs by state; every state is there."""
    return {state.value: by_state.get(state, 0) for state in State}


def standings(run: Snapshot | Summary) -> dict[str, int]:
    """Return the jobs by how they stand: each once, and those that are left for the next run apart.

    The journal has a deferred job as running, or ready, which it is to nobody who looks.
    """
    found: dict[str, int] = {state.value: run.counts.get(state, 0) for state in State}
    found[State.RUNNING.value] -= run.parked - run.parked_ready
    found[State.READY.value] -= run.parked_ready
    return found | {DEFERRED: run.parked}


def sums(money: Money) -> dict[str, float | None]:
    """Return what was spent and what is reserved; no budget is ``None``. One of a day is told where there is one."""
    found = {
        "spent": dollars(money.spent_micros),
        "reserved": dollars(money.reserved_micros),
        "unproven": dollars(money.unproven_micros),
        "budget": dollars(money.budget_micros),
    }
    if money.budget_per_day_micros is not None:
        found |= {"budget_per_day": dollars(money.budget_per_day_micros), "today": dollars(money.today_micros)}
    return found


ROW: Mapping[str, Callable[[Progress], Any]] = {
    "id": lambda row: row.job_id,
    "state": lambda row: row.state.value,
    "parked": lambda row: row.parked,
    "attempt": lambda row: row.attempt,
    "task_id": lambda row: row.task_id,
    "resolved_model": lambda row: row.resolved_model,
    "fingerprint": lambda row: row.fingerprint,
    "reason": lambda row: row.reason,
    "path": lambda row: row.path,
    "size_bytes": lambda row: row.size_bytes,
    "sha256": lambda row: row.sha256,
    "price": lambda row: dollars(row.price_micros),
    "submitted_at": lambda row: rfc3339(row.submitted_at),
    "finished_at": lambda row: rfc3339(row.finished_at),
}
"""What the journal says of a job."""
JOB: Mapping[str, Callable[[Job], Any]] = {
    "id": lambda job: job.id,
    "prompt": lambda job: job.prompt,
    "model": lambda job: job.model,
    "size": lambda job: job.size,
    "seconds": lambda job: job.seconds,
    "form": lambda job: dict(job.form),
    "first_frame": lambda job: job.frames[0].path if job.frames else None,
    "last_frame": lambda job: job.frames[1].path if job.frames[1:] else None,
    "where": lambda job: job.where,
    "continues": lambda job: job.continues if isinstance(job, Continuation) else None,
}
"""What the manifest says of it."""
SENT = ("prompt", "model", "size", "seconds", "form", "frames")
"""Of a sidecar: what went out with the paid request."""
_MADE = ("path", "size_bytes", "sha256")
_WHEN = ("price", "submitted_at", "finished_at")
SIDECAR = (
    *("id", *SENT, "manifest_changed"),
    *("resolved_model", "fingerprint", "attempt", "task_id", "submitted_at", "price"),
)
CLIP = ("id", *_MADE, "model", "resolved_model", "task_id", "attempt", *_WHEN)
STATUS = ("id", "state", "attempt", "task_id", "model", "resolved_model", "reason", *_MADE, *_WHEN, "continues")
REVIEWED = {"verdict": "verdict", "stars": "stars", "note": "note", "by": "reviewed_by", "at": "reviewed_at"}
"""What a person decided about a clip, and the names of that in a table."""
NOT_REVIEWED = dict.fromkeys(REVIEWED)
EXPORT = (*STATUS, "prompt", "size", "seconds", "first_frame", "last_frame", "where", *REVIEWED.values())
STATUS_JSON = (*STATUS, "review")
EVENT = (
    *("type", "at", "id", "event", "state", "parked", "attempt", "task_id", "resolved_model", "reason"),
    *(*_MADE, *_WHEN),
)


def record(names: Iterable[str], row: Progress, job: Job | None = None, **others: Any) -> dict[str, Any]:
    """Return these fields of a job in this order; *others* win, or are told as well."""
    if others or job is None:
        return {name: others[name] if name in others else _told(name, row, job) for name in names}
    return {name: read(job if is_of_job else row) for name, read, is_of_job in _readers(tuple(names))}


def _told(name: str, row: Progress, job: Job | None) -> Any:
    ((_, read, is_of_job),) = _readers((name,), has_job=job is not None)
    return read(job if is_of_job else row)


@lru_cache(maxsize=64)
def _readers(names: tuple[str, ...], *, has_job: bool = True) -> tuple[tuple[str, Callable[[Any], Any], bool], ...]:
    """Return what reads each of these fields, and whether it does so of the job."""
    return tuple(
        (name, JOB[name], True)
        if has_job and name in JOB
        else (name, _nothing if name in REVIEWED.values() else ROW[name], False)
        for name in names
    )


def _nothing(_: Progress) -> None:
    """Return what is told of a decision that nobody made."""


def records(
    names: Sequence[str],
    jobs: Iterable[Job],
    rows: Mapping[str, Progress],
    decisions: Mapping[tuple[str, int], Decision] = NO_DECISIONS,
) -> Iterator[dict[str, Any]]:
    """Yield these fields of each job of a manifest, in its order; a job that the journal does not know is new.

    What a person decided is told of the clip that the job has now; *decisions* are by job id and attempt.
    The price of a job without a paid attempt is what the manifest states. The reason of one that waits for another's
    clip is that clip.
    """
    jobs = list(jobs)
    waits = {wait.job_id: wait.reason for wait in DependencyGraph(jobs).waits(rows)}
    new = Progress.fresh("")
    for job in jobs:
        row = rows.get(job.id, new)
        price = row.price_micros if row.attempt else job.price_micros
        said = review(decisions.get((job.id, row.attempt))) if row.state is State.DONE else None
        others = {REVIEWED[name]: value for name, value in (said or NOT_REVIEWED).items()}
        others = {name: value for name, value in others.items() if name in names}
        if "review" in names:
            others["review"] = said
        yield record(names, row, job, reason=waits.get(job.id, row.reason), price=dollars(price), **others)


def sidecar(job: Job, row: Progress, *, made: Mapping[Frame, str] | None = None) -> dict[str, Any]:
    """Return what stands beside a clip, but for what only the file itself can say.

    *made* holds the hashes of what was sent of frames that were turned or fitted. Where the manifest says something
    else of the job now than what was paid for, what was sent is not known any more: it is ``None``, not the new words.
    """
    changed = job.has_changed(row.fingerprint)
    frames = [
        {
            "file": frame.path,
            "sha256": (made or {}).get(frame) if frame.recipe else frame.sha256,
            "prepared": frame.recipe or None,
        }
        for frame in job.frames
    ]
    others = dict.fromkeys(SENT) if changed else {"frames": frames}
    return record(SIDECAR, row, job, manifest_changed=changed, **others)


def origin(job: Continuation, progress: Progress, clip: Progress | None, *, frame_sha256: str | None) -> dict[str, Any]:
    """Return what the sidecar tells of the clip that the job went on from, and of the frame that was sent of it.

    *clip* is that clip's row as it is now: when it was made again since, it is not the one that the frame was of.
    """
    clip_sha256 = clip.sha256 if clip is not None else None
    same = clip_sha256 is not None and not bound(job, clip_sha256).has_changed(progress.fingerprint)
    return {
        "continues": {
            "id": job.continues,
            "clip_sha256": clip_sha256 if same else None,
            "at_s": job.at_s,
            "frame_sha256": frame_sha256,
        }
    }


def review(decision: Decision | None) -> dict[str, Any] | None:
    """Return what a person decided; ``None`` when nobody did."""
    if decision is None:
        return None
    verdict = None if decision.verdict is None else decision.verdict.value
    return {
        "verdict": verdict,
        "stars": decision.stars,
        "note": decision.note or None,
        "by": decision.by,
        "at": rfc3339(decision.at),
    }


def reviewed(told: object, *, job_id: str, attempt: int) -> Decision | None:
    """Return the decision that a sidecar's `review` tells of this attempt; ``None`` for what is none.

    A rejection comes back as a note only: what was bought because of it may be known to nobody any more, and must not
    be bought twice.
    """
    if not isinstance(told, dict):
        return None
    verdict, stars, note = told.get("verdict"), told.get("stars"), told.get("note") or ""
    at, by = moment(told.get("at")), told.get("by")
    if at is None or not isinstance(note, str) or not isinstance(by, str):
        return None
    is_approved = verdict == Verdict.APPROVED
    text = note if verdict != Verdict.REJECTED else f"{REJECTED}: {note}"[:NOTE_MAX]
    found = Decision(job_id, attempt, at, by, Verdict.APPROVED if is_approved else None, stars, text)
    try:
        check([found])
    except ValueError:
        return None
    return None if found.says_nothing else found


def clip_line(job: Job, row: Progress, decision: Decision | None = None) -> dict[str, Any]:
    """Return a clip's line of ``clips.jsonl``, with what a person decided about it if anybody did."""
    line = record(CLIP, row, job)
    if isinstance(job, Continuation):
        line = {"continues": job.continues} | line
    if decision is not None:
        line["review"] = review(decision)
    return line
