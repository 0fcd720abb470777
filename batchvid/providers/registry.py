"""The providers, by the names that a manifest gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchvid.domain.task import ProviderName
from batchvid.providers.cometapi import CometAPI
from batchvid.providers.openai import OpenAI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchvid.providers.base import Provider

PROVIDERS: Mapping[str, Provider] = {ProviderName.COMETAPI: CometAPI(), ProviderName.OPENAI: OpenAI()}
