"""A run on a terminal: one picture that is redrawn in place, and the summary when it is over.

The picture is a snapshot, drawn for a terminal of a given size; it uses the height that there is. Several runs of a
call share it: what they come to together, a line for each, and what is under way in all of them.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from batchvid.cli.output import text
from batchvid.cli.output.advice import command, standing
from batchvid.cli.output.lines import away_text, is_slowed, remaining_words, slowed_text
from batchvid.cli.output.machines import FULL_PACE, machine_words, workers_words
from batchvid.cli.output.picture import Picture, finish
from batchvid.cli.output.summary import summary_lines
from batchvid.cli.streams import Interval, SafeStream
from batchvid.domain.frozen import frozen
from batchvid.domain.job import State
from batchvid.domain.machines import Standing
from batchvid.domain.records import DEFERRED, ORDER, standings
from batchvid.domain.text import clean
from batchvid.engine.observer import Observer
from batchvid.engine.stats import in_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

    from batchvid.domain.machines import Machines
    from batchvid.domain.results import Money, NeedsAttention, NewClip, Snapshot, Summary, UnderWay


WIDE_FROM = 120
"""From this width on two things stand beside each other: the limits in two columns, jobs under way and new clips."""
BETWEEN = 3
"""Columns."""
LANE_BAR = 12
LANES_FROM = 13
"""In fewer lines than these, the limits have no bars and share a line."""
SMALL_BELOW = 9
"""In fewer lines than these, the numbers have one, so that money and limits are seen."""
PEOPLE_SHOWN = 4
MACHINES_SHOWN = 4
SECTION_AT_LEAST = 2
"""A heading and one line."""
ID_SHOWN_MAX = 40
CLIPS_AT_THE_END = 4
"""Of the picture that stays: what stands above it is not to be pushed out of sight."""
CLOCK_FROM = 52
"""A line of a new clip that is narrower than this leaves the time of day out."""
MANIFEST_BAR = 10

STYLES: dict[str, str] = {
    State.DONE: "green",
    State.READY: "bright_cyan",
    State.RUNNING: "cyan",
    State.PENDING: "bright_black",
    DEFERRED: "yellow",
    State.FAILED: "red",
    State.IN_DOUBT: "magenta",
}


@frozen
class Glyphs:
    """The characters of the picture."""

    states: dict[str, str]
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
        DEFERRED: "-",
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
        DEFERRED: "-",
        State.FAILED: "x",
        State.IN_DOUBT: "?",
    },
    full="=",
    empty="-",
    dot="-",
    warning="!",
)
"""For terminals that know ASCII only."""


def panel(snapshot: Snapshot, manifest: str, *, width: int, height: int = 24, glyphs: Glyphs = FINE) -> RenderableType:
    """Return the picture of one run: no line is longer than *width*, and there are fewer lines than *height*."""
    return Group(*panel_lines(snapshot, manifest, width=width, height=height, glyphs=glyphs))


def panel_lines(
    snapshot: Snapshot,
    manifest: str,
    *,
    width: int,
    height: int,
    glyphs: Glyphs = FINE,
    runs: Sequence[tuple[str, Snapshot]] = (),
) -> list[Text]:
    """Return the picture's lines. What matters most stands first: what does not fit is left out from below.

    Of several *runs*, *snapshot* is what they come to together, and *manifest* what they are called together.
    """
    inner, room = max(1, width - 1), max(1, height - 1)  # a full last line, or column, would scroll
    name = Text(clean(manifest, 200), style="bold")
    if snapshot.sandbox:
        name = Text.assemble(("SANDBOX", "black on yellow"), " ", name)
    lines = [edges(name, times(snapshot, glyphs), inner), bar(snapshot, inner, glyphs)]
    told = list(counts(snapshot, inner, glyphs))
    lines += told if room >= SMALL_BELOW else told[:1]
    gap = [Text()] if room >= LANES_FROM else []
    rest = _rest(snapshot, manifest, inner, room - len(lines), gap=gap, glyphs=glyphs, runs=runs)
    has_bars = room - len(lines) - len(rest) >= LANES_FROM
    lines += [*gap, *(_limits(snapshot, inner, glyphs) if has_bars else _limits_told(snapshot, glyphs)), *rest]
    lines += _below(snapshot, inner, room - len(lines), gap)
    for line in lines:
        line.truncate(inner, overflow="ellipsis")
        line.no_wrap, line.overflow = True, "crop"
    return lines[:room]


def _rest(
    snapshot: Snapshot,
    manifest: str,
    width: int,
    room: int,
    *,
    gap: Sequence[Text],
    glyphs: Glyphs,
    runs: Sequence[tuple[str, Snapshot]],
) -> list[Text]:
    """Return what stands between the limits and the jobs under way: each run, and what a person should know."""
    lines: list[Text] = []
    if runs:
        lines += [*gap, *_runs(runs, width, max(1, room // 2), glyphs)]
    if told := list(notices(snapshot, glyphs)):
        lines += [*gap, *told]
    needing = [(of, job) for of, one in runs or [("", snapshot)] for job in one.needs_person]
    if needing:
        names = [of for of, one in runs if one.needs_person] or [manifest]
        shown = PEOPLE_SHOWN if room - len(lines) > PEOPLE_SHOWN * 2 else 1
        more = max(0, _needing(snapshot) - len(needing))
        lines += [*gap, *people(needing, names, width, shown=shown, more=more)]
    if snapshot.machines is not None:
        lines += [*gap, *machines(snapshot.machines, width, shown=1 if needing else MACHINES_SHOWN)]
    return lines


def _below(snapshot: Snapshot, width: int, room: int, gap: Sequence[Text]) -> list[Text]:
    """Return the jobs under way and the newest clips, in the lines that are left."""
    room -= len(gap)
    if width >= WIDE_FROM:
        left = (width - BETWEEN) * 3 // 5
        ones = list(_under_way(snapshot, left, room))
        others = list(_newest(snapshot, width - left - BETWEEN, room))
        if not ones and not others:
            return []
        if not ones or not others:
            return [*gap, *(_under_way(snapshot, width, room) if ones else _newest(snapshot, width, room))]
        return [*gap, *beside(ones, others, left)]
    wants = 1 + len(snapshot.newest) if snapshot.newest else 0
    for_clips = min(wants, max(room * 2 // 5, room - _lines_under_way(snapshot) - len(gap))) + len(gap)
    for_clips = for_clips if for_clips >= SECTION_AT_LEAST + len(gap) else 0
    ones = list(_under_way(snapshot, width, room - for_clips))
    others = list(_newest(snapshot, width, room - len(ones) - len(gap) * bool(ones)))
    found = [*gap, *ones] if ones else []
    return [*found, *gap, *others] if others else found


def beside(ones: Sequence[Text], others: Sequence[Text], left: int) -> Iterator[Text]:
    """Yield the lines of two columns, the first one *left* cells wide."""
    for place in range(max(len(ones), len(others))):
        one = ones[place] if place < len(ones) else Text()
        one.truncate(left, overflow="ellipsis", pad=True)
        other = others[place] if place < len(others) else Text()
        yield Text.assemble(one, " " * BETWEEN, other)


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
    """Return the time elapsed and the time that remains, if anybody can know it."""
    if not snapshot.active and not snapshot.elapsed_s:
        return Text("no run is active", style="dim")
    elapsed = f"{text.duration(snapshot.elapsed_s)} elapsed"
    left = remaining_words(snapshot)
    return Text(elapsed, style="dim") if left is None else Text.assemble((f"{elapsed} {glyphs.dot} ", "dim"), left)


def numbers(snapshot: Snapshot) -> dict[str, int]:
    """Return the jobs by what a person tells apart: a request under way is as good as running."""
    stand = standings(snapshot)
    found = {state: stand[state] for state in sorted(STYLES, key=ORDER.index)}
    found[State.RUNNING] += stand[State.SUBMITTING]
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
    line = Text()
    for state, number in numbers(snapshot).items():
        if not number:
            continue
        part = Text.assemble(
            (f"{glyphs.states[state]} ", STYLES[state]), (f"{number:,}", "bold"), f" {text.word(state)}"
        )
        if line and line.cell_len + 2 + part.cell_len > width:
            yield line
            line = Text()
        if line:
            line.append("  ")
        line.append(part)
    yield line


def _limits(snapshot: Snapshot, width: int, glyphs: Glyphs) -> list[Text]:
    """Return the money and what limits the run, with bars, in two columns where there is room."""
    found = list(_lanes(snapshot, glyphs))
    if width < WIDE_FROM:
        return found
    half = (len(found) + 1) // 2
    return list(beside(found[:half], found[half:], (width - BETWEEN) // 2))


def _limits_told(snapshot: Snapshot, glyphs: Glyphs) -> list[Text]:
    """Return the same in two lines."""
    return [Text(money_told(snapshot.money)), Text(limits_told(snapshot, glyphs), style="dim")]


def limits_told(snapshot: Snapshot, glyphs: Glyphs) -> str:
    """Return the limits and how much of them is used, in a few words: the one place for views without bars."""
    flying = f"{snapshot.in_flight:,} of {text.room(snapshot)} in flight"
    return f"{pace_told(snapshot)} {glyphs.dot} {flying}"


def pace_told(snapshot: Snapshot) -> str:
    """Return at which pace jobs are submitted, and the limit."""
    return f"{text.per_minute(snapshot.submits_per_min)}/min of {text.pace_limit(snapshot)}"


def _lanes(snapshot: Snapshot, glyphs: Glyphs) -> Iterator[Text]:
    money = snapshot.money
    told = money_told(money)
    yield lane("money", money.spent_micros + money.reserved_micros, money.budget_micros or 0, told, glyphs)
    limit = snapshot.submit_limit
    allowed = limit.count / limit.period_s * 60 if limit else 0.0
    yield lane("submits", snapshot.submits_per_min, allowed, pace_told(snapshot), glyphs)
    flying, flying_limit = snapshot.in_flight, snapshot.in_flight_limit
    yield lane("in flight", flying, flying_limit, f"{flying:,} of {text.room(snapshot)}", glyphs)
    loading, loading_limit = snapshot.downloading, snapshot.downloads_limit
    fetched = f"{loading} of {loading_limit} {glyphs.dot} {text.size(snapshot.downloaded_bytes)}"
    yield lane("downloads", loading, loading_limit, fetched, glyphs)


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


def _newest(snapshot: Snapshot, width: int, room: int) -> Iterator[Text]:
    """Yield a heading and the newest clips, at most *room* lines; nothing where that is too little."""
    clips = snapshot.newest[: max(0, room - 1)]
    if not clips:
        return
    has_clock = width >= CLOCK_FROM
    where = f" (times in {text.zone(clips[0].saved_at)})" if has_clock else ""
    yield Text.assemble(("newest clips", "bold"), (where, "dim"))
    yield from (_clip(clip, width, has_clock=has_clock) for clip in clips)


def _clip(clip: NewClip, width: int, *, has_clock: bool) -> Text:
    when = f"  {text.local_clock(clip.saved_at)}" if has_clock else ""
    right = Text(f"{text.size(clip.size_bytes):>8}{when}", style="dim")
    return edges(Text.assemble("  ", (clean(clip.path, 300), "green")), right, width)


def _lines_under_way(snapshot: Snapshot) -> int:
    """Return how many lines the jobs under way would fill."""
    return 1 + len(snapshot.under_way) if snapshot.under_way else 0


def _under_way(snapshot: Snapshot, width: int, room: int) -> Iterator[Text]:
    """Yield a heading and the jobs under way, at most *room* lines; nothing where that is too little."""
    stand = standings(snapshot)
    in_all = max(len(snapshot.under_way), sum(stand[state] for state in (State.RUNNING, State.SUBMITTING, State.READY)))
    if not snapshot.under_way or room < SECTION_AT_LEAST:
        return
    is_cut = in_all > room - 1
    shown = snapshot.under_way[: room - 1 - (is_cut and room > SECTION_AT_LEAST)]
    rest = in_all - len(shown)
    yield Text.assemble(("under way", "bold"), (", the oldest first" if rest else "", "dim"))
    ids = [text.job_name(job.job_id) for job in shown]
    name_width = min(max(Text(name).cell_len for name in ids), ID_SHOWN_MAX, max(8, width // 2))
    yield from (_job(job, name, name_width) for job, name in zip(shown, ids, strict=True))
    if rest and len(shown) < room - 1:
        yield Text(f"  and {rest:,} more", style="dim")


def _job(job: UnderWay, name: str, name_width: int) -> Text:
    shown = Text(name, style="bold" if job.state is State.READY else "")
    shown.truncate(name_width, overflow="ellipsis", pad=True)
    age = "" if job.age_s is None else text.duration(job.age_s)
    share = "" if job.progress_percent is None else f"{job.progress_percent:.0f} %"
    match job.state:
        case State.SUBMITTING:
            share, word = "", "is being sent"
        case State.READY:
            share, word = "", "its clip is fetched" + (f" again: {clean(job.status, 100)}" if job.status else "")
        case _:
            word = clean(job.status, 100) or "running"
    return Text.assemble("  ", shown, (f"  {age:>11}  {share:>5}  ", "dim"), (word, STYLES.get(job.state, "")))


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
    if snapshot.away_s is not None:
        yield Text(f"{glyphs.warning} {away_text(snapshot)}", style="yellow")
        if snapshot.slowed_to < FULL_PACE:
            yield Text(f"{glyphs.warning} slowed to {max(1, round(snapshot.slowed_to * 100))} %", style="yellow")
    elif is_slowed(snapshot):
        yield Text(f"{glyphs.warning} slowed {slowed_text(snapshot)}", style="yellow")
    if snapshot.stopping:
        yield Text(f"{glyphs.warning} no more submits: {text.why(snapshot.stopping)}", style="yellow")


def _needing(snapshot: Snapshot) -> int:
    """Count the jobs that need attention."""
    return sum(snapshot.counts.get(state, 0) for state in (State.FAILED, State.IN_DOUBT)) + snapshot.parked


def people(
    jobs: Sequence[tuple[str, NeedsAttention]], manifests: Sequence[str], width: int, *, shown: int, more: int
) -> Iterator[Text]:
    """Yield the jobs that need attention, the first line a heading; a few of many, and of *more* that are not told.

    Each stands with its manifest, where that has to be said.
    """
    yield edges(Text("needs attention", style="bold yellow"), Text(command("status", *manifests), style="dim"), width)
    for of, job in jobs[:shown]:
        style = STYLES.get(DEFERRED if standing(job.state) == "deferred" else job.state, "yellow")
        line = Text.assemble(
            (f"  {standing(job.state):<8}  ", style),
            f"{clean(of, 60)}: " if of else "",
            (text.job_name(job.job_id), "bold"),
            f"  {text.why(job.reason)}",
        )
        line.truncate(width, overflow="ellipsis")
        yield line
    more += len(jobs[shown:])
    if more > 0:
        yield Text(f"  and {more:,} more", style="dim")


def panels(
    parts: Sequence[tuple[str, Snapshot | None]], *, width: int, height: int, glyphs: Glyphs = FINE
) -> list[Text]:
    """Return the picture of the runs of these manifests; a snapshot of ``None`` has nothing to show yet."""
    begun = [(name, snapshot) for name, snapshot in parts if snapshot is not None]
    if len(parts) == 1 and begun:
        return panel_lines(begun[0][1], begun[0][0], width=width, height=height, glyphs=glyphs)
    if not begun:
        return []
    total = in_all([snapshot for _, snapshot in begun])
    waiting = len(parts) - len(begun)
    name = text.count(len(parts), "manifest") + (f", {waiting:,} not begun" if waiting else "")
    return panel_lines(total, name, width=width, height=height, glyphs=glyphs, runs=begun)


def _runs(runs: Sequence[tuple[str, Snapshot]], width: int, room: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield a line for each of several runs, those at work first; at most *room* lines, the last of which counts."""
    ranked = sorted(runs, key=lambda run: not run[1].active)
    shown = ranked if len(ranked) <= room else ranked[: max(0, room - 1)]
    name_width = min(max(Text(clean(name, 200)).cell_len for name, _ in runs), max(8, width // 3))
    for name, snapshot in shown:
        yield _run(name, snapshot, name_width, glyphs, has_bar=width >= WIDE_FROM)
    if len(runs) > len(shown):
        yield Text(f"and {text.count(len(runs) - len(shown), 'more manifest')}", style="dim")


def _run(name: str, snapshot: Snapshot, name_width: int, glyphs: Glyphs, *, has_bar: bool) -> Text:
    """Return a run's line: name, share, clips, money, and what a person should know of it."""
    shown = Text(clean(name, 200), style="bold" if snapshot.active else "")
    shown.truncate(name_width, overflow="ellipsis", pad=True)
    found = numbers(snapshot)
    total, done = sum(found.values()), found[State.DONE]
    full = MANIFEST_BAR * done // total if total else 0
    line = shown
    if has_bar:
        line.append("  ")
        line.append(glyphs.full * full, style="green")
        line.append(glyphs.empty * (MANIFEST_BAR - full), style="bright_black")
    line.append(f"  {done:,} of {total:,}  {money_told(snapshot.money)}", style="not bold")
    if needing := _needing(snapshot):
        line.append(f"  {needing:,} need{'s' if needing == 1 else ''} attention", style="yellow")
    if snapshot.stopping and snapshot.active:
        line.append(f"  {glyphs.warning} {text.why(snapshot.stopping)}", style="yellow")
    return line


DRAW_EVERY_S = 0.25
"""Four pictures a second are as many as anybody can read."""


class Screen:
    """The terminal that the views of one call draw on, each its part of one picture.

    There is no thread behind it: it draws when a run tells how it stands, at most four times a second, and when the
    terminal has got another size.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._glyphs = FINE if console.encoding.startswith("utf") else PLAIN
        self._picture = Picture(console)
        self._parts: list[LiveView] = []
        self._is_drawn = False
        self._is_busy = False
        self._has_new_size = False
        self._before: Any = None
        """What a change of the size led to before."""

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
        if not self._is_drawn:
            self._is_drawn = True
            self._watch_size()
        parts = [(one.manifest, one.newest) for one in self._parts]
        with self._writing():
            width, height = self.console.size
            self._picture.draw(panels(parts, width=width, height=height, glyphs=self._glyphs))

    def print(self, line: Text, *, is_command: bool = False) -> None:
        """Print a line above the picture; a command is copied whole, so it is never cut."""
        with self._writing():
            self.console.print(line, soft_wrap=is_command)

    def close(self) -> None:
        """Show the cursor again and restore stderr, when no part of the picture is at work any more."""
        if not any(one.is_open for one in self._parts):
            self._watch_size(over=True)
            self._picture.close()
            finish(self.console)

    def _watch_size(self, *, over: bool = False) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may; the next picture has the new size all the same
        if not over:
            self._before = signal.signal(signal.SIGWINCH, self._resized)
        elif self._before is not None:
            before, self._before = self._before, None
            signal.signal(signal.SIGWINCH, before)

    def _resized(self, *_: object) -> None:
        self._has_new_size = self._is_busy  # then what is being written ends first
        if not self._is_busy:
            self.draw()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False
        if self._has_new_size:
            self._has_new_size = False
            self.draw()


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
        """Print a line above the picture, which says of several runs whose it is."""
        label = f"{clean(self.manifest, 200)}: " if self._screen.is_shared else ""
        self._screen.print(Text(f"{label}{clean(text, 1000)}"))

    def warn(self, text: str) -> None:
        """Print a line above the picture."""
        self.note(text)

    def summary(self, summary: Summary) -> None:
        """Draw the last picture and leave it there, with the summary below; other runs are drawn on below that."""
        if self.newest is not None:
            # What slowed it is past, and its end is known.
            self.newest = replace(
                self.newest,
                active=False,
                eta_s=None,
                slowed_to=1.0,
                paused_s=0.0,
                away_s=None,
                stopping=summary.stopped,
                needs_person=(),  # the summary has them, with what to do
                under_way=(),
                newest=self.newest.newest[:CLIPS_AT_THE_END],
            )
            self._screen.draw()
        self.is_open = False
        self._screen.close()
        self._print(summary)

    def close(self) -> None:
        """Restore the terminal, when no other run of the call is drawn any more."""
        self.is_open = False
        self._screen.close()

    def _print(self, summary: Summary) -> None:
        screen = self._screen
        screen.print(Text())
        if screen.is_shared:
            screen.print(Text(clean(self.manifest, 4096), style="bold"))
        for line in summary_lines(summary):
            screen.print(Text(line), is_command="batchvid " in line)
        finish(screen.console)
