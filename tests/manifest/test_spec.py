"""What is published of a manifest: read back as it was, with a digest that no machine changes and without secrets."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.domain.errors import ConfigError, StorageError
from batchvid.domain.job import Frame
from batchvid.domain.limits import Limits
from batchvid.domain.notice import Hook, When
from batchvid.domain.spec import job_text, read_job
from batchvid.domain.task import ProviderName, ProxyUse
from batchvid.manifest.model import Manifest
from batchvid.manifest.spec import HEAD, manifest_of, publication
from tests.domain import specs
from tests.engine.drive import a_job

PATHS = specs.PLACES.map(lambda place: Path("/", place))
MANIFESTS = st.builds(
    Manifest,
    path=PATHS,
    base_url=specs.TEXTS,
    key_env=specs.TEXTS,
    output=PATHS,
    limits=specs.LIMITS,
    jobs=st.lists(specs.JOBS, max_size=3).map(tuple),
    notify=st.lists(specs.HOOKS, max_size=3).map(tuple),
    films=st.lists(specs.FILMS, max_size=3).map(tuple),
    warnings=specs.MANY,
    allow_http=st.booleans(),
    clip_hosts=specs.MANY,
    proxy=st.sampled_from(ProxyUse),
    reads=st.lists(PATHS, max_size=2).map(tuple),
    provider=st.sampled_from(ProviderName),
    made_safe=specs.PAIRS,
)
FRAME = Frame("/pictures/kite.png", "ab" * 32, 10, "image/png", 16, 9)
MANIFEST = Manifest(
    path=Path("/films/night.yaml"),
    base_url="https://api.example.com/v1",
    key_env="KEY",
    output=Path("/films/out"),
    limits=Limits(),
    jobs=(replace(a_job("kite"), frames=(FRAME,)), a_job("dawn")),
    notify=(Hook(url="https://example.com/hook?token=hush"), Hook(env="TELL")),
    warnings=("/films/night.yaml:3:1: jobs: odd",),
    reads=(Path("/films/table.csv"),),
)


@given(MANIFESTS)
def test_a_manifest_is_read_back_as_it_was(manifest: Manifest) -> None:
    """All but the addresses of those who are told of its end."""
    published = publication(manifest)
    kept = replace(manifest, notify=tuple(hook for hook in manifest.notify if hook.env))
    jobs = [read_job(job_text(job)) for job in manifest.jobs]
    assert manifest_of(published.head, jobs) == kept


def test_every_field_is_published() -> None:
    """A field that is added to manifests, and not here, would be lost on the way to another machine.

    Which database it is, each machine knows for itself; and a rehearsal, which asks whether the output is its own, has
    none.
    """
    own = {"jobs", "database", "database_env", "home", "is_placed", "profile", "profile_name"}
    assert HEAD.told.keys() == {field.name for field in fields(Manifest)} - own


def test_an_address_that_is_written_out_is_not_published() -> None:
    """It may hold a secret; the name of a variable holds none."""
    published = publication(MANIFEST)
    assert "hush" not in published.head
    assert '"env":"TELL"' in published.head
    assert published.kept_back == ("https://example.com/…",)


def test_only_whom_to_tell_of_the_end_is_published() -> None:
    """What happens before that, the run tells that watches all machines; and the text is as it was before."""
    end, doubt = Hook(env="TELL"), Hook(env="PAGER", when=(When.DOUBT,))
    both = Hook(env="BOTH", when=(When.DOUBT, When.END))
    published = publication(replace(MANIFEST, notify=(end, doubt, both)))
    assert manifest_of(published.head, MANIFEST.jobs).notify == (end, Hook(env="BOTH"))
    assert publication(replace(MANIFEST, notify=(end, doubt))) == publication(replace(MANIFEST, notify=(end,)))


def test_the_digest_is_the_same_wherever_the_manifest_is_read() -> None:
    """Where its files lie, and what is said of them, is no part of it; nor is the secret."""
    there = replace(
        MANIFEST,
        path=Path("/mnt/night.yaml"),
        output=Path("/mnt/out"),
        warnings=("/mnt/night.yaml:3:1: jobs: odd",),
        reads=(Path("/mnt/table.csv"),),
        notify=(Hook(env="TELL"),),
        jobs=tuple(
            replace(job, where=f"/mnt/{job.where}", frames=tuple(replace(one, path="/mnt/1.png") for one in job.frames))
            for job in MANIFEST.jobs
        ),
    )
    assert publication(there).digest == publication(MANIFEST).digest


OTHERS: dict[str, Any] = {
    "base_url": "https://other.example.com/v1",
    "key_env": "OTHER",
    "limits": Limits(attempts=3),
    "notify": (),
    "allow_http": True,
    "clip_hosts": ("10.0.0.0/8",),
    "proxy": ProxyUse.ENV,
    "provider": ProviderName.OPENAI,
    "jobs": MANIFEST.jobs[::-1],
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_digest_changes_with_what_is_meant(name: str) -> None:
    """Another service, other limits, another order of the jobs."""
    assert publication(replace(MANIFEST, **{name: OTHERS[name]})).digest != publication(MANIFEST).digest


def test_the_digest_is_the_one_that_other_versions_compute() -> None:
    """A machine with another batchvid must not take an equal manifest for a changed one."""
    assert publication(MANIFEST).digest == "a892af56ba1886d1f6ebe76db2c0dd40209a5e5178ec54c332e763a7c5289178"


@pytest.mark.parametrize("field", ["prompt", "model", "size", "seconds", "path", "price_micros", "fingerprint", "form"])
def test_the_digest_changes_with_a_job(field: str) -> None:
    """With each of its values."""
    value: Any = {"price_micros": 7, "form": (("a", "b"),)}.get(field, "other")
    changed = replace(MANIFEST, jobs=(replace(MANIFEST.jobs[0], **{field: value}), MANIFEST.jobs[1]))
    assert publication(changed).digest != publication(MANIFEST).digest


def test_what_is_no_manifest_is_refused() -> None:
    """And that of a newer batchvid is left to it."""
    head = publication(MANIFEST).head
    with pytest.raises(StorageError, match="the manifest of revision 3 cannot be read"):
        manifest_of(head.replace("key_env", "key"), (), what="the manifest of revision 3")
    with pytest.raises(StorageError):
        manifest_of(head[:-1], ())
    with pytest.raises(ConfigError, match="newer batchvid"):
        manifest_of(head.replace('"spec":1', '"spec":2'), ())
