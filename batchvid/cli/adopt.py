"""``adopt``: records the tasks that a person found on the service's dashboard, after asking the service for them.

``--from`` reads a table of which task is whose: CSV with commas, semicolons or tabs, or JSON lines.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import (
    bound_account,
    database_option,
    json_option,
    load,
    manifest_argument,
    output_option,
    service_options,
)
from batchvid.cli.output.advice import command
from batchvid.cli.output.text import count
from batchvid.cli.retry import confirmed, writing
from batchvid.cli.streams import complain, tell
from batchvid.domain import lifecycle as life
from batchvid.domain.decision import Decision
from batchvid.domain.doubts import Adoption, KnownJobs, has_it, mistakes, refusal, scruples
from batchvid.domain.errors import ConfigError, Exit, ServiceError, StorageError
from batchvid.domain.frozen import frozen
from batchvid.domain.task import TASK_ID_MAX, Fault
from batchvid.domain.text import clean
from batchvid.engine.target import journal_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.task import TaskReport
    from batchvid.journal.base import Journal
    from batchvid.manifest.model import Manifest

    Said = Mapping[str, TaskReport | Fault]


MODEL_SHOWN = 100

offline_option = click.option(
    "--offline", is_flag=True, help="Do not ask the service for the tasks; a wrong id is noticed by the next run only."
)


@click.command("adopt")
@manifest_argument
@click.argument("job_id", metavar="[ID", required=False)
@click.argument("task_id", metavar="TASK_ID]", required=False)
@click.option(
    "--from",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Read many from a file: CSV with the columns id and task_id, or JSON lines with these fields; - reads "
    "standard input.",
)
@offline_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask where a person should think twice, for scripts.")
@output_option
@database_option
@service_options
@json_option
def adopt_command(
    manifest: Path,
    job_id: str | None,
    task_id: str | None,
    *,
    file: Path | None,
    offline: bool,
    yes: bool,
    output: str | None,
    database: str | None,
    base_url: str | None,
    api_key_file: Path | None,
    ca_file: str | None,
    as_json: bool,
) -> int:
    """Adopt for the job ID the task TASK_ID from the service's dashboard; the next run collects its clip.

    The service is asked for the task first, which is free. What it does not know is refused, and so is the task of
    another job. Nothing is bought.

    It is meant for jobs in doubt. It also corrects a wrong adoption and takes back a lost task: of any job that has a
    paid attempt, also a failed or a finished one. The clip that a finished job has is kept beside the new one.
    A finished job, and a task of which the service says that it failed, need a yes.

    With --from FILE every line is checked before anything is recorded: either all lines are, or none. Two jobs in one
    file may exchange their tasks. Exits 65 when a line is wrong, and names each such line.
    """
    if (file is None) == (job_id is None) or (job_id is None) != (task_id is None):
        raise click.UsageError("name a job and its task, or a file with many: ID TASK_ID, or --from FILE")
    loaded = load(manifest, output=output, database=database, base_url=base_url)
    teller = Teller(str(manifest), file, as_json=as_json)
    with writing(loaded) as journal, ExitStack() as stack:
        adopting = Adopting(loaded, str(manifest), journal, stack, key_file=api_key_file, ca_file=ca_file)
        if file is not None:
            wanted, problems = _read(file)
        else:
            wanted, problems = [Adoption(job_id or "", task_id or "")], []
        known = adopting.known(wanted)
        problems += [(one.line, wrong) for one, wrong in mistakes(wanted, known)]
        if problems:
            return teller.refuse(problems)
        new = [one for one in wanted if not has_it(one, known)]
        said: Said = {} if offline else adopting.ask([one.task_id for one in new])
        if refused := [(one.line, why) for one in new if (why := refusal(one, said.get(one.task_id)))]:
            return teller.refuse(refused)
        doubtful = [why for one in new for why in scruples(one, known.rows[one.job_id], report(said, one.task_id))]
        for why in doubtful:
            (complain if as_json else tell)(why)
        if doubtful and not yes and not confirmed("Adopt all the same?"):
            (complain if as_json else tell)("nothing was changed")
            return Exit.OK
        adopting.record(new)
    teller.adopted(wanted, known, said)
    return Exit.OK


def report(said: Said, task_id: str) -> TaskReport | None:
    """Return what the service reports of a task; ``None`` when it was not asked."""
    found = said.get(task_id)
    return None if isinstance(found, Fault) else found


def _read(file: Path) -> tuple[list[Adoption], list[tuple[int, str]]]:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise click.UsageError(f"{file} cannot be read: {error.strerror}") from None
    lines = read_found_tasks(data)
    wanted = [line for line in lines if isinstance(line, Adoption)]
    return wanted, [line for line in lines if not isinstance(line, Adoption)]


@frozen
class Adopting:
    """The journal that a person's word is recorded in, and the service that is asked before."""

    manifest: Manifest
    named: str
    journal: Journal
    stack: ExitStack
    key_file: Path | None
    ca_file: str | None

    def known(self, wanted: Iterable[Adoption]) -> KnownJobs:
        """Return what the journal knows of these jobs."""
        ids = list(dict.fromkeys(one.job_id for one in wanted))
        rows = {row.job_id: row for row in self.journal.progress_of(ids)}
        newest = {job_id: tries[-1].task_id for job_id in rows if (tries := list(self.journal.attempts(job_id)))}
        named = {job.id for job in self.manifest.jobs}
        return KnownJobs(rows, named, self.named, self.journal.owner_of_task, newest)

    def ask(self, task_ids: Sequence[str]) -> Said:
        """Return what the service says of these tasks; raises when it cannot be asked, and names the way without."""
        import asyncio

        from batchvid.engine.repair import ask_for
        from batchvid.providers.registry import PROVIDERS

        if not task_ids:
            return {}
        try:
            account = bound_account(self.manifest, self.stack, key_file=self.key_file, ca_file=self.ca_file)
            provider, pace = PROVIDERS[self.manifest.provider], self.manifest.limits.requests
            return asyncio.run(ask_for(task_ids, provider, account=account, pace=pace))
        except (ConfigError, ServiceError) as error:
            raise type(error)(f"{error}; nothing was recorded (--offline adopts without asking)") from None

    def record(self, wanted: Iterable[Adoption]) -> None:
        """Record these adoptions, all or none."""
        from batchvid.journal.base import Change, TaskOwnedError

        at = time.time()
        tasks = {one.job_id: one.task_id for one in wanted}
        rows = list(self.journal.progress_of(tasks))
        # What was decided was about the clip of the task before: a rejection must not buy this one's clip again.
        decided = self.journal.decisions(tasks)
        others = [row for row in rows if row.task_id != tasks[row.job_id] and (row.job_id, row.attempt) in decided]
        if others:
            said = [Decision(row.job_id, row.attempt, at, "batchvid adopt") for row in others]
            journal_of(self.manifest).decide(said)
        try:
            self.journal.record([Change.of(row, (life.TaskAdopted(tasks[row.job_id]), at)) for row in rows])
        except TaskOwnedError as error:  # checked before, under the same lock
            raise StorageError(f"task {error.task_id} belongs to job {error.owner!r}: nothing was recorded") from None


