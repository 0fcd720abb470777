"""Everything batchvid raises on purpose, and the exit code that each becomes.

    BatchvidError
    ├── ManifestError   65  the manifest has problems, all of them listed
    ├── ConfigError     78  key missing, base URL wrong, a journal of another service
    ├── OutputBusyError 75  another run holds this output
    ├── ServiceError     5  the service could not be asked for what a person wants to know now
    ├── ForeignFileError 8  something that is not batchvid's has the name of a clip
    └── StorageError     8  disk full, output forbidden, journal damaged
        ├── InTheWayError      only this path is concerned
        ├── TooManyFilesError  only this moment is
        └── StoreAwayError     only this moment is: the object store does not answer

A failure of the service in a run is not among them: it is a value, ``batchvid.domain.task.Fault``,
because a run expects it and goes on. An exception that is not in this tree is a
bug in batchvid (exit 1).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Exit(IntEnum):
    """The promised exit codes; when several apply, the first in this order wins."""

    BUG = 1
    USAGE = 2
    MANIFEST = 65
    CONFIG = 78
    BUSY = 75
    DISK = 8
    ACCOUNT = 6
    IN_DOUBT = 4
    BUDGET = 7
    STOPPED = 5
    FAILED = 3
    OK = 0
    INTERRUPTED = 130
    TERMINATED = 143


class BatchvidError(Exception):
    """A trouble that a person can do something about; its text says what."""

    exit_code: ClassVar[Exit] = Exit.BUG


WHOLE = "manifest"
"""Where a problem is that the whole manifest has: the file says it already."""


class Problem(NamedTuple):  # every command loads this module, and dataclasses are slow to load
    """One mistake in a manifest or in a file that it names.

    *line* and *column* count from 1; 0 means that the whole file is meant.
    """

    file: str
    line: int
    column: int
    where: str
    """What is wrong, in the manifest's words: ``jobs[3].first_frame``."""
    text: str
    """What is wrong and what to write instead."""

    def __str__(self) -> str:
        """Return ``file:line:column: where: text``, which editors and people can follow; of a whole file less."""
        if self.line:
            return f"{self.file}:{self.line}:{self.column}: {self.where}: {self.text}"
        return f"{self.file}: {self.text}" if self.where == WHOLE else f"{self.file}: {self.where}: {self.text}"


class ManifestError(BatchvidError):
    """The manifest has problems; all of them, in the order of the file."""

    exit_code = Exit.MANIFEST

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class ConfigError(BatchvidError):
    """The surroundings are wrong: no key, a base URL that is none, a journal of another service."""

    exit_code = Exit.CONFIG


class OutputBusyError(BatchvidError):
    """Another run holds this output."""

    exit_code = Exit.BUSY


class ServiceError(BatchvidError):
    """The service could not be asked for what a person wants to know now; a run never raises it."""

    exit_code = Exit.STOPPED


class StorageError(BatchvidError):
    """The disk is full, the output is forbidden, or the journal is damaged."""

    exit_code = Exit.DISK


class ForeignFileError(BatchvidError):
    """Something that batchvid did not put there has the name of what was to be saved; it was left untouched."""

    exit_code = Exit.DISK


class InTheWayError(StorageError):
    """Something on one path is not what batchvid puts there, such as a link; other paths are not concerned."""


class TooManyFilesError(StorageError):
    """The process or the machine has too many open files for the moment; later there may be room."""


class StoreAwayError(StorageError):
    """The store of the clips does not answer as it should; what was fetched waits on this machine for the next try."""
