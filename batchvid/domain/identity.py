"""Which new jobs of a manifest are clips that the journal has paid under another id.

A job is *new* when nothing was ever paid under its id. An *orphan* is a row of the journal whose id the manifest does
not name; a job that the manifest names is never given away. One orphan goes to one job, and these rules come in order:

1. **The same content.** A new job whose fingerprint is an orphan's is that orphan, whatever state it is in, except one
   that failed and cost nothing: trying that again is free. Among several, an id that differs in case only comes first.
   Else those are taken that are nearest to a clip (done, ready, running …), and both sides pair in order of their ids.
2. **The same id in another case** (``Kite``, ``kite``) is the same job, as in a manifest. If its content is another
   one, it has changed, as that of any job that keeps its id.
3. **The same entry, edited.** A new job without an id is an orphan whose id was derived, too, if all of this holds:
   the two are alike (see below), nothing else of both kinds is like either, and the orphan is or may become a clip.
   The job has changed then, and is kept as it was paid unless rebuying was asked for.

A new job that only resembles an orphan is a new job; it is named beside that orphan before it is bought.

Two contents are alike when one is the other after an edit that nobody would want to pay for. One of these holds:

1. Everything but the prompt is the same, and the prompts have the same letters and digits, without regard to case,
   punctuation and spaces.
2. Everything but the prompt is the same, and one word of the prompts is misspelt: it has no digit, and is four letters
   or longer with one letter more, less or other, or two neighbours of three letters or more have changed places.
3. Only size, seconds or frames differ, and no other job of the manifest and no other clip has that prompt.

Where no sidecar tells the prompt of what was paid, the first words in its id stand for it if they are the whole
prompt. Nothing is known of the rest then.

Another word is another content: somebody who writes *dog* for *kite* wants to see a dog.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from enum import StrEnum
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from batchvid.domain.dependencies import as_it_stands
from batchvid.domain.frozen import frozen
from batchvid.domain.job import Continuation, State
from batchvid.domain.text import nfc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from batchvid.domain.dependencies import DependencyGraph
    from batchvid.domain.job import Job, Progress


SPELT_FROM, SWAPPED_FROM = 4, 3
"""Letters of a word that may be misspelt, and of one in which two may have changed places."""
SLUG_IS_WHOLE = 30
"""A slug of at most so many letters holds every word, but for one of ten letters or more."""
RESEMBLES = 0.6
"""The share of words in common from which a prompt is told beside another one."""
TOLD_AT_MOST, LOOKED_AT_MOST = 50, 500
"""New contents that are told beside a paid one, and paid ones that are looked at for each."""
_WORD = re.compile(r"\w+|[^\w\s!-/:-@\[-`{-~\u2000-\u206f\u3000-\u303f]")
"""Letters and digits, or one sign that is no punctuation, such as an emoji."""

Key = tuple[Any, ...]
Words = list[tuple[str, tuple[str, ...]]]
"""Contents by name, each with its words."""


class Edit(StrEnum):
    """What was edited."""

    PROMPT = "its prompt was edited"
    REST = "its size, seconds or frames changed"


@frozen
class Content:
    """What is known of a content."""

    words: tuple[str, ...]
    """Of the prompt, or of the slug where the prompt is not known."""
    slug: tuple[str, ...]
    kind: Key | None
    """What else is sent, but for size, seconds and frames; ``None`` where that is not known."""
    rest: Key | None
    """Size, seconds and frames."""

    @staticmethod
    def of_job(job: Job, rows: Mapping[str, Progress], *, slug: str) -> Content:
        """Return the content of a job; *rows* hold the clip that it continues, if it does."""
        above = None
        if isinstance(job, Continuation):
            clip = rows.get(job.continues)
            above = None if clip is None else (clip.sha256, job.at_s)
        frames = tuple((one.path, one.recipe) if one.recipe else (one.sha256, "") for one in job.frames)
        kind = (job.model, tuple(sorted(job.form)))
        return Content(words_of(job.prompt), tuple(slug.split("-")), kind, (job.size, job.seconds, frames, above))

    @staticmethod
    def of_sidecar(told: Mapping[str, Any], *, slug: str) -> Content | None:
        """Return the content that a sidecar tells of; ``None`` when it does not tell the prompt."""
        prompt, frames, form = told.get("prompt"), told.get("frames"), told.get("form")
        if not isinstance(prompt, str) or not isinstance(frames, list) or not isinstance(form, dict):
            return None
        known = [one for one in frames if isinstance(one, dict)]
        keys = tuple(
            (one.get("file"), one["prepared"]) if one.get("prepared") else (one.get("sha256"), "") for one in known
        )
        before = told.get("continues")
        above = (before.get("clip_sha256"), before.get("at_s")) if isinstance(before, dict) else None
        kind = (told.get("model"), tuple(sorted((str(name), nfc(str(value))) for name, value in form.items())))
        return Content(
            words_of(prompt), tuple(slug.split("-")), kind, (told.get("size"), told.get("seconds"), keys, above)
        )

    @staticmethod
    def of_slug(slug: str) -> Content:
        """Return the content of which only the first words are known."""
        words = tuple(slug.split("-"))
        return Content(words, words, None, None)


def words_of(prompt: str) -> tuple[str, ...]:
    """Return the words of a prompt, without regard to case, punctuation and spaces."""
    return tuple(_WORD.findall(nfc(prompt).casefold()))


def edits(
    wanted: Mapping[str, Content], paid: Mapping[str, Content], *, every: Iterable[tuple[str, str]]
) -> list[tuple[str, str, Edit]]:
    """Return which contents that are *wanted* are an edit of which that are *paid*, by their names.

    Each of them is like one of the other kind, and no more. *every* job of the manifest has a prompt and a content.
    """
    pairs: dict[tuple[str, str], Edit] = {}
    for new, old in (*_misspelt(_by_rest(wanted), _by_rest(paid)), *_misspelt(_whole_slugs(wanted), _bare_slugs(paid))):
        pairs[new, old] = Edit.PROMPT
    for new, old in _same_prompt(wanted, paid, every):
        pairs.setdefault((new, old), Edit.REST)
    of_new, of_old = Counter(new for new, _ in pairs), Counter(old for _, old in pairs)
    return [(new, old, edit) for (new, old), edit in pairs.items() if of_new[new] == of_old[old] == 1]


def resembling(wanted: Mapping[str, Content], paid: Mapping[str, Content]) -> dict[str, str]:
    """Return for contents that are *wanted* the one that is *paid* and most like it, where one is like it at all."""
    found = {}
    looked_at = list(islice(paid.items(), LOOKED_AT_MOST))
    for new, content in islice(wanted.items(), TOLD_AT_MOST):
        like, name = max(((_likeness(content, one), name) for name, one in looked_at), default=(0.0, ""))
        if like >= RESEMBLES:
            found[new] = name
    return found


def _likeness(new: Content, old: Content) -> float:
    from difflib import SequenceMatcher

    words = new.words if old.kind is not None else new.slug
    matcher = SequenceMatcher(None, words, old.words, autojunk=False)
    return matcher.ratio() if matcher.real_quick_ratio() >= RESEMBLES else 0.0


def _by_rest(contents: Mapping[str, Content]) -> dict[Key, Words]:
    """Return the prompts that are known, by all that is sent beside them."""
    found: dict[Key, Words] = defaultdict(list)
    for name, one in contents.items():
        if one.kind is not None and one.words:
            found[one.kind, one.rest].append((name, one.words))
    return found


def _whole_slugs(wanted: Mapping[str, Content]) -> dict[Key, Words]:
    return {(): [(name, one.slug) for name, one in wanted.items() if one.slug == one.words]}


def _bare_slugs(paid: Mapping[str, Content]) -> dict[Key, Words]:
    """Return the prompts of which nothing is known but that they are all in their slugs."""
    return {
        (): [
            (name, one.slug)
            for name, one in paid.items()
            if one.kind is None and len("-".join(one.slug)) <= SLUG_IS_WHOLE
        ]
    }


def _misspelt(wanted: Mapping[Key, Words], paid: Mapping[Key, Words]) -> Iterator[tuple[str, str]]:
    """Yield which prompts are the same but for their spelling (rules 1 and 2), perhaps more than once.

    Linear in the letters: a prompt is looked for by what is left of it without one letter of one word.
    """
    for key, news in wanted.items():
        olds = paid.get(key, [])
        letters: dict[str, list[str]] = defaultdict(list)
        for old, words in olds:
            letters[_letters(words)].append(old)
        for new, words in news:
            yield from ((new, old) for old in letters.get(_letters(words), ()))
        yield from _misspelt_in_one(news, olds)


def _misspelt_in_one(news: Words, olds: Words) -> Iterator[tuple[str, str]]:
    """Yield which prompts differ in one word, which is misspelt in one of the two."""
    places = {place for _, words in news for place, _ in _places(words)} if olds else set()
    index: dict[int, dict[str, Words]] = {}
    for old, words in olds:
        for place, word in _places(words):
            if place in places:
                of_place = index.setdefault(place, {})
                for variant in _variants(word):
                    of_place.setdefault(variant, []).append((old, words))
    for new, words in news if index else ():
        for place, word in _places(words):
            if of_place := index.get(place, {}):
                for variant in _variants(word):
                    found = of_place.get(variant, ())
                    yield from ((new, old) for old, others in found if _differ_in_one(words, others))


def _letters(words: Iterable[str]) -> str:
    """Return the words without the spaces between them, but for numbers: 1 2 is not 12."""
    return "".join(word if not _has_digit(word) else f" {word} " for word in words)


def _has_digit(word: str) -> bool:
    return not word.isalpha() and any(char.isdigit() for char in word)


def _places(words: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield each word that may be misspelt, with a number that tells all other words and its place."""
    before = list(accumulate(words, _hash, initial=0))
    after = list(accumulate(reversed(words), _hash, initial=0))
    for index, word in enumerate(words):
        if len(word) >= SWAPPED_FROM and _may_be_misspelt(word):
            yield hash((index, before[index], after[len(words) - 1 - index])), word


