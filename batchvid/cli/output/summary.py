"""The end of a run: what there is now, what it cost, what to do next, and what the exit code means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchvid.cli.output import advice, text
from batchvid.cli.output.machines import machines_json, took_part_line
from batchvid.domain.errors import Exit
from batchvid.domain.film import FilmState
from batchvid.domain.job import State
from batchvid.domain.records import DEFERRED, counts, dollars, learned_json, rfc3339, standings, sums
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchvid.domain.film import FilmReport
    from batchvid.domain.results import Money, NeedsAttention, Summary


MEANINGS = {
    Exit.BUG: "a bug in batchvid; what was paid is in the journal",
    Exit.USAGE: "the command was not understood",
    Exit.MANIFEST: "the manifest has problems, and nothing was sent",
    Exit.CONFIG: "the configuration is wrong: the key, base_url, or what else the message names",
    Exit.BUSY: "another run holds this output, or has taken over what this one had",
    Exit.DISK: "the disk is full, or the output, its bucket or its database cannot be used",
    Exit.ACCOUNT: "the service refused the account: the key, what it may do, or its quota",
    Exit.IN_DOUBT: "some jobs are in doubt: they may be paid, and only a person can tell",
    Exit.BUDGET: "the budget is reached",
    Exit.STOPPED: "stopped early; running it again does what is left",
    Exit.FAILED: "finished, and some jobs failed, wait for one that did, or a film could not be made",
    Exit.OK: "every job is a clip on disk",
    Exit.INTERRUPTED: "interrupted; what was under way is recorded, and running it again does what is left",
    Exit.TERMINATED: "terminated; what was under way is recorded, and running it again does what is left",
}

STOPPED_BY = {
    Exit.CONFIG: "the configuration is wrong; see above why it stopped",
    Exit.BUSY: "another run has taken over; see above why it stopped",
    Exit.DISK: "clips or records could not be saved; see above why it stopped",
    Exit.ACCOUNT: "the service refused the account; see above why it stopped",
}
"""Where a line above names the cause, no other one is named."""
ON_MANY_MACHINES = {
    Exit.CONFIG: "see above why it stopped",
    Exit.DISK: "see that the database and the output can be used from this machine",
}
FILMS_SHOWN = 5
FILM_WORDS = {FilmState.WAITING: "", FilmState.DUE: "not made yet: ", FilmState.FAILED: "not made: "}
"""What is said before the reason of a film that is not there."""

DAY_LIMIT = "limits.budget_per_day"
BEFORE_THE_NEXT_RUN = {
    Exit.CONFIG: "see what is wrong with batchvid doctor",
    Exit.DISK: "free some space or give batchvid a folder that it may write to",
    Exit.ACCOUNT: "check the key and the quota on the service's site",
    Exit.BUDGET: "raise limits.budget (or --max-cost)",
}


def summary_lines(summary: Summary) -> Iterator[str]:
    """Yield the end of a run for people, the exit code's meaning last."""
    jobs = sum(summary.counts.values())
    if summary.sandbox:
        yield "SANDBOX: nothing was paid, and the clips are made up."
    others = f" {summary.not_chosen:,} not chosen (--only)." if summary.not_chosen else ""
    stand = _ended(standings(summary))
    parked = f"; {stand.pop(DEFERRED):,} deferred to the next run" if summary.parked else ""
    yield f"{text.count(jobs, 'job')}: {text.state_counts(stand) or 'nothing to do'}{parked}.{others}"
    yield f"Money: {money_line(summary.money)}."
    sent = [text.count(summary.submits, "submit"), text.count(summary.polls, "poll")]
    took = text.duration(summary.elapsed_s)
    yield f"Took {took}: {', '.join(sent)}, {text.size(summary.downloaded_bytes)} downloaded."
    if summary.learned is not None:
        yield f"Limits learned: {summary.learned}."
    if summary.machines is not None and summary.machines.took_part:
        yield took_part_line(summary.machines)
    yield f"Clips: {clean(summary.output, 4096)}"
    yield from film_lines(summary.films)
    if summary.stopped:
        yield f"Stopped early: {text.why(summary.stopped)}"
    yield from advice.needs_person_lines(summary.needs_person, summary.manifest, in_all=needing_person(summary))
    yield from _next(summary)
    yield exit_line(summary)


def _ended(counts: Mapping[Any, int]) -> dict[str, int]:
    """Return the counts as a run leaves them: for the answer to a paid request nobody waits any more."""
    found: dict[str, int] = {state: number for state, number in counts.items() if number}
    doubts = sum(found.pop(state, 0) for state in (State.IN_DOUBT, State.SUBMITTING))
    return {**found, State.IN_DOUBT: doubts}


def film_lines(films: Sequence[FilmReport]) -> Iterator[str]:
    """Yield how the films stand: those that are done in one line, each other one with its reason."""
    if done := [one for one in films if one.state in {FilmState.MADE, FilmState.DONE}]:
        made = sum(one.state is FilmState.MADE for one in done)
        shown = ", ".join(clean(one.film.path, 200) for one in done[:FILMS_SHOWN])
        more = f" and {len(done) - FILMS_SHOWN:,} more" if len(done) > FILMS_SHOWN else ""
        yield f"Films: {shown}{more}" + (f" ({made:,} made just now)" if made else "")
    for one in films:
        if one not in done:
            yield f"Film {text.job_name(one.film.id)}: {FILM_WORDS[one.state]}{text.why(one.reason)}"


