"""How well many processes keep to one pace: ``python -m tests.cluster.pace_bench --workers 16 --rate 50``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing import Pipe, Process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchvid.journal.ledger import account_number
from batchvid.journal.postgres_db import Database, migrate, scalar
from tests import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from batchvid.journal.postgres_db import Connection as DatabaseConnection

ROWS = "CREATE TABLE IF NOT EXISTS bench_rows (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text TEXT NOT NULL)"
ACCOUNT = 1
WARM_UP_S = 3.0
ROOT = Path(__file__).parents[2]


def make_tables(db: DatabaseConnection) -> None:
    """Make batchvid's own tables with an account in them, and those of the bench."""
    migrate(db)
    assert account_number(db, "http://127.0.0.1/v1 bench", "http://127.0.0.1/v1") == ACCOUNT
    db.execute(ROWS)


class Arrivals(asyncio.Protocol):
    """One connection of a service that notes when each request arrives."""

    def __init__(self, arrived: list[float], answer_s: float) -> None:
        self._arrived = arrived
        self._answer_s = answer_s
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Note every head of a request, and answer later."""
        now = time.monotonic()
        for _ in range(data.count(b"POST ")):
            self._arrived.append(now)
            asyncio.get_running_loop().call_later(self._answer_s, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def _serve(pipe: Connection, answer_s: float) -> None:
    """Be the service until something comes through *pipe*, and send back when requests arrived."""
    with contextlib.suppress(OSError):
        os.nice(-10)  # a real service does not share its processors with those who ask it

    async def main() -> list[float]:
        arrived: list[float] = []
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Arrivals(arrived, answer_s), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        over = asyncio.Event()
        loop.add_reader(pipe.fileno(), over.set)
        await over.wait()
        server.close()
        return arrived

    pipe.send(asyncio.run(main()))


@contextlib.contextmanager
def service(arrived: list[float], answer_s: float = 0.05) -> Iterator[str]:
    """Run the service; *arrived* holds the moments at the end."""
    here, there = Pipe()
    process = Process(target=_serve, args=(there, answer_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1/videos"
        here.send("end")
        arrived.extend(here.recv())
    finally:
        process.terminate()
        process.join()


def most_in_a_window(moments: Sequence[float], period_s: float) -> int:
    """Return the most of the sorted *moments* that any half-open window of this length holds."""
    most = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - period_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def start(options: argparse.Namespace, url: str, address: str, *, until: float) -> subprocess.Popen[str]:
    """Start a worker."""
    command = [sys.executable, "-m", "tests.cluster.pace_worker", f"--database={url}", f"--address={address}"]
    command += [f"--rate={options.rate}", f"--period={options.period}", f"--until={until}"]
    command += [f"--preparation-ms={options.preparation_ms}", *["--bare"] * options.bare]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@dataclass
class Outcome:
    """What a repetition showed."""

    most_arrived: int
    most_sent: int
    share: float
    commits: float
    refusals: float
    unused: float
    fairness: float
    wal: float
    gap_p99_ms: float
    gap_max_ms: float

    def __str__(self) -> str:
        """Return it in a line."""
        return (
            f"most in a window {self.most_arrived} arrived, {self.most_sent} sent; {self.share:.1%} of the quota; "
            f"{self.commits:.2f} commits, {self.refusals:.2f} refusals, {self.wal:.0f} B WAL a request; "
            f"{self.unused:.1%} of the slots unused; least/most of a worker {self.fairness:.2f}; "
            f"on the way {self.gap_p99_ms:.1f} ms p99, {self.gap_max_ms:.1f} max"
        )


def repetition(options: argparse.Namespace) -> Outcome:
    """Run once."""
    database = Database(postgres.server().url())
    with contextlib.closing(database.connect()) as db:
        make_tables(db)
        db.execute("TRUNCATE bench_rows; TRUNCATE batchvid.paces; CHECKPOINT")
        arrived: list[float] = []
        with service(arrived) as address:
            until = time.monotonic() + 1 + options.workers * 0.25 + WARM_UP_S + options.seconds
            before = scalar(db, "SELECT pg_current_wal_insert_lsn()")
            workers = [start(options, database.url, address, until=until) for _ in range(options.workers)]
            told: list[dict[str, Any]] = [json.loads(worker.communicate()[0]) for worker in workers]
            wal = scalar(db, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s::pg_lsn)::float8", before)
    arrived.sort()
    sent = sorted(moment for one in told for moment in one["sent"])
    end = until - 0.2
    begin = end - options.seconds
    inside = [moment for moment in arrived if begin <= moment < end]
    counts = [len([moment for moment in one["sent"] if begin <= moment < end]) for one in told]
    ways = sorted(there - here for here, there in zip(sent, arrived, strict=False))
    slots = sum(one["slots"] for one in told)
    return Outcome(
        most_in_a_window(arrived, options.period),
        most_in_a_window(sent, options.period),
        len(inside) / (options.rate / options.period * options.seconds),
        sum(one["blocks"] for one in told) / len(sent),
        sum(one["refusals"] for one in told) / len(sent),
        1 - len(sent) / slots,
        min(counts) / max(1, *counts),
        wal / len(sent),
        ways[int(len(ways) * 0.99)] * 1000,
        ways[-1] * 1000,
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run as often as asked, and print each and the spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--period", type=float, default=1)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--preparation-ms", type=float, default=5)
    parser.add_argument("--bare", action="store_true", help="no rows before and after a request: the WAL is the pace's")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    try:
        outcomes = []
        for _ in range(options.repeat):
            outcomes.append(repetition(options))
            _say(f"{options.workers} x {options.rate:g}/{options.period:g} s: {outcomes[-1]}")
        shares = [one.share for one in outcomes]
        _say(
            f"{options.repeat} times: most {max(one.most_arrived for one in outcomes)}; "
            f"share {min(shares):.1%} to {max(shares):.1%}, median {statistics.median(shares):.1%}; "
            f"commits {statistics.median(one.commits for one in outcomes):.3f}"
        )
    finally:
        postgres.end()


if __name__ == "__main__":
    main()
