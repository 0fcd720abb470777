"""One small night at the sandbox, whose every output is kept as text: what varies between two nights is taken out."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PROJECT = Path(__file__).parent / "project"
REPOSITORY = Path(__file__).parents[2]
KEY = "sk-golden-night"
ENDS_S = 30.0
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
VARYING = (
    "elapsed_s|eta_s|estimated_s|submits_per_min|polls|downloaded_bytes|progress_percent|paused_s|number|took_s|"
    "in_flight|downloading|url_expires_at"
)
"""JSON fields whose numbers are another every night: their type is kept."""
FRAME_FROM_CLIP = ("onwards", "onwards-from")
"""Jobs whose fingerprint hangs on the bytes of a clip, and so on the encoder."""


class Night:
    """The project in a folder of its own, with the sandbox that serves it."""

    def __init__(self, folder: Path, api: str) -> None:
        self.folder = folder
        self.api = api
        self.out = folder / "out" / "night"
        self.texts: dict[str, str] = {}
        self.tasks: dict[str, str] = {}
        self.hashes: dict[str, str] = {}
        self.sizes: set[int] = set()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``batchvid ARGUMENTS``."""
        return start(self.folder, *arguments, base_url=self.api)

    def tell(self, *arguments: str) -> tuple[int, str]:
        """Run ``batchvid ARGUMENTS``; return its exit code and its standard output."""
        with self.start(*arguments) as process:
            out, err = _ended(process)
        assert "Traceback" not in err, err
        return process.returncode, out

    def keep(self, name: str, *arguments: str, told: Callable[[str], str] = str) -> None:
        """Run ``batchvid ARGUMENTS``, and keep what it says, made comparable by *told*, as *name*."""
        code, out = self.tell(*arguments)
        self.texts[name] = f"$ batchvid {' '.join(arguments)}  -> exit {code}\n{told(self.plain(out))}"

    def plain(self, text: str) -> str:
        """Return *text* without what varies: folder, ports, times, task ids, and the bytes of clips."""
        text = text.replace(str(self.folder), "<folder>").replace(self.api, "<api>")
        text = re.sub(r"http://127\.0\.0\.1:\d+/task_\w+/\w+\.mp4", "<url>", text)
        for known, shown in (self.tasks | self.hashes).items():
            text = text.replace(known, shown)
        text = re.sub(r"task_\w{32}", "<task>", text)
        text = re.sub(r'("(?:frame_sha256|machine|session", "value)"): "[0-9a-f]+"', r'\1: "<hash>"', text)
        text = re.sub(r'("clips_made_from", "value"): "[^"]+"', r'\1: "<hash and file>"', text)
        text = re.sub(r'"sha256": "[0-9a-f]{64}"(, "prepared": ")', r'"sha256": "<hash>"\1', text)
        for size in self.sizes:
            text = text.replace(f'"size_bytes": {size}', '"size_bytes": <int>').replace(
                f",{size},<clip", ",<int>,<clip"
            )
        text = MOMENT.sub("<time>", text)
        return re.sub(rf'("(?:{VARYING})"): (-?[\d.]+)', lambda found: f"{found[1]}: {_kind(found[2])}", text)

    def learn(self) -> None:
        """Read from the journal which task ids, hashes, sizes and fingerprints vary."""
        with closing(self.journal()) as db:
            for job_id, task_id, sha256, size in db.execute("SELECT job_id, task_id, sha256, size_bytes FROM jobs"):
                self.tasks |= {task_id: f"<task of {job_id}>"} if task_id else {}
                self.hashes |= {sha256: "<clip>"} if sha256 else {}
                self.sizes |= {size} if size else set()
            marks = ", ".join("?" * len(FRAME_FROM_CLIP))
            query = f"SELECT job_id, fingerprint FROM jobs WHERE job_id IN ({marks})"  # noqa: S608 question marks
            self.hashes |= {found: f"<fingerprint of {job_id}>" for job_id, found in db.execute(query, FRAME_FROM_CLIP)}
        for film in ("walk", "trailer"):
            told = json.loads((self.out / f"{film}.json").read_bytes())
            self.hashes[told["sha256"]] = "<film>"
            self.sizes.add(told["size_bytes"])

    def journal(self) -> sqlite3.Connection:
        """Open the journal to read it."""
        return sqlite3.connect(f"file:{self.out}/.batchvid/journal.db?mode=ro", uri=True)

    def ledger(self) -> list[dict[str, Any]]:
        """Return the creates that the sandbox has had."""
        with urllib.request.urlopen(f"{self.api.removesuffix('/v1')}/_sandbox/ledger") as answer:  # noqa: S310 our own
            found: list[dict[str, Any]] = json.load(answer)["creates"]
        return found


