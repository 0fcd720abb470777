"""A run on a terminal: one picture that is redrawn in place, and the summary when it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from batchvid.core.text import clean
from batchvid.views.beat import Beat
from batchvid.views.panel import FINE, PLAIN
from batchvid.views.panels import panels
from batchvid.views.stream import Unfailing
from batchvid.views.summary import summary_lines

if TYPE_CHECKING:
    from batchvid.core.job import Progress
    from batchvid.core.lifecycle import Event
    from batchvid.core.snapshot import Snapshot
    from batchvid.core.summary import Summary

DRAW_EVERY_S = 0.25
"""Four pictures a second are as many as anybody can read."""


def console_on(stream: TextIO | None, *, width: int | None = None, force_terminal: bool | None = None) -> Console:
    """Give a console on *stream* that never raises when the stream is closed or full, and heeds ``NO_COLOR``.

    Rich's own answer to a closed pipe is to end the process.
    """
    return Console(
        file=cast("TextIO", Unfailing(stream)),
        width=width,
        force_terminal=force_terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )


class Screen:
    """The terminal that the views of one call draw on, each its part of one picture.

    There is no thread behind it: it draws when a run tells how it stands, and at most four times a second.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._glyphs = FINE if console.encoding.startswith("utf") else PLAIN
        self._live: Live | None = None
        self._parts: list[LiveView] = []

    def add(self, part: LiveView) -> None:
        """Give *part* a place in the picture, below those that have one."""
        self._parts.append(part)

    @property
    def is_shared(self) -> bool:
        """Whether several runs are drawn."""
        return len(self._parts) > 1

    @property
    def runs(self) -> int:
        """Count the parts that are at work, which share the pictures."""
        return max(1, sum(one.is_open for one in self._parts))

    def draw(self) -> None:
        """Draw the runs as they stand."""
        if isinstance(self.console.file, Unfailing) and not self.console.file.has_room():
            return  # nobody looks: a picture that waits is an old one when it is seen
        parts = [(one.manifest, one.newest) for one in self._parts]
        picture = panels(parts, width=self.console.width, height=self.console.height, glyphs=self._glyphs)
        if self._live is None:
            self._live = Live(
                console=self.console,
                auto_refresh=False,
                redirect_stdout=False,  # stdout may be a file that somebody wants as it is
                vertical_overflow="crop",
            )
            self._live.start()
        self._live.update(picture, refresh=True)

    def close(self) -> None:
        """Show the cursor again and give stderr back, when no part of the picture is at work any more."""
        if not any(one.is_open for one in self._parts):
            live, self._live = self._live, None
            if live is not None:
                live.stop()
            finish(self.console)


class LiveView:
    """One run's part of the picture on *screen*."""

    def __init__(self, screen: Screen, *, manifest: str, every_s: float = DRAW_EVERY_S) -> None:
        self.manifest = manifest
        self.newest: Snapshot | None = None
        self.is_open = True
        self._screen = screen
        screen.add(self)
        self._every_s = every_s
        self._beat: Beat | None = None

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Show nothing by itself: the next picture tells it."""

    def stats(self, snapshot: Snapshot) -> None:
        """Draw the run as it stands."""
        self.newest = snapshot
        self._beat = self._beat or Beat(self._every_s * self._screen.runs)
        if self._beat.due(snapshot.elapsed_s):
            self._screen.draw()

    def note(self, text: str) -> None:
        """Print a line above the picture."""
        self._screen.console.print(Text(clean(text, 1000)))

    def warn(self, text: str) -> None:
        """Print a line above the picture."""
        self.note(text)

    def summary(self, summary: Summary) -> None:
        """Draw the last picture and leave it there, with the summary below; other runs are drawn on below that."""
        if self.newest is not None:
            # What slowed it is past, and its end is known.
            self.newest = replace(self.newest, eta_s=None, slowed_to=1.0, paused_s=0.0, stopping=summary.stopped)
            self._screen.draw()
        self.is_open = False
        self._screen.close()
        self._print(summary)

    def close(self) -> None:
        """Give the terminal back, when no other run of the call is drawn any more."""
        self.is_open = False
        self._screen.close()

    def _print(self, summary: Summary) -> None:
        console = self._screen.console
        console.print()
        if self._screen.is_shared:
            console.print(Text(clean(self.manifest, 4096), style="bold"))
        for line in summary_lines(summary):
            console.print(Text(line), soft_wrap="batchvid " in line)  # a command is copied whole, so never cut
        finish(console)


def finish(console: Console) -> None:
    """Send all that the console was given, waiting for its reader: when the work is done."""
    if isinstance(console.file, Unfailing):
        console.file.finish()
