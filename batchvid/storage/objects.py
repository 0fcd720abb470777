"""The few requests to an object store, each tried again for a while.

A write counts by what lies there, not by its answer. The library's own tries are switched off: all ten of them are
over within 2 s, and after a lost answer they call the object that they have written themselves somebody else's.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from batchvid.domain.bucket import SCHEMES
from batchvid.domain.errors import ConfigError, StorageError, StoreAwayError
from batchvid.domain.text import clean
from batchvid.providers.credentials import store_endpoint, store_has_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from obstore.store import ObjectStore as Client

T = TypeVar("T")

WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the tries of one request. Then a download has failed, and the run tries it again later."""
TRIES_END_AFTER_S = 60.0
"""No further one begins then: each may take as long as its time-outs, and somebody waits."""
CLIENT = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "30m"}
"""The last one is for all of a request: a clip may be large, and the line slow."""
BLOCK_BYTES = 4 * 1024 * 1024
LISTED_AT_ONCE = 1000
SHA256 = "sha256"
"""The attribute that tells of an object's bytes."""


def connect(url: str, options: Mapping[str, str]) -> Client:
    """Return the client of the place at *url*, such as ``s3://bucket/prefix``.

    Keys, region and endpoint come from the environment, whose variables the library reads; *options* win. Nothing of it
    is shown. Raises `ConfigError`.
    """
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ConfigError(f"{url} is no object store that batchvid knows: write s3://bucket/prefix, gs:// or az://")
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise ConfigError(f"{url} needs more than batchvid alone: pip install 'batchvid[cluster]'") from None
    config: Any = dict(options)
    endpoint = str(config.get("endpoint") or (store_endpoint() if scheme == "s3" else "") or "")
    client: Any = CLIENT | ({"allow_http": True} if endpoint.startswith("http://") else {})
    if scheme == "s3" and endpoint and "access_key_id" not in config and not store_has_key():
        raise ConfigError(
            f"there is no key for the object store {url}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(AWS_SKIP_SIGNATURE=true where it wants none); ~/.aws is not read"
        )
    try:
        return from_url(url, config=config, client_options=client, retry_config={"max_retries": 0})
    except (BaseError, ValueError) as error:
        raise ConfigError(f"the object store {url} cannot be used: {_why(error)}") from error


class Found(NamedTuple):
    """An object that is there."""

    size_bytes: int
    attributes: Mapping[str, str]


