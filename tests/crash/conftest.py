"""Profiles of hypothesis for the machine; see `tests/crash/test_machine.py`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_ALIKE = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)

settings.register_profile(
    "machine", parent=_ALIKE, derandomize=True, max_examples=100, stateful_step_count=18, database=None
)
settings.register_profile("search", parent=_ALIKE, max_examples=2000, stateful_step_count=25)
