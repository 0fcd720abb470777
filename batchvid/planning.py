"""What is left to do of a manifest, held against its journal."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from batchvid.core.chains import Chains
from batchvid.core.forecast import Forecast
from batchvid.core.identity import Identity
from batchvid.core.job import State
from batchvid.core.lifecycle import advance
from batchvid.core.plan import Plan, plan
from batchvid.core.settings import OnChange
from batchvid.core.snapshot import Money
from batchvid.missing import as_a_run_finds
from batchvid.moving import as_moved, identity_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from batchvid.core.job import Progress
    from batchvid.core.lifecycle import Reopened
    from batchvid.edge.readings import Readings
    from batchvid.manifest.model import Manifest

NOTHING_LOST: Mapping[str, str] = MappingProxyType({})
NOTHING: Mapping[str, Reopened] = MappingProxyType({})


def planned(  # noqa: PLR0913 what a run would be told
    manifest: Manifest,
    journal: Readings | None,
    *,
    rebuy: bool = False,
    run_active: bool = False,
    lost: Mapping[str, str] = NOTHING_LOST,
    again: Mapping[str, Reopened] = NOTHING,
    only: Collection[str] | None = None,
) -> tuple[Plan, Money]:
    """Give the plan and the money so far; no *journal* stands for a manifest that was never run.

    *rebuy*: as a run with ``--rebuy`` would do it. *run_active*: a run is at work, so that a paid request that is under
    way is no doubt. *lost* is what is wrong with clips that a run would fetch again, by job id. *again*: the jobs that
    the run may open again, each with the event that does it. *only*: the ids that it may submit.
    """
    limits = replace(manifest.limits, on_change=OnChange.REBUY) if rebuy else manifest.limits
    money, timings, identity = Money(), None, Identity()
    rows: Iterable[Progress] = ()
    if journal is not None:
        identity = identity_of(manifest.jobs, Chains(manifest.jobs), journal, manifest.output)
        money, timings, rows = journal.money(), journal.timings(), as_moved(journal.all_progress(), identity)
    rows = as_a_run_finds(rows, lost)
    if run_active:
        rows = (row._replace(state=State.RUNNING) if row.state is State.SUBMITTING else row for row in rows)
    if again:
        rows = (advance(row, again[row.job_id], at=0.0) if row.job_id in again else row for row in rows)
    forecast = Forecast(limits.typical_time_s, timings)
    made = plan(
        manifest.jobs, rows, limits=limits, typical_s=lambda name: forecast.of(name).typical_s, identity=identity,
        only=only,
    )  # fmt: skip
    return made, replace(money, budget_micros=limits.budget_micros)
