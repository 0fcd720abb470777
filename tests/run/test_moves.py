"""A run finds what is paid under the ids that the manifest has now: nothing is bought, and no clip is lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.errors import Exit, StorageError
from batchvid.domain.job import State
from batchvid.domain.limits import OnChange
from tests.crash.effect import DiskTroubleAt, Effect
from tests.crash.fuse import wired
from tests.run.bench import PRICE, QUICK, Bench, after, chain, job

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.job import Job


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a place to run in."""
    return Bench(tmp_path / "out")


def renamed(one: Job, job_id: str, *, path: str | None = None) -> Job:
    """Return the job under another id."""
    return replace(one, id=job_id, path=path or f"{job_id}.mp4")


def press_in(seconds: float, bench: Bench) -> None:
    """Press Ctrl-C then."""
    asyncio.get_running_loop().call_later(seconds, bench.interrupts.received, Exit.INTERRUPTED)


def files(bench: Bench) -> set[str]:
    """Return what is in the output, besides the state and the list of clips."""
    found = {str(path.relative_to(bench.folder)) for path in bench.folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".batchvid") and name != "clips.jsonl"}


def test_a_renamed_job_is_not_bought_and_its_clip_gets_the_name(bench: Bench) -> None:
    """And it is told; the sidecar and the list of clips name it; a further run has nothing to say."""
    kite = job("kite")
    bench.run([kite])
    clip = bench.clip("kite.mp4")
    assert bench.run([renamed(kite, "kite-v2")]).exit_code is Exit.OK
    assert "moved kite -> kite-v2" in bench.view.notes
    assert len(bench.creates) == 1
    assert files(bench) == {"kite-v2.mp4", "kite-v2.json"}
    assert bench.clip("kite-v2.mp4") == clip
    told = json.loads(bench.clip("kite-v2.json"))
    assert (told["id"], told["path"], told["prompt"]) == ("kite-v2", "kite-v2.mp4", "The clip kite.")
    assert json.loads(bench.clip("clips.jsonl"))["path"] == "kite-v2.mp4"
    log = [json.loads(line) for line in (bench.folder / ".batchvid" / "log.jsonl").read_text().splitlines()]
    assert [line["moved_from"] for line in log if line["event"] == "Moved"] == ["kite"]
    calls = len(bench.service.calls)
    bench.run([renamed(kite, "kite-v2")])
    assert bench.view.notes == []
    assert len(bench.service.calls) == calls


def test_back_and_forth_again(bench: Bench) -> None:
    """A rename that was a mistake costs nothing either, nor one of the case only."""
    kite = job("kite")
    bench.run([kite])
    for name in ("Kite", "kite", "gull", "kite", "kite.v2"):
        bench.run([renamed(kite, name)])
        assert files(bench) == {f"{name}.mp4", f"{name}.json"}
    assert len(bench.creates) == 1


def test_a_new_id_and_a_new_file_name_at_once(bench: Bench) -> None:
    """Folders are made as for a new clip."""
    kite = job("kite")
    bench.run([kite])
    bench.run([renamed(kite, "gull", path="shots/veo/gull.mp4")])
    assert files(bench) == {"shots/veo/gull.mp4", "shots/veo/gull.json"}
    assert len(bench.creates) == 1


def test_a_job_whose_task_is_under_way_is_collected_under_its_new_id(bench: Bench) -> None:
    """It was paid, and the run was stopped before its end."""
    kite = job("kite")
    bench.run([kite], meanwhile=lambda: press_in(10.0, bench))
    assert bench.row("kite").state is State.RUNNING
    assert bench.run([renamed(kite, "gull")]).exit_code is Exit.OK
    assert len(bench.creates) == 1
    assert files(bench) == {"gull.mp4", "gull.json"}


def test_a_job_in_doubt_stays_in_doubt_under_its_new_id(bench: Bench) -> None:
    """And under its new id a person may buy it again."""
    kite = job("kite")
    bench.script({"on": "create", "prompt": "*", "reset": "after-effect"})
    bench.run([kite])
    bench.script()
    assert bench.run([renamed(kite, "gull")]).exit_code is Exit.IN_DOUBT
    assert bench.row("gull").state is State.IN_DOUBT
    assert len(bench.creates) == 1


def test_a_failed_job_stays_failed_and_what_was_refused_is_tried(bench: Bench) -> None:
    """A new name is no wish to pay once more."""
    one, two = job("blocked"), job("refused")
    bench.script(
        {"on": "create", "prompt": "*blocked*", "fail": "blocked"},
        {"on": "create", "prompt": "*refused*", "status": 400, "body": {"error": {"message": "no", "type": "x"}}},
    )
    limits = replace(QUICK, attempts=1)
    bench.run([one, two], limits)
    bench.script()
    bench.run([renamed(one, "blocked-2"), renamed(two, "refused-2")], limits, checked=False)
    assert bench.row("blocked-2").state is State.FAILED
    assert bench.row("refused-2").state is State.DONE


