"""Chains in whole runs: each clip begins where the one before it ended, and nothing is sent before that is there."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageChops, ImageStat

from batchvid.domain.dependencies import bound
from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.limits import OnChange
from batchvid.engine.planning import planned
from batchvid.journal.sqlite import SqliteStore
from batchvid.media.frames import picture_of
from tests.run.bench import QUICK, after, chain, changed, job, jobs, small_clips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.job import Job
    from batchvid.domain.plan import Plan
    from tests.run.bench import Bench
    from tests.run.conftest import MakeBench

REBUY = replace(QUICK, on_change=OnChange.REBUY)


def plan_of(bench: Bench, wanted: Sequence[Job], limits: object = QUICK) -> Plan:
    """Return the plan that a person would see now."""
    journal = SqliteStore(bench.folder / ".batchvid" / "journal.db").read()
    manifest = bench.context(wanted, limits).manifest  # type: ignore[arg-type] # as given
    if journal is None:
        return planned(manifest, None)[0]
    with journal:
        return planned(manifest, journal)[0]


def unlike(one: bytes, other: bytes) -> float:
    """Return how far two pictures are apart, from 0 (the same) to 255."""
    first, second = (Image.open(io.BytesIO(data)).convert("RGB") for data in (one, other))
    return max(ImageStat.Stat(ImageChops.difference(first, second)).mean)


def test_a_clip_opens_on_the_last_frame_of_the_one_that_it_continues(make_bench: MakeBench) -> None:
    """Seen in the clips themselves, over three links, with real frames on the way."""
    bench = make_bench(clips=small_clips)
    assert bench.run(chain("kite", "dive", "rest")).exit_code is Exit.OK
    for above, one in (("kite", "dive"), ("dive", "rest")):
        last = picture_of(bench.folder / f"{above}.mp4", at_s=None)
        first = picture_of(bench.folder / f"{one}.mp4", at_s=0.0)
        assert unlike(last.png, first.png) < 4
        assert unlike(picture_of(bench.folder / f"{above}.mp4", at_s=0.0).png, first.png) > 8


def test_nothing_is_sent_before_the_clip_is_there_that_it_goes_on_from(make_bench: MakeBench) -> None:
    """Of a chain one task is out at a time, and the service has each frame as it was asked for."""
    bench = make_bench()
    summary = bench.run(chain("a", "b", "c"))
    assert summary.exit_code is Exit.OK
    assert bench.service.peak == 1
    assert [len(line["frames"]) for line in bench.creates] == [0, 1, 1]


def test_the_longest_chain_goes_first_and_then_the_manifests_order(make_bench: MakeBench) -> None:
    """What the most hangs on must not wait behind what nothing hangs on."""
    bench = make_bench()
    wanted = [job("x"), job("y"), *chain("short", "end"), *chain("long", "longer", "longest")]
    bench.run(wanted, replace(QUICK, in_flight=1))
    assert [line["prompt"][9:-1] for line in bench.creates] == ["long", "short", "longer", "x", "y", "end", "longest"]


def test_when_a_clip_fails_what_hangs_on_it_stays_pending_with_the_reason(make_bench: MakeBench) -> None:
    """Nothing is bought for them, they are not failed, the others are clips, and the exit code is 3."""
    bench = make_bench({"on": "create", "prompt": "*kite*", "fail": "blocked by a filter"})
    summary = bench.run([*chain("kite", "dive", "rest"), *jobs(2)])
    assert summary.exit_code is Exit.FAILED
    assert {state: number for state, number in summary.counts.items() if number} == {
        State.PENDING: 2,
        State.DONE: 2,
        State.FAILED: 1,
    }
    assert "The clip dive." not in bench.bought()
    told = {need.job_id: need.reason for need in summary.needs_person}
    assert told["dive"] == "waits for kite, which failed: blocked by a filter"
    assert told["rest"] == "waits for dive, in the chain behind kite, which failed: blocked by a filter"


def test_a_failed_link_that_is_retried_lets_the_rest_come(make_bench: MakeBench) -> None:
    """The waiting jobs need no retry of their own."""
    bench = make_bench(
        {"on": "create", "prompt": "*kite*", "nth": 1, "fail": "blocked"},
        {"on": "create", "prompt": "*kite*", "nth": 2, "fail": "blocked"},
    )
    assert bench.run(chain("kite", "dive")).exit_code is Exit.FAILED
    assert bench.run(chain("kite", "dive"), retry_failed=True).exit_code is Exit.OK
    assert bench.bought()["The clip dive."] == 1


def test_a_link_whose_outcome_is_in_doubt_holds_the_rest(make_bench: MakeBench) -> None:
    """A person decides about it first."""
    bench = make_bench({"on": "create", "prompt": "*kite*", "reset": "after-effect"})
    summary = bench.run(chain("kite", "dive"))
    assert summary.exit_code is Exit.IN_DOUBT
    assert [need.reason[:36] for need in summary.needs_person if need.job_id == "dive"] == [
        "waits for kite, which is in doubt: t"
    ]
    assert len(bench.creates) == 1


def test_a_run_that_may_submit_one_job_leaves_the_rest_of_the_chain_to_the_next(make_bench: MakeBench) -> None:
    """``--max-jobs`` counts links as it counts jobs, and each further run goes on where the one before ended."""
    bench = make_bench()
    for number in (1, 2, 3):
        summary = bench.run(chain("a", "b", "c"), max_jobs=1)
        assert summary.counts[State.DONE] == number
        assert summary.exit_code is (Exit.OK if number == 3 else Exit.STOPPED)


def test_only_the_chosen_links_are_sent(make_bench: MakeBench) -> None:
    """A link whose clip is not chosen waits, and the run ends."""
    bench = make_bench()
    summary = bench.run(chain("kite", "dive"), only=("dive",))
    assert (summary.exit_code, bench.creates) == (Exit.STOPPED, [])
    bench.run(chain("kite", "dive"), only=("kite",))
    assert bench.run(chain("kite", "dive"), only=("dive",)).exit_code is Exit.OK


def test_the_canary_and_the_budget_hold_for_links_too(make_bench: MakeBench) -> None:
    """A chain of three with one canary, and money for two."""
    bench = make_bench()
    summary = bench.run(chain("a", "b", "c"), replace(QUICK, canary=1, budget_micros=800_000))
    assert summary.exit_code is Exit.BUDGET
    assert sorted(bench.bought()) == ["The clip a.", "The clip b."]


def test_the_sidecar_names_the_clip_that_was_continued_and_the_frame_that_was_sent(make_bench: MakeBench) -> None:
    """The hash is of the bytes that went out: the service has it too."""
    bench = make_bench()
    bench.run([job("kite"), after("kite", "dive", at_s=-0.5)])
    told = json.loads(bench.clip("dive.json"))["continues"]
    (frame,) = (bench.folder / ".batchvid" / "frames").iterdir()
    assert told["id"] == "kite"
    assert (told["clip_sha256"], told["at_s"]) == (bench.row("kite").sha256, -0.5)
    assert picture_of(bench.folder / "kite.mp4", at_s=-0.5).png == frame.read_bytes()
    assert bench.creates[1]["frames"] == [told["frame_sha256"]]
    assert json.loads(bench.clip("clips.jsonl").splitlines()[1])["continues"] == "kite"


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_clip_that_is_gone_or_cut_is_fetched_again_and_then_continued(make_bench: MakeBench, *, is_cut: bool) -> None:
    """The link waits for it, and is bought once, with a frame of the clip that was paid."""
    bench = make_bench()
    bench.run(chain("kite", "dive"), only=("kite",))
    whole = bench.clip("kite.mp4")
    (bench.folder / "kite.mp4").unlink()
    if is_cut:
        (bench.folder / "kite.mp4").write_bytes(whole[:-1])
    assert bench.run(chain("kite", "dive")).exit_code is Exit.OK
    assert bench.clip("kite.mp4") == whole
    assert set(bench.bought().values()) == {1}


def test_a_clip_that_was_changed_is_not_continued_and_nothing_is_sent(make_bench: MakeBench) -> None:
    """The link stays pending, with the clip's name and what to do; when the clip is back, it goes on."""
    bench = make_bench()
    bench.run(chain("kite", "dive"), only=("kite",))
    whole = bench.clip("kite.mp4")
    (bench.folder / "kite.mp4").write_bytes(whole[:-1] + b"?")
    summary = bench.run(chain("kite", "dive"), checked=False)
    assert summary.exit_code is Exit.FAILED
    assert summary.counts[State.PENDING] == 1
    (need,) = summary.needs_person
    assert need.reason.startswith("it goes on from kite, whose clip kite.mp4 ")
    assert "batchvid verify MANIFEST --repair" in need.reason
    assert summary.money.reserved_micros == 0
    assert len(bench.service.sent("post")) == 1
    (bench.folder / "kite.mp4").write_bytes(whole)
    assert bench.run(chain("kite", "dive")).exit_code is Exit.OK


