"""Many machines, seen from one of them: what its worker needs, and how a published manifest is followed to its end."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import field, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from batchvid import __version__
from batchvid.domain.errors import BatchvidError, ConfigError, Exit, StorageError, StoreAwayError
from batchvid.domain.frozen import frozen
from batchvid.domain.limits import strictest
from batchvid.domain.machines import DEAD_S
from batchvid.domain.results import worst
from batchvid.domain.spec import OPTIONS
from batchvid.engine import closing as ending
from batchvid.engine.account import StopReason
from batchvid.engine.belonging import ID, check_shared
from batchvid.engine.publication import account_name, publish_manifest
from batchvid.engine.published import OpenManifest, Surroundings
from batchvid.engine.shared_account import SharedThrottle, WorkerAccount
from batchvid.engine.shared_pace import SharedPace, SubmitPace
from batchvid.engine.stats import Watching
from batchvid.engine.target import homes, in_database, journal_of, service_account
from batchvid.engine.worker import Worker
from batchvid.engine.workers import InFlightPool
from batchvid.journal import orphans
from batchvid.journal.bell import Bell
from batchvid.journal.engine_db import make_ready
from batchvid.journal.ledger import Ledger
from batchvid.journal.pace import PostgresPace
from batchvid.journal.postgres import PostgresStore
from batchvid.journal.postgres_db import Database
from batchvid.journal.publishing import frame as source_frame
from batchvid.journal.publishing import jobs_of
from batchvid.manifest.spec import manifest_of
from batchvid.media.images import sent_bytes
from batchvid.storage.fs import STATE_FOLDER
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from pathlib import Path

    from batchvid.domain.job import Frame, Job
    from batchvid.domain.limits import Limits
    from batchvid.domain.results import Snapshot, Summary
    from batchvid.engine.context import Interrupts, RunContext
    from batchvid.engine.observer import Observer
    from batchvid.engine.publication import Begun
    from batchvid.engine.run import Ended
    from batchvid.journal.ledger import Closing
    from batchvid.journal.orphans import Orphan
    from batchvid.journal.publishing import Revision
    from batchvid.manifest.model import Manifest


SHOWN_EVERY_S = 1.0
SOURCES_KEPT = 4
"""Frames that are sent again and again, of up to some MB each."""


@frozen
class WorkerOptions:
    """What was asked of one worker."""

    database: str = field(repr=False)
    """The address, which may hold a password."""
    once: bool = False
    """End when nothing is left; by default a worker waits for more."""
    until_at: float | None = None
    key_file: Path | str | None = None
    ca_file: str | None = None
    dead_s: float = DEAD_S


class Cluster:
    """The machines of one database, as this process takes part in them."""

    def __init__(
        self,
        options: WorkerOptions,
        *,
        observer_of: Callable[[int, Manifest], Observer],
        note: Callable[[str], None],
        warn: Callable[[str], None],
        interrupts: Interrupts,
        closed: Callable[[int, Manifest, Summary], Awaitable[None]],
    ) -> None:
        self._options = options
        self._database = Database(options.database, silent_s=options.dead_s / 2)
        self._observer_of = observer_of
        self._note = note
        self._warn = warn
        self._interrupts = interrupts
        self._closed = closed
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._ledger = self._own_ledger()
        self._sources: dict[str, bytes] = {}
        self._sources_lock = Lock()
        self._limits: dict[int, Limits] = {}
        """By revision."""
        self._live: dict[int, frozenset[int]] = {}
        """By account, the revisions whose limits it keeps to."""
        self._paces: dict[int, tuple[SharedPace, SharedPace]] = {}
        """By account, those of paid requests and of all others."""
        self._stack = AsyncExitStack()

    async def work(self, *, awaited: Collection[int] = ()) -> tuple[Exit, str]:
        """Work until nothing is left; return how this worker ended, and why. *awaited* revisions end it when over."""
        await asyncio.to_thread(make_ready, self._database)
        if not awaited:
            self._note(f"worker {self.name} takes work from {self._database}")
        bell = Bell(self._database)
        worker = Worker(
            self._ledger,
            bell,
            dead_s=self._options.dead_s,
            once=self._options.once,
            until_at=self._options.until_at,
            interrupts=self._interrupts,
            open_manifest=self._open,
            close_manifest=self._close,
            heed=self._heed,
            is_over=partial(self._are_over, awaited) if awaited else None,
            note=self._note,
            warn=self._warn,
        )
        await asyncio.to_thread(self._bring_back)
        try:
            async with self._stack:
                await worker.run()
        finally:
            bell.close()
            self._ledger.close()
        return worker.ending.code, worker.ending.reason

    def _bring_back(self) -> None:
        """Tell all others of the paid task ids that earlier workers kept on this machine.

        The lines stay for whoever has the journal alone: another worker may be adding one just now.
        """
        for number, name in self._ledger.journals().items():
            for home in homes(self._database, name):
                if lost := orphans.read(home).known:
                    self._ledger.spill(number, lost.values())

    def _are_over(self, awaited: Collection[int]) -> bool:
        """Whether all of these revisions are closed. Blocks."""
        return all(self._ledger.revision(number)[0].ended_at is not None for number in awaited)

    # ---- a published manifest

    async def _open(self, worker: Worker, number: int) -> OpenManifest:
        revision, journal, owner = await worker.ask(partial(self._ledger.revision, number))
        manifest, options = self._manifest(revision), OPTIONS.read(revision.options, what="what was asked")
        observer = self._observer_of(number, manifest)
        service = service_account(manifest, key_file=self._options.key_file, ca_file=self._options.ca_file)
        if account_name(service) != owner:
            raise ConfigError(
                f"the key of {manifest.base_url} on this machine is another one than that of the run that published "
                f"{manifest.path.name}: give every machine the same key"
            )
        if service.unused_proxy:
            observer.warn(service.unused_proxy)
        self._limits[number] = manifest.limits
        live = await worker.ask(partial(self._ledger.live, revision.account))
        await self._heed(worker, revision.account, live | {number})
        account, pool = worker.accounts[revision.account], worker.pools[revision.account]
        store = self._store(manifest, journal)
        opened = OpenManifest(
            revision=number,
            number=revision.journal,
            manifest=manifest,
            options=options,
            store=store,
            output=Output.of(manifest),
            service=service,
            account=account,
            pool=pool,
            here=Surroundings(
                observer=observer,
                worker=self._ledger.worker,
                spill=partial(self._spill, worker),
                read_frame=self._read_frame,
                is_ending=worker.is_ending,
                until_at=self._options.until_at,
            ),
        )
        return await opened.__aenter__()

    def _manifest(self, revision: Revision) -> Manifest:
        found = manifest_of(revision.head, (), what=f"revision {revision.revision}")
        here = in_database(found, self._options.database)
        return here if here.bucket is None or here.home is None else replace(here, output=here.home)

    def _store(self, manifest: Manifest, journal: str) -> PostgresStore:
        return PostgresStore(self._database, journal, (manifest.home or manifest.output) / STATE_FOLDER)

    async def _heed(self, worker: Worker, number: int, live: frozenset[int]) -> None:
        """Keep to the strictest limits of these revisions of an account, whoever has published them."""
        if live == self._live.get(number) or not live:
            return
        for one in live - self._limits.keys():
            revision, _, _ = await worker.ask(partial(self._ledger.revision, one))
            self._limits[one] = self._manifest(revision).limits
        self._live[number] = live
        known = [self._limits[one] for one in sorted(live)]
        common = replace(
            known[0],
            submits=strictest(one.submits for one in known),
            requests=strictest(one.requests for one in known),
            in_flight=min(one.in_flight for one in known),
        )
        account = worker.accounts.get(number) or self._account(worker, number, common)
        for pace, rate in zip(self._paces[number], (common.submits, common.requests), strict=True):
            pace.limit(rate)
        if account.limits is not None:
            account.limits = replace(common, in_flight=account.limits.in_flight)
        if account.in_flight_limit != common.in_flight:
            account.in_flight_limit = common.in_flight
            worker.tell()

    def _account(self, worker: Worker, number: int, limits: Limits) -> WorkerAccount:
        """Make an account known that has no seats yet: the next heartbeat asks for some."""
        throttle = SharedThrottle(worker.tell)
        account = WorkerAccount(
            throttle,
            replace(limits, in_flight=0),
            number=number,
            shared_throttle=throttle,
            may_send=worker.may_send,
        )
        submits = SubmitPace(
            limits.submits, PostgresPace(self._database, number, "submits"), at_hand=account.can_submit
        )
        requests = SharedPace(limits.requests, PostgresPace(self._database, number, "requests"))
        for pace in (submits, requests):
            self._stack.push_async_callback(pace.close)
        self._paces[number] = submits, requests
        worker.accounts[number] = account
        worker.pools[number] = InFlightPool(account, submits, requests)
        worker.tell()
        return account

    def _read_frame(self, frame: Frame) -> bytes:
        """Return the bytes to send of a frame. Blocks; called in several threads.

        Raises `StoreAwayError` when the database is away: the job waits for it, as for a store of clips.
        """
        try:
            source = self._source(frame.sha256)
        except StorageError as error:
            raise StoreAwayError(str(error)) from error
        return sent_bytes(frame, source)

    def _source(self, sha256: str) -> bytes:
        with self._sources_lock:
            if sha256 not in self._sources:
                if len(self._sources) >= SOURCES_KEPT:
                    self._sources.pop(next(iter(self._sources)))
                with closing(self._database.connect()) as db, self._database.translated():
                    self._sources[sha256] = source_frame(db, sha256)
            return self._sources[sha256]

    def _spill(self, worker: Worker, journal: int, lost: Sequence[Orphan]) -> None:
        """Keep paid task ids where all find them; called in any thread but the ledger's."""
        with closing(self._own_ledger()) as second:
            second.spill(journal, lost)
        worker.tell()

    # ---- the end of one

    async def _close(self, worker: Worker, work: Closing) -> None:
        """Do the last work on a revision: films, clips.jsonl, and whoever wants to hear of its end."""
        revision, journal = await asyncio.to_thread(self._revision, work.revision)
        jobs = await asyncio.to_thread(self._jobs, work.revision)
        manifest = replace(self._manifest(revision), jobs=jobs)
        is_last = revision.withdrawn_by is None
        summary = await self._summary(revision, journal, manifest, is_last=is_last)
        told = partial(self._ledger.closed, work, exit_code=int(summary.exit_code), summary=ending.kept(summary))
        if await worker.ask(told) and is_last:
            await self._closed(work.revision, manifest, summary)

    async def summary(self, number: int, manifest: Manifest) -> Summary:
        """Return how a revision stands for all machines together; *manifest* is what was published."""
        revision, journal = await asyncio.to_thread(self._revision, number)
        return await self._summary(revision, journal, manifest, is_last=False)

    async def _summary(self, revision: Revision, journal: str, manifest: Manifest, *, is_last: bool) -> Summary:
        halts, polls = await asyncio.to_thread(self._ended, revision)
        reader = await asyncio.to_thread(self._store(manifest, journal).read)
        if reader is None:
            raise StorageError(f"the journal {journal} is no longer in the database {self._database}")
        with reader:
            if is_last:
                await asyncio.to_thread(check_shared, manifest, reader.meta_get(ID))
            return await ending.finish(
                manifest,
                OPTIONS.read(revision.options, what="what was asked"),
                reader,
                Output.of(manifest),
                halts=halts,
                published_at=revision.published_at,
                polls=polls,
                say=self._observer_of(revision.revision, manifest).note,
                is_last=is_last,
                interrupted=lambda: self._interrupts.code,
            )

    def _own_ledger(self) -> Ledger:
        """Return one with a connection of its own, for what takes a while or comes from another thread."""
        return Ledger(self._database, name=self.name, version=__version__, dead_s=self._options.dead_s)

    def _revision(self, number: int) -> tuple[Revision, str]:
        with closing(self._own_ledger()) as ledger:
            revision, journal, _ = ledger.revision(number)
            return revision, journal

    def _jobs(self, number: int) -> tuple[Job, ...]:
        with closing(self._database.connect()) as db, self._database.translated():
            return tuple(jobs_of(db, number))

    def _ended(self, revision: Revision) -> tuple[list[StopReason], int]:
        """Return why nothing more is submitted of a revision, and how many polls were sent for it."""
        with closing(self._own_ledger()) as ledger:
            halts = [
                StopReason(Exit(halt.exit_code), halt.reason, halt.polls_too)
                for halt in ledger.halts_of(revision.account, revision.journal)
            ]
            polls = ledger.polls(revision.revision)
        if revision.withdrawn_by is not None:
            why = f"{revision.withdrawn_by} has published another content of it, which takes the place of this one"
            halts.append(StopReason(Exit.CONFIG, why, polls_too=False))
        return halts, polls


