import json
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from test_page import check

from palate.core import Method, Population, Queries
from palate.evaluate.cells import Outcome
from palate.evaluate.facets import tax
from palate.evaluate.measured import Measured
from palate.evaluate.protocol import new_users
from palate.evaluate.suite import embedded_suite
from palate.feedback.world import World


@dataclass(kw_only=True, eq=False)
class Known(Method):
    """Scores the better answer by one; its personas add a taste for length, or for the worse answer.

    ``reach`` [users]: how much a user's taste counts against the truth; 0 is the average user.
    """

    name: ClassVar[str] = "known"
    taste: str = "length"
    reach: tuple[float, ...] = ()
    asked: list = field(default_factory=list)

    def _learn(self, population):
        """Nothing to learn."""

    def _condense(self, population: Population):
        if not population.n_rows and population.n_users == 1:
            return np.zeros((1, 1))
        return np.resize(self.reach, population.n_users)[:, None]

    def _log_odds(self, vectors, queries: Queries):
        self.asked.append(len(queries))
        suite = embedded_suite()
        truth = np.zeros(len(suite.corpus))
        truth[suite.pairs.winner] = 1.0
        size = np.array([len(suite.corpus.response(i)) for i in range(len(suite.corpus))])
        extra = {"length": np.sign(size - np.median(size)), "worse": -2.0 * truth}[self.taste]
        if self.taste == "length":  # longer than the other answer of its question
            extra = np.zeros(len(suite.corpus))
            extra[np.where(suite.longer, suite.pairs.winner, suite.pairs.loser)] = 2.0
        own = vectors[queries.who[queries.option_query], 0]
        return truth[queries.options] + own * extra[queries.options]


@pytest.fixture(scope="module")
def task():
    made = new_users("world", World(users=60, seed=3).sample().population)
    object.__setattr__(made, "suite", embedded_suite())
    return made


def measured(task, **methods):
    outcomes = {}
    for name, method in methods.items():
        fitted = method.fit(task.fit_on)
        arrays = tax.probe(fitted, fitted.adapt_batch(task.context), task)
        extra = {f"tax.{key}": array for key, array in arrays.items()}
        nothing = np.zeros(len(task.targets))
        outcomes[name] = Outcome(nothing, None, None, {0: nothing}, {}, extra=extra)
    return tax.measure([Measured(task, "lexical", outcomes)])


def by_name(values):
    return {m["method"]: m for m in values["methods"]}


def of(part, name):
    return next(c for c in part["categories"] if c["category"] == name)


def test_a_taste_for_length_pays_the_known_tax(task):
    """All prefer the longer answer by more than the truth: right exactly where the better is the longer."""
    (values,) = measured(task, known=Known(reach=(1.0,)))
    found = by_name(values)["known"]
    assert found["base"] == 1.0
    assert found["mean"] == 0.5
    assert found["tax"]["value"] == found["tax"]["low"] == found["tax"]["high"] == -0.5
    assert of(found, "length")["tax"]["value"] == -0.5
    assert found["longer"]["base"] == 0.5
    assert found["longer"]["mean"] == 1.0
    assert found["longer"]["change"]["value"] == 0.5
    assert found["flatters"]["base"] == 0.0
    assert found["flatters"]["mean"] == 0.5


def test_half_of_the_users_pay_half_of_the_tax(task):
    (values,) = measured(task, known=Known(reach=(1.0, 0.0)))
    found = by_name(values)["known"]
    users = task.context.n_users
    share = np.resize([1.0, 0.0], users).mean()
    assert found["tax"]["value"] == pytest.approx(-0.5 * share, abs=1e-6)
    assert found["tax"]["low"] < found["tax"]["value"] < found["tax"]["high"] < 0
    assert found["tax"]["users"] == users
    assert found["worst_tenth"] == -0.5


def test_a_taste_too_weak_to_turn_an_answer_is_free(task):
    (values,) = measured(task, known=Known(reach=(0.4,)))
    found = by_name(values)["known"]
    assert found["tax"]["value"] == 0.0
    assert not found["changes"]


