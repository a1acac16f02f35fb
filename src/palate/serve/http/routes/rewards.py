"""Rewards for trainers, in the shapes that OpenRLHF and verl call: each row for its own user.

A reward is the log-odds of a row's answer against the responses it is measured ``among``, or else against a
fixed neutral answer: it does not depend on the other rows of the call, so batches of any size agree.
"""

from typing import Annotated

from fastapi import APIRouter, Depends
from scipy.special import expit
from starlette.responses import Response

from palate.core import Turn
from palate.serve.http.answers import FAULTS, Route, answer
from palate.serve.http.caller import Caller, need, own_user
from palate.serve.http.server import Here, Server
from palate.serve.keeper import Rewarded, Row
from palate.serve.rows import Asked, read_openrlhf, read_verl
from palate.serve.wire.training import OpenRlhf, OpenRlhfRewards, Verl, VerlScores

__all__ = ["router"]

router = APIRouter(route_class=Route, responses=FAULTS, tags=["rewards"])
User = Annotated[Caller, Depends(need("use"))]


@router.post(
    "/v1/reward/openrlhf",
    operation_id="reward_openrlhf",
    summary="Rewards as OpenRLHF's remote reward model",
    response_model=OpenRlhfRewards,
)
def openrlhf(body: OpenRlhf, here: Here, caller: User) -> Response:
    """Return a reward a row.

    OpenRLHF sends no header, so its ``--remote_rm_url`` holds the key:
    ``http://palate:pk_...@host:8000/v1/reward/openrlhf``. A label is a text of JSON: ``{"user": "ann"}``,
    with ``conversation`` and ``among`` where wanted; rows without one are rewarded for people on average.
    """
    found = _rewarded(here, caller, read_openrlhf(body))
    rewards = [each.reward for each in found]
    return answer(
        OpenRlhfRewards(
            rewards=rewards,
            scores=expit(rewards).tolist(),
            extra_logs={
                "persona_choices": [float(each.persona.choices) for each in found],
                "persona_weight": [_weight(each) for each in found],
            },
        )
    )


@router.post(
    "/v1/reward/verl",
    operation_id="reward_verl",
    summary="Rewards for verl's reward functions",
    response_model=VerlScores,
)
def verl(body: Verl, here: Here, caller: User) -> Response:
    """Return a score a row; ``palate.client.verl`` calls this from verl's reward function."""
    found = _rewarded(here, caller, read_verl(body))
    return answer(
        VerlScores(
            scores=[
                {
                    "score": each.reward,
                    "probability": float(expit(each.reward)),
                    "persona_choices": float(each.persona.choices),
                    "persona_weight": _weight(each),
                }
                for each in found
            ]
        )
    )


def _rewarded(here: Server, caller: Caller, asked: list[Asked]) -> list[Rewarded]:
    """Return what the keeper says to each row; a user's token rewards for its user alone."""
    rows = [
        Row(
            own_user(caller, each.user),
            tuple(Turn(turn.role, turn.content) for turn in each.conversation),
            each.response,
            tuple(each.among),
        )
        for each in asked
    ]
    return list(here.keeper.reward_rows(caller.tenant, rows))


def _weight(each: Rewarded) -> float:
    return -1.0 if each.persona.weight is None else each.persona.weight
