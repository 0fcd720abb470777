"""How right the estimated time is: ``make eta`` runs against the sandbox at speed and prints what was said when.

At 10, 25 and 50 % of the time that a run took in the end, the time gone and the time said to be left are held against
it.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batchvid import load
from batchvid.domain.limits import Limits, Rate
from batchvid.engine.context import RunContext
from batchvid.engine.observer import Silent
from batchvid.engine.run import run
from batchvid.providers.http import Service
from batchvid.sandbox.process import Options as SandboxOptions
from batchvid.sandbox.process import running

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot

SPEED = 15.0
JOBS = 60
SHARES = (0.1, 0.25, 0.5)
ALLOWED = 0.2
SCENES = {
    "rate": Limits(submits=Rate(10, 60), in_flight=40),
    "in flight": Limits(submits=Rate(60, 60), in_flight=6),
    "canary": Limits(submits=Rate(20, 60), in_flight=10, canary=3),
}
"""What limits the run; the canaries must be clips before the rest may start."""
MANIFEST = """
version: 1
filename: "{{id}}.mp4"
jobs:
  - {{id: "clip-{{n}}", prompt: "Clip {{n}}.", matrix: {{n: [{numbers}]}}}}
"""


@dataclass
class Clockwork(Silent):
    """Remembers what was said of the time."""

    said: list[tuple[float, float]] = field(default_factory=list)

    def stats(self, snapshot: Snapshot) -> None:
        """Remember the time gone, and the time said to be left."""
        if snapshot.eta_s is not None:
            self.said.append((snapshot.elapsed_s, snapshot.eta_s))


def at_speed(limits: Limits) -> Limits:
    """Return the limits for a service that is `SPEED` times as fast, the rates too."""
    fast = limits.sped_up(SPEED)
    assert fast.submits is not None
    return replace(fast, submits=Rate(fast.submits.count * SPEED, fast.submits.period_s), requests=Rate(75, 1))


def measured(limits: Limits, *, seed: int, folder: Path) -> tuple[float, list[float]]:
    """Run once; give the seconds that it took, and at each of `SHARES` the foreseen total as a part of that."""
    manifest_path = folder / "eta.yaml"
    manifest_path.write_text(MANIFEST.format(numbers=", ".join(map(str, range(JOBS)))), encoding="utf-8")
    clockwork = Clockwork()
    with running(SandboxOptions(seed=seed, speed=SPEED, clip="tiny")) as (api, key):
        manifest = replace(load(manifest_path), base_url=api, limits=at_speed(limits), output=folder / f"out-{seed}")
        asyncio.run(run(RunContext(manifest, "eta.yaml", clockwork, connect=lambda _: Service(api, key))))
    total_s = clockwork.said[-1][0]
    foreseen = [
        next((gone + left) / total_s for gone, left in clockwork.said if gone >= share * total_s) for share in SHARES
    ]
    return total_s, foreseen


def say(what: str) -> None:
    """Print a line at once."""
    print(what, flush=True)  # noqa: T201 what it is for


def main() -> int:
    """Print a line a run; end with 1 when an estimate after a tenth of a run was more than a fifth off."""
    seeds = [int(word) for word in sys.argv[1:]] or [1]
    worst = 0.0
    say(f"{JOBS} jobs, a sandbox {SPEED:g} times as fast; foreseen in all, as a part of what it took")
    say(f"{'limited by':<12} {'seed':>4} {'took':>7}  " + "  ".join(f"at {share:.0%}" for share in SHARES))
    with TemporaryDirectory(prefix="batchvid-eta-") as folder:
        for name, limits in SCENES.items():
            for seed in seeds:
                place = Path(folder) / f"{name}-{seed}"
                place.mkdir()
                total_s, foreseen = measured(limits, seed=seed, folder=place)
                worst = max(worst, *(abs(one - 1) for one in foreseen))
                shown = "  ".join(f"{one:>6.0%}" for one in foreseen)
                say(f"{name:<12} {seed:>4} {total_s:>5.1f} s  {shown}")
    say(f"the worst was {worst:.0%} off")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