def _hash(so_far: int, word: str) -> int:
    return hash((so_far, word))


def _may_be_misspelt(word: str) -> bool:
    """Whether a letter more or less leaves the same word: not where letters have no case, and are words themselves."""
    return word.upper() != word and not _has_digit(word)


def _variants(word: str) -> set[str]:
    return {word[:index] + word[index + 1 :] for index in range(len(word))} | {word}


def _differ_in_one(words: Sequence[str], others: Sequence[str]) -> bool:
    differing = [pair for pair in zip(words, others, strict=False) if pair[0] != pair[1]]
    return len(words) == len(others) and len(differing) == 1 and is_misspelling(*differing[0])


def is_misspelling(word: str, other: str) -> bool:
    """Whether two words that differ are one, spelt in two ways; see rule 2."""
    if not _may_be_misspelt(word) or not _may_be_misspelt(other):
        return False
    if len(word) == len(other):
        wrong = [index for index, (one, two) in enumerate(zip(word, other, strict=True)) if one != two]
        if len(wrong) == 1:
            return len(word) >= SPELT_FROM
        first, *more = wrong
        swapped = word[first + 1 : first + 2] + word[first : first + 1]
        return len(word) >= SWAPPED_FROM and more == [first + 1] and other[first : first + 2] == swapped
    shorter, longer = sorted((word, other), key=len)
    return len(shorter) >= SPELT_FROM and len(longer) - len(shorter) == 1 and shorter in _variants(longer)


