"""The night shift: several manifests, notifications, metrics, and the lines that start it; the real program."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager
from shutil import which
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.project import KEY, REPOSITORY, command, ended, read_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.project import Project

ANALYZE = which("systemd-analyze")
SECRET = "hook-secret-41c8"


class Hook:
    """An HTTP server that remembers what is posted to it."""

    def __init__(self, status: int) -> None:
        got: list[tuple[str, dict[str, Any]]] = []
        self.got = got

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                got.append((self.path, json.loads(body)))
                self.send_response(status)
                self.send_header("Location", f"http://{self.headers['host']}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Return nothing."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"


@contextmanager
def hook(status: int = 204) -> Iterator[Hook]:
    """Serve a webhook."""
    made = Hook(status)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def metrics(path: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read a file of metrics with Prometheus' own parser: by name and labels."""
    families = text_string_to_metric_families(path.read_text("utf-8"))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for one in families for sample in one.samples
    }


def no_secret_in(project: Project, *texts: str) -> None:
    """Check that the secret part of a URL stands nowhere but in the manifest."""
    for text in texts:
        assert SECRET not in text
    for path in project.out.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_the_end_of_a_run_is_told_with_counts_and_money_and_no_prompt(project: Project) -> None:
    """Once; by a URL in the manifest, and by one in a variable; the next run, which finds all done, says nothing."""
    with hook() as one:
        project.manifest("gull", "wave", text=f"notify: [json://{one.address}/{SECRET}, $HOOK_URL]")
        ran = project.batchvid("run", "m.yaml", HOOK_URL=f"http://{one.address}/variable?t={SECRET}")
        assert ran.code == 0, ran
        again = project.batchvid("run", "m.yaml", HOOK_URL=f"http://{one.address}/variable?t={SECRET}")
        assert again.code == 0, again
    assert sorted(path for path, _ in one.got) == [f"/{SECRET}", f"/variable?t={SECRET}"]
    told = one.got[0][1]
    assert (told["event"], told["exit_code"], told["counts"]["done"], told["money"]["spent"]) == (
        "run_ended",
        0,
        2,
        0.8,
    )
    assert "gull" not in json.dumps(told)
    no_secret_in(project, ran.out, ran.err, again.out, again.err)


def test_a_failed_and_an_interrupted_run_are_told_too(project: Project) -> None:
    """With their exit codes."""
    with hook() as one:
        project.manifest("doomed", "gull", "wave", "dune", text=f"notify: [json://{one.address}/x]", submits="2/s")
        run = project.start("run", "m.yaml")
        read_until(run, "submitted job-2")
        run.send_signal(signal.SIGINT)
        assert ended(run).code == 130
        assert project.batchvid("run", "m.yaml").code == 3
        assert project.batchvid("run", "m.yaml", COMETAPI_KEY=None, BATCHVID_ONLY=None).code == 3
    assert [told["exit_code"] for _, told in one.got] == [130, 3, 3]
    assert one.got[1][1]["needs_person"] == 1


def test_who_wants_to_know_at_once_is_told_while_the_run_goes_on(project: Project) -> None:
    """Each moment once, to those alone that asked for it, and the end to the others."""
    with hook() as one:
        url = f"json://{one.address}"
        project.manifest(
            *["doomed", "doomed", "unsure", "gull", "gull"],
            text=f"notify: [{url}/end, {{url: $PAGER, when: [first-failure, doubt]}}, "
            f"{{url: '{url}/money', when: [end, 'budget-80%']}}]",
            attempts="1",
            budget="2.00",
        )
        ran = project.batchvid("run", "m.yaml", PAGER=f"{url}/pager")
        assert ran.code == 4, ran
        again = project.batchvid("run", "m.yaml", PAGER=f"{url}/pager")
        assert again.code == 4, again
    found = Counter((path, told["event"]) for path, told in one.got)
    assert found == {
        ("/pager", "first_failure"): 1,
        ("/pager", "in_doubt"): 1,
        ("/money", "budget_80"): 1,
        ("/end", "run_ended"): 2,
        ("/money", "run_ended"): 2,
    }
    assert "doomed" not in json.dumps(one.got)