def start(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start ``batchvid ARGUMENTS`` in *folder* as a person who has a key."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": str(REPOSITORY),
        "COMETAPI_KEY": KEY,
    }
    environment |= {f"BATCHVID_{name.upper()}": value for name, value in more.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "batchvid", *arguments],
        cwd=folder,
        env=environment,
        umask=0o022,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="strict",
    )


def _end(process: subprocess.Popen[str]) -> None:
    """End a process that ends only when it is told to; a shell's background jobs may ignore Ctrl-C, but not this."""
    process.terminate()
    _ended(process)


def _ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return what a process says until its end, which must come: nothing here may wait for ever."""
    try:
        return process.communicate(timeout=ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """Serve the sandbox; yield its base URL."""
    options = ("--port", "0", "--key", KEY, "--speed", "300", "--clip", "tiny", "--faults", "faults.yaml")
    with start(folder, "sandbox", *options) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+/v1", line := process.stderr.readline())
            assert found, line
            yield found[0]
        finally:
            _end(process)


@contextmanager
def finished_night(folder: Path) -> Iterator[Night]:
    """Run the project once, ask every command about it, and yield all texts."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    with sandbox(folder) as api:
        night = Night(folder, api)
        _before(night)
        _run(night)
        night.learn()
        night.texts["run.jsonl"] = _told_by_run(night.plain(night.texts["run.jsonl"]))
        _beside(night)
        _files(night)
        _journal(night)
        _after(night)
        yield night


def _before(night: Night) -> None:
    at_once(
        partial(night.keep, "check.json", "check", "night.yaml", "later.yaml", "--json", told=pretty),
        partial(night.keep, "check-broken.json", "check", "broken.yaml", "--json", told=pretty),
        partial(night.keep, "plan-new.jsonl", "plan", "night.yaml", "--json"),
        partial(night.keep, "run-broken.jsonl", "run", "broken.yaml", "--json"),
        partial(night.keep, "schema.json", "schema"),
    )


def _run(night: Night) -> None:
    """Run it, and read the metrics that it writes at its start and at its end."""
    metrics = night.folder / "night.prom"
    with night.start("run", "night.yaml", "--json", "-v", "--metrics", str(metrics)) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]  # the third is an event: the first figures are written
        early = metrics.read_text(encoding="utf-8")
        out, err = _ended(process)
    night.texts["metrics-early.txt"] = _metrics(early)
    night.texts["metrics-end.txt"] = _metrics(metrics.read_text(encoding="utf-8"))
    night.texts["run.jsonl"] = f"exit {process.returncode}\n{''.join(lines)}{out}"
    assert process.returncode == 4, err


def _beside(night: Night) -> None:
    """Ask every command that only reads; none waits for another."""
    at_once(
        partial(night.keep, "status.json", "status", "night.yaml", "--json", told=pretty),
        partial(night.keep, "plan-done.jsonl", "plan", "night.yaml", "--json"),
        partial(night.keep, "costs.jsonl", "costs", "night.yaml", "--json", "--by", "model"),
        partial(night.keep, "plan-later.jsonl", "plan", "later.yaml", "--json"),
        partial(night.keep, "plan-rebuy.jsonl", "plan", "later.yaml", "--json", "--rebuy"),
        partial(night.keep, "doubts.jsonl", "doubts", "night.yaml", "--json"),
        partial(night.keep, "verify.jsonl", "verify", "night.yaml", "--json"),
        partial(night.keep, "verify-quick.jsonl", "verify", "night.yaml", "--json", "--quick"),
        partial(night.keep, "report.json", "report", "night.yaml", "--json"),
        partial(night.keep, "films.jsonl", "films", "night.yaml", "--json"),
        partial(night.keep, "export.csv", "export", "night.yaml"),
        partial(night.keep, "export.jsonl", "export", "night.yaml", "--format", "jsonl"),
        partial(night.keep, "doctor.jsonl", "doctor", "night.yaml", "--json", told=_findings),
        partial(_watch, night),
    )


def _watch(night: Night) -> None:
    with night.start("status", "night.yaml", "--watch", "--json") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        _end(process)
    told = json.loads(night.plain(line).replace("<int>", '"<int>"').replace("<float>", '"<float>"'))
    told["newest"] = [dict.fromkeys(told["newest"][0], "<of the newest>")]
    night.texts["watch.json"] = f"{json.dumps(told, indent=1, ensure_ascii=False)}\n"


