"""What finds the limits of an account: it starts low, is refused seldom, settles at the limits, and follows them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchvid.domain.learned import Found, Learned
from batchvid.domain.task import LimitHint, LimitKind
from batchvid.engine.auto_limits import (
    AGAIN_S,
    FEW,
    FIRST_IN_FLIGHT,
    FIRST_PER_MINUTE,
    MINUTE_S,
    WINDOW_S,
    AutoLimits,
    Bound,
)

TASK_S = 90.0
BACKOFF_S = 2.0


@dataclass
class Account:
    """A service with limits, and a client that always has one more job: all in plain numbers."""

    auto: AutoLimits
    per_minute: int
    in_flight: int
    task_s: float = TASK_S
    tells: bool = False
    noticed_s: float = 0.0
    """How long after a task has ended the client knows."""
    now: float = 0.0
    sent: list[float] = field(default_factory=list)
    allowed: list[float] = field(default_factory=list)
    """The rate that was allowed at each of them."""
    refused: list[float] = field(default_factory=list)
    _taken: deque[float] = field(default_factory=deque)
    _ends: list[float] = field(default_factory=list)
    """When the client will know of the tasks that it does not know to be over, in order."""
    taken: int = 0
    _resume_at: float = 0.0

    def run(self, until: float) -> int:
        """Send as soon as it is allowed, until then; return how many were taken."""
        before = self.taken
        while self.now < until:
            self._notice()
            room = self.auto.in_flight
            if room is not None and len(self._ends) >= room:
                self.now = self._ends[len(self._ends) - room]
                continue
            at = max(self._resume_at, self.auto.next_at(self.now))
            waited, self.now = at > self.now, max(self.now, at)
            if self.now < until:
                self.auto.granted(self.now, waited=waited)
                self._notice()
                self._send()
        return self.taken - before

    def _notice(self) -> None:
        self._ends = self._ends[bisect_right(self._ends, self.now) :]

    def _send(self) -> None:
        sent = self.auto.sends(in_flight=len(self._ends), now=self.now)
        self.sent.append(self.now)
        self.allowed.append(self.auto.per_minute or math.inf)
        while self._taken and self._taken[0] <= self.now - MINUTE_S:
            self._taken.popleft()
        making = len(self._ends) - bisect_right(self._ends, self.now + self.noticed_s)
        kind = LimitKind.ROOM if making >= self.in_flight else LimitKind.RATE
        if making >= self.in_flight or len(self._taken) >= self.per_minute:
            self.refused.append(self.now)
            self.now += 0.4
            self.auto.refused(sent, LimitHint(kind) if self.tells else None, now=self.now)
            self._resume_at = self.now + BACKOFF_S
            return
        self.taken += 1
        self._taken.append(self.now)
        self._ends.append(self.now + self.task_s + self.noticed_s)
        self.auto.took(sent, now=self.now + 0.4)

    def possible(self, seconds: float) -> float:
        """Return how many could be taken in so long."""
        return min(self.per_minute * seconds / MINUTE_S, self.in_flight * seconds / (self.task_s + self.noticed_s))


LIMITS = st.tuples(st.integers(6, 130), st.integers(2, 60))


def test_it_starts_low() -> None:
    """Nobody knows the account yet."""
    auto = AutoLimits()
    assert (auto.per_minute, auto.in_flight) == (FIRST_PER_MINUTE, FIRST_IN_FLIGHT)
    assert auto.learned(0.0) is None


@settings(max_examples=25, deadline=None)
@given(LIMITS, st.booleans(), st.sampled_from([30.0, 90.0, 300.0]))
def test_it_finds_what_an_account_may_do(limits: tuple[int, int], tells: bool, task_s: float) -> None:  # noqa: FBT001
    """Whatever the limits are: most of what is possible after an hour, and few refusals."""
    account = Account(AutoLimits(), *limits, task_s=task_s, tells=tells)
    account.run(3600.0)
    refused = len(account.refused)
    taken = account.run(5400.0)
    assert taken >= 0.85 * account.possible(1800.0)
    assert len(account.refused) - refused <= 2 + 0.02 * taken


@settings(max_examples=20, deadline=None)
@given(LIMITS, st.floats(0.0, 10.0))
def test_requests_are_evenly_spaced_and_no_minute_has_more_than_was_allowed_in_it(
    limits: tuple[int, int], noticed_s: float
) -> None:
    """Also while the rate grows, and after it fell: what was sent before counts."""
    account = Account(AutoLimits(), *limits, noticed_s=noticed_s)
    account.run(1800.0)
    for place, at in enumerate(account.sent):
        in_minute = [one for one in range(place + 1) if at - account.sent[one] < MINUTE_S]
        refused = sum(at - MINUTE_S < one <= at for one in account.refused)  # they take nobody's place
        assert len(in_minute) <= max(account.allowed[one] for one in in_minute) + refused
    for (earlier, later), allowed in zip(pairwise(account.sent), account.allowed[1:], strict=False):
        assert later - earlier >= WINDOW_S / (allowed + 1) - 1e-6


def test_one_refusal_is_enough_where_few_tasks_may_be_in_flight() -> None:
    """There are few requests in an hour then, and so there must be few refusals."""
    account = Account(AutoLimits(), per_minute=30, in_flight=3)
    assert account.run(3600.0) >= 0.95 * account.possible(3600.0)
    assert len(account.refused) == 1
    assert account.auto.in_flight == 3


def test_words_that_name_the_limit_are_believed() -> None:
    """No second refusal is needed to tell a rate from a number of tasks."""
    auto = AutoLimits()
    account = Account(auto, per_minute=6, in_flight=40, tells=True)
    account.run(120.0)
    assert (auto.per_minute, len(account.refused)) == (6, 1)
    assert auto.room is not None
    assert auto.room.ceiling is None


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize(("before", "after"), [((120, 40), (120, 10)), ((30, 40), (6, 40)), ((60, 20), (12, 5))])
def test_a_limit_that_was_lowered_is_obeyed_after_a_handful_of_refusals(
    before: tuple[int, int], after: tuple[int, int], *, tells: bool
) -> None:
    """Each one but the first halves what is allowed, whichever of the two it was, and then it is found out anew."""
    account = Account(AutoLimits(), *before, tells=tells)
    account.run(3600.0)
    account.per_minute, account.in_flight = after
    known = len(account.refused)
    taken = account.run(7200.0)
    assert taken >= 0.9 * account.possible(3600.0)
    assert 1 <= len(account.refused) - known <= 5
    assert account.run(10_800.0) >= 0.95 * account.possible(3600.0)


@settings(max_examples=25, deadline=None)
@given(LIMITS, LIMITS, st.booleans(), st.integers(30, 90))
def test_limits_that_change_are_found_again(
    before: tuple[int, int],
    after: tuple[int, int],
    tells: bool,  # noqa: FBT001
    minutes: int,
) -> None:
    """Raised or lowered, whichever, and whenever: most of what is possible two hours later, and few refusals."""
    account = Account(AutoLimits(), *before, tells=tells)
    account.run(60.0 * minutes)
    account.per_minute, account.in_flight = after
    known, sent = len(account.refused), len(account.sent)
    account.run(account.now + 3 * 3600.0)
    assert len(account.refused) - known <= 8 + 0.015 * (len(account.sent) - sent)
    assert account.run(account.now + 3600.0) >= 0.85 * account.possible(3600.0)


@pytest.mark.parametrize(("before", "after"), [((30, 10), (30, 40)), ((6, 40), (30, 40)), ((120, 20), (120, 60))])
def test_a_limit_that_was_raised_is_found_as_soon_as_a_refusal_is_paid_for(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    """One more is tried then, and when it is taken, the bound grows as at the start, within a few minutes."""
    account = Account(AutoLimits(), *before)
    account.run(5400.0)
    wait_s = max(AGAIN_S, 3600.0 / (FEW * account.possible(3600.0)))
    account.per_minute, account.in_flight = after
    account.run(5400.0 + wait_s + 300.0)
    assert account.run(account.now + 1800.0) >= 0.9 * account.possible(1800.0)


def test_a_ceiling_is_tried_again_at_even_times() -> None:
    """Not more often than every few minutes, nor for more than a small part of the requests."""
    account = Account(AutoLimits(), per_minute=600, in_flight=10, task_s=20.0)
    account.run(12 * 3600.0)
    gaps = [later - earlier for earlier, later in pairwise(account.refused[3:])]
    assert gaps
    assert all(AGAIN_S <= gap <= 2 * AGAIN_S for gap in gaps)
    assert len(account.refused) <= 0.005 * len(account.sent)
    slow = Account(AutoLimits(), per_minute=6, in_flight=3)
    slow.run(12 * 3600.0)
    assert 0.5 * FEW * len(slow.sent) <= len(slow.refused) <= FEW * len(slow.sent) + 1


def test_refusals_that_left_before_the_retreat_say_nothing_new() -> None:
    """Several requests may be under way when the first of them is refused."""
    auto = AutoLimits()
    auto.begin_with(Learned(Found(60.0, is_met=True), Found(40.0, is_met=True), at=0.0))
    sent = [auto.sends(in_flight=36 + number, now=float(number)) for number in range(4)]
    for one in sent:
        auto.refused(one, now=6.0)
    assert (auto.in_flight, auto.refusals) == (36, 4)


def test_a_refusal_that_nothing_explains_leaves_the_limits_as_they_are() -> None:
    """A service may be busy; only when it goes on is the account taken for cut down."""
    auto = AutoLimits()
    auto.begin_with(Learned(Found(60.0, is_met=True), Found(40.0, is_met=True), at=0.0))
    auto.refused(auto.sends(in_flight=3, now=0.0), now=1.0)
    assert (auto.per_minute, auto.in_flight) == (60, 40)
    auto.refused(auto.sends(in_flight=3, now=100.0), now=101.0)
    assert auto.in_flight == 20


def test_a_slow_minute_is_never_taken_for_the_limit_of_the_rate() -> None:
    """After a pause few requests are in the minute, and the refusal of one more is about the tasks in flight."""
    auto = AutoLimits()
    auto.begin_with(Learned(Found(60.0, is_met=True), Found(40.0, is_met=True), at=0.0))
    for number in range(8):
        auto.took(auto.sends(in_flight=30 + number, now=float(number)), now=number + 0.4)
    for at, in_flight in ((8.0, 39), (10.0, 38)):
        auto.refused(auto.sends(in_flight=in_flight, now=at), now=at + 1)
    assert (auto.per_minute, auto.in_flight) == (30, 19)
    for at in (100.0, 110.0):
        auto.took(auto.sends(in_flight=18, now=at), now=at + 1)
    auto.refused(auto.sends(in_flight=18, now=120.0), now=121.0)
    assert (auto.per_minute, auto.in_flight) == (30, 18)


def test_a_stated_limit_is_left_alone() -> None:
    """Only what is found out is learned of."""
    auto = AutoLimits(finds_rate=False)
    assert auto.per_minute is None
    assert auto.next_at(5.0) == 5.0
    auto.refused(auto.sends(in_flight=0, now=0.0), LimitHint(LimitKind.RATE), now=1.0)
    assert auto.in_flight == FIRST_IN_FLIGHT
    learned = auto.learned(7.0)
    assert learned is None or learned.per_minute is None


def test_no_more_is_tried_than_the_manifest_or_the_service_states() -> None:
    """The bounds of both are kept."""
    account = Account(AutoLimits(most_per_minute=20, most_in_flight=8), per_minute=600, in_flight=600)
    account.run(3600.0)
    assert (account.auto.per_minute, account.auto.in_flight, account.refused) == (8, 8, []) or (
        account.auto.in_flight == 8 and (account.auto.per_minute or 0) <= 20 and not account.refused
    )
    auto = AutoLimits()
    auto.took(auto.sends(in_flight=0, now=0.0), LimitHint(per_minute=4.0, none_left_s=30.0), now=1.0)
    assert auto.per_minute == 4
    assert auto.next_at(2.0) == 31.0


def test_a_number_in_a_refusal_is_nobodys_word_and_a_newer_one_counts() -> None:
    """A gateway that refuses has limits of its own; and a service may state another number later."""
    auto = AutoLimits(most_per_minute=20)
    auto.refused(auto.sends(in_flight=0, now=0.0), LimitHint(per_minute=1.0), now=1.0)
    for number, limit in enumerate((1.0, 100.0)):
        for more in range(60):
            now = 100.0 + 1000 * number + 10 * more
            auto.granted(now, waited=True)
            auto.took(auto.sends(in_flight=0, now=now), LimitHint(per_minute=limit), now=now + 1)
        assert (auto.per_minute or 0) <= 1 if limit == 1.0 else (auto.per_minute or 0) > 1
    fresh = AutoLimits()
    fresh.refused(fresh.sends(in_flight=0, now=0.0), LimitHint(per_minute=1.0), now=1.0)
    fresh.took(fresh.sends(in_flight=0, now=60.0), None, now=61.0)
    assert (fresh.per_minute or 0) > 1


def test_what_was_learned_is_where_the_next_night_begins() -> None:
    """Without a refusal, as long as the limits are the same."""
    first = Account(AutoLimits(), per_minute=30, in_flight=10)
    first.run(3600.0)
    learned = first.auto.learned(1e9)
    assert learned is not None
    assert learned.in_flight == Found(10.0, is_met=True)
    auto = AutoLimits()
    auto.begin_with(learned)
    second = Account(auto, per_minute=30, in_flight=10)
    assert second.run(900.0) >= 0.95 * second.possible(900.0)
    assert not second.refused
    again = auto.learned(2e9)
    assert again is not None
    assert again.in_flight == learned.in_flight


@given(
    st.lists(st.tuples(st.integers(1, 50), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 40),
)
def test_a_bound_stays_within_its_bounds(steps: list[tuple[int, bool, bool]], most: int) -> None:
    """Whatever is taken and refused: at least one is allowed, never more than may be, and never above its ceiling."""
    bound, in_a_row = Bound(2, most=most), 0
    for number, is_taken, flag in steps:
        if is_taken:
            bound.took(number, used_up=flag)
            in_a_row = 0
        else:
            in_a_row += 1
            bound.refused(number, is_sure=flag, in_a_row=in_a_row)
        assert 1 <= bound.allowed <= most
        assert bound.ceiling is None or bound.allowed <= max(bound.ceiling, 1)
