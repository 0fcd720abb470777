"""The exit code is the promised one: the highest in the promised order wins."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.results import exit_code, worst

PROMISED = [1, 2, 65, 78, 75, 8, 6, 4, 7, 5, 3, 0, 130, 143]
"""As the contract lists them, the one that wins first."""


def code(*, parked: int = 0, halts: tuple[Exit, ...] = (), interrupted: Exit | None = None, **counts: int) -> int:
    """Return the exit code of a run that ended with these jobs."""
    states = {State(name): number for name, number in counts.items()}
    return int(exit_code(states, parked=parked, halts=halts, interrupted=interrupted))


def test_the_order_of_the_codes_is_the_promised_one() -> None:
    """`Exit` is listed in the order in which codes win."""
    assert [int(one) for one in Exit] == PROMISED


def test_of_several_codes_the_first_in_the_order_wins() -> None:
    """For every pair, whichever comes first."""
    for one, other in product(Exit, repeat=2):
        assert worst([one, other]) == min(one, other, key=lambda found: PROMISED.index(int(found)))
    assert worst([]) is Exit.OK


@pytest.mark.parametrize(
    ("expected", "given_code"),
    [
        (0, code()),
        (0, code(done=5)),
        (3, code(done=5, failed=1)),
        (5, code(done=5, pending=1)),
        (5, code(done=5, failed=1, pending=1)),
        (5, code(done=5, running=1, parked=1)),
        (5, code(done=5, ready=1, parked=1)),
        (4, code(done=5, in_doubt=1)),
        (4, code(done=5, submitting=1)),
        (4, code(in_doubt=1, failed=1, pending=1, halts=(Exit.STOPPED,))),
        (4, code(in_doubt=1, pending=1, halts=(Exit.BUDGET,))),
        (7, code(pending=1, failed=1, halts=(Exit.BUDGET,))),
        (7, code(pending=1, halts=(Exit.STOPPED, Exit.BUDGET))),
        (6, code(in_doubt=1, pending=1, halts=(Exit.ACCOUNT, Exit.BUDGET))),
        (8, code(ready=1, halts=(Exit.ACCOUNT, Exit.DISK))),
        (78, code(pending=1, halts=(Exit.CONFIG, Exit.DISK))),
        (6, code(done=5, halts=(Exit.ACCOUNT,))),
        (130, code(done=5, pending=1, interrupted=Exit.INTERRUPTED)),
        (143, code(running=1, interrupted=Exit.TERMINATED)),
        (0, code(done=5, interrupted=Exit.INTERRUPTED)),
        (3, code(done=5, failed=1, interrupted=Exit.INTERRUPTED)),
        (4, code(in_doubt=1, pending=1, interrupted=Exit.INTERRUPTED)),
        (6, code(pending=1, halts=(Exit.ACCOUNT,), interrupted=Exit.TERMINATED)),
        (8, code(ready=1, halts=(Exit.DISK,), interrupted=Exit.INTERRUPTED)),
    ],
)
def test_a_run_ends_with_the_promised_code(expected: int, given_code: int) -> None:
    """Doubt before budget before stopped before failed; a signal only when something is left because of it."""
    assert given_code == expected


@given(
    st.dictionaries(st.sampled_from(State), st.integers(0, 3)),
    st.lists(st.sampled_from([Exit.STOPPED, Exit.BUDGET, Exit.ACCOUNT, Exit.DISK, Exit.CONFIG]), max_size=3),
    st.sampled_from([None, Exit.INTERRUPTED, Exit.TERMINATED]),
)
def test_zero_means_that_every_job_is_a_clip_on_disk(
    counts: dict[State, int], halts: list[Exit], interrupted: Exit | None
) -> None:
    """And nothing else means zero."""
    zero = exit_code(counts, parked=0, halts=halts, interrupted=interrupted) is Exit.OK
    all_done = not halts and all(not number for state, number in counts.items() if state is not State.DONE)
    assert zero is all_done
