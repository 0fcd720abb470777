"""What a service says of a prompt that it will not have is told apart from what another try may mend."""

from __future__ import annotations

import pytest

from batchvid.domain.refusal import is_of_content


@pytest.mark.parametrize(
    "reason",
    [
        "the prompt was refused by the safety system",
        "moderation_blocked: Your request was blocked by our moderation system.",
        "content_policy",
        "400: prompt not allowed",
        "NSFW content detected",
        "Your prompt violates our usage policies",
        "the input image was flagged",
        "提示词包含敏感内容",
    ],
)
def test_words_of_a_refused_content_are_known(reason: str) -> None:
    """As gateways and makers of models say it."""
    assert is_of_content(reason)


@pytest.mark.parametrize(
    "reason",
    [
        None,
        "internal error of the generator",
        "size is wrong",
        "the request was rejected: rate limit",
        "Requests rate limit exceeded",
        "Video generation failed. Check job status for error details.",
        "not sent: frames/dawn.png is gone",
        "the input was cut off, and the connection broke",
    ],
)
def test_other_failures_are_not_taken_for_one(reason: str | None) -> None:
    """They may be bought again as they are."""
    assert not is_of_content(reason)
