"""``batchvid report``, and the page that a run leaves behind."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from batchvid.engine.posters import FOLDER
from tests.cli.project import read_until

if TYPE_CHECKING:
    from tests.cli.project import Project


def data_of(project: Project) -> Any:
    """Return the data in the project's page."""
    text = (project.out / "report.html").read_text(encoding="utf-8")
    found = re.search(r'id="data">(.*?)</script>', text)
    assert found is not None
    return json.loads(found[1])


def test_a_run_ends_with_a_page_of_all_its_jobs_and_pictures_of_its_clips(finished: Project) -> None:
    """Two clips, a failed one and one in doubt."""
    data = data_of(finished)
    states = {row[0]: data["states"][row[1]] for row in data["rows"]}
    assert states == {"job-1": "done", "job-2": "done", "job-3": "failed", "job-4": "in_doubt"}
    pictures = {f"{row[14]}.webp" for row in data["rows"] if row[14]}
    assert pictures <= {path.name for path in (finished.out / FOLDER).iterdir()}
    assert len(pictures) in {1, 2}  # tiny clips may be alike, byte for byte


def test_a_run_tells_where_its_report_is_and_still_ends_with_its_exit_code(project: Project) -> None:
    """The promise of the last line."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml")
    assert f"report: {project.out / 'report.html'}" in ran.out
    assert ran.out.splitlines()[-1].startswith("Exit 0: ")


def test_a_run_that_did_nothing_leaves_the_page_as_it_is(project: Project) -> None:
    """Cron runs every night, also when all is done."""
    project.manifest("kite")
    project.batchvid("run", "m.yaml")
    before = (project.out / "report.html").stat()
    assert project.batchvid("run", "m.yaml").code == 0
    after = (project.out / "report.html").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_page_of_somebody_else_is_left_alone_and_no_run_fails_for_it(project: Project) -> None:
    """A warning for the run; an error, with what to do, for the command that was to write it."""
    project.manifest("kite")
    project.out.mkdir(parents=True)
    (project.out / "report.html").write_text("<h1>mine</h1>", encoding="utf-8")
    ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert "there is no new report" in ran.out
    assert "move it away" in ran.out
    asked = project.batchvid("report", "m.yaml")
    assert asked.code == 8
    assert "move it away" in asked.err
    assert (project.out / "report.html").read_text(encoding="utf-8") == "<h1>mine</h1>"


def test_the_command_says_what_it_wrote(finished: Project) -> None:
    """To people in a line, to programs in an object."""
    assert finished.batchvid("report", "m.yaml").out == f"report: {finished.out / 'report.html'}\n"
    (told,) = finished.batchvid("report", "m.yaml", "--json").told
    assert told["path"] == str(finished.out / "report.html")
    assert (told["jobs"], told["counts"]["done"], told["counts"]["failed"]) == (4, 2, 1)


def test_there_is_no_report_of_what_never_ran(project: Project) -> None:
    """And no folder is left behind."""
    project.manifest("kite")
    ran = project.batchvid("report", "m.yaml")
    assert ran.code == 78
    assert "nothing was ever run" in ran.err
    assert not project.out.exists()


def test_where_the_service_asked_to_go_slower_the_page_marks_it(project: Project) -> None:
    """From the event log, which the run keeps."""
    project.manifest("hasty", "kite", "kite", "kite")
    assert project.batchvid("run", "m.yaml").code == 0
    slowed = [one for night in data_of(project)["nights"] for one in night["slowed"]]
    assert [share for _, _, share in slowed] == [0.5]


def test_a_report_beside_a_run_knows_that_an_answer_is_awaited(project: Project) -> None:
    """Nothing is called in doubt while somebody waits for it."""
    project.manifest("kite", "slow")
    process = project.start("run", "m.yaml", "-v")
    try:
        read_until(process, "job-1")
        while project.states() != {"job-1": "done", "job-2": "submitting"}:
            assert process.poll() is None
        project.batchvid("report", "m.yaml")
        data = data_of(project)
        assert [data["states"][row[1]] for row in data["rows"]] == ["done", "submitting"]
    finally:
        process.kill()
        process.communicate()
    project.batchvid("report", "m.yaml")
    data = data_of(project)
    assert [data["states"][row[1]] for row in data["rows"]] == ["done", "in_doubt"]
