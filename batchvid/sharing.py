"""What the runs of one account in one call use together: the pace, the room in flight, and what was learned of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchvid.core.account import AccountState
from batchvid.core.brakes import Throttle
from batchvid.edge.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchvid.core.settings import Limits, Rate
    from batchvid.runner import Runner


@dataclass(frozen=True, slots=True)
class Sharing:
    """One account, as all runs of a call that use it see it."""

    account: AccountState
    submit_pace: Pace
    request_pace: Pace
    runners: list[Runner] = field(default_factory=list)
    """Those at work."""

    @classmethod
    def among(cls, limits: Sequence[Limits]) -> Sharing:
        """Give what runs with these limits share: the strictest of each holds for all of them together."""
        common = replace(
            limits[0],
            submits=strictest(one.submits for one in limits),
            requests=strictest(one.requests for one in limits),
            in_flight=min(one.in_flight for one in limits),
        )
        account = AccountState(Throttle(), common if len(limits) > 1 else None)
        return cls(account, Pace(common.submits), Pace(common.requests))

    @contextmanager
    def joined(self, runner: Runner) -> Iterator[None]:
        """Count a run among those at work; when it leaves, the others may have its room."""
        self.account.courses.append(runner.course)
        self.runners.append(runner)
        try:
            yield
        finally:
            self.account.courses.remove(runner.course)
            self.runners.remove(runner)
            for other in self.runners:
                other.ring()


def strictest(rates: Iterable[Rate | None]) -> Rate | None:
    """Give the slowest rate; ``None`` is no limit."""
    return min((rate for rate in rates if rate is not None), key=lambda rate: rate.per_s, default=None)
