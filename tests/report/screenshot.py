"""Makes the README's pictures of a report: ``make screenshot`` runs the demo and opens its report in Chromium."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from tests.report.browser import CHROMIUM, FLAGS, REPOSITORY, batchvid

WIDTH, HEIGHT = 1240, 1040
QUALITY = 82


def main(folder: Path) -> int:
    """Write ``report-light.webp`` and ``report-dark.webp`` into *folder*."""
    from PIL import Image  # noqa: PLC0415 heavy
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 only with a browser

    if CHROMIUM is None:
        sys.stderr.write("no Chromium on this machine: apt-get install chromium\n")
        return 1
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as output, sync_playwright() as driver:
        demo = ("jobs/demo.yaml", "--output", output, "--json")
        batchvid("run", *demo, "--sandbox", "--sandbox-speed", "2", cwd=REPOSITORY)
        page = Path(batchvid("report", *demo, cwd=REPOSITORY)["path"])
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        for scheme in ("light", "dark"):
            tab = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT},
                color_scheme="dark" if scheme == "dark" else "light",
                device_scale_factor=1.5,
                locale="en-GB",
                timezone_id="UTC",
            )
            tab.goto(page.resolve().as_uri())
            tab.wait_for_function("() => [...document.querySelectorAll('.tile img')].every(one => one.complete)")
            with Image.open(io.BytesIO(tab.screenshot())) as picture:
                picture.convert("RGB").save(folder / f"report-{scheme}.webp", quality=QUALITY, method=6)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
