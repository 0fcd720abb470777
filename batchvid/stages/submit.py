"""The submit stage: one paid request for one attempt of a job.

- The body is complete, and every frame has been checked against the job's fingerprint, before anything is recorded.
- The caller has recorded ``SubmitStarted`` before `submit` is awaited, and records what comes back before all else.
- The request is sent once. Whatever happens to it, the answer is a value: a task, or a fault that says whether money
  may be gone.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

from batchvid.core.fingerprint import fields
from batchvid.core.multipart import create_body
from batchvid.core.payment import read_create
from batchvid.core.wire import create_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchvid.core.answer import Answer, NoAnswer
    from batchvid.core.fault import Fault
    from batchvid.core.job import Frame, Job
    from batchvid.core.multipart import Multipart
    from batchvid.core.wire import Created


class Posts(Protocol):
    """What can send a paid request."""

    async def post(self, path: str, body: Multipart) -> Answer | NoAnswer:
        """Send it once."""


async def request_body(job: Job, read_frame: Callable[[Frame], bytes]) -> Multipart:
    """Give the body of the job's create request.

    Raises ValueError when a frame is gone or is no longer the one that the job was made with.
    """
    frames = [(frame.mime, await asyncio.to_thread(read_frame, frame)) for frame in job.frames]
    texts = fields(prompt=job.prompt, model=job.model, size=job.size, seconds=job.seconds, form=job.form)
    return create_body(texts, frames, boundary=f"batchvid-{secrets.token_hex(16)}")


async def submit(
    service: Posts, body: Multipart, *, frames: Sequence[Frame], known: bool, wall: Callable[[], float]
) -> Created | Fault:
    """Send the paid request, once; *frames* are those in *body*. *known*: the service has taken a request before."""
    result = await service.post(create_path(), body)
    return read_create(result, now=wall(), frames=frames, known=known)
