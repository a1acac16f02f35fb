"""What can be known of a world's users: the oracle, the ideal learner, the average.

Each bound answers every target pair (winner first) with log-odds that the winner is preferred; the winner
and loser enter as d = axes(winner) - axes(loser). With lapse = noise,

    P(win | theta) = lapse / 2 + (1 - lapse) * sigmoid(theta . d)

oracle    knows theta at the time of the pair: exact.
average   knows the prior only: E over the prior of P(win), exact to 1e-8. No predictor that ignores
          who chooses does better.
ideal     knows the axes, the prior, the noise and the drift, and sees a user's first context rows:
          P(win | history), the posterior mean, whose log-odds are given. No learner does better.

The sigmoid is written as a mixture of eight probits (Monahan and Stefanski 1992; error below 3e-9), so its
mean under a normal is closed: E sigmoid(z) = sum_i p_i Phi(a_i m / sqrt(1 + a_i^2 s)) for z ~ N(m, s).

The ideal learner works in two steps, over users at once:

1. *Filter.* Within each taste the belief about theta is a normal; each choice, in order of time, replaces
   it by the normal of equal mean and covariance (assumed-density filtering), lapse included and exact in
   the direction d. The product of predicted probabilities is the taste's evidence, which reweights the
   mixture. Drift adds drift^2 * I at each new episode.
2. *Importance sampling.* The filter (90 %) and the prior (10 %, which bounds the weights) propose theta;
   weights are exact prior times exact likelihood over proposal. The filter's closed answer is the control
   variate, so sampling corrects only what the filter gets wrong, and without history nothing at all.

Where it is not exact: with drift step 2 is left out and the filter's answer stands (a test holds it against
a particle filter); with ``nway`` the pairs of a row are answered as if those two had been offered alone,
which differs only where noise is large; the filter then counts each of a row's pairs 2 / options times.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logsumexp, ndtr

from palate.core import ConfigError
from palate.feedback.world import Prior, World, WorldSample

__all__ = ["Bound", "average_bound", "ideal", "oracle", "predict"]

Floats = NDArray[np.float64]

_PROBITS = np.array(
    [
        (0.003246343272134, 1.365340806296348),
        (0.051517477033972, 1.059523971016916),
        (0.195077912673858, 0.830791313765644),
        (0.315569823632818, 0.650732166639391),
        (0.274149576158423, 0.508135425366489),
        (0.131076880695470, 0.396313345166341),
        (0.027912418727972, 0.308904252267995),
        (0.001449567805354, 0.238212616409306),
    ]
)
_WEIGHT, _SLOPE = _PROBITS.T
_LEAST = 1e-9  # probabilities are kept this far from 0 and 1
_DEFENSIVE = 0.1  # share of proposals that come from the prior
_CHUNK_FLOATS = 4_000_000


@dataclass(frozen=True, eq=False)
class Bound:
    """What a bound says of every target pair.

    Attributes:
        name: ``oracle``, ``ideal`` or ``average``.
        log_odds: float64 [target pairs], in the order of ``population.with_split("target").pairs``; the
            winner comes first, so above 0 is right.
    """

    name: str
    log_odds: Floats

    @property
    def accuracy(self) -> float:
        """Share of pairs that are right, an undecided one counting half."""
        return float(np.mean((self.log_odds > 0) + 0.5 * (self.log_odds == 0)))

    @property
    def log_loss(self) -> float:
        """Mean surprise in nats."""
        return float(-np.mean(log_expit(self.log_odds)))

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Bound":
        """Return the bound on some of the pairs, by mask or index."""
        return Bound(self.name, self.log_odds[keep])


def oracle(sample: WorldSample) -> Bound:
    """Return what can be said by who knows every user's taste at every moment.

    >>> from palate.feedback.world import World
    >>> oracle(World.two_tastes(users=50).sample()).accuracy > 0.97
    True
    """
    targets = sample.population.with_split("target").pairs
    rows = np.flatnonzero(sample.population.split == 1)
    score = np.empty(len(targets))
    for start in range(0, len(targets), _CHUNK_FLOATS // 16):
        part = slice(start, start + _CHUNK_FLOATS // 16)
        gap = sample.items_axes[targets.winner[part]] - sample.items_axes[targets.loser[part]]
        score[part] = np.einsum("pa,pa->p", gap, sample.theta_of(rows[targets.row[part]]))
    if sample.world.noise:
        lapse = sample.world.noise
        score = np.log(_mix(expit(score), lapse)) - np.log(_mix(expit(-score), lapse))
    return Bound("oracle", score)


def average_bound(sample: WorldSample) -> Bound:
    """Return the best that can be said without knowing who chooses."""
    return Bound("average", _predict_sample(sample, 0, 0, 0))


def ideal(sample: WorldSample, contexts: int | None = None, samples: int = 1024, seed: int = 0) -> Bound:
    """Return the best that can be said from the prior and a user's first context rows.

    Args:
        sample: The people of a world.
        contexts: How many context rows of each user are seen; None means all.
        samples: Draws a user of the importance sampling; 0 leaves the filter's answer as it is: in the
            default world 0.6 points of probability off (root mean square), against 0.3 with 1024.
        seed: Seed of the draws.

    Raises:
        ConfigError: If users have fewer context rows than asked for.

    >>> from palate.feedback.world import World
    >>> sample = World(users=50).sample()
    >>> ideal(sample, contexts=0).accuracy < ideal(sample).accuracy < oracle(sample).accuracy
    True
    """
    most = sample.world.pairs
    seen = most if contexts is None else contexts
    if not 0 <= seen <= most:
        raise ConfigError(
            f"contexts is {contexts}, expected 0 to {most}, the context rows of each user: "
            f"ask for fewer, or make the world with World(pairs={contexts})"
        )
    return Bound("ideal", _predict_sample(sample, seen, samples, seed))


def predict(world: World, context: Floats, target: Floats, samples: int = 1024, seed: int = 0) -> Floats:
    """Return the ideal learner's log-odds for given differences of axes.

    Args:
        world: Whose prior, noise, drift and episodes hold.
        context: [users, rows, options - 1, 8], chosen minus other, in order of time; the first rows.
        target: [users, target rows, options - 1, 8], the pairs asked about, at the time of the targets.
        samples: Draws a user of the importance sampling, 0 for none.
        seed: Seed of the draws.

    Returns:
        float64 [users, target rows, options - 1].
    """
    belief = _filter(world, context)
    episode = world.episode_of_row[world.pairs :]
    ahead = episode - (world.episode_of_row[context.shape[1] - 1] if context.shape[1] else 0)
    chance = _filtered(world, belief, target, np.maximum(ahead, 0) * world.drift**2)
    if samples and context.shape[1] and world.spread and not world.drift:
        rng = np.random.default_rng((seed, 3))
        chance = chance + _correction(world, belief, context, target, samples, rng)
    edge = max(world.noise / 2, _LEAST)
    chance = np.clip(chance, edge, 1 - edge)
    log_odds: Floats = np.log(chance) - np.log1p(-chance)
    return np.where(np.abs(log_odds) < _LEAST, 0.0, log_odds)


def _predict_sample(sample: WorldSample, contexts: int, samples: int, seed: int) -> Floats:
    """Return float64 [target pairs]: ``predict`` over a sample, some users at a time."""
    world, axes, pairs = sample.world, sample.items_axes, sample.population.pairs
    shape = (world.users, world.rows, world.options - 1)
    winner, loser = pairs.winner.reshape(shape), pairs.loser.reshape(shape)
    tastes, gaps = len(world.prior.weights), shape[1] * shape[2]
    floats = 8 * gaps + 600 * tastes + samples * (gaps + 16 * tastes + 24)
    size = max(1, _CHUNK_FLOATS // floats)
    parts: list[Floats] = []
    for number, start in enumerate(range(0, world.users, size)):
        users = slice(start, start + size)
        gap = axes[winner[users]] - axes[loser[users]]
        asked = predict(world, gap[:, :contexts], gap[:, world.pairs :], samples, seed * 1_000_003 + number)
        parts.append(asked.reshape(-1))
    return np.concatenate(parts)


class _Belief(NamedTuple):
    """A mixture of normals a user.

    Attributes:
        log_weight: [users, tastes], normalised.
        mean: [users, tastes, 8].
        cov: [users, tastes, 8, 8].
    """

    log_weight: Floats
    mean: Floats
    cov: Floats


def _mix(chance: Floats, lapse: float) -> Floats:
    return lapse / 2 + (1 - lapse) * chance


def _chance(mean: Floats, var: Floats, lapse: float) -> Floats:
    """Return E P(win) for theta . d ~ N(mean, var)."""
    at = mean[..., None] * _SLOPE / np.sqrt(1 + _SLOPE**2 * var[..., None])
    return _mix(ndtr(at) @ _WEIGHT, lapse)


def _win(mean: Floats, var: Floats, lapse: float) -> tuple[Floats, Floats, Floats]:
    """Return Z, d log Z / d mean and d2 log Z / d mean2, where Z = E P(win) for theta . d ~ N(mean, var)."""
    slope = _SLOPE / np.sqrt(1 + _SLOPE**2 * var[..., None])
    at = slope * mean[..., None]
    density = _WEIGHT * slope * np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi)
    chance = np.maximum(_mix(ndtr(at) @ _WEIGHT, lapse), 1e-300)
    first = (1 - lapse) * density.sum(-1) / chance
    second = -(1 - lapse) * (density * slope * at).sum(-1) / chance
    return chance, first, second - first**2


def _filter(world: World, context: Floats) -> _Belief:
    """Take in the rows of the context, oldest first."""
    users, rows, others = context.shape[:3]
    episode = world.episode_of_row
    log_weight, mean, cov = _as_belief(world.prior, users)
    part = 2 / world.options
    for row in range(rows):
        if row and episode[row] != episode[row - 1]:
            cov += world.drift**2 * np.eye(mean.shape[-1])
        for other in range(others):
            gap = context[:, row, other]
            along = np.einsum("ukab,ub->uka", cov, gap)
            var = np.einsum("uka,ua->uk", along, gap)
            chance, first, second = _win(np.einsum("uka,ua->uk", mean, gap), var, world.noise)
            log_weight += part * np.log(chance)
            mean += part * first[..., None] * along
            cov += (part * second[..., None] * along)[..., None] * along[..., None, :]
    return _Belief(log_weight - logsumexp(log_weight, axis=1, keepdims=True), mean, cov)


def _filtered(world: World, belief: _Belief, target: Floats, added: Floats) -> Floats:
    """Return [users, targets, options - 1]: P(win) under the belief, its variance grown by ``added``."""
    mean = np.einsum("uka,utoa->ukto", belief.mean, target)
    var = np.einsum("utoa,ukab,utob->ukto", target, belief.cov, target, optimize=True)
    var = np.maximum(var, 0) + added[:, None] * (target**2).sum(-1)[:, None]
    chance: Floats = np.einsum("uk,ukto->uto", np.exp(belief.log_weight), _chance(mean, var, world.noise))
    return chance


def _correction(
    world: World, belief: _Belief, context: Floats, target: Floats, samples: int, rng: np.random.Generator
) -> Floats:
    """Return [users, targets, options - 1]: exact P(win) less the belief's, by importance sampling."""
    prior = _as_belief(world.prior, len(context))
    theta = _propose(belief, prior, samples, rng)
    log_belief, log_prior = _log_density(belief, theta), _log_density(prior, theta)
    log_proposal = np.logaddexp(np.log(1 - _DEFENSIVE) + log_belief, np.log(_DEFENSIVE) + log_prior)
    exact = _shares(log_prior + _log_likelihood(world, context, theta) - log_proposal)
    rough = _shares(log_belief - log_proposal)
    users, asked, others = target.shape[:3]
    gaps = target.reshape(users, asked * others, target.shape[-1])
    chance = _mix(expit(theta @ gaps.transpose(0, 2, 1)), world.noise)
    change: Floats = np.einsum("us,ust->ut", exact - rough, chance)
    return change.reshape(users, asked, others)


