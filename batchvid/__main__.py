"""``python -m batchvid``."""

from batchvid.cli import main

if __name__ == "__main__":
    main()
