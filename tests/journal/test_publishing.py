"""Publishing on a real PostgreSQL: all or nothing, once, and read back slice by slice as it was."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.job import Frame
from batchvid.domain.lifecycle import Reopened
from batchvid.journal import publishing
from batchvid.journal.engine_db import FIRST_OF_ALL
from batchvid.journal.postgres_db import PostgresError, scalar
from batchvid.journal.publishing import (
    Published,
    frame,
    frames_of,
    jobs_of,
    live_revision,
    publish,
    put_frames,
    revision_of,
    slice_work,
)
from tests.engine.drive import a_job
from tests.journal.published import connected, edition, linked, new_database, new_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchvid.domain.job import Job
    from batchvid.journal.postgres_db import Connection, Database


@pytest.fixture(scope="module")
def database() -> Database:
    """Return a database with all tables, in which each test has a journal of its own."""
    made = new_database()
    with connected(made):
        return made


@pytest.fixture
def db(database: Database) -> Iterator[Connection]:
    """Return a connection to it."""
    with closing(database.connect()) as opened:
        yield opened


@pytest.fixture
def journal(db: Connection, request: pytest.FixtureRequest) -> int:
    """Return the number of a journal."""
    return new_journal(db, request.node.name)


def slices_of(db: Connection, revision: int) -> list[int]:
    """Return the numbers of a revision's slices."""
    query = "SELECT slice FROM batchvid.slices WHERE revision = %s ORDER BY slice"
    return [number for (number,) in db.execute(query, [revision])]


def waiting(db: Connection) -> dict[int, int]:
    """Return the slices that the engine would hand out, with their priorities."""
    query = (
        "SELECT (args ->> 'slice')::bigint, priority FROM batchvid_engine.procrastinate_jobs"
        " WHERE queue_name = 'batchvid' AND task_name = 'batchvid.slice' AND status = 'todo'"
    )
    return dict(db.execute(query).fetchall())


def ids_in(db: Connection, number: int) -> list[str]:
    """Return the ids of the jobs in a slice."""
    return [job.id for job in slice_work(db, number)[0]]


def test_what_is_published_is_read_back_as_it_was(db: Connection, journal: int) -> None:
    """Slice by slice, and whole; with the events that open jobs again."""
    jobs = linked([None, 0, None, *[None] * 80, 1])
    event = Reopened("--retry-failed")
    made = publish(db, edition(journal, jobs, again={"j2": event}, versions={"j2": 7}))
    numbers = slices_of(db, made.revision)
    assert made == Published(made.revision, is_new=True, slices=len(numbers))
    works = [slice_work(db, number) for number in numbers]
    assert sorted((job for work, _ in works for job in work), key=jobs.index) == jobs
    assert [again for _, again in works] == [{"j2": (event, 7)}, *[{}] * (len(works) - 1)]
    assert {"j0", "j1", "j83"} <= {job.id for job in works[0][0]}
    assert list(jobs_of(db, made.revision)) == jobs
    found = revision_of(db, made.revision)
    assert (found.digest, found.head, found.published_by) == ("d" * 64, '{"spec":1}', "here:1")
    assert (found.ended_at, found.exit_code, found.journal) == (None, None, journal)
    assert live_revision(db, journal) == found


def test_the_engine_hands_out_each_slice_once_the_canary_first(db: Connection, journal: int) -> None:
    """In a queue of its own, with the number of the slice."""
    before = waiting(db)
    made = publish(db, edition(journal, linked([None] * 100), canary=2))
    first, *others = slices_of(db, made.revision)
    new = {number: rank for number, rank in waiting(db).items() if number not in before}
    assert new == {first: FIRST_OF_ALL} | dict.fromkeys(others, 0)
    assert len(others) == 3


@pytest.mark.parametrize("text", ["a\0b", "\1", "tab\tline\n\\N \\.", "\udcff", "é\u202e", ""])
def test_any_text_survives(db: Connection, database: Database, text: str) -> None:
    """PostgreSQL takes no NUL, and COPY has signs of its own."""
    jobs = [replace(a_job(text or "x"), prompt=text, where=text)]
    made = publish(db, edition(new_journal(db, f"text {text!r}"), jobs, by=text))
    assert list(jobs_of(db, made.revision)) == jobs
    (number,) = slices_of(db, made.revision)
    assert slice_work(db, number)[0] == tuple(jobs)
    assert revision_of(db, made.revision).published_by in {text, text.encode("utf-8", "backslashreplace").decode()}


