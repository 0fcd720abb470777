"""What the engine and the commands ask of the place where clips lie, whatever that is: a folder, or an object store.

State (journal, lock, event log, orphans) is not in it: see `batchvid.storage.state`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from batchvid.domain.frozen import frozen
from batchvid.storage.fs import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from pathlib import Path

    from batchvid.media.mp4 import Clip


T = TypeVar("T")

SIDECAR_MARK = "batchvid"
"""The key that tells a sidecar from another program's file of the same name; its value is the form's version."""
SIDECAR_FORM = 1
"""Additions do not change it."""


@frozen
class Names:
    """The names of one clip's files, all in one folder."""

    folders: tuple[str, ...]
    clip: str

    @staticmethod
    def of(path: str) -> Names:
        """Return the names for a clip's *path*; raises `ValueError` when it would leave the output folder."""
        parts = tuple(part for part in path.split("/") if part not in {"", "."})
        if not parts or path.startswith("/") or ".." in parts or STATE_FOLDER in parts or "\0" in path:
            raise ValueError(f"{path!r} is no path inside the output folder")
        return Names(parts[:-1], parts[-1])

    @property
    def part(self) -> str:
        """Where the bytes gather."""
        return f"{self.clip}.part"

    @property
    def note(self) -> str:
        """What is known about the part."""
        return f"{self.clip}.part.meta"

    @property
    def bad(self) -> str:
        """Where a download that is no clip is kept for people to look at."""
        return f"{self.clip}.bad"

    @property
    def sidecar(self) -> str:
        """The JSON beside the clip."""
        return f"{self.clip.removesuffix('.mp4')}.json"

    def retired(self, attempt: int, *, copy: int) -> Names:
        """Return the names under which the clip of an earlier attempt is kept; a first, a second ... *copy* of it."""
        stem = self.clip.removesuffix(".mp4")
        number = attempt if copy == 1 else f"{attempt}.{copy}"
        return Names(self.folders, f"{stem}.attempt-{number}{self.clip[len(stem) :]}")


@frozen
class Saved:
    """A clip that is safe in the store under its final name."""

    path: str
    """Relative to the output, with ``/``."""
    size_bytes: int
    sha256: str
    clip: Clip
    differs: tuple[str, ...] = ()
    """In what the clip is not what its sidecar says was asked for."""


class KnownClip(NamedTuple):
    """What the journal knows of a clip."""

    job_id: str
    size_bytes: int
    sha256: str


class Renamed(Enum):
    """What became of a clip that was to be renamed."""

    DONE = auto()
    """The clip has the new name."""
    TAKEN = auto()
    """Something else has it; nothing was changed."""
    MISSING = auto()
    """The clip is not there; nothing was changed."""
    REFUSED = auto()
    """The store takes no clip of the new name; nothing was changed."""


class WrongClip(NamedTuple):
    """A clip that is not where it should be, or not as it should be."""

    job_id: str
    words: str
    is_lost: bool
    """Whether it is missing or has another size, and so has to be fetched again. What else lies there is left alone."""


Accepts = Callable[[Mapping[str, Any]], bool]
"""Whether a sidecar is of the kind that may be replaced."""


class Part(Protocol):
    """A clip on its way into the store. Every method raises `StorageError` when the store does not do its part."""

    @property
    def offset_bytes(self) -> int:
        """How many bytes are there; the next block is appended behind them."""

    @property
    def validator(self) -> str | None:
        """The ETag or date that the bytes belong to, when it is known."""

    @property
    def complete(self) -> bool:
        """Whether an earlier run had all of the clip and did not live to say so: `commit` it, without a transfer."""

    def remember(self, validator: str | None) -> None:
        """Note which version of the source the next bytes belong to; without this a later try begins from zero."""

    async def write(self, block: bytes) -> None:
        """Append *block*."""

    async def restart(self) -> None:
        """Drop all bytes, and what was noted of them, to begin from zero."""

    async def fill(self, make: Callable[[Path], T], *, size_bytes: int) -> T:
        """Let *make* write all of it, in a thread, into a file of this machine; some *size_bytes* are expected."""

    async def commit(self, sidecar: Mapping[str, object], rest: bytes = b"") -> Saved:
        """Append *rest*, and turn the part into the clip, durably, with *sidecar* beside it.

        A cancellation waits for its end. Raises `batchvid.media.mp4.NotAClip` when it is no complete clip. Raises
        `ForeignFileError` when something else has the name; the part is kept, and is `complete` at the next try.
        """


