"""``config``: where the user's config file is, and what profiles stand in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from batchvid.cli.options import json_option
from batchvid.cli.output import text
from batchvid.cli.streams import tell
from batchvid.domain.errors import ConfigError, Exit
from batchvid.domain.text import clean
from batchvid.manifest.profiles import read_config
from batchvid.providers.credentials import config_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchvid.manifest.layers import Layer
    from batchvid.manifest.profiles import Config


EXAMPLE = """\
profile: studio                  # of manifests that name none
profiles:
  studio:
    service: {key_env: STUDIO_KEY}
    prices: {veo3-fast: 0.40}
"""
SHOWN = 200


@click.command("config")
@click.option("--path", "only_path", is_flag=True, help="Tell only where the file is, or would be.")
@click.option("--show", is_flag=True, help="Write the file as it is.")
@json_option
def config_command(*, only_path: bool, show: bool, as_json: bool) -> int:
    """Show your config file: profiles of accounts, prices, limits and notify, so that manifests need not repeat them.

    A manifest that names a profile, or the flag --profile, takes what it does not say itself from there. The file never
    holds a key.
    """
    path = config_file()
    if path is None:
        raise ConfigError("there is no folder for a config file: set HOME, or XDG_CONFIG_HOME to a folder (in full)")
    if only_path:
        tell(json.dumps({"path": str(path)}) if as_json else str(path))
        return Exit.OK
    found = read_config(path)
    if show and path.exists():
        tell(path.read_text(encoding="utf-8"), end="")
    elif as_json:
        tell(json.dumps(config_json(found)))
    else:
        for line in config_lines(found):
            tell(line)
    return Exit.OK


def config_lines(config: Config) -> Iterator[str]:
    """Yield what stands in the file, a line for each profile; of one that is not there, what could."""
    path = config.path
    if path is None or not path.exists():
        yield f"There is no {path}. It could hold:"
        yield from ("", *EXAMPLE.splitlines())
        return
    yield f"{path}: {text.count(len(config.profiles), 'profile')}"
    for name, layer in config.profiles.items():
        mark = " (of manifests that name none)" if name == config.default else ""
        told = [f"{key} {clean(_words(value), SHOWN)}" for key, value in _told(layer).items() if value]
        yield f"  {clean(name, SHOWN)}{mark}: {'; '.join(told) or 'empty'}"


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def config_json(config: Config) -> dict[str, Any]:
    """Return what stands in the file as an object; its fields are a promise."""
    exists = config.path is not None and config.path.exists()
    return {
        "path": None if config.path is None else str(config.path),
        "exists": exists,
        "profile": config.default,
        "profiles": {name: _told(layer) for name, layer in config.profiles.items()},
    }


def _told(layer: Layer) -> dict[str, Any]:
    service = layer.sections["service"]
    return {
        "base_url": service.get("base_url"),
        "key_env": service.get("key_env"),
        "prices": sorted(layer.prices),
        "limits": sorted(layer.sections["limits"]),
        "notify": len(layer.notify or ()),
    }
