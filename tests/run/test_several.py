"""Several manifests in one call: side by side, within one account's limits, each with its own end."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from batchvid.domain import lifecycle as life
from batchvid.domain.errors import BatchvidError, Exit, OutputBusyError
from batchvid.domain.job import State
from batchvid.domain.limits import Limits, Rate
from batchvid.domain.results import Summary
from batchvid.engine import workers as runner
from batchvid.engine.budget import SpendCap
from batchvid.engine.context import Interrupts
from batchvid.engine.run import run_many
from batchvid.journal.sqlite import SqliteStore
from batchvid.storage.output import Output
from batchvid.storage.state import hold
from tests.run.bench import LOOK_EVERY_S, PRICE, QUICK, Bench, Watcher, job
from tests.run.virtual import run as run_virtually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.run.conftest import MakeBench

WIDE = replace(QUICK, submits=None, in_flight=100)
NO_QUOTA = {"code": None, "message": "user quota is not enough"}


@dataclass
class Call:
    """One call for several manifests against one world."""

    bench: Bench
    wanted: dict[str, tuple[int, Limits]]
    """By the name of the manifest: how many jobs it has, and its limits."""
    is_one_account: bool = True
    output: str | None = None
    """Of all manifests, when they share one."""
    spend_cap: SpendCap = field(default_factory=SpendCap)
    interrupts: Interrupts = field(default_factory=Interrupts)
    views: dict[str, Watcher] = field(default_factory=dict)
    found: dict[str, Summary | BatchvidError] = field(default_factory=dict)
    sent: list[tuple[str, type[life.Event]]] = field(default_factory=list)
    """Which manifest's jobs had which event, in order."""

    def run(self, meanwhile: Callable[[], None] | None = None) -> dict[str, Summary | BatchvidError]:
        """Run them; each create of the world must belong to one attempt of one journal afterwards."""
        names = list(self.wanted)
        contexts = []
        for name, (number, limits) in self.wanted.items():
            watcher = self.views[name] = Watcher()
            watcher.at_event = lambda _job, event, name=name: self.sent.append((name, type(event)))
            context = self.bench.context([job(f"{name}-{n:02}") for n in range(1, number + 1)], limits)
            folder = self.bench.folder / (self.output or name)
            base_url = context.manifest.base_url if self.is_one_account else f"https://{name}.example.com"
            contexts.append(
                replace(
                    context,
                    manifest=replace(context.manifest, output=folder, base_url=base_url),
                    named=name,
                    observer=watcher,
                    interrupts=self.interrupts,
                    spend_cap=self.spend_cap,
                )
            )

        async def ended(place: int, outcome: Summary | BatchvidError) -> None:
            self.found[names[place]] = outcome

        async def main() -> None:
            self.bench._loop_began = asyncio.get_running_loop().time()
            if meanwhile is not None:
                meanwhile()
            await run_many(contexts, ended)

        with patch.object(runner, "STATS_EVERY_S", LOOK_EVERY_S):
            run_virtually(main())
        self.check()
        return self.found

    def check(self) -> None:
        """Check that no create is unknown and none was paid twice."""
        known: list[str | None] = []
        for name in {self.output} if self.output else set(self.wanted):
            journal = SqliteStore(self.bench.folder / str(name) / ".batchvid" / "journal.db").read()
            if journal is not None:
                with journal:
                    known += [
                        one.task_id for row in list(journal.all_progress()) for one in journal.attempts(row.job_id)
                    ]
        assert sorted(filter(None, known)) == sorted(line["task_id"] for line in self.bench.creates)
        assert all(bought == 1 for bought in self.bench.bought().values())

    def codes(self) -> dict[str, Exit]:
        """Return the exit codes."""
        return {name: one.exit_code for name, one in self.found.items()}

    def submits(self, name: str) -> list[int]:
        """Return the places, among all submits, of those of one manifest."""
        names = [one for one, event in self.sent if event is life.SubmitStarted]
        return [place for place, one in enumerate(names) if one == name]


