"""What is paid is found under whatever id the manifest has for it now, and never given to two."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from batchvid.domain.dependencies import DependencyGraph, bound
from batchvid.domain.identity import Edit, Identity, Move, identify, is_new
from batchvid.domain.job import Continuation, Job, Progress, State
from batchvid.domain.records import sidecar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def wanted(job_id: str, fingerprint: str = "f-kite", *, prompt: str = "A kite", named: bool = True) -> Job:
    """Return a job of the manifest."""
    return Job(
        job_id, prompt, "m", None, None, (), (), 400_000, f"{job_id}.mp4", fingerprint, "m.yaml:3", is_named=named
    )


def paid(job_id: str, fingerprint: str = "f-kite", state: State = State.DONE, *, attempt: int = 1) -> Progress:
    """Return a row of the journal."""
    clip = {"path": f"{job_id}.mp4", "size_bytes": 9, "sha256": f"sha-{job_id}"} if state is State.DONE else {}
    return Progress(job_id, state, 3, attempt, fingerprint=fingerprint)._replace(**clip)  # type: ignore[arg-type]


def identity(
    jobs: Sequence[Job], rows: Iterable[Progress], stories: dict[str, dict[str, Any]] | None = None
) -> Identity:
    """Return what becomes of the journal's rows."""
    known = {row.job_id: row for row in rows}
    ids = {job.id for job in jobs}
    return identify(
        jobs,
        DependencyGraph(jobs),
        new={job_id for job_id in ids if is_new(known.get(job_id))},
        rows={job_id: row for job_id, row in known.items() if job_id in ids},
        orphans=[row for row in known.values() if row.job_id not in ids],
        sidecar_of=lambda row: (stories or {}).get(row.job_id, {}),
    )


def moves(jobs: Sequence[Job], rows: Iterable[Progress]) -> list[tuple[str, str]]:
    """Return the moves as pairs."""
    return [(move.old, move.new) for move in identity(jobs, rows).moves]


@pytest.mark.parametrize(
    ("state", "attempt", "is_moved"),
    [
        (State.DONE, 1, True),
        (State.READY, 1, True),
        (State.RUNNING, 1, True),
        (State.IN_DOUBT, 1, True),
        (State.SUBMITTING, 1, True),
        (State.PENDING, 1, True),
        (State.PENDING, 0, True),
        (State.FAILED, 2, True),
        (State.FAILED, 0, False),
    ],
)
def test_the_same_content_is_the_same_job_in_every_state(state: State, attempt: int, is_moved: bool) -> None:  # noqa: FBT001 a table
    """Only what failed and cost nothing is tried again under the new id."""
    found = moves([wanted("kite-v2")], [paid("kite", state=state, attempt=attempt)])
    assert found == ([("kite", "kite-v2")] if is_moved else [])


def test_what_the_manifest_names_is_never_given_away() -> None:
    """Not to a new job of the same content, nor where two have exchanged their contents."""
    assert moves([wanted("kite"), wanted("gull")], [paid("kite")]) == []
    swapped = [wanted("a", "f-b"), wanted("b", "f-a")]
    assert moves(swapped, [paid("a", "f-a"), paid("b", "f-b")]) == []


def test_who_has_paid_something_is_not_new() -> None:
    """Its own clip stays its own, and the orphan stays one."""
    assert moves([wanted("gull")], [paid("kite"), paid("gull", "f-other")]) == []
    assert moves([wanted("gull")], [paid("kite"), paid("gull", state=State.FAILED, attempt=0)]) == [("kite", "gull")]


def test_takes_keep_their_numbers() -> None:
    """Twelve of one content, and the tenth comes after the ninth."""
    numbers = ["", *(f"-{n}" for n in range(2, 13))]
    found = moves([wanted(f"gull{n}") for n in numbers], [paid(f"kite{n}") for n in reversed(numbers)])
    assert found == [(f"kite{n}", f"gull{n}") for n in numbers]


def test_of_more_than_are_wanted_the_clips_are_taken() -> None:
    """What is done comes before what is under way, and that before what failed."""
    rows = [paid("kite", state=State.FAILED), paid("kite-2", state=State.RUNNING), paid("kite-3")]
    assert moves([wanted("gull")], rows) == [("kite-3", "gull")]
    assert moves([wanted("gull"), wanted("gull-2")], rows) == [("kite-2", "gull"), ("kite-3", "gull-2")]


def test_more_takes_than_there_are_get_what_there_is() -> None:
    """The rest is new."""
    assert moves([wanted("gull"), wanted("gull-2"), wanted("gull-3")], [paid("kite")]) == [("kite", "gull")]


