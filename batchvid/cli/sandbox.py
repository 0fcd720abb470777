"""``sandbox``: serves what plays the paid service, for rehearsals and for other programs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Literal

import click

from batchvid.cli.options import SPEED
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit
from batchvid.domain.task import ProviderName


@click.command("sandbox")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", default=8765, show_default=True, help="0 takes a free one."
)
@click.option(
    "--provider",
    type=click.Choice([name.value for name in ProviderName]),
    default=ProviderName.COMETAPI.value,
    show_default=True,
    help="The service that it plays; openai is /v1/videos as OpenAI's SDK speaks it.",
)
@click.option("--key", default="sk-sandbox", show_default=True, help="The key that it accepts.")
@click.option(
    "--speed",
    type=SPEED,
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
    "--in-flight",
    type=click.IntRange(min=1),
    metavar="N",
    help="Answer 429 to creates beside so many tasks.",
)
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
    provider: str,
    key: str,
    speed: float,
    seed: int,
    faults: Path | None,
    faults_help: bool,
    state: Path | None,
    rate: int | None,
    in_flight: int | None,
    clip: Literal["full", "tiny"],
) -> int:
    """Serve the sandbox, which plays the paid service, on this machine only. Nothing is paid.

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
        in_flight=in_flight,
        clip=clip,
    )

    def ready(api: str, files: str) -> None:
        if provider == "openai":
            complain(f"the sandbox serves {api} as OpenAI does; Ctrl-C ends it")
            complain(f"next: VIDEO_KEY={key} batchvid run MANIFEST --base-url {api}, where the manifest says")
            complain("      service: {provider: openai, key_env: VIDEO_KEY}")
            complain(f"   or: OPENAI_BASE_URL={api} OPENAI_API_KEY={key} and any program with OpenAI's SDK")
            return
        complain(f"the sandbox serves {api} (clips at {files}); Ctrl-C ends it")
        complain(f"next: COMETAPI_KEY={key} batchvid run MANIFEST --base-url {api}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does, and nothing is left behind
    try:
        asyncio.run(serve(options, ready=ready))
    except KeyboardInterrupt:
        return Exit.OK
    return Exit.OK
