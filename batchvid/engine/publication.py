"""A manifest becomes work for many machines: planned as a run plans it, cut into slices, and told to the engine.

Whoever publishes has the journal for itself meanwhile, so no worker is at work on it. Where one is, the manifest has
been published before: it is joined when it is the same, and otherwise refused, unless a person wants it in the place of
the other. Then nobody begins more of that, what is begun ends as it began, and the new one is planned after it.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError, OutputBusyError
from batchvid.domain.frozen import frozen
from batchvid.domain.job import State
from batchvid.domain.slices import left_to_do
from batchvid.domain.spec import OPTIONS
from batchvid.engine.run import take_stock
from batchvid.engine.target import account_digest
from batchvid.journal.engine_db import migrate_engine
from batchvid.journal.ledger import account_number, open_the_brakes
from batchvid.journal.postgres_db import scalar
from batchvid.journal.publishing import Edition, frames_of, live_revision, publish, put_aside, put_frames, withdraw
from batchvid.manifest.spec import publication
from batchvid.media.images import source_bytes
from batchvid.storage.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchvid.domain.job import Frame, Progress
    from batchvid.engine.context import RunContext
    from batchvid.engine.target import Account
    from batchvid.journal.base import Journal
    from batchvid.journal.postgres import PostgresStore
    from batchvid.journal.publishing import Revision
    from batchvid.manifest.model import Manifest
    from batchvid.manifest.spec import Publication


BUSY_AT_MOST_S = 120.0
"""How long another one that has the journal is waited for: it publishes the same, or a person decides something."""
LOOK_AGAIN_S = 0.5
OPENS_WITHIN_S = 5.0
"""After it has taken a slice, a worker needs no longer to open the journal."""


@frozen
class Begun:
    """A revision that machines work on."""

    revision: int
    is_joined: bool
    """Whether somebody had published it before."""


def account_name(account: Account) -> str:
    """Return what tells accounts apart in the database: the address, and a digest of the key that nobody can undo."""
    return f"{account.base_url} {account_digest(account.base_url, account.key)}"


def publish_manifest(context: RunContext, store: PostgresStore, account: Account, *, replaces: bool) -> Begun:
    """Publish what is left of a manifest, or join those who work on the same. Blocks.

    Raises `ConfigError` when machines work on another content of it, unless this one *replaces* that.
    """
    told = publication(context.manifest)
    if context.options.moved:
        store.trust_server()
    for name in told.kept_back:
        context.observer.warn(f"notify: {name} is told by this run alone; $NAME instead is told by any machine")
    asked = Asked(context, store, account, told, OPTIONS.text(context.options))
    until = time.monotonic() + BUSY_AT_MOST_S
    while True:
        live = _live(store)
        is_held = store.is_held() or (live is not None and _has_just_begun(store, live))
        if live is not None and is_held and asked.is_same(live):
            return Begun(live.revision, is_joined=True)
        if live is not None and is_held and live.withdrawn_by is None:
            if not replaces and live.digest == told.digest:
                context.observer.warn(f"revision {live.revision} goes on as {live.published_by} asked for it")
                return Begun(live.revision, is_joined=True)
            if not replaces:
                raise ConfigError(
                    f"machines work on another content of {context.named}, which {live.published_by} has published "
                    f"(revision {live.revision}): wait until they are done, or add --publish: nobody begins more of "
                    "that then, and what is begun ends as it began"
                )
            _withdraw(context, store, live)
        try:
            with store.lock(), store.open(service=context.identity) as journal:
                return _published(asked, journal)
        except OutputBusyError:
            if context.interrupts.code is not None or (live is None and time.monotonic() >= until):
                raise
            time.sleep(LOOK_AGAIN_S)


@frozen
class Asked:
    """What is to be published, and where."""

    context: RunContext
    store: PostgresStore
    account: Account
    told: Publication
    options: str

    def is_same(self, live: Revision) -> bool:
        """Whether that is what machines work on, and go on to work on."""
        return live.withdrawn_by is None and (live.digest, live.options) == (self.told.digest, self.options)


def here() -> str:
    """Return how others are told of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _live(store: PostgresStore) -> Revision | None:
    if not store.exists():
        return None
    with closing(store.database.connect()) as db, store.database.translated():
        return live_revision(db, store.number_in(db)) if store.is_current(db) else None


