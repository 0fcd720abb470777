"""Times of day as people write them: in hours that a clock has twice or not at all, and in zones that are none."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchvid.cli.options import MOMENT
from batchvid.providers.credentials import zone_trouble
from tests.cli.project import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.project import Project

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@contextmanager
def clock(zone: str, at: float) -> Iterator[None]:
    """Set this process's zone, and let it be that moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        patch.setattr(time, "time", lambda: at)
        yield
    time.tzset()


def utc(text: str) -> float:
    """Return a moment in UTC as epoch seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def until(text: str, *, now: str, zone: str) -> str:
    """Return which moment *text* means for a run that starts *now*, both in UTC."""
    with clock(zone, utc(now)):
        moment = MOMENT.convert(text, None, None)
    return datetime.fromtimestamp(moment, UTC).isoformat().removesuffix("+00:00")


BERLIN, LORD_HOWE, APIA, NEW_YORK = "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/New_York"


@pytest.mark.parametrize(
    ("zone", "now", "text", "meant"),
    [
        # 2026-10-25: from 01:00 UTC on Berlin has its 02:00 to 03:00 once more.
        (BERLIN, "2026-10-25T01:49:57", "02:50", "2026-10-25T01:50:00"),
        (BERLIN, "2026-10-25T00:49:57", "02:50", "2026-10-25T00:50:00"),
        (BERLIN, "2026-10-25T00:55:00", "02:50", "2026-10-25T01:50:00"),
        (BERLIN, "2026-10-25T01:55:00", "02:50", "2026-10-26T01:50:00"),
        (BERLIN, "2026-10-24T20:00:00", "02:30", "2026-10-25T00:30:00"),
        (BERLIN, "2026-10-24T20:00:00", "06:00", "2026-10-25T05:00:00"),
        (BERLIN, "2026-10-25T01:49:57", "2026-10-25T02:50:00", "2026-10-25T01:50:00"),
        (NEW_YORK, "2026-11-01T06:10:00", "01:30", "2026-11-01T06:30:00"),
        # 2026-03-29: Berlin goes from 02:00 to 03:00 at 01:00 UTC. A time in between has come when it does so.
        (BERLIN, "2026-03-28T21:00:00", "02:30", "2026-03-29T01:00:00"),
        (BERLIN, "2026-03-29T00:59:58", "02:59", "2026-03-29T01:00:00"),
        (BERLIN, "2026-03-29T01:10:00", "02:30", "2026-03-30T00:30:00"),
        (BERLIN, "2026-03-28T21:00:00", "2026-03-29T02:30:00", "2026-03-29T01:00:00"),
        # Half an hour, and a whole day (2011-12-30).
        (LORD_HOWE, "2026-10-03T12:00:00", "02:15", "2026-10-03T15:30:00"),
        (APIA, "2011-12-30T08:00:00", "06:00", "2011-12-30T10:00:00"),
        # Nothing special.
        (BERLIN, "2026-06-01T20:00:00", "06:00", "2026-06-02T04:00:00"),
        (BERLIN, "2026-06-01T20:00:00", "2026-06-02T06:00:00+05:00", "2026-06-02T01:00:00"),
        ("", "2026-06-01T05:59:59", "06:00", "2026-06-01T06:00:00"),
    ],
)
def test_a_time_of_day_is_the_next_moment_at_which_the_clock_shows_it(
    zone: str, now: str, text: str, meant: str
) -> None:
    """Taken for the day after, a window of seconds would be one of 24 hours, and everything would be bought."""
    assert until(text, now=now, zone=zone) == meant


def test_in_the_minute_of_that_name_the_time_has_come() -> None:
    """A service of systemd that was let in at 05:59:59 starts a second later: it must not buy for a day."""
    assert until("06:00", now="2026-06-01T06:00:59", zone="UTC") == "2026-06-01T06:00:59"
    assert until("06:00", now="2026-06-01T06:01:00", zone="UTC") == "2026-06-02T06:00:00"


@given(
    zone=st.sampled_from(
        [BERLIN, LORD_HOWE, NEW_YORK, "Africa/Casablanca", "Asia/Kolkata", "CET-1CEST,M3.5.0,M10.5.0/3"]
    ),
    now=st.integers(1_767_225_600, 1_830_000_000) | st.integers(1_792_880_000, 1_792_900_000),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
)
def test_no_minute_of_that_name_is_passed_over(zone: str, now: int, hour: int, minute: int) -> None:
    """Whatever the zone does: the clock does not show the time before the moment that is meant, and shows it then."""
    with clock(zone, now):
        moment = MOMENT.convert(f"{hour:02}:{minute:02}", None, None)
        shown = [time.localtime(at)[3:5] for at in range(now, int(moment), 30)]
        assert (hour, minute) not in shown
        assert now <= moment <= now + timedelta(hours=26).total_seconds()
        assert time.localtime(moment)[3:5] >= (hour, minute)


@pytest.mark.parametrize("text", ["25:00", "6", "06:00:00", "0001-01-01T00:00:00", "2026-02-30T06:00:00", "soon"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    """And no number is too large or small to be told."""
    with pytest.raises(Exception, match="is no time: write 06:00"):
        MOMENT.convert(text, None, None)


@pytest.mark.parametrize(
    "zone", ["", "UTC", ":UTC", BERLIN, f":{BERLIN}", "CET-1CEST,M3.5.0,M10.5.0/3", "<+03>-3", "EST5EDT"]
)
def test_a_zone_that_the_machine_knows_is_no_trouble(zone: str) -> None:
    """By its name, by its rules, or by none."""
    assert zone_trouble({"TZ": zone}) is None
    assert zone_trouble({}) is None


def test_a_zone_that_the_machine_does_not_know_is_told(project: Project) -> None:
    """The C library takes it for UTC and is silent: 06:00 would be at eight in the morning."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", "--until", "06:00", "--max-jobs", "0", TZ="Europe/Berlino")
    assert "warning: TZ is 'Europe/Berlino', which this machine does not know, so local times are UTC" in ran.err
    printed = project.batchvid("cron", "m.yaml", "--at", "22:00", "--until", "06:00", TZ="Europe/Berlino")
    assert "Europe/Berlino" in printed.err


def test_a_run_says_when_its_window_closes(project: Project) -> None:
    """In local time, with the zone and how far it is: who meant another day sees it."""
    project.manifest("kite")
    ran = project.batchvid("run", "m.yaml", "--until", "2099-07-01T06:00:00", TZ=BERLIN)
    assert "submits until 2099-07-01 06:00:00 CEST, in " in ran.out
    assert "submits until" not in project.batchvid("run", "m.yaml", "--until", "06:00").out


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_a_run_in_the_hour_that_autumn_repeats_ends_with_its_window(project: Project) -> None:
    """Berlin, 02:49:57 for the second time: twelve jobs at one a second do not fit into three seconds."""
    project.manifest(*["kite"] * 12, submits="1/s")
    env = project.environment(
        LD_PRELOAD=str(FAKETIME), FAKETIME=f"{utc('2026-10-25T01:49:57') - time.time():+.0f}", TZ=BERLIN
    )
    ran = subprocess.run(
        command("run", "m.yaml", "--until", "02:50"),
        cwd=project.folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 5, ran
    assert "Stopped early: the time window has closed" in ran.stdout
    assert len(project.creates()) < 12
