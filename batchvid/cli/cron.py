"""``cron``: prints a line for cron, a service and a timer, or the service of a worker for systemd; installs nothing.

Neither needs ``flock``: a run holds its output by a lock of its own, and a second one ends with exit 75 before it sends
anything.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchvid.cli.options import TIME_OF_DAY, key_file_option, load, profile_option
from batchvid.cli.streams import complain, tell
from batchvid.domain.errors import Exit, ForeignFileError, StorageError
from batchvid.domain.frozen import frozen
from batchvid.providers.credentials import config_file, zone_trouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchvid.manifest.model import Manifest


STOP_S = 330
"""A paid request may take five minutes to be answered; whoever stops a run waits for that."""
GRACE_S = 7200
"""After the window has closed, what is paid is collected; a run that is not over by then is asked to end."""
DAY_MIN = 24 * 60
HOMES = ("/home/", "/root/", "/run/user/")
SHARED_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 looked for, not used
BY_THE_SHELL = """/bin/sh -c 'exec "$$0" "$$@"'"""
SHELL_SAFE = re.compile(r"[A-Za-z0-9_@+=:,./-]+", re.ASCII)

HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
UMask=0027
ProtectSystem=strict
PrivateDevices=yes
DevicePolicy=closed
PrivateIPC=yes
PrivateUsers=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
KeyringMode=private
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
"""
"""Nothing of it keeps a run from its network, its output, or its threads."""


@frozen
class CronSpec:
    """When a run is started, and what it is."""

    at: tuple[int, int]
    """Hour and minute, local time."""
    until: tuple[int, int]
    program: tuple[str, ...]
    """What starts batchvid, with its path in full: cron knows hardly any PATH."""
    manifests: tuple[str, ...]
    """Absolute."""
    outputs: tuple[str, ...]
    """Absolute folders."""
    key_envs: tuple[str, ...]
    hook_envs: tuple[str, ...] = ()
    key_file: str | None = None
    log: str = ""
    """Where cron's run writes to; systemd has its own log."""
    metrics: str | None = None
    user: str = ""
    name: str = "night"
    """Of the units."""
    profile: str = ""
    """Of the user's config file: the run is told it, so that it never goes to another account where that is away."""
    config: str | None = None
    """That file, where a profile of it is used; absolute."""

    @property
    def run(self) -> tuple[str, ...]:
        """Return the command without the key."""
        hour, minute = self.until
        more = () if self.metrics is None else ("--metrics", self.metrics)
        more = (*more, "--profile", self.profile) if self.profile else more
        return (*self.program, "run", *self.manifests, "--until", f"{hour:02}:{minute:02}", "--quiet", *more)

    @property
    def window_min(self) -> int:
        """Return the length of the window."""
        (at_h, at_m), (until_h, until_m) = self.at, self.until
        return ((until_h - at_h) * 60 + until_m - at_m) % DAY_MIN


HELD = "a run that is still at work holds its output, and a second one ends with exit 75"


def crontab(spec: CronSpec) -> str:
    """Return the line for ``crontab -e``, with what must be there first as comments."""
    words, once = list(spec.run), ""
    if spec.key_file is not None:
        words += ["--api-key-file", spec.key_file]
        folder, key = shell_word(_parent(spec.key_file)), shell_word(spec.key_file)
        once = f"# Once, and then paste the key: (umask 077; mkdir -p {folder}; cat > {key})\n"
    line = " ".join(map(shell_word, words)) + f" >> {shell_word(spec.log)} 2>&1"
    hour, minute = spec.at
    return "\n".join(
        [
            f"# {', '.join(spec.manifests)}: what is left is submitted from {hour:02}:{minute:02} on.",
            once + f"# flock is not needed: {HELD}.",
            f"{minute} {hour} * * * {cron_text(line)}",
            "",
        ]
    )


