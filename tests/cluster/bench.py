"""The figures of several workers at one database, beside one machine: ``python -m tests.cluster.bench [C1 ...]``.

They are measures of the speed bench (`tests.benchmarks.bench`), which has the options.
"""

from __future__ import annotations

import sys

from tests.benchmarks.bench import MEASURES, main

FIGURES = [name for name in MEASURES if name.startswith("C")]

if __name__ == "__main__":
    sys.exit(main(FIGURES, quick=FIGURES))
