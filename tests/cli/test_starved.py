"""A machine without memory or threads is told apart from a bug."""

from __future__ import annotations

import errno

import pytest

from batchvid.cli.main import is_starved, unexpected
from batchvid.domain.errors import Exit


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("can't start new thread"),
        ImportError("libssl.so.3: failed to map segment from shared object"),
        ExceptionGroup("workers", [ValueError("a consequence"), ExceptionGroup("inner", [MemoryError()])]),
    ],
)
def test_a_run_without_memory_ends_as_stopped_early_and_can_be_resumed(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever Python says instead of MemoryError, the person reads what is missing, and no traceback."""
    assert unexpected(error) is Exit.STOPPED
    said = capsys.readouterr().err
    assert "out of memory" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no"), OSError(errno.ENOSPC, "full"), KeyError(1)])
def test_what_is_not_starvation_stays_a_bug(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug is never excused by the machine."""
    assert not is_starved(error)
    assert unexpected(error) is Exit.BUG
    assert "this is a bug in batchvid" in capsys.readouterr().err
