"""The files of one clip: what they are called, what is noted beside a part, what a finished clip is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from batchvid.domain.errors import BatchvidError, Exit
from batchvid.storage.fs import STATE_FILE_MODE, STATE_FOLDER, json_line, read_json, write_whole

if TYPE_CHECKING:
    from batchvid.media.mp4 import Clip


NOTE_MAX_BYTES = 64 * 1024
SIDECAR_MAX_BYTES = 4 * 1024 * 1024
SIDECAR_MARK = "batchvid"
"""The key that tells a sidecar from another program's file of the same name; its value is the form's version."""


class ForeignFileError(BatchvidError):
    """Something that batchvid did not put there has the clip's name; it was left untouched."""

    exit_code = Exit.DISK


@dataclass(frozen=True, slots=True)
class Saved:
    """A clip that is safe on disk under its final name."""

    path: str
    """Relative to the output folder, with ``/``."""
    size_bytes: int
    sha256: str
    clip: Clip


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Note:
    """What stands beside a part: where its bytes come from, and what it became when it was complete."""

    source: str
    boot: str
    validator: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None

    def continues(self, source: str, *, boot: str) -> bool:
        """Whether the part may be taken up for *source* by a process of this *boot*.

        A part that was complete was synced, and so outlives its boot.
        """
        return self.source == source and (self.boot == boot or self.sha256 is not None)

    @staticmethod
    def read(folder: int, name: str) -> Note | None:
        """Return the note that is there, ``None`` when there is none that can be read."""
        found = read_json(folder, name, max_bytes=NOTE_MAX_BYTES) or {}
        texts = [found.get(key) for key in ("source", "boot", "validator", "sha256")]
        size_bytes = found.get("size_bytes")
        if not all(isinstance(text, str) for text in texts[:2]) or not all(
            text is None or isinstance(text, str) for text in texts
        ):
            return None
        source, boot, validator, sha256 = texts
        known = isinstance(size_bytes, int)
        return Note(str(source), str(boot), validator, size_bytes if known else None, sha256 if known else None)

    @staticmethod
    def of_sidecar(folder: int, name: str, *, source: str, boot: str) -> Note | None:
        """Return what the sidecar of a finished clip says, when the clip is of *source*: its note is gone by then."""
        found = read_json(folder, name, max_bytes=SIDECAR_MAX_BYTES) or {}
        size_bytes, sha256 = found.get("size_bytes"), found.get("sha256")
        if SIDECAR_MARK not in found or found.get("task_id") != source:
            return None
        if not isinstance(size_bytes, int) or not isinstance(sha256, str):
            return None
        return Note(source, boot, size_bytes=size_bytes, sha256=sha256)

    def write(self, folder: int, name: str) -> None:
        """Put the note in place."""
        write_whole(folder, name, [json_line(asdict(self))], mode=STATE_FILE_MODE, durable=False)