def test_a_paid_id_beside_the_journal_is_adopted_by_the_job_that_has_a_new_id(bench: Bench) -> None:
    """It is kept by the id of then."""
    kite = job("kite")
    bench.script({"on": "create", "prompt": "*", "reset": "after-effect"})
    bench.run([kite])
    bench.script()
    line = {"job_id": "kite", "attempt": 1, "task_id": bench.creates[0]["task_id"], "at": "2027-01-15T08:00:00Z"}
    (bench.folder / ".batchvid" / "orphans.jsonl").write_text(json.dumps(line) + "\n")
    assert bench.run([renamed(kite, "gull")]).exit_code is Exit.OK
    assert len(bench.creates) == 1
    assert files(bench) == {"gull.mp4", "gull.json"}


def test_a_name_that_is_taken_stays_whose_it_is(bench: Bench) -> None:
    """The clip stays where it lies, and counts as done; that is told until the name is free, and then it moves."""
    kite = job("kite")
    bench.run([kite])
    (bench.folder / "gull.mp4").write_bytes(b"a holiday film")
    assert bench.run([renamed(kite, "gull")]).exit_code is Exit.OK
    assert any("stays kite.mp4" in note for note in bench.view.notes)
    assert bench.clip("gull.mp4") == b"a holiday film"
    assert files(bench) == {"gull.mp4", "kite.mp4", "kite.json"}
    assert bench.row("gull").path == "kite.mp4"
    assert bench.run([renamed(kite, "gull")]).exit_code is Exit.OK
    assert any("stays kite.mp4" in note for note in bench.view.notes)
    (bench.folder / "gull.mp4").unlink()
    assert bench.run([renamed(kite, "gull")]).exit_code is Exit.OK
    assert bench.view.notes == []
    assert files(bench) == {"gull.mp4", "gull.json"}
    assert bench.row("gull").path == "gull.mp4"
    assert json.loads(bench.clip("clips.jsonl"))["path"] == "gull.mp4"
    assert len(bench.creates) == 1


def test_a_clip_that_came_and_could_not_be_journaled_gets_the_new_name(bench: Bench) -> None:
    """The disk failed in between, and a run was stopped at once; nothing is left under the name before."""
    kite = job("kite")
    with wired(DiskTroubleAt(Effect("record", 4), for_ever=False), bench), pytest.raises(StorageError):
        bench.run([kite], checked=False)
    bench.run([kite], meanwhile=lambda: bench.interrupts.received(Exit.INTERRUPTED))
    assert bench.row("kite").state is State.READY
    assert files(bench) == {"kite.mp4", "kite.json"}
    assert bench.run([renamed(kite, "gull")]).exit_code is Exit.OK
    assert files(bench) == {"gull.mp4", "gull.json"}
    assert len(bench.creates) == 1


def test_a_file_in_the_place_of_a_clip_that_is_gone_is_not_taken_along(bench: Bench) -> None:
    """It is a person's own; the clip is fetched again, free."""
    kite = job("kite")
    bench.run([kite])
    (bench.folder / "kite.mp4").write_bytes(b"a holiday film")
    bench.run([renamed(kite, "gull")])
    assert b"a holiday film" in [path.read_bytes() for path in bench.folder.glob("kite*.mp4")]
    assert bench.row("gull").path == "gull.mp4"
    assert len(bench.creates) == 1


def test_clips_may_take_each_others_places(bench: Bench) -> None:
    """A name is free once the clip that had it got its own; in a circle all stay where they are."""
    one, two = job("one"), job("two")
    bench.run([one, two])
    bench.run([renamed(one, "a", path="two.mp4"), renamed(two, "b", path="three.mp4")])
    assert {bench.row("a").path, bench.row("b").path} == {"two.mp4", "three.mp4"}
    bench.run([renamed(one, "c", path="three.mp4"), renamed(two, "d", path="two.mp4")])
    assert bench.row("c").path == "two.mp4"
    assert bench.row("d").path == "three.mp4"
    assert len(bench.creates) == 2


def test_a_whole_chain_gets_new_ids(bench: Bench) -> None:
    """The children's content hangs on their parents' clips, which are the same."""
    bench.run(chain("one", "two", "three"))
    first, second, third = chain("one", "two", "three")
    moved = [renamed(first, "a"), after("a", "b", like=renamed(second, "b")), after("b", "c", like=renamed(third, "c"))]
    assert bench.run(moved).exit_code is Exit.OK
    assert len(bench.creates) == 3
    assert files(bench) == {f"{name}.{kind}" for name in "abc" for kind in ("mp4", "json")}


