"""Where the journal's database is: what ``database`` may hold, and that no address is repeated in a complaint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.manifest.conftest import Desk

JOBS = "jobs: [{id: kite, prompt: A kite.}]\n"


def test_the_name_of_a_variable_is_taken(desk: Desk) -> None:
    """The address is not looked for here; without one there is no database."""
    loaded = desk.load(f"database: $FILMS_DATABASE\n{JOBS}")
    assert (loaded.database_env, loaded.database) == ("FILMS_DATABASE", "")
    assert desk.load(JOBS).database_env == ""


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://me:s3cret@db.example.com/films",
        "postgresql://me@s3cret/films",
        "host=s3cret dbname=films",
        "s3cret",
        "$s3cret-x",
        "$",
        "${S3CRET}",
    ],
)
def test_an_address_is_refused_with_what_to_write_and_not_repeated(desk: Desk, written: str) -> None:
    """It may hold a password, and a manifest is read by everybody."""
    (complaint,) = desk.complaints(f"database: {written!r}\n{JOBS}")
    assert ": database: is not the name of a variable: write database: $BATCHVID_DATABASE" in complaint
    assert "s3cret" not in complaint.lower()
