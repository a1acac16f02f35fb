"""Mixed-effects Bradley-Terry: what all users share, and a few directions along which they differ.

    r_u(i) = w . x_i + sum_k z_uk a_k . x_i + sum_j v_uj s_j d_ij,     z_u, v_u ~ N(0, I)

x_i [m] are whitened features (so that w ~ N(0, shared^2 I) is a Gaussian process on items), a_k [m]
learned directions with a_k ~ N(0, personal^2 I), d_i [q] fixed directions (style axes) whose spreads
s_j are learned. Variational EM: q(z_u, v_u) is the Laplace posterior (one batched Newton), then w and
the a_k minimise the expected loss under q by Gauss-Hermite quadrature, and the spreads take their EM
update. The posterior of one user never enters as a point: where the data says little the variance is
wide, which keeps the directions small, so a direction that nobody needs costs nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from palate.numerics.bradley_terry import descend, fit_shared
from palate.numerics.design import Design, log_loss, loss_slope
from palate.numerics.laplace import Posterior, UserPairs, posterior

__all__ = ["MixedEffects", "Scales", "fit_mixed_effects", "merge"]

Floats = NDArray[np.floating[Any]]
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, slots=True)
class Scales:
    """Prior scales (log-odds): of what is shared, of a learned direction; and their number."""

    shared: float = 1.0
    personal: float = 1.0
    rank: int = 1


@dataclass(frozen=True, eq=False)
class MixedEffects:
    """The learned model: w float64 [m]; directions float64 [m, r]; spread float64 [q]."""

    w: Floats
    directions: Floats
    spread: Floats

    def project(self, features: Floats, fixed: Floats) -> tuple[Floats, Floats]:
        """Return what users share, float64 [items], and the directions' values, float64 [items, r + q]."""
        return features @ self.w, np.concatenate([features @ self.directions, fixed * self.spread], axis=1)


def fit_mixed_effects(
    features: Floats,
    fixed: Floats,
    design: Design,
    scales: Scales,
    *,
    start: Floats | None = None,
    seed: int = 0,
    rounds: int = 6,
    steps: int = 12,
    spread: float = 0.3,
) -> MixedEffects:
    """Fit by variational EM.

    Args:
        features: float64 [used, m], a row for each of ``design.items``.
        fixed: float64 [used, q], directions whose spread alone is learned; q may be 0.
        design: Pairs, those of a user next to each other.
        scales: Prior scales and the number of learned directions.
        start: w to begin with.
        seed: Seed of the directions' start.
        rounds: Rounds of E and M steps.
        steps: L-BFGS iterations of an M step.
        spread: Start of the fixed directions' spreads.
    """
    shared = fit_shared(features, design, scales.shared**-2, start=start)
    model = MixedEffects(shared, np.zeros((features.shape[1], 0)), np.full(fixed.shape[1], spread))
    if scales.rank:
        model = _joint_start(features, design, scales, model, seed)
    elif not fixed.shape[1]:
        return model
    for _ in range(rounds):
        model, believed = _rescale(model, _expect(model, features, fixed, design), scales.rank)
        model = _maximise(model, features, fixed, design, believed, scales, steps)
    return model


def merge(models: list[MixedEffects], weights: Floats, rank: int) -> MixedEffects:
    """Average models of the same features into one of at most ``rank`` learned directions.

    The mean of what is shared is the weighted mean; the covariance of the differences is the weighted
    mean of the models' covariances, kept to its ``rank`` largest principal directions.
    """
    share = np.asarray(weights, np.float64) / np.sum(weights)
    w = np.sum([a * m.w for a, m in zip(share, models, strict=True)], axis=0)
    spread = np.sqrt(np.sum([a * m.spread**2 for a, m in zip(share, models, strict=True)], axis=0))
    wide = np.concatenate([np.sqrt(a) * m.directions for a, m in zip(share, models, strict=True)], axis=1)
    if not wide.shape[1]:
        return MixedEffects(w, wide, spread)
    left, values, _ = np.linalg.svd(wide, full_matrices=False)
    keep = min(rank, int(np.count_nonzero(values > 1e-3 * max(values[0], 1e-12))))
    return MixedEffects(w, left[:, :keep] * values[:keep], spread)


