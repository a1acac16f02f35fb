"""Groups of taste: the prior of users' parameters as a mixture of normals with one shared covariance.

Users' choices enter through the Laplace posterior N(m_u, C_u) that they have under N(0, I): their
likelihood is, to second order, exp(-z' L_u z / 2 + h_u' z) with L_u = C_u^-1 - I and h_u = C_u^-1 m_u.
Under the prior sum_k p_k N(mu_k, W) everything is then closed:

    posterior within group k   N(m_uk, V_u),  V_u = (L_u + W^-1)^-1,  m_uk = V_u (h_u + W^-1 mu_k)
    share of group k           s_uk ~ p_k exp(-mu_k' W^-1 mu_k / 2 + (h_u + W^-1 mu_k)' m_uk / 2)

and EM (users whose choices say little move nothing) gives p, mu and W, each with a weak prior. A user's
mean and variance are those of the whole mixture.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

__all__ = ["Groups", "Membership", "fit_groups"]

Floats = NDArray[np.floating[Any]]
_MEAN_PRIOR, _SPREAD_PRIOR = 5.0, 10.0  # pseudo-users at zero, and with identity covariance


@dataclass(frozen=True, eq=False)
class Membership:
    """Users under the mixture: mean and variance [users, r], share [users, groups], log-evidence [users]."""

    mean: Floats
    variance: Floats
    share: Floats
    evidence: Floats


@dataclass(frozen=True, eq=False)
class Groups:
    """Weights [k], means [k, r] and the covariance within every group [r, r]."""

    weights: Floats
    means: Floats
    within: Floats

    def place(self, mean: Floats, covariance: Floats) -> Membership:
        """Place users, given their posterior mean [users, r] and covariance [users, r, r] under N(0, I)."""
        inside, spread, share, evidence = self._expect(mean, covariance)
        middle = np.einsum("uk,kur->ur", share, inside)
        between = np.einsum("uk,kur->ur", share, (inside - middle) ** 2)
        return Membership(middle, np.einsum("uii->ui", spread) + between, share, evidence)

    def _expect(self, mean: Floats, covariance: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return m_uk [k, users, r], V_u [users, r, r], shares [users, k] and log-evidence [users]."""
        precision = np.linalg.inv(covariance)
        pull = (precision @ mean[..., None])[..., 0]
        inverse = np.linalg.inv(self.within)
        told = precision - np.eye(mean.shape[1]) + inverse
        spread = np.linalg.inv(told)
        towards = pull[None] + (self.means @ inverse)[:, None, :]
        inside = np.einsum("uij,kuj->kui", spread, towards)
        constant = np.log(self.weights) - 0.5 * np.einsum("ki,ij,kj->k", self.means, inverse, self.means)
        volume = -0.5 * (np.linalg.slogdet(told)[1] + np.linalg.slogdet(self.within)[1])
        weight = constant + volume[:, None] + 0.5 * np.einsum("kui,kui->uk", towards, inside)
        evidence = logsumexp(weight, axis=1)
        return inside, spread, np.exp(weight - evidence[:, None]), evidence

    def _improve(self, mean: Floats, covariance: Floats) -> "Groups":
        inside, spread, share, _ = self._expect(mean, covariance)
        n, size = len(mean), mean.shape[1]
        weights = (share.sum(0) + 1.0) / (n + len(self.weights))
        means = np.einsum("uk,kur->kr", share, inside) / (share.sum(0) + _MEAN_PRIOR)[:, None]
        gap = inside - means[:, None, :]
        scatter = spread.sum(0) + np.einsum("uk,kui,kuj->ij", share, gap, gap)
        return Groups(weights, means, (scatter + _SPREAD_PRIOR * np.eye(size)) / (n + _SPREAD_PRIOR))


def fit_groups(
    mean: Floats, covariance: Floats, count: int, *, seed: int = 0, starts: int = 3, rounds: int = 40
) -> Groups:
    """Return the mixture of ``count`` groups with the most evidence of several seeded starts.

    Args:
        mean: float64 [users, r], posterior means under N(0, I).
        covariance: float64 [users, r, r], posterior covariances.
        count: Number of groups.
        seed: Seed of the starts, which draw users far from each other (k-means++).
        starts: Number of starts.
        rounds: EM rounds of each.
    """
    best: tuple[float, Groups] | None = None
    for start in range(starts):
        rng = np.random.default_rng([seed, count, start])
        centres = mean[rng.integers(len(mean))][None]
        while len(centres) < count:
            distance = ((mean[:, None] - centres[None]) ** 2).sum(-1).min(1) + 1e-12
            centres = np.vstack([centres, mean[rng.choice(len(mean), p=distance / distance.sum())]])
        groups = Groups(np.full(count, 1.0 / count), centres, np.eye(mean.shape[1]))
        for _ in range(rounds):
            groups = groups._improve(mean, covariance)
        evidence = float(groups.place(mean, covariance).evidence.sum())
        if best is None or evidence > best[0]:
            best = (evidence, groups)
    assert best is not None
    return best[1]
