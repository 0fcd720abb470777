"""The address of an output in a bucket, such as ``s3://bucket/prefix``: how it is written, and slips in it."""

from __future__ import annotations

import hashlib
import re

from batchvid.domain.text import nfc

SCHEMES = ("s3", "gs", "az")
"""S3 and what speaks it, Google Cloud Storage, Azure Blob Storage."""
ALIKE = {
    "s3a": "s3", "s3n": "s3", "gcs": "gs", "azure": "az", "wasb": "az", "wasbs": "az", "abfs": "az", "abfss": "az",
}  # fmt: skip
"""What other programs call them."""
WRITE = "write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
SETTINGS = "the store's address, region and keys come from the environment (AWS_ENDPOINT_URL, AWS_REGION …)"
PREFIX_MAX_BYTES = 400
"""Names in a bucket have 1,024 bytes at most, with the prefix."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_SLIP = re.compile(rf"({'|'.join((*SCHEMES, *ALIKE))}):/{{0,3}}([^/].*)", re.DOTALL | re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}[A-Za-z0-9]")
_BESIDE_PLAIN = re.compile(r"""[\\{}^%`\[\]"<>~|*$]""")
"""What stores and their programs write in ways of their own."""
_SLUG_CHARS, _HASH_DIGITS = 60, 12


def is_bucket(text: str) -> bool:
    """Whether a text is meant as an address, rightly written or not, and not as a folder."""
    return _ADDRESS.match(text) is not None or _SLIP.match(text) is not None


def bucket_url(text: str) -> str:
    """Return the address in its one form, without a slash at its end; raises `ValueError` with what to write instead.

    It is the name of the output: two spellings of one place must not have two journals.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        slip = _SLIP.fullmatch(text)
        scheme = slip[1].lower() if slip else SCHEMES[0]
        raise ValueError(f"is no address of a bucket: did you mean {ALIKE.get(scheme, scheme)}://{_plain(slip)}?")
    scheme, place = found[1].lower(), found[2]
    if scheme not in SCHEMES:
        meant = ALIKE.get(scheme)
        if meant is not None:
            raise ValueError(f"begins with {scheme}://, which batchvid calls {meant}://")
        raise ValueError(f"begins with {scheme}://, where batchvid puts no clips: {WRITE}, or a folder")
    bucket, _, prefix = place.partition("/")
    if "@" in bucket:
        raise ValueError(f"holds a name or a key before @: keys never stand in it; {SETTINGS}")
    if "?" in place or "#" in place:
        raise ValueError(f"goes on with ? or #: only bucket and prefix stand in it; {SETTINGS}")
    if not bucket:
        raise ValueError(f"names no bucket: {WRITE}")
    if ":" in bucket:
        raise ValueError(f"names an address where the bucket's name belongs: {SETTINGS}")
    if _BUCKET.fullmatch(bucket) is None or ".." in bucket:
        raise ValueError("names a bucket as none is called: letters, digits, dots and hyphens, 3 or more")
    return f"{scheme}://{bucket}" + "".join(f"/{part}" for part in _parts(prefix))


def _parts(prefix: str) -> list[str]:
    prefix = nfc(prefix).removesuffix("/")
    parts = prefix.split("/") if prefix else []
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError("has an empty part, . or .. behind the bucket: write one / between names")
    if not prefix.isprintable() or _BESIDE_PLAIN.search(prefix):
        raise ValueError(
            'has a character behind the bucket that stores do not agree on (\\ { } ^ % ` [ ] " < > ~ | * $, or a '
            "control character): write letters, digits and . _ - between the /; variables are not expanded"
        )
    if len(prefix.encode("utf-8", "replace")) > PREFIX_MAX_BYTES:
        raise ValueError(f"is longer than {PREFIX_MAX_BYTES} bytes behind the bucket")
    return parts


def _plain(slip: re.Match[str] | None) -> str:
    """Return what may be shown of a slip."""
    rest = "" if slip is None else slip[2]
    return rest if re.fullmatch(r"[\w./-]{1,100}", rest) else "bucket/prefix"


def folder_name(url: str) -> str:
    """Return what the folder on this machine is called that holds the state of the output at *url*.

    People can read it, and no two outputs have one: of what letters stand for the rest, the hash tells.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", url)[:_SLUG_CHARS].strip("-.")
    return f"{slug}-{hashlib.sha256(url.encode()).hexdigest()[:_HASH_DIGITS]}"
