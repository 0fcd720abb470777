"""``doubts``: goes through what is in doubt; a person adopts its task, buys it again, or leaves it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.adopt import Adopting, offline_option, report
from batchvid.cli.options import (
    database_option,
    json_option,
    load,
    manifest_argument,
    output_option,
    read_doubts,
    read_journal,
    service_options,
)
from batchvid.cli.output import text
from batchvid.cli.output.advice import command, doubt_details
from batchvid.cli.output.text import cost_words
from batchvid.cli.retry import cost_in, record, writing
from batchvid.cli.streams import tell
from batchvid.domain import lifecycle as life
from batchvid.domain.doubts import Adoption, doubts_of, mistakes, refusal, scruples
from batchvid.domain.errors import ConfigError, Exit, ServiceError
from batchvid.domain.records import dollars, rfc3339
from batchvid.domain.task import TASK_ID_MAX
from batchvid.domain.text import clean
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batchvid.domain.doubts import Doubt
    from batchvid.domain.results import Money
    from batchvid.manifest.model import Manifest


QUESTION = "[a]dopt its task, [b]uy it again, [l]eave it, [q]uit"
PROMPT_SHOWN = 200
WORDS = {"a": "adopted", "b": "to be bought again", "l": "left"}


@click.command("doubts")
@manifest_argument
@click.option(
    "--not-billed",
    is_flag=True,
    help="Say that the service's dashboard shows none of the requests that were refused only at somebody's word (5xx, "
    "redirects): the budget counts them no more.",
)
@offline_option
@output_option
@database_option
@service_options
@json_option
def doubts_command(
    manifest: Path,
    *,
    not_billed: bool,
    offline: bool,
    output: str | None,
    database: str | None,
    base_url: str | None,
    api_key_file: Path | None,
    ca_file: str | None,
    as_json: bool,
) -> int:
    """Go through what is in doubt: paid requests of which nobody knows whether they made a task.

    Each is shown with what finds it on the service's dashboard: its local time, prompt, price, request id, and any task
    id that was seen in the answer.

    On a terminal this is a walk, which holds the output: adopt the task that you found, buy the clip again, leave it,
    or quit. The service is asked for a task before it is adopted; what is bought again may be paid twice. Each decision
    is recorded at once. Elsewhere, and with --json, it is a list, which can be read beside a run.
    """
    loaded = load(manifest, output=output, database=database, base_url=base_url)
    if not_billed:
        _count_no_more(loaded)
        return Exit.OK
    if as_json or not _is_terminal():
        rows, money = read_journal(loaded)
        found = read_doubts(loaded, rows, run_active=journal_of(loaded).is_held())
        if as_json:
            for doubt in found:
                tell(json.dumps(doubt_json(doubt)))
            total = sum(doubt.price_micros or 0 for doubt in found)
            unproven = dollars(money.unproven_micros)
            tell(json.dumps({"type": "summary", "doubts": len(found), "price": dollars(total), "unproven": unproven}))
        else:
            for line in list_lines(found, str(manifest)) if found else ["Nothing is in doubt."]:
                tell(line)
            _tell_unproven(money, str(manifest))
        return Exit.OK
    with writing(loaded) as journal, ExitStack() as stack:
        adopting = Adopting(loaded, str(manifest), journal, stack, key_file=api_key_file, ca_file=ca_file)
        walk = Walk(adopting, offline=offline)
        try:
            walk.go()
        finally:
            walk.tell_end()
        _tell_unproven(journal.money(), str(manifest))
    return Exit.OK


def _tell_unproven(money: Money, named: str) -> None:
    """Tell of the refused requests that the budget counts, because nothing proves that they were not billed."""
    if money.unproven_micros:
        tell(
            f"The budget counts {text.money(money.unproven_micros)} for requests refused only at somebody's word. "
            f"Where the dashboard shows none of them: {command('doubts', named)} --not-billed"
        )


def _count_no_more(manifest: Manifest) -> None:
    """Record that a person found none of the refused requests on the dashboard."""
    with writing(manifest) as journal:
        rows = [row for row in journal.all_progress() if row.unproven_micros]
        for row in rows:
            record(journal, row, life.RefusalsProven("batchvid doubts --not-billed"))
    given_back = sum(row.unproven_micros for row in rows)
    tell(
        f"{text.money(given_back)} of {text.count(len(rows), 'job')} is counted no more."
        if rows
        else "Nothing was counted so."
    )


def _is_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def doubt_lines(doubt: Doubt) -> Iterator[str]:
    """Yield what is known of a doubt, so that the request can be found on the service's dashboard."""
    yield f"{text.job_name(doubt.job_id)}: {doubt_details(doubt, prompt=False)}"
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
        adopt = command("adopt", manifest, doubt.job_id, task_id)
        yield f"  adopt:     {adopt}"
        yield f"  buy again: {command('retry', manifest, doubt.job_id, '--in-doubt')}  # may be paid twice"
    yield ""
    yield f"Many at once: write id,task_id lines to a file, then {command('adopt', manifest, '--from', 'FILE')}"


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


