"""What starts a run every night: quoting that holds whatever a path is called, and a window that is kept."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from shutil import which
from typing import TYPE_CHECKING

import pytest

from batchvid.cli.cron import (
    CronSpec,
    WorkerSpec,
    crontab,
    in_window,
    service,
    shell_word,
    timer,
    unit_word,
    worker_service,
)

NIGHT = CronSpec(
    at=(22, 0),
    until=(6, 0),
    program=("/opt/bin/batchvid",),
    manifests=("/films/night.yaml",),
    outputs=("/films/out/night",),
    key_envs=("COMETAPI_KEY",),
    key_file="/home/me/.config/batchvid/key",
    log="/films/night.log",
    user="me",
)
if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.project import Project

ODD_FOLDERS = [
    "/films/$HOME ${x} $$",
    "/films/100%h",
    "/films/it's",
    '/films/"odd"',
    "/films/ends\\",
    "/films/two\\\\",
    "/films/a\\%b",
    "/films/a\\\\%b",
    "/films/\\x41\\n",
    "/films/blank at the end ",
    "/films/'\"'; #",
    "/films/ä€",
]
ANALYZE = which("systemd-analyze")
ODD = '/films/100% "odd" it\'s $HOME \\ `x`/ä.yaml'


def cron_command(text: str) -> str:
    """Return what cron hands to the shell: the line behind its five times, up to the first bare %."""
    line = next(line for line in text.splitlines() if not line.startswith("#")).split(" ", 5)[5]
    told, escaped = "", False
    for letter in line:  # as cron's do_command reads it
        if letter == "%" and not escaped:
            raise AssertionError("the rest would be standard input")
        told = told[:-1] + letter if letter == "%" else told + letter
        escaped = letter == "\\" and not escaped
    return told


def test_the_line_for_cron_says_when_what_and_where_to() -> None:
    """With every path in full, the window, a key file, and both streams in the log."""
    assert crontab(NIGHT).splitlines()[-1] == (
        "0 22 * * * /opt/bin/batchvid run /films/night.yaml --until 06:00 --quiet"
        " --api-key-file /home/me/.config/batchvid/key >> /films/night.log 2>&1"
    )


@pytest.mark.parametrize("odd", [ODD, *ODD_FOLDERS])
def test_the_shell_gets_odd_paths_as_they_are(odd: str) -> None:
    """Blanks, quotes, percent signs, dollars and backslashes; through cron's own rule for % and a real shell."""
    night = replace(NIGHT, program=("printf", "%s\\n"), manifests=(odd,), log="/dev/stdout")
    shell = subprocess.run(["/bin/sh", "-c", cron_command(crontab(night))], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines()[1] == odd


@pytest.mark.parametrize("text", ["plain", "a b", "it's", 'x"y', "$(id)", "`id`", "100%", "", "a\\b", "ä", "*"])
def test_a_word_for_the_shell_is_one_word(text: str) -> None:
    """Whatever it holds."""
    assert shlex.split(shell_word(text)) == [text]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("/a/b.yaml", "/a/b.yaml"),
        ("/a b", '"/a b"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('x"y', '"x\\"y"'),
        ("a\\b", '"a\\\\b"'),
    ],
)
def test_a_word_of_a_unit_is_what_systemd_reads_back(text: str, word: str) -> None:
    """Percent and dollar signs are doubled, the rest is quoted as in systemd.service(5)."""
    assert unit_word(text) == word


@pytest.mark.skipif(ANALYZE is None, reason="this system has no systemd-analyze")
@pytest.mark.parametrize("odd", ODD_FOLDERS)
def test_systemd_reads_odd_folders_back_as_they_are(odd: str, tmp_path: Path) -> None:
    """Asked itself: it takes all of the unit, and names what is no path as it understood it."""
    night = replace(
        NIGHT, program=(f"{odd}/batchvid",), manifests=(f"{odd}/m.yaml",), outputs=(odd, "/films/next"), user=""
    )
    unit = tmp_path / "night.service"
    unit.write_text(service(night), encoding="utf-8")
    command = [str(ANALYZE), "verify", str(unit)]
    taken = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (taken.returncode, taken.stderr) == (0, "")
    for key in ("WorkingDirectory", "ReadWritePaths"):  # without its first slash it is no path, and so named
        text = re.sub(rf"^({key}=[\"']?)/", r"\1", service(night), flags=re.MULTILINE)
        unit.write_text(text, encoding="utf-8")
        told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        found = re.search(rf"{key}= path is not absolute.*: (.*)$", told, re.MULTILINE)
        assert found is not None, told
        assert found[1].removesuffix("/") == odd[1:]


