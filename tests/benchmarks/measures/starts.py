"""Before and without any work: P6 (1,000,000 planned), P11 (nothing to do), P12 (reading), P13 (start), P14 (plan)."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from PIL import Image

from tests.benchmarks import child
from tests.benchmarks.figures import Figure, Goal, ratios
from tests.benchmarks.lab import FULL_SPEED, write_manifest
from tests.benchmarks.measures.whole import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.lab import Lab

JOBS, CHANGED, FEW, MILLION = 100_000, 1_000, 10, 1_000_000
PRICED = "version: 1\nprices: {veo3-fast: 0.40}\ndefaults: {model: veo3-fast, size: 16x9}\n"
PICTURES, PHOTOGRAPH = 40, (4000, 3000)
PARTS = "tests.benchmarks.parts"
WAYS = (("yaml", "yaml"), ("uncollected", "yaml-uncollected"), ("ours", "batchvid"), ("lines", "batchvid"))
"""What is read, in turns: the loader as people call it, the loader without the collector (which batchvid does
without, too), and batchvid."""
BARE = [sys.executable, "-c", "pass"]


def _wall_s(lab: Lab, *arguments: object) -> float:
    return child.run(lab.python("batchvid", *arguments), log=lab.log()).wall_s


def nothing_to_do(lab: Lab) -> list[Figure]:
    """P11: a run of a finished manifest, as cron starts it every night; and whether its clips are there.

    It reads the manifest and the journal, and looks at every clip. The manifest by itself is read beside it.
    """
    jobs = lab.many(JOBS)
    walls: dict[str, list[float]] = defaultdict(list)
    cpus: dict[str, list[float]] = defaultdict(list)
    path, small = lab.finished(jobs), lab.finished(FEW)
    commands = {
        "yaml": lab.python(f"{PARTS}.reading", "yaml", path),
        "run": lab.python("batchvid", "run", path),
        "small": lab.python("batchvid", "run", small),
        "quick": lab.python("batchvid", "verify", path, "--quick"),
    }
    for name in ("run", "small"):  # the first one writes the list of clips and the report
        child.run(commands[name], log=lab.log(), settled=True)
    for _ in range(lab.repeated(3)):
        for name, command in commands.items():
            used = child.run(command, log=lab.log())
            walls[name].append(float(used.out) if name == "yaml" else used.wall_s)
            cpus[name].append(used.cpu_s)
    what = f"no-op run of {jobs:,} finished jobs"
    return [
        Figure("P11", f"no-op run of {FEW} finished jobs", "s", tuple(walls["small"]), Goal("<=", 0.45)),
        Figure("P11", f"{what}, every clip looked at", "s", tuple(walls["run"]), Goal("<=", 3.0)),
        Figure("P11", "against yaml.load(CSafeLoader) of its manifest", "x", ratios(walls["run"], walls["yaml"]),
               Goal("<=", 0.7)),
        Figure("P11", "the same in processor time", "x", ratios(cpus["run"], cpus["yaml"]), Goal("<=", 0.7)),
        Figure("P11", what, "CPU s", tuple(cpus["run"])),
        Figure("P11", f"no-op run of {FEW} finished jobs", "CPU s", tuple(cpus["small"])),
        Figure("P11", "every output checked on disk (verify --quick)", "s", tuple(walls["quick"]), Goal("<=", 1.0),
               "presence and size"),
    ]  # fmt: skip


def reading(lab: Lab) -> list[Figure]:
    """P12: a manifest of 100,000 jobs, and the same as JSON lines."""
    jobs = lab.many(JOBS)
    seconds: dict[str, list[float]] = defaultdict(list)
    peaks = []
    with lab.room() as room:
        path = write_manifest(room / "m.yaml", jobs=jobs, limits=FULL_SPEED)
        lines = write_lines(room / "lines.yaml", jobs=jobs)
        for _ in range(lab.repetitions):
            for name, way in WAYS:
                used = child.run(lab.python(f"{PARTS}.reading", way, lines if name == "lines" else path), log=lab.log())
                seconds[name].append(float(used.out))
                if name == "ours":
                    peaks.append(used.peak_rss_bytes / MIB)
    return [
        Figure("P12", f"reading {jobs:,} jobs", "s", tuple(seconds["ours"])),
        Figure("P12", "against yaml.load(CSafeLoader)", "x", ratios(seconds["ours"], seconds["yaml"]), Goal("<=", 1.0)),
        Figure("P12", "the same, its garbage collector off", "x", ratios(seconds["ours"], seconds["uncollected"]),
               Goal("<=", 0.8)),
        Figure("P12", "peak RSS", "MB", tuple(peaks), Goal("<=", 350.0)),
        Figure("P12", "the same jobs as JSON lines", "s", tuple(seconds["lines"]), Goal("<=", 2.0)),
    ]  # fmt: skip


def write_lines(path: Path, *, jobs: int) -> Path:
    """Write a manifest whose jobs stand in a .jsonl file beside it."""
    with path.with_suffix(".jsonl").open("w", encoding="utf-8") as file:
        file.writelines(
            f'{{"id": "kite-{number:06}", "prompt": "A paper kite floats above field {number}."}}\n'
            for number in range(jobs)
        )
    path.write_text(
        f"version: 1\ndefaults: {{model: veo3-fast, size: 16x9}}\njobs: [{{from: {path.stem}.jsonl}}]\n",
        encoding="utf-8",
    )
    return path


def small_commands(lab: Lab) -> list[Figure]:
    """P13: how much longer than bare Python the commands take that people type all day."""
    walls: dict[str, list[float]] = defaultdict(list)
    path = lab.finished(FEW)
    with lab.room() as room:
        framed = write_framed(room / "m.yaml", pictures=lab.many(PICTURES))
    for _ in range(2 * lab.repetitions):
        bare_s = child.run(BARE, log=lab.log()).wall_s
        walls["--help"].append(1000 * (_wall_s(lab, "--help") - bare_s))
        walls["status"].append(1000 * (_wall_s(lab, "status", path) - bare_s))
        walls["pictures"].append(_wall_s(lab, "status", framed))
    return [
        Figure("P13", "--help, above bare Python", "ms", tuple(walls["--help"]), Goal("<=", 40.0)),
        Figure("P13", "status of 10 jobs, above bare Python", "ms", tuple(walls["status"]), Goal("<=", 80.0)),
        Figure("P13", "status beside 40 pictures of 12 megapixels", "s", tuple(walls["pictures"]), Goal("<=", 0.3)),
    ]


def write_framed(path: Path, *, pictures: int) -> Path:
    """Write a manifest of jobs that each begin with a photograph of their own."""
    photograph = Image.effect_noise((400, 300), 60).resize(PHOTOGRAPH).convert("RGB")
    for number in range(pictures):
        photograph.save(path.with_name(f"{number}.jpg"), quality=88)
    rows = "".join(f"  - {{id: j{number}, prompt: x, first_frame: {number}.jpg}}\n" for number in range(pictures))
    path.write_text(f"version: 1\njobs:\n{rows}", encoding="utf-8")
    return path


def a_million(lab: Lab) -> list[Figure]:
    """P6: a new manifest of 1,000,000 jobs is planned: a table, as a person would have so many, and one long YAML."""
    jobs = lab.many(MILLION)
    with lab.room() as room:
        found = {
            what: child.run(lab.python("batchvid", "plan", path), log=lab.log())
            for what, path in (("a CSV table", write_table(room / "table.yaml", jobs=jobs)),
                               ("one YAML", write_long(room / "long.yaml", jobs=jobs)))
        }  # fmt: skip
    once = "once: it takes half a minute"
    return [
        figure
        for what, used in found.items()
        for figure in (
            Figure("P6", f"plan of {jobs:,} new jobs, {what}", "s", (used.wall_s,), Goal("<=", 30.0), once),
            Figure("P6", f"plan of {jobs:,} new jobs, {what}: peak RSS", "MB", (used.peak_rss_bytes / MIB,),
                   Goal("<=", 900.0)),
        )
    ]  # fmt: skip


def write_table(path: Path, *, jobs: int) -> Path:
    """Write a manifest whose jobs stand in a .csv file beside it."""
    with path.with_suffix(".csv").open("w", encoding="utf-8") as file:
        file.write("id,prompt\n")
        file.writelines(f"kite-{number:06},A paper kite floats above field {number}.\n" for number in range(jobs))
    path.write_text(f"{PRICED}jobs: [{{from: {path.stem}.csv}}]\n", encoding="utf-8")
    return path


def write_long(path: Path, *, jobs: int) -> Path:
    """Write a manifest of that many jobs, in no more than the 64 MiB that one may have."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{PRICED}jobs:\n")
        file.writelines(
            f"- id: k{number:06}\n  prompt: A kite floats above field {number}.\n" for number in range(jobs)
        )
    return path


def planning(lab: Lab) -> list[Figure]:
    """P14: plan on 100,000 jobs of which 1,000 have changed."""
    jobs, changed = lab.many(JOBS), lab.many(CHANGED)
    beyond = []
    path = lab.finished(jobs).with_name("changed.yaml")
    write_manifest(path, jobs=jobs, limits=FULL_SPEED, changed=changed)
    for _ in range(lab.repeated(2)):
        reading_s = _wall_s(lab, "check", path)
        beyond.append(_wall_s(lab, "plan", path) - reading_s)
    what = f"plan of {jobs:,} jobs, {changed:,} changed, beyond the reading"
    return [Figure("P14", what, "s", tuple(beyond), Goal("<=", 3.0))]
