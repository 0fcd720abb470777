"""What the tables tell of the machines at work on a journal: one look, of which every output draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.machines import DEAD_S, Machine, Machines, Standing

if TYPE_CHECKING:
    from batchvid.journal.postgres_db import Connection

REVISION = (
    "SELECT revision, account, extract(epoch FROM published_at)::float8, published_by, ended_at IS NOT NULL"
    " FROM batchvid.revisions WHERE journal = %s ORDER BY ended_at IS NULL DESC, revision DESC LIMIT 1"
)
SLICES = (
    "SELECT count(*) FILTER (WHERE over_at IS NULL AND worker IS NULL),"
    " count(*) FILTER (WHERE over_at IS NULL AND worker IS NOT NULL), count(*) FILTER (WHERE over_at IS NOT NULL)"
    " FROM batchvid.slices WHERE revision = %s"
)
BRAKES = (
    "SELECT share, greatest(0, extract(epoch FROM resume_at - clock_timestamp()))::float8, slowed_by, unsure_in_a_row,"
    " greatest(0, extract(epoch FROM doubt_resume_at - clock_timestamp()))::float8"
    " FROM batchvid.accounts WHERE account = %s"
)
HALTS = (
    "SELECT reason FROM batchvid.halts WHERE account = %s AND (journal IS NULL OR journal = %s)"
    " GROUP BY reason ORDER BY min(halt)"
)
TOOK_PART = "SELECT DISTINCT unnest(takers) FROM batchvid.slices WHERE revision = %s"
WORKERS = (
    "WITH parts AS (SELECT slice, count(*) FILTER (WHERE state = 'done') AS clips,"
    " count(*) FILTER (WHERE state IN ('submitting', 'running') AND NOT parked) AS in_flight"
    " FROM batchvid.work JOIN batchvid.jobs ON jobs.journal = %(journal)s AND jobs.job_id = work.job_id"
    " WHERE revision = %(revision)s AND slice IS NOT NULL GROUP BY slice),"
    " shares AS (SELECT takers[cardinality(takers)] AS worker,"
    " count(*) FILTER (WHERE over_at IS NULL AND worker IS NOT NULL) AS slices,"
    " coalesce(sum(in_flight) FILTER (WHERE over_at IS NULL AND worker IS NOT NULL), 0)::bigint AS in_flight,"
    " coalesce(sum(clips), 0)::bigint AS clips"
    " FROM batchvid.slices LEFT JOIN parts USING (slice) WHERE revision = %(revision)s GROUP BY 1)"
    " SELECT name, ended IS NOT NULL, coalesce(lost_at > seen_at, false),"
    " extract(epoch FROM clock_timestamp() - seen_at)::float8,"
    " coalesce(slices, 0), coalesce(in_flight, 0), coalesce(clips, 0), lost_slices, worker = ANY(%(took_part)s)"
    " FROM batchvid.workers LEFT JOIN shares USING (worker) ORDER BY worker"
)
"""A clip counts for the worker that had its slice last: after a takeover, for the one that took it over."""


def machines_of(db: Connection, journal: int, *, dead_s: float = DEAD_S) -> Machines | None:
    """Return who works on what is published of a journal, or did so last; ``None`` when nothing was ever published."""
    found = db.execute(REVISION, [journal]).fetchone()
    if found is None:
        return None
    revision, account, published_at, published_by, is_over = found
    waiting, taken, over = db.execute(SLICES, [revision]).fetchone() or (0, 0, 0)
    share, paused_s, slowed_by, unsure, doubt_s = db.execute(BRAKES, [account]).fetchone() or (1.0, 0.0, "", 0, 0.0)
    took_part = [worker for (worker,) in db.execute(TOOK_PART, [revision])]
    rows = db.execute(WORKERS, {"journal": journal, "revision": revision, "took_part": took_part})
    workers = (_machine(*row, dead_s=dead_s) for row in rows)
    return Machines(
        revision,
        published_at,
        published_by,
        is_over,
        waiting,
        taken,
        over,
        tuple(one for one in workers if one.took_part or one.standing is Standing.ALIVE),
        len(took_part),
        share,
        paused_s,
        slowed_by,
        unsure,
        doubt_s,
        tuple(reason for (reason,) in db.execute(HALTS, [account, journal])),
    )


def _machine(
    name: str,
    has_left: bool,  # noqa: FBT001 a column
    is_lost: bool,  # noqa: FBT001 a column
    seen_s: float,
    *numbers: int,
    dead_s: float,
) -> Machine:
    slices, in_flight, clips, lost, took_part = numbers
    is_silent = is_lost or seen_s >= dead_s  # others may wait for less
    standing = Standing.LEFT if has_left else Standing.SILENT if is_silent else Standing.ALIVE
    return Machine(name, standing, max(0.0, seen_s), slices, in_flight, clips, lost, bool(took_part))
