"""What an attempt costs, as far as the manifest says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from batchvid.domain.limits import MICROS
from batchvid.manifest.units import money_micros, shown, written

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_SECONDS = "8"
"""The clip length of the service's first contract, where ``seconds`` is never sent."""
ANY_SIZE = "*"
MAX_CLIP_MICROS = 1_000_000 * MICROS
"""A slip of the finger; and the clips of the largest manifest together stay inside 64 bits."""


@dataclass(frozen=True, slots=True)
class Price:
    """So much a clip, or so much a second of it."""

    micros: int
    per_second: bool = False

    def of_clip(self, seconds: str | None) -> int:
        """Return the price of one clip in millionths, rounded up.

        Raises `ValueError` when the price is per second and *seconds* is no number, or the clip costs absurdly much.
        """
        if not self.per_second:
            return self.micros
        length = seconds if seconds is not None else DEFAULT_SECONDS
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", length, re.ASCII):
            raise ValueError(f"{shown(length)} is no number of seconds, and the price is per second")
        return _bounded(int((self.micros * Decimal(length)).to_integral_value(ROUND_CEILING)))


def _bounded(micros: int) -> int:
    if micros > MAX_CLIP_MICROS:
        raise ValueError(f"a clip would cost {micros // MICROS:,}, and at most {MAX_CLIP_MICROS // MICROS:,} is taken")
    return micros


def price(value: object) -> Price:
    """Return the price of ``0.40`` (a clip) or ``0.40/s`` (a second); raises `ValueError`."""
    amount, slash, unit = written(value).partition("/")
    if slash and unit.strip() != "s":
        raise ValueError(f"{shown(written(value))} is not a price: write such as 0.40 (a clip) or 0.40/s (a second)")
    return Price(_bounded(money_micros(amount)), per_second=bool(slash))


@dataclass(frozen=True, slots=True)
class Prices:
    """The manifest's ``prices``: by model, then by size, where ``*`` is any size."""

    table: Mapping[str, Mapping[str, Price]]
    required: bool
    """Whether every job needs one: there is a budget to keep."""

    def find(self, model: str, size: str | None) -> Price | None:
        """Return the price of *model* at *size*: of exactly that size, else of any; ``None`` when unknown."""
        by_size = self.table.get(model, {})
        return by_size.get(size or ANY_SIZE) or by_size.get(ANY_SIZE)
