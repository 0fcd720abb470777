"""The Python API: the engine of the command line for programs. Everything here is offered as ``batchvid.NAME``.

Errors are those of `batchvid.domain.errors`; how a run went is a value, `Summary`, and never an exception. No signal
handler is installed and nothing is printed: warnings go to the logger ``batchvid``.
"""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from batchvid.domain.bucket import bucket_url, folder_name, is_bucket
from batchvid.domain.errors import ConfigError
from batchvid.domain.job import State
from batchvid.domain.lifecycle import ClipSaved
from batchvid.domain.limits import RunOptions
from batchvid.domain.records import dollars
from batchvid.engine.observer import Logged, Several, Silent
from batchvid.engine.target import FASTEST, SANDBOX_SPEED, SLOWEST, as_run, in_database, is_rehearsal, journal_of
from batchvid.manifest.values import money_micros

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from decimal import Decimal
    from types import TracebackType
    from typing import Self, Unpack

    from batchvid.domain.job import Frame, Job, Progress
    from batchvid.domain.lifecycle import Event
    from batchvid.domain.plan import Plan
    from batchvid.domain.results import Summary
    from batchvid.engine.context import Interrupts, RunContext
    from batchvid.engine.observer import View
    from batchvid.engine.thread import Engine
    from batchvid.manifest.model import Manifest


class Settings(TypedDict, total=False):
    """What can be asked of `run` and `stream` beyond the manifest: the flags of ``batchvid run``, all optional."""

    key_file: Path | str | None
    """Where the key is read from, when neither ``$CREDENTIALS_DIRECTORY`` nor the manifest's variable is to do."""
    ca_file: Path | str | None
    """Certificate authorities to trust instead of the system's."""
    sandbox: bool
    """Use the embedded sandbox instead of the service: nothing is paid. The clips go to the manifest's output with
    ``-sandbox`` behind its name, unless `load` was given an *output*."""
    sandbox_speed: float
    """How many times as fast as the service it generates."""
    only: str | Sequence[str] | None
    """A pattern of ids (``kite*``), or several: no other job is submitted, `stream` gives no other clip, and the
    summary is about these jobs."""
    max_cost: Decimal | float | str | None
    """Spend no more than this in this run."""
    max_jobs: int | None
    """Submit no more jobs than this in this run."""
    until: datetime | None
    """Stop submitting then; what is paid is collected. A time without a zone is local."""
    retry_failed: bool
    rebuy: bool
    """Buy clips again whose content changed after they were paid."""
    resubmit_in_doubt: bool
    """Submit in-doubt jobs again; some may be paid twice."""
    moved: bool
    """Go on in an output that was copied or moved in the middle of a run: no other copy of it goes on."""
    view: View | None
    """Watches the run; it is called in the run's own thread, and must not raise."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A finished clip: complete, verified, on disk or in a bucket."""

    id: str
    path: Path
    """Absolute. Nothing is there when the output is in a bucket: see *url*."""
    size_bytes: int
    sha256: str
    job: Job
    """What the manifest says of it."""
    task_id: str | None
    resolved_model: str | None
    attempt: int
    price: float | None
    """Of the attempt that made it; ``None`` when no price is known."""
    submitted_at: datetime | None
    finished_at: datetime | None
    is_new: bool
    """Whether it was fetched by this run."""
    url: str | None = None
    """Where it is in a bucket, such as ``s3://bucket/prefix/kite.mp4``; ``None`` when it is a file, at *path*."""

    @property
    def sidecar(self) -> Path:
        """The JSON file beside it, which tells the rest; beside *url* when that is where the clip is."""
        return self.path.with_name(f"{self.path.name.removesuffix('.mp4')}.json")


def load(
    path: Path | str,
    *,
    output: Path | str | None = None,
    base_url: str | None = None,
    database: str | None = None,
    profile: str | None = None,
) -> Manifest:
    """Read, check and expand a manifest, with every file and frame that it names.

    *output*, *base_url* and *database* win over what it says. *output* is a folder, relative to the current one, or an
    address such as ``s3://bucket/prefix``, as a text; *database* is the address of one in PostgreSQL, or the name of
    the variable that holds it (``$NAME``). *profile* names one of the user's config file, instead of the one that the
    manifest or that file names; ``none`` is none. Raises `ManifestError`, which holds every problem at once, and
    `ConfigError` when one of the addresses is none, or there is no such profile.
    """
    return _loaded(path, output=output, base_url=base_url, database=database, profile=profile, decode=True)


