"""Rows about the database: away, back, behind, newer; and about who publishes into it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from batchvid.domain.errors import Exit
from tests.cluster.lab import DEAD_S, row

if TYPE_CHECKING:
    from tests.cluster.lab import Lab
    from tests.cluster.world import World

AWAY_S = 3.0
BACK_S = 10.0
"""Within which work goes on after the database's return."""


def pays(world: World, number: int) -> None:
    """Wait for so many more attempts."""
    before = world.number("SELECT count(*) FROM batchvid.attempts")
    world.until(
        lambda: world.number("SELECT count(*) FROM batchvid.attempts") >= before + number, what=f"{number} attempts"
    )


def goes_on(world: World) -> float:
    """Return how long it takes until something is recorded."""
    before = world.number("SELECT max(seq) FROM batchvid.events")
    return world.until(
        lambda: world.number("SELECT max(seq) FROM batchvid.events") > before, within_s=60, what="work goes on"
    )


@row(
    "C07", "PostgreSQL restarted, and killed in mid-commit, three times", "goes on <= 10 s after its return; 0 in doubt"
)
def restarted(lab: Lab) -> None:
    """Look up commits with an unknown end, and go on."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(600, submits="25/s")
    second = world.work(on="host-2")
    first = world.run(on="host-1")
    server = world.server
    assert server is not None
    took = []
    for stop in (partial(server.stop, "fast"), server.stop, server.kill):
        pays(world, 20)
        stop()
        time.sleep(AWAY_S)
        server.start()
        took.append(goes_on(world))
    lab.note("went on after " + ", ".join(f"{one:.1f}" for one in took) + " s (fast, immediate, SIGKILL)")
    lab.expect("back", max(took) <= BACK_S, f"after {max(took):.1f} s")
    lab.ended(first.wait(), Exit.OK)
    lab.expect("worker", second.is_running, f"the worker ended: {second.text[-400:]}")
    second.end()
    lab.ended(second.wait(), Exit.OK, Exit.TERMINATED)
    lab.all_done(world)
    lab.survived(world)


@row(
    "C08",
    "failover to a standby: a synchronous one, and one that lags",
    "goes on; or exit 78, as an intent may be lost",
)
def failover(lab: Lab) -> None:
    """Go on where all that was promised is known, and pay nothing where it may not be."""
    for is_synchronous in (True, False):
        world = lab.world(store="folder")
        world.sandbox()
        world.manifest(300, submits="15/s")
        second = world.work(on="host-2")
        first = world.run(on="host-1")
        pays(world, 30)
        standby = world.start_standby(is_synchronous=is_synchronous)
        if not is_synchronous:
            standby.stop("fast")  # from here on it knows nothing
            pays(world, 20)
        else:
            time.sleep(2.0)
        assert world.server is not None
        world.server.kill()
        world.promote(standby)
        if is_synchronous:
            took_s = goes_on(world)
            lab.note(f"synchronous: went on {took_s:.1f} s after the promotion")
            lab.ended(first.wait(), Exit.OK)
            second.end()
            lab.ended(second.wait(), Exit.OK, Exit.TERMINATED)
            lab.all_done(world)
            lab.survived(world)
            continue
        paid = len(world.creates())
        for one in (first, second):
            lab.ended(one.wait(timeout_s=60), Exit.CONFIG)
        lab.note(f"one that lags: {len(world.creates()) - paid} creates after the promotion")
        lab.ended(world.run(on="host-1").wait(), Exit.CONFIG)
        billed = [line["prompt"] for line in world.creates()]
        lab.expect("creates", len(billed) == len(set(billed)), f"{len(billed) - len(set(billed))} bought twice")


@row("C10", "four publishers of one manifest at one moment", "one revision, one set of slices")
def publishers(lab: Lab) -> None:
    """End all of them with the whole manifest done."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(300)
    runs = [world.run(on=f"host-{n}") for n in range(1, 5)]
    for one in runs:
        lab.ended(one.wait(), Exit.OK)
    revisions = world.number("SELECT count(*) FROM batchvid.revisions")
    lab.expect("revisions", revisions == 1, f"{revisions} revisions")
    jobs = world.query("SELECT count(*), count(DISTINCT job_id) FROM batchvid.work")
    lab.expect("slices", jobs == [(300, 300)], f"{jobs}")
    lab.all_done(world)
    lab.survived(world)


@row("C11", "the manifest edited and published again while workers are at it", "78, or --publish")
def edited(lab: Lab) -> None:
    """End slices as they began."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(300, submits="20/s")
    first = world.run(on="host-1")
    world.until(lambda: world.done() > 20, what="clips")
    world.manifest(330, submits="20/s")
    refused = world.run(on="host-2").wait()
    lab.ended(refused, Exit.CONFIG)
    lab.expect("told", "--publish" in refused.text, f"not told: {refused.text[-400:]}")
    lab.ended(world.run("--publish", on="host-2").wait(), Exit.OK)
    ran = first.wait()
    lab.ended(ran, Exit.CONFIG)
    lab.expect("told", "takes the place of this one" in ran.text, f"not told: {ran.text[-400:]}")
    lab.all_done(world)
    lab.survived(world)


@row("C12", "a newer schema while an older worker is at work", "refused; it drains, 78")
def newer_schema(lab: Lab) -> None:
    """Lose nothing to those that come after it."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(300, submits="20/s")
    second = world.work(on="host-2")
    first = world.run(on="host-1")
    world.until(lambda: world.done() > 20, what="clips")
    world.query("UPDATE batchvid.schema_version SET version = version + 1")
    lab.ended(world.work("--once", on="host-3").wait(), Exit.CONFIG)
    for one in (first, second):
        lab.ended(one.wait(timeout_s=60), Exit.CONFIG)
    in_doubt = len(world.in_doubt())
    lab.expect("doubt", in_doubt == 0, f"{in_doubt} in doubt")
    world.query("UPDATE batchvid.schema_version SET version = version - 1")
    lab.ended(world.run(on="host-1").wait(), Exit.OK)
    lab.all_done(world)
    lab.survived(world)


@row("C20", "engine jobs finished, retried and doubled wrongly", "re-deferred by the reconciler; harmless")
def engine_jobs(lab: Lab) -> None:
    """Believe the ledger about slices, and not the engine's tables."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(400, submits="20/s")
    second = world.work(on="host-2")
    first = world.run(on="host-1")
    world.until(lambda: world.done() > 20, what="clips")
    doing = [one for (one,) in world.query("SELECT id FROM procrastinate_jobs WHERE status = 'doing' ORDER BY id")]
    todo = [one for (one,) in world.query("SELECT id FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id")]
    lab.expect("jobs", len(doing) >= 2, f"{len(doing)} engine jobs are under way, {len(todo)} wait")
    world.query("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = %s", doing[0])
    world.query("UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL WHERE id = %s", doing[1])
    doubled = doing[-1]
    world.query(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, status)"
        " SELECT queue_name, task_name, priority, args, 'todo' FROM procrastinate_jobs WHERE id = %s",
        doubled,
    )
    if todo:
        world.query("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = %s", todo[-1])
    lab.note(f"{len(doing)} under way and {len(todo)} waiting when four of them were put wrong")
    ran = first.wait(timeout_s=120 + 4 * DEAD_S)
    lab.ended(ran, Exit.OK)
    if second.is_running:
        second.end()
    lab.ended(second.wait(), Exit.OK, Exit.TERMINATED, Exit.BUSY)
    lab.all_done(world)
    lab.survived(world)
