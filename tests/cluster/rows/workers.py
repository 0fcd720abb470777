"""Rows about workers: killed, frozen, cut off, with wrong clocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batchvid.domain.errors import Exit
from tests.cluster.hosts import Place
from tests.cluster.lab import DEAD_S, most_in_any_second, row

if TYPE_CHECKING:
    from tests.cluster.lab import Lab
    from tests.cluster.world import Worker, World

SLOW_POSTS = "- {on: create, delay_s: 1.5}"
POSTS_AT_MOST = 16
"""Of one process at once."""
TAKEOVER_S = DEAD_S + 5.0
AFTER_S = 300.0
"""How long after a takeover a late request may still come."""


def two_at_work(world: World, *, freezes: bool = False) -> tuple[Worker, Worker]:
    """Start a worker on host-2 and a run on host-1, and wait until both have slices and pay."""
    second = world.work(on="host-2", freezes=freezes)
    first = world.run(on="host-1")
    world.until(lambda: world.held_by(second) and world.held_by(first), what="both have slices")
    return first, second


@row("C01", "SIGKILL of a worker whose POSTs take 1.5 s", "takeover <= dead time + 5 s; in doubt <= the POST cap")
def killed(lab: Lab) -> None:
    """Take over, and have in doubt what was being sent."""
    world = lab.world(store="folder")
    world.sandbox(SLOW_POSTS)
    world.manifest(240, submits="15/s")
    first, second = two_at_work(world)
    world.until(lambda: world.sending_of(second) > 2, what="it sends")
    held = len(world.held_by(second))
    second.kill()
    took_s = world.until(lambda: world.has_lost(second), within_s=4 * TAKEOVER_S, what="takeover")
    lab.note(f"takeover of {held} slices after {took_s:.1f} s")
    ran = first.wait()
    in_doubt = len(world.in_doubt())
    lab.note(f"{in_doubt} in doubt")
    lab.expect("takeover", took_s <= TAKEOVER_S, f"after {took_s:.1f} s")
    lab.expect("told", "taken over" in ran.text or "took over" in ran.text, f"not told: {ran.text[-400:]}")
    lab.expect("doubt", in_doubt <= POSTS_AT_MOST, f"{in_doubt} in doubt")
    lab.ended(ran, Exit.IN_DOUBT if in_doubt else Exit.OK)
    lab.all_done(world, but=in_doubt)
    lab.survived(world)


@row("C02", "SIGSTOP of a worker for half of the dead time", "nothing")
def frozen_shortly(lab: Lab) -> None:
    """Take nothing over, and have nothing in doubt."""
    world = lab.world(store="folder")
    world.sandbox(SLOW_POSTS)
    world.manifest(200, submits="20/s")
    first, second = two_at_work(world)
    world.until(lambda: world.sending_of(second) > 2, what="it sends")
    second.freeze()
    time.sleep(DEAD_S / 2)
    second.thaw()
    lab.ended(first.wait(), Exit.OK)
    second.end()
    lab.ended(second.wait(), Exit.OK, Exit.TERMINATED)
    lab.expect("epochs", world.epochs() == {1}, f"{world.epochs()}")
    lab.all_done(world)
    lab.survived(world)


@row("C03", "SIGSTOP for longer than the dead time, and the zombie wakes", "fenced, late ids adopted, exit 75")
def zombie(lab: Lab) -> None:
    """Pay once for what it had sent, and fence no healthy worker."""
    world = lab.world(store="folder")
    world.sandbox(SLOW_POSTS)
    world.manifest(300, submits="15/s")
    first, second = two_at_work(world)
    world.until(lambda: world.sending_of(second) > 2, what="it sends")
    second.freeze()
    sending = world.sending_of(second)
    world.until(lambda: world.has_lost(second), within_s=4 * TAKEOVER_S, what="takeover")
    time.sleep(1.0)
    second.thaw()
    lab.ended(second.wait(timeout_s=30), Exit.BUSY)
    ran = first.wait()
    in_doubt = len(world.in_doubt())
    lab.note(f"{sending} being sent when it froze; {in_doubt} in doubt at the end")
    lab.ended(ran, Exit.OK)
    lab.all_done(world)
    lab.survived(world)


@row(
    "C04",
    "frozen between intent and send, then retry --in-doubt",
    "refused until dead time + 300 s; a late POST is adopted",
)
def late_post(lab: Lab) -> None:
    """Buy nothing again that may still be sent."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(120, submits="20/s")
    second = world.work(on="host-2", freezes=True)
    first = world.run(on="host-1")
    world.until(lambda: world.is_frozen(second), what="it stands still before a paid request")
    world.until(lambda: world.has_lost(second), within_s=4 * TAKEOVER_S, what="takeover")
    lab.ended(first.wait(), Exit.IN_DOUBT)
    doubtful = world.in_doubt()
    lab.expect("doubt", 1 <= len(doubtful) <= POSTS_AT_MOST, f"{len(doubtful)} in doubt")
    refused = world.call("retry", "--in-doubt", "--yes")
    lab.expect("refused", refused.code != Exit.OK, f"retried: {refused.text[-400:]}")
    lab.expect("refused", "in doubt" in refused.text, f"it does not say why: {refused.text[-400:]}")
    lab.note(f"refused with exit {refused.code}")
    paid = len(world.creates())
    second.thaw()
    lab.ended(second.wait(timeout_s=30), Exit.BUSY)
    lab.note(f"{len(world.creates()) - paid} sent late")
    again = world.run(on="host-1").wait()
    left = len(world.in_doubt())
    lab.ended(again, Exit.IN_DOUBT if left else Exit.OK)
    lab.expect("adopted", left <= len(doubtful) - (len(world.creates()) - paid), f"{left} still in doubt")
    lab.survived(world)
    world.query(
        "UPDATE batchvid.slices SET taken_at = taken_at - interval '1 hour', over_at = over_at - interval '1 hour'"
    )
    world.query("UPDATE batchvid.attempts SET started_at = started_at - 3600 WHERE outcome = 'in_doubt'")
    if left:
        lab.ended(world.call("retry", "--in-doubt", "--yes"), Exit.OK)
        lab.ended(world.run(on="host-1").wait(), Exit.OK)
        lab.all_done(world)