def test_another_case_is_the_same_id_also_with_another_content() -> None:
    """As in a manifest, where no two ids differ in case only."""
    assert moves([wanted("kite")], [paid("Kite")]) == [("Kite", "kite")]
    assert moves([wanted("kite", "f-new")], [paid("Kite")]) == [("Kite", "kite")]
    both = [wanted("a"), wanted("kite")]
    assert sorted(moves(both, [paid("Kite"), paid("other")])) == [("Kite", "kite"), ("other", "a")]


def test_a_text_in_another_unicode_form_is_the_same_content() -> None:
    """What an older batchvid paid for it is found."""
    job = replace(wanted("cafe-2", "f-nfc"), also=("f-nfd",))
    assert moves([job], [paid("cafe", "f-nfd")]) == [("cafe", "cafe-2")]


def test_a_chain_is_found_link_by_link() -> None:
    """What a child would send hangs on its parent's clip, which is found first."""

    def after(above: str, job_id: str) -> Continuation:
        base = wanted(job_id, "", prompt=f"Part {job_id[-1]}")
        return Continuation(
            base.id,
            base.prompt,
            "m",
            None,
            None,
            (),
            (),
            400_000,
            base.path,
            "",
            "m.yaml:4",
            continues=above,
            at_s=None,
        )

    old = [wanted("a1", "f-1"), after("a1", "a2"), after("a2", "a3")]
    rows = [paid("a1", "f-1")]
    for job in old[1:]:
        assert isinstance(job, Continuation)
        rows.append(paid(job.id, bound(job, f"sha-{job.continues}").fingerprint))
    new = [after("b2", "b3"), after("b1", "b2"), wanted("b1", "f-1")]
    assert moves(new, rows) == [("a1", "b1"), ("a2", "b2"), ("a3", "b3")]
    kept_parent = [wanted("a1", "f-1"), after("a1", "b2")]
    assert moves(kept_parent, rows) == [("a2", "b2")]


def story(prompt: str, **fields: Any) -> dict[str, Any]:
    """Return the sidecar of a clip."""
    return sidecar(replace(wanted("any", prompt=prompt), **fields), paid("any"))


def test_an_edited_job_without_id_is_the_clip_that_it_was() -> None:
    """All takes of it, in order; the move says what was edited."""
    jobs = [wanted("a-kite-00000a", "f-new", named=False), wanted("a-kite-00000a-2", "f-new", named=False)]
    rows = [paid("a-kiet-00000b", "f-old"), paid("a-kiet-00000b-2", "f-old")]
    found = identity(jobs, rows, {row.job_id: story("A kiet") for row in rows})
    assert found.moves == (
        Move("a-kiet-00000b", "a-kite-00000a", Edit.PROMPT),
        Move("a-kiet-00000b-2", "a-kite-00000a-2", Edit.PROMPT),
    )
    assert "its prompt was edited; kept as paid" in found.moves[0].told(kept=True)


def test_seconds_that_are_written_out_buy_nothing() -> None:
    """The prompt is the only one of its kind."""
    job = replace(wanted("a-kite-00000a", "f-new", named=False), seconds="8")
    found = identity([job], [paid("a-kite-00000b", "f-old")], {"a-kite-00000b": story("A kite")})
    assert [move.edit for move in found.moves] == [Edit.REST]


def test_likeness_is_only_for_ids_that_nobody_wrote() -> None:
    """A job with an id is another job, and so is an orphan that had one; and a failed prompt is edited to be tried."""
    new, old = wanted("a-kite-00000a", "f-new", named=False), paid("a-kiet-00000b", "f-old")
    told = {"a-kiet-00000b": story("A kiet"), "kiet": story("A kiet")}
    assert identity([replace(new, is_named=True)], [old], told) == Identity()
    assert identity([new], [paid("kiet", "f-old")], told) == Identity()
    assert identity([new], [paid("a-kiet-00000b", "f-old", State.FAILED)], told) == Identity()
    assert identity([new], [old], told).moves == (Move("a-kiet-00000b", "a-kite-00000a", Edit.PROMPT),)


def test_another_wish_is_new_and_told_beside_what_it_resembles() -> None:
    """It will be bought; who meant the same job gives it the id."""
    new = wanted("a-blue-kite-00000a", "f-new", prompt="A blue kite", named=False)
    found = identity([new], [paid("a-red-kite-00000b", "f-old")], {"a-red-kite-00000b": story("A red kite")})
    assert found == Identity(resembling=(("a-blue-kite-00000a", "a-red-kite-00000b"),))
