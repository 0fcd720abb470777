"""``init`` and ``schema``: a manifest to start from, and what an editor checks it with."""

from __future__ import annotations

import json
from pathlib import Path

import click

from batchvid.cli.output.advice import command
from batchvid.cli.streams import tell
from batchvid.domain.errors import Exit


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
def init_command(folder: Path) -> int:
    """Write a commented manifest, its schema and two frames to start from into FOLDER; never overwrites."""
    from batchvid.manifest import write_starter

    written = write_starter(folder)
    for path in written:
        tell(f"wrote {path}")
    manifest = next(path for path in written if path.suffix == ".yaml")
    rehearsal = command("run", str(manifest), "--sandbox")
    tell(f"Next: {rehearsal} makes the clips in the sandbox, free.")
    return Exit.OK


@click.command("schema")
def schema_command() -> int:
    """Print the JSON Schema (draft-07) of the manifest, for editors.

    Written into a file, it serves manifests that begin with  # yaml-language-server: $schema=./FILE
    """
    from batchvid.manifest import json_schema

    tell(json.dumps(json_schema(), indent=2))
    return Exit.OK
