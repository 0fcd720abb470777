"""A fault: a classified failure, as a value. Its kind answers what it means for the job and for the run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What kind of trouble it is."""

    REJECTED = "rejected"
    """The service will never take this request. Not again; this job's fault; the others go on."""
    NO_CHANNEL = "no_channel"
    """The model is unknown, or for the moment nobody serves it. Again a few times, then this job's fault."""
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


@dataclass(frozen=True, slots=True)
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

    def __str__(self) -> str:
        """Return the reason, with the request id when there is one; where the service's words were cut, it is added."""
        if self.request_id is None or self.request_id in self.reason:
            return self.reason
        return f"{self.reason} (request id: {self.request_id})"
