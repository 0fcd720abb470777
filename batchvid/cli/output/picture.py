"""Lines that are drawn in place on a terminal, each picture over the one before; what is printed goes above them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console, RenderHook
from rich.file_proxy import FileProxy
from rich.segment import ControlType, Segment

from batchvid.cli.streams import SafeStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import ConsoleOptions, ConsoleRenderable, RenderResult
    from rich.text import Text


REST_OF_LINE, REST_OF_SCREEN = "\x1b[K", "\x1b[J"
"""What erases them."""


def console_on(stream: TextIO | None, *, width: int | None = None, force_terminal: bool | None = None) -> Console:
    """Return a console on *stream* that never raises when the stream is closed or full, and heeds ``NO_COLOR``.

    Rich's own answer to a closed pipe is to end the process.
    """
    return Console(
        file=cast("TextIO", SafeStream(stream)),
        width=width,
        force_terminal=force_terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )


def finish(console: Console) -> None:
    """Send all that the console was given, waiting for its reader: when the work is done."""
    if isinstance(console.file, SafeStream):
        console.file.finish()


class _Raw:
    """Control characters, which take no room."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._text, None, [(ControlType.BELL,)])  # any control: such a text is written as it is


class _Lines:
    """The picture itself: each line ends what was drawn there before, and the last one what was drawn below."""

    def __init__(self, lines: Sequence[Text]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for place, line in enumerate(self._lines):
            if place:
                yield Segment.line()
            yield from (segment for segment in console.render(line, options) if segment.text != "\n")
            yield _Raw(REST_OF_LINE)
        yield _Raw(REST_OF_SCREEN)


class Picture(RenderHook):
    """The lowest lines of a terminal, and its cursor, from the first `draw` until `close`.

    Nothing of the old picture is left behind where the terminal has got another size: one that has become narrower
    has broken each line that is too long for it now.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: Sequence[Text] = ()
        self._is_open = False
        self._is_alone = False
        """Whether nothing is printed above the picture that is drawn just now."""
        self._stderr: TextIO | None = None
        self._height = 0
        self._above = 0
        """How many lines of old pictures the terminal has pushed out of sight, because it became lower."""

    def draw(self, lines: Sequence[Text]) -> None:
        """Draw these lines, none longer than the terminal is wide, in place of those before."""
        if not self._is_open:
            self._open()
        with self._alone():
            before, self._lines = self._lines, lines
            self._console.print(_Raw(self._back_over(before)), _Lines(lines), sep="", end="")

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put what is printed above the picture."""
        if self._is_alone or not self._is_open:
            return renderables
        above = _Raw(self._back_over(self._lines) + REST_OF_SCREEN)
        return [above, *renderables, _Lines(self._lines)]

    def close(self) -> None:
        """Leave the picture there, with the cursor below it."""
        if not self._is_open:
            return
        self._is_open = False
        self._console.pop_render_hook()
        if self._stderr is not None:
            sys.stderr, self._stderr = self._stderr, None
        self._console.print()
        self._console.show_cursor()
        self._lines = ()

    def _open(self) -> None:
        self._is_open, self._height, self._above = True, self._console.height, 0
        self._console.show_cursor(show=False)
        self._console.push_render_hook(self)
        if sys.stderr is not None and self._console.is_terminal:
            self._stderr, sys.stderr = sys.stderr, cast("TextIO", FileProxy(self._console, sys.stderr))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._is_alone = True
        try:
            yield
        finally:
            self._is_alone = False

    def _back_over(self, lines: Sequence[Text]) -> str:
        """Return what leads the cursor from the end of *lines* to their beginning, by the size that is now.

        A terminal that becomes lower pushes the first ones out of sight, and brings them back when it grows again.
        """
        width, height = self._console.size
        rows = sum(max(1, -(-line.cell_len // max(1, width))) for line in lines)
        back = max(0, min(self._above, height - self._height))
        self._above += max(0, rows - height) - back
        self._height = height
        return "\r" + (f"\x1b[{rows + back - 1}A" if rows + back > 1 else "")
