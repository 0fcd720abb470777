"""What only a person decides: retry, adopt, verify and repair, each with its price said before."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cli.project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copied(finished: Project, tmp_path: Path) -> Project:
    """Return a copy of the finished project that a test may change."""
    folder = tmp_path / finished.folder.name
    shutil.copytree(finished.folder, folder)
    return Project(folder, finished.service)


def test_retry_says_the_price_and_asks_and_enter_means_no(copied: Project) -> None:
    """With nobody there to be asked it changes nothing, and says how to answer beforehand."""
    ran = copied.batchvid("retry", "m.yaml", "--failed")
    assert ran.code == 2, ran
    assert "1 job would be submitted again, for $0.40 at most:" in ran.out
    assert "job-3: failed; the prompt was refused" in ran.out
    assert "not a terminal: add --yes" in ran.err
    assert copied.states()["job-3"] == "failed"


def test_retry_reopens_what_was_meant_and_the_next_run_buys_it(copied: Project) -> None:
    """Here the service refuses it again, after one more create."""
    before = copied.creates()
    ran = copied.batchvid("retry", "m.yaml", "--failed", "--yes")
    assert ran.code == 0, ran
    assert "Next: batchvid run m.yaml" in ran.out
    assert copied.states()["job-3"] == "pending"
    assert copied.batchvid("run", "m.yaml").code == 4
    bought = {prompt: number - before[prompt] for prompt, number in copied.creates().items()}
    assert {prompt.split()[0]: number for prompt, number in bought.items() if number} == {"doomed": 1}


@pytest.mark.parametrize(
    ("job", "options", "words"),
    [
        ("job-9", (), "the manifest has no job 'job-9'"),
        ("job-1", (), "job 'job-1' is done"),
        ("job-4", (), "job 'job-4' is in doubt, and may be paid already: add --in-doubt"),
    ],
)
def test_retry_of_a_named_job_says_what_stands_in_its_way(
    finished: Project, job: str, options: tuple[str, ...], words: str
) -> None:
    """And changes nothing."""
    ran = finished.batchvid("retry", "m.yaml", job, "--yes", *options)
    assert ran.code == 2, ran
    assert words in ran.err


def test_what_a_person_says_may_be_paid_twice_is_bought_again(copied: Project) -> None:
    """After a warning; its outcome is unknown once more here, and so it is in doubt again."""
    ran = copied.batchvid("retry", "m.yaml", "job-4", "--in-doubt", "--yes")
    assert ran.code == 0, ran
    assert "Jobs in doubt may have been paid already" in ran.out
    assert copied.states()["job-4"] == "pending"


def test_a_clip_that_could_not_be_fetched_is_parked_and_can_be_bought_again(project: Project) -> None:
    """It is paid and exists, so a plain run tries for nothing; ``--timed-out`` gives it up."""
    project.manifest("endless", "unfetched", task_timeout="1s")
    parked = project.batchvid("run", "m.yaml")
    assert parked.code == 5, parked
    assert "; 2 deferred to the next run" in parked.out
    ran = project.batchvid("retry", "m.yaml", "--timed-out", "--yes")
    assert ran.code == 0, ran
    assert "job-1: timed out; " in ran.out
    assert "job-2: finished, but its clip could not be fetched; " in ran.out
    assert "a plain run looks again, free" in ran.out
    assert project.states() == {"job-1": "pending", "job-2": "pending"}
    assert "no job is timed out or not fetched" in project.batchvid("retry", "m.yaml", "--timed-out").out


def test_a_task_that_a_person_found_is_adopted_and_collected(copied: Project) -> None:
    """The clip comes without a further create."""
    ledger = copied.service.ledger()["creates"]
    (task,) = [
        one["task_id"]
        for one in ledger
        if one["prompt"].startswith("unsure") and one["prompt"].endswith(copied.folder.name)
    ]
    ran = copied.batchvid("adopt", "m.yaml", "job-4", task)
    assert ran.code == 0, ran
    assert f"job job-4 has task {task}. Next: batchvid run m.yaml" in ran.out
    before = copied.creates()
    assert copied.batchvid("run", "m.yaml").code == 3
    assert copied.states()["job-4"] == "done"
    assert copied.creates() == before


def test_adopt_refuses_what_cannot_be_right(finished: Project) -> None:
    """A task that the service does not know, or that another job has, a word that is no id."""
    taken = finished.status()["jobs"][0]["task_id"]
    for job, task, words in (
        ("job-1", "task_x", "the service does not know task task_x"),
        ("job-4", "task_x", "the service does not know task task_x"),
        ("job-4", taken, "belongs to job 'job-1' already"),
        ("job-4", "..", "that is no task id"),
        ("job-4", "task_1 task_2", "that is no task id"),
        ("jbo-4", "task_x", "m.yaml and its journal have no job 'jbo-4'"),
    ):
        ran = finished.batchvid("adopt", "m.yaml", job, task)
        assert ran.code == 2, ran
        assert words in ran.err


def test_verify_finds_every_damage_and_repair_fetches_it_again_for_nothing(copied: Project) -> None:
    """A missing clip and an edited one; what lay there is kept."""
    assert copied.batchvid("verify", "m.yaml", "--deep").code == 0
    (copied.out / "job-1.mp4").unlink()
    whole = (copied.out / "job-2.mp4").read_bytes()
    (copied.out / "job-2.mp4").write_bytes(whole[:-1] + b"?")
    found = copied.batchvid("verify", "m.yaml")
    assert found.code == 3, found
    assert "job-1: job-1.mp4 is missing" in found.out
    assert "job-2: job-2.mp4 was changed" in found.out
    assert "Next: batchvid verify m.yaml --repair" in found.out
    before = copied.creates()
    mended = copied.batchvid("verify", "m.yaml", "--repair", "--json")
    assert mended.code == 0, mended
    assert mended.told == [{"type": "verify", "clips": 2, "wrong": 0, "repaired": 2}]
    (copied.out / "job-1.mp4").unlink()
    told = copied.batchvid("verify", "m.yaml", "--repair")
    assert (told.code, told.out) == (0, "2 clips OK (1 downloaded again)\n")
    assert (copied.out / "job-2.mp4").read_bytes() == whole
    assert whole[:-1] + b"?" in [path.read_bytes() for path in copied.out.glob("job-2*.mp4")]
    assert copied.creates() == before


def test_a_repaired_clip_keeps_the_story_that_was_told_first(copied: Project) -> None:
    """Also where the manifest has been edited since: the clip is of the old words."""
    sidecar = copied.out / "job-1.json"
    before = json.loads(sidecar.read_text(encoding="utf-8"))
    manifest = copied.folder / "m.yaml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("=kite", "another"), encoding="utf-8")
    (copied.out / "job-1.mp4").write_bytes(b"damage")
    assert copied.batchvid("verify", "m.yaml", "--repair").code == 0
    after = json.loads(sidecar.read_text(encoding="utf-8"))
    assert after | {"saved_at": ""} == before | {"saved_at": ""}
    assert before["prompt"].startswith("=kite")


def test_repair_asks_only_the_service_that_the_clips_come_from(copied: Project) -> None:
    """Another one knows nothing of their tasks."""
    (copied.out / "job-1.mp4").unlink()
    ran = copied.batchvid("verify", "m.yaml", "--repair", "--base-url", "https://api.example.com")
    assert ran.code == 78, ran
    assert f"add --base-url {copied.service.api}" in ran.err


def test_a_rehearsed_clip_is_repaired_from_the_rehearsal(project: Project) -> None:
    """The embedded sandbox is started again for it, without a key."""
    project.manifest("kite")
    assert (
        project.batchvid(
            "run", "m.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "out/m", COMETAPI_KEY=None
        ).code
        == 0
    )
    (project.out / "job-1.mp4").unlink()
    ran = project.batchvid("verify", "m.yaml", "--repair", COMETAPI_KEY=None)
    assert ran.code == 0, ran
    assert (project.out / "job-1.mp4").exists()
