"""Which take is the best: by what persons decided, and else as it was before anybody decided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.decision import Decision, Verdict
from batchvid.domain.takes import Take, best_first

IDS = ("kite", "kite-2", "kite-3")
YES, NO = Verdict.APPROVED, Verdict.REJECTED


def take(job_id: str, attempt: int = 1, verdict: Verdict | None = None, stars: int | None = None) -> Take:
    """Return a take, and what was decided about it if anything was."""
    said = None if verdict is None and stars is None else Decision(job_id, attempt, 0.0, "ada", verdict, stars)
    return Take(job_id, attempt, f"{job_id}.{attempt}.mp4", 9, "a" * 64, is_current=False, decision=said)


def test_the_rules_in_their_order() -> None:
    """Verdict, stars, then the first take and the newest attempt."""
    wanted = [
        take("kite-3", 1, YES, 2),
        take("kite-2", 1, YES),
        take("kite", 1, None, 5),
        take("kite", 2),
        take("kite-2", 2),
        take("kite-3", 2, NO, 5),
        take("kite", 3, NO),
    ]
    assert best_first(reversed(wanted), IDS) == wanted


@given(st.permutations([take(job_id, attempt) for job_id in IDS for attempt in (1, 2)]))
def test_without_decisions_it_is_the_first_take_as_it_is_now(takes: list[Take]) -> None:
    """What a film was made of before anybody decided."""
    assert best_first(takes, IDS)[0] == take("kite", 2)