@frozen
class Teller:
    """Tells of adoptions, as text or as JSON."""

    named: str
    file: Path | None
    as_json: bool

    def refuse(self, problems: Iterable[tuple[int, str]]) -> int:
        """Tell all that is wrong; return the exit code."""
        found = sorted(problems)
        if self.file is None:
            raise click.UsageError(found[0][1])
        for line, text in found:
            complain(f"{self.file}:{line}: {text}")
            if self.as_json:
                tell(json.dumps({"type": "problem", "file": str(self.file), "line": line, "text": text}))
        complain(f"{count(len(found), 'problem')}: nothing was recorded")
        return Exit.MANIFEST

    def adopted(self, wanted: Sequence[Adoption], known: KnownJobs, said: Said) -> None:
        """Tell what was recorded, and what the service says of each task."""
        following = command("run", self.named)
        already = sum(has_it(one, known) for one in wanted)
        for one in wanted:
            (self._write if self.as_json else self._say)(one, known, report(said, one.task_id))
        if self.as_json:
            sums = {"type": "summary", "adopted": len(wanted) - already, "already": already, "next": following}
            tell(json.dumps(sums))
        elif self.file is not None:
            had = f", {already:,} had that task already" if already else ""
            tell(f"{count(len(wanted) - already, 'job')} adopted{had}. Next: {following}")

    def _write(self, one: Adoption, known: KnownJobs, found: TaskReport | None) -> None:
        told = {
            "type": "adopted",
            "id": one.job_id,
            "task_id": one.task_id,
            "already": has_it(one, known),
            "status": found.status if found else None,
            "model": found.resolved_model if found else None,
            "replaced_task_id": _replaced(one, known),
        }
        tell(json.dumps(told))

    def _say(self, one: Adoption, known: KnownJobs, found: TaskReport | None) -> None:
        following = f". Next: {command('run', self.named)}" if self.file is None else ""
        if has_it(one, known):
            tell(f"job {one.job_id} has that task already{following}")
            return
        if found is not None:
            by = f", by {clean(found.resolved_model, MODEL_SHOWN)}" if found.resolved_model else ""
            tell(f"the service calls task {one.shown} {found.status!r}{by}")
        if (left := _replaced(one, known)) is not None:
            back = command("adopt", self.named, one.job_id, left)
            tell(f"its task before, {clean(left, TASK_ID_MAX)}, is not collected any more; to go back: {back}")
        if one.job_id not in known.named:
            tell(f"the manifest does not name {one.job_id}: a run collects its clip only when it does")
        tell(f"job {one.job_id} has task {one.shown}{following}")


