"""How soon 10,000 clips can be judged in Chromium, and how fast a decision is kept: ``make review-bench``.

*Interactive* is from the start of the navigation to the first frame after the clips are drawn and the page answers to
keys; every load is a fresh context with an empty cache, and the server has read the journal before. *Decided* is from
the key to the server's word that the decision is durable, as the page itself waits for it: alone, and beside a process
that writes into the same journal as a very busy run would.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.report import PROBE, make_sources
from tests.report.browser import CHROMIUM, FLAGS
from tests.report.nights import write_night
from tests.review.server import reviewing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.sync_api import Browser, Page

JOBS = 10_000
LOADS = 9
DECISIONS = 60
FILTER = """
() => new Promise((done) => {
  const began = performance.now();
  wall.text = "fox golden"; wall.choose(true);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    done(performance.now() - began);
    wall.text = ""; wall.choose(true);
  }));
})
"""
STEP = """
() => new Promise((done) => {
  const began = performance.now();
  dispatchEvent(new KeyboardEvent("keydown", { key: "j" }));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})
"""
DECIDE = """
(key) => new Promise((done) => {
  const began = performance.now(), kept = undoing.length;
  const look = () => (undoing.length > kept ? done(performance.now() - began) : setTimeout(look, 0));
  dispatchEvent(new KeyboardEvent("keydown", { key }));
  look();
})
"""
RUNS = """
import sys, time, batchvid
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitAccepted, SubmitStarted
from batchvid.engine.target import journal_of
from batchvid.journal.base import Change
manifest = batchvid.load(sys.argv[1])
store = journal_of(manifest)
with store.lock(), store.open(service=None) as journal:
    print("at work", flush=True)
    number = 0
    while True:
        number += 1
        started = SubmitStarted(1, 400_000, "f")
        at = time.time()
        accepted = SubmitAccepted(f"further-{number}")
        journal.record([Change.of(Progress.fresh(f"further-{number}"), (started, at), (accepted, at))])
        time.sleep(0.01)
"""
"""A run at its busiest: a durable transaction every 10 ms and what it takes itself; a service allows fewer submits."""


def main() -> int:
    """Make the output once, load its page many times, decide many times, and print medians with their spread."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 only with a browser

    if CHROMIUM is None:
        sys.stdout.write("no Chromium on this machine: apt-get install chromium\n")
        return 1
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        clip, picture = make_sources(folder)
        manifest = write_night(folder, JOBS, clips=[clip], pictures=[picture])
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        began = time.perf_counter()
        with reviewing(manifest.name, cwd=folder) as served:
            first_s = time.perf_counter() - began
            size_bytes = len(served.get("/rows?after=0").body)
            read_s = time.perf_counter() - began
            loads = [_load(browser, served.url) for _ in range(LOADS)]
            page = _open(browser, served.url)
            alone = _decide(page)
            writer = subprocess.Popen(
                [sys.executable, "-c", RUNS, str(manifest)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
            )
            try:
                assert writer.stdout is not None
                writer.stdout.readline()
                beside = _decide(page)
            finally:
                writer.kill()
                writer.communicate()
        browser.close()
    sys.stdout.write(f"{JOBS:,} clips, {size_bytes / 1e6:.1f} MB of rows, {LOADS} loads, Chromium without a GPU\n")
    sys.stdout.write(f"  the address is printed after {first_s:.2f} s, the journal is read after {read_s:.2f} s\n")
    for name in loads[0]:
        _tell(name, [load[name] for load in loads])
    _tell("decided", alone)
    _tell("decided beside a run", beside)
    return 0


def _tell(name: str, values: Sequence[float]) -> None:
    ordered = sorted(values)
    p95 = ordered[int(len(ordered) * 0.95)]
    sys.stdout.write(
        f"  {name:<22}{statistics.median(ordered):7.0f} ms  ({ordered[0]:.0f} to {ordered[-1]:.0f}, 95 % {p95:.0f})\n"
    )


def _open(browser: Browser, url: str) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(PROBE)
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("() => window.paintedAt > 0")
    return page


def _load(browser: Browser, url: str) -> dict[str, Any]:
    page = _open(browser, url)
    found = {
        "interactive": page.evaluate("window.paintedAt"),
        "filter": page.evaluate(FILTER),
        "next": page.evaluate(STEP),
    }
    page.context.close()
    return found


def _decide(page: Page) -> list[float]:
    """Judge one clip after the other; each leaves those that are to be judged."""
    found = []
    for number in range(DECISIONS):
        page.keyboard.press("j")
        found.append(page.evaluate(DECIDE, "a" if number % 2 else "3"))
    return found


if __name__ == "__main__":
    sys.exit(main())
