"""``python -m batchvid``, and the command ``batchvid``."""

from __future__ import annotations

from batchvid.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
