"""What persons decide about clips is kept by every journal, beside whoever writes it, and disturbs nobody."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.decision import BY_MAX, NOTE_MAX, Decision, Verdict
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import ClipMissing, ClipSaved, SubmitAccepted, SubmitStarted, TaskSucceeded
from batchvid.journal import sqlite_file
from batchvid.journal.base import is_copy
from batchvid.journal.sqlite import SqliteStore
from tests.journal.conftest import SERVICE, STORES, Life

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.journal.base import Journal, JournalReader, JournalStore

NO = Decision("kite", 1, 1_800_000_100.0, "ada", Verdict.REJECTED, 1, "the hand has six fingers")
YES = Decision("kite", 1, 1_800_000_200.0, "bob", Verdict.APPROVED, 4)
NOTHING = Decision("kite", 1, 1_800_000_300.0, "ada")


def saved(journal: Journal, job_id: str = "kite") -> Life:
    """Record the life of a clip."""
    life = Life(journal, Progress.fresh(job_id))
    life.goes(SubmitStarted(1, 400_000, "f" * 64), SubmitAccepted(f"task_{job_id}"), TaskSucceeded(None))
    return life.goes(ClipSaved(f"{job_id}.mp4", 9, "a" * 64))


def reading(store: JournalStore) -> JournalReader:
    """Open the journal beside its writer."""
    reader = store.read()
    assert reader is not None
    return reader


def test_of_a_clip_the_newest_decision_counts(journal: Journal, store: JournalStore) -> None:
    """All of them are kept; one that says nothing takes back what was said."""
    life = saved(journal)
    assert journal.decisions() == {}
    store.decide([NO])
    assert journal.decisions() == {("kite", 1): NO}
    store.decide([YES])
    assert journal.decisions() == {("kite", 1): YES}
    store.decide([NOTHING])
    assert journal.decisions() == {}
    assert [one for _, one in journal.decisions_after(0)] == [NO, YES, NOTHING]
    store.decide([Decision("kite", 1, 1.5, "ada", note="look again \0 \udcff 影")])
    said = journal.decisions()["kite", 1]
    assert (said.verdict, said.stars, said.note) == (None, None, "look again \0 \\udcff 影")
    assert journal.progress("kite") == life.progress


def test_what_comes_after_a_decision_is_found_by_its_number(journal: Journal, store: JournalStore) -> None:
    """A page that looks again and again reads each decision once."""
    saved(journal)
    saved(journal, "dawn")
    store.decide([NO, YES._replace(job_id="dawn")])
    first, second = journal.decisions_after(0)
    assert first[0] < second[0]
    assert journal.decisions_after(first[0]) == [second]
    assert journal.decisions_after(second[0]) == []
    assert journal.decisions(["dawn", "unknown"]) == {("dawn", 1): YES._replace(job_id="dawn")}


def test_a_run_that_writes_is_not_disturbed(journal: Journal, store: JournalStore) -> None:
    """The row and its version are the run's."""
    life = saved(journal)
    store.decide([NO])
    life.goes(ClipMissing("gone"))
    with reading(store) as reader:
        assert reader.progress("kite") == life.progress
        assert reader.decisions() == {("kite", 1): NO}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (NO._replace(job_id="unknown"), "job 'unknown' has no clip of an attempt 1"),
        (NO._replace(attempt=2), "job 'kite' has no clip of an attempt 2"),
        (NO._replace(job_id="open"), "job 'open' has no clip of an attempt 1"),
        (NO._replace(stars=6), "stars are a whole number from 0 to 5, not 6"),
        (NO._replace(stars=-1), "stars are"),
        (NO._replace(stars=True), "stars are"),
        (NO._replace(note="x" * (NOTE_MAX + 1)), "a note has at most 2,000 characters, and this one has 2,001"),
        (NO._replace(by="x" * (BY_MAX + 1)), "at most 200"),
    ],
)
def test_what_makes_no_sense_is_refused_with_all_beside_it(
    journal: Journal, store: JournalStore, wrong: Decision, said: str
) -> None:
    """An attempt without a clip may be refused yet, and its number belongs to another one then."""
    saved(journal)
    Life(journal, Progress.fresh("open")).goes(SubmitStarted(1, 400_000, "f" * 64), SubmitAccepted("task_open"))
    with pytest.raises(ValueError, match=said):
        store.decide([YES, wrong])
    assert journal.decisions_after(0) == []


def test_what_lies_beside_a_journal_may_tell_of_decisions(journal: Journal) -> None:
    """The session that has the journal takes them over, as the others."""
    saved(journal)
    journal.take_over_decisions([NO, YES])
    assert journal.decisions() == {("kite", 1): YES}
    with pytest.raises(ValueError, match="no clip"):
        journal.take_over_decisions([NO._replace(attempt=2)])


def test_there_must_be_a_journal(store: JournalStore) -> None:
    """A person who looks at nothing decides nothing."""
    with pytest.raises(StorageError, match="there is no journal"):
        store.decide([NO])
    assert not store.exists()


def test_decisions_move_with_their_job(journal: Journal, store: JournalStore) -> None:
    """Another id is the same clip; the one that had the id keeps its own."""
    saved(journal)
    store.decide([NO])
    journal.move([("kite", "gull")], at=0.0, remark=("to_rename", "[]"))
    assert journal.decisions() == {("gull", 1): NO._replace(job_id="gull")}


