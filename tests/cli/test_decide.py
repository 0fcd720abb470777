"""A person decides about clips from the shell: what is kept, what is told, and what the next run buys."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.journal.sqlite import SqliteStore
from tests.cli.project import ended, read_until

if TYPE_CHECKING:
    from tests.cli.project import Project


@pytest.fixture
def reviewed(project: Project) -> Project:
    """Return a project with three clips."""
    project.manifest("=kite", "gull", "wave", budget="9.00")
    ran = project.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    return project


def bought(project: Project) -> list[int]:
    """Return how often each job was bought."""
    return [number for _, number in sorted(project.creates().items(), key=lambda one: one[0].split()[1])]


def reviews(project: Project) -> dict[str, Any]:
    """Return what status says of the reviews."""
    return {job["id"]: job["review"] for job in project.status()["jobs"]}


def sidecar(project: Project, name: str) -> dict[str, Any]:
    """Return what a sidecar tells."""
    found: dict[str, Any] = json.loads((project.out / name).read_text(encoding="utf-8"))
    return found


def test_rejected_and_run_and_run_again(reviewed: Project) -> None:
    """The loop of a review: what the next run buys is told before, and it buys that, once."""
    said = reviewed.batchvid("reject", "m.yaml", "job-2", "--note", "six fingers", "--by", "ada")
    assert said.code == 0, said
    assert said.out == (
        "Rejected 1 clip: job-2\nThe next run buys 1 job again, for $0.40 at most: batchvid run m.yaml\n"
    )
    assert "* job-2  rejected  $0.40  rejected: six fingers; attempt 2" in reviewed.batchvid("plan", "m.yaml").out
    ran = reviewed.batchvid("run", "m.yaml", "--no-report")
    assert (ran.code, ran.err) == (0, ""), ran
    assert bought(reviewed) == [1, 2, 1]
    assert sidecar(reviewed, "job-2.attempt-1.json")["review"]["note"] == "six fingers"
    assert "review" not in sidecar(reviewed, "job-2.json")
    assert reviews(reviewed) == dict.fromkeys(["job-1", "job-2", "job-3"])
    again = reviewed.batchvid("run", "m.yaml", "--no-report")
    assert (again.code, again.err) == (0, "")
    assert "0 submits" in again.out
    assert bought(reviewed) == [1, 2, 1]


def test_a_decision_after_a_run_leaves_nothing_to_ask_or_warn_of(reviewed: Project) -> None:
    """The journal stays sealed: the next run compares nothing, and the one after that neither."""
    assert (reviewed.state / "seal.json").exists()
    for verdict in ("approve", "reject", "approve"):
        assert reviewed.batchvid(verdict, "m.yaml", "job-1", "--note", "x").code == 0
        seal = json.loads((reviewed.state / "seal.json").read_text())
        found = (reviewed.state / "journal.db").lstat()
        assert seal["file"] == [found.st_ino, found.st_size, found.st_ctime_ns]
    for _ in range(2):
        ran = reviewed.batchvid("run", "m.yaml", "--no-report")
        assert (ran.code, ran.err) == (0, "")
        assert not [line for line in ran.out.splitlines() if "went back" in line or "note" in line or "moved" in line]
    assert bought(reviewed) == [1, 1, 1]


def test_a_person_decides_while_a_run_is_killed(project: Project) -> None:
    """What was decided stays, what was paid is known, and nothing is asked."""
    project.manifest("=kite", "gull")
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    project.manifest("=kite", "gull", "endless")
    run = project.start("run", "m.yaml", "--no-report")
    read_until(run, "submitted")
    during = project.batchvid("reject", "m.yaml", "job-1", "--note", "no")
    assert during.code == 0, during
    assert "The run after the one that is going on buys 1 job again" in during.out
    run.kill()
    ended(run)
    assert project.batchvid("reject", "m.yaml", "job-2", "--note", "no").code == 0
    project.manifest("=kite", "gull")
    ran = project.batchvid("run", "m.yaml", "--no-report", "--max-jobs", "2")
    assert ran.code == 0, ran
    assert "moved" not in ran.out + ran.err
    assert bought(project) == [2, 2, 1]


def test_a_journal_of_an_older_batchvid_is_brought_up_to_date(reviewed: Project) -> None:
    """Nobody has to run anything for it; its old form is kept."""
    with closing(sqlite3.connect(reviewed.state / "journal.db")) as db:
        db.execute("DROP TABLE decisions")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    said = reviewed.batchvid("approve", "m.yaml", "job-1")
    assert (said.code, said.err) == (0, ""), said
    assert reviews(reviewed)["job-1"]["verdict"] == "approved"
    assert (reviewed.state / "journal.db.v2.bak").exists()


def test_patterns_name_what_is_done(reviewed: Project) -> None:
    """A name that is none is a slip, and so is a pattern that no clip has."""
    said = reviewed.batchvid("approve", "m.yaml", "job-*", "--stars", "4", "--json", "--by", "ada")
    assert said.code == 0, said
    *told, sums = said.told
    assert [(one["id"], one["verdict"], one["stars"], one["by"]) for one in told] == [
        (f"job-{number}", "approved", 4, "ada") for number in (1, 2, 3)
    ]
    assert (sums["decided"], sums["again"], sums["next"]) == (3, [], None)
    for name, words in (("nobody", "the manifest has no job 'nobody'"), ("x*", "no job like 'x*'")):
        slip = reviewed.batchvid("approve", "m.yaml", name)
        assert (slip.code, words in slip.err) == (2, True), slip
    assert reviewed.batchvid("reject", "m.yaml", "job-1").code == 2
    assert reviewed.batchvid("approve", "m.yaml", "job-1", "--stars", "6").code == 2
    assert "no clip of an attempt 7" in reviewed.batchvid("approve", "m.yaml", "job-1", "--attempt", "7").err


def test_all_that_nobody_has_judged_is_approved(reviewed: Project) -> None:
    """What was rejected before stays rejected, and the sum of it is told with each further rejection."""
    reviewed.batchvid("reject", "m.yaml", "job-1", "--note", "six fingers")
    said = reviewed.batchvid("reject", "m.yaml", "job-3", "--note", "no boat")
    assert "buys 1 job again, for $0.40 at most; 2 jobs with those rejected before: batchvid run m.yaml" in said.out, (
        said
    )
    said = reviewed.batchvid("approve", "m.yaml", "--undecided", "--stars", "3")
    assert (said.code, said.out) == (0, "Approved 1 clip: job-2\n"), said
    assert {name: told["verdict"] for name, told in reviews(reviewed).items()} == {
        "job-1": "rejected", "job-2": "approved", "job-3": "rejected"
    }  # fmt: skip
    again = reviewed.batchvid("approve", "m.yaml", "--undecided")
    assert (again.code, again.out) == (0, "every finished clip has a verdict: nothing was changed\n"), again
    assert reviewed.batchvid("approve", "m.yaml").code == 2


def test_a_rejection_without_money_left_is_no_bound_of_nothing(project: Project) -> None:
    """It said "buys 1 job again, for $0.40, at most $0.00", which no run does."""
    project.manifest("kite", budget="0.40")
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    said = project.batchvid("reject", "m.yaml", "job-1", "--note", "x")
    assert "again, for $0.40, of which nothing may be spent: batchvid run m.yaml" in said.out, said
    assert "$0.40, of which nothing may be spent" in project.batchvid("plan", "m.yaml").out


def test_after_a_rehearsal_alone_its_output_is_named(project: Project) -> None:
    """Who rehearses first looks at those clips; the flag that is told works as it stands."""
    project.manifest("kite")
    assert project.batchvid("run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--no-report").code == 0
    for command in (("approve", "m.yaml", "job-1"), ("redo", "m.yaml", "job-1", "-y"), ("collect", "m.yaml", "final")):
        never = project.batchvid(*command)
        assert never.code == 78, never
        flags = shlex.split(never.err.partition("its rehearsal is another output: add ")[2])
        assert flags[0] == "--output", never
        ran = project.batchvid(*command, *flags)
        assert ran.code == 0, ran


def test_only_a_clip_that_is_there_can_be_judged(project: Project) -> None:
    """Not a job that failed, nor one that was never run."""
    project.manifest("doomed", attempts="1")
    never = project.batchvid("approve", "m.yaml", "job-1")
    assert (never.code, "nothing was ever run" in never.err) == (78, True)
    project.batchvid("run", "m.yaml", "--no-report")
    failed = project.batchvid("approve", "m.yaml", "job-1")
    assert (failed.code, "job 'job-1' is failed" in failed.err) == (2, True), failed


def test_what_was_decided_is_told_everywhere_and_taken_back(reviewed: Project) -> None:
    """Status, export, sidecar and clips.jsonl; a spreadsheet's formula in a note is only text."""
    reviewed.batchvid("approve", "m.yaml", "job-1", "--stars", "5", "--note", "=1+1", "--by", "ada")
    wanted = {"verdict": "approved", "stars": 5, "note": "=1+1", "by": "ada"}
    found = reviews(reviewed)["job-1"]
    assert found | wanted == found
    assert sidecar(reviewed, "job-1.json")["review"] == found
    table = list(csv.DictReader(io.StringIO(reviewed.batchvid("export", "m.yaml", "--safe-cells").out)))
    assert [row["verdict"] for row in table] == ["approved", "", ""]
    assert (table[0]["stars"], table[0]["note"], table[0]["reviewed_by"]) == ("5", "'=1+1", "ada")
    approved = reviewed.batchvid("export", "m.yaml", "--approved", "--format", "jsonl").told
    assert [row["id"] for row in approved] == ["job-1"]
    assert "  1 approved, 0 rejected, 2 to be looked at" in reviewed.batchvid("status", "m.yaml").out
    reviewed.batchvid("run", "m.yaml", "--no-report")
    lines = [json.loads(line) for line in (reviewed.out / "clips.jsonl").read_text().splitlines()]
    assert [line.get("review") for line in lines] == [found, None, None]
    assert reviewed.batchvid("approve", "m.yaml", "job-1", "--clear").code == 0
    assert reviews(reviewed)["job-1"] is None
    assert "review" not in sidecar(reviewed, "job-1.json")
    assert "approved" not in reviewed.batchvid("status", "m.yaml").out


