"""``doctor``: looks at everything outside the manifest that can keep a run from going well."""

from __future__ import annotations

import asyncio
import json
import platform
import sqlite3
import time
from contextlib import nullcontext
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click
from yarl import URL

from batchvid import __version__
from batchvid.cli.options import database_option, dead_time_option, json_option, load, profile_option, service_options
from batchvid.cli.streams import tell
from batchvid.domain.errors import BatchvidError, ConfigError, Exit
from batchvid.domain.frozen import frozen
from batchvid.domain.records import rfc3339
from batchvid.domain.results import worst
from batchvid.domain.secrecy import is_readable_on_the_way
from batchvid.domain.task import FACTS, Created, Fault, FaultKind, Phase, ProviderName, ProxyUse, TaskReport
from batchvid.domain.text import clean
from batchvid.engine.target import address_of, clear_text
from batchvid.manifest.values import names_another_secret
from batchvid.providers.credentials import environment_proxies, find_key
from batchvid.providers.network import Network, check_proxy, unused_proxy
from batchvid.providers.registry import PROVIDERS
from batchvid.providers.response import NoResponse

if TYPE_CHECKING:
    from batchvid.engine.answers import FirstAnswer
    from batchvid.manifest.model import Manifest
    from batchvid.providers.base import Provider


PACKAGES = ("aiohttp", "aiofiles", "aiolimiter", "PyYAML", "av", "Pillow")
SQLITE_SOUND_FROM = (3, 51, 3)
"""Older ones can damage a journal that two processes write at once, which batchvid's lock prevents."""
SQLITE_NEEDED = (3, 37, 0)
CLOCK_MAY_BE_OFF_S = 120.0


@frozen
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    text: str
    exit_code: Exit | None = None
    rules: tuple[str, ...] | None = None
    """By which rules answers are read; ``None``: it is about no answers."""


@click.command("doctor")
@click.argument("manifest", type=click.Path(path_type=Path), required=False)
@service_options
@database_option
@profile_option
@dead_time_option
@json_option
def doctor_command(
    manifest: Path | None,
    *,
    base_url: str | None,
    database: str | None,
    dead_s: float,
    api_key_file: Path | None,
    ca_file: str | None,
    as_json: bool,
) -> int:
    """Check versions, SQLite, the key (found, never shown), the output, the clock, and the way to the service.

    With a MANIFEST, for that one, and how the first answers of its service were read. With a database, also its
    version and tables, whether it keeps what is paid, its standbys, workers and accounts. Sends one request that costs
    nothing.
    """
    loaded = None if manifest is None else load(manifest, base_url=base_url, database=database)
    address = loaded.database if loaded is not None else None if database is None else address_of(database)
    findings = _database(address, dead_s) if address else []
    findings += asyncio.run(checkup(loaded, base_url=base_url, key_file=api_key_file, ca_file=ca_file))
    for finding in findings:
        _print(finding, as_json=as_json)
    return worst(finding.exit_code for finding in findings if finding.exit_code)


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        more = {} if finding.rules is None else {"rules": finding.rules}
        tell(json.dumps({"type": "finding", "what": finding.what, "ok": finding.ok, "text": finding.text, **more}))
        return
    tell(f"{'ok ' if finding.ok else 'BAD'}  {finding.what:<8}  {finding.text}")
    for rule in finding.rules or ():
        tell(f"{'':<15}{rule}")


