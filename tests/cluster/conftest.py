"""What tests of a cluster skip for: a server or a right that is not there, with what brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.world import world
from tests.faults.cases import NotHereError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.world import World


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Return a maker of worlds, of which nothing is left afterwards."""
    made = []

    def make(**options: Any) -> World:
        context = world(**options)
        try:
            found = context.__enter__()
        except NotHereError as reason:
            pytest.skip(str(reason))
        made.append(context)
        return found

    yield make
    for context in reversed(made):
        context.__exit__(None, None, None)
