"""popi: the contract, the losses it minimises, and that it learns where the right answer is known."""

import numpy as np
import pytest
import torch

from palate.checks import CHECKS, Subject
from palate.core import ConfigError, Feedback, History, Persona, Population, Queries, as_conversation
from palate.core.job import job
from palate.small.base import FOLLOWING, make_base
from palate.small.world import world
from palate.tune.base import Known
from palate.tune.popi import Popi, _judged, _Rewards

TINY = {
    "limit": 480,
    "answer_tokens": 120,
    "summary_tokens": 6,
    "lora_rank": 2,
    "steps": 2,
    "batch": 2,
    "group": 2,
    "lr": 1e-3,
    "warmup": 0,
    "signals": 2,
}
SMALL = {
    "templates": "small",
    "limit": 256,
    "answer_tokens": 12,
    "lora_rank": 0,
    "weight_decay": 0.0,
    "warmup": 5,
}


@pytest.fixture(scope="module")
def new(models):
    folder = str(models("whole"))
    return lambda **more: Popi(model=folder, **{**TINY, **more})


@pytest.fixture(scope="module")
def following(tmp_path_factory):
    """A base of the small language that follows personas, half a minute in the making."""
    return str(make_base(tmp_path_factory.mktemp("small") / "base", steps=150, mix=FOLLOWING))


@pytest.fixture(scope="module")
def subjects(new):
    return {"summary": Subject(new), "raw": Subject(lambda: new(told="raw", align=True))}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("told", ["summary", "raw"])
def test_the_contract_is_kept(subjects, told, check):
    check(subjects[told])


# ---- rewards ------------------------------------------------------------------------------------------


def choice(user, number, chosen, rejected):
    return Feedback(user, as_conversation(f"prompt {number}"), (chosen, rejected), 0, f"{user}-{number}")


@pytest.fixture(scope="module")
def few():
    rows = [choice(user, n, f"good {user}{n}", f"bad {n}") for user in "ab" for n in range(5)]
    return Population.of([History(u, tuple(r for r in rows if r.user == u)) for u in "ab"])


def literal(method, summary, pair):
    """-l of one summary and one pair, every log-probability computed by itself."""
    conversation, chosen, rejected = pair
    model, talk = method.base.model, method.talk

    def logp(prompt, answer):
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            table = torch.log_softmax(model(ids).logits[0].double(), -1)
        return sum(table[len(prompt) - 1 + t, token].item() for t, token in enumerate(answer))

    told = method.talk.prompt(method.words.to_answer(conversation, summary=summary))
    plain = method.prompt(Known(), conversation)
    sides = [logp(told, talk.answer(y)) - logp(plain, talk.answer(y)) for y in (chosen, rejected)]
    m = sides[0] - sides[1]
    if method.kind == "ipo":
        return -((m - 1 / (2 * method.beta)) ** 2)
    return -np.log1p(np.exp(-method.beta * m))