def test_only_what_is_left_to_do_is_in_a_slice(db: Connection, journal: int) -> None:
    """The rest is published too, for whoever closes the revision."""
    jobs = linked([None] * 40)
    made = publish(db, edition(journal, jobs, to_do=[3, 5]))
    (number,) = slices_of(db, made.revision)
    assert ids_in(db, number) == ["j3", "j5"]
    assert scalar(db, "SELECT jobs FROM batchvid.slices WHERE slice = %s", number) == 2
    assert list(jobs_of(db, made.revision)) == jobs


def test_a_revision_with_nothing_to_do_is_closed_at_once(db: Connection, journal: int) -> None:
    """There is no last slice after which somebody would."""
    made = publish(db, edition(journal, linked([None]), to_do=[]))
    assert made.slices == 0
    query = "SELECT count(*) FROM batchvid_engine.procrastinate_jobs WHERE args ->> 'revision' = %s"
    assert scalar(db, query, str(made.revision)) == 1


def test_the_same_manifest_is_published_once(db: Connection, journal: int) -> None:
    """Whoever comes second works on what is there; after its end there is a new revision."""
    jobs = linked([None] * 30)
    made = publish(db, edition(journal, jobs))
    before = waiting(db)
    assert publish(db, edition(journal, jobs, by="there:2")) == Published(made.revision, is_new=False)
    assert waiting(db) == before
    db.execute("UPDATE batchvid.revisions SET ended_at = now() WHERE revision = %s", [made.revision])
    again = publish(db, edition(journal, jobs))
    assert again.is_new
    assert again.revision > made.revision
    assert list(jobs_of(db, made.revision)) == []