async def checkup(
    manifest: Manifest | None, *, base_url: str | None, key_file: Path | None, ca_file: str | None
) -> list[Finding]:
    """Look at everything, and go on after what is found wrong. Sends one request that costs nothing."""
    findings = [_versions(), _sqlite()]
    provider = ProviderName.COMETAPI if manifest is None else manifest.provider
    key_env = manifest.key_env if manifest is not None else FACTS[provider].key_env
    url = manifest.base_url if manifest is not None else base_url or FACTS[provider].base_url
    key, has_key = "", bool(key_env) or key_file is not None
    try:
        if has_key:
            key = find_key(key_env, key_file=key_file)
        strange = names_another_secret(key_env)
        text = f"found ({key_env}); it is not shown" if has_key else f"none is sent to {url}: key_env names no variable"
        findings.append(Finding("key", ok=strange is None, text=strange or text))
    except ConfigError as error:
        findings.append(Finding("key", ok=False, text=str(error), exit_code=Exit.CONFIG))
    findings += _limits(manifest, url, key)
    if manifest is not None:
        findings += [*_output(manifest), *_answers(manifest)]
    if has_key and is_readable_on_the_way(url):
        if manifest is None or not manifest.allow_http:
            return [*findings, Finding("service", ok=False, text=clear_text(url), exit_code=Exit.CONFIG)]
        text = f"service.allow_http is on: everybody on the way to {url} can read the key"
        findings.append(Finding("service", ok=False, text=text))
    network, told = Network(ca_file), unused_proxy(environment_proxies(), url)
    if manifest is not None and manifest.proxy is ProxyUse.ENV:
        try:
            check_proxy(environment_proxies(), url)
        except ConfigError as error:
            return [*findings, Finding("proxy", ok=False, text=str(error), exit_code=Exit.CONFIG)]
        network, told = Network(ca_file, proxies=environment_proxies()), None
        used = network.proxy_for(URL(url))
        text = "the environment names none for the service" if used is None else f"{URL(used).host} is used"
        findings.append(Finding("proxy", ok=True, text=text))
    if told is not None:
        findings.append(Finding("proxy", ok=False, text=told))
    findings += await _service(PROVIDERS[provider], url, key, network, has_key=has_key)
    return findings


def _database(address: str, dead_s: float) -> list[Finding]:
    findings: list[Finding] = []
    try:
        from batchvid.journal.postgres_db import Database
        from batchvid.journal.server_look import look

        seen = look(Database(address), dead_s=dead_s)
        findings.extend(Finding(one.what, ok=one.ok, text=one.text, exit_code=one.exit_code) for one in seen)
    except BatchvidError as error:
        findings.append(Finding("database", ok=False, text=str(error), exit_code=error.exit_code))
    return findings


def _versions() -> Finding:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return Finding("versions", ok=False, text=f"{name} is not installed", exit_code=Exit.CONFIG)
    return Finding(
        "versions", ok=True, text=f"batchvid {__version__}, Python {platform.python_version()}, " + ", ".join(found)
    )


def _sqlite() -> Finding:
    text = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < SQLITE_NEEDED:
        return Finding("journal", ok=False, text=f"{text}: 3.37 or newer is needed", exit_code=Exit.CONFIG)
    if sqlite3.sqlite_version_info < SQLITE_SOUND_FROM:
        text += " (safe here: one writer at a time; do not write to the journal with other programs)"
    return Finding("journal", ok=True, text=text)


def _limits(manifest: Manifest | None, url: str, key: str) -> list[Finding]:
    """Return what was learned of the account's limits, where anything was, or where a manifest wants that."""
    from batchvid.engine.limits_file import limits_file

    file = limits_file(url, key)
    learned = None if file is None else file.load()
    if learned is not None:
        return [Finding("limits", ok=True, text=f"learned: {learned}")]
    if manifest is None or not manifest.limits.is_auto:
        return []
    what = " and ".join(f"{name}: auto" for name in manifest.limits.found_out)
    if file is None:
        text = f"{what}, and there is no folder to keep what is learned: set HOME or XDG_STATE_HOME"
        return [Finding("limits", ok=False, text=text)]
    return [Finding("limits", ok=True, text=f"{what}; nothing is learned yet, so the next run starts low")]


