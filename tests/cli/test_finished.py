"""A run that has nothing to do: what it says without reading anything, and all that makes it read again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batchvid.cli import run_command
from batchvid.commands import finished
from batchvid.commands.finished import said_again
from batchvid.core.lifecycle import Reopened
from batchvid.edge import stamp
from batchvid.edge.change import Change
from batchvid.edge.journal import Journal
from tests.cli.project import Project, Ran

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.project import Service

MANIFEST = """\
version: 1
service: {{base_url: {api}}}
limits: {{submits: 50/s, typical_time: 0.3s, poll_every: 0.05s..0.5s}}
jobs:
  - {{id: kite, prompt: A kite of {name}, first_frame: frames/dawn.png, size: 9x16}}
  - {{id: odd, prompt: An odd one of {name}.}}
  - {{from: rows.csv, prompt: "{{what}} of {name}"}}
  - {{pairs: pairs}}
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Project:
    """Give a project with every kind of source, whose jobs are all done. Only to be copied."""
    project = Project(tmp_path_factory.mktemp("made"), service)
    for path in ("frames/dawn.png", "pairs/cat_first.png"):
        (project.folder / path).parent.mkdir()
        Image.new("RGB", (64, 36), "navy").save(project.folder / path)
    (project.folder / "pairs" / "cat.txt").write_text(f"A cat of {project.folder.name}", encoding="utf-8")
    (project.folder / "rows.csv").write_text("id,what\nrow,A row\n", encoding="utf-8")
    text = MANIFEST.format(api=service.api, name=project.folder.name)
    (project.folder / "m.yaml").write_text(text, encoding="utf-8")
    ran = project.batchvid("run", "m.yaml", BATCHVID_BASE_URL=None)
    assert ran.code == 0, ran
    return project


class Desk:
    """A person at work in a project, in this process, so that it is seen how an answer came about."""

    def __init__(self, project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *options: str) -> Ran:
        """Let the whole command line run the manifest."""
        self._monkeypatch.setattr(sys, "argv", ["batchvid", "run", "m.yaml", *options])
        time.sleep(2 * stamp.TICK_S)  # a person is not so quick that the change and the run are in one tick
        code = run_command()
        return Ran(int(code), *self._capsys.readouterr())

    def verify(self, *options: str) -> Ran:
        """Let the whole command line verify the clips."""
        self._monkeypatch.setattr(sys, "argv", ["batchvid", "verify", "m.yaml", *options])
        code = run_command()
        return Ran(int(code), *self._capsys.readouterr())

    def at_once(self, *options: str) -> Ran | None:
        """Give the answer that is given before anything is loaded; ``None`` when there is none."""
        said = said_again(["run", "m.yaml", *options])
        found = Ran(0, *self._capsys.readouterr())
        assert said or (found.out, found.err) == ("", ""), "it said something and did not answer"
        return found if said else None

    def read_again(self, *options: str) -> Ran:
        """Run it, and see that the answer did not come from the stamp."""
        self._monkeypatch.setattr("batchvid.edge.stamp.find", lambda *_: None)
        ran = self.run(*options)
        self._monkeypatch.undo()
        self._monkeypatch.chdir(self.project.folder)
        return ran


