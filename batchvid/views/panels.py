"""The picture of several runs of one call: a few lines for each, and below them what their accounts share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from batchvid.core.text import clean
from batchvid.views import text
from batchvid.views.panel import FINE, Glyphs, bar, counts, edges, money_told, notices, panel, people, times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from batchvid.core.snapshot import Snapshot

LINES_OF_A_RUN = 6
"""With the empty line below it."""
LINES_BESIDE = 4
"""Of the terminal, for the cursor and for what is said of all runs."""


def panels(
    parts: Sequence[tuple[str, Snapshot | None]], *, width: int, height: int, glyphs: Glyphs = FINE
) -> RenderableType:
    """Give the picture of the runs of these manifests; of one whose snapshot is ``None`` there is nothing to show yet.

    No line is longer than *width*. What does not fit into *height* lines is counted, the runs that are over first.
    """
    if len(parts) == 1 and parts[0][1] is not None:
        return panel(parts[0][1], parts[0][0], width=width, glyphs=glyphs)
    begun = [(name, snapshot) for name, snapshot in parts if snapshot is not None]
    room = max(1, (height - LINES_BESIDE) // LINES_OF_A_RUN)
    shown = sorted(begun, key=lambda part: part[1].eta_s is None)[:room]
    lines: list[Text] = []
    for name, snapshot in begun:
        if (name, snapshot) in shown:
            lines += [*_run(name, snapshot, width - 2, glyphs), Text()]
    if len(parts) > len(shown):
        lines += [Text(f"and {text.count(len(parts) - len(shown), 'more manifest')}", style="dim")]
    frame = Table.grid(padding=(0, 1, 0, 1))
    frame.add_column(width=width - 2, no_wrap=True, overflow="ellipsis")
    frame.add_row(Group(*lines))
    return frame


def _run(name: str, snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield at most five lines: name and times, the bar, the jobs and the money, and what a person should know."""
    yield edges(Text(clean(name, 200), style="bold"), times(snapshot, glyphs), width)
    yield bar(snapshot, width, glyphs)
    flying = f"{snapshot.in_flight:,} of {snapshot.in_flight_limit:,} in flight"
    pace = f"{text.per_minute(snapshot.submits_per_min)}/min of {text.rate(snapshot.submit_limit)}"
    done = next(counts(snapshot, width, glyphs))
    money = Text(f"{pace} {glyphs.dot} {flying} {glyphs.dot} {money_told(snapshot.money)}", style="dim")
    if done.cell_len + money.cell_len + 2 <= width:
        yield edges(done, money, width)
    else:
        yield done
    told = [*notices(snapshot, glyphs), *list(people(snapshot, name, width))[1:2]]
    for line in told[:2]:
        line.truncate(width, overflow="ellipsis")
        yield line