@pytest.mark.parametrize("odd", [*ODD_FOLDERS, ODD])
def test_a_command_line_of_a_unit_is_read_back(odd: str) -> None:
    """By the rules of systemd.service(5): quotes, C escapes, then %% and $$; and no line joins the next."""
    text = service(replace(NIGHT, program=(odd,), manifests=(odd,), outputs=(odd,), metrics=f"{odd}/m.prom"))
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    start = 'ExecStart=/bin/sh -c \'exec "$$0" "$$@"\' '
    assert line.startswith(start)
    words = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line.removeprefix(start))
    read = [re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in words]
    assert [word.replace("%%", "%").replace("$$", "$") for word in read] == [
        odd, "run", odd, "--until", "06:00", "--quiet", "--metrics", f"{odd}/m.prom",
    ]  # fmt: skip
    for each in text.splitlines():
        assert (len(each) - len(each.rstrip("\\"))) % 2 == 0, each


@pytest.mark.parametrize(
    ("at", "until", "inside", "outside"),
    [
        ((22, 0), (6, 0), ["2200", "2359", "0000", "0559"], ["0600", "0800", "2159"]),
        ((1, 30), (5, 0), ["0130", "0459"], ["0129", "0500", "2300"]),
    ],
)
def test_a_missed_night_is_not_made_up_for_in_the_day(
    at: tuple[int, int], until: tuple[int, int], inside: list[str], outside: list[str]
) -> None:
    """The condition of the service holds within the window only."""
    script = in_window(replace(NIGHT, at=at, until=until))
    for moment in inside + outside:
        asked = script.replace("$(date +%H%M)", moment)
        assert (subprocess.run(["/bin/sh", "-c", asked], check=False).returncode == 0) == (moment in inside), moment


def test_the_service_reads_the_key_as_a_credential_and_has_time_to_drain() -> None:
    """No key file, no environment; the window on the command line; and only its output is writable."""
    lines = service(replace(NIGHT, hook_envs=("HOOK_URL",), metrics="/var/lib/node/b.prom")).splitlines()
    assert "LoadCredential=COMETAPI_KEY:/etc/batchvid/COMETAPI_KEY" in lines
    assert "LoadCredential=HOOK_URL:/etc/batchvid/HOOK_URL" in lines
    assert (
        "ExecStart=/opt/bin/batchvid run /films/night.yaml --until 06:00 --quiet --metrics /var/lib/node/b.prom"
        in lines
    )
    assert "ReadWritePaths=/films/out/night /var/lib/node" in lines
    assert {"ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "Restart=no", "KillSignal=SIGTERM"} <= set(
        lines
    )
    assert "ProtectHome=read-only" in service(replace(NIGHT, outputs=("/home/me/out",)))
    assert "PrivateTmp=no" in service(replace(NIGHT, manifests=("/var/tmp/x.yaml",)))  # noqa: S108 only named


def test_the_timer_starts_it_every_night() -> None:
    """Also after the machine was off."""
    assert {"OnCalendar=*-*-* 22:00:00", "Persistent=true", "WantedBy=timers.target"} <= set(timer(NIGHT).splitlines())


# ---- a worker

WORKER = WorkerSpec(("/opt/bin/batchvid",), "BATCHVID_DATABASE", ("COMETAPI_KEY",), "me", ("/films/out",))


