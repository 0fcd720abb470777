"""The options that several commands share, and how people write their values: moments, lengths of time, money.

A flag wins over its variable ``BATCHVID_*``, that over the manifest, and that over the default.

Also what several commands read: a manifest as the flags change it, and its journal, beside a run if there is one.
"""

from __future__ import annotations

import gc
import os
import shlex
import time
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import click

import batchvid
from batchvid.cli.output.text import count
from batchvid.cli.streams import complain
from batchvid.domain.bucket import bucket_url, is_bucket
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.filename import safe
from batchvid.domain.text import clean
from batchvid.engine.target import journal_of
from batchvid.providers.credentials import PREFIX, zone_trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import ExitStack

    from batchvid.domain.decision import Decision
    from batchvid.domain.doubts import Doubt
    from batchvid.domain.job import Progress
    from batchvid.domain.results import Money
    from batchvid.domain.takes import Take
    from batchvid.engine.target import Account
    from batchvid.journal.base import JournalReader
    from batchvid.manifest.model import Manifest


Value = TypeVar("Value")
Command = TypeVar("Command", bound="Callable[..., object]")

manifest_argument = click.argument("manifest", type=click.Path(path_type=Path))
manifests_argument = click.argument("manifests", type=click.Path(path_type=Path), nargs=-1, required=True)


class OutputPlace(click.Path):
    """A folder, or an address in a bucket, as text: a path would take one of its slashes away."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address in its one form, or the folder as it is written."""
        written = os.fspath(value)
        if not is_bucket(written):
            return str(super().convert(value, param, ctx))
        try:
            return bucket_url(written)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_output_option = click.option(
    "--output",
    type=OutputPlace(path_type=str, file_okay=False),
    envvar=f"{PREFIX}OUTPUT",
    metavar="FOLDER|URL",
    show_envvar=True,
    help="Put the clips here instead of the manifest's output: a folder, relative to the current one, or "
    "s3://bucket/prefix (also gs://, az://).",
)


def _keep_profile(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    _PROFILE.set(value)


_PROFILE: ContextVar[str | None] = ContextVar("profile", default=None)
"""What was asked for; every manifest of the call has it."""
profile_option = click.option(
    "--profile",
    envvar=f"{PREFIX}PROFILE",
    metavar="NAME",
    show_envvar=True,
    expose_value=False,
    callback=_keep_profile,
    help="Take what the manifest does not say itself from this profile of your config file (batchvid config); none for "
    "none.",
)


def output_option(command: Command) -> Command:
    """Add the options of commands that work on an output: where it is, and whose account it belongs to."""
    return _output_option(profile_option(command))


database_option = click.option(
    "--database",
    envvar=f"{PREFIX}DATABASE",
    metavar="URL",
    show_envvar=True,
    help="Use the journal in this PostgreSQL database instead of the output's: postgresql://USER@HOST/NAME, or $NAME "
    "for a variable that holds the address. A password belongs in a variable: a command line is seen by everybody.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
key_file_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    envvar=f"{PREFIX}API_KEY_FILE",
    metavar="FILE",
    show_envvar=True,
    help="Read the key from this file (mode 600), instead of the variable that service.key_env names.",
)
ca_file_option = click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False),
    envvar=f"{PREFIX}CA_FILE",
    metavar="FILE",
    show_envvar=True,
    help="Trust the certificate authorities in this file only.",
)
base_url_option = click.option(
    "--base-url",
    envvar=f"{PREFIX}BASE_URL",
    metavar="URL",
    show_envvar=True,
    help="Use the service at this address instead of the manifest's service.base_url.",
)


def service_options(command: Command) -> Command:
    """Add the options of commands that ask the service: where it is, and with which key and certificates."""
    return base_url_option(key_file_option(ca_file_option(command)))


@dataclass(frozen=True)
class Written(click.ParamType[Value]):
    """What people write a value as: *read* makes it of a text, or raises ``ValueError`` with what to write instead."""

    name: str
    read: Callable[[str], Value]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Value:
        """Read it, unless it is a default and so the value itself."""
        if not isinstance(value, str):
            return cast("Value", value)
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DAYS_LOOKED_AT = 3
"""Today and tomorrow; and the day after, where a zone that changed sides of the date line has left one out."""


