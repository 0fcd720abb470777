"""Decisions on their way from the page into the journal: each one read, checked, and kept before it is confirmed."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeGuard

from batchvid.cli.streams import complain
from batchvid.domain.decision import NOTE_MAX, STARS_MAX, Decision, Verdict
from batchvid.domain.errors import BatchvidError, Exit
from batchvid.domain.frozen import frozen
from batchvid.engine.deciding import stale, tell_beside
from batchvid.engine.takes import takes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchvid.journal.base import JournalReader, JournalStore
    from batchvid.storage.base import ClipStore

FIELDS = frozenset({"verdict", "stars", "note"})
KEYS = frozenset({"board", "job", "attempt", "set", "unless"})
SAME_S = 0.001
"""The page has moments to the millisecond."""


class DecidedMeanwhileError(BatchvidError):
    """Somebody else decided about the clip after the decision that was to be undone."""

    exit_code = Exit.BUSY


@frozen
class Asked:
    """What the page asks to be kept of a clip."""

    board: int
    job_id: str
    attempt: int
    fields: Mapping[str, Any]
    """The new value of each of `FIELDS` that changes."""
    unless_after: float | None = None
    """For an undo: the moment of the decision that is undone. Nothing is changed when a later one came."""

    @staticmethod
    def of(body: object) -> Asked:
        """Read the body of a request; raises `ValueError` for one that the page does not send."""
        if not isinstance(body, dict) or not KEYS.issuperset(body):
            raise ValueError("no decision can be read of this")
        board, job_id, attempt, fields = (body.get(name) for name in ("board", "job", "attempt", "set"))
        if not _is_number(board) or not isinstance(job_id, str) or not _is_number(attempt):
            raise ValueError("it does not say of which clip")
        if not isinstance(fields, dict) or not fields or not FIELDS.issuperset(fields):
            raise ValueError("it does not say what was decided")
        unless = body.get("unless")
        if isinstance(unless, bool) or not isinstance(unless, int | float | None):
            raise ValueError("it does not say which decision is undone")  # noqa: TRY004 as for the rest of a body
        return Asked(board, job_id, attempt, {name: _read(name, value) for name, value in fields.items()}, unless)


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read(name: str, value: object) -> Any:
    if name == "verdict" and (value is None or value in set(Verdict)):
        return None if value is None else Verdict(str(value))
    if name == "stars" and (value is None or (_is_number(value) and value <= STARS_MAX)):
        return value
    if name == "note" and isinstance(value, str) and len(value) <= NOTE_MAX and _is_text(value):
        return value.strip()
    raise ValueError(f"{name} cannot be that")


def _is_text(value: str) -> bool:
    """Whether a journal can keep it: no half of a character, and no zero, which PostgreSQL does not take."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


class Judge:
    """Keeps decisions about the clips of one output.

    `keep` is for one thread, so that two tabs of one page never cross; `tell_beside` is for another one.
    """

    def __init__(self, store: JournalStore, clips: ClipStore, *, by: str, now: Callable[[], float] = time.time) -> None:
        self._store, self._clips, self._by, self._now = store, clips, by, now
        self._journal: JournalReader | None = None

    def close(self) -> None:
        """Close what it reads."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def keep(self, asked: Asked) -> Decision:
        """Keep a decision durably and return it: what was decided of the clip before, with the new values.

        Raises `DecidedMeanwhileError`, ``ValueError`` for a clip that there is not, and `StorageError`.
        """
        try:
            before = self._newest(asked)
        except BatchvidError:
            self.close()
            raise
        if asked.unless_after is not None and before is not None and before.at > asked.unless_after + SAME_S:
            raise DecidedMeanwhileError(f"{before.by} has decided about it since; nothing was undone")
        at = max(self._now(), before.at) if before is not None else self._now()
        decision = (before or Decision(asked.job_id, asked.attempt, at, self._by))._replace(
            at=at, by=self._by, **asked.fields
        )
        self._store.decide([decision])
        return decision

    def tell_beside(self, job_id: str, attempt: int) -> None:
        """Write into the clip's sidecar what counts now; what cannot be written is a warning, and is not lost."""
        try:
            journal = self._store.read()
            with journal or nullcontext():
                found = {} if journal is None else takes_of({job_id}, journal, self._clips)
            warnings = tell_beside([one for one in found.get(job_id, ()) if one.attempt == attempt], self._clips)
        except BatchvidError as error:
            warnings = [stale(str(error))]
        for line in warnings:
            complain(f"warning: {line}")

    def _newest(self, asked: Asked) -> Decision | None:
        if self._journal is None:
            self._journal = self._store.read()
        if self._journal is None:
            return None
        return self._journal.decisions([asked.job_id]).get((asked.job_id, asked.attempt))
