"""Single values of a manifest: each reader returns the value that is meant, or raises `ValueError` with advice.

Nothing is repeated that may be a secret: not a URL, not what stands where the name of a variable should.
"""

from __future__ import annotations

import os
import re
import sys
from decimal import ROUND_CEILING, Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

from batchvid.domain.bucket import bucket_url, is_bucket
from batchvid.domain.frozen import frozen
from batchvid.domain.limits import MICROS, Rate
from batchvid.domain.notice import Hook
from batchvid.domain.secrecy import AllowedHosts
from batchvid.manifest.yaml_tree import Plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

    Word = TypeVar("Word", bound=StrEnum)

# ---- text


class QuoteError(ValueError):
    """Text is wanted, and the word without quotes reads as something else."""

    def __init__(self, plain: Plain) -> None:
        super().__init__(f'{plain.text} without quotes reads as {plain.kind}, and text is wanted: write "{plain.text}"')
        self.plain = plain


TEXT_WANTED = "and text is wanted"
"""Ends what is said of a list or a map; `batchvid.manifest.diagnostics` adds how it would be one."""
SENT_BY_BATCHVID = frozenset({"prompt", "model", "size", "seconds", "input_reference"})
"""What a ``form`` must not name, because batchvid sends it itself."""
TAKE_IS_TAKEN = '"take" is the number of the take: give the variable another name'

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CANONICAL_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
_FORM_KEY = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}", re.ASCII)


def shown(text: str) -> str:
    """Return *text* quoted and cut, for a message."""
    longest = 60
    return f'"{text}"' if len(text) <= longest else f'"{text[:longest]}…"'


def is_clean(text: str) -> bool:
    """Whether *text* holds no control character besides line breaks and tabs."""
    return text.isprintable() or not _CONTROL.search(text)


def any_text(value: object) -> str:
    """Return a text, which may be empty."""
    if isinstance(value, Plain):
        if value.kind == "nothing":
            raise ValueError("is empty: write text, or remove the key")
        raise QuoteError(value)
    if not isinstance(value, str):
        what = "map" if isinstance(value, dict) else "list"
        raise ValueError(f"is a {what}, {TEXT_WANTED}")  # noqa: TRY004 every reader's error is a ValueError
    if not is_clean(value):
        raise ValueError("holds a control character: remove it")
    return value


def text(value: object) -> str:
    """Return a text that says something."""
    found = any_text(value)
    if not found.strip():
        raise ValueError("is empty: write text, or remove the key")
    return found


def folder(value: object) -> str:
    """Return the path of a folder, as it is written."""
    found = text(value)
    if found.startswith("~"):
        raise ValueError("begins with ~, which is not expanded: write the path in full")
    if trouble := locale_trouble(found):
        raise ValueError(f"{shown(found)} {trouble}")
    return found


def output(value: object) -> str:
    """Return the path of a folder, as it is written, or an address in a bucket, in its one form."""
    found = text(value)
    return bucket_url(found) if is_bucket(found) else folder(found)


def locale_trouble(path: str) -> str | None:
    """Return what keeps *path* from being the name of a file under this locale, or ``None``.

    It is asked before anything is paid: a clip whose file cannot be named could not be saved.
    """
    if path.isascii():
        return None
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return f"holds letters that this locale ({sys.getfilesystemencoding()}) cannot write: set LC_ALL=C.UTF-8"
    return None


def number_or(read: Callable[[object], str]) -> Callable[[object], str]:
    """Return the reader that takes a number without quotes, too, when it can mean only one text; else *read* reads."""

    def read_either(value: object) -> str:
        if isinstance(value, Plain) and _CANONICAL_NUMBER.fullmatch(value.text):
            return value.text
        return read(value)

    return read_either


variable_value = number_or(text)
"""Reads the value of a variable."""


def variable_name(value: str) -> str:
    """Return the name of a variable."""
    if value == "take":
        raise ValueError(TAKE_IS_TAKEN)
    if not value.strip() or not is_clean(value) or set(value) & set("{}"):
        raise ValueError("is no name for a variable: write letters and digits")
    return value


def form_key(value: str) -> str:
    """Return the name of a further form field."""
    if value in SENT_BY_BATCHVID:
        where = "first_frame and last_frame" if value == "input_reference" else f"{value}: beside form:"
        raise ValueError(f"is not a further field: write {where}")
    if not _FORM_KEY.fullmatch(value):
        raise ValueError("is no name of a form field: letters, digits and _ . - [ ] make one")
    return value


# ---- words and numbers

_WHOLE = re.compile(r"[-+]?\d+", re.ASCII)
WHOLE_MAX_CHARS = 20
"""More than any number here needs."""


