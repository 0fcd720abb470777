"""What ``init`` writes: a commented manifest, its schema for editors, and two frames to try it with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from PIL import Image

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.manifest.schema import json_schema

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST = """\
# yaml-language-server: $schema=./clips.schema.json
# (the line above is for editors: they complete keys and underline slips; batchvid schema prints that file again)

# A batchvid manifest: which clips should exist. Then, in this folder:
#   batchvid check clips.yaml       is it right? nothing is sent
#   batchvid plan clips.yaml        what would be made, and what it would cost
#   batchvid run clips.yaml --sandbox
#                                   a rehearsal against the sandbox, free of charge
#   batchvid run clips.yaml         makes what is missing; run it again whenever you like. On a terminal it
#                                   shows what it will cost, and asks once
version: 1

# service:
#   key_env: COMETAPI_KEY      # the NAME of the variable that holds your key (from cometapi.com/console), never the key

limits:
  submits: 10/min              # how fast paid requests may go out; auto finds it out
  in_flight: 10                # how many clips may be in the making at once; or auto
  budget: 5.00                 # what may be spent in all; every model then needs a price
  # budget_per_day: 2.00       # what may be spent on one day

prices:                        # per clip, or per second (0.10/s); ask your service what it charges
  veo3-fast: 0.40

defaults:                      # what every job has that does not say otherwise
  model: veo3-fast
  size: 16x9

jobs:
  - id: kite                   # becomes out/clips/kite.mp4
    prompt: A paper kite floats above a wide green field.

  - id: morning                # begins with a picture
    prompt: The sun climbs, and light fills the valley.
    first_frame: frames/dawn.png

  - id: dawn-to-dusk           # begins with one picture, and ends with another
    prompt: The valley from dawn to dusk, time lapse.
    first_frame: frames/dawn.png
    last_frame: frames/dusk.png
    takes: 2                   # two clips: dawn-to-dusk and dawn-to-dusk-2

  # - id: "{city}-{time}"      # every combination of a matrix: four jobs
  #   prompt: "A street in {city} at {time}"
  #   matrix: {city: [Hanoi, Hue], time: [dawn, dusk]}
"""

_SIZE = (640, 360)
_SKIES = {"dawn.png": ((38, 46, 92), (250, 190, 150)), "dusk.png": ((24, 20, 52), (214, 92, 72))}
_HILL = (18, 30, 34)


def write_starter(folder: Path) -> list[Path]:
    """Write the starter files into *folder*, which is made if it is missing, and return their paths.

    Raises `ConfigError`, with nothing written, when one of them exists already, and `StorageError`
    when they cannot be written.
    """
    frames = {folder / "frames" / name: colours for name, colours in _SKIES.items()}
    manifest, schema = folder / "clips.yaml", folder / "clips.schema.json"
    wanted = [manifest, schema, *frames]
    there = [path for path in wanted if path.exists() or path.is_symlink()]
    if there:
        verb = "exists" if len(there) == 1 else "exist"
        raise ConfigError(f"{', '.join(map(str, there))} {verb} already: name another folder")
    try:
        (folder / "frames").mkdir(parents=True, exist_ok=True)
        for path, (above, below) in frames.items():
            with path.open("xb") as image:
                _sky(above, below).save(image, "PNG", optimize=True)
        for path, text in ((schema, json.dumps(json_schema(), indent=2) + "\n"), (manifest, _MANIFEST)):
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{error.filename} exists already: name another folder") from error
    except OSError as error:
        raise StorageError(f"{error.filename or folder}: {error.strerror}") from error
    return wanted


def _sky(above: tuple[int, int, int], below: tuple[int, int, int]) -> Image.Image:
    """Draw a sky between two colours, over a hill."""
    width, height = _SIZE
    shade = Image.linear_gradient("L").resize(_SIZE)
    sky = Image.composite(Image.new("RGB", _SIZE, below), Image.new("RGB", _SIZE, above), shade)
    hill = Image.radial_gradient("L").resize((width * 2, height)).point(lambda depth: 255 if depth < 128 else 0)  # noqa: PLR2004 half way
    sky.paste(_HILL, (-width // 2, height * 2 // 3), hill)
    return sky