def _output(manifest: Manifest) -> list[Finding]:
    from batchvid.engine.recovery import forgotten
    from batchvid.engine.target import journal_of
    from batchvid.storage.fs import network_file_system, on_network
    from batchvid.storage.output import Output

    output = Output.of(manifest)
    try:
        output.prepare()
        text = f"{manifest.place} can be written to"
        if manifest.bucket is not None:
            text += f", and replaces nothing unasked; its journal is in {manifest.output}"
        if kind := network_file_system(manifest.output):
            text += f", but {on_network(kind)}"
        findings = [Finding("output", ok=True, text=text)]
    except BatchvidError as error:
        return [Finding("output", ok=False, text=str(error), exit_code=error.exit_code)]
    try:
        journal = journal_of(manifest).read()
        with journal or nullcontext():
            if journal is not None:
                number = sum(journal.counts().values())
                findings.append(Finding("journal", ok=True, text=f"readable, {number:,} jobs on record"))
            if not journal_of(manifest).is_held():
                jobs = {job.id: job for job in manifest.jobs}
                lines, is_refused = forgotten(journal, output, jobs=jobs, at=time.time())
                code = Exit.DISK if is_refused else None
                findings += [Finding("journal", ok=False, text=line, exit_code=code) for line in lines]
    except BatchvidError as error:
        findings.append(Finding("journal", ok=False, text=str(error), exit_code=error.exit_code))
    return findings


def _answers(manifest: Manifest) -> list[Finding]:
    """Return what is kept of the service's first answers, how it is read, and by which rules at a gateway."""
    from batchvid.engine.answers import first_answers
    from batchvid.storage.output import Output

    state = Output.of(manifest).state
    try:
        kept = first_answers(state)
    except ValueError as error:
        text = f"{state.first_answers_path} is damaged ({clean(str(error), 200)}): no run needs it, so move it away"
        return [Finding("answers", ok=False, text=text, rules=())]
    if not kept:
        return []
    told = [f"{name} {rfc3339(one.at)} HTTP {one.response.status}: {_meaning(one)}" for name, one in kept.items()]
    unknown = [one for one in kept.values() if one.base_url != FACTS[one.provider].base_url]
    rules = [rule for one in unknown for rule in PROVIDERS[one.provider].explain(one.response, task_id=one.task_id)]
    text = f"{state.first_answers_path}: {'; '.join(told)}"
    return [Finding("answers", ok=True, text=text, rules=tuple(clean(rule, 300) for rule in rules))]


def _meaning(one: FirstAnswer) -> str:
    """Return what is read out of an answer."""
    cut = "" if one.response.complete else " (it is cut off)"
    match one.read():
        case Created() as found:
            return f"task {clean(found.task_id, 200)}{cut}"
        case TaskReport() as found:
            means = "a word that batchvid does not know" if found.phase is Phase.UNHEARD else found.phase
            return f'"{found.status}" means {means}{f"; {found.error}" if found.error else ""}{cut}'
        case Fault() as fault:
            return f"{'in doubt' if fault.kind is FaultKind.UNSURE else fault.kind.replace('_', ' ')}: {fault}{cut}"


async def _service(provider: Provider, url: str, key: str, network: Network, *, has_key: bool) -> list[Finding]:
    from batchvid.providers.http import Service

    async with Service(url, key, network=network) as service:
        answer = await service.get(provider.hello())
    if isinstance(answer, NoResponse):
        return [Finding("service", ok=False, text=f"{url}: {answer}", exit_code=Exit.STOPPED)]
    findings = [_clock(answer.headers.get("date"))]
    meaning = provider.read_create(answer, now=time.time(), known=True)  # what would stop a run stops it for a key
    if isinstance(meaning, Fault) and meaning.kind is FaultKind.ACCOUNT and (key or not has_key):
        text = f"{url}: " + (str(meaning) if key else "it wants a key: name its variable in service.key_env")
        return [*findings, Finding("service", ok=False, text=text, exit_code=Exit.ACCOUNT)]
    if answer.json() is None:
        text = f"{url}: HTTP {answer.status} and no JSON: check base_url"
        return [*findings, Finding("service", ok=False, text=text, exit_code=Exit.CONFIG)]
    return [*findings, Finding("service", ok=True, text=f"{url} answers (HTTP {answer.status})")]


def _clock(date: str | None) -> Finding:
    try:
        off_s = time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", ok=True, text="the service sent no time to compare with")
    if abs(off_s) > CLOCK_MAY_BE_OFF_S:
        return Finding("clock", ok=False, text=f"is {abs(off_s):.0f} s off the service's clock: set it")
    return Finding("clock", ok=True, text="agrees with the service's")
