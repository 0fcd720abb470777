"""What a person can do about a job that goes no further: the exact commands, ready to be pasted."""

from __future__ import annotations

import shlex
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchvid.cli.output import text
from batchvid.domain.job import State
from batchvid.domain.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.doubts import Doubt
    from batchvid.domain.results import NeedsAttention


LISTED_AT_MOST = 20
"""More than a screenful is not read; the rest is in ``batchvid status``."""
NAMED_AT_MOST = 6
"""Ids that one command names."""
ID_SHOWN = 100
PROMPT_SHOWN = 60
RANKS = ("in doubt", "failed", "deferred", "waiting")
"""Money in doubt comes first, then what failed, what is left for the next run, and what waits for one of these."""
TAKEN_BY = {"--base-url": ("run", "verify", "adopt", "doubts"), "--sandbox": ("run",)}
"""Which commands take a flag that not all of them take."""
_GIVEN: ContextVar[tuple[tuple[str, ...], ...]] = ContextVar("given", default=())


_REHEARSED: ContextVar[Mapping[str, str]] = ContextVar("rehearsed", default=MappingProxyType({}))
"""Of manifests as they were typed: the outputs of their rehearsals."""


def keep_flags(
    *, output: str | None, base_url: str | None, database: str | None, sandbox: bool, profile: str | None = None
) -> None:
    """Let each command that is advised from here on name the place this call was told to work in.

    Without them a pasted command would work in the manifest's own output, and buy there what is paid already.
    """
    named = [
        ("--output", output),
        ("--base-url", None if sandbox else base_url),
        ("--database", database),
        ("--profile", profile),
    ]
    flags = [(flag, value) for flag, value in named if value is not None]
    _GIVEN.set((*flags, *((("--sandbox",),) if sandbox else ())))


def keep_rehearsal(manifest: str, output: str) -> None:
    """Let each command about *manifest* that is advised from here on name the output that its rehearsal has by itself.

    A run with --sandbox finds it without.
    """
    _REHEARSED.set({**_REHEARSED.get(), manifest: output})


def command(name: str, *arguments: str) -> str:
    """Return a batchvid command as it can be pasted into a shell, whatever the names hold."""
    kept = [word for flag in _GIVEN.get() if name in TAKEN_BY.get(flag[0], (name,)) for word in flag]
    if name != "run" and (output := _REHEARSED.get().get(arguments[0] if arguments else "")) is not None:
        kept = ["--output", output, *kept]
    return " ".join(["batchvid", name, *(shlex.quote(clean(word, 4096)) for word in (*arguments, *kept))])


def standing(state: State) -> str:
    """Return how a job that needs attention stands."""
    match state:
        case State.IN_DOUBT | State.SUBMITTING:
            return "in doubt"
        case State.FAILED:
            return "failed"
        case State.PENDING:
            return "waiting"
        case _:
            return "deferred"


def doubt_steps(job_id: str, doubt: Doubt | None, manifest: str) -> tuple[tuple[str, str], ...]:
    """Return what to do about a job in doubt, as pairs of the case and the command."""
    seen = doubt.seen_ids[:1] if doubt is not None else ()
    return (
        ("If the dashboard shows this task, run", command("adopt", manifest, job_id, *(seen or ("TASK_ID",)))),
        ("If not, run", command("retry", manifest, job_id, "--in-doubt")),
    )


def failed_steps(failed: Sequence[tuple[str, str | None]], manifest: str) -> Iterator[tuple[str, str]]:
    """Yield what to do about failed jobs, given by id and reason, as pairs of the case and the command.

    The same prompt would be refused again, and perhaps be paid again: it is to be edited first.
    """
    from batchvid.domain.refusal import is_of_content

    refused = [job_id for job_id, reason in failed if is_of_content(reason)]
    others = [job_id for job_id, _ in failed if job_id not in set(refused)]
    if refused:
        which = "prompt of" if len(refused) == 1 else "prompts of"
        names = ", ".join(map(text.job_name, refused[:NAMED_AT_MOST]))
        more = f" and {len(refused) - NAMED_AT_MOST:,} more" if len(refused) > NAMED_AT_MOST else ""
        named = refused if len(refused) <= NAMED_AT_MOST else ["ID"]
        yield f"The content was refused: edit the {which} {names}{more}, then", command("retry", manifest, *named)
    if refused and 0 < len(others) <= NAMED_AT_MOST:
        yield "To buy the other failed ones again", command("retry", manifest, *others)
    elif others:
        when = "When that is done, to" if refused else "To"
        yield f"{when} buy the failed ones again", command("retry", manifest, "--failed")


def doubt_details(doubt: Doubt, *, prompt: bool = True) -> str:
    """Return by what a paid request is found on a dashboard: time (local), price, request id, ids seen, prompt."""
    sent = datetime.fromtimestamp(doubt.sent_at, UTC).astimezone()
    parts = [f"sent {sent:%Y-%m-%d %H:%M:%S}"]
    if doubt.price_micros is not None:
        parts.append(text.money(doubt.price_micros))
    if doubt.request_id is not None:
        parts.append(f"request id {clean(doubt.request_id, ID_SHOWN)}")
    if doubt.seen_ids:
        parts.append(f"seen in the answer: {', '.join(clean(one, ID_SHOWN) for one in doubt.seen_ids)}")
    if prompt and doubt.prompt:
        parts.append(f'"{clean(doubt.prompt, PROMPT_SHOWN)}"')
    return ", ".join(parts)


def needs_person_lines(jobs: Iterable[NeedsAttention], manifest: str, *, in_all: int) -> Iterator[str]:
    """Yield what needs attention, the most costly uncertainty first, each with its reason and its commands.

    The case in which a command fits stands before it. The commands of jobs that failed or are deferred
    are said once, for all of them; of several doubts, the walk through them.
    *in_all* is how many there are, of which *jobs* may be only the first.
    """
    ranked = sorted(jobs, key=lambda job: RANKS.index(standing(job.state)))
    shown = ranked[:LISTED_AT_MOST]
    if not shown:
        return
    doubts = sum(standing(job.state) == "in doubt" for job in shown)
    yield "Needs attention:"
    for job in shown:
        yield f"  {standing(job.state):<8}  {text.job_name(job.job_id)}: {text.why(job.reason)}"
        if job.doubt is not None:
            yield f"      {doubt_details(job.doubt)}"
        if standing(job.state) == "in doubt" and doubts == 1:
            ways = doubt_steps(job.job_id, job.doubt, manifest)
            width = max(len(case) for case, _ in ways)
            yield from (f"      {case:<{width}}  {way}" for case, way in ways)
    if in_all > len(shown):
        yield f"  … and {in_all - len(shown):,} more: {command('status', manifest)}"
    standings = {standing(job.state) for job in shown}
    if "in doubt" in standings:
        yield f"  To go through what is in doubt: {command('doubts', manifest)}"
    failed = [(job.job_id, job.reason) for job in shown if standing(job.state) == "failed"]
    yield from (f"  {case}: {way}" for case, way in failed_steps(failed, manifest))
    if "deferred" in standings:
        yield f"  To look for the deferred ones again, free: {command('run', manifest)}"
        yield f"  To give one of them up and buy it again: {command('retry', manifest, 'ID')}"
