"""What programs read of a run: JSON, tables, sidecars, logs, the journal. One night is run, and all is asked of it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.golden.compare import same_as_golden
from tests.golden.night import FRAME_FROM_CLIP, Night, finished_night

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.xdist_group("golden night")  # one night for all of them

NIGHT = (
    "adopt-wrong.jsonl",
    "adopt.jsonl",
    "check-broken.json",
    "check.json",
    "clips.jsonl",
    "costs.jsonl",
    "doctor.jsonl",
    "doubts.jsonl",
    "export.csv",
    "export.jsonl",
    "films.jsonl",
    "fingerprints.txt",
    "journal-rows.txt",
    "journal-schema.sql",
    "log.jsonl",
    "metrics-early.txt",
    "metrics-end.txt",
    "plan-done.jsonl",
    "plan-later.jsonl",
    "plan-new.jsonl",
    "plan-rebuy.jsonl",
    "report-data.json",
    "report.json",
    "run-again.jsonl",
    "run-broken.jsonl",
    "run.jsonl",
    "schema.json",
    "sent.jsonl",
    "sidecars.jsonl",
    "status.json",
    "tree.txt",
    "verify-quick.jsonl",
    "verify-repair.jsonl",
    "verify-wrong.jsonl",
    "verify.jsonl",
    "watch.json",
)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """Yield the night, which is over; nothing is asked of it any more."""
    with finished_night(tmp_path_factory.mktemp("golden")) as found:
        yield found


@pytest.mark.parametrize("name", NIGHT)
def test_what_a_night_tells_is_what_it_was(night: Night, name: str) -> None:
    """Names, order, types and values, but for what is another every night."""
    same_as_golden(name, night.texts[name])


def test_every_text_of_the_night_is_compared(night: Night) -> None:
    """None is made for nothing."""
    assert set(night.texts) == set(NIGHT)


@pytest.mark.parametrize(
    ("job_id", "clip", "place"), [("onwards", "plain", "last"), ("onwards-from", "sized", "2500000us")]
)
def test_the_fingerprint_of_a_continuation_is_made_as_it_was(night: Night, job_id: str, clip: str, place: str) -> None:
    """Its frame is known by the hash of the clip and the place in it; golden files cannot hold that of an encoder."""
    told, before = (json.loads((night.out / f"{name}.json").read_bytes()) for name in (job_id, clip))
    parts = [b"batchvid-fingerprint-1\n"]
    for name, text in (("model", told["model"]), ("prompt", told["prompt"])):
        parts.append(f"{len(name)}:{name}{len(text)}:{text}".encode())
    parts.append(f"frame:clip:{before['sha256']}:{place}".encode())
    assert job_id in FRAME_FROM_CLIP
    assert told["fingerprint"] == hashlib.sha256(b"".join(parts)).hexdigest()
