"""What personas are used for: ranking, rewards, juries, and the pair to ask next."""

import numpy as np
import pytest
from scipy.special import entr, expit
from serve_keeping import TENANT, body, give, of_taste, opened, served, world

from palate.core import Persona, Queries, Query, as_conversation
from palate.serve.keeper import Row, scores
from palate.serve.keeper.asking import gains
from palate.serve.keeper.scores import BESIDE
from palate.serve.store import choices, pool
from palate.serve.wire.use import Judge, Jury, Next, Offer, Rank, Reward

LONG = "It depends on a great many things, each of which deserves a paragraph of its own, and then some."
THREE = ["It depends.", LONG, "It depends on what you want it for."]


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    keeper = opened(tmp_path_factory.mktemp("scores"))
    give(keeper, "brief", of_taste("short", 20))
    give(keeper, "long", of_taste("long", 20))
    rows = [row for h in world()[1][30:60] for row in h.feedback[:4]]
    keeper.store.write(lambda c: pool.add(c, TENANT, [body(row) for row in rows]))
    yield keeper
    keeper.store.close()


def score(user, responses, talk="How?"):
    persona = Persona() if user is None else KEEPER[0].current(TENANT, user).persona
    return served().method.score(persona, talk, responses)


KEEPER = []


@pytest.fixture(autouse=True)
def known(keeper):
    KEEPER[:] = [keeper]


def test_a_ranking_is_best_first_with_probabilities(keeper):
    answer = keeper.rank(TENANT, Rank(user="brief", conversation="How?", responses=THREE))
    expected = score("brief", THREE)
    assert [r.index for r in answer.ranking] == np.argsort(-expected).tolist()
    assert [r.score for r in answer.ranking] == sorted(expected.tolist(), reverse=True)
    assert sum(r.probability for r in answer.ranking) == pytest.approx(1.0)
    odds = np.log(answer.ranking[0].probability / answer.ranking[1].probability)
    assert odds == pytest.approx(answer.ranking[0].score - answer.ranking[1].score)
    assert (answer.persona.user, answer.persona.choices) == (
        "brief",
        20,
    )
    assert answer.persona.weight is not None


def test_equal_responses_share_a_place(keeper):
    answer = keeper.rank(TENANT, Rank(user="brief", conversation="How?", responses=[LONG, LONG, "Yes."]))
    by_index = {r.index: r for r in answer.ranking}
    assert by_index[0].score == by_index[1].score
    assert [r.index for r in answer.ranking] in (
        [2, 0, 1],
        [0, 1, 2],
    )


def test_rewards_are_log_odds_beyond_what_they_stand_beside(keeper):
    ask = Reward(user="brief", conversation="How?", responses=THREE[:2], among=THREE[2:])
    s = score("brief", THREE)
    assert keeper.reward(TENANT, ask).rewards == pytest.approx((s[:2] - s[2]).tolist())
    alone = keeper.reward(TENANT, Reward(user="brief", conversation="How?", responses=THREE))
    assert alone.rewards == pytest.approx((s - s.mean()).tolist())
    assert alone.persona.choices == 20
    for response in THREE:
        one = keeper.reward(TENANT, Reward(user="brief", conversation="How?", responses=[response]))
        pair = score("brief", [response, BESIDE])
        assert one.rewards == pytest.approx([pair[0] - pair[1]])


def test_rows_are_rewarded_each_for_its_user_in_one_batch(keeper):
    rows = [
        Row(user, as_conversation(f"Question {n}?"), THREE[n % 3], tuple(THREE[2:] if n % 2 else ()))
        for n, user in enumerate(["brief", "long", None, "brief", "nobody knows", "long", "brief"])
    ]
    calls, method = [], type(served().method)
    plain = method.score_batch

    def counted(self, queries):
        calls.append(len(queries)) if self is served().method else None
        return plain(self, queries)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "score_batch", counted)
        told = keeper.reward_rows(TENANT, rows)
    assert calls == [len(rows)]
    for row, each in zip(rows, told, strict=True):
        beside = list(row.among) or [BESIDE]
        user = None if row.user == "nobody knows" else row.user
        s = score(user, [row.response, *beside], row.conversation)
        assert each.reward == pytest.approx(s[0] - s[1:].mean(), abs=1e-5)
        assert each.persona.user == row.user
    assert keeper.reward_rows(TENANT, []) == []