def load_to_look(
    path: Path | str,
    *,
    output: Path | str | None = None,
    base_url: str | None = None,
    database: str | None = None,
    profile: str | None = None,
) -> Manifest:
    """Load a manifest as `load` does, for who does not buy: its frames are not decoded, which takes most of the time.

    So a frame that is damaged inside is no problem here.
    """
    return _loaded(path, output=output, base_url=base_url, database=database, profile=profile, decode=False)


def _loaded(
    path: Path | str,
    *,
    output: Path | str | None,
    base_url: str | None,
    database: str | None,
    profile: str | None,
    decode: bool,
) -> Manifest:
    from batchvid.manifest import load as load_manifest
    from batchvid.providers.credentials import config_file

    def read_frame(path: Path) -> Frame:
        from batchvid.media import images as media

        return media.read_frame(path, decode=decode)

    address = None if base_url is None else _normalised(base_url)
    manifest = load_manifest(
        path, read_frame=read_frame, state_of=state_of, base_url=address, config=config_file(), profile=profile
    )
    return in_database(manifest if output is None else _placed(manifest, str(output)), database)


def in_rehearsal(manifest: Manifest) -> Manifest:
    """Return the manifest with an output for its rehearsals, beside its own, which stays free for what is paid."""
    if manifest.bucket is None:
        return replace(manifest, output=Path(f"{os.path.normpath(manifest.output)}-sandbox"))
    has_prefix = "/" in manifest.bucket.partition("://")[2]
    return _placed(manifest, f"{manifest.bucket}{'-' if has_prefix else '/'}sandbox")


def _placed(manifest: Manifest, output: str) -> Manifest:
    """Return the manifest with another output: a folder, or an address in a bucket."""
    from batchvid.manifest.files import on_disk

    if not is_bucket(output):
        return replace(manifest, output=on_disk(Path(output).absolute()), bucket=None, is_placed=True)
    try:
        bucket = bucket_url(output)
    except ValueError as error:
        raise ConfigError(f"the output {error}") from None
    return replace(manifest, output=state_of(bucket), bucket=bucket, is_placed=True)


def state_of(bucket: str) -> Path:
    """Return the folder of this machine for the state of an output in a bucket; raises `ConfigError` without a home."""
    from batchvid.providers.credentials import state_home

    return state_home() / "outputs" / folder_name(bucket)


def plan(manifest: Manifest) -> Plan:
    """Return what a run would do, and what it would cost: new, changed, done, running, failed, in doubt, orphaned.

    Nothing is sent or written. Raises `StorageError` when the journal cannot be read.
    """
    from batchvid.engine.planning import lost_of, planned

    journal = journal_of(manifest).read()
    with journal or nullcontext():
        return planned(manifest, journal, lost=lost_of(manifest, journal))[0]


async def run(manifest: Manifest, **settings: Unpack[Settings]) -> Summary:
    """Do what is left of the manifest, and tell how it ended: ``summary.exit_code`` is that of ``batchvid run``.

    Run it as often as you like: what is paid is never bought again. Cancelled, it sends nothing new, lets requests
    in flight end, records them, and only then is cancelled; cancelled once more, it stops at once. A child that the
    program forks meanwhile has no part in the run.

    Raises `ConfigError` without a key, `OutputBusyError` while another run holds the output, `StorageError` for the
    disk.
    """
    return await _engine(manifest, settings, tap=None).result()


def stream(manifest: Manifest, **settings: Unpack[Settings]) -> Clips:
    """Do what is left of the manifest, and yield its clips: those on disk first, then each one as it is finished.

    When the loop over it ends, the run is over: `Clips.summary` tells how. Leaving the loop early drains the run, as
    cancelling `run` does. Raises what `run` raises, from the loop.
    """
    return Clips(manifest, settings)


class Clips:
    """The clips of one manifest: ``async for clip in clips``; each such loop is a run.

    ``async with stream(manifest) as clips:`` waits at its end until a run whose loop was left early has drained.
    """

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self._manifest = manifest
        self._settings = settings
        self._engine: Engine | None = None

    @property
    def summary(self) -> Summary | None:
        """How the run ended; ``None`` before that."""
        return None if self._engine is None else self._engine.summary

    async def __aiter__(self) -> AsyncIterator[Clip]:
        """Begin the run, and yield the clips."""
        import asyncio

        loop, clips = asyncio.get_running_loop(), asyncio.Queue[Clip | None]()

        def put(clip: Clip) -> None:
            with suppress(RuntimeError):  # the program's loop is closed: nobody waits for clips any more
                loop.call_soon_threadsafe(clips.put_nowait, clip)

        engine = self._engine = _engine(self._manifest, self._settings, tap=put)
        last_word = _LastWord(engine)  # noqa: F841 it speaks when this frame is gone
        with engine.telling(lambda: clips.put_nowait(None)):
            try:
                while (clip := await clips.get()) is not None:
                    yield clip
                    engine.ensure_here()
            finally:
                await engine.drained()
        await engine.result()

    async def __aenter__(self) -> Self:
        """Return the clips."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until the run is over, which is told to drain if it is not."""
        if self._engine is not None:
            await self._engine.drained()


