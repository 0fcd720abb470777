"""The report as one HTML page: its data, its policy, and the template that brings them together.

What comes from outside (prompts, ids, file names, the service's words) gets into the page in two ways only: through the
template, which escapes everything, and in one block of JSON that no parser of HTML can leave. The page runs its own
script and no other: the policy names the hash of it.

``report.html`` is written in one step, and never over a page that is not batchvid's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from batchvid import __version__
from batchvid.cli.output import advice, text
from batchvid.cli.output.machines import parts_words
from batchvid.domain.errors import ForeignFileError
from batchvid.domain.job import Continuation, State
from batchvid.domain.records import DEFERRED, ORDER
from batchvid.domain.text import clean
from batchvid.engine.posters import FOLDER, picture_name
from batchvid.storage.fs import doing, leave_room, open_folder, open_regular, write_whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from batchvid.domain.decision import Decision
    from batchvid.domain.job import Attempt, Frame, Job
    from batchvid.domain.lifecycle import KeptEvent
    from batchvid.domain.report import ActivityPeriod, Report, Row


PROMPT_SHOWN = 4000
"""Longer than any model reads; a page of 10,000 jobs has room for what people write."""
STATES = ORDER[::-1]
"""In the order of the page: what needs attention first."""
SHOWN_AT_ONCE, LISTED_AT_MOST = 10, 500
"""Jobs that need attention, at the top of the page: those in sight, and with those behind one click."""
TENTHS_BELOW_S = 9.95
NOTE_SHOWN = 500
NOT_AS_ASKED = "not as asked"
STYLES, SCRIPTS = ("page.css",), ("parts.js", "page.js", "plots.js", "viewer.js", "grid.js", "sheet.js")


def page(
    report: Report,
    *,
    name: str,
    manifest: str,
    made_at: float,
    pictures: Collection[str],
    bucket: str | None = None,
) -> bytes:
    """Return the page, in UTF-8.

    *name* is its heading, *manifest* what the person types for it, *pictures* the names of those that are there. The
    clips lie beside the page; in a *bucket*, beside the copy of it there.
    """
    from jinja2 import Environment, StrictUndefined, select_autoescape

    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True), undefined=StrictUndefined
    )
    style, script = template(*STYLES), template(*SCRIPTS)
    needing = [row for row in report.rows if row.needs_person]
    rendered = environment.from_string(template("page.html.j2")).render(
        version=__version__,
        policy=policy(style=style, script=script),
        style=style,
        script=script,
        data=embedded(_data(report, pictures, made_at=made_at)),
        name=_shown(name, 200),
        bucket=None if bucket is None else _shown(bucket, 1000),
        report=report,
        states=[(state, text.word(state), report.counts[state]) for state in ORDER if report.counts.get(state)],
        done=report.counts.get(State.DONE, 0),
        figures=list(_figures(report)),
        machines=[] if report.kept.machines is None else list(parts_words(report.kept.machines)),
        needing=_ranked(needing)[:LISTED_AT_MOST],
        needing_in_all=len(needing),
        shown_at_once=SHOWN_AT_ONCE,
        advice=list(_advice(needing, manifest)),
    )
    return rendered.encode("utf-8", "replace")


def policy(*, style: str, script: str) -> str:
    """Return the page's Content-Security-Policy: its own style and script by hash, and files beside it.

    Chromium takes ``'self'`` of a page from disk for every ``file:`` URL; ``file:`` says so for the others, too, and
    means nothing on a web server.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{digest(script)}'",
            f"style-src '{digest(style)}'",
            "img-src 'self' file:",
            "media-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def digest(content: str) -> str:
    """Return how a policy names a script or style that may be in a page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


@cache
def template(*names: str, of: str = "batchvid.cli.report") -> str:
    """Return these parts of a page, one after the other; *of* is the package that has them."""
    folder = files(of) / "template"
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


def embedded(value: Any) -> str:
    """Return *value* as JSON in which no parser of HTML finds a tag, a comment or an entity."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        written = written.replace(char, f"\\u{ord(char):04x}")
    return written


