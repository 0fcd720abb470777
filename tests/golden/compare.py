"""Golden files: what was promised, as text in ``data/``. ``GOLDEN_UPDATE=1 pytest tests/golden`` writes them again."""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"
SHOWN_LINES = 60


def same_as_golden(name: str, found: str) -> None:
    """Fail with a diff where *found* is not the text of the golden file *name*."""
    path = DATA / name
    if os.environ.get("GOLDEN_UPDATE"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(found.encode())
    wanted = path.read_bytes().decode() if path.exists() else ""
    if found != wanted:
        lines = unified_diff(wanted.splitlines(), found.splitlines(), "promised", "found", n=0, lineterm="")
        told = list(lines)[:SHOWN_LINES] or ["only line ends differ"]
        pytest.fail("\n".join([f"tests/golden/data/{name} promises something else:", *told]), pytrace=False)
