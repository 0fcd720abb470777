"""What a program asks of a run, as the engine takes it, and the watcher that hands its clips out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batchvid.accounts import (
    FASTEST,
    SANDBOX,
    SANDBOX_SPEED,
    SLOWEST,
    has_journal,
    journal_path,
    sandbox_account,
    service_account,
)
from batchvid.api import Clip
from batchvid.core.figures import dollars
from batchvid.core.job import State
from batchvid.core.lifecycle import ClipSaved
from batchvid.core.opening import Wishes, matching
from batchvid.edge.readings import Readings
from batchvid.manifest.units import money_micros
from batchvid.session import Options, Order
from batchvid.views.logged import Logged
from batchvid.views.view import Several, Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from batchvid.api import Settings
    from batchvid.core.job import Progress
    from batchvid.core.lifecycle import Event
    from batchvid.manifest.model import Manifest
    from batchvid.session import Account, Interrupts


def options_of(settings: Settings) -> Options:
    """Return the settings as the engine takes them; raises `ValueError` for a number that means nothing."""
    speed, max_jobs = settings.get("sandbox_speed", SANDBOX_SPEED), settings.get("max_jobs")
    if not SLOWEST <= speed <= FASTEST:
        raise ValueError(f"sandbox_speed is {speed}: write a number from {SLOWEST} to {FASTEST:.0f}")
    if max_jobs is not None and max_jobs < 0:
        raise ValueError(f"max_jobs is {max_jobs}: write 0 or more")
    until, cost, ca_file = settings.get("until"), settings.get("max_cost"), settings.get("ca_file")
    return Options(
        wishes=Wishes(
            retry_failed=settings.get("retry_failed", False),
            rebuy=settings.get("rebuy", False),
            resubmit_in_doubt=settings.get("resubmit_in_doubt", False),
        ),
        stop_submitting_at=until.timestamp() if until is not None else None,
        max_cost_micros=None if cost is None else money_micros(str(cost)),
        max_jobs=max_jobs,
        only=(only,) if isinstance(only := settings.get("only"), str) else None if only is None else tuple(only),
        ca_file=None if ca_file is None else str(ca_file),
        moved=settings.get("moved", False),
    )


def order_of(  # noqa: PLR0913 what was asked, and what the engine adds
    manifest: Manifest,
    settings: Settings,
    stack: ExitStack,
    interrupts: Interrupts,
    *,
    options: Options,
    tap: Callable[[Clip], None] | None,
) -> Order:
    """Give the run's order; raises `ConfigError` when there is no key, before anything is left on the disk."""
    in_sandbox, speed = settings.get("sandbox", False), settings.get("sandbox_speed", SANDBOX_SPEED)
    key_file = settings.get("key_file")

    def account() -> Account:
        if in_sandbox:
            return sandbox_account(manifest, stack, speed=speed)
        return service_account(manifest, key_file=None if key_file is None else Path(key_file))

    if in_sandbox:
        manifest = replace(manifest, limits=manifest.limits.sped_up(speed))
    elif not has_journal(manifest):
        account()
    view = settings.get("view") or Logged()
    taps = None if tap is None else _Tap(manifest, tap, only=options.only)
    return Order(
        manifest=manifest,
        named=str(manifest.path),
        identity=SANDBOX if in_sandbox else manifest.base_url,
        account=account,
        options=options,
        view=view if taps is None else Several([taps, view]),
        interrupts=interrupts,
        planned=None if taps is None else taps.planned,
    )


class _Tap(Silent):
    """Watches a run for clips, and hands each one out once."""

    def __init__(self, manifest: Manifest, hand_out: Callable[[Clip], None], *, only: tuple[str, ...] | None) -> None:
        self._manifest = manifest
        ids = [job.id for job in manifest.jobs]
        chosen = frozenset(ids) if only is None else matching(ids, only)
        self._jobs = {job.id: job for job in manifest.jobs if job.id in chosen}
        self._hand_out = hand_out

    def planned(self, *_: object) -> None:
        """Hand out what is on disk already: called under the lock, before anything else is done."""
        journal = Readings.open_readonly(journal_path(self._manifest))
        with journal or nullcontext():
            done = {row.job_id: row for row in journal.all_progress() if row.state is State.DONE} if journal else {}
        for job_id in self._jobs:
            if (row := done.get(job_id)) is not None:
                self._tell(row, is_new=False)

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Hand out a clip that has just been saved."""
        if isinstance(event, ClipSaved) and job_id in self._jobs:
            self._tell(progress, is_new=True)

    def _tell(self, row: Progress, *, is_new: bool) -> None:
        clip = Clip(
            id=row.job_id,
            path=self._manifest.output / (row.path or ""),
            size_bytes=row.size_bytes or 0,
            sha256=row.sha256 or "",
            job=self._jobs[row.job_id],
            task_id=row.task_id,
            resolved_model=row.resolved_model,
            attempt=row.attempt,
            price=dollars(row.price_micros),
            submitted_at=_moment(row.submitted_at),
            finished_at=_moment(row.finished_at),
            is_new=is_new,
        )
        self._hand_out(clip)


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
