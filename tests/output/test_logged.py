"""A program that has no view of its own finds in its log what a person must know."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from batchvid.engine.observer import Logged
Logged().note("a note")
Logged().warn("PAID, NOT JOURNALED: 100 %s")
"""


def test_a_warning_is_seen_also_where_nobody_set_up_logging() -> None:
    """It may hold a paid task id that could be written nowhere else; a note is only for who asks for it."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "PAID, NOT JOURNALED: 100 %s\n")
