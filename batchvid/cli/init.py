"""``init`` and ``schema``: a manifest to start from, and what an editor checks it with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from batchvid.cli.options import load
from batchvid.cli.output import text
from batchvid.cli.output.advice import command
from batchvid.cli.output.text import cost_words
from batchvid.cli.streams import tell
from batchvid.domain.errors import Exit
from batchvid.domain.plan import cost_of_plan
from batchvid.engine.planning import planned

KEYS_OF_COMETAPI = "https://www.cometapi.com/console (API Keys)"
"""Where a person makes a key for the service of the starter."""


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init_command(folder: Path) -> int:
    """Write a commented manifest, its schema and two frames to start from into FOLDER; never overwrites.

    It asks nothing, and says what the first real run would cost and where a key comes from.
    """
    from batchvid.manifest import write_starter

    written = write_starter(folder)
    for path in written:
        tell(f"wrote {path}")
    path = next(path for path in written if path.suffix == ".yaml")
    named, manifest = str(path), load(path)
    made, money = planned(manifest, None)
    cost = cost_of_plan(made, money)
    tell(f"Next: {command('run', named, '--sandbox')} makes the clips in the sandbox, free.")
    tell(
        f"The first real run would buy {text.count(cost.jobs, 'clip')} for {cost_words(cost)}, by the prices in "
        f"{named}: write there what your service charges."
    )
    tell(
        f"It needs a key, from {KEYS_OF_COMETAPI}, in the variable {manifest.key_env}. "
        f"Then {command('doctor', named)} tries the key, free, {command('plan', named)} tells the price, and "
        f"{command('run', named)} buys."
    )
    return Exit.OK


@click.command("schema")
def schema_command() -> int:
    """Print the JSON Schema (draft-07) of the manifest, for editors.

    Written into a file, it serves manifests that begin with  # yaml-language-server: $schema=./FILE
    """
    from batchvid.manifest import json_schema

    tell(json.dumps(json_schema(), indent=2))
    return Exit.OK