@row("C05", "a worker cut off from the database", "no new POST; ids spilled to its disk; adopted after")
def without_database(lab: Lab) -> None:
    """Pay once for what it has sent, with nothing in doubt in the end."""
    world = lab.world(network=True, store="folder")
    world.sandbox(SLOW_POSTS)
    world.manifest(300, submits="15/s")
    first, second = two_at_work(world)
    world.until(lambda: world.sending_of(second) > 2, what="it sends")
    first.freeze()  # so that every create from now on is the other one's
    time.sleep(0.2)
    second.host.cut(Place.DATABASE)
    before = len(world.creates())
    time.sleep(2.0)
    at_once = len(world.creates())
    time.sleep(DEAD_S / 2)
    later = len(world.creates())
    first.thaw()
    lab.note(f"{at_once - before} creates within 2 s of the cut, {later - at_once} after that")
    lab.expect("silence", later == at_once, f"{later - at_once} creates from 2 s after the cut on")
    world.until(lambda: world.has_lost(second), within_s=4 * TAKEOVER_S, what="takeover")
    spilled = world.spilled(second.host)
    lab.note(f"{len(spilled)} ids spilled")
    second.host.mend(Place.DATABASE)
    first_ran = first.wait()
    if second.is_running:
        second.end()
    lab.ended(second.wait(), Exit.OK, Exit.BUSY, Exit.DISK, Exit.TERMINATED)
    if first_ran.code != Exit.OK:
        lab.ended(first_ran, Exit.IN_DOUBT)
        lab.ended(world.work("--once", on="host-2").wait(), Exit.OK)
        lab.ended(world.run(on="host-1").wait(), Exit.OK)
    recorded = {task for (task,) in world.query("SELECT task_id FROM batchvid.attempts")}
    lab.expect("adopted", spilled <= recorded, f"{len(spilled - recorded)} of {len(spilled)} are not")
    lab.all_done(world)
    lab.survived(world)


@row("C06", "a worker cut off from the service", "it backs off; no halt of the account")
def without_service(lab: Lab) -> None:
    """Go on with the others."""
    world = lab.world(network=True, store="folder")
    world.sandbox()
    world.manifest(300, submits="15/s")
    first, second = two_at_work(world)
    world.until(lambda: world.done() > 0, what="the first paid request is answered: it goes alone, and all wait for it")
    second.host.cut(Place.SERVICE)
    before = world.done()
    time.sleep(DEAD_S)
    lab.expect("others", world.done() > before, "the others stand still")
    lab.note(f"{world.done() - before} clips by the other one meanwhile")
    halts = world.query("SELECT reason FROM batchvid.halts")
    lab.expect("halts", not halts, f"{halts}")
    second.host.mend(Place.SERVICE)
    lab.ended(first.wait(), Exit.OK)
    second.end()
    lab.ended(second.wait(), Exit.OK, Exit.TERMINATED)
    lab.all_done(world)
    lab.survived(world)


@row("C09", "the clocks of two hosts one hour ahead and behind", "no effect on pace, leases, windows")
def clocks(lab: Lab) -> None:
    """Use the database's clock."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(300, submits="20/s")
    others = [world.work(on="host-2", clock="-1h"), world.work(on="host-3")]
    first = world.run(on="host-1", clock="+1h")
    lab.ended(first.wait(), Exit.OK)
    for one in others:
        one.end()
        lab.ended(one.wait(), Exit.OK, Exit.TERMINATED)
    most = most_in_any_second([line["at"] for line in world.creates()])
    lab.note(f"most in any second: {most} of 20")
    lab.expect("pace", most <= 20, f"{most} in a second")
    lab.expect("epochs", world.epochs() == {1}, f"{world.epochs()}")
    lab.all_done(world)
    lab.survived(world)


@row("C18", "the scratch of a killed worker is lost, with clips in it that are paid", "downloaded again")
def scratch_lost(lab: Lab) -> None:
    """Buy nothing again."""
    world = lab.world(store="seaweedfs")
    world.sandbox()
    world.manifest(60)
    way = world.way_to_store()
    way.fails = lambda what: what.startswith("PUT") and ".mp4" in what
    first = world.run(on="host-1")
    world.until(
        lambda: len(world.creates()) == 60 and {*world.states().values()} <= {"running", "ready"},
        what="all are paid, and none is stored",
    )
    world.until(lambda: len(list(first.host.folder.rglob("*.part"))) >= 5, what="clips are in scratch")
    first.kill()
    first.wait()
    files = world.ledger()["requests"]["file"]
    world.lose_disk("host-1")
    way.fails = lambda _: False
    lab.ended(world.run(on="host-2").wait(), Exit.OK)
    lab.note(f"{world.ledger()['requests']['file'] - files} downloads after the loss")
    lab.all_done(world)
    lab.survived(world)
