"""The emergency file of paid task ids that could not be journaled."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from batchvid.domain.errors import StorageError
from batchvid.journal import orphans

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Return an output with its state folder."""
    (tmp_path / ".batchvid").mkdir()
    return tmp_path


def test_orphans_are_appended_and_private(output: Path) -> None:
    """Every paid id that could not be journaled is a line of its own."""
    orphans.append(output, {"job_id": "kite", "task_id": "task_1"})
    orphans.append(output, {"job_id": "dawn", "task_id": "task_2"})
    path = orphans.path_of(output)
    assert [json.loads(line)["task_id"] for line in path.read_text().splitlines()] == ["task_1", "task_2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_in_the_way_of_the_orphans_is_refused_without_waiting(output: Path) -> None:
    """A link that leads elsewhere; a FIFO, whose other end would be waited for for ever."""
    path, target = orphans.path_of(output), output / "file"
    target.write_text("mine")
    path.symlink_to(target)
    with pytest.raises(StorageError, match="a symbolic link, which is never followed"):
        orphans.append(output, {})
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StorageError, match="something else has that name"):
        orphans.append(output, {})
    assert target.read_text() == "mine"
