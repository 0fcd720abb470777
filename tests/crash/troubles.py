"""What the machine lets go wrong at the service: every kind of answer that a faults file can bring about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from batchvid.providers.response import LostAt

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

PAGE = "<html><h1>502 Bad Gateway</h1></html>"


def _error(message: str, code: str = "", kind: str = "comet_api_error") -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "type": kind}}


REFUSED: list[dict[str, Any]] = [
    {"status": 400, "body": _error("the prompt is not allowed")},
    {"status": 500, "body": _error("no such size", "invalid_request")},
    {"status": 413, "body": {"code": "read_request_body_failed", "message": "too large"}},
    {"status": 401, "body": _error("invalid token")},
    {"status": 403, "body": {"code": "insufficient_user_quota", "message": "user quota is not enough"}},
    {"status": 503, "body": _error("no available channel", "model_not_found")},
    {"redirect": "https://elsewhere.example/v1/videos"},
]
"""Answers to a create that say that nothing was created. They may last, for a run ends by them."""
BUSY: list[dict[str, Any]] = [
    {"status": 429, "headers": {"retry-after": "7"}},
    {"status": 429, "body": _error("slow down")},
    {"status": 503, "body": _error("overloaded")},
    {"status": 500, "body": {"code": "fail_to_fetch_task", "message": "upstream"}},
]
"""Answers that make a run wait."""
BUSY_AT_MOST = 7
"""A run waits for hours for a service that stays busy; the machine does not."""
UNCLEAR: list[dict[str, Any]] = [
    {"status": 502, "body": PAGE},
    {"reset": "before"},
    {"reset": "during"},
    {"reset": "after-effect"},
    {"hang": True},
    {"cut_at": 0.5},
    {"garbage": "html"},
    {"garbage": "json"},
    {"garbage": "half"},
    {"garbage": "empty"},
    {"raw": "SSH-2.0-OpenSSH_9.6\r\n"},
]
"""Answers after which nobody knows what happened."""
BILLED_UNSEEN: list[dict[str, Any]] = [
    {"status": 502, "body": PAGE, "effect": True},
    {"status": 504, "body": _error("upstream timed out"), "effect": True},
    {"hang": True, "effect": True},
]
FATES: list[dict[str, Any]] = [{"fail": "blocked"}, {"never": True}, {"forget": True}, {"wrapped": True}]
"""What may become of a task."""
LOOKS: list[dict[str, Any]] = [
    *FATES,
    {"status": 401, "body": _error("invalid token")},
    {"status_word": "dreaming"},
    {"no_url": True},
    {"expire": True},
    {"set": {"progress": 100, "status": "queued"}},
]
TRANSFERS: list[dict[str, Any]] = [
    {"cut_at": 0.0},
    {"cut_at": 0.5},
    {"cut_at": 0.9},
    {"expire": True},
    {"ignore_range": True},
    {"etag": "change"},
    {"content_length": "none"},
    {"content_length": "100"},
    {"content_length": "99999999"},
    {"stall_s": 300},
    {"garbage": "html"},
    {"garbage": "half"},
    {"garbage": "empty"},
    {"reset": "before"},
    {"status": 503, "body": PAGE},
    {"status": 404, "body": ""},
    {"status": 416, "body": ""},
]
KINDS: list[tuple[str, list[dict[str, Any]]]] = [
    *(("create", kind) for kind in (REFUSED, BUSY, UNCLEAR, BILLED_UNSEEN, FATES)),
    *(("poll", kind) for kind in ([*BUSY, *UNCLEAR], LOOKS)),
    *((call, TRANSFERS) for call in ("file", "content")),
]
"""Each as likely as another, for each leads somewhere else."""


def troubles(names: list[str]) -> SearchStrategy[dict[str, Any]]:
    """Draw one rule of a faults file, for all jobs or for those of one name."""
    whom = st.sampled_from(["*", *(f"The clip {name}*" for name in names)])
    met = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind[0]), st.sampled_from(kind[1])))
    return st.builds(_rule, met, whom=whom, first=st.integers(1, 3), times=st.sampled_from([1, 2, 5, None]))


def _rule(met: tuple[str, dict[str, Any]], *, whom: str, first: int, times: int | None) -> dict[str, Any]:
    call, what = met
    if times is None and call == "create" and what in BUSY:
        times = BUSY_AT_MOST
    return {"on": call, "prompt": whom, "nth": f"{first}-", **what, **({} if times is None else {"times": times})}


def absences() -> SearchStrategy[tuple[float, float, LostAt]]:
    """Draw in how many seconds the network goes, for how many, and how that looks."""
    return st.tuples(
        st.sampled_from([0.0, 1.0, 20.0, 60.0]), st.sampled_from([3.0, 60.0, 900.0]), st.sampled_from(list(LostAt))
    )
