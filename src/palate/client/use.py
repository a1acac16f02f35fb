"""Requests that use what was learned: rank, reward, judge, a jury, the next pair, chat, best of n."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from palate.client.people import Talk, talk
from palate.client.verb import Fill, route
from palate.serve.wire.training import OpenRlhf, OpenRlhfRewards, Verl, VerlScores
from palate.serve.wire.use import (
    Asked,
    BestOf,
    BestOfAnswer,
    Judge,
    Judged,
    Jury,
    JuryAnswer,
    Next,
    Offer,
    Rank,
    Rankings,
    Reward,
    Rewards,
)

__all__ = [
    "best_of",
    "chat",
    "judge",
    "jury",
    "models",
    "next_pairs",
    "rank",
    "reward",
    "reward_openrlhf",
    "reward_verl",
]

_WRITING_S = 600.0  # a model that writes takes its time


@route("POST /v1/rank", Rankings)
def rank(conversation: Talk, responses: Sequence[str], user: str | None = None) -> Fill:
    """Rank responses for a user, best first; without one, for people on average."""
    body = {"user": user, "conversation": talk(conversation), "responses": list(responses)}
    return Fill(body=Rank.model_validate(body))


@route("POST /v1/reward", Rewards)
def reward(
    conversation: Talk, responses: Sequence[str], user: str | None = None, *, among: Sequence[str] = ()
) -> Fill:
    """Give each response a number for a user, in log-odds, measured against the responses ``among``."""
    body = {
        "user": user,
        "conversation": talk(conversation),
        "responses": list(responses),
        "among": list(among),
    }
    return Fill(body=Reward.model_validate(body))


@route("POST /v1/judge", Judged)
def judge(conversation: Talk, first: str, second: str, user: str | None = None) -> Fill:
    """Say which of two responses a user would prefer."""
    body = {"user": user, "conversation": talk(conversation), "first": first, "second": second}
    return Fill(body=Judge.model_validate(body))


@route("POST /v1/jury", JuryAnswer)
def jury(users: Sequence[str], conversation: Talk, responses: Sequence[str], rule: str = "mean") -> Fill:
    """Rank responses for several users together, by ``mean``, ``worst`` or ``votes``."""
    body = {
        "users": list(users),
        "conversation": talk(conversation),
        "responses": list(responses),
        "rule": rule,
    }
    return Fill(body=Jury.model_validate(body))


@route("POST /v1/users/{user}/next", Asked)
def next_pairs(user: str, count: int = 1, candidates: Sequence[Offer | Mapping[str, Any]] = ()) -> Fill:
    """Say which pairs would teach most about a user: of ``candidates``, or of the tenant's pool."""
    made = [each if isinstance(each, Offer) else dict(each) for each in candidates]
    return Fill({"user": user}, body=Next.model_validate({"candidates": made, "count": count}))


@route("POST /v1/best-of", BestOfAnswer, again=False)
def best_of(
    conversation: Talk,
    model: str,
    user: str | None = None,
    *,
    n: int = 4,
    temperature: float = 1.0,
    max_tokens: int | None = None,
    told: bool = True,
    timeout: float = _WRITING_S,
) -> Fill:
    """Have the upstream model write ``n`` answers, and return them as a user would rank them.

    Args:
        conversation: What is answered.
        model: The upstream's name of a model.
        user: For whom.
        n: How many answers.
        temperature: Of the draw.
        max_tokens: Most tokens of an answer.
        told: Whether the model is told the persona too.
        timeout: Longest wait in seconds.
    """
    body = {
        "user": user,
        "conversation": talk(conversation),
        "model": model,
        "n": n,
        "temperature": float(temperature),
        "max_tokens": max_tokens,
        "told": told,
    }
    return Fill(body=BestOf.model_validate(body), timeout=timeout)


@route("POST /v1/chat/completions", dict[str, Any], again=False)
def chat(call: Mapping[str, Any], user: str | None = None, *, timeout: float = _WRITING_S) -> Fill:
    """Send a chat call to the upstream, with a user's persona added; the answer is the upstream's.

    Args:
        call: The body, as OpenAI's API has it: ``{"model": ..., "messages": [...]}``.
        user: Whose persona; None takes the body's ``user``.
        timeout: Longest wait in seconds.
    """
    headers = {} if user is None else {"x-palate-user": quote(user, safe="")}
    return Fill(body=dict(call), headers=headers, timeout=timeout)


@route("GET /v1/models", dict[str, Any])
def models() -> Fill:
    """Read the upstream's list of models."""
    return Fill()


@route("POST /v1/reward/openrlhf", OpenRlhfRewards)
def reward_openrlhf(
    query: Sequence[str], prompts: Sequence[str], labels: Sequence[str | None] | None = None
) -> Fill:
    """Reward as OpenRLHF asks: prompt and answer in one, the prompts, and labels as ``{"user": "ann"}``."""
    body = {
        "query": list(query),
        "prompts": list(prompts),
        "labels": None if labels is None else list(labels),
    }
    return Fill(body=OpenRlhf.model_validate(body))


@route("POST /v1/reward/verl", VerlScores)
def reward_verl(
    solution_strs: Sequence[str],
    extra_infos: Sequence[Mapping[str, Any] | None] | None = None,
    ground_truths: Sequence[Any] | None = None,
) -> Fill:
    """Reward as verl asks: ``extra_infos`` name each row's ``user`` and ``conversation``."""
    body = {
        "solution_strs": list(solution_strs),
        "extra_infos": None if extra_infos is None else [info and dict(info) for info in extra_infos],
        "ground_truths": None if ground_truths is None else list(ground_truths),
    }
    return Fill(body=Verl.model_validate(body))
