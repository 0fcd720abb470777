"""What a person should know of a database before it keeps what is paid: one look, which changes nothing."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from batchvid.domain.errors import BatchvidError, Exit
from batchvid.domain.frozen import frozen
from batchvid.domain.text import clean
from batchvid.journal.engine_db import engine_versions
from batchvid.journal.postgres_db import check_server, check_timeline, check_version, newest_version, scalar, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchvid.journal.postgres_db import Connection, Database


OLDEST = 130000
"""PostgreSQL 13 can tell what became of a transaction whose connection was lost."""
CLOCK_MAY_BE_OFF_S = 120.0
TEXT_MAX = 300

SETTINGS = (
    "SELECT current_setting('full_page_writes'), current_setting('synchronous_commit'),"
    " current_setting('synchronous_standby_names')"
)
STANDBYS = (
    "SELECT coalesce(nullif(application_name, ''), 'one without a name'), sync_state IN ('sync', 'quorum'),"
    " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint FROM pg_stat_replication ORDER BY 1"
)
LIVING = (
    "SELECT name, version FROM batchvid.workers WHERE ended IS NULL"
    " AND seen_at >= clock_timestamp() - make_interval(secs => %s) ORDER BY name"
)
ACCOUNTS = (
    "SELECT base_url, share, resume_at > clock_timestamp(), (SELECT count(*) FROM batchvid.revisions"
    " WHERE revisions.account = accounts.account AND ended_at IS NULL),"
    " ARRAY(SELECT DISTINCT reason FROM batchvid.halts WHERE halts.account = accounts.account)"
    " FROM batchvid.accounts ORDER BY account"
)


@frozen
class Seen:
    """One thing that was looked at."""

    what: str
    text: str
    ok: bool = True
    exit_code: Exit | None = None
    """What a run would end with because of it."""


def look(database: Database, *, dead_s: float) -> Iterator[Seen]:
    """Yield what is there, and go on after what is found wrong. Blocks; raises `StorageError` when it is away."""
    with closing(database.connect()) as db, database.translated():
        db.execute("SET default_transaction_read_only = on")
        number: int = scalar(db, "SELECT current_setting('server_version_num')::int")
        name = f"PostgreSQL {scalar(db, 'SHOW server_version')} at {database}"
        if number < OLDEST:
            yield Seen("database", f"{name}: 13 or newer is needed", ok=False, exit_code=Exit.CONFIG)
            return
        yield _unless_refused("database", name, lambda: check_server(db, database))
        yield from _tables(db, database)
        yield _clock(db)
        if not scalar(db, "SELECT pg_is_in_recovery()"):
            yield from _safety(db, database)
        if version_of(db) == newest_version():
            yield _workers(db, dead_s)
            yield from _accounts(db)


def _unless_refused(what: str, text: str, check: Callable[[], object]) -> Seen:
    """Return what is there, or why a run is refused."""
    try:
        check()
    except BatchvidError as error:
        return Seen(what, f"{text}: {error}", ok=False, exit_code=error.exit_code)
    return Seen(what, text)


def _tables(db: Connection, database: Database) -> Iterator[Seen]:
    version, newest = version_of(db), newest_version()
    if not version:
        may_make = scalar(db, "SELECT has_database_privilege(current_database(), 'CREATE')")
        text = "there are no tables yet; " + (
            "the first run makes them" if may_make else "its user may not make them: GRANT CREATE ON DATABASE"
        )
        yield Seen("tables", text, ok=may_make, exit_code=None if may_make else Exit.CONFIG)
        return
    journals = scalar(db, "SELECT count(*) FROM batchvid.journals")
    later = "" if version >= newest else f"; the next run brings them to {newest}"
    text = f"version {version}, with {journals:,} journal{'s' * (journals != 1)}{later}"
    yield _unless_refused("tables", text, lambda: check_version(db, database))
    if version == newest:
        yield _unless_refused("engine", *engine_versions(db, database))


def _clock(db: Connection) -> Seen:
    before = time.time()
    there: float = scalar(db, "SELECT extract(epoch FROM clock_timestamp())::float8")
    after = time.time()
    off_s = (before + after) / 2 - there
    text = f"is {abs(off_s):.3f} s {'ahead of' if off_s > 0 else 'behind'} the database's"
    more = f" (give or take {(after - before) / 2:.3f} s); only --until and --at go by this machine's"
    return Seen("clock", text + more, ok=abs(off_s) <= CLOCK_MAY_BE_OFF_S)


def _safety(db: Connection, database: Database) -> Iterator[Seen]:
    full_pages, commits, wanted = db.execute(SETTINGS).fetchone() or ("", "", "")
    if full_pages != "on":
        yield Seen("commits", "full_page_writes is off: a power failure may damage what is paid; set it on", ok=False)
    own = "every commit is on the disk before anything is sent"
    if version_of(db) == newest_version():
        yield _unless_refused("commits", own, lambda: check_timeline(db, database, keeps=False))
    else:
        yield Seen("commits", own)
    yield _standbys(db, commits, clean(wanted, TEXT_MAX))


def _standbys(db: Connection, commits: str, wanted: str) -> Seen:
    """Return who follows the server, and whether a commit waits for it; *wanted* are those that it is to wait for."""
    standbys = [(clean(name, TEXT_MAX), *more) for name, *more in db.execute(STANDBYS)]
    waited_for = ", ".join(name for name, is_waited_for, _ in standbys if is_waited_for)
    lagging = ", ".join(f"{name} ({behind:,} bytes behind)" for name, waits, behind in standbys if waits is False)
    if any(is_waited_for is None for _, is_waited_for, _ in standbys):
        return Seen("standby", "its user may not see how the standbys follow: GRANT pg_monitor", ok=False)
    if waited_for:
        level = "" if commits in {"on", "remote_apply"} else f"; synchronous_commit is {commits}"
        return Seen("standby", f"every commit waits for {waited_for}{level}")
    if wanted:
        return Seen("standby", f"every commit waits for one of {wanted}, and none of them is there", ok=False)
    if not lagging:
        return Seen("standby", "there is none: what is paid is on this server alone, so back it up")
    text = (
        f"no commit waits for {lagging}: after a failover to it, the newest payments may be unknown there, and "
        "batchvid stops (78); set synchronous_standby_names"
    )
    return Seen("standby", text, ok=False)


def _workers(db: Connection, dead_s: float) -> Seen:
    found = db.execute(LIVING, [dead_s]).fetchall()
    versions = {version for _, version in found}
    names = ", ".join(clean(f"{name} ({version})", TEXT_MAX) for name, version in found)
    text = f"{len(found)} live{': ' if found else ''}{names}"
    if len(versions) > 1:
        return Seen("workers", f"{text}; they are of several versions of batchvid", ok=False)
    return Seen("workers", text)


def _accounts(db: Connection) -> Iterator[Seen]:
    for base_url, share, is_paused, manifests, halts in db.execute(ACCOUNTS):
        text = f"{clean(base_url, TEXT_MAX)}: {manifests} published and not over, {share:.0%} of its pace"
        if is_paused:
            text += ", paused by the service"
        if halts:
            text += f"; stopped: {clean('; '.join(halts), TEXT_MAX)}; the next `batchvid run` begins again"
        yield Seen("account", text, ok=not halts)
