"""Parts by themselves: P4 (memory of a waiting job), P7 (downloads), P9 (the journal)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.benchmarks import child, nginx
from tests.benchmarks.figures import Figure, Goal, ratios

if TYPE_CHECKING:
    from tests.benchmarks.lab import Lab

AT_ONCE = 4
PARTS = "tests.benchmarks.parts"


def waiting_jobs(lab: Lab) -> list[Figure]:
    """P4: what one more job in the schedule costs."""
    figures = []
    for state in ("pending", "running"):
        few, many = lab.many(10_000), lab.many(100_000)
        used = [
            child.run(lab.python(f"{PARTS}.waiting", state, few, many), log=lab.log())
            for _ in range(min(2, lab.repetitions))  # counted, not timed: it is the same each time
        ]
        samples = tuple(float(one.out) for one in used)
        figures.append(Figure("P4", f"memory of one more {state} job", "bytes", samples, Goal("<=", 1024.0)))
    return figures


def downloads(lab: Lab) -> list[Figure]:
    """P7: files of 10 MB, 4 at once, from nginx; the seconds of the transfers against those of curl."""
    if absent := nginx.missing():
        return [Figure("P7", "downloads against curl --parallel", "x", (), Goal(">=", 0.75), absent)]
    files = lab.many(40, least=8)
    seconds: dict[str, list[float]] = defaultdict(list)
    with lab.room() as room:
        root = room / "root"
        root.mkdir()
        clip = lab.clip("10 MB")
        for number in range(files):
            (root / f"{number}.mp4").write_bytes(clip.read_bytes())
        with nginx.serving(root, room) as url:
            for _ in range(lab.repetitions):
                seconds["curl"].append(_curl(lab, url, files, sync=False))
                seconds["curl, synced"].append(_curl(lab, url, files, sync=True))
                for name, flags in (("with", ()), ("without", ("--no-hash",))):
                    with lab.room() as into:
                        command = lab.python(
                            f"{PARTS}.transfers", into, url + "/{}.mp4", files, "--at-once", AT_ONCE, *flags
                        )
                        seconds[name].append(float(child.run(command, log=lab.log(), settled=True).out))
    megabytes = files * clip.stat().st_size / 1e6
    found = [Figure("P7", f"{name}", "MB/s", tuple(megabytes / one for one in seconds[name])) for name in seconds]
    return [
        *found,
        Figure("P7", "against curl, SHA-256, check and fsync on", "x", ratios(seconds["curl"], seconds["with"]),
               Goal(">=", 0.75)),
        Figure("P7", "against curl, without the hash", "x", ratios(seconds["curl"], seconds["without"]),
               Goal(">=", 0.9)),
        Figure("P7", "against curl that syncs its files too", "x", ratios(seconds["curl, synced"], seconds["with"]),
               Goal(">=", 1.2)),
    ]  # fmt: skip


def _curl(lab: Lab, url: str, files: int, *, sync: bool) -> float:
    with lab.room() as into:
        fetch = f"curl -sS -f --parallel --parallel-max {AT_ONCE} -o '#1.mp4' '{url}/[0-{files - 1}].mp4'"
        script = f"cd {into} && {fetch}" + (" && sync *.mp4" if sync else "")
        return child.run(["sh", "-c", script], log=lab.log(), settled=True).wall_s


def journal(lab: Lab) -> list[Figure]:
    """P9: transitions a second, and what their durability costs a run."""
    rates: dict[str, list[float]] = defaultdict(list)
    walls: dict[str, list[float]] = defaultdict(list)
    jobs = lab.many(600, least=200)
    sizes = {"grouped": lab.many(4000, least=1000), "alone": lab.many(150, least=25)}
    with lab.serving("100 KB") as server:
        for _ in range(lab.repetitions):
            for way, number in sizes.items():
                with lab.room() as room:
                    used = child.run(
                        lab.python(f"{PARTS}.journal_rates", room, way, number), log=lab.log(), settled=True
                    )
                    rates[way].append(float(used.out))
            walls["durable"].append(lab.batchvid(server, jobs=jobs).wall_s)
            for less in ("journal", "everything"):
                launcher = ("-m", f"{PARTS}.undurable", less)
                walls[less].append(lab.batchvid(server, jobs=jobs, launcher=launcher).wall_s)
    cost = tuple(100 * (1 - share) for share in ratios(walls["journal"], walls["durable"]))
    all_cost = tuple(100 * (1 - share) for share in ratios(walls["everything"], walls["durable"]))
    return [
        Figure("P9", "transitions, 500 jobs at once, synchronous=FULL", "/s", tuple(rates["grouped"])),
        Figure("P9", "against one commit each", "x", ratios(rates["grouped"], rates["alone"]), Goal(">=", 20.0)),
        Figure("P9", "jobs/s that the journal's durability costs", "%", cost, Goal("<=", 20.0)),
        Figure("P9", "jobs/s that all durability costs, clips too", "%", all_cost),
    ]
