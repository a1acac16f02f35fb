"""Each loss beside the paper's words in float64, and POPI's bound."""

import math

import numpy as np
import pytest
import torch

from palate.tune.losses import (
    bradley_terry,
    floor,
    kl_weight,
    log_odds,
    margin,
    preference_loss,
    user_mixed,
)

SEEDS = range(5)


def drawn(seed, n=7):
    rng = np.random.default_rng(seed)
    return rng.normal(-40, 12, (4, n))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["dpo", "ipo"])
@pytest.mark.parametrize("beta", [0.01, 0.1, 0.7])
def test_preference_losses_are_the_papers(seed, kind, beta):
    chosen, rejected, ref_chosen, ref_rejected = drawn(seed)
    found = preference_loss(margin(*map(torch.tensor, drawn(seed))), beta, kind)
    for i in range(len(chosen)):
        lifted_c, lifted_r = chosen[i] - ref_chosen[i], rejected[i] - ref_rejected[i]
        if kind == "dpo":  # POPI, equation 1
            told = -math.log(1 / (1 + math.exp(-(beta * lifted_c - beta * lifted_r))))
        else:  # POPI, equation 2
            told = (lifted_c - lifted_r - 1 / (2 * beta)) ** 2
        assert found[i].item() == pytest.approx(told, rel=1e-9)


def test_preference_loss_holds_far_out():
    far = preference_loss(torch.tensor([-1e4, 1e4], dtype=torch.float64), 1.0)
    assert far.tolist() == [1e4, 0.0]


def test_ipo_pulls_to_its_target():
    m = torch.tensor([5.0, 4.0], dtype=torch.float64, requires_grad=True)
    preference_loss(m, 0.1, "ipo").sum().backward()
    assert m.grad.tolist() == [0.0, -2.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_bradley_terry_and_the_mix_are_the_papers(seed):
    own_c, own_r, all_c, all_r = drawn(seed) / 10
    own, generic = (
        bradley_terry(torch.tensor(c), torch.tensor(r)) for c, r in ((own_c, own_r), (all_c, all_r))
    )
    mixed = user_mixed(own, generic, 0.3)
    for i in range(len(own_c)):
        first = math.log1p(math.exp(-(own_c[i] - own_r[i])))
        second = math.log1p(math.exp(-(all_c[i] - all_r[i])))
        assert own[i].item() == pytest.approx(first, rel=1e-9)
        assert mixed[i].item() == pytest.approx(0.3 * first + 0.7 * second, rel=1e-9)


def test_a_tie_is_half_of_each_side():
    c, r = torch.tensor([1.3], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)
    half = bradley_terry(c, r, torch.tensor([0.5], dtype=torch.float64))
    assert half.item() == pytest.approx(((bradley_terry(c, r) + bradley_terry(r, c)) / 2).item(), rel=1e-12)
    assert bradley_terry(c, r, torch.ones(1, dtype=torch.float64)).item() == bradley_terry(c, r).item()


def test_the_weight_of_the_kl_goes_with_the_scale_of_the_loss():
    assert kl_weight(0.05) == pytest.approx(0.0001)
    assert kl_weight(0.05, "ipo") == pytest.approx(0.002 * 2 / 0.05)
    assert kl_weight(0.1, "dpo", 1.0) == 0.1


def test_log_odds_of_a_margin():
    m = torch.tensor([5.0])
    assert log_odds(m, 0.1).item() == pytest.approx(0.5)
    assert log_odds(m, 0.1, "ipo").item() == pytest.approx(1.0)  # at IPO's target


# ---- the bound of POPI 4.3 -----------------------------------------------------------------------


def joint(seed):
    """Return P(label, z, x): float64 [2, summaries, prompts]."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(2 * 5 * 3, 0.4)).reshape(2, 5, 3)


def entropy(p):
    p = p[p > 0]
    return -float((p * np.log(p)).sum())


def literal_floor(p):
    """Return H(label | x) - I(label; z | x) from entropies."""
    of_x, of_zx, of_lx = p.sum((0, 1)), p.sum(0), p.sum(1)
    label_given_x = entropy(of_lx) - entropy(of_x)
    information = entropy(of_lx) + entropy(of_zx) - entropy(of_x) - entropy(p)
    return label_given_x - information


def expected(p, log_odds_of_first):
    """Return E[l] with P_theta(label 0 | z, x) = sigmoid(log_odds), through the loss itself at beta 1."""
    m = torch.tensor(log_odds_of_first)
    first, second = preference_loss(m, 1.0).numpy(), preference_loss(-m, 1.0).numpy()
    return float((p[0] * first + p[1] * second).sum())


@pytest.mark.parametrize("seed", SEEDS)
def test_no_model_gets_below_the_bound_and_the_posterior_reaches_it(seed):
    p = joint(seed)
    least = literal_floor(p)
    by_prompt = [p[:, :, x] / p[:, :, x].sum() for x in range(3)]
    shares = p.sum((0, 1))
    ours = sum(s * floor(torch.tensor(q)) for s, q in zip(shares, by_prompt, strict=True))
    assert ours == pytest.approx(least, rel=1e-9)

    rng = np.random.default_rng(seed)
    for scale in (0.1, 1.0, 5.0):
        for _ in range(50):
            assert expected(p, rng.normal(0, scale, (5, 3))) >= least - 1e-12
    truth = np.log(p[0]) - np.log(p[1])
    assert expected(p, truth) == pytest.approx(least, rel=1e-9)
    for step in (0.05, -0.05):  # and only there
        assert expected(p, truth + step) > least + 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_above_the_bound_is_the_divergence(seed):
    p = joint(seed)
    odds = np.random.default_rng(seed + 99).normal(0, 1, (5, 3))
    first = 1 / (1 + np.exp(-odds))
    given = p / p.sum(0)
    divergence = float((p * (np.log(given) - np.log(np.stack([first, 1 - first])))).sum())
    assert expected(p, odds) == pytest.approx(literal_floor(p) + divergence, rel=1e-9)


def test_a_summary_that_tells_nothing_leaves_the_entropy():
    p = np.outer([0.3, 0.7], [0.2, 0.8])
    assert floor(torch.tensor(p)) == pytest.approx(entropy(np.array([0.3, 0.7])), rel=1e-9)
