"""Outputs to report on, and the browser that opens their pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.report.browser import CHROMIUM, FLAGS, Opener, batchvid
from tests.report.nights import write_night

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.conftest import MakeClip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return the system's Chromium.

    For one module: while its driver is there it holds the thread's event loop, in which other tests run theirs.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield browser
        browser.close()


@pytest.fixture
def opener(browser: Browser) -> Iterator[Opener]:
    """Return what opens pages."""
    found = Opener(browser)
    yield found
    found.close()


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """Return the report of 300 jobs whose night had a bit of everything."""
    folder = tmp_path_factory.mktemp("night")
    clip = folder / "source.mp4"
    clip.write_bytes(make_clip(frames=48))
    manifest = write_night(folder, 300, clips=[clip])
    return Path(batchvid("report", manifest, "--json", cwd=folder)["path"])