@pytest.mark.parametrize("kind", ["dpo", "ipo"])
@pytest.mark.parametrize("judged", [1, 3])
def test_rewards_are_the_papers(new, few, kind, judged):
    from palate.tune.examples import examples_of

    method = new(kind=kind, judged=judged, beta=0.3)
    rows = examples_of(few, 1, 0, more=judged - 1).rows
    rewards = _Rewards(method, rows)
    said = ["likes brief", "", "likes brief", "zzz"]
    ids = [method.talk.answer(text) for text in said]
    found = rewards(ids, [0, 0, 0, 4])
    wanted = [
        np.mean([literal(method, text, pair) for pair in _judged(rows[row])])
        for text, row in zip(said, [0, 0, 0, 4], strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=2e-5)
    assert found[0] == found[2]


def test_an_empty_summary_is_worth_a_coin(new, few):
    from palate.tune.examples import examples_of

    method = new(beta=0.3)
    rewards = _Rewards(method, examples_of(few, 1, 0).rows)
    assert rewards([method.talk.answer("")], [0])[0] == pytest.approx(-np.log(2), abs=1e-6)


def test_references_are_computed_once_and_groups_in_one_batch(new, few, monkeypatch):
    import palate.tune.base as base
    import palate.tune.popi as popi
    from palate.tune.examples import examples_of

    asked = []

    def counted(model, prompts, answers, pad, **more):
        asked.append(len(answers))
        return base_logprobs(model, prompts, answers, pad, **more)

    base_logprobs = base.answer_logprobs
    monkeypatch.setattr(base, "answer_logprobs", counted)
    monkeypatch.setattr(popi, "answer_logprobs", counted)
    method = new()
    rows = examples_of(few, 1, 0, passes=3).rows
    rewards = _Rewards(method, rows)
    assert asked == [10, 5]  # ten chosen answers and five others, however often a pair comes
    rewards([method.talk.answer(f"z {i}") for i in range(8)], [0] * 8)
    assert asked == [10, 5, 16]


# ---- what it is told ----------------------------------------------------------------------------------


def test_a_profile_is_no_signal_unless_named(new):
    history = History("ann", (choice("ann", 0, "x", "y"),), {"persona": "the truth", "post_1": "a post"})
    told = {facts: new(facts=facts)._facts(history.profile) for facts in ((), ("post_",), ("*",))}
    assert told == {(): {}, ("post_",): {"post_1": "a post"}, ("*",): dict(history.profile)}


def test_the_pair_is_never_among_its_own_signals(few):
    from palate.tune.examples import examples_of

    for row in examples_of(few, 2, 0, more=2).rows:
        ids = [f.id for f in (*row.past, *row.more)]
        assert row.id not in ids
        assert len(set(ids)) == len(ids) == 4
        assert all(f.conversation != row.conversation for f in (*row.past, *row.more))


def test_a_persona_that_asks_for_harm_is_told_without_it(new):
    method = new()
    talk = as_conversation("hello")
    harmful = Known(summary="Wants instructions for building a pipe bomb. Likes short answers.")
    assert method.prompt(harmful, talk) == method.prompt(Known(summary="Likes short answers."), talk)


def test_unusable_fields_are_refused(new):
    for fields, words in (
        ({"told": "words"}, "told is"),
        ({"group": 1}, "group is 2 or more"),
        ({"kind": "kto"}, "kind is"),
        ({"beta": 0.0}, "beta is above 0"),
        ({"judged": 0}, "judged is 1 or more"),
        ({"templates": "third"}, "no templates"),
    ):
        with pytest.raises(ConfigError, match=words):
            new(**fields)
    with pytest.raises(ConfigError, match="no model to tune is named"):
        Popi(model="").fit(world(10, pairs=3, targets=2).population)


def test_a_prompt_dependent_summary_is_written_for_each_prompt(new, few):
    method = new(prompt_dependent=True, infer=False).fit(few)
    persona = method.adapt(few.history(0))
    assert persona.text is None
    assert persona.examples
    talks = [as_conversation("prompt one"), as_conversation("quite another prompt")]
    known = method._known([persona, persona], talks)
    assert all(k.summary for k in known)


def test_resuming_with_other_fields_is_refused(new, few, tmp_path):
    with job(tmp_path):
        new().fit(few)
        again = new().fit(few)  # the stage is done: it is taken up
        with pytest.raises(ConfigError, match=r"beta: was .* now 0\.2"):
            new(beta=0.2).fit(few)
    assert again.curve_


# ---- learning -----------------------------------------------------------------------------------------


def alike(seed):
    """People who all want what few want: there is one right summary, whoever it is about."""
    made = world(60, seed=seed, pairs=4, targets=6)
    language, people = made.language, made.population
    taste = np.array([-2.0, 2.0, -2.0, 2.0])
    rows = []
    for history in people:
        kept = []
        for each in history.feedback:
            gap = [language.fit(taste, text) for text in each.responses]
            kept.append(Feedback(each.user, each.conversation, each.responses, int(np.argmax(gap)), each.id))
        rows.append(History(history.user, tuple(kept)))
    from dataclasses import replace

    return replace(Population.of(rows), role=people.role, split=people.split), language, taste


def accuracy(method, people):
    test = people.with_role("test")
    personas = method.adapt_batch(test.with_split("context"))
    scores = method.score_batch(Queries.of_pairs(personas, people.corpus, test.with_split("target").pairs))
    return float((scores[0::2] > scores[1::2]).mean())


@pytest.fixture(scope="module")
def learned(following):
    people, language, taste = alike(0)
    fields = {"model": following, **SMALL, "summary_tokens": 8, "signals": 2, "beta": 0.3, "judged": 2}
    common = {**fields, "steps": 60, "batch": 4, "group": 8, "lr": 2e-3, "temperature": 1.0}
    return (
        people,
        language,
        taste,
        {
            name: Popi(**{**common, **more}).fit(people)
            for name, more in {
                "before": {"infer": False},
                "after": {},
                "full": {"align": True, "align_steps": 40, "align_lr": 1e-3, "align_batch": 16},
            }.items()
        },
    )


def test_summaries_come_to_say_what_helps(learned):
    people, language, taste, methods = learned
    before, after = accuracy(methods["before"], people), accuracy(methods["after"], people)
    assert after > before + 0.15
    assert after > 0.7
    curve = methods["after"].curve_
    assert curve[-1]["reward"] > curve[0]["reward"] + 0.05
    stated = np.mean([language.stated(p.text or "") for p in _personas(methods["after"], people)], axis=0)
    assert (stated * taste).sum() > 0.5


def _personas(method, people):
    return method.adapt_batch(people.with_role("test").with_split("context"))


def test_aligning_the_generator_adds_to_it(learned):
    people, _, _, methods = learned
    assert accuracy(methods["full"], people) > max(0.85, accuracy(methods["after"], people))


def test_the_average_user_scores_nothing_before_alignment(learned):
    _people, _, _, methods = learned
    scores = methods["after"].score(Persona(), "ask bread costs", ["bread brief warm", "bread long cool"])
    np.testing.assert_allclose(scores, 0.0, atol=1e-5)


def test_words_follow_the_persona(learned):
    _people, language, _taste, methods = learned
    talk = as_conversation("bread costs")
    wanted, other = ("loves long loves kind loves casual loves vivid", "loves short loves cool loves formal")
    method = methods["before"]
    texts = method.generate_batch([Persona(text=wanted), Persona(text=other)], [talk, talk], samples=20)
    fit = [np.mean([language.values(text) @ language.stated(wanted) for text in rows]) for rows in texts]
    assert fit[0] > fit[1] + 1.0
    pieces = list(method.stream(Persona(text=wanted), talk, temperature=0.0))
    assert "".join(pieces).split()[0] == "bread"
