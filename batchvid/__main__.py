"""``python -m batchvid``, and the command ``batchvid``."""

from __future__ import annotations

from batchvid import cli


def main() -> None:
    """Run the command line and end the process with the promised exit code."""
    cli.main()


if __name__ == "__main__":
    main()
