"""What a provider is: a service's dialect as pure functions, from a job to a request and from an answer to its meaning.

A third one is a module with such a class, its line in `batchvid.providers.registry`, and what a manifest may say of
it in `batchvid.domain.task`. It never sees the key, a socket or a clock. Whether a paid request was paid is
decided by one table for all of them (`batchvid.providers.payment`); a provider has only its words for it.

A create request is a form, built by hand: the same bytes for the same job, its frames in order with true types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from batchvid.domain.frozen import frozen
from batchvid.domain.task import INLINE_CLIP, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchvid.domain.job import Frame, Job
    from batchvid.domain.task import Created, Fault, TaskReport
    from batchvid.providers.response import NoResponse, Response


@frozen
class Request:
    """A request to the service. Whoever sends it adds the key; nothing in it is secret."""

    method: str
    path: str
    """Below the base URL, escaped, with its query if it has one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[bytes, ...] = ()
    """In pieces, so that large frames are never copied together."""
    is_from_root: bool = False
    """Whether `path` begins at the root of the service's host instead."""
    inline: int = 0
    """The clip that is asked for stands in the answer, as the first ``data:`` URL of a video (1) or a later one."""


_STATUS_WORDS = {
    Phase.WAITING: " queued pending submitted not_start not_started preparing waiting created starting unknown "
    "in_queue queueing queuing enqueued scheduled initializing accepted dispatched submitting throttled",
    Phase.RUNNING: "in_progress processing running generating started rendering in_process inprogress working "
    "executing uploading encoding",
    Phase.SUCCEEDED: "completed complete success succeeded succeed finished done ready generated successful "
    "successed rendered completed_with_warnings 已完成 成功",
    Phase.FAILED: "failed failure fail error cancelled canceled expired rejected aborted timeout timed_out stopped "
    "nsfw content_filtered incomplete deleted moderation_blocked generation_failed",
}
PHASES = {word: phase for phase, words in _STATUS_WORDS.items() for word in words.split(" ")}
"""Every status word that some gateway has been seen to use; an empty one waits.

A word of failure lets a clip be bought again: none may be here that is also said of a task that goes on.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The words of a service: codes and types of errors in lower case, and status words."""

    quota: frozenset[str]
    """Nobody can pay any more."""
    no_channel: frozenset[str] = frozenset()
    """The model is unknown, or for the moment nobody serves it."""
    no_task: frozenset[str]
    """The task is unknown."""
    before_work: frozenset[str] = frozenset()
    """Those that it gives before it creates anything, also with a 5xx: they prove that nothing was created. A code
    that it may give later, or that somebody on the way may give, must not be here: the clip would be bought twice."""
    bad_key: frozenset[str] = frozenset()
    """The key is refused, with another status than 401."""
    phases: Mapping[str, Phase] = field(default_factory=lambda: PHASES)


class Provider(Protocol):
    """What a service speaks."""

    def sent_fields(self, job: Job) -> list[tuple[str, str]]:
        """Return the text fields of the create request, in their order: what the fingerprint covers, with the frames.

        They depend on the job alone, and never change: what is paid would be bought again.
        """

    def create(self, job: Job, frames: Sequence[bytes], *, boundary: str) -> Request:
        """Return the paid request; *frames* are the bytes of ``job.frames``, *boundary* is random."""

    def read_create(
        self, result: Response | NoResponse, *, now: float, frames: Sequence[Frame] = (), known: bool = False
    ) -> Created | Fault:
        """Return what became of it, by the table of `batchvid.providers.payment`."""

    def poll(self, task_id: str) -> Request:
        """Return the question how a task stands; its id may hold any character."""

    def read_poll(self, result: Response | NoResponse, *, task_id: str, now: float) -> TaskReport | Fault:
        """Return how the task stands. A fault says that the look brought nothing, never that the task failed."""

    def content(self, task_id: str) -> Request | None:
        """Return the request for the clip's bytes at the service itself; ``None`` where it has none."""

    def read_refused_download(self, response: Response, *, now: float) -> Fault:
        """Return what an answer in place of a clip means, with an error's status or not."""

    def explain(self, answer: Response, *, task_id: str | None) -> list[str]:
        """Return what is read out of an answer and where it stands, one a line: ``create: task: id at data.task_id``.

        It is the answer to a poll of *task_id*; ``None``: to a create.
        """

    def hello(self) -> Request:
        """Return a request that costs nothing and needs the key: whether the service is there."""


def inline_number(url: str) -> int:
    """Return which ``data:`` URL of its answer a clip is."""
    number = url.removeprefix(INLINE_CLIP)
    return int(number) if number.isascii() and number.isdigit() else 1


def source_of(provider: Provider, task_id: str, url: str | None) -> str | Request | None:
    """Return what to ask for a clip that is at *url*, as a `TaskReport` names it; ``None``: at the service itself."""
    if url is None:
        return provider.content(task_id)
    if url.startswith(INLINE_CLIP):
        return replace(provider.poll(task_id), inline=inline_number(url))
    return Request("GET", url, is_from_root=True) if url.startswith("/") else url


EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
FRAME = "input_reference"
"""The field of a frame: several of them bear this one name, and only their order tells first from last."""


def form(
    fields: Iterable[tuple[str, str]], frames: Iterable[tuple[str, bytes]], *, path: str, boundary: str
) -> Request:
    """Return the ``multipart/form-data`` request (RFC 7578) with the text *fields* and the *frames* (type and bytes).

    File names are our own, because a user's could hold anything. *boundary* must be random.
    """
    pieces = []
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields
    )
    for place, (mime, data) in zip(("first", "last"), frames, strict=False):
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{FRAME}"; '
            f'filename="{place}.{EXTENSIONS[mime]}"\r\nContent-Type: {mime}\r\n\r\n'
        )
        pieces += [head.encode(), data]
        head = "\r\n"
    pieces.append(f"{head}--{boundary}--\r\n".encode())
    return Request("POST", path, {"Content-Type": f"multipart/form-data; boundary={boundary}"}, tuple(pieces))


def _quoted(name: str) -> str:
    """Escape a field name as browsers do (HTML, multipart/form-data encoding algorithm)."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
