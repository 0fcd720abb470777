"""Where the service is, and the name of the variable that holds the key, with nothing secret ever repeated."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from batchvid.manifest.read import Plain
from batchvid.manifest.units import written

DEFAULT_BASE_URL = "https://api.cometapi.com/v1"
DEFAULT_KEY_ENV = "COMETAPI_KEY"

ANOTHER_SECRET = re.compile(
    r"(AWS|AZURE|GCP|GITLAB|BITBUCKET|SSH|PYPI|TWINE|DOCKER|SLACK|STRIPE|TWILIO|SENTRY|CLOUDFLARE|DIGITALOCEAN)_\w+"
    r"|GOOGLE_APPLICATION_CREDENTIALS|GITHUB_TOKEN|GITHUB_PAT|GH_TOKEN|GH_ENTERPRISE_TOKEN|CI_JOB_TOKEN|NPM_TOKEN"
    r"|NODE_AUTH_TOKEN|VAULT_TOKEN|KUBECONFIG|DATABASE_URL|REDIS_URL|MONGODB_URI|PGPASSWORD|POSTGRES_PASSWORD"
    r"|MYSQL_PWD|MYSQL_PASSWORD|MYSQL_ROOT_PASSWORD|PASSWORD"
)
"""Names of variables that hold a secret of somebody else; not keys of model makers, which gateways may take."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_KEY_BEGINNING = re.compile(r"(?i)(sk|pk|rk)[-_]")
_KEY = re.compile(r"sk-[A-Za-z0-9][A-Za-z0-9_-]{15,}", re.ASCII)


def base_url(value: object) -> str:
    """Return a base URL in its one normal form: it ends in ``/v1``, whether or not it was written so.

    Raises `ValueError`, whose text never holds the URL: it may carry a password.
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


def key_env(value: object) -> str:
    """Return the name of the key's variable; refuses what looks like a key itself, and does not repeat it."""
    text = written(value)
    if not _VARIABLE.fullmatch(text) or _KEY_BEGINNING.match(text):
        raise ValueError(
            "is not the name of a variable: write the NAME, such as COMETAPI_KEY, never the key itself; "
            "if a key stood here, replace it at the service"
        )
    return text


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