def _joint_start(x: Floats, design: Design, scales: Scales, model: MixedEffects, seed: int) -> MixedEffects:
    """Start the directions at a joint mode of w, a and z (few steps; symmetric starts would never part)."""
    m, r, n = x.shape[1], scales.rank, design.n_users
    rng = np.random.default_rng(seed)
    incidence, by_user = design.incidence, design.by_user

    def value(v: Floats) -> tuple[float, Floats]:
        w, a, z = v[:m], v[m : m + m * r].reshape(m, r), v[m + m * r :].reshape(n, r)
        g = incidence @ (x @ a)
        d = incidence @ (x @ w) + (g * z[design.user]).sum(1)
        loss = log_loss(d, design.target).sum() + 0.5 * (w @ w) / scales.shared**2
        loss += 0.5 * (a * a).sum() / scales.personal**2 + 0.5 * (z * z).sum()
        slope = loss_slope(d, design.target)
        dw = x.T @ (incidence.T @ slope) + w / scales.shared**2
        da = x.T @ (incidence.T @ (slope[:, None] * z[design.user])) + a / scales.personal**2
        dz = by_user @ (slope[:, None] * g) + z
        return float(loss), np.concatenate([dw, da.ravel(), dz.ravel()])

    noise = rng.normal(size=m * r) * 0.1 * scales.personal
    found = descend(
        value, np.concatenate([model.w, noise, rng.normal(size=n * r)]), 40, "mixed-effects start"
    )
    return replace(model, w=found[:m], directions=found[m : m + m * r].reshape(m, r))


def _expect(model: MixedEffects, x: Floats, fixed: Floats, design: Design) -> Posterior:
    offset, g = model.project(x, fixed)
    starts = np.searchsorted(design.user, np.arange(design.n_users + 1))
    table = UserPairs(offset, g, design.winner, design.loser, design.target, starts)
    return posterior(table, covariance="full", tolerance=1e-6)


def _rescale(model: MixedEffects, believed: Posterior, rank: int) -> tuple[MixedEffects, Posterior]:
    """Move the scale of the users' parameters into directions and spreads, so that E[zz'] = I again."""
    mean, covariance = believed.mean, believed.covariance
    assert covariance is not None
    second = mean.T @ mean / len(mean) + covariance.mean(0)
    grow = np.linalg.cholesky(second[:rank, :rank])
    stretch = np.clip(np.diag(second)[rank:], 0.2, 2.0)  # EM's update is its root: the square speeds it up
    change = np.zeros_like(second)
    change[:rank, :rank] = np.linalg.inv(grow)
    change[range(rank, len(second)), range(rank, len(second))] = 1.0 / stretch
    model = replace(model, directions=model.directions @ grow, spread=model.spread * stretch)
    return model, Posterior(mean @ change.T, change @ covariance @ change.T)


def _maximise(
    model: MixedEffects,
    x: Floats,
    fixed: Floats,
    design: Design,
    believed: Posterior,
    scales: Scales,
    steps: int,
) -> MixedEffects:
    """Minimise the expected loss under the users' posteriors over w and the learned directions."""
    m, r = x.shape[1], scales.rank
    incidence, user = design.incidence, design.user
    mean, covariance = believed.mean[user], believed.covariance
    assert covariance is not None
    free, tied = covariance[user][:, :r, :r], covariance[user][:, :r, r:]
    d_fixed = incidence @ (fixed * model.spread)
    offset = (d_fixed * mean[:, r:]).sum(1)
    cross = np.einsum("nij,nj->ni", tied, d_fixed)
    base = np.einsum("ni,nij,nj->n", d_fixed, covariance[user][:, r:, r:], d_fixed)

    def value(v: Floats) -> tuple[float, Floats]:
        w, a = v[:m], v[m:].reshape(m, r)
        g = incidence @ (x @ a)
        spun = np.einsum("nij,nj->ni", free, g) + cross
        mu = incidence @ (x @ w) + (g * mean[:, :r]).sum(1) + offset
        deviation = np.sqrt(np.maximum((g * (spun + cross)).sum(1) + base, 1e-12))
        d = mu[:, None] + deviation[:, None] * _NODES
        loss = -(log_expit(d) @ _WEIGHTS).sum() + ((1.0 - design.target) * mu).sum()
        loss += 0.5 * (w @ w) / scales.shared**2 + 0.5 * (a * a).sum() / scales.personal**2
        p = expit(d)
        by_mean = p @ _WEIGHTS - design.target
        by_variance = 0.5 * (p @ (_WEIGHTS * _NODES)) / deviation  # of the sum itself, not of its limit
        dw = x.T @ (incidence.T @ by_mean) + w / scales.shared**2
        dg = by_mean[:, None] * mean[:, :r] + 2.0 * by_variance[:, None] * spun
        return float(loss), np.concatenate([dw, (x.T @ (incidence.T @ dg) + a / scales.personal**2).ravel()])

    found = descend(value, np.concatenate([model.w, model.directions.ravel()]), steps, "mixed effects")
    return replace(model, w=found[:m], directions=found[m:].reshape(m, r))