def _figures(report: Report) -> Iterator[tuple[str, str, str]]:
    """Yield the figures under the heading: what it is, the figure, and what stands beside it."""
    money, paid, lost = report.kept.money, len(report.kept.paid), len(report.kept.missing)
    beside = [f"+ {text.money(money.reserved_micros)} reserved"] if money.reserved_micros else []
    beside += [f"of {text.money(money.budget_micros)}"] if money.budget_micros is not None else []
    beside += [f"{text.count(money.unpriced_attempts, 'attempt')} unpriced"] if money.unpriced_attempts else []
    yield "Spent", text.money(money.spent_micros), ", ".join(beside)
    if report.nights:
        night = report.nights[-1]
        more = len(report.nights) - 1
        yield (
            "Elapsed",
            text.duration(night.to_at - night.from_at),
            f"in the last of {more + 1:,} periods" * (more > 0),
        )
    if report.took:
        yield "Median generation", _lasting(report.took.median_s), f"90 % under {_lasting(report.took.p90_s)}"
    again = paid - sum(1 for row in report.rows if row.attempts)
    yield (
        "Paid attempts",
        f"{paid:,}",
        f"{again:,} {'was a retry' if again == 1 else 'were retries'}" if again > 0 else "",
    )
    missing = f"{text.count(lost, 'clip')} missing; a run fetches them again, free"
    yield "On disk", text.size(report.size_bytes), missing if lost else ""
    if (machines := report.kept.machines) is not None and machines.took_part:
        slices = machines.waiting + machines.taken + machines.over
        left = f"{machines.waiting + machines.taken:,} of {text.count(slices, 'slice')} left"
        done = text.count(slices, "slice")
        yield (
            "Workers",
            f"{machines.took_part:,}",
            f"revision {machines.revision}, {done if machines.over == slices else left}",
        )
    if (learned := report.kept.learned) is not None:
        limits, _, when = str(learned).partition(", on ")
        yield "Limits learned", limits, f"on {when}"
    if others := sum(bool(_differs(row, report)) for row in report.rows):
        yield "Not as asked", text.count(others, "clip"), f"search for “{NOT_AS_ASKED}”"


def _lasting(seconds: float) -> str:
    """Return a duration; with one decimal where a whole second says little."""
    return f"{seconds:.1f} s" if seconds < TENTHS_BELOW_S else text.duration(seconds)


def _ranked(rows: list[Row]) -> list[dict[str, str]]:
    ranked = sorted(rows, key=lambda row: STATES.index(row.state))
    return [
        {"id": row.job.id, "state": row.state, "word": text.word(row.state), "reason": text.why(row.progress.reason)}
        for row in ranked
    ]


def _advice(rows: list[Row], manifest: str) -> Iterator[tuple[str, str]]:
    """Yield what to do about each kind of trouble, and the command."""
    states = {row.state for row in rows}
    if State.IN_DOUBT in states:
        one = next(row for row in rows if row.state == State.IN_DOUBT)
        yield from advice.doubt_steps(one.job.id, None, manifest)
    failed = [(row.job.id, row.progress.reason) for row in rows if row.state == State.FAILED]
    yield from advice.failed_steps(failed, manifest)
    if DEFERRED in states:
        yield "To look for the deferred ones again, free", advice.command("run", manifest)


# ---- the block of data; what a column means is said in page.js, which reads it


class _Strings:
    """Texts that many rows share, each kept once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, shown: str | None) -> int:
        if not shown:
            return -1
        if shown not in self._places:
            self._places[shown] = len(self.all)
            self.all.append(shown)
        return self._places[shown]


def _data(report: Report, pictures: Collection[str], *, made_at: float) -> dict[str, Any]:
    strings = _Strings()
    rows = [
        [*_row(row, strings, pictures, differs=_differs(row, report)), _review(report.kept.reviews.get(row.job.id))]
        for row in report.rows
    ]
    return {
        "madeAt": round(made_at),
        "files": FOLDER,
        "states": list(STATES),
        "strings": strings.all,
        "rows": rows,
        "films": [
            [
                _shown(film.id, 100),
                film.path,
                film.duration_s,
                list(film.parts),
                film.state,
                _picture(film.sha256, pictures),
            ]
            for film in report.kept.films
        ],
        "nights": [_night(night) for night in report.nights],
        "took": report.took
        and {
            "width": report.took.width_s,
            "counts": report.took.counts,
            "median": report.took.median_s,
            "p90": report.took.p90_s,
            "longest": report.took.longest_s,
        },
        "models": [
            [
                _shown(one.model, 200),
                one.attempts,
                one.clips,
                one.spent_micros,
                one.without_clip_micros,
                one.reserved_micros,
            ]
            for one in report.models
        ],
    }


def _review(decision: Decision | None) -> list[Any] | int:
    """Return what a person decided: verdict, stars, note, who, when."""
    if decision is None:
        return 0
    verdict = "" if decision.verdict is None else decision.verdict.value
    stars = -1 if decision.stars is None else decision.stars
    return [verdict, stars, _shown(decision.note, NOTE_SHOWN), _shown(decision.by, 100), round(decision.at)]


def _differs(row: Row, report: Report) -> str:
    """Return in what the clip of a row is not what was asked for."""
    found = report.kept.differs.get(row.job.id) if row.state == State.DONE else None
    return f"{NOT_AS_ASKED}: {'; '.join(found)}" if found else ""


def _row(row: Row, strings: _Strings, pictures: Collection[str], *, differs: str) -> list[Any]:
    """Return a job's columns; ``-1`` and ``0`` stand for what is not there."""
    job, known = row.job, row.progress
    is_clip = row.state == State.DONE and known.path is not None
    reason = _shown(known.reason or differs, text.REASON_SHOWN)
    return [
        job.id,
        STATES.index(row.state),
        _shown(job.prompt, PROMPT_SHOWN),
        strings.place(_shown(job.model, 200)),
        strings.place(_shown(known.resolved_model or "", 200)),
        strings.place(asked(row.job)),
        [part for frame in job.frames for part in _frame(frame, strings, pictures)],
        known.attempt,
        row.paid_micros if row.paid_micros is not None else -1,
        round(known.submitted_at or 0),
        round(row.took_s or 0, 1),
        round(known.finished_at or 0),
        known.path if is_clip else "",
        (known.size_bytes or 0) if is_clip else 0,
        _picture(known.sha256, pictures) if is_clip else "",
        strings.place(reason),
        [_attempt(one, strings) for one in row.attempts if _tells_more(one, row)],
        [part for one in row.troubles for part in (round(one.at), strings.place(_said(one)))],
        [job.continues, job.at_s] if isinstance(job, Continuation) else 0,
    ]


