"""What is in doubt, as people read it in the morning, and as a program does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.cli.output import advice, text
from batchvid.domain.records import dollars, rfc3339
from batchvid.domain.task import TASK_ID_MAX
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchvid.domain.doubts import Doubt


PROMPT_SHOWN = 200


def doubt_lines(doubt: Doubt) -> Iterator[str]:
    """Yield what is known of a doubt, so that the request can be found on the service's dashboard."""
    yield f"{text.job_name(doubt.job_id)}: {advice.doubt_details(doubt, prompt=False)}"
    if doubt.prompt:
        yield f"  prompt: {clean(doubt.prompt, PROMPT_SHOWN)}"
    yield f"  reason: {text.why(doubt.reason)}"


def list_lines(doubts: Sequence[Doubt], manifest: str) -> Iterator[str]:
    """Yield all doubts, each with the commands that end it."""
    yield f"{_number(doubts)} in doubt: each may be paid, and only the service's dashboard can tell."
    for doubt in doubts:
        yield ""
        yield from doubt_lines(doubt)
        task_id = doubt.seen_ids[0] if doubt.seen_ids else "TASK_ID"
        adopt = advice.command("adopt", manifest, doubt.job_id, task_id)
        yield f"  adopt:     {adopt}"
        yield f"  buy again: {advice.command('retry', manifest, doubt.job_id, '--in-doubt')}  # may be paid twice"
    yield ""
    yield f"Many at once: write id,task_id lines to a file, then {advice.command('adopt', manifest, '--from', 'FILE')}"


def _number(doubts: Sequence[Doubt]) -> str:
    prices = [doubt.price_micros for doubt in doubts]
    known = sum(price for price in prices if price is not None)
    return f"{text.count(len(doubts), 'paid request')}{f' of {text.money(known)}' if known else ''}"


def doubt_json(doubt: Doubt) -> dict[str, Any]:
    """Return a doubt as an object of ``"type": "doubt"``."""
    return {
        "type": "doubt",
        "id": doubt.job_id,
        "attempt": doubt.attempt,
        "sent_at": rfc3339(doubt.sent_at),
        "prompt": doubt.prompt,
        "model": doubt.model,
        "price": dollars(doubt.price_micros),
        "request_id": doubt.request_id,
        "reason": doubt.reason,
        "seen_ids": [clean(one, TASK_ID_MAX) for one in doubt.seen_ids],
    }
