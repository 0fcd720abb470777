"""The failure matrix of a cluster: every row happens to real processes, and a table tells what held.

``make cluster-faults``; names of rows as arguments pick some, ``--json FILE`` writes the same as JSON. A row that
cannot be made on this machine is shown with the reason, and does not count as held.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from tests.cluster.lab import CASES, Case, Lab
from tests.faults.cases import NotHereError
from tests.faults.lab import BrokenError

MODULES = ("workers", "database", "account", "store")
ROWS = 20
"""The length of the matrix, whether or not each of them has its case."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one row."""

    row: str
    done: str
    """What was done to the cluster."""
    expected: str
    held: tuple[str, ...]
    seen: tuple[str, ...]
    survived: bool
    note: str
    seconds: float


def do(case: Case) -> Row:
    """Let one row happen in worlds of its own."""
    started = time.monotonic()
    survived, note = False, ""
    with ExitStack() as stack:
        lab = Lab(stack)
        try:
            case.make(lab)
            survived = True
        except NotHereError as reason:
            note = f"cannot be made here: {reason}"
        except BrokenError as reason:
            note = f"BROKEN {reason}"
        except Exception:  # noqa: BLE001 a row that does not work is a row of the table, too
            note = "BROKEN row: " + traceback.format_exc(limit=4)
    took_s = round(time.monotonic() - started, 1)
    return Row(case.row, case.done, case.expected, tuple(lab.held), tuple(lab.seen), survived, note, took_s)


def main() -> int:
    """Run the bench; exit 1 when a row did not hold for a reason other than this machine."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("rows", nargs="*", help="only these, such as C06")
    options.add_argument("--json", type=Path, help="write the rows to this file")
    chosen = options.parse_args()
    for module in MODULES:
        import_module(f"tests.cluster.rows.{module}")
    cases = [case for case in sorted(CASES, key=lambda case: case.row) if not chosen.rows or case.row in chosen.rows]
    rows = [shown(case) for case in cases]
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    print(f"\n{'row':<4} {'':<4} {'s':>6}  what was done -> what was expected")  # noqa: T201
    for row in rows:
        print(f"{row.row:<4} {'held' if row.survived else '-':<4} {row.seconds:>6.1f}  {row.done} -> {row.expected}")  # noqa: T201
        print(f"{'':<17}held: {' '.join(row.held)}")  # noqa: T201
        for line in (*row.seen, *row.note.splitlines()):
            print(f"{'':<17}{line}")  # noqa: T201
    print(f"held {sum(row.survived for row in rows)}/{len(rows) if chosen.rows else ROWS}")  # noqa: T201
    return int(any(row.note.startswith("BROKEN") for row in rows))


def shown(case: Case) -> Row:
    """Do a row, and say so at once: the bench takes minutes."""
    row = do(case)
    print(f"{row.row} {'held' if row.survived else row.note.splitlines()[0][:300]} ({row.seconds} s)", flush=True)  # noqa: T201
    return row


if __name__ == "__main__":
    sys.exit(main())
