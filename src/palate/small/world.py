"""People of the small language: their choices between answers, and the truth behind them.

The answers of a pair differ on each axis with probability 1/2, on one at least. Of what a person chooses
there are three ceilings: the oracle knows the taste t; the persona in words states sign and magnitude of
every axis; the ideal learner knows the prior and the context choices, and takes the mean over the posterior
(exactly: there are 4^4 tastes). With d_c the values of the chosen answer of pair c less
those of the rejected one,

    p(t | context) ~ p(t) prod_c sigmoid(t . d_c)
    P(y beats y' | context) = sum_t p(t | context) sigmoid(t . (v(y) - v(y')))
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from palate.core import ConfigError, Population, PopulationBuilder
from palate.small.language import MINORITY, Language, all_tastes, differing, draw_tastes

__all__ = ["SmallWorld", "world"]

Floats = NDArray[np.float64]
_START, _GAP = 1.7e9, 3600.0  # seconds


@dataclass(frozen=True, eq=False)
class SmallWorld:
    """People of a small world, their choices, and the truth behind them.

    Attributes:
        population: The choices: roles train, val and test by user, splits context and target by row.
        language: The words.
        taste: float64 [users, axes], log-odds per unit of value.
        personas: The true persona of each user in words: sign and strength of every axis.
        minority: Share of people who are not on the crowd's side, axis by axis.
    """

    population: Population
    language: Language
    taste: Floats
    personas: list[str] = field(repr=False)
    minority: float = MINORITY

    @cached_property
    def item_values(self) -> Floats:
        """float64 [items, axes]: the values of every answer of the corpus."""
        corpus = self.population.corpus
        return np.array([self.language.values(text) for text in corpus.responses])[corpus.item_response]

    @cached_property
    def gaps(self) -> Floats:
        """float64 [rows, axes]: values of the chosen answer less those of the rejected one."""
        pairs = self.population.pairs
        return self.item_values[pairs.winner] - self.item_values[pairs.loser]

    @cached_property
    def oracle(self) -> Floats:
        """float64 [rows]: log-odds of the choice that was made, for who knows the taste."""
        found: Floats = np.einsum("ra,ra->r", self.gaps, self.taste[self.population.row_user])
        return found

    @cached_property
    def persona_log_odds(self) -> Floats:
        """float64 [rows]: log-odds of the choice that was made, for who reads the true persona."""
        stated = np.array([self.language.stated(text) for text in self.personas])
        found: Floats = np.einsum("ra,ra->r", self.gaps, stated[self.population.row_user])
        return found

    @cached_property
    def ideal(self) -> Floats:
        """float64 [rows]: log-odds of the choice that was made, for who knows prior and context choices.

        The rows of the context are seen by the learner, so that only those of the targets mean anything.
        """
        tastes, prior = all_tastes(self.minority)
        people = self.population
        log_odds = np.zeros(people.n_rows)
        for start, end in zip(people.offsets[:-1], people.offsets[1:], strict=True):
            margin = tastes @ self.gaps[start:end].T  # [tastes, rows]
            seen = people.split[start:end] == 0
            weight = prior * np.exp(-np.logaddexp(0, -margin[:, seen]).sum(axis=1))
            chance = weight @ (1 / (1 + np.exp(-margin))) / weight.sum()
            log_odds[start:end] = np.log(chance / (1 - chance))
        return log_odds


def world(
    n_users: int = 300,
    seed: int = 0,
    *,
    pairs: int = 10,
    targets: int = 10,
    dialects: int = 1,
    shift: Literal["mixed", "similar", "dissimilar"] = "mixed",
    roles: tuple[float, float, float] = (0.6, 0.1, 0.3),
    minority: float = MINORITY,
) -> SmallWorld:
    """Draw people and their choices.

    Args:
        n_users: How many people.
        seed: Of everything. Worlds that differ in ``shift`` only have the same people and contexts.
        pairs: Context choices of each.
        targets: Later choices of each, held out.
        dialects: Groups of topics with words of their own, 1 or 2.
        shift: ``mixed``: topics at random; ``similar``: context and targets of one person from one group;
            ``dissimilar``: targets from the other group.
        roles: Shares of train, val and test users.
        minority: Share of people who are not on the crowd's side, axis by axis; 0.5 has no crowd.

    Returns:
        The population and the truth.

    Raises:
        ConfigError: If a number is impossible, or ``shift`` needs two dialects.

    >>> small = world(10, pairs=3, targets=2)
    >>> small.population.n_rows, small.taste.shape
    (50, (10, 4))
    """
    language = Language(dialects)
    if n_users < 1 or pairs < 0 or targets < 0 or pairs + targets < 1:
        raise ConfigError(
            f"n_users={n_users}, pairs={pairs}, targets={targets}: a world needs one user and one choice"
        )
    if shift not in ("mixed", "similar", "dissimilar") or (shift != "mixed" and dialects == 1):
        raise ConfigError(
            f"shift={shift!r} with dialects={dialects}: 'mixed', or 'similar' or 'dissimilar' with dialects=2"
        )
    rng, early, late = (np.random.default_rng((seed, part)) for part in range(3))
    taste = draw_tastes(n_users, rng, minority)
    groups = rng.integers(dialects, size=n_users)
    role = np.searchsorted(np.cumsum(roles), (rng.permutation(n_users) + 0.5) / n_users * sum(roles))
    builder = PopulationBuilder()
    width = max(4, len(str(n_users - 1)))
    for who in range(n_users):
        name = f"s{who:0{width}d}"
        builder.add_user(name, role=min(int(role[who]), 2))
        home = None if shift == "mixed" else int(groups[who])
        away = 1 - int(groups[who]) if shift == "dissimilar" else home
        for row in range(pairs + targets):
            later = row >= pairs
            prompt, answers, chosen = _choice(
                language, taste[who], away if later else home, late if later else early
            )
            time = _START + _GAP * row
            builder.add(name, prompt, answers, chosen, id=f"{name}-{row}", time=time, split=int(later))
    personas = [language.persona(taste[who], rng) for who in range(n_users)]
    return SmallWorld(builder.build(), language, taste, personas, minority)


def _choice(
    language: Language, taste: Floats, group: int | None, rng: np.random.Generator
) -> tuple[str, list[str], int]:
    """Return a prompt, two answers and which of them is chosen."""
    prompt = language.prompt(rng, group)
    first, second = differing(rng)
    chosen = int(rng.random() < 1 / (1 + np.exp(taste @ (first - second))))
    return prompt, [language.answer(prompt, first, rng), language.answer(prompt, second, rng)], chosen
