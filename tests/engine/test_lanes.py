"""Whose turn it is: the same as a sorted list would say, at a price that does not grow with the number of jobs."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batchvid.domain.limits import Limits
from batchvid.engine.lanes import Lane, PollLane
from batchvid.engine.scheduler import Step
from tests.engine.drive import Drive, jobs

RANKS = st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.inf])


class AgainstASortedList(RuleBasedStateMachine):
    """A lane beside a naive model of it: a list that is searched from end to end each time."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = Lane()
        self.model: list[tuple[float, float, int]] = []
        self.now = 0.0
        self.put_so_far = 0

    def due(self) -> list[tuple[float, int]]:
        """Return the due jobs in the order of their turns."""
        return sorted((rank, index) for due_at, rank, index in self.model if due_at <= self.now)

    @rule(rank=RANKS, wait_s=st.floats(-5, 20))
    def put(self, rank: float, wait_s: float) -> None:
        """Put a job that becomes due sooner or later, or is due."""
        self.put_so_far += 1
        self.lane.put(self.put_so_far, rank=rank, due_at=self.now + wait_s)
        self.model.append((self.now + wait_s, rank, self.put_so_far))

    @rule(ranks=st.lists(RANKS, max_size=4))
    def fill(self, ranks: list[float]) -> None:
        """Put many jobs that are due."""
        many = [(rank, self.put_so_far + place) for place, rank in enumerate(ranks, start=1)]
        self.put_so_far += len(ranks)
        self.lane.fill(many)
        self.model += [(-math.inf, rank, index) for rank, index in many]

    @rule(passed_s=st.floats(0, 10))
    def wait(self, passed_s: float) -> None:
        """Let time pass."""
        self.now += passed_s

    @rule()
    def take(self) -> None:
        """Take the job whose turn it is."""
        expected = self.due()[0][1] if self.due() else None
        assert self.lane.take(self.now) == expected
        self.model = [one for one in self.model if one[2] != expected]

    @invariant()
    def both_agree(self) -> None:
        """Nothing is lost, and the same job is next."""
        assert len(self.lane) == len(self.model)
        assert self.lane.peek(self.now) == (self.due()[0][1] if self.due() else None)
        later = [due_at for due_at, _, _ in self.model if due_at > self.now]
        assert self.lane.next_due_at() == min(later, default=None)


TestAgainstASortedList = AgainstASortedList.TestCase
TestAgainstASortedList.settings = settings(max_examples=80, stateful_step_count=40)


class LooksAgainstASortedList(RuleBasedStateMachine):
    """The lane of looks beside a naive model of it, while need comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = PollLane()
        self.model: dict[int, tuple[float, float, float, int]] = {}
        """By job: when it is due, from when on in need, its rank then, and its place among those that were put."""
        self.now = 0.0
        self.put_so_far = 0

    def turn(self, *, in_need: bool) -> int | None:
        """Return whose turn it is."""
        if in_need:
            early = [(rank, place, job) for job, (_, at, rank, place) in self.model.items() if at <= self.now]
            return min(early)[2] if early else None
        due = [(at, place, job) for job, (at, _, _, place) in self.model.items() if at <= self.now]
        return min(due)[2] if due else None

    @rule(early_s=st.floats(0, 5), rank_s=st.floats(0, 5), due_s=st.floats(0, 20), job=st.integers(0, 5))
    def put(self, early_s: float, rank_s: float, due_s: float, job: int) -> None:
        """Plan a look, unless one is planned for the job."""
        if job in self.model:
            return
        self.put_so_far += 1
        due_at, early_at = self.now + due_s, self.now + min(early_s, due_s)
        self.lane.put(job, due_at=due_at, early_at=early_at, rank=self.now + rank_s)
        self.model[job] = (due_at, early_at, self.now + rank_s, self.put_so_far)

    @rule(passed_s=st.floats(0, 10))
    def wait(self, passed_s: float) -> None:
        """Let time pass."""
        self.now += passed_s

    @rule(in_need=st.booleans())
    def take(self, in_need: bool) -> None:  # noqa: FBT001 hypothesis draws it
        """Take the job whose turn it is."""
        expected = self.turn(in_need=in_need)
        assert self.lane.take(self.now, in_need=in_need) == expected
        self.model.pop(-1 if expected is None else expected, None)

    @invariant()
    def both_agree(self) -> None:
        """Nothing is lost, and the same job is next, in need and without."""
        assert len(self.lane) == len(self.model)
        assert self.lane.next_due_at() == min((one[0] for one in self.model.values()), default=None)
        assert self.lane.peek(self.now, in_need=True) == self.turn(in_need=True)
        assert self.lane.peek(self.now, in_need=False) == self.turn(in_need=False)


TestLooksAgainstASortedList = LooksAgainstASortedList.TestCase
TestLooksAgainstASortedList.settings = settings(max_examples=80, stateful_step_count=40)


class Counted(float):
    """A number that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < float(other)

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return isinstance(other, float) and float(self) == float(other)

    def __le__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) <= float(other)

    __hash__ = float.__hash__


def comparisons_a_job(number: int) -> float:
    """Let so many jobs pass through a lane three times each, and count the comparisons for each passage."""
    lane, now = Lane(), 0.0
    lane.fill((Counted(index * 7919 % 101), index) for index in range(number))
    Counted.compared = 0
    for passage in range(3):
        for step in range(number):
            now += 1.0
            index = lane.take(now)
            assert index is not None
            if passage < 2:
                wait_s = number - step + index * 7919 % 97
                lane.put(index, rank=Counted(index % 13), due_at=Counted(now + wait_s))
        now += 1000.0
    assert not lane
    return Counted.compared / (3 * number)


def test_a_turn_costs_the_logarithm_of_the_number_of_jobs() -> None:
    """Sixteen times the jobs cost a few comparisons more for each turn, not sixteen times as many."""
    few, many = comparisons_a_job(250), comparisons_a_job(4000)
    assert many <= few * 2.5
    assert many <= 16 * math.log2(4000)


def test_jobs_of_equal_rank_go_in_the_manifests_order() -> None:
    """Also when they became due in another one."""
    lane = Lane()
    for index in (3, 1, 2):
        lane.put(index, rank=0.0, due_at=10.0 - index)
    assert [lane.take(10.0) for _ in range(4)] == [1, 2, 3, None]


def test_a_job_that_waits_for_its_time_does_not_hold_up_the_others() -> None:
    """The best rank has no turn before it is due."""
    lane = Lane()
    lane.put(1, rank=-1.0, due_at=100.0)
    lane.put(2, rank=5.0, due_at=0.0)
    assert lane.take(50.0) == 2
    assert lane.take(99.9) is None
    assert lane.next_due_at() == 100.0
    assert lane.take(100.0) == 1
    assert lane.next_due_at() is None


def test_the_finished_clip_that_expires_first_is_fetched_first() -> None:
    """A clip without an expiry can wait."""
    downloads = Lane()
    for index, expires_at in enumerate([math.inf, 300.0, 200.0]):
        downloads.put(index, rank=expires_at, due_at=0.0)
    assert [downloads.take(0.0) for _ in range(3)] == [2, 1, 0]


def test_there_is_room_up_to_the_limit() -> None:
    """``limits.in_flight`` tasks, not one more."""
    drive = Drive(jobs(3), Limits(in_flight=2))
    drive.submit()
    drive.submit()
    assert drive.scheduler.in_flight == 2
    assert not drive.scheduler.turn(Step.SUBMIT, drive.now + 3600)
