"""A process that sends at a shared pace as a run does: a commit before each request, at most 16 of them at once."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from batchvid.domain.limits import Rate
from batchvid.engine.shared_pace import SubmitPace
from batchvid.journal.pace import PostgresPace
from batchvid.journal.postgres_db import Database
from batchvid.storage.threads import Batcher, Workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchvid.domain.slots import Asked, Dealt
    from batchvid.journal.postgres_db import Connection

SUBMITTERS = 16


class Counted(PostgresPace):
    """A pace that counts what it asks of the database."""

    def __init__(self, database: Database, account: int, kind: str) -> None:
        super().__init__(database, account, kind)
        self.blocks = 0
        self.refusals = 0
        self.slots = 0

    def deal(self, asked: Asked) -> Dealt:
        """Take a block of slots, and count it."""
        dealt = super().deal(asked)
        self.blocks += dealt.number > 0
        self.refusals += dealt.number == 0
        self.slots += dealt.number
        return dealt


@dataclass
class Sender:
    """What a worker holds."""

    pace: SubmitPace
    address: str
    until: float
    db: Connection | None
    preparation_s: float
    left: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: list[float] = field(default_factory=list)

    async def work(self, session: aiohttp.ClientSession, records: Batcher[int, None]) -> None:
        """Send one request after the other."""
        while True:
            async with self.turn:
                if self.left < 1 or time.monotonic() >= self.until:
                    return
                self.left -= 1
                await self.pace.acquire()
            await asyncio.sleep(self.preparation_s * random.uniform(0.4, 2))  # noqa: S311 frames are read
            if self.db is not None:
                await records.outcome(1)
            await self.pace.on_time()
            self.sent.append(time.monotonic())
            async with session.post(self.address, data=b"{}") as answer:
                await answer.read()
            if self.db is not None:
                await records.outcome(1)

    def commit(self, things: Sequence[int]) -> list[None]:
        """Record a few rows for each of *things*."""
        if self.db is not None:
            with self.db.transaction():
                self.db.cursor().executemany(
                    "INSERT INTO bench_rows (text) VALUES (%s)", [["x" * 200]] * 3 * len(things)
                )
        return [None] * len(things)


async def main(options: Any) -> dict[str, Any]:
    """Send until the time is over, and return what happened."""
    database = Database(options.database)
    port = Counted(database, 1, "submits")
    sender = Sender(
        SubmitPace(Rate(options.rate, options.period), port),
        options.address,
        options.until,
        None if options.bare else database.connect(),
        options.preparation_ms / 1000,
        options.most,
    )
    records = Batcher(sender.commit, most=512, executor=Workers(1, "records"))
    connector = aiohttp.TCPConnector(limit=0)
    async with sender.pace, aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(sender.work(session, records)) for _ in range(SUBMITTERS)]
        await asyncio.sleep(max(0.0, options.until - time.monotonic()) if options.most == float("inf") else 0)
        if options.most == float("inf"):
            for task in tasks:
                task.cancel()
    return {
        "sent": sender.sent,
        "blocks": port.blocks,
        "refusals": port.refusals,
        "slots": port.slots,
    }


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--period", type=float, default=1)
    parser.add_argument("--until", type=float, required=True, help="on the monotonic clock")
    parser.add_argument("--preparation-ms", type=float, default=5)
    parser.add_argument("--bare", action="store_true", help="no rows before and after a request")
    parser.add_argument("--most", type=float, default=float("inf"), help="requests to send")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    json.dump(asyncio.run(main(options_of(sys.argv[1:]))), sys.stdout)
