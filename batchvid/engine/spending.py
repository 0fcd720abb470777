"""What a journal has spent beside the budgets of its manifest: that of all time, and that of this machine's day."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from batchvid.domain.results import Money
from batchvid.engine.budget import DayBudget
from batchvid.engine.local_day import day_around, moment_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.domain.limits import Limits
    from batchvid.journal.base import JournalReader


def money_of(journal: JournalReader | None, limits: Limits, *, wall: Callable[[], float] = time.time) -> Money:
    """Return what the journal's attempts come to beside the *limits*; no journal: nothing was ever paid."""
    money = Money() if journal is None else journal.money()
    money = replace(money, budget_micros=limits.budget_micros)
    if limits.budget_per_day_micros is None:
        return money
    today = 0 if journal is None else journal.counted_since(day_around(wall())[0])
    return replace(money, budget_per_day_micros=limits.budget_per_day_micros, today_micros=today)


def day_budget_of(journal: JournalReader, limits: Limits, *, wall: Callable[[], float]) -> DayBudget | None:
    """Return what a run may spend on a day, with what the journal says of today; ``None`` where nothing bounds it."""
    if limits.budget_per_day_micros is None:
        return None
    return DayBudget(
        limits.budget_per_day_micros,
        today_micros=journal.counted_since(day_around(wall())[0]),
        wall=wall,
        day_around=day_around,
        words=moment_words,
    )
