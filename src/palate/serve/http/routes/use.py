"""Use of what was learned: rank, reward, judge, a jury, the next pair to ask."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from starlette.responses import Response

from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import Caller, Visit, need, own, own_user
from palate.serve.http.hot import Hot
from palate.serve.http.server import Here, Server
from palate.serve.wire.use import (
    Asked,
    Judge,
    Judged,
    Jury,
    JuryAnswer,
    Next,
    Rank,
    Rankings,
    Reward,
    Rewards,
)

__all__ = ["asking", "router"]

router = APIRouter(route_class=Hot, responses=FAULTS, tags=["use"])
asking = APIRouter(route_class=Route, responses=FAULTS, tags=["use"])
User = Annotated[Caller, Depends(need("use"))]
Asks = TypeVar("Asks", Rank, Reward, Judge)


@router.post("/v1/rank", response_model=Rankings)
async def rank(body: Rank, caller: User, here: Here) -> Response:
    """Put responses in the order in which a user would prefer them.

    Of a user who is not known the average user's order is told, and ``persona.told`` says so.
    """
    return await _scored(here, caller, body, here.keeper.rank)


@router.post("/v1/reward", response_model=Rewards)
async def reward(body: Reward, caller: User, here: Here) -> Response:
    """Give each response a number for a user, in log-odds: a reward for training."""
    return await _scored(here, caller, body, here.keeper.reward)


@router.post("/v1/judge", response_model=Judged)
async def judge(body: Judge, caller: User, here: Here) -> Response:
    """Say which of two responses a user would prefer, and how likely."""
    return await _scored(here, caller, body, here.keeper.judge)


@router.post("/v1/jury", response_model=JuryAnswer)
def jury(body: Jury, caller: User, here: Here) -> Response:
    """Rank responses as several users together would, and say how far they disagree."""
    for user in body.users:
        own_user(caller, user)
    return answer(here.keeper.jury(caller.tenant, body))


@asking.post("/v1/users/{user:name}/next", response_model=Asked)
def next_pair(body: Next, visit: Annotated[Visit, Depends(own("use"))], here: Here) -> Response:
    """Choose pairs whose answer would teach most about a user, of those sent along or of the pool."""
    return answer(here.keeper.next_pair(visit.tenant, visit.user, body))


async def _scored(here: Server, caller: Caller, body: Asks, score: Callable[..., Any]) -> Response:
    """Answer at once where persona and texts are in memory, and else from a thread."""
    user = own_user(caller, body.user)
    mine = body if body.user == user else body.model_copy(update={"user": user})
    held = here.keeper.at_hand(caller.tenant, mine)
    if held is None:
        return answer(await here.aside(score, caller.tenant, mine))
    return answer(score(caller.tenant, mine, held))
