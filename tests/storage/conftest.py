"""Object stores for all tests of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage import buckets

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a store that holds all in memory."""
    with buckets.moto(tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a store that keeps its objects on the disk, as those of real nights do."""
    with buckets.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as address:
        yield address
