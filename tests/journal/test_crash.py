"""What is acknowledged survives: a killed process, a file-size limit, a lock that somebody else holds."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import StorageError
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitAccepted, SubmitStarted
from batchvid.journal import sqlite_file as journal_file
from batchvid.journal.base import Change
from batchvid.journal.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

CHILD = """
import asyncio, os, sys
from pathlib import Path
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitAccepted, SubmitStarted
from batchvid.journal.base import Change
from batchvid.journal.sqlite import SqliteStore
from batchvid.journal.group_commit import Recorder

async def work(recorder, worker):
    for number in range(100_000):
        name = f"job-{worker}-{number}"
        started = Change.of(Progress.fresh(name), (SubmitStarted(1, 1, "f" * 64), 1.0))
        await recorder.record(started)
        await recorder.record(Change.of(started.after, (SubmitAccepted("task-" + name), 2.0)))
        os.write(1, f"{name}\\n".encode())

async def main():
    journal = SqliteStore(Path(sys.argv[1])).open(service="s")
    recorder = Recorder(journal)
    await asyncio.gather(*(work(recorder, worker) for worker in range(20)))

asyncio.run(main())
"""

LIMITED = """
import resource, signal, sys
from pathlib import Path
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitStarted
from batchvid.journal.base import Change
from batchvid.journal.sqlite import SqliteStore
from batchvid.domain.errors import StorageError

journal = SqliteStore(Path(sys.argv[1])).open(service="s")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
kept = 0
try:
    while True:
        journal.record([Change.of(Progress.fresh(f"job-{kept}"), (SubmitStarted(1, 1, "f" * 64), 1.0))])
        kept += 1
except StorageError as error:
    print(error, file=sys.stderr)
print(kept)
"""


@pytest.mark.parametrize("acknowledged_at_least", [1, 60, 700])
def test_a_killed_process_loses_nothing_that_it_was_told_is_kept(path: Path, acknowledged_at_least: int) -> None:
    """SIGKILL in the midst of grouped commits: every acknowledged task id is there, and every row is whole."""
    told = b""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        while told.count(b"\n") < acknowledged_at_least:
            piece = os.read(child.stdout.fileno(), 65536)
            assert piece, "the child ended by itself"
            told += piece
        child.kill()
        told += child.stdout.read()
    assert child.returncode == -signal.SIGKILL
    acknowledged = {line for line in told.decode().split("\n")[:-1] if line}
    with SqliteStore(path).open(service="s") as journal:  # it was not closed, so all its pages are checked here
        rows = {row.job_id: row for row in journal.all_progress()}
        assert acknowledged <= {name for name, row in rows.items() if row.task_id == f"task-{name}"}
        for row in rows.values():
            events = list(journal.events(row.job_id))
            assert len(events) == row.version
            assert next(journal.attempts(row.job_id)).task_id == row.task_id


def test_a_limit_on_the_file_size_is_a_storage_error_and_costs_no_record(path: Path) -> None:
    """A real refusal by the system, in the midst of a transaction: what was kept before is whole."""
    child = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    kept = int(child.stdout)
    assert kept > 0
    assert "free" in child.stderr
    with SqliteStore(path).open(service="s") as journal:
        assert sum(journal.counts().values()) == kept
        journal.record([Change.of(Progress.fresh("more"), (SubmitStarted(1, 1, "f"), 1.0))])


def test_a_lock_that_another_program_holds_is_named(path: Path, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person with a database browser open is told what to close; nothing is half written."""
    monkeypatch.setattr(journal_file, "BUSY_TIMEOUT_S", 0.05)
    with SqliteStore(path).open(service=service) as journal:
        started = Change.of(Progress.fresh("kite"), (SubmitStarted(1, 1, "f"), 1.0))
        browser = sqlite3.connect(path, isolation_level=None)
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another program keeps it locked; close what has it open"):
            journal.record([started])
        browser.execute("ROLLBACK")
        browser.close()
        journal.record([started, Change.of(started.after, (SubmitAccepted("task"), 2.0))])
        assert journal.owner_of_task("task") == "kite"


def test_a_lock_of_another_program_is_waited_for(path: Path, service: str) -> None:
    """A backup that takes a quarter of a minute costs no night: what is to be kept is kept when the lock is gone."""
    assert journal_file.BUSY_TIMEOUT_S >= 60
    with SqliteStore(path).open(service=service) as journal:
        backup = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        backup.execute("BEGIN IMMEDIATE")
        kept: list[str] = []

        def keep() -> None:
            journal.record([Change.of(Progress.fresh("kite"), (SubmitStarted(1, 1, "f"), 1.0))])
            kept.append("kite")

        writer = threading.Thread(target=keep)
        writer.start()
        assert kept == []
        backup.execute("COMMIT")
        backup.close()
        writer.join()
        assert kept == ["kite"]
