"""Moves the journal of an output from beside its clips into a database, for many machines, and back.

A move may be killed at any moment, and is done again then. From its second step to its last, no run goes on with either
journal:

===  =============================================  =============================================
     into the database                              back
===  =============================================  =============================================
1    the journal learns what is true now            the same
2    the output says that it belongs to a database  a file is beside the clips
3    all rows go over in one transaction            the same
4    the file gets another name                     the journal there says where it is now
5                                                   the output says no more that it belongs there
===  =============================================  =============================================
"""

from __future__ import annotations

import shutil
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError
from batchvid.engine.belonging import ID, check_owner, id_of, owner_record
from batchvid.engine.planning import TO_RENAME
from batchvid.engine.recovery import LEFT_ASIDE, take_back, take_up
from batchvid.engine.target import SANDBOX, journal_file, journal_in_database
from batchvid.journal import orphans
from batchvid.journal.base import MOVED_TO, is_copy
from batchvid.journal.event_log import LOG_FILE, rotated
from batchvid.journal.orphans import Orphan
from batchvid.journal.postgres_db import make_room, moved_to
from batchvid.journal.publishing import live_revision
from batchvid.storage.fs import doing
from batchvid.storage.output import Output
from batchvid.storage.state import drop_owner, set_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batchvid.journal.base import Journal, JournalReader, JournalStore
    from batchvid.journal.postgres import PostgresStore
    from batchvid.journal.sqlite import SqliteStore
    from batchvid.manifest.model import Manifest
    from batchvid.storage.state import StateFolder


def move_into_database(manifest: Manifest, *, note: Callable[[str], None]) -> int:
    """Move the journal beside the clips into the manifest's database, and return how many jobs it has. Blocks.

    Raises `ConfigError` when there is nothing to move, or the database has a journal of this output already.
    """
    here = _beside(manifest)
    source, target = journal_file(here), journal_in_database(manifest)
    if not source.exists():
        raise ConfigError(f"there is no journal beside the clips to be moved: {source.path}")
    with source.lock(), target.lock():
        with source.open(service=None) as journal:
            if journal.meta_get("service") == SANDBOX:
                raise ConfigError(f"the journal {source.path} is that of a rehearsal (--sandbox): it stays where it is")
            _learn(journal, here, note=note)
            number = id_of(journal)
            check_owner(manifest, number)
            _make_room(target)
            owner = owner_record(manifest, number)
            jobs = _fill(target, journal, before=partial(set_owner, manifest.output, owner))
        _take_along(Output.of(here).state, Output.of(manifest).state)
        with source.put_away().read() or nullcontext() as moved:
            _carry_decisions(moved, target)
    return jobs


def move_back(manifest: Manifest, *, note: Callable[[str], None]) -> int:
    """Move the journal from the manifest's database beside the clips, and return how many jobs it has. Blocks.

    Raises `ConfigError` when there is nothing to move, when what is published is not over, or when there is another
    journal beside the clips.
    """
    here = _beside(manifest)
    source, target = journal_in_database(manifest), journal_file(here)
    if not source.exists():
        raise ConfigError(f"there is no journal to be moved: {source}")
    Output.of(here).prepare()
    with target.lock(), source.lock():
        jobs = _moved_before(source, target)
        if jobs is None:
            with source.open(service=None) as journal:
                _refuse_live(source)
                _learn(journal, manifest, note=note)
                check_owner(manifest, id_of(journal))
                jobs = _fill(target, journal)
                late = [Orphan(*where, task) for where, task in journal.kept_beside().items()]
                late = [one for one in late if journal.owner_of_task(one.task_id) is None]
                _take_along(Output.of(manifest).state, Output.of(here).state, late)
                journal.meta_set(MOVED_TO, str(target.path))
                source.await_decisions()
                _carry_decisions(journal, target)
        drop_owner(manifest.output)
    return jobs


def _beside(manifest: Manifest) -> Manifest:
    """Return the manifest as it is without a database."""
    return replace(manifest, database="", database_env="", home=None)


def _moved_before(source: PostgresStore, target: SqliteStore) -> int | None:
    """Return how many jobs went over where only the last step was missing; ``None`` when more was."""
    with closing(source.database.connect()) as db, source.database.translated():
        if moved_to(db, source.number_in(db)) != str(target.path):
            return None
    with target.read() or nullcontext() as journal:
        return None if journal is None else sum(journal.counts().values())


def _make_room(store: PostgresStore) -> None:
    """Let a journal come back to where it was moved away from."""
    if store.exists():
        with closing(store.database.connect()) as db, store.database.translated():
            make_room(db, store.number_in(db))


def _refuse_live(store: PostgresStore) -> None:
    """Refuse to move a journal that machines may go on with."""
    with closing(store.database.connect()) as db, store.database.translated():
        if (live := live_revision(db, store.number_in(db))) is not None:
            raise ConfigError(
                f"what {live.published_by} has published of the journal {store} is not over (revision {live.revision}):"
                " `batchvid run MANIFEST --database URL` ends it"
            )


def _learn(journal: Journal, manifest: Manifest, *, note: Callable[[str], None]) -> None:
    """Let the journal learn what is true now, as before a run."""
    output, at = Output.of(manifest), time.time()
    journal.settle(None, moved=False, note=note)
    take_back(journal, output, jobs={job.id: job for job in manifest.jobs}, leave_aside=False, at=at, warn=note)
    take_up(journal, output.state, at=at, warn=note)


def _fill(target: JournalStore, source: Journal, *, before: Callable[[], None] = lambda: None) -> int:
    """Let *target* hold what *source* holds, unless it does; return how many jobs those are.

    What comes *before* is done once it is known that nothing else is there.
    """
    number = id_of(source)
    with target.open(service=source.meta_get("service") or "") as copy:
        is_empty = not any(copy.counts().values())
        if not is_empty and not (copy.meta_get(ID) == number and is_copy(copy, source)):
            raise ConfigError(
                f"there is a journal {copy.name} already, and it does not hold what {source.name} holds: go on with "
                "the one that knows what is paid, and put the other one away"
            )
        before()
        if is_empty:
            noted = {name: source.meta_get(name) for name in (LEFT_ASIDE, TO_RENAME)}
            remarks = {name: value for name, value in noted.items() if value is not None} | {ID: number}
            copy.fill(source, remarks=remarks, at=time.time())
        copy.seal()
        return sum(copy.counts().values())


def _carry_decisions(source: JournalReader | None, target: JournalStore) -> None:
    """Keep in *target* what was decided while the journal was copied: who decides needs no lock of the output."""
    with target.read() or nullcontext() as copy:
        if source is None or copy is None:
            return
        told, known = ([one for _, one in journal.decisions_after(0)] for journal in (source, copy))
    if len(told) > len(known) and told[: len(known)] == known:
        target.decide(told[len(known) :])


def _take_along(source: StateFolder, target: StateFolder, late: Iterable[Orphan] = ()) -> None:
    """Keep the paid task ids that found no place in the journal yet, and the log, where the next run looks for them."""
    target.prepare()
    known = set(orphans.read(target.output).known.values())
    for one in [*orphans.read(source.output).known.values(), *late]:
        if one not in known:
            orphans.append(target.output, one._asdict())
    for log in rotated(source.folder / LOG_FILE):
        copy = target.folder / log.name
        if log.exists() and not copy.exists():
            with doing(f"copy {log}"):
                shutil.copy(log, copy)