def written(value: object) -> str:
    """Return a single value as it stands in the file."""
    match value:
        case str():
            return value.strip()
        case Plain(kind="nothing"):
            raise ValueError("is empty: write a value, or remove the key")
        case Plain():
            return value.text
        case dict():
            raise ValueError("is a map, and one value is wanted")
        case _:
            raise ValueError("is a list, and one value is wanted")


def whole(value: object) -> int:
    """Return a whole number, as YAML 1.1 reads it (``0x10``, ``1_000``)."""
    text = written(value)
    if not isinstance(value, Plain) or value.kind != "a number":
        raise ValueError(f"{shown(text)} is not a whole number: write one without quotes")
    digits = text.replace("_", "")
    if len(digits) > WHOLE_MAX_CHARS:
        raise ValueError(f"{shown(text)} is not a whole number that means anything here")
    if re.fullmatch(r"[-+]?0[0-7]+", digits):
        return int(digits, 8)
    if _WHOLE.fullmatch(digits):
        return int(digits)
    if re.fullmatch(r"[-+]?0[xb][0-9a-fA-F]+", digits):
        return int(digits, 0)
    raise ValueError(f"{shown(text)} is not a whole number")


def between(lowest: int, highest: int) -> Callable[[object], int]:
    """Return the reader of a whole number between two bounds."""

    def count(value: object) -> int:
        found = whole(value)
        if not lowest <= found <= highest:
            raise ValueError(f"is {found}: write a number from {lowest} to {highest}")
        return found

    return count


def word_of(words: type[Word]) -> Callable[[object], Word]:
    """Return the reader of a word out of a few."""

    def word(value: object) -> Word:
        found = written(value)
        if found not in list(words):
            raise ValueError(f"is {shown(found)}: write {' or '.join(words)}")
        return words(found)

    return word


def yes_no(value: object) -> bool:
    """Return what is meant by ``true`` and ``false``, or ``yes`` and ``no``."""
    found = written(value)
    if not isinstance(value, Plain) or found.lower() not in {"true", "false", "yes", "no"}:
        raise ValueError(f"is {shown(found)}: write true or false")
    return found.lower() in {"true", "yes"}


def version(value: object) -> int:
    """Return the version of the manifest's format."""
    if whole(value) != 1:
        raise ValueError("is not a version that this batchvid reads: write version: 1")
    return 1


# ---- times and rates

_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII
)
_DURATION_UNITS_S = (86400, 3600, 60, 1)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|h)", re.ASCII)
_RATE_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}

MAX_DURATION_S = 30 * 86400
"""Longer than any generation or run; keeps sums of times far from overflow."""
MIN_DURATION_S = 0.001
"""Shorter than any answer takes; a loop that waits for less only turns."""
MAX_RATE = 10_000.0
"""Per period; more is as good as unlimited."""
MIN_RATE_PER_H = 0.001
"""One in six weeks; keeps the waits between two requests far from overflow."""


def duration_s(value: object) -> float:
    """Return the seconds of ``90s``, ``20m``, ``1h30m`` or ``2d``; always more than nothing."""
    text = written(value)
    found = _DURATION.fullmatch(text)
    parts = found.groups() if found else ()
    if not any(parts):
        raise ValueError(f"{shown(text)} is not a time: write it with its unit, such as 90s, 20m or 1h30m")
    total = sum(float(part) * unit for part, unit in zip(parts, _DURATION_UNITS_S, strict=True) if part)
    if not MIN_DURATION_S <= total <= MAX_DURATION_S:
        raise ValueError(
            f"{shown(text)} is out of bounds: write at least {MIN_DURATION_S}s and at most {MAX_DURATION_S // 86400}d"
        )
    return total


def moment_s(value: object) -> float:
    """Return the seconds of a moment in a clip: ``3.5s`` after its beginning, or ``-0.2s``: before its end."""
    text = written(value)
    if text == "0s":
        return 0.0
    try:
        found = duration_s(text.removeprefix("-"))
    except ValueError:
        raise ValueError(
            f"{shown(text)} is no moment of a clip: write -0.2s (before its end) or 3.5s (after its beginning)"
        ) from None
    return -found if text.startswith("-") else found


class DurationRange(NamedTuple):
    """A shortest and a longest time."""

    shortest_s: float
    longest_s: float


def duration_range(value: object) -> DurationRange:
    """Return both ends of ``3s..30s``."""
    text = written(value)
    shortest, dots, longest = text.partition("..")
    if not dots:
        raise ValueError(f"{shown(text)} is not a range of times: write the shortest and the longest, such as 3s..30s")
    found = DurationRange(duration_s(shortest), duration_s(longest))
    if found.shortest_s > found.longest_s:
        raise ValueError(f"{shown(text)} has the longer time first: write the shortest first, such as 3s..30s")
    return found


