"""The service's first answers, kept beside the journal: what a person can attach to the report of a gateway.

Two are kept for good: to the first paid request, and to the first poll that called its task finished. A refusal gives
way to the first answer that is none, because a wrong key teaches nothing. Until a task is finished, the first poll
that could not be read is kept: what a person has to report is that one. They come without the key
(`batchvid.providers.http`), and no prompt or frame that was sent is kept beside them. No run needs the file. So it
is written after an answer is in the journal, in a thread, and trouble with it is no more than a warning.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from batchvid.domain.errors import StorageError
from batchvid.domain.records import moment, rfc3339
from batchvid.domain.task import Fault, FaultKind, Phase, ProviderName, TaskReport
from batchvid.providers.base import FRAME, Request
from batchvid.providers.registry import PROVIDERS
from batchvid.providers.response import NoResponse, Response
from batchvid.storage.threads import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchvid.domain.job import Job
    from batchvid.domain.task import Created
    from batchvid.storage.state import StateFolder


CREATE, POLL = "create", "poll"
"""The two answers, by their names in the file."""
BODY_KEPT_BYTES = 64 * 1024
_PRIVATE_HEADER = re.compile(r"cookie|auth|token|secret|session|key|csrf|organi[sz]ation|project", re.IGNORECASE)
"""What a name holds whose value lets others in, or says whose account it is."""
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "at": str,
    "provider": str,
    "base_url": str,
    "method": str,
    "path": str,
    "fields": list,
    "took_s": (int, float),
    "status": int,
    "headers": dict,
    "body": str,
    "complete": bool,
    "asked": bool,
    "task_id": (str, type(None)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """One answer, with as much of its request as may be shown to others."""

    at: float
    """When it came, in UTC epoch seconds."""
    provider: ProviderName
    base_url: str
    method: str
    path: str
    fields: tuple[str, ...]
    """The names of what was sent."""
    took_s: float
    response: Response
    task_id: str | None
    """The task that was asked for; ``None``: the answer is to a create."""

    def read(self) -> Created | TaskReport | Fault:
        """Return what it means."""
        provider = PROVIDERS[self.provider]
        if self.task_id is None:
            return provider.read_create(self.response, now=self.at)
        return provider.read_poll(self.response, task_id=self.task_id, now=self.at)

    @property
    def gives_way(self) -> bool:
        """Whether a better one may replace it: a create was refused, or a task is not called finished."""
        found = self.read()
        if isinstance(found, TaskReport):
            return found.phase is not Phase.SUCCEEDED
        return isinstance(found, Fault) and (self.task_id is not None or found.kind is not FaultKind.UNSURE)

    def record(self) -> dict[str, object]:
        """Return it as the file has it."""
        found = self.response
        return {
            "at": rfc3339(self.at),
            "provider": str(self.provider),
            "base_url": self.base_url,
            "method": self.method,
            "path": self.path,
            "fields": list(self.fields),
            "task_id": self.task_id,
            "took_s": round(self.took_s, 3),
            "status": found.status,
            "headers": {name: text for name, text in found.headers.items() if not _PRIVATE_HEADER.search(name)},
            "body": found.body[:BODY_KEPT_BYTES].decode("utf-8", "surrogateescape"),
            "complete": found.complete and len(found.body) <= BODY_KEPT_BYTES,
            "asked": found.asked,
        }

    @classmethod
    def of(cls, record: object) -> Self:
        """Return what `record` made; raises ValueError when it is something else."""
        if not isinstance(record, dict):
            raise ValueError("an answer is no map")  # noqa: TRY004 what is wrong with a file is a value, too
        wrong = [name for name, kind in _KINDS.items() if not isinstance(record.get(name), kind)]
        at, headers, fields = moment(record.get("at")), record.get("headers", {}), record.get("fields", [])
        if wrong or at is None or not all(isinstance(one, str) for one in (*headers.values(), *fields)):
            raise ValueError(f"{wrong[0] if wrong else 'a value'} is missing or of another kind")
        response = Response(
            record["status"],
            headers,
            record["body"].encode("utf-8", "surrogateescape"),
            complete=record["complete"],
            asked=record["asked"],
        )
        return cls(
            at=at,
            provider=ProviderName(record["provider"]),
            base_url=record["base_url"],
            method=record["method"],
            path=record["path"],
            fields=tuple(fields),
            took_s=record["took_s"],
            response=response,
            task_id=record.get("task_id"),
        )


def first_answers(state: StateFolder) -> dict[str, FirstAnswer]:
    """Return the answers that are kept, by name; raises ValueError when the file is damaged. Blocks."""
    found = state.first_answers() or {}
    return {name: FirstAnswer.of(found[name]) for name in (CREATE, POLL) if name in found}


class AnswerKeeper:
    """Keeps the first answers of one journal, over all of its runs."""

    def __init__(
        self,
        state: StateFolder,
        *,
        provider: ProviderName,
        base_url: str,
        wall: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        """Prepare to keep them; the file is looked at when there is something to keep."""
        self._state = state
        self._provider = provider
        self._base_url = base_url
        self._wall = wall
        self._warn = warn
        self._is_tried: dict[str, bool] = {}
        """The answers that this run has tried to keep, by name; ``False``: only one that gives way."""
        self._turn = asyncio.Lock()

    async def created(self, request: Request, job: Job, result: Response | NoResponse, *, took_s: float) -> None:
        """Keep the answer to a paid request, once it is in the journal, if it is the first."""
        if isinstance(result, Response) and not self._is_tried.get(CREATE):
            fields = [name for name, _ in PROVIDERS[self._provider].sent_fields(job)] + [FRAME] * len(job.frames)
            await self._keep(CREATE, self._answer(request, result, took_s=took_s, fields=fields))

    async def looked(self, request: Request, task_id: str, result: Response | NoResponse, *, took_s: float) -> None:
        """Keep the answer to a poll that called its task finished or could not be read, if it is the first."""
        if isinstance(result, Response) and not self._is_tried.get(POLL):
            await self._keep(POLL, self._answer(request, result, took_s=took_s, task_id=task_id))

    def _answer(
        self,
        request: Request,
        result: Response,
        *,
        took_s: float,
        fields: Sequence[str] = (),
        task_id: str | None = None,
    ) -> FirstAnswer:
        return FirstAnswer(
            at=self._wall(),
            provider=self._provider,
            base_url=self._base_url,
            method=request.method,
            path=request.path,
            fields=tuple(fields),
            took_s=took_s,
            response=result,
            task_id=task_id,
        )

    async def _keep(self, name: str, answer: FirstAnswer) -> None:
        if name in self._is_tried and answer.gives_way:
            return
        self._is_tried[name] = not answer.gives_way
        try:
            async with self._turn:
                await settled(partial(self._write, name, answer))
        except (StorageError, RuntimeError, MemoryError) as error:  # the last two: no thread can be started
            self._warn(f"the service's first answers are not kept for a report; the run goes on: {error}")

    def _write(self, name: str, answer: FirstAnswer) -> None:
        try:
            known = first_answers(self._state)
        except ValueError:
            return  # doctor tells of it, and a person may want to save what is in it
        if name not in known or (known[name].gives_way and not answer.gives_way):
            self._state.keep_first_answers({one: kept.record() for one, kept in (known | {name: answer}).items()})
