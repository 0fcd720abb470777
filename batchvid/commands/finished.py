"""A run that has nothing to do and sees it at a glance: it says what it would say after reading everything again."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from batchvid import __version__
from batchvid.edge import stamp
from batchvid.edge.lock import held_still
from batchvid.environment import has_settings, terminal_can_draw
from batchvid.errors import Exit
from batchvid.views.stream import Unfailing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batchvid.core.plan import Plan
    from batchvid.core.snapshot import Money
    from batchvid.core.summary import Summary
    from batchvid.manifest.model import Manifest

NAMED_AT_MOST = 5
"""Of the jobs that a note is about."""
HEAD_BYTES = 64 * 1024
"""Of a manifest in which ``output:`` is looked for: it stands before the jobs."""

FLAGS = frozenset({"--json", "-q", "--quiet", "-v", "--verbose"})
"""Of a run that may be answered before the command line proper is loaded."""


def said_again(arguments: Sequence[str]) -> bool:
    """Answer a plain ``run MANIFEST`` that has nothing to do; whatever else it is, say nothing and give ``False``.

    Loading the command line takes longer than such an answer.
    """
    flags = {word for word in arguments if word.startswith("-")}
    words = [word for word in arguments if word not in flags]
    if words[:1] != ["run"] or len(words) != len(("run", "MANIFEST")) or not flags <= FLAGS or has_settings():
        return False
    verbosity = -1 if flags & {"-q", "--quiet"} else int(bool(flags & {"-v", "--verbose"}))
    if not Stamping(Path(words[1]), output=None, base_url=None, sandbox=False).say_again(
        as_json="--json" in flags, verbosity=verbosity
    ):
        return False
    if "--json" in flags:
        from batchvid.views.jsonl import JsonLines  # noqa: PLC0415 only for --json

        JsonLines(sys.stdout).exit(Exit.OK)
    return True


class Stamping:
    """The stamp of one manifest's run: looked for before anything is read, and left when nothing is left to do."""

    def __init__(self, path: Path, *, output: Path | None, base_url: str | None, sandbox: bool) -> None:
        self.path = path
        self._output = output
        self._seen: stamp.Seen | None = None
        self._order = {  # all that an answer depends on and that stands in no file
            "batchvid": __version__,
            "encoding": sys.getfilesystemencoding(),
            "manifest": str(path.absolute()),
            "named": str(path),
            "output": None if output is None else str(output.absolute()),
            "base_url": base_url,
            "sandbox": sandbox,
        }

    def answer(self) -> dict[str, Any] | None:
        """Give what the run before has left as the answer to this order, if it still holds."""
        folder = _output(self.path) if self._output is None else self._output.absolute()
        with held_still(folder) as still:
            return stamp.find(folder, self._order) if still else None

    def say_again(self, *, as_json: bool, verbosity: int) -> bool:
        """Say what the run before would say again, when all is as it left it; else say nothing and give ``False``."""
        started = time.monotonic()
        answer = self.answer()
        if answer is None:
            return False
        out, err = Unfailing(sys.stdout), Unfailing(sys.stderr)
        for warning in answer["warnings"]:
            err.line(f"warning: {warning}")
        people = err if as_json else out
        if as_json:
            out.line(json.dumps(answer["plan"]))
        is_live = not as_json and verbosity == 0 and out.isatty() and terminal_can_draw()
        _tell_notes(answer["notes"], people, verbosity, is_live=is_live)
        if as_json:
            out.line(json.dumps(answer["summary"] | {"elapsed_s": round(time.monotonic() - started, 3)}))
        for line in answer["lines"]:
            people.line(line)
        out.finish()
        err.finish()
        return True

    def watch(self, load: Callable[[], Manifest]) -> Manifest:
        """Load the manifest, and take note of what it was read from."""
        read_from = time.time()
        manifest = load()
        self._seen = stamp.look(
            texts=[str(path) for path in (manifest.path, *manifest.reads) if not path.is_dir()],
            folders=[str(path) for path in manifest.reads if path.is_dir()],
            frames=list(dict.fromkeys(frame.path for job in manifest.jobs for frame in job.frames)),
            read_from=read_from,
        )
        return manifest

    def leave(self, manifest: Manifest, summary: Summary, plan: Plan, money: Money) -> None:
        """Leave the stamp, when a further run would have nothing to do."""
        answer = _answer(manifest, summary, plan, money)
        if answer is not None and self._seen is not None:
            stamp.leave(manifest.output, self._order, self._seen, answer=answer)


def _answer(manifest: Manifest, summary: Summary, plan: Plan, money: Money) -> dict[str, Any] | None:
    """Give what a further run of *manifest* would say, as JSON values; ``None`` when it would have something to do."""
    from dataclasses import replace  # noqa: PLC0415 only after a run that has read everything

    from batchvid.core.plan import Action  # noqa: PLC0415 as above
    from batchvid.edge.mounts import network_file_system  # noqa: PLC0415 as above
    from batchvid.views.plan import plan_sums_json  # noqa: PLC0415 as above
    from batchvid.views.summary import summary_json, summary_lines  # noqa: PLC0415 as above

    idle = {Action.DONE, Action.CHANGED, Action.ORPHANED}
    if not plan.is_empty or any(number and action not in idle for action, number in plan.counts.items()):
        return None
    if network_file_system(manifest.output):
        return None  # each run warns of it, and its times are not to be trusted
    again = replace(summary, money=money, elapsed_s=0.0, submits=0, polls=0, downloaded_bytes=0)
    return {
        "warnings": manifest.warnings,
        "plan": plan_sums_json(plan, money) | {"manifest": summary.manifest},
        "notes": notes_of(plan),
        "summary": summary_json(again),
        "lines": list(summary_lines(again)),
    }


def _tell_notes(notes: Iterable[str], stream: Unfailing, verbosity: int, *, is_live: bool) -> None:
    """Write the notes, and the empty line that parts a live view from its summary."""
    for note in notes:
        from batchvid.views.lines import PlainLines  # noqa: PLC0415 few runs have notes
        from batchvid.views.view import Verbosity  # noqa: PLC0415 as above

        if is_live:
            stream.line(note)
        else:
            PlainLines(cast("TextIO", stream), Verbosity(verbosity)).note(note)
    if is_live:
        stream.line("")


def notes_of(plan: Plan) -> list[str]:
    """Give what people might not expect of a run that begins with this plan."""
    from batchvid.core.plan import Action  # noqa: PLC0415 as above
    from batchvid.views.text import count  # noqa: PLC0415 as above

    notes = []
    names = [row.job_id for row in plan.rows if row.action is Action.CHANGED and not row.submits]
    if changed := len(names):
        shown = ", ".join(names[:NAMED_AT_MOST] + ["…"] * (changed > NAMED_AT_MOST))
        what = count(changed, "job")
        notes.append(f"{what} changed after being paid: kept as paid (--rebuy buys the new content): {shown}")
    if orphaned := plan.counts[Action.ORPHANED]:
        notes.append(f"{count(orphaned, 'job')} in the journal that the manifest no longer names: left alone")
    return notes


def _output(path: Path) -> Path:
    """Guess the output of a manifest that is not read. A wrong guess finds no stamp of this manifest there."""
    written = f"out/{path.stem}"
    with suppress(OSError), path.open("rb") as file:
        head = b"\n" + file.read(HEAD_BYTES)
        _, key, rest = head.partition(b"\noutput:")
        if key:
            written = rest.split(b"\n", 1)[0].split(b" #", 1)[0].decode(errors="replace").strip().strip("\"'")
    return path.absolute().parent / written
