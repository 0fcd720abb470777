"""A stream that people or programs read, which may close or fill up at any moment without a run noticing."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO


class Unfailing(io.TextIOBase):
    """A text stream over another one that never raises: the first refused write makes it silent for good.

    Nobody may be reading (``| head -1``), the disk behind it may be full, it may have been closed
    before the process began (then Python hands over ``None``). None of that concerns paid work.
    Characters that the stream's encoding lacks become ``?``.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    @property
    def silent(self) -> bool:
        """Whether nothing that is written arrives any more."""
        return self._stream is None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it writable; nobody sets a stream's encoding
        """What the stream beneath encodes to."""
        return self._encoding

    def isatty(self) -> bool:
        """Say whether a person sits at the other end."""
        if self._stream is None:
            return False
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Give the descriptor beneath; like every stream without one, raises ``OSError`` when there is none."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str, /) -> int:
        """Write *text*, or nothing."""
        if self._stream is not None:
            try:
                self._stream.write(text.encode(self._encoding, "replace").decode(self._encoding))
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Send what was written on its way."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def line(self, text: str) -> None:
        """Write *text* as a line of its own, at once."""
        self.write(f"{text}\n")
        self.flush()

    def _give_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            silence(stream)


def silence(stream: TextIO) -> None:
    """Let a standard stream that refused a write lead nowhere from now on; any other one is left as it is.

    What is left in its buffer is written once more when the interpreter ends; failing again, it would
    turn the promised exit code into 120.
    """
    if not any(stream is standard for standard in (sys.__stdout__, sys.__stderr__)):
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
