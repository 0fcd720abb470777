"""The end of a run says what there is, what it cost, what to do next and what the exit code means."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchvid.cli.output.summary import MEANINGS, exit_line, money_line, summary_lines
from batchvid.domain.errors import Exit
from batchvid.domain.film import Film, FilmReport, FilmState
from batchvid.domain.job import State
from batchvid.domain.results import Money, NeedsAttention

if TYPE_CHECKING:
    from batchvid.domain.results import Summary

STANDING = "337 done, 3 ready, 18 running, 634 pending, 4 failed, 3 in doubt"


def test_the_summary_answers_what_a_person_asks_in_the_morning(summary: Summary) -> None:
    """Counts, money, time, place, cause, next commands, exit code; and nothing that drives a terminal."""
    assert list(summary_lines(summary)) == [
        f"1,000 jobs: {STANDING}; 1 deferred to the next run.",
        "Money: $134.80 spent, $8.00 reserved, of a budget of $500.00.",
        "Took 2 h 1 min: 363 submits, 1,200 polls, 1.4 GB downloaded.",
        "Clips: out/night",
        "Stopped early: the time window has closed",
        "Needs attention:",
        "  in doubt  kite-7: the connection broke before an answer came",
        "      If the dashboard shows this task, run  batchvid adopt jobs/night.yaml kite-7 TASK_ID",
        "      If not, run                            batchvid retry jobs/night.yaml kite-7 --in-doubt",
        "  failed    dawn: the prompt was refused",
        "  … and 6 more: batchvid status jobs/night.yaml",
        "  To go through what is in doubt: batchvid doubts jobs/night.yaml",
        "  The content was refused: edit the prompt of dawn, then: batchvid retry jobs/night.yaml dawn",
        "Next: batchvid run jobs/night.yaml does the remaining 656 jobs, and nothing twice.",
        "Exit 4: 3 jobs are in doubt: they may be paid, and only a person can tell.",
    ]


def test_a_run_is_not_promised_to_do_what_waits_for_a_person(summary: Summary) -> None:
    """A link of a chain whose head failed comes only after somebody retried that."""
    failed = NeedsAttention("kite", State.FAILED, "no good")
    waiting = NeedsAttention("kite-2nd", State.PENDING, "waits for kite, which failed")
    ended = replace(
        summary, counts={State.FAILED: 1, State.PENDING: 3}, needs_person=(failed, waiting), exit_code=Exit.FAILED
    )
    assert "Next: batchvid run jobs/night.yaml does the remaining 2 jobs, and nothing twice." in summary_lines(ended)
    stuck = replace(ended, counts={State.FAILED: 1, State.PENDING: 1})
    assert not [line for line in summary_lines(stuck) if line.startswith("Next:")]


def test_a_run_that_did_everything_asks_for_nothing(summary: Summary) -> None:
    """No advice where none is needed."""
    done = replace(
        summary,
        counts={State.DONE: 12},
        parked=0,
        money=Money(4_800_000),
        needs_person=(),
        stopped=None,
        exit_code=Exit.OK,
    )
    assert list(summary_lines(done)) == [
        "12 jobs: 12 done.",
        "Money: $4.80 spent.",
        "Took 2 h 1 min: 363 submits, 1,200 polls, 1.4 GB downloaded.",
        "Clips: out/night",
        "Exit 0: every job is a clip on disk.",
    ]


@pytest.mark.parametrize("code", Exit)
def test_every_exit_code_has_a_meaning(summary: Summary, code: Exit) -> None:
    """A number alone helps nobody."""
    assert MEANINGS[code]
    assert re.fullmatch(rf"Exit {code.value}: .{{20,}}\.", exit_line(replace(summary, exit_code=code)))


def test_the_exit_line_names_only_what_has_happened(summary: Summary) -> None:
    """Failed jobs, jobs behind them, films: each only where there is one; of the causes of a stop none but the real."""
    failed = replace(summary, exit_code=Exit.FAILED, counts={State.FAILED: 2}, needs_person=(), stopped=None)
    assert exit_line(failed) == "Exit 3: finished, and 2 jobs failed."
    waiting = NeedsAttention("kite-2nd", State.PENDING, "waits for kite, which failed")
    film = FilmReport(Film("walk", ("a", "b"), "walk.mp4"), FilmState.FAILED, "no")
    all_three = replace(failed, counts={State.FAILED: 1}, needs_person=(waiting,), films=(film,))
    assert exit_line(all_three) == (
        "Exit 3: finished, and 1 job failed, 1 job waits for one that brought no clip and 1 film could not be made."
    )
    assert exit_line(replace(failed, counts={}, films=(film,))) == "Exit 3: finished, and 1 film could not be made."
    refused = replace(summary, exit_code=Exit.ACCOUNT, stopped="the key was refused")
    assert exit_line(refused) == "Exit 6: the service refused the account; see above why it stopped."


def test_a_refused_content_is_to_be_edited_before_it_is_bought_again(summary: Summary) -> None:
    """The same prompt would be refused again; what failed otherwise is retried without it."""
    refused = NeedsAttention("dawn", State.FAILED, "the prompt was refused by the safety system")
    broken = NeedsAttention("kite", State.FAILED, "internal error of the generator")
    told = list(summary_lines(replace(summary, needs_person=(refused,))))
    advised = "  The content was refused: edit the prompt of dawn, then: batchvid retry jobs/night.yaml dawn"
    assert advised in told
    assert not [line for line in told if "--failed" in line]
    both = list(summary_lines(replace(summary, needs_person=(refused, broken))))
    assert advised in both
    assert "  To buy the other failed ones again: batchvid retry jobs/night.yaml kite" in both


@pytest.mark.parametrize(
    ("code", "first"),
    [
        (Exit.BUDGET, "raise limits.budget (or --max-cost), then batchvid run"),
        (Exit.ACCOUNT, "check the key and the quota on the service's site, then batchvid run"),
        (Exit.DISK, "free some space or give batchvid a folder that it may write to, then batchvid run"),
        (Exit.STOPPED, "Next: batchvid run"),
        (Exit.INTERRUPTED, "Next: batchvid run"),
    ],
)
def test_the_next_step_fits_the_cause(summary: Summary, code: Exit, first: str) -> None:
    """Running again without removing the cause would only stop again."""
    assert first in "\n".join(summary_lines(replace(summary, exit_code=code)))


def test_money_that_nobody_can_sum_up_is_mentioned() -> None:
    """Attempts without a price are neither hidden nor guessed."""
    assert money_line(Money(400_000, 0, None, 2)) == "$0.40 spent, and 2 attempts without a known price"
