"""Tabs on the review page in the system's Chromium, and what they did that nobody asked for."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.report.browser import WAITS_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request

    from tests.review.server import Served

DECIDED = "(kept) => undoing.length > kept && stage.saving === 0"


@dataclass
class Tab:
    """One tab, in a context of its own."""

    page: Page
    origin: str
    forgives: str | None = None
    """What the browser may complain of, because the test wants it."""
    troubles: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Record errors, what the policy refuses, and requests that go elsewhere."""
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("request", self._requested)

    def _asked(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not (self.forgives and self.forgives in message.text):
            self.troubles.append(f"{message.type}: {message.text}")

    def _requested(self, request: Request) -> None:
        if not request.url.startswith(f"{self.origin}/"):
            self.troubles.append(f"elsewhere: {request.url}")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def decide(self, *keys: str) -> None:
        """Press keys, the last of which decides, and wait until the decision is durable."""
        kept = self.page.evaluate("undoing.length")
        self.press(*keys)
        self.page.wait_for_function(DECIDED, arg=kept)

    def pick(self, label: str) -> None:
        """Show the clips of one chip only."""
        self.page.locator(".chips .chip", has_text=label).first.click()

    def names(self) -> list[str]:
        """Return the jobs that are shown, in their order."""
        found: list[str] = self.page.evaluate("wall.shown.map((job) => job.id)")
        return found

    def wait(self, condition: str, *, arg: Any = None) -> None:
        """Wait until a condition is true on the page."""
        self.page.wait_for_function(condition, arg=arg)

    def text(self, selector: str) -> str:
        """Return what a person reads there."""
        return self.page.locator(selector).first.inner_text()


@contextmanager
def tab(
    browser: Browser, served: Served, *, width: int = 1440, height: int = 900, forgives: str | None = None, **more: Any
) -> Iterator[Tab]:
    """Open the printed address in a new context, and look at the end that nothing went wrong."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, timezone_id="Europe/Berlin", locale="en-GB", **more
    )
    context.set_default_timeout(WAITS_MS)
    try:
        opened = Tab(context.new_page(), served.origin, forgives)
        opened.watch()
        opened.page.goto(served.url)
        opened.page.wait_for_selector("html[data-ready]")
        yield opened
        assert opened.troubles == []
    finally:
        context.close()