def test_only_does_not_keep_a_job_from_being_found(bench: Bench) -> None:
    """It says what may be submitted."""
    kite = job("kite")
    bench.run([kite])
    bench.run([renamed(kite, "gull"), job("other")], only=("other",))
    assert bench.row("gull").state is State.DONE
    assert sorted(bench.bought()) == ["The clip kite.", "The clip other."]


def test_more_takes_under_a_new_id_buy_what_is_more(bench: Bench) -> None:
    """Two were paid, three are wanted."""
    one, two, three = (job(f"gull{n}", prompt="The clip kite.") for n in ("", "-2", "-3"))
    bench.run([renamed(one, "kite"), renamed(two, "kite-2")], checked=False)
    bench.run([one, two, three], checked=False)
    assert len(bench.creates) == 3
    assert {bench.row(name).state for name in ("gull", "gull-2", "gull-3")} == {State.DONE}


def test_what_waits_for_its_next_attempt_goes_on_under_its_new_id(bench: Bench) -> None:
    """With the attempts that it has left."""
    kite = job("kite")
    bench.script({"on": "create", "prompt": "*", "nth": 1, "fail": "blocked"})
    bench.run([kite], replace(QUICK, attempts=2, budget_micros=PRICE))
    assert bench.row("kite").state is State.PENDING
    bench.script()
    assert bench.run([renamed(kite, "gull")], replace(QUICK, attempts=2)).exit_code is Exit.OK
    assert bench.row("gull").attempt == 2
    assert len(bench.creates) == 2


def without_id(prompt: str, digits: str) -> Job:
    """Return a job whose id is made of its prompt and these digits of its content."""
    slug = "-".join(prompt.lower().replace(".", "").split())
    return replace(job(f"{slug}-{digits}", prompt=prompt), is_named=False)


@pytest.mark.parametrize("on_change", list(OnChange))
def test_a_slip_corrected_in_a_job_without_id_is_kept_as_paid(bench: Bench, on_change: OnChange) -> None:
    """Unless the manifest says to buy what has changed."""
    limits = replace(QUICK, on_change=on_change)
    bench.run([without_id("A kiet flies.", "00000a")], limits, checked=False)
    new = without_id("A kite flies.", "00000b")
    assert bench.run([new], limits, checked=False).exit_code is Exit.OK
    assert len(bench.creates) == (2 if on_change is OnChange.REBUY else 1)
    assert any("moved a-kiet-flies-00000a -> a-kite-flies-00000b (its prompt" in note for note in bench.view.notes)
    assert bench.row(new.id).path == new.path


def test_another_wish_without_id_is_told_before_it_is_bought(bench: Bench) -> None:
    """Beside what it resembles, with the id that would keep that clip."""
    bench.run([without_id("A red kite flies.", "00000a")], checked=False)
    bench.run([without_id("A blue kite flies.", "00000b")], checked=False)
    assert len(bench.creates) == 2
    hint = "a-blue-kite-flies-00000b is new, and resembles a-red-kite-flies-00000a, which is paid"
    assert any(hint in note and "write id: a-red-kite-flies-00000a" in note for note in bench.view.notes)


def test_a_clip_whose_name_a_copy_has_spelt_otherwise_is_found(bench: Bench) -> None:
    """A Mac writes names decomposed; the journal knows them composed."""
    cafe = renamed(job("kite"), "kite", path="caf\u00e9/caf\u00e9.mp4")
    bench.run([cafe])
    (bench.folder / "caf\u00e9").rename(bench.folder / "cafe\u0301")
    for kind in ("mp4", "json"):
        folder = bench.folder / "cafe\u0301"
        (folder / f"caf\u00e9.{kind}").rename(folder / f"cafe\u0301.{kind}")
    bench.run([cafe])
    assert bench.clip("caf\u00e9/caf\u00e9.mp4")
    assert bench.clip("caf\u00e9/caf\u00e9.json")


@pytest.mark.parametrize(
    "fault", [{"reset": "after-effect"}, {"status": 502, "body": {"message": "x"}}, {"never": True}]
)
def test_a_job_that_was_renamed_to_and_fro_is_one_job_to_a_journal_without_its_seal(
    bench: Bench, fault: dict[str, Any]
) -> None:
    """What lies beside the journal tells of it under every id that it had, and all of that is one request."""
    kite = job("kite")
    bench.script({"on": "create", **fault})
    limits = replace(QUICK, task_timeout_s=120)
    for wanted in (kite, renamed(kite, "gull"), kite, renamed(kite, "Kite")):
        bench.run([wanted], limits, checked=False)
        (bench.folder / ".batchvid" / "seal.json").unlink()
    bench.run([renamed(kite, "Kite")], limits, checked=False)
    (row,) = bench.rows().values()
    assert (row.job_id, row.attempt) == ("Kite", 1)
    assert len(bench.attempts()["Kite"]) == len(bench.service.sent("post")) == 1
