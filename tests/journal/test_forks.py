"""Programs that fork while another thread is inside SQLite: the child must be able to use SQLite itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitStarted
from batchvid.journal import forks
from batchvid.journal.base import Change
from batchvid.journal.forks import not_forked
from batchvid.journal.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

CHILDREN = 150
HANGS_S = 5
INSIDE_S = 0.3


def forked(work: Callable[[], bool]) -> int:
    """Let a child do *work*, and return how it ended: 0 is well, 14 is killed because it hung."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer warn of every such fork
        pid = os.fork()
    if not pid:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(HANGS_S)
            code = 0 if work() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else os.WTERMSIG(status)


@contextmanager
def another_thread(work: Callable[[], object]) -> Iterator[None]:
    """Let *work* go on beside what is tested, and wait for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_fork_waits_for_who_is_inside() -> None:
    """The child sees what the other thread did before it went out."""
    is_inside, is_out = threading.Event(), threading.Event()

    def inside() -> None:
        with not_forked(), not_forked():
            is_inside.set()
            time.sleep(INSIDE_S)
            is_out.set()

    with another_thread(inside):
        assert is_inside.wait(10)
        assert forked(is_out.is_set) == 0


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may hang; and who was kept out of SQLite meanwhile goes in again."""
    monkeypatch.setattr(forks, "PATIENCE_S", INSIDE_S)
    is_inside, may_go = threading.Event(), threading.Event()

    def inside() -> None:
        with not_forked():
            is_inside.set()
            may_go.wait(10)

    with another_thread(inside):
        assert is_inside.wait(10)
        assert forked(lambda: not may_go.is_set()) == 0
        with not_forked():
            may_go.set()


def test_a_child_and_its_parent_go_in_again_after_a_fork() -> None:
    """Neither is kept out, also when the one who forks is inside."""

    def goes_in() -> bool:
        with not_forked():
            return True

    assert forked(goes_in) == 0
    with not_forked():
        assert forked(goes_in) == 0
    with another_thread(goes_in):
        assert goes_in()


def test_a_record_keeps_a_fork_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the transaction is over, from its beginning."""
    order: list[str] = []
    is_begun = threading.Event()
    with SqliteStore(path).open(service="sandbox") as journal:
        write = journal._writer.write

        def slow(changes: list[Change]) -> object:
            is_begun.set()
            time.sleep(INSIDE_S)
            written = write(changes)
            order.append("written")
            return written

        monkeypatch.setattr(journal._writer, "write", slow)
        change = Change.of(Progress.fresh("kite"), (SubmitStarted(1, 400_000, "f"), 1.0))
        with another_thread(lambda: journal.record([change])):
            assert is_begun.wait(10)
            assert forked(lambda: order == ["written"]) == 0


def test_no_child_finds_sqlite_locked(path: Path) -> None:
    """Many children, each of which uses SQLite, while the parent's other thread writes and reads."""
    is_over = threading.Event()

    def query() -> bool:
        with sqlite3.connect(":memory:") as db:
            return bool(db.execute("SELECT 1").fetchone())

    with SqliteStore(path).open(service="sandbox") as journal:

        def use() -> None:
            number = 0
            while not is_over.is_set():
                jobs = [Progress.fresh(f"kite-{number + one}") for one in range(20)]
                journal.record([Change.of(job, (SubmitStarted(1, 400_000, "f" * 64), 1.0)) for job in jobs])
                assert sum(1 for _ in journal.all_progress()) == number + 20
                number += 20

        with another_thread(use):
            try:
                ends = {forked(query) for _ in range(CHILDREN)}
            finally:
                is_over.set()
    assert ends == {0}
