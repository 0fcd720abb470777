"""Examples of hypothesis are never too slow here: how long one takes says how busy the machine is, not what is wrong."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("core", deadline=None)
settings.load_profile("core")
