"""A run on a terminal: one picture that is redrawn in place, and the summary when it is over.

The picture is a snapshot, drawn for a terminal of a given width. Several runs of a call share it: a few lines each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from batchvid.cli.output import text
from batchvid.cli.output.advice import command, standing
from batchvid.cli.output.lines import is_slowed, slowed_text
from batchvid.cli.output.machines import machine_words, workers_words
from batchvid.cli.output.summary import summary_lines
from batchvid.cli.streams import Interval, SafeStream
from batchvid.domain.job import State
from batchvid.domain.machines import Standing
from batchvid.domain.records import ORDER
from batchvid.domain.text import clean
from batchvid.engine.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from batchvid.domain.machines import Machines
    from batchvid.domain.results import Money, Snapshot, Summary


WIDE_FROM = 100
"""From this width on the newest clips stand beside the lanes, below it under them."""
LANE_BAR = 12
LANES_WIDE = 60
CLOCK_FROM = 52
"""A line of a new clip that is narrower than this leaves the time of day out."""
CLIPS_NARROW = 3
CLIPS_WIDE = 4
"""As many as there are lanes beside them."""
PEOPLE_SHOWN = 4
MACHINES_SHOWN = 4

STYLES = {
    State.DONE: "green",
    State.READY: "bright_cyan",
    State.RUNNING: "cyan",
    State.PENDING: "bright_black",
    State.FAILED: "red",
    State.IN_DOUBT: "magenta",
}


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of the picture."""

    states: dict[State, str]
    full: str
    empty: str
    dot: str
    warning: str


FINE = Glyphs(
    states={
        State.DONE: "█",
        State.READY: "▓",
        State.RUNNING: "▒",
        State.PENDING: "░",
        State.FAILED: "x",
        State.IN_DOUBT: "?",
    },
    full="━",
    empty="─",
    dot="·",
    warning="▲",
)
PLAIN = Glyphs(
    states={
        State.DONE: "#",
        State.READY: "=",
        State.RUNNING: ">",
        State.PENDING: ".",
        State.FAILED: "x",
        State.IN_DOUBT: "?",
    },
    full="=",
    empty="-",
    dot="-",
    warning="!",
)
"""For terminals that know ASCII only."""


def panel(snapshot: Snapshot, manifest: str, *, width: int, glyphs: Glyphs = FINE) -> RenderableType:
    """Return the picture: no line is longer than *width*, and at 80 columns it fits 24 lines."""
    inner = width - 2
    wide = width >= WIDE_FROM
    lanes = Group(*_lanes(snapshot, glyphs))
    newest = Group(*_newest(snapshot, inner - LANES_WIDE - 2 if wide else inner, CLIPS_WIDE if wide else CLIPS_NARROW))
    blocks: list[RenderableType] = [
        edges(Text(clean(manifest, 200), style="bold"), times(snapshot, glyphs), inner),
        bar(snapshot, inner, glyphs),
        *counts(snapshot, inner, glyphs),
        Text(),
    ]
    if wide and snapshot.newest:
        beside = Table.grid(padding=(0, 2, 0, 0))
        beside.add_column(width=LANES_WIDE, no_wrap=True)
        beside.add_column(no_wrap=True)
        beside.add_row(lanes, newest)
        blocks.append(beside)
    else:
        blocks.append(lanes)
        if snapshot.newest:
            blocks += [Text(), newest]
    if snapshot.machines is not None:
        blocks += [Text(), *machines(snapshot.machines, inner, shown=1 if snapshot.needs_person else MACHINES_SHOWN)]
    told = list(notices(snapshot, glyphs))
    if told:
        blocks += [Text(), *told]
    if snapshot.needs_person:
        blocks += [Text(), *people(snapshot, manifest, inner)]
    frame = Table.grid(padding=(0, 1, 0, 1))
    frame.add_column(width=inner, no_wrap=True, overflow="ellipsis")
    for block in blocks:
        frame.add_row(block)
    return frame


