"""The home of a journal: machine, folder and number of its folder, by which a copy of an output is told from it.

An output that is copied while a run goes on has two journals that both know the same, and both would buy what is left.
The journal remembers its home. A session that finds itself elsewhere decides by this table, before it changes anything:

======================================  ==================================  =======================================
where it is                             how its last session ended          what a session does
======================================  ==================================  =======================================
no home is on record                    (either)                            takes this one: a new or an older journal
same machine, same number               (either)                            goes on: at most a folder above was renamed
same machine and folder, other number   (either)                            goes on and tells: a backup was put back
elsewhere                               properly, or nothing is left to do  goes on and tells: the output was moved
elsewhere                               not, and something is left to do    asks, or refuses: ``run --moved`` says yes
======================================  ==================================  =======================================

*Elsewhere* is another machine, or another number and another folder. The number is that of the state folder, which a
copy never keeps. A machine that has no id (a container) counts as the same. From the first moment of a session on,
every copy of the file says that it was not ended properly. What a restored backup does not know,
`batchvid.engine.recovery` finds out.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

from batchvid.domain.errors import StorageError
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from batchvid.journal.base import Journal, JournalReader


MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
HOME = "home"
"""The remark in the journal that holds it."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a journal is."""

    machine: str | None
    """A hash, which tells machines apart and names none; ``None`` where a machine has no id."""
    folder: str
    number: int
    """Of the state folder (inode)."""

    @classmethod
    def of(cls, journal: Path) -> Home:
        """Return where the journal at this path is now."""
        state = journal.absolute().parent
        return cls(_machine(), str(state.parent), state.stat().st_ino)


class Verdict(Enum):
    """What follows from where a journal is found."""

    AT_HOME = auto()
    PUT_BACK = auto()
    MOVED = auto()
    MAY_BE_A_COPY = auto()


def verdict(before: Home | None, now: Home, *, was_clean: bool, is_work_left: bool) -> Verdict:
    """Return what the table says."""
    if before is None:
        return Verdict.AT_HOME
    same_machine = None in {before.machine, now.machine} or before.machine == now.machine
    if same_machine and before.number == now.number:
        return Verdict.AT_HOME
    if same_machine and before.folder == now.folder:
        return Verdict.PUT_BACK
    return Verdict.MOVED if was_clean or not is_work_left else Verdict.MAY_BE_A_COPY


def settle(
    journal: Journal,
    wanted: Collection[str] | None,
    *,
    path: Path,
    was_clean: bool,
    moved: bool,
    note: Callable[[str], None],
) -> bool:
    """Let *journal*, at this path, be at home there, as `Journal.settle` does; return whether its home is another now.

    *was_clean*: its last session ended properly.
    """
    before, now = _remembered(journal), Home.of(path)
    is_left = wanted is None or before == now or _is_work_left(journal, wanted)
    match verdict(before, now, was_clean=was_clean, is_work_left=is_left):
        case Verdict.AT_HOME:
            pass
        case Verdict.PUT_BACK:
            note("the output was put back from a copy (its folder is another one now): it goes on from what it knows")
        case Verdict.MOVED:
            note(f"the output was moved here{_from(before)}: from now on only this copy of it may go on")
        case Verdict.MAY_BE_A_COPY if not moved:
            raise StorageError(
                f"the output {clean(now.folder, 4096)} was copied or moved here{_from(before)} while a run was going "
                "on, or after one that did not end properly: if two copies go on, both buy what is left. Make sure "
                "that the other one is stopped for good; then `batchvid run MANIFEST --moved` goes on with this one"
            )
        case Verdict.MAY_BE_A_COPY:
            note(f"the output was moved here{_from(before)}, as you said: only this copy of it may go on")
    if before != now:
        journal.meta_set(HOME, json.dumps(asdict(now)))
    return before != now


def question(journal: JournalReader, wanted: Collection[str], *, path: Path, was_clean: bool) -> str | None:
    """Return what `JournalReader.moved_question` does, of the journal at this path."""
    before, now = _remembered(journal), Home.of(path)
    found = verdict(before, now, was_clean=was_clean, is_work_left=_is_work_left(journal, wanted))
    if found is not Verdict.MAY_BE_A_COPY:
        return None
    return (
        f"The output {clean(now.folder, 4096)} was copied or moved here{_from(before)} in the middle of a run. If two "
        "copies go on, both buy what is left. Is this the only copy that goes on?"
    )


def _is_work_left(journal: JournalReader, wanted: Collection[str]) -> bool:
    if next(journal.open_progress(), None) is not None:
        return True
    return not journal.states().keys() >= set(wanted)


def _remembered(journal: JournalReader) -> Home | None:
    with suppress(ValueError, TypeError):
        return Home(**json.loads(journal.meta_get(HOME) or ""))
    return None


def _from(before: Home | None) -> str:
    return "" if before is None else f" (its home was {clean(before.folder, 4096)})"


def _machine() -> str | None:
    for path in MACHINE_IDS:
        with suppress(OSError, UnicodeDecodeError):
            if found := path.read_text(encoding="ascii").strip():
                return hashlib.sha256(f"batchvid {found}".encode()).hexdigest()[:16]
    return None
