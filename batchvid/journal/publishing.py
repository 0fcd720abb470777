"""What is published in the database: revisions of manifests with their jobs, in slices that machines take.

1. A journal has one revision at most that machines work on. Whoever publishes the same manifest again joins that one,
   and another manifest is refused until it is over (`withdraw` lets nobody begin more of it).
2. A revision is there with all of its jobs, its slices and the engine's jobs for them, or not at all: one transaction.
3. The pictures of frames are there before the revision that needs them, each in a transaction of its own: what a line
   that breaks has brought over stays there for the next try. One that nothing needs goes after a month.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.frozen import frozen
from batchvid.domain.slices import cut, units
from batchvid.domain.spec import REOPENED, job_text, read_job
from batchvid.journal.engine_db import FIRST_OF_ALL, SEARCH_PATH, defer_closing, defer_slices, forget_slices
from batchvid.journal.postgres_db import lock_key, scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from batchvid.domain.job import Frame, Job
    from batchvid.domain.lifecycle import Reopened
    from batchvid.domain.slices import Slice
    from batchvid.journal.postgres_db import Connection

READ_AT_ONCE = 2000
"""Jobs."""
FRAMES_KEPT_DAYS = 30
"""How long a picture is kept that no revision under way needs: the next night may be about the same ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """What is to be published."""

    journal: int
    """Its number in the database."""
    account: int
    digest: str
    head: str
    """The manifest without its jobs, as text."""
    options: str
    """What was asked, as text."""
    jobs: Sequence[Job]
    to_do: Sequence[int]
    """The positions of the jobs for which something is left to do."""
    again: Mapping[str, Reopened] = field(default_factory=dict)
    """The events that open jobs again when their turn comes, by id."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Of the rows of those jobs. A row that has moved since is not opened: it may have been bought meanwhile."""
    canary: int = 0
    by: str
    """Who publishes, for messages."""


@frozen
class Published:
    """A revision that machines work on now."""

    revision: int
    is_new: bool
    """Whether it was made just now; else somebody has published the same before."""
    slices: int = 0
    """How many were cut."""


@frozen
class Revision:
    """A manifest as it was published, without its jobs (`jobs_of`)."""

    revision: int
    journal: int
    account: int
    digest: str
    head: str
    options: str
    published_at: float
    published_by: str
    withdrawn_by: str | None
    """Who has published another content in its place: nobody begins more of this one."""
    ended_at: float | None
    exit_code: int | None
    summary: str | None


_REVISION = (
    "SELECT revision, journal, account, digest, manifest, options, extract(epoch FROM published_at)::float8,"
    " published_by, withdrawn_by, extract(epoch FROM ended_at)::float8, exit_code, summary FROM batchvid.revisions"
)


def publish(db: Connection, edition: Edition) -> Published:
    """Publish a manifest for machines to work on, or join those who work on the same.

    The engine's tables are there, and so are the pictures of `frames_of`. Raises `ConfigError` when machines work on
    another manifest, and `StorageError` when a picture is gone.
    """
    with db.transaction():
        # So that what stands in the tables once the lock is had is seen, whatever the server's default is.
        db.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        db.execute(SEARCH_PATH)
        db.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(f"publish {edition.journal}")])
        live = live_revision(db, edition.journal)
        if live is not None and live.digest == edition.digest:
            return Published(live.revision, is_new=False)
        if live is not None:
            raise ConfigError(
                f"machines work on another manifest for this output, which {live.published_by} has published (revision "
                f"{live.revision}): wait until they are done"
            )
        number = _insert(db, edition)
        slices = cut(edition.jobs, edition.to_do, canary=edition.canary)
        numbers = _numbers(db, len(slices))
        _write(db, number, edition, dict(zip(numbers, slices, strict=True)))
        _use_frames(db, frames_of(edition.jobs, edition.to_do))
        db.execute(
            "DELETE FROM batchvid.work USING batchvid.revisions WHERE work.revision = revisions.revision"
            " AND journal = %s AND ended_at IS NOT NULL",
            [edition.journal],
        )
        if slices:
            ranks = [(name, 0 if place else FIRST_OF_ALL) for place, name in enumerate(numbers)]
            defer_slices(db, ranks, later=numbers[1:] if _waits_for_clips(db, edition) else [])
        else:
            defer_closing(db, number)
    return Published(number, is_new=True, slices=len(slices))