def film_json(report: FilmReport) -> dict[str, Any]:
    """Return how a film stands, as an object."""
    film = report.film
    return {
        "id": film.id,
        "state": report.state.value,
        "path": film.path,
        "clips": list(film.clips),
        "reason": report.reason or None,
    }


def needing_person(summary: Summary) -> int:
    """Count the jobs that go no further until somebody decides."""
    found = summary.counts.get(State.FAILED, 0) + _ended(summary.counts)[State.IN_DOUBT]
    return max(found + summary.parked, len(summary.needs_person))


def _next(summary: Summary) -> Iterator[str]:
    ended = _ended(summary.counts)
    left = sum(ended.get(state, 0) for state in State if state is not State.IN_DOUBT and state.is_open)
    left -= sum(job.state is State.PENDING for job in summary.needs_person)  # no run does what waits for a decision
    first = BEFORE_THE_NEXT_RUN.get(summary.exit_code)
    if summary.exit_code is Exit.BUDGET and DAY_LIMIT in (summary.stopped or ""):
        first = f"wait for the next day or raise {DAY_LIMIT}"
    if summary.machines is not None:
        first = ON_MANY_MACHINES.get(summary.exit_code, first)
    if left or first:
        again = advice.command("run", summary.manifest)
        does = (
            f"does the remaining {text.count(left, 'job') if left > 1 else 'job'}, and nothing twice"
            if left
            else "goes on, and does nothing twice"
        )
        yield f"Next: {f'{first}, then ' if first else ''}{again} {does}."


def exit_line(summary: Summary) -> str:
    """Return the exit code and what it means here: only what has happened."""
    return f"Exit {int(summary.exit_code)}: {_meaning(summary)}."


def _meaning(summary: Summary) -> str:
    """Return the meaning of the exit code, of the causes that it stands for only those of this run."""
    code = summary.exit_code
    match code:
        case Exit.FAILED if parts := list(_failed_parts(summary)):
            return f"finished, and {text.listed(parts)}"
        case Exit.IN_DOUBT if doubts := _ended(summary.counts)[State.IN_DOUBT]:
            jobs = "job is in doubt: it" if doubts == 1 else "jobs are in doubt: they"
            return f"{doubts:,} {jobs} may be paid, and only a person can tell"
        case Exit.STOPPED if not summary.stopped and summary.parked:
            jobs = "job is" if summary.parked == 1 else "jobs are"
            return f"{summary.parked:,} {jobs} deferred; running it again looks for what is paid, free"
        case Exit.CONFIG | Exit.BUSY | Exit.DISK | Exit.ACCOUNT if summary.stopped:
            return STOPPED_BY[code]
    return MEANINGS[code]


def _failed_parts(summary: Summary) -> Iterator[str]:
    if failed := summary.counts.get(State.FAILED, 0):
        yield f"{text.count(failed, 'job')} failed"
    if waiting := sum(job.state is State.PENDING for job in summary.needs_person):
        yield f"{text.count(waiting, 'job')} {'waits' if waiting == 1 else 'wait'} for one that brought no clip"
    if films := sum(film.state is FilmState.FAILED for film in summary.films):
        yield f"{text.count(films, 'film')} could not be made"


def money_line(money: Money) -> str:
    """Return what was spent and what is reserved, against the budget, and how much of it nobody knows."""
    known = f"{text.money(money.spent_micros)} spent"
    if money.reserved_micros:
        known += f", {text.money(money.reserved_micros)} reserved"
        if money.unproven_micros:
            known += f" ({text.money(money.unproven_micros)} of it for refused requests that may be billed)"
    if money.budget_micros is not None:
        known += f", of a budget of {text.money(money.budget_micros)}"
    if money.budget_per_day_micros is not None:
        known += f", {text.money(money.today_micros)} of {text.money(money.budget_per_day_micros)} for this day"
    if money.unpriced_attempts:
        known += f", and {text.count(money.unpriced_attempts, 'attempt')} without a known price"
    return known


def summary_json(summary: Summary) -> dict[str, Any]:
    """Return the end of a run as an object of ``"type": "summary"``."""
    return {
        "type": "summary",
        "manifest": summary.manifest,
        "output": summary.output,
        "counts": counts(summary.counts),
        "not_chosen": summary.not_chosen,
        "parked": summary.parked,
        "money": sums(summary.money),
        "unpriced_attempts": summary.money.unpriced_attempts,
        "elapsed_s": round(summary.elapsed_s, 3),
        "submits": summary.submits,
        "polls": summary.polls,
        "downloaded_bytes": summary.downloaded_bytes,
        "stopped": summary.stopped,
        "needs_person": [needs_person_json(job) for job in summary.needs_person],
        "films": [film_json(report) for report in summary.films],
        "exit_code": int(summary.exit_code),
        "standings": standings(summary),
        "sandbox": summary.sandbox,
        **({} if summary.learned is None else {"limits_learned": learned_json(summary.learned)}),
        **machines_json(summary.machines),
    }


def needs_person_json(job: NeedsAttention) -> dict[str, Any]:
    """Return a job that needs attention as an object, with what is known of a paid request in doubt."""
    told: dict[str, Any] = {"id": job.job_id, "state": job.state.value, "reason": job.reason or None}
    if (doubt := job.doubt) is not None:
        told |= {
            "sent_at": rfc3339(doubt.sent_at),
            "prompt": doubt.prompt,
            "price": dollars(doubt.price_micros),
            "request_id": doubt.request_id,
            "seen_ids": list(doubt.seen_ids),
        }
    return told
