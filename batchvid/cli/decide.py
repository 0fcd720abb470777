"""``approve`` and ``reject``: what a person decides about clips, from the shell."""

from __future__ import annotations

import json
import os
import pwd
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import database_option, json_option, load, manifest_argument, never_run, output_option
from batchvid.cli.output.advice import NAMED_AT_MOST, command
from batchvid.cli.output.text import cost_words, count, job_name, word
from batchvid.cli.streams import complain, tell
from batchvid.domain.decision import STARS_MAX, Decision, Verdict
from batchvid.domain.errors import BatchvidError, Exit
from batchvid.domain.job import State
from batchvid.domain.limits import matching
from batchvid.domain.records import dollars, review
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchvid.domain.job import Progress
    from batchvid.engine.deciding import Consequences
    from batchvid.manifest.model import Manifest


PATTERN = frozenset("*?[")
"""What makes a pattern of an id; no id holds it."""


def completed_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids that a shell completes, of the manifest that stands before them."""
    manifest = ctx.params.get("manifest")
    try:
        jobs = load(manifest, output=None).jobs if manifest is not None else ()
    except BatchvidError:
        return []
    return [job.id for job in jobs if job.id.startswith(incomplete)]


ids_argument = click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completed_ids)
attempt_option = click.option(
    "--attempt",
    type=click.IntRange(min=1),
    metavar="N",
    help="Decide about the clip of this paid attempt, kept beside. The default is the clip that the job has now.",
)
stars_option = click.option("--stars", type=click.IntRange(0, STARS_MAX), help="How good it is.")
note_option = click.option("--note", default="", metavar="TEXT", help="Why, for people; reject needs it.")
by_option = click.option("--by", metavar="NAME", help="Who decides. The default is the name of the user account.")
clear_option = click.option("--clear", is_flag=True, help="Take back what was decided, with stars and note.")


def deciding_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that both commands have."""
    for option in (json_option, database_option, output_option, clear_option, by_option, note_option, stars_option):
        command = option(command)
    return attempt_option(command)


@click.command("approve")
@manifest_argument
@click.argument("ids", nargs=-1, metavar="[ID...]", shell_complete=completed_ids)
@click.option(
    "--undecided", is_flag=True, help="Only clips without a verdict; without ID all of them, as after the rejections."
)
@deciding_options
def approve_command(
    manifest: Path,
    ids: tuple[str, ...],
    *,
    undecided: bool,
    attempt: int | None,
    stars: int | None,
    note: str,
    by: str | None,
    clear: bool,
    output: str | None,
    database: str | None,
    as_json: bool,
) -> int:
    """Approve clips: films take them, and collect and export --approved hand them on. Works beside a run.

    ID may be a pattern, such as 'kite-*': then all its finished jobs are meant. What is decided replaces what was
    decided about the same clip before, stars and note included.
    """
    if not ids and not undecided:
        raise click.UsageError("name job ids or patterns, or --undecided for all clips without a verdict")
    if undecided and (clear or attempt is not None):
        raise click.UsageError("--undecided means the clips that jobs have now: leave out --clear and --attempt")
    loaded = load(manifest, output=output, database=database)
    verdict = None if clear else Verdict.APPROVED
    made = decisions_of(loaded, ids or ("*",), verdict, attempt=attempt, stars=stars, note=note, by=by)
    if undecided and not (made := without_verdict(loaded, made)):
        tell("every finished clip has a verdict: nothing was changed")
        return Exit.OK
    return _decide(loaded, str(manifest), made, as_json=as_json)


@click.command("reject")
@manifest_argument
@ids_argument
@deciding_options
def reject_command(
    manifest: Path,
    ids: tuple[str, ...],
    *,
    attempt: int | None,
    stars: int | None,
    note: str,
    by: str | None,
    clear: bool,
    output: str | None,
    database: str | None,
    as_json: bool,
) -> int:
    """Reject clips: the next run buys each job again, while it has an attempt left (limits.attempts).

    Works beside a run. The old clip is kept beside the new one. Nothing is sent now; what the next run buys, and for
    how much at most, is told. ID may be a pattern, such as 'kite-*'. What is decided replaces what was decided about
    the same clip before.
    """
    if not note and not clear:
        raise click.UsageError("say why with --note: whoever makes the next one needs to know")
    loaded = load(manifest, output=output, database=database)
    verdict = None if clear else Verdict.REJECTED
    made = decisions_of(loaded, ids, verdict, attempt=attempt, stars=stars, note=note, by=by)
    return _decide(loaded, str(manifest), made, as_json=as_json)


