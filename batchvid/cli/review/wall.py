"""Everything on the review page, as the event loop has it: rows numbered as they change, clips by job and attempt.

The journals are read and written in threads of their own: however long one takes, the page answers, and a decision
waits for nobody who reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import OrderedDict
from contextlib import ExitStack
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from batchvid.cli.report import posters_of
from batchvid.cli.review.board import Board, decision_columns
from batchvid.cli.review.judge import Judge
from batchvid.engine.posters import FOLDER, Wanted, picture_name
from batchvid.storage.fs import folder_below, open_regular
from batchvid.storage.output import Output
from batchvid.storage.threads import Workers, settled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchvid.cli.review.board import Look, Reviewed, Shown
    from batchvid.cli.review.judge import Asked
    from batchvid.domain.job import Frame


LOOKS_APART_S = 0.5
"""However many tabs ask."""
ROWS_AT_ONCE = 2000
FILES_AT_ONCE = 6
"""As many connections as a browser opens."""
ASKED_AGAIN_AFTER_S = 30.0
"""A picture that was asked for is not asked for again meanwhile."""
SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (8, b"WEBP", "image/webp"),
)
"""Of the pictures that browsers show, at which byte. A file that is none of them is not sent, whatever names it."""
SIGNATURE_BYTES = 16


class Wall:
    """All manifests of one page. Its methods are for the event loop; those that open files are for threads."""

    def __init__(self, reviewed: Sequence[Reviewed], *, by: str) -> None:
        self.boards: list[Board] = []
        first = 0
        for number, one in enumerate(reviewed):
            self.boards.append(Board(one, number=number, first=first))
            first += len(one.manifest.jobs)
        self.files = Workers(FILES_AT_ONCE, "batchvid-review-file")
        self._clips_of = [Output.of(one.manifest).clips for one in reviewed]
        self._judges = [
            Judge(board.store, clips, by=by) for board, clips in zip(self.boards, self._clips_of, strict=True)
        ]
        self._posters = [posters_of(one.manifest) for one in reviewed]
        self._reading = Workers(1, "batchvid-review-look")
        self._deciding = Workers(1, "batchvid-review-decide")
        self._telling = Workers(1, "batchvid-review-sidecar")
        self._rows: list[str] = [""] * first
        self._revision = 0
        self._changed: OrderedDict[int, int] = OrderedDict()
        """By place, the newest last: the revision in which a row became what it is."""
        self._clips: list[dict[str, Mapping[int, Shown]]] = [{} for _ in self.boards]
        self._heads: list[dict[str, Any]] = [{} for _ in self.boards]
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._wanting = Lock()
        self._wanted: dict[str, float] = {}

    def close(self) -> None:
        """Let what is under way end, and close everything."""
        for workers in (self._reading, self._deciding, self._telling, self.files):
            workers.shutdown()
        for board, judge, posters in zip(self.boards, self._judges, self._posters, strict=True):
            board.close()
            judge.close()
            posters.close()

    # ---- what has happened, and what was decided

    async def look(self) -> None:
        """Take up what has happened, unless that was done just now; who comes meanwhile waits for the same look."""
        async with self._looking:
            if time.monotonic() < self._looked_at + LOOKS_APART_S:
                return
            for number, board in enumerate(self.boards):
                await self._take_up(number, await settled(board.look, executor=self._reading))
            self._looked_at = time.monotonic()

    async def begin(self) -> None:
        """Wait until everything was read for the first time."""
        if self._looked_at == float("-inf"):
            await self.look()

    async def _take_up(self, number: int, found: Look) -> None:
        """Keep what was seen; of many rows in parts, between which others are answered."""
        self._heads[number] = found.head
        first, revision = found.head["first"], self._revision + bool(found.rows)
        for count, (place, row) in enumerate(found.rows.items(), 1):
            self._rows[first + place] = row
            self._changed[first + place] = revision
            self._changed.move_to_end(first + place)
            if count % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._clips[number].update(found.clips)
        self._revision = revision  # only now: who has this number has all of its rows

    async def rows_after(self, revision: int) -> bytes:
        """Return, as JSON, the rows that changed after *revision* (0: all of them), and how each manifest stands."""
        about = {"revision": self._revision, "now": time.time(), "boards": self._heads}
        if 0 < revision <= self._revision:
            return _joined(about, self._changed_after(revision))
        rows = self._rows.copy()
        return await settled(lambda: _joined(about, rows), executor=self.files)  # it may be many megabytes

    def _changed_after(self, revision: int) -> list[str]:
        rows = []
        for place in reversed(self._changed):
            if self._changed[place] <= revision:
                break
            rows.append(self._rows[place])
        return rows

    async def decide(self, asked: Asked) -> bytes:
        """Keep a decision, and return it as the page reads it, once it is durable. Its clip's sidecar follows.

        Raises as `Judge.keep` does, and ``LookupError`` for a clip that is not on the page.
        """
        if self.shown(asked.board, asked.job_id, asked.attempt) is None:
            raise LookupError(asked.job_id)
        judge = self._judges[asked.board]
        kept = await settled(lambda: judge.keep(asked), executor=self._deciding)
        self._telling.submit(judge.tell_beside, asked.job_id, asked.attempt)
        self._looked_at -= LOOKS_APART_S  # the next one who asks is told of it
        return json.dumps(decision_columns(kept)).encode()

    # ---- files: each is named by the journal or the manifest, and found by job and attempt

    def shown(self, number: int, job_id: str, attempt: int) -> Shown | None:
        """Return the clip of an attempt, ``None`` when the journal names none."""
        return self._clips[number].get(job_id, {}).get(attempt) if number < len(self.boards) else None

    def frame(self, number: int, job_id: str, which: int) -> Frame | None:
        """Return a frame of a job, ``None`` when the manifest names none."""
        job = self.boards[number].jobs.get(job_id) if number < len(self.boards) else None
        return job.frames[which] if job is not None and which < len(job.frames) else None

    def open_clip(self, number: int, shown: Shown) -> tuple[IO[bytes], str]:
        """Open a clip where it lies, a folder or a bucket; raises `OSError`.

        One of another size is not that clip: a run may have put the next attempt's in its place a moment ago.
        """
        with ExitStack() as stack:
            file = stack.enter_context(self._clips_of[number].open(shown.path))
            if file.seek(0, os.SEEK_END) != shown.size_bytes:
                raise FileNotFoundError(shown.path)
            stack.pop_all()
        return file, "video/mp4"

    def open_picture(self, number: int, shown: Shown) -> tuple[IO[bytes], str]:
        """Open the small picture of a clip; raises `OSError` when it is not there yet, and has it made."""
        return self._open_small(number, Wanted(shown.path, shown.sha256))

    def open_frame(self, number: int, frame: Frame) -> tuple[IO[bytes], str]:
        """Open a frame as it was given; of one that browsers do not show, such as HEIC, a small picture."""
        with ExitStack() as stack:
            file = stack.enter_context(open(frame.path, "rb", opener=_not_waiting))
            head = file.read(SIGNATURE_BYTES)
            for at, signature, kind in SIGNATURES:
                if head[at : at + len(signature)] == signature:
                    stack.pop_all()
                    return file, kind
        return self._open_small(number, Wanted(frame.path, frame.sha256))

    def _open_small(self, number: int, wanted: Wanted) -> tuple[IO[bytes], str]:
        name = picture_name(wanted.sha256)
        try:
            with folder_below(self.boards[number].manifest.output, FOLDER) as folder:
                return open(open_regular(folder, name, os.O_RDONLY), "rb"), "image/webp"
        except OSError:
            with self._wanting:
                if time.monotonic() >= self._wanted.get(name, float("-inf")) + ASKED_AGAIN_AFTER_S:
                    self._wanted[name] = time.monotonic()
                    self._posters[number].want(wanted)
            raise


def _joined(about: Mapping[str, Any], rows: Sequence[str]) -> bytes:
    return f'{json.dumps(about)[:-1]},"rows":[{",".join(filter(None, rows))}]}}'.encode("utf-8", "replace")


def _not_waiting(path: str, flags: int) -> int:
    """Open a file that a manifest names, which may have become a pipe since."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
