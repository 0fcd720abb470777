"""What is published of a job is read back as it was, and nothing else is read."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain import spec
from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.job import Continuation, Frame, Job
from batchvid.domain.lifecycle import Reopened
from tests.domain import specs
from tests.engine.drive import a_job

if TYPE_CHECKING:
    from batchvid.domain.limits import RunOptions

JOB = a_job("kite")
RECORDS = [
    spec.FITTING,
    spec.FRAME,
    *spec.JOBS.values(),
    spec.REOPENED,
    spec.FILM,
    spec.HOOK,
    spec.RATE,
    spec.LIMITS,
    spec.OPTIONS,
]
NOT_TOLD = {
    "Job": {"variables"},
    "Continuation": {"variables"},
    "Hook": {"url", "when"},
    "Limits": {"auto_submits", "auto_in_flight"},
    "RunOptions": {"moved", "sandbox_speed", "key_file", "ca_file"},
}
"""A secret, what only the run that watches tells, and what is a machine's own: names are made where the manifest is."""


@given(specs.JOBS)
def test_a_job_is_read_back_as_it_was(job: Job) -> None:
    """With its frames, to the last character."""
    text = spec.job_text(job)
    assert spec.read_job(text) == job
    assert type(spec.read_job(text)) is type(job)
    assert text.isascii()


@given(specs.FILMS, specs.LIMITS, specs.REOPENED)
def test_other_values_are_read_back_as_they_were(film: Any, limits: Any, event: Any) -> None:
    """Each by its record."""
    for record, value in ((spec.FILM, film), (spec.LIMITS, limits), (spec.REOPENED, event)):
        assert record.read(record.text(value), what="it") == value


@given(specs.OPTIONS)
def test_of_what_was_asked_all_is_read_back_but_what_is_the_machines_own(options: RunOptions) -> None:
    """A file of the key, or an output that was moved here, means nothing elsewhere."""
    kept = replace(options, moved=False, sandbox_speed=None, key_file=None, ca_file=None)
    assert spec.OPTIONS.read(spec.OPTIONS.text(options), what="it") == kept


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.made.__name__)
def test_every_field_is_told_or_left_out_on_purpose(record: spec.Record[Any]) -> None:
    """A field that is added to a value, and not here, would be lost on the way to another machine."""
    names = {field.name for field in fields(record.made)}
    assert record.told.keys() == names - NOT_TOLD.get(record.made.__name__, set())


def test_a_text_of_a_newer_form_is_left_to_a_newer_batchvid() -> None:
    """It may ask for what this one does not do."""
    newer = json.dumps(json.loads(spec.job_text(JOB)) | {"spec": spec.FORM + 1, "mood": "blue"})
    with pytest.raises(ConfigError, match="newer batchvid"):
        spec.read_job(newer)


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_what_is_no_published_text_is_refused(text: str) -> None:
    """Whatever it is."""
    with pytest.raises(StorageError, match="a job cannot be read"):
        spec.read_job(text)


FRAME = Frame("/pictures/kite.png", "ab" * 32, 10, "image/png", 16, 9)
CHAINED = Continuation(
    **{field.name: getattr(JOB, field.name) for field in fields(Job)} | {"frames": (FRAME,)}, continues="a", at_s=1.5
)
WRONG = [
    {"spec": 0},
    {"spec": True},
    {"spec": "1"},
    {"id": 1},
    {"prompt": None},
    {"mood": "blue"},
    {"form": [["a"]]},
    {"form": [["a", 1]]},
    {"form": {"a": "b"}},
    {"frames": [{}]},
    {"frames": [[]]},
    {"frames": None},
    {"price_micros": 1.5},
    {"price_micros": True},
    {"at_s": "1"},
    {"at_s": True},
    {"path": "../kite.mp4"},
    {"path": "/etc/kite.mp4"},
    {"path": "a/./kite.mp4"},
    {"path": ""},
    {"is_named": 1},
    {"also": "ab"},
]


@pytest.mark.parametrize("change", WRONG, ids=json.dumps)
def test_a_job_with_one_thing_wrong_is_refused(change: dict[str, Any]) -> None:
    """A type, a field too many, or a place beyond the output."""
    whole = json.loads(spec.job_text(CHAINED))
    assert spec.read_job(json.dumps(whole)) == CHAINED
    with pytest.raises(StorageError):
        spec.read_job(json.dumps(whole | change))


@pytest.mark.parametrize("name", sorted(json.loads(spec.job_text(CHAINED)).keys() - {"frames"}))
def test_a_job_with_a_field_too_few_is_refused_where_it_has_no_default(name: str) -> None:
    """No field is guessed."""
    left = {key: value for key, value in json.loads(spec.job_text(CHAINED)).items() if key != name}
    with pytest.raises(StorageError):
        spec.read_job(json.dumps(left))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_what_is_no_number_is_refused(number: str) -> None:
    """JSON as Python reads it knows some that are none."""
    text = spec.job_text(CHAINED).replace("1.5", number)
    assert text != spec.job_text(CHAINED)
    with pytest.raises(StorageError):
        spec.read_job(text)


def test_deep_garbage_is_refused() -> None:
    """It does not end the program."""
    with pytest.raises(StorageError):
        spec.read_job("[" * 100_000)


def test_an_error_shows_no_more_than_a_line() -> None:
    """What stands in a broken text may be anything."""
    whole = json.loads(spec.job_text(JOB)) | {"\x1b[31m" + "long" * 1000: 1}
    with pytest.raises(StorageError) as caught:
        spec.read_job(json.dumps(whole), what="job 3")
    assert str(caught.value).startswith("job 3 cannot be read as it was published (the fields of a Job are other ones")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_where_things_lie_is_not_what_is_the_same_anywhere() -> None:
    """All else is."""
    elsewhere = replace(CHAINED, where="other.yaml:7", frames=(replace(FRAME, path="/mnt/kite.png"),))
    assert spec.same_anywhere(elsewhere) == spec.same_anywhere(CHAINED)
    changed = replace(CHAINED, frames=(replace(FRAME, sha256="cd" * 32),))
    assert spec.same_anywhere(changed) != spec.same_anywhere(CHAINED)


def test_an_event_is_short() -> None:
    """What has its default is not written."""
    assert spec.REOPENED.text(Reopened("--retry-failed")) == '{"spec":1,"reason":"--retry-failed"}'
