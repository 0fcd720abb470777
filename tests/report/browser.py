"""A page in the system's Chromium, and what it did there that nobody asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
WAITS_MS = 15_000
REPOSITORY = Path(__file__).resolve().parents[2]


def batchvid(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    """Run ``batchvid ARGUMENTS``, and give the last JSON object that it wrote."""
    ran = subprocess.run(
        [sys.executable, "-m", "batchvid", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@dataclass
class Opened:
    """A page in the browser, and what it did that nobody asked for."""

    page: Page
    folder: Path
    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Record errors, of what the policy refuses, and of every request."""
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("request", self._requested)

    def _asked(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(f"{message.type}: {message.text}")

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)

    def outside(self) -> list[str]:
        """Return the requests that left the page's folder."""
        return [url for url in self.requests if not self._is_inside(url)]

    def _is_inside(self, url: str) -> bool:
        parts = urlsplit(url)
        path = os.path.normpath(unquote(parts.path))
        return parts.scheme == "file" and not parts.netloc and path.startswith(f"{self.folder}{os.sep}")

    def shown(self) -> int:
        """Return how many clips the page says it shows."""
        return int(self.page.locator(".shown").inner_text().split(" ")[0].replace(",", ""))


class Opener:
    """Opens pages in one browser, each in a context of its own."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def __call__(self, path: Path, *, width: int = 1440, height: int = 900, anchor: str = "", **more: Any) -> Opened:
        """Open the page at *path* and wait until it is drawn."""
        context = self._browser.new_context(
            viewport={"width": width, "height": height}, timezone_id="Europe/Berlin", locale="en-GB", **more
        )
        context.set_default_timeout(WAITS_MS)
        self._contexts.append(context)
        opened = Opened(context.new_page(), path.parent.resolve())
        opened.watch()
        opened.page.goto(path.resolve().as_uri() + anchor)
        opened.page.wait_for_selector("html[data-ready]")
        return opened

    def close(self) -> None:
        """Close what was opened."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()
