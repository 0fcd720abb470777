"""Outputs to review, and the browser in which it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.report.conftest import browser  # noqa: F401 the fixture
from tests.report.nights import write_night
from tests.review.server import reviewing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import MakeClip
    from tests.review.server import Served


@pytest.fixture
def project(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Return the manifest of 30 jobs, whose night is over: kite-00000, train-00001, vase-00002 and so on."""
    clip = tmp_path / "source.mp4"
    clip.write_bytes(make_clip(frames=48))
    return write_night(tmp_path, 30, clips=[clip])


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Iterator[Served]:
    """Return the same for tests of what is refused: they share it, and change nothing."""
    folder = tmp_path_factory.mktemp("untouched")
    clip = folder / "source.mp4"
    clip.write_bytes(make_clip(frames=48))
    with reviewing(write_night(folder, 30, clips=[clip]).name, "--by", "Ana", cwd=folder) as found:
        yield found


@pytest.fixture
def served(project: Path) -> Iterator[Served]:
    """Return the server of its review page."""
    with reviewing(project.name, "--by", "Ana", cwd=project.parent) as found:
        yield found