def test_a_moment_that_the_clip_does_not_have_fails_the_link_before_it_is_paid(make_bench: MakeBench) -> None:
    """It is known only when the clip is there."""
    bench = make_bench()
    summary = bench.run([job("kite"), after("kite", "dive", at_s=99.0)])
    assert summary.exit_code is Exit.FAILED
    assert (
        bench.row("dive").reason
        == "not sent: its first frame cannot be taken from kite.mp4, which lasts 8.00 s, and shows nothing at 99s"
    )
    assert len(bench.creates) == 1


def test_a_chain_goes_on_after_a_stop_at_any_link(make_bench: MakeBench) -> None:
    """What was submitted before the stop is collected, and the next link follows it."""
    bench = make_bench()
    bench.run(chain("a", "b", "c"), meanwhile=lambda: bench.interrupts.received(Exit.INTERRUPTED))
    assert bench.run(chain("a", "b", "c")).exit_code is Exit.OK
    assert set(bench.bought().values()) == {1}


def test_a_changed_clip_is_shown_with_all_that_hangs_on_it_and_its_price(make_bench: MakeBench) -> None:
    """Before anything is spent; only that chain, not the other."""
    bench = make_bench()
    wanted = [*chain("a", "b", "c"), *chain("x", "y")]
    bench.run(wanted)
    edited = [changed(wanted[0], "Another a."), *wanted[1:]]
    made = plan_of(bench, edited, REBUY)
    assert {row.job_id: row.submits for row in made.rows} == {"a": True, "b": True, "c": True, "x": False, "y": False}
    assert (made.submits, made.price_micros) == (3, 1_200_000)
    assert "a is made again" in made.rows[1].reason
    kept = plan_of(bench, edited)
    assert kept.submits == 0
    assert bench.run(edited).submits == 0


