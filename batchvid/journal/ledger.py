"""What the workers of one database agree on: who lives, who has which slice, and what an account may do just now.

The engine (Procrastinate, in a schema of its own) hands out the slices and knows whose heartbeat has stopped. What it
says decides nothing about money: a slice belongs to whoever has set its epoch last, and each commit checks that.

Each method is one transaction. All times are those of the database; what is given back is in seconds from now.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.journal.bell import CHANNEL
from batchvid.journal.engine_db import (
    BEGUN_QUEUE,
    CLOSE_QUEUE,
    CLOSE_TASK,
    ENGINE_SCHEMA,
    QUEUE,
    SLICE_TASK,
    defer_closing,
    defer_slices,
    release_slices,
)
from batchvid.journal.postgres_db import (
    FREE_THE_ROWS,
    check_server,
    check_timeline,
    lock_key,
    outdated,
    scalar,
)
from batchvid.journal.publishing import revision_of, slice_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.job import Job
    from batchvid.domain.lifecycle import Reopened
    from batchvid.journal.orphans import Orphan
    from batchvid.journal.postgres_db import Connection, Database
    from batchvid.journal.publishing import Revision


def since_boot() -> float:
    """Return the seconds since the machine was started, with the time that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


FIRST = 100
"""The priority of a slice whose worker is gone: what is paid there waits for somebody."""
HOLDS = "batchvid worker %s"
"""How PostgreSQL names the session with which a worker of that number holds a journal."""
NEVER_S = 1e9
FORGET_WORKERS_S = 7 * 86400.0
SLOWEST, STEP = 1 / 16, 1 / 8
CALM_S = 15.0
"""As `batchvid.engine.throttle` has them, on the database's clock."""

UNOWNED = (
    "SELECT CASE WHEN NOT EXISTS (SELECT FROM batchvid.slices WHERE taken_at IS NOT NULL AND over_at IS NULL AND ("
    "worker IS NULL OR worker NOT IN (SELECT id FROM procrastinate_workers"
    " WHERE last_heartbeat >= now() - make_interval(secs => %(dead)s)))) THEN 0 ELSE ("
    "SELECT count(*) FROM batchvid.revisions JOIN batchvid.slices USING (revision)"
    " JOIN batchvid.work USING (revision, slice)"
    " JOIN batchvid.jobs ON jobs.journal = revisions.journal AND jobs.job_id = work.job_id"
    " WHERE account = %(account)s AND ended_at IS NULL AND taken_at IS NOT NULL AND over_at IS NULL"
    " AND (worker IS NULL OR worker NOT IN (SELECT id FROM procrastinate_workers"
    " WHERE last_heartbeat >= now() - make_interval(secs => %(dead)s)))"
    " AND state IN ('submitting', 'running') AND NOT parked) END"
)
"""How many tasks of an account are in flight in slices that nobody alive has."""
LOST_SLICES = (
    "SELECT slice FROM batchvid.slices JOIN batchvid.revisions USING (revision) WHERE over_at IS NULL"
    " AND ended_at IS NULL AND NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    " AND task_name = %s AND (args ->> 'slice')::bigint = slices.slice)"
)
LOST_CLOSINGS = (
    "SELECT revision FROM batchvid.revisions WHERE ended_at IS NULL AND NOT EXISTS ("
    "SELECT FROM batchvid.slices WHERE slices.revision = revisions.revision AND over_at IS NULL)"
    " AND NOT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    " AND task_name = %s AND (args ->> 'revision')::bigint = revisions.revision)"
)
LATE_ORPHANS = (
    "SELECT DISTINCT revision, slice FROM batchvid.orphans"
    " JOIN batchvid.revisions USING (journal) JOIN batchvid.work USING (revision, job_id)"
    " JOIN batchvid.slices USING (revision, slice) JOIN batchvid.jobs USING (journal, job_id, attempt)"
    " WHERE ended_at IS NULL AND withdrawn_by IS NULL AND over_at IS NOT NULL AND state = 'in_doubt'"
    " AND NOT EXISTS (SELECT FROM batchvid.attempts"
    " WHERE attempts.journal = orphans.journal AND attempts.task_id = orphans.task_id)"
)
"""Slices that were over when somebody told of a task that was paid for one of their doubts."""
MEND_KEY = lock_key("mend")


@frozen
class Lease:
    """A slice that this worker has; it is lost once the slice has another epoch."""

    slice: int
    epoch: int
    engine_job: int
    revision: int
    journal: int


