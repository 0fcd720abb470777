"""What a type checker says of a program that uses batchvid, and the help's example run for real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import batchvid

if TYPE_CHECKING:
    from tests.api.conftest import Desk

PAGE = Path(__file__).parents[2] / "batchvid" / "help" / "python.md"
RIGHT = """
import asyncio
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import batchvid
from batchvid import Clip, Exit, Manifest, State, Summary


async def sizes(manifest: Manifest) -> dict[str, int]:
    found: dict[str, int] = {}
    async with batchvid.stream(manifest, only="kite*", max_cost=Decimal("2.50"), sandbox=True) as clips:
        async for clip in clips:
            found[clip.id] = clip.size_bytes
            path: Path = clip.path
            at: datetime | None = clip.finished_at
            prompt: str = clip.job.prompt
    summary: Summary | None = clips.summary
    return found


async def main() -> int:
    manifest = batchvid.load("clips.yaml", output=Path("out"))
    settings: batchvid.Settings = {"max_jobs": 3, "key_file": "key"}
    summary = await batchvid.run(manifest, **settings)
    done: int = summary.counts[State.DONE]
    price: int = batchvid.plan(manifest).price_micros
    return done if summary.exit_code is Exit.OK else price


try:
    asyncio.run(main())
except batchvid.ManifestError as error:
    print([problem.line for problem in error.problems])
"""
WRONG = """
import batchvid


async def main() -> None:
    manifest = batchvid.load(3)  # E: arg-type
    await batchvid.run(manifest, max_price=3)  # E: call-arg
    await batchvid.run(manifest, only=3)  # E: arg-type
    async for clip in batchvid.stream(manifest):
        clip.colour  # E: attr-defined
        clip.id = "x"  # E: misc
    batchvid.nothing  # E: attr-defined
"""


def checked(folder: Path, cache: Path, text: str) -> list[tuple[int, str]]:
    """Return the lines and codes that ``mypy --strict`` finds, where a user would run it."""
    (folder / "program.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "--no-error-summary"]
    command += ["--hide-error-context", "program.py"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = re.findall(r"^program\.py:(\d+): error: .*\[([a-z-]+)\]$", ran.stdout, re.MULTILINE)
    told = [line for line in ran.stdout.splitlines() if ": note: " not in line]
    assert len(found) == len(told), ran.stdout + ran.stderr
    return [(int(line), code) for line, code in found]


def test_a_users_program_is_type_checked_strictly(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """What is right passes, and every slip is found on its line."""
    cache = Path(pytestconfig.cache.mkdir("mypy"))
    assert checked(tmp_path, cache, RIGHT) == []
    expected = [
        (number, line.split("# E: ")[1]) for number, line in enumerate(WRONG.splitlines(), 1) if "# E: " in line
    ]
    assert checked(tmp_path, cache, WRONG) == expected
    assert checked(tmp_path, cache, example()) == []


def test_everything_that_is_offered_is_there_and_nothing_else_is() -> None:
    """A name is loaded on first use; a slip is an error as anywhere in Python."""
    for name in batchvid.__all__:
        assert getattr(batchvid, name) is not None
    assert set(batchvid.__all__) <= set(dir(batchvid))
    with pytest.raises(AttributeError, match="module 'batchvid' has no attribute 'lode'"):
        _ = batchvid.lode  # type: ignore[attr-defined]


def example() -> str:
    """Return the program of `batchvid help python`."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_helps_program_runs_as_it_stands(desk: Desk) -> None:
    """In the folder where ``batchvid init kites`` was run; a second time it finds its clips."""
    program = desk.folder / "program.py"
    program.write_text(example(), encoding="utf-8")
    missing = desk.python(program)
    assert missing.code == 1
    assert missing.err.startswith("kites/clips.yaml: no such file")
    assert desk.batchvid("init", "kites").code == 0
    manifest = desk.folder / "kites" / "clips.yaml"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("10/min", "10/s"), encoding="utf-8")
    ids = {"kite", "morning", "dawn-to-dusk", "dawn-to-dusk-2"}
    for plan, how, end in [
        ("4 clips to buy for $1.60", "new", "exit code 0, 4 paid requests"),
        ("0 clips to buy for $0.00", "there before", "exit code 0, 0 paid requests"),
    ]:
        ran = desk.python(program)
        assert (ran.code, ran.err) == (0, ""), ran
        first, *clips, last = ran.out.splitlines()
        assert (first, last) == (plan, end)
        assert {line.split()[0] for line in clips} == ids
        assert all(line.endswith(how) for line in clips)
    assert desk.creates() == {}
