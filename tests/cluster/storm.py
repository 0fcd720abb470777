"""A storm: many runs over several workers, of which one is killed or frozen every moment; then everything is counted.

``python -m tests.cluster.storm --kills 1000``. Each run is a manifest of 200 to 400 clips of its own, all of them in
one database. What is in doubt after a run is decided as a person does who looks at the service's list: a task that
nobody owns is adopted, and a request of which the service knows nothing stays in doubt.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchvid.domain.errors import Exit
from tests.cluster.invariants import broken, words
from tests.cluster.world import world

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from tests.cluster.invariants import Evidence
    from tests.cluster.world import Worker, World

CLIPS = 200, 400
PAUSE_S = 0.2, 2.0
"""Between two blows."""
DEAD_TIME_S = 3
"""Of these workers, so that takeovers are many."""
FREEZES_S = 0.2, 9.0
"""How long a worker stands still: for less than the dead time, and for more."""
WORKERS = 3
SHARE_OF_KILLS = 0.6
SHARE_OF_RESTARTS = 0.02
"""Of the blows that hit the database instead."""
LONGEST_S = 300.0
ENDS_WITH = {Exit.OK, Exit.IN_DOUBT}
OPTIONS = ("--dead-time", f"{DEAD_TIME_S}s")


@dataclass(slots=True)
class Storm:
    """How it goes."""

    world: World
    dice: Random
    blows: int
    struck: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    """How workers ended that were not killed."""
    troubles: list[str] = field(default_factory=list)
    frozen: dict[int, tuple[float, Worker]] = field(default_factory=dict)
    """By process: until when."""
    workers: list[Worker] = field(default_factory=list)
    runs: int = 0

    @property
    def number(self) -> int:
        """Return how many blows there were."""
        return self.struck["SIGKILL"] + self.struck["SIGSTOP"]

    def spend_a_run(self) -> None:
        """Let one manifest go through it, and look."""
        self.runs += 1
        name, started = f"run-{self.runs:04}", time.monotonic()
        clips, before = self.dice.randint(*CLIPS), Counter(self.struck)
        self.world.manifest(clips, name=name, submits="30/s", in_flight=100)
        run = self._run(name)
        while run.is_running or run.was_killed or run.wait().code not in ENDS_WITH:
            if time.monotonic() - started > LONGEST_S:
                self.troubles.append(f"{name} did not end within {LONGEST_S:.0f} s: {run.text[-400:]}")
                break
            if not run.is_running:
                self._ended(run)
                run = self._run(name)
            if self.number < self.blows:
                self._strike(run)
            self._go_on()
            self._pause()
        self._settle(name)
        found = self.world.evidence(name)
        troubles = self._look(name, found)
        doubtful = len(self.world.in_doubt(name))
        self.totals += Counter(clips=clips, creates=len(found.creates), in_doubt=doubtful, runs=1)
        struck = self.struck - before
        print(  # noqa: T201
            f"{name}: {clips} clips, {struck['SIGKILL']} SIGKILL, {struck['SIGSTOP']} SIGSTOP,"
            f" {struck['database']} of the database; {len(found.creates)} creates, {doubtful} in doubt,"
            f" {time.monotonic() - started:.0f} s; {troubles or 'all invariants hold'}",
            flush=True,
        )

    def _run(self, name: str) -> Worker:
        return self.world.run(*OPTIONS, name=name, on="host-1")

    def _work(self, number: int) -> Worker:
        return self.world.work(*OPTIONS, on=f"host-{number}")

    def _strike(self, run: Worker) -> None:
        """Hit one process."""
        if self.dice.random() < SHARE_OF_RESTARTS:
            server = self.world.server
            assert server is not None
            server.stop(self.dice.choice(["immediate", "fast"]))
            time.sleep(self.dice.uniform(0.1, 2.0))
            server.start()
            self.struck["database"] += 1
            return
        hit = [one for one in (run, *self.workers) if one.is_running and one.pid not in self.frozen]
        if not hit:
            return
        one = self.dice.choice(hit)
        if self.dice.random() < SHARE_OF_KILLS:
            one.kill()
            one.process.wait()
            self.struck["SIGKILL"] += 1
        else:
            one.freeze()
            self.frozen[one.pid] = time.monotonic() + self.dice.uniform(*FREEZES_S), one
            self.struck["SIGSTOP"] += 1

    def _go_on(self, *, at_once: bool = False) -> None:
        """Thaw whose time has come, and start others in place of those that have ended."""
        for pid, (until, one) in list(self.frozen.items()):
            if at_once or time.monotonic() >= until:
                one.thaw()
                del self.frozen[pid]
        for at, one in enumerate(self.workers):
            if not one.is_running:
                self._ended(one)
                self.workers[at] = self._work(at + 2)

    def _ended(self, one: Worker) -> None:
        ran = one.wait()
        if not one.was_killed:
            self.codes[ran.code] += 1
        if "Traceback" in ran.text:
            self.troubles.append(f"{one.name}: a traceback: {ran.text[-600:]}")

    def _pause(self) -> None:
        time.sleep(self.dice.uniform(*PAUSE_S))

    def _settle(self, name: str) -> None:
        """Let all go on, adopt as a person does, and run to the end."""
        self._go_on(at_once=True)
        for _ in range(5):
            ran = self._run(name).wait()
            self.codes[ran.code] += 1
            file = self._found_tasks(name)
            if ran.code in ENDS_WITH and file is None:
                return
            if file is not None:
                adopted = self.world.call("adopt", "--from", file, "--offline", "--yes", name=name)
                if adopted.code != Exit.OK:
                    self.troubles.append(f"{name}: adopt exits {adopted.code}: {adopted.text[-400:]}")

    def _found_tasks(self, name: str) -> Path | None:
        """Write down the tasks that the service has and nobody owns, for the jobs in doubt."""
        recorded = {task for (task,) in self.world.query("SELECT task_id FROM batchvid.attempts")}
        doubtful, wanted = set(self.world.in_doubt(name)), self.world.wanted[name]
        found = [
            {"id": wanted[line["prompt"]], "task_id": line["task_id"]}
            for line in self.world.creates(name)
            if line["task_id"] not in recorded and wanted[line["prompt"]] in doubtful
        ]
        path = self.world.folder / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(one)}\n" for one in found), encoding="utf-8")
        self.totals["adopted"] += len(found)
        return path if found else None

    def _look(self, name: str, found: Evidence) -> str:
        # Workers that live on have parts of nothing; those of killed ones lie where nobody looks again.
        troubles = broken(replace(found, scratch=()))
        states = Counter(row.state for row in found.jobs)
        if states["done"] + states["in_doubt"] != found.wanted:
            troubles["done"] = [f"{dict(states)} of {found.wanted}"]
        for invariant in troubles:
            self.totals[f"broken: {invariant}"] += len(troubles[invariant])
        said = words(troubles)
        if said:
            self.troubles.append(f"{name}: {said}")
        return said


def main() -> int:
    """Let it blow; exit 1 when something broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILL and SIGSTOP in all (default 1000)")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--store", choices=("folder", "seaweedfs", "moto"), default="folder")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    started = time.monotonic()
    with world(store=options.store) as made:
        made.sandbox("- {on: create, delay_s: 0.2}", latency_s=0.02)
        storm = Storm(made, random.Random(seed), options.kills)  # noqa: S311 moments to be killed at
        storm.workers = [storm._work(number) for number in range(2, 2 + WORKERS)]
        while storm.number < options.kills:
            storm.spend_a_run()
        violations = made.ledger()["violations"]
    totals, struck = storm.totals, storm.struck
    print(  # noqa: T201
        f"\nseed {seed}, {time.monotonic() - started:.0f} s: {totals['runs']} runs, {totals['clips']:,} clips,"
        f" {totals['creates']:,} creates, {struck['SIGKILL']} SIGKILL, {struck['SIGSTOP']} SIGSTOP,"
        f" {struck['database']} restarts of PostgreSQL"
    )
    print(f"duplicate creates: {totals['broken: creates']}; paid and unaccounted for: {totals['broken: records']}")  # noqa: T201
    print(f"sums that differ: {totals['broken: sums']}; clips wrong: {totals['broken: clips']}")  # noqa: T201
    print(f"adopted by a person: {totals['adopted']}; left in doubt: {totals['in_doubt']}")  # noqa: T201
    print(f"exit codes of processes that were not killed: {dict(sorted(storm.codes.items()))}")  # noqa: T201
    for trouble in (*storm.troubles, *violations):
        print(f"TROUBLE {trouble}")  # noqa: T201
    print("BROKEN" if storm.troubles or violations else "KEPT")  # noqa: T201
    return int(bool(storm.troubles or violations))


if __name__ == "__main__":
    sys.exit(main())