def _replaced(one: Adoption, known: KnownJobs) -> str | None:
    """Return the task that the job had before."""
    had = known.newest.get(one.job_id)
    return None if had == one.task_id else had


JOB_NAMES = ("id", "job_id", "job")
TASK_NAMES = ("task_id", "task")
MARKS = ("\t", ";", ",")
FORM = 'write one job a line as "id,task_id", or as JSON: {"id": "kite", "task_id": "task_1"}'

Line = Adoption | tuple[int, str]
"""An adoption, or the number of a line and what is wrong with it."""


def read_found_tasks(data: bytes) -> list[Line]:
    """Return what each line of such a file says, in its order; empty lines say nothing."""
    try:
        text = data.decode("utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except UnicodeDecodeError:
        return [(1, "the file is no UTF-8 text")]
    first = next((line for line in text.splitlines() if line.strip()), "")
    found = list(_json_lines(text) if first.lstrip().startswith(("{", "[")) else _table(text, first))
    return found or [(1, f"the file names no job: {FORM}")]


def _json_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield number, f"no JSON object: {FORM}"
            continue
        if isinstance(value, dict):
            yield _adoption(number, _first(value, JOB_NAMES), _first(value, TASK_NAMES))
        else:
            yield number, f"no JSON object: {FORM}"


def _first(value: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of these fields that is text or a whole number, which an id may be."""
    for name in names:
        if isinstance(value.get(name), str | int) and not isinstance(value[name], bool):
            return str(value[name])
    return None


def _table(text: str, first: str) -> Iterator[Line]:
    mark = next((mark for mark in MARKS if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    places: tuple[int, int] | None = None
    begins = 1
    try:
        for row in reader:
            number, begins = begins, reader.line_num + 1
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if places is None:
                places = _places(cells)
                if places is not None:
                    continue
                places = (0, 1)
                if len(cells) != len(places):
                    yield number, f"{len(cells)} columns and no line of names before: {FORM}"
                    continue
            job, task = (cells[place] if place < len(cells) else None for place in places)
            yield _adoption(number, job, task)
    except csv.Error as error:
        yield begins, f"the line could not be read: {error}"


def _places(cells: list[str]) -> tuple[int, int] | None:
    """Return in which columns the ids stand when this is the line of names."""
    names = [cell.lower() for cell in cells]
    job = next((names.index(name) for name in JOB_NAMES if name in names), None)
    task = next((names.index(name) for name in TASK_NAMES if name in names), None)
    return None if job is None or task is None else (job, task)


def _adoption(number: int, job: str | None, task: str | None) -> Line:
    if not job:
        return number, f"no job id: {FORM}"
    if not task:
        return number, f"no task id for job {job!r}: {FORM}"
    return Adoption(job, task, number)
