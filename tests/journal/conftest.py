"""Journals of every kind, and changes to put into them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.job import Progress
from batchvid.journal.base import Change
from batchvid.journal.postgres import PostgresStore
from batchvid.journal.postgres_db import Database
from batchvid.journal.sqlite import SqliteStore
from tests import postgres
from tests.journal.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchvid.domain.lifecycle import Event
    from batchvid.journal.base import Journal, JournalStore

SERVICE = "https://api.example.com/v1"

STORES: dict[str, Callable[[Path], JournalStore]] = {
    "sqlite": SqliteStore,
    "memory": lambda _path: MemoryStore(),
    "postgres": lambda path: PostgresStore(Database(postgres.server().url()), str(path.parent), path.parent),
}
"""Every kind of journal, made for a path at which a run would keep it."""


@dataclass
class Life:
    """A job whose events are recorded one after the other, a second apart."""

    journal: Journal
    progress: Progress
    now: float = 1_800_000_000.0
    history: list[Event] = field(default_factory=list)

    def change(self, *events: Event) -> Change:
        """Return the change that *events* would make, without recording it."""
        return Change.of(self.progress, *((event, self.now + number) for number, event in enumerate(events)))

    def goes(self, *events: Event) -> Life:
        """Record *events*, each as a change of its own."""
        for event in events:
            change = self.change(event)
            self.journal.record([change])
            self.progress = change.after
            self.history.append(event)
            self.now += 1
        return self


@pytest.fixture
def service() -> str:
    """Name the service that the journals of these tests belong to."""
    return SERVICE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a run keeps its journal."""
    return tmp_path / "out" / ".batchvid" / "journal.db"


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, path: Path) -> JournalStore:
    """Return each kind of journal. A module that is about one kind has a fixture of its own in its place."""
    return STORES[request.param](path)


@pytest.fixture
def journal(store: JournalStore) -> Iterator[Journal]:
    """Return a fresh journal, open for writing."""
    with store.open(service=SERVICE) as opened:
        yield opened


@pytest.fixture
def life(journal: Journal) -> Life:
    """Return the life of job ``kite``, before anything has happened."""
    return Life(journal, Progress.fresh("kite"))


@pytest.fixture
def other(journal: Journal) -> Life:
    """Return the life of another job in the same journal."""
    return Life(journal, Progress.fresh("dawn"))