def test_an_approved_clip_is_exported_without_the_one_that_it_continues(project: Project) -> None:
    """The clip before it may have been rejected since: that is another row, and the table is whole all the same."""
    manifest = project.manifest("kite", "dive", budget="9.00")
    manifest.write_text(manifest.read_text("utf-8").replace("{id: job-2,", "{id: job-2, continues: job-1,"), "utf-8")
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    assert project.batchvid("approve", "m.yaml", "job-2").code == 0
    assert project.batchvid("reject", "m.yaml", "job-1", "--note", "dark").code == 0
    for form in ("csv", "jsonl"):
        ran = project.batchvid("export", "m.yaml", "--approved", "--format", form)
        assert (ran.code, ran.err) == (0, ""), ran
        assert "job-2.mp4" in ran.out
        assert "job-1.mp4" not in ran.out


def test_verify_brings_a_stale_sidecar_up_to_date(reviewed: Project) -> None:
    """One that could not be written when the person decided is a warning, and the decision is kept."""
    path = reviewed.out / "job-1.json"
    before = path.read_bytes()
    reviewed.batchvid("approve", "m.yaml", "job-1")
    path.write_bytes(before)
    assert reviewed.batchvid("verify", "m.yaml").code == 0
    assert sidecar(reviewed, "job-1.json")["review"]["verdict"] == "approved"


