"""``--database``: whole runs on one machine whose journal is in a real PostgreSQL."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid import load
from batchvid.domain.errors import StorageError
from batchvid.domain.job import State
from batchvid.engine.stats import Watching
from batchvid.engine.target import journal_of
from batchvid.journal.postgres_db import Database, newest_version, scalar
from tests.cli.project import ended, read_until
from tests.cli.test_night import hook
from tests.cli.test_secrets import written_below

if TYPE_CHECKING:
    from tests.cli.project import Project

PASSWORD = "hush"
LOOKS = ("status", "plan", "verify", "report", "doubts", "export", "films", "list", "logs")
"""Commands that read a journal."""


def without_advice(text: str) -> list[str]:
    """Return the lines that advise no command: those name the database as it was given."""
    return [line for line in text.splitlines() if "batchvid " not in line]


def test_a_run_killed_in_its_midst_is_taken_up_again(project: Project, url: str) -> None:
    """What is paid is in the database when the process dies, and no file in the output tells of it."""
    project.manifest("kite", "endless", "gull", "slow", in_flight="4", task_timeout="1s")
    process = project.start("run", "m.yaml", "--database", url, "--json")
    read_until(process, '"id": "job-3", "event": "clip_saved"')
    process.send_signal(signal.SIGKILL)
    ended(process)
    assert not (project.state / "journal.db").exists()
    killed = project.creates()
    ran = project.batchvid("run", "m.yaml", "--database", url)
    assert ran.code == 4, ran  # the one that was under way is in doubt
    assert project.creates() == killed
    again = project.batchvid("run", "m.yaml", BATCHVID_DATABASE=url)
    assert project.creates() == killed, again
    states = json.loads(project.batchvid("status", "m.yaml", "--json", BATCHVID_DATABASE=url).out)["jobs"]
    assert {job["id"]: job["state"] for job in states} == {
        "job-1": "done", "job-2": "running", "job-3": "done", "job-4": "in_doubt"
    }  # fmt: skip


def test_every_command_that_reads_a_journal_reads_this_one(project: Project, url: str) -> None:
    """By the flag, by the variable, and by the one that the manifest names."""
    project.manifest("kite", "unsure", text="database: $FILMS")
    assert project.batchvid("run", "m.yaml", FILMS=url).code == 4
    assert len(project.creates()) == 2
    for name in LOOKS:
        wanted = project.batchvid(name, "m.yaml", FILMS=url)
        assert wanted.code == 0, (name, wanted)
        for flag, more in ((url, {}), ("$MINE", {"MINE": url, "BATCHVID_DATABASE": "no address"})):
            ran = project.batchvid(name, "m.yaml", "--database", flag, **more)
            assert (ran.code, without_advice(ran.out), ran.err) == (0, without_advice(wanted.out), wanted.err)
    found = json.loads(project.batchvid("status", "m.yaml", "--json", FILMS=url).out)
    assert [job["state"] for job in found["jobs"]] == ["done", "in_doubt"]


def test_the_run_that_watches_tells_what_happens_once_for_all_machines(project: Project, url: str) -> None:
    """Whoever's variable it is; the end is told as before."""
    with hook() as one:
        text = "notify: [{url: $PAGER, when: [first-failure, end]}]"
        project.manifest("gull", "gull", "doomed", "doomed", text=text, attempts="1", submits="1/s")
        ran = project.batchvid("run", "m.yaml", "--database", url, PAGER=f"json://{one.address}/pager")
        assert ran.code == 3, ran
    assert Counter(told["event"] for _, told in one.got) == {"first_failure": 1, "run_ended": 1}


def test_what_mends_a_journal_mends_this_one(project: Project, url: str) -> None:
    """A decision about a job in doubt is in the database, and the next run acts on it."""
    project.manifest("kite", "unsure")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 4
    ran = project.batchvid("retry", "m.yaml", "job-2", "--in-doubt", "--yes", "--database", url)
    assert (ran.code, "batchvid run m.yaml --database '$BATCHVID_DATABASE'" in ran.out) == (0, True), ran
    planned = project.batchvid("plan", "m.yaml", "--json", "--database", url).told
    assert [row["action"] for row in planned if "action" in row] == ["done", "new"]


def test_a_manifest_whose_variable_is_not_set_runs_nowhere_else(project: Project) -> None:
    """A journal beside the clips would buy everything again. Who needs no journal needs no address."""
    project.manifest("kite", text="database: $FILMS")
    for name in ("run", "plan", "status", "verify"):
        ran = project.batchvid(name, "m.yaml")
        assert ran.code == 78
        assert "the variable FILMS holds, and it is not set" in ran.err
    assert project.creates() == {}
    assert not project.out.exists()
    assert project.batchvid("check", "m.yaml").code == 0


