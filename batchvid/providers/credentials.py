"""What comes from the surroundings: environment variables and the key. The only module that reads them."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


PREFIX = "BATCHVID_"
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
"""In the name of a variable: it may hold something that only the service should see."""
DATABASE_ADDRESS = re.compile(r"postgres(ql)?://|.*\bpassword\s*=", re.IGNORECASE | re.DOTALL)
"""What begins so may hold the password of the journal's database."""
KEY_MIN, KEY_LETTERS_MIN = 8, 6
"""A key of fewer characters, or of fewer letters and digits, is part of ordinary answers: it could not be taken out of
them where a service repeats it."""
ORDINARY = re.compile(
    r"(task|video|job)[_-]\w+|not_start(ed)?|submitted|preparing|in_progress|processing|generating|completed?|succeeded"
    r"|finished|cancell?ed|rejected|progress|metadata|video_url|output_video|fail_reason|(created|completed|expires)_at",
    re.IGNORECASE,
)
"""What stands in ordinary answers."""
UTC_NAMES = {"UTC", "GMT", "ETC/UTC", "ETC/GMT", "UCT", "ZULU", "UNIVERSAL"}
"""Zones that are right although nobody has a file for them."""
POSIX_ZONE = re.compile(r"([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d.*", re.ASCII)
"""A zone that is written out, such as ``CET-1CEST,M3.5.0,M10.5.0/3``."""
ZONES = "/usr/share/zoneinfo"
OTHERS_CAN_READ = stat.S_IRGRP | stat.S_IROTH


def terminal_can_draw(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal, if there is one, knows how to move its cursor."""
    environ = os.environ if environ is None else environ
    return environ.get("TERM", "dumb").lower() not in {"", "dumb", "unknown"}


def has_display(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a browser that is started here would be seen: a screen is there, and it is not another machine's."""
    environ = os.environ if environ is None else environ
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def environment_proxies() -> dict[str, str]:
    """Return the proxies that the environment names, by scheme, with its exceptions under ``no``."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    from urllib.request import getproxies_environment

    return {scheme: url for scheme, url in getproxies_environment().items() if url}


def zone_trouble(environ: Mapping[str, str] | None = None) -> str | None:
    """Return what is wrong with the time zone that ``TZ`` names: the C library reads times as UTC then, and is silent.

    A container without the package tzdata knows no zone by its name.
    """
    environ = os.environ if environ is None else environ
    name = environ.get("TZ", "").removeprefix(":")
    if not name or name.upper() in UTC_NAMES or POSIX_ZONE.fullmatch(name):
        return None
    from zoneinfo import TZPATH

    if any(Path(folder, name).is_file() for folder in (environ.get("TZDIR") or ZONES, *TZPATH)):
        return None
    return f"TZ is {name!r}, which this machine does not know, so local times are UTC: correct it, or install tzdata"


def state_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of this user for what must survive on this machine, beside no clips (XDG base directories).

    Raises `ConfigError` where the environment names none: guessing another one would lose sight of what is paid.
    """
    environ = os.environ if environ is None else environ
    for name, below in (("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        if environ.get(name, "").startswith("/"):
            return Path(environ[name], below, "batchvid")
    raise ConfigError(
        "there is no folder for what stays on this machine: set HOME, or XDG_STATE_HOME to a folder of this "
        "machine that stays (in full)"
    )


def config_file(environ: Mapping[str, str] | None = None, *, system: str | None = None) -> Path | None:
    """Return where the config file of this user is, whether or not it is there, by the rules of the *system*.

    ``None`` where the environment names no home: then there is none.
    """
    environ, system = os.environ if environ is None else environ, system or sys.platform
    places = [("XDG_CONFIG_HOME", "batchvid"), ("HOME", ".config/batchvid")]
    if system == "win32":
        places = [("APPDATA", "batchvid")]
    elif system == "darwin":
        places = [("XDG_CONFIG_HOME", "batchvid"), ("HOME", "Library/Application Support/batchvid")]
    for name, below in places:
        if Path(environ.get(name, "")).is_absolute():
            return Path(environ[name], below, "config.yaml")
    return None


def find_key(key_env: str, *, key_file: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Return the API key: from systemd's credentials, then from *key_file*, then from the variable *key_env*.

    Raises `ConfigError`, which never shows any of the key, when there is none or it cannot be one.
    """
    environ = os.environ if environ is None else environ
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and _is_file(Path(credentials) / key_env):
        return _checked(_read(Path(credentials) / key_env), f"the credential {key_env}")
    if key_file is not None:
        if not _is_file(key_file):
            raise ConfigError(f"the key file {key_file} does not exist")
        if key_file.stat().st_mode & OTHERS_CAN_READ:
            raise ConfigError(f"the key file {key_file} can be read by others: run `chmod 600 {key_file}`")
        return _checked(_read(key_file), f"the key file {key_file}")
    key = environ.get(key_env)
    if not key:
        raise ConfigError(
            f"no API key: set the variable {key_env}, or name a file with --api-key-file "
            "(or try it without one: --sandbox)"
        )
    return _checked(key, f"the variable {key_env}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from None


def find_url(name: str, *, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the URL that a variable holds, or a credential of systemd's by its name; ``None`` when there is none."""
    environ = os.environ if environ is None else environ
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and _is_file(Path(credentials) / name):
        return _read(Path(credentials) / name).strip() or None
    return environ.get(name, "").strip() or None


def without_secrets(key_env: str, *, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process that needs no key: neither *key_env* nor what looks like a secret."""
    environ = os.environ if environ is None else environ
    return {
        name: value
        for name, value in environ.items()
        if name != key_env and not SECRET.search(name) and not DATABASE_ADDRESS.match(value)
    }


STORES = ("AWS_", "GOOGLE_", "AZURE_")
"""How the variables begin that the clients of object stores read."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Where S3 is, when it is not Amazon's; the first one wins, as in Amazon's own programs."""


def store_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables by which an object store is found, with its keys: for a child process that reads clips."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if name.startswith(STORES)}


def store_endpoint(environ: Mapping[str, str] | None = None) -> str | None:
    """Return where S3 is; ``None`` when it is Amazon's."""
    environ = os.environ if environ is None else environ
    return next((environ[name] for name in ENDPOINTS if environ.get(name)), None)


def store_has_key(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the environment says how S3 is to be asked: with a key, as somebody with a role, or without any."""
    environ = os.environ if environ is None else environ
    ways = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
    return any(environ.get(name) for name in ways) or any(name.startswith("AWS_CONTAINER_") for name in environ)


def quiet_coders() -> None:
    """Let the coder of AV1, which writes to standard error by itself, tell of errors only."""
    os.environ.setdefault("SVT_LOG", "1")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigError:
    return ConfigError(f"the key file {path} cannot be read: {getattr(error, 'strerror', None) or error}")


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{where} holds no key: one word of ASCII characters is expected")
    if len(key) < KEY_MIN or sum(map(str.isalnum, key)) < KEY_LETTERS_MIN:
        raise ConfigError(
            f"{where} holds a key of fewer than {KEY_MIN} characters, which stands by chance in what services answer: "
            "make a longer one at the service; a gateway of your own that takes any key takes a longer one too"
        )
    if ORDINARY.fullmatch(key):
        raise ConfigError(
            f"{where} holds an ordinary word in place of a key, which stands in what a service answers: make another "
            "one at the service"
        )
    return key