def test_a_clip_bought_anew_opens_what_hangs_on_it_and_nothing_else(make_bench: MakeBench) -> None:
    """In the same run, link after link, and once each; the old clips stay beside the new ones."""
    bench = make_bench(clips=small_clips)
    wanted = [*chain("a", "b", "c"), *chain("x", "y")]
    bench.run(wanted)
    edited = [changed(wanted[0], "Another a."), *wanted[1:]]
    summary = bench.run(edited, REBUY, checked=False)
    assert (summary.exit_code, summary.submits) == (Exit.OK, 3)
    assert {name: row.attempt for name, row in bench.rows().items()} == {"a": 2, "b": 2, "c": 2, "x": 1, "y": 1}
    assert (bench.folder / "b.attempt-1.mp4").exists()
    again = bench.run(edited, REBUY, checked=False)
    assert (again.exit_code, again.submits) == (Exit.OK, 0)
    assert plan_of(bench, edited, REBUY).submits == 0


def test_a_rebuy_that_is_asked_for_in_one_run_reaches_the_end_of_the_chain(make_bench: MakeBench) -> None:
    """``--rebuy``, as ``on_change: rebuy``."""
    bench = make_bench(clips=small_clips)
    wanted = chain("a", "b")
    bench.run(wanted)
    edited = [changed(wanted[0], "Another a."), wanted[1]]
    assert bench.run(edited, rebuy=True, checked=False).submits == 2


def test_a_failed_link_that_a_new_clip_opens_again_is_told_as_it_ends(make_bench: MakeBench) -> None:
    """Nothing was paid for it, so its new content is sent; the summary does not say that it still needs a person."""
    refused = {"on": "create", "prompt": "*clip b*", "nth": 1, "status": 400, "body": {"error": {"message": "no"}}}
    bench = make_bench(refused, clips=small_clips)
    wanted = chain("a", "b")
    assert [one.job_id for one in bench.run(wanted).needs_person] == ["b"]
    edited = [changed(wanted[0], "Another a."), wanted[1]]
    summary = bench.run(edited, rebuy=True, checked=False)
    assert (summary.exit_code, summary.submits, summary.needs_person) == (Exit.OK, 2, ())


def test_a_clip_bought_anew_with_the_same_content_opens_nothing(make_bench: MakeBench) -> None:
    """Fingerprints are by content: the tiny clips of this service are all the same."""
    bench = make_bench()
    wanted = chain("a", "b")
    bench.run(wanted)
    edited = [changed(wanted[0], "Another a."), wanted[1]]
    assert bench.run(edited, REBUY, checked=False).submits == 1


def test_a_link_kept_over_a_new_clip_is_shown_as_changed(make_bench: MakeBench) -> None:
    """``keep`` keeps it, and says so."""
    bench = make_bench(clips=small_clips)
    wanted = chain("a", "b")
    bench.run(wanted)
    edited = [changed(wanted[0], "Another a."), wanted[1]]
    bench.run(edited, REBUY, only=("a",), checked=False)
    assert bench.row("b").attempt == 1
    made = plan_of(bench, edited)
    assert [(row.action.value, row.submits) for row in made.rows] == [("done", False), ("changed", False)]


def test_a_plan_tells_the_price_of_a_new_chain_and_the_time_of_its_links(make_bench: MakeBench) -> None:
    """All of it would be submitted, one after the other."""
    bench = make_bench()
    made = plan_of(bench, chain("a", "b", "c"))
    assert (made.submits, made.price_micros) == (3, 1_200_000)
    assert made.wall_s >= 3 * QUICK.typical_time_s
    assert [row.reason for row in made.rows] == ["", "after a", "after b"]


def test_a_plan_does_not_promise_what_waits_for_a_failed_clip(make_bench: MakeBench) -> None:
    """Neither its price nor its submit."""
    bench = make_bench({"on": "create", "prompt": "*kite*", "fail": "blocked"})
    bench.run(chain("kite", "dive", "rest"))
    made = plan_of(bench, chain("kite", "dive", "rest"))
    assert (made.submits, made.price_micros) == (0, 0)
    assert [row.reason for row in made.rows[1:]] == [
        "waits for kite, which failed",
        "waits for dive, which cannot come either",
    ]


def test_the_fingerprint_of_a_link_stays_the_same_from_version_to_version() -> None:
    """A change of this value would make every paid link of every journal look changed."""
    link = after("kite", "dive", at_s=-0.2)
    assert bound(link, "ab" * 32).fingerprint == "91becdd766ba48cd463143810a495089b40e9a369ae5ddc891e032aeb7d0fff5"