@pytest.mark.parametrize("address", ["mysql://me:hush@h/x", "postgresql://me:hush@[h/x", "me:hush", "", "$MISSING"])
def test_an_address_that_is_none_is_told_before_anything_else(project: Project, address: str) -> None:
    """And not repeated."""
    project.manifest("kite")
    for name in ("run", "check", "status"):
        ran = project.batchvid(name, "m.yaml", "--database", address)
        assert ran.code == 78, ran
        assert "postgresql://USER@HOST:PORT/NAME" in ran.err or "MISSING" in ran.err
        assert PASSWORD not in ran.err
    assert not project.out.exists()


def test_a_database_out_of_reach_is_trouble_with_the_disk(project: Project, url: str) -> None:
    """Exit 8, and nothing is sent."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", "--database", url.replace("batchvid-pg-", "batchvid-gone-"))
    assert ran.code == 8, ran
    assert "it cannot be reached; look whether it runs" in ran.err
    assert project.creates() == {}


def test_the_embedded_sandbox_has_no_place_in_a_database(project: Project, url: str) -> None:
    """It is a part of one run of one machine."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", "--sandbox", "--database", url)
    assert (ran.code, "start `batchvid sandbox`, and name it with --base-url" in ran.err) == (78, True)


def test_the_password_is_written_nowhere(project: Project, url: str) -> None:
    """Not to a stream, not to a file, also where a command is advised."""
    project.manifest("kite", "unsure")
    told = [project.batchvid("run", "m.yaml", "-v", "--database", url)]
    told += [project.batchvid(name, "m.yaml", "--database", url) for name in (*LOOKS, "doctor", "check")]
    told += [project.batchvid("run", "m.yaml", "--json", "--database", url.replace("batchvid-pg-", "batchvid-gone-"))]
    everything = "".join(ran.out + ran.err for ran in told).encode() + written_below(project.folder)
    assert b"--database '$BATCHVID_DATABASE'" in everything
    assert PASSWORD.encode() not in everything


