"""The status is a promise to programs, and tells people what to do next."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.cli.output.advice import LISTED_AT_MOST, needs_person_lines
from batchvid.cli.status import needs_person, status_object, status_text
from batchvid.domain.job import Progress, State
from batchvid.domain.results import Money

if TYPE_CHECKING:
    from batchvid.manifest.model import Manifest

DONE = Progress(
    "kite",
    State.DONE,
    version=5,
    attempt=2,
    task_id="task_1",
    resolved_model="veo_3_1-4K",
    price_micros=300_000,
    submitted_at=1_773_306_000.0,
    finished_at=1_773_306_095.5,
    path="kite.mp4",
    size_bytes=3_100_000,
    sha256="ab" * 32,
)
DOUBT = Progress("dawn", State.IN_DOUBT, 2, 1, price_micros=400_000, reason="the connection \x1b[1mbroke")
MONEY = Money(spent_micros=600_000, reserved_micros=400_000)


def test_the_status_object_is_exactly_the_promised_one(manifest: Manifest) -> None:
    """Every key and every form of value, in the manifest's order, with null for what is unknown."""
    found = status_object(manifest, {"kite": DONE, "dawn": DOUBT}, MONEY)
    jobs = found.pop("jobs")
    assert found == {
        "manifest": "/films/kites.yaml",
        "output": "/films/out/kites",
        "counts": {"pending": 1, "submitting": 0, "in_doubt": 1, "running": 0, "ready": 0, "done": 1, "failed": 0},
        "money": {"spent": 0.6, "reserved": 0.4, "unproven": 0.0, "budget": 25.0},
        "films": [],
        "missing": [],
    }
    assert jobs[0] == {
        "id": "kite",
        "state": "done",
        "attempt": 2,
        "task_id": "task_1",
        "model": "veo3-fast",
        "resolved_model": "veo_3_1-4K",
        "reason": None,
        "path": "kite.mp4",
        "size_bytes": 3_100_000,
        "sha256": "ab" * 32,
        "price": 0.3,
        "submitted_at": "2026-03-12T09:00:00Z",
        "finished_at": "2026-03-12T09:01:35Z",
        "continues": None,
        "review": None,
    }
    assert [job["id"] for job in jobs] == ["kite", "dawn", "walk-01"]
    assert jobs[2] == dict.fromkeys(jobs[0]) | {
        "id": "walk-01",
        "state": "pending",
        "attempt": 0,
        "model": "veo3-fast",
        "price": 0.4,
    }


def test_the_status_object_is_plain_json(manifest: Manifest) -> None:
    """It survives a round trip as it is, and without a budget says null."""
    free = replace(manifest, limits=replace(manifest.limits, budget_micros=None))
    found = status_object(free, {"kite": DONE}, MONEY)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["money"]["budget"] is None


def test_rows_that_the_manifest_does_not_name_are_not_counted(manifest: Manifest) -> None:
    """The counts add up to the manifest's jobs; people are told of the orphans."""
    known = {"gone": DONE._replace(job_id="gone")}
    assert sum(status_object(manifest, known, MONEY)["counts"].values()) == 3
    assert "1 job in the journal that the manifest no longer names" in "\n".join(status_text(manifest, known, MONEY))


def test_a_person_in_doubt_is_given_the_exact_commands(manifest: Manifest) -> None:
    """Ready to be pasted, with the manifest as it was typed, quoted where a shell needs it, and free of escapes."""
    shown = "\n".join(status_text(manifest, {"dawn": DOUBT}, MONEY, named="my kites.yaml"))
    assert "batchvid adopt 'my kites.yaml' dawn TASK_ID\n" in shown
    assert "If not, run                            batchvid retry 'my kites.yaml' dawn --in-doubt\n" in shown
    assert "in doubt  dawn: the connection broke" in shown
    assert "\x1b" not in shown


def test_people_read_counts_money_and_the_newest_clip(manifest: Manifest) -> None:
    """What a person asks first."""
    failed = Progress("walk-01", State.FAILED, 3, 1, reason="internal error")
    shown = "\n".join(status_text(manifest, {"kite": DONE, "dawn": DOUBT, "walk-01": failed}, MONEY))
    assert "1 done, 1 failed, 1 in doubt" in shown
    assert "$0.60 spent, $0.40 reserved, of a budget of $25.00" in shown
    assert "failed    walk-01: internal error" in shown
    assert "batchvid retry /films/kites.yaml --failed" in shown
    assert "kite  kite.mp4, 3.1 MB, 2026-03-12T09:01:35Z" in shown


def test_a_parked_job_is_looked_for_again_at_no_price(manifest: Manifest) -> None:
    """A task that timed out is paid: the next run polls it."""
    late = Progress("kite", State.RUNNING, 3, 1, parked=True, reason="still 'queued' after 1200 s")
    shown = "\n".join(status_text(manifest, {"kite": late}, MONEY))
    assert "(1 deferred)" in shown
    assert "deferred  kite: still 'queued' after 1200 s" in shown
    assert "free: batchvid run /films/kites.yaml" in shown


def test_a_request_that_nobody_waits_for_is_in_doubt(manifest: Manifest) -> None:
    """Submitting is normal while a run is active, and in doubt when none is."""
    known = {"kite": Progress("kite", State.SUBMITTING, 1, 1)}
    beside_a_run = "\n".join(status_text(manifest, known, MONEY, run_active=True))
    alone = "\n".join(status_text(manifest, known, MONEY))
    assert "1 submitting" in beside_a_run
    assert "adopt" not in beside_a_run
    assert "1 in doubt" in alone
    assert "batchvid adopt /films/kites.yaml kite TASK_ID" in alone
    assert needs_person(known, run_active=True) == ()


def test_money_in_doubt_is_listed_before_failures_and_a_screenful_is_enough() -> None:
    """Of a thousand stuck jobs the uncertain ones come first, and the rest is counted."""
    known = {f"f{n}": Progress(f"f{n}", State.FAILED, 3, 1, reason="no") for n in range(1000)}
    known["zz"] = DOUBT._replace(job_id="zz")
    stuck = needs_person(known)
    lines = list(needs_person_lines(stuck, "m.yaml", in_all=len(stuck)))
    assert lines[1].split() == ["in", "doubt", "zz:", "the", "connection", "broke"]
    assert f"… and {1001 - LISTED_AT_MOST} more: batchvid status m.yaml" in "\n".join(lines)
    assert len(lines) < 30


def test_clips_that_are_not_on_disk_are_told(manifest: Manifest) -> None:
    """How many, which, and that a run fetches them again."""
    found = status_object(manifest, {"kite": DONE}, MONEY, missing={"kite": "kite.mp4 is missing"})
    assert found["missing"] == ["kite"]
    shown = "\n".join(status_text(manifest, {"kite": DONE}, MONEY, missing={"kite"}))
    assert "  1 clip is missing or not as saved; a run fetches it again, free: kite\n" in shown
