"""``init``, ``schema``, ``sandbox`` and ``doctor``: what is needed before the first run."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from batchvid.cli.options import Speed, base_url_option, ca_file_option, json_option, key_file_option, load
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit

if TYPE_CHECKING:
    from batchvid.cli.doctor import Finding


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init_command(folder: Path) -> int:
    """Write a commented manifest, its schema and two frames to start from into FOLDER; never overwrites."""
    from batchvid.cli.output.advice import command
    from batchvid.manifest import write_starter

    written = write_starter(folder)
    for path in written:
        tell(f"wrote {path}")
    manifest = next(path for path in written if path.suffix == ".yaml")
    rehearsal = command("run", str(manifest), "--sandbox", "--output", str(folder / "rehearsal"))
    tell(f"Next: {rehearsal} makes the clips with a stand-in, at no price.")
    return Exit.OK


@click.command("schema")
def schema_command() -> int:
    """Print the JSON Schema (draft-07) of the manifest, for editors.

    Written into a file, it serves manifests that begin with  # yaml-language-server: $schema=./FILE
    """
    from batchvid.manifest import json_schema

    tell(json.dumps(json_schema(), indent=2))
    return Exit.OK


@click.command("doctor")
@click.argument("manifest", type=click.Path(path_type=Path), required=False)
@base_url_option
@key_file_option
@ca_file_option
@json_option
def doctor_command(
    manifest: Path | None, *, base_url: str | None, api_key_file: Path | None, ca_file: Path | None, as_json: bool
) -> int:
    """Check versions, SQLite, the key (found, never shown), the output, the clock, and the way to the service.

    With a MANIFEST, for that one; sends one request that costs nothing.
    """
    from batchvid.cli.doctor import checkup
    from batchvid.domain.results import worst

    loaded = None if manifest is None else load(manifest, base_url=base_url)
    findings = asyncio.run(
        checkup(loaded, base_url=base_url, key_file=api_key_file, ca_file=None if ca_file is None else str(ca_file))
    )
    for finding in findings:
        _print(finding, as_json=as_json)
    return worst(finding.exit_code for finding in findings if finding.exit_code)


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        tell(json.dumps({"type": "finding", "what": finding.what, "ok": finding.ok, "text": finding.text}))
        return
    tell(f"{'ok ' if finding.ok else 'BAD'}  {finding.what:<8}  {finding.text}")


@click.command("sandbox")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", default=8765, show_default=True, help="0 takes a free one."
)
@click.option(
    "--provider",
    type=click.Choice(["cometapi", "openai"]),
    default="cometapi",
    show_default=True,
    help="The service that it plays; openai is /v1/videos as OpenAI's SDK speaks it.",
)
@click.option("--key", default="sk-sandbox", show_default=True, help="The key that it accepts.")
@click.option(
    "--speed",
    type=Speed(),
    metavar="N",
    default=1.0,
    show_default=True,
    help="Generate so many times as fast.",
)
@click.option(
    "--seed", type=int, metavar="N", default=1, show_default=True, help="The same seed makes the same clips and times."
)
@click.option(
    "--faults", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Misbehave as this file says."
)
@click.option("--faults-help", is_flag=True, help="Tell how a faults file is written.")
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Remember tasks in this folder, across restarts."
)
@click.option("--rate", type=click.IntRange(min=1), metavar="N", help="Answer 429 to creates above so many a minute.")
@click.option(
    "--clip",
    type=click.Choice(["full", "tiny"]),
    default="full",
    show_default=True,
    help="Render whole clips, or one very small one for all, for load tests.",
)
def sandbox_command(
    *,
    port: int,
    provider: Literal["cometapi", "openai"],
    key: str,
    speed: float,
    seed: int,
    faults: Path | None,
    faults_help: bool,
    state: Path | None,
    rate: int | None,
    clip: Literal["full", "tiny"],
) -> int:
    """Serve the stand-in for the paid service, on this machine only. Nothing is paid.

    It rejects what the real one would reject, and bills every create in a ledger: GET /_sandbox/ledger.
    """
    from batchvid.sandbox.faults import FAULTS_HELP
    from batchvid.sandbox.process import Options
    from batchvid.sandbox.server import serve

    if faults_help:
        tell(FAULTS_HELP)
        return Exit.OK
    options = Options(
        provider=provider,
        port=port,
        key=key,
        speed=speed,
        seed=seed,
        faults_path=faults,
        state_dir=state,
        rate_per_minute=rate,
        clip=clip,
    )

    def ready(api: str, files: str) -> None:
        if provider == "openai":
            complain(f"the sandbox serves {api} as OpenAI does; Ctrl-C ends it")
            complain(f"next: OPENAI_BASE_URL={api} OPENAI_API_KEY={key} and any program with OpenAI's SDK")
            return
        complain(f"the sandbox serves {api} (clips at {files}); Ctrl-C ends it")
        complain(f"next: COMETAPI_KEY={key} batchvid run MANIFEST --base-url {api}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does, and nothing is left behind
    try:
        asyncio.run(serve(options, ready=ready))
    except KeyboardInterrupt:
        return Exit.OK
    return Exit.OK
