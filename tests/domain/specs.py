"""Values of every kind that is published, as Hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from batchvid.domain.film import Film
from batchvid.domain.image_fit import Fit, Fitting
from batchvid.domain.job import Continuation, Frame, Job
from batchvid.domain.lifecycle import Reopened
from batchvid.domain.limits import InDoubt, Limits, OnChange, Rate, RunOptions
from batchvid.domain.notice import Hook

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
"""Any text, and what Python makes of a file name that is no UTF-8."""
PARTS = TEXTS.filter(lambda text: text not in {"", ".", ".."} and "/" not in text)
PLACES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
MANY = st.lists(TEXTS, max_size=3).map(tuple)
FITTINGS = st.builds(Fitting, st.sampled_from(Fit), st.integers(), st.integers())
FRAMES = st.builds(
    Frame,
    path=TEXTS,
    sha256=TEXTS,
    size_bytes=st.integers(),
    mime=TEXTS,
    width=st.integers(),
    height=st.integers(),
    turned=st.integers(1, 8),
    fitted=st.none() | FITTINGS,
    recoded=st.sampled_from(["", "HEIC"]),
)
_JOB = {
    "id": TEXTS,
    "prompt": TEXTS,
    "model": TEXTS,
    "size": st.none() | TEXTS,
    "seconds": st.none() | TEXTS,
    "form": PAIRS,
    "frames": st.lists(FRAMES, max_size=2).map(tuple),
    "price_micros": st.none() | st.integers(),
    "path": PLACES,
    "fingerprint": TEXTS,
    "where": TEXTS,
    "also": MANY,
    "is_named": st.booleans(),
}
JOBS = st.builds(Job, **_JOB) | st.builds(Continuation, **_JOB, continues=TEXTS, at_s=st.none() | NUMBERS)
FILMS = st.builds(Film, TEXTS, MANY, PLACES)
HOOKS = st.builds(Hook, env=TEXTS.filter(bool)) | st.builds(Hook, url=TEXTS)
RATES = st.none() | st.builds(Rate, NUMBERS, NUMBERS)
LIMITS = st.builds(
    Limits,
    submits=RATES,
    requests=RATES,
    typical_time_s=NUMBERS,
    in_flight=st.integers(),
    downloads=st.integers(),
    attempts=st.integers(),
    poll_shortest_s=NUMBERS,
    poll_longest_s=NUMBERS,
    backoff_first_s=NUMBERS,
    backoff_longest_s=NUMBERS,
    task_timeout_s=NUMBERS,
    budget_micros=st.none() | st.integers(),
    in_doubt=st.sampled_from(InDoubt),
    breaker=st.integers(),
    canary=st.integers(),
    on_change=st.sampled_from(OnChange),
)
REOPENED = st.builds(Reopened, TEXTS, st.booleans())
OPTIONS = st.builds(
    RunOptions,
    retry_failed=st.booleans(),
    rebuy=st.booleans(),
    resubmit_in_doubt=st.booleans(),
    only=st.none() | MANY,
    until_at=st.none() | NUMBERS,
    max_cost_micros=st.none() | st.integers(),
    max_jobs=st.none() | st.integers(),
    moved=st.booleans(),
    sandbox_speed=st.none() | st.floats(0.1, 10),
    key_file=st.none() | TEXTS,
    ca_file=st.none() | TEXTS,
)
