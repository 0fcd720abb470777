"""The manifest that the machine edits: its entries, its limits, and each way to change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MODELS = {"a": "veo3-fast", "b": "veo3-pro", "c": "veo3.1-pro", "d": "veo3"}
"""The entries that manifests may have; each model answers in another form."""
NAMES = list(MODELS)
IDS = {1: "", 2: "x", 3: "X"}
"""What an id may have behind an entry's name, by the number of the edit that gives it."""
WITH_FRAMES = "d"
LIMITS: dict[str, Any] = {
    "submits": "60/min",
    "requests": "20/s",
    "in_flight": 3,
    "typical_time": "30s",
    "task_timeout": "4m",
    "backoff": "1s..30s",
}


@dataclass
class Entry:
    """One entry of the manifest."""

    name: str
    version: int = 1
    takes: int = 1
    called: str = ""
    """What its id has behind its name."""

    def written(self) -> dict[str, Any]:
        """Return it as the manifest says it."""
        found = {
            "id": f"{self.name}{self.called}",
            "prompt": f"The clip {self.name}, version {self.version}.",
            "model": MODELS[self.name],
            "takes": self.takes,
            "price": "0.40",
        }
        if self.name == WITH_FRAMES:
            found |= {"first_frame": "red.png", "last_frame": "blue.png"}
        return found


class How(Enum):
    """A way to edit the manifest."""

    ADD = "add an entry, or move it"
    REMOVE = "remove an entry"
    CHANGE = "change a prompt"
    TAKES = "want more takes, or less"
    RENAME = "give it another id"


@dataclass(frozen=True)
class Edit:
    """One edit of the manifest: of *which* entry, to what *number*."""

    how: How
    which: int
    number: int = 1

    def apply(self, entries: list[Entry]) -> None:
        """Edit *entries*, of which one at least is kept."""
        one = entries[self.which % len(entries)]
        match self.how:
            case How.ADD:
                name = NAMES[self.which]
                known = next((entry for entry in entries if entry.name == name), Entry(name))
                entries[:] = [entry for entry in entries if entry is not known]
                entries.insert(self.number, known)
            case How.REMOVE if len(entries) > 1:
                entries.remove(one)
            case How.CHANGE:
                one.version = self.number
            case How.TAKES:
                one.takes = self.number
            case How.RENAME:
                one.called = IDS[self.number]


@dataclass(frozen=True)
class Amid:
    """What surrounds a run."""

    edits: list[Edit] = field(default_factory=list)
    """Of the manifest, before it."""
    rules: list[dict[str, Any]] = field(default_factory=list)
    """Of a faults file, for as long as it lasts."""
    own_file: str | None = None
    """A clip's id in whose place a person puts a file, before it."""
