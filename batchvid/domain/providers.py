"""The services that batchvid speaks to, by name, and what a manifest may ask of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProviderName(StrEnum):
    """What ``service.provider`` may be."""

    COMETAPI = "cometapi"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """What stands where a manifest says nothing, and what it cannot ask for."""

    base_url: str
    key_env: str
    """For a key of the service at `base_url`."""
    key_env_elsewhere: str | None
    """The same for another address; ``None``: no key goes there unless the manifest names its variable."""
    has_last_frame: bool
    """Whether a request can carry a second picture."""
    needs_pixels: bool
    """Whether a size is never a shape such as ``16x9``."""


FACTS: Mapping[ProviderName, ProviderFacts] = {
    ProviderName.COMETAPI: ProviderFacts(
        base_url="https://api.cometapi.com/v1",
        key_env="COMETAPI_KEY",
        key_env_elsewhere="COMETAPI_KEY",
        has_last_frame=True,
        needs_pixels=False,
    ),
    ProviderName.OPENAI: ProviderFacts(
        base_url="https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        key_env_elsewhere=None,
        has_last_frame=False,
        needs_pixels=True,
    ),
}