def _moment(text: str) -> float:
    """Read a time of day (the next one, in local time) or a full RFC 3339 moment, as UTC epoch seconds.

    In the minute of that name the time has come, and is not a day away: who starts a second late buys nothing.
    """
    from datetime import datetime, timedelta

    from batchvid.engine.local_day import moments_of

    now = time.time()
    clock = datetime.fromtimestamp(now)  # noqa: DTZ006 local, as people write it; its fold tells which pass it is
    try:
        if "T" in text:
            given = datetime.fromisoformat(text)
            moments = [given.timestamp()] if given.tzinfo else moments_of(given)
            return next((moment for moment in moments if moment > now), moments[-1])
        at = time.strptime(text, "%H:%M")
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: write 06:00, or 2026-01-31T06:00:00") from None
    if (clock.hour, clock.minute) == (at.tm_hour, at.tm_min):
        return now
    today = clock.replace(hour=at.tm_hour, minute=at.tm_min, second=0, microsecond=0)
    days = (today + timedelta(days=number) for number in range(DAYS_LOOKED_AT))
    return next(moment for day in days for moment in moments_of(day) if moment > now)


def _past(text: str) -> float:
    """Read a length of time, the last such time of day, or a full moment, as UTC epoch seconds."""
    from datetime import datetime, timedelta

    from batchvid.engine.local_day import moments_of

    now = time.time()
    if ":" not in text and "T" not in text:
        try:
            return now - _duration(text)
        except ValueError:
            raise ValueError(f"{text!r} is no time: write 2h, 22:00 or 2026-01-31T22:00:00") from None
    try:
        if "T" in text:
            given = datetime.fromisoformat(text)
            return given.timestamp() if given.tzinfo else moments_of(given)[0]
        at = time.strptime(text, "%H:%M")
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: write 2h, 22:00 or 2026-01-31T22:00:00") from None
    today = datetime.fromtimestamp(now).replace(  # noqa: DTZ006 local, as people write it
        hour=at.tm_hour, minute=at.tm_min, second=0, microsecond=0
    )
    days = (today - timedelta(days=number) for number in range(DAYS_LOOKED_AT))
    return next(moment for day in days for moment in reversed(moments_of(day)) if moment <= now)


def _time_of_day(text: str) -> tuple[int, int]:
    try:
        at = time.strptime(text, "%H:%M")
    except ValueError:
        raise ValueError(f"{text!r} is no time of day: write 22:00") from None
    return at.tm_hour, at.tm_min


def _duration(text: str) -> float:
    from batchvid.manifest.values import duration_s

    return duration_s(text)


def _dead_time(text: str) -> float:
    from batchvid.domain.machines import DEAD_AT_LEAST_S, DEAD_AT_MOST_S

    found = _duration(text)
    if not DEAD_AT_LEAST_S <= found <= DEAD_AT_MOST_S:
        raise ValueError(f"{text!r} is no dead time: write one between 3 s and 2 minutes")
    return found


def _speed(text: str) -> float:
    from batchvid.engine.target import FASTEST, SLOWEST

    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not SLOWEST <= found <= FASTEST:
        raise ValueError(f"{text!r} is no speed: write a number from {SLOWEST} to {FASTEST:.0f}")
    return found


def _clip_moment(text: str) -> float:
    from batchvid.manifest.values import moment_s

    return moment_s(text)


def _amount(text: str) -> int:
    from batchvid.manifest.values import money_micros

    return money_micros(text)


MOMENT = Written("HH:MM", _moment)
PAST = Written("2h|22:00", _past)
TIME_OF_DAY = Written("HH:MM", _time_of_day)
"""Hour and minute, in local time."""
DURATION = Written("8h", _duration)
"""``8h`` or ``1h30m``, in seconds."""
DEAD_TIME = Written("10s", _dead_time)
"""In seconds."""
until_option = click.option(
    "--until",
    type=MOMENT,
    metavar="06:00",
    envvar=f"{PREFIX}UNTIL",
    show_envvar=True,
    help="Stop submitting at this time of day (local), collect what is paid, and exit.",
)
for_option = click.option(
    "--for",
    "for_s",
    type=DURATION,
    metavar="8h",
    envvar=f"{PREFIX}FOR",
    show_envvar=True,
    help="Stop submitting after so long, collect what is paid, and exit.",
)
SPEED = Written("N", _speed)
"""How many times as fast as the service the sandbox is."""
CLIP_MOMENT = Written("-0.2s", _clip_moment)
"""``3.5s`` after the beginning of a clip, ``-0.2s`` before its end; in seconds."""
AMOUNT = Written("25.00", _amount)
"""Money, in millionths."""