def _files(night: Night) -> None:
    """Keep what the run left on disk."""
    texts, state = night.texts, night.out / ".batchvid"
    manifest = [json.loads(line)["id"] for line in (night.out / "clips.jsonl").read_text(encoding="utf-8").splitlines()]
    sidecars = [night.plain(read(night.out / f"{name}.json")) for name in (*manifest, "walk", "trailer")]
    assert all(text.count("\n") == 1 and text.endswith("\n") for text in sidecars)
    texts["sidecars.jsonl"] = "".join(sidecars)
    texts["clips.jsonl"] = night.plain(read(night.out / "clips.jsonl"))
    lines = night.plain(read(state / "log.jsonl")).splitlines()
    texts["log.jsonl"] = "\n".join(by_job(lines, '"job": "', '"event": "StillRunning"')) + "\n"
    others = {"report_files", "frames", "journal.db-wal", "journal.db-shm"}  # the last two are SQLite's own
    found = (path for path in night.out.rglob("*") if not {path.parent.name, path.name} & others)
    named = (f"{path.stat().st_mode & 0o777:03o} {path.relative_to(night.out)}" for path in found)
    texts["tree.txt"] = "\n".join(sorted(named, key=lambda line: line[4:])) + "\n"
    page = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', read(night.out / "report.html"), re.DOTALL
    )
    assert page
    sent = (
        {name: one[name] for name in ("fields", "billed")} | {"frames": len(one["frames"])} for one in night.ledger()
    )
    texts["sent.jsonl"] = "\n".join(sorted(json.dumps(one, ensure_ascii=False) for one in sent)) + "\n"
    texts["report-data.json"] = night.plain(_page_data(night, json.loads(page[1])))


def _journal(night: Night) -> None:
    """Keep the journal's tables, its rows, and the fingerprints under which jobs were paid."""
    with closing(night.journal()) as db:
        pragmas = ("user_version", "application_id", "journal_mode")
        texts = [f"PRAGMA {name} = {db.execute(f'PRAGMA {name}').fetchone()[0]}" for name in pragmas]
        query = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type DESC, name"
        texts += [f"-- {kind} {name} on {table}\n{sql}" for kind, name, table, sql in db.execute(query)]
        orders = {"meta": "key", "jobs": "job_id", "attempts": "job_id, attempt", "events": "job_id, seq"}
        rows = [line for table, order in orders.items() for line in _rows(db, table, order)]
        query = "SELECT job_id, data FROM events WHERE kind = 'SubmitStarted' ORDER BY job_id"
        paid = [(job_id, json.loads(data)["fingerprint"]) for job_id, data in db.execute(query)]
    night.texts["journal-schema.sql"] = "\n\n".join(texts) + "\n"
    night.texts["journal-rows.txt"] = "".join(
        f"{night.plain(line)}\n" for line in without_polls(rows, '"StillRunning"')
    )
    night.texts["fingerprints.txt"] = "".join(f"{job_id} {night.plain(found)}\n" for job_id, found in paid)


def _rows(db: sqlite3.Connection, table: str, order: str) -> Iterator[str]:
    """Yield a table's rows as JSON; a text that is JSON itself comes last, as it is."""
    found = db.execute(f"SELECT * FROM {table} ORDER BY {order}")  # noqa: S608 our own names
    names = [one[0] for one in found.description]
    for row in found:
        values = dict(zip(names, map(_column, names, row), strict=True))
        written = [values.pop(name) for name in ("data", "value") if str(values.get(name)).startswith("{")]
        yield " ".join([table, json.dumps(values, ensure_ascii=False), *written])