def summary_of(call: Call, name: str) -> Summary:
    """Return how a manifest ended, which it did."""
    found = call.found[name]
    assert isinstance(found, Summary)
    return found


def test_each_manifest_becomes_its_clips_in_its_own_output(make_bench: MakeBench) -> None:
    """Each with a journal, a budget and a summary of its own."""
    call = Call(make_bench(), {"a": (4, replace(QUICK, budget_micros=4 * PRICE)), "b": (3, QUICK)})
    call.run()
    assert call.codes() == {"a": Exit.OK, "b": Exit.OK}
    assert (summary_of(call, "a").money.spent_micros, summary_of(call, "b").money.spent_micros) == (
        4 * PRICE,
        3 * PRICE,
    )
    for name, number in (("a", 4), ("b", 3)):
        assert len(list((call.bench.folder / name).glob("*.mp4"))) == number


def test_the_strictest_rate_holds_for_all_together(make_bench: MakeBench) -> None:
    """6/min and 60/min are 6/min in any minute, whoever submits; and neither waits for the other's end."""
    bench = make_bench()
    slow = replace(WIDE, submits=Rate(6, 60), requests=Rate(60, 60))
    call = Call(bench, {"a": (8, slow), "b": (8, replace(WIDE, submits=Rate(60, 60), requests=Rate(6, 60)))})
    call.run()
    polls = [one.at for one in bench.service.sent("get")]
    assert max(sum(first <= at < first + 60 for at in polls) for first in polls) <= 6
    moments = [one.at for one in bench.service.sent("post")]
    assert len(moments) == 16
    assert max(sum(first <= at < first + 60 for at in moments) for first in moments) <= 6
    for name in ("a", "b"):
        assert 3 <= sum(place < 8 for place in call.submits(name)) <= 5, "they take turns"


@pytest.mark.parametrize("room", [1, 2, 5])
def test_the_strictest_room_holds_for_all_together_and_nobody_starves(make_bench: MakeBench, room: int) -> None:
    """Never more tasks in flight than the strictest manifest allows; the later ones get their turn from the start."""
    bench = make_bench()
    wanted = {"a": (12, replace(WIDE, in_flight=room)), "b": (12, WIDE), "c": (12, replace(WIDE, in_flight=50))}
    call = Call(bench, wanted)
    call.run()
    assert set(call.codes().values()) == {Exit.OK}
    assert bench.service.peak <= room
    for name in wanted:
        first_half = sum(place < 18 for place in call.submits(name))
        assert 4 <= first_half <= 8, f"{name} had {first_half} of the first 18 turns"


def test_room_that_one_does_not_need_is_the_others(make_bench: MakeBench) -> None:
    """A small manifest beside a large one costs the large one nothing once it is done."""
    bench = make_bench()
    call = Call(bench, {"small": (2, replace(QUICK, in_flight=6)), "large": (30, replace(QUICK, in_flight=6))})
    call.run()
    assert bench.service.peak == 6
    assert summary_of(call, "small").elapsed_s < summary_of(call, "large").elapsed_s / 2


def test_a_refused_key_costs_one_request_for_all_manifests(make_bench: MakeBench) -> None:
    """The first paid request of an account goes alone, whoever sends it; 401 ends them all, exit 6."""
    bench = make_bench()
    bench.service.key = "sk-wrong"
    call = Call(bench, {"a": (5, WIDE), "b": (5, WIDE), "c": (5, WIDE)})
    call.run()
    assert set(call.codes().values()) == {Exit.ACCOUNT}
    assert len(bench.service.sent("post")) == 1


