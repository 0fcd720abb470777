"""What a service and its tasks are, as values: the providers by name, a created task, a look at one, and a fault.

A fault is a classified failure. Its kind answers what it means for the job and for the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


TASK_ID_MAX = 2048
"""Known ids have 32 to 80 characters; a proxy that packs its own words into them makes several hundred."""


INLINE_CLIP = "data:"
"""Begins the place of a clip that stands in the answer itself: ``data:1`` is its first ``data:`` URL of a video."""
INTEGER_MAX = 2**63
"""An id that is a number comes out of a database."""


class Phase(StrEnum):
    """What a status word comes to."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNHEARD = "unheard"
    """A word that nobody listed: polled on until the deadline, and shown."""


@frozen
class Created:
    """The service took a create request and named its task."""

    task_id: str
    resolved_model: str | None


@frozen
class TaskReport:
    """What a poll says of a task."""

    phase: Phase
    status: str
    """The service's own word, harmless to show."""
    progress_percent: float | None
    url: str | None
    """Where the clip is: an http(s) URL, a path of the service (``/…``), or what begins with `INLINE_CLIP`."""
    url_expires_at: float | None
    resolved_model: str | None
    error: str | None
    other_id: str | None = None
    """The id that the answer gives the task, where it is not the one that was asked for: proxies rename tasks."""
    url_may_follow: bool = True
    """Whether a finished task without a URL may get one a little later."""

    @property
    def waits_for_url(self) -> bool:
        """Whether the next look may name the URL that is missing."""
        return self.url is None and self.url_may_follow


def id_text(value: Any) -> str | None:
    """Return *value* as a task's id, also where it is a number; ``None`` when it cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < INTEGER_MAX:
        return str(value)
    return value if isinstance(value, str) and usable_id(value) else None


def usable_id(task_id: str) -> bool:
    """Whether *task_id* can be one: printable, of sane length, and no path segment of dots."""
    return 0 < len(task_id) <= TASK_ID_MAX and task_id.isprintable() and task_id.strip(". ") != ""


class FaultKind(StrEnum):
    """What kind of trouble it is."""

    REJECTED = "rejected"
    """The service will never take this request. Not again; this job's fault; the others go on."""
    NO_CHANNEL = "no_channel"
    """The model is unknown, or for the moment nobody serves it. Again a few times, then this job's fault."""
    NOT_ALLOWED = "not_allowed"
    """The service forbids this request. This job's fault, unless it forbids the next ones, too: then the account's."""
    THROTTLED = "throttled"
    """Too fast. Again, and the whole run slows; never a reason to give a job up."""
    UNAVAILABLE = "unavailable"
    """The service or the way to it is down for the moment. Again, with backoff, under the run's retry budget."""
    ACCOUNT = "account"
    """The key or the quota was refused. Nobody submits any more; what is paid is still collected."""
    MISCONFIGURED = "misconfigured"
    """This is not the service: a redirect, a web page, a certificate. The run stops."""
    UNSURE = "unsure"
    """A paid request left, and its outcome is unknown. Never again by itself."""
    UNKNOWN_TASK = "unknown_task"
    """The service does not know the task id. Normal for seconds after the create; later the task is lost."""
    NOT_READY = "not_ready"
    """The clip was asked for too early. Poll on."""
    EXPIRED = "expired"
    """The clip's URL is no longer served. Poll for a fresh one."""
    BROKEN = "broken"
    """What came is not what was asked for: another id, no clip, an answer over the size limit."""
    FORBIDDEN = "forbidden"
    """The clip's URL leads where it must not: a private address, another scheme."""


class Proof(StrEnum):
    """What proves that a paid request was not paid; see `batchvid.providers.payment`."""

    NOT_SENT = "not sent"
    """It certainly never left."""
    CLEAR = "clear"
    """The service refused it before any work was done."""
    WORD = "word"
    """It was sent, and whoever answered says that nothing was created. The budget goes on counting it."""
    NONE = "none"
    """Nothing does, or the fault is not of a paid request."""


class LimitKind(StrEnum):
    """What a service has limits of."""

    RATE = "rate"
    """Requests in a time."""
    ROOM = "room"
    """Tasks in the making at once."""


@frozen
class LimitHint:
    """What an answer to a paid request tells of the account's limits, beside what became of the request."""

    kind: LimitKind | None = None
    """Of a request that was refused as too fast: which limit it met; ``None`` when the words do not say."""
    per_minute: float | None = None
    """How many requests a minute may have."""
    none_left_s: float | None = None
    """For how long no further request is taken, where the last one was taken just now."""


@frozen
class Fault:
    """One classified failure of a request or a transfer."""

    kind: FaultKind
    reason: str
    """For people: what happened, stripped of control characters, at most a few hundred characters."""
    retry_after_s: float | None = None
    """What the service asked to wait, clamped to sane bounds; ``None`` when it did not say."""
    request_id: str | None = None
    """What the service's support asks for."""
    raw: bytes = b""
    """The first bytes of an answer that could not be read, kept where money is in doubt."""
    proof: Proof = Proof.NONE
    """Of a paid request: what proves that it was not paid."""
    url: str | None = None
    """Of an answer in place of a clip: where that says that the clip is, as in a `TaskReport`."""

    def __str__(self) -> str:
        """Return the reason, with the request id when there is one; where the service's words were cut, it is added."""
        if self.request_id is None or self.request_id in self.reason:
            return self.reason
        return f"{self.reason} (request id: {self.request_id})"


class ProviderName(StrEnum):
    """What ``service.provider`` may be."""

    COMETAPI = "cometapi"
    OPENAI = "openai"


class ProxyUse(StrEnum):
    """What ``service.proxy`` may be."""

    NONE = "none"
    ENV = "env"
    """The proxy that the environment names (``HTTPS_PROXY``, ``NO_PROXY``)."""


class FramesTaken(StrEnum):
    """How many pictures of one request a service looks at."""

    ONE = "one"
    TWO = "two"
    """The first one begins the clip, and the last one ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """What stands where a manifest says nothing, and what it cannot ask for."""

    base_url: str
    model: str
    key_env: str
    """The variable of a key for `base_url`."""
    is_key_for_others: bool
    """Whether that key also goes to another address which the manifest names without a variable of its own."""
    frames: FramesTaken
    """What its services take, unless a manifest says that its own is another one."""
    needs_pixels: bool
    """Whether a size is never a shape such as ``16x9``, and a frame should have it to the pixel."""

    def key_env_for(self, base_url: str) -> str:
        """Return the variable of the key for an address; empty: no key is sent there.

        A server of one's own often wants none, and must not be told the key of a paid service by a default.
        """
        return self.key_env if self.is_key_for_others or base_url == self.base_url else ""


FACTS: Mapping[ProviderName, ProviderFacts] = {
    ProviderName.COMETAPI: ProviderFacts(
        base_url="https://api.cometapi.com/v1",
        model="veo3-fast",
        key_env="COMETAPI_KEY",
        is_key_for_others=True,
        frames=FramesTaken.TWO,
        needs_pixels=False,
    ),
    ProviderName.OPENAI: ProviderFacts(
        base_url="https://api.openai.com/v1",
        model="sora-2",
        key_env="OPENAI_API_KEY",
        is_key_for_others=False,
        frames=FramesTaken.ONE,
        needs_pixels=True,
    ),
}
