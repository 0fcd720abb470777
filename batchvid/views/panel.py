"""The live view's picture: a snapshot drawn for a terminal of a given width; `batchvid.views.live` puts it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from batchvid.core.job import State
from batchvid.core.text import clean
from batchvid.views import text
from batchvid.views.advice import command, standing
from batchvid.views.lines import is_slowed, slowed_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from batchvid.core.snapshot import Money, Snapshot

WIDE_FROM = 100
"""From this width on the newest clips stand beside the lanes, below it under them."""
LANE_BAR = 12
LANES_WIDE = 56
CLOCK_FROM = 52
"""A line of a new clip that is narrower than this leaves the time of day out."""
CLIPS_NARROW = 3
CLIPS_WIDE = 4
"""As many as there are lanes beside them."""
PEOPLE_SHOWN = 4

STYLES = {
    State.DONE: "green",
    State.FAILED: "red",
    State.IN_DOUBT: "magenta",
    State.READY: "bright_cyan",
    State.RUNNING: "cyan",
    State.PENDING: "bright_black",
}
"""In the order in which the bar and the counts show them: what is settled grows from the left."""


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
    """Give the picture: no line is longer than *width*, and at 80 columns it fits 24 lines."""
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
    """Give the time gone and the time left."""
    if not snapshot.active:
        return Text("no run is active", style="dim")
    gone = f"{text.duration(snapshot.elapsed_s)} gone"
    if snapshot.eta_s is None:
        return Text(gone, style="dim")
    return Text.assemble((f"{gone} {glyphs.dot} ", "dim"), f"about {text.duration(snapshot.eta_s)} left")


def numbers(snapshot: Snapshot) -> dict[State, int]:
    """Give the jobs by what a person tells apart: a request under way is as good as running."""
    found = {state: snapshot.counts.get(state, 0) for state in STYLES}
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
        parts.append(Text(f"({snapshot.parked:,} parked)", style="yellow"))
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
    yield lane("submits", pace, allowed, f"{text.per_minute(pace)}/min of {text.rate(limit)}", glyphs)
    flying, flying_limit = snapshot.in_flight, snapshot.in_flight_limit
    yield lane("in flight", flying, flying_limit, f"{flying:,} of {flying_limit:,}", glyphs)
    loading, loading_limit = snapshot.downloading, snapshot.downloads_limit
    fetched = f"{loading} of {loading_limit} {glyphs.dot} {text.size(snapshot.downloaded_bytes)}"
    yield lane("downloads", loading, loading_limit, fetched, glyphs)
    money = snapshot.money
    told = money_told(money)
    yield lane("money", money.spent_micros + money.reserved_micros, money.budget_micros or 0, told, glyphs)


def money_told(money: Money) -> str:
    """Give what is spent and held, against the budget."""
    told = f"{text.money(money.spent_micros)}{'' if money.budget_micros is not None else ' spent'}"
    if money.reserved_micros:
        told += f" + {text.money(money.reserved_micros)} held"
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


def notices(snapshot: Snapshot, glyphs: Glyphs) -> Iterator[Text]:
    """Yield what slows the run, or keeps it from submitting."""
    if is_slowed(snapshot):
        yield Text(f"{glyphs.warning} slowed {slowed_text(snapshot)}", style="yellow")
    if snapshot.stopping:
        yield Text(f"{glyphs.warning} no more submits: {text.why(snapshot.stopping)}", style="yellow")


def people(snapshot: Snapshot, manifest: str, width: int) -> Iterator[Text]:
    """Yield the jobs that need a person, the first line a heading; a few of many."""
    shown = snapshot.needs_person[:PEOPLE_SHOWN]
    found = sum(snapshot.counts.get(state, 0) for state in (State.FAILED, State.IN_DOUBT)) + snapshot.parked
    more = max(found, len(snapshot.needs_person)) - len(shown)
    where = command("status", manifest)
    yield edges(Text("needs a person", style="bold yellow"), Text(where, style="dim"), width)
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
