"""A night in a minute: 200 jobs of all kinds, killed three times and resumed. Run by ``make soak``.

Every number that it prints is looked up afterwards: creates in the sandbox's ledger, states in
``status --json``, clips by decoding every frame. Exits 1 when a promise was broken.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from batchvid.sandbox.process import Options, running

JOBS = 200
SPEED = 50.0
KILLS = 3
FRAMES = Path(__file__).resolve().parents[1] / "jobs" / "frames"


def manifest(folder: Path) -> Path:
    """Write a manifest of 200 jobs: text, one frame, frame pairs, takes, a matrix, a table, a folder of pairs."""
    rows = "\n".join(f"row-{n:03},A street in the rain number {n},{'9x16' if n % 2 else '16x9'}" for n in range(60))
    (folder / "rows.csv").write_text(f"id,subject,size\n{rows}\n", encoding="utf-8")
    pairs = len(list((FRAMES / "pairs").glob("*_first.*")))
    frames = os.path.relpath(FRAMES, folder)
    entries = [f"  - {{id: text-{n:02}, prompt: A paper kite number {n}}}" for n in range(40 - pairs)]
    entries += [
        f"  - {{id: one-{n:02}, prompt: The sun leaves ridge {n}, first_frame: {frames}/dawn.png}}" for n in range(30)
    ]
    entries += [
        f"  - {{id: two-{n:02}, prompt: A day over valley {n}, first_frame: {frames}/dawn.png, "
        f"last_frame: {frames}/dusk.png}}"
        for n in range(30)
    ]
    entries += [
        "  - {id: takes, prompt: A kite dives, takes: 10}",
        """  - {id: "m-{a}-{b}", prompt: "A {a} at {b}", matrix: {a: [fox, owl, hare, deer, crow, moth],
     b: [dawn, noon, dusk, night, rain]}}""",
        f"  - {{pairs: {frames}/pairs, prompt: A smooth move}}",
        '  - {from: rows.csv, prompt: "{subject}, cinematic"}',
    ]
    path = folder / "soak.yaml"
    path.write_text(
        "version: 1\n"
        "limits: {submits: 20/s, requests: 40/s, in_flight: 30, typical_time: 1.5s, poll_every: 0.1s..1s,\n"
        "         backoff: 0.05s..1s, budget: 100}\n"
        "prices: {veo3-fast: 0.40}\n"
        "defaults: {model: veo3-fast, size: 16x9}\n"
        "jobs:\n" + "\n".join(entries) + "\n",
        encoding="utf-8",
    )
    return path


def batchvid(*arguments: str | Path) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "batchvid", *map(str, arguments)]


def ledger(api: str) -> dict[str, Any]:
    """Ask the sandbox what it billed."""
    with urllib.request.urlopen(api.removesuffix("/v1") + "/_sandbox/ledger") as answer:  # noqa: S310 our own sandbox
        found: dict[str, Any] = json.load(answer)
    return found


def main() -> int:
    """Run it and tell what was seen."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)  # noqa: S311 moments to be killed at
    with tempfile.TemporaryDirectory() as name, running(Options(speed=SPEED)) as (api, key):
        path = manifest(Path(name))
        command = batchvid("run", path, "--base-url", api)
        environment = {**os.environ, "COMETAPI_KEY": key}
        started = time.monotonic()
        for kill in range(1, KILLS + 1):
            moment_s = dice.uniform(1.5, 6.0)
            with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
                time.sleep(moment_s)
                run.send_signal(signal.SIGKILL)
            print(f"run {kill}: SIGKILL after {moment_s:.2f} s, {len(ledger(api)['creates'])} creates so far")  # noqa: T201
        end = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        print(f"run {KILLS + 1}: exit {end.returncode}\n{end.stdout.splitlines()[-6:]}")  # noqa: T201
        in_doubt = jobs_in_doubt(path)
        for row in in_doubt:
            decide(path, row, ledger(api))
        if in_doubt:
            end = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            print(f"run {KILLS + 2}, after a person's decisions: exit {end.returncode}")  # noqa: T201
        creates = Counter(line["prompt"] for line in ledger(api)["creates"])
        before = ledger(api)["requests"]
        again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        sent = {kind: number - before[kind] for kind, number in ledger(api)["requests"].items()}
        deep = subprocess.run(batchvid("verify", path, "--deep"), capture_output=True, text=True, check=False)
        took_s = time.monotonic() - started
        found = jobs(path)
        wanted = Counter(row["prompt"] for row in found)
        twice = creates - wanted
        missing = wanted - creates
        print(f"seed {seed}, {took_s:.0f} s in all; {len(found)} jobs")  # noqa: T201
        print(f"creates: {creates.total()}; billed more often than wanted: {dict(twice) or 'none'}")  # noqa: T201
        print(f"wanted and never created: {dict(missing) or 'none'}")  # noqa: T201
        print(f"a further run: exit {again.returncode}, sent {sent}")  # noqa: T201
        print(f"verify --deep: exit {deep.returncode}: {deep.stdout.strip().splitlines()[-1]}")  # noqa: T201
        kept = (
            len(found) == JOBS
            and not twice
            and not missing
            and end.returncode == again.returncode == 0
            and deep.returncode == 0
            and not any(sent.values())
        )
        print("KEPT" if kept else "BROKEN")  # noqa: T201
        return 0 if kept else 1


def jobs(path: Path) -> list[dict[str, Any]]:
    """Ask for the rows of all jobs."""
    out = subprocess.run(batchvid("export", path, "--format", "jsonl"), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def jobs_in_doubt(path: Path) -> list[dict[str, Any]]:
    """Ask for the jobs that are in doubt."""
    found = [row for row in jobs(path) if row["state"] == "in_doubt"]
    print(f"in doubt: {[row['id'] for row in found] or 'none'}")  # noqa: T201
    return found


def decide(path: Path, row: dict[str, Any], billed: dict[str, Any]) -> None:
    """Do what a person does who looks at the service's dashboard: adopt the task that nobody owns, or retry."""
    owned = {known["task_id"] for known in jobs(path)}
    lost = [line["task_id"] for line in billed["creates"] if line["prompt"] == row["prompt"]]
    lost = [task_id for task_id in lost if task_id not in owned]
    step = (
        ("adopt", path, row["id"], lost[0], "--offline") if lost else ("retry", path, row["id"], "--in-doubt", "--yes")
    )
    done = subprocess.run(batchvid(*step), capture_output=True, text=True, check=True)
    print(f"  {step[0]} {row['id']}: {done.stdout.strip().splitlines()[-1]}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
