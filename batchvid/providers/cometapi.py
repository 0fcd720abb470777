"""CometAPI's Veo route, and the gateways that speak it: up to two frames, told apart by their order alone."""

from __future__ import annotations

from batchvid.providers.base import Vocabulary
from batchvid.providers.videos import VideosAPI

QUOTA = frozenset({"insufficient_user_quota", "pre_consume_token_quota_failed", "insufficient_quota"})
NO_CHANNEL = frozenset({"model_not_found", "get_channel_failed"})
WORDS = Vocabulary(
    quota=QUOTA,
    no_channel=NO_CHANNEL,
    no_task=frozenset({"task_not_exist", "task_not_found"}),
    before_work=QUOTA | NO_CHANNEL | {"invalid_request"},
)


class CometAPI(VideosAPI):
    """The provider ``cometapi``."""

    def __init__(self) -> None:
        super().__init__(WORDS)
