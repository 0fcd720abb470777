"""A job that is made the quick way is a job like any other."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

from batchvid.domain.job import Job, plain_job

QUICK = plain_job(
    "kite", "A kite.", model="m", size=None, seconds="8", price_micros=4, path="kite.mp4", fingerprint="f",
    where="m.yaml:3", variables={"take": "1"},
)  # fmt: skip
SLOW = Job(
    "kite", "A kite.", "m", None, "8", (), (), 4, "kite.mp4", "f", "m.yaml:3", variables={"take": "1"}
)  # fmt: skip


def test_a_plain_job_is_the_job_with_these_values() -> None:
    """All of its fields, and what is made of them."""
    assert type(QUICK) is Job
    assert {field.name: getattr(QUICK, field.name) for field in fields(Job)} == {
        field.name: getattr(SLOW, field.name) for field in fields(Job)
    }
    assert QUICK == SLOW
    assert repr(QUICK) == repr(SLOW)
    assert hash(QUICK) == hash(SLOW)
    assert pickle.loads(pickle.dumps(QUICK)) == SLOW  # noqa: S301 our own


def test_a_plain_job_is_frozen() -> None:
    """Once it is made."""
    with pytest.raises(FrozenInstanceError):
        QUICK.prompt = "Another."  # type: ignore[misc]
