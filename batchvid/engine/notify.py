"""Tells others of a run: a small POST to a webhook, or whatever Apprise can reach. Never fails a run, nor delays it."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from batchvid import __version__
from batchvid.domain.notice import Moments, When, moment_notice
from batchvid.engine.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from batchvid.domain.notice import Hook
    from batchvid.domain.results import Snapshot


PATIENCE_S = 10.0
"""For one notification as a whole: the run is over, and somebody may wait for the process to end."""
GOOD = range(200, 300)


class News(Observer):
    """Watches a run for the moments of which its hooks want to hear, and has each told while the run goes on.

    *start* starts what tells; whoever calls `starts_with` waits for it at the end of the call.
    """

    def __init__(self, manifest: str, hooks: Sequence[Hook], warn: Callable[[str], None]) -> None:
        self._manifest = manifest
        self._hooks = [hook for hook in hooks if set(hook.when) - {When.END}]
        self._warn = warn
        self._moments = Moments()
        self._start: Callable[[Coroutine[Any, Any, None]], object] | None = None

    def starts_with(self, start: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Have whatever is told started so."""
        self._start = start

    def stats(self, snapshot: Snapshot) -> None:
        """Tell of the moments that have come."""
        if not self._hooks or self._start is None:
            return
        for when in self._moments.found(snapshot):
            hooks = [hook for hook in self._hooks if when in hook.when]
            if hooks:
                self._start(self._tell(hooks, moment_notice(when, snapshot, self._manifest)))

    async def _tell(self, hooks: Sequence[Hook], told: Mapping[str, Any]) -> None:
        for trouble in await tell(hooks, told):
            self._warn(trouble)


async def tell(hooks: Iterable[Hook], notice: Mapping[str, Any]) -> list[str]:
    """Tell all *hooks*, at once, and return what went wrong, in words that hold no part of a URL but its host."""
    outcomes = await asyncio.gather(*(_tell(hook, notice) for hook in hooks))
    return [outcome for outcome in outcomes if outcome is not None]


async def _tell(hook: Hook, notice: Mapping[str, Any]) -> str | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            trouble = await (_post(hook.address, notice) if hook.is_webhook else _by_apprise(hook.url, notice))
    except TimeoutError:
        trouble = f"no answer within {PATIENCE_S:g} s"
    return None if trouble is None else f"the notification to {hook.shown} was not delivered: {trouble}"


async def _post(address: str, notice: Mapping[str, Any]) -> str | None:
    """Post JSON. A redirect is not followed: it could lead what is told to anybody. The answer's body is not read."""
    import aiohttp

    body = json.dumps(notice).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"batchvid/{__version__}"}
    bounds = aiohttp.ClientTimeout(total=PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=bounds) as session,
            session.post(address, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return None if response.status in GOOD else f"it answered {response.status}"
    except (aiohttp.InvalidURL, ValueError):
        return "its URL is none"
    except (aiohttp.ClientError, OSError) as error:  # whose text may hold the URL
        cause = getattr(error, "os_error", error)
        return (cause.strerror if isinstance(cause, OSError) else None) or type(error).__name__


async def _by_apprise(url: str, notice: Mapping[str, Any]) -> str | None:
    """Hand it to Apprise, an extra, whose log may hold the URL and so is kept silent."""
    try:
        import apprise
    except ImportError:
        return "it needs the extra: pip install 'batchvid[notify]'"
    log = logging.getLogger("apprise")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    teller = apprise.Apprise()
    if not teller.add(url):
        return "Apprise does not know such a URL"
    told = await teller.async_notify(title=notice["title"], body=notice["message"], notify_type=notice["type"])
    return None if told else "Apprise could not deliver it"
