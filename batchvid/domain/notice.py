"""What is told to others at the end of a run, and to whom: counts and money, never prompts, reasons or keys.

A URL to tell it to often holds a secret, so it is never shown whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchvid.domain.errors import Exit
from batchvid.domain.job import State
from batchvid.domain.records import counts, dollars, sums

if TYPE_CHECKING:
    from batchvid.domain.results import Summary


WEBHOOKS = {"json": "http", "jsons": "https", "http": "http", "https": "https"}
"""The schemes that batchvid speaks by itself, and what they stand for; Apprise has names of its own for them."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Whom to tell: a URL, or the name of the variable that holds one."""

    url: str = field(default="", repr=False)
    env: str = ""

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


def notice(summary: Summary) -> dict[str, Any]:
    """Return the end of a run as an object: money in dollars, unknown values ``None``."""
    counted = counts(summary.counts)
    done, jobs = counted[State.DONE], sum(counted.values())
    stuck = counted[State.FAILED] + counted[State.IN_DOUBT] + summary.parked
    spent = f"${(dollars(summary.money.spent_micros) or 0):,.2f} spent"
    parts = [f"{done:,} of {jobs:,} clips", spent, *([f"{stuck:,} need attention"] if stuck else [])]
    return {
        "event": "run_ended",
        "type": "success" if summary.exit_code is Exit.OK else "warning" if done == jobs or not stuck else "failure",
        "title": f"batchvid: {summary.manifest}: exit {int(summary.exit_code)}",
        "message": ", ".join(parts),
        "manifest": summary.manifest,
        "exit_code": int(summary.exit_code),
        "counts": counted,
        "parked": summary.parked,
        "needs_person": stuck,
        "money": sums(summary.money),
        "submits": summary.submits,
        "polls": summary.polls,
        "downloaded_bytes": summary.downloaded_bytes,
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