def _has_just_begun(store: PostgresStore, live: Revision) -> bool:
    """Whether a worker has just taken a slice, and is about to hold the journal: it would be fenced for nothing."""
    with closing(store.database.connect()) as db, store.database.translated():
        found = scalar(
            db,
            "SELECT EXISTS (SELECT FROM batchvid.slices WHERE revision = %s AND over_at IS NULL"
            " AND taken_at > clock_timestamp() - make_interval(secs => %s))",
            live.revision,
            OPENS_WITHIN_S,
        )
    return bool(found)


def _withdraw(context: RunContext, store: PostgresStore, live: Revision) -> None:
    """Let nobody begin more of a revision."""
    with closing(store.database.connect()) as db, store.database.translated():
        waiting, begun = withdraw(db, live.revision, by=here())
    context.observer.note(
        f"revision {live.revision} gives way: {waiting} slices that nobody has begun are withdrawn, and "
        f"{begun} that are under way are waited for"
    )


def _published(asked: Asked, journal: Journal) -> Begun:
    """Publish, as the only one who has the journal: nobody works on what may be live still."""
    context, store = asked.context, asked.store
    manifest, options = context.manifest, context.options
    with closing(store.database.connect()) as db, store.database.translated():
        number = store.number_in(db)
        owner = account_number(db, account_name(asked.account), asked.account.base_url)
        open_the_brakes(db, number, owner, manifest.limits.budget_micros, options.max_cost_micros)
        live = live_revision(db, number)
        if live is not None and asked.is_same(live):
            return Begun(live.revision, is_joined=True)
        if live is not None:
            put_aside(db, live.revision, by=here())
        output = Output.of(manifest)
        output.prepare()
        stock = take_stock(context, journal, output)
        rows = {row.job_id: row for row in journal.progress_in_brief()}
        to_do = left_to_do(manifest.jobs, rows, again=stock.again, only=stock.may_be_sent)
        to_do = _at_most(to_do, manifest, rows, options.max_jobs)
        migrate_engine(db, store.database)
        put_frames(db, dict(map(_source, frames_of(manifest.jobs, to_do).values())))
        edition = Edition(
            journal=number,
            account=owner,
            digest=asked.told.digest,
            head=asked.told.head,
            options=asked.options,
            jobs=manifest.jobs,
            to_do=to_do,
            again=stock.again,
            versions={job_id: rows[job_id].version for job_id in stock.again},
            canary=manifest.limits.canary,
            by=here(),
        )
        found = publish(db, edition)
    context.observer.note(
        f"published: {len(to_do)} of {len(manifest.jobs)} jobs have something left to do, in {found.slices} slices "
        f"(revision {found.revision})"
    )
    return Begun(found.revision, is_joined=False)


def _at_most(to_do: Sequence[int], manifest: Manifest, rows: Mapping[str, Progress], most: int | None) -> list[int]:
    """Return what is to do, with no more than *most* jobs to be submitted; what is paid is collected of all."""
    if most is None:
        return list(to_do)
    found, left = [], most
    for position in to_do:
        row = rows.get(manifest.jobs[position].id)
        is_paid = row is not None and row.state in {State.SUBMITTING, State.RUNNING, State.READY}
        if is_paid or left > 0:
            found.append(position)
            left -= not is_paid
    return found


def _source(frame: Frame) -> tuple[str, Callable[[], bytes]]:
    return frame.sha256, partial(source_bytes, frame)