def asked(job: Job) -> str:
    """Return what else was asked for, as the manifest says it."""
    parts = [
        job.size or "",
        f"{job.seconds} s" if job.seconds else "",
        *(f"{name} {value}" for name, value in job.form),
    ]
    return _shown(" · ".join(part for part in parts if part), 300)


def _frame(frame: Frame, strings: _Strings, pictures: Collection[str]) -> tuple[int, int]:
    return strings.place(_shown(frame.path.rpartition("/")[2], 120)), strings.place(_picture(frame.sha256, pictures))


def _tells_more(one: Attempt, row: Row) -> bool:
    """Whether an attempt tells more than the row does: not the only one, that went well."""
    return len(row.attempts) > 1 or one.outcome != "succeeded"


def _attempt(one: Attempt, strings: _Strings) -> list[Any]:
    return [
        one.attempt,
        one.outcome,
        round(one.started_at),
        round((one.finished_at or one.started_at) - one.started_at),
        one.price_micros if one.price_micros is not None else -1,
        strings.place(_shown(one.reason or "", text.REASON_SHOWN)),
    ]


def _said(event: KeptEvent) -> str:
    words = "".join(f" {char.lower()}" if char.isupper() else char for char in event.kind).strip()
    return f"{words}: {_shown(event.data.get('reason', ''), text.REASON_SHOWN)}"


def _night(night: ActivityPeriod) -> dict[str, Any]:
    return {
        "from": night.from_at,
        "to": night.to_at,
        "submitted": night.submitted,
        "running": night.running,
        "done": night.done,
        "slowed": [[one.from_at, one.to_at, one.share] for one in night.slowed],
    }


def _picture(sha256: str | None, pictures: Collection[str]) -> str:
    """Return the picture's name without its ending; nothing when it is not there."""
    name = picture_name(sha256) if sha256 else ""
    return name.rpartition(".")[0] if name in pictures else ""


def _shown(value: str, limit: int) -> str:
    return clean(value, limit)


PAGE = "report.html"
MARK = b'<meta name="generator" content="batchvid'
"""In the head of every page that batchvid wrote."""
MARK_WITHIN_BYTES = 4096


def write_page(output: Path, page: bytes, *, mode: int) -> Path:
    """Put the page in place, and return its path; whoever looks sees the old one or all of the new one.

    Raises `ForeignFileError` when a file of that name is not ours, and `StorageError` when the disk does not take it.
    """
    path = output / PAGE
    with doing(f"write {path}"):
        folder = open_folder(str(output), create=False)
        try:
            if not _is_ours(folder):
                raise ForeignFileError(
                    f"{path} is there already, and is not batchvid's: move it away and write it again"
                )
            leave_room(folder, len(page))
            write_whole(folder, PAGE, [page], mode=mode, durable=False)
        finally:
            os.close(folder)
    return path


def _is_ours(folder: int) -> bool:
    """Whether the name is free, or a page of ours has it."""
    try:
        descriptor = open_regular(folder, PAGE, os.O_RDONLY)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with open(descriptor, "rb") as file:
        return MARK in file.read(MARK_WITHIN_BYTES)
