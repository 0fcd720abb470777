"""What is published of a manifest: its jobs, each by itself, and its head, which is all the rest.

What means nothing on another machine stays out of the digest: where the manifest, its entries and its frames lie. So
two machines that read equal manifests have the same digest. Texts and meanings are those of `batchvid.domain.spec`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from batchvid.domain.notice import When
from batchvid.domain.spec import (
    FILM,
    HOOK,
    LIMITS,
    PAIRS,
    TEXT,
    YES_OR_NO,
    Kind,
    Record,
    many,
    one_of,
    optional,
    parsed,
    same_anywhere,
    unreadable,
)
from batchvid.domain.task import ProviderName, ProxyUse
from batchvid.manifest.model import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchvid.domain.job import Job


def _path(plain: object) -> Path:
    return Path(TEXT.read(plain))


LOCAL = Kind(str, _path)
"""A path of the machine that published, for messages."""
_HOOKS = Kind(
    lambda hooks: [HOOK.plain(hook) for hook in hooks if hook.env and When.END in hook.when], many(HOOK.kind).read
)
"""Whom any machine tells of the end. What happens before that, the run tells that watches."""
HEAD = Record(
    Manifest,
    {
        "path": LOCAL,
        "base_url": TEXT,
        "key_env": TEXT,
        "output": LOCAL,
        "bucket": optional(TEXT),
        "limits": LIMITS.kind,
        "notify": _HOOKS,
        "films": many(FILM.kind),
        "warnings": many(TEXT),
        "allow_http": YES_OR_NO,
        "clip_hosts": many(TEXT),
        "proxy": one_of(ProxyUse),
        "reads": many(LOCAL),
        "provider": one_of(ProviderName),
        "made_safe": PAIRS,
        # without jobs: a hundred thousand of them are read one slice at a time
    },
)
SAME_ANYWHERE = HEAD.without("path", "output", "warnings", "reads")
"""Of the head. Which output it is, the name of its journal says."""
_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class Publication(NamedTuple):
    """What is published of a manifest beside its jobs."""

    digest: str
    """SHA-256 (hex) over what is the same on every machine."""
    head: str
    """The text of all but the jobs."""
    kept_back: tuple[str, ...]
    """Whom only the run that publishes can tell of the end, as it may be shown: a URL in the manifest may hold a
    secret, and is not published. In the place of each, ``notify`` can name a variable."""


def publication(manifest: Manifest) -> Publication:
    """Return what is published of the manifest."""
    digest = hashlib.sha256(_sorted(SAME_ANYWHERE.plain(manifest)).encode())
    for job in manifest.jobs:
        digest.update(b"\n" + _sorted(same_anywhere(job)).encode())
    return Publication(
        digest.hexdigest(),
        HEAD.text(manifest),
        tuple(hook.shown for hook in manifest.notify if not hook.env),
    )


def manifest_of(head: str, jobs: Iterable[Job], *, what: str = "a manifest") -> Manifest:
    """Return the manifest of a published *head* with these *jobs*: all, or those of a slice.

    Raises `batchvid.domain.errors.ConfigError` for that of a newer batchvid, and
    `batchvid.domain.errors.StorageError` for anything that is none.
    """
    plain = parsed(head, what=what)
    try:
        return HEAD.value(plain, jobs=tuple(jobs))
    except ValueError as error:
        raise unreadable(what, error) from None
