"""Reads one manifest, as batchvid does or with the C YAML loader alone, and prints the seconds."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path


def main() -> None:
    """Read it."""
    way, path = sys.argv[1], Path(sys.argv[2])
    if way.startswith("yaml"):
        import yaml  # noqa: PLC0415 each way imports its own only

        if way == "yaml-uncollected":
            gc.disable()
        started = time.monotonic()
        with path.open("rb") as file:
            read = len(yaml.load(file, Loader=yaml.CSafeLoader)["jobs"])
    else:
        import batchvid  # noqa: PLC0415 as above
        import batchvid.manifest.loader  # noqa: PLC0415 as above
        import batchvid.media.images  # noqa: PLC0415 the time to import is not the time to read

        started = time.monotonic()
        read = len(batchvid.load(path).jobs)
    print(time.monotonic() - started)  # noqa: T201 what it is for
    assert read > 1


if __name__ == "__main__":
    main()
