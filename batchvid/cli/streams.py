"""The standard streams: a reader who leaves ends a command in peace, and a run notices neither that nor a full disk."""

from __future__ import annotations

import io
import os
import select
import sys
from collections import deque
from contextlib import suppress
from typing import TextIO

import click

from batchvid.domain.errors import Exit, StorageError

LAST_STANDARD = 2
"""Of the numbers 0, 1 and 2, which belong to the standard streams."""


def keep_standard_numbers() -> None:
    """Let standard streams that are closed lead to nothing.

    Else the next file or socket would get the number of one, and what a C library writes to standard error would be
    in a clip, or in a paid request.
    """
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= LAST_STANDARD:
            pass
        os.close(number)


class Interval:
    """Tells when something that may be shown only every so often is due again, by a run's own clock."""

    def __init__(self, every_s: float, *, first_at_s: float = 0.0) -> None:
        self._every_s = every_s
        self._due_s = first_at_s

    def due(self, elapsed_s: float) -> bool:
        """Whether it is time, and if so count from now on. A clock that starts again is followed."""
        if self._due_s - self._every_s <= elapsed_s < self._due_s:
            return False
        self._due_s = elapsed_s + self._every_s
        return True


CHUNK_CHARS = 1000
"""At most 4,000 bytes: a pipe that takes anything takes 4,096 without blocking (PIPE_BUF, pipe(7))."""
WAITING_CHARS_MAX = 4 * 1024 * 1024
"""What is kept for a reader who does not read; beyond it the rest of the text is lost."""


class SafeStream(io.TextIOBase):
    """A text stream over another one that never raises and never blocks: the first refused write makes it silent.

    Nobody may be reading (``| head -1``), or the disk behind it may be full. A stream that was closed before the
    process began is ``None``. None of that concerns paid work.
    A reader who stopped reading (``| less``, Ctrl-S) is not waited for either: the text is kept, and sent
    when there is room again, or by `finish` when the work is done.
    Characters that the stream's encoding lacks become ``?``.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._waiting: deque[str] = deque()
        self._waiting_chars = 0

    @property
    def silent(self) -> bool:
        """Whether nothing that is written arrives any more."""
        return self._stream is None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it writable; nobody sets a stream's encoding
        """What the stream beneath encodes to."""
        return self._encoding

    def isatty(self) -> bool:
        """Whether a person sits at the other end."""
        if self._stream is None:
            return False
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Return the descriptor beneath; like every stream without one, raises ``OSError`` when there is none."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str, /) -> int:
        """Buffer *text* until the next `flush`."""
        if self._stream is not None and self._waiting_chars < WAITING_CHARS_MAX:
            shown = text.encode(self._encoding, "replace").decode(self._encoding)
            self._waiting.extend(shown[at : at + CHUNK_CHARS] for at in range(0, len(shown), CHUNK_CHARS))
            self._waiting_chars += len(shown)
        return len(text)

    def flush(self) -> None:
        """Send what waits, as far as the reader has room for it."""
        while self._waiting and self.has_room():
            self._send()

    def finish(self) -> None:
        """Send all that waits, and wait for the reader: to be called when nothing else is left to do."""
        while self._waiting:
            self._send()

    def has_room(self) -> bool:
        """Whether a chunk can be sent without waiting; a stream without a descriptor always has room."""
        if self._stream is None:
            return False
        try:
            poll = select.poll()
            poll.register(self._stream.fileno(), select.POLLOUT)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def _send(self) -> None:
        chunk = self._waiting.popleft()
        self._waiting_chars -= len(chunk)
        if self._stream is None:
            return
        try:
            self._stream.write(chunk)
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self._give_up()

    def line(self, text: str) -> None:
        """Write *text* as a line of its own, at once."""
        self.write(f"{text}\n")
        self.flush()

    def _give_up(self) -> None:
        stream, self._stream = self._stream, None
        self._waiting.clear()
        if stream is not None:
            silence(stream)


def safe_stream(stream: TextIO | SafeStream | None) -> SafeStream:
    """Return *stream* as one that never fails; two who write to the same one share it, so that lines stay whole."""
    return stream if isinstance(stream, SafeStream) else SafeStream(stream)


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


def tell(text: str, *, end: str = "\n") -> None:
    """Write what the command was asked for to standard output, at once.

    Ends the command with exit 0 when nobody reads any more (``| head -1``), and raises `StorageError` when
    the output cannot be written. Characters that its encoding lacks become ``?``.
    """
    stream = sys.stdout
    if stream is None:
        return
    try:
        stream.write(f"{text}{end}".encode(stream.encoding, "replace").decode(stream.encoding))
        stream.flush()
    except BrokenPipeError:
        silence(stream)
        raise click.exceptions.Exit(Exit.OK) from None
    except OSError as error:
        silence(stream)
        raise StorageError(f"standard output cannot be written, so it is not complete: {error.strerror}") from None


def reader_has_left() -> bool:
    """Whether standard output leads to nobody any more: a pipe without a reader, a terminal that was closed."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return False


def complain(text: str) -> None:
    """Write to standard error, which may be closed or full."""
    try:
        click.echo(text, err=True)
    except OSError:
        if sys.stderr is not None:
            silence(sys.stderr)
