"""Whether a service refused what a prompt or a frame shows: buying it again as it is brings the same answer."""

from __future__ import annotations

import re

_OF_CONTENT = re.compile(
    r"""
    moderat | \bnsfw\b | responsible.?ai | content.?(polic|filter|violat|guideline|restrict) | \bsafety\b
    | (usage|community|our|platform)\s(polic|guideline) | violat\w*\s.{0,40}(polic|guideline|terms)
    | (prohibited|sensitive|inappropriate|harmful|unsafe|explicit|copyrighted)
      \s.{0,20}(content|word|material|image|prompt)
    | (prompt|content|image|input|frame)s?\s.{0,30}(refused|rejected|blocked|flagged|not\sallowed|disallowed)
    | 违规 | 敏感 | 审核
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""The services give such a refusal no common code, so their words decide. Only advice hangs on it, never a payment."""


def is_of_content(reason: str | None) -> bool:
    """Whether *reason*, in the service's words, says that the content was refused."""
    return reason is not None and _OF_CONTENT.search(reason) is not None