def _waits_for_clips(db: Connection, edition: Edition) -> bool:
    """Whether all but the first slice wait for the clips of the canary jobs."""
    query = "SELECT count(*) FROM batchvid.jobs WHERE journal = %s AND state = 'done'"
    return edition.canary > 0 and edition.canary > scalar(db, query, edition.journal)


def _insert(db: Connection, edition: Edition) -> int:
    number: int = scalar(
        db,
        "INSERT INTO batchvid.revisions (journal, account, digest, manifest, options, published_by)"
        " VALUES (%s, %s, %s, %s, %s, %s) RETURNING revision",
        edition.journal,
        edition.account,
        edition.digest,
        edition.head,
        edition.options,
        edition.by,
    )
    return number


def _numbers(db: Connection, count: int) -> list[int]:
    """Return numbers for so many new slices, in order."""
    query = "SELECT nextval(pg_get_serial_sequence('batchvid.slices', 'slice')) FROM generate_series(1, %s)"
    return sorted(number for (number,) in db.execute(query, [count]))


def _write(db: Connection, revision: int, edition: Edition, slices: Mapping[int, Slice]) -> None:
    placed = {position: number for number, one in slices.items() for position in one.jobs}
    with db.cursor().copy("COPY batchvid.slices (slice, revision, jobs) FROM STDIN") as copy:
        for number, one in slices.items():
            copy.write_row((number, revision, one.to_do))
    columns = "revision, position, job_id, slice, spec, again, again_version"
    with db.cursor().copy(f"COPY batchvid.work ({columns}) FROM STDIN") as copy:
        for position, job in enumerate(edition.jobs):
            event = edition.again.get(job.id)
            again = None if event is None else REOPENED.text(event)
            version = None if event is None else edition.versions[job.id]
            copy.write_row((revision, position, job.id, placed.get(position), job_text(job), again, version))


def slice_work(db: Connection, number: int) -> tuple[tuple[Job, ...], dict[str, tuple[Reopened, int]]]:
    """Return the jobs of a slice in the manifest's order, and by id the events that open some of them again.

    Each comes with the version of the job's row that it is for.
    """
    rows = db.execute(
        "SELECT position, spec, again, again_version FROM batchvid.work JOIN batchvid.slices USING (revision, slice)"
        " WHERE slice = %s ORDER BY position",
        [number],
    ).fetchall()
    jobs = tuple(read_job(spec, what=f"job {position + 1} of slice {number}") for position, spec, _, _ in rows)
    again = {}
    for job, (_, _, event, version) in zip(jobs, rows, strict=True):
        if event is not None:
            again[job.id] = REOPENED.read(event, what=f"what opens the job {job.id} again"), version
    return jobs, again


def revision_of(db: Connection, revision: int) -> Revision:
    """Return a revision; raises `StorageError` where there is none."""
    row = db.execute(f"{_REVISION} WHERE revision = %s", [revision]).fetchone()
    if row is None:
        raise StorageError(f"there is no revision {revision} in the database")
    return Revision(*row)


def live_revision(db: Connection, journal: int) -> Revision | None:
    """Return the revision of the journal that machines work on; ``None`` when there is none."""
    row = db.execute(f"{_REVISION} WHERE journal = %s AND ended_at IS NULL", [journal]).fetchone()
    return None if row is None else Revision(*row)


def withdraw(db: Connection, revision: int, *, by: str) -> tuple[int, int]:
    """Let nobody begin more of a revision; return how many slices that are, and how many are under way."""
    with db.transaction():
        db.execute(SEARCH_PATH)
        db.execute("UPDATE batchvid.revisions SET withdrawn_by = %s WHERE revision = %s", (by, revision))
        rows = db.execute(
            "SELECT slice, taken_at IS NOT NULL FROM batchvid.slices WHERE revision = %s AND over_at IS NULL"
            " ORDER BY slice FOR UPDATE",
            (revision,),
        ).fetchall()
        waiting = [number for number, is_begun in rows if not is_begun]
        db.execute("UPDATE batchvid.slices SET over_at = clock_timestamp() WHERE slice = ANY(%s)", (waiting,))
        forget_slices(db, waiting)
        if waiting and len(waiting) == len(rows):
            defer_closing(db, revision)
    return len(waiting), len(rows) - len(waiting)


