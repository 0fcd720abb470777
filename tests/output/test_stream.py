"""A stream that closes or fills up changes nothing for the run that writes to it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pytest

from batchvid.cli.output.jsonl import JsonLines
from batchvid.cli.output.lines import PlainLines
from batchvid.cli.output.live import LiveView, Screen
from batchvid.cli.output.picture import console_on
from batchvid.cli.streams import CHUNK_CHARS, WAITING_CHARS_MAX, SafeStream
from batchvid.domain.job import Progress
from batchvid.domain.lifecycle import SubmitUnsure
from batchvid.engine.observer import Several, Silent, Verbosity, View

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchvid.domain.results import Snapshot, Summary

ROOT = Path(__file__).resolve().parents[2]


def a_pipe_nobody_reads() -> TextIO:
    """Return a real pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8", buffering=1)


def a_full_disk() -> TextIO:
    """Return a file on a device that is always full."""
    return Path("/dev/full").open("w", encoding="utf-8")


def a_closed_stream() -> TextIO:
    """Return a stream that was closed before."""
    stream = io.StringIO()
    stream.close()
    return stream


def no_stream() -> None:
    """Return what Python has for a stdout that was closed before the process began."""


VIEWS: list[Callable[[TextIO | None], View]] = [
    lambda stream: PlainLines(stream, Verbosity.VERBOSE),
    lambda stream: JsonLines(stream, Verbosity.VERBOSE),
    lambda stream: LiveView(Screen(console_on(stream, width=100, force_terminal=True)), manifest="m.yaml"),
    lambda stream: Several([PlainLines(stream), JsonLines(stream), Silent()]),
    lambda _: Silent(),
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the dead pipe's own last flush
@pytest.mark.parametrize("broken", [a_pipe_nobody_reads, a_full_disk, a_closed_stream, no_stream])
@pytest.mark.parametrize("view_on", VIEWS)
def test_a_broken_stream_never_reaches_the_run(
    view_on: Callable[[TextIO | None], View], broken: Callable[[], TextIO | None], snapshot: Snapshot, summary: Summary
) -> None:
    """Every method of every view, called again and again over a dead stream, comes back as if nothing had happened."""
    stream = broken()
    view = view_on(stream)
    for step in range(5):
        view.stats(replace(snapshot, elapsed_s=100.0 * step))
        view.event("kite", SubmitUnsure("reset"), Progress.fresh("kite"))
        view.note("a note")
    view.summary(summary)
    view.close()
    view.close()
    if stream is not None and not stream.closed:
        os.close(os.dup(stream.fileno()))  # still the caller's: nobody closed it


def test_a_stream_that_failed_once_is_not_tried_again() -> None:
    """A half-written line is not followed by later ones when the disk has room again."""

    class Moody(io.StringIO):
        tries = 0

        def write(self, text: str, /) -> int:
            self.tries += 1
            if self.tries == 2:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Moody()
    out = SafeStream(stream)
    for number in range(5):
        out.line(f"line {number}")
    assert stream.getvalue() == "line 0\n"
    assert stream.tries == 2
    assert out.silent


def test_what_the_stream_cannot_encode_is_replaced() -> None:
    """Under ``LANG=C`` a Vietnamese job name costs its accents and not the run."""
    raw = io.BytesIO()
    out = SafeStream(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    out.line("Đà Nẵng … kite")
    assert raw.getvalue() == b"?? N?ng ? kite\n"


@pytest.mark.parametrize("target", ["| head -1 >/dev/null", ">/dev/full", ">&-"])
def test_a_process_whose_stdout_breaks_keeps_its_exit_code(target: str) -> None:
    """The interpreter's last flush of a dead stdout would make it 120; the promised code stays."""
    program = (
        "import sys, threading\n"
        "from batchvid.cli.output.jsonl import JsonLines\n"
        "view = JsonLines(sys.stdout)\n"
        "for number in range(20000): view.write({'type': 'job', 'number': number})\n"
        "print('left over', file=sys.stdout) if sys.stdout else None\n"
        "raise SystemExit(3)\n"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {target}; exit "${{PIPESTATUS[0]}}"', sys.executable, program],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_plain_views_do_not_load_rich() -> None:
    """A run from cron pays nothing for pictures that nobody sees."""
    names = ["output.lines", "output.jsonl", "output.summary", "output.text", "status", "plan"]
    program = f"import sys, {', '.join(f'batchvid.cli.{name}' for name in names)}; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_reader_who_stopped_reading_is_not_waited_for() -> None:
    """A full pipe (``| less``) blocks nobody while work is going on; all of the text arrives when it is read again."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream, os.fdopen(reader, "r", encoding="utf-8") as other_end:
        out = SafeStream(stream)
        lines = [f"line {number:06}, told to a reader who is away" for number in range(3000)]
        for line in lines:
            out.line(line)
        assert not out.has_room()
        assert not out.silent
        for line in lines:
            assert other_end.readline() == f"{line}\n"
            out.flush()
        out.finish()


def test_what_is_kept_for_a_reader_is_bounded() -> None:
    """A run that talks all night to nobody does not fill the memory."""
    reader, writer = os.pipe()
    with suppress(BrokenPipeError), os.fdopen(writer, "w", encoding="utf-8") as stream:
        out = SafeStream(stream)
        for _ in range(100):
            out.write("x" * 100_000)
            out.flush()
        assert len(out._waiting) * CHUNK_CHARS <= WAITING_CHARS_MAX + 200_000
        os.close(reader)
        out.finish()
        assert out.silent