def test_the_unit_of_a_worker_starts_it_again_and_never_holds_an_address() -> None:
    """What a person has to see to stays ended; the address and the key are credentials."""
    lines = worker_service(WORKER).splitlines()
    assert "ExecStart=/opt/bin/batchvid work --database $$BATCHVID_DATABASE --quiet" in [
        line.replace('"', "") for line in lines
    ]
    for wanted in (
        "Restart=on-failure",
        "RestartPreventExitStatus=2 6 7 78",
        "LoadCredential=BATCHVID_DATABASE:/etc/batchvid/BATCHVID_DATABASE",
        "LoadCredential=COMETAPI_KEY:/etc/batchvid/COMETAPI_KEY",
        "ReadWritePaths=/films/out",
        "TimeoutStopSec=330",
        "WantedBy=multi-user.target",
    ):
        assert lines.count(wanted) == 1, wanted


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing: apt-get install systemd")
@pytest.mark.parametrize("odd", ODD_FOLDERS)
def test_systemd_takes_the_unit_of_a_worker(tmp_path: Path, odd: str) -> None:
    """Whatever the folders are called."""
    unit = tmp_path / "worker.service"
    unit.write_text(worker_service(replace(WORKER, program=("/bin/true",), outputs=(odd,))), encoding="utf-8")
    taken = subprocess.run([str(ANALYZE), "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (taken.returncode, taken.stderr) == (0, "")


def test_cron_prints_the_unit_of_a_worker(project: Project) -> None:
    """With and without manifests; a password is never shown, and a timer is for the run that publishes."""
    project.manifest("kite", text="service: {key_env: OWN_KEY}")
    url = "postgresql://me:hush@db.example/films"
    ran = project.batchvid("cron", "--systemd", "--database", url)
    assert (ran.code, "LoadCredential=COMETAPI_KEY:" in ran.out, "hush" in ran.out + ran.err) == (0, True, False), ran
    assert "cat > /etc/batchvid/BATCHVID_DATABASE)" in ran.err
    ran = project.batchvid("cron", "m.yaml", "--systemd", "--database", "$FILMS")
    assert ran.code == 0, ran
    assert f"ReadWritePaths={project.out}" in ran.out
    for name in ("FILMS", "OWN_KEY"):
        assert f"LoadCredential={name}:/etc/batchvid/{name}" in ran.out
    for wrong in (["--database", url], ["--systemd", "--database", url, "--at", "22:00"], ["m.yaml"], ["--systemd"]):
        assert project.batchvid("cron", *wrong).code == 2
    assert project.batchvid("cron", "--systemd", "--database", "mysql://me:hush@h/x").code == 78


def test_the_units_are_written_where_a_person_says(project: Project) -> None:
    """Those that would be printed, and the steps name them; what is not batchvid's is left alone."""
    project.manifest("kite")
    window = ("m.yaml", "--at", "22:00", "--until", "06:00")
    printed = project.batchvid("cron", *window, "--systemd").out
    ran = project.batchvid("cron", *window, "--systemd", "--write", "units")
    folder = project.folder / "units"
    assert (ran.code, ran.out) == (0, "wrote units/batchvid-m.service\nwrote units/batchvid-m.timer\n")
    for name in ("batchvid-m.service", "batchvid-m.timer"):
        assert (folder / name).read_text(encoding="utf-8") in printed
    assert f"  cp {folder}/batchvid-m.service {folder}/batchvid-m.timer /etc/systemd/system/\n" in ran.err
    assert "systemctl enable --now batchvid-m.timer" in ran.err
    assert project.batchvid("cron", *window, "--systemd", "--write", "units").code == 0
    (folder / "batchvid-m.timer").write_text("mine", encoding="utf-8")
    refused = project.batchvid("cron", *window, "--systemd", "--write", "units")
    assert (refused.code, "is not batchvid's: move it away" in refused.err) == (8, True)
    assert (folder / "batchvid-m.timer").read_text(encoding="utf-8") == "mine"
    assert project.batchvid("cron", *window, "--write", "units").code == 2
    assert project.batchvid("cron", "--systemd", "--database", "$DB", "--write", "units").code == 0
    assert "Description=batchvid: a worker" in (folder / "batchvid-worker.service").read_text(encoding="utf-8")


def test_a_manifest_that_is_not_there_is_told_without_a_line(project: Project) -> None:
    """There is no line zero."""
    ran = project.batchvid("run", "nope.yaml")
    assert ran.code == 65
    assert ran.err == "nope.yaml: no such file\n1 problem: nothing was sent\n"