def _as_belief(prior: Prior, users: int) -> _Belief:
    with np.errstate(divide="ignore"):
        log_weight = np.tile(np.log(prior.weights), (users, 1))
    eye = np.eye(prior.means.shape[1])
    return _Belief(
        log_weight,
        np.tile(prior.means, (users, 1, 1)),
        np.tile(prior.sd**2 * eye, (users, len(prior.weights), 1, 1)),
    )


def _propose(belief: _Belief, prior: _Belief, samples: int, rng: np.random.Generator) -> Floats:
    """Return [users, samples, 8]: draws from the belief and, for a part, from the prior."""
    share = np.concatenate(
        [(1 - _DEFENSIVE) * np.exp(belief.log_weight), _DEFENSIVE * np.exp(prior.log_weight)], axis=1
    )
    mean = np.concatenate([belief.mean, prior.mean], axis=1)
    root = np.linalg.cholesky(np.concatenate([belief.cov, prior.cov], axis=1))
    users, parts, axes = mean.shape
    # one even grid of draws a user over the parts' shares: little luck in how many each part gets
    at = (np.arange(samples) + rng.random((users, 1))) / samples
    part = (at[..., None] > np.cumsum(share, axis=1)[:, None, :-1]).sum(-1)
    user = np.arange(users)[:, None]
    noise = rng.standard_normal((users, samples, axes))
    theta = np.empty_like(noise)
    for number in range(parts):
        chosen = part == number
        owner = np.broadcast_to(user, part.shape)[chosen]
        theta[chosen] = mean[owner, number] + np.einsum("nab,nb->na", root[owner, number], noise[chosen])
    return theta


