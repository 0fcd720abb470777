"""The values a run is about: a job (what is wanted) and its progress (what has happened to it)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.domain.image_fit import Fitting


class State(StrEnum):
    """Where a job stands. Each says who moves a job on, and what a crash leaves behind."""

    PENDING = "pending"
    """Nothing is paid, or the last attempt is over. The submit stage moves it on; a crash changes nothing."""
    SUBMITTING = "submitting"
    """A paid request may be under way. Its answer moves it on; after a crash it counts as in doubt."""
    IN_DOUBT = "in_doubt"
    """A paid request left and nobody knows what became of it. Only a person (or ``in_doubt: resubmit``) moves it."""
    RUNNING = "running"
    """The service owns a task, whose id is on disk. Polls move it on; after a crash they go on."""
    READY = "ready"
    """The clip exists on the service. The download stage moves it on; after a crash it is fetched."""
    DONE = "done"
    """The clip is on disk, verified. Only a person reopens it."""
    FAILED = "failed"
    """batchvid gave up, with a reason. Only a person reopens it."""

    @property
    def is_open(self) -> bool:
        """Whether work, or a person's decision, is still to come."""
        return self not in {State.DONE, State.FAILED}

    @property
    def in_flight(self) -> bool:
        """Whether the service may be working on it: what ``limits.in_flight`` counts."""
        return self in {State.SUBMITTING, State.RUNNING}


@frozen
class Frame:
    """A first or last frame: a file, and what is done to its picture before it goes out.

    Its metadata stays at home. Where it is not *recoded*, *turned* or *fitted*, that is all, and ``sha256`` is of the
    bytes that are sent; otherwise they are made from the picture with this hash, each time again.
    """

    path: str
    """Absolute."""
    sha256: str
    """Of the file's picture without its metadata, or of the whole file where it is *recoded*; lower-case hex."""
    size_bytes: int
    """Of the same."""
    mime: str
    """Of what is sent: ``image/png``, ``image/jpeg`` or ``image/webp``, by the bytes and not by the name."""
    width: int
    """Of the picture held upright, before it is fitted."""
    height: int
    turned: int = 1
    """How the camera was held (EXIF orientation, 1 to 8); 1 is upright."""
    fitted: Fitting | None = None
    """What it is made into, where its ratio is not the clip's and the job says ``fit``."""
    recoded: str = ""
    """What the file is, ``HEIC`` or ``AVIF``, where services do not take that; it is sent as its *mime*, upright."""

    @property
    def sent_size(self) -> tuple[int, int]:
        """Width and height of what goes out."""
        return (self.fitted.width, self.fitted.height) if self.fitted else (self.width, self.height)

    @property
    def recipe(self) -> str:
        """What is done to the picture, in words that determine every pixel; empty for nothing."""
        steps = [f"{self.recoded} as {self.mime.removeprefix('image/').upper()}"] if self.recoded else []
        if self.turned != 1:
            steps.append(f"turn {self.turned}")
        if self.fitted:
            steps.append(f"{self.fitted.fit} {self.fitted.width}x{self.fitted.height}")
        return ", ".join(steps)


@dataclass(frozen=True, slots=True)
class Job:
    """One wanted clip. What is sent is passed through as the manifest says it."""

    id: str
    prompt: str
    model: str
    size: str | None
    """An orientation (``16x9``) or pixels (``1280x720``); ``None`` is not sent."""
    seconds: str | None
    """``None`` is not sent."""
    form: tuple[tuple[str, str], ...]
    """Further text fields, in the manifest's order."""
    frames: tuple[Frame, ...]
    """None, the first, or the first and the last."""
    price_micros: int | None
    """For one attempt; ``None`` when no price is known."""
    path: str
    """Of the clip, relative to the output folder, with ``/``."""
    fingerprint: str
    """SHA-256 (hex) over everything that would be sent; see `batchvid.domain.fingerprint`. Empty while that is unknown:
    the first frame is to come from a clip that is not there yet."""
    where: str
    """``file:line`` of the entry that it came from."""
    also: tuple[str, ...] = field(default=(), kw_only=True)
    """The fingerprints that the same texts have in other Unicode forms: what was paid under one is the same content."""
    is_named: bool = field(default=True, kw_only=True)
    """Whether the manifest gives it its id. Where it does not, the id follows from the content."""
    first_take: str = field(default="", kw_only=True)
    """Of a further take (``takes: 3``), the id of the first one of its entry; of that one it is empty."""
    variables: Mapping[str, str] = field(default_factory=dict, kw_only=True, compare=False, repr=False)
    """What its texts were filled in with, beside its own fields, where the manifest was read; for names, and no part of
    what it is."""

    @property
    def timing_class(self) -> str:
        """Jobs of one class take about equally long to generate."""
        return f"{self.model}|{self.size or ''}|{self.seconds or ''}"

    def has_changed(self, paid: str | None) -> bool:
        """Whether it is another content than that of the fingerprint *paid*; never while either is unknown."""
        return paid is not None and paid != self.fingerprint != "" and paid not in self.also