class _LastWord:
    """Belongs to a loop over clips: where that was dropped and its event loop is closed, it has the run drained.

    It does not wait; the interpreter does, before it ends.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __del__(self) -> None:
        self._engine.drain()


def _normalised(base_url: str) -> str:
    from batchvid.manifest.values import base_url as normalised

    try:
        return normalised(base_url)
    except ValueError as error:
        raise ConfigError(f"the base URL {error}") from None


def _engine(manifest: Manifest, settings: Settings, *, tap: Callable[[Clip], None] | None) -> Engine:
    """Start a run; *tap* is given every clip of the manifest, those on disk at its start and those that come."""
    from batchvid.engine.thread import Engine

    if unknown := sorted(settings.keys() - Settings.__annotations__.keys()):
        raise TypeError(f"unknown settings: {', '.join(unknown)}; there are {', '.join(Settings.__annotations__)}")
    view = settings.get("view") or Logged()
    return Engine(partial(context_of, manifest, options_of(settings), view=view, tap=tap))


def options_of(settings: Settings) -> RunOptions:
    """Return the settings as the engine takes them; raises `ValueError` for a number that means nothing."""
    speed, max_jobs = settings.get("sandbox_speed", SANDBOX_SPEED), settings.get("max_jobs")
    if not SLOWEST <= speed <= FASTEST:
        raise ValueError(f"sandbox_speed is {speed}: write a number from {SLOWEST} to {FASTEST:.0f}")
    if max_jobs is not None and max_jobs < 0:
        raise ValueError(f"max_jobs is {max_jobs}: write 0 or more")
    until, cost, only = settings.get("until"), settings.get("max_cost"), settings.get("only")
    key_file, ca_file = settings.get("key_file"), settings.get("ca_file")
    return RunOptions(
        retry_failed=settings.get("retry_failed", False),
        rebuy=settings.get("rebuy", False),
        resubmit_in_doubt=settings.get("resubmit_in_doubt", False),
        only=(only,) if isinstance(only, str) else None if only is None else tuple(only),
        until_at=until.timestamp() if until is not None else None,
        max_cost_micros=None if cost is None else money_micros(str(cost)),
        max_jobs=max_jobs,
        moved=settings.get("moved", False),
        sandbox_speed=speed if settings.get("sandbox", False) else None,
        key_file=None if key_file is None else str(key_file),
        ca_file=None if ca_file is None else str(ca_file),
    )


def context_of(
    manifest: Manifest,
    options: RunOptions,
    interrupts: Interrupts,
    *,
    view: View,
    tap: Callable[[Clip], None] | None,
) -> RunContext:
    """Return what the run works with; raises `ConfigError` when there is no key, before anything is on the disk."""
    from batchvid.engine.context import RunContext

    if options.sandbox_speed is not None and not manifest.is_placed and not is_rehearsal(manifest):
        manifest = in_rehearsal(manifest)
    manifest = as_run(manifest, options)
    taps = None if tap is None else _Tap(manifest, tap, options)
    return RunContext(
        manifest,
        named=str(manifest.path),
        observer=view if taps is None else Several([taps, view]),
        options=options,
        interrupts=interrupts,
        planned=None if taps is None else taps.planned,
    )


class _Tap(Silent):
    """Watches a run for clips, and hands each one out once."""

    def __init__(self, manifest: Manifest, hand_out: Callable[[Clip], None], options: RunOptions) -> None:
        self._manifest = manifest
        self._jobs = {job.id: job for job in manifest.jobs}
        chosen = options.chosen(self._jobs)
        if chosen is not None:
            self._jobs = {job_id: job for job_id, job in self._jobs.items() if job_id in chosen}
        self._hand_out = hand_out

    def planned(self, *_: object) -> None:
        """Hand out what is on disk already: called under the lock, before anything else is done."""
        journal = journal_of(self._manifest).read()
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
            url=None if self._manifest.bucket is None else f"{self._manifest.bucket}/{row.path}",
        )
        self._hand_out(clip)


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
