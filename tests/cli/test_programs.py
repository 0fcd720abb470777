"""What programs read: JSON on standard output and nothing else, with the promised fields, whatever happens."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitStarted
from batchvid.engine.api import state_of
from batchvid.journal.base import Change
from batchvid.journal.sqlite import SqliteStore
from batchvid.manifest import load
from batchvid.media.images import read_frame
from batchvid.storage.state import StateFolder, hold
from tests.cli.project import ended, read_until

if TYPE_CHECKING:
    from tests.cli.project import Project

STATES = {"pending", "submitting", "in_doubt", "running", "ready", "done", "failed"}
JOB_FIELDS = [
    "id",
    "state",
    "attempt",
    "task_id",
    "model",
    "resolved_model",
    "reason",
    "path",
    "size_bytes",
    "sha256",
    "price",
    "submitted_at",
    "finished_at",
]


def test_a_run_in_json_is_its_plan_then_its_jobs_and_at_last_its_summary_and_its_exit(project: Project) -> None:
    """Every line is an object with a type, and people read the other stream."""
    project.manifest("kite", "unsure")
    ran = project.batchvid("run", "m.yaml", "--json")
    assert ran.code == 4, ran
    types = [line["type"] for line in ran.told]
    assert types[0] == "plan"
    assert types[-2:] == ["summary", "exit"]
    assert set(types) == {"plan", "job", "stats", "summary", "exit"}
    plan, summary, end = ran.told[0], ran.told[-2], ran.told[-1]
    assert (plan["submits"], plan["price"], plan["counts"]["new"]) == (2, 0.8, 2)
    assert summary["counts"] == dict.fromkeys(STATES, 0) | {"done": 1, "in_doubt": 1}
    assert [job["id"] for job in summary["needs_person"]] == ["job-2"]
    assert end["code"] == 4
    events = [(line["id"], line["event"]) for line in ran.told if line["type"] == "job"]
    assert ("job-1", "clip_saved") in events
    assert ("job-2", "submit_unsure") in events
    assert "job-2" in ran.err


def test_a_plan_beside_a_run_calls_a_request_that_is_under_way_running_and_after_a_crash_in_doubt(
    project: Project,
) -> None:
    """Nobody is to look at a dashboard for a request that is still to be answered."""
    path = project.manifest("kite")
    state = StateFolder(project.out)
    state.prepare()
    with SqliteStore(project.state / "journal.db").open(service=project.service.api) as journal:
        started = SubmitStarted(1, 400_000, load(path, read_frame=read_frame, state_of=state_of).jobs[0].fingerprint)
        journal.record([Change.of(Progress.fresh("job-1"), (started, 1.0))])
    with hold(project.out):
        beside = project.batchvid("plan", "m.yaml", "--json")
    after = project.batchvid("plan", "m.yaml", "--json")
    assert [line["action"] for ran in (beside, after) for line in ran.told if "id" in line] == ["running", "in_doubt"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "wrong.yaml"), 65, "wrong.yaml:2:"),
        (("run", "gone.yaml"), 65, "gone.yaml"),
        (("run", "m.yaml"), 78, "COMETAPI_KEY"),
        (("run", "m.yaml", "m.yaml", "--output", "o"), 2, "--output"),
    ],
)
def test_a_run_that_cannot_begin_ends_with_its_exit_object_too(
    project: Project, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """A program need not read what is meant for people to learn why."""
    project.manifest("kite")
    (project.folder / "wrong.yaml").write_text("version: 1\njobz: []\n", encoding="utf-8")
    ran = project.batchvid(*arguments, "--json", COMETAPI_KEY=None)
    assert ran.code == code, ran
    (end,) = ran.told
    assert (end["type"], end["code"]) == ("exit", code)
    assert words in end["reason"]
    assert words in ran.err


def test_the_status_in_json_has_the_promised_fields_and_no_others(finished: Project) -> None:
    """Field names are a promise; times are RFC 3339 in UTC, what is unknown is null."""
    found = finished.status()
    assert list(found) == ["manifest", "output", "counts", "money", "jobs", "films", "missing", "standings"]
    assert found["manifest"] == str(finished.folder / "m.yaml")
    assert found["output"] == str(finished.out)
    assert found["counts"] == dict.fromkeys(STATES, 0) | {"done": 2, "failed": 1, "in_doubt": 1}
    assert found["money"] == {"spent": 1.2, "reserved": 0.4, "unproven": 0.0, "budget": 9.0}
    assert [list(job) for job in found["jobs"]] == [[*JOB_FIELDS, "continues", "review"]] * 4
    kite, _, doomed, unsure = found["jobs"]
    assert (kite["id"], kite["state"], kite["path"], kite["price"]) == ("job-1", "done", "job-1.mp4", 0.4)
    assert kite["size_bytes"] == (finished.out / "job-1.mp4").stat().st_size
    for name in ("submitted_at", "finished_at"):
        assert kite[name].endswith("Z")
        assert abs((datetime.now(UTC) - datetime.fromisoformat(kite[name])).total_seconds()) < 600
    assert doomed["reason"] == "the prompt was refused"
    assert (unsure["task_id"], unsure["path"], unsure["finished_at"]) == (None, None, None)


def test_the_status_can_be_asked_beside_a_run_and_never_turns_one_away(project: Project) -> None:
    """It only looks: the run goes on, and says of itself that it is active."""
    project.manifest("kite", "slow")
    run = project.start("run", "m.yaml", "-v")
    read_until(run, "sending   job-2")
    assert "a run is active" in project.batchvid("status", "m.yaml").out
    assert project.states()["job-2"] == "submitting"
    run.kill()
    ended(run)


def test_a_manifest_that_was_never_run_has_a_status_that_says_how_to_go_on(project: Project) -> None:
    """A new user looks around first, and nothing is made by looking."""
    project.manifest("kite")
    ran = project.batchvid("status", "m.yaml")
    assert ran.code == 0
    assert "1 pending" in ran.out
    assert "Nothing was ever run into this output" in ran.out
    assert "batchvid plan m.yaml" in ran.out
    assert "Nothing was ever run into" in project.batchvid("verify", "m.yaml").out
    assert project.batchvid("verify", "m.yaml", "--json").told == [
        {"type": "verify", "clips": 0, "wrong": 0, "repaired": 0}
    ]
    assert project.batchvid("retry", "m.yaml", "--failed").code == 78
    assert [path.name for path in project.folder.iterdir()] == ["m.yaml"]


def test_an_export_has_one_row_a_job_with_its_prompt(finished: Project) -> None:
    """Both forms hold the same."""
    rows = list(csv.DictReader(io.StringIO(finished.batchvid("export", "m.yaml").out)))
    columns = ["prompt", "size", "seconds", "first_frame", "last_frame", "where", "continues"]
    columns += ["verdict", "stars", "note", "reviewed_by", "reviewed_at"]
    assert list(rows[0]) == [*JOB_FIELDS, *columns]
    assert [row["state"] for row in rows] == ["done", "done", "failed", "in_doubt"]
    assert rows[0]["prompt"].startswith("=kite")
    lines = finished.batchvid("export", "m.yaml", "--format", "jsonl").told
    assert [{name: "" if value is None else str(value) for name, value in line.items()} for line in lines] == rows


def test_safe_cells_defuse_what_a_spreadsheet_would_take_for_a_formula(finished: Project) -> None:
    """Only on request, and only such cells."""
    rows = list(csv.DictReader(io.StringIO(finished.batchvid("export", "m.yaml", "--safe-cells").out)))
    assert rows[0]["prompt"].startswith("'=kite")
    assert rows[1]["prompt"].startswith("gull")


def test_a_plan_in_json_tells_each_job_and_then_the_sums(finished: Project) -> None:
    """Nothing is left to do here but what a person decides."""
    ran = finished.batchvid("plan", "m.yaml", "--json")
    assert [line.get("action") for line in ran.told] == ["done", "done", "failed", "in_doubt", None]
    assert (ran.told[-1]["submits"], ran.told[-1]["fits_budget"]) == (0, True)
    assert "Nothing to do" in finished.batchvid("plan", "m.yaml").out


def test_a_check_in_json_lists_every_problem(project: Project) -> None:
    """With file, line, column, place and text."""
    (project.folder / "wrong.yaml").write_text("version: 1\njobz: []\n", encoding="utf-8")
    ran = project.batchvid("check", "wrong.yaml", "--json")
    assert ran.code == 65
    (found,) = ran.told
    assert {"file", "line", "column", "where", "text"} == set(found["problems"][0])
    assert any("jobz" in problem["where"] + problem["text"] for problem in found["problems"])


def test_sidecars_and_the_list_of_clips_tell_what_was_bought(finished: Project) -> None:
    """One line per clip in the manifest's order, and a sidecar beside each."""
    lines = [json.loads(line) for line in (finished.out / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == ["job-1", "job-2"]
    sidecar = json.loads((finished.out / "job-1.json").read_text(encoding="utf-8"))
    assert sidecar["task_id"] == lines[0]["task_id"]
    assert sidecar["prompt"].startswith("=kite")
