"""What a manifest says, once it is read and found to be right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchvid.domain.task import ProviderName, ProxyUse

if TYPE_CHECKING:
    from pathlib import Path

    from batchvid.domain.film import Film
    from batchvid.domain.job import Job
    from batchvid.domain.limits import Limits
    from batchvid.domain.notice import Hook


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest, expanded: every job that should become a clip, in the manifest's order."""

    path: Path
    """Absolute."""
    base_url: str
    """Of the service, normalised: scheme, host, path that ends in ``/v1``, no trailing slash."""
    key_env: str
    """The name of the variable that holds the key; empty: the service gets none."""
    output: Path
    """A folder of this machine, absolute; it need not exist yet. It holds the clips and their journal; for an output in
    a bucket, the journal and what else stays on this machine."""
    limits: Limits
    jobs: tuple[Job, ...]
    notify: tuple[Hook, ...] = ()
    """Whom to tell at the end of a run."""
    films: tuple[Film, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is allowed but probably not meant, as ``file:line:column: where: text``."""
    allow_http: bool = False
    """Whether the key may be sent to another machine without encryption."""
    clip_hosts: tuple[str, ...] = ()
    """Hosts and networks at which clips may be besides public addresses and the service's own host."""
    proxy: ProxyUse = ProxyUse.NONE
    """Whether the proxy is used that the environment names."""
    reads: tuple[Path, ...] = ()
    """What it includes, and the tables and folders of frame pairs that its entries name, absolute."""
    provider: ProviderName = ProviderName.COMETAPI
    """What the service speaks."""
    database_env: str = ""
    """The name of the variable that holds the address of the journal's database; empty: it names none."""
    database: str = field(default="", repr=False)
    """The address of the journal's database, once it is known; empty: there is none. It may hold a password."""
    home: Path | None = None
    """Beside a database: the folder of this machine for the state of a run, whose output other machines may share."""
    made_safe: tuple[tuple[str, str], ...] = ()
    """The jobs whose file is not named as it is written (``safe_names``), each with the path as it is written."""
    bucket: str | None = None
    """Where the clips lie, when that is no folder: ``s3://bucket/prefix``, without a slash at its end."""
    profile: str = ""
    """The profile of the user's config file that was used, and the file; empty: none was."""
    profile_name: str = ""
    is_placed: bool = False
    """Whether its output is one that was named beside it, and not its own."""

    @property
    def place(self) -> str:
        """Return where the clips lie, for people and programs: the address in a bucket, or else the folder."""
        return self.bucket or str(self.output)
