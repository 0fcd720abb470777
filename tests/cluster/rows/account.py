"""Rows about the account that all workers share: its quota, its budget, its brakes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from batchvid.domain.errors import Exit
from tests.cluster.lab import most_in_any_second, row, share_used
from tests.cluster.world import PRICE

if TYPE_CHECKING:
    from tests.cluster.lab import Lab

RATE = 50
WORKERS = 16
BUDGET = 20.0
RETRY_AFTER_S = 4


@row("C13", f"{WORKERS} workers at one quota of {RATE}/s", "<= the limit in any window, >= 95 % of it used")
def quota(lab: Lab) -> None:
    """Share one pace, on the database's clock."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(30 * RATE, submits=f"{RATE}/s", requests="1000/s", in_flight=1000)
    others = [world.work(on=f"host-{n}") for n in range(2, WORKERS + 1)]
    world.until(lambda: world.number("SELECT count(*) FROM batchvid.workers") >= len(others), what="workers")
    first = world.run(on="host-1")
    lab.ended(first.wait(timeout_s=180), Exit.OK)
    for one in others:
        one.end()
    for one in others:
        lab.ended(one.wait(), Exit.OK, Exit.TERMINATED)
    moments = [line["at"] for line in world.creates()]
    most, share = most_in_any_second(moments), share_used(moments, RATE)
    lab.note(f"most in any second {most} of {RATE}, {share:.1%} of the quota used")
    lab.expect("limit", most <= RATE, f"{most} in a second")
    lab.expect("share", share >= 0.95, f"only {share:.1%} used")
    lab.all_done(world)
    lab.survived(world)


@row("C14", f"a budget of ${BUDGET:.2f} raced by {WORKERS} workers", "never a cent above")
def budget(lab: Lab) -> None:
    """Refuse in the database what would go over it."""
    world = lab.world(store="folder")
    world.sandbox()
    world.manifest(400, submits="unlimited", requests="unlimited", in_flight=400, budget=BUDGET)
    others = [world.work(on=f"host-{n}") for n in range(2, WORKERS + 1)]
    world.until(lambda: world.number("SELECT count(*) FROM batchvid.workers") >= len(others), what="workers")
    ran = world.run(on="host-1").wait()
    for one in others:
        if one.is_running:
            one.end()
    for one in others:
        lab.ended(one.wait(), Exit.OK, Exit.TERMINATED, Exit.BUDGET)
    spent = len(world.creates()) * PRICE
    lab.note(f"${spent:.2f} billed")
    lab.expect("budget", spent <= BUDGET + 0.001, f"${spent:.2f}")
    lab.expect("budget", spent >= BUDGET - PRICE, f"only ${spent:.2f}")
    lab.ended(ran, Exit.BUDGET)
    lab.survived(world)


@row("C19", "429 for all creates for a while; then the key is revoked", "all slow within 1 s; all stop, exit 6")
def refused(lab: Lab) -> None:
    """Tell all of them what one has heard."""
    world = lab.world(store="folder")
    # Of all creates, the 100th to the 103rd: so one worker or two hear it, and the others must be told.
    throttled = (
        f"- {{on: create, scope: call, nth: '100-103', status: 429, headers: {{retry-after: '{RETRY_AFTER_S}'}}}}"
    )
    world.sandbox(throttled)
    world.manifest(240, submits="30/s")
    others = [world.work(on=f"host-{n}") for n in range(2, 5)]
    world.until(lambda: world.number("SELECT count(*) FROM batchvid.workers") >= len(others), what="workers")
    first = world.run(on="host-1")
    world.until(lambda: world.ledger()["requests"]["create"] > len(world.ledger()["creates"]), what="a 429")
    at = time.time()
    lab.ended(first.wait(), Exit.OK)
    for one in others:
        one.end()
        lab.ended(one.wait(), Exit.OK, Exit.TERMINATED)
    moments = [line["at"] for line in world.creates()]
    late = sum(at + 1.0 < one < at + RETRY_AFTER_S - 0.2 for one in moments)
    soon = sum(at < one <= at + 1.0 for one in moments)
    lab.note(f"{soon} creates in the second after the 429, {late} in the {RETRY_AFTER_S - 1} s after that")
    lab.expect("slow", late == 0, f"{late} creates from 1 s after the first 429 until {RETRY_AFTER_S} s after it")
    lab.all_done(world)
    lab.survived(world)

    world = lab.world(store="folder")
    world.sandbox(
        "- {on: create, scope: call, nth: '80-', status: 401,"
        " body: {error: {message: invalid token, type: comet_api_error}}}"
    )
    world.manifest(300, submits="30/s")
    others = [world.work(on=f"host-{n}") for n in range(2, 5)]
    world.until(lambda: world.number("SELECT count(*) FROM batchvid.workers") >= len(others), what="workers")
    first = world.run(on="host-1")
    started = time.monotonic()
    for one in (first, *others):
        lab.ended(one.wait(timeout_s=60), Exit.ACCOUNT)
    lab.note(f"revoked: all four ended with 6, {time.monotonic() - started:.0f} s after the start")
    refused_creates = world.ledger()["requests"]["create"] - len(world.ledger()["creates"])
    lab.note(f"{refused_creates} creates were sent with the revoked key")
    lab.survived(world, is_over=False)
