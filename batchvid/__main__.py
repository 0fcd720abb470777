"""``python -m batchvid``, and the command ``batchvid``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with the promised exit code."""
    if "run" in sys.argv[1:]:
        from batchvid.commands.finished import said_again  # noqa: PLC0415 no other command is answered so

        if said_again(sys.argv[1:]):
            return
    from batchvid import cli  # noqa: PLC0415 a run that has nothing to do does without

    cli.main()


if __name__ == "__main__":
    main()
