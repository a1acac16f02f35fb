import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_expit, softmax

from palate.catalogue import build
from palate.checks import people
from palate.models.features import embed
from palate.numerics.design import Design
from palate.reward import lore
from palate.reward.lore import fit_basis


def slow_share(table, pairs, user, spread):
    """A user's mixture by scipy in float64, run to convergence."""
    own = pairs.user == user
    gap, target = table[pairs.winner[own]] - table[pairs.loser[own]], pairs.target[own]

    def objective(w):
        f = gap @ softmax(spread * w)
        return 0.5 * w @ w - (target * log_expit(f) + (1 - target) * log_expit(-f)).sum()

    found = minimize(objective, np.zeros(table.shape[1]), method="BFGS", options={"gtol": 1e-8})
    return softmax(spread * found.x)


@pytest.mark.parametrize(("rank", "scale"), [(2, 1.0), (8, 1.0), (8, 3.0), (32, 0.5)])
def test_adapting_equals_a_plain_solver_run_to_convergence(rank, scale):
    """Log-loss on other choices of the same users within 1e-3."""
    crowd = people(users=12, rows=14, seed=4)
    model = build("lore", {"ranks": (2,), "ridges": (1.0,)}).fit(people())
    x = np.asarray(embed(crowd.corpus, "lexical"), np.float64)
    model.basis_ = scale * np.random.default_rng(rank).normal(size=(x.shape[1], rank))
    model.__dict__.pop("_cached_fingerprint", None)
    table = x @ model.basis_
    context, target = crowd.head(10), crowd.take_rows(crowd.rank >= 10).pairs
    ours = model.adapt_batch(context).vectors
    slow = np.array([slow_share(table, context.pairs, u, model.spread_) for u in range(crowd.n_users)])

    def loss(share):
        gap = table[target.winner] - table[target.loser]
        return -log_expit((gap * share[target.user]).sum(1)).mean()

    np.testing.assert_allclose(ours.sum(1), 1.0, atol=1e-5)
    assert abs(loss(ours) - loss(slow)) < 1e-3


def test_a_user_without_choices_has_equal_shares():
    model = build("lore", {"ranks": (4,), "ridges": (1.0,)}).fit(people())
    silent = model.adapt_batch(people(users=2))[-1]
    np.testing.assert_allclose(silent.vector, 0.25)


def test_a_score_is_the_mixture_of_the_basis():
    model = build("lore", {"ranks": (3,), "ridges": (1.0,)}).fit(people())
    readers = people(users=3, seed=1)
    personas = model.adapt_batch(readers)
    x = np.asarray(embed(readers.corpus, "lexical"), np.float64)
    row = readers.row(4)
    items = readers.options[readers.option_offsets[4] : readers.option_offsets[5]]
    scores = model.score(personas[0], row.conversation, row.responses)
    np.testing.assert_allclose(scores, x[items] @ model.basis_ @ personas.vectors[0], atol=1e-5)


def test_the_gradient_of_the_fit(monkeypatch):
    rng = np.random.default_rng(0)
    crowd = people(users=5, rows=6)
    design = Design.of(crowd.pairs, crowd.n_users)
    x, seen = rng.normal(size=(len(design.items), 4)), []

    def spy(function, start, *_):
        seen.extend([function, start])
        return start

    monkeypatch.setattr(lore, "descend", spy)
    fit_basis(x, design, rng.normal(size=4), 3, 0.7, 2.0, rng, 5)
    function, start = seen
    at = start + 0.3 * rng.normal(size=len(start))
    step = 1e-5 * np.eye(len(at))
    numeric = [(function(at + s)[0] - function(at - s)[0]) / 2e-5 for s in step]
    np.testing.assert_allclose(function(at)[1], numeric, atol=1e-6)


def test_the_fit_lowers_its_objective():
    rng = np.random.default_rng(1)
    crowd = people(users=20, rows=8)
    design = Design.of(crowd.pairs, crowd.n_users)
    x = np.asarray(embed(crowd.corpus, "lexical"), np.float64)[design.items]
    w = rng.normal(size=x.shape[1]) * 0.01

    def loss(basis):
        """At the best mixture of each training user, among a fine grid of two directions."""
        gap = (x[design.winner] - x[design.loser]) @ basis
        grid = np.stack([np.linspace(0, 1, 21), 1 - np.linspace(0, 1, 21)])
        per_user = design.by_user @ -log_expit(gap @ grid)
        return per_user.min(axis=1).mean()

    short, long = (fit_basis(x, design, w, 2, 0.3, 2.0, np.random.default_rng(2), n) for n in (1, 80))
    assert loss(long) < 0.8 * loss(short)
