"""Bradley-Terry heads against plain solvers, and the rules of each method."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_expit

from palate.catalogue import build
from palate.checks import people
from palate.core import ConfigError, Feedback, History, Persona, Population, Queries, Query, as_conversation
from palate.models.features import embed
from palate.reward import bt
from palate.reward.base import Validation, best, option_dot
from palate.reward.bt import individual_weights


def features(crowd):
    return np.asarray(embed(crowd.corpus, "lexical"), np.float64)


def test_individual_weights_are_each_users_own_minimum():
    crowd = people(users=4, rows=9, seed=2)
    x, ridge = features(crowd)[:, :40], 0.5
    ours = individual_weights(x, crowd, ridge)
    assert (ours[-1] == 0).all()
    for user in range(4):
        own = crowd.pairs.take(crowd.pairs.user == user)
        gap = x[own.winner] - x[own.loser]

        def objective(w, gap=gap, own=own):
            f = gap @ w
            return 0.5 * ridge * w @ w - (own.target * log_expit(f) + (1 - own.target) * log_expit(-f)).sum()

        truth = minimize(objective, np.zeros(40), method="BFGS", options={"gtol": 1e-8}).x
        np.testing.assert_allclose(ours[user], truth, atol=2e-3)


def test_pooled_scores_are_linear_in_the_features():
    model = build("pooled").fit(people())
    readers = people(users=2, seed=1)
    row = readers.row(0)
    items = readers.options[: len(row.responses)]
    scores = model.score(Persona(), row.conversation, row.responses)
    np.testing.assert_allclose(scores, features(readers)[items] @ model.weights_, atol=1e-5)


def test_the_ridge_is_the_one_that_validation_users_prefer():
    """With choices that follow the text little, a strong prior is chosen; with clear ones, a weak one."""
    rng = np.random.default_rng(0)
    clear, noisy = [], []
    for n in range(30):
        for row in range(12):
            texts = f"good {rng.integers(99)}", f"bad {rng.integers(99)}"
            talk = as_conversation("Q")
            clear.append(Feedback(f"u{n}", talk, texts, 0, f"{n}-{row}"))
            noisy.append(Feedback(f"u{n}", talk, texts, int(rng.integers(2)), f"{n}-{row}"))
    assert build("pooled").fit(Population.of(clear)).ridge_ < build("pooled").fit(Population.of(noisy)).ridge_


def test_random_gives_every_response_the_same_score():
    model = build("random").fit(people())
    assert (model.score(Persona(), "Hi", ["a", "b", "c"]) == 0).all()


@pytest.fixture(scope="module")
def crowd():
    return people(users=20, rows=10)


def test_conditional_knows_the_users_it_was_trained_on(crowd):
    role = np.where(np.arange(crowd.n_users) % 5 == 4, 1, 0).astype(np.int8)
    told = Population(**{**vars_of(crowd), "role": role})
    model = build("conditional").fit(told)
    short_fan, long_fan = model.adapt(History("reader-0-0")), model.adapt(History("reader-0-1"))
    answers = ["Start early.", "It helps to write down what you hope for before you decide anything. " * 3]
    short, long = (model.score(p, "Tell me about saving money.", answers) for p in (short_fan, long_fan))
    assert short[0] - short[1] > long[0] - long[1] + 0.2
    stranger = model.adapt(History("nobody"))
    np.testing.assert_array_equal(stranger.vector, model.weights_)


def vars_of(population):
    names = Population.__dataclass_fields__
    return {name: getattr(population, name) for name in names}


def test_conditional_on_profiles_serves_strangers_with_a_known_profile():
    rows = []
    for n in range(16):
        likes_first = n % 2 == 0
        feedback = tuple(
            Feedback(
                f"u{n}",
                as_conversation("Q"),
                (f"apple {k}", f"pear {k}"),
                0 if likes_first else 1,
                f"{n}-{k}",
            )
            for k in range(6)
        )
        rows.append(History(f"u{n}", feedback, {"fruit": "apple" if likes_first else "pear"}))
    model = build("conditional", {"on": "profile"}).fit(Population.of(rows))
    fans = [model.adapt(History("new", (), {"fruit": f})) for f in ("apple", "pear")]
    scores = [model.score(fan, "Q", ["apple 99", "pear 99"]) for fan in fans]
    assert scores[0][0] > scores[0][1]
    assert scores[1][1] > scores[1][0]
    unknown = model.adapt(History("new", (), {"fruit": "plum", "city": "Rome"}))
    np.testing.assert_array_equal(unknown.vector, model.weights_)


def test_conditional_refuses_an_unknown_condition():
    with pytest.raises(ConfigError, match="on='mood' is unknown; use 'user' or 'profile'"):
        build("conditional", {"on": "mood"}).fit(people())


def test_the_gradient_of_conditional(monkeypatch, crowd):
    seen = []
    monkeypatch.setattr(bt, "descend", lambda f, start, *_: seen.append((f, start)) or start)
    monkeypatch.setattr(bt.Conditional, "_features", lambda self, corpus: features_of(corpus))
    model = build("conditional", {"ridges": (0.7,)})
    model.fit(people(users=4, rows=5))
    function, start = seen[-1]
    rng = np.random.default_rng(0)
    at = rng.normal(size=len(start))
    numeric = [(function(at + s)[0] - function(at - s)[0]) / 2e-5 for s in 1e-5 * np.eye(len(at))]
    np.testing.assert_allclose(function(at)[1], numeric, atol=1e-6)


def features_of(corpus):
    return np.asarray(embed(corpus, "lexical")[:, :5], np.float64)


def test_similar_user_borrows_the_model_of_the_nearest(crowd):
    model = build("similar-user").fit(crowd)
    readers = people(users=4, rows=10, seed=1)
    vectors = model.adapt_batch(readers).vectors
    x, pairs = features(readers), readers.pairs
    for user in range(4):
        own = pairs.take(pairs.user == user)
        losses = [
            -(own.target * log_expit(f) + (1 - own.target) * log_expit(-f)).sum()
            for f in ((x[own.winner] - x[own.loser]) @ w for w in model.models_[1:])
        ]
        np.testing.assert_allclose(vectors[user], model.models_[1 + int(np.argmin(losses))])
    np.testing.assert_array_equal(vectors[-1], model.models_[0])


# ---- mixed --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    return build("mixed", {"ranks": (1,), "shareds": (1.0,), "personals": (1.0,)}).fit(
        people(users=30, rows=12)
    )


def test_mixed_is_less_sure_of_those_it_knows_less(mixed):
    readers = people(users=6, rows=12, seed=1)
    questions = [
        (t, tuple(readers.corpus.responses[i : i + 2])) for i, t in enumerate(readers.corpus.conversations)
    ]
    variances = []
    for n in (0, 3, 12):
        personas = mixed.adapt_batch(readers.head(n))
        asked = [Query(personas[0], talk, pair) for talk, pair in questions]
        variances.append(mixed.variance_batch(Queries.of(asked)))
    assert (variances[0] >= variances[1] - 1e-9).all()
    assert (variances[1] >= variances[2] - 1e-9).all()
    assert variances[0].mean() > variances[2].mean()


def test_mixed_refuses_a_configuration_with_nothing_to_try():
    with pytest.raises(ConfigError, match="nothing to try"):
        build("mixed", {"shareds": ()}).fit(people())


# ---- what they share ----------------------------------------------------------------------------------


def test_option_dot_is_a_product_a_row_in_any_block():
    rng = np.random.default_rng(0)
    readers = people(users=5, seed=1)
    model = build("individual").fit(people())
    queries = Queries.of_pairs(model.adapt_batch(readers), readers.corpus, readers.pairs)
    table, vectors = rng.normal(size=(len(readers.corpus), 3)), rng.normal(size=(readers.n_users, 3))
    expected = [
        table[item] @ vectors[queries.who[query]]
        for item, query in zip(queries.options, queries.option_query, strict=True)
    ]
    np.testing.assert_allclose(option_dot(table, vectors, queries), expected)
    np.testing.assert_allclose(option_dot(table, vectors, queries, block=7), expected)


def test_validation_losses_are_means_over_a_users_targets():
    crowd = people(users=5, rows=8)
    role, split = np.array([0, 0, 1, 1, 0, 1], np.int8), (crowd.rank >= 5).astype(np.int8)
    told = Population(**{**vars_of(crowd), "role": role, "split": split})
    validation = Validation.of(told)
    d = np.random.default_rng(0).normal(size=len(validation))
    expected = []
    for user in (0, 1):
        own = validation.target.user == user
        t = validation.target.target[own]
        expected.append(-(t * log_expit(d[own]) + (1 - t) * log_expit(-d[own])).mean())
    np.testing.assert_allclose(validation.losses_of(d), expected)
    assert set(validation.context.ids).isdisjoint(crowd.ids[crowd.rank >= 5])


def test_the_best_candidate_is_the_lowest_and_the_first_of_none():
    assert best([np.array([0.7, 0.5]), np.array([0.4, 0.6]), np.array([0.9, 0.8])]) == 1
    assert best([np.zeros(0), np.zeros(0)]) == 0