class ClipStore(Protocol):
    """The clips and films of one output, each with its sidecar. A *path* is relative to the output, with ``/``.

    All methods but `part` block: an event loop has them done in a thread. They raise `StorageError` unless they say
    something else, and `ValueError` for a path that would leave the output.
    """

    def prepare(self) -> None:
        """Make the store, and prove by doing it that it takes clips."""

    def part(
        self, path: str, *, source: str, fresh: bool = False, replaces: Accepts | None = None
    ) -> AbstractAsyncContextManager[Part]:
        """Open the part of the clip at *path*, with what is there of the same *source*, such as the task's id.

        A *fresh* one is of a source that nothing was ever fetched from: it is not looked for, and begins from zero.
        One at a time for each path. Its bytes stay when the block ends before the part is committed.

        A clip never replaces anything. Something that can be made again may: a file that is as its sidecar tells, when
        *replaces* accepts that sidecar. Raises `ForeignFileError` at once when another file has the name.
        """

    def name_trouble(self, path: str) -> str | None:
        """Return why the store takes no clip at *path*, whatever is in it, for people; by trying such a name.

        ``None`` when it does, and when it takes none at all just now, which is no matter of names.
        """

    def is_taken(self, path: str) -> bool:
        """Whether the clip at *path* could not be saved: something has its name, its sidecar's or a folder's."""

    async def asked_if_taken(self, path: str) -> bool:
        """Return `is_taken`, which is asked in a thread; a cancelled caller waits for the answer first."""

    def check(self, path: str, *, size_bytes: int, sha256: str, full: bool) -> str | None:
        """Return what is wrong with a clip that was done, ``None`` when nothing is.

        Its size is looked at; *full* also reads it, to compare the SHA-256 and walk its boxes.
        """

    def wrong_clips(self, clips: Iterable[tuple[str, str, int]]) -> Iterator[WrongClip]:
        """Yield each clip that is missing, has another size or cannot be looked at; *clips* are id, path and size.

        No clip is read.
        """

    def open(self, path: str) -> IO[bytes]:
        """Open a clip to read it and seek in it; raises `OSError` as opening a file does."""

    def file(self, path: str) -> AbstractContextManager[Path]:
        """Return a file of this machine that holds the clip as long as the context lasts."""

    def sidecar(self, path: str) -> dict[str, Any]:
        """Return what the sidecar of the clip at *path* tells; empty when there is none that batchvid wrote."""

    def sidecars(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path of each clip that has a sidecar, whether the clip is there or not, and what that tells."""

    def retire(self, path: str, attempt: int) -> str | None:
        """Keep the clip of an earlier attempt, and its sidecar, beside their names; return the clip's new path.

        ``None`` when there is no such clip. What was kept before, of the same attempt too, is never replaced:
        a second one becomes ``kite.attempt-1.2.mp4``.
        """

    def rename(self, old: str, new: str, clip: KnownClip) -> Renamed:
        """Rename the clip at *old* to *new*, and its sidecar, which then names the job. It can be repeated."""

    def tell_more(self, path: str, name: str, value: object, *, sha256: str) -> bool:
        """Set one field of the sidecar of the clip at *path*, or remove it where *value* is ``None``, in one step.

        Returns whether the sidecar tells it now: there is one, and it is of the clip with this hash. One that tells it
        already is left alone.
        """

    def respell(self, path: str, clip: KnownClip) -> None:
        """Rename the clip to *path* where a copy has spelt that in another Unicode form."""

    def told(self, name: str) -> dict[str, Any] | None:
        """Return what a small JSON file beside the clips holds, ``None`` when there is none. Blocks."""

    def publish(self, folder: Path, *names: str) -> None:
        """Let who looks among the clips find what batchvid has written into *folder*, the output's on this machine.

        A file replaces what has its name there. Of a folder, the files go that are not there yet: they never change.
        """
