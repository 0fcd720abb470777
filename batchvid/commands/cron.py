"""``batchvid cron``: prints what starts a run every night, and installs nothing."""

from __future__ import annotations

import getpass
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchvid.commands.options import key_file_option, load, manifests_argument
from batchvid.commands.streams import complain, tell
from batchvid.core.night import Night, crontab, service, shell_word, timer
from batchvid.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_FILE = Path(".config/batchvid/key")
"""Where the line for cron expects the key, below the home folder."""


class TimeOfDay(click.ParamType[tuple[int, int]]):
    """A time of day in local time; gives hour and minute."""

    name = "HH:MM"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read it."""
        try:
            found = datetime.strptime(str(value), "%H:%M")  # noqa: DTZ007 local by meaning
        except ValueError:
            self.fail(f"{value!r} is no time of day: write 22:00", param, ctx)
        return found.hour, found.minute


@click.command("cron")
@manifests_argument
@click.option("--at", type=TimeOfDay(), metavar="22:00", required=True, help="Start at this time of day (local).")
@click.option(
    "--until", type=TimeOfDay(), metavar="06:00", required=True, help="Stop submitting at this time of day (local)."
)
@click.option("--systemd", is_flag=True, help="Print a hardened service and its timer instead of a crontab line.")
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where cron's run writes problems and summaries; by default beside the manifest. systemd has its own log.",
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Let the run keep this file for Prometheus' node exporter.",
)
@key_file_option
def cron_command(  # noqa: PLR0913 one argument an option
    manifests: tuple[Path, ...],
    *,
    at: tuple[int, int],
    until: tuple[int, int],
    systemd: bool,
    log: Path | None,
    metrics: Path | None,
    api_key_file: Path | None,
) -> int:
    """Print what runs MANIFESTS every night from --at until --until. It is printed only: you put it in place.

    The key never stands in it. cron's run reads it from a file (--api-key-file, by default ~/.config/batchvid/key, mode
    600), systemd's from /etc/batchvid/<name of the variable>, which only root needs to be able to read.
    """
    if at == until:
        raise click.UsageError("--at and --until are the same: there is no window between them")
    loaded = [load(path) for path in manifests]
    night = Night(
        at=at,
        until=until,
        program=_program(),
        manifests=tuple(_straight(manifest.path) for manifest in loaded),
        outputs=_once(_straight(manifest.output) for manifest in loaded),
        key_envs=_once(manifest.key_env for manifest in loaded),
        hook_envs=_once(hook.env for manifest in loaded for hook in manifest.notify if hook.env),
        key_file=_straight(api_key_file or Path.home() / KEY_FILE),
        log=_straight(log or loaded[0].path.with_suffix(".log")),
        metrics=None if metrics is None else _straight(metrics),
        user=getpass.getuser(),
        name=re.sub(r"[^A-Za-z0-9_.-]+", "-", loaded[0].path.stem),
    )
    if any(not word.isprintable() for word in (*night.run, *night.outputs, night.log, night.key_file or "")):
        raise click.UsageError("a path holds a line break or a control character: neither cron nor systemd can have it")
    if not systemd:
        if len({(manifest.base_url, manifest.key_env) for manifest in loaded}) > 1:
            raise click.UsageError("these manifests use several accounts: print a line for each of them")
        tell(crontab(night), end="")
        return Exit.OK
    unit = f"/etc/systemd/system/batchvid-{night.name}"
    tell(f"# {unit}.service\n{service(night)}\n# {unit}.timer\n{timer(night)}", end="")
    _tell_steps(night, f"batchvid-{night.name}.timer")
    return Exit.OK


def _tell_steps(night: Night, unit: str) -> None:
    """Say what a person does with the units."""
    made = " ".join(map(shell_word, night.outputs))
    complain("Nothing was installed. Put both parts into the files that their first lines name, and then as root:")
    complain(f"  install -d -o {night.user} {made}")
    complain("  install -d -m 700 /etc/batchvid")
    for name in (*night.key_envs, *night.hook_envs):
        complain(f"  (umask 077; cat > /etc/batchvid/{name})   # then paste it")
    complain(f"  systemctl daemon-reload && systemctl enable --now {unit}")


def _program() -> tuple[str, ...]:
    """Give what starts this batchvid, wherever it is called from."""
    script = Path(sys.executable).with_name("batchvid")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "batchvid")


def _straight(path: Path) -> str:
    """Give the path in full and without a ``..``, which systemd refuses; the last name may be a link, and stays one."""
    full = path.absolute()
    if ".." not in full.parts:
        return str(full)
    return str(full.resolve() if full.name == ".." else full.parent.resolve() / full.name)


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