class Objects:
    """The objects below one prefix; a *key* is relative to it. Every method blocks.

    Reading raises `FileNotFoundError` where nothing is. All raise `StoreAwayError` when the store does not answer as it
    should after the last try, and `StorageError` when it refuses.
    """

    def __init__(self, client: Client, url: str, *, waits_s: Sequence[float] = WAITS_S) -> None:
        self._client, self._url, self._waits_s = client, url, waits_s

    def find(self, key: str) -> Found | None:
        """Return what is known of an object, ``None`` when there is none."""
        try:
            found = self._tried(f"look at {key}", lambda store: store.get(self._client, key, options={"head": True}))
        except FileNotFoundError:
            return None
        return Found(found.meta["size"], {str(name): value for name, value in found.attributes.items()})

    def sha256(self, key: str, found: Found) -> str:
        """Return the SHA-256 of an object that was found: as its attribute tells it, or else by reading it."""
        told = found.attributes.get(SHA256)
        if told is not None:
            return told
        digest = hashlib.sha256()
        for block in self.blocks(key, found.size_bytes):
            digest.update(block)
        return digest.hexdigest()

    def holds(self, key: str, size_bytes: int, sha256: str) -> bool:
        """Whether the object is there with these bytes."""
        found = self.find(key)
        try:
            return found is not None and found.size_bytes == size_bytes and self.sha256(key, found) == sha256
        except FileNotFoundError:  # it went meanwhile
            return False

    def blocks(self, key: str, size_bytes: int) -> Iterator[bytes]:
        """Yield all of an object that has so many bytes."""
        for begin in range(0, size_bytes, BLOCK_BYTES):
            yield self.read(key, begin, min(BLOCK_BYTES, size_bytes - begin))

    def read(self, key: str, offset: int, length: int) -> bytes:
        """Return bytes of an object, all of them within its size."""
        return bytes(
            self._tried(f"read {key}", lambda store: store.get_range(self._client, key, start=offset, length=length))
        )

    def open(self, key: str) -> IO[bytes]:
        """Open an object to read it and seek in it."""
        found = self.find(key)
        if found is None:
            raise FileNotFoundError(key)
        return io.BufferedReader(_Reader(self, key, found.size_bytes), BLOCK_BYTES)

    def told(self, key: str, *, max_bytes: int) -> dict[str, Any] | None:
        """Return the object that a small JSON file holds; empty when it holds none, ``None`` when nothing is there."""
        try:
            got = self._tried(f"read {key}", lambda store: _small(store.get(self._client, key), max_bytes))
        except FileNotFoundError:
            return None
        try:
            found = json.loads(got)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def put(self, key: str, body: bytes | Path, *, attributes: Mapping[str, str]) -> None:
        """Put an object in place, whatever has the name."""
        self._written(
            f"write {key}",
            lambda store: store.put(self._client, key, body, attributes=dict(attributes), use_multipart=False),
        )

    def put_new(self, key: str, body: bytes | Path, *, attributes: Mapping[str, str], size_bytes: int) -> bool:
        """Put an object where none is, with its SHA-256 among the *attributes*; ``False`` when another one is there.

        Whatever the store answers, what is there afterwards is compared: an answer may be lost, and a second try then
        finds what the first has written.
        """
        from obstore.exceptions import AlreadyExistsError

        def once(store: Any) -> bool:
            try:
                store.put(self._client, key, body, attributes=dict(attributes), mode="create")
            except AlreadyExistsError:
                if self.find(key) is None:  # two at the same moment, of which neither is there yet
                    raise
                return self.holds(key, size_bytes, attributes[SHA256])
            except store.exceptions.BaseError:
                if self.holds(key, size_bytes, attributes[SHA256]):
                    return True
                raise
            return True

        return self._written(f"write {key}", once)

    def delete(self, key: str) -> None:
        """Delete an object, if it is there."""
        try:
            self._tried(f"delete {key}", lambda store: store.delete(self._client, key))
        except FileNotFoundError:
            return

    def list(self, folder: str = "") -> Iterator[tuple[str, int]]:
        """Yield the key and the size of every object below *folder*, in the order of the store."""
        last: str | None = None
        while page := self._tried("list the clips", partial(self._page, folder=folder, last=last)):
            yield from ((one["path"], one["size"]) for one in page)
            last = page[-1]["path"]

    def _page(self, store: Any, *, folder: str, last: str | None) -> Sequence[Any]:
        pages = store.list(self._client, folder or None, offset=last, chunk_size=LISTED_AT_ONCE)
        page: Sequence[Any] = next(iter(pages), [])
        return page

    def prove(self, key: str) -> None:
        """Write an object of this *key*, which is new, and prove that a second one does not replace it."""
        body = b"batchvid\n"
        attributes = {SHA256: hashlib.sha256(body).hexdigest()}
        if not self.put_new(key, body, attributes=attributes, size_bytes=len(body)):
            raise StorageError(f"cannot use {self._url}: what was written into it is not what was sent")
        try:
            other = b"batchvid again\n"
            told = {SHA256: hashlib.sha256(other).hexdigest()}
            if self.put_new(key, other, attributes=told, size_bytes=len(other)):
                raise ConfigError(
                    f"the object store {self._url} replaces an object where it was asked not to (If-None-Match: *): "
                    "two workers could replace each other's clips there; use a store that honours it"
                )
            found = self.find(key)
            if found is None or found.attributes.get(SHA256) != attributes[SHA256]:
                raise ConfigError(
                    f"the object store {self._url} does not keep what is told of an object (its metadata): "
                    "use a store that does"
                )
        finally:
            self.delete(key)

    def _written(self, what: str, once: Callable[[Any], T]) -> T:
        try:
            return self._tried(what, once)
        except FileNotFoundError as error:
            raise StorageError(f"cannot {what}: {self._url} is not there: make the bucket first") from error

    def _tried(self, what: str, once: Callable[[Any], T]) -> T:
        import obstore
        from obstore import exceptions as known

        began = time.monotonic()
        for wait_s in (*self._waits_s, None):
            try:
                return once(obstore)
            except (known.UnauthenticatedError, known.PermissionDeniedError) as error:
                raise StorageError(
                    f"cannot {what} at {self._url}: {_why(error)}: check the store's key, and what it may do"
                ) from error
            except known.BaseError as error:
                if wait_s is None or time.monotonic() + wait_s - began > TRIES_END_AFTER_S:
                    raise StoreAwayError(f"cannot {what} at {self._url}: {_why(error)}") from error
            time.sleep(wait_s)
        raise AssertionError


class _Reader(io.RawIOBase):
    """An object as a file."""

    def __init__(self, objects: Objects, key: str, size_bytes: int) -> None:
        self._objects, self._key, self._size_bytes, self._at = objects, key, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        begins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}
        self._at = max(0, begins[whence] + offset)
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        length = min(len(buffer), self._size_bytes - self._at)
        if length <= 0:
            return 0
        try:
            block = self._objects.read(self._key, self._at, length)
        except StorageError as error:
            raise OSError(str(error)) from error
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)


def _small(got: Any, max_bytes: int) -> bytes:
    return bytes(got.bytes()) if got.meta["size"] <= max_bytes else b""


SAID_MAX = 300
"""Letters of what a store said."""
_ANSWERED = re.compile(r"status code: (\d{3}[A-Za-z ]*)")
_TOLD = re.compile(r"<(?:Code|Message)>([^<]{1,200})<")
_BROKE = re.compile(r"HTTP error: (.{1,200})")


_ROLE = "http://169.254.169.254/"
"""Where a machine in a cloud is given the key of its role."""


def _why(error: Exception) -> str:
    """Return what the store said, for people; never the address, which may hold a signature."""
    text = str(error).partition("\n\nDebug source")[0]
    if _ROLE in text:
        return "there is no key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (this machine has no role of its own)"
    said = [*_ANSWERED.findall(text), *_TOLD.findall(text)] or _BROKE.findall(text)
    return clean(": ".join(said), SAID_MAX) if said else type(error).__name__
