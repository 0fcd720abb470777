"""To which journal an output belongs: the one beside its clips, or one in a database.

An output whose journal is in a database says so in a file beside the clips (`batchvid.storage.state.OWNER_FILE`), by a
number that the journal has, too. Who comes without the database, or with another one, is refused before anything is
sent: what is paid would be bought again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.errors import ConfigError
from batchvid.domain.text import clean
from batchvid.engine.target import journal_in_database, journal_of
from batchvid.storage.state import OWNER_FILE, owner_of, set_owner

if TYPE_CHECKING:
    from batchvid.journal.base import Journal
    from batchvid.manifest.model import Manifest
    from batchvid.storage.base import ClipStore


ID = "id"
"""The remark in a journal by which an output knows it."""


def claim(journal: Journal, manifest: Manifest, *, moved: bool) -> None:
    """Let the output say that it belongs to this *journal*, when that is in a database.

    Raises `ConfigError` where it belongs to another one, unless a person says that it was *moved* and no other goes on.
    """
    if manifest.database:
        number, owner = id_of(journal), owner_of(manifest.output)
        if owner is None or (moved and owner["id"] != number):
            set_owner(manifest.output, owner_record(manifest, number))
        check_owner(manifest, number)
    # Each has left its own mark before it looks for that of the other: of two that begin at once, one is refused.
    journal_of(manifest)


def claim_bucket(journal: Journal, manifest: Manifest, clips: ClipStore, *, moved: bool) -> None:
    """Let the bucket say so, too: a machine that was never here finds nothing else that tells of the journal.

    Raises `ConfigError` where it says that the clips belong to another journal, unless a person says that it was
    *moved*.
    """
    told, number = clips.told(OWNER_FILE), journal.meta_get(ID)
    if told and told.get("id") != number:
        if not moved:
            raise ConfigError(
                f"the output {manifest.place} belongs to another journal: what is paid for it is known to "
                f"{clean(str(told.get('journal')), 4096)} in the database {clean(str(told.get('database')), 300)}. "
                "Name that database with --database. Where it is gone for good, `batchvid run MANIFEST --moved` "
                "begins again with what the sidecars tell, and does not know of paid tasks that brought no clip yet"
            )
        told = None
    if manifest.database and not told:
        clips.publish(manifest.output, OWNER_FILE)


def check_owner(manifest: Manifest, number: str) -> None:
    """Refuse another journal than the one that the output says it belongs to."""
    owner = owner_of(manifest.output)
    if owner is not None and owner["id"] != number:
        raise ConfigError(
            f"the output {manifest.place} belongs to another journal: what is paid for it is known "
            f"to {clean(owner['journal'], 4096)} in the database {clean(owner['database'], 300)}. Name that database, "
            "or restore it from its backup. Where it is gone for good, `batchvid run MANIFEST --moved` begins again "
            "with what the sidecars tell, and does not know of paid tasks that brought no clip yet"
        )


def check_shared(manifest: Manifest, number: str | None) -> None:
    """Refuse a folder of this machine that is not the one which all machines share, though it is called the same.

    A clip that is saved there is missing for the others, and the journal has it as done. A bucket is the same for all.
    """
    if manifest.bucket is not None:
        return
    if owner_of(manifest.output) is None:
        raise ConfigError(
            f"the folder {manifest.output} on this machine is not the one that the others save clips in: mount that "
            "one here, or publish with an output in a bucket. Nothing was sent from here"
        )
    check_owner(manifest, number or "")


def id_of(journal: Journal) -> str:
    """Return by what an output knows the journal; it keeps that from now on."""
    from secrets import token_hex

    number = journal.meta_get(ID)
    if number is None:
        number = token_hex(16)
        journal.meta_set(ID, number)
    return number


def owner_record(manifest: Manifest, number: str) -> dict[str, str]:
    """Return what the output says of its journal."""
    store = journal_in_database(manifest)
    return {"id": number, "journal": store.name, "database": str(store.database)}