@pytest.mark.parametrize("kind", [kind for kind in STORES if kind != "memory"])
def test_decisions_go_over_to_another_journal(journal: Journal, store: JournalStore, kind: str, tmp_path: Path) -> None:
    """In their order; a copy without them is none."""
    saved(journal)
    store.decide([NO, YES])
    target = STORES[kind](tmp_path / "other" / ".batchvid" / "journal.db")
    with target.open(service=SERVICE) as copy:
        copy.fill(journal, remarks={}, at=1.0)
        assert is_copy(copy, journal)
        assert [one for _, one in copy.decisions_after(0)] == [NO, YES]
        store.decide([NOTHING])
        assert not is_copy(copy, journal)


def test_many_decide_at_once_and_each_is_seen_in_its_order(journal: Journal, store: JournalStore) -> None:
    """Who has read up to a number has read all that will ever be before it, while a run writes."""
    life = saved(journal)
    seen: list[Decision] = []

    def decide(by: str) -> None:
        for number in range(10):
            store.decide([YES._replace(by=by, at=float(number))])

    threads = [threading.Thread(target=decide, args=(by,)) for by in "abc"]
    for one in threads:
        one.start()
    after = 0
    with reading(store) as reader:
        while any(one.is_alive() for one in threads) or reader.decisions_after(after):
            found = reader.decisions_after(after)
            seen += [one for _, one in found]
            after = found[-1][0] if found else after
            life.goes(ClipMissing("gone"), TaskSucceeded(None), ClipSaved("kite.mp4", 9, "a" * 64))
        assert sorted(seen) == sorted(one for _, one in reader.decisions_after(0))
    assert len(seen) == 30
    for by in "abc":
        assert [one.at for one in seen if one.by == by] == [float(number) for number in range(10)]


# ---- the file


@pytest.fixture
def sealed(path: Path) -> SqliteStore:
    """Return a journal in a file, closed properly by who knew all."""
    store = SqliteStore(path)
    with store.open(service=SERVICE) as journal:
        saved(journal)
        journal.seal()
    return store


def is_sealed(store: SqliteStore) -> bool:
    """Whether it is, for a reader and for a run."""
    with reading(store) as reader:
        found = reader.is_sealed
    with store.open(service=SERVICE) as journal:
        assert journal.is_sealed is found
        assert journal.moved_question(["kite", "new"]) is None
    return found


def test_a_decision_leaves_a_sealed_journal_sealed(sealed: SqliteStore) -> None:
    """The next run compares nothing; also beside a page that has the journal open."""
    sealed.decide([NO])
    assert is_sealed(sealed)
    with reading(sealed) as page:
        sealed.decide([YES])
        sealed.decide([NO])
        assert page.decisions() == {("kite", 1): NO}
    assert is_sealed(sealed)


def test_a_decision_seals_nothing_that_was_not_sealed(path: Path, sealed: SqliteStore) -> None:
    """A journal that went back in time must be compared with what lies beside it, whatever a person decides first."""
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
    sealed.decide([NO])
    assert not is_sealed(sealed)


def test_a_decision_beside_a_run_seals_nothing(sealed: SqliteStore) -> None:
    """The run has broken the seal; it is put on again by the run alone."""
    with sealed.open(service=SERVICE) as journal:
        sealed.decide([NO])
        assert not sealed.path.with_name(sqlite_file.SEAL_FILE).exists()
        assert journal.is_sealed
    assert is_sealed(sealed)


DECIDE = """
import sys
from pathlib import Path
from batchvid.domain.decision import Decision, Verdict
from batchvid.journal.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
for number in range(10_000):
    store.decide([Decision("kite", 1, float(number), "ada", Verdict.REJECTED)])
    print(number, flush=True)
"""


def test_who_is_killed_while_deciding_loses_nothing_that_was_told(sealed: SqliteStore) -> None:
    """What was durable stays; the journal is whole, and asks nothing."""
    for _ in range(3):
        started = len(list(reading(sealed).decisions_after(0)))
        process = subprocess.Popen([sys.executable, "-c", DECIDE, str(sealed.path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(7)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        with reading(sealed) as reader:
            assert len(reader.decisions_after(0)) - started in {len(told), len(told) + 1}
        is_sealed(sealed)


@pytest.fixture
def older(sealed: SqliteStore) -> SqliteStore:
    """Return a journal as an older batchvid has left it."""
    with closing(sqlite3.connect(sealed.path)) as db:
        db.execute("DROP TABLE decisions")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    return sealed


def test_an_older_journal_is_brought_up_to_date_first(older: SqliteStore) -> None:
    """Its old form is kept beside it, as by a run."""
    with pytest.raises(ConfigError, match="is of an older batchvid"):
        older.read()
    older.decide([NO])
    with reading(older) as reader:
        assert reader.decisions() == {("kite", 1): NO}
    assert older.path.with_name("journal.db.v2.bak").exists()


def test_an_older_journal_that_a_run_has_is_left_alone(older: SqliteStore) -> None:
    """The older batchvid would not find its way in another schema."""
    with older.lock(), pytest.raises(ConfigError, match="a run of that one holds it: decide once it is over"):
        older.decide([NO])
    with closing(sqlite3.connect(older.path)) as db:
        assert sqlite_file.version_of(db) == 2


def test_no_attempt_with_a_decision_can_go(sealed: SqliteStore) -> None:
    """The database itself refuses it."""
    sealed.decide([NO])
    with closing(sqlite_file.connect(sealed.path)) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute("DELETE FROM attempts")