def shares(numbers: Sequence[int], cells: int) -> list[int]:
    """Divide *cells* by *numbers*: nothing that is there vanishes while there is room, and the sum is exact."""
    total = sum(numbers)
    if total == 0 or cells <= 0:
        return [0] * len(numbers)
    found = [max(number * cells // total, 1 if number else 0) for number in numbers]
    order = sorted(range(len(numbers)), key=lambda index: numbers[index], reverse=True)
    spare = cells - sum(found)
    for index in order * (abs(spare) + 1):
        if spare > 0 and numbers[index]:
            found[index] += 1
            spare -= 1
        elif spare < 0 and found[index] > 1:
            found[index] -= 1
            spare += 1
    while sum(found) > cells:  # more kinds than cells: the smallest ones give way
        found[next(index for index in reversed(order) if found[index])] -= 1
    return found


def edges(left: Text, right: Text, width: int) -> Text:
    """Put *left* and *right* at the two ends of a line, *left* cut when there is no room."""
    left.truncate(max(0, width - right.cell_len - 2), overflow="ellipsis")
    gap = max(1, width - left.cell_len - right.cell_len)
    return Text.assemble(left, " " * gap, right)


def times(snapshot: Snapshot, glyphs: Glyphs) -> Text:
    """Return the time elapsed and the time that remains."""
    if not snapshot.active:
        return Text("no run is active", style="dim")
    elapsed = f"{text.duration(snapshot.elapsed_s)} elapsed"
    if snapshot.eta_s is None:
        return Text(elapsed, style="dim")
    return Text.assemble((f"{elapsed} {glyphs.dot} ", "dim"), f"about {text.duration(snapshot.eta_s)} remaining")


def numbers(snapshot: Snapshot) -> dict[State, int]:
    """Return the jobs by what a person tells apart: a request under way is as good as running."""
    found = {state: snapshot.counts.get(state, 0) for state in sorted(STYLES, key=ORDER.index)}
    found[State.RUNNING] += snapshot.counts.get(State.SUBMITTING, 0)
    return found


def bar(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Text:
    """Draw the jobs by state, and the share that is done."""
    found = numbers(snapshot)
    total = sum(found.values())
    share = f"{found[State.DONE] * 100 // total if total else 0:>3} %"
    cells = shares(list(found.values()), width - len(share) - 1)
    bar = Text()
    for state, many in zip(found, cells, strict=True):
        bar.append(glyphs.states[state] * many, style=STYLES[state])
    bar.append(f" {share}", style="bold")
    return bar


def counts(snapshot: Snapshot, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the numbers, on as many lines as they need."""
    parts = [
        Text.assemble((f"{glyphs.states[state]} ", STYLES[state]), (f"{number:,}", "bold"), f" {text.word(state)}")
        for state, number in numbers(snapshot).items()
        if number
    ]
    if snapshot.parked:
        parts.append(Text(f"({snapshot.parked:,} deferred)", style="yellow"))
    line = Text()
    for part in parts:
        if line and line.cell_len + 2 + part.cell_len > width:
            yield line
            line = Text()
        if line:
            line.append("  ")
        line.append(part)
    yield line


def _lanes(snapshot: Snapshot, glyphs: Glyphs) -> Iterator[Text]:
    limit = snapshot.submit_limit
    allowed = limit.count / limit.period_s * 60 if limit else 0.0
    pace = snapshot.submits_per_min
    yield lane("submits", pace, allowed, f"{text.per_minute(pace)}/min of {text.pace_limit(snapshot)}", glyphs)
    flying, flying_limit = snapshot.in_flight, snapshot.in_flight_limit
    yield lane("in flight", flying, flying_limit, f"{flying:,} of {text.room(snapshot)}", glyphs)
    loading, loading_limit = snapshot.downloading, snapshot.downloads_limit
    fetched = f"{loading} of {loading_limit} {glyphs.dot} {text.size(snapshot.downloaded_bytes)}"
    yield lane("downloads", loading, loading_limit, fetched, glyphs)
    money = snapshot.money
    told = money_told(money)
    yield lane("money", money.spent_micros + money.reserved_micros, money.budget_micros or 0, told, glyphs)


def money_told(money: Money) -> str:
    """Return what is spent and reserved, against the budget."""
    told = f"{text.money(money.spent_micros)}{'' if money.budget_micros is not None else ' spent'}"
    if money.reserved_micros:
        told += f" + {text.money(money.reserved_micros)} reserved"
    if money.budget_micros is not None:
        told += f" of {text.money(money.budget_micros)}"
    if money.unpriced_attempts:
        told += f" + {money.unpriced_attempts:,} unpriced"
    return told


def lane(name: str, used: float, limit: float, told: str, glyphs: Glyphs) -> Text:
    """Draw how much of a limit is used; without a limit there is nothing to fill."""
    line = Text(f"{name:<10} ", style="dim")
    full = min(LANE_BAR, round(LANE_BAR * used / limit)) if limit > 0 else 0
    line.append(glyphs.full * full, style="cyan")
    line.append((glyphs.empty if limit > 0 else " ") * (LANE_BAR - full), style="bright_black")
    line.append(f"  {told}", style="not dim")
    return line


def _newest(snapshot: Snapshot, width: int, shown: int) -> Iterator[Text]:
    for position, clip in enumerate(snapshot.newest[:shown]):
        head = "newest  " if position == 0 else "        "
        when = f"  {text.clock(clip.saved_at)}" if width >= CLOCK_FROM else ""
        right = Text(f"{text.size(clip.size_bytes):>8}{when}", style="dim")
        left = Text.assemble((head, "dim"), (clean(clip.path, 300), "green"))
        yield edges(left, right, width)


def machines(found: Machines, width: int, *, shown: int) -> Iterator[Text]:
    """Yield the workers and their slices, those first that are not heard of; a few of many."""
    line = Text.assemble(("machines   ", "dim"), workers_words(found))
    line.truncate(width, overflow="ellipsis")
    yield line
    here = [one for one in found.workers if one.standing is not Standing.LEFT]
    here.sort(key=lambda one: one.standing is Standing.ALIVE)
    for one in here[:shown]:
        style = "yellow" if one.standing is Standing.SILENT else "dim"
        line = Text.assemble("  ", clean(one.name, 60), (f"  {machine_words(one)}", style))
        line.truncate(width, overflow="ellipsis")
        yield line
    if len(here) > shown:
        yield Text(f"  and {text.count(len(here) - shown, 'more worker')}", style="dim")


def notices(snapshot: Snapshot, glyphs: Glyphs) -> Iterator[Text]:
    """Yield what slows the run, or keeps it from submitting."""
    if is_slowed(snapshot):
        yield Text(f"{glyphs.warning} slowed {slowed_text(snapshot)}", style="yellow")
    if snapshot.stopping:
        yield Text(f"{glyphs.warning} no more submits: {text.why(snapshot.stopping)}", style="yellow")


def people(snapshot: Snapshot, manifest: str, width: int) -> Iterator[Text]:
    """Yield the jobs that need attention, the first line a heading; a few of many."""
    shown = snapshot.needs_person[:PEOPLE_SHOWN]
    found = sum(snapshot.counts.get(state, 0) for state in (State.FAILED, State.IN_DOUBT)) + snapshot.parked
    more = max(found, len(snapshot.needs_person)) - len(shown)
    where = command("status", manifest)
    yield edges(Text("needs attention", style="bold yellow"), Text(where, style="dim"), width)
    for job in shown:
        line = Text.assemble(
            (f"  {standing(job.state):<8}  ", STYLES.get(job.state, "yellow")),
            (text.job_name(job.job_id), "bold"),
            f"  {text.why(job.reason)}",
        )
        line.truncate(width, overflow="ellipsis")
        yield line
    if more > 0:
        yield Text(f"  and {more:,} more", style="dim")


LINES_OF_A_RUN = 6
"""With the empty line below it."""
LINES_BESIDE = 4
"""Of the terminal, for the cursor and for what is said of all runs."""


def panels(
    parts: Sequence[tuple[str, Snapshot | None]], *, width: int, height: int, glyphs: Glyphs = FINE
) -> RenderableType:
    """Return the picture of the runs of these manifests; a snapshot of ``None`` has nothing to show yet.

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
    flying = f"{snapshot.in_flight:,} of {text.room(snapshot)} in flight"
    pace = f"{text.per_minute(snapshot.submits_per_min)}/min of {text.pace_limit(snapshot)}"
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


DRAW_EVERY_S = 0.25
"""Four pictures a second are as many as anybody can read."""


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
        """Add *part* to the picture, below the others."""
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
        if isinstance(self.console.file, SafeStream) and not self.console.file.has_room():
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
        """Show the cursor again and restore stderr, when no part of the picture is at work any more."""
        if not any(one.is_open for one in self._parts):
            live, self._live = self._live, None
            if live is not None:
                live.stop()
            finish(self.console)


class LiveView(Observer):
    """One run's part of the picture on *screen*; what happens to single jobs, the next picture tells."""

    def __init__(self, screen: Screen, *, manifest: str, every_s: float = DRAW_EVERY_S) -> None:
        self.manifest = manifest
        self.newest: Snapshot | None = None
        self.is_open = True
        self._screen = screen
        screen.add(self)
        self._every_s = every_s
        self._interval: Interval | None = None

    def stats(self, snapshot: Snapshot) -> None:
        """Draw the run as it stands."""
        self.newest = snapshot
        self._interval = self._interval or Interval(self._every_s * self._screen.runs)
        if self._interval.due(snapshot.elapsed_s):
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
        """Restore the terminal, when no other run of the call is drawn any more."""
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
    if isinstance(console.file, SafeStream):
        console.file.finish()
