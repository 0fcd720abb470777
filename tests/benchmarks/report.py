"""How fast a report of many clips opens, filters and scrolls in Chromium: ``make report-bench``.

Every load is a fresh context with an empty cache. *Painted* is from the start of the navigation to the first frame
after the contact sheet is in the document and the page answers to keys; it includes reading the file from disk.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.report.browser import CHROMIUM, FLAGS, batchvid
from tests.report.nights import write_night

if TYPE_CHECKING:
    from playwright.sync_api import Browser

JOBS = 10_000
LOADS = 9
PROBE = """
new MutationObserver((_, observer) => {
  if (!document.documentElement.dataset.ready) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.paintedAt = performance.now(); }));
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
FILTER = """
() => new Promise((done) => {
  const began = performance.now();
  sheet.text = "fox golden"; sheet.choose();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})
"""
SCROLL = """
() => new Promise((done) => {
  sheet.text = ""; sheet.choose();
  document.getElementById("tools").scrollIntoView();
  const frames = [];
  let last = performance.now();
  const step = (now) => {
    frames.push(now - last); last = now; scrollBy(0, 120);
    if (frames.length < 180) requestAnimationFrame(step); else done(frames.slice(1));
  };
  requestAnimationFrame(step);
})
"""


def main() -> int:
    """Make the page once, load it many times, and print medians with their spread."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 only with a browser

    if CHROMIUM is None:
        sys.stdout.write("no Chromium on this machine: apt-get install chromium\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        page = _report(Path(folder))
        size_bytes = page.stat().st_size
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
            loads = [_load(browser, page) for _ in range(LOADS)]
            browser.close()
    sys.stdout.write(f"{JOBS:,} clips, a page of {size_bytes / 1e6:.1f} MB, {LOADS} loads, Chromium without a GPU\n")
    for name, unit in (("painted", "ms"), ("filter", "ms"), ("frame_p95", "ms"), ("nodes", "")):
        values = [load[name] for load in loads]
        low, middle, high = min(values), statistics.median(values), max(values)
        sys.stdout.write(f"  {name:<10} {middle:8.0f} {unit:<2}  ({low:.0f} to {high:.0f})\n")
    return 0


def make_sources(folder: Path) -> tuple[Path, Path]:
    """Make the clip and the picture of which a night is made: real ones, if tiny."""
    import av  # noqa: PLC0415 heavy
    from PIL import Image  # noqa: PLC0415 as above

    clip, picture = folder / "source.mp4", folder / "source.webp"
    with av.open(str(clip), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(24):
            frame = av.VideoFrame(320, 180, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number * 10]) * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    Image.radial_gradient("L").resize((400, 225)).convert("RGB").save(picture, "WEBP", quality=72)
    return clip, picture


def _report(folder: Path) -> Path:
    """Return the report of a night of such clips."""
    clip, picture = make_sources(folder)
    manifest = write_night(folder, JOBS, clips=[clip], pictures=[picture])
    return Path(batchvid("report", manifest, "--json", cwd=folder)["path"])


def _load(browser: Browser, page: Path) -> dict[str, Any]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(PROBE)
    tab = context.new_page()
    tab.goto(page.resolve().as_uri())
    tab.wait_for_function("() => window.paintedAt > 0")
    frames = sorted(tab.evaluate(SCROLL))
    found = {
        "painted": tab.evaluate("window.paintedAt"),
        "filter": tab.evaluate(FILTER),
        "frame_p95": frames[int(len(frames) * 0.95)],
        "nodes": tab.evaluate("document.querySelectorAll('*').length"),
    }
    context.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
