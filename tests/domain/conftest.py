"""No example of hypothesis is too slow here: its time says how busy the machine is, not what is wrong."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("core", deadline=None)
settings.load_profile("core")