def test_when_the_quota_ends_nobody_submits_and_everybody_collects(make_bench: MakeBench) -> None:
    """What is paid becomes clips in both outputs; the one that had all its clips ended well."""
    bench = make_bench({"on": "create", "scope": "call", "nth": "7-", "status": 403, "body": NO_QUOTA})
    limits = replace(QUICK, in_flight=8)
    call = Call(bench, {"a": (2, limits), "b": (20, limits)})
    call.run()
    assert call.codes() == {"a": Exit.OK, "b": Exit.ACCOUNT}
    assert summary_of(call, "a").stopped is None
    assert summary_of(call, "b").counts[State.DONE] == 4
    assert len(bench.service.sent("post")) <= 6 + 8, "requests under way, and none after the refusal was heard"


def test_ten_requests_in_doubt_stop_all_manifests(make_bench: MakeBench) -> None:
    """Each further one might cost money, whichever manifest it is of."""
    bench = make_bench({"on": "create", "reset": "before"})
    limits = replace(QUICK, submits=Rate(6, 60))
    call = Call(bench, {"a": (9, limits), "b": (9, limits)})
    call.run()
    assert len(bench.service.sent("post")) == 10
    assert set(call.codes().values()) <= {Exit.IN_DOUBT, Exit.STOPPED}


def test_too_fast_slows_all_manifests(make_bench: MakeBench) -> None:
    """After 429 nothing is sent by anybody for as long as the service asks."""
    busy = {"on": "create", "scope": "call", "nth": "3", "status": 429, "headers": {"retry-after": "45"}, "body": ""}
    bench = make_bench(busy)
    limits = replace(QUICK, submits=Rate(60, 60))
    call = Call(bench, {"a": (6, limits), "b": (6, limits)})
    call.run()
    assert set(call.codes().values()) == {Exit.OK}
    moments = [one.at for one in bench.service.sent("post")]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert sum(gap >= 43 for gap in gaps) == 1
    for view in call.views.values():
        assert min(view.shares) == 0.5


def test_accounts_that_differ_share_nothing(make_bench: MakeBench) -> None:
    """Another key has another pace, and its own refusals."""
    bench = make_bench({"on": "create", "prompt": "*a-*", "status": 403, "body": NO_QUOTA})
    call = Call(bench, {"a": (5, WIDE), "b": (5, WIDE)}, is_one_account=False)
    call.run()
    assert call.codes() == {"a": Exit.ACCOUNT, "b": Exit.OK}


def test_the_calls_own_bounds_hold_over_all_manifests(make_bench: MakeBench) -> None:
    """``--max-jobs 5`` is five jobs in all, ``--max-cost`` the money of all, under any concurrency."""
    for spend_cap, code in ((SpendCap(max_jobs=5), Exit.STOPPED), (SpendCap(max_cost_micros=5 * PRICE), Exit.BUDGET)):
        bench = make_bench()
        bench.folder = bench.folder / code.name
        call = Call(bench, {"a": (4, WIDE), "b": (4, WIDE)}, spend_cap=spend_cap)
        call.run()
        assert len(bench.creates) == 5
        assert code in call.codes().values()


def test_an_output_that_another_run_holds_does_not_stop_the_others(make_bench: MakeBench) -> None:
    """It ends with 75; the other manifest is done."""
    bench = make_bench()
    held = Output.at(bench.folder / "a")
    (bench.folder / "a").mkdir(parents=True)
    held.prepare()
    with ExitStack() as stack:
        stack.enter_context(hold(held.state.output))
        call = Call(bench, {"a": (2, QUICK), "b": (2, QUICK)})
        call.run()
    assert isinstance(call.found["a"], OutputBusyError)
    assert call.codes()["b"] is Exit.OK
    assert len(bench.creates) == 2


def test_manifests_of_one_output_are_done_one_after_the_other(make_bench: MakeBench) -> None:
    """They share the lock and the journal, so they cannot be at work at once."""
    call = Call(make_bench(), {"a": (3, QUICK), "b": (3, QUICK)}, output="both")
    call.run()
    assert call.codes() == {"a": Exit.OK, "b": Exit.OK}
    assert max(call.submits("a")) < min(call.submits("b"))


