"""The speed bench: ``make bench`` (some 20 minutes) and ``make bench-quick`` (some 2 minutes).

Everything is measured side by side in one run, in turns, several times over: a figure is the median, beside the least
and the most. What takes ten seconds and more each time is measured two or three times.
``make bench BENCH="P1 N3"`` measures some; what takes minutes each time is measured only when it is named,
and the quick bench leaves out what takes its time at any scale.
``--json FILE`` writes the samples too.
"""

from __future__ import annotations

import argparse
import compileall
import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import child
from tests.benchmarks.child import ChildError
from tests.benchmarks.figures import Figure, machine, table
from tests.benchmarks.lab import Lab, install_peers
from tests.benchmarks.measures import nights, paced, pieces, starts, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def of_many_machines(name: str) -> Callable[[Lab], list[Figure]]:
    """Return a measure of `tests.benchmarks.measures.cluster`.

    The database's client is not loaded before: no program's peak memory is below that of the bench, which forks it.
    """

    def measure(lab: Lab) -> list[Figure]:
        found: list[Figure] = getattr(import_module("tests.benchmarks.measures.cluster"), name)(lab)
        return found

    measure.__name__ = name
    return measure


cluster_speed = of_many_machines("speed")

MEASURES: dict[str, Callable[[Lab], list[Figure]]] = {
    "P1": whole.speed,
    "P2": whole.speed,
    "P3": whole.many_in_flight,
    "P4": pieces.waiting_jobs,
    "P5": whole.hundred_thousand,
    "P6": starts.a_million,
    "P7": pieces.downloads,
    "P8": whole.large_clips,
    "P9": pieces.journal,
    "P10": paced.polls,
    "P11": starts.nothing_to_do,
    "P12": starts.reading,
    "P13": starts.small_commands,
    "P14": starts.planning,
    "N1": nights.places,
    "N2": paced.polls,
    "N3": nights.rates,
    "N4": nights.foreseen,
    "C1": cluster_speed,
    "C2": cluster_speed,
    "C3": of_many_machines("in_flight"),
    "C4": of_many_machines("quota"),
    "C5": of_many_machines("takeover"),
    "C6": of_many_machines("publishing"),
}
ONLY_BY_NAME = {"P5"}
"""They take minutes each time."""
NOT_QUICK = {"P9", "P10", "N2", "N3"} | {name for name in MEASURES if name.startswith("C")}
"""They take their time at any scale."""
BY_DEFAULT = tuple(name for name in MEASURES if name not in ONLY_BY_NAME)
QUICK = tuple(name for name in BY_DEFAULT if name not in NOT_QUICK)
NEED_PEERS = {"P1", "P2", "P3", "P8"}
QUICK_SCALE, QUICK_REPETITIONS = 0.05, 2


def main(all_of: Sequence[str] = BY_DEFAULT, *, quick: Sequence[str] = QUICK) -> int:
    """Measure *all_of* these, the *quick* ones or those that are named; exits 1 when one could not be measured."""
    options = _options()
    lift_file_limit()
    compileall.compile_dir(
        str(child.REPOSITORY / "batchvid"), quiet=1
    )  # as pip does with what it installs, the peers too
    started, figures = time.monotonic(), []
    chosen = options.measures or (quick if options.quick else all_of)
    if NEED_PEERS & set(chosen):
        install_peers(say)
    about = machine()
    folder = Path(tempfile.mkdtemp(prefix="batchvid-bench-", dir=options.folder))
    try:
        lab = Lab(folder, options.scale, options.repetitions, say)
        for measure in dict.fromkeys(MEASURES[name] for name in chosen):
            names = "+".join(name for name, one in MEASURES.items() if one is measure)
            begun = time.monotonic()
            try:
                found = measure(lab)
            except ChildError as error:
                found = [Figure(names, measure.__name__, "", (), note=str(error))]
            figures += found
            say(f"{table(found)}\n{names} took {time.monotonic() - begun:.0f} s\n")
    finally:
        subprocess.run(["/bin/rm", "-rf", folder], check=False)  # of half a million files, in a quarter of the time
    took_s = time.monotonic() - started
    print(table(figures))  # noqa: T201
    print(", ".join(f"{name}: {value}" for name, value in about.items()))  # noqa: T201
    print(f"{options.repetitions} repetitions at scale {options.scale:g}, {took_s:.0f} s in all")  # noqa: T201
    if options.json:
        told = {"machine": about, "scale": options.scale, "repetitions": options.repetitions, "took_s": took_s}
        told["figures"] = [figure.as_json() for figure in figures]
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
    return int(any(not figure.samples for figure in figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", metavar="P1", help="only these")
    parser.add_argument(
        "--quick", action="store_true", help=f"scale {QUICK_SCALE}, {QUICK_REPETITIONS} repetitions, fewer measures"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the jobs (default 1)")
    parser.add_argument("--repetitions", type=int, default=5, help="default 5")
    parser.add_argument("--json", type=Path, help="write the figures and their samples to this file")
    parser.add_argument("--folder", type=Path, help="make clips here, on a real disk (default: the temporary folder)")
    options = parser.parse_args()
    if options.quick:
        options.scale, options.repetitions = QUICK_SCALE, QUICK_REPETITIONS
    unknown = sorted(set(options.measures) - MEASURES.keys())
    if unknown:
        parser.error(f"no such measure: {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    return options


def lift_file_limit() -> None:
    """Let the server and the peers have as many connections as there may be tasks."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say(what: str) -> None:
    """Tell how far it is: the bench takes minutes."""
    print(what, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