async def run_published(
    contexts: Sequence[RunContext],
    ended: Ended,
    options: WorkerOptions,
    *,
    replaces: bool,
    other: Callable[[Manifest], Observer],
    closed: Callable[..., Awaitable[None]],
) -> None:
    """Publish what is left of each manifest, work on it beside other machines, and tell how each ended.

    *other* tells of manifests that somebody else has published, and *closed* does what comes after the end of one.
    """
    begun = await _begun(contexts, ended, replaces=replaces)

    def observer_of(number: int, manifest: Manifest) -> Observer:
        return begun[number][1].observer if number in begun else other(manifest)

    if not begun:
        return
    interrupts = contexts[0].interrupts
    cluster = Cluster(
        options,
        observer_of=observer_of,
        note=contexts[0].observer.note,
        warn=contexts[0].observer.warn,
        interrupts=interrupts,
        closed=partial(closed, observer_of=observer_of),
    )
    async with asyncio.TaskGroup() as group:
        over = asyncio.Event()
        for _, context in begun.values():
            group.create_task(shown(context, over))
        try:
            code, reason = await cluster.work(awaited=begun)
        except BatchvidError as error:  # a group would wrap it
            code, reason = error.exit_code, str(error)
        over.set()
    for number, (place, context) in begun.items():
        summary = replace(await cluster.summary(number, context.manifest), manifest=context.named)
        if code is not Exit.OK:
            summary = replace(summary, exit_code=worst([summary.exit_code, code]), stopped=summary.stopped or reason)
        context.observer.summary(summary)
        await ended(place, summary)