def service(spec: CronSpec) -> str:
    """Return the unit that does the run: hardened, with the key as a credential that only it can read."""
    paths = [*spec.outputs, *([_parent(spec.metrics)] if spec.metrics else [])]
    seen = [*spec.manifests, *spec.program[:1], *paths, *([spec.config] if spec.config else [])]
    credentials = [*spec.key_envs, *spec.hook_envs]
    lines = [
        "[Unit]",
        f"Description={unit_text('batchvid: ' + ', '.join(spec.manifests))}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        *([f"User={unit_text(spec.user)}"] if spec.user else []),
        f"WorkingDirectory={unit_folder(_parent(spec.manifests[0]))}",
        "# A timer that makes up for a missed night must not submit in the day.",
        f"ExecCondition=/bin/sh -c {unit_word(in_window(spec))}",
        f"ExecStart={unit_program(spec.run[0])} {' '.join(map(unit_word, spec.run[1:]))}",
        *(f"LoadCredential={name}:/etc/batchvid/{name}" for name in credentials),
        "# SIGTERM drains: requests in flight end and are recorded. 5, 130 and 143 go on the next night;",
        "# 3 (jobs failed), 4 (in doubt), 6 (account) and 7 (budget) need attention, and so count as failed.",
        "KillMode=mixed",
        "KillSignal=SIGTERM",
        f"TimeoutStopSec={STOP_S}",
        f"RuntimeMaxSec={spec.window_min * 60 + GRACE_S}",
        "SuccessExitStatus=5 130 143",
        "Restart=no",
        f"ReadWritePaths={' '.join(map(unit_path, paths))}",
        f"ProtectHome={'read-only' if _any_under(seen, HOMES) else 'yes'}",
        f"PrivateTmp={'no' if _any_under(seen, SHARED_TEMPORARY) else 'yes'}",
    ]
    return "\n".join(lines) + "\n" + HARDENING


RESTART_S = 15
"""Longer than the others wait for a worker that is dead."""


