"""What is told at the end of a run holds numbers only, and what is shown of a URL holds no secret."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.notice import Hook, Moments, When, failed_start, is_worth_telling, moment_notice, notice
from batchvid.domain.results import Money, NeedsAttention, Snapshot, Summary

SUMMARY = Summary(
    manifest="night.yaml",
    output="/films/out",
    counts={State.DONE: 8, State.FAILED: 1, State.IN_DOUBT: 1},
    parked=2,
    money=Money(4_000_000, 400_000, 25_000_000),
    elapsed_s=12.3456,
    submits=10,
    polls=20,
    downloaded_bytes=3000,
    exit_code=Exit.IN_DOUBT,
    stopped="moderated: a secret prompt",
    needs_person=(NeedsAttention("kite", State.FAILED, "a secret prompt"),),
)


def test_a_notice_holds_counts_and_money_and_no_word_of_a_prompt() -> None:
    """Golden, and what is said to people in one line."""
    told = notice(SUMMARY)
    assert told == {
        "event": "run_ended",
        "type": "failure",
        "title": "batchvid: night.yaml: exit 4",
        "message": "8 of 10 clips, $4.00 spent, 4 need attention",
        "manifest": "night.yaml",
        "exit_code": 4,
        "counts": {"pending": 0, "submitting": 0, "in_doubt": 1, "running": 0, "ready": 0, "done": 8, "failed": 1},
        "parked": 2,
        "needs_person": 4,
        "money": {"spent": 4.0, "reserved": 0.4, "unproven": 0.0, "budget": 25.0},
        "submits": 10,
        "polls": 20,
        "downloaded_bytes": 3000,
        "elapsed_s": 12.346,
    }
    assert "secret" not in json.dumps(told)


def test_the_kind_of_a_notice_is_one_that_apprise_knows() -> None:
    """Success, a night that goes on, or something for a person."""
    done = replace(SUMMARY, counts={State.DONE: 3}, parked=0, exit_code=Exit.OK)
    going_on = replace(SUMMARY, counts={State.DONE: 3, State.PENDING: 5}, parked=0, exit_code=Exit.STOPPED)
    kinds = [notice(one)["type"] for one in (done, going_on, SUMMARY)]
    assert kinds == ["success", "warning", "failure"]
    assert failed_start("a.yaml", Exit.DISK)["type"] == "failure"


def test_a_run_that_had_nothing_to_do_is_not_told() -> None:
    """But one that asked for anything, or left something behind, is."""
    idle = replace(SUMMARY, submits=0, polls=0, downloaded_bytes=0, exit_code=Exit.OK)
    assert not is_worth_telling(idle)
    assert is_worth_telling(replace(idle, exit_code=Exit.FAILED))
    assert is_worth_telling(replace(idle, polls=1))


@pytest.mark.parametrize(
    ("hook", "shown"),
    [
        (Hook("jsons://me:s3cret@hooks.example.net:8443/s3cret?s3cret#s3cret"), "jsons://hooks.example.net/…"),
        (Hook("https://hooks.example.net/s3cret"), "https://hooks.example.net/…"),
        (Hook("slack://s3cret/s3cret/s3cret"), "slack:///…"),
        (Hook("https://hooks.example.net/s3cret", env="HOOK_URL"), "$HOOK_URL"),
    ],
)
def test_of_a_url_only_what_is_no_secret_is_shown(hook: Hook, shown: str) -> None:
    """The host of a webhook; of other schemes nothing, for it may be a token; nor in its repr."""
    assert hook.shown == shown
    assert "s3cret" not in repr(hook)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("json://h:1/p?q", "http://h:1/p?q"),
        ("JSONS://h/p", "https://h/p"),
        ("https://h/p", "https://h/p"),
    ],
)
def test_a_webhook_is_posted_to_over_http(url: str, address: str) -> None:
    """``json`` is http, ``jsons`` https."""
    assert Hook(url).is_webhook
    assert Hook(url).address == address


SNAPSHOT = Snapshot(
    counts={State.DONE: 8},
    parked=0,
    money=Money(4_000_000, 400_000, 25_000_000),
    elapsed_s=12.3456,
    eta_s=None,
    in_flight=1,
    in_flight_limit=2,
    downloading=0,
    downloads_limit=4,
    submits_per_min=1.0,
    submit_limit=None,
    downloaded_bytes=3000,
    needs_person=(NeedsAttention("kite", State.FAILED, "a secret prompt"),),
)


def looks(*counts: tuple[int, int, int]) -> list[list[When]]:
    """Return what is found in looks at a run, each with so many failed, in doubt, and dollars used of 10."""
    moments = Moments()
    return [
        moments.found(
            replace(
                SNAPSHOT,
                counts={State.FAILED: failed, State.IN_DOUBT: doubts},
                money=Money(1_000_000, (used - 1) * 1_000_000, 10_000_000),
            )
        )
        for failed, doubts, used in counts
    ]


def test_each_moment_comes_once_a_run() -> None:
    """The first failure, the first doubt, and 80 % of the budget, however often the run is looked at."""
    assert looks((0, 0, 1), (0, 1, 7), (1, 1, 8), (2, 2, 9), (2, 0, 1), (3, 1, 9)) == [
        [],
        [When.DOUBT],
        [When.FIRST_FAILURE, When.BUDGET],
        [],
        [],
        [],
    ]


def test_what_was_so_before_the_run_is_no_news() -> None:
    """A failure of last night is none, but one that is bought again and fails again is."""
    assert looks((3, 2, 9), (3, 2, 9)) == [[], []]
    assert looks((3, 0, 1), (2, 0, 1), (3, 0, 1)) == [[], [], [When.FIRST_FAILURE]]
    moments = Moments()
    endless = replace(SNAPSHOT, money=Money(4_000_000))
    assert [moments.found(endless), moments.found(replace(endless, money=Money(10**12)))] == [[], []]


def test_a_moment_is_told_with_counts_and_money_and_no_word_of_a_prompt() -> None:
    """The run goes on, so there is no exit code."""
    told = moment_notice(When.FIRST_FAILURE, replace(SNAPSHOT, counts={State.DONE: 8, State.FAILED: 1}), "night.yaml")
    assert (told["event"], told["type"], told["exit_code"]) == ("first_failure", "failure", None)
    assert told["title"] == "batchvid: night.yaml: a job failed"
    assert told["message"] == "8 of 9 clips, $4.00 spent, 1 need attention"
    assert told.keys() == notice(SUMMARY).keys()
    assert "secret" not in json.dumps(told)
    assert [moment_notice(when, SNAPSHOT, "m")["event"] for when in (When.DOUBT, When.BUDGET)] == [
        "in_doubt",
        "budget_80",
    ]
