"""The options that several commands share, and how people write their values: moments, lengths of time, money.

A flag wins over its variable ``BATCHVID_*``, that over the manifest, and that over the default.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import click

from batchvid.providers.credentials import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable


Value = TypeVar("Value")
Command = TypeVar("Command", bound="Callable[..., object]")

manifest_argument = click.argument("manifest", type=click.Path(path_type=Path))
manifests_argument = click.argument("manifests", type=click.Path(path_type=Path), nargs=-1, required=True)
output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=f"{PREFIX}OUTPUT",
    metavar="FOLDER",
    show_envvar=True,
    help="Use this output folder instead of the manifest's; relative to the current folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
key_file_option = click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    envvar=f"{PREFIX}API_KEY_FILE",
    metavar="FILE",
    show_envvar=True,
    help="Read the key from this file (mode 600), instead of the variable that service.key_env names.",
)
ca_file_option = click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False),
    envvar=f"{PREFIX}CA_FILE",
    metavar="FILE",
    show_envvar=True,
    help="Trust the certificate authorities in this file only.",
)
base_url_option = click.option(
    "--base-url",
    envvar=f"{PREFIX}BASE_URL",
    metavar="URL",
    show_envvar=True,
    help="Use the service at this address instead of the manifest's service.base_url.",
)


def service_options(command: Command) -> Command:
    """Add the options of commands that ask the service: where it is, and with which key and certificates."""
    return base_url_option(key_file_option(ca_file_option(command)))


@dataclass(frozen=True)
class Written(click.ParamType[Value]):
    """What people write a value as: *read* makes it of a text, or raises ``ValueError`` with what to write instead."""

    name: str
    read: Callable[[str], Value]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Value:
        """Read it, unless it is a default and so the value itself."""
        if not isinstance(value, str):
            return cast("Value", value)
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _moment(text: str) -> float:
    """Read a time of day (the next one, in local time) or a full RFC 3339 moment, as UTC epoch seconds."""
    from datetime import datetime, timedelta

    now = datetime.now().astimezone()
    try:
        if "T" in text:
            return datetime.fromisoformat(text).astimezone().timestamp()
        at = time.strptime(text, "%H:%M")
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 06:00, or 2026-01-31T06:00:00") from None
    today = now.replace(tzinfo=None, hour=at.tm_hour, minute=at.tm_min, second=0, microsecond=0)
    moment = today.astimezone()
    return (moment if moment > now else (today + timedelta(days=1)).astimezone()).timestamp()


def _time_of_day(text: str) -> tuple[int, int]:
    try:
        at = time.strptime(text, "%H:%M")
    except ValueError:
        raise ValueError(f"{text!r} is no time of day: write 22:00") from None
    return at.tm_hour, at.tm_min


def _duration(text: str) -> float:
    from batchvid.manifest.values import duration_s

    return duration_s(text)


def _speed(text: str) -> float:
    from batchvid.engine.target import FASTEST, SLOWEST

    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not SLOWEST <= found <= FASTEST:
        raise ValueError(f"{text!r} is no speed: write a number from {SLOWEST} to {FASTEST:.0f}")
    return found


def _clip_moment(text: str) -> float:
    from batchvid.manifest.values import moment_s

    return moment_s(text)


def _amount(text: str) -> int:
    from batchvid.manifest.values import money_micros

    return money_micros(text)


MOMENT = Written("HH:MM", _moment)
TIME_OF_DAY = Written("HH:MM", _time_of_day)
"""Hour and minute, in local time."""
DURATION = Written("8h", _duration)
"""``8h`` or ``1h30m``, in seconds."""
SPEED = Written("N", _speed)
"""How many times as fast as the service the sandbox is."""
CLIP_MOMENT = Written("-0.2s", _clip_moment)
"""``3.5s`` after the beginning of a clip, ``-0.2s`` before its end; in seconds."""
AMOUNT = Written("25.00", _amount)
"""Money, in millionths."""