@frozen
class Closing:
    """The last work on a revision: all its slices are over."""

    engine_job: int
    revision: int


@frozen
class Halt:
    """Why nothing more is submitted: by anybody of the account, or (*journal*) for one journal."""

    exit_code: int
    reason: str
    polls_too: bool
    journal: int | None


@frozen
class Report:
    """What a worker tells of an account that it works for, since it told it last."""

    account: int
    limit: int
    """The strictest in-flight limit of what the worker works on."""
    in_flight: int
    wants: int
    """How many seats it could use."""
    accepted: int = 0
    unsure: int = 0
    doubt_resume_s: float = 0.0
    hit_age_s: float | None = None
    """How long ago the request left that was the last to be called too fast; ``None``: none was."""
    hit_wait_s: float = 0.0
    slowed_by: str = ""
    went_well: bool = False


@frozen
class Standing:
    """How an account stands for a worker."""

    seats: int
    accepted: int
    unsure_in_a_row: int
    doubt_resume_s: float
    share: float
    resume_s: float
    slowed_by: str
    halts: tuple[Halt, ...]


@frozen
class Takeover:
    """Slices of a worker that is not heard of, which wait for others since."""

    name: str
    """``host:pid``."""
    slices: int
    silent_s: float


@frozen
class Heard:
    """What a worker hears at a heartbeat."""

    standings: dict[int, Standing]
    """By account."""
    lost: frozenset[int]
    """The slices that belong to somebody else by now."""
    takeovers: tuple[Takeover, ...]
    """What was taken from other workers since the last heartbeat."""
    ended: frozenset[int]
    """The revisions that are closed."""
    live: dict[int, frozenset[int]]
    """By account, the revisions that are not: the strictest of their limits hold for it."""
    outdated: str = ""
    """Why this worker is too old for the tables. It lives on while it drains, so that nobody takes over what it has."""


