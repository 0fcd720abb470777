"""From a journal beside the clips to one in a database: nothing is bought twice, whoever comes by which way."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import batchvid
from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.errors import ConfigError
from batchvid.engine import moving
from batchvid.engine.belonging import claim
from batchvid.engine.target import journal_in_database, journal_of
from batchvid.journal.postgres_db import Database, scalar
from batchvid.journal.sqlite import SqliteStore
from tests.cli.project import ended, read_until

if TYPE_CHECKING:
    from tests.cli.project import Project

STATES = {"job-1": "done", "job-2": "running", "job-3": "in_doubt"}


def ran_beside(project: Project) -> dict[str, int]:
    """Run a manifest with its journal beside the clips, and return what was paid."""
    project.manifest("kite", "endless", "unsure", task_timeout="1s")
    assert project.batchvid("run", "m.yaml").code == 4
    assert project.states() == STATES
    return project.creates()


def states_in(project: Project, url: str) -> dict[str, str]:
    """Return the state of each job by the journal in the database."""
    found = project.batchvid("export", "m.yaml", "--format", "jsonl", "--database", url).told
    return {row["id"]: row["state"] for row in found}


def test_a_journal_goes_over_with_all_that_is_paid(project: Project, url: str) -> None:
    """Before that, no run takes the database for the journal; after it, none goes on beside the clips."""
    paid = ran_beside(project)
    events = project.batchvid("export", "m.yaml").out
    for name in ("run", "status", "plan", "retry"):
        ran = project.batchvid(name, "m.yaml", "--database", url, *(["--failed"] if name == "retry" else []))
        assert ran.code == 78, ran
        assert (
            f"has a journal of its own, {project.state}/journal.db, and the journal {project.out} in the data"
            in ran.err
        )
        assert "batchvid move-journal MANIFEST --database URL" in ran.err
    moved = project.batchvid("move-journal", "m.yaml", "--database", url)
    assert (moved.code, moved.out.startswith("moved the journal with 3 jobs. Next: batchvid run m.yaml")) == (0, True)
    assert states_in(project, url) == STATES
    assert project.batchvid("export", "m.yaml", "--database", url).out == events
    again = project.batchvid("run", "m.yaml", "--database", url)
    assert (again.code, project.creates()) == (4, paid), again
    for name in ("run", "status", "plan"):
        ran = project.batchvid(name, "m.yaml")
        assert ran.code == 78, ran
        assert f"is known to the journal {project.out} in the database postgresql://batchvid@" in ran.err
    assert project.batchvid("move-journal", "m.yaml", "--database", url).code == 78  # there is nothing left to move
    assert project.creates() == paid


def test_a_journal_comes_back_with_all_that_is_paid(project: Project, url: str) -> None:
    """Nothing goes on with the one in the database then, from any machine; and it may go there once more."""
    paid = ran_beside(project)
    events = project.batchvid("export", "m.yaml").out
    for _ in range(2):
        assert project.batchvid("move-journal", "m.yaml", "--database", url).code == 0
        assert project.batchvid("run", "m.yaml", "--database", url).code == 4
        moved = project.batchvid("move-journal", "m.yaml", "--database", url, "--back")
        assert (moved.code, moved.out) == (0, "moved the journal with 3 jobs. Next: batchvid run m.yaml\n"), moved
        assert project.batchvid("export", "m.yaml").out == events
        assert project.batchvid("run", "m.yaml").code == 4
        assert project.creates() == paid
        ran = project.batchvid("run", "m.yaml", "--database", url)
        assert (ran.code, "has a journal of its own" in ran.err) == (78, True), ran
    elsewhere = project.folder / "elsewhere"  # a machine that does not see what lies beside the clips
    project.out.rename(elsewhere)
    for name in ("run", "status"):
        ran = project.batchvid(name, "m.yaml", "--database", url)
        assert (ran.code, f"was moved to {project.state}/journal.db, which knows" in ran.err) == (78, True), ran
    assert project.creates() == paid


def test_what_machines_may_go_on_with_does_not_come_back(project: Project, url: str) -> None:
    """A worker that comes later would buy what a run beside the clips buys."""
    project.manifest("kite", "slow", "slow")
    process = project.start("run", "m.yaml", "--database", url, "--json")
    read_until(process, '"id": "job-1", "event": "clip_saved"')
    ran = project.batchvid("move-journal", "m.yaml", "--database", url, "--back")
    assert (ran.code, "another run holds the journal" in ran.err) == (75, True), ran
    process.send_signal(signal.SIGKILL)
    ended(process)
    ran = project.batchvid("move-journal", "m.yaml", "--database", url, "--back")
    assert (ran.code, "is not over (revision 1): `batchvid run MANIFEST --database" in ran.err) == (78, True), ran
    assert not (project.state / "journal.db").exists()


@pytest.mark.parametrize(
    ("step", "way"),
    [
        *((step, "there") for step in ("set_owner", "_fill", "_take_along")),
        *((step, "back") for step in ("_fill", "_take_along", "drop_owner")),
    ],
)
def test_a_move_that_is_cut_off_is_done_again(
    project: Project,
    url: str,
    step: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before or after each of its steps; meanwhile neither way goes on, or the old one does."""
    paid, back = ran_beside(project), way == "back"
    monkeypatch.setenv("HOME", str(project.folder))
    manifest = batchvid.load(project.folder / "m.yaml", base_url=project.service.api, database=url)
    if back:
        moving.move_into_database(manifest, note=lambda _: None)
    done, begins = getattr(moving, step), step in {"set_owner", "drop_owner"}

    def dies(*given: object, **more: object) -> None:
        if not begins:
            done(*given, **more)
        raise KeyboardInterrupt

    move = moving.move_back if back else moving.move_into_database
    with monkeypatch.context() as patched:
        patched.setattr(moving, step, dies)
        with pytest.raises(KeyboardInterrupt):
            move(manifest, note=lambda _: None)
    assert project.batchvid("run", "m.yaml", "--database", url).code == 78
    assert project.batchvid("run", "m.yaml").code == (4 if step == "set_owner" else 78)
    flags = ["--database", url]
    moved = project.batchvid("move-journal", "m.yaml", *flags, *["--back"] * back)
    assert (moved.code, "moved the journal with 3 jobs" in moved.out) == (0, True), moved
    assert project.batchvid("run", "m.yaml", *([] if back else flags)).code == 4
    assert (project.states() if back else states_in(project, url)) == STATES
    assert project.creates() == paid