def test_what_stays_on_the_machine_is_where_such_things_belong(project: Project, url: str) -> None:
    """The event log and the seal are in the state folder of this user, by database and output."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0
    (home,) = (project.folder / ".local" / "state" / "batchvid" / "databases").iterdir()
    assert home.name.startswith("m-")
    assert {"log.jsonl", "seal-database.json"} <= {path.name for path in (home / ".batchvid").iterdir()}
    assert sorted(path.name for path in project.out.iterdir()) == [
        ".batchvid-journal.json", "clips.jsonl", "job-1.json", "job-1.mp4", "report.html", "report_files"
    ]  # fmt: skip
    named = {"XDG_STATE_HOME": str(project.folder / "state"), "BATCHVID_DATABASE": url}
    assert project.batchvid("run", "m.yaml", **named).code == 0
    assert [path.name for path in (project.folder / "state" / "batchvid" / "databases").iterdir()] == [home.name]


@pytest.mark.parametrize("how", ["retry", "resubmit"])
def test_a_doubt_is_not_bought_again_before_its_worker_cannot_wake(project: Project, url: str, how: str) -> None:
    """A machine that was only asleep would send its request after all, and both would be paid."""
    project.manifest("slow", in_doubt="resubmit" if how == "resubmit" else "hold")
    process = project.start("run", "m.yaml", "--database", url)
    while not project.creates():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    ended(process)
    asked = ("retry", "m.yaml", "--in-doubt", "--yes") if how == "retry" else ("run", "m.yaml")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 4
    ran = project.batchvid(*asked, "--database", url)
    assert ran.code == (75 if how == "retry" else 4), ran
    assert "may still wake and send it; it can be bought again in " in ran.err + ran.out, ran
    assert sum(project.creates().values()) == 1
    if how == "retry":
        with closing(Database(url).connect()) as db:
            db.execute("UPDATE batchvid.takeovers SET at = at - interval '5 minutes'")
        assert project.batchvid(*asked, "--database", url).code == 0


def test_a_worker_may_come_before_anything_is_published(project: Project, url: str) -> None:
    """It makes the tables that are not there, and waits; with ``--once`` it finds nothing to do."""
    for _ in range(2):
        ran = project.batchvid("work", "--once", "--database", url)
        assert (ran.code, ran.out) == (0, ""), ran
        assert re.search(r"note      worker \S+:\d+ takes work from postgresql://", ran.err)
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0


def test_status_and_metrics_show_the_machines(project: Project, url: str) -> None:
    """Who took part, and which revision it was; a journal without a database has none."""
    project.manifest("kite", "gull")
    metrics = project.folder / "m.prom"
    ran = project.batchvid("run", "m.yaml", "--database", url, "--metrics", metrics, "--json")
    assert (ran.code, ran.told[-2]["type"]) == (0, "summary"), ran
    (worker,) = ran.told[-2]["machines"]["workers"]
    assert (worker["clips"], worker["standing"]) == (2, "left")
    told = project.batchvid("status", "m.yaml", "--database", url).out
    assert "Machines: revision 1, published by " in told
    assert f"  {worker['name']}  has ended, 2 clips in its slices\n" in told
    page = (project.out / "report.html").read_text()
    assert f"<li>{worker['name']}: 2 clips</li>" in page
    lines = metrics.read_text()
    assert 'batchvid_slices{manifest="m.yaml",state="over"} 1\n' in lines
    assert 'batchvid_workers{manifest="m.yaml",standing="alive"} 0\n' in lines
    alone = project.batchvid("run", "m.yaml", "--output", "alone", "--json", "--metrics", metrics)
    assert (alone.code, "machines" in alone.told[-2], "batchvid_slices" in metrics.read_text()) == (0, False, False)


def test_a_worker_that_is_older_than_the_tables_ends(project: Project, url: str) -> None:
    """Also in the midst of its work, when a newer batchvid comes: it begins nothing more, and what is paid stays."""
    project.manifest("kite", *["endless"] * 20, in_flight="2", typical_time="20s")
    process = project.start("run", "m.yaml", "--database", url, "--json")
    read_until(process, '"id": "job-1", "event": "clip_saved"')
    worker = project.start("work", "--database", url)
    with closing(Database(url).connect()) as db:
        db.execute("UPDATE batchvid.schema_version SET version = 99")
    for one in (process, worker, project.start("work", "--database", url)):
        ran = ended(one)
        assert (ran.code, "was written by a newer batchvid (its version is 99" in ran.out + ran.err) == (78, True), ran
    with closing(Database(url).connect()) as db:
        db.execute("UPDATE batchvid.schema_version SET version = %s", [newest_version()])
        paid = [row for (row,) in db.execute("SELECT job_id FROM batchvid.attempts WHERE task_id IS NOT NULL")]
        assert sum(project.creates().values()) == len(paid) == len(set(paid)) < 21
        assert scalar(db, "SELECT count(*) FROM batchvid.slices WHERE over_at IS NULL AND worker IS NULL") == 1


def test_who_watches_sees_on_when_the_database_was_away(project: Project, url: str) -> None:
    """Its connection is gone for good then; the next look is a new one, and counts each job once."""
    project.manifest("kite", "gull")
    assert project.batchvid("run", "m.yaml", "--database", url).code == 0
    loaded = replace(load(project.folder / "m.yaml"), database=url)
    with Watching(loaded, journal_of(loaded)) as watching:
        assert watching.look().counts[State.DONE] == 2
        with closing(Database(url).connect()) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with pytest.raises(StorageError):
            watching.look()
        found = watching.look()
    assert (found.counts[State.DONE], found.counts[State.PENDING], len(found.newest)) == (2, 0, 2)
    assert found.machines is not None


def test_of_workers_that_come_first_at_once_one_makes_the_tables(project: Project, url: str) -> None:
    """The others wait for it, whoever is quicker; none finds half of them."""
    workers = [project.start("work", "--once", "--database", url) for _ in range(6)]
    assert [ended(one).code for one in workers] == [0] * 6
    with closing(Database(url).connect()) as db:
        assert scalar(db, "SELECT array_agg(version) FROM batchvid.schema_version") == [newest_version()]
        assert scalar(db, "SELECT count(*) FROM batchvid.engine") == 1
        assert scalar(db, "SELECT count(*) FROM batchvid.workers") == 6


@pytest.mark.parametrize("dead_time", ["1s", "10m"])
def test_a_dead_time_with_which_nothing_would_be_sent_or_sent_twice_is_refused(
    project: Project, url: str, dead_time: str
) -> None:
    """Below, no heartbeat comes in time, and a run waits for ever; above, a zombie sends what was bought again."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", "--database", url, "--dead-time", dead_time)
    assert ran.code == 2, ran
    assert "between 3 s and 2 minutes" in " ".join(ran.err.split()), ran
    assert not project.creates()