dead_time_option = click.option(
    "--dead-time",
    "dead_s",
    type=DEAD_TIME,
    metavar="10s",
    default="10s",
    show_default=True,
    envvar=f"{PREFIX}DEAD_TIME",
    help="Take over what a worker has that was not heard of for so long; the same on all machines.",
)


def rehearsed(manifest: Manifest) -> str | None:
    """Return the output of the manifest's rehearsals, where these are all that was run; ``None`` elsewhere."""
    from batchvid.engine.api import in_rehearsal
    from batchvid.engine.target import is_rehearsal

    rehearsal = in_rehearsal(manifest)
    return rehearsal.place if is_rehearsal(rehearsal) and not journal_of(manifest).exists() else None


def never_run(manifest: Manifest, so: str) -> ConfigError:
    """Return what is raised where nothing was ever run, and *so* cannot be done; a rehearsal that is there is named."""
    place = rehearsed(manifest)
    more = "" if place is None else f"; its rehearsal is another output: add --output {shlex.quote(place)}"
    return ConfigError(f"nothing was ever run into {manifest.place}: {so}{more}")


def load(
    path: Path,
    *,
    output: str | None = None,
    base_url: str | None = None,
    database: str | None = None,
    sandbox: bool = False,
    decode: bool = False,
) -> Manifest:
    """Read a manifest, let the flags win over it, and tell what it warns of; what is advised later keeps the flags.

    With *sandbox* and without *output*, its output is that of its rehearsals.

    *decode*: its frames are decoded, for commands that tell whether it can be run.
    """
    from batchvid.cli.output.advice import keep_flags, keep_rehearsal
    from batchvid.engine.api import in_rehearsal, load_to_look
    from batchvid.engine.target import is_rehearsal, named_database

    is_relative = output is not None and not is_bucket(output) and not Path(output).is_absolute()
    if not path.is_absolute() or is_relative:
        _check_here()
    kept = None if database is None else named_database(database)
    profile = _PROFILE.get()
    keep_flags(output=output, base_url=base_url, database=kept, sandbox=sandbox, profile=profile)
    gc.disable()
    try:
        manifest = (batchvid.load if decode else load_to_look)(
            path, output=output, base_url=base_url, database=database, profile=profile
        )
        gc.freeze()  # what is read lives as long as the command: the collector need not walk it
    finally:
        gc.enable()
    for warning in manifest.warnings:
        complain(f"warning: {warning}")
    if sandbox and output is None:
        manifest = in_rehearsal(manifest)
        keep_rehearsal(str(path), manifest.bucket or _from_here(manifest.output))
    elif is_rehearsal(manifest):
        keep_flags(output=output, base_url=base_url, database=kept, sandbox=True, profile=profile)
    return manifest


def _from_here(path: Path) -> str:
    """Return a path as it is typed in the current folder, if it lies there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


NAMES_SHOWN = 5
NAMES_MAX_CHARS = 1000


def safe_names_line(manifest: Manifest) -> str | None:
    """Return which names ``safe_names`` has made of others; ``None`` when all are as they are written."""
    paths = {job.id: job.path for job in manifest.jobs}
    shown = [f"{written} -> {paths[job_id]}" for job_id, written in manifest.made_safe[:NAMES_SHOWN]]
    if not shown:
        return None
    names = count(len(manifest.made_safe), "name")
    return f"safe_names: {names} not as written: {clean(_listed(shown, len(manifest.made_safe)), NAMES_MAX_CHARS)}"


def warn_of_names(manifest: Manifest, ids: Iterable[str]) -> None:
    """Warn of the names of these jobs which the output's file system may refuse, as far as that can be seen."""
    from batchvid.storage.fs import narrow_file_system

    kind = narrow_file_system(manifest.output) if manifest.bucket is None else None
    wanted = frozenset() if kind is None else frozenset(ids)  # nearly nowhere is there anything to look for
    odd = [job for job in manifest.jobs if job.id in wanted and safe(job.path) != job.path] if wanted else []
    if odd:
        shown = clean(_listed([f"{job.id}: {job.path}" for job in odd[:NAMES_SHOWN]], len(odd)), NAMES_MAX_CHARS)
        complain(
            f"warning: {manifest.output} is on a file system ({kind}) that may not take {count(len(odd), 'name')}: "
            f"{shown}. A run tries them before it pays; safe_names: true writes names that it takes"
        )


def _listed(shown: list[str], in_all: int) -> str:
    return "; ".join(shown) + (f"; and {in_all - len(shown):,} more" if in_all > len(shown) else "")