def rate(value: object, *, more: str = "") -> Rate | None:
    """Return the rate of ``10/min``, ``5/s`` or ``100/h``; ``None`` for ``unlimited``. *more* may be written, too."""
    text = written(value)
    if text == "unlimited":
        return None
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError(f"{shown(text)} is not a rate: write such as 10/min, 5/s, 100/h{more} or unlimited")
    count = float(found[1])
    if not (count <= MAX_RATE and count * 3600 >= MIN_RATE_PER_H * _RATE_UNITS_S[found[2]]):
        raise ValueError(
            f"{shown(text)} is out of bounds: write at least {MIN_RATE_PER_H}/h, at most {MAX_RATE:.0f}, or unlimited"
        )
    return Rate(count, _RATE_UNITS_S[found[2]])


AUTO = "auto"
"""In place of a limit that is found out."""


def rate_or_auto(value: object) -> tuple[Rate | None, bool]:
    """Return the rate, and whether it is found out: ``auto``, tried up to any."""
    return (None, True) if value == AUTO else (rate(value, more=f", {AUTO}"), False)


def count_or_auto(lowest: int, highest: int) -> Callable[[object], tuple[int, bool]]:
    """Return the reader of a whole number between two bounds, or of ``auto``, which is tried up to the highest."""
    read = between(lowest, highest)

    def count(value: object) -> tuple[int, bool]:
        if value == AUTO:
            return highest, True
        if isinstance(value, str) and value.strip().isalpha():
            raise ValueError(f"{shown(value)} is no number: write one from {lowest} to {highest}, or {AUTO}")
        return read(value), False

    return count


# ---- money

THOUSANDS = 3
"""Digits behind a comma that may separate thousands."""
_DIGITS = re.compile(r"\d{1,20}", re.ASCII)
_MONEY = re.compile(r"\d{1,100}(?:\.\d{1,100})?", re.ASCII)

MAX_MONEY = 1_000_000_000
"""In whole units: a slip of the finger, and it keeps micros inside 64 bits."""
MAX_CLIP_MICROS = 1_000_000 * MICROS
"""A slip of the finger; and the clips of the largest manifest together stay inside 64 bits."""
DEFAULT_SECONDS = "8"
"""The clip length of the service's first contract, where ``seconds`` is never sent."""
ANY_SIZE = "*"


def money_micros(value: object) -> int:
    """Return money in millionths, exactly as the digits say, rounded up below that."""
    text = written(value)
    if not _MONEY.fullmatch(text):
        raise ValueError(f"{shown(text)} is not an amount of money: write digits such as {_advised(text)}")
    amount = Decimal(text)
    if amount > MAX_MONEY:
        raise ValueError(f"{shown(text)} is more than {MAX_MONEY:,}: write a smaller amount")
    return int((amount * MICROS).to_integral_value(ROUND_CEILING))


def _advised(text: str) -> str:
    """Return what to write for an amount with a comma, which may be a decimal one or stand for thousands."""
    whole, comma, rest = text.strip().partition(",")
    if not comma or not _DIGITS.fullmatch(whole + rest):
        return "25.00"
    return f"{whole}.{rest}" if len(rest) != THOUSANDS or whole == "0" else f"{whole}.{rest} or {whole}{rest}"


@frozen
class Price:
    """So much a clip, or so much a second of it."""

    micros: int
    per_second: bool = False

    def of_clip(self, seconds: str | None) -> int:
        """Return the price of one clip in millionths, rounded up.

        Raises `ValueError` when the price is per second and *seconds* is no number, or the clip costs absurdly much.
        """
        if not self.per_second:
            return self.micros
        length = seconds if seconds is not None else DEFAULT_SECONDS
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", length, re.ASCII):
            raise ValueError(f"{shown(length)} is no number of seconds, and the price is per second")
        return _bounded(int((self.micros * Decimal(length)).to_integral_value(ROUND_CEILING)))


def _bounded(micros: int) -> int:
    if micros > MAX_CLIP_MICROS:
        raise ValueError(f"a clip would cost {micros // MICROS:,}, and at most {MAX_CLIP_MICROS // MICROS:,} is taken")
    return micros


def price(value: object) -> Price:
    """Return the price of ``0.40`` (a clip) or ``0.40/s`` (a second)."""
    amount, slash, unit = written(value).partition("/")
    if slash and unit.strip() != "s":
        raise ValueError(f"{shown(written(value))} is not a price: write such as 0.40 (a clip) or 0.40/s (a second)")
    return Price(_bounded(money_micros(amount)), per_second=bool(slash))


# ---- the service, its key, and whom to tell