class _Draft:
    """What becomes a job once all of its slots are filled."""

    __slots__ = Job.__slots__


def plain_job(
    id: str,  # noqa: A002 the name of the field
    prompt: str,
    *,
    model: str,
    size: str | None,
    seconds: str | None,
    price_micros: int | None,
    path: str,
    fingerprint: str,
    where: str,
    variables: Mapping[str, str],
) -> Job:
    """Return the `Job` with these values, and the defaults for all others: without frames and further text fields.

    It is made in a fifth of the time, which counts with a hundred thousand of them: a frozen dataclass fills each of
    its slots by a call. This fills them while the class still lets it.
    """
    made: Any = _Draft()
    made.id = id
    made.prompt = prompt
    made.model = model
    made.size = size
    made.seconds = seconds
    made.form = ()
    made.frames = ()
    made.price_micros = price_micros
    made.path = path
    made.fingerprint = fingerprint
    made.where = where
    made.also = ()
    made.is_named = True
    made.first_take = ""
    made.variables = variables
    made.__class__ = Job
    found: Job = made
    return found


@dataclass(frozen=True, slots=True)
class Continuation(Job):
    """A job whose first frame is taken from another job's clip; ``frames`` holds the last frame, or none.

    Its fingerprint is empty until that clip is on disk; `batchvid.domain.dependencies.bound` gives the job with it.
    """

    continues: str
    """The id of the job whose clip it goes on from."""
    at_s: float | None
    """Where in that clip: seconds from its beginning, or before its end when negative; ``None`` is its last frame."""


class Progress(NamedTuple):
    """What has happened to a job; one row of the journal.

    Built by `fresh` and moved on by `batchvid.domain.lifecycle.advance` only. A tuple, because one is made with
    every event, and because a row is one: a dataclass takes eight times as long to copy.
    Times are UTC epoch seconds; money is in millionths.
    """

    job_id: str
    state: State = State.PENDING
    version: int = 0
    """How many events have been recorded for it; the journal compares and sets by it."""
    attempt: int = 0
    """The number of the newest paid attempt; 0 before the first. A refused request uses none up."""
    allowance_from: int = 0
    """Attempts up to this number do not count against ``limits.attempts``: a person reopened the job after them."""
    parked: bool = False
    """Left alone until the next run: the task timed out, or its clip could not be fetched."""
    task_id: str | None = None
    resolved_model: str | None = None
    """The model that the service says it used."""
    url: str | None = None
    """Where the clip can be fetched; ``None`` when the service named none (then ``/content``)."""
    url_expires_at: float | None = None
    fingerprint: str | None = None
    """Of the content that the newest attempt sent."""
    price_micros: int | None = None
    """Of the newest attempt."""
    reason: str | None = None
    """Why it is in doubt, deferred or failed, or why the last try did not work."""
    submitted_at: float | None = None
    """When the newest attempt was accepted."""
    finished_at: float | None = None
    """When the job became done or failed."""
    path: str | None = None
    """Of the clip on disk, relative to the output folder."""
    size_bytes: int | None = None
    sha256: str | None = None
    unproven_micros: int = 0
    """What its refused requests would have cost of which nothing proves that they were not billed."""

    @staticmethod
    def fresh(job_id: str) -> Progress:
        """Return the progress of a job that nothing has happened to."""
        return Progress(job_id)


class Outcome(StrEnum):
    """What became of a paid attempt."""

    OPEN = "open"
    """Sent, or about to be, or its task is under way."""
    IN_DOUBT = "in_doubt"
    """Sent, and nobody knows what became of it."""
    SUCCEEDED = "succeeded"
    """Its task made a clip."""
    FAILED = "failed"
    """The service says that its task failed."""
    ABANDONED = "abandoned"
    """Abandoned before its end was known. It may have been charged, so it counts as spent."""

    @property
    def is_reserved(self) -> bool:
        """Whether the attempt's money is reserved; once the attempt is over, it is spent."""
        return self in {Outcome.OPEN, Outcome.IN_DOUBT}


class Attempt(NamedTuple):
    """One paid submission of a job; one row of the journal.

    Built and moved on by `batchvid.domain.lifecycle.follow` only.
    """

    job_id: str
    attempt: int
    price_micros: int | None
    fingerprint: str
    """Of the content that was sent."""
    started_at: float
    accepted_at: float | None = None
    task_id: str | None = None
    resolved_model: str | None = None
    outcome: Outcome = Outcome.OPEN
    finished_at: float | None = None
    reason: str | None = None
    raw: bytes | None = None
    """What could not be read of the answer, when the attempt was in doubt."""

    @property
    def took_s(self) -> float | None:
        """How long the service took for the clip; ``None`` when there is none."""
        if self.outcome is not Outcome.SUCCEEDED or self.accepted_at is None or self.finished_at is None:
            return None
        return max(0.0, self.finished_at - self.accepted_at)