def _check_here() -> None:
    """Raise `ConfigError` when a name cannot be looked up from the current folder, because that is gone."""
    try:
        os.getcwd()  # noqa: PTH109 a path object would do the same
    except OSError as error:
        text = "was deleted" if isinstance(error, FileNotFoundError) else f"cannot be used ({error.strerror})"
        raise ConfigError(f"the current folder {text}: go to another one, or write the paths in full") from None


def read_journal(manifest: Manifest) -> tuple[dict[str, Progress], Money]:
    """Read what the journal holds, beside a run if there is one: the rows by job id, and the money.

    What the next run moves to another id is under that id already.
    """
    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.engine.planning import as_moved, identity_of
    from batchvid.engine.spending import money_of
    from batchvid.storage.output import Output

    journal = journal_of(manifest).read()
    if journal is None:
        return {}, money_of(None, manifest.limits)
    with journal:
        identity = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, Output.of(manifest).clips)
        rows = {row.job_id: row for row in as_moved(journal.all_progress(), identity)}
        return rows, money_of(journal, manifest.limits)


def read_decisions(manifest: Manifest) -> dict[tuple[str, int], Decision]:
    """Read what persons decided about clips, by job id and attempt, under the ids that `read_journal` gives."""
    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.engine.planning import decided, identity_of
    from batchvid.storage.output import Output

    journal = journal_of(manifest).read()
    if journal is None:
        return {}
    with journal:
        if not (found := decided(journal)):
            return {}
        identity = identity_of(manifest.jobs, DependencyGraph(manifest.jobs), journal, Output.of(manifest).clips)
        return decided(journal, identity) if identity.moves else found


def read_takes(manifest: Manifest) -> dict[str, list[Take]]:
    """Read among which takes the manifest's films choose, beside a run if there is one."""
    from batchvid.engine.takes import takes_of_films
    from batchvid.storage.output import Output

    journal = journal_of(manifest).read() if manifest.films else None
    if journal is None:
        return {}
    with journal:
        return takes_of_films(manifest.films, journal, Output.of(manifest).clips)


def read_doubts(manifest: Manifest, rows: Mapping[str, Progress], *, run_active: bool) -> list[Doubt]:
    """Return what is in doubt of a manifest's jobs, in their order; what an active run has under way is not."""
    from batchvid.domain.job import State

    doubtful = {State.IN_DOUBT} | (set() if run_active else {State.SUBMITTING})
    ids = {job_id for job_id, row in rows.items() if row.state in doubtful}
    journal = journal_of(manifest).read() if ids else None
    if journal is None:
        return []
    from batchvid.domain.doubts import doubts_of  # with no doubt, the usual case, it is not wanted

    with journal:
        found = {job_id: doubt for job_id, doubt in journal.doubts().items() if job_id in ids}
    return doubts_of(manifest.jobs, found)


def warn_of_forgotten(manifest: Manifest, journal: JournalReader | None) -> None:
    """Tell of paid tasks that lie beside the journal and are not in it: what is shown of them is not true then."""
    from batchvid.engine.recovery import forgotten
    from batchvid.storage.output import Output

    jobs = {job.id: job for job in manifest.jobs}
    try:
        found = forgotten(journal, Output.of(manifest), jobs=jobs, at=time.time())
    except StorageError as error:
        complain(f"warning: {error}")
        return
    for line in found.lines:
        complain(f"warning: {line}")


def bound_account(manifest: Manifest, stack: ExitStack, *, key_file: Path | None, ca_file: str | None) -> Account:
    """Return the account that paid for the journal's tasks; raises `ConfigError` when it is not the manifest's."""
    from batchvid.engine.target import SANDBOX, sandbox_account, service_account

    journal = journal_of(manifest).read()
    with journal or nullcontext():
        service = journal.meta_get("service") if journal is not None else None
    if service == SANDBOX:
        return sandbox_account(manifest, stack)
    if service != manifest.base_url:
        raise ConfigError(f"the clips come from {service}, and not from {manifest.base_url}: add --base-url {service}")
    return service_account(manifest, key_file=key_file, ca_file=ca_file)


def window_end(until: float | None, for_s: float | None) -> float | None:
    """Return when submitting stops, by the earlier of the two options; warn where the zone is not the wished one."""
    if until is not None and (trouble := zone_trouble()) is not None:
        complain(f"warning: {trouble}")
    ends = [until, None if for_s is None else time.time() + for_s]
    return min((end for end in ends if end is not None), default=None)