def test_a_lost_journal_learns_of_reviews_and_buys_nothing_for_them(reviewed: Project) -> None:
    """Approvals, stars and notes come back; a rejection does not, because what it led to may be lost as well."""
    reviewed.batchvid("approve", "m.yaml", "job-1", "--stars", "4", "--note", "nice", "--by", "ada")
    reviewed.batchvid("reject", "m.yaml", "job-2", "--note", "six fingers")
    for path in reviewed.state.glob("journal.db*"):
        path.unlink()
    ran = reviewed.batchvid("run", "m.yaml", "--no-report")
    assert ran.code == 0, ran
    assert "2 decisions about clips were taken back in from the sidecars" in ran.out
    found = reviews(reviewed)
    assert (found["job-1"]["verdict"], found["job-1"]["stars"], found["job-1"]["by"]) == ("approved", 4, "ada")
    assert (found["job-2"]["verdict"], found["job-2"]["note"]) == (None, "rejected: six fingers")
    again = reviewed.batchvid("run", "m.yaml", "--no-report")
    assert "taken back" not in again.out
    assert bought(reviewed) == [1, 1, 1]


def test_redo_tells_the_price_keeps_the_old_clip_and_is_refused_beside_a_run(reviewed: Project) -> None:
    """Also where no attempt is left."""
    for bought_by_now in (2, 2):
        reviewed.batchvid("reject", "m.yaml", "job-1", "--note", "no")
        reviewed.batchvid("run", "m.yaml", "--no-report")
        assert bought(reviewed)[0] == bought_by_now
    stuck = reviewed.batchvid("reject", "m.yaml", "job-1", "--note", "still not")
    assert "No attempt left for job-1 (limits.attempts): batchvid redo m.yaml job-1" in stuck.out
    assert "1 rejected clip, no attempt left: batchvid redo m.yaml job-1" in reviewed.batchvid("status", "m.yaml").out
    asked = reviewed.batchvid("redo", "m.yaml", "job-1")
    assert (asked.code, "not a terminal: add --yes" in asked.err) == (2, True)
    done = reviewed.batchvid("redo", "m.yaml", "job-1", "--yes")
    assert done.code == 0, done
    assert done.out.startswith(
        "1 clip would be made once more, for $0.40, at most $0.80 with second attempts ($7.40 of the budget is left):"
    )
    assert reviewed.batchvid("run", "m.yaml", "--no-report").code == 0
    assert bought(reviewed)[0] == 3
    assert (reviewed.out / "job-1.attempt-2.mp4").exists()
    reviewed.manifest("=kite", "gull", "wave", "endless")
    run = reviewed.start("run", "m.yaml", "--no-report")
    read_until(run, "submitted")
    assert reviewed.batchvid("redo", "m.yaml", "job-1", "-y").code == 75
    run.kill()
    ended(run)


