"""A run that a program watches over: what a person must know goes to the program's own log."""

from __future__ import annotations

import logging

from batchvid.views.view import Silent

LOG = logging.getLogger("batchvid")


class Logged(Silent):
    """Logs warnings and notes as ``batchvid``, and says nothing else.

    A warning may hold a paid task id that could be written nowhere: where nobody set up logging, Python prints it.
    """

    def note(self, text: str) -> None:
        """Log it as information."""
        LOG.info("%s", text)

    def warn(self, text: str) -> None:
        """Log it as a warning."""
        LOG.warning("%s", text)