async def _begun(contexts: Sequence[RunContext], ended: Ended, *, replaces: bool) -> dict[int, tuple[int, RunContext]]:
    """Publish what is left of each manifest; return the revisions, each with the place of its manifest."""
    begun = {}
    for place, context in enumerate(contexts):
        try:
            found = await asyncio.to_thread(_publish, context, replaces=replaces)
        except BatchvidError as error:
            await ended(place, error)
        else:
            if found.is_joined:
                context.observer.note(f"joins the machines that work on revision {found.revision}")
            begun[found.revision] = place, context
    return begun


def _publish(context: RunContext, *, replaces: bool) -> Begun:
    manifest, options = context.manifest, context.options
    account = service_account(manifest, key_file=options.key_file, ca_file=options.ca_file)
    store = journal_of(manifest)
    if not isinstance(store, PostgresStore):
        raise ConfigError(f"{context.named} names no database")
    return publish_manifest(context, store, account, replaces=replaces)


async def shown(context: RunContext, over: asyncio.Event) -> None:
    """Show how a manifest stands for all machines together, until it is over, and then once more."""
    seen: Snapshot | None = None
    with Watching(context.manifest, journal_of(context.manifest)) as watching:
        while True:
            is_last = over.is_set()
            with suppress(StorageError):
                found = await asyncio.to_thread(watching.look)
                if is_last and seen is not None:  # nobody is at work any more: the times are those of before
                    found = replace(found, active=seen.active, elapsed_s=seen.elapsed_s)
                seen = found
                context.observer.stats(found)
            if is_last:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), SHOWN_EVERY_S)