def _column(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return f"<blob of {len(value)}>"
    return "<real>" if isinstance(value, float) else "<number>" if name == "seq" else value


def _after(night: Night) -> None:
    """Keep what changes the project: a task adopted, clips damaged, a run that is about one job."""
    task = next(one["task_id"] for one in night.ledger() if one["prompt"].startswith("unsure"))
    night.tasks[task] = "<task of unsure>"
    (night.folder / "wrong.csv").write_text("id,task_id\nnobody,task_0\nunsure,\n", encoding="utf-8")
    night.keep("adopt-wrong.jsonl", "adopt", "night.yaml", "--from", "wrong.csv", "--json")
    (night.folder / "right.csv").write_text(f"id,task_id\nunsure,{task}\n", encoding="utf-8")
    night.keep("adopt.jsonl", "adopt", "night.yaml", "--from", "right.csv", "--json")
    (night.out / "plain.mp4").unlink()
    (night.out / "sized.mp4").write_bytes(b"no clip")
    night.keep("verify-wrong.jsonl", "verify", "night.yaml", "--json")
    night.keep("verify-repair.jsonl", "verify", "night.yaml", "--json", "--repair")
    night.keep("run-again.jsonl", "run", "night.yaml", "--json", "--only", "form*", told=_told_by_run)


def at_once(*works: Callable[[], None]) -> None:
    """Do *works*, a few at a time."""
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()


def read(path: Path) -> str:
    """Return a file's text, with the line ends that it has."""
    return path.read_bytes().decode()


def pretty(text: str) -> str:
    """Return one JSON object with a line for each value; the placeholders for numbers become texts."""
    value = json.loads(re.sub(r": (<int>|<float>)", r': "\1"', text))
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def by_job(lines: Iterable[str], mark: str, poll: str) -> list[str]:
    """Return *lines* job by job, each in its order: jobs are at work at once."""

    def job(line: str) -> str:
        return line.partition(mark)[2].partition('"')[0] if '"event": "' in line else ""

    return sorted(without_polls(lines, poll), key=job)


def without_polls(lines: Iterable[str], poll: str) -> list[str]:
    """Return *lines* without polls, whose number varies; the first one of the job that is never done stays."""
    kept: list[str] = []
    seen = False
    for line in lines:
        if poll not in line:
            kept.append(line)
        elif '"endless"' in line and not seen:
            seen = True
            kept.append(line)
    return kept


def _told_by_run(text: str) -> str:
    """Return a run's JSON lines, job by job, with the first figures only."""
    lines = text.splitlines()
    figures = [_figures(line) for line in lines if '"type": "stats"' in line]
    others = [_summary(line) for line in lines if '"type": "stats"' not in line]
    return "\n".join([*by_job(others, '"id": "', '"event": "still_running"'), *figures[:1]]) + "\n"


def _kind(number: str) -> str:
    return "<float>" if "." in number else "<int>"


def _figures(line: str) -> str:
    """Return a line of figures with their types: they are those of some moment."""
    value = json.loads(re.sub(r"(<int>|<float>)", r'"\1"', line))
    return json.dumps(_typed(value) | {"eta_s": "<float or null>"}, ensure_ascii=False)


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: one if key.endswith("_limit") or key == "budget" else _typed(one) for key, one in value.items()}
    return f"<{type(value).__name__}>" if isinstance(value, int | float) else value


def _summary(line: str) -> str:
    """Return a summary whose jobs that need a person stand in the order of their names."""
    if '"type": "summary"' not in line:
        return line
    value = json.loads(re.sub(r"(<int>|<float>)", r'"\1"', line))
    value["needs_person"].sort(key=lambda one: one["id"])
    return json.dumps(value, ensure_ascii=False)


def _findings(text: str) -> str:
    """Return what ``doctor`` finds without its words, which tell of this machine."""
    text = re.sub(r'"rules": \[.*\]}', '"rules": ["<text>"]}', text)
    return re.sub(r'"text": ".*?(?<!\\)"', '"text": "<text>"', text)


def _metrics(text: str) -> str:
    """Return names, types and labels; a number becomes its type."""
    lines = [line for line in text.splitlines() if not line.startswith("# HELP ")]
    return "\n".join(line if line.startswith("#") else _sample(line) for line in lines) + "\n"


def _sample(line: str) -> str:
    name, _, number = line.rpartition(" ")
    return f"{name} {_kind(number)}"


def _page_data(night: Night, data: dict[str, Any]) -> str:
    """Return the page's data, a line a value; moments, lengths and the bytes of clips are taken out."""
    short = {known[:24]: shown for known, shown in night.hashes.items()}

    def shown(value: Any) -> Any:
        if isinstance(value, list):
            return [shown(one) for one in value]
        if isinstance(value, str):
            return short.get(value, value)
        if isinstance(value, float) or (isinstance(value, int) and value > 1_000_000_000):
            return "<number>"
        return "<bytes>" if value in night.sizes else value

    lines = []
    for key, value in data.items():
        if key in {"nights", "took"}:
            lines.append(f"{key}: {json.dumps(_shape(value))}")
        elif isinstance(value, list):
            rows = [_untimed(row) if key == "rows" else row for row in value]
            lines += [f"{key}:", *(f"  {json.dumps(shown(row), ensure_ascii=False)}" for row in rows)]
        else:
            lines.append(f"{key}: {json.dumps(shown(value))}")
    return "\n".join(lines) + "\n"


def _untimed(row: list[Any]) -> list[Any]:
    """Return a row of the page without how long the job and each of its attempts took."""
    attempts = [[*one[:3], "<took>", *one[4:]] for one in row[16]]
    return [*row[:10], "<took>", *row[11:16], attempts, *row[17:]]


def _shape(value: Any) -> Any:
    """Return names and types: of a list, those of its first item."""
    if isinstance(value, dict):
        return {key: _shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shape(one) for one in value[:1]]
    return "<number>" if isinstance(value, int | float) and not isinstance(value, bool) else f"<{type(value).__name__}>"
