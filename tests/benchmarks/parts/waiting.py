"""Prints the bytes that each further waiting job costs, from 10,000 to 100,000 jobs in the schedule.

``pending`` jobs wait for their turn to be submitted, ``running`` ones for their next poll. The jobs themselves are the
manifest's and there before; the journal's rows of the running ones are the run's, and counted.
"""

from __future__ import annotations

import argparse
import tracemalloc

from batchvid.domain.job import Job, Progress, State
from batchvid.domain.limits import Limits
from batchvid.domain.results import Money
from batchvid.engine.circuit_breaker import CircuitBreaker
from batchvid.engine.scheduler import Scheduler


def job(number: int) -> Job:
    """Return a plain job."""
    name = f"kite-{number:06}"
    return Job(name, "A kite.", "veo3-fast", "16x9", None, (), (), 400_000, f"{name}.mp4", "0" * 64, "m.yaml:9")


def row(number: int, one: Job) -> Progress:
    """Return what the journal holds of a job whose task is under way."""
    return Progress(
        one.id, State.RUNNING, 2, 1, task_id=f"task_{number:032}", resolved_model="veo_3_1-4K",
        fingerprint=one.fingerprint, price_micros=one.price_micros, submitted_at=number / 7,
    )  # fmt: skip


def held_bytes(jobs: tuple[Job, ...], *, running: bool) -> int:
    """Return what a course with all *jobs* in its lanes holds."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    scheduler = Scheduler(jobs, Limits(), breaker=CircuitBreaker(Limits()), money=Money())
    rows = {one.id: row(number, one) for number, one in enumerate(jobs)} if running else {}
    scheduler.restore(rows, again={}, reserved=frozenset(rows), only=None, now=0.0, at=1e6)
    rows.clear()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    lane = scheduler.polls if running else scheduler.submits
    assert len(lane) == len(jobs)
    return after - before


def main() -> None:
    """Measure the slope."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", choices=("pending", "running"))
    parser.add_argument("few", type=int)
    parser.add_argument("many", type=int)
    options = parser.parse_args()
    jobs = tuple(job(number) for number in range(options.many))
    running = options.state == "running"
    less = held_bytes(jobs[: options.few], running=running)
    more = held_bytes(jobs, running=running)
    print((more - less) / (options.many - options.few))  # noqa: T201 what it is for


if __name__ == "__main__":
    main()