def test_redo_opens_nothing_that_the_budget_cannot_pay(reviewed: Project) -> None:
    """Such a job would be pending for ever, although its clip is there."""
    path = reviewed.folder / "m.yaml"
    path.write_text(path.read_text("utf-8").replace("budget: 9.0", "budget: 1.7"), encoding="utf-8")
    said = reviewed.batchvid("redo", "m.yaml", "job-*", "--yes")
    assert (said.code, "3 clips would cost $1.20, and $0.50 of the budget is left" in said.err) == (2, True), said
    assert set(reviewed.states().values()) == {"done"}
    assert reviewed.batchvid("redo", "m.yaml", "job-2", "--yes").code == 0


def test_another_task_of_an_attempt_is_another_clip(reviewed: Project) -> None:
    """Whoever adopts one takes back what was decided about the clip before: it must not be bought again."""
    reviewed.batchvid("reject", "m.yaml", "job-1", "--note", "no")
    adopted = reviewed.batchvid("adopt", "m.yaml", "job-1", "task_of_another_clip", "--offline", "--yes")
    assert adopted.code == 0, adopted
    reader = SqliteStore(reviewed.state / "journal.db").read()
    assert reader is not None
    with reader:
        assert reader.decisions() == {}


def test_decisions_in_a_database(project: Project, url: str) -> None:
    """As beside the clips; the run that follows buys it once."""
    project.manifest("=kite", "gull")
    with_it = ("--database", url)
    assert project.batchvid("run", "m.yaml", "--no-report").code == 0
    project.batchvid("approve", "m.yaml", "job-2", "--stars", "3")
    moved = project.batchvid("move-journal", "m.yaml", *with_it)
    assert moved.code == 0, moved
    said = project.batchvid("reject", "m.yaml", "job-1", "--note", "no", *with_it)
    assert said.code == 0, said
    for _ in range(2):
        ran = project.batchvid("run", "m.yaml", "--no-report", *with_it)
        assert ran.code == 0, ran
        assert bought(project) == [2, 1]
    back = project.batchvid("move-journal", "m.yaml", *with_it, "--back")
    assert back.code == 0, back
    found = reviews(project)
    assert found["job-1"] is None
    assert (found["job-2"]["verdict"], found["job-2"]["stars"]) == ("approved", 3)
