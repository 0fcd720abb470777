"""The small pictures of a report: a poster for each clip, and for each frame that was sent.

They are made by a process of its own, ``python -m batchvid.engine.posters``: what a decoder does with a hostile or
broken clip (crash, hang, swell) then happens there, and the run that pays goes on. For each picture the child reads a
line of JSON from its standard input, puts the picture in place, and answers with a line. It ends with its input.
A picture is named after the content that it shows, so one that is there is never made again. The parent's side is
`Posters`, which never waits longer than it was told to.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import batchvid
from batchvid.domain.frozen import frozen
from batchvid.media.thumbnails import thumbnail_of_clip, thumbnail_of_frame
from batchvid.storage.fs import leave_room, open_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchvid.storage.base import ClipStore


FOLDER = "report_files"
"""Beside ``report.html``, as browsers call what belongs to a page: who moves, zips or serves the page takes it along.
Not in ``.batchvid``, which is private, and which web servers do not serve."""
SUFFIX = ".webp"
NAMED_BY = 24
"""Hex digits of the SHA-256: enough for one output, and a tenth of the page less than all of them."""
READY, DONE = b"ready\n", b".\n"
"""What the child says: when it can work, and after each picture, made or not."""
ONE_TAKES_AT_MOST_S = 20
"""A clip that takes longer hangs the decoder; the alarm ends the process, and the next one leaves it out."""
MEMORY_BYTES = 4 * 1024**3
BESIDE_A_RUN, WAITED_FOR = 19, 0
"""How far a child steps back for others: a run that is at work goes first in everything."""


@frozen
class Wanted:
    """A picture that a report shows."""

    source: str
    """A clip, relative to the output folder; or a frame, absolute."""
    sha256: str

    @property
    def name(self) -> str:
        """Return the file name of the picture in `FOLDER`."""
        return picture_name(self.sha256)

    def line(self) -> bytes:
        """Return the line that asks the child for the picture."""
        return json.dumps(asdict(self)).encode() + b"\n"


def picture_name(sha256: str) -> str:
    """Return the name of the picture of the content with this hash."""
    return sha256[:NAMED_BY] + SUFFIX


class Posters:
    """The pictures of one output. Used by one thread."""

    def __init__(self, output: Path, *, bucket: str | None, mode: int, environment: Mapping[str, str]) -> None:
        self._output, self._bucket = output, bucket
        self._mode = mode
        self._environment = dict(environment)
        self._child: subprocess.Popen[bytes] | None = None
        self._given_up = False

    def ready(self) -> frozenset[str]:
        """Return the names of the pictures that are there."""
        with suppress(OSError), os.scandir(self._output / FOLDER) as entries:
            return frozenset(entry.name for entry in entries if entry.name.endswith(SUFFIX))
        return frozenset()

    def want(self, wanted: Wanted) -> None:
        """Ask for a picture, without ever waiting: one that the child has no room to queue is left for `complete`."""
        if self._given_up:
            return
        try:
            if self._child is None:
                self._child = self._start(stdout=subprocess.DEVNULL, niceness=BESIDE_A_RUN)
                os.set_blocking(_stdin(self._child), False)
            line = wanted.line()
            if len(line) <= select.PIPE_BUF:  # up to here a pipe takes all of it, or nothing
                os.write(_stdin(self._child), line)
        except BlockingIOError:
            pass
        except OSError:  # it died of a clip, or there is no process to be had
            self._given_up = True

    def complete(self, pictures: Iterable[Wanted], *, patience_s: float) -> frozenset[str]:
        """Make what is missing of *pictures* in their order, while *patience_s* lasts; return the names of all.

        A clip that brings the child down is left out, and a new child goes on behind it.
        """
        ends_at = monotonic() + patience_s
        self.close(patience_s=patience_s)
        there = self.ready()
        missing = [one for one in {one.name: one for one in pictures}.values() if one.name not in there]
        while missing and (left_s := ends_at - monotonic()) > 0:
            looked_at = self._make(missing, patience_s=left_s)
            if looked_at is None:
                break
            missing = missing[looked_at + 1 :]
        return self.ready()

    def _make(self, missing: Sequence[Wanted], *, patience_s: float) -> int | None:
        """Let one child make them; return how many it looked at, ``None`` when no further child would help."""
        try:
            child = self._start(stdout=subprocess.PIPE, niceness=WAITED_FOR)
        except OSError:
            return None
        try:
            answers, _ = child.communicate(b"".join(map(Wanted.line, missing)), timeout=patience_s)
        except (subprocess.TimeoutExpired, OSError):
            return None
        finally:
            child.kill()
            child.wait()
        if child.returncode == 0 or READY not in answers:
            return None
        return answers.count(DONE)

    def close(self, *, patience_s: float = 0.0) -> None:
        """End the child, when it has made what it was asked for or *patience_s* is over."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            with suppress(OSError):
                child.stdin.close()
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _start(self, *, stdout: int, niceness: int) -> subprocess.Popen[bytes]:
        # Beside the package, so that nothing in the user's folder shadows a module; in a session of its own,
        # so that Ctrl-C in a terminal is the run's to answer.
        return subprocess.Popen(  # noqa: S603 our own interpreter, no shell
            [
                *(sys.executable, "-m", "batchvid.engine.posters"),
                *(str(self._output), self._bucket or "", f"{self._mode:o}", str(niceness)),
            ],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            cwd=Path(batchvid.__file__).resolve().parents[1],
            env=self._environment,
            start_new_session=True,
        )


def _stdin(child: subprocess.Popen[bytes]) -> int:
    if child.stdin is None:
        raise BrokenPipeError
    return child.stdin.fileno()


def main() -> None:
    """Make what standard input asks for; ``argv``: the output folder, the bucket, the mode of new files, niceness."""
    from batchvid.storage.output import Output

    root, bucket, mode = sys.argv[1], sys.argv[2] or None, int(sys.argv[3], 8)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.nice(int(sys.argv[4]))
    clips, folder = Output.at(Path(root), bucket).clips, open_folder(root, FOLDER, create=True)
    _say(READY)
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, ONE_TAKES_AT_MOST_S)  # nobody catches it: it ends the process
        # No picture is no trouble: the page has a way to show that there is none.
        with suppress(OSError, ValueError, MemoryError, LookupError, SyntaxError):
            _make(Wanted(**json.loads(line)), clips=clips, folder=folder, mode=mode)
        _say(DONE)


def _say(word: bytes) -> None:
    sys.stdout.buffer.write(word)
    sys.stdout.buffer.flush()


def _make(wanted: Wanted, *, clips: ClipStore, folder: int, mode: int) -> None:
    if wanted.source.startswith("/"):
        picture = thumbnail_of_frame(wanted.source)
    else:
        with clips.open(wanted.source) as file:
            picture = thumbnail_of_clip(file)
    leave_room(folder, len(picture))
    write_whole(folder, wanted.name, [picture], mode=mode, durable=False)


if __name__ == "__main__":
    main()