ANOTHER_SECRET = re.compile(
    r"(AWS|AZURE|GCP|GITLAB|BITBUCKET|SSH|PYPI|TWINE|DOCKER|SLACK|STRIPE|TWILIO|SENTRY|CLOUDFLARE|DIGITALOCEAN)_\w+"
    r"|GOOGLE_APPLICATION_CREDENTIALS|GITHUB_TOKEN|GITHUB_PAT|GH_TOKEN|GH_ENTERPRISE_TOKEN|CI_JOB_TOKEN|NPM_TOKEN"
    r"|NODE_AUTH_TOKEN|VAULT_TOKEN|KUBECONFIG|DATABASE_URL|REDIS_URL|MONGODB_URI|PGPASSWORD|POSTGRES_PASSWORD"
    r"|MYSQL_PWD|MYSQL_PASSWORD|MYSQL_ROOT_PASSWORD|PASSWORD"
)
"""Names of variables that hold a secret of somebody else; not keys of model makers, which gateways may take."""
NOTIFY_EXTRA = "apprise"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_KEY_BEGINNING = re.compile(r"(?i)(sk|pk|rk)[-_]")
_KEY = re.compile(r"sk-[A-Za-z0-9][A-Za-z0-9_-]{15,}", re.ASCII)
_HOOK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://\S+")


def base_url(value: object) -> str:
    """Return a base URL in its one normal form: it ends in ``/v1``, whether or not it was written so.

    The text of an error never holds the URL: it may carry a password.
    """
    text = written(value)
    if re.search(r"[\s\x00-\x20\x7f\\]", text):
        raise ValueError("holds a blank, a backslash or a control character: write such as https://host/v1")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        raise ValueError("is not a URL: write such as https://host/v1") from error
    if parts.scheme not in {"http", "https"}:
        raise ValueError("is not an http or https URL: write such as https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user name or a password: remove it, the key comes from the variable in key_env")
    if "?" in text or "#" in text:
        raise ValueError("holds a query or a fragment: write it without ? and #")
    if not host:
        raise ValueError("names no host: write such as https://host/v1")
    path = re.sub(r"/+", "/", parts.path).rstrip("/")
    if not path.endswith("/v1"):
        path += "/v1"
    netloc = f"[{host}]" if ":" in host else host
    if port is not None:
        netloc += f":{port}"
    return f"{parts.scheme}://{netloc}{path}"


def clip_host(value: object) -> str:
    """Return a host name, ``*.name``, address or network; raises ValueError for anything else."""
    host = text(value)
    AllowedHosts.of([host])
    return host


def key_env(value: object) -> str:
    """Return the name of the key's variable; what looks like a key itself is refused, and not repeated."""
    text = written(value)
    if not _VARIABLE.fullmatch(text) or _KEY_BEGINNING.match(text):
        raise ValueError(
            "is not the name of a variable: write the NAME, such as COMETAPI_KEY, never the key itself; "
            "if a key stood here, replace it at the service"
        )
    return text


def database(value: object) -> str:
    """Return the name of the variable that ``$NAME`` means; an address, which may hold a password, is not repeated."""
    text = written(value)
    if not text.startswith("$") or not _VARIABLE.fullmatch(text[1:]):
        raise ValueError(
            "is not the name of a variable: write database: $BATCHVID_DATABASE, and put the address into that "
            "variable; if a password stood here, change it"
        )
    return text[1:]


def names_another_secret(key_env: str) -> str | None:
    """Return what is strange about a variable that is known to hold the secret of another service."""
    if not ANOTHER_SECRET.fullmatch(key_env.upper()):
        return None
    return f"{key_env} holds a secret of something else as a rule, and would be sent to the service: name its own key"


def holds_key(tree: object) -> bool:
    """Whether anything in this part of the manifest looks like a key of the service."""
    match tree:
        case str():
            return _KEY.search(tree) is not None
        case Plain():
            return _KEY.search(tree.text) is not None
        case dict():
            return any(holds_key(key) or holds_key(value) for key, value in tree.items())
        case list():
            return any(map(holds_key, tree))
        case _:
            return False


def without_keys(text: str) -> str:
    """Return *text* with everything taken out that looks like a key."""
    return _KEY.sub("sk-…", text)


def hook(value: object) -> Hook:
    """Return whom a value of ``notify`` means: a webhook's URL, another of Apprise's, or ``$VARIABLE``."""
    text = written(value)
    if text.startswith("$"):
        if not _VARIABLE.fullmatch(text[1:]):
            raise ValueError("is not the name of a variable: write such as $HOOK_URL")
        return Hook(env=text[1:])
    if not _HOOK.fullmatch(text):
        raise ValueError("is not a URL: write such as jsons://host/path, or $HOOK_URL for one that holds a secret")
    found = Hook(text)
    if found.is_webhook:
        try:
            parts = urlsplit(found.url)
            good = parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ValueError("is not a URL: write such as jsons://host/path")
    elif find_spec(NOTIFY_EXTRA) is None:
        raise ValueError(
            f"{found.scheme}:// needs the extra: pip install 'batchvid[notify]' (without it: json:// and jsons://)"
        )
    return found