def test_a_taste_for_the_worse_answer_loses_everything(task):
    (values,) = measured(task, known=Known(taste="worse", reach=(1.0,)))
    found = by_name(values)["known"]
    assert [c["mean"] for c in found["categories"]] == [0.0] * 6
    assert found["longer"]["change"]["value"] == 0.0, "it picks the worse, which is the longer in half"
    assert found["flatters"]["mean"] == 1.0


def test_a_tie_counts_half(task):
    """A taste that outweighs the truth exactly leaves a tie wherever the better answer is the shorter."""
    (values,) = measured(task, known=Known(reach=(0.5,)))
    assert by_name(values)["known"]["tax"]["value"] == -0.25


def test_methods_without_personas_pay_exactly_nothing(task):
    from palate.catalogue import build

    methods = {name: build(name, encoder="lexical") for name in ("pooled", "individual")}
    (values,) = measured(task, **methods, random=build("random"))
    found = by_name(values)
    for name in ("pooled", "random"):
        assert found[name]["tax"] == {"value": 0.0, "low": 0.0, "high": 0.0, "users": task.context.n_users}
        assert not found[name]["changes"]
    assert found["random"]["base"] == 0.5
    assert found["individual"]["changes"]


def test_users_are_asked_in_blocks_and_the_average_user_once(task, monkeypatch):
    method = Known(reach=(1.0, 0.0)).fit(task.fit_on)
    personas, suite = method.adapt_batch(task.context), embedded_suite()
    whole = tax.probe(method, personas, task)
    method.asked.clear()
    monkeypatch.setattr(tax, "OPTIONS", 2 * len(suite) * 7)
    parts = tax.probe(method, personas, task)
    users = len(personas)
    sizes = [7] * (users // 7) + [users % 7] * bool(users % 7)
    assert method.asked == [len(suite), *(n * len(suite) for n in sizes)]
    for key in whole:
        np.testing.assert_array_equal(whole[key], parts[key])
    assert parts["change"].shape == (users, 7)


def test_users_keep_their_places(task):
    """User by user, the kept change is what scoring that user alone gives."""
    reach = np.linspace(0, 1, task.context.n_users)
    method = Known(reach=tuple(reach)).fit(task.fit_on)
    change = tax.probe(method, method.adapt_batch(task.context), task)["change"]
    np.testing.assert_allclose(change[:, 4], np.where(reach > 0.5, -0.5, 0.0), atol=1e-6)


def test_without_a_suite_there_is_nothing_to_ask(task):
    bare = new_users("world", World(users=60, seed=3).sample().population)
    method = Known(reach=(1.0,)).fit(bare.fit_on)
    assert tax.probe(method, method.adapt_batch(bare.context), bare) == {}
    assert tax.measure([Measured(bare, "lexical", {})]) == []


def test_it_is_told_plainly(task):
    (values,) = measured(task, known=Known(reach=(1.0,)), free=Known(reach=(0.0,)))
    told = tax.tell(values)
    assert "1 of 1 methods that change with the user are shown to pay" in told
    assert "known is right on 50.0 %" in told
    assert "against 100.0 % for the average user, −50.0 points [−50.0, −50.0]" in told
    (values,) = measured(task, free=Known(reach=(0.0,)))
    assert "no method answers 64 general questions otherwise for any user" in tax.tell(values)


def test_a_base_that_is_a_coin_is_told(task):
    from palate.catalogue import build

    (values,) = measured(task, coin=build("random"), known=Known(reach=(1.0,)))
    assert "coin" not in tax.tell(values)
    worst = {**values["methods"][0], "base": 0.55}
    assert "cannot be told from a coin's" in tax.tell({**values, "methods": [worst]})


def test_it_is_drawn_from_plain_values(task):
    (values,) = measured(task, known=Known(reach=(1.0, 0.0)), free=Known(reach=(0.0,)))
    html = tax.draw(json.loads(json.dumps(values)))
    check(f'<link href="data:,">{html}')
    assert "Safety" in html
    assert "Agrees" in html
    assert tax.draw({**values, "methods": []}) == ""
