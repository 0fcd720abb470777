"""The standard streams as the commands use them: a reader who leaves ends a command in peace, a full disk is said."""

from __future__ import annotations

import sys

import click

from batchvid.errors import Exit, StorageError
from batchvid.views.stream import silence


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


def complain(text: str) -> None:
    """Write to standard error, which may be closed or full."""
    try:
        click.echo(text, err=True)
    except OSError:
        if sys.stderr is not None:
            silence(sys.stderr)
