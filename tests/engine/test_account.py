"""Who may have the next task in flight when several runs share one account."""

from __future__ import annotations

from dataclasses import dataclass

from batchvid.domain.limits import Limits
from batchvid.engine.account import SharedAccount
from batchvid.engine.throttle import Throttle


@dataclass(eq=False)
class Run:
    """A run in numbers."""

    in_flight: int = 0
    submitting: int = 0
    to_submit: int = 1
    eager: bool = True

    def is_eager(self, now: float) -> bool:  # noqa: ARG002 the account asks with a moment
        """Whether it would submit if it had room."""
        return self.eager

    def waits_for_room(self, now: float) -> bool:  # noqa: ARG002 as above
        """Whether a job of it would be submitted if there was room."""
        return self.to_submit > 0


def shared(in_flight: int, *runs: Run) -> SharedAccount:
    """Return an account with room for so many tasks, and these runs at work."""
    return SharedAccount(Throttle(), Limits(in_flight=in_flight), members=list(runs))


def may(account: SharedAccount, *runs: Run) -> list[bool]:
    """Return which of the runs may have one more task."""
    return [account.has_room_for(one, 0.0) for one in runs]


def test_where_room_is_short_the_run_with_fewer_tasks_goes_first() -> None:
    """One place is left: it is not for the one that has more already."""
    few, many = Run(in_flight=1), Run(in_flight=3)
    assert may(shared(5, many, few), many, few) == [False, True]


def test_among_equals_the_one_that_has_waited_longest_goes_first() -> None:
    """Who took a turn stands last then."""
    one, other = Run(in_flight=2), Run(in_flight=2)
    account = shared(5, one, other)
    assert may(account, one, other) == [True, False]
    account.took_turn(one)
    assert may(account, one, other) == [False, True]


def test_what_one_run_does_not_want_the_others_may_have() -> None:
    """A run that is paused or has nothing to submit keeps nobody waiting."""
    idle, many = Run(in_flight=0, eager=False), Run(in_flight=4)
    assert may(shared(5, idle, many), many) == [True]
    assert may(shared(4, idle, many), many) == [False]


def test_a_run_of_its_own_has_its_own_limits() -> None:
    """Nothing is shared, so nothing is kept back here."""
    alone = Run(in_flight=100)
    assert SharedAccount(Throttle(), members=[alone]).has_room_for(alone, 0.0)


def test_requests_under_way_are_counted_over_all_runs() -> None:
    """Once each, also of a run that has not joined yet."""
    one, other, new = Run(submitting=1), Run(submitting=2), Run(submitting=4)
    account = shared(5, one, other)
    assert [account.submitting(run) for run in (one, other, new)] == [3, 3, 7]