@pytest.mark.parametrize("way", ["there", "back"])
def test_what_is_decided_meanwhile_goes_along(
    project: Project, url: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rejection that is taken back just then must not buy the clip again."""
    paid, back = ran_beside(project), way == "back"
    monkeypatch.setenv("HOME", str(project.folder))
    manifest = batchvid.load(project.folder / "m.yaml", base_url=project.service.api, database=url)
    done_id = next(job_id for job_id, state in project.states().items() if state == "done")
    assert project.batchvid("reject", "m.yaml", done_id, "--note", "no").code == 0
    flags = ["--database", url]
    if back:
        moving.move_into_database(manifest, note=lambda _: None)
    take_along = moving._take_along

    def decide_too(*given: Any) -> None:
        take_along(*given)
        store = journal_in_database(manifest) if back else SqliteStore(project.state / "journal.db")
        store.decide([Decision(done_id, 1, 1_800_000_000.0, "ada", Verdict.APPROVED)])

    with monkeypatch.context() as patched:
        patched.setattr(moving, "_take_along", decide_too)
        (moving.move_back if back else moving.move_into_database)(manifest, note=lambda _: None)
    assert project.batchvid("run", "m.yaml", *([] if back else flags)).code == 4
    assert project.creates() == paid


def test_of_two_that_begin_at_once_one_is_refused(project: Project, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has looked for the other before that one was there."""
    project.manifest("kite")
    monkeypatch.setenv("HOME", str(project.folder))
    beside = batchvid.load(project.folder / "m.yaml", base_url=project.service.api)
    there = batchvid.load(project.folder / "m.yaml", base_url=project.service.api, database=url)
    file, store = journal_of(beside), journal_of(there)
    project.state.mkdir(parents=True)
    with file.open(service="s") as one, store.open(service="s") as other:
        with pytest.raises(ConfigError, match="has a journal of its own"):
            claim(other, there, moved=False)
        with pytest.raises(ConfigError, match="is known to the journal"):
            claim(one, beside, moved=False)


def test_a_paid_task_that_was_kept_beside_comes_back_too(project: Project, url: str) -> None:
    """Of a worker that could not record it any more: one is given to its job, and one waits for a person."""
    project.manifest("kite", "unsure", task_timeout="1s")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 4
    with closing(Database(url).connect()) as db:
        query = "INSERT INTO batchvid.orphans (journal, job_id, attempt, task_id, worker) VALUES (1, %s, %s, %s, 'w')"
        for place in (("job-2", 1, "task_late"), ("job-1", 7, "task_nobody")):
            db.execute(query, place)
    moved = project.batchvid("move-journal", "m.yaml", "--database", url, "--back")
    assert (moved.code, "adopted job-2: task task_late" in moved.err) == (0, True), moved
    ran = project.batchvid("run", "m.yaml")
    assert "names task task_nobody of job 'job-1', attempt 7, which the journal cannot place" in ran.out, ran
    assert len(project.creates()) == 2


def test_a_database_that_has_a_journal_of_the_output_takes_no_other(project: Project, url: str) -> None:
    """Nobody could tell which of the two is right."""
    project.manifest("gull")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0
    (project.out / ".batchvid-journal.json").unlink()
    paid = ran_beside(project)
    ran = project.batchvid("move-journal", "m.yaml", "--database", url)
    assert (ran.code, "already, and it does not hold what" in ran.err) == (78, True), ran
    assert project.batchvid("run", "m.yaml").code == 4
    assert project.creates() == paid


def test_an_output_does_not_take_another_database_for_its_own(project: Project, url: str) -> None:
    """Also one that was made again under the same address; when a person says so, the sidecars tell what is paid."""
    project.manifest("kite", "gull")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0
    paid = project.creates()
    with closing(Database(url).connect()) as db:
        db.execute("DROP SCHEMA batchvid, batchvid_engine CASCADE")
    for home in (project.folder / ".local" / "state" / "batchvid" / "databases").rglob("log*.jsonl"):
        home.unlink()  # as on a machine that has not seen the run
    ran = project.batchvid("run", "m.yaml", "--database", url)
    assert (ran.code, "belongs to another journal: what is paid" in ran.err) == (78, True), ran
    assert "Name that database, or restore it from its backup" in ran.err
    ran = project.batchvid("run", "m.yaml", "--moved", "--database", url)
    assert (ran.code, project.creates()) == (0, paid), ran
    assert "2 paid attempts of 2 jobs that it did not know were taken back" in ran.err + ran.out
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0


def test_a_rehearsal_stays_where_it_is(project: Project, url: str) -> None:
    """Its tasks are those of a sandbox that is gone."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "out/m").code == 0
    ran = project.batchvid("move-journal", "m.yaml", "--database", url)
    assert (ran.code, "is that of a rehearsal (--sandbox)" in ran.err) == (78, True)
    with closing(Database(url).connect()) as db:
        assert scalar(db, "SELECT to_regnamespace('batchvid')") is None


def test_a_damaged_word_about_the_journal_is_an_error(project: Project, url: str) -> None:
    """It may be what keeps a run from buying everything again."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0
    (project.out / ".batchvid-journal.json").write_text("{}", encoding="utf-8")
    for arguments in ((), ("--database", url)):
        ran = project.batchvid("run", "m.yaml", *arguments)
        assert (ran.code, "makes no sense, and tells which database knows what is paid" in ran.err) == (8, True)
    assert len(project.creates()) == 1