class Walk:
    """One walk through the doubts of an output."""

    def __init__(self, adopting: Adopting, *, offline: bool) -> None:
        self._adopting = adopting
        self._offline = offline
        self._jobs = {job.id: job for job in adopting.manifest.jobs}
        self._doubts = doubts_of(self._jobs.values(), adopting.journal.doubts())
        self._done: Counter[str] = Counter()

    def go(self) -> None:
        """Ask the person about each doubt, one after the other."""
        for number, doubt in enumerate(self._doubts, 1):
            tell(f"\n({number} of {len(self._doubts)})")
            for line in doubt_lines(doubt):
                tell(line)
            answer = self._decide(doubt)
            if answer == "q":
                return
            self._done[answer] += 1

    def _decide(self, doubt: Doubt) -> str:
        """Ask until something is decided; return the letter of it."""
        while True:
            answer = str(click.prompt(QUESTION, default="l", show_default=False)).strip().lower()[:1]
            match answer:
                case "a" if self._adopts(doubt):
                    return answer
                case "b" if self._buys_again(doubt):
                    return answer
                case "l" | "q":
                    return answer
                case "a" | "b":
                    continue
                case _:
                    tell("Please answer with a, b, l or q.")

    def _adopts(self, doubt: Doubt) -> bool:
        seen = doubt.seen_ids[0] if doubt.seen_ids else ""
        hint = f"Enter for {clean(seen, TASK_ID_MAX)}, - for none" if seen else "Enter for none"
        task_id = str(click.prompt(f"Its task id ({hint})", default=seen, show_default=False)).strip()
        if task_id in {"", "-"}:
            return False
        one = Adoption(doubt.job_id, task_id)
        known = self._adopting.known([one])
        wrong = next((trouble for _, trouble in mistakes([one], known)), None)
        if wrong is not None:
            tell(f"Not adopted: {wrong}.")
            return False
        try:
            said = {} if self._offline else self._adopting.ask([task_id])
        except (ConfigError, ServiceError) as error:
            tell(f"Not adopted: {error}.")
            return False
        why = refusal(one, said.get(task_id))
        if why is not None:
            tell(f"Not adopted: {why}.")
            return False
        found = report(said, task_id)
        for scruple in scruples(one, known.rows[doubt.job_id], found):
            tell(f"{scruple[:1].upper()}{scruple[1:]}.")
            if not click.confirm("Adopt it all the same?", default=False):
                return False
        self._adopting.record([one])
        tell(f"Adopted{f'; the service calls it {found.status!r}' if found else ''}.")
        return True

    def _buys_again(self, doubt: Doubt) -> bool:
        journal = self._adopting.journal
        cost = cost_in(journal, [self._jobs[doubt.job_id]], self._adopting.manifest.limits)
        if not click.confirm(f"Buy it again for {cost_words(cost)}? It may be paid twice.", default=False):
            return False
        row = journal.progress(doubt.job_id)
        if row is not None:
            record(journal, row, life.Reopened("batchvid doubts"))
        tell("The next run buys it again.")
        return True

    def tell_end(self) -> None:
        """Tell what was decided, and the next command."""
        if not self._doubts:
            tell("Nothing is in doubt.")
            return
        left = len(self._doubts) - self._done["a"] - self._done["b"]
        deeds = [f"{self._done[letter]:,} {WORDS[letter]}" for letter in ("a", "b") if self._done[letter]]
        tell(f"\n{text.count(len(self._doubts), 'doubt')}: {', '.join([*deeds, f'{left:,} left in doubt'])}.")
        named = self._adopting.named
        if deeds:
            tell(f"Next: {command('run', named)} collects what was adopted, and buys what is to be bought again.")
        if left:
            tell(f"{'Then' if deeds else 'Next'}: {command('doubts', named)} goes through the rest.")
