"""The fault bench: every fault of the list happens to the real program, and a table tells what held. ``make faults``.

The last line is ``survived n/84`` and counts the faults of the list only. Kills (``K01`` …), security (``S01`` …)
and gateways (``G01`` …) are rows of the same table, with a line of their own. ``--json FILE`` writes the same as JSON;
names of faults as arguments pick some. A fault that cannot be made on this machine is shown with the reason, and does
not count as survived.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from tests.faults.cases import CASES, Case, NotHereError
from tests.faults.lab import BrokenError, Lab

MODULES = (
    "submit",
    "answers",
    "poll",
    "download",
    "bodies",
    "urls",
    "disk",
    "files",
    "process",
    "host",
    "people",
    "kills",
    "security",
    "keys",
    "page",
    "gateways",
)
FAULTS = 84
"""The length of the list, whether or not each of them has its case."""
BESIDES = {"G": "gateways", "K": "kills", "S": "security"}
"""Rows that are not faults of the list, by the first letter of their number."""


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one fault."""

    fault: str
    done: str
    """What was done to the program."""
    held: tuple[str, ...]
    survived: bool
    note: str
    seconds: float


def do(case: Case) -> Row:
    """Let one fault happen in a lab of its own."""
    started = time.monotonic()
    survived, note = False, ""
    with tempfile.TemporaryDirectory(prefix=f"batchvid-{case.fault}-") as name, ExitStack() as stack:
        lab = Lab(Path(name), stack)
        try:
            case.make(lab)
            survived = True
        except NotHereError as reason:
            note = f"cannot be made here: {reason}"
        except BrokenError as reason:
            note = f"BROKEN {reason}"
        except Exception:  # noqa: BLE001 a case that does not work is a row of the table, too
            note = "BROKEN case: " + traceback.format_exc(limit=4)
        held = tuple(sorted(lab.held, key=lambda invariant: int(invariant[1:])))
    return Row(case.fault, case.done, held, survived, note, round(time.monotonic() - started, 1))


def main() -> int:
    """Run the bench; exit 1 when a fault was not survived for a reason other than this machine."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("faults", nargs="*", help="only these, such as F06")
    options.add_argument("--json", type=Path, help="write the rows to this file")
    options.add_argument("--jobs", type=int, default=3, help="how many at once (default 3)")
    chosen = options.parse_args()
    for module in MODULES:
        import_module(f"tests.faults.{module}")
    cases = [
        case for case in sorted(CASES, key=lambda case: case.fault) if not chosen.faults or case.fault in chosen.faults
    ]
    together = [case for case in cases if not case.alone]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        rows = list(pool.map(shown, together))
    rows += [shown(case) for case in cases if case.alone]
    rows.sort(key=lambda row: row.fault)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    print(f"\n{'fault':<6} {'held':<34} {'s':>6}  what was done")  # noqa: T201
    for row in rows:
        print(f"{row.fault:<6} {' '.join(row.held):<34} {row.seconds:>6.1f}  {row.done}")  # noqa: T201
        if row.note:
            print(f"{'':<6} {row.note}")  # noqa: T201
    for letter, what in BESIDES.items():
        beside = [row for row in rows if row.fault.startswith(letter)]
        if beside:
            print(f"{what}: {sum(row.survived for row in beside)} of {len(beside)} held")  # noqa: T201
    listed = [row for row in rows if row.fault.startswith("F")]
    print(f"survived {sum(row.survived for row in listed)}/{len(listed) if chosen.faults else FAULTS}")  # noqa: T201
    return int(any(not row.survived and row.note.startswith("BROKEN") for row in rows))


def shown(case: Case) -> Row:
    """Do a case, and say so at once: the bench takes minutes."""
    row = do(case)
    print(f"{row.fault} {'survived' if row.survived else row.note.splitlines()[0][:200]} ({row.seconds} s)", flush=True)  # noqa: T201
    return row


if __name__ == "__main__":
    sys.exit(main())
