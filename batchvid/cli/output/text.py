"""Numbers as people read them: money, costs, durations, bytes, rates, times of day."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batchvid.domain.records import DEFERRED, ORDER
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchvid.domain.limits import Rate
    from batchvid.domain.plan import Cost
    from batchvid.domain.results import Snapshot


ID_SHOWN = 100
"""The longest id that a manifest may hold."""
REASON_SHOWN = 300
SECOND = 2
MINUTE_S, SECONDS_BELOW_S = 60, 600
THREE_DIGITS_BELOW = 999.5
"""What rounds to three digits."""
TENTHS_BELOW = 9.95
"""Below this a number is shown with one decimal; from here on it would be three digits of noise."""


def money(micros: int) -> str:
    """Return ``$12.40``: at least two decimals, and up to four when the amount needs them (``$0.0625``)."""
    hundredths = (abs(micros) + 50) // 100  # of a cent
    whole, decimals = divmod(hundredths, 10_000)
    shown = f"{decimals:04d}".rstrip("0").ljust(2, "0")
    sign = "-" if micros < 0 and hundredths else ""
    return f"{sign}${whole:,}.{shown}"


def duration(seconds: float) -> str:
    """Return ``43 s``, ``12 min``, ``1 h 12 min`` or ``2 d 3 h``: two units at most, no zero unit.

    Below ten minutes the seconds are kept (``2 min 5 s``). What is no finite number is ``unknown``.
    """
    if not math.isfinite(seconds):
        return "unknown"
    total_s = max(0, round(seconds))
    if total_s < MINUTE_S:
        return f"{total_s} s"
    if total_s < SECONDS_BELOW_S:
        return _two(total_s, (60, "min"), (1, "s"))
    total_min = round(total_s / 60)
    if total_min < 24 * 60:
        return _two(total_min, (60, "h"), (1, "min"))
    return _two(round(total_min / 60), (24, "d"), (1, "h"))


def _two(amount: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    many, rest = divmod(amount, large[0])
    parts = [(many, large[1]), (rest, small[1])]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def size(count_bytes: int) -> str:
    """Return ``812 B``, ``1.4 GB``: powers of a thousand, as disks are sold."""
    amount = float(count_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < THREE_DIGITS_BELOW:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def rate(allowed: Rate | None) -> str:
    """Return a limit as the manifest writes it, ``10/min``; or ``unlimited``."""
    if allowed is None:
        return "unlimited"
    units = {1.0: "s", 60.0: "min", 3600.0: "h"}
    if allowed.period_s in units:
        return f"{allowed.count:g}/{units[allowed.period_s]}"
    return f"{allowed.count / allowed.period_s * 60:.3g}/min"


def pace_limit(snapshot: Snapshot) -> str:
    """Return the rate of paid requests that is allowed now, and whether it is found out: ``28/min (auto)``."""
    return rate(snapshot.submit_limit) + _auto("submits", snapshot)


def room(snapshot: Snapshot) -> str:
    """Return how many tasks may be in flight now, and whether that is found out: ``11 (auto)``."""
    return f"{snapshot.in_flight_limit:,}" + _auto("in_flight", snapshot)


def _auto(name: str, snapshot: Snapshot) -> str:
    return " (auto)" if name in snapshot.found_out else ""


def per_minute(number: float) -> str:
    """Return a measured pace: ``9.6``, ``120``."""
    return f"{number:.1f}" if number < TENTHS_BELOW else f"{number:.0f}"


def count(number: int, noun: str) -> str:
    """Return ``1 job``, ``2 jobs``, ``12,000 jobs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(parts: Sequence[str]) -> str:
    """Return ``one``, ``one and two``, ``one, two and three``."""
    return " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), *parts[-1:]])


def clock(at: float) -> str:
    """Return the time of day of *at* (UTC epoch seconds) as ``HH:MM:SSZ``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")


def local_clock(at: float) -> str:
    """Return the time of day of *at* (UTC epoch seconds) here, as ``HH:MM:SS``; `zone` names where that is."""
    return _local(at).strftime("%H:%M:%S")


def local_moment(at: float | None) -> str:
    """Return *at* (UTC epoch seconds) here, as ``2026-03-12 10:00:29``; ``time unknown`` for ``None``."""
    return "time unknown" if at is None else _local(at).strftime("%Y-%m-%d %H:%M:%S")


def zone(at: float) -> str:
    """Return the name of the local zone at that moment: ``CET``, or ``UTC+07:00`` where it has no letters."""
    local = _local(at)
    name = local.strftime("%Z")
    return name if name.isalpha() else f"UTC{local.isoformat()[-6:]}"


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()


def at_most(seconds: float) -> str:
    """Return ``up to 4 min``: rounded up, so that it is no promise that is broken, and does not tick."""
    step_s = MINUTE_S if seconds > MINUTE_S else 10
    return f"up to {duration(math.ceil(max(seconds, 1.0) / step_s) * step_s)}"


def state_counts(counts: Mapping[str, int]) -> str:
    """Return ``12 done, 3 running``, leaving out what is 0."""
    return ", ".join(f"{counts[state]:,} {word(state)}" for state in sorted(counts, key=ORDER.index) if counts[state])


def word(state: str) -> str:
    """Return a state's or action's name as a person says it: ``in doubt``."""
    return "deferred" if state == DEFERRED else state.replace("_", " ")


def job_name(job_id: str) -> str:
    """Return a job's id, harmless to show."""
    return clean(job_id, ID_SHOWN)


def why(reason: str | None) -> str:
    """Return a reason, harmless to show."""
    return clean(reason or "", REASON_SHOWN) or "no reason given"


def cost_words(cost: Cost) -> str:
    """Return ``$1.20, at most $2.40 with second attempts``; the most is not told where a price is unknown."""
    if cost.jobs and cost.unpriced == cost.jobs:
        return "an unknown price"
    known = money(cost.price_micros)
    if cost.unpriced:
        return f"{known} and {count(cost.unpriced, 'unknown price')}"
    if cost.at_most_micros is None:  # the price of a task that is under way, should it be bought again
        return known
    most = money(cost.at_most_micros)
    if cost.is_cut and not cost.at_most_micros:
        return f"{known}, of which nothing may be spent"
    if cost.is_cut:
        return f"{known}, at most {most} by what may be spent"
    return f"{known} at most" if cost.at_most_micros == cost.price_micros else f"{known}, at most {most} {_with(cost)}"


def more_words(cost: Cost) -> str:
    """Return what tasks that are under way may still cost, where nothing else is bought."""
    if cost.jobs or not cost.at_most_micros:
        return ""
    return f", at most {money(cost.at_most_micros)} more {_with(cost)}"


def _with(cost: Cost) -> str:
    return "with further attempts" if cost.attempts > SECOND else "with second attempts"