def account_name() -> str:
    """Return the name of the user account that this process has."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def decisions_of(
    manifest: Manifest,
    ids: Sequence[str],
    verdict: Verdict | None,
    *,
    attempt: int | None,
    stars: int | None,
    note: str,
    by: str | None,
) -> list[Decision]:
    """Return what is decided, one for each job that is meant; raises ``click.UsageError`` where there is no clip."""
    if verdict is None and (stars is not None or note):
        raise click.UsageError("--clear takes all back: give no --stars or --note with it")
    rows, at, who = rows_of(manifest), time.time(), by or account_name()
    found = []
    for job_id in named(manifest, ids, rows):
        row = rows.get(job_id)
        if row is None or not row.attempt or (row.state is not State.DONE and attempt is None):
            raise click.UsageError(f"job {job_id!r} is {_stands(row)}: only a clip that is there can be judged")
        found.append(Decision(job_id, attempt or row.attempt, at, who, verdict, stars, note))
    return found


def without_verdict(manifest: Manifest, made: Sequence[Decision]) -> list[Decision]:
    """Return those of the decisions that are about clips which nobody has approved or rejected."""
    journal = journal_of(manifest).read()
    with journal or nullcontext():
        known = {} if journal is None else journal.decisions({one.job_id for one in made})
    judged = {about for about, one in known.items() if one.verdict is not None}
    return [one for one in made if (one.job_id, one.attempt) not in judged]


def rows_of(manifest: Manifest) -> dict[str, Progress]:
    """Return what the journal holds of the manifest's jobs; raises `ConfigError` when nothing was ever run."""
    store = journal_of(manifest)
    if store.exists():
        store.decide(())  # a journal of an older batchvid is brought up to date
    journal = store.read()
    if journal is None:
        raise never_run(manifest, "there is no clip to decide about")
    with journal:
        return {row.job_id: row for row in journal.progress_of([job.id for job in manifest.jobs])}


def named(manifest: Manifest, ids: Sequence[str], rows: Mapping[str, Progress]) -> list[str]:
    """Return the jobs that are meant, in the manifest's order; of a pattern, only those that are done."""
    known = [job.id for job in manifest.jobs]
    found: set[str] = set()
    for one in ids:
        if PATTERN.isdisjoint(one):
            if one not in set(known):
                raise click.UsageError(f"the manifest has no job {one!r}")
            found.add(one)
            continue
        if not (matches := matching(known, [one])):
            raise click.UsageError(f"the manifest has no job like {one!r}")
        done = {job_id for job_id in matches if job_id in rows and rows[job_id].state is State.DONE}
        if not done:
            raise click.UsageError(f"no job like {one!r} is done: only a clip that is there can be judged")
        found |= done
    return [job_id for job_id in known if job_id in found]


def _stands(row: Progress | None) -> str:
    return "new" if row is None else word(row.state)


def _decide(manifest: Manifest, typed: str, made: Sequence[Decision], *, as_json: bool) -> int:
    from batchvid.engine.deciding import consequences, decide

    try:
        warnings = decide(manifest, made)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for line in warnings:
        complain(f"warning: {line}")
    journal, ids = journal_of(manifest).read(), [one.job_id for one in made]
    with journal or nullcontext():
        found = None if journal is None else consequences(manifest, journal, ids)
    if as_json:
        for one in made:
            tell(json.dumps({"type": "decision", "id": one.job_id, "attempt": one.attempt, **(review(one) or {})}))
        tell(json.dumps({"type": "summary", "decided": len(made), **_follows_json(found, typed)}))
        return Exit.OK
    said = {Verdict.APPROVED: "Approved", Verdict.REJECTED: "Rejected", None: "Took back what was decided about"}
    tell(f"{said[made[0].verdict]} {count(len(made), 'clip')}: {_listed(ids)}")
    for line in follow_lines(found, typed, is_held=journal_of(manifest).is_held()) if found is not None else ():
        tell(line)
    return Exit.OK


def follow_lines(found: Consequences, typed: str, *, is_held: bool) -> Iterator[str]:
    """Yield what follows from rejections, and the commands for it."""
    bought = len(found.again) + len(found.followers)
    if bought:
        when = "The run after the one that is going on" if is_held else "The next run"
        behind = f", {len(found.followers):,} of them behind another" if found.followers else ""
        more = f"; {found.in_all:,} jobs with those rejected before" if found.in_all > bought else ""
        told = f"{count(bought, 'job')} again{behind}, for {cost_words(found.cost)}{more}"
        yield f"{when} buys {told}: {command('run', typed)}"
    if found.kept:
        yield f"{count(len(found.kept), 'clip')} that goes on from one of these is kept: {_listed(found.kept)}"
    if found.stuck:
        redo = command("redo", typed, *(found.stuck if len(found.stuck) <= NAMED_AT_MOST else ("ID",)))
        yield f"No attempt left for {_listed(found.stuck)} (limits.attempts): {redo}"


def _follows_json(found: Consequences | None, typed: str) -> dict[str, object]:
    if found is None:
        return {}
    return {
        "again": [*found.again, *found.followers],
        "price": dollars(found.cost.price_micros),
        "price_at_most": dollars(found.cost.at_most_micros),
        "kept": list(found.kept),
        "no_attempt_left": list(found.stuck),
        "next": command("run", typed) if found.again else None,
    }


def _listed(ids: Collection[str]) -> str:
    names = ", ".join(map(job_name, list(ids)[:NAMED_AT_MOST]))
    return f"{names} and {len(ids) - NAMED_AT_MOST:,} more" if len(ids) > NAMED_AT_MOST else names
