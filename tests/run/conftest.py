"""Benches: each an output folder, a world and a clock."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.run.bench import Bench, quick_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


class MakeBench(Protocol):
    """Make a bench for a test."""

    def __call__(self, *rules: dict[str, Any], **terms: Any) -> Bench:
        """Return a bench whose world follows *rules* (as in a faults file) and *terms*."""
        ...


@pytest.fixture
def make_bench() -> Iterator[MakeBench]:
    """Return a maker of benches; the jitter of their runs is the same at every test."""
    random.seed(7)
    with quick_folder() as folder:

        def make(*rules: dict[str, Any], **terms: Any) -> Bench:
            return Bench(folder / "out", rules, **terms)

        yield make