def _log_density(belief: _Belief, theta: Floats) -> Floats:
    """Return [users, samples]: log density of the mixture."""
    axes = theta.shape[-1]
    root = np.linalg.cholesky(belief.cov)
    flat = np.linalg.inv(root)  # [users, tastes, 8, 8]
    shift = theta[:, None] - belief.mean[:, :, None]  # [users, tastes, samples, 8]
    square = ((shift @ flat.transpose(0, 1, 3, 2)) ** 2).sum(-1)
    log_det = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(-1)
    part = -0.5 * square - (log_det + 0.5 * axes * np.log(2 * np.pi))[..., None]
    total: Floats = logsumexp(belief.log_weight[..., None] + part, axis=1)
    return total


def _log_likelihood(world: World, context: Floats, theta: Floats) -> Floats:
    """Return [users, samples]: log probability of the choices, exact for any number of options."""
    users, rows, others = context.shape[:3]
    gaps = context.reshape(users, rows * others, context.shape[-1]).transpose(0, 2, 1)
    behind = np.exp(-(theta @ gaps)).reshape(users, -1, rows, others).sum(-1)
    chance = world.noise / world.options + (1 - world.noise) / (1 + behind)
    total: Floats = np.log(np.maximum(chance, 1e-300)).sum(-1)
    return total


def _shares(log_weight: Floats) -> Floats:
    """Return [users, samples]: weights that sum to one a user."""
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    shares: Floats = weight / weight.sum(axis=1, keepdims=True)
    return shares
