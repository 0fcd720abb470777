"""How well ``auto`` finds the limits of an account: ``make auto-bench`` runs the real engine under virtual time.

The sandbox's world hides its limits; in half of the scenes its 429 does not even say which of the two was met. A run
that is told the numbers is what is possible. Shown are the clips of each hour as a part of that, and the refusals for
each 100 paid requests, over the seeds. Where limits change, the hours are those after the change, and each seed has
another moment for it: how soon a raised limit is found depends on when one more was last tried.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batchvid.domain.lifecycle import ClipSaved, SubmitRefused
from batchvid.domain.limits import IN_FLIGHT_MOST, Limits, Rate, RunOptions
from batchvid.sandbox.render import tiny_clips
from tests.run.bench import Bench, jobs

if TYPE_CHECKING:
    from batchvid.domain.lifecycle import Event

HOUR_S = 3600.0
HOURS = 2
RATES, ROOMS = (6, 30, 120), (3, 10, 40)
MODEL = "veo3"
"""Its tasks take 90 s."""
STEP_S = 1300.0
"""The moment of a change in one seed and in the next."""
WANTED = (0.90, 0.95)
"""Of the possible clips, in the first hour and then."""
FEW = 0.01
AUTO = Limits(
    submits=None,
    requests=Rate(50, 1),
    in_flight=IN_FLIGHT_MOST,
    auto_submits=True,
    auto_in_flight=True,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """The limits of an account, and what they are from a moment on; hours are counted from there, or from the start."""

    per_minute: int
    in_flight: int
    tells: bool = False
    then: tuple[int, int] | None = None
    changes_at_s: float = 0.0

    def __str__(self) -> str:
        """Return it for people."""
        then = "" if self.then is None else f" -> {self.then[0]}, {self.then[1]}"
        return f"{self.per_minute:>3}/min, {self.in_flight:>2} at once{then}"


SCENES = [Scene(rate, room, tells=tells) for tells in (False, True) for rate in RATES for room in ROOMS]
CHANGES = [
    Scene(30, 10, then=(30, 40)),
    Scene(120, 40, then=(120, 10)),
    Scene(6, 40, then=(30, 40)),
    Scene(30, 40, then=(6, 40)),
]


@dataclass
class Seen:
    """What came of a run, by the hour, and when it was refused."""

    clips: list[int] = field(default_factory=lambda: [0] * HOURS)
    creates: list[int] = field(default_factory=lambda: [0] * HOURS)
    refused_at_s: list[float] = field(default_factory=list)

    def refused(self, hour: int) -> int:
        """Count the refusals of an hour."""
        return sum(hour <= at_s / HOUR_S < hour + 1 for at_s in self.refused_at_s)


def ran(scene: Scene, limits: Limits, *, seed: int, hours: int = HOURS) -> Seen:
    """Run as many jobs as the limits could ever let through, and return what came of it."""
    most = [(scene.per_minute, scene.in_flight), *([scene.then] if scene.then else [])]
    ends_at_s = scene.changes_at_s + hours * HOUR_S
    number = 20 + int(max(min(60 * rate, 60 * room) for rate, room in most) * ends_at_s / HOUR_S)
    seen = Seen()
    with TemporaryDirectory(prefix="batchvid-auto-") as folder:
        bench = Bench(
            Path(folder) / "out",
            clips=tiny_clips,
            seed=seed,
            rate_per_minute=scene.per_minute,
            in_flight=scene.in_flight,
            tells_limits=scene.tells,
        )
        began = bench.wall()

        def change() -> None:
            rate, room = scene.then or (scene.per_minute, scene.in_flight)
            bench.world.terms = replace(bench.world.terms, rate_per_minute=rate, in_flight=room)

        def note(_job_id: str, event: Event) -> None:
            at_s = bench.wall() - began - scene.changes_at_s
            if isinstance(event, ClipSaved) and 0 <= at_s < hours * HOUR_S:
                seen.clips[int(at_s / HOUR_S)] += 1
            elif isinstance(event, SubmitRefused):
                seen.refused_at_s.append(at_s)

        def meanwhile() -> None:
            bench.view.at_event = note
            if scene.then is not None:
                asyncio.get_running_loop().call_later(scene.changes_at_s, change)

        until_at = began + ends_at_s
        bench.run(jobs(number, model=MODEL), limits, meanwhile=meanwhile, options=RunOptions(until_at=until_at))
        for line in bench.creates:
            at_s = line["at"] - began - scene.changes_at_s
            if at_s >= 0:
                seen.creates[min(hours - 1, int(at_s / HOUR_S))] += 1
        assert set(bench.bought().values()) <= {1}, "a clip was paid twice"
    return seen


def told(scene: Scene) -> Limits:
    """Return the limits of who knows them."""
    return replace(
        AUTO,
        submits=Rate(scene.per_minute, 60),
        in_flight=scene.in_flight,
        auto_submits=False,
        auto_in_flight=False,
    )


def possible(case: tuple[int, int, int]) -> list[int]:
    """Return the clips of each hour for who knows the limits."""
    rate, room, seed = case
    scene = Scene(rate, room)
    return ran(scene, told(scene), seed=seed).clips


def found(case: tuple[Scene, int]) -> Seen:
    """Return what came of a run that has to find them out."""
    scene, seed = case
    if scene.then is not None:
        scene = replace(scene, changes_at_s=HOUR_S + seed * STEP_S % HOUR_S)
    return ran(scene, AUTO, seed=seed)


def say(what: str) -> None:
    """Print a line at once."""
    print(what, flush=True)  # noqa: T201 what it is for


def spread(values: list[float], *, digits: int = 0) -> str:
    """Return the mean, and the least and the most of several."""
    return f"{fmean(values):>6.{digits}%} ({min(values):.{digits}%} to {max(values):.{digits}%})"


def main() -> int:
    """Print a line a scene; end with 1 when those whose limits stay are below what is wanted."""
    seeds = [int(word) for word in sys.argv[1:]] or [1, 2, 3]
    titles = {
        SCENES[0]: "The 429 does not say which limit was met:",
        SCENES[len(SCENES) // 2]: "It does:",
        CHANGES[0]: "The limits change; the hour after that, and the next:",
    }
    scenes: list[Scene] = SCENES + CHANGES
    missed: list[str] = []
    say(f"clips of the possible, and 429 a paid request; mean of {len(seeds)} seeds (least to most)")
    with ProcessPoolExecutor(2) as pool:
        cases = [(rate, room, seed) for rate in RATES for room in ROOMS for seed in seeds]
        most = dict(zip(cases, pool.map(possible, cases), strict=True))
        runs = pool.map(found, [(scene, seed) for scene in scenes for seed in seeds])
        for scene in scenes:
            of_seeds = [next(runs) for _ in seeds]
            if scene in titles:
                say(titles[scene])
            told_hours = []
            for hour, wanted in enumerate(WANTED):
                rate, room = scene.then or (scene.per_minute, scene.in_flight)
                shares = [
                    seen.clips[hour] / most[rate, room, seed][1 if scene.then else hour]
                    for seen, seed in zip(of_seeds, seeds, strict=True)
                ]
                refused = [seen.refused(hour) / seen.creates[hour] for seen in of_seeds]
                told_hours.append(f"hour {hour + 1}: {spread(shares)}  {spread(refused, digits=2)}")
                if scene.then is None and (fmean(shares) < wanted or fmean(refused) > FEW):
                    missed.append(f"{str(scene).strip()}, hour {hour + 1}")
            say(f"  {scene!s:<32} " + "   ".join(told_hours))
    say(f"wanted: {WANTED[0]:.0%} in the first hour, {WANTED[1]:.0%} then, at most {FEW:.0%} refused")
    say("missed: " + "; ".join(missed) if missed else "kept")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
