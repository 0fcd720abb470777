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
    model: str
    key_env: str
    """The variable of a key for `base_url`."""
    is_key_for_others: bool
    """Whether that key also goes to another address which the manifest names without a variable of its own."""
    has_last_frame: bool
    """Whether a request can carry a second picture."""
    needs_pixels: bool
    """Whether a size is never a shape such as ``16x9``, and a frame should have it to the pixel."""

    def key_env_for(self, base_url: str) -> str:
        """Return the variable of the key for an address; empty: no key is sent there.

        A server of one's own often wants none, and must not be told the key of a paid service by a default.
        """
        return self.key_env if self.is_key_for_others or base_url == self.base_url else ""


FACTS: Mapping[ProviderName, ProviderFacts] = {
    ProviderName.COMETAPI: ProviderFacts(
        base_url="https://api.cometapi.com/v1",
        model="veo3-fast",
        key_env="COMETAPI_KEY",
        is_key_for_others=True,
        has_last_frame=True,
        needs_pixels=False,
    ),
    ProviderName.OPENAI: ProviderFacts(
        base_url="https://api.openai.com/v1",
        model="sora-2",
        key_env="OPENAI_API_KEY",
        is_key_for_others=False,
        has_last_frame=False,
        needs_pixels=True,
    ),
}