def test_a_hook_that_does_not_answer_delays_no_clip(project: Project) -> None:
    """It is told beside the run, and the run warns of it once."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        text = f"notify: [{{url: 'json://127.0.0.1:{port}/x', when: [first-failure]}}]"
        project.manifest("doomed", *["gull"] * 10, text=text, attempts="1")
        began = time.monotonic()
        run = project.start("run", "m.yaml")
        read_until(run, "Exit 3")
        assert time.monotonic() - began < 9, "the notification alone may take 10 s"
        ran = ended(run)
    assert ran.code == 3
    assert ran.err.count("was not delivered: no answer within 10 s") == 1


@pytest.mark.parametrize("status", [500, 307])
def test_a_notification_that_fails_fails_no_run(project: Project, status: int) -> None:
    """It is said where, without the secret part; a redirect is not followed, and an unset variable is a warning."""
    with hook(status) as one:
        text = f"notify: [json://me:{SECRET}@{one.address}/{SECRET}, json://127.0.0.1:1/{SECRET}, $NOWHERE]"
        project.manifest("gull", text=text)
        ran = project.batchvid("run", "m.yaml")
    assert ran.code == 0, ran
    assert [path for path, _ in one.got] == [f"/{SECRET}"]
    assert f"json://127.0.0.1/… was not delivered: it answered {status}" in ran.err
    assert "json://127.0.0.1/… was not delivered: Connect call failed" in ran.err
    assert "$NOWHERE: the variable is not set" in ran.err
    no_secret_in(project, ran.out, ran.err)


def test_several_manifests_run_at_once_each_with_its_own_end(project: Project) -> None:
    """Lines say which one they are about; the worst exit code is that of the call."""
    project.manifest("gull", "wave", name="a.yaml")
    project.manifest("doomed", "dune", name="b.yaml", attempts="1")
    ran = project.batchvid("run", "a.yaml", "b.yaml")
    assert ran.code == 3, ran
    assert "saved     a.yaml: job-1: job-1.mp4" in ran.out
    assert "failed    b.yaml: job-1: " in ran.out
    assert "\na.yaml:\n2 jobs: 2 done." in ran.out
    assert "batchvid retry b.yaml " in ran.out
    assert set(project.creates().values()) == {1}


def test_programs_are_told_which_manifest_each_line_is_about(project: Project) -> None:
    """Plan, job, stats and summary name it; there is one exit."""
    project.manifest("gull", name="a.yaml")
    project.manifest("dune", name="b.yaml")
    ran = project.batchvid("run", "a.yaml", "b.yaml", "--json")
    assert ran.code == 0, ran
    for kind in ("plan", "job", "stats", "summary"):
        assert {one["manifest"] for one in ran.told if one["type"] == kind} == {"a.yaml", "b.yaml"}
    assert [one for one in ran.told if one["type"] == "exit"] == [ran.told[-1]]


def test_what_keeps_one_manifest_from_running_does_not_stop_the_others(project: Project) -> None:
    """A journal of another service in one, a run in another: 78 wins over 75, and the third is done."""
    project.manifest("gull", name="a.yaml")
    project.manifest("slow", name="b.yaml")
    project.manifest("dune", name="c.yaml")
    assert project.batchvid("run", "a.yaml", "--sandbox", "--sandbox-speed", "400", "--output", "out/a").code == 0
    other = project.start("run", "b.yaml", "-v")
    read_until(other, "sending")
    ran = project.batchvid("run", "a.yaml", "b.yaml", "c.yaml", "--metrics", "m.prom")
    other.kill()
    ended(other)
    assert ran.code == 78, ran
    assert "a.yaml: the journal" in ran.err
    assert "b.yaml: another run" in ran.err
    assert "job-1.mp4" in ran.out
    found = metrics(project.folder / "m.prom")
    codes = {
        name: found["batchvid_last_run_exit_code", (("manifest", name),)] for name in ("a.yaml", "b.yaml", "c.yaml")
    }
    assert codes == {"a.yaml": 78, "b.yaml": 75, "c.yaml": 0}


def test_metrics_are_written_during_and_at_the_end_of_a_run(project: Project) -> None:
    """Whole at every moment, readable for others, in the convention of the node exporter."""
    path = project.folder / "batchvid.prom"
    name = 'odd "name".yaml'
    project.manifest("gull", "wave", "doomed", name=name, submits="2/s", budget="9.00")
    run = project.start("run", name, "--metrics", path.name)
    read_until(run, "submitted")
    during = metrics(path)
    here = ("manifest", name)
    assert during["batchvid_run_active", (here,)] == 1
    assert ended(run).code == 3
    after = metrics(path)
    assert after["batchvid_run_active", (here,)] == 0
    assert after["batchvid_jobs", (here, ("state", "done"))] == 2
    assert after["batchvid_jobs", (here, ("state", "failed"))] == 1
    assert after["batchvid_money_budget_dollars", (here,)] == 9
    assert after["batchvid_money_spent_dollars", (here,)] == pytest.approx(1.6)
    assert after["batchvid_submits_total", (here,)] == 4
    assert after["batchvid_last_run_exit_code", (here,)] == 3
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in project.folder.glob("*.prom*")] == [path.name]
    assert not list(project.folder.glob(".*.new"))


def test_metrics_that_cannot_be_written_are_found_before_anything_is_paid(project: Project) -> None:
    """78, nothing sent."""
    project.manifest("gull")
    ran = project.batchvid("run", "m.yaml", "--metrics", "nowhere/m.prom")
    assert ran.code == 78, ran
    assert "nowhere" in ran.err
    assert project.creates() == {}


def test_a_watcher_in_another_terminal_reads_only_and_ends_well(project: Project) -> None:
    """One object a look beside a run; Ctrl-C is its end, exit 0; the journal is as it was."""
    project.manifest("gull", "slow", budget="9.00")
    run = project.start("run", "m.yaml", "-v")
    read_until(run, "saved")
    watcher = project.start("status", "m.yaml", "--watch", "--json")
    look = json.loads(read_until(watcher, "stats"))
    watcher.send_signal(signal.SIGINT)
    ran = ended(watcher)
    run.kill()
    ended(run)
    assert ran.code == 0, ran
    assert ran.err == ""
    assert (look["type"], look["run_active"], look["manifest"]) == ("stats", True, "m.yaml")
    assert (look["counts"]["done"], look["counts"]["submitting"]) == (1, 1)
    assert look["money"] == {"spent": 0.4, "reserved": 0.4, "unproven": 0.0, "budget": 9.0}
    assert [clip["id"] for clip in look["newest"]] == ["job-1"]
    assert look["submits_per_min"] == 2


def test_the_line_for_cron_does_the_nights_work_in_crons_bare_environment(project: Project) -> None:
    """As cron starts it: by sh, without a PATH that helps; from a folder with an odd name; the key stands nowhere."""
    place = project.folder / "odd 100% it's"
    place.mkdir()
    key = place / "key file"
    key.write_text(KEY)
    key.chmod(0o600)
    project.manifest("gull", name=f"{place.name}/films.yaml", text=f"service: {{base_url: {project.service.api}}}")
    window = ("--at", "22:00", "--until", "06:00")
    printed = project.batchvid("cron", place / "films.yaml", *window, "--api-key-file", f"{place.name}/key file")
    assert printed.code == 0, printed
    assert KEY not in printed.out
    line = printed.out.splitlines()[-1]
    assert line.startswith("0 22 * * * /")
    typed = line.removeprefix("0 22 * * * ").replace("\\%", "%")
    ran = subprocess.run(
        ["/bin/sh", "-c", typed], cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    log = (place / "films.log").read_text()
    assert ran.returncode == 0, log
    assert (ran.stdout, ran.stderr) == ("", "")
    assert "1 job: 1 done." in log
    assert KEY not in log
    assert (place / "out" / "films" / "job-1.mp4").exists()


def test_cron_refuses_what_it_cannot_print(project: Project) -> None:
    """A broken manifest, no window, a line break in a path."""
    project.manifest("gull")
    assert project.batchvid("cron", "m.yaml", "--at", "22:00", "--until", "22:00").code == 2
    assert project.batchvid("cron", "m.yaml", "--at", "25:00", "--until", "06:00").code == 2
    assert project.batchvid("cron", "none.yaml", "--at", "22:00", "--until", "06:00").code == 65
    assert project.batchvid("cron", "m.yaml", "--at", "22:00", "--until", "06:00", "--log", "a\nb").code == 2


NOBODY = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
"""Runs a command as a user whom no name belongs to, as containers do."""


def may_be_nobody() -> bool:
    """Whether this machine lets us be such a user."""
    try:
        return subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_be_nobody(), reason="this machine makes no user namespaces")
@pytest.mark.parametrize(
    ("options", "home", "code", "words"),
    [
        ((), {}, 2, "this user has no home folder where the key could be: name its file with --api-key-file"),
        ((), {"HOME": "/nonexistent-home"}, 2, "name its file with --api-key-file"),
        (("--api-key-file", "key"), {}, 0, "--api-key-file /"),
        (("--systemd",), {}, 0, "\nUser=12345\n"),
        (("--systemd",), {"LOGNAME": "me"}, 0, "\nUser=me\n"),
    ],
)
def test_cron_needs_neither_a_home_nor_a_name(
    project: Project, options: tuple[str, ...], home: dict[str, str], code: int, words: str
) -> None:
    """In a container the user may be a number only: what is missing is asked for, and is no bug."""
    manifest = project.manifest("gull")
    ran = subprocess.run(
        [*NOBODY, *command("cron", manifest, "--at", "22:00", "--until", "06:00", *options)],
        cwd=project.folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), **home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran
    assert words in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_one_key_file_is_never_sent_to_two_services(project: Project) -> None:
    """The key of one would reach the other: refused, in a run and in what cron would run; nothing is sent."""
    project.manifest("gull", name="a.yaml", text=f"service: {{base_url: {project.service.api}}}")
    project.manifest("dune", name="b.yaml", text="service: {base_url: http://127.0.0.1:9/v1}")
    key = project.folder / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    ran = project.batchvid("run", "a.yaml", "b.yaml", "--api-key-file", "key", BATCHVID_BASE_URL=None)
    assert ran.code == 2, ran
    assert project.creates() == {}
    assert project.batchvid("cron", "a.yaml", "b.yaml", "--at", "22:00", "--until", "06:00").code == 2
    assert project.batchvid("cron", "a.yaml", "b.yaml", "--at", "22:00", "--until", "06:00", "--systemd").code == 0


@pytest.mark.skipif(ANALYZE is None, reason="this system has no systemd-analyze")
def test_systemd_takes_the_units_and_finds_little_exposed(project: Project) -> None:
    """Verified by systemd itself, with an exposure below 2 of 10; it refuses paths that go up and down."""
    (project.folder / "odd").mkdir()
    project.manifest("gull", name="odd/odd 100% films.yaml", text="notify: [$HOOK_URL]\noutput: ../clips here")
    named = "odd/../odd/odd 100% films.yaml"
    printed = project.batchvid("cron", named, "--at", "22:00", "--until", "06:00", "--systemd")
    assert printed.code == 0, printed
    assert f'ReadWritePaths="{project.folder.resolve()}/clips here"' in printed.out
    parts = re.split(r"^# /etc/systemd/system/(\S+)$", printed.out, flags=re.MULTILINE)[1:]
    files = [project.folder / name for name in parts[::2]]
    for file, text in zip(files, parts[1::2], strict=True):
        file.write_text(text)
    assert [file.name for file in files] == ["batchvid-odd-100-films.service", "batchvid-odd-100-films.timer"]
    verified = subprocess.run([str(ANALYZE), "verify", *map(str, files)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--threshold=20", str(files[0])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout.splitlines()[-1:]
    assert "enable --now batchvid-odd-100-films.timer" in printed.err
