"""A plan reads like Terraform's: what is there, what would be bought, what it costs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from batchvid.cli.output.live import console_on
from batchvid.cli.plan import ROWS_SHOWN, plan_json, plan_lines, print_plan
from batchvid.domain.job import Job, Progress, State
from batchvid.domain.limits import Limits, OnChange
from batchvid.domain.plan import Plan, plan
from batchvid.domain.results import Money


def a_job(job_id: str, price_micros: int | None = 400_000) -> Job:
    """Return a job whose content is "now"."""
    return Job(job_id, "A kite.", "m", "16x9", None, (), (), price_micros, f"{job_id}.mp4", "now", "m.yaml:3")


def a_plan(limits: Limits | None = None) -> Plan:
    """Return a plan in which every kind of row occurs."""
    known = [
        Progress("changed", State.DONE, 5, 1, fingerprint="old", price_micros=300_000),
        Progress("done", State.DONE, 5, 1, fingerprint="now", price_micros=300_000),
        Progress("running", State.RUNNING, 2, 1, fingerprint="now", price_micros=300_000),
        Progress("doubt", State.IN_DOUBT, 2, 1, price_micros=300_000, reason="\x1b[31mreset\x1b[0m"),
        Progress("failed", State.FAILED, 2, 1, price_micros=300_000, reason="the [bold]prompt[/bold]"),
        Progress("gone", State.DONE, 5, 1, price_micros=300_000),
    ]
    jobs = [a_job(name) for name in ("new", "changed", "done", "running", "doubt", "failed")]
    return plan([*jobs, a_job("dear", None)], known, limits=limits or Limits(), typical_s=lambda _: 90.0)


def test_plain_lines_are_aligned_and_end_with_what_a_run_would_do() -> None:
    """Golden: everything that is not done, a mark each, then the sums."""
    assert list(plan_lines(a_plan())) == [
        "+ new      new         $0.40",
        "+ dear     new       unknown",
        "~ changed  keep        $0.30  kept as it was paid (on_change: keep)",
        "> running  running     $0.30",
        "? doubt    in doubt    $0.30  reset",
        "! failed   failed      $0.30  the [bold]prompt[/bold]",
        "- gone     orphaned    $0.30  no longer in the manifest; left alone",
        "",
        "2 new, 1 changed, 1 running, 1 in doubt, 1 failed, 1 done, 1 orphaned.",
        "A run would submit 2 jobs for $0.40 and 1 unknown price and collect 1 clip already paid, in about 1 min 44 s.",
    ]


def test_a_changed_job_is_bought_under_rebuy() -> None:
    """Its price then counts, and the line says buy."""
    lines = list(plan_lines(a_plan(Limits(on_change=OnChange.REBUY))))
    assert "~ changed  buy         $0.40  bought again (on_change: rebuy)" in lines
    assert "submit 3 jobs for $0.80 and 1 unknown price" in lines[-1]


def test_a_budget_that_will_not_do_is_told_before_anything_is_spent() -> None:
    """By how much it is short, counting what is spent and held already; to the millionth."""
    found = plan([a_job(f"j{n}") for n in range(10)], (), limits=Limits(), typical_s=lambda _: 90.0)
    enough = Money(spent_micros=1_000_000, reserved_micros=0, budget_micros=5_000_000)
    short = replace(enough, reserved_micros=1)
    assert not any("short" in line for line in plan_lines(found, enough))
    assert (
        "The budget ($5.00, of which $1.50 is spent or reserved) is $0.50 short: a run would stop there (exit 7)."
        in plan_lines(found, replace(enough, reserved_micros=500_000))
    )
    sums = [list(plan_json(found, money))[-1] for money in (enough, short)]
    assert [one["fits_budget"] for one in sums] == [True, False]


def test_a_budget_with_an_unknown_price_is_called_impossible() -> None:
    """A run would refuse to start; the plan says so first."""
    assert any("budget needs every price" in line for line in plan_lines(a_plan(), Money(budget_micros=10**9)))


def test_nothing_to_do_is_said_in_so_many_words() -> None:
    """A plan after a finished run."""
    known = [Progress("done", State.DONE, 5, 1, fingerprint="now")]
    found = plan([a_job("done")], known, limits=Limits(), typical_s=lambda _: 90.0)
    assert list(plan_lines(found)) == ["1 done.", "Nothing to do: a run would submit nothing and collect nothing."]


def test_a_plan_of_a_hundred_thousand_jobs_fits_on_a_few_screens() -> None:
    """A screenful of each kind, the rest as numbers; the orphans are not crowded out."""
    known = [Progress("gone", State.DONE, 5, 1)]
    found = plan([a_job(f"j{n}") for n in range(100_000)], known, limits=Limits(), typical_s=lambda _: 90.0)
    lines = list(plan_lines(found))
    assert len(lines) == ROWS_SHOWN + 5
    assert "  … and 99,960 new (all of them: batchvid plan --json)" in lines
    assert "- gone" in lines[ROWS_SHOWN]
    assert "submit 100,000 jobs for $40,000.00" in lines[-1]


def test_a_terminal_gets_a_table_and_everybody_else_the_plain_lines() -> None:
    """The same facts; markup and escapes in reasons are shown as text, not obeyed."""
    stream = io.StringIO()
    print_plan(console_on(stream, width=100), a_plan())
    assert stream.getvalue().splitlines() == list(plan_lines(a_plan()))
    terminal = io.StringIO()
    print_plan(console_on(terminal, width=100, force_terminal=True), a_plan())
    shown = terminal.getvalue()
    assert "+ dear" in shown
    assert "the [bold]prompt[/bold]" in shown
    assert "\x1b[31mreset" not in shown
    assert shown.split()[-6:] == ["in", "about", "1", "min", "44", "s."]


def test_plan_json_has_a_line_a_job_and_one_with_the_sums() -> None:
    """All are of type plan; only the last one has no id."""
    found = list(plan_json(a_plan()))
    assert {one["type"] for one in found} == {"plan"}
    assert [one.get("id") for one in found] == [
        "new", "changed", "done", "running", "doubt", "failed", "dear", "gone", None,
    ]  # fmt: skip
    assert found[0] == {
        "type": "plan",
        "id": "new",
        "action": "new",
        "state": "pending",
        "submits": True,
        "price": 0.4,
        "attempts": 2,
        "reason": None,
        "moved_from": None,
    }
    assert found[-1] == {
        "type": "plan",
        "counts": {
            "new": 2,
            "changed": 1,
            "running": 1,
            "in_doubt": 1,
            "failed": 1,
            "done": 1,
            "rejected": 0,
            "moved": 0,
            "orphaned": 1,
        },
        "submits": 2,
        "price": 0.4,
        "price_at_most": None,
        "unpriced": 1,
        "estimated_s": 104,
        "fits_budget": None,
    }
    assert json.loads(json.dumps(found)) == found
