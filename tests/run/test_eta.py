"""The time left is told right: after a tenth of a run, what is foreseen in all is near what it takes in the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.limits import Limits, Rate
from tests.run import bench as bench_module
from tests.run.bench import Watcher, jobs

if TYPE_CHECKING:
    from batchvid.domain.results import Snapshot
    from tests.run.conftest import MakeBench

SEEDS = (1, 2, 3)
SCENES: dict[str, tuple[Limits, dict[str, Any]]] = {
    "rate": (Limits(submits=Rate(10, 60), in_flight=40), {}),
    "room": (Limits(submits=Rate(60, 60), in_flight=10), {}),
    "canary": (Limits(submits=Rate(20, 60), in_flight=10, canary=3), {}),
    "too fast": (Limits(submits=Rate(20, 60), in_flight=30), {"rate_per_minute": 8}),
    "other tasks than stated": (Limits(submits=Rate(60, 60), in_flight=10, typical_time_s=60.0), {}),
}


class Clockwork(Watcher):
    """Remembers what was said of the time."""

    said: list[tuple[float, float]]

    def stats(self, snapshot: Snapshot) -> None:
        """Remember it."""
        super().stats(snapshot)
        if not hasattr(self, "said"):
            self.said = []
        self.said.append((snapshot.elapsed_s, snapshot.eta_s or 0.0))


@pytest.mark.parametrize("scene", SCENES)
def test_what_is_foreseen_after_a_tenth_of_a_run_is_what_it_takes(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, scene: str
) -> None:
    """Within a fifth, over three runs, at a tenth, a quarter and half of the way, whatever limits the run."""
    monkeypatch.setattr(bench_module, "Watcher", Clockwork)
    limits, terms = SCENES[scene]
    foreseen: dict[float, list[float]] = {0.1: [], 0.25: [], 0.5: []}
    for seed in SEEDS:
        bench = make_bench(seed=seed, **terms)
        bench.folder = bench.folder.with_name(f"out-{seed}")
        bench.run([replace(one) for one in jobs(60)], limits)
        assert isinstance(bench.view, Clockwork)
        said = bench.view.said
        for share, found in foreseen.items():
            found.append(next((gone + left) / said[-1][0] for gone, left in said if gone >= share * said[-1][0]))
    means = {share: sum(found) / len(found) for share, found in foreseen.items()}
    assert all(mean == pytest.approx(1.0, abs=0.2) for mean in means.values()), means