@pytest.fixture
def desk(made: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Give a copy of that project, which was run once more and so has its stamp."""
    folder = tmp_path / made.folder.name
    shutil.copytree(made.folder, folder)
    for name, value in Project(folder, made.service).environment(BATCHVID_BASE_URL=None).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BATCHVID_BASE_URL", raising=False)
    monkeypatch.chdir(folder)
    found = Desk(Project(folder, made.service), capsys, monkeypatch)
    assert found.run().code == 0
    return found


def told(ran: Ran) -> list[dict[str, Any]]:
    """Give the JSON lines without what differs from run to run."""
    rows = ran.told
    for row in rows:
        row.pop("elapsed_s", None)
    return rows


@pytest.mark.parametrize("options", [(), ("-q",), ("-v",), ("--json",)])
def test_a_finished_manifest_is_answered_at_once_in_the_same_words(desk: Desk, options: tuple[str, ...]) -> None:
    """Before anything is loaded, by the command line proper, and after reading everything: text, JSON and warnings."""
    at_once = desk.at_once(*options)
    assert at_once is not None
    proper, read = desk.run(*options), desk.read_again(*options)
    assert at_once.code == proper.code == read.code == 0
    assert at_once.err == proper.err == read.err
    assert "the service may crop it" in at_once.err
    if options == ("--json",):
        assert told(at_once) == told(proper) == told(read)
        assert [row["type"] for row in told(at_once)] == ["plan", "summary", "exit"]
    else:
        assert at_once.out == proper.out == read.out
        assert "4 jobs: 4 done." in at_once.out


def test_notes_are_said_again_too(desk: Desk) -> None:
    """A job that changed and is kept, and one that the manifest no longer names, are mentioned by every run."""
    path = desk.project.folder / "m.yaml"
    text = path.read_text(encoding="utf-8").replace("A kite", "A red kite").replace("  - {pairs: pairs}\n", "")
    path.write_text(text, encoding="utf-8")
    assert desk.at_once() is None
    first, again = desk.run(), desk.at_once()
    assert again is not None
    for ran in (first, again):
        assert "1 job changed after being paid: kept as paid (--rebuy buys the new content): kite" in ran.out
        assert "1 job in the journal that the manifest no longer names: left alone" in ran.out
        assert "3 jobs: 3 done." in ran.out
    quiet = desk.at_once("-q")
    assert quiet is not None
    assert "changed" not in quiet.out


def test_looking_does_not_take_the_answer_away(desk: Desk) -> None:
    """Neither ``status`` nor ``plan`` writes to the journal."""
    for looks in ("status", "plan", "export"):
        assert desk.project.batchvid(looks, "m.yaml", BATCHVID_BASE_URL=None).code == 0
    assert desk.at_once() is not None


def rewritten(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Give a change of a text."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    return change


def repainted(folder: Path) -> None:
    """Change a frame, and let its size and its time of change be what they were."""
    path = folder / "frames" / "dawn.png"
    was, data = path.stat(), path.read_bytes()
    Image.new("RGB", (64, 36), "maroon").save(path)
    path.write_bytes(path.read_bytes()[: len(data)].ljust(len(data), b"\0"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def restored(folder: Path) -> None:
    """Put a copy of the journal in its place, as from a backup."""
    path = folder / "out/m/.batchvid/journal.db"
    shutil.copy2(path, path.with_suffix(".bak"))
    path.with_suffix(".bak").rename(path)


def linked(folder: Path) -> None:
    """Put a link in the place of the output."""
    (folder / "out/m").rename(folder / "elsewhere")
    (folder / "out/m").symlink_to(folder / "elsewhere")


CHANGES: dict[str, Callable[[Path], object]] = {
    "the manifest": rewritten("m.yaml", "version: 1", "version: 1 # one"),
    "a table": rewritten("rows.csv", "A row", "A now"),
    "a pair's text": rewritten("pairs/cat.txt", "A cat", "A dog"),
    "a frame's time": lambda folder: (folder / "frames/dawn.png").touch(),
    "a pair's frame's time": lambda folder: (folder / "pairs/cat_first.png").touch(),
    "a frame, unseen": repainted,
    "a new pair": lambda folder: (folder / "pairs/notes.txt").write_text("no pair, but it might be one"),
    "a table is gone": lambda folder: (folder / "rows.csv").unlink(),
    "the journal was opened for writing": lambda folder: Journal.reopen(folder / "out/m/.batchvid/journal.db").close(),
    "the journal is another file": restored,
    "part of the journal is elsewhere": lambda folder: (folder / "out/m/.batchvid/journal.db-wal").write_bytes(b"x"),
    "the journal is open to others": lambda folder: (folder / "out/m/.batchvid/journal.db").chmod(0o644),
    "the state folder is open to others": lambda folder: (folder / "out/m/.batchvid").chmod(0o755),
    "a paid task waits to be adopted": lambda folder: (folder / "out/m/.batchvid/orphans.jsonl").write_text("{}\n"),
    "the list of clips is gone": lambda folder: (folder / "out/m/clips.jsonl").unlink(),
    "the list of clips was changed": lambda folder: (folder / "out/m/clips.jsonl").write_text("{}\n"),
    "no stamp": lambda folder: (folder / "out/m/.batchvid/finished.json").unlink(),
    "a stamp of another form": rewritten("out/m/.batchvid/finished.json", '"form": 2', '"form": 1'),
    "a damaged stamp": lambda folder: (folder / "out/m/.batchvid/finished.json").write_text('{"form": 1}'),
    "the output is a link": linked,
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_has_changed_is_read_again(desk: Desk, what: str) -> None:
    """Each by itself: the manifest, what it names, the journal and its surroundings."""
    assert desk.at_once() is not None
    CHANGES[what](desk.project.folder)
    assert desk.at_once() is None


@pytest.mark.parametrize("what", ["the manifest", "a frame's time", "the list of clips is gone", "a damaged stamp"])
def test_a_run_that_has_read_leaves_a_new_stamp(desk: Desk, what: str) -> None:
    """And puts right what it always did, such as the list of clips."""
    CHANGES[what](desk.project.folder)
    assert desk.run().code == 0
    assert desk.at_once() is not None
    assert len((desk.project.out / "clips.jsonl").read_text(encoding="utf-8").splitlines()) == 4


def test_a_job_that_a_person_reopened_is_bought(desk: Desk) -> None:
    """The stamp never stands between a person's word and the service."""
    before = sum(desk.project.creates().values())
    with Journal.reopen(desk.project.state / "journal.db") as journal:
        row = journal.progress("kite")
        assert row is not None
        journal.record([Change.of(row, (Reopened("once more"), 1.0))])
    assert desk.at_once() is None
    assert desk.run().code == 0
    assert sum(desk.project.creates().values()) == before + 1
    assert desk.at_once() is not None


@pytest.mark.parametrize("command", [("retry", "m.yaml", "kite", "--yes"), ("adopt", "m.yaml", "kite", "task_1")])
def test_a_persons_command_is_followed_by_a_reading(desk: Desk, command: tuple[str, ...]) -> None:
    """Even one that was refused: somebody had the journal in hand."""
    assert desk.project.batchvid(*command, BATCHVID_BASE_URL=None).code == 2
    assert desk.at_once() is None


def in_a_links_place(clip: Path) -> None:
    """Put a link in the place of a clip."""
    clip.rename(clip.with_suffix(".old"))
    clip.symlink_to(clip.with_suffix(".old"))


CLIP_DAMAGES: dict[str, Callable[[Path], object]] = {
    "is missing": lambda clip: clip.unlink(),
    "bytes instead of": lambda clip: clip.write_bytes(clip.read_bytes()[:-1]),
    "is no regular file": in_a_links_place,
}


@pytest.mark.parametrize("words", CLIP_DAMAGES)
@pytest.mark.parametrize("is_stamped", [True, False])
def test_a_quick_verify_finds_what_is_gone_or_cut_off(desk: Desk, words: str, *, is_stamped: bool) -> None:
    """With a stamp it need not read the manifest, and says the same."""
    if not is_stamped:
        (desk.project.state / "finished.json").unlink()
    sound = desk.verify("--quick")
    assert sound.code == 0
    assert sound.out == "4 of 4 clips are as the journal says (presence and size; none was read)\n"
    assert json.loads(desk.verify("--quick", "--json").out) == {
        "type": "verify", "clips": 4, "wrong": 0, "repaired": 0, "quick": True,
    }  # fmt: skip
    CLIP_DAMAGES[words](desk.project.out / "kite.mp4")
    found = desk.verify("--quick")
    assert found.code == 3
    assert found.out.startswith("kite: kite.mp4 ")
    assert words in found.out.splitlines()[0]
    assert "3 of 4 clips are as the journal says" in found.out
    assert "Next: batchvid verify m.yaml --repair" in found.out


def test_a_quick_verify_reads_no_manifest_that_is_finished(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is why it takes a second for a hundred thousand clips."""
    monkeypatch.setattr("batchvid.commands.verify.load", lambda *_, **__: pytest.fail("it was read"))
    assert desk.verify("--quick").code == 0


def test_a_quick_verify_that_is_to_decode_is_refused(desk: Desk) -> None:
    """It cannot do both."""
    assert desk.verify("--quick", "--deep").code == 2


@pytest.mark.parametrize(
    "options",
    [("--only", "kite"), ("--retry-failed",), ("--rebuy",), ("--resubmit-in-doubt",), ("--output", "out/m")],
)
def test_another_order_is_read(desk: Desk, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wishes are for the journal, and a stamp answers the very order that it was left by."""
    found: list[dict[str, Any] | None] = []
    find = stamp.find

    def watched(*what: Any) -> dict[str, Any] | None:
        found.append(find(*what))
        return found[-1]

    monkeypatch.setattr(stamp, "find", watched)
    assert desk.run(*options).code == 0
    assert not any(found)
    assert desk.at_once(*options) is None


def test_options_that_bound_work_do_not_ask_for_a_reading(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window, a cost and a number of jobs say nothing of a run that has nothing to do; cron passes them."""
    monkeypatch.setattr("batchvid.commands.run.load", lambda *_, **__: pytest.fail("it was read"))
    ran = desk.run("--for", "8h", "--max-cost", "5", "--max-jobs", "9")
    assert ran.code == 0
    assert "4 jobs: 4 done." in ran.out


def test_a_new_version_reads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may understand the manifest otherwise."""
    monkeypatch.setattr(finished, "__version__", "0.0.0")
    assert desk.at_once() is None


def test_a_variable_of_batchvid_is_left_to_the_command_line(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name another output or service."""
    monkeypatch.setenv("BATCHVID_OUTPUT", "elsewhere")
    assert desk.at_once() is None


def test_another_service_is_refused_as_before(desk: Desk) -> None:
    """The journal belongs to the first."""
    ran = desk.run("--base-url", "http://127.0.0.1:1/v1")
    assert ran.code == 78
    assert "belongs to the service" in ran.err


def test_a_run_that_is_going_turns_it_away(desk: Desk) -> None:
    """With exit 75: what the other one does is not finished."""
    with (desk.project.state / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert desk.at_once() is None
        assert desk.run().code == 75


def test_a_missing_clip_is_left_to_verify_as_before(desk: Desk) -> None:
    """A run of a finished manifest never looked at the clips, whether it reads or not."""
    (desk.project.out / "kite.mp4").unlink()
    at_once, read = desk.at_once(), desk.read_again()
    assert at_once is not None
    assert at_once.out == read.out


def test_a_run_that_left_something_undone_leaves_no_stamp(finished: Project) -> None:
    """A failed job and one in doubt: its exit code was 4."""
    assert not (finished.state / "finished.json").exists()


def test_the_stamp_is_private_and_holds_no_prompt(desk: Desk) -> None:
    """Like everything in the state folder."""
    path = desk.project.state / "finished.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "A kite" not in json.dumps(json.loads(path.read_text(encoding="utf-8")))