def _same_prompt(
    wanted: Mapping[str, Content], paid: Mapping[str, Content], every: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield which contents have the same prompt, and differ in size, seconds or frames (rule 3)."""
    olds: dict[str, list[str]] = defaultdict(list)
    for name, one in paid.items():
        if one.kind is not None and one.words:
            olds[_letters(one.words)].append(name)
    news = {name: letters for name, one in wanted.items() if (letters := _letters(one.words)) in olds}
    if not news:
        return
    holders: dict[str, set[str]] = {letters: set() for letters in news.values()}
    for prompt, name in every:
        if (letters := _letters(words_of(prompt))) in holders:
            holders[letters].add(name)
    for new, letters in news.items():
        old = olds[letters][0]
        if len(olds[letters]) == 1 and holders[letters] == {new} and paid[old].kind == wanted[new].kind:
            yield new, old


NEAREST_TO_A_CLIP = (
    State.DONE,
    State.READY,
    State.RUNNING,
    State.IN_DOUBT,
    State.SUBMITTING,
    State.PENDING,
    State.FAILED,
)
KEPT_WHEN_EDITED = frozenset(NEAREST_TO_A_CLIP[:5])
"""The states in which money has become a clip, or may do so yet. Who edits a prompt that failed wants another try."""
_DERIVED = re.compile(r"(?P<slug>[a-z0-9]+(?:-[a-z0-9]+)*)-[0-9a-f]{6}(?:-\d+)?", re.ASCII)
_NUMBER = re.compile(r"(\d+)")


@frozen
class Move:
    """A job of the journal that the manifest names otherwise now."""

    old: str
    new: str
    edit: Edit | None = None
    """What else has changed, for a job without an id."""

    def told(self, *, kept: bool) -> str:
        """Return what a person is told of it; *kept*: no run buys what has changed."""
        after = "; kept as paid, --rebuy buys the new content" if kept else ""
        return f"moved {self.old} -> {self.new}" + (f" ({self.edit}{after})" if self.edit is not None else "")


@frozen
class Identity:
    """What became of the orphans."""

    moves: tuple[Move, ...] = ()
    resembling: tuple[tuple[str, str], ...] = ()
    """New jobs without an id, each with the orphan that it resembles: it would be bought."""


def advice(old: str) -> str:
    """Return what a person is told of a job that would be bought, and resembles the orphan *old*."""
    return f"resembles {old}, which is paid: to keep that clip, write id: {old}"


NOBODY = Identity()


def is_new(row: Progress | None) -> bool:
    """Whether nothing was ever paid, or may have been, for the job with this row."""
    return row is None or (row.attempt == 0 and row.state in {State.PENDING, State.FAILED})


def identify(
    jobs: Sequence[Job],
    dependencies: DependencyGraph,
    *,
    new: Collection[str],
    rows: Mapping[str, Progress],
    orphans: Iterable[Progress],
    sidecar_of: Callable[[Progress], Mapping[str, Any]],
) -> Identity:
    """Return which of the *orphans* the manifest's *jobs* are, of which those with a *new* id may be one.

    *rows* are those of its chains, by id.
    *sidecar_of* returns what the sidecar of an orphan's clip tells; it is asked only where likeness is looked for.
    """
    pool = {row.job_id: row for row in orphans if row.fingerprint and (row.attempt or row.state is State.PENDING)}
    if not pool:
        return Identity()
    indexes = [index for index, job in enumerate(jobs) if job.id in new]
    known, moves, left = dict(rows), [], []
    for generation in _generations(indexes, dependencies):
        wanted = [as_it_stands(jobs[index], known) for index in generation]
        found = dict(_same(wanted, pool))
        for row in found.values():
            del pool[row.job_id]
        by_case = {job_id.lower(): job_id for job_id in pool}
        for job in wanted:
            if job.id not in found and (old := by_case.get(job.id.lower())) is not None:
                found[job.id] = pool.pop(old)
        moves += [Move(row.job_id, job_id) for job_id, row in found.items()]
        known |= found
        left += [job for job in wanted if job.id not in found]
    nameless = [job for job in left if not job.is_named and job.fingerprint]
    derived = [row for row in pool.values() if row.state in KEPT_WHEN_EDITED and _DERIVED.fullmatch(row.job_id)]
    if not nameless or not derived:
        return Identity(tuple(moves))
    edited, alike = _edited(nameless, derived, jobs=jobs, rows=known, sidecar_of=sidecar_of)
    return Identity((*moves, *edited), alike)


def _generations(new: Sequence[int], dependencies: DependencyGraph) -> Iterator[list[int]]:
    """Yield the new jobs, those that continue another after it: what they would send hangs on its clip."""
    if not dependencies:
        yield list(new)
        return
    depth: dict[int, int] = {}
    for index in dependencies.in_order():
        depth[index] = depth.get(dependencies.parent[index], 0) + 1
    levels: dict[int, list[int]] = defaultdict(list)
    for index in new:
        levels[depth.get(index, 0)].append(index)
    yield from (levels[level] for level in sorted(levels))


def _same(jobs: Iterable[Job], pool: Mapping[str, Progress]) -> Iterator[tuple[str, Progress]]:
    """Yield the ids of jobs, each with the orphan of the same content that it is."""
    by_content: dict[str, list[Progress]] = defaultdict(list)
    for row in pool.values():
        by_content[row.fingerprint or ""].append(row)
    wanted: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.fingerprint:
            wanted[job.fingerprint].append(job)
    for fingerprint, group in wanted.items():
        candidates = [row for one in (fingerprint, *group[0].also) for row in by_content.pop(one, ())]
        yield from _paired(group, candidates)


def _paired(jobs: Sequence[Job], rows: Sequence[Progress]) -> Iterator[tuple[str, Progress]]:
    """Yield one row for the id of each job, as far as they reach; see rule 1."""
    by_case = {row.job_id.lower(): row for row in rows}
    rest, taken = [], set()
    for job in jobs:
        if (row := by_case.get(job.id.lower())) is not None and row.job_id not in taken:
            taken.add(row.job_id)
            yield job.id, row
        else:
            rest.append(job.id)
    free = [row for row in rows if row.job_id not in taken]
    free.sort(key=lambda row: (NEAREST_TO_A_CLIP.index(row.state), _in_order(row.job_id)))
    yield from zip(rest, sorted(free[: len(rest)], key=lambda row: _in_order(row.job_id)), strict=False)


def _in_order(job_id: str) -> tuple[list[str | int], str]:
    """Return what sorts ``kite-9`` before ``kite-10``; texts and numbers take turns in it."""
    return [int(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(job_id.lower()))], job_id


def _edited(
    nameless: Sequence[Job],
    derived: Sequence[Progress],
    *,
    jobs: Sequence[Job],
    rows: Mapping[str, Progress],
    sidecar_of: Callable[[Progress], Mapping[str, Any]],
) -> tuple[list[Move], tuple[tuple[str, str], ...]]:
    """Return the moves of edited jobs, and which of the others resemble what; takes of one content go together."""
    new: dict[str, list[Job]] = defaultdict(list)
    for job in nameless:
        new[job.fingerprint].append(job)
    old: dict[str, list[Progress]] = defaultdict(list)
    for row in derived:
        old[row.fingerprint or ""].append(row)
    wanted = {one: Content.of_job(group[0], rows, slug=_slug(group[0].id)) for one, group in new.items()}
    paid = {one: _content_of(group, sidecar_of) for one, group in old.items()}
    own = {job.id: job.fingerprint for job in nameless}
    every = ((job.prompt, own.get(job.id, job.fingerprint)) for job in jobs)
    moves: list[Move] = []
    for fresh, gone, edit in edits(wanted, paid, every=every):
        moves += [Move(row.job_id, job_id, edit) for job_id, row in _paired(new.pop(fresh), old.pop(gone))]
        del wanted[fresh], paid[gone]
    nearest = {one: old[like][0].job_id for one, like in resembling(wanted, paid).items()}
    return moves, tuple((job.id, nearest[one]) for one in nearest for job in new[one])


def _content_of(rows: Sequence[Progress], sidecar_of: Callable[[Progress], Mapping[str, Any]]) -> Content:
    """Return what is known of a content that was paid: what a sidecar tells, or the words in the id."""
    slug = _slug(rows[0].job_id)
    for row in rows:
        if row.path is not None and (told := Content.of_sidecar(sidecar_of(row), slug=slug)) is not None:
            return told
    return Content.of_slug(slug)


def _slug(job_id: str) -> str:
    found = _DERIVED.fullmatch(job_id)
    return found["slug"] if found else ""
