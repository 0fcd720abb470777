"""What is told to others of a run, when, and to whom: counts and money, never prompts, reasons or keys.

A URL to tell it to often holds a secret, so it is never shown whole.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchvid.domain.errors import Exit
from batchvid.domain.frozen import frozen
from batchvid.domain.job import State
from batchvid.domain.records import counts, dollars, sums

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.domain.results import Snapshot, Summary


WEBHOOKS = {"json": "http", "jsons": "https", "http": "http", "https": "https"}
"""The schemes that batchvid speaks by itself, and what they stand for; Apprise has names of its own for them."""


class When(StrEnum):
    """When somebody is told; each at most once a run."""

    END = "end"
    """The run is over, however."""
    FIRST_FAILURE = "first-failure"
    """A job has failed, the first one of this run."""
    DOUBT = "doubt"
    """A paid request is in doubt, the first one of this run."""
    BUDGET = "budget-80%"
    """What is spent and reserved has come to 80 % of the budget, in this run."""


BUDGET_SHARE = 0.8
EVENTS: Mapping[When, tuple[str, str, str]] = {
    When.FIRST_FAILURE: ("first_failure", "failure", "a job failed"),
    When.DOUBT: ("in_doubt", "failure", "a paid request is in doubt"),
    When.BUDGET: ("budget_80", "warning", "80 % of the budget is used"),
}
"""The event in the object, its kind, and the words of its title."""


@frozen
class Hook:
    """Whom to tell: a URL, or the name of the variable that holds one."""

    url: str = field(default="", repr=False)
    env: str = ""
    when: tuple[When, ...] = (When.END,)

    @property
    def scheme(self) -> str:
        """Return the URL's scheme; empty when the URL is not known yet."""
        return self.url.partition("://")[0].lower() if self.url else ""

    @property
    def is_webhook(self) -> bool:
        """Whether batchvid can reach it by itself."""
        return self.scheme in WEBHOOKS

    @property
    def shown(self) -> str:
        """Return it as it may be shown: no path, query, user or password; of other schemes no host."""
        if self.env:
            return f"${self.env}"
        host = urlsplit(self.url).hostname if self.is_webhook else None
        return f"{self.scheme}://{host or ''}/…"

    @property
    def address(self) -> str:
        """Return the http(s) URL of a webhook."""
        return WEBHOOKS[self.scheme] + self.url[len(self.scheme) :]


def is_worth_telling(summary: Summary) -> bool:
    """Whether anybody wants to hear of it: not when every clip was there and nothing was asked."""
    return summary.exit_code is not Exit.OK or summary.submits + summary.polls + summary.downloaded_bytes > 0


class Moments:
    """Finds in what a run says of itself, again and again, the moments that somebody may want to hear of.

    What was so when the run began is no news; a job that is bought again and fails again is.
    """

    def __init__(self) -> None:
        self._before: dict[When, float] = {}
        self._told: set[When] = set()

    def found(self, snapshot: Snapshot) -> list[When]:
        """Return which moments have come since the last look."""
        counts, money = snapshot.counts, snapshot.money
        used = money.spent_micros + money.reserved_micros
        is_near = bool(money.budget_micros) and used >= BUDGET_SHARE * (money.budget_micros or 0)
        doubts = counts.get(State.IN_DOUBT, 0)
        now = {When.FIRST_FAILURE: counts.get(State.FAILED, 0), When.DOUBT: doubts, When.BUDGET: int(is_near)}
        come = [when for when, number in now.items() if number > self._before.get(when, number)]
        self._before = {when: min(number, self._before.get(when, number)) for when, number in now.items()}
        come = [when for when in come if when not in self._told]
        self._told.update(come)
        return come


def moment_notice(when: When, snapshot: Snapshot, manifest: str) -> dict[str, Any]:
    """Return one of these moments as an object; the run goes on, so it has no exit code."""
    event, kind, words = EVENTS[when]
    return {
        "event": event,
        "type": kind,
        "title": f"batchvid: {manifest}: {words}",
        **_sums(manifest, None, snapshot),
        "elapsed_s": round(snapshot.elapsed_s, 3),
    }


def _sums(manifest: str, exit_code: Exit | None, run: Snapshot | Summary) -> dict[str, Any]:
    counted = counts(run.counts)
    done, jobs = counted[State.DONE], sum(counted.values())
    stuck = counted[State.FAILED] + counted[State.IN_DOUBT] + run.parked
    spent = f"${(dollars(run.money.spent_micros) or 0):,.2f} spent"
    parts = [f"{done:,} of {jobs:,} clips", spent, *([f"{stuck:,} need attention"] if stuck else [])]
    return {
        "message": ", ".join(parts),
        "manifest": manifest,
        "exit_code": None if exit_code is None else int(exit_code),
        "counts": counted,
        "parked": run.parked,
        "needs_person": stuck,
        "money": sums(run.money),
        "submits": run.submits,
        "polls": run.polls,
        "downloaded_bytes": run.downloaded_bytes,
    }


def notice(summary: Summary) -> dict[str, Any]:
    """Return the end of a run as an object: money in dollars, unknown values ``None``."""
    told = _sums(summary.manifest, summary.exit_code, summary)
    is_done = told["counts"][State.DONE] == sum(told["counts"].values())
    kind = "warning" if is_done or not told["needs_person"] else "failure"
    return {
        "event": "run_ended",
        "type": "success" if summary.exit_code is Exit.OK else kind,
        "title": f"batchvid: {summary.manifest}: exit {int(summary.exit_code)}",
        **told,
        "elapsed_s": round(summary.elapsed_s, 3),
    }


def failed_start(manifest: str, code: Exit) -> dict[str, Any]:
    """Return the object for a run that could not begin, or whose journal failed in its midst."""
    return {
        "event": "run_ended",
        "type": "failure",
        "title": f"batchvid: {manifest}: exit {int(code)}",
        "message": "the run could not do its work; its log says why",
        "manifest": manifest,
        "exit_code": int(code),
        "counts": None,
        "money": None,
    }
