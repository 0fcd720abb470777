"""What is told at the end of a run holds numbers only, and what is shown of a URL holds no secret."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.notice import Hook, failed_start, is_worth_telling, notice
from batchvid.domain.results import Money, NeedsAttention, Summary

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