def test_two_that_publish_at_once_make_one_revision(database: Database, db: Connection, journal: int) -> None:
    """One set of slices; all of them get its number."""
    jobs = linked([None] * 300)
    before = waiting(db)
    at_once = threading.Barrier(4)
    found: list[Published] = []

    def one_of_them() -> None:
        with closing(database.connect()) as own:
            own.execute("SET default_transaction_isolation = 'repeatable read'")
            at_once.wait()
            found.append(publish(own, edition(journal, jobs)))

    threads = [threading.Thread(target=one_of_them) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert sorted(one.is_new for one in found) == [False] * 3 + [True]
    assert len({one.revision for one in found}) == 1
    assert set(waiting(db)) - set(before) == set(slices_of(db, found[0].revision))


def test_a_publication_that_fails_leaves_nothing(db: Connection, journal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a revision, nor a slice that somebody might take."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    before = waiting(db)
    monkeypatch.setattr(publishing, "defer_slices", fails)
    with pytest.raises(RuntimeError):
        publish(db, edition(journal, linked([None] * 30)))
    assert live_revision(db, journal) is None
    assert waiting(db) == before
    assert not scalar(db, "SELECT count(*) FROM batchvid.revisions WHERE journal = %s", journal)


def test_another_manifest_is_refused_while_one_is_worked_on(db: Connection, journal: int) -> None:
    """Else two machines might buy the same clip."""
    made = publish(db, edition(journal, linked([None] * 30)))
    with pytest.raises(ConfigError, match=rf"another manifest .*here:1 has published \(revision {made.revision}\)"):
        publish(db, edition(journal, linked([None] * 29), digest="e" * 64))
    assert live_revision(db, journal) == revision_of(db, made.revision)


def test_journals_do_not_concern_each_other(db: Connection, journal: int) -> None:
    """Several manifests are worked on in one database."""
    other = new_journal(db, "other of test_journals")
    mine = publish(db, edition(journal, linked([None] * 30)))
    theirs = publish(db, edition(other, linked([None] * 20), digest="e" * 64))
    assert theirs.is_new
    assert live_revision(db, journal) == revision_of(db, mine.revision)


def read(data: bytes) -> Callable[[], bytes]:
    """Return what reads *data*."""
    return lambda: data


def sha(data: bytes) -> str:
    """Return its SHA-256."""
    return hashlib.sha256(data).hexdigest()


def test_pictures_are_brought_over_once(db: Connection) -> None:
    """Byte for byte; what is there is not read again."""
    pictures = [b"kite" * 1000, bytes(range(256)), b""]
    assert put_frames(db, {sha(one): read(one) for one in pictures}) == 3
    assert [frame(db, sha(one)) for one in pictures] == pictures

    def never() -> bytes:
        raise AssertionError

    assert put_frames(db, {sha(b""): never, sha(b"new"): read(b"new")}) == 1


def test_a_picture_that_is_another_one_is_not_published(db: Connection) -> None:
    """Nor one that cannot be read; what was brought over before stays."""

    def gone() -> bytes:
        raise ValueError("the frame kite.png was changed")

    with pytest.raises(StorageError, match="run again"):
        put_frames(db, {sha(b"first"): read(b"first"), "ab" * 32: read(b"other")})
    assert frame(db, sha(b"first")) == b"first"
    with pytest.raises(StorageError, match=r"kite\.png was changed"):
        put_frames(db, {"ab" * 32: gone})
    with pytest.raises(ValueError, match="not in the database"):
        frame(db, "ab" * 32)
    db.execute("INSERT INTO batchvid.frames (sha256, data) VALUES (%s, %s)", ["cd" * 32, b"damaged"])
    with pytest.raises(ValueError, match="not in the database"):
        frame(db, "cd" * 32)


def pictured(job: Job, *pictures: bytes) -> Job:
    """Return the job with frames of these pictures."""
    frames = tuple(Frame(f"/pictures/{len(one)}.png", sha(one), len(one), "image/png", 16, 9) for one in pictures)
    return replace(job, frames=frames)


def test_workers_need_the_pictures_of_whole_chains() -> None:
    """A clip that is made again may open again what is behind it."""
    jobs = [pictured(job, job.id.encode()) for job in linked([None, 0, None, None])]
    assert list(frames_of(jobs, [1, 3])) == [sha(b"j0"), sha(b"j1"), sha(b"j3")]
    assert list(frames_of(jobs, [])) == []


def test_nothing_is_published_without_its_pictures(db: Connection, journal: int) -> None:
    """No worker may find that out after it has begun."""
    jobs = [pictured(a_job("kite"), b"one of kite", b"two of kite"), a_job("dawn")]
    put_frames(db, {sha(b"one of kite"): read(b"one of kite")})
    with pytest.raises(StorageError, match="run again"):
        publish(db, edition(journal, jobs))
    assert live_revision(db, journal) is None
    assert publish(db, edition(journal, jobs, to_do=[1])).is_new


def test_a_picture_goes_when_nothing_has_needed_it_for_a_month(db: Connection, database: Database) -> None:
    """Those of a revision under way stay however long it takes."""
    first, second, third = (new_journal(db, f"month {number}") for number in range(3))
    old, kept, new, fresh = (f"{name} of the month".encode() for name in ("old", "kept", "new", "fresh"))
    put_frames(db, {sha(one): read(one) for one in (old, kept)})

    def there() -> set[bytes]:
        rows = db.execute("SELECT data FROM batchvid.frames WHERE data LIKE %s", [b"%of the month"])
        return {bytes(data) for (data,) in rows}

    def months_pass() -> None:
        db.execute("UPDATE batchvid.frames SET used_at = used_at - interval '40 days'")
        db.execute("UPDATE batchvid.revisions SET published_at = published_at - interval '40 days'")

    db.execute("UPDATE batchvid.revisions SET ended_at = now()")
    publish(db, edition(first, [pictured(a_job("a"), kept)]))
    months_pass()
    put_frames(db, {sha(one): read(one) for one in (new, fresh)})
    publish(db, edition(second, [pictured(a_job("b"), new)]))
    assert there() == {kept, new, fresh}
    db.execute("UPDATE batchvid.revisions SET ended_at = now()")
    publish(db, edition(third, []))
    assert there() == {new, fresh}


def test_what_is_damaged_is_refused(db: Connection, journal: int) -> None:
    """A job that cannot be read is not guessed."""
    made = publish(db, edition(journal, linked([None])))
    (number,) = slices_of(db, made.revision)
    db.execute("UPDATE batchvid.work SET spec = 'x' WHERE slice = %s", [number])
    with pytest.raises(StorageError, match=f"job 1 of slice {number} cannot be read"):
        slice_work(db, number)
    with pytest.raises(StorageError, match="there is no revision 0"):
        revision_of(db, 0)


def test_a_journal_has_one_live_revision_whoever_writes(db: Connection, journal: int) -> None:
    """The table itself refuses a second one."""
    publish(db, edition(journal, linked([None])))
    with pytest.raises(PostgresError):
        publishing._insert(db, edition(journal, linked([None])))