@pytest.mark.parametrize("output", [None, "both"])
def test_one_signal_drains_all_manifests(make_bench: MakeBench, output: str | None) -> None:
    """Nothing new is sent by any; what was in flight is on record; a manifest that has not begun stays so."""
    bench = make_bench()
    call = Call(bench, {"a": (20, QUICK), "b": (20, QUICK)}, output=output)

    def later() -> None:
        asyncio.get_running_loop().call_later(5.0, call.interrupts.received, Exit.INTERRUPTED)

    call.run(later)
    assert set(call.codes().values()) == {Exit.INTERRUPTED}
    assert sorted(call.found) == (["a", "b"] if output is None else ["a"])
    assert len(bench.creates) <= 7
    assert sum(len(view.notes) for view in call.views.values()) == 1, "it is said once"


def test_two_signals_stop_all_manifests_at_once(make_bench: MakeBench) -> None:
    """Paid requests under way are in doubt, whichever manifest they are of."""
    bench = make_bench({"on": "create", "scope": "call", "nth": "2-", "delay_s": 60})
    call = Call(bench, {"a": (20, WIDE), "b": (20, WIDE)})

    def later() -> None:
        for delay_s in (5.0, 6.0):
            asyncio.get_running_loop().call_later(delay_s, call.interrupts.received, Exit.INTERRUPTED)

    call.check = lambda: None  # type: ignore[method-assign] # what is in doubt has no task yet
    call.run(later)
    assert set(call.codes().values()) == {Exit.IN_DOUBT}


def test_a_manifest_whose_end_is_far_away_is_not_waited_for(make_bench: MakeBench) -> None:
    """A canary that takes its time in one manifest leaves the room to the other."""
    bench = make_bench({"on": "create", "prompt": "*a-01*", "set": {}, "never": True})
    limits = replace(QUICK, in_flight=4, task_timeout_s=600.0)
    call = Call(bench, {"a": (10, replace(limits, canary=1)), "b": (10, limits)})
    call.run()
    assert call.codes() == {"a": Exit.STOPPED, "b": Exit.OK}
    assert summary_of(call, "b").elapsed_s < 590


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_service_does_the_account_is_never_asked_for_more(make_bench: MakeBench, seed: int) -> None:
    """Failures, refusals, lost answers and slow polls in three manifests: room and rate hold, and all ends."""
    rules: list[dict[str, Any]] = [
        {"on": "create", "scope": "call", "nth": f"{4 + seed}-{6 + seed}", "status": 429, "body": ""},
        {"on": "create", "prompt": "*-03*", "nth": 1, "status": 429, "body": {"error": {"message": "busy"}}},
        {"on": "create", "prompt": "*-05*", "fail": "no"},
        {"on": "poll", "prompt": "*-02*", "nth": "1-2", "status": 502},
        {"on": "create", "prompt": "*b-04*", "reset": "after-effect"},
    ]
    bench = make_bench(*rules, seed=seed)
    room = 3 + seed % 3
    limits = replace(QUICK, in_flight=room, submits=Rate(30, 60), attempts=1)
    call = Call(bench, {"a": (9, limits), "b": (7, replace(limits, in_flight=9)), "c": (5, limits)})
    call.check = lambda: None  # type: ignore[method-assign] # a lost answer leaves a create that no journal knows
    call.run()
    assert bench.service.peak <= room + 1, "the task of the lost answer is out of our sight"
    moments = [one.at for one in bench.service.sent("post")]
    assert max(sum(first <= at < first + 60 for at in moments) for first in moments) <= 30
    assert all(bought == 1 for bought in bench.bought().values())
    assert call.codes() == {"a": Exit.FAILED, "b": Exit.IN_DOUBT, "c": Exit.FAILED}
