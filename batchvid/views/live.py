"""A run on a terminal: one picture that is redrawn in place, and the summary when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from batchvid.core.text import clean
from batchvid.views.beat import Beat
from batchvid.views.panel import FINE, PLAIN, panel
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


class LiveView:
    """Draws on *console*, which should be of stderr, so that stdout stays for what was asked for.

    There is no thread behind it: it draws when `stats` is called, and at most four times a second.
    """

    def __init__(self, console: Console, *, manifest: str) -> None:
        self._console = console
        self._manifest = manifest
        self._beat = Beat(DRAW_EVERY_S)
        self._glyphs = FINE if console.encoding.startswith("utf") else PLAIN
        self._live: Live | None = None
        self._newest: Snapshot | None = None

    def event(self, job_id: str, event: Event, progress: Progress) -> None:
        """Show nothing by itself: the next picture tells it."""

    def stats(self, snapshot: Snapshot) -> None:
        """Draw the run as it stands."""
        self._newest = snapshot
        if self._beat.due(snapshot.elapsed_s):
            self._draw(snapshot)

    def note(self, text: str) -> None:
        """Print a line above the picture."""
        self._console.print(Text(clean(text, 1000)))

    def warn(self, text: str) -> None:
        """Print a line above the picture."""
        self.note(text)

    def summary(self, summary: Summary) -> None:
        """Draw the last picture and leave it there, with the summary below."""
        if self._newest is not None:
            self._draw(self._newest)
        self.close()
        self._console.print()
        for line in summary_lines(summary):
            self._console.print(Text(line), soft_wrap="batchvid " in line)  # a command is copied whole, so never cut
        finish(self._console)

    def close(self) -> None:
        """Show the cursor again, and give stderr back."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        finish(self._console)

    def _draw(self, snapshot: Snapshot) -> None:
        if isinstance(self._console.file, Unfailing) and not self._console.file.has_room():
            return  # nobody looks: a picture that waits is an old one when it is seen
        picture = panel(snapshot, self._manifest, width=self._console.width, glyphs=self._glyphs)
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                redirect_stdout=False,  # stdout may be a file that somebody wants as it is
                vertical_overflow="crop",
            )
            self._live.start()
        self._live.update(picture, refresh=True)


def finish(console: Console) -> None:
    """Send all that the console was given, waiting for its reader: when the work is done."""
    if isinstance(console.file, Unfailing):
        console.file.finish()
