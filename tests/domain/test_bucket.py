"""The address of an output in a bucket has one form, and a slip is told with what was probably meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from batchvid.domain.bucket import bucket_url, folder_name, is_bucket


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("s3://clips/night/one", "s3://clips/night/one"),
        ("s3://clips/night/one/", "s3://clips/night/one"),
        ("S3://clips", "s3://clips"),
        ("s3://clips/", "s3://clips"),
        ("gs://clips/a b/fu\u0308r", "gs://clips/a b/f\u00fcr"),
        ("az://my-container/x", "az://my-container/x"),
    ],
)
def test_an_address_has_one_form(written: str, found: str) -> None:
    """Two spellings of one place must not have two journals."""
    assert is_bucket(written)
    assert bucket_url(written) == found
    assert bucket_url(found) == found


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("s3:/clips/night", "did you mean s3://clips/night?"),
        ("s3:clips/night", "did you mean s3://clips/night?"),
        ("GCS:/clips", "did you mean gs://clips?"),
        ("s3:/key:secret@clips", "did you mean s3://bucket/prefix?"),
        ("gcs://clips", "which batchvid calls gs://"),
        ("s3a://clips", "which batchvid calls s3://"),
        ("https://clips.s3.amazonaws.com/x", "begins with https://, where batchvid puts no clips"),
        ("file:///tmp/x", "or a folder"),
        ("s3://", "names no bucket"),
        ("s3:///night", "names no bucket"),
        ("s3://AKIA:secret@clips/x", "keys never stand in it"),
        ("s3://clips/x?region=eu-central-1", "goes on with ? or #"),
        ("s3://clips?endpoint=http://localhost", "AWS_ENDPOINT_URL"),
        ("s3://clips/take#1", "goes on with ? or #"),
        ("s3://localhost:9000/clips", "names an address where the bucket's name belongs"),
        ("s3://-clips/x", "names a bucket as none is called"),
        ("s3://cl/x", "names a bucket as none is called"),
        ("s3://clips//x", "has an empty part"),
        ("s3://clips/../x", "has an empty part, . or .."),
        ("s3://clips/$NIGHT", "variables are not expanded"),
        ("s3://clips/a%20b", "stores do not agree on"),
        ("s3://clips/a\nb", "control character"),
        ("s3://clips/" + "x" * 401, "longer than 400 bytes"),
    ],
)
def test_a_slip_is_told_with_what_to_write(written: str, told: str) -> None:
    """It is never taken for a folder; and what may be a key is not repeated."""
    assert is_bucket(written)
    with pytest.raises(ValueError, match=r"^[a-z]") as caught:
        bucket_url(written)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("written", ["out", "out/s3", "/srv/clips", "../x", "s3", "c:/x", "a:b", "./s3:/x"])
def test_a_folder_is_no_address(written: str) -> None:
    """Not even one with a colon in its name."""
    assert not is_bucket(written)


def test_the_folder_of_the_state_can_be_read_and_is_nobody_elses() -> None:
    """People find it, and what looks alike is told apart."""
    assert folder_name("s3://clips/night/one").startswith("s3-clips-night-one-")
    urls = ("s3://clips/a/b", "s3://clips/a-b", "gs://clips/a/b", "s3://clips/" + "x" * 90)
    names = {folder_name(url) for url in urls}
    assert len(names) == 4
    assert all(len(name) < 80 for name in names)


@given(some.text(max_size=80))
def test_whatever_is_written_is_an_address_or_a_slip(rest: str) -> None:
    """The one form of an address is its own, and its folder is one plain name."""
    try:
        found = bucket_url(f"s3://{rest}")
    except ValueError:
        return
    assert bucket_url(found) == found
    name = folder_name(found)
    assert "/" not in name
    assert name.isascii()
