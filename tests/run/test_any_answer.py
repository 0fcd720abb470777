"""Whatever a service answers, over kills and re-runs: no more is sent than the budget and the cap of a job allow."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchvid.domain.job import State
from batchvid.domain.limits import InDoubt, Limits, RunOptions
from batchvid.domain.task import ProviderName
from batchvid.engine.policy import sends_at_most
from batchvid.providers.response import LostAt, NoResponse, Response
from tests.run.bench import PRICE, QUICK, Bench, jobs, quick_folder
from tests.run.memory import MemoryService

if TYPE_CHECKING:
    from batchvid.providers.base import Request

CLEAR = {400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 429}
"""The statuses that refuse a request before any work is done: the only answers that this service never lies with."""
LISTED_CODES = ["model_not_found", "get_channel_failed", "invalid_request", "insufficient_user_quota"]
CODES = [*LISTED_CODES, "insufficient_quota", "server_error", "do_request_failed", "", None, 502, "rate_limit_exceeded"]
STATUSES = [
    200,
    200,
    200,
    201,
    202,
    301,
    302,
    303,
    307,
    500,
    500,
    502,
    503,
    504,
    520,
    524,
    408,
    410,
    421,
    425,
    451,
    999,
]


class Killed(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Sent:
    """One paid request, and whether it was refused beyond doubt."""

    prompt: str
    run: int
    is_clear: bool


class Liar(MemoryService):
    """A service that bills whatever reaches it, answers anything, and is right only in its clear refusals."""

    def __init__(self, bench: Bench, chance: random.Random, *, deadly: float) -> None:
        super().__init__(bench.world, wall=bench.wall)
        self.posts: list[Sent] = []
        self.run = 0
        self.is_dead = False
        self._chance = chance
        self._deadly = deadly
        self._liking = (chance.choice([0.0, 0.5, 5.0]), chance.choice([0.2, 5.0]))

    async def post(self, request: Request) -> Response | NoResponse:
        """Answer a paid request with anything."""
        self._called("post", request.path)
        text = b"".join(request.body).decode()
        prompt = text.partition('name="prompt"')[2].split("\r\n")[2]
        await asyncio.sleep(self._chance.choice([0.1, 1.0, 30.0]))
        answer = self._lost_one() or Response(*self._anything(prompt))
        if isinstance(answer, NoResponse) and answer.lost.before_sending:
            return answer
        self.posts.append(Sent(prompt, self.run, isinstance(answer, Response) and answer.status in CLEAR))
        if self._chance.random() < self._deadly:
            self.is_dead = True
        if self.is_dead:
            raise Killed
        return answer

    def _lost_one(self) -> NoResponse | None:
        return NoResponse(self._chance.choice(list(LostAt))) if self._chance.random() < 0.15 else None

    def _anything(self, prompt: str) -> tuple[int, dict[str, str], bytes]:
        chance = self._chance
        match chance.choices(["a lie", "too fast", "anything"], [*self._liking, 1.0])[0]:
            case "a lie":
                lie = {"code": chance.choice(LISTED_CODES[:2]), "message": "no channel", "type": "comet_api_error"}
                return 503, {}, json.dumps({"error": lie}).encode()
            case "too fast":
                return 429, {}, b""
        status = chance.choice([*STATUSES, *CLEAR])
        code, words = chance.choice(CODES), chance.choice(["busy", "", "upstream closed (request id: r1)"])
        name = f"task_{len(self.posts)}_{prompt[-3]}"
        shapes: list[Any] = [
            {"error": {"code": code, "message": words, "type": "comet_api_error"}},
            {"error": {"code": code, "message": words}},
            {"code": code, "message": words},
            {"detail": words},
            {"id": chance.choice([name, 7, None]), "status": "queued"},
            {"task_id": name, "error": {"message": words}},
            {"data": {"task_id": name}},
            "text",
        ]
        if status in CLEAR:
            shapes = shapes[:4]
        headers = {"location": f"/v1/videos/{name}"} if chance.random() < 0.2 and status not in CLEAR else {}
        return status, headers, json.dumps(chance.choice(shapes)).encode()

    async def get(self, request: Request) -> Response | NoResponse:
        """Answer a poll with anything."""
        self._called("get", request.path)
        await asyncio.sleep(0.1)
        chance, task_id = self._chance, request.path.rpartition("/")[2]
        word = chance.choice(["queued", "failed", "failed", "completed", "expired", "pondering", ""])
        task = {"id": task_id, "status": word, "video_url": f"https://files.sandbox.example/{task_id}"}
        shapes = [task, task, task, {"error": {"message": "busy"}}, {"id": task_id, "error": "x"}, {"status": word}]
        return Response(chance.choice([200, 200, 200, 500, 429]), {}, json.dumps(chance.choice(shapes)).encode())


@pytest.mark.parametrize("provider", list(ProviderName))
@pytest.mark.parametrize("in_doubt", list(InDoubt))
@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    budget=st.integers(0, 6),
    attempts=st.integers(1, 3),
    runs=st.integers(1, 4),
    deadly=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_no_service_can_make_a_run_send_more_than_its_budget_or_its_cap(  # noqa: PLR0917 what is drawn
    provider: ProviderName, in_doubt: InDoubt, seed: int, budget: int, attempts: int, runs: int, deadly: float
) -> None:
    """Every answer may be a lie but a clear refusal, every run may be killed, and a person retries all each morning."""
    random.seed(seed)
    with quick_folder() as folder:
        bench = Bench(folder / "out", provider=provider)
        chance = random.Random(seed)  # noqa: S311 chance, not a secret
        bench.service = service = Liar(bench, chance, deadly=deadly)
        limits = replace(QUICK, budget_micros=budget * PRICE, attempts=attempts, in_doubt=in_doubt, task_timeout_s=120)
        options = RunOptions(retry_failed=True, rebuy=True, resubmit_in_doubt=seed % 2 == 0)
        for service.run in range(runs):
            run_until_it_ends_or_dies(bench, service, limits, options)
            unclear = sum(not post.is_clear for post in service.posts)
            assert unclear <= budget, f"{unclear} requests were sent under a budget of {budget}"
            of_run = Counter(post.prompt for post in service.posts if post.run == service.run)
            assert max(of_run.values(), default=0) <= sends_at_most(limits)
        assert not [row for row in bench.rows().values() if row.state is State.DONE]


def run_until_it_ends_or_dies(bench: Bench, service: Liar, limits: Limits, options: RunOptions) -> None:
    """Run once; a kill leaves what is on disk."""
    service.is_dead = False
    try:
        bench.run(jobs(3), limits, options=options, checked=False)
    except BaseException:  # the death that the service made; whatever else is raised again
        if not service.is_dead:
            raise