@frozen
class WorkerSpec:
    """A worker of a database that is always there."""

    program: tuple[str, ...]
    """What starts batchvid, with its path in full."""
    database: str
    """The name of the credential that holds the address of the database."""
    key_envs: tuple[str, ...]
    user: str
    outputs: tuple[str, ...] = ()
    """The folders that it shares with other machines, absolute."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """Return the names of what it is told in secret."""
        return (*self.key_envs, self.database)


def worker_service(spec: WorkerSpec) -> str:
    """Return the unit of a worker: hardened, with address and key as credentials that only it can read."""
    words = (*spec.program[1:], "work", "--database", f"${spec.database}", "--quiet")
    seen = [*spec.program[:1], *spec.outputs]
    lines = [
        "[Unit]",
        "Description=batchvid: a worker",
        "Wants=network-online.target",
        "After=network-online.target",
        "# A database that is away for a night is tried again all night.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"User={unit_text(spec.user)}",
        f"ExecStart={unit_program(spec.program[0])} {' '.join(map(unit_word, words))}",
        *(f"LoadCredential={name}:/etc/batchvid/{name}" for name in spec.credentials),
        "# For the keys of a bucket (AWS_...), where it has any.",
        "EnvironmentFile=-/etc/batchvid/environment",
        "StateDirectory=batchvid",
        "StateDirectoryMode=0700",
        "Environment=XDG_STATE_HOME=/var/lib",
        "# SIGTERM drains: requests in flight end and are recorded, and what is not begun is handed back.",
        "KillMode=mixed",
        "KillSignal=SIGTERM",
        f"TimeoutStopSec={STOP_S}",
        "# 75 (others have taken over) and 8 (a disk, or the database is away) go on by themselves;",
        "# 2, 6 (account), 7 (budget) and 78 (configuration) need attention.",
        "Restart=on-failure",
        f"RestartSec={RESTART_S}",
        "RestartPreventExitStatus=2 6 7 78",
        "SuccessExitStatus=5 130 143",
        *([f"ReadWritePaths={' '.join(map(unit_path, spec.outputs))}"] if spec.outputs else []),
        f"ProtectHome={'read-only' if _any_under(seen, HOMES) else 'yes'}",
        f"PrivateTmp={'no' if _any_under(seen, SHARED_TEMPORARY) else 'yes'}",
    ]
    return "\n".join(lines) + "\n" + HARDENING + "\n[Install]\nWantedBy=multi-user.target\n"


def timer(spec: CronSpec) -> str:
    """Return the unit that starts the service every night, also after the machine was off at that moment."""
    hour, minute = spec.at
    return "\n".join(
        [
            "[Unit]",
            f"Description={unit_text('batchvid every night: ' + ', '.join(spec.manifests))}",
            "",
            "[Timer]",
            f"OnCalendar=*-*-* {hour:02}:{minute:02}:00",
            "RandomizedDelaySec=60",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
        ]
    )


def in_window(spec: CronSpec) -> str:
    """Return the shell command that succeeds within the window."""
    start, end = (f"{hour:02}{minute:02}" for hour, minute in (spec.at, spec.until))
    joint = "&&" if start < end else "||"
    return f"now=$(date +%H%M); [ $now -ge {start} ] {joint} [ $now -lt {end} ]"


def shell_word(text: str) -> str:
    """Return *text* as one word of a POSIX shell."""
    return text if SHELL_SAFE.fullmatch(text) else "'" + text.replace("'", "'\"'\"'") + "'"


def cron_text(line: str) -> str:
    """Return a shell's *line* as cron takes it, which ends it at a ``%`` without a backslash, and removes that one.

    A backslash before it that is the line's own is kept apart by an empty word: it only ever stands inside ``'…'``.
    """
    return line.replace("\\%", "\\''%").replace("%", "\\%")


def unit_text(text: str) -> str:
    """Return *text* as the value of a setting: systemd expands ``%``, and joins lines at a backslash at their end."""
    return text.replace("%", "%%") + (" " if text.endswith("\\") else "")


def unit_folder(path: str) -> str:
    """Return a folder as the value of a setting, which is neither unquoted nor expanded; blanks at its end count."""
    return unit_text(path if path == "/" or SHELL_SAFE.fullmatch(path) else f"{path}/")


def unit_path(text: str) -> str:
    """Return *text* as one path of a list: quotes and backslashes count there, dollars do not."""
    if SHELL_SAFE.fullmatch(text):
        return text
    escaped = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unit_word(text: str) -> str:
    """Return *text* as one word of a command line (systemd.service(5), "Command lines")."""
    return unit_path(text).replace("$", "$$")


def unit_program(path: str) -> str:
    """Return what starts the program at *path*: systemd itself takes none whose name has quotes or backslashes."""
    return path if SHELL_SAFE.fullmatch(path) else f"{BY_THE_SHELL} {unit_word(path)}"


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _any_under(paths: Iterable[str], folders: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(folders) for path in paths)


KEY_FILE = Path(".config/batchvid/key")
"""Where the line for cron expects the key, below the home folder."""


@click.command("cron")
@click.argument("manifests", type=click.Path(path_type=Path), nargs=-1)
@click.option("--at", type=TIME_OF_DAY, metavar="22:00", help="Start at this time of day (local).")
@click.option("--until", type=TIME_OF_DAY, metavar="06:00", help="Stop submitting at this time of day (local).")
@click.option("--systemd", is_flag=True, help="Print a hardened service and its timer instead of a crontab line.")
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="With --systemd, write the files into this folder instead of printing them; still, nothing is installed.",
)
@click.option(
    "--database",
    metavar="URL",
    help="With --systemd, print the service of a worker of this database instead, which is always there; $NAME for the "
    "credential that holds the address. MANIFESTS name its keys, and the folders that it shares.",
)
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
@profile_option
def cron_command(
    manifests: tuple[Path, ...],
    *,
    at: tuple[int, int] | None,
    until: tuple[int, int] | None,
    systemd: bool,
    folder: Path | None,
    database: str | None,
    log: Path | None,
    metrics: Path | None,
    api_key_file: Path | None,
) -> int:
    """Print what runs MANIFESTS every night from --at until --until. It is printed only: you put it in place.

    The key never stands in it. A run of cron reads it from a file: --api-key-file, by default ~/.config/batchvid/key,
    mode 600. A run of systemd reads it from /etc/batchvid/<name of the variable>, which only root needs to read.
    """
    if folder is not None and not systemd:
        raise click.UsageError("--write is for the files of systemd: add --systemd")
    if database is not None:
        if not systemd or at is not None or until is not None:
            raise click.UsageError(
                "--database is for a worker that is always there: add --systemd, and leave out --at and --until"
            )
        return _print_worker(manifests, database, folder)
    if not manifests or at is None or until is None:
        raise click.UsageError("name the MANIFESTS, and the window with --at and --until")
    if at == until:
        raise click.UsageError("--at and --until are the same: there is no window between them")
    if (trouble := zone_trouble()) is not None:
        complain(f"warning: {trouble}")
    loaded = [load(path) for path in manifests]
    has_key = not systemd and (api_key_file is not None or any(manifest.key_env for manifest in loaded))
    spec = CronSpec(
        at=at,
        until=until,
        program=_program(),
        manifests=tuple(_straight(manifest.path) for manifest in loaded),
        outputs=_once(_straight(manifest.output) for manifest in loaded),
        key_envs=_once(manifest.key_env for manifest in loaded if manifest.key_env),
        hook_envs=_once(hook.env for manifest in loaded for hook in manifest.notify if hook.env),
        key_file=_straight(api_key_file or _home() / KEY_FILE) if has_key else None,
        log=_straight(log or loaded[0].path.with_suffix(".log")),
        metrics=None if metrics is None else _straight(metrics),
        user=_user(),
        name=re.sub(r"[^A-Za-z0-9_.-]+", "-", loaded[0].path.stem),
        profile=_profile_of(loaded),
        config=_config_of(loaded),
    )
    if any(not word.isprintable() for word in (*spec.run, *spec.outputs, spec.log, spec.key_file or "")):
        raise click.UsageError("a path holds a line break or a control character: neither cron nor systemd can have it")
    if not systemd:
        if len({(manifest.base_url, manifest.key_env) for manifest in loaded}) > 1:
            raise click.UsageError("these manifests use several accounts: print a line for each of them")
        tell(crontab(spec), end="")
        return Exit.OK
    unit = f"batchvid-{spec.name}"
    where = _give({f"{unit}.service": service(spec), f"{unit}.timer": timer(spec)}, folder)
    _tell_how(where, spec.user, spec.outputs, (*spec.key_envs, *spec.hook_envs))
    complain(f"  systemctl daemon-reload && systemctl enable --now {unit}.timer")
    return Exit.OK


def _profile_of(manifests: Sequence[Manifest]) -> str:
    """Return the profile that they all use, if they use one; raises ``click.UsageError`` for several."""
    names = {manifest.profile_name for manifest in manifests}
    if len(names) > 1:
        raise click.UsageError("these manifests use several profiles: print a line for each of them")
    return names.pop()


def _config_of(manifests: Sequence[Manifest]) -> str | None:
    path = config_file() if any(manifest.profile_name for manifest in manifests) else None
    return None if path is None else _straight(path)


def _print_worker(manifests: tuple[Path, ...], database: str, folder: Path | None) -> int:
    """Print or write the unit of a worker; an address is looked at, and not shown."""
    from batchvid.domain.task import FACTS, ProviderName
    from batchvid.engine.target import DATABASE_VARIABLE
    from batchvid.journal.postgres_db import Database

    if not database.startswith("$"):
        str(Database(database))
    loaded = [load(path) for path in manifests]
    keys = [manifest.key_env for manifest in loaded] if loaded else [FACTS[ProviderName.COMETAPI].key_env]
    spec = WorkerSpec(
        program=_program(),
        database=database.removeprefix("$") if database.startswith("$") else DATABASE_VARIABLE,
        key_envs=_once(key for key in keys if key),
        user=_user(),
        outputs=_once(_straight(manifest.output) for manifest in loaded if manifest.bucket is None),
    )
    if any(not word.isprintable() for word in (*spec.program, *spec.credentials, *spec.outputs)):
        raise click.UsageError("a path holds a line break or a control character: systemd cannot have it")
    where = _give({"batchvid-worker.service": worker_service(spec)}, folder)
    _tell_how(where, spec.user, spec.outputs, spec.credentials)
    complain("  systemctl daemon-reload && systemctl enable --now batchvid-worker.service")
    return Exit.OK


SYSTEM = "/etc/systemd/system"


def _give(units: Mapping[str, str], folder: Path | None) -> str:
    """Print the units, or write them into the folder; return how a person puts them in place.

    A file of the same name is replaced only when it is a unit of batchvid; else `ForeignFileError` is raised.
    """
    if folder is None:
        tell("\n".join(f"# {SYSTEM}/{name}\n{unit}" for name, unit in units.items()), end="")
        parts = "both parts into the files that their first lines name"
        return f"Put {parts if len(units) > 1 else 'it into the file that its first line names'}, and then as root:"
    files = {folder / name: unit for name, unit in units.items()}
    for path in files:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise ForeignFileError(f"{path} is there already, and is not batchvid's: move it away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, unit in files.items():
            path.write_text(unit, encoding="utf-8")
            tell(f"wrote {path}")
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}") from error
    return f"As root:\n  cp {' '.join(shell_word(_straight(path)) for path in files)} {SYSTEM}/"


MARK = "\nDescription=batchvid"
"""In every unit that batchvid wrote."""


def _tell_how(where: str, user: str, outputs: tuple[str, ...], credentials: tuple[str, ...]) -> None:
    complain(f"Nothing was installed. {where}")
    if outputs:
        complain(f"  install -d -o {user} {' '.join(map(shell_word, outputs))}")
    complain("  install -d -m 700 /etc/batchvid")
    for name in credentials:
        complain(f"  (umask 077; cat > /etc/batchvid/{name})   # then paste it")


def _home() -> Path:
    """Return the home folder, where the key is expected; raises `UsageError` when there is none, as in a container."""
    with suppress(RuntimeError):
        home = Path.home()
        if home.is_dir():
            return home
    raise click.UsageError("this user has no home folder where the key could be: name its file with --api-key-file")


def _user() -> str:
    """Return who runs it: by name, or by number where no name belongs to that, which systemd and install take too."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _program() -> tuple[str, ...]:
    """Return what starts this batchvid, wherever it is called from."""
    script = Path(sys.executable).with_name("batchvid")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "batchvid")


def _straight(path: Path) -> str:
    """Return the full path without a ``..``, which systemd refuses; a link as last name stays one."""
    full = path.absolute()
    if ".." not in full.parts:
        return str(full)
    return str(full.resolve() if full.name == ".." else full.parent.resolve() / full.name)


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
