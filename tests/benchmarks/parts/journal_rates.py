"""Prints how many transitions a second the journal takes: from 500 jobs at once, or with one commit for each."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from batchvid.journal.group_commit import Recorder
from batchvid.journal.sqlite import SqliteStore
from tests.benchmarks.parts.life import changes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.journal.base import Journal

AT_ONCE = 500


async def grouped(journal: Journal, ids: Iterator[str]) -> None:
    """Record every transition through the run's own recorder."""

    async def work() -> None:
        for job_id in ids:
            for change in changes(job_id, path=f"{job_id}.mp4"):
                await recorder.record(change)

    async with Recorder(journal) as recorder, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


def alone(journal: Journal, ids: Iterator[str]) -> None:
    """Commit every transition by itself."""
    for job_id in ids:
        for change in changes(job_id, path=f"{job_id}.mp4"):
            journal.record((change,))


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("way", choices=("grouped", "alone"))
    parser.add_argument("jobs", type=int)
    options = parser.parse_args()
    ids = (f"kite-{number}" for number in range(options.jobs))
    with SqliteStore(options.folder / ".batchvid" / "journal.db").open(service="bench") as journal:
        started = time.monotonic()
        if options.way == "grouped":
            asyncio.run(grouped(journal, ids))
        else:
            alone(journal, ids)
        print(4 * options.jobs / (time.monotonic() - started))  # noqa: T201 what it is for


if __name__ == "__main__":
    main()