def put_aside(db: Connection, revision: int, *, by: str) -> None:
    """End a revision that nobody works on, by whoever has its journal alone; a worker that wakes again is fenced."""
    with db.transaction():
        db.execute(SEARCH_PATH)
        db.execute(
            "UPDATE batchvid.revisions SET withdrawn_by = %s, ended_at = clock_timestamp() WHERE revision = %s",
            (by, revision),
        )
        rows = db.execute(
            "UPDATE batchvid.slices SET over_at = clock_timestamp(), epoch = epoch + 1"
            " WHERE revision = %s AND over_at IS NULL RETURNING slice",
            (revision,),
        )
        forget_slices(db, [number for (number,) in rows])


def jobs_of(db: Connection, revision: int) -> Iterator[Job]:
    """Yield all jobs of a revision in the manifest's order; those of one that another has followed are gone."""
    with db.transaction(), db.cursor(f"jobs_{revision}") as cursor:
        cursor.itersize = READ_AT_ONCE
        query = "SELECT position, spec FROM batchvid.work WHERE revision = %s ORDER BY position"
        for position, spec in cursor.execute(query, [revision]):
            yield read_job(spec, what=f"job {position + 1} of revision {revision}")


def frames_of(jobs: Sequence[Job], to_do: Sequence[int]) -> dict[str, Frame]:
    """Return the frames that workers need for the slices of these jobs, one for each picture, by its SHA-256."""
    return {
        frame.sha256: frame
        for unit in units(jobs, sorted(to_do))
        for position in unit
        for frame in jobs[position].frames
    }


def _use_frames(db: Connection, wanted: Collection[str]) -> None:
    """Keep these pictures for the revision that is being published, and drop those that nothing has needed lately."""
    names = sorted(wanted)
    # In their order, so that two that publish at once wait for each other in one direction.
    there = db.execute(
        "SELECT sha256 FROM batchvid.frames WHERE sha256 = ANY(%s) ORDER BY sha256 FOR UPDATE", [names]
    ).fetchall()
    if len(there) != len(names):
        raise StorageError("pictures of frames are not in the database any more; run again")
    db.execute("UPDATE batchvid.frames SET used_at = clock_timestamp() WHERE sha256 = ANY(%s)", [names])
    db.execute(
        "DELETE FROM batchvid.frames WHERE sha256 IN (SELECT sha256 FROM batchvid.frames"
        " WHERE used_at < clock_timestamp() - make_interval(days => %s) AND used_at < ALL ("
        "SELECT published_at FROM batchvid.revisions WHERE ended_at IS NULL) FOR UPDATE SKIP LOCKED)",
        [FRAMES_KEPT_DAYS],
    )


def put_frames(db: Connection, frames: Mapping[str, Callable[[], bytes]]) -> int:
    """Bring over the pictures that are not there yet, one after the other, and return how many that were.

    *frames* are what reads each, by the SHA-256 of what it reads; it raises `ValueError` where that is gone. Raises
    `StorageError` for a picture that is another one.
    """
    there = {sha for (sha,) in db.execute("SELECT sha256 FROM batchvid.frames WHERE sha256 = ANY(%s)", [list(frames)])}
    missing = [sha for sha in frames if sha not in there]
    for sha256 in missing:
        try:
            data = frames[sha256]()
        except ValueError as error:
            raise StorageError(f"nothing is published: {error}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError("nothing is published: a frame was changed after its job was made from it; run again")
        query = "INSERT INTO batchvid.frames (sha256, data) VALUES (%s, %b) ON CONFLICT DO NOTHING"
        db.execute(query, [sha256, data])
    return len(missing)


def frame(db: Connection, sha256: str) -> bytes:
    """Return a picture; raises `ValueError` where it is not there, or another one."""
    row = db.cursor(binary=True).execute("SELECT data FROM batchvid.frames WHERE sha256 = %s", [sha256]).fetchone()
    data = b"" if row is None else bytes(row[0])
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"the frame {sha256} is not in the database as it was published; publish the manifest again")
    return data