def test_a_comparison_says_whom_it_prefers(keeper):
    short = keeper.judge(TENANT, Judge(user="brief", conversation="How?", first=THREE[0], second=LONG))
    long = keeper.judge(TENANT, Judge(user="long", conversation="How?", first=THREE[0], second=LONG))
    assert short.prefers == "first"
    assert short.probability > 0.5
    assert short.log_odds > 0
    assert long.probability < short.probability
    same = keeper.judge(TENANT, Judge(user="brief", conversation="How?", first=LONG, second=LONG))
    assert same.prefers == "neither"
    assert same.probability == pytest.approx(0.5)


def test_a_jury_by_its_three_rules(keeper):
    users = ["brief", "long", "stranger"]
    table = np.array([score(None if u == "stranger" else u, THREE) for u in users])
    table -= table.mean(axis=1, keepdims=True)
    share = np.exp(table) / np.exp(table).sum(axis=1, keepdims=True)

    def asked(rule):
        return keeper.jury(TENANT, Jury(users=users, conversation="How?", responses=THREE, rule=rule))

    mean, worst, votes = asked("mean"), asked("worst"), asked("votes")
    assert {r.index: r.score for r in mean.ranking} == pytest.approx(
        dict(enumerate(table.mean(axis=0))), abs=1e-5
    )
    assert {r.index: r.score for r in worst.ranking} == pytest.approx(
        dict(enumerate(np.log(share.min(axis=0)))), abs=1e-5
    )
    firsts = np.bincount(table.argmax(axis=1), minlength=3)
    assert {r.index: r.probability for r in votes.ranking} == pytest.approx(dict(enumerate(firsts / 3)))
    for each in (mean, worst, votes):
        assert [v.user for v in each.votes] == users
        assert np.array([v.probabilities for v in each.votes]) == pytest.approx(share, abs=1e-5)
        assert sum(r.probability for r in each.ranking) == pytest.approx(1.0)
        apart = sum(table[i].argmax() != table[j].argmax() for i in range(3) for j in range(i))
        assert each.disagreement == pytest.approx(apart / 3)
    alone = keeper.jury(TENANT, Jury(users=["brief"], conversation="How?", responses=THREE))
    assert alone.disagreement == 0.0
    assert [r.index for r in alone.ranking] == np.argsort(-table[0]).tolist()


# ---- which pair teaches most ----------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.5, 0.3), (-2.0, 4.0), (0.3, 0.0)])
def test_the_gain_is_the_mutual_information(mean, variance):
    x = mean + np.sqrt(variance) * np.random.default_rng(0).standard_normal(400_000)
    p = expit(x)
    literal = float(np.sum([entr(p.mean()), entr(1 - p.mean())]) - (entr(p) + entr(1 - p)).mean())
    assert gains(np.array([mean]), np.array([variance]))[0] == pytest.approx(literal, abs=2e-3)


def test_the_next_pair_is_unseen_and_the_most_telling(keeper):
    asked = keeper.next_pair(TENANT, "brief", Next(count=5))
    assert len(asked.pairs) == 5
    assert all(p.id and p.gain >= 0 for p in asked.pairs)
    assert asked.pairs[0].gain == max(p.gain for p in asked.pairs)
    assert len({p.id for p in asked.pairs}) == 5
    assert 0 < asked.settled < 1
    mixed, gate = served().method.method, served().method
    own = gate.inner_persona(keeper.current(TENANT, "brief").made)
    with keeper.store.read() as c:
        everything = pool.sampled(c, TENANT, 1000)
    literal = {}
    for id, offer in everything:
        talk = as_conversation(tuple((t["role"], t["content"]) for t in offer["conversation"]))
        query = Queries.of([Query(own, talk, tuple(offer["responses"]))])
        v, s = mixed.variance_batch(query)[0], mixed.score_batch(query)
        m = abs(s[0] - s[1]) * np.sqrt(1 + np.pi / 8 * v)
        literal[id] = gains(np.array([m]), np.array([v]))[0]
    best = max(literal, key=literal.get)
    assert literal[asked.pairs[0].id] == pytest.approx(literal[best], abs=1e-6)


