"""What was found out of an account's limits: kept for the next night, shown to people, and trusted less as it ages."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batchvid.domain.frozen import frozen
from batchvid.domain.limits import Limits, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping

FRESH_S, OLD_S, STALE_S = 2 * 86_400.0, 14 * 86_400.0, 90 * 86_400.0
"""What was learned last night is begun with as it is, after that more carefully, and what is older than a season is
forgotten."""
CAREFUL = {FRESH_S: 1.0, OLD_S: 0.8, STALE_S: 0.5}
FORM = 1
MOST = 1_000_000.0
NIGHT_S = 12 * 3600.0
"""What was learned so long after the last time was learned in another night."""


@frozen
class Found:
    """One limit: the most that was taken, and whether more was refused."""

    value: float
    is_met: bool
    """Whether the service has refused more than this; else it may well take more."""

    def __str__(self) -> str:
        """Return it for people: ``28``, or ``at least 28``."""
        return f"{'' if self.is_met else 'at least '}{self.value:g}"


@frozen
class Learned:
    """The limits of one account, as far as they were found out; ``None`` where nothing was."""

    per_minute: Found | None
    in_flight: Found | None
    at: float
    """When it was learned last (UTC epoch seconds)."""
    nights: int = 1
    """In how many nights."""

    def aged(self, at: float) -> Learned | None:
        """Return what to begin with at this moment: less than was learned, the older it is; ``None`` is nothing."""
        age_s = max(0.0, at - self.at)
        share = next((share for until_s, share in CAREFUL.items() if age_s <= until_s), None)
        if share is None:
            return None
        if share == 1.0:
            return self
        return replace(self, per_minute=_less(self.per_minute, share), in_flight=_less(self.in_flight, share))

    def after(self, before: Learned | None) -> Learned:
        """Return it with what was known *before* and not touched since, and the nights of both."""
        if before is None:
            return self
        return replace(
            self,
            per_minute=self.per_minute or before.per_minute,
            in_flight=self.in_flight or before.in_flight,
            nights=before.nights + (self.at - before.at >= NIGHT_S),
        )

    def __str__(self) -> str:
        """Return it for people: ``28/min, 11 in flight, on 2026-11-27, 3 nights``."""
        told = [] if self.per_minute is None else [f"{self.per_minute}/min"]
        told += [] if self.in_flight is None else [f"{self.in_flight} in flight"]
        on = datetime.fromtimestamp(self.at, UTC).date()
        return f"{', '.join(told)}, on {on}, {self.nights} night{'' if self.nights == 1 else 's'}"

    def plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "form": FORM,
            "submits_per_min": None if self.per_minute is None else self.per_minute.value,
            "submits_met": self.per_minute is not None and self.per_minute.is_met,
            "in_flight": None if self.in_flight is None else self.in_flight.value,
            "in_flight_met": self.in_flight is not None and self.in_flight.is_met,
            "at": self.at,
            "nights": self.nights,
        }


def expected(limits: Limits, known: Learned | None) -> Limits:
    """Return the limits with numbers to reckon with where they are found out: what is known, or else the defaults."""
    if not limits.is_auto:
        return limits
    usual = Limits()
    rate, room = (None, None) if known is None else (known.per_minute, known.in_flight)
    submits, in_flight = limits.submits, limits.in_flight
    if limits.auto_submits:
        submits = usual.submits if rate is None else Rate(rate.value, 60.0)
    if limits.auto_in_flight:
        in_flight = usual.in_flight if room is None else int(room.value)
    return replace(limits, submits=submits, in_flight=in_flight)


def expected_words(limits: Limits, known: Learned | None, at: float) -> str:
    """Return what a time is reckoned with where limits are found out, for people; empty where they are stated."""
    if not limits.is_auto:
        return ""
    if known is None or known.aged(at) is None:
        return "limits: auto, and nothing is learned yet; reckoned with the defaults"
    return f"limits: auto; learned: {known}"


def read(plain: Mapping[str, Any]) -> Learned | None:
    """Return what a `Learned.plain` tells; ``None`` for anything else: who knows nothing begins low."""
    if plain.get("form") != FORM:
        return None
    at, nights = _number(plain.get("at"), 4e11), _number(plain.get("nights"))
    rate, room = _number(plain.get("submits_per_min")), _number(plain.get("in_flight"))
    if at is None or nights is None or (rate is None and room is None):
        return None
    return Learned(
        None if rate is None else Found(max(1.0, float(int(rate))), plain.get("submits_met") is True),
        None if room is None else Found(max(1.0, float(int(room))), plain.get("in_flight_met") is True),
        at,
        max(1, int(nights)),
    )


def _number(value: Any, most: float = MOST) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) and 0 < value <= most else None


def _less(found: Found | None, share: float) -> Found | None:
    """Return a share of it; nobody knows any more whether the service refuses what is above that."""
    return None if found is None else Found(float(max(1, int(found.value * share))), is_met=False)
