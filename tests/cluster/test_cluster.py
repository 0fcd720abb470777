"""A short night of some workers at one database, as real processes: killed, fenced, out of money, with a revoked key.

The whole matrix is ``make cluster-faults``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import Exit
from tests.cluster.invariants import broken
from tests.cluster.lab import most_in_any_second
from tests.cluster.world import PRICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.world import World

pytestmark = pytest.mark.xdist_group("cluster")

DEAD_S = 6
"""Where a worker is killed. Elsewhere the default holds: on a busy machine a live one may be silent for seconds."""
HEARD_WITHIN_S = 1.5
"""A heartbeat later every worker knows of a manifest that was published."""
QUICKLY = ("--dead-time", f"{DEAD_S}s")


def test_a_killed_worker_costs_nothing_but_time(make_world: Callable[..., World]) -> None:
    """The two others take over; the store has each clip once, and the service billed each once."""
    world = make_world(store="moto")
    world.sandbox("- {on: create, delay_s: 0.3}")
    world.manifest(75, submits="20/s")
    others = [world.work(*QUICKLY, on="host-2"), world.work(*QUICKLY, on="host-3")]
    run = world.run(*QUICKLY, "-q", on="host-1")
    world.until(lambda: all(map(world.held_by, others)) and world.done() >= 15, what="all are at work")
    others[0].kill()
    world.until(lambda: world.has_lost(others[0]), within_s=2 * DEAD_S + 5, what="takeover")
    ran = run.wait()
    doubtful = world.in_doubt()
    assert ran.code == (Exit.IN_DOUBT if doubtful else Exit.OK), ran.text
    assert world.done() == 75 - len(doubtful)
    assert broken(world.evidence()) == {}
    name = f":{others[0].pid}"
    assert re.search(
        rf"warning   worker \S+{name} was not heard of for \d s: its (slice is|\d slices are) taken over", ran.out
    )
    assert re.search(rf"Machines: 3 workers took part in revision 1; \S+{name} was not heard of, and others", ran.out)
    told = world.call("status", "--json").out
    dead = next(one for one in json.loads(told)["machines"]["workers"] if one["name"].endswith(name))
    assert (dead["standing"], dead["slices"], dead["slices_taken_over"] > 0) == ("silent", 0, True)


def test_a_worker_that_was_taken_for_dead_ends_and_pays_nothing_twice(make_world: Callable[..., World]) -> None:
    """It wakes, hears that others have what it had, and exits 75; what it had sent is adopted."""
    world = make_world(store="folder")
    world.sandbox("- {on: create, delay_s: 0.3}")
    world.manifest(60, submits="10/s")
    zombie = world.work(*QUICKLY, on="host-2")
    run = world.run(*QUICKLY, on="host-1")
    world.until(lambda: world.sending_of(zombie), what="it sends")
    zombie.freeze()
    world.until(lambda: world.has_lost(zombie), within_s=2 * DEAD_S + 5, what="takeover")
    zombie.thaw()
    assert zombie.wait().code == Exit.BUSY, zombie.text
    assert run.wait().code in {Exit.OK, Exit.IN_DOUBT}, run.text
    assert world.run(*QUICKLY, on="host-1").wait().code == Exit.OK
    assert world.done() == 60
    assert broken(world.evidence()) == {}


def test_two_publishers_and_their_workers_never_go_over_the_budget(make_world: Callable[..., World]) -> None:
    """They publish at one moment, and are of one revision; both hear that the money is spent, to the last cent."""
    world = make_world(store="folder")
    world.sandbox()
    world.manifest(60, submits="unlimited", requests="unlimited", budget=20 * PRICE)
    runs = [world.run(on=f"host-{number}") for number in (1, 2)]
    others = [world.work("--once", on=f"host-{number}") for number in (3, 4)]
    assert [run.wait().code for run in runs] == [Exit.BUDGET, Exit.BUDGET], runs[0].text + runs[1].text
    assert {other.wait().code for other in others} <= {Exit.OK, Exit.BUDGET}
    assert world.number("SELECT count(*) FROM batchvid.revisions") == 1
    assert len(world.creates()) == 20
    assert broken(world.evidence(is_over=False)) == {}


def test_the_strictest_of_two_manifests_of_an_account_holds_while_both_are_live(
    make_world: Callable[..., World],
) -> None:
    """Whichever was published first, and for the workers of both; once the stricter one is over, the other goes on."""
    world = make_world(store="folder")
    world.sandbox()
    world.manifest(150, submits="15/s")
    world.manifest(12, name="slow", submits="2/s")
    run = world.run(on="host-1")
    world.until(lambda: len(world.creates()) >= 15, what="the first one is at work")
    slow = world.run(name="slow", on="host-2")
    assert (slow.wait().code, run.wait().code) == (Exit.OK, Exit.OK), slow.text + run.text
    of_slow = [line["at"] for line in world.creates("slow")]
    of_both = sorted(line["at"] for name in ("m", "slow") for line in world.creates(name))
    from_s, to_s = of_slow[0] + HEARD_WITHIN_S, of_slow[-1]
    assert most_in_any_second([at for at in of_both if from_s <= at <= to_s]) <= 3
    assert most_in_any_second([at for at in of_both if at > to_s]) > 6
    assert broken(world.evidence()) == {}


def test_a_slice_that_comes_twice_is_not_done_beside_itself(make_world: Callable[..., World]) -> None:
    """The engine may have it twice: who is at work on it goes on, and no answer to a paid request is lost."""
    world = make_world(store="folder")
    world.sandbox("- {on: create, delay_s: 1.5}")
    world.manifest(25, submits="unlimited", requests="unlimited")
    run = world.run(on="host-1")
    world.until(lambda: world.sending_of(run) >= 10, what="it sends")
    world.query(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) SELECT queue_name, task_name, args"
        " FROM procrastinate_jobs WHERE status = 'doing' RETURNING id"
    )
    ran = run.wait()
    assert ran.code == Exit.OK, ran.text
    assert len(world.creates()) == 25
    assert broken(world.evidence()) == {}


def test_all_machines_wait_for_the_canary(make_world: Callable[..., World]) -> None:
    """No job is sent beside it, and then all take part: for none of them its clips are missing."""
    world = make_world(store="folder")
    world.sandbox("- {on: create, delay_s: 0.5}")
    world.manifest(90, submits="unlimited", requests="unlimited", canary=3)
    others = [world.work(on=f"host-{number}") for number in (2, 3)]
    run = world.run(on="host-1")
    while world.done() < 3:
        sent = world.number("SELECT count(*) FROM batchvid.attempts")
        assert sent <= 3 or world.done() >= 3
    ran = run.wait()
    assert ran.code == Exit.OK, ran.text
    assert len(world.creates()) == 90
    assert len({host for host, _ in world.clips_by_worker()}) > 1
    assert all(other.is_running for other in others)
    assert broken(world.evidence()) == {}


def test_a_bucket_says_to_which_journal_it_belongs(make_world: Callable[..., World]) -> None:
    """A machine that leaves the database out finds nothing on its own disk, and would buy all once more."""
    world = make_world(store="moto")
    world.sandbox("- {on: create, delay_s: 0.8}")
    world.manifest(20, submits="10/s")
    run = world.run(on="host-1")
    world.until(lambda: world.sending_of(run) > 2, what="it sends")
    ran = world.start("run", world.manifests["m"], "--no-report", on="host-2").wait()
    assert ran.code == Exit.CONFIG, ran.text
    assert "belongs to another journal" in ran.text
    assert run.wait().code == Exit.OK
    assert len(world.creates()) == 20
    assert broken(world.evidence()) == {}


def test_a_machine_without_the_shared_folder_takes_no_part(make_world: Callable[..., World]) -> None:
    """It has another one of that name, where nobody would find the clips."""
    world = make_world(store="folder")
    world.sandbox("- {on: create, delay_s: 0.3}")
    world.manifest(60, submits="10/s")
    run = world.run(*QUICKLY, on="host-1")
    world.until(lambda: world.done() >= 2, what="it is at work")
    run.kill()
    run.wait()
    shared = Path(world.output())
    away = shared.rename(shared.with_name("away"))
    before = len(world.creates())
    ran = world.work("--once", *QUICKLY, on="host-2").wait()
    assert ran.code == Exit.CONFIG, ran.text
    assert "is not the one that the others save clips in" in ran.text
    assert len(world.creates()) == before
    assert not shared.exists()
    away.rename(shared)
    assert world.run(*QUICKLY, on="host-1").wait().code in {Exit.OK, Exit.IN_DOUBT}
    assert broken(world.evidence()) == {}


def test_a_revoked_key_stops_all_workers(make_world: Callable[..., World]) -> None:
    """One hears it from the service, the other from the database."""
    world = make_world(store="folder")
    invalid = "{error: {message: invalid token, type: comet_api_error}}"
    world.sandbox(f"- {{on: create, scope: call, nth: '20-', status: 401, body: {invalid}}}")
    world.manifest(60, submits="20/s")
    workers = [world.work(on="host-2"), world.run(on="host-1")]
    assert [one.wait().code for one in workers] == [Exit.ACCOUNT, Exit.ACCOUNT]
    assert broken(world.evidence(is_over=False)) == {}


def test_a_run_that_is_ended_leaves_the_rest_to_the_others(make_world: Callable[..., World]) -> None:
    """It says so by its exit code. Requests of others that are under way are in doubt for nobody."""
    world = make_world(store="folder")
    world.sandbox("- {on: create, delay_s: 0.5}")
    world.manifest(60, submits="20/s")
    other = world.work(on="host-2")
    run = world.run(on="host-1")
    world.until(lambda: world.held_by(other) and world.held_by(run) and world.done() >= 10, what="both are at work")
    run.end()
    ran = run.wait()
    assert ran.code == Exit.TERMINATED, ran.text
    assert "in doubt" not in ran.text
    assert "Needs attention" not in ran.text
    open_ones = "SELECT count(*) FROM batchvid.revisions WHERE ended_at IS NULL"
    world.until(lambda: world.done() == 60 and not world.number(open_ones), what="the other does the rest")
    other.end()
    assert other.wait().code == Exit.TERMINATED, other.text
    assert broken(world.evidence()) == {}