class Ledger:
    """The way of one worker to what all share; used by one thread at a time."""

    def __init__(self, database: Database, *, name: str, version: str, dead_s: float) -> None:
        self._database = database
        self._name = name
        self._version = version
        self._dead_s = dead_s
        self._connection: Connection | None = None
        self._heard_at = float("-inf")
        self.listens_since = float("-inf")
        """Since when this worker has heard from the database without a pause (seconds since the machine's start)."""
        self.worker = 0
        """The number of this worker; 0 before `enter`."""
        self._told: dict[int, int] = {}
        """How many slices of other workers this one knows to be taken over."""

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Begin a transaction, on a new connection where the one before was lost."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connected()
        with self._database.translated(), self._connection.transaction():
            yield self._connection

    def _connected(self) -> Connection:
        db = self._database.connect()
        try:
            with self._database.translated():
                check_server(db, self._database)
                check_timeline(db, self._database)
                db.execute(f"SET search_path = {ENGINE_SCHEMA}, public")
                db.execute(FREE_THE_ROWS, (f"{round(self._dead_s * 500)}ms",))
        except BaseException:  # whatever it was, the connection is closed, and it is raised again
            db.close()
            raise
        return db

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def enter(self) -> None:
        """Count this worker among those that live."""
        with self._transaction() as db:
            self.worker = scalar(db, "SELECT worker_id FROM procrastinate_register_worker_v1()")
            db.execute(
                "INSERT INTO batchvid.workers (worker, name, version) VALUES (%s, %s, %s)",
                (self.worker, self._name, self._version),
            )
            db.execute(
                "DELETE FROM batchvid.workers WHERE seen_at < clock_timestamp() - make_interval(secs => %s)",
                (FORGET_WORKERS_S,),
            )

    def leave(self, how: str) -> None:
        """Count it no longer; its slices were handed back before."""
        with self._transaction() as db:
            db.execute("UPDATE batchvid.workers SET ended = %s WHERE worker = %s", (how, self.worker))
            db.execute("DELETE FROM batchvid.seats WHERE worker = %s", (self.worker,))
            db.execute("SELECT procrastinate_unregister_worker_v1(%s)", (self.worker,))

    # ---- the heartbeat

    def beat(self, reports: Sequence[Report], held: Mapping[int, int], opened: Collection[int]) -> Heard:
        """Tell that the worker lives, and hear how its accounts stand.

        *held* are its slices with their epochs, *opened* the revisions that it has open.
        """
        with self._transaction() as db:
            db.execute("SET LOCAL synchronous_commit = off")
            check_timeline(db, self._database)  # whether a standby is waited for may have changed
            db.execute("SELECT procrastinate_update_heartbeat_v1(%s)", (self.worker,))
            db.execute("UPDATE batchvid.workers SET seen_at = clock_timestamp() WHERE worker = %s", (self.worker,))
            self._free_the_dead(db, self._dead_s if self._may_judge() else NEVER_S)
            takeovers = tuple(self._takeovers(db))
            lost = [
                number
                for number, epoch in db.execute(
                    "SELECT slice, epoch FROM batchvid.slices WHERE slice = ANY(%s)", (list(held),)
                )
                if epoch != held[number]
            ]
            ended = db.execute(
                "SELECT revision FROM batchvid.revisions WHERE revision = ANY(%s) AND ended_at IS NOT NULL",
                (list(opened),),
            )
            over = frozenset(number for (number,) in ended)
            found = {one.account: self._stand(db, one) for one in sorted(reports, key=lambda one: one.account)}
            live = _live(db, found)
            too_old = outdated(db, self._database)
        self._heard_at = since_boot()
        return Heard(found, frozenset(lost), takeovers, over, live, too_old)

    def _may_judge(self) -> bool:
        """Whether this worker has listened for long enough, without a pause, to tell that another one is dead.

        After a pause of the database, or of its own, it does not know whether the others could speak.
        """
        now = since_boot()
        if now - self._heard_at > self._dead_s / 2:
            self.listens_since = now
        return now - self.listens_since >= self._dead_s

    def _free_the_dead(self, db: Connection, dead_s: float) -> None:
        """Have the slices of dead workers done by others: one statement, so that no live one is among them.

        A server that has just been started was away for all of them: none was heard of, and none is dead for that. Who
        has left counts as dead at once. What dead ones hold of the journals is taken from them: one that only stands
        still would keep it from people.
        """
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN procrastinate_workers"
            " ON application_name = format(%s::text, id) WHERE usename = current_user"
            " AND greatest(last_heartbeat, pg_postmaster_start_time()) < now() - make_interval(secs => %s)",
            (HOLDS, dead_s),
        )
        freed = db.execute(
            "SELECT worker_id, count(*) FILTER (WHERE task_name = %s), max(silent_s) FROM ("
            " SELECT worker_id, task_name, silent_s, procrastinate_retry_job_v2(id, now(), %s,"
            " CASE task_name WHEN %s THEN %s END, NULL) FROM ("
            " SELECT jobs.id, worker_id, task_name, extract(epoch FROM now() - last_heartbeat)::float8 AS silent_s"
            " FROM procrastinate_jobs AS jobs LEFT JOIN procrastinate_workers AS dead ON dead.id = worker_id"
            " WHERE status = 'doing' AND queue_name = ANY(%s) AND (dead.id IS NULL"
            " OR last_heartbeat < now() - make_interval(secs => %s)) FOR UPDATE OF jobs SKIP LOCKED) AS stalled"
            " OFFSET 0) AS freed GROUP BY worker_id",
            (SLICE_TASK, FIRST, SLICE_TASK, BEGUN_QUEUE, [QUEUE, BEGUN_QUEUE, CLOSE_QUEUE], dead_s),
        ).fetchall()
        for worker, slices, silent_s in freed:
            db.execute(
                "UPDATE batchvid.workers SET lost_slices = lost_slices + %s, lost_at = clock_timestamp(), silent_s = %s"
                " WHERE worker = %s",
                (slices, silent_s or 0.0, worker),
            )
        if freed:
            db.execute(f"NOTIFY {CHANNEL}")

    def _takeovers(self, db: Connection) -> Iterator[Takeover]:
        """Yield what was taken from others since this worker began, each once, whoever has noticed it."""
        found = db.execute(
            "SELECT worker, name, lost_slices, silent_s FROM batchvid.workers WHERE worker <> %(own)s AND lost_at >= ("
            "SELECT started_at FROM batchvid.workers WHERE worker = %(own)s) ORDER BY lost_at",
            {"own": self.worker},
        )
        for worker, name, slices, silent_s in found:
            more = slices - self._told.get(worker, 0)
            self._told[worker] = slices
            if more > 0:
                yield Takeover(name, more, silent_s)

    def _stand(self, db: Connection, told: Report) -> Standing:
        """Take in what a worker tells of an account, and return how it stands; its row is locked meanwhile."""
        db.execute("SELECT FROM batchvid.accounts WHERE account = %s FOR NO KEY UPDATE", (told.account,))
        if told.accepted or told.unsure:
            db.execute(
                "UPDATE batchvid.accounts SET accepted = accepted + %(accepted)s,"
                " unsure_in_a_row = CASE WHEN %(accepted)s > 0 THEN 0 ELSE unsure_in_a_row END + %(unsure)s,"
                " doubt_resume_at = CASE WHEN %(accepted)s > 0 AND %(unsure)s = 0 THEN 'epoch' ELSE greatest("
                "doubt_resume_at, clock_timestamp() + make_interval(secs => %(wait)s)) END WHERE account = %(account)s",
                {
                    "account": told.account,
                    "accepted": told.accepted,
                    "unsure": told.unsure,
                    "wait": told.doubt_resume_s,
                },
            )
        if told.hit_age_s is not None:
            self._slow_down(db, told)
        elif told.went_well:
            db.execute(
                "UPDATE batchvid.accounts SET share = least(1, share + %s), slowed_at = clock_timestamp()"
                " WHERE account = %s AND share < 1"
                " AND clock_timestamp() - greatest(slowed_at, resume_at) >= make_interval(secs => %s)",
                (STEP, told.account, CALM_S),
            )
        row = db.execute(
            "SELECT accepted, unsure_in_a_row,"
            " greatest(0, extract(epoch FROM doubt_resume_at - clock_timestamp()))::float8, share,"
            " greatest(0, extract(epoch FROM resume_at - clock_timestamp()))::float8, slowed_by"
            " FROM batchvid.accounts WHERE account = %s",
            (told.account,),
        ).fetchone()
        accepted, unsure, doubt_resume_s, share, resume_s, slowed_by = row or (0, 0, 0.0, 1.0, 0.0, "")
        halts = tuple(
            Halt(*found)
            for found in db.execute(
                "SELECT exit_code, reason, polls_too, journal FROM batchvid.halts WHERE account = %s ORDER BY halt",
                (told.account,),
            )
        )
        seats = self._seats(db, told, is_known=accepted > 0)
        return Standing(seats, accepted, unsure, doubt_resume_s, share, resume_s, slowed_by, halts)

    def _slow_down(self, db: Connection, told: Report) -> None:
        """Halve the pace; requests that left before the last halving only prolong the pause."""
        db.execute(
            "UPDATE batchvid.accounts SET slowed_by = %(why)s, resume_at = greatest(resume_at, clock_timestamp()"
            " + make_interval(secs => %(wait)s)),"
            " share = CASE WHEN clock_timestamp() - make_interval(secs => %(age)s) >= slowed_at"
            " THEN greatest(%(slowest)s, share / 2) ELSE share END,"
            " slowed_at = CASE WHEN clock_timestamp() - make_interval(secs => %(age)s) >= slowed_at"
            " THEN clock_timestamp() ELSE slowed_at END WHERE account = %(account)s",
            {
                "account": told.account,
                "why": told.slowed_by,
                "wait": told.hit_wait_s,
                "age": told.hit_age_s,
                "slowest": SLOWEST,
            },
        )
        db.execute(f"NOTIFY {CHANNEL}")

    def _seats(self, db: Connection, told: Report, *, is_known: bool) -> int:
        """Return how many tasks the worker may have in flight.

        The seats of all that live, and the rows in flight that nobody alive has, are never more than the limit. A dead
        worker's seats are gone with it; its rows are counted until somebody has taken them up.
        """
        others = db.execute(
            "SELECT seats.seats, seats.wants, seats.in_flight FROM batchvid.seats JOIN procrastinate_workers AS living"
            " ON living.id = seats.worker WHERE account = %s AND seats.worker <> %s"
            " AND living.last_heartbeat >= now() - make_interval(secs => %s)",
            (told.account, self.worker, self._dead_s),
        ).fetchall()
        limit = told.limit if is_known else 1
        room = limit - self._unowned(db, told.account)
        taken = sum(max(seats, in_flight) for seats, _, in_flight in others)
        hungry = sum(wants > in_flight for _, wants, in_flight in others)
        mine = told.wants
        if hungry:
            mine = min(mine, max(room // (hungry + 1), 1))
        seats: int = max(told.in_flight, min(mine, room - taken), 0)
        db.execute(
            "INSERT INTO batchvid.seats (account, worker, seats, wants, in_flight) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (account, worker) DO UPDATE SET seats = excluded.seats, wants = excluded.wants,"
            " in_flight = excluded.in_flight",
            (told.account, self.worker, seats, told.wants, told.in_flight),
        )
        return seats

    def _unowned(self, db: Connection, account: int) -> int:
        row = db.execute(UNOWNED, {"account": account, "dead": self._dead_s}).fetchone()
        return 0 if row is None else int(row[0])

    # ---- slices

    def fetch(
        self, *, with_slices: bool, with_begun: bool = False, held: Mapping[int, Lease] | None = None
    ) -> Lease | Closing | None:
        """Take the next work: a slice under a new epoch, or the closing of a revision; ``None`` when there is none.

        Without *with_slices* only a closing is taken, and *with_begun* a slice whose worker is gone: what is paid there
        waits for somebody. What is over already is finished here, whoever did it. A slice that is *held* by this worker
        comes again when the engine has it twice, or somebody took this worker for dead: it goes on as it is.
        """
        queues = [*[QUEUE] * with_slices, *[BEGUN_QUEUE] * (with_slices or with_begun), CLOSE_QUEUE]
        while True:
            with self._transaction() as db:
                row = db.execute(
                    "SELECT id, task_name, args FROM procrastinate_fetch_job_v2(%s::varchar[], %s)",
                    (queues, self.worker),
                ).fetchone()
                if row is None or row[0] is None:
                    return None
                engine_job, task, args = row
                if task == CLOSE_TASK:
                    return Closing(engine_job, args["revision"])
                mine = (held or {}).get(args["slice"]) if task == SLICE_TASK else None
                if mine is not None and self._owns(db, mine):
                    if engine_job == mine.engine_job:
                        continue
                elif task == SLICE_TASK and (lease := self._take(db, engine_job, args["slice"])) is not None:
                    return lease
                db.execute("SELECT procrastinate_finish_job_v1(%s, 'succeeded', true)", (engine_job,))

    def _take(self, db: Connection, engine_job: int, number: int) -> Lease | None:
        row = db.execute(
            "UPDATE batchvid.slices SET epoch = epoch + 1, worker = %(own)s, taken_at = clock_timestamp(),"
            " takers = array_append(array_remove(takers, %(own)s::bigint), %(own)s::bigint) FROM batchvid.revisions"
            " WHERE slices.revision = revisions.revision AND slice = %(slice)s AND over_at IS NULL"
            " AND ended_at IS NULL RETURNING epoch, revisions.revision, revisions.journal",
            {"own": self.worker, "slice": number},
        ).fetchone()
        return None if row is None else Lease(number, row[0], engine_job, row[1], row[2])

    def slice(
        self, lease: Lease
    ) -> tuple[tuple[Job, ...], dict[str, tuple[Reopened, int]], dict[tuple[str, int], str]]:
        """Return the jobs of a slice, the events that open some again, and the journal's orphans.

        An event comes with the version of the row that it is for; an orphan is a task id by job and attempt.
        """
        with self._transaction() as db:
            jobs, again = slice_work(db, lease.slice)
            orphans = db.execute(
                "SELECT job_id, attempt, task_id FROM batchvid.orphans WHERE journal = %s AND job_id = ANY(%s)",
                (lease.journal, [job.id for job in jobs]),
            )
            return jobs, again, {(job_id, attempt): task_id for job_id, attempt, task_id in orphans}

    def revision(self, number: int) -> tuple[Revision, str, str]:
        """Return a revision, with the name of its journal and of its account."""
        with self._transaction() as db:
            found = revision_of(db, number)
            journal = scalar(db, "SELECT name FROM batchvid.journals WHERE journal = %s", found.journal)
            account = scalar(db, "SELECT name FROM batchvid.accounts WHERE account = %s", found.account)
            return found, journal, account

    def live(self, account: int) -> frozenset[int]:
        """Return the revisions of an account that are not closed."""
        with self._transaction() as db:
            return _live(db, [account])[account]

    def polls(self, revision: int) -> int:
        """Return how many polls all workers have sent for a revision."""
        with self._transaction() as db:
            found: int = scalar(
                db, "SELECT coalesce(sum(polls), 0)::bigint FROM batchvid.slices WHERE revision = %s", revision
            )
        return found

    def halts_of(self, account: int, journal: int) -> list[Halt]:
        """Return why nothing more is submitted of a journal."""
        with self._transaction() as db:
            found = db.execute(
                "SELECT exit_code, reason, polls_too, journal FROM batchvid.halts"
                " WHERE account = %s AND (journal IS NULL OR journal = %s) ORDER BY halt",
                (account, journal),
            )
            return [Halt(*row) for row in found]

    def hand_back(self, lease: Lease) -> None:
        """Let another worker go on with a slice."""
        with self._transaction() as db:
            if self._owns(db, lease):
                db.execute("UPDATE batchvid.slices SET worker = NULL WHERE slice = %s", (lease.slice,))
                db.execute(
                    "SELECT procrastinate_retry_job_v2(id, now(), %s, %s, NULL) FROM procrastinate_jobs"
                    " WHERE id = %s AND status = 'doing'",
                    (FIRST, BEGUN_QUEUE, lease.engine_job),
                )

    def over(self, lease: Lease, *, polls: int) -> None:
        """Record that nothing is left to do in a slice; after the last of a revision, somebody is to close that."""
        with self._transaction() as db:
            if not self._owns(db, lease):
                return
            db.execute(
                "UPDATE batchvid.slices SET over_at = clock_timestamp(), polls = polls + %s WHERE slice = %s",
                (polls, lease.slice),
            )
            # The revision's row orders those that end the last two slices at once.
            db.execute("SELECT FROM batchvid.revisions WHERE revision = %s FOR NO KEY UPDATE", (lease.revision,))
            left = scalar(
                db, "SELECT count(*) FROM batchvid.slices WHERE revision = %s AND over_at IS NULL", lease.revision
            )
            db.execute(
                "SELECT procrastinate_finish_job_v1(id, 'succeeded', true) FROM procrastinate_jobs"
                " WHERE id = %s AND status IN ('todo', 'doing')",
                (lease.engine_job,),
            )
            if not left:
                defer_closing(db, lease.revision)
            elif (
                scalar(db, "SELECT min(slice) FROM batchvid.slices WHERE revision = %s", lease.revision) == lease.slice
            ):
                release_slices(db, lease.revision)  # however the canary jobs in it ended, the others are told by that

    def release(self, revision: int) -> None:
        """Let all slices of a revision be taken: the canary jobs have brought their clips."""
        with self._transaction() as db:
            release_slices(db, revision)
            db.execute(f"NOTIFY {CHANNEL}")

    def _owns(self, db: Connection, lease: Lease) -> bool:
        epoch = scalar(db, "SELECT epoch FROM batchvid.slices WHERE slice = %s FOR UPDATE", lease.slice)
        return bool(epoch == lease.epoch)

    def mend(self) -> int:
        """Defer again what the engine has lost: slices and closings that nobody does and nobody waits to do.

        A slice that was over is done again where one of its doubts can be settled by now.
        """
        with self._transaction() as db:
            if not scalar(db, "SELECT pg_try_advisory_xact_lock(%s)", MEND_KEY):
                return 0
            for revision, number in db.execute(LATE_ORPHANS).fetchall():
                if self._is_live(db, revision):
                    db.execute("UPDATE batchvid.slices SET over_at = NULL WHERE slice = %s", (number,))
            lost = [number for (number,) in db.execute(LOST_SLICES, (SLICE_TASK,))]
            if lost:
                defer_slices(db, [(number, 0) for number in lost])
            unclosed = [number for (number,) in db.execute(LOST_CLOSINGS, (CLOSE_TASK,))]
            for number in unclosed:
                defer_closing(db, number)
        return len(lost) + len(unclosed)

    def _is_live(self, db: Connection, revision: int) -> bool:
        """Whether a revision is not closed yet; nobody closes it before the end of this transaction."""
        query = "SELECT ended_at IS NULL FROM batchvid.revisions WHERE revision = %s FOR NO KEY UPDATE"
        return bool(scalar(db, query, revision))

    def journals(self) -> dict[int, str]:
        """Return the names of all journals in the database, by number."""
        with self._transaction() as db:
            return dict(db.execute("SELECT journal, name FROM batchvid.journals").fetchall())

    def closed(self, closing: Closing, *, exit_code: int, summary: Mapping[str, Any]) -> bool:
        """Record how a revision ended; ``False`` when somebody has done so before, or work has come up again."""
        with self._transaction() as db:
            self._is_live(db, closing.revision)  # and so it stays, for the next statement to see all slices
            found = scalar(
                db,
                "UPDATE batchvid.revisions SET ended_at = clock_timestamp(), exit_code = %s, summary = %s"
                " WHERE revision = %s AND ended_at IS NULL AND NOT EXISTS (SELECT FROM batchvid.slices"
                " WHERE slices.revision = revisions.revision AND over_at IS NULL) RETURNING revision",
                exit_code,
                json.dumps(summary),
                closing.revision,
            )
            db.execute(
                "SELECT procrastinate_finish_job_v1(id, 'succeeded', true) FROM procrastinate_jobs"
                " WHERE id = %s AND status IN ('todo', 'doing')",
                (closing.engine_job,),
            )
            db.execute(f"NOTIFY {CHANNEL}")
        return found is not None

    # ---- brakes, orphans

    def halt(self, account: int, halts: Iterable[Halt]) -> None:
        """Let nobody of the account submit any more, or nobody of a journal; told again, it counts once."""
        with self._transaction() as db:
            db.execute("SELECT FROM batchvid.accounts WHERE account = %s FOR NO KEY UPDATE", (account,))
            for one in halts:
                db.execute(
                    "INSERT INTO batchvid.halts (account, journal, exit_code, reason, polls_too)"
                    " SELECT %(account)s, %(journal)s, %(code)s, %(reason)s, %(polls)s WHERE NOT EXISTS ("
                    " SELECT FROM batchvid.halts WHERE account = %(account)s"
                    " AND journal IS NOT DISTINCT FROM %(journal)s AND exit_code = %(code)s AND reason = %(reason)s"
                    " AND polls_too = %(polls)s)",
                    {
                        "account": account,
                        "journal": one.journal,
                        "code": one.exit_code,
                        "reason": one.reason,
                        "polls": one.polls_too,
                    },
                )
            db.execute(f"NOTIFY {CHANNEL}")

    def spill(self, journal: int, orphans: Iterable[Orphan]) -> None:
        """Keep paid task ids, each with its job and attempt, that could not be recorded; nothing fences this."""
        with self._transaction() as db:
            db.cursor().executemany(
                "INSERT INTO batchvid.orphans (journal, job_id, attempt, task_id, worker) VALUES (%s, %s, %s, %s, %s)"
                " ON CONFLICT DO NOTHING",
                [(journal, *one, self._name) for one in orphans],
            )


def account_number(db: Connection, name: str, base_url: str) -> int:
    """Return the number of an account, which is made where it is not there."""
    db.execute(
        "INSERT INTO batchvid.accounts (name, base_url) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING", (name, base_url)
    )
    number: int = scalar(db, "SELECT account FROM batchvid.accounts WHERE name = %s", name)
    return number


def open_the_brakes(db: Connection, journal: int, account: int, budget: int | None, max_cost: int | None) -> None:
    """Let a journal's jobs be submitted again after a person has looked, within what may be spent.

    *budget* bounds all that was ever paid, *max_cost* what is paid from now on; both in millionths.
    """
    with db.transaction():
        db.execute(
            "DELETE FROM batchvid.halts WHERE account = %s AND (journal IS NULL OR journal = %s)", (account, journal)
        )
        db.execute(
            "UPDATE batchvid.accounts SET unsure_in_a_row = 0, doubt_resume_at = 'epoch' WHERE account = %s",
            (account,),
        )
        db.execute("INSERT INTO batchvid.sums (journal) VALUES (%s) ON CONFLICT DO NOTHING", (journal,))
        db.execute(
            "UPDATE batchvid.sums SET"
            " ceiling = least(%(budget)s::bigint, spent + reserved + unproven + %(cost)s::bigint),"
            " ceiling_name = CASE WHEN %(cost)s::bigint IS NOT NULL AND (%(budget)s::bigint IS NULL"
            " OR spent + reserved + unproven + %(cost)s::bigint < %(budget)s::bigint)"
            " THEN '--max-cost' ELSE 'the budget' END WHERE journal = %(journal)s",
            {"journal": journal, "budget": budget, "cost": max_cost},
        )


def _live(db: Connection, accounts: Iterable[int]) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = {number: set() for number in accounts}
    rows = db.execute(
        "SELECT account, revision FROM batchvid.revisions WHERE ended_at IS NULL AND account = ANY(%s)", (list(found),)
    )
    for account, revision in rows:
        found[account].add(revision)
    return {account: frozenset(revisions) for account, revisions in found.items()}
