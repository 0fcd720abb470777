"""What a night of doubts leaves for the morning: 1,000 jobs, and a gateway's 502 in place of 1 % of the answers.

Run by ``make doubts``. Half of the lost requests were billed. In the morning the person writes the ids that the
service's dashboard shows into a file, and says of the rest that they were not billed. Every number is looked up
afterwards: creates in the sandbox's ledger, states in ``status --json``. Exits 1 when anything was bought twice.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from batchvid.sandbox.process import Options, running
from tests.soak import batchvid, ledger

JOBS = 1000
LOST = 0.01
SEEDS = (1, 2, 3, 4, 5)
PAGE = {"message": "An invalid response was received from the upstream server"}


def faults(folder: Path, chance: random.Random) -> Path:
    """Write which creates a gateway answers in the service's place, and which of these were billed."""
    lost = [number for number in range(1, JOBS + 1) if chance.random() < LOST]
    billed = [number for number in lost if chance.random() < 0.5]
    rules = [
        {"on": "create", "scope": "call", "nth": numbers, "status": 502, "body": PAGE, "effect": numbers is billed}
        for numbers in (billed, [number for number in lost if number not in billed])
        if numbers
    ]
    path = folder / "faults.json"
    path.write_text(json.dumps(rules), encoding="utf-8")
    return path


def manifest(folder: Path) -> Path:
    """Write 1,000 jobs."""
    jobs = "".join(f"  - {{id: clip-{number:04}, prompt: The clip {number}}}\n" for number in range(JOBS))
    path = folder / "night.yaml"
    path.write_text(
        "version: 1\n"
        "limits: {submits: unlimited, requests: 400/s, in_flight: 50, typical_time: 0.2s, poll_every: 0.1s..1s,\n"
        "         backoff: 0.1s..1s, budget: 1000}\n"
        "prices: {veo3-fast: 0.40}\ndefaults: {model: veo3-fast, size: 16x9}\njobs:\n" + jobs,
        encoding="utf-8",
    )
    return path


def night(seed: int) -> tuple[int, dict[str, float]]:
    """Live through one night and its morning; return how many jobs were in doubt, and what each command took."""
    chance = random.Random(seed)  # noqa: S311 chance, not a secret
    with tempfile.TemporaryDirectory(prefix="batchvid-doubts-") as name:
        folder = Path(name)
        path = manifest(folder)
        options = Options(port=0, speed=400.0, clip="tiny", faults_path=faults(folder, chance))
        with running(options) as (api, key):
            environment = {"COMETAPI_KEY": key, "BATCHVID_BASE_URL": api, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
            took: dict[str, float] = {}

            def call(what: str, *arguments: str | Path, codes: tuple[int, ...] = (0,)) -> str:
                began = time.monotonic()
                ran = subprocess.run(
                    batchvid(*arguments), cwd=folder, env=environment, capture_output=True, text=True, check=False
                )
                took[what] = time.monotonic() - began
                if ran.returncode not in codes:
                    raise SystemExit(f"{what}: exit {ran.returncode}: {ran.stdout[-800:]}{ran.stderr[-800:]}")
                return ran.stdout

            call("the night", "run", path, "--no-report", codes=(0, 4))
            jobs = json.loads(call("status", "status", path, "--json"))["jobs"]
            doubts = [job["id"] for job in jobs if job["state"] == "in_doubt"]
            known = {job["task_id"] for job in jobs}
            prompts = {f"The clip {number}": f"clip-{number:04}" for number in range(JOBS)}
            lost = [(prompts[one["prompt"]], one["task_id"]) for one in ledger(api)["creates"]]
            found = [(job, task) for job, task in lost if task not in known]
            call("doubts", "doubts", path)
            if found:
                lines = "".join(f"{job},{task}\n" for job, task in found)
                (folder / "dashboard.csv").write_text(f"id,task_id\n{lines}", encoding="utf-8")
                call("adopt --from", "adopt", path, "--from", folder / "dashboard.csv")
            if len(found) < len(doubts):
                call("retry --in-doubt", "retry", path, "--in-doubt", "-y")
            call("the rest", "run", path, "--no-report")
            bought = Counter(one["prompt"] for one in ledger(api)["creates"])
            if len(bought) != JOBS or set(bought.values()) != {1}:
                raise SystemExit(f"seed {seed}: bought {bought.most_common(3)}")
    return len(doubts), took


def main() -> int:
    """Run it and tell what was seen."""
    found = [night(seed) for seed in (map(int, sys.argv[1:]) if len(sys.argv) > 1 else SEEDS)]
    counts = [doubts for doubts, _ in found]
    print(f"in doubt of {JOBS:,} jobs: {statistics.median(counts):g} (of {min(counts)} to {max(counts)})")  # noqa: T201
    for what in dict.fromkeys(name for _, took in found for name in took):
        seconds = [took[what] for _, took in found if what in took]
        print(f"{what:<18} {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")  # noqa: T201
    print(f"{len(found)} nights: every clip bought once, none lost")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