def test_what_was_seen_is_not_asked_again_until_it_is_undone(keeper):
    for n in range(6):
        pair = keeper.next_pair(TENANT, "fresh", Next()).pairs[0]
        row = {"conversation": pair.conversation, "responses": pair.responses[::-1], "chosen": 0}
        keeper.store.write(
            lambda c, row=row, n=n: choices.add(c, TENANT, [choices.Kept("fresh", f"s{n}", row)])
        )
        asked = keeper.next_pair(TENANT, "fresh", Next(count=50)).pairs
        assert pair.id not in {p.id for p in asked}
    keeper.store.write(lambda c: choices.remove(c, TENANT, "fresh", "s5"))
    assert len(keeper.next_pair(TENANT, "fresh", Next(count=50)).pairs) == 50
    codes = keeper._offers._seen_by(TENANT, "fresh", keeper.current(TENANT, "fresh")).codes
    assert len(codes) == 5


def test_one_axis_is_not_asked_twice_over(keeper):
    """Of three offers, two of them alike, the second to be asked is the one that differs."""
    offers = [
        Offer(conversation="A?", responses=["Yes.", "Yes, " + "and more, " * 40], id="length 1"),
        Offer(conversation="B?", responses=["No.", "No, " + "and more, " * 40], id="length 2"),
        Offer(conversation="C?", responses=["Maybe so, I think.", "Definitely: that is a fact!"], id="other"),
    ]
    asked = keeper.next_pair(TENANT, "somebody", Next(candidates=offers, count=3)).pairs
    assert asked[0].id.startswith("length")
    assert asked[1].gain < asked[0].gain
    again = [p.gain for p in keeper.next_pair(TENANT, "somebody", Next(candidates=offers[:2], count=2)).pairs]
    alone = [p.gain for p in keeper.next_pair(TENANT, "somebody", Next(candidates=offers[1:2])).pairs]
    assert again[1] < 0.8 * alone[0], "after the first answer the second of its kind tells less"


def test_candidates_of_the_request_take_the_place_of_the_pool(keeper):
    mine = [
        Offer(conversation="X?", responses=[THREE[0], LONG]),
        Offer(conversation="Y?", responses=THREE, id="y"),
    ]
    asked = keeper.next_pair(TENANT, "brief", Next(candidates=mine, count=9))
    assert {p.id for p in asked.pairs} == {None, "y"}
    assert keeper.next_pair("no pool here", "brief", Next()).pairs == []


def test_a_change_of_the_pool_is_seen(keeper):
    tenant = "pools"
    assert keeper.next_pair(tenant, "ann", Next()).pairs == []
    offer = {"conversation": [{"role": "user", "content": "Q?"}], "responses": ["a", "b c d"]}
    (id,) = keeper.store.write(lambda c: pool.add(c, tenant, [offer]))
    assert [p.id for p in keeper.next_pair(tenant, "ann", Next()).pairs] == [id]
    keeper.store.write(lambda c: pool.remove(c, tenant, id))
    assert keeper.next_pair(tenant, "ann", Next()).pairs == []


def test_choices_settle_a_persona(keeper):
    told = []
    rows = of_taste("short", 24)
    for n in range(0, 24, 8):
        give(keeper, "settling", rows[n : n + 8], n)
        told.append(keeper.shown(TENANT, "settling").settled)
        give(keeper, "settling", rows[n : n + 8], n, tenant="no pool")
        assert 0 < keeper.shown("no pool", "settling").settled < 1
    assert 0 < told[0] < told[1] < told[2] < 1
    assert keeper.shown(TENANT, "unheard of").settled == 0.0


def test_texts_of_a_request_are_read_once(keeper, monkeypatch):
    ask = Rank(user="brief", conversation="Once?", responses=THREE)
    first = keeper.rank(TENANT, ask)
    monkeypatch.setattr(scores, "offered", lambda rows: pytest.fail("the texts were read again"))
    assert keeper.rank(TENANT, ask) == first
    assert keeper.rank(TENANT, ask.model_copy(update={"user": "long"})).ranking != first.ranking
